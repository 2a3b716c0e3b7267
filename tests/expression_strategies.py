"""Random tables and random expressions over them, for comparing the engine with awkward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from hypothesis import strategies as st

from skyhook_casa.schema import DTYPES, Column, ListInfo, Schema

Draw = Any
FINITE = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.5, 1e-40, 1e30, -1e30, 3.4e38, 16777217.0]
SPECIAL_FLOATS = [np.nan, np.inf, -np.inf, *FINITE]
INTEGERS = "0 1 2 3 7 -1 100 300 -200 70000 4294967296 18446744073709551615".split()
SHIFTS = "0 1 5 31 70".split()
UNARY = (
    "-{} +{} abs({}) sqrt({}) floor({}) ceil({}) trunc({}) round({}) ({}**2) sign({}) "
    "float64({}) float32({}) fill_none({},1)"
).split()
REDUCTIONS = "sum prod min max mean count len count_nonzero argmin argmax".split()
FLOATS = ["0.5", "0.0", "1.5", "-2.5", "1e-3", "0.1", "1e10", "inf", "nan", "pi"]


@dataclass
class Table:
    """Events in memory: flat arrays, and the lengths of the lists."""

    schema: Schema
    n_events: int
    flat: dict[str, np.ndarray[Any, Any]]
    counts: dict[str, np.ndarray[Any, Any]]

    def column(self, name: str) -> Column | None:
        return self.schema.columns.get(name)

    def list_info(self, name: str) -> ListInfo | None:
        return self.schema.lists.get(name)

    def known(self) -> list[str]:
        return [*self.schema.columns, *self.schema.lists]

    def arrays(self) -> dict[str, ak.Array]:
        """Return the columns as awkward arrays, counters included."""
        out = {}
        for column in self.schema.columns.values():
            if column.counts is not None:
                out[column.name] = ak.Array(self.counts[column.counts].astype(column.dtype))
            elif column.list is not None:
                out[column.name] = ak.unflatten(ak.Array(self.flat[column.name]), self.counts[column.list])
            else:
                out[column.name] = ak.Array(self.flat[column.name])
        return out

    def chunk(self, start: int, stop: int) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays of events [start, stop) as an object's chunk has them."""
        out = {}
        for name, counts in self.counts.items():
            out[name + "#"] = np.concatenate([[0], np.cumsum(counts[start:stop])]).astype(np.int32)
        for name, values in self.flat.items():
            owner = self.schema.columns[name].list
            if owner is None:
                out[name] = values[start:stop]
            else:
                edges = np.concatenate([[0], np.cumsum(self.counts[owner])])
                out[name] = values[edges[start] : edges[stop]]
        return out

    @property
    def collections(self) -> frozenset[str]:
        return frozenset(name for name, info in self.schema.lists.items() if info.collection)


def random_values(rng: np.random.Generator, dtype: str, n: int) -> np.ndarray[Any, Any]:
    """Return values of which about a third are special: limits, NaN, infinities, zeros."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(n) < 0.5
    if kind.kind == "f":
        ordinary = rng.normal(0, 10, n)
        special = rng.choice(SPECIAL_FLOATS, n)
        with np.errstate(over="ignore"):
            return np.where(rng.random(n) < 0.4, special, np.round(ordinary, 2)).astype(dtype)
    limits = np.iinfo(kind)
    small = rng.integers(max(limits.min, -4), 5, n).astype(dtype)
    wide = rng.integers(limits.min, limits.max, n, dtype=dtype, endpoint=True)
    ends = rng.choice(np.array([limits.min, limits.max], dtype), n)
    return np.choose(rng.integers(0, 4, n), [small, small, wide, ends])


@st.composite
def tables(draw: Draw) -> Table:
    """Draw a table: event values, two collections, two lists of their own with equal lengths."""
    n_events = draw(st.one_of(st.integers(0, 12), st.sampled_from([100, 700])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns: dict[str, Column] = {}
    lists = {
        "A": ListInfo("A", "nA", collection=True),
        "B": ListInfo("B", "nB", collection=True),
        "u": ListInfo("u"),
        "v": ListInfo("v"),
    }
    counts = {name: rng.choice([0, 0, 1, 2, 3, 5], n_events) for name in ("A", "B", "u")}
    counts["v"] = counts["u"]
    for name in ("A", "B"):
        columns[f"n{name}"] = Column(f"n{name}", draw(st.sampled_from(["uint32", "int64"])), counts=name)
    for prefix, owner in (("E", None), ("A", "A"), ("B", "B")):
        numbers = draw(st.lists(st.sampled_from(DTYPES[1:]), min_size=2, max_size=4, unique=True))
        for dtype in ["bool", *numbers]:
            columns[f"{prefix}_{dtype}"] = Column(f"{prefix}_{dtype}", dtype, owner)
    for name in ("u", "v"):
        columns[name] = Column(name, draw(st.sampled_from(DTYPES[1:])), name)
    flat = {
        c.name: random_values(rng, c.dtype, n_events if c.list is None else int(counts[c.list].sum()))
        for c in columns.values()
        if c.counts is None
    }
    return Table(Schema(columns, lists), n_events, flat, counts)


class Maker:
    """Draws expressions that are mostly well typed.

    A place says where values lie: "" for events, "A", "B" or "u" for a stored list; prefix and
    suffix around a whole column make the others (selections, combinations).
    """

    def __init__(self, draw: Draw, table: Table) -> None:
        self.draw = draw
        self.table = table

    def pick(self, options: list[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def columns(self, place: str, kinds: str) -> list[str]:
        found = []
        for c in self.table.schema.columns.values():
            lies = c.list or ""
            same = lies == place or {lies, place} == {"u", "v"}
            if same and np.dtype(c.dtype).kind in kinds:
                found.append(c.name)
        return found

    def number(self, place: str, depth: int, kinds: str = "iuf") -> str:
        """Return a number at a place; of integer dtype if `kinds` is "iu"."""
        stored = self.columns(place, kinds)
        if depth <= 0 or (stored and self.draw(st.integers(0, 3)) == 0):
            return (
                self.pick(stored) if stored else self.number(place, depth - 1, "iuf") if depth > -2 else "1"
            )
        options = [self._arithmetic, self._arithmetic, self._unary, self._least, self._choice]
        if kinds == "iu":
            options = [self._bits, self._integer_arithmetic, self._choice]
        if place == "":
            options += [self._reduction, self._element] if kinds != "iu" else [self._integer_reduction]
        if kinds != "iu":
            options.append(self._masked)
            options += [self._nested] * (place == "A")
        return str(self.pick(options)(place, depth - 1, kinds))

    def truth(self, place: str, depth: int) -> str:
        """Return a truth value at a place."""
        stored = self.columns(place, "b")
        if depth <= 0 and stored and self.draw(st.booleans()):
            return str(self.pick(stored))
        options = [self._comparison, self._comparison, self._chained, self._member, self._test]
        if depth > 0:
            options += [self._logic, self._logic, self._negation, self._truth_choice]
            if place == "":
                options += [self._quantifier, self._quantifier, self._truth_element]
            if place == "A":
                options.append(self._nested_quantifier)
        return str(self.pick(options)(place, depth - 1))

    def operand(self, place: str, depth: int, kinds: str = "iuf") -> str:
        """Return a number at a place, a number per event to be spread, or one of the text."""
        what = self.draw(st.integers(0, 9))
        if what < 3:
            return str(self.pick(INTEGERS if kinds == "iu" or self.draw(st.booleans()) else FLOATS))
        if what == 3 and place:
            return self.number("", depth, kinds)
        return self.number(place, depth, kinds)

    def listed(self, depth: int, kinds: str = "iuf") -> str:
        """Return numbers of any list: stored, selected, of combinations."""
        place = self.pick(["A", "B", "u"])
        x = self.number(place, depth, kinds)
        form = self.draw(st.integers(0, 7))
        if form < 3:
            return x
        if form == 3:
            return f"({x})[{self.truth(place, depth - 1)}]"
        if form == 4:
            return f"({x})[{self.pick(['1:', ':2', '1:3', ':-1', '-2:', '::2', '1::2', ':'])}]"
        if form == 5:
            mask = self.truth(place, depth - 1)
            return f"(({x})[{mask}] {self.pick('+-*')} ({self.number(place, depth - 1)})[{mask}])"
        if form == 6:
            n = self.pick([2, 2, 3])
            a, b = self.pick(range(n)), self.pick(range(n))
            y = self.number(place, depth - 1)
            return f"(combinations({x}, {n}).slot{a} {self.pick('+-*')} combinations({y}, {n}).slot{b})"
        y = self.number("B", depth - 1)
        z = self.number("A", depth - 1)
        return f"(cross({z}, {y}).slot0 - cross({z}, {y}).slot1)"

    # -- numbers ----------------------------------------------------------------------------
    def _arithmetic(self, place: str, depth: int, kinds: str) -> str:
        op = self.pick(["+", "-", "*", "/", "//", "%"])
        a, b = self.number(place, depth), self.operand(place, depth)
        return f"({a} {op} {b})" if self.draw(st.booleans()) else f"({b} {op} {a})"

    def _integer_arithmetic(self, place: str, depth: int, kinds: str) -> str:
        op = self.pick(["+", "-", "*", "//", "%"])
        return f"({self.number(place, depth, 'iu')} {op} {self.operand(place, depth, 'iu')})"

    def _bits(self, place: str, depth: int, kinds: str) -> str:
        if self.draw(st.integers(0, 4)) == 0:
            return f"(~{self.number(place, depth, 'iu')})"
        if self.draw(st.integers(0, 3)) == 0:
            return f"({self.number(place, depth, 'iu')} {self.pick(['<<', '>>'])} {self.pick(SHIFTS)})"
        op = self.pick(["&", "|", "^"])
        return f"({self.number(place, depth, 'iu')} {op} {self.operand(place, depth, 'iu')})"

    def _unary(self, place: str, depth: int, kinds: str) -> str:
        form = self.pick(UNARY)
        return str(form.format(self.number(place, depth)))

    def _least(self, place: str, depth: int, kinds: str) -> str:
        name = self.pick(["min", "max", "minimum", "maximum"])
        return f"{name}({self.number(place, depth)}, {self.operand(place, depth)})"

    def _choice(self, place: str, depth: int, kinds: str) -> str:
        a, b = self.number(place, depth, kinds), self.operand(place, depth, kinds)
        if self.draw(st.booleans()):
            return f"where({self.truth(place, depth)}, {a}, {b})"
        return f"({a} if {self.truth(place, depth)} else {b})"

    def _masked(self, place: str, depth: int, kinds: str) -> str:
        return f"mask({self.number(place, depth)}, {self.truth(place, depth)})"

    def _nested(self, place: str, depth: int, kinds: str) -> str:
        """One number for each element of A, from those of B."""
        name = self.pick(["sum", "prod", "min", "max", "argmin", "argmax", "count_nonzero"])
        cross = f"cross({self.number('A', depth - 1)}, {self.number('B', depth - 1)})"
        return f"{name}({cross}.slot0 {self.pick('+-*')} {cross}.slot1, axis=2)"

    def _nested_quantifier(self, place: str, depth: int) -> str:
        cross = f"cross({self.number('A', depth - 1)}, {self.number('B', depth - 1)})"
        return f"{self.pick(['any', 'all'])}({cross}.slot0 {self.pick('<>')} {cross}.slot1, axis=2)"

    def _reduction(self, place: str, depth: int, kinds: str) -> str:
        return f"{self.pick(REDUCTIONS)}({self.listed(depth)})"

    def _integer_reduction(self, place: str, depth: int, kinds: str) -> str:
        name = self.pick(["sum", "count", "len", "count_nonzero", "argmin", "argmax"])
        return f"{name}({self.listed(depth, 'iu' if name == 'sum' else 'iuf')})"

    def _element(self, place: str, depth: int, kinds: str) -> str:
        if self.draw(st.booleans()):
            return f"({self.listed(depth)})[{self.pick(['0', '1', '-1', '-2', '4'])}]"
        place = self.pick(["A", "B", "u"])
        at = self.pick(
            [f"argmax({self.number(place, depth)})", "nA - 1", "nB", f"argmin({self.listed(depth)})"]
        )
        return f"({self.number(place, depth)})[{at}]"

    # -- truths -----------------------------------------------------------------------------
    def _comparison(self, place: str, depth: int) -> str:
        op = self.pick(["==", "!=", "<", "<=", ">", ">="])
        a, b = self.number(place, depth), self.operand(place, depth)
        return f"({a} {op} {b})" if self.draw(st.integers(0, 3)) else f"({b} {op} {a})"

    def _chained(self, place: str, depth: int) -> str:
        parts = [self.operand(place, depth), self.number(place, depth), self.operand(place, depth)]
        return f"({parts[0]} {self.pick(['<', '<='])} {parts[1]} {self.pick(['<', '>=', '!='])} {parts[2]})"

    def _member(self, place: str, depth: int) -> str:
        values = self.draw(st.lists(st.sampled_from(INTEGERS[:8] + FLOATS[:4]), min_size=1, max_size=3))
        return f"({self.number(place, depth)} {self.pick(['in', 'not in'])} [{', '.join(values)}])"

    def _test(self, place: str, depth: int) -> str:
        return f"{self.pick(['isnan', 'isfinite', 'isinf', 'is_none'])}({self.number(place, depth)})"

    def _logic(self, place: str, depth: int) -> str:
        op = self.pick(["and", "or", "&", "|", "^", "&&", "||", "==", "!="])
        other = "" if place and self.draw(st.integers(0, 4)) == 0 else place
        return f"({self.truth(place, depth)} {op} {self.truth(other, depth)})"

    def _negation(self, place: str, depth: int) -> str:
        return f"({self.pick(['not ', '~', '!'])}{self.truth(place, depth)})"

    def _truth_choice(self, place: str, depth: int) -> str:
        return f"where({self.truth(place, depth)}, {self.truth(place, depth)}, {self.truth(place, depth)})"

    def _quantifier(self, place: str, depth: int) -> str:
        inner = self.pick(["A", "B", "u"])
        x = self.truth(inner, depth) if self.draw(st.integers(0, 3)) else self.listed(depth)
        return f"{self.pick(['any', 'all'])}({x})"

    def _truth_element(self, place: str, depth: int) -> str:
        return f"({self.truth(self.pick(['A', 'B', 'u']), depth)})[{self.pick(['0', '-1', '2'])}]"


@st.composite
def values_of(draw: Draw, table: Table, depth: int = 4) -> str:
    """Draw an expression for a derived column, exact in IEEE 754."""
    maker = Maker(draw, table)
    form = draw(st.integers(0, 5))
    if form == 0:
        return maker.number("", depth)
    if form == 1:
        return maker.truth(draw(st.sampled_from(["A", "u"])), depth - 1)
    if form == 2:
        return maker.number(draw(st.sampled_from(["A", "B", "u"])), depth - 1)
    return maker.listed(depth - 1) if form == 3 else maker.truth("", depth)


@st.composite
def cuts_of(draw: Draw, table: Table, depth: int = 4) -> str:
    """Draw a cut of one to three conditions."""
    maker = Maker(draw, table)
    return draw(st.sampled_from([" and ", " & ", " && "])).join(
        f"({maker.truth('', depth - 1)})" for _ in range(draw(st.integers(1, 3)))
    )
