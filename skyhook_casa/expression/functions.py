"""The functions of the query language, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..program import COMBINATIONS_MAX
from . import fourvector
from .emit import Emitter, fold
from .types import Array, Literal, Mismatch, Number, Operand, Record

Handler = Callable[[Emitter, Sequence[Operand]], Operand]


@dataclass(frozen=True, slots=True)
class Function:
    """A function that expressions can call."""

    handler: Handler
    arguments_min: int
    arguments_max: int
    keyword: str = ""
    """The one keyword argument it takes: `axis` (1 or −1, without effect) or `n`."""
    nests: bool = False
    """Whether `axis` may be 2: one result for each element of the first part of a cross."""


# -- element by element -----------------------------------------------------------------------
_UNARY: Final[dict[str, tuple[str, np.ufunc, Callable[..., Number]]]] = {
    "abs": ("abs", np.absolute, abs),
    "sign": ("sign", np.sign, lambda x: (x > 0) - (x < 0)),
    "sqrt": ("sqrt", np.sqrt, math.sqrt),
    "exp": ("exp", np.exp, math.exp),
    "expm1": ("expm1", np.expm1, math.expm1),
    "log": ("log", np.log, math.log),
    "log2": ("log2", np.log2, math.log2),
    "log10": ("log10", np.log10, math.log10),
    "log1p": ("log1p", np.log1p, math.log1p),
    "sin": ("sin", np.sin, math.sin),
    "cos": ("cos", np.cos, math.cos),
    "tan": ("tan", np.tan, math.tan),
    "asin": ("asin", np.arcsin, math.asin),
    "acos": ("acos", np.arccos, math.acos),
    "atan": ("atan", np.arctan, math.atan),
    "sinh": ("sinh", np.sinh, math.sinh),
    "cosh": ("cosh", np.cosh, math.cosh),
    "tanh": ("tanh", np.tanh, math.tanh),
    "rint": ("rint", np.rint, lambda x: float(round(x))),
    "asinh": ("asinh", np.arcsinh, math.asinh),
    "acosh": ("acosh", np.arccosh, math.acosh),
    "atanh": ("atanh", np.arctanh, math.atanh),
}
_ROUNDING: Final[dict[str, tuple[str, np.ufunc, Callable[..., Number]]]] = {
    "floor": ("floor", np.floor, math.floor),
    "ceil": ("ceil", np.ceil, math.ceil),
    "trunc": ("trunc", np.trunc, math.trunc),
    "round": ("rint", np.rint, round),
}
_TESTS: Final[dict[str, Callable[..., bool]]] = {
    "isfinite": math.isfinite,
    "isnan": math.isnan,
    "isinf": math.isinf,
}
_ALIASES: Final = {
    "absolute": "abs",
    "fabs": "abs",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "power": "pow",
    "num": "len",
    "size": "len",
    "cartesian": "cross",
    "deltaPhi": "deltaphi",
    "delta_phi": "deltaphi",
    "deltaEta": "deltaeta",
    "delta_eta": "deltaeta",
    "deltar": "deltaR",
    "delta_r": "deltaR",
}


def _elementwise(name: str) -> Handler:
    op, ufunc, python = _UNARY[name]

    def handler(emitter: Emitter, args: Sequence[Operand]) -> Operand:
        (x,) = args
        if isinstance(x, Literal):
            return fold(python, x)
        if op == "abs" and emitter.dtype(x) == "bool":
            return x
        return emitter.unary(op, ufunc, x)

    return handler


def _rounding(name: str) -> Handler:
    op, ufunc, python = _ROUNDING[name]

    def handler(emitter: Emitter, args: Sequence[Operand]) -> Operand:
        (x,) = args
        if isinstance(x, Literal):
            return fold(lambda v: float(python(v)), x) if isinstance(x.value, float) else x
        kind = np.dtype(emitter.dtype(x)).kind
        if kind in "iu" or (kind == "b" and name != "round"):
            return emitter.array(x)
        return emitter.unary(op, ufunc, x)

    return handler


def _test(name: str) -> Handler:
    def handler(emitter: Emitter, args: Sequence[Operand]) -> Operand:
        (x,) = args
        if isinstance(x, Literal):
            return fold(_TESTS[name], x)
        x = emitter.array(x)
        floating = np.dtype(emitter.dtype(x)).kind == "f"
        return Array(emitter.builder.unary(name, (x if floating else emitter.cast(x, "float64")).node))

    return handler


def _binary(op: str) -> Handler:
    return lambda emitter, args: emitter.arithmetic(op, args[0], args[1])


def _conversion(dtype: str) -> Handler:
    def handler(emitter: Emitter, args: Sequence[Operand]) -> Operand:
        (x,) = args
        if isinstance(x, Literal):
            x = Literal(
                bool(x.value) if dtype == "bool" else float(x.value) if "float" in dtype else int(x.value)
            )
        return emitter.cast(x, dtype)

    return handler


# -- reductions -------------------------------------------------------------------------------
def _truth(op: str) -> Handler:
    return lambda emitter, args: emitter.reduce(op, args[0], "bool")


def _accumulate(op: str) -> Handler:
    def handler(emitter: Emitter, args: Sequence[Operand]) -> Operand:
        (x,) = args
        if isinstance(x, Record) and op == "sum":
            emitter.list_of(x, op)
            return fourvector.total(emitter, x)
        kind = np.dtype(emitter.dtype(x)).kind
        if kind == "b" and op == "sum":
            return emitter.reduce("count_nonzero", x)
        return emitter.reduce(op, x, {"f": None, "u": "uint64"}.get(kind, "int64"))

    return handler


def _extreme(reduction: str, pairwise: str) -> Handler:
    """`min` and `max`: of one list its least element, of several operands element by element."""

    def handler(emitter: Emitter, args: Sequence[Operand]) -> Operand:
        if len(args) == 1:
            return _as_bool_if_bool(emitter, reduction, args[0])
        result = args[0]
        for x in args[1:]:
            result = emitter.arithmetic(pairwise, result, x)
        return result

    return handler


def _as_bool_if_bool(emitter: Emitter, reduction: str, x: Operand) -> Operand:
    if emitter.dtype(x) != "bool":
        return emitter.reduce(reduction, x)
    return emitter.cast(emitter.reduce(reduction, x, "int8"), "bool")


def _position(op: str) -> Handler:
    return lambda emitter, args: emitter.reduce(
        op, args[0], "int8" if emitter.dtype(args[0]) == "bool" else None
    )


def _length(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    return Array(emitter.builder.count(emitter.list_of(args[0], "len")))


def _count(emitter: Emitter, args: Sequence[Operand]) -> Array:
    (x,) = args
    axis = emitter.list_of(x, "count")
    if isinstance(x, Array) and emitter.builder.optional(x.node):
        return emitter.reduce("count_nonzero", Array(emitter.builder.present(x.node)))
    return Array(emitter.builder.count(axis))


def _mean(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    total = emitter.reduce("sum", args[0], "float64")
    return emitter.arithmetic("div", total, emitter.cast(_count(emitter, args), "float64"))


def _local_index(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    return Array(emitter.builder.local_index(emitter.list_of(args[0], "local_index")))


# -- choices and missing elements -------------------------------------------------------------
def _fill_none(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    x, value = emitter.array(args[0]), args[1]
    if not isinstance(value, Literal):
        raise Mismatch("the second operand of fill_none must be a number")
    if emitter.dtype(x) == "bool":
        emitter.truth(value, "fill_none of a bool")
    return emitter.filled(emitter.cast(x, emitter.promoted(x, value)), value.value)


def _is_none(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    return emitter.negation(Array(emitter.builder.present(emitter.array(args[0]).node)))


def _first(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    return emitter.element(args[0], Literal(0))


# -- combinations and four-vectors ------------------------------------------------------------
def _combinations(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    n = args[1] if len(args) > 1 else Literal(2)
    if (
        not isinstance(n, Literal)
        or isinstance(n.value, (bool, float))
        or not 2 <= n.value <= COMBINATIONS_MAX
    ):
        raise Mismatch(f"combinations are taken of 2 to {COMBINATIONS_MAX} elements, written as a number")
    return fourvector.combinations(emitter, args[0], n.value)


def _kinematic(name: str) -> Handler:
    def handler(emitter: Emitter, args: Sequence[Operand]) -> Operand:
        (x,) = args
        if not isinstance(x, Record):
            raise Mismatch(f"{name} needs a record such as Muon or pairs(Muon), not {emitter.describe(x)}")
        return x.field(name)

    return handler


def _two_records(word: str, args: Sequence[Operand]) -> tuple[Operand, Operand]:
    if len(args) == 2:
        return args[0], args[1]
    if len(args) == 1 and isinstance(args[0], fourvector.Combined) and len(args[0].slots) == 2:
        return args[0].slots[0], args[0].slots[1]
    raise Mismatch(f"{word} needs two records or angles, or pairs")


def _delta_phi(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    return fourvector.delta_phi(emitter, *_two_records("deltaphi", args))


def _delta_eta(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    return fourvector.delta_eta(emitter, *_two_records("deltaeta", args))


def _delta_r(emitter: Emitter, args: Sequence[Operand]) -> Operand:
    if len(args) == 4:
        eta = fourvector.delta_eta(emitter, args[0], args[2])
        return fourvector.delta_r(emitter, eta, fourvector.delta_phi(emitter, args[1], args[3]))
    a, b = _two_records("deltaR", args)
    if not isinstance(a, Record) or not isinstance(b, Record):
        raise Mismatch("deltaR needs two records, pairs, or eta1, phi1, eta2, phi2")
    return fourvector.delta_r(
        emitter, fourvector.delta_eta(emitter, a, b), fourvector.delta_phi(emitter, a, b)
    )


FUNCTIONS: Final[dict[str, Function]] = {
    **{name: Function(_elementwise(name), 1, 1) for name in _UNARY},
    **{name: Function(_rounding(name), 1, 1) for name in _ROUNDING},
    **{name: Function(_test(name), 1, 1) for name in _TESTS},
    **{name: Function(_binary(name), 2, 2) for name in ("pow", "atan2", "hypot", "minimum", "maximum")},
    **{
        name: Function(_conversion(dtype), 1, 1)
        for name, dtype in (
            *(
                (d, d)
                for d in ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
            ),
            *(("float32", "float32"), ("float64", "float64"), ("int", "int64"), ("float", "float64")),
        )
    },
    "any": Function(_truth("any"), 1, 1, "axis", nests=True),
    "all": Function(_truth("all"), 1, 1, "axis", nests=True),
    "count_nonzero": Function(_truth("count_nonzero"), 1, 1, "axis", nests=True),
    "sum": Function(_accumulate("sum"), 1, 1, "axis", nests=True),
    "prod": Function(_accumulate("prod"), 1, 1, "axis", nests=True),
    "min": Function(_extreme("min", "minimum"), 1, 64, "axis", nests=True),
    "max": Function(_extreme("max", "maximum"), 1, 64, "axis", nests=True),
    "mean": Function(_mean, 1, 1, "axis"),
    "count": Function(_count, 1, 1, "axis"),
    "len": Function(_length, 1, 1, "axis"),
    "argmin": Function(_position("argmin"), 1, 1, "axis", nests=True),
    "argmax": Function(_position("argmax"), 1, 1, "axis", nests=True),
    "local_index": Function(_local_index, 1, 1, "axis"),
    "where": Function(lambda emitter, args: emitter.where(args[0], args[1], args[2]), 3, 3),
    "mask": Function(lambda emitter, args: emitter.masked(args[0], args[1]), 2, 2),
    "fill_none": Function(_fill_none, 2, 2),
    "is_none": Function(_is_none, 1, 1),
    "firsts": Function(_first, 1, 1, "axis"),
    "pairs": Function(lambda emitter, args: _combinations(emitter, args), 1, 1),
    "combinations": Function(_combinations, 1, 2, "n"),
    "cross": Function(lambda emitter, args: fourvector.cross(emitter, args), 2, 4),
    **{name: Function(_kinematic(name), 1, 1) for name in fourvector.KINEMATICS},
    "deltaphi": Function(_delta_phi, 1, 2),
    "deltaeta": Function(_delta_eta, 1, 2),
    "deltaR": Function(_delta_r, 1, 4),
}
"""All functions, by name."""
FUNCTIONS.update({alias: FUNCTIONS[name] for alias, name in _ALIASES.items()})

CONSTANTS: Final[dict[str, Number]] = {
    "pi": math.pi,
    "inf": math.inf,
    "nan": math.nan,
}
"""Names of numbers; a column of the same name hides one."""
