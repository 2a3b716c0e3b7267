"""The query language once more, in plain awkward: the oracle that the engine is compared with.

Nothing here looks at the compiler or the program; only Python's `ast` is shared. Speed is no aim.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

Scalar = bool | int | float


@dataclass
class Names:
    """What the columns of a dict of arrays are: collections, and event values."""

    arrays: Mapping[str, ak.Array]
    collections: frozenset[str]
    defined: Mapping[str, str]
    thinned: str = ""


class Rec:
    """A record: fields by name; `parts` of a combination."""

    def __init__(self, get: Callable[[str], Any], parts: tuple[Any, ...] = (), p4: Any = None) -> None:
        self.get = get
        self.parts = parts
        self.p4 = p4

    def each(self, function: Callable[[Any], Any]) -> Rec:
        return Rec(
            lambda name: function(self.get(name)),
            tuple(p.each(function) if isinstance(p, Rec) else function(p) for p in self.parts),
            None if self.p4 is None else tuple(map(function, self.p4)),
        )

    def momentum(self) -> tuple[Any, ...]:
        if self.p4 is not None:
            return self.p4
        if self.parts:
            total = self.parts[0].momentum()
            for part in self.parts[1:]:
                total = tuple(a + b for a, b in zip(total, part.momentum(), strict=True))
            return total
        pt, eta, phi, mass = (ak.values_astype(self.get(f), "float64") for f in ("pt", "eta", "phi", "mass"))
        px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
        return px, py, pz, np.sqrt(px * px + py * py + pz * pz + mass * mass)

    def kinematic(self, name: str) -> Any:
        if self.p4 is None and not self.parts and name in ("pt", "eta", "phi", "mass"):
            return self.get(name)
        px, py, pz, energy = self.momentum()
        p2 = px * px + py * py + pz * pz
        mass2 = energy * energy - p2
        return {
            "px": lambda: px,
            "py": lambda: py,
            "pz": lambda: pz,
            "energy": lambda: energy,
            "pt": lambda: np.sqrt(px * px + py * py),
            "phi": lambda: np.arctan2(py, px),
            "eta": lambda: np.arcsinh(pz / np.sqrt(px * px + py * py)),
            "p": lambda: np.sqrt(p2),
            "mass": lambda: np.sign(mass2) * np.sqrt(np.abs(mass2)),
        }[name]()


def evaluate(
    text: str,
    arrays: Mapping[str, ak.Array],
    collections: frozenset[str] = frozenset(),
    defined: Mapping[str, str] | None = None,
    thinned: str = "",
) -> Any:
    """Return what an expression means for arrays by flat name; counters are among them."""
    names = Names(arrays, collections, defined or {}, thinned)
    tree = ast.parse(_pythonic(text), mode="eval").body
    with np.errstate(all="ignore"):
        return _operand(tree, names)


def as_column(value: Any, n_events: int) -> ak.Array:
    """Return a result as a column: a number is repeated for each event."""
    return ak.Array(np.full(n_events, value)) if not isinstance(value, ak.Array) else value


def _pythonic(text: str) -> str:
    text = text.replace("&&", " and ").replace("||", " or ")
    return re.sub(r"!(?!=)", "~", text).strip()


# -- shape ------------------------------------------------------------------------------------
def is_list(x: Any) -> bool:
    return isinstance(x, ak.Array) and x.ndim > 1


def dtype_of(x: ak.Array) -> np.dtype[Any]:
    layout = ak.to_layout(x)
    while not layout.is_numpy:
        layout = layout.content
    return layout.dtype


def _spread(x: ak.Array, like: ak.Array) -> ak.Array:
    """Repeat a value per event for each element of a list."""
    counts = ak.to_numpy(ak.num(like))
    return ak.unflatten(x[np.repeat(np.arange(len(counts)), counts)], counts)


def _together(*operands: Any) -> list[Any]:
    like = next((x for x in operands if is_list(x)), None)
    if like is None:
        return list(operands)
    return [_spread(x, like) if isinstance(x, ak.Array) and not is_list(x) else x for x in operands]


def _true(x: Any) -> Any:
    """Return truth values with the missing ones false."""
    if isinstance(x, bool):
        return x
    if not isinstance(x, ak.Array) or dtype_of(x) != np.bool_:
        raise TypeError("a truth value is needed")
    return ak.fill_none(x, False, axis=-1)


# -- element by element -----------------------------------------------------------------------
_BINARY: dict[type[ast.operator], tuple[np.ufunc, Callable[..., Any]]] = {
    ast.Add: (np.add, operator.add),
    ast.Sub: (np.subtract, operator.sub),
    ast.Mult: (np.multiply, operator.mul),
    ast.Div: (np.true_divide, operator.truediv),
    ast.FloorDiv: (np.floor_divide, operator.floordiv),
    ast.Mod: (np.remainder, operator.mod),
    ast.Pow: (np.power, operator.pow),
    ast.BitAnd: (np.bitwise_and, operator.and_),
    ast.BitOr: (np.bitwise_or, operator.or_),
    ast.BitXor: (np.bitwise_xor, operator.xor),
    ast.LShift: (np.left_shift, operator.lshift),
    ast.RShift: (np.right_shift, operator.rshift),
}
_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _ufunc(ufunc: np.ufunc, python: Callable[..., Any], *operands: Any) -> Any:
    if not any(isinstance(x, ak.Array) for x in operands):
        return python(*operands)
    operands = tuple(_together(*operands))
    result = ufunc(*operands)
    if dtype_of(result) == np.float16:
        wide = [ak.values_astype(x, "float32") if isinstance(x, ak.Array) else x for x in operands]
        result = ufunc(*wide)
    return result


def _binary(op: ast.operator, a: Any, b: Any) -> Any:
    ufunc, python = _BINARY[type(op)]
    if isinstance(a, Rec) or isinstance(b, Rec):
        pairs = zip(a.momentum(), b.momentum(), strict=True)
        return _p4(tuple(_ufunc(ufunc, python, x, y) for x, y in pairs))
    if isinstance(op, (ast.BitAnd, ast.BitOr, ast.BitXor)) and _is_bool(a) and _is_bool(b):
        a, b = _true(a), _true(b)
    if isinstance(op, ast.Pow) and isinstance(b, int) and b < 0 and _is_integer(a):
        raise ValueError("negative power of integers")
    return _ufunc(ufunc, python, a, b)


def _is_bool(x: Any) -> bool:
    return isinstance(x, bool) or (isinstance(x, ak.Array) and dtype_of(x) == np.bool_)


def _is_integer(x: Any) -> bool:
    return isinstance(x, ak.Array) and dtype_of(x).kind in "iu"


def _compare(op: ast.cmpop, a: Any, b: Any) -> Any:
    python = _COMPARE[type(op)]
    if not isinstance(a, ak.Array) and not isinstance(b, ak.Array):
        return python(a, b)
    for array, number in ((a, b), (b, a)):
        if _is_integer(array) and isinstance(number, int) and not isinstance(number, bool):
            limits = np.iinfo(dtype_of(array))
            if not limits.min <= number <= limits.max:
                same = array == array
                truth = python(0, number) if array is a else python(number, 0)
                return ak.fill_none(same if truth else ~same, False, axis=-1)
    a, b = _together(a, b)
    return ak.fill_none(python(a, b), False, axis=-1)


def _logic(op: str, a: Any, b: Any) -> Any:
    a, b = _together(_true(a), _true(b))
    return (a & b) if op == "and" else (a | b)


def _not(x: Any) -> Any:
    return (not x) if isinstance(x, bool) else ~_true(x)


def _where(condition: Any, a: Any, b: Any) -> Any:
    condition = _true(condition)
    like = next(x for x in (condition, a, b) if isinstance(x, ak.Array))
    if not isinstance(condition, ak.Array):
        condition = ak.Array(np.full(len(like), condition))
    condition, a, b = _together(condition, a, b)
    return ak.where(condition, a, b)


def _mask(x: Any, condition: Any) -> Any:
    condition = _true(condition)
    like = next((y for y in (condition, x) if isinstance(y, ak.Array)), None)
    if not isinstance(condition, ak.Array):
        condition = ak.Array(np.full(len(like), condition))
    if not isinstance(x, ak.Array):
        x = ak.where(condition, x, x)
    condition, x = _together(condition, x)
    return ak.mask(x, condition)


# -- lists ------------------------------------------------------------------------------------
def _select(x: Any, mask: Any) -> Any:
    if not is_list(mask):
        raise TypeError("the mask is no list")
    mask = _true(mask)
    return x.each(lambda f: f[mask]) if isinstance(x, Rec) else x[mask]


def _element(x: Any, i: Any) -> Any:
    if isinstance(x, Rec):
        return x.each(lambda f: _element(f, i))
    if not is_list(x) or is_list(i) or isinstance(i, (bool, float)):
        raise TypeError("an index needs a list and a whole number")
    if isinstance(i, ak.Array):
        if dtype_of(i).kind not in "iu":
            raise TypeError("an index needs a whole number")
        i = ak.values_astype(i, "int64")
    n = ak.num(x)
    place = ak.where(n < 0, n, i) if isinstance(i, int) else i
    place = ak.fill_none(ak.where(place < 0, place + n, place), -1)
    return ak.firsts(x[ak.local_index(x, axis=1) == place])


def _slice(x: Any, node: ast.Slice, names: Names) -> Any:
    bounds = [None if n is None else _operand(n, names) for n in (node.lower, node.upper, node.step)]
    where = (slice(None), slice(*bounds))
    return x.each(lambda f: f[where]) if isinstance(x, Rec) else x[where]


def _index_of(x: Any) -> ak.Array:
    return ak.local_index(_any_field(x), axis=1)


def _any_field(x: Any) -> ak.Array:
    """Return some array that lies where `x` lies."""
    if not isinstance(x, Rec):
        if not is_list(x):
            raise TypeError("a list is needed")
        return x
    if x.parts:
        return _any_field(x.parts[0])
    return x.p4[0] if x.p4 is not None else x.get("*")


def _pick(x: Any, at: ak.Array) -> Any:
    return x.each(lambda f: f[at]) if isinstance(x, Rec) else x[at]


def _combinations(x: Any, n: int = 2) -> Rec:
    places = ak.unzip(ak.combinations(_index_of(x), n, axis=1))
    return Rec(_no_field, tuple(_pick(x, at) for at in places))


def _cross(*operands: Any) -> Rec:
    places = ak.unzip(ak.cartesian([_index_of(x) for x in operands], axis=1))
    return Rec(_no_field, tuple(_pick(x, at) for x, at in zip(operands, places, strict=True)))


def _no_field(name: str) -> Any:
    raise KeyError(name)


def _p4(momentum: tuple[Any, ...]) -> Rec:
    return Rec(_no_field, (), momentum)


def _listed(x: Any) -> Any:
    if not is_list(x):
        raise TypeError("a list is needed")
    return x


# -- functions --------------------------------------------------------------------------------
def _unary_ufunc(ufunc: np.ufunc, python: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: _ufunc(ufunc, python, x)


def _elementwise_or(reduction: Callable[[Any], Any], ufunc: np.ufunc, python: Any) -> Callable[..., Any]:
    def function(*operands: Any) -> Any:
        if len(operands) == 1:
            return reduction(operands[0])
        result = operands[0]
        for x in operands[1:]:
            result = _ufunc(ufunc, python, result, x)
        return result

    return function


def _sum(x: Any) -> Any:
    if isinstance(x, Rec):
        return _p4(tuple(ak.sum(p, axis=1) for p in x.momentum()))
    return ak.sum(_listed(x), axis=1)


def _coordinate(x: Any, name: str) -> Any:
    return x.get(name) if isinstance(x, Rec) else x


def _delta_phi(*operands: Any) -> Any:
    a, b = operands[0].parts if len(operands) == 1 else operands
    difference = _ufunc(np.subtract, operator.sub, _coordinate(a, "phi"), _coordinate(b, "phi"))
    return (difference + math.pi) % (2 * math.pi) - math.pi


def _delta_eta(*operands: Any) -> Any:
    a, b = operands[0].parts if len(operands) == 1 else operands
    return _ufunc(np.subtract, operator.sub, _coordinate(a, "eta"), _coordinate(b, "eta"))


def _delta_r(*operands: Any) -> Any:
    if len(operands) == 4:
        eta, phi = _delta_eta(operands[0], operands[2]), _delta_phi(operands[1], operands[3])
    else:
        eta, phi = _delta_eta(*operands), _delta_phi(*operands)
    return np.sqrt(eta * eta + phi * phi)


def _round(x: Any) -> Any:
    return x if _is_integer(x) else _ufunc(np.rint, round, x)


def _astype(x: Any, dtype: str) -> Any:
    return ak.values_astype(x, dtype) if isinstance(x, ak.Array) else np.dtype(dtype).type(x)


def _fill_none(x: Any, value: Scalar) -> Any:
    wide = x if _is_bool(x) else ak.values_astype(x, dtype_of(x[:0] + value))
    return ak.values_astype(ak.fill_none(wide, value, axis=-1), dtype_of(wide))


_MATH = "sqrt exp expm1 log log2 log10 log1p sin cos tan sinh cosh tanh isfinite isnan isinf floor ceil trunc"
_ARC = "sin cos tan sinh cosh tanh".split()

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _unary_ufunc(getattr(np, name), getattr(math, name)) for name in _MATH.split()},
    **{"a" + name: _unary_ufunc(getattr(np, "arc" + name), getattr(math, "a" + name)) for name in _ARC},
    **{"arc" + name: _unary_ufunc(getattr(np, "arc" + name), getattr(math, "a" + name)) for name in _ARC},
    **{name: _unary_ufunc(np.absolute, abs) for name in ("abs", "fabs", "absolute")},
    "sign": _unary_ufunc(np.sign, lambda x: (x > 0) - (x < 0)),
    "round": _round,
    "rint": _unary_ufunc(np.rint, round),
    "pow": lambda a, b: _binary(ast.Pow(), a, b),
    "atan2": lambda a, b: _ufunc(np.arctan2, math.atan2, a, b),
    "hypot": lambda a, b: _ufunc(np.hypot, math.hypot, a, b),
    "minimum": lambda a, b: _ufunc(np.minimum, min, a, b),
    "maximum": lambda a, b: _ufunc(np.maximum, max, a, b),
    "min": _elementwise_or(lambda x: ak.min(_listed(x), axis=1), np.minimum, min),
    "max": _elementwise_or(lambda x: ak.max(_listed(x), axis=1), np.maximum, max),
    "any": lambda x: ak.any(_listed(x), axis=1),
    "all": lambda x: ak.all(_listed(x), axis=1),
    "sum": _sum,
    "prod": lambda x: ak.prod(_listed(x), axis=1),
    "mean": lambda x: ak.mean(_listed(x), axis=1),
    "count": lambda x: ak.count(_any_field(x), axis=1),
    "count_nonzero": lambda x: ak.count_nonzero(_listed(x), axis=1),
    "len": lambda x: ak.num(_any_field(x), axis=1),
    "num": lambda x: ak.num(_any_field(x), axis=1),
    "argmin": lambda x: ak.argmin(_listed(x), axis=1),
    "argmax": lambda x: ak.argmax(_listed(x), axis=1),
    "local_index": _index_of,
    "where": _where,
    "mask": _mask,
    "fill_none": _fill_none,
    "is_none": lambda x: ak.is_none(x, axis=-1),
    "firsts": lambda x: _element(x, 0),
    "pairs": _combinations,
    "combinations": _combinations,
    "cross": _cross,
    **{k: (lambda x, k=k: x.kinematic(k)) for k in "pt eta phi mass energy px py pz p".split()},
    "deltaphi": _delta_phi,
    "deltaeta": _delta_eta,
    "deltaR": _delta_r,
    **{t: (lambda x, t=t: _astype(x, t)) for t in "int8 int64 uint64 float32 float64 longdouble".split()},
}


# -- the tree ---------------------------------------------------------------------------------
def _operand(node: ast.expr, names: Names) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _name(node.id, names)
        case ast.Attribute():
            return _attribute(node, names)
        case ast.BoolOp():
            result = _operand(node.values[0], names)
            for part in node.values[1:]:
                right = _operand(part, names)
                result = _logic("and" if isinstance(node.op, ast.And) else "or", result, right)
            return result
        case ast.BinOp():
            return _binary(node.op, _operand(node.left, names), _operand(node.right, names))
        case ast.UnaryOp():
            return _unary(node.op, _operand(node.operand, names))
        case ast.Compare():
            return _comparison(node, names)
        case ast.IfExp():
            return _where(*(_operand(n, names) for n in (node.test, node.body, node.orelse)))
        case ast.Call():
            function = node.func.id if isinstance(node.func, ast.Name) else node.func.attr  # type: ignore[attr-defined]
            if any(k.arg == "axis" and ast.unparse(k.value) == "2" for k in node.keywords):
                return _nested(FUNCTIONS[function], node.args[0], names)
            return FUNCTIONS[function](*(_operand(a, names) for a in node.args))
        case ast.Subscript():
            x = _operand(node.value, names)
            if isinstance(node.slice, ast.Slice):
                return _slice(x, node.slice, names)
            i = _operand(node.slice, names)
            return _select(x, i) if _is_bool(i) else _element(x, i)
    raise TypeError(type(node).__name__)


def _nested(reduction: Callable[[Any], Any], node: ast.expr, names: Names) -> Any:
    """Reduce a value on a cross, one result for each element of the first part."""
    cross = next(n for n in ast.walk(node) if isinstance(n, ast.Call) and ast.unparse(n.func) == "cross")
    left, right = (ak.num(_index_of(_operand(a, names))) for a in cross.args)
    inner = ak.unflatten(ak.flatten(_listed(_operand(node, names)), axis=1), np.repeat(right, left))
    return ak.unflatten(reduction(inner), left)


def _name(name: str, names: Names) -> Any:
    if name in names.defined:
        earlier = list(names.defined)[: list(names.defined).index(name)]
        inside = {n: names.defined[n] for n in earlier}
        text = _pythonic(names.defined[name])
        return _operand(ast.parse(text, mode="eval").body, Names(names.arrays, names.collections, inside))
    if names.thinned and f"{names.thinned}_{name}" in names.arrays:
        return names.arrays[f"{names.thinned}_{name}"]
    if name in names.arrays:
        return names.arrays[name]
    if name in names.collections or f"{name}_phi" in names.arrays:
        fields = [n for n in names.arrays if n.startswith(name + "_")]
        return Rec(lambda f: _field(names, name, fields[0] if f == "*" else f"{name}_{f}"))
    return {"pi": math.pi, "inf": math.inf, "nan": math.nan}[name]


def _field(names: Names, collection: str, name: str) -> ak.Array:
    """Return a column of a collection; a photon's mass is 0."""
    if name == "Photon_mass" and name not in names.arrays:
        return names.arrays[f"{collection}_pt"] * 0
    return names.arrays[name]


def _attribute(node: ast.Attribute, names: Names) -> Any:
    if isinstance(node.value, ast.Name) and f"{node.value.id}_{node.attr}" in names.arrays:
        return names.arrays[f"{node.value.id}_{node.attr}"]
    record = _operand(node.value, names)
    if not isinstance(record, Rec):
        raise TypeError("no record")
    if record.parts and node.attr.startswith("slot"):
        return record.parts[int(node.attr[4:])]
    if record.parts or record.p4 is not None or node.attr in ("px", "py", "pz", "energy", "p"):
        return record.kinematic(node.attr)
    return record.get(node.attr)


def _unary(op: ast.unaryop, x: Any) -> Any:
    if isinstance(op, ast.Not):
        return _not(x)
    if isinstance(op, ast.Invert):
        return _not(x) if _is_bool(x) else _ufunc(np.invert, operator.inv, x)
    if isinstance(op, ast.UAdd):
        return x
    return _ufunc(np.negative, operator.neg, x)


def _comparison(node: ast.Compare, names: Names) -> Any:
    left = _operand(node.left, names)
    result = None
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, (ast.In, ast.NotIn)):
            assert isinstance(right_node, (ast.Tuple, ast.List))
            step: Any = False
            for number, choice in enumerate(right_node.elts):
                equal = _compare(ast.Eq(), left, _operand(choice, names))
                step = equal if number == 0 else _logic("or", step, equal)
            step = _not(step) if isinstance(op, ast.NotIn) else step
            right = left
        else:
            right = _operand(right_node, names)
            step = _compare(op, left, right)
        result = step if result is None else _logic("and", result, step)
        left = right
    return result
