"""The engine's program: what one scan computes, as a list of typed nodes.

A program is a small graph in static single assignment form. A node is either an *axis* (one list
per event: a stored list, a filtered one, pairs of elements …) or a *value*: one number per event,
or one per element of an axis. Operands of one node have one dtype; every cast is a node of its
own, so the engine needs no promotion rules. Equal nodes are one node, so a shared sub-expression
is computed once.

The binary form is described in ``ceph_cls/doc/program.md``; the engine checks every node again.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final, NamedTuple

import numpy as np
import xxhash

from .errors import InvalidRequest
from .schema import DTYPE_CODE, OFFSETS_SUFFIX, Column, ListInfo, offsets_column

PROGRAM_MAGIC: Final = b"SKYPROG1"
NODES_MAX: Final = 4096
"""Most nodes of one program."""
COLUMNS_MAX: Final = 4096
"""Most stored columns one program may touch."""
TABLE_MAX: Final = 1 << 16
"""Most ends of ranges in the table of one program."""
COMBINATIONS_MAX: Final = 6
"""Largest n of combinations(…, n)."""

AXIS_OPS: Final = {"list": 1, "empty": 2, "filter": 3, "combinations": 4, "cross": 5}
VALUE_OPS: Final = {
    "load": 16,
    "const": 17,
    "cast": 18,
    "count": 19,
    "spread": 20,
    "take": 21,
    "component": 22,
    "component_sum": 23,
    "index": 24,
    "local_index": 25,
    "align": 26,
    "remap": 27,
    "where": 28,
    "fill": 29,
    "present": 30,
    "pick": 31,
    "inside": 32,
}
_UNARY = (
    "neg abs not invert sign sqrt exp expm1 log log2 log10 log1p sin cos tan asin acos atan "
    "sinh cosh tanh asinh acosh atanh floor ceil rint trunc isfinite isnan isinf signed_sqrt"
).split()
_BINARY = (
    "add sub mul div floordiv mod pow atan2 hypot minimum maximum "
    "eq ne lt le gt ge and or xor bit_and bit_or bit_xor lshift rshift"
).split()
_REDUCE = "any all sum prod min max count_nonzero argmin argmax".split()
UNARY_OPS: Final = {name: 64 + i for i, name in enumerate(_UNARY)}
BINARY_OPS: Final = {name: 128 + i for i, name in enumerate(_BINARY)}
REDUCE_OPS: Final = {name: 192 + i for i, name in enumerate(_REDUCE)}
OPS: Final = {**AXIS_OPS, **VALUE_OPS, **UNARY_OPS, **BINARY_OPS, **REDUCE_OPS}

COMPARISONS: Final = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
_SUNK_UNARY = frozenset(_UNARY) - {"not", "isfinite", "isnan", "isinf"}
_SUNK_BINARY = frozenset(_BINARY) - COMPARISONS - {"and", "or", "xor"}
_BOOL_RESULT = COMPARISONS | {
    "not",
    "and",
    "or",
    "xor",
    "isfinite",
    "isnan",
    "isinf",
    "any",
    "all",
    "present",
}
_INT64_RESULT = frozenset(("count", "count_nonzero", "argmin", "argmax", "local_index"))

_HEADER: Final = struct.Struct("<8sIIIIII")
_COLUMN: Final = struct.Struct("<QIBBH")
_NODE: Final = struct.Struct("<HBBiiiQ")
_UNUSED: Final = (-1, -1, -1)
"""Operands that a node does not have."""

EVENT: Final = -1
"""The axis of a value that has one number per event."""
CONST: Final = -2
"""The axis of a constant: it goes with any axis."""


class Node(NamedTuple):
    """One step of a program."""

    op: str
    dtype: str
    """NumPy name of the result's dtype; empty for an axis."""
    args: tuple[int, ...]
    """Operands, by node number; of `list` and `load` the first is a column number."""
    axis: int
    """The axis node the value lies on, or EVENT or CONST; of an axis node, its own number."""
    imm: int
    """64 immediate bits: a constant's bytes, n of combinations, the slot of a component."""
    optional: bool
    """Whether elements may be missing."""


class StoredColumn(NamedTuple):
    """A physical column that the program reads."""

    name: str
    dtype: str
    hint: int
    """Where to look in the object's directory; 0xFFFFFFFF if unknown."""


class ProgramBuilder:
    """Collects the nodes of one program.

    Values are referred to by the node numbers that the methods return. An operand with one value
    per event is spread over the lists of the other operand by itself.

    Parameters
    ----------
    hints : Mapping[str, int], optional
        Directory index of physical columns, where known.
    absent : Mapping[str, bool | int | float], optional
        Columns that the object does not have, with the value to read instead.
    absent_lists : Mapping[str, object] or set, optional
        Lists that the object does not have: read as empty.
    """

    def __init__(
        self,
        hints: Mapping[str, int] | None = None,
        absent: Mapping[str, bool | int | float] | None = None,
        absent_lists: frozenset[str] = frozenset(),
    ) -> None:
        self.nodes: list[Node] = []
        self.columns: list[StoredColumn] = []
        self.table: list[int] = []
        self._numbers: dict[Node, int] = {}
        self._column_numbers: dict[str, int] = {}
        self._hints = hints or {}
        self._absent = absent or {}
        self._absent_lists = absent_lists

    # -- access -----------------------------------------------------------------------------
    def dtype(self, node: int) -> str:
        """Return the dtype of a value node."""
        return self.nodes[node].dtype

    def axis(self, node: int) -> int:
        """Return the axis of a value node: an axis node's number, EVENT or CONST."""
        return self.nodes[node].axis

    def optional(self, node: int) -> bool:
        """Return whether the elements of a value node may be missing."""
        return self.nodes[node].optional

    # -- axes -------------------------------------------------------------------------------
    def list_axis(self, info: ListInfo) -> int:
        """Return the axis of a stored list."""
        if info.name in self._absent_lists:
            # The name keeps the axes of two absent lists apart.
            return self._axis("empty", (), name_hash(info.name))
        return self._axis("list", (self.stored(offsets_column(info.name), "int32"),))

    def filter(self, axis: int, mask: int) -> int:
        """Return the axis of those elements of `axis` for which `mask` is true."""
        return self._axis("filter", (axis, self._on(mask, axis)))

    def combinations(self, axis: int, n: int) -> int:
        """Return the axis of all sets of `n` different elements of `axis`, in awkward's order."""
        if not 2 <= n <= COMBINATIONS_MAX:
            raise InvalidRequest(f"combinations of {n}: n must be 2 to {COMBINATIONS_MAX}")
        return self._axis("combinations", (axis,), n)

    def cross(self, left: int, right: int) -> int:
        """Return the axis of all (element of `left`, element of `right`), the right one fastest."""
        return self._axis("cross", (left, right))

    # -- sources ----------------------------------------------------------------------------
    def load(self, column: Column, info: ListInfo | None) -> int:
        """Return the values of a column; a counter is read from the offsets of its list.

        `info` is the list that the column lies in or counts, None for a value per event.
        """
        if column.counts is not None:
            assert info is not None
            return self.cast(self.count(self.list_axis(info)), column.dtype)
        if column.name in self._absent:
            fill = self.const(self._absent[column.name], column.dtype)
            axis = EVENT if info is None else self.list_axis(info)
            return self._value("spread", column.dtype, (fill, axis), axis)
        number = self.stored(column.name, column.dtype)
        axis = EVENT if info is None else self.list_axis(info)
        return self._value("load", column.dtype, (number, axis), axis)

    def const(self, value: bool | int | float, dtype: str) -> int:
        """Return a constant."""
        raw = np.array([value], dtype).tobytes().ljust(8, b"\0")
        return self._value("const", dtype, (), CONST, int.from_bytes(raw, "little"))

    # -- values -----------------------------------------------------------------------------
    def cast(self, x: int, dtype: str) -> int:
        """Return `x` as `dtype`, as NumPy's `astype` does."""
        if self.dtype(x) == dtype:
            return x
        return self._value("cast", dtype, (x,), self.axis(x), optional=self.optional(x))

    def count(self, axis: int) -> int:
        """Return the lengths of the lists of `axis`, int64, one per event."""
        return self._value("count", "int64", (axis,), EVENT)

    def local_index(self, axis: int) -> int:
        """Return 0, 1, 2 … inside each list of `axis`, int64."""
        return self._value("local_index", "int64", (axis,), axis)

    def spread(self, x: int, axis: int) -> int:
        """Return a value per event (or a constant) repeated for each element of `axis`."""
        if axis == EVENT and self.axis(x) == EVENT:
            return x
        return self._value("spread", self.dtype(x), (x, axis), axis, optional=self.optional(x))

    def take(self, x: int, axis: int) -> int:
        """Return those elements of `x` that the filtered `axis` keeps."""
        parent = self.nodes[axis].args[0]
        return self._value(
            "take", self.dtype(x), (self._on(x, parent), axis), axis, optional=self.optional(x)
        )

    def component(self, x: int, axis: int, slot: int) -> int:
        """Return the value of `x` at element number `slot` of each combination or cross of `axis`."""
        return self._value("component", self.dtype(x), (x, axis), axis, slot, self.optional(x))

    def component_sum(self, x: int, axis: int) -> int:
        """Return the sum of `x` over the elements of each combination, added from slot 0 on."""
        return self._value("component_sum", self.dtype(x), (x, axis), axis)

    def index(self, x: int, i: int) -> int:
        """Return `x[i]` of each event, `i` int64 per event or constant; missing where there is none."""
        assert self.dtype(i) == "int64"
        node = self.nodes[x]
        if node.op == "component":
            return self.index(node.args[0], self._pick(node.args[1], i, node.imm))
        if node.op == "component_sum":
            parts = [
                self.index(node.args[0], self._pick(node.args[1], i, s)) for s in range(self._slots(node))
            ]
            return reduce(lambda a, b: self.binary("add", a, b), parts)
        if self._on_combinations(node) and node.op in _SUNK_UNARY:
            return self.unary(node.op, self.index(node.args[0], i))
        if self._on_combinations(node) and node.op in _SUNK_BINARY:
            a, b = (y if self.axis(y) == CONST else self.index(y, i) for y in node.args)
            return self.binary(node.op, a, b)
        return self._value("index", self.dtype(x), (x, i), EVENT, optional=True)

    def align(self, x: int, axis: int) -> int:
        """Return `x` as lying on `axis`; the scan fails if any list differs in length."""
        if self.axis(x) == axis:
            return x
        return self._value("align", self.dtype(x), (x, axis), axis, optional=self.optional(x))

    def remap(self, x: int, axis: int) -> int:
        """Return indices into the parent of the filtered `axis` as indices into it; −1 if gone."""
        return self._value("remap", self.dtype(x), (x, axis), self.axis(x), optional=self.optional(x))

    def where(self, condition: int, a: int, b: int) -> int:
        """Return `a` where the condition is true, else `b`; a missing condition is false."""
        condition, a, b = self._together(condition, a, b)
        assert self.dtype(a) == self.dtype(b) and self.dtype(condition) == "bool"
        axis = self._common(condition, a, b)
        return self._value(
            "where", self.dtype(a), (condition, a, b), axis, 0, self.optional(a) or self.optional(b)
        )

    def fill(self, x: int, constant: int) -> int:
        """Return `x` with missing elements replaced by a constant of its dtype."""
        if not self.optional(x):
            return x
        assert self.axis(constant) == CONST and self.dtype(constant) == self.dtype(x)
        return self._value("fill", self.dtype(x), (x, constant), self.axis(x))

    def present(self, x: int) -> int:
        """Return whether each element is there."""
        return self._value("present", "bool", (x,), self.axis(x))

    def missing(self, dtype: str) -> int:
        """Return a value per event that is missing in every one."""
        nowhere = self._axis("empty", ())
        zeros = self._value("spread", dtype, (self.const(0, dtype), nowhere), nowhere)
        return self.index(zeros, self.const(0, "int64"))

    def unary(self, op: str, x: int) -> int:
        """Return `op` of each element; the dtype stays, or is bool for `not` and `is…`."""
        assert op in UNARY_OPS, op
        dtype = "bool" if op in _BOOL_RESULT else self.dtype(x)
        return self._value(op, dtype, (x,), self.axis(x), 0, self.optional(x) and op != "not")

    def binary(self, op: str, a: int, b: int) -> int:
        """Return `op` of each pair of elements; both dtypes are equal.

        Comparisons and logic give bool; a comparison with a missing element is false, and so is
        a missing truth value.
        """
        assert op in BINARY_OPS, op
        a, b = self._together(a, b)
        assert self.dtype(a) == self.dtype(b), (op, self.dtype(a), self.dtype(b))
        boolean = op in _BOOL_RESULT
        optional = (self.optional(a) or self.optional(b)) and not boolean
        return self._value(op, "bool" if boolean else self.dtype(a), (a, b), self._common(a, b), 0, optional)

    def inside(self, x: int, ends: Sequence[int]) -> int:
        """Return whether each `x`, int64, lies in a range: [ends[0], ends[1]), [ends[2], ends[3]) and so on.

        The ends rise. The result is false where `x` is missing.
        """
        assert self.dtype(x) == "int64" and ends
        first = len(self.table)
        self.table.extend(ends)
        return self._value("inside", "bool", (x,), self.axis(x), first | len(ends) << 32)

    def reduce(self, op: str, x: int, onto: int = EVENT) -> int:
        """Return one value per event from each list of `x`; missing elements are passed over.

        If `x` lies on a `cross` and `onto` is its left axis: one value per element of that.

        `min`, `max`, `argmin` and `argmax` of an empty list are missing. `sum` and `prod` keep
        the dtype; `any`, `all` and `count_nonzero` take bool; arg… and count… give int64.
        """
        assert op in REDUCE_OPS, op
        dtype = "bool" if op in _BOOL_RESULT else "int64" if op in _INT64_RESULT else self.dtype(x)
        optional = op in ("min", "max", "argmin", "argmax")
        return self._value(op, dtype, (x,) if onto == EVENT else (x, onto), onto, 0, optional)

    # -- steps as they are ------------------------------------------------------------------
    def stored(self, name: str, dtype: str) -> int:
        """Return the number of a physical column."""
        if name not in self._column_numbers:
            self._column_numbers[name] = len(self.columns)
            self.columns.append(StoredColumn(name, dtype, self._hints.get(name, 0xFFFFFFFF)))
        return self._column_numbers[name]

    def add(self, node: Node) -> int:
        """Return the number of a node, whose operands are there."""
        number = self._numbers.setdefault(node, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
        return number

    # -- the finished program ---------------------------------------------------------------
    def encode(self, terms: list[int], outputs: list[int]) -> bytes:
        """Return the binary program.

        Parameters
        ----------
        terms : list of int
            Values of dtype bool on the EVENT axis; an event is kept if all are true. They are
            evaluated in this order, each only for the events that are left.
        outputs : list of int
            Values to deliver for the events kept.

        Raises
        ------
        InvalidRequest
            If the program passes NODES_MAX, COLUMNS_MAX or TABLE_MAX.
        """
        if len(self.nodes) > NODES_MAX:
            raise InvalidRequest(f"the query has {len(self.nodes)} steps; {NODES_MAX} are allowed")
        if len(self.columns) > COLUMNS_MAX:
            raise InvalidRequest(f"the query touches {len(self.columns)} columns; {COLUMNS_MAX} are allowed")
        if len(self.table) > TABLE_MAX:
            raise InvalidRequest(f"the query has ranges with {len(self.table)} ends; {TABLE_MAX} are allowed")
        names = [name.encode() for name, _, _ in self.columns]
        head = _HEADER.pack(
            PROGRAM_MAGIC,
            2 if self.table else 1,
            len(self.columns),
            len(self.nodes),
            len(terms),
            len(outputs),
            sum(map(len, names)),
        )
        columns = [
            _COLUMN.pack(name_hash(name), hint, DTYPE_CODE[dtype], name.endswith(OFFSETS_SUFFIX), len(raw))
            for (name, dtype, hint), raw in zip(self.columns, names, strict=True)
        ]
        nodes = [
            _NODE.pack(OPS[op], DTYPE_CODE.get(dtype, 255), 0, *args, *_UNUSED[len(args) :], imm)
            for op, dtype, args, _, imm, _ in self.nodes
        ]
        numbers = struct.pack(f"<{len(terms) + len(outputs)}i", *terms, *outputs)
        table = struct.pack(f"<{len(self.table)}q", *self.table)
        table_size = struct.pack("<Q", len(self.table)) if self.table else b""
        return b"".join((head, table_size, *columns, *nodes, numbers, table, *names))

    # -- inside -----------------------------------------------------------------------------
    def _pick(self, axis: int, i: int, slot: int) -> int:
        """Which element of the parent list stands in `slot` of combination number `i`."""
        return self._value("pick", "int64", (axis, i), EVENT, slot, optional=True)

    def _slots(self, node: Node) -> int:
        return self.nodes[node.args[1]].imm

    def _on_combinations(self, node: Node) -> bool:
        """Whether computing one element is far cheaper than computing all."""
        return node.axis >= 0 and self.nodes[node.axis].op in ("combinations", "cross")

    def _axis(self, op: str, args: tuple[int, ...], imm: int = 0) -> int:
        return self.add(Node(op, "", args, EVENT, imm, False))

    def _value(
        self, op: str, dtype: str, args: tuple[int, ...], axis: int, imm: int = 0, optional: bool = False
    ) -> int:
        return self.add(Node(op, dtype, args, axis, imm, optional))

    def _common(self, *values: int) -> int:
        axes = {self.nodes[v].axis for v in values} - {CONST}
        if not axes:
            return CONST
        if len(axes) > 1:
            raise InvalidRequest("operands lie on different lists")
        return axes.pop()

    def _together(self, *values: int) -> tuple[int, ...]:
        """Spread the values per event over the list axis of the others, if there is one."""
        axes = [self.nodes[v].axis for v in values]
        first = next((axis for axis in axes if axis >= 0), None)
        if first is None:
            return values
        return tuple(
            self.spread(v, first) if axis == EVENT else v for v, axis in zip(values, axes, strict=True)
        )

    def _on(self, x: int, axis: int) -> int:
        """Return `x` on `axis`: constants and event values are spread."""
        if self.axis(x) in (EVENT, CONST):
            return self.spread(x, axis)
        if self.axis(x) != axis:
            raise InvalidRequest("operands lie on different lists")
        return x


def name_hash(name: str) -> int:
    """Return the 64-bit XXH3 of a physical column's name, as the object's directory has it."""
    return xxhash.xxh3_64_intdigest(name.encode())
