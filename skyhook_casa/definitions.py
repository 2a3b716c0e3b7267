"""Definitions of derived columns: which use which, and a digest that tells one text from another."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from .errors import InvalidRequest
from .expression import mentioned_names
from .functions import function_of

DEFINITIONS_MAX = 1_000
"""Most definitions of one dataset."""


def mentions(text: str) -> set[str]:
    """Return the names that a definition, an expression or a function, may refer to. Raises as both."""
    function = function_of(text)
    return mentioned_names(text) if function is None else set(function.columns)


def definition_order(definitions: Mapping[str, str]) -> list[str]:
    """Return the names so that each comes after those that its definition uses.

    Raises
    ------
    InvalidRequest
        If definitions use each other in a circle, or there are too many.
    ExpressionError
        If one cannot be parsed.
    """
    if len(definitions) > DEFINITIONS_MAX:
        raise InvalidRequest(f"{len(definitions)} definitions; a dataset has {DEFINITIONS_MAX} at most")
    uses = {name: mentions(text) & definitions.keys() for name, text in definitions.items()}
    order: list[str] = []
    left = dict(uses)
    while left:
        ready = [name for name, used in left.items() if not used - set(order)]
        if not ready:
            circle = ", ".join(sorted(left))
            raise InvalidRequest(f"the definitions of {circle} use each other in a circle")
        order += ready
        for name in ready:
            del left[name]
    return order


def definition_digests(definitions: Mapping[str, str]) -> dict[str, str]:
    """Return for each definition what is equal only if it, and all that it uses, are equal.

    Raises as `definition_order`.
    """
    digests: dict[str, str] = {}
    for name in definition_order(definitions):
        text = definitions[name]
        used = sorted(mentions(text) & definitions.keys())
        content = "\0".join([name, text, *(digests[one] for one in used)])
        digests[name] = hashlib.sha256(content.encode()).hexdigest()
    return digests


def users_of(definitions: Mapping[str, str], name: str) -> list[str]:
    """Return the definitions that use another."""
    return [one for one, text in definitions.items() if name in mentions(text)]


def needed(definitions: Mapping[str, str], names: Collection[str]) -> list[str]:
    """Return the definitions that `names` stand for, and those that they use, in their order."""
    wanted: set[str] = set()
    waiting = set(names) & definitions.keys()
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        waiting |= (mentions(definitions[name]) & definitions.keys()) - wanted
    return definition_order({name: definitions[name] for name in definitions if name in wanted})
