"""Objects: Arrow IPC files with a directory, and the writer that makes them.

An object is a valid Arrow IPC file. Between its last record batch and the end-of-stream marker
lies the *directory*: where each column's bytes of each chunk are, their checksums and their zone
maps. ``ceph_cls/doc/object_format.md`` says it to the byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from .arrow_schema import (
    KIND_OFFSETS,
    PhysicalColumn,
    TopField,
    arrow_type,
    physical_columns,
    to_arrow_schema,
    top_fields,
)
from .errors import InvalidRequest, ResourceExhausted
from .object_directory import (
    CHUNK_ENTRY,
    CODECS,
    FLAG_HAS_NAN,
    FLAG_RANGE,
    HEADER,
    ROW_HEAD,
    TRAILER,
    Directory,
    DirectoryColumn,
    encode_directory,
    read_chunk,
    read_directory,
    row_bytes,
)
from .record_batch import buffer_places, first_message_stop
from .schema import DTYPE_CODE, Schema, numpy_dtype, offsets_column
from .stores.base import OBJECT_BYTES_MAX

__all__ = [
    "CHUNK_EVENTS",
    "OBJECT_BYTES_MAX",
    "Directory",
    "DirectoryColumn",
    "EncodedObject",
    "ObjectWriter",
    "read_chunk",
    "read_directory",
]

CHUNK_EVENTS: Final = 16_384
"""Events of one record batch, unless the caller says otherwise."""
CHUNK_EVENTS_MAX: Final = 2**22
"""Most events of one chunk."""
CHUNK_ELEMENTS_MAX: Final = 2**26
"""Most elements of one list in one chunk."""
COLUMN_BYTES_MAX: Final = 256 * 1024 * 1024
"""Memory that one column of one chunk may take."""
_COPY_BYTES: Final = 1024 * 1024
"""Smaller objects give the memory they were written in back."""

_LEVELS: Final = {"lz4": 2, "zstd": 1}
"""LZ4's level 2 makes NanoAOD 10 % smaller than 1, costs half as much time again to write, none to read."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class EncodedObject:
    """The bytes of one finished object and where its directory lies in them."""

    data: pa.Buffer
    name: str
    """SHA-256 of `data`, in hexadecimal."""
    directory_start: int
    directory_bytes: int
    events: int
    columns: tuple[str, ...]
    """Physical column names in directory order."""


class ObjectWriter:
    """Writes one object, chunk by chunk, into memory.

    Parameters
    ----------
    schema : Schema
        The columns; counters in it are not stored.
    codec : str
        Compression of each buffer: `lz4` (frames), `zstd` or `none`.
    threads : bool
        Compress with Arrow's thread pool.
    bytes_max : int
        Refuse to grow past this size.

    Raises
    ------
    InvalidRequest
        If the codec is unknown, or two columns have one name.
    """

    def __init__(
        self, schema: Schema, codec: str = "lz4", *, threads: bool = True, bytes_max: int = OBJECT_BYTES_MAX
    ) -> None:
        if codec not in CODECS:
            raise InvalidRequest(f"codec {codec!r} is unknown: {', '.join(CODECS)}")
        self._codec = codec
        self._tops = top_fields(schema)
        self._columns = physical_columns(schema)
        self._hashes = _name_hashes(self._columns)
        self._arrow = to_arrow_schema(schema)
        self._buffer_numbers, self._buffers = _buffer_numbers(self._tops)
        self._chunks: list[Array] = []
        self._chunk_events: list[int] = []
        self._memory = np.empty(bytes_max, np.uint8)
        self._view = self._memory.data
        self._sink = pa.FixedSizeBufferWriter(pa.py_buffer(self._memory))
        options = pa.ipc.IpcWriteOptions(compression=_compression(codec), use_threads=threads)
        self._writer = pa.ipc.new_file(self._sink, self._arrow, options=options)

    @property
    def bytes_so_far(self) -> int:
        """Bytes written up to now, without directory and footer."""
        return int(self._sink.tell())

    @property
    def directory_bytes(self) -> int:
        """Bytes that the directory will have if no further chunk is written."""
        names = sum(2 + len(column.name.encode()) for column in self._columns)
        chunks = len(self._chunks)
        fixed = HEADER.itemsize + TRAILER.itemsize + _padded(4 * chunks) + _padded(names) + 24
        return fixed + len(self._columns) * (8 + row_bytes(chunks))

    def write(self, events: int, arrays: Mapping[str, Array]) -> None:
        """Append one chunk.

        Parameters
        ----------
        events : int
            Events of the chunk, at least one.
        arrays : Mapping[str, np.ndarray]
            Per physical column its values: per event, per list element, or, for `Muon#`, int32
            offsets, shape (events + 1,), that start at 0.

        Raises
        ------
        InvalidRequest
            If a column is missing, of another dtype, or of another length.
        ResourceExhausted
            If the object would pass its largest size, or a column that of one column of a chunk;
            the writer is of no further use.
        """
        if not 1 <= events <= CHUNK_EVENTS_MAX:
            raise InvalidRequest(f"a chunk of {events} events; 1 to {CHUNK_EVENTS_MAX} are allowed")
        entries = np.zeros(len(self._columns), CHUNK_ENTRY)
        batch = self._batch(events, arrays, entries)
        start = self.bytes_so_far
        try:
            self._writer.write_batch(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise ResourceExhausted(f"the object would pass {len(self._memory)} bytes") from error
        self._locate(start or first_message_stop(self._view), entries)
        self._chunks.append(entries)
        self._chunk_events.append(events)

    def finish(self) -> EncodedObject:
        """Write directory and footer; return the whole object.

        Raises
        ------
        ResourceExhausted
            If the object would pass its largest size.
        """
        if not self._chunks:
            return self._encoded(*self._empty())
        start = self.bytes_so_far
        directory = self._directory(start)
        try:
            self._sink.write(directory)
            self._writer.close()
            size = self.bytes_so_far
            self._sink.close()
        except (pa.ArrowInvalid, OSError) as error:
            raise ResourceExhausted(f"the object would pass {len(self._memory)} bytes") from error
        data = pa.py_buffer(self._view[:size].tobytes() if size < _COPY_BYTES else self._memory[:size])
        return self._encoded(data, start, len(directory))

    def _empty(self) -> tuple[pa.Buffer, int, int]:
        """Return bytes of an object without chunks, start and size of its directory.

        Arrow writes the schema together with the first batch, so here the directory is put in
        afterwards; the footer holds no position that would move.
        """
        self._writer.close()
        written = self._view[: self.bytes_so_far].tobytes()
        start = first_message_stop(self._view)
        directory = self._directory(start)
        return pa.py_buffer(written[:start] + directory + written[start:]), start, len(directory)

    def _encoded(self, data: pa.Buffer, directory_start: int, directory_bytes: int) -> EncodedObject:
        name = hashlib.sha256(data).hexdigest()
        columns = tuple(column.name for column in self._columns)
        return EncodedObject(data, name, directory_start, directory_bytes, sum(self._chunk_events), columns)

    def _batch(self, events: int, arrays: Mapping[str, Array], entries: Array) -> pa.RecordBatch:
        """Return the chunk as a record batch; note sizes and ranges in `entries`."""
        fields, number = [], 0
        for top, field in zip(self._tops, self._arrow, strict=True):
            if top.list is None:
                fields.append(
                    _values(arrays, top.columns[0].name, top.columns[0].dtype, events, entries[number])
                )
                number += 1
                continue
            name = offsets_column(top.list.name)
            offsets = _checked(arrays, name, "int32", events + 1)
            total = _note_offsets(name, offsets, entries[number])
            children = [
                _values(arrays, column.name, column.dtype, total, entries[number + 1 + k])
                for k, column in enumerate(top.columns)
            ]
            number += 1 + len(children)
            item = children[0] if not top.list.collection else _struct(field.type.value_type, total, children)
            fields.append(_list(field.type, events, offsets, item))
        return pa.RecordBatch.from_arrays(fields, schema=self._arrow)

    def _locate(self, start: int, entries: Array) -> None:
        """Note where the buffers of the record batch at `start` were put, and their checksums."""
        places = buffer_places(self._view, start)
        if len(places) != self._buffers:
            raise InvalidRequest(f"the record batch has {len(places)} buffers, not {self._buffers}")
        mine = places[self._buffer_numbers]
        entries["offset"] = mine[:, 0]
        entries["stored_bytes"] = mine[:, 1]
        view, checksum = self._view, xxhash.xxh3_64_intdigest
        entries["checksum"] = [checksum(view[at : at + size]) for at, size in mine.tolist()]

    def _directory(self, start: int) -> bytes:
        names = [column.name for column in self._columns]
        return encode_directory(start, self._codec, self._chunk_events, names, self._rows())

    def _rows(self) -> list[bytes]:
        columns = self._columns
        entries = np.stack(self._chunks, axis=1) if self._chunks else np.zeros((len(columns), 0), CHUNK_ENTRY)
        heads = np.zeros(len(columns), ROW_HEAD)
        heads["name_hash"] = self._hashes
        heads["dtype"] = [DTYPE_CODE[column.dtype] for column in columns]
        heads["kind"] = [column.kind for column in columns]
        heads["offsets_index"] = [column.offsets_index for column in columns]
        heads["index"] = np.arange(len(columns))
        heads["values"] = entries["values"].sum(axis=1, dtype=np.uint64)
        return [head.tobytes() + row.tobytes() for head, row in zip(heads, entries, strict=True)]


def _compression(codec: str) -> pa.Codec | None:
    return None if codec == "none" else pa.Codec(codec, compression_level=_LEVELS[codec])


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _name_hashes(columns: list[PhysicalColumn]) -> Array:
    hashes = [xxhash.xxh3_64_intdigest(column.name.encode()) for column in columns]
    seen: dict[int, str] = {}
    for column, value in zip(columns, hashes, strict=True):
        if value in seen:
            raise InvalidRequest(f"columns {seen[value]!r} and {column.name!r} cannot be told apart by name")
        seen[value] = column.name
        if len(column.name.encode()) > 0xFFFF:
            raise InvalidRequest(
                f"a column name of {len(column.name.encode())} bytes; at most 65535 are allowed"
            )
    return np.array(hashes, "<u8")


def _buffer_numbers(tops: list[TopField]) -> tuple[Array, int]:
    """Return which buffer of a record batch each physical column is, and how many there are."""
    numbers, buffers = [], 0
    for top in tops:
        if top.list is not None:
            numbers.append(buffers + 1)
            buffers += 3 if top.list.collection else 2
        for _ in top.columns:
            numbers.append(buffers + 1)
            buffers += 2
    return np.array(numbers, np.int64), buffers


def _checked(arrays: Mapping[str, Array], name: str, dtype: str, length: int) -> Array:
    """Return column `name` as one contiguous array, checked for dtype and length."""
    values = arrays.get(name)
    if values is None:
        raise InvalidRequest(f"the chunk lacks column {name!r}")
    if values.dtype != numpy_dtype(dtype):
        raise InvalidRequest(f"column {name!r} is {values.dtype}, not {dtype}")
    if values.shape != (length,):
        raise InvalidRequest(f"column {name!r} has shape {values.shape}, not ({length},)")
    return np.ascontiguousarray(values)


def _note_offsets(name: str, offsets: Array, entry: Array) -> int:
    """Note the list lengths of a chunk; return the number of elements."""
    lengths = np.diff(offsets)
    if offsets[0] != 0 or lengths.min() < 0:
        raise InvalidRequest(f"the offsets {name!r} do not rise from 0")
    if offsets[-1] > CHUNK_ELEMENTS_MAX:
        raise ResourceExhausted(f"{offsets[-1]} elements in a chunk: {name!r} may have {CHUNK_ELEMENTS_MAX}")
    entry["raw_bytes"] = offsets.nbytes
    entry["values"] = len(offsets)
    entry["min"] = int(lengths.min())
    entry["max"] = int(lengths.max())
    entry["flags"] = FLAG_RANGE
    return int(offsets[-1])


def _values(arrays: Mapping[str, Array], name: str, dtype: str, length: int, entry: Array) -> pa.Array:
    """Return column `name` as an Arrow array; note its size and range."""
    values = _checked(arrays, name, dtype, length)
    if values.nbytes > COLUMN_BYTES_MAX:
        raise ResourceExhausted(
            f"column {name!r} takes {values.nbytes} bytes in a chunk; 256 MiB are allowed"
        )
    entry["values"] = length
    if length:
        low, high, flags = value_range(values)
        entry["min"], entry["max"], entry["flags"] = low, high, flags
    stored = np.packbits(values, bitorder="little") if dtype == "bool" else values
    entry["raw_bytes"] = stored.nbytes
    return pa.Array.from_buffers(arrow_type(dtype), length, [None, pa.py_buffer(stored)], 0)


def value_range(values: Array) -> tuple[int, int, int]:
    """Return smallest and largest value of a non-empty array, as directory bits, and the flags.

    Bits are those of a float64 for floats, of an uint64 for unsigned integers, of an int64 else.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind != "f":
        return int(low) & _MASK, int(high) & _MASK, FLAG_RANGE
    if high == high:
        return _bits(low), _bits(high), FLAG_RANGE
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    if high != high:
        return 0, 0, FLAG_HAS_NAN
    return _bits(low), _bits(high), FLAG_RANGE | FLAG_HAS_NAN


_MASK: Final = (1 << 64) - 1


def _bits(value: Any) -> int:
    return int(np.float64(value).view(np.uint64))


def _struct(struct_type: pa.DataType, length: int, children: list[pa.Array]) -> pa.Array:
    return pa.Array.from_buffers(struct_type, length, [None], 0, children=children)


def _list(list_type: pa.DataType, events: int, offsets: Array, item: pa.Array) -> pa.Array:
    return pa.Array.from_buffers(list_type, events, [None, pa.py_buffer(offsets)], 0, children=[item])


assert KIND_OFFSETS == 2
