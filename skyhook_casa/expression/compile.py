"""From a syntax tree to program nodes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from ..errors import ExpressionError, did_you_mean
from ..program import NODES_MAX, ProgramBuilder
from . import fourvector
from .emit import Emitter, checked, fold
from .functions import CONSTANTS, FUNCTIONS, Function
from .parse import Source, dotted_name, function_name, parse
from .types import Array, Literal, Mismatch, Names, Operand, Record

DEFINITIONS_MAX: Final = 1_024
"""Most definitions that one expression may see."""

_BINARY: Final[dict[type[ast.operator], str]] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floordiv", ast.Mod: "mod",
    ast.Pow: "pow", ast.BitAnd: "bit_and", ast.BitOr: "bit_or", ast.BitXor: "bit_xor", ast.LShift: "lshift",
    ast.RShift: "rshift",
}  # fmt: skip
_COMPARE: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip
_BITS: Final = ("bit_and", "bit_or", "bit_xor")


class Compiler:
    """Compiles one expression, and the definitions it uses, into a program.

    Parameters
    ----------
    builder : ProgramBuilder
        Takes the nodes.
    names : Names
        The columns and lists there are.
    source : Source
        The expression.
    defined : Mapping[str, str], optional
        Definitions; each sees those before it, and a stored column of its own name.
    collection : str, optional
        The collection whose fields may be named without its name.
    """

    def __init__(
        self,
        builder: ProgramBuilder,
        names: Names,
        source: Source,
        defined: Mapping[str, str] | None = None,
        collection: str | None = None,
    ) -> None:
        self.emitter = Emitter(builder, names)
        self._names = names
        self._source = source
        self._collection = collection
        self._definitions: dict[str, Operand] = {}
        self._defined = defined or {}
        self._define(self._defined)

    def compile(self, node: ast.expr | None = None) -> Operand:
        """Return what the expression, or one part of it, means."""
        return _Walker(self, self._source).operand(self._source.tree if node is None else node)

    def name(self, name: str) -> Operand | None:
        """Return what a name means, or None if there is no such name."""
        if name in self._definitions:
            return self._definitions[name]
        if self._collection is not None:
            column = self._names.column(f"{self._collection}_{name}")
            if column is not None and column.list == self._collection:
                return self.emitter.load(column)
        column = self._names.column(name)
        if column is not None:
            return self.emitter.load(column)
        info = self._names.list_info(name)
        if info is not None and info.collection:
            return fourvector.collection(self.emitter, info)
        if name in CONSTANTS:
            return Literal(CONSTANTS[name])
        return fourvector.event_object(self.emitter, name)

    def near(self, name: str) -> str:
        """Return near matches of an unknown name, as the end of a message."""
        if name in self._defined:
            return "; a definition can use those before it only"
        return did_you_mean(name, [*self._names.known(), *self._definitions])

    def _define(self, defined: Mapping[str, str]) -> None:
        """Compile the definitions that the expression uses, in their order."""
        if len(defined) > DEFINITIONS_MAX:
            raise ExpressionError(f"there are {len(defined)} definitions; {DEFINITIONS_MAX} are allowed")
        used = _used(self._source, defined)
        for name in [n for n in defined if n in used]:
            try:
                source = parse(defined[name])
                self._definitions[name] = _Walker(self, source).operand(source.tree)
            except ExpressionError as error:
                raise _inside(name, error) from None


def _used(source: Source, defined: Mapping[str, str]) -> set[str]:
    """Return the definitions that an expression uses, directly or through others."""
    used: set[str] = set()
    waiting = set(source.names & defined.keys())
    while waiting:
        name = waiting.pop()
        used.add(name)
        try:
            waiting |= (parse(defined[name]).names & defined.keys()) - used
        except ExpressionError as error:
            raise _inside(name, error) from None
    return used


def _inside(name: str, error: ExpressionError) -> ExpressionError:
    return ExpressionError(
        f"in the definition of {name!r}: {error.message}", error.text, error.start, error.stop
    )


class _Walker:
    """Compiles the parts of one source text."""

    def __init__(self, compiler: Compiler, source: Source) -> None:
        self._compiler = compiler
        self._source = source
        self._emitter = compiler.emitter

    def operand(self, node: ast.expr) -> Operand:
        """Return what a part of the text means."""
        if len(self._emitter.builder.nodes) > NODES_MAX:
            self._source.fail(node, f"the query takes more than {NODES_MAX} steps")
        match node:
            case ast.Constant():
                assert isinstance(node.value, (bool, int, float))
                with self._source.at(node):
                    return checked(Literal(node.value))
            case ast.Name():
                return self._name(node, node.id)
            case ast.Attribute():
                return self._attribute(node)
            case ast.BoolOp():
                return self._bool_op(node)
            case ast.BinOp():
                return self._chain(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp():
                parts = [self.operand(n) for n in (node.test, node.body, node.orelse)]
                with self._source.at(node):
                    return self._emitter.where(parts[0], parts[1], parts[2])
            case ast.Call():
                return self._call(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Tuple() | ast.List():
                self._source.fail(node, "several values are only allowed after `in`, as in x in (11, 13)")
        self._source.fail(node, f"{type(node).__name__} is not allowed here")

    # -- names ------------------------------------------------------------------------------
    def _name(self, node: ast.expr, name: str) -> Operand:
        with self._source.at(node):
            found = self._compiler.name(name)
        if found is None:
            hint = (
                f"; {name} is a function, write {name}(…)" if name in FUNCTIONS else self._compiler.near(name)
            )
            self._source.fail(node, f"there is no column or collection {name!r}{hint}")
        return found

    def _attribute(self, node: ast.Attribute) -> Operand:
        flat = dotted_name(node)
        with self._source.at(node):
            found = None if flat is None else self._compiler.name(flat)
            if found is not None:
                return found
            base = self._compiler.name(node.value.id) if isinstance(node.value, ast.Name) else None
        if base is None and isinstance(node.value, ast.Name):
            assert flat is not None
            return self._name(node, flat)
        record = base if base is not None else self.operand(node.value)
        with self._source.at(node):
            if not isinstance(record, Record):
                raise Mismatch(f"{self._emitter.describe(record)} has no fields")
            return record.field(node.attr)

    # -- operators --------------------------------------------------------------------------
    def _bool_op(self, node: ast.BoolOp) -> Operand:
        op = "and" if isinstance(node.op, ast.And) else "or"
        result = self._truth(node.values[0], op)
        for part in node.values[1:]:
            right = self._truth(part, op)
            with self._source.at(node):
                result = self._emitter.logic(op, result, right)
        return result

    def _truth(self, node: ast.expr, word: str) -> Operand:
        x = self.operand(node)
        with self._source.at(node):
            self._emitter.truth(x, word)
        return x

    def _chain(self, node: ast.BinOp) -> Operand:
        """Compile ``a + b - c …`` without one level of recursion for each operator."""
        links = [node]
        while isinstance(links[-1].left, ast.BinOp):
            links.append(links[-1].left)
        result = self.operand(links[-1].left)
        for link in reversed(links):
            right = self.operand(link.right)
            with self._source.at(link):
                result = self._binary(_BINARY[type(link.op)], result, right)
        return result

    def _binary(self, op: str, a: Operand, b: Operand) -> Operand:
        if isinstance(a, Record) and isinstance(b, Record):
            return fourvector.combined(self._emitter, op, a, b)
        try:
            return self._emitter.arithmetic(op, a, b)
        except Mismatch as problem:
            if op not in _BITS:
                raise
            raise Mismatch(
                f"{problem}; & | ^ bind tighter than comparisons: write (a > 1) & (b < 2)"
            ) from None

    def _unary(self, node: ast.UnaryOp) -> Operand:
        x = self.operand(node.operand)
        with self._source.at(node):
            if isinstance(node.op, ast.Not) or self._source.is_bang(node):
                return self._emitter.negation(x)
            if isinstance(node.op, ast.Invert):
                return self._invert(x)
            if isinstance(x, Literal):
                return fold(lambda v: -v if isinstance(node.op, ast.USub) else +v, x)
            x = self._emitter.array(x)
            return self._emitter.unary("neg", np.negative, x) if isinstance(node.op, ast.USub) else x

    def _invert(self, x: Operand) -> Operand:
        if isinstance(x, Literal):
            return Literal(not x.value) if isinstance(x.value, bool) else fold(lambda v: ~v, x)
        if self._emitter.dtype(x) == "bool":
            return self._emitter.negation(x)
        return self._emitter.unary("invert", np.invert, x)

    def _compare(self, node: ast.Compare) -> Operand:
        left = self.operand(node.left)
        result: Operand | None = None
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)):
                right, step = left, self._member(node, left, right_node, isinstance(op, ast.NotIn))
            else:
                right = self.operand(right_node)
                with self._source.at(node):
                    step = self._emitter.compare(_COMPARE[type(op)], left, right)
            with self._source.at(node):
                result = step if result is None else self._emitter.logic("and", result, step)
            left = right
        assert result is not None
        return result

    def _member(self, node: ast.Compare, x: Operand, choices: ast.expr, negated: bool) -> Operand:
        if not isinstance(choices, (ast.Tuple, ast.List)):
            self._source.fail(choices, "after `in` a list of values is needed, as in x in (11, 13)")
        result: Operand = Literal(False)
        for choice in choices.elts:
            value = self.operand(choice)
            with self._source.at(node):
                equal = self._emitter.compare("eq", x, value)
                first = choice is choices.elts[0]
                result = equal if first else self._emitter.logic("or", result, equal)
        with self._source.at(node):
            return self._emitter.negation(result) if negated else result

    # -- calls and subscripts ---------------------------------------------------------------
    def _call(self, node: ast.Call) -> Operand:
        name = function_name(self._source, node)
        function = FUNCTIONS.get(name)
        if function is None:
            self._source.fail(node.func, f"there is no function {name!r}{did_you_mean(name, FUNCTIONS)}")
        nested, operands = self._keywords(node, name, function)
        args: Sequence[Operand] = [self.operand(a) for a in (*node.args, *operands)]
        low, high = function.arguments_min, 1 if nested else function.arguments_max
        if not low <= len(args) <= high:
            wanted = f"{low}" if low == high else f"{low} to {high}"
            self._source.fail(node, f"{name} takes {wanted} operand{'s' * (wanted != '1')}, not {len(args)}")
        with self._source.at(node):
            return function.handler(
                self._emitter, [self._emitter.nested(x) for x in args] if nested else args
            )

    def _keywords(self, node: ast.Call, name: str, function: Function) -> tuple[bool, list[ast.expr]]:
        """Return whether `axis` is 2, and the operands given by keyword."""
        nested, operands = False, []
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg != function.keyword:
                self._source.fail(keyword, f"{name} has no keyword {keyword.arg or '**'}")
            if keyword.arg == "axis":
                nested = self._axis(keyword, name, function) == 2
            else:
                operands.append(keyword.value)
        return nested, operands

    def _axis(self, keyword: ast.keyword, name: str, function: Function) -> int:
        """Return 2 for the lists of each element of a cross; else what says what holds anyway."""
        with self._source.at(keyword):
            value = self.operand(keyword.value)
            allowed = (1, -1, 2) if function.nests else (1, -1)
            for axis in allowed:
                if value == Literal(axis):
                    return axis
            if value == Literal(2):
                raise Mismatch(f"{name} runs over the elements of each event: axis is 1 or -1")
            raise Mismatch("reductions run inside each event: axis is 1 or -1, or 2 of a cross")

    def _subscript(self, node: ast.Subscript) -> Operand:
        x = self.operand(node.value)
        if isinstance(node.slice, ast.Slice):
            with self._source.at(node):
                return self._slice(x, node.slice)
        if isinstance(node.slice, ast.Tuple):
            self._source.fail(
                node.slice, "one index is enough: x[0] is the first element of each event's list"
            )
        i = self.operand(node.slice)
        with self._source.at(node):
            if not isinstance(i, Record) and self._emitter.dtype(i) == "bool":
                return self._emitter.selected(x, i)
            return self._emitter.element(x, i)

    def _slice(self, x: Operand, node: ast.Slice) -> Operand:
        start, stop, step = (self._bound(n) for n in (node.lower, node.upper, node.step))
        axis = self._emitter.list_of(x, "a slice […]")
        step = 1 if step is None else step
        if step < 1 or (step > 1 and start is not None and start < 0):
            raise Mismatch("a slice needs a positive step, and with a step its start must not be negative")
        place = Array(self._emitter.builder.local_index(axis))
        length = Array(self._emitter.builder.count(axis))
        mask: Operand = Literal(True)
        for op, bound in (("ge", start), ("lt", stop)):
            if bound is not None:
                end = (
                    Literal(bound) if bound >= 0 else self._emitter.arithmetic("add", length, Literal(bound))
                )
                mask = self._emitter.logic("and", mask, self._emitter.compare(op, place, end))
        if step > 1:
            left = self._emitter.arithmetic(
                "mod", self._emitter.arithmetic("sub", place, Literal(start or 0)), Literal(step)
            )
            mask = self._emitter.logic("and", mask, self._emitter.compare("eq", left, Literal(0)))
        return x if isinstance(mask, Literal) else self._emitter.selected(x, mask)

    def _bound(self, node: ast.expr | None) -> int | None:
        if node is None:
            return None
        value = self.operand(node)
        if (
            not isinstance(value, Literal)
            or isinstance(value.value, (bool, float))
            or abs(value.value) >= 1 << 62
        ):
            self._source.fail(node, "the bounds of a slice must be whole numbers")
        return value.value
