"""The directory inside an object, read in pure Python.

For describe, verify and tests; queries use the engine's own reader. The bytes are specified in
``ceph_cls/doc/object_format.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from .arrow_schema import KIND_ELEMENT, KIND_EVENT, KIND_OFFSETS, NO_OFFSETS
from .errors import CorruptObject, NotFound, did_you_mean
from .schema import DTYPES, numpy_dtype

Array = np.ndarray[Any, Any]

DIRECTORY_MAGIC: Final = b"SKYHKDIR"
TRAILER_MAGIC: Final = b"SKYHKEND"
FORMAT_VERSION: Final = 1
CODECS: Final = {"none": 0, "lz4": 1, "zstd": 2}
FLAG_RANGE: Final = 1
"""Chunk flag: `min` and `max` hold."""
FLAG_HAS_NAN: Final = 2
"""Chunk flag: at least one value is NaN."""

HEADER: Final = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("columns", "<u4"),
        ("chunks", "<u4"),
        ("row_bytes", "<u4"),
        ("events", "<u8"),
        ("directory_start", "<u8"),
        ("names_bytes", "<u4"),
        ("codec", "<u4"),
        ("reserved", "<u8"),
        ("checksum", "<u8"),
    ]
)
ROW_HEAD: Final = np.dtype(
    [
        ("name_hash", "<u8"),
        ("dtype", "u1"),
        ("kind", "u1"),
        ("reserved", "<u2"),
        ("offsets_index", "<u4"),
        ("index", "<u4"),
        ("reserved2", "<u4"),
        ("values", "<u8"),
    ]
)
CHUNK_ENTRY: Final = np.dtype(
    [
        ("offset", "<u8"),
        ("stored_bytes", "<u4"),
        ("raw_bytes", "<u4"),
        ("checksum", "<u8"),
        ("min", "<u8"),
        ("max", "<u8"),
        ("values", "<u4"),
        ("flags", "<u4"),
    ]
)
TRAILER: Final = np.dtype(
    [
        ("directory_start", "<u8"),
        ("directory_bytes", "<u4"),
        ("version", "<u4"),
        ("checksum", "<u8"),
        ("magic", "S8"),
    ]
)
_ARROW_MAGIC: Final = b"ARROW1"
_EOS_BYTES: Final = 8


@dataclass(frozen=True)
class DirectoryColumn:
    """One column's row of a directory."""

    name: str
    dtype: str
    kind: int
    """0: a value per event; 1: a value per list element; 2: a list's offsets."""
    index: int
    offsets_index: int | None
    """The number of the list's offsets column, for kind 1."""
    values: int
    chunks: Array
    """One `CHUNK_ENTRY` per chunk."""

    def range(self, chunk: int) -> tuple[float | int, float | int] | None:
        """Return smallest and largest value (for offsets: list length) of a chunk, NaN aside."""
        entry = self.chunks[chunk]
        if not entry["flags"] & FLAG_RANGE:
            return None
        kind = numpy_dtype(self.dtype).kind
        view = {"f": "<f8", "u": "<u8"}.get(kind, "<i8")
        return entry["min"].view(view).item(), entry["max"].view(view).item()


@dataclass(frozen=True)
class Directory:
    """What an object says about itself."""

    directory_start: int
    directory_bytes: int
    events: int
    codec: str
    chunk_events: tuple[int, ...]
    columns: tuple[DirectoryColumn, ...]

    def column(self, name: str) -> DirectoryColumn:
        """Return the row of the physical column `name`.

        Raises
        ------
        NotFound
            If the object has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise NotFound(
            f"the object has no column {name!r}{did_you_mean(name, (c.name for c in self.columns))}"
        )


@dataclass(frozen=True)
class SomeRows:
    """Rows of a directory, each with its checksum checked."""

    codec: str
    chunk_events: tuple[int, ...]
    rows: tuple[bytes, ...]
    """Head and entries of each row that was asked for, without the checksum."""


def row_bytes(chunks: int) -> int:
    """Return the size of one column's row for an object of `chunks` chunks."""
    return ROW_HEAD.itemsize + CHUNK_ENTRY.itemsize * chunks + 8


def read_rows(
    read: Callable[[Sequence[tuple[int, int]]], Sequence[Any]],
    directory_start: int,
    directory_bytes: int,
    indices: Sequence[int],
) -> SomeRows:
    """Return some rows of a directory; nothing else of it is read but header and chunk table.

    Parameters
    ----------
    read : callable
        Given [start, stop) ranges of the object, returns their bytes.

    Raises
    ------
    CorruptObject
        If what is read contradicts its checksums, or the directory's place.
    """
    stop = directory_start + directory_bytes
    (raw,) = read([(directory_start, min(directory_start + HEADER.itemsize, stop))])
    if len(raw) < HEADER.itemsize or bytes(raw[:8]) != DIRECTORY_MAGIC:
        raise CorruptObject(f"there is no directory at byte {directory_start}")
    header = _checked_header(memoryview(raw), directory_start)
    columns, chunks = int(header["columns"]), int(header["chunks"])
    size, table_bytes = row_bytes(chunks), -(-4 * chunks // 8) * 8
    table_at = directory_start + HEADER.itemsize
    first = table_at + table_bytes + 8 + 8 * columns + 8
    if first + columns * size > stop or max(indices, default=0) >= columns:
        raise CorruptObject("the directory contradicts itself")
    wanted = [(first + index * size, first + (index + 1) * size) for index in indices]
    table, *rows = read([(table_at, table_at + table_bytes + 8), *wanted])
    events = np.frombuffer(_sealed(memoryview(table), 0, table_bytes, "chunk table"), "<u4", chunks)
    return SomeRows(
        _codec(header),
        tuple(events.tolist()),
        tuple(_sealed(memoryview(row), 0, size - 8, "row of a column") for row in rows),
    )


def encode_directory(
    start: int, codec: str, chunk_events: Sequence[int], names: Sequence[str], rows: Sequence[bytes]
) -> bytes:
    """Return a whole directory that begins at byte `start` of its object.

    Parameters
    ----------
    names : sequence of str
        Physical names of the columns.
    rows : sequence of bytes
        Head and entries of each column's row, without the checksum.
    """
    spelled = b"".join(len(raw).to_bytes(2, "little") + raw for raw in (name.encode() for name in names))
    spelled += bytes(-len(spelled) % 8)
    header = np.zeros((), HEADER)
    header["magic"] = DIRECTORY_MAGIC
    header["version"] = FORMAT_VERSION
    header["columns"] = len(names)
    header["chunks"] = len(chunk_events)
    header["row_bytes"] = row_bytes(len(chunk_events))
    header["events"] = sum(chunk_events)
    header["directory_start"] = start
    header["names_bytes"] = len(spelled)
    header["codec"] = CODECS[codec]
    table = np.array(chunk_events, "<u4").tobytes()
    hashes = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in names], "<u8")
    parts = [
        _seal(header.tobytes()[:-8]),
        _seal(table + bytes(-len(table) % 8)),
        _seal(hashes.tobytes()),
        *map(_seal, rows),
        _seal(spelled),
    ]
    trailer = np.zeros((), TRAILER)
    trailer["directory_start"] = start
    trailer["directory_bytes"] = sum(map(len, parts)) + TRAILER.itemsize
    trailer["version"] = FORMAT_VERSION
    trailer["checksum"] = xxhash.xxh3_64_intdigest(trailer.tobytes()[:16])
    trailer["magic"] = TRAILER_MAGIC
    return b"".join([*parts, trailer.tobytes()])


def read_directory(data: Any) -> Directory:
    """Return the directory of the object whose bytes are `data`, every checksum of it checked.

    Parameters
    ----------
    data : bytes-like
        The whole object.

    Raises
    ------
    CorruptObject
        If the directory cannot be found, or anything in it contradicts the rest.
    """
    view = memoryview(data).cast("B")
    start, size = _find(view)
    return parse_directory(view[start : start + size], start)


def parse_directory(data: Any, directory_start: int) -> Directory:
    """Return the directory whose bytes, from header through trailer, are `data`.

    Raises
    ------
    CorruptObject
        If anything in it contradicts the rest.
    """
    view = memoryview(data).cast("B")
    header, at = _header(view, directory_start)
    columns, chunks = int(header["columns"]), int(header["chunks"])
    table_bytes = -(-4 * chunks // 8) * 8
    _expect(
        len(view),
        at + table_bytes + 8 * columns + 24 + columns * row_bytes(chunks) + int(header["names_bytes"]) + 32,
        "directory size",
    )
    chunk_events = np.frombuffer(_sealed(view, at, table_bytes, "chunk table"), "<u4", chunks)
    _expect(int(chunk_events.sum(dtype=np.uint64)), int(header["events"]), "number of events")
    at += table_bytes + 8
    hashes = np.frombuffer(_sealed(view, at, 8 * columns, "key table"), "<u8")
    at += 8 * columns + 8
    rows_at, at = at, at + columns * row_bytes(chunks)
    names = _names(_sealed(view, at, int(header["names_bytes"]), "names"), columns)
    _trailer(view, directory_start)
    for name, expected in zip(names, hashes.tolist(), strict=True):
        _expect(xxhash.xxh3_64_intdigest(name.encode()), expected, f"name hash of column {name!r}")
    parsed: list[DirectoryColumn] = []
    for number, name in enumerate(names):
        raw = _sealed(
            view, rows_at + number * row_bytes(chunks), row_bytes(chunks) - 8, f"row of column {name!r}"
        )
        parsed.append(_row(raw, number, name, hashes, chunk_events, directory_start, parsed))
    return Directory(
        directory_start,
        len(view),
        int(header["events"]),
        _codec(header),
        tuple(chunk_events.tolist()),
        tuple(parsed),
    )


def read_chunk(data: Any, directory: Directory, name: str, chunk: int) -> Array:
    """Return the values of physical column `name` in one chunk, checksum verified.

    Raises
    ------
    NotFound
        If the object has no such column.
    CorruptObject
        If the stored bytes contradict the directory.
    """
    column = directory.column(name)
    entry = column.chunks[chunk]
    start, size = int(entry["offset"]), int(entry["stored_bytes"])
    stored = memoryview(data).cast("B")[start : start + size]
    raw = decode_buffer(stored, entry, directory.codec, f"column {name!r}, chunk {chunk}")
    if column.dtype == "bool":
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=int(entry["values"]), bitorder="little")
        return bits.view(np.bool_)
    return np.frombuffer(raw, numpy_dtype(column.dtype))


def decode_buffer(stored: Any, entry: Array, codec: str, what: str) -> Any:
    """Return the uncompressed bytes of a stored buffer, given its `CHUNK_ENTRY`.

    Raises
    ------
    CorruptObject
        If they contradict the entry; the message begins with `what`.
    """
    _expect(xxhash.xxh3_64_intdigest(stored), int(entry["checksum"]), f"checksum of {what}")
    return _plain(memoryview(stored), codec, int(entry["raw_bytes"]), what)


def _find(view: memoryview) -> tuple[int, int]:
    """Return start and size of the directory, from the footer's length and the trailer."""
    if len(view) < 64 or bytes(view[-6:]) != _ARROW_MAGIC:
        raise CorruptObject("the object does not end like an Arrow file")
    footer_bytes = struct.unpack("<i", view[-10:-6])[0]
    end = len(view) - 10 - footer_bytes - _EOS_BYTES
    if not TRAILER.itemsize <= end <= len(view) - 10 - _EOS_BYTES:
        raise CorruptObject(f"the object's footer says it is {footer_bytes} bytes long")
    trailer = _trailer(view[:end], None)
    start, size = int(trailer["directory_start"]), int(trailer["directory_bytes"])
    _expect(start + size, end, "end of the directory")
    return start, size


def _trailer(view: memoryview, start: int | None) -> Array:
    raw = bytes(view[-TRAILER.itemsize :])
    trailer = np.frombuffer(raw, TRAILER)[0]
    if bytes(trailer["magic"]) != TRAILER_MAGIC:
        raise CorruptObject("the directory does not end with its mark")
    _expect(
        xxhash.xxh3_64_intdigest(raw[:16]), int(trailer["checksum"]), "checksum of the directory's trailer"
    )
    _expect(int(trailer["version"]), FORMAT_VERSION, "format version")
    if start is not None:
        _expect(int(trailer["directory_start"]), start, "start of the directory")
        _expect(int(trailer["directory_bytes"]), len(view), "size of the directory")
    result: Array = trailer
    return result


def _header(view: memoryview, start: int) -> tuple[Array, int]:
    if len(view) < HEADER.itemsize + TRAILER.itemsize or bytes(view[:8]) != DIRECTORY_MAGIC:
        raise CorruptObject("the directory does not begin with its mark")
    return _checked_header(view, start), HEADER.itemsize


def _checked_header(view: memoryview, start: int) -> Array:
    header: Array = np.frombuffer(
        _sealed(view, 0, HEADER.itemsize - 8, "directory header") + bytes(8), HEADER
    )[0]
    _expect(int(header["version"]), FORMAT_VERSION, "format version")
    _expect(int(header["directory_start"]), start, "start of the directory")
    _expect(int(header["row_bytes"]), row_bytes(int(header["chunks"])), "size of a row")
    if int(header["codec"]) not in CODECS.values():
        raise CorruptObject(f"the directory names codec {int(header['codec'])}; 0, 1 and 2 are known")
    return header


def _codec(header: Array) -> str:
    return {code: name for name, code in CODECS.items()}[int(header["codec"])]


def _row(
    raw: bytes,
    number: int,
    name: str,
    hashes: Array,
    chunk_events: Array,
    limit: int,
    before: list[DirectoryColumn],
) -> DirectoryColumn:
    head = np.frombuffer(raw, ROW_HEAD, 1)[0]
    chunks = np.frombuffer(raw, CHUNK_ENTRY, -1, ROW_HEAD.itemsize)
    what = f"column {name!r}"
    _expect(int(head["index"]), number, f"number of {what}")
    _expect(int(head["name_hash"]), int(hashes[number]), f"name hash of {what}")
    _expect(int(head["values"]), int(chunks["values"].sum(dtype=np.uint64)), f"number of values of {what}")
    if head["dtype"] >= len(DTYPES) or head["kind"] > KIND_OFFSETS:
        raise CorruptObject(f"{what} has dtype code {head['dtype']} and kind {head['kind']}")
    kind, offsets_index = int(head["kind"]), int(head["offsets_index"])
    dtype = DTYPES[head["dtype"]]
    expected = chunk_events.astype(np.int64)
    if kind == KIND_ELEMENT:
        if offsets_index >= number or before[offsets_index].kind != KIND_OFFSETS:
            raise CorruptObject(f"{what} has its offsets in column {offsets_index}")
    elif offsets_index != NO_OFFSETS or (kind == KIND_OFFSETS and dtype != "int32"):
        raise CorruptObject(f"{what} has kind {kind}, dtype {dtype} and offsets in column {offsets_index}")
    if kind != KIND_ELEMENT and not np.array_equal(chunks["values"], expected + (kind == KIND_OFFSETS)):
        raise CorruptObject(f"{what} does not have one value per event")
    values = chunks["values"].astype(np.int64)
    raw_bytes = -(-values // 8) if dtype == "bool" else values * numpy_dtype(dtype).itemsize
    if not np.array_equal(chunks["raw_bytes"], raw_bytes):
        raise CorruptObject(f"{what} has sizes that do not go with its numbers of values")
    if np.any(chunks["offset"] > limit) or np.any(chunks["offset"] + chunks["stored_bytes"] > limit):
        raise CorruptObject(f"{what} reaches past byte {limit}, where the directory begins")
    where = offsets_index if kind == KIND_ELEMENT else None
    return DirectoryColumn(name, dtype, kind, number, where, int(head["values"]), chunks)


def _names(raw: bytes, columns: int) -> list[str]:
    names, at = [], 0
    for number in range(columns):
        size = int.from_bytes(raw[at : at + 2], "little")
        text = raw[at + 2 : at + 2 + size]
        if len(text) != size:
            raise CorruptObject(f"the name of column {number} is cut short")
        names.append(text.decode("utf-8", "replace"))
        at += 2 + size
    return names


def _seal(data: bytes) -> bytes:
    """Return `data` followed by its checksum."""
    return data + xxhash.xxh3_64_intdigest(data).to_bytes(8, "little")


def _sealed(view: memoryview, at: int, size: int, what: str) -> bytes:
    """Return `size` bytes at `at`, which their checksum must follow."""
    raw, seal = bytes(view[at : at + size]), bytes(view[at + size : at + size + 8])
    if len(raw) != size or len(seal) != 8:
        raise CorruptObject(f"the {what} is cut short")
    _expect(xxhash.xxh3_64_intdigest(raw), int.from_bytes(seal, "little"), f"checksum of the {what}")
    return raw


def _plain(stored: memoryview, codec: str, raw_bytes: int, what: str) -> Any:
    """Return the uncompressed bytes of a stored buffer."""
    if codec == "none" or len(stored) == 0:
        _expect(len(stored), raw_bytes, f"size of {what}")
        return stored
    if len(stored) < 8:
        raise CorruptObject(f"{what} is cut short")
    length = struct.unpack("<q", stored[:8])[0]
    if length == -1:
        _expect(len(stored) - 8, raw_bytes, f"size of {what}")
        return stored[8:]
    _expect(length, raw_bytes, f"size of {what}")
    try:
        return pa.Codec(codec).decompress(stored[8:], raw_bytes)
    except (OSError, pa.ArrowInvalid) as error:
        raise CorruptObject(f"{what} cannot be decompressed: {error}") from error


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise CorruptObject(f"{what} is {found}, expected {expected}")


assert (HEADER.itemsize, ROW_HEAD.itemsize, CHUNK_ENTRY.itemsize, TRAILER.itemsize, KIND_EVENT) == (
    64,
    32,
    48,
    32,
    0,
)
