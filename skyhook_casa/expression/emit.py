"""Typed operations on operands: NumPy's promotion, lists brought together, then program nodes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import numpy as np

from ..program import CONST, EVENT, ProgramBuilder
from ..schema import Column, ListInfo
from .types import Array, Literal, Mismatch, Names, Nested, Number, Operand, Record

INTEGER_BITS_MAX: Final = 128
"""Widest integer that arithmetic between numbers of the text may give."""

_ARITHMETIC: Final[dict[str, tuple[np.ufunc, Callable[..., Number]]]] = {
    "add": (np.add, operator.add),
    "sub": (np.subtract, operator.sub),
    "mul": (np.multiply, operator.mul),
    "div": (np.true_divide, operator.truediv),
    "floordiv": (np.floor_divide, operator.floordiv),
    "mod": (np.remainder, operator.mod),
    "pow": (np.power, operator.pow),
    "atan2": (np.arctan2, math.atan2),
    "hypot": (np.hypot, math.hypot),
    "minimum": (np.minimum, min),
    "maximum": (np.maximum, max),
    "bit_and": (np.bitwise_and, operator.and_),
    "bit_or": (np.bitwise_or, operator.or_),
    "bit_xor": (np.bitwise_xor, operator.xor),
    "lshift": (np.left_shift, operator.lshift),
    "rshift": (np.right_shift, operator.rshift),
}
_COMPARE: Final[dict[str, tuple[np.ufunc, Callable[..., bool]]]] = {
    "eq": (np.equal, operator.eq),
    "ne": (np.not_equal, operator.ne),
    "lt": (np.less, operator.lt),
    "le": (np.less_equal, operator.le),
    "gt": (np.greater, operator.gt),
    "ge": (np.greater_equal, operator.ge),
}
_MIRRORED: Final = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_ON_BOOLS: Final = {"add": "bit_or", "mul": "bit_and", "minimum": "bit_and", "maximum": "bit_or"}
_LOGIC: Final = {"bit_and": "and", "bit_or": "or", "bit_xor": "xor"}


class Emitter:
    """Emits typed operations into a program."""

    def __init__(self, builder: ProgramBuilder, names: Names) -> None:
        self.builder = builder
        self.names = names
        self._lists: dict[int, ListInfo] = {}

    # -- where things lie -------------------------------------------------------------------
    def load(self, column: Column) -> Array:
        """Return the values of a column."""
        name = column.list if column.list is not None else column.counts
        info = None if name is None else self.names.list_info(name)
        if name is not None and info is None:
            raise Mismatch(f"column {column.name!r} lies in list {name!r}, which is unknown")
        if info is not None:
            self.list_axis(info)
        return Array(self.builder.load(column, info))

    def list_axis(self, info: ListInfo) -> int:
        """Return the axis of a stored list."""
        axis = self.builder.list_axis(info)
        self._lists[axis] = info
        return axis

    def stored_list(self, axis: int) -> ListInfo | None:
        """Return the stored list that an axis is, or None."""
        return self._lists.get(axis)

    def axis(self, x: Operand) -> int:
        """Return the axis of an operand; a number of the text has CONST."""
        if isinstance(x, Literal):
            return CONST
        return self.builder.axis(x.node) if isinstance(x, Array) else x.axis

    def place(self, axis: int) -> str:
        """Return where values on an axis lie, in words: ``one per Muon``."""
        if axis < 0:
            return "one per event"
        info = self._lists.get(axis)
        if info is not None:
            return f"one per {info.name}" if info.collection else f"one per element of {info.name}"
        node = self.builder.nodes[axis]
        if node.op == "filter":
            return self.place(node.args[0]).replace("one per ", "one per selected ", 1)
        if node.op == "combinations":
            return f"{self.place(node.args[0])}, taken {node.imm} together"
        left, right = (self.place(a).removeprefix("one per ") for a in node.args)
        return f"one per pair of {left} and {right}"

    def describe(self, x: Operand) -> str:
        """Return type and place of an operand in words: ``float32, one per Muon``."""
        if isinstance(x, Literal):
            return repr(x.value)
        what = self.builder.dtype(x.node) if isinstance(x, Array) else f"record {x.label}"
        return f"{what}, {self.place(self.axis(x))}"

    def joined(self, operands: Sequence[Operand]) -> list[Operand]:
        """Return the operands with all lists on one axis.

        Lists that have no counter are brought together by `align`, which the scan checks;
        everything else must lie on the same axis already.
        """
        axes = [self.axis(x) for x in operands]
        axis = next((one for one in axes if one >= 0), EVENT)
        return [
            x if one in (EVENT, CONST, axis) else self._aligned(x, axis)
            for x, one in zip(operands, axes, strict=True)
        ]

    def _aligned(self, x: Operand, axis: int) -> Operand:
        if isinstance(x, Array) and self._alone(self.axis(x)) and self._alone(axis):
            return Array(self.builder.align(x.node, axis))
        one, other = self.place(axis), self.place(self.axis(x))
        if one == other:
            raise Mismatch(
                f"two different selections ({one}) cannot be combined; select once, with both conditions"
            )
        raise Mismatch(
            f"{one} and {other} cannot be combined element by element; reduce one side or use cross(…)"
        )

    def _alone(self, axis: int) -> bool:
        """Return whether an axis is a list that has no counter, or comes from one such list."""
        while self.builder.nodes[axis].op in ("filter", "combinations"):
            axis = self.builder.nodes[axis].args[0]
        info = self._lists.get(axis)
        return info is not None and info.counter is None

    # -- dtypes -----------------------------------------------------------------------------
    def array(self, x: Operand) -> Array:
        """Return an operand that must be a value; a number of the text becomes a constant."""
        if isinstance(x, Array):
            return x
        if isinstance(x, Record):
            raise Mismatch(f"{x.label} is a record; take one of its fields, such as .pt")
        return Array(self._const(x.value, str(np.dtype(type(x.value)))))

    def dtype(self, x: Operand) -> str:
        """Return the dtype of a value; of a number of the text int64, float64 or bool."""
        return self.builder.dtype(self.array(x).node)

    def cast(self, x: Operand, dtype: str) -> Array:
        """Return a value as `dtype`. A number of the text must fit an integer dtype."""
        if isinstance(x, Literal):
            return Array(self._const(x.value, dtype))
        return Array(self.builder.cast(self.array(x).node, dtype))

    def promoted(self, x: Operand, y: Operand) -> str:
        """Return the dtype of x + y."""
        return self._loop(np.add, [x, y])[0]

    def _const(self, value: Number, dtype: str) -> int:
        whole = _range(dtype)
        if whole is not None and not whole[0] <= value <= whole[1]:
            raise Mismatch(f"{value} is out of the range of {dtype} {[*whole]}; convert with float64(…)")
        with np.errstate(over="ignore"):
            return self.builder.const(value, dtype)

    def _loop(self, ufunc: np.ufunc, operands: Sequence[Operand]) -> tuple[str, ...]:
        """Return the dtypes that NumPy computes in (operands, then result), half precision widened."""
        kinds: list[str | type] = []
        for x in operands:
            weak = isinstance(x, Literal) and not isinstance(x.value, bool)
            kinds.append(type(x.value) if weak and isinstance(x, Literal) else self.dtype(x))
        try:
            return _loop_dtypes(ufunc, *kinds)
        except TypeError:
            have = " and ".join(self.describe(x) for x in operands)
            raise Mismatch(f"{ufunc.__name__} cannot take {have}") from None

    # -- element by element -----------------------------------------------------------------
    def arithmetic(self, op: str, a: Operand, b: Operand) -> Operand:
        """Return `a op b` as NumPy's ufunc gives it; two numbers of the text as Python does."""
        ufunc, python = _ARITHMETIC[op]
        if isinstance(a, Literal) and isinstance(b, Literal):
            return fold(python, a, b)
        a, b = self.joined([self._number(a), self._number(b)])
        dtype = self._loop(ufunc, [a, b])[0]
        if op in _LOGIC and dtype == "bool":
            return self.logic(_LOGIC[op], a, b)
        if op == "pow":
            return self._power(a, b, dtype)
        left, right = self.cast(a, dtype).node, self.cast(b, dtype).node
        if dtype == "bool":
            return self.cast(
                self._emit(_ON_BOOLS[op], self.cast(Array(left), "int8"), self.cast(Array(right), "int8")),
                "bool",
            )
        return self._emit(op, Array(left), Array(right))

    def _power(self, a: Operand, b: Operand, dtype: str) -> Array:
        if _range(dtype) is not None and isinstance(b, Literal) and b.value < 0:
            raise Mismatch(f"an integer to the power {b.value} is no integer; write x**{float(b.value)}")
        base = self.cast(a, dtype)
        if isinstance(b, Literal) and b.value == 2:
            return self._emit("mul", base, base)
        return self._emit("pow", base, self.cast(b, dtype))

    def compare(self, op: str, a: Operand, b: Operand) -> Operand:
        """Return the truth of `a op b`; false where either is missing. Integers compare exactly."""
        ufunc, python = _COMPARE[op]
        if isinstance(a, Literal) and isinstance(b, Literal):
            return fold(python, a, b)
        if isinstance(a, Literal):
            return self.compare(_MIRRORED[op], b, a)
        a, b = self.joined([self._number(a), self._number(b)])
        left, right, _ = self._loop(ufunc, [a, b])
        whole = _range(right)
        if isinstance(b, Literal) and whole is not None and not whole[0] <= b.value <= whole[1]:
            return self._decided(a, python(0, b.value))
        if {left, right} == {"int64", "uint64"}:
            return self._compare_signs(op, a, b)
        return self._emit(op, self.cast(a, left), self.cast(b, right))

    def _decided(self, x: Operand, truth: bool) -> Operand:
        """Return a known truth for every element of `x` that is there."""
        node = self.array(x).node
        if self.builder.axis(node) == CONST:
            return Literal(truth)
        if truth and self.builder.optional(node):
            return Array(self.builder.present(node))
        return Array(self.builder.spread(self._const(truth, "bool"), self.builder.axis(node)))

    def _compare_signs(self, op: str, a: Operand, b: Operand) -> Array:
        """Compare int64 with uint64: a negative number is below every unsigned one."""
        if self.dtype(a) == "uint64":
            return self._compare_signs(_MIRRORED[op], b, a)
        signed, unsigned = self.cast(a, "int64"), self.cast(b, "uint64")
        zero = Array(self._const(0, "int64"))
        same_sign = self._emit(op, self.cast(signed, "uint64"), unsigned)
        if op in ("eq", "gt", "ge"):
            return self._emit("and", self._emit("ge", signed, zero), same_sign)
        below = self._emit("lt", signed, zero)
        if self.builder.optional(unsigned.node):
            below = self._emit("and", below, Array(self.builder.present(unsigned.node)))
        return self._emit("or", below, same_sign)

    def logic(self, op: str, a: Operand, b: Operand) -> Operand:
        """Return `a op b` of truth values (`and`, `or`, `xor`); a missing one counts as false."""
        for x in (a, b):
            self.truth(x, "xor" if op == "xor" else op)
        if isinstance(a, Literal) and isinstance(b, Literal):
            return fold({"and": operator.and_, "or": operator.or_, "xor": operator.xor}[op], a, b)
        a, b = self.joined([a, b])
        return self._emit(op, self.cast(a, "bool"), self.cast(b, "bool"))

    def negation(self, x: Operand) -> Operand:
        """Return `not x` of truth values; true where `x` is missing."""
        self.truth(x, "not")
        if isinstance(x, Literal):
            return Literal(not x.value)
        return Array(self.builder.unary("not", self.array(x).node))

    def truth(self, x: Operand, word: str) -> None:
        """Check that an operand is a truth value."""
        fits = (
            isinstance(x.value, bool)
            if isinstance(x, Literal)
            else isinstance(x, Array) and self.dtype(x) == "bool"
        )
        if not fits:
            raise Mismatch(
                f"{word} needs true or false, not {self.describe(x)}; compare it, for example with != 0"
            )

    def unary(self, op: str, ufunc: np.ufunc, x: Operand) -> Array:
        """Return a ufunc of one operand."""
        x = self._number(x)
        dtype = self._loop(ufunc, [x])[0]
        return Array(self.builder.unary(op, self.cast(x, dtype).node))

    def where(self, condition: Operand, a: Operand, b: Operand) -> Operand:
        """Return `a` where the condition is true, else `b`; numbers of the text are int64 or float64."""
        self.truth(condition, "where")
        a, b = self._number(a), self._number(b)
        dtype = str(np.result_type(np.dtype(self.dtype(a)), np.dtype(self.dtype(b))))
        condition, a, b = self.joined([condition, a, b])
        nodes = [self.cast(x, t).node for x, t in ((condition, "bool"), (a, dtype), (b, dtype))]
        if all(self.builder.axis(n) == CONST for n in nodes):
            nodes[0] = self.builder.spread(nodes[0], EVENT)
        return Array(self.builder.where(*nodes))

    def masked(self, x: Operand, condition: Operand) -> Operand:
        """Return `x` where the condition is true; else it is missing."""
        return self.where(condition, x, Array(self.builder.missing(self.dtype(x))))

    def _number(self, x: Operand) -> Operand:
        return x if isinstance(x, Literal) else self.array(x)

    def _emit(self, op: str, a: Array, b: Array) -> Array:
        return Array(self.builder.binary(op, a.node, b.node))

    # -- lists ------------------------------------------------------------------------------
    def list_of(self, x: Operand, word: str) -> int:
        """Return the axis of an operand that must be a list."""
        axis = self.axis(x)
        if axis < 0:
            raise Mismatch(f"{word} needs a list, not {self.describe(x)}")
        return axis

    def nested(self, x: Operand) -> Nested:
        """Return a value on a cross for a reduction over all but its first part."""
        if isinstance(x, Array) and self.axis(x) >= 0 and self.builder.nodes[self.axis(x)].op == "cross":
            return Nested(x.node)
        raise Mismatch(
            f"axis=2 needs a value of pairs, such as deltaR(cross(Jet, Muon)) < 0.4, not {self.describe(x)}"
        )

    def reduce(self, op: str, x: Operand, dtype: str | None = None) -> Array:
        """Return one value per event from each list of `x`, first converted to `dtype`.

        If `x` is nested, one per element of the first part of its cross.
        """
        axis = self.list_of(x, op)
        value = self.array(x) if dtype is None else self.cast(x, dtype)
        onto = self.builder.nodes[axis].args[0] if isinstance(x, Nested) else EVENT
        return Array(self.builder.reduce(op, value.node, onto))

    def selected(self, x: Operand, mask: Operand) -> Operand:
        """Return the elements of a list for which a mask of that list is true."""
        axis = self.list_of(x, "a selection […]")
        if self.axis(mask) < 0:
            raise Mismatch(
                "the condition in […] has one value per event; use where(…), or put it into the cut"
            )
        if isinstance(x, Record) and self.axis(mask) != axis:
            raise Mismatch(
                f"a condition that is {self.place(self.axis(mask))} cannot select what is {self.place(axis)}"
            )
        x, mask = self.joined([x, mask])
        kept = self.builder.filter(axis, self.filled(self.array(mask), False).node)
        return self.moved(x, kept, lambda node: self.builder.take(node, kept))

    def element(self, x: Operand, i: Operand) -> Operand:
        """Return element `i` of each list, from the end if negative; missing if there is none."""
        self.list_of(x, "an index […]")
        if self.axis(i) >= 0:
            raise Mismatch(f"an index must be one whole number per event, not {self.describe(i)}")
        if _range(self.dtype(i)) is None:
            raise Mismatch(f"an index must be a whole number, not {self.describe(i)}")
        at = self.cast(i, "int64").node
        return self.moved(x, EVENT, lambda node: self.builder.index(node, at))

    def moved(self, x: Operand, axis: int, apply: Callable[[int], int]) -> Operand:
        """Return an operand brought to another axis by `apply`."""
        if isinstance(x, Record):
            return x.moved(axis, apply)
        return Array(apply(self.array(x).node))

    def filled(self, x: Array, value: Number) -> Array:
        """Return a value with `value` where it was missing."""
        if not self.builder.optional(x.node):
            return x
        return Array(self.builder.fill(x.node, self._const(value, self.builder.dtype(x.node))))


@cache
def _range(dtype: str) -> tuple[int, int] | None:
    """Return the least and the greatest number of an integer dtype."""
    if np.dtype(dtype).kind not in "iu":
        return None
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


@cache
def _loop_dtypes(ufunc: np.ufunc, *kinds: str | type) -> tuple[str, ...]:
    """Return the dtypes that NumPy computes in, as `Emitter._loop`, from dtypes and types of numbers."""
    operands = [np.dtype(kind) if isinstance(kind, str) else kind for kind in kinds]
    return tuple("float32" if d == np.float16 else str(d) for d in ufunc.resolve_dtypes((*operands, None)))


def fold(function: Callable[..., Number], *operands: Literal) -> Literal:
    """Return what Python makes of numbers of the text."""
    values = [x.value for x in operands]
    if function in (operator.pow, operator.lshift) and _explodes(function, *values):
        raise Mismatch(f"the result has more than {INTEGER_BITS_MAX} bits")
    try:
        result = function(*values)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise Mismatch(str(error)) from None
    if isinstance(result, complex):
        raise Mismatch("the result is a complex number")
    return checked(Literal(result))


def checked(literal: Literal) -> Literal:
    """Return a number of the text that is not too wide."""
    if isinstance(literal.value, int) and literal.value.bit_length() > INTEGER_BITS_MAX:
        raise Mismatch(f"the integer has more than {INTEGER_BITS_MAX} bits")
    return literal


def _explodes(function: Callable[..., Number], a: Number, b: Number) -> bool:
    if not isinstance(a, int) or not isinstance(b, int) or b < 0 or abs(a) < 2:
        return False
    bits = a.bit_length() * b if function is operator.pow else a.bit_length() + b
    return bits > 2 * INTEGER_BITS_MAX
