"""Requests to the object class: see ``ceph_cls/doc/wire.md``."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from .catalog import ObjectInfo
from .schema import DTYPE_CODE

NO_LIMIT: Final = -1
"""Of events or bytes, for the engine."""
ANSWER_BYTES: Final = 4 << 20
"""Values after which an answer of the object class ends; a slice of events may pass it."""
REPLY_BYTES_MAX: Final = 16 << 20
"""Longest answer that is accepted."""
MILLISECONDS_MAX: Final = 100
"""Time after which the object class gives back what it has."""
WIRE_VERSION: Final = 1
SELECTS: Final = "select"
"""What a class must be able to do that is sent events to look at; see `ObjectStore.execute`."""
_REQUEST = struct.Struct("<8sIIQQqqqqIIII")
_ROWS, _PACKED, _SELECTION = 1, 2, 4


def encode_request(
    info: ObjectInfo,
    program: bytes,
    outputs: Sequence[tuple[str, int]],
    *,
    first_event: int = 0,
    cursor: int = 0,
    events_max: int = NO_LIMIT,
    bytes_max: int = NO_LIMIT,
    milliseconds: int = MILLISECONDS_MAX,
    rows: bool = False,
    histograms: bytes = b"",
    selection: bytes | None = None,
) -> bytes:
    """Return the request that asks the object class to scan an object.

    Parameters
    ----------
    outputs : sequence of (str, int)
        For each output its dtype, and its group or −1.
    first_event : int
        Number in the dataset of the object's first event.
    rows : bool
        Whether to deliver the number of each event; with a `selection` these are packed, too.
    selection : bytes, optional
        The only events to look at, as `_engine.encode_selection` encodes them.
    """
    flags = _ROWS * rows + (0 if selection is None else _PACKED + _SELECTION)
    head = _REQUEST.pack(
        b"SKYSCAN1",
        WIRE_VERSION,
        flags,
        info.directory_start,
        info.directory_bytes,
        first_event,
        cursor,
        events_max,
        bytes_max,
        milliseconds,
        len(outputs),
        len(program),
        len(histograms),
    )
    shape = (struct.pack("<Bxh", DTYPE_CODE[dtype], group) for dtype, group in outputs)
    return head + b"".join(shape) + program + histograms + (selection or b"")
