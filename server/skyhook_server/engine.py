"""What runs queries: the store, the plans, the workers, and everything that is shared by queries."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from skyhook_casa import __version__
from skyhook_casa.catalog import Catalog, DatasetInfo
from skyhook_casa.catalog.place import catalog_address
from skyhook_casa.catalog.remembered import RememberingCatalog
from skyhook_casa.cores import usable_cores
from skyhook_casa.errors import NotFound, SkyhookError
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.stores import DirectoryStore, MemoryStore, open_store

from .cluster import REMOTE_THREADS, Cluster
from .dispatcher import Dispatcher
from .flight import Relay
from .logs import get_logger, without_secrets
from .metrics import Metrics, count_of
from .planner import Planner
from .query_processes import DEFAULT_MAX, REMOTE_LINKS, QueryProcesses
from .query_run import QueryRun
from .resolver import Resolver
from .result_cache import SPLIT_BYTES, ResultCache
from .settings import Settings
from .shelf import Shelf

THREADS: Final = 8
"""Threads for calls that look things up."""
REPLIES_SHARE: Final = 8
"""One part in so many of the bytes that are kept goes to replies."""
CHORES: Final = 2
"""Calls that may take minutes, such as joining columns, that run at once; more wait and hold up no others."""

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
        reply_bytes = settings.cache_bytes // REPLIES_SHARE
        self.cache = ResultCache(settings.cache_bytes - reply_bytes, min(settings.window_bytes, SPLIT_BYTES))
        self.threads = ThreadPoolExecutor(THREADS, "call")
        most = min(cores, DEFAULT_MAX) if settings.query_processes is None else settings.query_processes
        # What lies in our memory no other process has.
        most = 0 if isinstance(self.store, MemoryStore) else most
        links = 1 if isinstance(self.store, DirectoryStore) else REMOTE_LINKS
        self.query_processes = QueryProcesses(settings, most, links)
        self.chores = ThreadPoolExecutor(CHORES, "chore")
        self._began_s = time.monotonic()
        self._catalog: Catalog | None = None
        self.planner = Planner(
            settings, self.store, self.store_name, lambda: self.catalog, self.threads, self.cluster
        )
        self.resolver = Resolver(self, reply_bytes)
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
        await asyncio.get_running_loop().run_in_executor(None, self.query_processes.close)
        await self.dispatcher.close()
        await self.cluster.close()
        self.relay.close()
        self.planner.close()
        self.chores.shutdown(wait=True, cancel_futures=True)
        self.threads.shutdown(wait=True, cancel_futures=True)

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
            self.note(outcome, time.monotonic() - began_s)

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
            cache_bytes=self.cache.nbytes + self.resolver.replies.nbytes,
            cache_hits=count_of(metrics.cache_hits),
            cache_misses=count_of(metrics.cache_misses),
            queries_done=count_of(metrics.queries, "done"),
            queries_failed=count_of(metrics.queries, "failed"),
            queries_refused=count_of(metrics.queries_refused),
        )

    def note(self, outcome: str, seconds: float) -> None:
        """Log and count a query that ended; any thread may call it."""
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
        metrics.cache_bytes.set_function(lambda: self.cache.nbytes + self.resolver.replies.nbytes)
        metrics.query_processes.set_function(lambda: len(self.query_processes.pids))
        metrics.workers.set_function(lambda: self.cluster.workers)
        metrics.worker_threads.set_function(lambda: self.cluster.threads)
