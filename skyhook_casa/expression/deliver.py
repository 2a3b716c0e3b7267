"""Cuts and derived columns: whole expressions checked for what they are used as."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final

from ..errors import ExpressionError
from ..program import AXIS_OPS, CONST, EVENT, ProgramBuilder
from .compile import Compiler
from .parse import parse
from .types import Array, Literal, Mismatch, Names, Operand, Record, Term, Value

_SLOW: Final = frozenset(
    "exp expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "pow atan2 hypot mod floordiv".split()
)
_NODE_COST: Final = 1
_LIST_COST: Final = 4
_SLOW_FACTOR: Final = 8
_COMBINATION_FACTOR: Final = 64


def compile_cut(
    builder: ProgramBuilder, names: Names, text: str, defined: Mapping[str, str] | None = None
) -> list[Term]:
    """Return the terms of a cut: an event passes if all are true.

    Where conditions are joined by `and` or `&` at
    the top, each is a term of its own; the cheapest to evaluate comes first.

    Raises
    ------
    ExpressionError
        If the text cannot be parsed or typed, or does not give one truth value per event.
    """
    source = parse(text)
    compiler = Compiler(builder, names, source, defined)
    parts = [(node, compiler.compile(node)) for node in _conditions(source.tree)]
    if not all(_is_condition(builder, x) for _, x in parts):
        parts = [(source.tree, compiler.compile())]
    terms: dict[int, Term] = {}
    for node, x in parts:
        with source.at(node):
            number = _condition(compiler, x)
        terms.setdefault(number, Term(number, source.text[slice(*source.span(node))]))
    found = list(terms.values())
    return found if len(found) < 2 else sorted(found, key=lambda term: cost(builder, term.node))


def compile_value(
    builder: ProgramBuilder, names: Names, text: str, defined: Mapping[str, str] | None = None
) -> Value:
    """Return a derived column.

    Raises
    ------
    ExpressionError
        If the text cannot be parsed or typed, or gives a record, which cannot be delivered.
    """
    source = parse(text)
    compiler = Compiler(builder, names, source, defined)
    result = compiler.compile()
    with source.at(source.tree):
        if isinstance(result, Record):
            raise Mismatch(f"this is a record ({result.label}); take one of its fields, such as .pt or .mass")
        node = compiler.emitter.array(result).node
    if builder.axis(node) == CONST:
        node = builder.spread(node, EVENT)
    info = compiler.emitter.stored_list(builder.axis(node))
    return Value(
        node, builder.dtype(node), builder.axis(node), info.name if info else None, builder.optional(node)
    )


def is_record(
    builder: ProgramBuilder, names: Names, text: str, defined: Mapping[str, str] | None = None
) -> bool:
    """Return whether an expression gives a record, which only other definitions can use.

    Raises
    ------
    ExpressionError
        If the text cannot be parsed or typed.
    """
    return isinstance(Compiler(builder, names, parse(text), defined).compile(), Record)


def compile_thinning(builder: ProgramBuilder, names: Names, collection: str, text: str) -> int:
    """Return the axis of the elements of a collection that satisfy a condition.

    In the text the fields of the collection need no prefix: ``pt > 30 and abs(eta) < 2.4``.

    Raises
    ------
    ExpressionError
        If there is no such collection, or the text does not give a truth value per element.
    """
    info = names.list_info(collection)
    if info is None:
        raise ExpressionError(f"there is no collection {collection!r}")
    source = parse(text)
    compiler = Compiler(builder, names, source, collection=collection)
    mask = compiler.compile()
    axis = compiler.emitter.list_axis(info)
    with source.at(source.tree):
        compiler.emitter.truth(mask, f"a selection of {collection}")
        if compiler.emitter.axis(mask) >= 0 and compiler.emitter.axis(mask) != axis:
            place = compiler.emitter.place(compiler.emitter.axis(mask))
            raise Mismatch(
                f"this is {place}; to select from {collection} it must be one per {collection} or per event"
            )
        node = compiler.emitter.filled(compiler.emitter.array(mask), False).node
    return builder.filter(axis, node)


def cost(builder: ProgramBuilder, node: int) -> tuple[int, int]:
    """Return a rough cost of a value, to order terms: class (per event, per element …), then work."""
    seen: set[int] = set()
    waiting = [node]
    kind = work = 0
    while waiting:
        number = waiting.pop()
        if number < 0 or number in seen:
            continue
        seen.add(number)
        item = builder.nodes[number]
        combined = item.op in ("combinations", "cross") or _on_combinations(builder, item.axis)
        listed = item.axis >= 0 or item.op in AXIS_OPS
        kind = max(kind, 3 if combined else 2 if listed and item.op in _SLOW else 1 if listed else 0)
        weight = _LIST_COST if listed else _NODE_COST
        work += weight * (_SLOW_FACTOR if item.op in _SLOW else 1) * (_COMBINATION_FACTOR if combined else 1)
        first = 1 if item.op in ("list", "load") else 0
        waiting.extend(item.args[first:])
    return kind, work


def _on_combinations(builder: ProgramBuilder, axis: int) -> bool:
    while axis >= 0 and builder.nodes[axis].op == "filter":
        axis = builder.nodes[axis].args[0]
    return axis >= 0 and builder.nodes[axis].op in ("combinations", "cross")


def _conditions(node: ast.expr) -> list[ast.expr]:
    """Return the conditions that `and` or `&` join at the top, from left to right."""
    found: list[ast.expr] = []
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.BoolOp) and isinstance(part.op, ast.And):
            waiting.extend(reversed(part.values))
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitAnd):
            waiting.extend((part.right, part.left))
        else:
            found.append(part)
    return found


def _is_condition(builder: ProgramBuilder, x: Operand) -> bool:
    if isinstance(x, Literal):
        return isinstance(x.value, bool)
    return isinstance(x, Array) and builder.dtype(x.node) == "bool" and builder.axis(x.node) < 0


def _condition(compiler: Compiler, x: Operand) -> int:
    emitter = compiler.emitter
    if isinstance(x, Record):
        raise Mismatch(f"a cut needs one truth value per event, not {emitter.describe(x)}")
    if emitter.dtype(x) != "bool":
        hint = "compare it, for example with > 0"
        raise Mismatch(f"a cut needs one truth value per event, not {emitter.describe(x)}; {hint}")
    if emitter.axis(x) >= 0:
        where = emitter.place(emitter.axis(x))
        raise Mismatch(
            f"a cut needs one truth value per event, this is {where}; reduce it with any(…) or all(…)"
        )
    node = emitter.array(x).node
    if emitter.axis(x) == CONST:
        node = emitter.builder.spread(node, EVENT)
    return emitter.filled(Array(node), False).node
