"""What runs queries: the store, the plans, the workers, and everything that is shared by queries."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from skyhook_casa import __version__
from skyhook_casa.catalog import Catalog, DatasetInfo
from skyhook_casa.catalog.place import catalog_address
from skyhook_casa.catalog.remembered import RememberingCatalog
from skyhook_casa.cores import usable_cores
from skyhook_casa.errors import NotFound, ServiceBusy, SkyhookError
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.stores import MemoryStore, open_store
from skyhook_casa.work import Work

from .cluster import REMOTE_THREADS, Cluster
from .dispatcher import Dispatcher
from .flight import Relay
from .logs import get_logger, without_secrets
from .metrics import Metrics, count_of
from .place import Made
from .planner import Planner
from .plans import Prepared
from .query_processes import DEFAULT_MAX, QueryProcesses
from .query_run import QueryRun
from .result_cache import SPLIT_BYTES, ResultCache
from .settings import Settings
from .shelf import Shelf

THREADS: Final = 8
"""Threads for calls that look things up."""
CHORES: Final = 2
"""Calls that may take minutes, such as joining columns, that run at once; more wait and hold up no others."""

Begun = tuple[Prepared, Work | None, Made | None]
"""A plan; what is computed for it, if an answer is wanted at once; and its first split, if that was made."""

_log = get_logger(__name__)


class Engine:
    """Runs queries. Belongs to one event loop.

    Parameters
    ----------
    settings : Settings
        Of the service.
    metrics : Metrics
        What counts queries and their answers.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.store = open_store(settings.store)
        self.store_name = without_secrets(self.store.url)
        self.shelf = Shelf(settings.ticket_s)
        self.relay = Relay()
        cores = usable_cores()
        workers = settings.workers or max(cores, REMOTE_THREADS if self.store.pushes_down else 0)
        self.cluster = Cluster(settings, self.store, self.shelf, self.relay, workers)
        self.dispatcher = Dispatcher(self.cluster, settings)
        self.cache = ResultCache(settings.cache_bytes, min(settings.window_bytes, SPLIT_BYTES))
        self.threads = ThreadPoolExecutor(THREADS, "call")
        most = min(cores, DEFAULT_MAX) if settings.query_processes is None else settings.query_processes
        # What lies in our memory no other process has.
        self.query_processes = QueryProcesses(settings, 0 if isinstance(self.store, MemoryStore) else most)
        self.chores = ThreadPoolExecutor(CHORES, "chore")
        self._began_s = time.monotonic()
        self._catalog: Catalog | None = None
        self.planner = Planner(
            settings, self.store, self.store_name, lambda: self.catalog, self.threads, self.cluster
        )
        self._show(metrics)

    @property
    def catalog(self) -> Catalog:
        """The list of what the store holds.

        Raises
        ------
        NotFound
            If nothing was ingested here yet.
        """
        if self._catalog is None:
            try:
                self._catalog = RememberingCatalog(
                    catalog_address(self.store, self.settings.catalog), create=False
                )
            except NotFound as error:
                raise NotFound(
                    f"there are no datasets in {self.store_name} yet; ingest one first ({error})"
                ) from error
        return self._catalog

    def datasets(self) -> list[DatasetInfo]:
        """Return the latest version of each dataset; none while there is no catalog. It blocks."""
        try:
            catalog = self.catalog
        except NotFound:
            return []
        return catalog.datasets()

    def new_catalog(self) -> Catalog:
        """Return the list of what the store holds; it is made if there is none."""
        if self._catalog is None:
            self._catalog = RememberingCatalog(
                catalog_address(self.store, self.settings.catalog), create=True
            )
        return self._catalog

    async def start(self) -> None:
        """Connect to the workers. Raises as `Cluster.start` does."""
        await self.cluster.start()
        self.dispatcher.start()

    async def close(self) -> None:
        """End what runs."""
        for run in self.dispatcher.runs:
            run.cancel()
        await self.query_processes.close()
        await self.dispatcher.close()
        await self.cluster.close()
        self.relay.close()
        self.planner.close()
        self.chores.shutdown(wait=True, cancel_futures=True)
        self.threads.shutdown(wait=True, cancel_futures=True)

    async def resolve(self, query_id: str, client: str, start: pb.QueryStart) -> pb.QueryPlan:
        """Return what a query would deliver; if it is asked `at_once`, also its answer if that is short.

        Raises
        ------
        SkyhookError
            As `Planner.prepare` does.
        """
        began_s = time.monotonic()
        at_once = start.at_once and not (start.held.whole or start.held.begun)
        new = self.query_processes.take(start) if at_once else None
        known = self.planner.known(start) if new is None else None
        if known is not None and not at_once:
            return known[0].message
        if known is not None and self._is_kept(*known):
            return self._answer(QueryRun(self, query_id, client, *known, start), None, began_s)
        loop = asyncio.get_running_loop()
        try:
            admitted = self.dispatcher.admit(client)
        except ServiceBusy:  # with a run, but not with a plan
            return (await loop.run_in_executor(self.threads, self.planner.prepare, start)).message
        with admitted:
            plan = None if new is None else await self.query_processes.resolve(query_id, client, new)
            if plan is not None:
                return self._passed_on(plan, began_s)
            if self.dispatcher.planning > 1:
                self.query_processes.overlap()
            begin = partial(self._begun, query_id, start, at_once)
            begun = await loop.run_in_executor(self.threads, begin)
        return self._plan(query_id, client, start, begun, began_s)

    def answered(self, query_id: str, client: str, start: pb.QueryStart) -> pb.QueryPlan:
        """Return what `resolve` does for a question `at_once`; it blocks, and any thread may call it."""
        began_s = time.monotonic()
        return self._plan(query_id, client, start, self._begun(query_id, start, True), began_s)

    def _begun(self, query_id: str, start: pb.QueryStart, at_once: bool) -> Begun:
        """Return the plan; work too if there is an answer at once: a kept one, or the first split."""
        if not at_once:
            return self.planner.prepare(start), None, None
        try:
            prepared, work = self.planner.compiled(start)
            if work is None or self._is_kept(prepared, work):
                return prepared, work, None
            if not prepared.is_short:
                return prepared, None, None
            return prepared, work, self.cluster.run_here(prepared.first_split(query_id, work, start))
        except SkyhookError:  # nobody asked for rows yet; who does is told
            return self.planner.prepare(start), None, None

    def _plan(
        self, query_id: str, client: str, start: pb.QueryStart, begun: Begun, began_s: float
    ) -> pb.QueryPlan:
        """Return the plan of what was begun, with the answer if there is one."""
        prepared, work, made = begun
        if work is None:
            return prepared.message
        return self._answer(QueryRun(self, query_id, client, prepared, work, start), made, began_s)

    def _is_kept(self, prepared: Prepared, work: Work) -> bool:
        return self.cache.has_short(prepared.answer_key(work))

    def _answer(self, run: QueryRun, first: Made | None, began_s: float) -> pb.QueryPlan:
        """Return the plan of a run, with the answer if it is all there, and end the run."""
        try:
            plan = run.answer(first)
        finally:
            run.close()
            self.cluster.forget(run.query_id)
        if plan.HasField("answer"):
            self._note("done", time.monotonic() - began_s)
        return plan

    def _passed_on(self, plan: pb.QueryPlan, began_s: float) -> pb.QueryPlan:
        """Return a plan that another process made, and count its answer if it has one."""
        if plan.HasField("answer"):
            seconds = time.monotonic() - began_s
            self.metrics.count_answer(plan.answer, seconds)
            self._note("done", seconds)
        return plan

    def new_query_id(self) -> str:
        """Return a name for a query that no other has."""
        return secrets.token_hex(6)

    @asynccontextmanager
    async def running(self, query_id: str, client: str, start: pb.QueryStart) -> AsyncIterator[QueryRun]:
        """Give a query that runs until the block is left. Raises as `admit` and `Planner.ready` do."""
        outcome, began_s = "failed", time.monotonic()
        try:
            try:
                planning = self.dispatcher.admit(client)
            except SkyhookError:
                outcome = "refused"
                raise
            with planning:
                prepared, work = await self.planner.ready(start)
                run = QueryRun(self, query_id, client, prepared, work, start)
                self.dispatcher.add(run)
            try:
                yield run
                outcome = "done"
            finally:
                self.dispatcher.remove(run)
                run.close()
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        except SkyhookError as error:
            _log.warning("query_failed", kind=error.kind, error=str(error))
            raise
        finally:
            self._note(outcome, time.monotonic() - began_s)

    def status(self) -> pb.ServiceStatus:
        """Return what the service does just now."""
        metrics = self.metrics
        return pb.ServiceStatus(
            server=__version__,
            uptime_s=time.monotonic() - self._began_s,
            draining=self.dispatcher.is_draining,
            workers=self.cluster.workers,
            threads=self.cluster.threads,
            queries=[run.status() for run in self.dispatcher.runs],
            held_bytes=self.dispatcher.held_bytes,
            cache_bytes=self.cache.nbytes,
            cache_hits=count_of(metrics.cache_hits),
            cache_misses=count_of(metrics.cache_misses),
            queries_done=count_of(metrics.queries, "done"),
            queries_failed=count_of(metrics.queries, "failed"),
            queries_refused=count_of(metrics.queries_refused),
        )

    def _note(self, outcome: str, seconds: float) -> None:
        _log.info("query", outcome=outcome, seconds=round(seconds, 4))
        if outcome == "refused":
            self.metrics.queries_refused.inc()
            return
        self.metrics.queries.labels(outcome).inc()
        self.metrics.query_seconds.observe(seconds)

    def _show(self, metrics: Metrics) -> None:
        """Let metrics that are states be looked up when they are asked for."""
        metrics.queries_running.set_function(lambda: len(self.dispatcher.runs))
        metrics.held_bytes.set_function(lambda: self.dispatcher.held_bytes)
        metrics.shelf_bytes.set_function(lambda: self.shelf.nbytes)
        metrics.cache_bytes.set_function(lambda: self.cache.nbytes)
        metrics.query_processes.set_function(lambda: self.query_processes.count)
        metrics.workers.set_function(lambda: self.cluster.workers)
        metrics.worker_threads.set_function(lambda: self.cluster.threads)
