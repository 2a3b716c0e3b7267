"""Definitions that we make of a user's expressions, and errors that do not show their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from skyhook_casa.errors import ExpressionError


@contextmanager
def errors_without(made: Mapping[str, str]) -> Iterator[None]:
    """Let an `ExpressionError` raised inside show what the user wrote.

    Parameters
    ----------
    made : dict of str to str
        Names that the user did not choose, in the order of their definition, and what they stand for.
    """
    try:
        yield
    except ExpressionError as error:
        shown = _without(error, made)
        for note in getattr(error, "__notes__", ()):
            shown.add_note(note)
        raise shown from None


def _without(error: ExpressionError, made: Mapping[str, str]) -> ExpressionError:
    message = error.message
    for name in made:
        message = message.removeprefix(f"in the definition of {name!r}: ")
    wrong = error.text[error.start : error.stop]
    if error.text in made:
        wrong = error.text
    elif not _names_in(error.text, made):
        return ExpressionError(message, error.text, error.start, error.stop)
    text = _written(wrong if wrong in made else error.text, made)
    return ExpressionError(message, text, 0, len(text))


def _names_in(text: str, made: Mapping[str, str]) -> bool:
    return any(name in made for name in re.findall(r"\w+", text))


def _written(text: str, made: Mapping[str, str]) -> str:
    """Return a text with expressions in place of the names that stand for them."""
    for name, expression in reversed(list(made.items())):  # later ones use earlier ones
        text = re.sub(rf"\b{name}\b", expression.replace("\\", r"\\"), text)
    return text
