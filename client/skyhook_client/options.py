"""Options that calls pass on: their names and types, the same whoever answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, SupportsIndex

from skyhook_casa.errors import InvalidRequest, did_you_mean

_NAMES: Final = {str: "a text", bool: "True or False", SupportsIndex: "a whole number"}

SAVE_OPTIONS: Final[Mapping[str, Any]] = {
    "codec": str,
    "partition_bytes": SupportsIndex,
    "chunk_events": SupportsIndex,
    "workers": object,
}
"""Of `Query.save`."""
INGEST_OPTIONS: Final[Mapping[str, Any]] = {
    "tree": str,
    **SAVE_OPTIONS,
    "append": bool,
    "skip_bad_files": bool,
}
"""Of `Client.ingest`."""


def checked(call: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given, without those that are None: these are as by default.

    Raises
    ------
    InvalidRequest
        If there is no such option of `call`, or it is of another type; near names are named.
    """
    for name, value in given.items():
        if name not in known:
            there = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise InvalidRequest(f"{call} has no option {name!r}{there}")
        kind = known[name]
        wrong = kind is SupportsIndex and isinstance(value, bool)
        if value is not None and (wrong or not isinstance(value, kind)):
            raise InvalidRequest(f"{name} of {call} is {value!r}; {_NAMES[kind]} is needed")
    return {name: value for name, value in given.items() if value is not None}
