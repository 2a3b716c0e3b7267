"""One thread of a scan: runs pieces of parts, inside the storage or here."""

from __future__ import annotations

import struct
from typing import Final

from . import _engine
from .catalog import Partition
from .errors import RequestLost, SkyhookError, StoreError
from .execution import Choice
from .schema import DTYPE_CODE
from .stores import ByteRange, ObjectStore
from .work import Computation

NO_LIMIT: Final = -1
"""Of events or bytes, for the engine."""
LOOKAHEAD_BYTES: Final = 8 << 20
"""Bytes of later chunks that are read together with those of the first."""
ANSWER_BYTES: Final = 4 << 20
"""Values after which an answer of the object class ends; a slice of events may pass it."""
REPLY_BYTES_MAX: Final = 16 << 20
"""Longest answer that is accepted."""
MILLISECONDS_MAX: Final = 100
"""Time after which the object class gives back what it has."""
WIRE_VERSION: Final = 1
_REQUEST = struct.Struct("<8sIIQQqqqqIIII")


class Worker:
    """The engine for one thread: one compiled scan for each layout met."""

    def __init__(
        self, plan: Computation, store: ObjectStore, choice: Choice, histograms: bytes = b""
    ) -> None:
        self._plan = plan
        self._store = store
        self._choice = choice
        self._histograms = histograms
        self._scans: dict[int | None, _engine.Scan] = {}
        self.bytes_moved = 0
        """Bytes that came from the store since this was last set to 0."""
        self.pushed = False
        """Whether the last piece ran inside the storage."""
        self._lost: int | None = None

    def run(
        self,
        part: Partition,
        result: _engine.Result,
        cursor: int = 0,
        events_max: int = NO_LIMIT,
        bytes_max: int = NO_LIMIT,
    ) -> int:
        """Add events of `part` to `result`; return where to go on, or −1 when it is finished.

        Raises
        ------
        SkyhookError
            If the object cannot be read, naming it and the events in it.
        """
        try:
            pushed = self._try_to_push(part, result, cursor, events_max, bytes_max)
            return self._read(part, result, cursor, events_max, bytes_max) if pushed is None else pushed
        except SkyhookError as error:
            entries = f"entries {part.entry_start} to {part.entry_stop - 1} of {part.file.path}"
            raise type(error)(f"object {part.object.name} ({entries}): {error}") from error

    def _try_to_push(
        self, part: Partition, result: _engine.Result, cursor: int, events_max: int, bytes_max: int
    ) -> int | None:
        """Return as `run` does; or None, with nothing added, if the piece is to be read."""
        if part.index == self._lost:
            return None
        with self._choice.turn() as push:
            if not push:
                return None
            try:
                return self._push(part, result, cursor, events_max, bytes_max)
            except RequestLost as error:
                self._lost = part.index
                self._choice.lose(error)
            except StoreError as error:
                self._choice.fail(error)
        return None

    def _push(
        self, part: Partition, result: _engine.Result, cursor: int, events_max: int, bytes_max: int
    ) -> int:
        info = part.object
        assert info.layout_id is not None
        answer_bytes = ANSWER_BYTES if bytes_max < 0 else min(bytes_max, ANSWER_BYTES)
        request = scan_request(
            self._plan,
            info.layout_id,
            part,
            cursor,
            events_max,
            answer_bytes,
            result.keeps_rows,
            self._histograms,
        )
        before = result.report()["bytes_total"]
        answer = self._store.execute(info.name, "scan", request, REPLY_BYTES_MAX)
        cursor = result.append_answer(answer)
        self.pushed = True
        self.bytes_moved += len(request) + len(answer)
        self._choice.learn(len(answer), result.report()["bytes_total"] - before)
        return cursor

    def _read(
        self, part: Partition, result: _engine.Result, cursor: int, events_max: int, bytes_max: int
    ) -> int:
        self.pushed = False
        info = part.object
        scan = self._scans.get(info.layout_id)
        if scan is None:
            assert info.layout_id is not None
            scan = self._scans[info.layout_id] = _engine.Scan(self._plan.program(info.layout_id))
        directory = (info.directory_start, info.directory_bytes)
        path = self._store.local_path(info.name)
        if path is not None:
            before = result.report()["bytes_read"]
            cursor = scan.run_file(
                str(path), *directory, result, part.first_event, cursor, events_max, bytes_max
            )
            self.bytes_moved += result.report()["bytes_read"] - before
            return cursor
        read = RangeReader(self._store, info.name)
        cursor = scan.run_ranges(
            read, *directory, result, part.first_event, cursor, events_max, bytes_max, LOOKAHEAD_BYTES
        )
        self.bytes_moved += read.nbytes
        return cursor


def scan_request(
    plan: Computation,
    layout_id: int,
    part: Partition,
    cursor: int = 0,
    events_max: int = NO_LIMIT,
    bytes_max: int = NO_LIMIT,
    rows: bool = False,
    histograms: bytes = b"",
) -> bytes:
    """Return the request that asks the object class to scan `part` (see ``ceph_cls/doc/wire.md``)."""
    program = plan.program(layout_id)
    groups = [-1 if output.axis is None else output.axis for output in plan.outputs]
    head = _REQUEST.pack(
        b"SKYSCAN1",
        WIRE_VERSION,
        rows,
        part.object.directory_start,
        part.object.directory_bytes,
        part.first_event,
        cursor,
        events_max,
        bytes_max,
        MILLISECONDS_MAX,
        len(groups),
        len(program),
        len(histograms),
    )
    outputs = (
        struct.pack("<Bxh", DTYPE_CODE[output.dtype], group)
        for output, group in zip(plan.outputs, groups, strict=True)
    )
    return head + b"".join(outputs) + program + histograms


class RangeReader:
    """Reads ranges of one object for the engine, and counts their bytes."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self.nbytes = 0
        """Bytes read so far."""

    def __call__(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (start, stop), in the order given."""
        wanted = [ByteRange(start, stop) for start, stop in ranges]
        self.nbytes += sum(where.nbytes for where in wanted)
        return self._store.read_many(self._name, wanted)
