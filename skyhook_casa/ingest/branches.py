"""Branches of a ROOT file, and the NanoAOD convention that makes collections of them.

A jagged branch counted by `nX` belongs to collection `X` if it is called `X_*`; called `X` itself
it is a list on its own with counter `nX`. Every other jagged branch is a list of its own, named as
the branch and without counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import IngestError, did_you_mean
from ..schema import OFFSETS_SUFFIX, Column, ListInfo, Schema

Array = np.ndarray[Any, Any]
NAME_BYTES_MAX = 255
"""Longest branch name that the catalog holds."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch or field that columns can hold."""

    name: str
    dtype: str
    """NumPy name of one element's type."""
    jagged: bool = False
    counter: str | None = None
    """The branch with this one's number of elements per event, if the file says so."""
    title: str = ""
    typename: str = ""


class SkippedBranch(NamedTuple):
    """A branch that cannot be held."""

    name: str
    typename: str
    reason: str


class Jagged(NamedTuple):
    """Values of a jagged branch over some events."""

    offsets: Array
    """int32 or int64, shape (events + 1,), starting at 0."""
    content: Array


class EventSource(Protocol):
    """A tree or ntuple of events, whatever its storage."""

    entries: int
    branches: list[Branch]
    skipped: list[SkippedBranch]

    def boundaries(self) -> list[int]:
        """Return the entries where it is cheap to begin reading, with 0 and `entries`."""
        ...

    def nbytes(self, names: Iterable[str]) -> tuple[int, int]:
        """Return stored and uncompressed bytes of some branches; an estimate will do."""
        ...

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array | Jagged]:
        """Return the values of some branches for the entries [start, stop), in native byte order."""
        ...


def storable(name: str) -> str:
    """Return why no column can be called `name`; empty if one can."""
    if name.endswith(OFFSETS_SUFFIX):
        return f"a name that ends with {OFFSETS_SUFFIX!r} is reserved"
    if not 0 < len(name.encode()) <= NAME_BYTES_MAX:
        return f"a name of {len(name.encode())} bytes; 1 to {NAME_BYTES_MAX} are allowed"
    return ""


def nanoaod_schema(branches: Iterable[Branch]) -> Schema:
    """Return the schema of a file with these branches, in their order."""
    known = {branch.name: branch for branch in branches}
    lists: dict[str, ListInfo] = {}
    home: dict[str, str] = {}
    for branch in known.values():
        if not branch.jagged:
            continue
        name, info = _list_of(branch, known)
        home[branch.name] = name
        if name not in lists or info.collection:
            lists[name] = info
    counted = {info.counter: info.name for info in lists.values() if info.counter is not None}
    columns = {
        b.name: Column(b.name, b.dtype, home.get(b.name), counted.get(b.name), b.title, b.typename)
        for b in known.values()
    }
    return Schema(columns, lists)


def _list_of(branch: Branch, known: dict[str, Branch]) -> tuple[str, ListInfo]:
    counter = known.get(branch.counter or "")
    if (
        counter is not None
        and not counter.jagged
        and counter.name[:1] == "n"
        and counter.dtype in _COUNTER_DTYPES
    ):
        name = counter.name[1:]
        if branch.name.startswith(name + "_"):
            return name, ListInfo(name, counter.name, collection=True)
        if branch.name == name:
            return name, ListInfo(name, counter.name)
    return branch.name, ListInfo(branch.name)


_COUNTER_DTYPES = frozenset(("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"))


def select_columns(schema: Schema, wanted: Sequence[str] | None, where: str) -> Schema:
    """Return the part of `schema` that the names and globs `wanted` mean.

    A list brings its counter along, which costs nothing; a lone list's counter brings the list.

    Raises
    ------
    IngestError
        If one of `wanted` matches nothing.
    """
    if wanted is None:
        return schema
    chosen: set[str] = set()
    for pattern in wanted:
        found = {name for name in schema.columns if fnmatchcase(name, pattern)}
        if not found:
            near = did_you_mean(pattern, schema.columns)
            raise IngestError(
                f"{where} has no branch {pattern!r} that can be held{near}",
                "Ingest it on its own, with columns that it has.",
            )
        chosen |= found
    homes = {c.list or c.counts for name, c in schema.columns.items() if name in chosen}
    lists = {name: info for name, info in schema.lists.items() if name in homes}
    columns = {
        name: column
        for name, column in schema.columns.items()
        if name in chosen
        or column.counts in lists
        or (column.list in lists and not lists[column.list].collection)
    }
    return Schema(columns, lists)
