"""From text to a checked syntax tree.

The language is Python's expression syntax; `&&`, `||` and `!` are read as in C. Nothing is ever
evaluated by Python: the tree is only looked at, and only the node types named here are let in.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn

from ..errors import ExpressionError
from .types import Mismatch

TEXT_CHARS_MAX: Final = 65_536
"""Longest expression."""
DEPTH_MAX: Final = 64
"""Deepest nesting; a chain such as ``a + b + c + …`` counts as one level."""
PARTS_MAX: Final = 8_192
"""Most names, numbers and operators of one expression."""
REMEMBERED_CHARS_MAX: Final = 512
"""Longest expression that is remembered: one of so many characters takes at most 0.2 MB."""
REMEMBERED_MAX: Final = 256
"""Most expressions that are remembered."""

_PARTS: Final[dict[type[ast.AST], tuple[str, ...]]] = {
    ast.BoolOp: ("op", "values"), ast.BinOp: ("left", "op", "right"), ast.UnaryOp: ("op", "operand"),
    ast.Compare: ("left", "ops", "comparators"), ast.IfExp: ("test", "body", "orelse"),
    ast.Call: ("func", "args", "keywords"), ast.keyword: ("value",), ast.Attribute: ("value",),
    ast.Subscript: ("value", "slice"), ast.Slice: ("lower", "upper", "step"), ast.Tuple: ("elts",),
    ast.List: ("elts",), ast.Constant: (), ast.Name: (),
}  # fmt: skip
"""The node types of the language, with those of their fields that hold nodes."""
_OPERATORS: Final = frozenset((
    ast.And, ast.Or, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd,
    ast.BitOr, ast.BitXor, ast.LShift, ast.RShift, ast.UAdd, ast.USub, ast.Not, ast.Invert, ast.Eq,
    ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
))  # fmt: skip
_FORBIDDEN: Final = re.compile(r"""["'`#\\@;$?{}\0]|[^\x00-\x7f]""")
_BLANK: Final = re.compile(r"\s")
_REWRITTEN: Final = re.compile(r"&&|\|\||!(?!=)")
_AS_PYTHON: Final = {"&&": " and ", "||": " or ", "!": "~"}
_MODULES: Final = frozenset(("np", "numpy", "ak", "awkward", "math"))
_FOUR_VECTOR_FIELDS: Final = ("pt", "eta", "phi", "mass")
_NUMBER: Final = re.compile(
    r"(?<![\w.])(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?)"
)


@dataclass(frozen=True, slots=True)
class Source:
    """An expression's text with its syntax tree, able to point at a part of it."""

    text: str
    """As it was written, tabs and line ends replaced by blanks."""
    tree: ast.expr
    origin: tuple[int, ...]
    """For each character that Python's parser saw, its place in `text`; one more for the end."""
    names: frozenset[str] = frozenset()
    """The names that are not called; `Muon.pt` gives `Muon` and `Muon_pt`."""

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the characters [start, stop) of `text` that a node was read from."""
        start = getattr(node, "col_offset", 0)
        stop = getattr(node, "end_col_offset", None) or start + 1
        return self.origin[start], self.origin[stop - 1] + 1

    def fail(self, node: ast.AST, message: str) -> NoReturn:
        """Raise an `ExpressionError` with carets under `node`."""
        raise ExpressionError(message, self.text, *self.span(node))

    def at(self, node: ast.AST) -> Place:
        """Return a context that gives a `Mismatch` raised inside its place in the text."""
        return Place(self, node)

    def is_bang(self, node: ast.UnaryOp) -> bool:
        """Return whether a `~` of the tree was written as `!`."""
        return self.text[self.span(node)[0]] == "!"


class Place:
    """A part of an expression's text, as a context: see `Source.at`."""

    def __init__(self, source: Source, node: ast.AST) -> None:
        self._source, self._node = source, node

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, problem: BaseException | None, _traceback: object) -> None:
        if isinstance(problem, Mismatch):
            source = self._source
            raise ExpressionError(str(problem), source.text, *source.span(self._node)) from None


def parse(text: str) -> Source:
    """Return the syntax tree of an expression, which nobody may change: short ones are remembered.

    Raises
    ------
    ExpressionError
        If the text is no expression of the language, or passes TEXT_CHARS_MAX, DEPTH_MAX or
        PARTS_MAX.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise ExpressionError(f"the expression has {len(text)} characters; {TEXT_CHARS_MAX} are allowed")
    return _remembered(text) if len(text) <= REMEMBERED_CHARS_MAX else _parsed(text)


@lru_cache(maxsize=REMEMBERED_MAX)
def _remembered(text: str) -> Source:
    return _parsed(text)


def _parsed(text: str) -> Source:
    text = _BLANK.sub(" ", text)
    _check_characters(text)
    rewritten, origin = _rewrite(text)
    tree = _python_tree(text, rewritten, origin)
    return Source(text, tree, origin, _checked_names(Source(text, tree, origin)))


def mentioned_names(text: str) -> set[str]:
    """Return the column, list and definition names that an expression may refer to.

    `Muon.pt` counts as `Muon_pt` too, and a name that may be a collection brings the four columns
    of its four-vector, so that one look-up can fetch all that compiling will ask for.

    Raises
    ------
    ExpressionError
        If the text cannot be parsed.
    """
    found = parse(text).names
    records = {name for name in found if "_" not in name}
    return set(found) | {f"{name}_{field}" for name in records for field in _FOUR_VECTOR_FIELDS}


def dotted_name(node: ast.expr) -> str | None:
    """Return `Muon_pt` for `Muon.pt`, any number of dots; None if the node is anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return "_".join([node.id, *reversed(parts)])


def function_name(source: Source, node: ast.Call) -> str:
    """Return the name of the function called; `np.`, `ak.` and `math.` in front are dropped."""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id
    if (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id in _MODULES
    ):
        return function.attr
    source.fail(function, "only functions can be called, as in sum(Jet_pt)")


def _check_characters(text: str) -> None:
    """Refuse what no expression needs, before Python's tokenizer sees it."""
    if not text.strip():
        raise ExpressionError("the expression is empty")
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None:
        character, place = forbidden.group(), forbidden.start()
        if not character.isascii():
            raise ExpressionError(f"unexpected character {character!r}", text, place)
        raise ExpressionError(
            f"unexpected {character!r}: expressions have no texts, comments or code", text, place
        )
    for number in _NUMBER.finditer(text):
        after = text[number.end() : number.end() + 1]
        if after.isalnum() or after in ("_", "."):
            stop = number.end() + len(re.match(r"[\w.]*", text[number.end() :]).group())  # type: ignore[union-attr]
            raise ExpressionError(
                f"{text[number.start() : stop]} is not a number", text, number.start(), stop
            )


def _rewrite(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the text as Python reads it, and the place in `text` of each of its characters."""
    out: list[str] = []
    origin: list[int] = []
    place = 0
    for found in _REWRITTEN.finditer(text):
        start, stop = found.span()
        new = _AS_PYTHON[found.group()]
        out += [text[place:start], new]
        origin += [*range(place, start), *[start] * (stop - start), *[stop - 1] * (len(new) - (stop - start))]
        place = stop
    out.append(text[place:])
    return "".join(out), (*origin, *range(place, len(text) + 1))


def _python_tree(text: str, rewritten: str, origin: tuple[int, ...]) -> ast.expr:
    shift = len(rewritten) - len(rewritten.lstrip())
    try:
        tree = ast.parse(rewritten.strip(), mode="eval").body
    except SyntaxError as error:
        start = min(max((error.offset or 1) - 1, 0) + shift, len(rewritten))
        stop = min(max((error.end_offset or 0) - 1 + shift, start + 1), len(rewritten))
        early = not error.offset or not rewritten[start:].strip()
        message = "the expression ends too early" if early else _advice(rewritten, start, _plain(error.msg))
        place = len(text.rstrip()) if early else origin[start]
        raise ExpressionError(message, text, place, 0 if early else origin[stop - 1] + 1) from None
    except (MemoryError, RecursionError):
        raise ExpressionError(
            f"the expression is nested more than {DEPTH_MAX} deep, or has more than {PARTS_MAX} names, "
            "numbers and operators"
        ) from None
    except ValueError as error:
        raise ExpressionError(f"syntax error: {error}") from None
    for node in ast.walk(tree) if shift else ():
        if isinstance(node, (ast.expr, ast.keyword)):
            node.col_offset += shift
            node.end_col_offset = (node.end_col_offset or 0) + shift
    return tree


def _plain(message: str) -> str:
    """Return Python's message without advice that is wrong here."""
    return message.split(". Perhaps")[0].split(". Maybe")[0]


def _advice(text: str, start: int, said: str) -> str:
    """Return what is wrong at a place, of common mistakes with what would be right."""
    if text[start : start + 2] in ("=>", "=<"):
        return f"there is no {text[start : start + 2]}; write {text[start + 1]}="
    if text[start : start + 1] == "=":
        return "= is no comparison; write =="
    if re.match(r"[\d.]\s+[A-Za-z]", text[max(0, start - 2) :]) and said == "invalid syntax":
        return "numbers have no units; they are in the unit of the column (GeV and cm in NanoAOD)"
    return f"syntax error: {said}"


def _checked_names(source: Source) -> frozenset[str]:
    """Return the names that are not called; let in only the node types of the language, within the limits."""
    names: set[str] = set()
    called: set[ast.AST | None] = set()
    parts = 0
    waiting: list[tuple[ast.AST, int]] = [(source.tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        kind = type(node)
        if kind in _OPERATORS:
            continue
        if kind not in _PARTS:
            source.fail(node, f"{kind.__name__} is not part of the query language")
        if isinstance(node, ast.Constant) and not isinstance(node.value, (bool, int, float)):
            source.fail(node, f"{node.value!r} is no number, True or False")
        parts += 1
        if parts > PARTS_MAX:
            raise ExpressionError(f"the expression has more than {PARTS_MAX} names, numbers and operators")
        if depth > DEPTH_MAX:
            source.fail(node, f"the expression is nested more than {DEPTH_MAX} deep")
        if isinstance(node, ast.Call):
            called |= {node.func, getattr(node.func, "value", None)}
        elif isinstance(node, (ast.Name, ast.Attribute)) and node not in called:
            name = dotted_name(node)
            names |= set() if name is None else {name}
        for field in _PARTS[kind]:
            found = getattr(node, field)
            deeper = depth + (kind is not ast.BinOp or field != "left" or type(found) is not ast.BinOp)
            for child in found if isinstance(found, list) else (found,):
                if child is not None:
                    waiting.append((child, deeper))
    return frozenset(names)
