"""What queries would deliver, and at once what they deliver, if that is short."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from skyhook_casa.errors import ServiceBusy, SkyhookError
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.work import Work

from .account import Account
from .logs import bound
from .plans import Prepared
from .replies import Replies
from .result_cache import Kept

if TYPE_CHECKING:
    from .engine import Engine

TURNS: Final = 8
"""Questions that are planned and answered in this process at the same time; more wait."""


class Resolver:
    """Resolves queries. It blocks; safe to use from many threads.

    Parameters
    ----------
    engine : Engine
        What runs queries.
    reply_bytes : int
        Bytes of replies that are kept.
    """

    def __init__(self, engine: Engine, reply_bytes: int) -> None:
        self._engine = engine
        self._turns = threading.BoundedSemaphore(TURNS)
        self.replies = Replies(reply_bytes)
        """What is said to those who ask the same again."""

    def reply(self, client: str, asked: bytes) -> bytes:
        """Return what `resolve` does, as messages."""
        engine = self._engine
        query_id, began_s = engine.new_query_id(), time.monotonic()
        with bound(query_id=query_id, client=client):
            state = engine.catalog.state()
            known = self.replies.get(asked, state)
            if known is not None:
                engine.metrics.count_reply(known, time.monotonic() - began_s)
                engine.note("done", time.monotonic() - began_s)
                return known.to(query_id)
            plan = self.resolve(query_id, client, pb.QueryStart.FromString(asked))
            if plan.HasField("answer") and plan.answer.end.report.splits_cached:
                self.replies.put(asked, state, plan)
            message: bytes = plan.SerializeToString()
            return message

    def resolve(self, query_id: str, client: str, start: pb.QueryStart) -> pb.QueryPlan:
        """Return what a query would deliver; if it is asked `at_once`, also its answer if that is short.

        Raises
        ------
        SkyhookError
            As `Planner.prepare` does.
        """
        engine, began_s = self._engine, time.monotonic()
        if not start.at_once or start.held.whole or start.held.begun:
            return engine.planner.prepare(start).message
        new = engine.query_processes.take(start)
        known = engine.planner.known(start) if new is None else None
        plan = None if known is None else self._kept(query_id, *known, start)
        if plan is None:
            try:
                admitted = engine.dispatcher.admit(client)
            except ServiceBusy:  # with an answer, but not with a plan
                return engine.planner.prepare(start).message
            with admitted:
                plan = self._new(query_id, client, start, new)
        if plan.HasField("answer"):
            engine.note("done", time.monotonic() - began_s)
        return plan

    def _new(self, query_id: str, client: str, start: pb.QueryStart, asked: bytes | None) -> pb.QueryPlan:
        """Return the plan, and the answer if it is short, of a question that may go to another process."""
        engine, began_s = self._engine, time.monotonic()
        plan = None if asked is None else engine.query_processes.resolve(query_id, client, asked)
        if plan is not None:
            engine.metrics.count_answer(plan, time.monotonic() - began_s)
            return plan
        if engine.dispatcher.planning > 1:
            engine.query_processes.overlap()
        with self._turns:
            try:
                prepared, work = engine.planner.compiled(start)
                if work is None:
                    return prepared.message
                plan = self._kept(query_id, prepared, work, start)
                return plan or self._short(query_id, prepared, work, start)
            except SkyhookError:  # nobody asked for rows yet; who does is told
                return engine.planner.prepare(start).message

    def _kept(
        self, query_id: str, prepared: Prepared, work: Work, start: pb.QueryStart
    ) -> pb.QueryPlan | None:
        """Return the plan with an answer that was kept; None if there is none."""
        engine = self._engine
        kept = engine.cache.short(prepared.answer_key(work))
        if kept is None:
            return None
        engine.metrics.cache_hits.inc()
        return self._answered(Account(query_id, prepared, work, engine.metrics), kept, start)

    def _short(self, query_id: str, prepared: Prepared, work: Work, start: pb.QueryStart) -> pb.QueryPlan:
        """Return the plan, with the answer if it can be had at once."""
        if not prepared.is_short:
            return prepared.message
        engine = self._engine
        account = Account(query_id, prepared, work, engine.metrics)
        split = prepared.first_split(query_id, work, start)
        try:
            made = engine.cluster.run_here(split)
        finally:
            engine.cluster.forget(query_id)
        if made.ticket or not prepared.ends_with(made.events, made.end):
            engine.cluster.release([made])
            return prepared.message
        engine.metrics.cache_misses.inc()
        engine.cache.put(prepared.answer_key(work), [Kept.of(made, split.first, split.parts)])
        return self._answered(account, [Kept(made, split.first, split.parts, None)], start)

    def _answered(self, account: Account, kept: Sequence[Kept], start: pb.QueryStart) -> pb.QueryPlan:
        """Return a plan with its answer."""
        plan = account.plan()
        for one in kept:
            place = one.first, one.parts[-1].index + 1, one.made
            account.add(*place, "cache" if one.made.report.splits_cached else "direct")
            if start.deliver == pb.QueryStart.BATCHES:
                plan.answer.splits.append(account.split(*place, []))
        plan.answer.end.CopyFrom(account.end())
        return plan
