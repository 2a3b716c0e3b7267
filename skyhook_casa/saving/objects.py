"""Partitions of a dataset to objects of a saved one: what one worker does."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from ..batch import Batch
from ..catalog import MetaTree, Partition
from ..errors import InvalidRequest, ResourceExhausted
from ..execution import Choice
from ..ingest.encode import EncodeOptions, encode, put_table
from ..ingest.partitions import halves
from ..ingest.stored import StoredPartition, store_partition
from ..lumimask import LumiMask
from ..schema import Schema
from ..stores import ObjectStore
from ..work import Work
from ..worker import NO_LIMIT, Worker
from .columns import Array, arrays_of
from .sections import masked_sections

RAW_RATIO: Final = 2
"""Values become an object of the size that is aimed for when they are so many times as long."""
RAW_MAX: Final = 2
"""In the middle of a partition only when they are so many times as long again."""
PIECE_BYTES: Final = 4 << 20
"""About how much is computed at a time."""


@dataclass(frozen=True, slots=True)
class Saving:
    """What is computed of every partition, and how it is stored."""

    work: Work
    schema: Schema
    options: EncodeOptions


def save_parts(
    store: ObjectStore, saving: Saving, parts: tuple[Partition, ...], events_max: int = NO_LIMIT
) -> list[StoredPartition]:
    """Put the answer of some partitions into the store; return the objects, none if no event is left.

    Few objects are made of many partitions of which little is left. Their entries have no gaps.

    Parameters
    ----------
    parts : tuple of Partition
        Of one file, in its order.
    events_max : int
        Most events to keep.

    Raises
    ------
    SkyhookError
        As a query does, and if the store is full.
    """
    return _Unit(store, saving, parts, events_max).run()


def save_sections(store: ObjectStore, tree: MetaTree, mask: LumiMask) -> tuple[str, int]:
    """Put the entries of a tree `LuminosityBlocks` that a mask holds into the store; return name and size."""
    with pa.ipc.open_file(pa.BufferReader(store.read_object(tree.object.name))) as reader:
        table = reader.read_all()
    return put_table(store, masked_sections(table, mask))


class _Unit:
    """Some partitions at work."""

    def __init__(
        self, store: ObjectStore, saving: Saving, parts: tuple[Partition, ...], events_max: int
    ) -> None:
        work = saving.work
        self._store, self._saving, self._parts, self._events_max = store, saving, parts, events_max
        self._worker = Worker(work, store, Choice(work, store, work.execution))
        self._full_bytes = RAW_RATIO * saving.options.partition_bytes
        self._result = Batch.result(work.outputs, rows=True)
        self._firsts = [part.first_event for part in parts]
        self._kept = 0
        self._start = parts[0].entry_start
        self._saved: list[StoredPartition] = []

    def run(self) -> list[StoredPartition]:
        """See `save_parts`."""
        for part in self._parts:
            self._take(part)
            if self._result.nbytes >= self._full_bytes:
                self._close(part.entry_stop)
        end = self._parts[-1].entry_stop
        self._close(end)
        if self._saved:  # so that who goes on after an interruption sees that it is whole
            self._saved[-1] = replace(self._saved[-1], stop=end)
        return self._saved

    def _take(self, part: Partition) -> None:
        """Add the events of a partition."""
        cursor = 0
        while cursor >= 0 and (most := self._events_left()) != 0:
            cursor = self._worker.run(part, self._result, cursor, most, PIECE_BYTES)
            if cursor >= 0 and self._result.nbytes >= RAW_MAX * self._full_bytes:
                self._close(None)

    def _events_left(self) -> int:
        if self._events_max < 0:
            return NO_LIMIT
        return max(0, self._events_max - self._kept - self._result.events)

    def _close(self, stop: int | None) -> None:
        """Store the events so far, which were made from the entries up to `stop`, or to the last of them."""
        if not self._result.events:
            return
        batch = Batch.of(self._saving.work.outputs, self._result, rows=True)
        assert batch.rows is not None
        arrays = arrays_of(self._saving.schema, batch)
        self._put(arrays, batch.rows, 0, batch.events, stop or self._entry_after(batch.rows[-1]))
        self._kept += batch.events
        self._result = Batch.result(self._saving.work.outputs, rows=True)

    def _put(self, arrays: dict[str, Array], rows: Array, first: int, last: int, stop: int) -> None:
        """Store a range of the events, which reaches to entry `stop`; in two halves if it is too large."""
        saving = self._saving
        try:
            encoded = encode(saving.schema, arrays, first, last, saving.options)
        except ResourceExhausted:
            if last - first <= 1:
                raise InvalidRequest(
                    f"event {rows[first]} of {saving.work.dataset!r} does not fit into one object; save "
                    "fewer columns"
                ) from None
            (_, middle), _ = halves(first, last, saving.options.chunk_events)
            self._put(arrays, rows, first, middle, self._entry_after(rows[middle - 1]))
            self._put(arrays, rows, middle, last, stop)
            return
        place = (self._start, stop)
        self._saved.append(
            store_partition(self._store, encoded, saving.schema, arrays, slice(first, last), place)
        )
        self._start = stop

    def _entry_after(self, row: int) -> int:
        """Return the entry behind that of an event.

        Partitions of a saved dataset have fewer events than entries; there it is one that is not too late.
        """
        part = self._parts[bisect_right(self._firsts, row) - 1]
        return part.entry_start + int(row) - part.first_event + 1
