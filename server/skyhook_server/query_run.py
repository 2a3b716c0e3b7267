"""One running query: its splits, its window, and the events that its client is told."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from skyhook_casa.errors import InvalidRequest, QueryCancelled, SkyhookError
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.held import Held
from skyhook_casa.split import Split
from skyhook_casa.work import Work
from skyhook_casa.worker import NO_LIMIT

from .account import Account
from .line import FIRST_BYTES, UNANNOUNCED_MAX, Line, Piece
from .place import Made
from .plans import DIRECT_BYTES, Prepared
from .result_cache import Kept, not_held

if TYPE_CHECKING:
    from .engine import Engine

PROGRESS_S: Final = 0.2
"""How often a client is told how far its query is."""
TASK_S: Final = 0.12
"""Least time that is worth a task: one costs some 6 ms of processor time, and as much again to wait for."""


class QueryRun:
    """Runs a query for one client. Belongs to one event loop.

    Parameters
    ----------
    engine : Engine
        What runs it.
    query_id : str
        Its name in the log.
    client : str
        Whom it is for.
    prepared : Prepared
        What is asked.
    work : Work
        What is computed on every partition.
    start : QueryStart
        How it is asked.
    """

    def __init__(
        self,
        engine: Engine,
        query_id: str,
        client: str,
        prepared: Prepared,
        work: Work,
        start: pb.QueryStart,
    ) -> None:
        self.query_id = query_id
        self.client = client
        self.last_served = 0
        self.plan = prepared.plan
        self.work = work
        self._prepared = prepared
        self._start = start
        self._delivers = start.deliver == pb.QueryStart.BATCHES
        self._cluster = engine.cluster
        self._cache = engine.cache
        self._settings = engine.settings
        self._metrics = engine.metrics
        self._wake = engine.dispatcher.wake
        held = Held.from_message(start.held, self.plan.version.partitions)
        self.account = Account(query_id, prepared, work, engine.metrics, held)
        self._resumes = bool(start.held.whole or start.held.begun)
        if self._resumes:
            self._metrics.queries_resumed.inc()
        self._limit = self.plan.query.limit
        self._unacknowledged: OrderedDict[int, Made] = OrderedDict()
        self._unacknowledged_bytes = 0
        self._kept: list[Kept] | None = []
        self._kept_bytes = 0
        self._spare: list[Made] = []
        self._changed = asyncio.Event()
        self._error: SkyhookError | None = None
        self._ended = False
        self._first: Piece | None = None
        self._key = prepared.answer_key(work)
        cached = self._cached()
        self._line = Line(
            [] if cached is not None else held.missing(prepared.parts),
            self._settings.turn_s,
            self._settings.split_bytes,
            self._cluster.threads,
            FIRST_BYTES if self._delivers else self._settings.split_bytes,
        )
        if cached is not None or self._resumes:
            self._kept = None
        for kept in cached or ():
            self._line.add_ready(*self._again(kept))
        if self._limit_left() == 0:
            self._spare += self._line.drop()

    # -- for the dispatcher -------------------------------------------------------------------
    @property
    def running(self) -> int:
        """Splits that workers have."""
        return self._line.running

    @property
    def is_done(self) -> bool:
        """Whether all events were announced."""
        return self._error is None and self._line.is_empty

    @property
    def held_bytes(self) -> int:
        """Bytes of answers that the client has not taken."""
        return self._line.ready_bytes + self._unacknowledged_bytes

    def take(self) -> Piece | None:
        """Return the piece to run next, or None if there is none or the window is full."""
        if self._ended or self._error is not None:
            return None
        window = self._settings.window_bytes
        if self._unacknowledged_bytes >= window or len(self._unacknowledged) >= UNANNOUNCED_MAX:
            return None
        full = self.held_bytes + self._line.expected_bytes >= window or len(self._line) >= UNANNOUNCED_MAX
        piece, is_first = self._line.waiting()
        # How many events are left for a piece is known only once all before it are counted.
        if piece is None or ((full or self._limit is not None) and not is_first):
            return None
        return piece

    def begin(self, piece: Piece) -> None:
        """Note that a worker gets a piece."""
        self._first = self._first or piece
        piece.direct = self._is_direct(piece)
        self._line.begin(piece)

    async def work_on(self, piece: Piece) -> None:
        """Run a piece that was begun."""
        split = Split(
            self.query_id,
            self.work,
            tuple(piece.parts),
            piece.first,
            NO_LIMIT if self._limit is None else self._limit_left(),
            piece.bytes_max if self._delivers else NO_LIMIT,
            self._settings.turn_s,
        )
        made = None
        try:
            made = await self._cluster.run(split, piece.direct)
        except SkyhookError as error:
            self.fail(error)
        finally:
            self._line.end(piece, None if self._ended else made)
            self._changed.set()
        if made is not None and self._ended:
            self._cluster.release([made])

    def _is_direct(self, piece: Piece) -> bool:
        """Whether a piece goes without a task.

        These are the first, with which a small query is done; and where the workers are threads of this
        process, those that take less than `TASK_S`.
        """
        if piece.parts[0].object.bytes > DIRECT_BYTES:
            return False
        return piece is self._first or (self._cluster.is_local and self._line.seconds(piece) < TASK_S)

    def fail(self, error: SkyhookError) -> None:
        """End the query with an error."""
        self._error = self._error or error
        self._changed.set()

    # -- for the client -----------------------------------------------------------------------
    async def events(self) -> AsyncGenerator[pb.QueryEvent, None]:
        """Yield what the client is told: the plan, splits and progress, the end.

        Raises
        ------
        SkyhookError
            If any part failed.
        """
        yield pb.QueryEvent(plan=self.account.plan())
        told_s, told = time.monotonic(), 0
        while True:
            self._changed.clear()  # before looking, so that nothing that comes meanwhile is missed
            for event in self._announce():
                yield event
            if self._error is not None:
                raise self._error
            if self.is_done:
                break
            now = time.monotonic()
            if now - told_s >= PROGRESS_S and self.account.report.events_in != told:
                told_s, told = now, self.account.report.events_in
                yield pb.QueryEvent(progress=pb.Advance(done=told, total=self.plan.events))
            with suppress(TimeoutError):
                # `asyncio.wait_for` of Python 3.11 may swallow that the client went away.
                async with asyncio.timeout(PROGRESS_S):
                    await self._changed.wait()
        yield pb.QueryEvent(end=self._finished())

    def acknowledge(self, number: int) -> list[Made]:
        """Note that the client holds the splits up to a number; return what can be freed.

        Raises
        ------
        InvalidRequest
            If no such split was announced.
        """
        if number > self.account.splits:
            raise InvalidRequest(f"split {number} is acknowledged; {self.account.splits} were announced")
        freed = []
        while self._unacknowledged and next(iter(self._unacknowledged)) <= number:
            _, made = self._unacknowledged.popitem(last=False)
            self._unacknowledged_bytes -= made.nbytes
            freed.append(made)
        self._changed.set()
        self._wake()
        return freed

    async def taken(self) -> None:
        """Return when the client holds every split that it has to fetch."""
        while any(made.ticket for made in self._unacknowledged.values()):
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """End the query, whether it is done or not, and free what nobody took."""
        self._ended = True
        self._changed.set()
        self._cluster.cancel(self.query_id)
        freed = [*self._unacknowledged.values(), *self._line.drop(), *self._spare]
        self._unacknowledged.clear()
        self._unacknowledged_bytes = 0
        self._cluster.release(freed)

    def cancel(self) -> None:
        """End the query with an error that says so."""
        self.fail(QueryCancelled(f"query {self.query_id} was ended by the service"))

    def status(self) -> pb.RunningQuery:
        """Return how far it is."""
        report, query = self.account.report, self.plan.query
        return pb.RunningQuery(
            query_id=self.query_id,
            client=self.client,
            dataset=f"{query.dataset}, version {query.version}",
            cut=query.cut or "",
            age_s=time.monotonic() - self.account.began_s,
            partitions_done=report.partitions_done,
            partitions=report.partitions_planned,
            events_done=report.events_in,
            events=self.plan.events,
            bytes_out=self.account.nbytes,
            held_bytes=self.held_bytes,
            running=self.running,
        )

    # -- inside -------------------------------------------------------------------------------
    def _limit_left(self) -> int:
        if self._limit is None:
            return -1
        return max(0, self._limit - self.account.held.events_out)

    def _announce(self) -> list[pb.QueryEvent]:
        """Take ready pieces off the line, and return what the client is told of them."""
        events = []
        ordered = not self._start.unordered or not self._delivers or self._kept is not None
        while not self._unacknowledged_bytes or self._unacknowledged_bytes < self._settings.window_bytes:
            piece = self._line.pop(ordered)
            if piece is None:
                break
            made = piece.made
            assert made is not None
            self._count(piece, made)
            if self._delivers:
                events.append(pb.QueryEvent(split=self._split_message(piece, made)))
            if self._limit_left() == 0:
                self._spare += self._line.drop()
            self._wake()
        return events

    def _count(self, piece: Piece, made: Made) -> None:
        """Add a piece to the account, and to what is kept for equal queries."""
        source = "cache" if made.report.splits_cached else "direct" if piece.direct else "task"
        self.account.add(piece.first, piece.stop, made, source)
        if self._kept is not None:
            self._keep(piece, made)

    def _split_message(self, piece: Piece, made: Made) -> pb.Split:
        direct = made.location and self._settings.delivery == "direct"
        message = self.account.split(piece.first, piece.stop, made, [made.location] if direct else [])
        self._unacknowledged[message.number] = made
        self._unacknowledged_bytes += made.nbytes
        return message

    # -- answers that are kept ------------------------------------------------------------------
    def _keep(self, piece: Piece, made: Made) -> None:
        """Remember a piece for equal queries, if the answer is short and in this process."""
        assert self._kept is not None
        self._kept_bytes += made.nbytes
        if made.location or self._kept_bytes > self._cache.answer_bytes_max:
            self._kept = None
            return
        ready = self._cluster.place.shelf.get(made.ticket) if made.ticket else None
        self._kept.append(Kept.of(made, piece.first, piece.parts, ready))

    def _cached(self) -> Sequence[Kept] | None:
        """Return what the client does not hold of an equal query's answer, if there is one."""
        answer = self._cache.get(self._key)
        left = None if answer is None else not_held(answer, self.account.held)
        (self._metrics.cache_misses if left is None else self._metrics.cache_hits).inc()
        return left

    def _again(self, kept: Kept) -> tuple[Piece, Made]:
        """Return a piece of such an answer, to be fetched once more."""
        ticket = b"" if kept.ready is None else self._cluster.place.shelf.put(kept.ready)
        return Piece(kept.parts, kept.first, 0), replace(kept.made, ticket=ticket)

    def _finished(self) -> pb.QueryEnd:
        """Keep the answer, all of which was announced, and return its end."""
        if self._kept is not None:
            self._cache.put(self._key, self._kept)
        return self.account.end()
