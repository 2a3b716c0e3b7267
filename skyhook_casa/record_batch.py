"""Where the buffers of an Arrow IPC record batch lie.

The message in front of a record batch is a small flatbuffer. Only three of its tables matter here
(`Message`, `RecordBatch` and the vector of `Buffer`), so they are read directly.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from .errors import CorruptObject

_FIRST_MESSAGE = 8
_CONTINUATION = 0xFFFFFFFF
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER, _MESSAGE_BODY_BYTES = 1, 2, 3
_RECORD_BATCH_BUFFERS = 2
_RECORD_BATCH_TYPE = 3


def buffer_places(data: memoryview, start: int) -> np.ndarray[Any, Any]:
    """Return file offset and stored size of each buffer of the record batch message at `start`.

    Parameters
    ----------
    data : memoryview
        The file's bytes.
    start : int
        Where the message begins, at its continuation marker.

    Returns
    -------
    np.ndarray
        int64, shape (buffers, 2).

    Raises
    ------
    CorruptObject
        If there is no record batch message.
    """
    try:
        return _buffer_places(data, start)
    except (struct.error, ValueError) as error:
        raise CorruptObject(f"no record batch message at byte {start}: {error}") from error


def first_message_stop(data: memoryview) -> int:
    """Return where the schema message of an Arrow file ends, and so its first batch begins."""
    metadata_bytes = struct.unpack_from("<i", data, _FIRST_MESSAGE + 4)[0]
    return _FIRST_MESSAGE + 8 + int(metadata_bytes)


def _buffer_places(data: memoryview, start: int) -> np.ndarray[Any, Any]:
    continuation, metadata_bytes = struct.unpack_from("<Ii", data, start)
    if continuation != _CONTINUATION:
        raise ValueError(f"it starts with {continuation:#x}")
    metadata = start + 8
    message = metadata + _u32(data, metadata)
    kind = _slot(data, message, _MESSAGE_HEADER_TYPE)
    header = _slot(data, message, _MESSAGE_HEADER)
    if kind is None or header is None or data[kind] != _RECORD_BATCH_TYPE:
        raise ValueError("the message is of another type")
    vector = _slot(data, header + _u32(data, header), _RECORD_BATCH_BUFFERS)
    if vector is None:
        return np.zeros((0, 2), np.int64)
    vector += _u32(data, vector)
    count = _u32(data, vector)
    places = np.frombuffer(data, "<i8", 2 * count, vector + 4).reshape(count, 2).copy()
    places[:, 0] += metadata + metadata_bytes
    return places


def _u32(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _slot(data: memoryview, table: int, field: int) -> int | None:
    """Return where field number `field` of a flatbuffer table lies; None if it is left out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    if 4 + 2 * field >= size:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * field)[0]
    return table + int(offset) if offset else None
