"""Objects of new partitions: put into the store by workers, recorded in the catalog by whoever leads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..catalog import Catalog, FileInfo, Job, NewPartition, ObjectInfo
from ..object_format import EncodedObject
from ..schema import Schema
from ..stores import ObjectStore
from ..tally import TALLIED, EncodedTally, countable


@dataclass(frozen=True, slots=True)
class StoredPartition:
    """An object that is in the store, and the entries of a file that it was made from."""

    start: int
    stop: int
    events: int
    """How many of the entries it has; a skim drops some."""
    name: str
    bytes: int
    directory_start: int
    directory_bytes: int
    columns: tuple[str, ...]
    new: bool
    """False if the store had it already."""
    tally: EncodedTally
    """Of its events."""


def store_partition(
    store: ObjectStore,
    encoded: EncodedObject,
    schema: Schema,
    arrays: dict[str, Any],
    rows: slice,
    entries: tuple[int, int],
) -> StoredPartition:
    """Put an object into the store and add up its events.

    Parameters
    ----------
    arrays : dict of str to array
        The columns that it was encoded from …
    rows : slice
        … and where its events are in them.
    entries : (int, int)
        The entries of the file that it was made from: the first is in, the second is out.
    """
    new = store.put(encoded.name, encoded.data)
    tallied: dict[str, Any] = {name: arrays[name][rows] for name in TALLIED if name in arrays}
    return StoredPartition(
        *entries,
        rows.stop - rows.start,
        encoded.name,
        encoded.data.size,
        encoded.directory_start,
        encoded.directory_bytes,
        encoded.columns,
        new,
        EncodedTally.of(tallied, *countable(schema.columns)),
    )


class Recorder:
    """Turns what workers stored into partitions of a version.

    Parameters
    ----------
    catalog, store
        Where partitions are recorded, and where their objects are.
    """

    def __init__(self, catalog: Catalog, store: ObjectStore) -> None:
        self._catalog = catalog
        self._store = store
        self._layouts: dict[tuple[str, ...], int] = {}

    def record(self, job: Job, stored: StoredPartition, file: FileInfo) -> NewPartition:
        """Record what a job stored of a file, so that it is not made again."""
        if stored.columns not in self._layouts:
            self._layouts[stored.columns] = self._catalog.add_layout(stored.columns)
        place = (stored.directory_start, stored.directory_bytes)
        info = ObjectInfo(stored.name, stored.bytes, *place, self._layouts[stored.columns])
        made = NewPartition(stored.events, info, file, stored.start, stored.stop, stored.tally)
        self._catalog.record_partition(job, made)
        return made

    def is_stored(self, partition: NewPartition) -> bool:
        """Return whether the object of a recorded partition is there still."""
        name = partition.object.name
        return self._store.exists(name) and self._store.size(name) == partition.object.bytes
