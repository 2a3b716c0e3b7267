"""Events given to a Python function, and what it returns taken as columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
from awkward.contents import ByteMaskedArray, ListOffsetArray, NumpyArray, RecordArray
from awkward.index import Index8, Index64

from ..batch import Batch
from ..errors import InvalidRequest
from ..functions import PER_EVENT, Function
from ..schema import Column, offsets_column
from .keys import Array


def call(
    function: Callable[[Any], Any], described: Function, batch: Batch, column: Column
) -> dict[str, Array]:
    """Return what the function makes of some events, as it is stored.

    Raises
    ------
    InvalidRequest
        If it raises, or returns other than was declared.
    """
    events = _events(batch)
    try:
        returned = ak.Array(function(events))
    except Exception as error:
        raise InvalidRequest(f"function {described.path} raised {type(error).__name__}: {error}") from error
    if len(returned) != batch.events:
        raise InvalidRequest(
            f"function {described.path} returned {len(returned)} values for {batch.events} events"
        )
    if described.per != PER_EVENT:
        return _lists(returned, described, column)
    if column.list is None:
        return {column.name: _numbers(returned, described)}
    there = ~ak.to_numpy(ak.is_none(returned))
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(there)])
    return {
        column.name: _numbers(ak.drop_none(returned), described),
        offsets_column(column.list): ends,
    }


def _events(batch: Batch) -> Any:
    contents = []
    for output, values, offsets, valid in zip(
        batch.outputs, batch.values, batch.offsets, batch.valid, strict=True
    ):
        content: Any = NumpyArray(values)
        if valid is not None:
            content = ByteMaskedArray(Index8(valid.view(np.int8)), content, valid_when=True)
        if output.axis is not None:
            content = ListOffsetArray(Index64(offsets), content)
        contents.append(content)
    names = [output.name for output in batch.outputs]
    return ak.Array(RecordArray(contents, names, length=batch.events))


def _lists(returned: Any, described: Function, column: Column) -> dict[str, Array]:
    if returned.ndim != 2:
        raise InvalidRequest(f"function {described.path} returned {returned.type}; lists were declared")
    assert column.list is not None
    lengths = ak.to_numpy(ak.num(returned))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return {
        column.name: _numbers(ak.flatten(returned), described),
        offsets_column(column.list): offsets,
    }


def _numbers(values: Any, described: Function) -> Array:
    try:
        found: Array = ak.to_numpy(values, allow_missing=False)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"function {described.path} returned {values.type}: {error}") from error
    if found.ndim != 1 or (found.dtype.name != described.dtype and len(found)):
        raise InvalidRequest(
            f"function {described.path} returned {values.type}; {described.dtype} was declared"
        )
    return np.ascontiguousarray(found.astype(described.dtype, copy=False))
