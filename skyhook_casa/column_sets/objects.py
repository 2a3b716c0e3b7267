"""Objects of a column set: the same events and chunks as a partition's base object, other columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..catalog import Catalog, ObjectInfo, Partition
from ..errors import CorruptObject, InvalidRequest, ResourceExhausted
from ..ingest.partitions import OBJECT_BYTES_MAX
from ..object_directory import CHUNK_ENTRY, ROW_HEAD, decode_buffer, read_rows
from ..object_format import ObjectWriter
from ..schema import Schema, offsets_column
from ..stores import ByteRange, ObjectStore
from .keys import Array


class SetObjects:
    """Makes the objects of one column set.

    Parameters
    ----------
    catalog, store
        Where the dataset is kept.
    schema : Schema
        The columns of the set, and the lists they lie in.
    """

    def __init__(self, catalog: Catalog, store: ObjectStore, schema: Schema) -> None:
        self._catalog = catalog
        self._store = store
        self._schema = schema
        self._layouts: dict[int, dict[str, int]] = {}
        self._mine: dict[tuple[str, ...], int] = {}

    def put(self, part: Partition, arrays: Mapping[str, Array]) -> ObjectInfo:
        """Put the columns of one partition into the store; return the object.

        Parameters
        ----------
        part : Partition
            With all its objects.
        arrays : Mapping
            Per column one value per event, or elements; and of each list `Muon` the offsets `Muon#`, from 0.

        Raises
        ------
        InvalidRequest
            If a list is not as long as it is in the partition already, or the object would be too large.
        StoreError
            If the store failed or is full.
        """
        codec, chunk_events = self._chunks(part)
        for name in self._schema.lists:
            self._check_list(part, name, arrays[offsets_column(name)])
        # Arrow's memory for an object is given back as soon as it is finished.
        writer = ObjectWriter(self._schema, codec, bytes_max=OBJECT_BYTES_MAX)
        first = 0
        try:
            for events in chunk_events:
                writer.write(events, self._chunk(arrays, first, first + events))
                first += events
            encoded = writer.finish()
        except ResourceExhausted as error:
            raise InvalidRequest(
                f"partition {part.index}: {error}; add fewer columns at a time, or ingest with smaller "
                "partitions"
            ) from error
        self._store.put(encoded.name, encoded.data)
        if encoded.columns not in self._mine:
            self._mine[encoded.columns] = self._catalog.add_layout(encoded.columns)
        place = (encoded.directory_start, encoded.directory_bytes)
        return ObjectInfo(encoded.name, encoded.data.size, *place, self._mine[encoded.columns])

    def offsets(self, part: Partition, list_name: str) -> Array | None:
        """Return the offsets of a list in a partition, int64, from 0; None if it has no such list.

        Raises
        ------
        CorruptObject
            If stored bytes contradict their checksums.
        """
        name = offsets_column(list_name)
        for info in (part.object, *part.sets):
            index = self._index(info.layout_id, name)
            if index is not None:
                return self._read_offsets(info, index, name)
        return None

    def _index(self, layout_id: int, name: str) -> int | None:
        known = self._layouts.setdefault(layout_id, {})
        if name not in known:
            known[name] = self._catalog.layout_index(layout_id, [name]).get(name, -1)
        return known[name] if known[name] >= 0 else None

    def _read(self, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._store.read_many(info.name, [ByteRange(*one) for one in ranges])

    def _chunks(self, part: Partition) -> tuple[str, tuple[int, ...]]:
        info = part.object
        place = (info.directory_start, info.directory_bytes)
        found = read_rows(lambda ranges: self._read(info, ranges), *place, [])
        return found.codec, found.chunk_events

    def _read_offsets(self, info: ObjectInfo, index: int, name: str) -> Array:
        place = (info.directory_start, info.directory_bytes)
        found = read_rows(lambda ranges: self._read(info, ranges), *place, [index])
        entries = np.frombuffer(found.rows[0][ROW_HEAD.itemsize :], CHUNK_ENTRY)
        starts, sizes = entries["offset"].tolist(), entries["stored_bytes"].tolist()
        stored = self._read(info, [(at, at + size) for at, size in zip(starts, sizes, strict=True)])
        parts, end = [np.zeros(1, np.int64)], 0
        for chunk, (piece, entry) in enumerate(zip(stored, entries, strict=True)):
            what = f"column {name!r}, chunk {chunk} of object {info.name}"
            offsets = np.frombuffer(decode_buffer(piece, entry, found.codec, what), np.int32)
            if offsets[0] != 0 or np.any(np.diff(offsets) < 0):
                raise CorruptObject(f"{what} does not rise from 0")
            parts.append(offsets[1:].astype(np.int64) + end)
            end += int(offsets[-1])
        return np.concatenate(parts)

    def _check_list(self, part: Partition, name: str, offsets: Array) -> None:
        there = self.offsets(part, name)
        if there is None or np.array_equal(there, offsets):
            return
        wrong = np.flatnonzero(np.diff(there) != np.diff(offsets))
        event = int(wrong[0])
        raise InvalidRequest(
            f"the lists of {name!r} differ in {len(wrong):,} events from the dataset's: event "
            f"{part.first_event + event} has {int(there[event + 1] - there[event])} elements there, "
            f"{int(offsets[event + 1] - offsets[event])} here; columns of a list must be as long as it is"
        )

    def _chunk(self, arrays: Mapping[str, Array], first: int, last: int) -> dict[str, Array]:
        chunk: dict[str, Array] = {}
        bounds: dict[str | None, tuple[int, int]] = {None: (first, last)}
        for name in self._schema.lists:
            offsets = arrays[offsets_column(name)][first : last + 1]
            bounds[name] = int(offsets[0]), int(offsets[-1])
            chunk[offsets_column(name)] = (offsets - offsets[0]).astype(np.int32)
        for column in self._schema.columns.values():
            if column.counts is None:
                begin, end = bounds[column.list]
                chunk[column.name] = arrays[column.name][begin:end]
        return chunk
