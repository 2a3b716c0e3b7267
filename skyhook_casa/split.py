"""A piece of a query's work that any process can do: programs and objects, no catalog.

A split is a pure function of immutable objects: it may run again, elsewhere, with the same answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from typing import Any, Final

from . import _engine
from .batch import Array, Batch
from .catalog import FileInfo, ObjectInfo, Partition
from .compile_query import Output
from .errors import QueryCancelled
from .execution import Choice
from .histogram import count_histograms
from .merged_object import MergedColumn
from .mixed_program import MixedProgram
from .protocol.held import Position
from .report import Report
from .stores import ObjectStore
from .work import Work
from .worker import NO_LIMIT, Worker

_LENGTH_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Split:
    """Some partitions in a row, and when to stop."""

    query_id: str
    work: Work
    parts: tuple[Partition, ...]
    first: Position
    """Where to begin, in the first of them."""
    events_max: int = NO_LIMIT
    """Stop after so many events of the answer."""
    bytes_max: int = NO_LIMIT
    """Stop after about so many bytes of the answer."""
    turn_s: float = 60.0
    """Stop at the end of a partition after so much time."""

    def encode(self) -> bytes:
        """Return the form in which it goes to another process: JSON, then the programs."""
        blobs = [*self.work.programs.values(), self.work.histograms]
        work = {
            **{name: getattr(self.work, name) for name in _WORK_ALIKE},
            "outputs": [asdict(output) for output in self.work.outputs],
            "layouts": list(self.work.programs),
            "divided": [(key, one.encode()) for key, one in self.work.divided.items()],
            "merged": [(key, [astuple(one) for one in found]) for key, found in self.work.merged.items()],
        }
        head = {
            **{name: getattr(self, name) for name in _SPLIT_ALIKE},
            "work": work,
            "parts": self.parts,
            "first": asdict(self.first),
            "blobs": [len(blob) for blob in blobs],
        }
        text = json.dumps(head).encode()
        return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *blobs])

    @classmethod
    def decode(cls, data: bytes) -> Split:
        """Return the split that `encode` wrote; the bytes come from the same release."""
        start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
        head = json.loads(data[_LENGTH_BYTES:start])
        blobs = []
        for length in head["blobs"]:
            blobs.append(data[start : start + length])
            start += length
        work = head["work"]
        return cls(
            work=Work(
                outputs=tuple(Output(**one) for one in work["outputs"]),
                programs=dict(zip(map(tuple, work["layouts"]), blobs, strict=False)),
                merged={
                    tuple(key): tuple(MergedColumn(*one) for one in found) for key, found in work["merged"]
                },
                divided={tuple(key): MixedProgram.decode(one) for key, one in work["divided"]},
                histograms=blobs[-1],
                **{name: _tuples(work[name]) for name in _WORK_ALIKE},
            ),
            parts=tuple(_partition(one) for one in head["parts"]),
            first=Position(**head["first"]),
            **{name: head[name] for name in _SPLIT_ALIKE},
        )


_WORK_ALIKE: Final = ("dataset", "version", "terms", "thins", "execution", "rows")
_SPLIT_ALIKE: Final = ("query_id", "events_max", "bytes_max", "turn_s")


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _partition(fields: list[Any]) -> Partition:
    index, first_event, events, info, file, start, stop, sets = fields
    more = tuple(ObjectInfo(*one) for one in sets)
    return Partition(index, first_event, events, ObjectInfo(*info), FileInfo(*file), start, stop, more)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a split came to."""

    result: _engine.Result
    """The events found; none if histograms were filled."""
    end: Position | None
    """Where it stopped; None if it is through."""
    report: Report
    histograms: tuple[tuple[Array, Array | None], ...] = ()
    """Sums, and sums of squares if there are weights, of each histogram."""


def run_split(
    split: Split,
    store: ObjectStore,
    choice: Choice,
    cancelled: Callable[[], bool] = bool,
) -> Outcome:
    """Work through a split until it is through, its bytes are found, or its time is over.

    Parameters
    ----------
    choice : Choice
        Where pieces run; shared by the splits of a query in one process.
    cancelled : callable
        Asked between partitions whether anybody still wants the answer.

    Raises
    ------
    QueryCancelled
        If nobody wants the answer any more.
    SkyhookError
        If an object cannot be read, naming it.
    """
    return _Run(split, store, choice).run(cancelled)


class _Run:
    """One split at work."""

    def __init__(self, split: Split, store: ObjectStore, choice: Choice) -> None:
        work = split.work
        self._split = split
        self._choice = choice
        self._worker = Worker(work, store, choice, work.histograms)
        self._result = Batch.result(work.outputs, work.rows, work.histograms)
        self._report = Report(work.dataset, work.version)
        self._deadline_s = time.monotonic() + split.turn_s

    def run(self, cancelled: Callable[[], bool]) -> Outcome:
        """See `run_split`."""
        at = self._split.first
        end: Position | None = None
        parts = self._split.parts
        for number, part in enumerate(parts, 1):
            if cancelled():
                raise QueryCancelled(f"query {self._split.query_id} was ended")
            end = self._run_part(part, at if at.partition == part.index else Position(part.index))
            if end is None and number < len(parts) and self._is_over():
                end = Position(parts[number].index)
            if end is not None:
                break
        return self._outcome(end)

    def _run_part(self, part: Partition, at: Position) -> Position | None:
        """Work through one partition; return where it stopped if not at its end."""
        cursor, pruned, pushed, result = at.cursor, at.pruned, at.pushed, self._result
        while cursor >= 0:
            read = result.chunks - result.chunks_pruned
            cursor = self._worker.run(part, result, cursor, self._events_left(), self._bytes_left())
            pruned = pruned and result.chunks - result.chunks_pruned == read
            pushed = pushed or self._worker.pushed
            if cursor >= 0 and self._is_full():
                return Position(part.index, cursor, pruned, pushed)
        self._report.partitions_done += 1
        self._report.partitions_pushed += pushed
        self._report.objects_pruned += pruned
        return None

    def _events_left(self) -> int:
        most = self._split.events_max
        return NO_LIMIT if most < 0 else max(0, most - self._result.events)

    def _bytes_left(self) -> int:
        most = self._split.bytes_max
        return NO_LIMIT if most < 0 else max(1, most - self._result.nbytes)

    def _is_full(self) -> bool:
        split, result = self._split, self._result
        return 0 <= split.bytes_max <= result.nbytes or 0 <= split.events_max <= result.events

    def _is_over(self) -> bool:
        return self._is_full() or time.monotonic() >= self._deadline_s

    def _outcome(self, end: Position | None) -> Outcome:
        work, report = self._split.work, self._report
        report.cutflow = [(term, 0) for term in work.terms]
        report.count(self._result.report())
        report.bytes_moved = self._worker.bytes_moved
        report.reason = self._choice.reason
        report.splits = 1
        bins = [self._result.histogram(number) for number in range(count_histograms(work.histograms))]
        histograms = tuple((sums.copy(), None if more is None else more.copy()) for sums, more in bins)
        return Outcome(self._result, end, report, histograms)
