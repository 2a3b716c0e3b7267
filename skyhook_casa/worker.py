"""One thread of a scan: runs pieces of parts, inside the storage or here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import _engine
from .catalog import Partition
from .errors import AccessDenied, ClassMissing, RequestLost, SkyhookError, StoreError
from .execution import Choice
from .merged_object import MergedObject
from .mixed_scan import MixedScan
from .requests import ANSWER_BYTES, MILLISECONDS_MAX, NO_LIMIT, REPLY_BYTES_MAX, WIRE_VERSION, encode_request
from .stores import ByteRange, ObjectStore
from .work import Computation

__all__ = [
    "ANSWER_BYTES",
    "MILLISECONDS_MAX",
    "NO_LIMIT",
    "REPLY_BYTES_MAX",
    "WIRE_VERSION",
    "ObjectReader",
    "Worker",
    "scan_request",
]

LOOKAHEAD_BYTES: Final = 8 << 20
"""Bytes of later chunks that are read together with those of the first."""
KEPT_BYTES_MAX: Final = 2 * LOOKAHEAD_BYTES
"""Bytes of ranges that a thread keeps for the next piece of the same object."""
ANSWER_HEADER_BYTES: Final = 128
"""Bytes of an answer of the object class besides events."""


class Worker:
    """The engine for one thread: one compiled scan for each layout met."""

    def __init__(
        self, plan: Computation, store: ObjectStore, choice: Choice, histograms: bytes = b""
    ) -> None:
        self._plan = plan
        self._store = store
        self._choice = choice
        self._histograms = histograms
        self._scans: dict[tuple[int, ...], _engine.Scan] = {}
        self.bytes_moved = 0
        """Bytes that came from the store since this was last set to 0."""
        self.pushed = False
        """Whether the last piece ran inside the storage."""
        self._lost: int | None = None
        self._reader: ObjectReader | None = None
        self._mixed = MixedScan(plan, store, histograms)
        self._merged: tuple[int, MergedObject, list[ObjectReader]] | None = None

    def run(
        self,
        part: Partition,
        result: _engine.Result,
        cursor: int = 0,
        events_max: int = NO_LIMIT,
        bytes_max: int = NO_LIMIT,
    ) -> int:
        """Add events of `part` to `result`; return where to go on, or −1 when it is finished.

        Where to go on is 0 at first, and then what the engine says for the part's object; for a part of
        several it is an event of the part, which holds wherever it runs.

        Raises
        ------
        SkyhookError
            If the object cannot be read, naming it and the events in it.
        """
        try:
            pushed = self._try_to_push(part, result, cursor, events_max, bytes_max)
            if pushed is not None:
                return pushed
            try:
                return self._read(part, result, cursor, events_max, bytes_max)
            except AccessDenied as error:
                self._choice.deny(error)
                pushed = self._try_to_push(part, result, cursor, events_max, bytes_max)
                if pushed is None:
                    raise
                return pushed
        except SkyhookError as error:
            names = ", ".join(one.name for one in (part.object, *part.sets))
            entries = f"entries {part.entry_start} to {part.entry_stop - 1} of {part.file.path}"
            objects = "objects" if part.sets else "object"
            raise type(error)(f"{objects} {names} ({entries}): {error}") from error

    def _try_to_push(
        self, part: Partition, result: _engine.Result, cursor: int, events_max: int, bytes_max: int
    ) -> int | None:
        """Return as `run` does; or None, with nothing added, if the piece is to be read."""
        if part.index == self._lost:
            return None
        if part.sets and not self._choice.mixes(self._plan.mixed(*part.layout_ids)):
            return None
        with self._choice.turn() as push:
            if not push:
                return None
            try:
                push_one = self._push_mixed if part.sets else self._push
                return push_one(part, result, cursor, events_max, bytes_max)
            except RequestLost as error:
                self._lost = part.index
                self._choice.lose(error)
            except ClassMissing as error:
                (self._choice.cannot_mix if part.sets else self._choice.fail)(error)
            except StoreError as error:
                self._choice.fail(error)
        return None

    def _push_mixed(
        self, part: Partition, result: _engine.Result, first: int, events_max: int, bytes_max: int
    ) -> int:
        """Run a query of columns of several objects inside each of them."""
        mixed = self._mixed
        mixed.bytes_moved = mixed.bytes_stored = 0
        following = mixed.run(part, result, first, events_max, bytes_max)
        self.pushed = True
        self.bytes_moved += mixed.bytes_moved
        self._choice.came_back()
        self._choice.learn(mixed.bytes_moved, mixed.bytes_stored, several=True)
        return following

    def _push(
        self, part: Partition, result: _engine.Result, cursor: int, events_max: int, bytes_max: int
    ) -> int:
        info = part.object
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
        before = result.report()
        answer = self._store.execute(info.name, "scan", request, REPLY_BYTES_MAX)
        cursor = result.append_answer(answer)
        self.pushed = True
        self.bytes_moved += len(request) + len(answer)
        self._choice.came_back()
        self._choice.learn(len(answer), _stored_bytes(before, result.report()))
        return cursor

    def _read(
        self, part: Partition, result: _engine.Result, cursor: int, events_max: int, bytes_max: int
    ) -> int:
        self.pushed = False
        if part.sets:
            return self._read_merged(part, result, cursor, events_max, bytes_max)
        info, scan = part.object, self._scan(part)
        place = (info.directory_start, info.directory_bytes, result, part.first_event)
        path = self._store.local_path(info.name)
        if path is not None:
            bytes_before = result.bytes_read
            cursor = scan.run_file(str(path), *place, cursor, events_max, bytes_max)
            self.bytes_moved += result.bytes_read - bytes_before
            return cursor
        before, nbytes = result.report(), result.nbytes
        reader = self._reader_of(part, cursor)
        moved_before = reader.nbytes
        cursor = scan.run_ranges(reader, *place, cursor, events_max, bytes_max, LOOKAHEAD_BYTES)
        self.bytes_moved += reader.nbytes - moved_before
        answer_bytes = ANSWER_HEADER_BYTES + result.nbytes - nbytes
        self._choice.learn(answer_bytes, _stored_bytes(before, result.report()))
        if cursor < 0:
            self._reader = None
            if reader.from_start:
                self._choice.need(reader.needed_bytes, info.bytes)
        return cursor

    def _read_merged(
        self, part: Partition, result: _engine.Result, first: int, events_max: int, bytes_max: int
    ) -> int:
        """Read columns of several objects as those of one."""
        merged, readers = self._merged_of(part, first)
        section, cursor = merged.place(first)
        cursor = self._scan(part).run_ranges(
            section.reader(readers),
            section.directory_start,
            len(section.directory),
            result,
            part.first_event + section.first_event,
            cursor,
            events_max,
            bytes_max,
            LOOKAHEAD_BYTES,
        )
        for reader in readers:
            self.bytes_moved += reader.nbytes
            reader.nbytes = 0
        following = merged.event(section, cursor)
        if following < part.events:
            return following
        self._merged = None
        return -1

    def _merged_of(self, part: Partition, first: int) -> tuple[MergedObject, list[ObjectReader]]:
        """Return the columns that a part's objects hold together: the same for all pieces of the part."""
        if self._merged is None or first == 0 or self._merged[0] != part.index:
            objects = (part.object, *part.sets)
            readers = [ObjectReader(self._store, one.name) for one in objects]
            places = [(one.name, one.directory_start, one.directory_bytes) for one in objects]
            merged = MergedObject(self._plan.columns(*part.layout_ids), readers, places)
            self._merged = part.index, merged, readers
        return self._merged[1:]

    def _scan(self, part: Partition) -> _engine.Scan:
        """Return the engine for a part."""
        layouts = part.layout_ids
        if layouts not in self._scans:
            self._scans[layouts] = _engine.Scan(self._plan.program(*layouts))
        return self._scans[layouts]

    def _reader_of(self, part: Partition, cursor: int) -> ObjectReader:
        """Return what reads a part's object: the same for all pieces of the part."""
        reader = self._reader
        if cursor == 0 or reader is None or reader.name != part.object.name:
            whole_bytes = part.object.bytes if self._choice.whole else 0
            reader = ObjectReader(self._store, part.object.name, whole_bytes, from_start=cursor == 0)
        self._reader = reader
        return reader


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
    return encode_request(
        part.object,
        plan.program(layout_id),
        [(output.dtype, -1 if output.axis is None else output.axis) for output in plan.outputs],
        first_event=part.first_event,
        cursor=cursor,
        events_max=events_max,
        bytes_max=bytes_max,
        milliseconds=MILLISECONDS_MAX,
        rows=rows,
        histograms=histograms,
    )


def _stored_bytes(before: _engine.ScanReport, after: _engine.ScanReport) -> int:
    """Return the stored bytes of the columns that a piece was made from.

    The engine counts what it reads ahead, or again for the rest of a chunk, as read; and the chunks that
    zone maps rule out as looked at. Neither is what the events took.
    """
    return min(after["bytes_read"] - before["bytes_read"], after["bytes_total"] - before["bytes_total"])


class ObjectReader:
    """Reads one object for the engine: the ranges that it asks for, or all of it at once.

    Several pieces of a scan may use the same: what the next one asks for again is kept.

    Parameters
    ----------
    store, name : ObjectStore, str
        Where the object is.
    whole_bytes : int
        Bytes of the object, if all of it should be read at once; else 0.
    from_start : bool
        Whether the scan begins at the object's start.
    """

    def __init__(self, store: ObjectStore, name: str, whole_bytes: int = 0, from_start: bool = True) -> None:
        self._store = store
        self.name = name
        self.from_start = from_start
        self.nbytes = 0
        """Bytes read so far."""
        self._whole_bytes = whole_bytes
        self._object: memoryview | None = None
        self._asked: set[tuple[int, int]] = set()
        self._kept: dict[tuple[int, int], bytes] = {}
        self._kept_bytes = 0

    @property
    def needed_bytes(self) -> int:
        """Bytes that were asked for, each range once."""
        return sum(stop - start for start, stop in self._asked)

    def __call__(self, ranges: list[tuple[int, int]]) -> Sequence[bytes | memoryview]:
        """Return the bytes of each (start, stop), in the order given."""
        self._asked.update(ranges)
        if self._whole_bytes:
            return self._slices(ranges)
        found = {where: self._kept.pop(where) for where in ranges if where in self._kept}
        self._kept_bytes -= sum(map(len, found.values()))
        missing = [where for where in ranges if where not in found]
        if missing:
            wanted = [ByteRange(start, stop) for start, stop in missing]
            found.update(zip(missing, self._store.read_many(self.name, wanted), strict=True))
            self.nbytes += sum(where.nbytes for where in wanted)
        self._keep(found)
        return [found[where] for where in ranges]

    def _slices(self, ranges: list[tuple[int, int]]) -> list[memoryview]:
        if self._object is None:
            self._object = memoryview(self._store.read(self.name, ByteRange(0, self._whole_bytes)))
            self.nbytes += self._object.nbytes
        return [self._object[start:stop] for start, stop in ranges]

    def _keep(self, found: dict[tuple[int, int], bytes]) -> None:
        """Keep what came last, and of what came before as much as there is room for."""
        self._kept.update(found)
        self._kept_bytes += sum(map(len, found.values()))
        while self._kept_bytes > KEPT_BYTES_MAX:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))))
