"""A query of columns of several objects, divided into what each object can answer and what is left.

Conditions that need columns of one object alone are *stages*: each runs inside its object, on the events
that the stages before it left. Of the events that all of them leave, each object delivers *values*: the
largest parts of what is left of the query that have one value per event and can be computed there, and
elements of lists. The *rest* of the query runs on these values where they arrive.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .compile_query import Compiled
from .merged_object import MergedColumn
from .program import AXIS_OPS, EVENT, Node, ProgramBuilder, StoredColumn
from .schema import OFFSETS_SUFFIX

_ON_COLUMNS: Final = ("list", "load")
"""Steps whose first operand is a column."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Conditions that run inside one object."""

    object: int
    """The object of the partition: 0 is the first."""
    program: bytes
    terms: int
    """How many conditions there are."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Values that one object delivers of the events left."""

    object: int
    program: bytes
    dtypes: tuple[str, ...]
    groups: tuple[int, ...]
    """For each output its list, as the engine numbers them; −1 for one value per event."""
    columns: tuple[int, ...]
    """For each output the column that it is in the rest; for the lengths of a list that of its offsets."""
    lists: tuple[int, ...]
    """For each list the column that its offsets are in the rest."""


@dataclass(frozen=True, slots=True)
class RestColumn:
    """A column that the rest of a query reads."""

    name: str
    dtype: str
    offsets: int | None = None
    """The column of the offsets of its list; None if it lies in none."""

    @property
    def is_offsets(self) -> bool:
        """Whether the column is the offsets of a list."""
        return self.name.endswith(OFFSETS_SUFFIX)


@dataclass(frozen=True, slots=True)
class MixedProgram:
    """A query for partitions whose objects have certain layouts."""

    stages: tuple[Stage, ...]
    """The first conditions of the query, in its order."""
    fetches: tuple[Fetch, ...]
    columns: tuple[RestColumn, ...]
    program: bytes
    """The rest: the other conditions, and what is delivered."""
    terms: int
    """How many conditions the rest has."""

    def encode(self) -> dict[str, Any]:
        """Return what `decode` takes, for JSON."""
        return {
            "stages": [(one.object, _text(one.program), one.terms) for one in self.stages],
            "fetches": [
                (one.object, _text(one.program), one.dtypes, one.groups, one.columns, one.lists)
                for one in self.fetches
            ],
            "columns": [(one.name, one.dtype, one.offsets) for one in self.columns],
            "program": _text(self.program),
            "terms": self.terms,
        }

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> MixedProgram:
        """Return what `encode` was given."""
        return cls(
            tuple(Stage(which, _bytes(text), terms) for which, text, terms in data["stages"]),
            tuple(
                Fetch(which, _bytes(text), *(tuple(one) for one in more))
                for which, text, *more in data["fetches"]
            ),
            tuple(RestColumn(*one) for one in data["columns"]),
            _bytes(data["program"]),
            data["terms"],
        )


def divide(
    compiled: Compiled, columns: Sequence[MergedColumn], there: Sequence[Mapping[str, int]]
) -> MixedProgram:
    """Return a compiled query, divided over the objects of a partition.

    Parameters
    ----------
    columns : sequence of MergedColumn
        Where each column that is read is taken from.
    there : sequence of mapping
        For each object the directory index of the columns that it has.
    """
    return _Division(compiled, Homes(compiled.builder, columns, there), there).program()


class Homes:
    """Which objects of a partition can compute a value: those that have all columns that it needs."""

    def __init__(
        self, builder: ProgramBuilder, columns: Sequence[MergedColumn], there: Sequence[Mapping[str, int]]
    ) -> None:
        self._builder = builder
        self._there = there
        self._object = {column.name: column.object for column in columns}
        self._all = frozenset(range(len(there)))
        self._of: dict[int, frozenset[int]] = {}
        self._read: dict[int, bool] = {}
        for number, node in enumerate(builder.nodes):
            before = [one for one in _operands(node) if one >= 0]
            found = self._all.intersection(*(self._of[one] for one in before))
            self._read[number] = node.op in _ON_COLUMNS or any(self._read[one] for one in before)
            self._of[number] = found & self._holders(node) if node.op in _ON_COLUMNS else found

    def of(self, node: int) -> frozenset[int]:
        """Return the objects that can compute a value."""
        return self._of[node]

    def reads(self, node: int) -> bool:
        """Return whether a value needs any column."""
        return self._read[node]

    def _holders(self, node: Node) -> frozenset[int]:
        """Return the objects that hold the column of a node; offsets are equal in all that have them."""
        name = self._builder.columns[node.args[0]].name
        if node.op == "list":
            return frozenset(number for number, one in enumerate(self._there) if name in one)
        return frozenset([self._object[name]] if name in self._object else [])


def stage_order(nodes: Sequence[int], homes: Homes) -> list[int]:
    """Return the order in which conditions run best: those of one object together, those of several last."""
    met: list[int] = []

    def key(number: int) -> int:
        able = homes.of(nodes[number])
        if not able:
            return len(nodes)
        which = next((one for one in met if one in able), None)
        if which is None:
            which = min(able)
            met.append(which)
        return met.index(which)

    return sorted(range(len(nodes)), key=key)


class _Division:
    """One query being divided."""

    def __init__(self, compiled: Compiled, homes: Homes, there: Sequence[Mapping[str, int]]) -> None:
        self._compiled = compiled
        self._builder = compiled.builder
        self._homes = homes
        self._there = there
        self._fetched: dict[int, int] = {}
        """The object that delivers each value."""
        self._axes: set[int] = set()
        """Stored lists that the rest has."""

    def program(self) -> MixedProgram:
        terms = [term.node for term in self._compiled.terms]
        stages = self._stages(terms)
        rest = terms[sum(stage.terms for stage in stages) :]
        self._collect([*rest, *self._compiled.nodes])
        lengths = self._lengths()
        columns = self._columns()
        numbers = {column.name: number for number, column in enumerate(columns)}
        fetches = tuple(
            self._fetch(which, lengths, numbers)
            for which in sorted({*self._fetched.values(), *lengths.values()})
        )
        copy = _Copy(self._builder, {node: _name(node) for node in self._fetched if self._per_event(node)})
        program = copy.encode(rest, self._compiled.nodes, numbers)
        return MixedProgram(stages, fetches, tuple(columns), program, len(rest))

    # -- stages -----------------------------------------------------------------------------
    def _stages(self, terms: list[int]) -> tuple[Stage, ...]:
        """Return the first conditions, as long as each needs one object; neighbours of one are one stage."""
        runs: list[tuple[int, list[int]]] = []
        for term in terms:
            able = self._homes.of(term)
            if not able:
                break
            if runs and runs[-1][0] in able:
                runs[-1][1].append(term)
            else:
                runs.append((min(able), [term]))
        return tuple(
            Stage(which, _Copy(self._builder).encode(nodes, [], self._there[which]), len(nodes))
            for which, nodes in runs
        )

    # -- values -----------------------------------------------------------------------------
    def _per_event(self, number: int) -> bool:
        return self._builder.nodes[number].axis == EVENT

    def _collect(self, roots: Sequence[int]) -> None:
        """Note which values the rest needs delivered to compute others."""
        seen: set[int] = set()
        waiting = list(roots)
        while waiting:
            number = waiting.pop()
            if number not in seen and number >= 0:
                seen.add(number)
                waiting.extend(self._needed(number))

    def _needed(self, number: int) -> tuple[int, ...]:
        """Note a value if it is delivered; return what must be computed before it where it is not."""
        node, able = self._builder.nodes[number], self._homes.of(number)
        if node.op == "list":
            self._axes.add(number)
            return ()
        per_event = node.op not in AXIS_OPS and node.axis == EVENT and not node.optional
        if node.op == "load" or (per_event and able and self._homes.reads(number)):
            used = [which for which in self._fetched.values() if which in able]
            self._fetched[number] = used[0] if used else min(able)
            if per_event:
                return ()
        return _operands(node)

    def _lengths(self) -> dict[int, int]:
        """Return the lists of which no elements are delivered: which object delivers their lengths."""
        with_elements = {self._builder.nodes[node].axis for node in self._fetched}
        used = set(self._fetched.values())
        found = {}
        for axis in sorted(self._axes - with_elements):
            able = self._homes.of(axis)
            found[axis] = min(able & used or able)
        return found

    def _columns(self) -> list[RestColumn]:
        """Return the columns of the rest: offsets first."""
        axes = sorted(self._axes)
        columns = [RestColumn(self._column_of(axis).name, "int32") for axis in axes]
        for number in sorted(self._fetched):
            node = self._builder.nodes[number]
            if self._per_event(number):
                columns.append(RestColumn(_name(number), node.dtype))
            else:
                columns.append(RestColumn(self._column_of(number).name, node.dtype, axes.index(node.axis)))
        return columns

    def _column_of(self, number: int) -> StoredColumn:
        return self._builder.columns[self._builder.nodes[number].args[0]]

    def _fetch(self, which: int, lengths: Mapping[int, int], numbers: Mapping[str, int]) -> Fetch:
        values = sorted(number for number, one in self._fetched.items() if one == which)
        counted = sorted(axis for axis, one in lengths.items() if one == which)
        axes = sorted({self._builder.nodes[n].axis for n in values if not self._per_event(n)})
        groups = [-1 if self._per_event(n) else axes.index(self._builder.nodes[n].axis) for n in values]
        names = [_name(n) if self._per_event(n) else self._column_of(n).name for n in values]
        lists = [numbers[self._column_of(axis).name] for axis in axes]
        program = _Copy(self._builder).encode(values, counted, self._there[which], cut=False)
        return Fetch(
            which,
            program,
            (*(self._builder.nodes[n].dtype for n in values), *["int64"] * len(counted)),
            (*groups, *[-1] * len(counted)),
            (
                *(numbers[name] for name in names),
                *(numbers[self._column_of(axis).name] for axis in counted),
            ),
            tuple(lists),
        )


class _Copy:
    """Copies some values of a program, and what they need, to a program of their own.

    Parameters
    ----------
    instead : mapping, optional
        Values that are read as columns there: their names.
    """

    def __init__(self, source: ProgramBuilder, instead: Mapping[int, str] | None = None) -> None:
        self._source = source
        self._instead = instead or {}
        self._made = ProgramBuilder()
        self._numbers: dict[int, int] = {}

    def encode(
        self, first: Sequence[int], then: Sequence[int], hints: Mapping[str, int], cut: bool = True
    ) -> bytes:
        """Return the program with `first` as its conditions and `then` as its outputs.

        Without `cut` all are outputs: of the lists `then` their lengths.
        """
        made = self._made
        if cut:
            terms, outputs = [self.of(one) for one in first], [self.of(one) for one in then]
        else:
            terms, outputs = [], [self.of(one) for one in first] + [made.count(self.of(one)) for one in then]
        made.columns[:] = [column._replace(hint=hints[column.name]) for column in made.columns]
        return made.encode(terms, outputs)

    def of(self, number: int) -> int:
        """Return the number of a value in the copy."""
        if number < 0:
            return number
        needed: set[int] = set()
        waiting = [number]
        while waiting:
            one = waiting.pop()
            if one >= 0 and one not in needed and one not in self._numbers:
                needed.add(one)
                waiting.extend(() if one in self._instead else _operands(self._source.nodes[one]))
        for one in sorted(needed):  # operands stand before those who use them
            self._numbers[one] = self._copied(one)
        return self._numbers[number]

    def _copied(self, number: int) -> int:
        node = self._source.nodes[number]
        if number in self._instead:
            column = self._made.stored(self._instead[number], node.dtype)
            return self._made.add(Node("load", node.dtype, (column, EVENT), EVENT, 0, False))
        first: tuple[int, ...] = ()
        if node.op in _ON_COLUMNS:
            stored = self._source.columns[node.args[0]]
            first = (self._made.stored(stored.name, stored.dtype),)
        if node.op == "inside":
            self._made.table[:] = self._source.table
        operands = tuple(one if one < 0 else self._numbers[one] for one in _operands(node))
        axis = node.axis if node.axis < 0 else self._numbers[node.axis]
        return self._made.add(node._replace(args=first + operands, axis=axis))


def _operands(node: Node) -> tuple[int, ...]:
    """Return the values and axes that a step works on."""
    return node.args[1:] if node.op in _ON_COLUMNS else node.args


def _name(number: int) -> str:
    """Return what a value is called as a column of the rest."""
    return f"value {number}"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
