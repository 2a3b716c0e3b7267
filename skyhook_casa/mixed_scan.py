"""Scans of partitions whose columns lie in several objects, run inside the objects.

First each object tells which events meet the conditions on its own columns, looking only at those that the
objects before it left. Then each delivers its values of the events that all left, some at a time; put
together as a small object in memory, the rest of the query runs on them here. See `mixed_program`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import xxhash

from . import _engine
from .arrow_schema import KIND_ELEMENT, KIND_EVENT, KIND_OFFSETS, NO_OFFSETS
from .batch import Batch
from .catalog import ObjectInfo, Partition
from .errors import CorruptObject, ResourceExhausted, SkyhookError
from .merged_object import FIRST_BYTE, SECTION_BYTES_MAX
from .mixed_program import Fetch, MixedProgram, RestColumn, Stage
from .object_directory import CHUNK_ENTRY, ROW_HEAD, Array, encode_directory
from .program import name_hash
from .requests import ANSWER_BYTES, NO_LIMIT, REPLY_BYTES_MAX, SELECTS, encode_request
from .schema import DTYPE_CODE, numpy_dtype
from .stores import ObjectStore
from .work import Computation

__all__ = ["MixedScan", "probe"]

WINDOW_BYTES: Final = 4 << 20
"""About how much is fetched before the rest of the query runs on it."""
WINDOW_EVENTS_MAX: Final = 1 << 16
"""Most events that are fetched together."""
LIST_ELEMENTS: Final = 4
"""Elements that a list is taken to have until some are seen."""
SPAN_EVENTS_MAX: Final = _engine.SELECTION_EVENTS_MAX
"""Most events of a partition that are asked for together: as many as one selection reaches over."""
_COUNTED: Final = ("chunks", "chunks_pruned", "bytes_read", "bytes_total")


@dataclass(slots=True)
class _Counts:
    """What the stages counted."""

    passed: list[int | None]
    """Events left after each condition, as the engine counts them."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))

    def none(self) -> _Counts:
        """Return the counts of as many conditions on no event."""
        return _Counts([0] * len(self.passed))

    def less(self, other: _Counts) -> _Counts:
        """Return what is left when those of some of the events are taken away."""
        pairs = zip(self.passed, other.passed, strict=True)
        passed = [None if a is None or b is None else a - b for a, b in pairs]
        return _Counts(passed, {name: self.counts[name] - other.counts[name] for name in _COUNTED})


@dataclass(frozen=True, slots=True)
class _Left:
    """Events of a partition that its objects left, and are not yet delivered."""

    part: int
    first: int
    """The first event of the partition that was looked at."""
    stop: int
    events: Array
    """Their numbers in the partition, int64."""
    counts: _Counts


class MixedScan:
    """Runs a query inside the objects of partitions; for one thread.

    Parameters
    ----------
    plan : Computation
        What to compute.
    store : ObjectStore
        Where the objects are.
    histograms : bytes
        Histograms to fill instead of delivering values.
    """

    def __init__(self, plan: Computation, store: ObjectStore, histograms: bytes = b"") -> None:
        self._plan = plan
        self._store = store
        self._histograms = histograms
        self._rests: dict[tuple[int, ...], _engine.Scan] = {}
        self._left: _Left | None = None
        self._event_bytes: dict[tuple[int, ...], float] = {}
        self.bytes_moved = 0
        """Bytes of requests and answers since this was last set to 0."""
        self.bytes_stored = 0
        """Stored bytes of the columns that they were made from."""

    def run(
        self, part: Partition, result: _engine.Result, first: int, events_max: int, bytes_max: int
    ) -> int:
        """Add events of `part` from number `first` on; return where to go on, or −1 at its end.

        Nothing is added if an error is raised.

        Raises
        ------
        ClassMissing
            If the storage runs programs, but cannot select events.
        SkyhookError
            If a request fails; it names the object.
        """
        program = self._plan.mixed(*part.layout_ids)
        left = self._left_of(program, part, first)
        piece = Batch.result(self._plan.outputs, result.keeps_rows, self._histograms)
        done, fetched = self._deliver(program, part, left.events, piece, events_max, bytes_max)
        stop, counts = left.stop, left.counts
        if done < len(left.events) or 0 <= events_max <= piece.events:
            stop = int(left.events[done - 1]) + 1 if done else first
            counts = self._select(program, part, first, stop)[1] if done else left.counts.none()
            self._left = _Left(part.index, stop, left.stop, left.events[done:], left.counts.less(counts))
        result.append_piece(
            piece, self._report(piece, counts, fetched, stop - first, program), left.events + part.first_event
        )
        return -1 if stop == part.events else stop

    # -- which events -----------------------------------------------------------------------
    def _left_of(self, program: MixedProgram, part: Partition, first: int) -> _Left:
        """Return the events left from `first` on: what an earlier call found, if it did."""
        left, self._left = self._left, None
        if left is not None and (left.part, left.first) == (part.index, first):
            return left
        stop = min(part.events, first + SPAN_EVENTS_MAX)
        return _Left(part.index, first, stop, *self._select(program, part, first, stop))

    def _select(self, program: MixedProgram, part: Partition, first: int, stop: int) -> tuple[Array, _Counts]:
        """Return the events in [first, stop) that all stages leave."""
        events = np.arange(first, stop, dtype=np.int64)
        found = _Counts([])
        for number, stage in enumerate(program.stages):
            kept, report = self._stage(stage, part, events)
            found.passed.extend(report["passed"] or [0] * stage.terms)
            for name in _COUNTED:
                # A later stage looks at chunks that were counted; it may rule out more of them.
                if number == 0 or name != "chunks":
                    found.counts[name] += report[name]
            events = kept
        return events, found

    def _stage(self, stage: Stage, part: Partition, events: Array) -> tuple[Array, _engine.ScanReport]:
        kept = _engine.Result([], [], True)
        if len(events):
            self._ask(_objects(part)[stage.object], stage.program, kept, events)
        return kept.rows(), kept.report()

    # -- their values -----------------------------------------------------------------------
    def _deliver(
        self,
        program: MixedProgram,
        part: Partition,
        events: Array,
        piece: _engine.Result,
        events_max: int,
        bytes_max: int,
    ) -> tuple[int, int]:
        """Run the rest of a query on some of the events; return how many were done, and stored bytes read."""
        at = stored = 0
        window = self._window(program, part.layout_ids)
        while at < len(events):
            if 0 <= events_max <= piece.events or (at and 0 <= bytes_max <= piece.nbytes):
                break
            chosen = events[at : at + window]
            found = self._fetch(program, part, chosen)
            if found is None:
                window = len(chosen) // 2
                continue
            buffers, read = found
            stored += read
            if buffers:
                nbytes = sum(one.nbytes for one in buffers)
                self._event_bytes[part.layout_ids] = max(1.0, nbytes / len(chosen))
                window = self._window(program, part.layout_ids)
            most = NO_LIMIT if events_max < 0 else events_max - piece.events
            cursor = self._run_rest(program, part, buffers, len(chosen), piece, at, most)
            at += len(chosen) if cursor < 0 else cursor
        return at, stored

    def _window(self, program: MixedProgram, layout_ids: tuple[int, ...]) -> int:
        """Return how many events to fetch together."""
        if not program.columns:
            return SPAN_EVENTS_MAX
        sizes = [
            numpy_dtype(one.dtype).itemsize * (1 if one.offsets is None else LIST_ELEMENTS)
            for one in program.columns
        ]
        event_bytes = self._event_bytes.get(layout_ids, sum(sizes))
        return int(min(max(WINDOW_BYTES / event_bytes, 1), WINDOW_EVENTS_MAX))

    def _fetch(self, program: MixedProgram, part: Partition, events: Array) -> tuple[list[Array], int] | None:
        """Return the columns of the rest for these events, and the stored bytes that were read for them.

        None if they are too long to be one object, and there are several events.
        """
        found: dict[int, Array] = {}
        stored = nbytes = 0
        for fetch in program.fetches:
            info = _objects(part)[fetch.object]
            values = _engine.Result(fetch.dtypes, fetch.groups)
            self._ask(info, fetch.program, values, events, fetch)
            nbytes += values.nbytes
            if nbytes > SECTION_BYTES_MAX:
                if len(events) > 1:
                    return None
                raise ResourceExhausted(
                    f"event {part.first_event + int(events[0])} takes more than {SECTION_BYTES_MAX} bytes"
                )
            if values.events != len(events):
                raise CorruptObject(f"object {info.name} has {values.events} of {len(events)} events")
            stored += values.report()["bytes_read"]
            for number, array in _arrays(program, fetch, values):
                if number in found and not np.array_equal(found[number], array):
                    name = program.columns[number].name
                    raise CorruptObject(f"object {info.name} has other lists {name!r} than those before")
                found[number] = array
        return [found[number] for number in range(len(program.columns))], stored

    def _run_rest(
        self,
        program: MixedProgram,
        part: Partition,
        buffers: Sequence[Array],
        events: int,
        piece: _engine.Result,
        before: int,
        events_max: int,
    ) -> int:
        """Run the rest on what was fetched; return at which event it stopped, −1 for at none."""
        if part.layout_ids not in self._rests:
            self._rests[part.layout_ids] = _engine.Scan(program.program)
        content, start = _object_of(program.columns, buffers, events)
        return self._rests[part.layout_ids].run_ranges(
            lambda ranges: [content[begin:end] for begin, end in ranges],
            start,
            len(content) - start,
            piece,
            before,
            0,
            events_max,
        )

    # -- requests ---------------------------------------------------------------------------
    def _ask(
        self,
        info: ObjectInfo,
        program: bytes,
        result: _engine.Result,
        events: Array,
        fetch: Fetch | None = None,
    ) -> None:
        """Add to `result` what an object answers about some events."""
        before, cursor = result.report(), 0
        selection = _engine.encode_selection(events)
        outputs = () if fetch is None else zip(fetch.dtypes, fetch.groups, strict=True)
        shape = tuple(outputs)
        while cursor >= 0 and (fetch is None or result.nbytes <= SECTION_BYTES_MAX):
            request = encode_request(
                info,
                program,
                shape,
                cursor=cursor,
                bytes_max=ANSWER_BYTES,
                rows=fetch is None,
                selection=selection,
            )
            answer = self._store.execute(info.name, "scan", request, REPLY_BYTES_MAX, SELECTS)
            try:
                cursor = result.append_answer(answer)
            except SkyhookError as error:
                raise type(error)(f"object {info.name}: {error}") from error
            self.bytes_moved += len(request) + len(answer)
        after = result.report()
        read, total = (after[name] - before[name] for name in ("bytes_read", "bytes_total"))
        self.bytes_stored += min(read, total)

    def _report(
        self, piece: _engine.Result, counts: _Counts, fetched: int, events: int, program: MixedProgram
    ) -> _engine.ScanReport:
        """Return what is told of a piece: as if one object had all columns."""
        rest = piece.report()
        told = piece.report()
        told["events_in"] = events
        told["passed"] = [*counts.passed, *(rest["passed"] or [0] * program.terms)]
        told["chunks"], told["chunks_pruned"] = counts.counts["chunks"], counts.counts["chunks_pruned"]
        told["bytes_read"] = counts.counts["bytes_read"] + fetched
        told["bytes_total"] = counts.counts["bytes_total"] + fetched
        return told


def probe(plan: Computation, store: ObjectStore, part: Partition) -> None:
    """Ask the first object that a part is asked of for no event. Raises as `MixedScan.run` does."""
    program = plan.mixed(*part.layout_ids)
    asked: Stage | Fetch = program.stages[0] if program.stages else program.fetches[0]
    info = _objects(part)[asked.object]
    shape = () if isinstance(asked, Stage) else tuple(zip(asked.dtypes, asked.groups, strict=True))
    selection = _engine.encode_selection(np.zeros(0, np.int64))
    request = encode_request(info, asked.program, shape, selection=selection)
    store.execute(info.name, "scan", request, REPLY_BYTES_MAX, SELECTS)


def _objects(part: Partition) -> tuple[ObjectInfo, ...]:
    return (part.object, *part.sets)


def _arrays(program: MixedProgram, fetch: Fetch, values: _engine.Result) -> list[tuple[int, Array]]:
    """Return the columns of the rest that an object delivered, with their numbers."""
    found = [(number, values.offsets(group).astype(np.int32)) for group, number in enumerate(fetch.lists)]
    for output, number in enumerate(fetch.columns):
        array = values.values(output)
        if program.columns[number].is_offsets:
            array = np.concatenate([np.zeros(1, np.int64), np.cumsum(array)]).astype(np.int32)
        found.append((number, array))
    return found


def _object_of(columns: Sequence[RestColumn], buffers: Sequence[Array], events: int) -> tuple[bytes, int]:
    """Return an object of one chunk with these columns, and where its directory begins."""
    parts, at, rows = [bytes(FIRST_BYTE)], FIRST_BYTE, []
    for number, (column, array) in enumerate(zip(columns, buffers, strict=True)):
        content = (np.packbits(array, bitorder="little") if array.dtype == np.bool_ else array).tobytes()
        rows.append(_row(number, column, len(array), at, content))
        parts += [content, bytes(-len(content) % 8)]
        at += len(content) + len(parts[-1])
    directory = encode_directory(at, "none", [events], [one.name for one in columns], rows)
    return b"".join([*parts, directory]), at


def _row(number: int, column: RestColumn, values: int, at: int, content: bytes) -> bytes:
    """Return the directory row of one column, without a range of its values."""
    head, entry = np.zeros((), ROW_HEAD), np.zeros((), CHUNK_ENTRY)
    head["name_hash"] = name_hash(column.name)
    head["dtype"] = DTYPE_CODE[column.dtype]
    head["kind"] = _kind(column)
    head["offsets_index"] = NO_OFFSETS if column.offsets is None else column.offsets
    head["index"] = number
    head["values"] = entry["values"] = values
    entry["offset"] = at
    entry["stored_bytes"] = entry["raw_bytes"] = len(content)
    entry["checksum"] = xxhash.xxh3_64_intdigest(content)
    return head.tobytes() + entry.tobytes()


def _kind(column: RestColumn) -> int:
    if column.is_offsets:
        return KIND_OFFSETS
    return KIND_EVENT if column.offsets is None else KIND_ELEMENT
