"""The answer of a query as something to take columns from: each is fetched when it is wanted, once."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from typing import Final
from uuid import UUID

import numpy as np

from skyhook_casa.batch import Array, Batch
from skyhook_casa.catalog import DatasetVersion
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest, StoreError
from skyhook_casa.progress import Progress
from skyhook_casa.report import Report
from skyhook_casa.schema import Column
from skyhook_casa.tally import Tally

from ..backend import Backend, Question

EVENT_IDS: Final = ("run", "luminosityBlock", "event")
"""What identifies an event; delivered even if nobody asks for it."""
VECTOR_FIELDS: Final = ("pt", "eta", "phi", "mass", "charge")
"""What coffea makes vectors and particles of; delivered with any other field of the same object."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column of an answer."""

    name: str
    dtype: str
    jagged: bool
    """Whether there is a list for each event."""
    title: str
    """Of the branch, or the expression of a derived column."""
    typename: str
    """The type as the ROOT file spells it; empty for a derived column."""


class Answer:
    """What a query delivers, as coffea wants it: columns as they are stored, with all counters.

    Parameters
    ----------
    question : Question
        The query. Its columns are delivered, and besides them what coffea cannot do without: the numbers
        that identify an event, all counters, and the components of vectors of which it has any.

    Raises
    ------
    InvalidRequest
        If collections are thinned, or a column can have missing elements.
    """

    def __init__(self, question: Question) -> None:
        value = question.value
        if value.objects:
            named = ", ".join(name for name, _ in value.objects)
            raise InvalidRequest(
                f"NanoEvents have whole collections: leave out objects= (for {named}) and mask, as in "
                f"events.{value.objects[0][0]}[…]; to_awkward() and to_file() can thin"
            )
        self._bounds: list[int] | None = None
        self._touched_last: dict[str, None] = {}
        self.backend: Backend = question.backend
        self.version: DatasetVersion = question.version
        stored = {column.name: column for column in self.backend.columns(self.version)}
        if value.columns is not None:
            prefixes = {output.name.split("_")[0] for output in question.outputs}
            always = [name for name, column in stored.items() if _is_needed(column, prefixes)]
            question = question.asking(replace(value, columns=(*value.columns, *always)))
        self.question = question
        self.outputs: dict[str, Output] = {output.name: output for output in question.outputs}
        for output in self.outputs.values():
            if output.optional:
                raise InvalidRequest(
                    f"{output.name} can have missing elements, which NanoEvents cannot hold; leave it out of "
                    "the columns and derive it from the events"
                )
        self.fields: dict[str, Field] = {
            name: Field(
                name,
                output.dtype,
                output.axis is not None,
                output.title,
                stored[name].typename if name in stored else "",
            )
            for name, output in self.outputs.items()
        }

    @property
    def narrow(self) -> bool:
        """Whether only some of the columns are delivered."""
        return self.question.value.columns is not None

    @property
    def selects(self) -> bool:
        """Whether not all events are in the answer."""
        value = self.question.value
        return value.selects or value.limit is not None

    @property
    def bounds(self) -> list[int]:
        """Where partitions begin, and where the last one ends, in events of the version."""
        if self._bounds is None:
            self._bounds = [0, *accumulate(self.backend.partition_events(self.version))]
        return self._bounds

    @cached_property
    def uuid(self) -> UUID:
        """What identifies version and query: equal ones have equal columns."""
        version = self.version
        value = replace(self.question.value, columns=None)
        named = [self.backend.url, version.dataset, version.number, version.created.isoformat()]
        return UUID(bytes=sha256(json.dumps([*named, value.to_json()]).encode()).digest()[:16])

    def part(self, entries: tuple[int, int] | None = None) -> Part:
        """Return the events of a range of the version, before the cut; all of them by default."""
        if entries is None:
            return Part(Selection(self, self.question.value.partitions), None)
        partitions = self.partitions(*entries)
        selection = Selection(self, partitions)
        whole = (self.bounds[partitions[0]], self.bounds[partitions[1]]) == entries
        return Part(selection, None if whole else entries)

    def partitions(self, start: int, stop: int) -> tuple[int, int]:
        """Return the partitions that hold the events from `start` up to, but not including, `stop`.

        Raises
        ------
        InvalidRequest
            If the version has no such events.
        """
        if not 0 <= start < stop <= self.version.events:
            raise InvalidRequest(
                f"events {start} to {stop} are asked; version {self.version.number} of dataset "
                f"{self.version.dataset!r} has {self.version.events}"
            )
        first = bisect_right(self.bounds, start) - 1
        return first, bisect_left(self.bounds, stop, first)

    def tally(self, start: int, stop: int) -> Tally:
        """Return the tally of the events from `start` up to `stop`, before the cut.

        Raises as `partitions` does.
        """
        partitions = self.partitions(start, stop)
        skip = start - self.bounds[partitions[0]]
        return self.backend.tally(self.version, partitions, stop - start, skip)

    def part_of(self, partition: int) -> Part:
        """Return the events of one partition."""
        return Part(Selection(self, (partition, partition + 1)), None)

    def habit(self, touched: dict[str, None]) -> dict[str, None]:
        """Return what is touched of the selection before, and take note of the next one's `touched`."""
        before, self._touched_last = self._touched_last, touched
        return before

    def nothing(self) -> Part:
        """Return a part without events, for which nothing is ever fetched."""
        return Part(Selection(self, None, empty=True), None)


class Selection:
    """The events of some partitions that pass the cut. Safe to use from many threads.

    The first fetch finds them; later ones must find the same. They do, as a version never changes.

    Who looks at one part after the other mostly touches the same columns of each: with the first of those
    that were touched of the selection before, the others are fetched too.

    Parameters
    ----------
    answer : Answer
        Whose events.
    partitions : (int, int), optional
        Which partitions; all by default.
    empty : bool
        Whether there are no events, whatever the query says.
    """

    def __init__(self, answer: Answer, partitions: tuple[int, int] | None, empty: bool = False) -> None:
        self.answer = answer
        self.partitions = partitions
        self.bytes_read = 0
        """Stored bytes that were read for it."""
        self.nbytes = 0
        """Bytes that it holds."""
        self.told: Callable[[Report], None] = _ignore
        """Told the report of each fetch."""
        self._lock = threading.RLock()
        self._found: dict[str, tuple[Batch, int]] = {}
        self._touched: dict[str, None] = {}
        self._habit: dict[str, None] | None = None
        self._selects = answer.selects and not empty
        self._rows: Array | None = None
        self._empty = empty

    @property
    def rows(self) -> Array:
        """int64, shape (n,): number of each event in the version; found by the first fetch."""
        with self._lock:
            if self._rows is None and not self._selects:
                self._rows = np.arange(*self._range())
            if self._rows is None:
                fields = self.answer.fields
                first: list[str] = [name for name in EVENT_IDS if name in fields]
                self.fetch(self._usual() or first or [next(iter(fields))])
            assert self._rows is not None
            return self._rows

    def __len__(self) -> int:
        if self._selects:
            return len(self.rows)
        first, stop = self._range()
        return stop - first

    def fetch(self, names: Iterable[str]) -> None:
        """Fetch columns, those that are not there yet, all at once.

        Raises
        ------
        StoreError
            If another fetch found other events.
        SkyhookError
            If they cannot be read.
        """
        with self._lock:
            missing = [name for name in dict.fromkeys(names) if name not in self._found]
            if not missing:
                return
            batch = self._nothing(missing) if self._empty else self._read(missing)
            self._check(batch)
            self.nbytes += batch.nbytes
            for number, output in enumerate(batch.outputs):
                self._found[output.name] = batch, number

    def column(self, name: str) -> tuple[Batch, int]:
        """Return a column: a batch that holds it, and its number there."""
        with self._lock:
            usual = self._usual()
            self._touched[name] = None
            self.fetch([name, *usual] if name in usual else [name])
            return self._found[name]

    def _usual(self) -> tuple[str, ...]:
        """Return what is touched of the selection before this one."""
        if self._habit is None:
            self._habit = {} if self._empty else self.answer.habit(self._touched)
        return tuple(self._habit)

    def _read(self, names: list[str]) -> Batch:
        question = self.answer.question
        value = replace(question.value, columns=tuple(names), partitions=self.partitions)
        run = question.asking(value).run(Progress("", 0, "events", False), rows=self._selects)
        batch = run.collect()
        self.bytes_read += run.report.bytes_read
        self.told(run.report)
        return batch

    def _nothing(self, names: list[str]) -> Batch:
        return Batch.empty(tuple(self.answer.outputs[name] for name in names))

    def _check(self, batch: Batch) -> None:
        """Refuse other events than were found before."""
        if self._selects and self._rows is None:
            self._rows = batch.rows
        same = np.array_equal(self.rows, batch.rows) if self._selects else len(self) == batch.events  # type: ignore[arg-type]
        if not same:
            version = self.answer.version
            raise StoreError(
                f"{batch.events} events are in the answer now, and {len(self)} were before, though version "
                f"{version.number} of dataset {version.dataset!r} cannot change; verify() tells more"
            )

    def _range(self) -> tuple[int, int]:
        """Return the first of the events before the cut, and one past the last."""
        if self._empty:
            return 0, 0
        bounds = self.answer.bounds
        first, stop = self.partitions or (0, len(bounds) - 1)
        return bounds[first], bounds[stop]


@dataclass(frozen=True, eq=False)
class Part:
    """The events of a selection, or those of a range of them: what becomes one NanoEvents."""

    selection: Selection
    entries: tuple[int, int] | None
    """Events of the version, before the cut, that are in; None for all of the selection."""

    @property
    def answer(self) -> Answer:
        """What it is a part of."""
        return self.selection.answer

    @property
    def _slice(self) -> tuple[int, int]:
        if self.entries is None:
            return 0, len(self.selection)
        start, stop = np.searchsorted(self.selection.rows, self.entries)
        return int(start), int(stop)

    def __len__(self) -> int:
        start, stop = self._slice
        return stop - start

    @property
    def uuid(self) -> UUID:
        """What identifies it: parts of the same events and query have the same."""
        return self.uuid_of(len(self))

    def uuid_of(self, events: int) -> UUID:
        """Return what identifies it, if it is known that it has so many events."""
        where = self.entries or self.selection.partitions
        named = f"{self.answer.uuid} {self.entries is None} {where} {events}"
        return UUID(bytes=sha256(named.encode()).digest()[:16])

    def fetch(self, names: Iterable[str]) -> None:
        """Fetch columns at once; names that are none of the answer do not matter. Raises as `Selection`."""
        self.selection.fetch([name for name in names if name in self.answer.fields])

    def column(self, name: str) -> tuple[Array, Array | None]:
        """Return the values of a column, and the offsets of its lists from 0 if it has any."""
        batch, number = self.selection.column(name)
        start, stop = self._slice
        values, offsets = batch.values[number], batch.offsets[number]
        if (start, stop) == (0, batch.events):
            return values, offsets
        if offsets is None:
            return values[start:stop], None
        return values[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start]


def _is_needed(column: Column, prefixes: Container[str]) -> bool:
    """Return whether a column comes with any others, of objects with these names."""
    prefix, _, field = column.name.partition("_")
    vector = prefix in prefixes and field in VECTOR_FIELDS
    return vector or column.name in EVENT_IDS or column.counts is not None


def _ignore(report: Report) -> None:
    """Take a report that nobody wants."""
