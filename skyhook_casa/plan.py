"""A query resolved against one version of a dataset: what to compute, and on which objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np

from .catalog import Catalog, DatasetVersion, ObjectInfo, Partition, Partitions
from .column_sets.derivation import Derivation, Pending, mentioned_by
from .compile_query import Absent, Compiled, Output, check_thinning, compile_query
from .errors import InvalidRequest, MissingColumn, NotFound, did_you_mean
from .expression import compile_value
from .functions import function_of
from .merged_object import MergedColumn
from .mixed_program import Homes, MixedProgram, divide, stage_order
from .program import ProgramBuilder, StoredColumn
from .query import Fill, Query
from .resolve import DatasetNames, resolve_columns
from .schema import OFFSETS_SUFFIX, Column, offsets_column
from .work import Work

FILES_NAMED_MAX: Final = 3
"""Files that an error names for each missing column."""
COLUMNS_NAMED_MAX: Final = 5
"""Missing columns that an error names."""


class Plan:
    """What one query computes, and where. Made by `plan`; it never changes.

    Attributes
    ----------
    query : Query
        What was asked, with the version filled in.
    version : DatasetVersion
        What it is asked of.
    """

    def __init__(self, catalog: Catalog, query: Query) -> None:
        self.version: DatasetVersion = catalog.version(query.dataset, query.version)
        self.query = query if query.version else replace(query, version=self.version.number)
        self._check_partitions()
        self._catalog = catalog
        self._names = DatasetNames(catalog, self.version)
        mentioned = mentioned_by(query)
        self._names.prefetch(mentioned)
        self._derived = Derivation(self._names, query, mentioned)
        query = self._asked = self._derived.query
        self._targets: Sequence[Column | str] = resolve_columns(self._names, query, self.query.define)
        check_thinning(self._names, query)
        self._compiled = compile_query(self._names, query, self._targets)
        self._parts: Partitions | None = None
        self._narrowed = False
        self._outputs: tuple[Output, ...] | None = None
        self._terms: list[str] | None = None
        self._forget()
        self._check_fill()

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The columns of the answer, in order."""
        if self._outputs is None:
            self._outputs = tuple(map(self._derived.titled, self._compiled.outputs))
        return self._outputs

    @property
    def pending(self) -> tuple[Pending, ...]:
        """Derived columns of the dataset that are asked for and are to be stored first."""
        if not self._narrowed:
            return self._derived.pending
        outputs = tuple(output.name for output in self._compiled.outputs)
        named = mentioned_by(replace(self.query, columns=outputs))
        return tuple(one for one in self._derived.pending if one.name in named)

    @property
    def terms(self) -> list[str]:
        """The conditions that every kept event meets, in the order in which they are tried.

        The cheapest is first. Where partitions need several objects, those that need columns of the same one
        stand together, and those that need columns of several are last.
        """
        if self._terms is None:
            self._terms = [term.text for term in self._compiled.terms]
            several = [layouts for layouts in self.partitions.layouts if len(layouts) > 1]
            if several and len(self._terms) > 1:
                nodes = [term.node for term in self._compiled.terms]
                homes = Homes(self._compiled.builder, self.columns(*several[-1]), self._there(several[-1]))
                self._terms = [self._terms[number] for number in stage_order(nodes, homes)]
        return self._terms

    @property
    def thins(self) -> bool:
        """Whether elements of collections are thinned."""
        return bool(self.query.objects)

    @property
    def reads(self) -> list[str]:
        """The physical columns that may be read: those of the cut first, then the others."""
        return [column.name for column in self._compiled.builder.columns]

    @property
    def partitions(self) -> Partitions:
        """The parts of the dataset that are asked, in its order, each with the objects that are needed."""
        if self._parts is None:
            whole = self._whole_parts
            self._parts = Partitions(map(self._narrow, whole)) if whole.has_sets else whole
        return self._parts

    @property
    def events(self) -> int:
        """How many events there are in them."""
        if self.query.partitions is None:
            return self.version.events
        return self.partitions.events

    def only(self, outputs: Sequence[str]) -> Plan:
        """Return the plan that delivers only these of the outputs; none of them to count events."""
        other = object.__new__(Plan)
        other.__dict__.update(self.__dict__)
        other._targets = [t for t in self._targets if (t if isinstance(t, str) else t.name) in outputs]
        other._compiled = compile_query(self._names, self._asked, other._targets)
        other._narrowed = True
        other._forget()
        return other

    def asking(self, query: Query) -> Plan:
        """Return the plan of another query to the same version. Raises as `plan` does."""
        return Plan(self._catalog, replace(query, version=self.version.number))

    @property
    def uncalled(self) -> list[str]:
        """The physical columns that may be read and that functions must be called for first."""
        return [name for name in self.reads if name in self._derived.uncalled]

    def check(self, *layout_ids: int) -> None:
        """Raise as `program` does, but not for columns that functions are called for first."""
        if not self.uncalled:
            self.program(*layout_ids)
            return
        there = {name for layout_id in layout_ids for name in self.hints(layout_id)}
        absent = [name for name in self.reads if name not in there and name not in self._derived.uncalled]
        if absent:
            self._absent(absent, {})

    def calls(self, name: str) -> bool:
        """Return whether a derived column of the dataset is a Python function."""
        return function_of(self._derived.known.get(name, "")) is not None

    def stored_list(self, name: str) -> str | None:
        """Return the stored list that a derived column lies in, if it does."""
        return compile_value(ProgramBuilder(), self._names, name, dict(self._asked.define)).list

    def renewed(self) -> Plan:
        """Return the plan of the same question as it would be made now."""
        made = Plan(self._catalog, self.query)
        return made.only([output.name for output in self.outputs]) if self._narrowed else made

    def knows(self, name: str) -> bool:
        """Return whether the dataset has a column, or the definition of one, of this name."""
        return self._names.column(name) is not None or name in self._derived.known

    def work(self, execution: str = "auto", rows: bool = False, histograms: bytes = b"") -> Work:
        """Return what is computed on every partition. Raises as `program` does."""
        layouts = self.partitions.layouts
        return Work(
            self.version.dataset,
            self.version.number,
            self.outputs,
            tuple(self.terms),
            self.thins,
            {one: self.program(*one) for one in layouts},
            {one: self.columns(*one) for one in layouts if len(one) > 1},
            {one: self.mixed(*one) for one in layouts if len(one) > 1},
            execution,
            rows,
            histograms,
        )

    def program(self, *layout_ids: int) -> bytes:
        """Return the engine's program for objects of this layout; for several, merged into one.

        Raises
        ------
        MissingColumn
            If the objects lack a column that the query needs and gives no fill value for.
        """
        if layout_ids not in self._programs:
            self._programs[layout_ids] = self._compiled_for(layout_ids).encode()
        return self._programs[layout_ids]

    def mixed(self, *layout_ids: int) -> MixedProgram:
        """Return the query divided over objects of a partition with these layouts; raises as `program`."""
        if layout_ids not in self._divided:
            compiled = self._compiled_for(layout_ids)
            self._divided[layout_ids] = divide(compiled, self.columns(*layout_ids), self._there(layout_ids))
        return self._divided[layout_ids]

    def _compiled_for(self, layout_ids: tuple[int, ...]) -> Compiled:
        """Return what is computed on objects of these layouts, its conditions in the order of `terms`."""
        if len(layout_ids) == 1:
            hints = self.hints(layout_ids[0])
        else:
            hints = {column.name: number for number, column in enumerate(self.columns(*layout_ids))}
        absent = [name for name in self.reads if name not in hints]
        if absent:
            compiled = compile_query(self._names, self._asked, self._targets, self._absent(absent, hints))
        else:
            compiled = self._compiled
            builder = compiled.builder
            builder.columns[:] = [StoredColumn(c.name, c.dtype, hints[c.name]) for c in builder.columns]
        return compiled.tried(self.terms)

    def hints(self, layout_id: int) -> dict[str, int]:
        """Return the directory index of each column read that objects of this layout have."""
        if layout_id not in self._hints:
            self._hints[layout_id] = self._catalog.layout_index(layout_id, self.reads)
        return self._hints[layout_id]

    def columns(self, *layout_ids: int) -> tuple[MergedColumn, ...]:
        """Return what is taken from each of a partition's objects with these layouts, newest last.

        Offsets come first: those of the first object that has them, as they are equal in all. Any other
        column is taken from the newest object that has it.
        """
        there = self._there(layout_ids)
        lists = [n for n in self.reads if n.endswith(OFFSETS_SUFFIX) and any(n in one for one in there)]
        numbers = {name: number for number, name in enumerate(lists)}
        found = []
        for name in lists:
            first = next(number for number, one in enumerate(there) if name in one)
            found.append(MergedColumn(name, first, there[first][name]))
        for name in self.reads:
            which = _newest(there, name)
            if which is not None and name not in numbers:
                column = self._names.column(name)
                home = None if column is None or column.list is None else offsets_column(column.list)
                found.append(MergedColumn(name, which, there[which][name], numbers.get(home or "")))
        return tuple(found)

    def places(self, part: Partition) -> list[tuple[ObjectInfo, dict[str, int]]]:
        """Return the columns that are read of a part: of each object the directory index of its own."""
        if not part.sets:
            return [(part.object, self.hints(part.object.layout_id))]
        places: list[tuple[ObjectInfo, dict[str, int]]] = [(one, {}) for one in (part.object, *part.sets)]
        for column in self.columns(*part.layout_ids):
            places[column.object][1][column.name] = column.index
        return places

    def _there(self, layout_ids: Sequence[int]) -> list[dict[str, int]]:
        """Return which of the columns that are read each object has, and where."""
        return [self.hints(layout_id) for layout_id in layout_ids]

    def _forget(self) -> None:
        """Begin anew with what depends on the columns that are read."""
        self._outputs = None
        self._terms = None
        self._divided: dict[tuple[int, ...], MixedProgram] = {}
        self._programs: dict[tuple[int, ...], bytes] = {}
        self._hints: dict[int, dict[str, int]] = {}
        self._needed: dict[tuple[int, ...], list[int]] = {}
        self._parts = None

    @cached_property
    def _whole_parts(self) -> Partitions:
        parts = self._catalog.partitions(self.version, *(self.query.partitions or ()))
        return self._derived.beside(parts)

    def _narrow(self, part: Partition) -> Partition:
        """Return a part with those of its objects that hold what is read."""
        if not part.sets:
            return part
        layouts = part.layout_ids
        if layouts not in self._needed:
            self._needed[layouts] = self._needed_of(self._there(layouts))
        objects = [(part.object, *part.sets)[number] for number in self._needed[layouts]]
        return part._replace(object=objects[0], sets=tuple(objects[1:]))

    def _needed_of(self, there: list[dict[str, int]]) -> list[int]:
        """Return the numbers of the objects that are needed: as few as can be, one at least."""
        values = [name for name in self.reads if not name.endswith(OFFSETS_SUFFIX)]
        needed = {which for name in values if (which := _newest(there, name)) is not None}
        for name in self.reads:
            holders = [number for number, one in enumerate(there) if name in one]
            if name.endswith(OFFSETS_SUFFIX) and holders and not needed & set(holders):
                needed.add(holders[0])
        return sorted(needed) or [0]

    def _absent(self, physical: list[str], hints: dict[str, int]) -> Absent:
        """Return what to read instead of absent columns."""
        fill = dict(self.query.fill)
        lists = frozenset(n.removesuffix(OFFSETS_SUFFIX) for n in physical if n.endswith(OFFSETS_SUFFIX))
        columns: dict[str, Fill] = {}
        missing: list[str] = []
        for name in [n for n in physical if not n.endswith(OFFSETS_SUFFIX)]:
            column = self._names.column(name)
            if name in fill:
                columns[name] = fill[name]
            elif column is not None and column.dtype == "bool":
                columns[name] = False
            else:
                missing.append(name)
        for name in sorted(lists):
            missing.extend(self._uncounted(name, physical, fill))
        if missing:
            raise MissingColumn(self._missing(missing))
        return Absent(hints, columns, lists)

    def _uncounted(self, list_name: str, physical: list[str], fill: dict[str, Fill]) -> list[str]:
        """Return the counter of a list that objects lack, if only its length is asked for."""
        for name in physical:
            column = None if name.endswith(OFFSETS_SUFFIX) else self._names.column(name)
            if column is not None and column.list == list_name:
                return []
        info = self._names.list_info(list_name)
        counter = list_name if info is None or info.counter is None else info.counter
        return [] if counter in fill else [counter]

    def _missing(self, names: list[str]) -> str:
        lacking = self._catalog.lacking(self.version, names)
        lines = []
        for name in names[:COLUMNS_NAMED_MAX]:
            files = [file.path for file in lacking.get(name, ())]
            more = len(files) - FILES_NAMED_MAX
            shown = ", ".join(files[:FILES_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
            lines.append(f"{name} is not in {shown}" if files else f"{name} is not in every file")
        if len(names) > COLUMNS_NAMED_MAX:
            lines.append(f"{len(names) - COLUMNS_NAMED_MAX} more columns are missing")
        return f'{"; ".join(lines)}. Give the value to use there: fill={{"{names[0]}": 0}}'

    def _check_partitions(self) -> None:
        asked, there = self.query.partitions, self.version.partitions
        if asked is not None and asked[1] > there:
            raise InvalidRequest(
                f"partitions {asked[0]} to {asked[1]} of dataset {self.version.dataset!r} are asked; version "
                f"{self.version.number} has {there}, numbered from 0"
            )

    def _check_fill(self) -> None:
        for name, value in self.query.fill:
            column = self._names.column(name)
            if column is None:
                known = self._names.known()
                raise NotFound(
                    f"fill names {name!r}, which is no column of the dataset{did_you_mean(name, known)}"
                )
            check_value(column, value)


def plan(catalog: Catalog, query: Query) -> Plan:
    """Return what `query` computes; its cost grows with the columns asked for, not with those stored.

    Raises
    ------
    NotFound
        If there is no such dataset, version or column; the message offers near matches.
    ExpressionError
        If an expression cannot be parsed or typed.
    """
    return Plan(catalog, query)


def _newest(there: Sequence[Mapping[str, int]], name: str) -> int | None:
    """Return the number of the last object that has a column."""
    return next((number for number in reversed(range(len(there))) if name in there[number]), None)


def check_value(column: Column, value: Fill) -> None:
    """Refuse a fill value that the column's type cannot hold."""
    if column.counts is not None and value != 0:
        raise InvalidRequest(f"fill[{column.name!r}] is {value!r}; a list that is not there has length 0")
    dtype = np.dtype(column.dtype)
    if dtype.kind == "f":
        return
    fits = (
        value in (0, 1)
        if dtype.kind == "b"
        else _whole(value) and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    )
    if not fits:
        raise InvalidRequest(f"fill[{column.name!r}] is {value!r}; the column holds {column.dtype}")


def _whole(value: Fill) -> bool:
    return isinstance(value, int) or value.is_integer()
