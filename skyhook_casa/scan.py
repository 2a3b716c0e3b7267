"""Runs a plan over a store: the engine in every thread, results in dataset order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from . import _engine
from .batch import Batch
from .catalog import Partition
from .cores import usable_cores
from .errors import StoreError
from .execution import Choice
from .feed import Feed
from .plan import Plan
from .progress import Progress
from .report import Report
from .shares import Shares
from .stores import ObjectStore
from .worker import NO_LIMIT, Worker

BATCH_BYTES: Final = 2 << 20
"""About how large the batches of a stream are."""
PIECE_BYTES: Final = 2 << 20
"""About how much of a batch a thread makes at a time."""
WINDOW_BYTES: Final = 32 << 20
"""About how much each thread of a stream holds ready."""
REMOTE_THREADS: Final = 4
"""Threads by default where the storage computes: they mostly wait."""

T = TypeVar("T")


class Scan:
    """One run of a plan: call one of `collect`, `stream` and `count`, once.

    Parameters
    ----------
    plan : Plan
        What to compute.
    store : ObjectStore
        Where the objects are.
    threads : int, optional
        How many threads compute; by default as many as there are cores.
    progress : Progress, optional
        Is told the events of each part that is done.
    rows : bool
        Whether batches tell the number of each event in the dataset.
    execution : str
        Where the parts run, see `skyhook_casa.execution`.
    histograms : bytes
        Histograms to fill instead of delivering values, see `skyhook_casa.histogram`.
    """

    def __init__(
        self,
        plan: Plan,
        store: ObjectStore,
        threads: int | None = None,
        progress: Progress | None = None,
        rows: bool = False,
        execution: str = "auto",
        histograms: bytes = b"",
    ) -> None:
        self.plan = plan
        self.store = store
        self.threads = max(1, threads or (REMOTE_THREADS if store.pushes_down else usable_cores()))
        self.report = Report(plan.version.dataset, plan.version.number)
        self._progress = progress
        self._rows = rows
        self._histograms = histograms
        self._choice = Choice(plan, store, execution, delivers=not histograms)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._start_s = time.perf_counter()
        self._parts = plan.partitions.filled
        self.report.partitions_planned = len(self._parts)
        self.report.cutflow = [(text, 0) for text in plan.terms]
        self.report.seconds = {"total": 0.0, "read": 0.0, "compute": 0.0}
        for layout_ids in self._parts.layouts:
            plan.program(*layout_ids)  # compiled before threads start, so that errors come early

    def collect(self) -> Batch:
        """Return the whole answer.

        Raises
        ------
        SkyhookError
            If any part fails: an answer is whole or is none.
        """
        return Batch.of(self.plan.outputs, self.fill(), self._rows)

    def fill(self) -> _engine.Result:
        """Return the whole answer as the engine has it, histograms filled. Raises as `collect` does."""
        if self.plan.query.limit is None:
            whole = self._collect_shares()
        else:
            whole = self._result()
            for piece in self._run_in_order(self._parts, NO_LIMIT):
                whole.append(piece)
        self._finish(whole)
        return whole

    def count(self) -> int:
        """Return how many events the answer has; the plan should have no outputs."""
        return self.collect().events

    def stream(self, batch_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
        """Yield the answer in batches of about `batch_bytes` bytes, at least one.

        Memory stays bounded however slow the caller is: one batch, and `WINDOW_BYTES` and a chunk of
        events for each thread.

        Raises
        ------
        SkyhookError
            If any part fails; the batches before it were given, those after it are not.
        """
        whole = self._result()
        given = False
        for piece in self._pieces(min(batch_bytes, PIECE_BYTES)):
            if whole.events:
                whole.append(piece)
            else:
                self.report.count(whole.report())
                whole = piece
            if whole.nbytes >= batch_bytes:
                self.report.count(whole.report())
                yield from self._batch(whole).pieces(batch_bytes)
                whole, given = self._result(), True
        self._finish(whole)
        if whole.events or not given:
            yield from self._batch(whole).pieces(batch_bytes)

    # -- parts ------------------------------------------------------------------------------
    def _collect_shares(self) -> _engine.Result:
        """Return the whole answer, made by threads that each begin with a share of the parts."""
        shares = Shares(self._parts, self.threads)
        if len(shares) > 1:
            with ThreadPoolExecutor(len(shares), "scan") as pool:
                tasks = [pool.submit(self._run_share, shares, number) for number in range(len(shares))]
                made = [one for found in self._all(tasks) for one in found]
        else:
            made = self._run_share(shares, 0) if len(shares) else []
        in_order = [result for _, _, result in sorted(made, key=lambda one: one[:2])] or [self._result()]
        for result in in_order[1:]:
            in_order[0].append(result)
        return in_order[0]

    def _run_share(self, shares: Shares, number: int) -> list[tuple[int, int, _engine.Result]]:
        """Work through a share, then help others; return (share, first part, result)."""
        worker = Worker(self.plan, self.store, self._choice, self._histograms)
        own = self._result()
        made = [(number, -1, own)]
        while not self._stop.is_set() and (part := shares.next(number)) is not None:
            self._run_part(worker, part, own)
        while not self._stop.is_set() and (stolen := shares.steal()) is not None:
            share, part = stolen
            made.append((share, part.index, self._result()))
            self._run_part(worker, part, made[-1][2])
        return made

    def _run_part(self, worker: Worker, part: Partition, result: _engine.Result) -> None:
        """Add a whole part to a result."""
        before = _chunks(result)
        cursor, pushed = 0, False
        while cursor >= 0:
            cursor = worker.run(part, result, cursor)
            pushed = pushed or worker.pushed
        after = _chunks(result)
        self._done(part, worker, after[0] - before[0] == after[1] - before[1], pushed)

    def _pieces(self, piece_bytes: int) -> Iterator[_engine.Result]:
        """Yield the answer in small results, in dataset order."""
        if self.threads == 1 or self.plan.query.limit is not None or len(self._parts) == 1:
            yield from self._run_in_order(self._parts, piece_bytes)
            return
        feeds: deque[Feed[_engine.Result]] = deque()
        parts = iter(self._parts)
        with ThreadPoolExecutor(self.threads, "scan") as pool:
            try:
                while True:
                    for part in islice(parts, self.threads + 1 - len(feeds)):
                        feeds.append(Feed(WINDOW_BYTES))
                        pool.submit(self._feed, part, piece_bytes, feeds[-1])
                    if not feeds:
                        return
                    yield from feeds[0]
                    feeds.popleft()
            finally:
                for feed in feeds:
                    feed.end()

    def _run_in_order(self, parts: Sequence[Partition], piece_bytes: int) -> Iterator[_engine.Result]:
        worker = Worker(self.plan, self.store, self._choice, self._histograms)
        limit = self.plan.query.limit
        found = 0
        for part in parts:
            cursor, pruned, pushed = 0, True, False
            while cursor >= 0 and (limit is None or found < limit):
                result = self._result()
                cursor = worker.run(
                    part, result, cursor, NO_LIMIT if limit is None else limit - found, piece_bytes
                )
                found += result.events
                pushed = pushed or worker.pushed
                chunks, chunks_pruned = _chunks(result)
                pruned = pruned and chunks == chunks_pruned
                yield result
            if cursor >= 0:
                self._moved(worker)
                return
            self._done(part, worker, pruned, pushed)

    def _feed(self, part: Partition, piece_bytes: int, to: Feed[_engine.Result]) -> None:
        """Put the results of one part into a feed; an error is raised by the thread that reads it."""
        try:
            for result in self._run_in_order([part], piece_bytes):
                if not to.put(result):
                    return
        except BaseException as error:  # noqa: BLE001
            to.end(error)
        else:
            to.end()

    def _all(self, futures: list[Future[T]]) -> list[T]:
        try:
            return [future.result() for future in futures]
        except BaseException:
            self._stop.set()
            raise

    # -- the report -------------------------------------------------------------------------
    def _done(self, part: Partition, worker: Worker, pruned: bool, pushed: bool) -> None:
        self._moved(worker)
        with self._lock:
            self.report.partitions_done += 1
            self.report.partitions_pushed += pushed
            self.report.objects_pruned += pruned
            if self._progress is not None:
                self._progress.advance(part.events)

    def _moved(self, worker: Worker) -> None:
        with self._lock:
            self.report.bytes_moved += worker.bytes_moved
        worker.bytes_moved = 0

    def _result(self) -> _engine.Result:
        return Batch.result(self.plan.outputs, self._rows, self._histograms)

    def _batch(self, result: _engine.Result) -> Batch:
        return Batch.of(self.plan.outputs, result, self._rows)

    def _finish(self, result: _engine.Result) -> None:
        """Add the last result; refuse an answer that is short."""
        self.report.count(result.report())
        self.report.seconds["total"] = time.perf_counter() - self._start_s
        self.report.reason = self._choice.reason
        self.report.bytes_skipped = self._parts.nbytes - self.report.bytes_read
        limited = self.plan.query.limit is not None and self.report.events_out >= self.plan.query.limit
        if self.report.partitions_done != self.report.partitions_planned and not limited:
            done, planned = self.report.partitions_done, self.report.partitions_planned
            raise StoreError(f"only {done} of {planned} partitions were worked through")


def _chunks(result: _engine.Result) -> tuple[int, int]:
    """Return the chunks that a result's scans met, and those ruled out."""
    return result.chunks, result.chunks_pruned
