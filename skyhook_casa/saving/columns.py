"""The columns of an answer as those of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..batch import Batch
from ..catalog import Catalog, DatasetVersion
from ..compile_query import Output
from ..errors import InvalidRequest
from ..ingest.branches import storable
from ..schema import Column, ListInfo, Schema, offsets_column

Array = np.ndarray[Any, Any]


def saved_schema(catalog: Catalog, version: DatasetVersion, outputs: Sequence[Output]) -> Schema:
    """Return the columns and lists that hold an answer to a question to `version`.

    Lists bring their counters along. The counter of a list that is not in the answer is a plain number.

    Raises
    ------
    InvalidRequest
        If a column can have missing elements, or two lists of different lengths would have one name.
    """
    stored = catalog.columns_named(version, [output.name for output in outputs])
    names = {output.name for output in outputs}
    homes = _lists(catalog, version, outputs, stored)
    columns: dict[str, Column] = {}
    for output in outputs:
        _check(output)
        info = None if output.axis is None else homes[output.list or output.name]
        if info is not None and info.counter is not None and info.counter not in names | columns.keys():
            counter = catalog.column(version, info.counter)
            assert counter is not None
            columns[counter.name] = counter
        known = stored.get(output.name)
        columns[output.name] = Column(
            output.name,
            output.dtype,
            None if info is None else info.name,
            output.counts if output.counts in homes else None,
            output.title,
            "" if known is None else known.typename,
        )
    return Schema(columns, homes)


def arrays_of(schema: Schema, batch: Batch) -> dict[str, Array]:
    """Return the physical columns of some events; offsets are int32, from 0."""
    arrays: dict[str, Array] = {}
    for output, values, offsets in zip(batch.outputs, batch.values, batch.offsets, strict=True):
        column = schema.columns[output.name]
        if column.counts is None:
            arrays[output.name] = values
        if column.list is not None and offsets is not None:
            arrays.setdefault(offsets_column(column.list), offsets.astype(np.int32))
    return arrays


def _lists(
    catalog: Catalog, version: DatasetVersion, outputs: Sequence[Output], stored: dict[str, Column]
) -> dict[str, ListInfo]:
    """Return the lists of the answer by name; each is one jagged axis."""
    homes: dict[str, ListInfo] = {}
    axes: dict[str, tuple[int, str]] = {}
    for output in outputs:
        if output.axis is None:
            continue
        name = output.list or output.name
        axis, other = axes.setdefault(name, (output.axis, output.name))
        if axis != output.axis:
            raise InvalidRequest(
                f"{other} and {output.name} have lists of different lengths, which would both be called "
                f"{name!r}; give the derived one a name that does not begin with {name + '_'!r}"
            )
        there = output.collection or output.name in stored
        homes.setdefault(name, (catalog.list_info(version, name) if there else None) or ListInfo(name))
    return homes


def _check(output: Output) -> None:
    if output.optional:
        raise InvalidRequest(
            f"{output.name} can have missing elements, no stored column can; say what to put there with "
            f"fill_none({output.name}, …)"
        )
    reason = storable(output.name)
    if reason:
        raise InvalidRequest(f"a column called {output.name!r} cannot be stored: {reason}")
