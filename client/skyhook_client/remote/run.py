"""A run of a query by a service: splits taken one by one, whatever happens to service and network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from skyhook_casa.batch import Batch
from skyhook_casa.errors import ProtocolError, SkyhookError
from skyhook_casa.progress import Progress
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.held import Held
from skyhook_casa.report import Report, counted, human_bytes
from skyhook_casa.tally import Tally

from ..backend import Bins, Run
from .answers import ReceivedBins, hold, outputs_of, report_of, version_of
from .arrivals import Arrivals
from .gather import Gathered
from .short import ShortAnswer
from .stream import SplitStream

if TYPE_CHECKING:
    from .question import RemoteQuestion

T = TypeVar("T")


class RemoteRun(Run):
    """Takes splits in order and remembers which events it holds.

    Whatever breaks, the stream is begun again with what is held, so each event comes once.
    """

    def __init__(self, question: RemoteQuestion, progress: Progress, rows: bool, histograms: bytes) -> None:
        self.report = Report(question.version.dataset, question.version.number, seconds={"total": 0.0})
        self._question = question
        self._progress = progress
        self._rows = rows
        self._histograms = histograms
        self._held = Held()
        self._arrivals = Arrivals()
        self._unordered = False
        self._stream: SplitStream | ShortAnswer | None = None
        self._has_begun = False
        self._object_bytes = 0
        self._bytes = 0
        self._began_s = time.monotonic()
        question.tell_tally_of(self.report)

    def collect(self) -> Batch:
        """See `Run.collect`."""
        with self:
            gathered = Gathered(self._question.outputs, self._rows)
            events = max(1, self._question.version.events)
            for batch in self._batches():
                gathered.add(batch, (self.report.events_in + self._arrivals.events_in) / events)
            return gathered.whole()

    def stream(self, batch_bytes: int, ordered: bool = True) -> Iterator[Batch]:
        """See `Run.stream`; the first events are given as soon as they are there."""
        self._unordered = not ordered
        self._arrivals = Arrivals(ordered)
        with self:
            gathered: list[Batch] = []
            nbytes, given = 0, False
            for batch in self._batches():
                if gathered and nbytes + batch.nbytes > batch_bytes:
                    yield from self._joined(gathered).pieces(batch_bytes)
                    gathered, nbytes = [], 0
                gathered.append(batch)
                nbytes += batch.nbytes
                if nbytes >= batch_bytes or not given:
                    yield from self._joined(gathered).pieces(batch_bytes)
                    gathered, nbytes, given = [], 0, True
            if gathered or not given:
                yield from self._joined(gathered).pieces(batch_bytes)

    def count(self) -> int:
        """See `Run.count`."""
        with self:
            self._whole(pb.QueryStart.COUNT)
        return self.report.events_out

    def fill(self) -> Bins:
        """See `Run.fill`."""
        with self:
            end = self._whole(pb.QueryStart.HISTOGRAMS)
            return ReceivedBins.checked(end.histograms, self._question.outputs, self._histograms)

    # -- splits -----------------------------------------------------------------------------
    def _batches(self) -> Iterator[Batch]:
        """Yield the batches of all splits that have any, and check that they are all there."""
        while (batch := self._retrying(self._take)) is not None:
            yield batch
        self._check_whole()

    def _take(self) -> Batch | None:
        """Return the next events that were not given before; None if there are no more."""
        while (batch := self._arrivals.take()) is None:
            if self._stream is None:
                self._stream = self._begin(pb.QueryStart.BATCHES)
                self._arrivals.begin(self._held.events_out)
            taken = self._stream.take()
            if taken is None:
                return None
            self._arrivals.add(*taken)
            if taken[1] is None:
                self._add(taken[0])
        return batch

    def _whole(self, deliver: pb.QueryStart.Deliver) -> pb.QueryEnd:
        """Run a query of which only the end is wanted, and return it."""
        end = self._retrying(lambda: self._last(deliver))
        object_bytes = self._object_bytes
        self.report = report_of(end.report)
        self._question.tell_tally_of(self.report)
        self.report.bytes_skipped = max(0, object_bytes - self.report.bytes_read)
        return end

    def _last(self, deliver: pb.QueryStart.Deliver) -> pb.QueryEnd:
        self._stream = self._begin(deliver)
        if self._stream.take() is not None or self._stream.end is None:
            raise ProtocolError("the service sent events, but only counts were asked for")
        return self._stream.end

    def _begin(self, deliver: pb.QueryStart.Deliver) -> SplitStream | ShortAnswer:
        question, backend = self._question, self._question.backend
        delivers = deliver == pb.QueryStart.BATCHES
        if not self._has_begun:
            self._has_begun = True
            plain = delivers and not self._rows
            plan = question.plan if plain else backend.resolve(self._start(deliver, at_once=True))
            if plan.HasField("answer"):
                self._planned(plan)
                return ShortAnswer(plan.answer, question.outputs, delivers, self._rows)
        return SplitStream(
            backend.channel,
            backend.fetcher,
            self._start(deliver),
            question.outputs,
            self._planned,
            self._advanced,
        )

    def _start(self, deliver: pb.QueryStart.Deliver, at_once: bool = False) -> pb.QueryStart:
        return pb.QueryStart(
            query=self._question.value.to_json(),
            execution=self._question.execution,
            deliver=deliver,
            rows=self._rows,
            histograms=self._histograms if deliver == pb.QueryStart.HISTOGRAMS else b"",
            unordered=self._unordered,
            held=self._held.to_message(),
            at_once=at_once,
        )

    def _retrying(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt returns; after a loss the next one begins another stream."""
        return self._question.backend.channel.patience.keep(attempt, self._drop_stream)

    def _drop_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream however the run ends; complete the report if it ends well."""
        try:
            if error is None:
                self._end()
            elif isinstance(error, GeneratorExit):
                self._end_early()
            elif isinstance(error, SkyhookError):
                self._note_query(error)
        finally:
            self._drop_stream()

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.finish()
            self._stream = None
        self.report.seconds["total"] = time.monotonic() - self._began_s
        if self.report.partitions_done == self.report.partitions_planned:
            events = self._question.version.events
            self._progress.reach(events, events)

    def _end_early(self) -> None:
        """Count the split in which a stream is left; leave the tally open if any events may have come."""
        if self._arrivals.split is not None:
            self._count(self._arrivals.split)
        if self._unordered:
            self.report.tallied_by(lambda _: Tally())

    def _note_query(self, error: SkyhookError) -> None:
        note = f"query {self.report.query_id}"
        if self.report.query_id and note not in getattr(error, "__notes__", ()):
            error.add_note(note)

    # -- what is told of it -------------------------------------------------------------------
    def _planned(self, plan: pb.QueryPlan) -> None:
        """Refuse a plan that is not that of the question."""
        question = self._question
        self.report.query_id = plan.query_id
        if plan is not question.plan:
            self._check_same(plan)
        self.report.partitions_planned = plan.partitions
        self.report.cutflow = self.report.cutflow or [(term, 0) for term in plan.terms]
        self._object_bytes = plan.object_bytes

    def _check_same(self, plan: pb.QueryPlan) -> None:
        question = self._question
        # To count events nothing is delivered.
        outputs = outputs_of(plan) if plan.outputs else question.outputs
        if version_of(plan) != question.version or outputs != question.outputs:
            raise ProtocolError(
                f"the service plans another answer than it announced for {question.version.dataset!r}; "
                "it may have been replaced: make the query again"
            )

    def _advanced(self, done: int, total: int) -> None:
        seconds = max(1e-3, time.monotonic() - self._began_s)
        splits = counted(self.report.splits, "split")
        self._progress.note = f"{splits}, {human_bytes(round(self._bytes / seconds))}/s"
        events = self._question.version.events
        # After a loss a stream counts only what was missing.
        self._progress.reach(max(self._progress.done, min(events, events - total + done)), events)

    def _add(self, split: pb.Split) -> None:
        """Count a split as held by the caller."""
        hold(self._held, split, self._question.version.partitions)
        self._count(split)

    def _count(self, split: pb.Split) -> None:
        """Add a split to the report."""
        self._bytes += split.nbytes
        report = report_of(split.report)
        if report.cutflow and [term for term, _ in report.cutflow] != [
            term for term, _ in self.report.cutflow
        ]:
            raise ProtocolError(f"split {split.number} was made with other conditions than those of the plan")
        report.splits = 1
        self.report.add(report)

    def _check_whole(self) -> None:
        report, limit = self.report, self._question.value.limit
        if limit is not None and report.events_out > limit:
            raise ProtocolError(f"the service delivered {report.events_out} events; the limit is {limit}")
        if self._held.events_out != report.events_out:
            raise ProtocolError(
                f"{self._held.events_out} events were delivered; their reports tell of {report.events_out}"
            )
        if self._arrivals.given != report.events_out:
            raise ProtocolError(
                f"{self._arrivals.given} events came before the stream broke off and after; "
                f"their reports tell of {report.events_out}"
            )
        limited = limit is not None and report.events_out >= limit
        if report.partitions_done != report.partitions_planned and not limited:
            done, planned = report.partitions_done, report.partitions_planned
            raise ProtocolError(f"the answer ended after {done} of {planned} partitions")
        report.bytes_skipped = max(0, self._object_bytes - report.bytes_read)

    def _joined(self, batches: list[Batch]) -> Batch:
        return Batch.concat(batches) if batches else Batch.empty(self._question.outputs, self._rows)
