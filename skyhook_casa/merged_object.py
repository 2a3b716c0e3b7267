"""Columns of several objects of one partition, as if one object held them.

A partition's column sets are objects with the same events and chunks as its base object. The engine scans
one object; so for a query of columns of several, a directory of just those columns is made up here, in
an address space in which their stored bytes follow one another. What the engine reads there is read
from the objects.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .arrow_schema import NO_OFFSETS
from .errors import CorruptObject, SkyhookError
from .object_directory import CHUNK_ENTRY, ROW_HEAD, Array, encode_directory, read_rows

__all__ = ["MergedColumn", "MergedObject", "Section"]

SECTION_BYTES_MAX: Final = 60 << 20
"""Stored bytes of the columns that are scanned as one object: the engine refuses larger ones."""
CHUNK_BITS: Final = 32
"""A cursor of the engine is a chunk's number, and in so many lower bits an event in it."""
FIRST_BYTE: Final = 8
"""Where the first buffer lies, as in an Arrow file."""

Ranges = Sequence[tuple[int, int]]
Read = Callable[[list[tuple[int, int]]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class MergedColumn:
    """A physical column of a merged object."""

    name: str
    object: int
    """The object of the partition that holds it: 0 is the first."""
    index: int
    """Its place in the directory of that object."""
    offsets: int | None = None
    """The number, among the merged columns, of the offsets of its list; None if it lies in none."""


@dataclass(frozen=True, slots=True)
class Section:
    """Some chunks of a merged object, to be scanned as an object of their own."""

    first_chunk: int
    first_event: int
    """Events of the partition before it."""
    directory_start: int
    directory: bytes
    starts: tuple[int, ...]
    """Where each buffer begins, rising."""
    places: tuple[tuple[int, int], ...]
    """The object that holds each buffer, and where it begins there."""

    def located(self, start: int, stop: int) -> tuple[int, int, int]:
        """Return the object that holds the bytes [start, stop), and where they lie in it."""
        number = bisect_right(self.starts, start) - 1
        which, at = self.places[number]
        shift = at - self.starts[number]
        return which, start + shift, stop + shift

    def reader(self, readers: Sequence[Read]) -> Read:
        """Return what reads this section for the engine, given what reads each object."""

        def read(ranges: list[tuple[int, int]]) -> list[Any]:
            found: list[Any] = [None] * len(ranges)
            wanted: dict[int, list[tuple[int, tuple[int, int]]]] = {}
            for number, (start, stop) in enumerate(ranges):
                if start >= self.directory_start:
                    found[number] = self.directory[start - self.directory_start : stop - self.directory_start]
                    continue
                which, *where = self.located(start, stop)
                wanted.setdefault(which, []).append((number, (where[0], where[1])))
            for which, asked in wanted.items():
                pieces = readers[which]([where for _, where in asked])
                for (number, _), piece in zip(asked, pieces, strict=True):
                    found[number] = piece
            return found

        return read


class MergedObject:
    """The directory rows of some columns of several objects, put together.

    Parameters
    ----------
    columns : sequence of MergedColumn
        What is needed; a list's offsets come before the columns on them.
    readers : sequence of callable
        For each object, what returns the bytes of ranges of it.
    places : sequence of (str, int, int)
        For each object its name, and start and size of its directory.

    Raises
    ------
    CorruptObject
        If a directory contradicts itself, or objects do not have the same chunks; it names the object.
    """

    def __init__(
        self,
        columns: Sequence[MergedColumn],
        readers: Sequence[Read],
        places: Sequence[tuple[str, int, int]],
    ) -> None:
        self._columns = columns
        self._rows: list[bytes] = [b""] * len(columns)
        self.codec, self.chunk_events = "", tuple[int, ...]()
        for which, (name, start, nbytes) in enumerate(places):
            try:
                self._take(which, readers[which], start, nbytes)
            except SkyhookError as error:
                raise type(error)(f"object {name}: {error}") from error
        self.sections = list(self._cut())

    def place(self, event: int) -> tuple[Section, int]:
        """Return the section that holds an event of the partition, and the engine's cursor there."""
        section = next(one for one in reversed(self.sections) if one.first_event <= event)
        chunk, before = section.first_chunk, section.first_event
        while before + self.chunk_events[chunk] <= event:
            before += self.chunk_events[chunk]
            chunk += 1
        return section, (chunk - section.first_chunk) << CHUNK_BITS | (event - before)

    def event(self, section: Section, cursor: int) -> int:
        """Return the event of the partition where a cursor of a section points; for −1 the next section's."""
        if cursor < 0:
            later = [one.first_event for one in self.sections if one.first_event > section.first_event]
            return min(later, default=sum(self.chunk_events))
        chunk = section.first_chunk + (cursor >> CHUNK_BITS)
        return sum(self.chunk_events[:chunk]) + (cursor & ((1 << CHUNK_BITS) - 1))

    def _take(self, which: int, read: Read, start: int, nbytes: int) -> None:
        """Take the rows of one object."""
        mine = [number for number, column in enumerate(self._columns) if column.object == which]
        indices = [self._columns[number].index for number in mine]
        found = read_rows(lambda ranges: read(list(ranges)), start, nbytes, indices)
        if not self.codec:
            self.codec, self.chunk_events = found.codec, found.chunk_events
        if found.codec != self.codec or found.chunk_events != self.chunk_events:
            raise CorruptObject("its chunks, or their codec, are not those of the partition's other objects")
        for number, row in zip(mine, found.rows, strict=True):
            self._check(row, start, number)
            self._rows[number] = row

    def _check(self, row: bytes, start: int, number: int) -> None:
        column = self._columns[number]
        head, entries = np.frombuffer(row[: ROW_HEAD.itemsize], ROW_HEAD)[0], _entries(row)
        if int(head["index"]) != column.index or (head["offsets_index"] == NO_OFFSETS) != (
            column.offsets is None
        ):
            raise CorruptObject(f"column {column.name!r}: a row of the directory contradicts its place")
        if np.any(entries["offset"] > start) or np.any(entries["offset"] + entries["stored_bytes"] > start):
            raise CorruptObject(
                f"column {column.name!r} reaches past byte {start}, where the directory begins"
            )

    def _cut(self) -> list[Section]:
        """Return the sections: as few as can be, each of whole chunks."""
        entries = [_entries(row) for row in self._rows]
        chunk_bytes = sum(
            (one["stored_bytes"].astype(np.int64) for one in entries),
            np.zeros(len(self.chunk_events), np.int64),
        )
        sections, first, nbytes = [], 0, 0
        for chunk, more in enumerate(chunk_bytes.tolist()):
            if chunk > first and nbytes + more > SECTION_BYTES_MAX:
                sections.append(self._section(entries, first, chunk))
                first, nbytes = chunk, 0
            nbytes += more
        return [*sections, self._section(entries, first, len(self.chunk_events))]

    def _section(self, entries: list[Array], first: int, stop: int) -> Section:
        starts, places, at = [], [], FIRST_BYTE
        moved = [one[first:stop].copy() for one in entries]
        for column, mine in zip(self._columns, moved, strict=True):
            for entry in mine:
                starts.append(at)
                places.append((column.object, int(entry["offset"])))
                entry["offset"] = at
                at += int(entry["stored_bytes"])
        start = -(-at // 8) * 8
        names = [column.name for column in self._columns]
        rows = [self._row(number, moved[number]) for number in range(len(names))]
        directory = encode_directory(start, self.codec, self.chunk_events[first:stop], names, rows)
        return Section(first, sum(self.chunk_events[:first]), start, directory, tuple(starts), tuple(places))

    def _row(self, number: int, entries: Array) -> bytes:
        head = np.frombuffer(self._rows[number][: ROW_HEAD.itemsize], ROW_HEAD).copy()
        offsets = self._columns[number].offsets
        head["index"] = number
        head["offsets_index"] = NO_OFFSETS if offsets is None else offsets
        head["values"] = entries["values"].sum(dtype=np.uint64)
        return head.tobytes() + entries.tobytes()


def _entries(row: bytes) -> Array:
    return np.frombuffer(row[ROW_HEAD.itemsize :], CHUNK_ENTRY)
