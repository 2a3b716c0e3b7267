"""A query's names and expressions as engine programs, one for each set of columns that files have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InvalidRequest, NotFound
from .expression import Term, compile_cut, compile_thinning, compile_value, index_target
from .lumimask import LumiMask
from .program import EVENT, ProgramBuilder
from .query import Fill, Query
from .resolve import DatasetNames, list_named
from .schema import Column


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the answer."""

    name: str
    dtype: str
    axis: int | None
    """Number of the jagged axis; columns of one number share offsets. None: one value per event."""
    list: str | None = None
    """The list that the axis is, named as in the dataset; the column's own name for a derived axis."""
    collection: bool = False
    """Whether the column is a field of the collection `list`."""
    counts: str | None = None
    """The list whose length the column is."""
    optional: bool = False
    """Whether elements may be missing."""
    title: str = ""

    @property
    def field(self) -> str:
        """The name inside its collection: `pt` of `Muon_pt`; the whole name elsewhere."""
        return self.name[len(self.list) + 1 :] if self.collection and self.list else self.name


@dataclass(frozen=True, slots=True)
class Compiled:
    """Nodes of one program and what they deliver."""

    builder: ProgramBuilder
    terms: list[Term]
    """Conditions that every kept event meets, cheapest first."""
    nodes: list[int]
    """The value of each output."""
    outputs: tuple[Output, ...]

    def tried(self, texts: Sequence[str]) -> Compiled:
        """Return the same with the conditions in the order of their texts."""
        terms = sorted(self.terms, key=lambda term: texts.index(term.text))
        return Compiled(self.builder, terms, self.nodes, self.outputs)

    def encode(self) -> bytes:
        """Return the engine's program."""
        return self.builder.encode([term.node for term in self.terms], self.nodes)


@dataclass(frozen=True, slots=True)
class Absent:
    """What the objects of one layout do not have."""

    hints: Mapping[str, int]
    """Directory index of the physical columns they have."""
    columns: Mapping[str, Fill]
    """Columns to read as a value instead."""
    lists: frozenset[str]
    """Lists to read as empty."""


def compile_query(
    names: DatasetNames, query: Query, targets: Sequence[Column | str], absent: Absent | None = None
) -> Compiled:
    """Return the program of `query` that delivers `targets`.

    Raises
    ------
    ExpressionError
        If the cut, a definition or a thinning condition cannot be parsed or typed.
    NotFound
        If there is a luminosity mask, but no columns `run` and `luminosityBlock`.
    """
    if absent is None:
        builder = ProgramBuilder()
    else:
        builder = ProgramBuilder(absent.hints, absent.columns, absent.lists)
    terms = [] if query.cut is None else compile_cut(builder, names, query.cut, dict(query.define))
    if query.lumimask is not None:
        terms.insert(0, _lumimask(builder, names, query.lumimask))
    compiler = _Compiler(builder, names, query)
    pairs = [compiler.output(target) for target in targets]
    return Compiled(builder, terms, [node for node, _ in pairs], tuple(output for _, output in pairs))


def check_thinning(names: DatasetNames, query: Query) -> None:
    """Refuse thinning that cannot be compiled, whether or not its collection is delivered.

    Raises
    ------
    ExpressionError
        If a condition cannot be parsed or typed.
    NotFound
        If a collection is not there.
    """
    for collection, text in query.objects:
        list_named(names, collection)
        compile_thinning(ProgramBuilder(), names, collection, text)


def _lumimask(builder: ProgramBuilder, names: DatasetNames, mask: LumiMask) -> Term:
    """Return the condition that an event lies in one of the luminosity sections of a mask."""
    parts = []
    for name in ("run", "luminosityBlock"):
        column = names.column(name)
        if column is None or column.list is not None or np.dtype(column.dtype).kind not in "iu":
            raise NotFound(
                f"a lumimask needs the columns run and luminosityBlock, whole numbers; "
                f"dataset {names.version.dataset!r} has no such {name}"
            )
        parts.append(builder.cast(builder.load(column, None), "int64"))
    run, section = parts
    key = builder.binary("add", builder.binary("mul", run, builder.const(1 << 32, "int64")), section)
    ends = mask.ends()
    inside = builder.inside(key, ends) if ends else builder.spread(builder.const(False, "bool"), EVENT)
    return Term(inside, str(mask))


class _Compiler:
    """Builds the outputs of one program."""

    def __init__(self, builder: ProgramBuilder, names: DatasetNames, query: Query) -> None:
        self._builder = builder
        self._names = names
        self._defined = dict(query.define)
        self._groups: dict[int, int] = {}
        """Output axis number of each axis node."""
        self._conditions = dict(query.objects)
        self._thinned: dict[str, int] = {}
        """Filtered axis of each list to thin, of those met."""

    def output(self, target: Column | str) -> tuple[int, Output]:
        """Return the node that a column of the answer is, and what to say of it."""
        return self._derived(target) if isinstance(target, str) else self._stored(target)

    def _stored(self, column: Column) -> tuple[int, Output]:
        info = self._names.list_of(column)
        node = self._builder.load(column, info)
        if info is not None and info.name in self._conditions:
            kept = self._kept(info.name)
            if column.counts is not None:
                node = self._builder.cast(self._builder.count(kept), column.dtype)
            else:
                node = self._builder.take(node, kept)
        node = self._remapped(node, column)
        if column.list is None or info is None:
            return node, Output(column.name, column.dtype, None, counts=column.counts, title=column.title)
        group = self._group(self._builder.axis(node))
        return node, Output(column.name, column.dtype, group, info.name, info.collection, title=column.title)

    def _remapped(self, node: int, column: Column) -> int:
        """Return `node`, or where it counts elements of a thinned list, the numbers they have then."""
        if not self._conditions or column.list is None or "Idx" not in column.name:
            return node
        target = index_target(column.name, dict.fromkeys([column.list, *self._conditions]))
        if target not in self._conditions:
            return node
        if not column.dtype.startswith("int"):
            raise InvalidRequest(
                f"{column.name} points into {target}, but as {column.dtype} it cannot say −1 where that "
                f"is gone; leave it out of the columns"
            )
        return self._builder.remap(node, self._kept(target))

    def _derived(self, name: str) -> tuple[int, Output]:
        value = compile_value(self._builder, self._names, name, self._defined)
        title = self._defined[name]
        if value.axis == EVENT:
            return value.node, Output(name, value.dtype, None, optional=value.optional, title=title)
        node, axis = value.node, value.axis
        if value.list in self._conditions:
            axis = self._kept(value.list)
            node = self._builder.take(node, axis)
        info = None if value.list is None else self._names.list_info(value.list)
        in_collection = info is not None and info.collection and name.startswith(info.name + "_")
        list_name = info.name if in_collection and info is not None else name
        alone = self._names.lies_alone(name, value.list)
        group = self._own_group() if alone else self._group(axis)
        return node, Output(name, value.dtype, group, list_name, in_collection, None, value.optional, title)

    def _kept(self, list_name: str) -> int:
        """Return the filtered axis of a list to thin."""
        if list_name not in self._thinned:
            text = self._conditions[list_name]
            self._thinned[list_name] = compile_thinning(self._builder, self._names, list_name, text)
        return self._thinned[list_name]

    def _own_group(self) -> int:
        """Return an output axis that no other output shares."""
        return self._groups.setdefault(-2 - len(self._groups), len(self._groups))

    def _group(self, axis: int) -> int:
        return self._groups.setdefault(axis, len(self._groups))
