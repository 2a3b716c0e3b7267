"""Answers as lazy arrays of dask-awkward: a Dask partition for each of the dataset, read when it is computed.

A graph holds plain, short values: where the store is, the query, the number of a partition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import awkward as ak
import dask_awkward as dak
import numpy as np
from awkward.contents import RecordArray
from dask_awkward.lib.io.columnar import ColumnProjectionMixin
from dask_awkward.lib.unproject_layout import unproject_layout

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import NotFound
from skyhook_casa.progress import Progress
from skyhook_casa.query import Query as QueryValue

from .backend import Question
from .kept import Kept
from .layout import Group, flat_groups, nested_groups
from .opened import opened
from .records import to_awkward

QUESTIONS_MAX: Final = 16
"""Queries that a process keeps resolved."""
LABEL: Final = "skyhook"
"""How keys of graphs begin."""


def of_query(question: Question, nested: bool) -> dak.Array:
    """Return the answer to a question as a lazy array; `Query.dask_awkward` says more."""
    reader = Reader(
        **question.backend.address(),
        query=question.value.to_json(),
        created=question.version.created.isoformat(),
        execution=question.execution,
        nested=nested,
    )
    _resolved.get(reader, lambda: Resolved(question, nested))  # this process need not ask again
    value = question.value
    if value.limit is not None:  # it counts over all partitions
        return dak.from_map(reader, [None], label=LABEL)
    sizes = question.backend.partition_events(question.version)
    filled = [number for number in range(*(value.partitions or (0, len(sizes)))) if sizes[number]]
    if not filled:
        return dak.from_map(reader, [None], label=LABEL, divisions=(0, 0))
    divisions = None if value.selects else (0, *accumulate(sizes[number] for number in filled))
    return dak.from_map(reader, filled, label=LABEL, divisions=divisions)


@dataclass(frozen=True)
class Reader(ColumnProjectionMixin):  # type: ignore[misc]
    """Reads partitions of an answer, wherever Dask runs it; dask-awkward says which columns are touched."""

    store: str
    """Where the store or the service is, and what else `connect` takes."""
    catalog: str | None
    functions: tuple[str, ...]
    query: str
    """As JSON, with the version of the dataset."""
    created: str
    """When that version was made: a dataset that was dropped and made anew has other events."""
    execution: str
    nested: bool
    columns: tuple[str, ...] | None = None
    """Those of the answer to read; None for all. The others are there by name, without their values."""

    behavior = None
    attrs = None
    use_optimization = True

    @property
    def form(self) -> ak.forms.Form:
        """The form of a partition of the answer."""
        return self._resolve().form

    def project_columns(self, columns: Iterable[str]) -> Reader:
        """Return a reader of some columns, which are named as in the array: `Muon_pt`, nested `Muon.pt`."""
        return replace(self, columns=self._resolve().names(frozenset(columns)))

    def __call__(self, partition: int | None) -> ak.Array:
        """Return what a partition of the dataset leaves; None: all of them.

        Raises
        ------
        SkyhookError
            If it cannot be read, or the version is not there any more.
        """
        resolved = self._resolve()
        value = resolved.question.value
        if partition is not None:
            value = replace(value, partitions=(partition, partition + 1))
        if self.columns:
            value = replace(value, columns=self.columns)
        run = resolved.question.asking(value).run(Progress("", 0, "events", False))
        if self.columns == ():
            layout = RecordArray([], [], length=run.count())
        else:
            batch = run.collect()
            layout = to_awkward(batch, groups=resolved.groups_of(batch.outputs)).layout
        return ak.Array(unproject_layout(resolved.form, layout))

    def _resolve(self) -> Resolved:
        whole = replace(self, columns=None)
        return _resolved.get(whole, lambda: _ask(whole))


class Resolved:
    """A question, and what its whole answer looks like.

    Parameters
    ----------
    question : Question
        What is asked.
    nested : bool
        Whether columns are grouped, as `Query.to_awkward` has it.
    """

    def __init__(self, question: Question, nested: bool) -> None:
        self.question = question
        outputs = question.outputs
        self._groups = nested_groups(outputs) if nested else flat_groups(outputs)
        self.form: ak.forms.Form = to_awkward(_sample(outputs), groups=self._groups).layout.form

    def names(self, columns: frozenset[str]) -> tuple[str, ...]:
        """Return the outputs that are called so in the array; a collection stands for all of its fields."""
        outputs = self.question.outputs
        return tuple(
            outputs[number].name
            for group in self._groups
            for number, path in zip(group.members, _paths(group), strict=True)
            if path in columns or group.name in columns
        )

    def groups_of(self, outputs: Iterable[Output]) -> list[Group]:
        """Return the groups of some of the outputs: they stay where they are in the whole answer."""
        places = {output.name: (number, output.axis) for number, output in enumerate(outputs)}
        groups = []
        for group in self._groups:
            there = [
                place
                for place, number in enumerate(group.members)
                if self.question.outputs[number].name in places
            ]
            if there:
                found = [places[self.question.outputs[group.members[place]].name] for place in there]
                fields = tuple(group.fields[place] for place in there) if group.fields else ()
                groups.append(Group(group.name, found[0][1], fields, tuple(number for number, _ in found)))
        return groups


def _paths(group: Group) -> list[str]:
    return [f"{group.name}.{field}" for field in group.fields] or [group.name]


def _sample(outputs: tuple[Output, ...]) -> Batch:
    """Return one event with one element in each list; what can be missing is."""
    offsets = np.array([0, 1])
    return Batch(
        outputs,
        1,
        [np.zeros(1, output.dtype) for output in outputs],
        [None if output.axis is None else offsets for output in outputs],
        [np.zeros(1, np.bool_) if output.optional else None for output in outputs],
    )


def _ask(reader: Reader) -> Resolved:
    client = opened(reader.store, reader.catalog, reader.functions)
    question = client.backend.ask(QueryValue.from_json(reader.query), reader.execution)
    created = question.version.created.isoformat()
    if created != reader.created:
        version = question.version
        raise NotFound(
            f"version {version.number} of dataset {version.dataset!r}, made at {reader.created}, is gone: "
            f"there is one made at {created}; call dask_awkward() of a new query"
        )
    return Resolved(question, reader.nested)


_resolved: Final[Kept[Reader, Resolved]] = Kept(QUESTIONS_MAX)
