"""New columns of a group of events, put together from pieces of files."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidRequest
from ..query import Fill
from ..schema import Column, Schema, offsets_column
from .friend_files import FriendFile
from .keys import Array


class JoinedColumns:
    """The new columns of a group of events, filled in whatever order they come."""

    def __init__(
        self, schema: Schema, events: int, fills: dict[str, Fill] | None, known: dict[str, Array]
    ) -> None:
        self._schema = schema
        self._fills = fills or {}
        self._known = known
        self._members: dict[str, list[Column]] = {name: [] for name in schema.lists}
        self._lengths: dict[str, Array] = {}
        self._waiting: dict[str, list[tuple[Array, Array, dict[str, Array]]]] = {}
        self._arrays: dict[str, Array] = {}
        for column in schema.columns.values():
            if column.counts is not None:
                continue
            if column.list is None:
                self._arrays[column.name] = self._filled(column, events)
            else:
                self._members[column.list].append(column)
        for name in schema.lists:
            if name in known:
                for column in self._members[name]:
                    self._arrays[column.name] = self._filled(column, int(known[name][-1]))
            else:
                self._lengths[name], self._waiting[name] = np.zeros(events, np.int64), []

    def take(self, rows: Array, entries: Array, values: dict[str, Array], file: FriendFile) -> None:
        """Put some entries of a piece of a file where they belong.

        Raises
        ------
        InvalidRequest
            If a list is not as long as it is in the dataset.
        """
        for column in self._schema.columns.values():
            if column.counts is None and column.list is None:
                self._arrays[column.name][rows] = values[column.name][entries]
        for name, members in self._members.items():
            offsets = _offsets_of(name, members, file, values)
            chosen = {c.name: values[c.name] for c in members}
            picked = _ranges(offsets[entries], offsets[entries + 1])
            lengths = offsets[entries + 1] - offsets[entries]
            found = {n: array[picked] for n, array in chosen.items()}
            if name in self._known:
                self._place(name, rows, lengths, found, file)
            else:
                self._lengths[name][rows] = lengths
                self._waiting[name].append((rows, lengths, found))

    def finish(self) -> dict[str, Array]:
        """Return the columns of all events, and the offsets of each list."""
        for name, offsets in self._known.items():
            self._arrays[offsets_column(name)] = offsets
        for name, waiting in self._waiting.items():
            offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._lengths[name])])
            self._arrays[offsets_column(name)] = offsets
            for column in self._members[name]:
                self._arrays[column.name] = np.empty(int(offsets[-1]), column.dtype)
            for rows, lengths, found in waiting:
                places = _ranges(offsets[rows], offsets[rows] + lengths)
                for member, array in found.items():
                    self._arrays[member][places] = array
        return self._arrays

    def _place(
        self, name: str, rows: Array, lengths: Array, found: dict[str, Array], file: FriendFile
    ) -> None:
        starts, stops = self._known[name][rows], self._known[name][rows + 1]
        wrong = np.flatnonzero(stops - starts != lengths)
        if len(wrong):
            raise InvalidRequest(
                f"the lists of {', '.join(found)} in {file.path} are not as long as those of {name!r} in the "
                f"dataset: {int(lengths[wrong[0]])} elements in place of {int((stops - starts)[wrong[0]])}, "
                f"in {len(wrong):,} events"
            )
        places = _ranges(starts, stops)
        for member, array in found.items():
            self._arrays[member][places] = array

    def _filled(self, column: Column, length: int) -> Array:
        return np.full(length, self._fills.get(column.name, 0), column.dtype)


def _offsets_of(name: str, members: list[Column], file: FriendFile, values: dict[str, Array]) -> Array:
    """Return the offsets that the columns of a list have in a file, where it may be several lists."""
    if not members:
        return values[offsets_column(name)].astype(np.int64)
    found: Array | None = None
    for column in members:
        home = file.schema.columns[column.name].list
        assert home is not None
        mine = values[offsets_column(home)].astype(np.int64)
        if found is not None and not np.array_equal(mine, found):
            raise InvalidRequest(
                f"the lists of {members[0].name!r} and {column.name!r} in {file.path} differ in length; they "
                f"would lie in one list {name!r}"
            )
        found = mine
    assert found is not None
    return found


def _ranges(starts: Array, stops: Array) -> Array:
    """Return the numbers of all ranges [start, stop), one after the other."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    numbers: Array = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return numbers
