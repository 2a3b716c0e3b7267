"""From what a client asks to what the workers compute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from skyhook_casa.catalog import Catalog
from skyhook_casa.column_sets.derived import ready
from skyhook_casa.errors import InvalidRequest
from skyhook_casa.execution import check_execution
from skyhook_casa.histogram import count_histograms
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.stores import ObjectStore
from skyhook_casa.work import Work

from .cluster import Cluster
from .plans import Plans, Prepared
from .settings import Settings

DERIVING: Final = 2
"""Queries that may store derived columns at once; more wait, and hold up no others."""


class Planner:
    """Plans and compiles queries, and stores the derived columns that they name first.

    Belongs to one event loop, but for the methods that block: any thread may call those.

    Parameters
    ----------
    settings : Settings
        How many plans are kept, and which functions derived columns may call.
    store : ObjectStore
        Where the objects are.
    store_name : str
        Its address without secrets.
    catalog : callable
        Returns the catalog, once there is one.
    threads : ThreadPoolExecutor
        For what blocks.
    cluster : Cluster
        Derived columns are computed in as many threads as its workers have.
    """

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        store_name: str,
        catalog: Callable[[], Catalog],
        threads: ThreadPoolExecutor,
        cluster: Cluster,
    ) -> None:
        self._settings = settings
        self._store = store
        self._store_name = store_name
        self._catalog = catalog
        self._threads = threads
        self._cluster = cluster
        self._deriving = ThreadPoolExecutor(DERIVING, "derive")
        self._plans: Plans | None = None

    def close(self) -> None:
        """Let what is stored come to its end."""
        self._deriving.shutdown(wait=True, cancel_futures=True)

    def prepare(self, start: pb.QueryStart) -> Prepared:
        """Return the plan of what is asked; it blocks. Raises as `plan` does."""
        self._check(start)
        if self._plans is None:
            self._plans = Plans(self._catalog(), self._settings.plan_cache)
        return self._plans.planned(start.query, start.deliver == pb.QueryStart.COUNT)

    def known(self, start: pb.QueryStart) -> tuple[Prepared, Work] | None:
        """Return plan and work if they are at hand; it does not block."""
        if self._plans is None:
            return None
        prepared = self._plans.known(start.query, start.deliver == pb.QueryStart.COUNT)
        if prepared is None or not prepared.is_compiled or prepared.plan.pending:
            return None
        self._check(start)
        return prepared, _work(prepared, start)

    def compiled(self, start: pb.QueryStart) -> tuple[Prepared, Work | None]:
        """Return plan and work; no work while derived columns are to be stored first. It blocks."""
        with self._catalog().steady():
            prepared = self.prepare(start)
            return prepared, None if prepared.plan.pending else _work(prepared, start)

    async def ready(self, start: pb.QueryStart) -> tuple[Prepared, Work]:
        """Return plan and work, once the derived columns that the query names are stored."""
        known = self.known(start)
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        prepared, work = await loop.run_in_executor(self._threads, self.compiled, start)
        if work is None:
            await loop.run_in_executor(self._deriving, self._derive, prepared)
            prepared = await loop.run_in_executor(self._threads, self.prepare, start)
            work = await loop.run_in_executor(self._threads, _work, prepared, start)
        return prepared, work

    def _derive(self, prepared: Prepared) -> None:
        modules = self._settings.function_modules
        ready(prepared.plan, self._catalog(), self._store, self._cluster.threads, modules)

    def _check(self, start: pb.QueryStart) -> None:
        """Refuse what contradicts itself or the store."""
        check_execution(start.execution or "auto", self._store, self._store_name)
        if (start.deliver == pb.QueryStart.HISTOGRAMS) != bool(start.histograms):
            raise InvalidRequest("histograms are described if, and only if, they are to be delivered")
        count_histograms(start.histograms)  # refuses what describes none


def _work(prepared: Prepared, start: pb.QueryStart) -> Work:
    return prepared.work(start.execution or "auto", start.rows, start.histograms)
