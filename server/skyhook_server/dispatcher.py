"""Who gets the next free worker: fair shares for clients and their queries, and limits on both."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from skyhook_casa.errors import ServiceBusy

from .errors import mistake

if TYPE_CHECKING:
    from .cluster import Cluster
    from .line import Piece
    from .query_run import QueryRun
    from .settings import Settings

QUEUED: Final = 1.25
"""Splits that are given out for each thread, so that none waits for its next one."""
THREADS_LEAST: Final = 4
"""Splits that are given to a cluster however small it is: an adaptive one grows by them."""
RETRY_AFTER_S: Final = 1.0
"""When a client that was refused should come again."""

GRACE_S: Final = 2.0
"""How long splits of a query that ended may go on."""


class Dispatcher:
    """Gives the splits of all running queries to the cluster. Belongs to one event loop.

    The next split is one of the client that has fewest splits at work; of its queries, that of the
    one that was served longest ago. Since every split ends its turn soon, a short query does not
    wait for a long one.
    """

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._runs: dict[str, QueryRun] = {}
        self._planned: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._running = 0
        self._turns = itertools.count(1)
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_task: asyncio.Task[None] | None = None
        self._draining = False

    def start(self) -> None:
        """Begin to give out splits."""
        self._pump_task = asyncio.create_task(self._pump())

    async def close(self) -> None:
        """Stop; splits that run come to nothing."""
        if self._pump_task is not None:
            self._pump_task.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def runs(self) -> list[QueryRun]:
        """The queries that run, oldest first."""
        return list(self._runs.values())

    @property
    def held_bytes(self) -> int:
        """Bytes of answers that clients have not taken."""
        return sum(run.held_bytes for run in self.runs)

    @property
    def is_draining(self) -> bool:
        """Whether new queries are refused because the service is about to end."""
        return self._draining

    def drain(self) -> None:
        """Refuse new queries from now on."""
        self._draining = True

    @property
    def is_idle(self) -> bool:
        """Whether no query runs or is being planned."""
        return not self._runs and not self.planning

    @property
    def planning(self) -> int:
        """Queries that are being planned, or answered with their plan."""
        with self._lock:
            return self._planned.total()

    def admit(self, client: str) -> AbstractContextManager[None]:
        """Refuse a new query if there is too much to do; return what counts it while it is planned.

        Any thread may ask.

        Raises
        ------
        ServiceBusy
            If there is; it says when to try again.
        """
        with self._lock:
            self._check_room(client)
            self._planned[client] += 1
        return self._planning(client)

    def _check_room(self, client: str) -> None:
        settings, runs = self._settings, self.runs
        count = len(runs) + self.planning
        own = [run for run in runs if run.client == client]
        own_count = len(own) + self._planned[client]
        if self._draining:
            raise ServiceBusy("the service is about to end and takes no new queries", 5.0)
        if count >= settings.queries_max:
            raise ServiceBusy(f"{count} queries run, as many as the service allows", RETRY_AFTER_S)
        if own_count >= settings.queries_per_client_max:
            raise ServiceBusy(
                f"{own_count} queries of {client} run, as many as one client may", RETRY_AFTER_S
            )
        own_bytes = sum(run.held_bytes for run in own)
        if own_bytes >= settings.client_bytes_max:
            raise ServiceBusy(
                f"{client} has {own_bytes} bytes of answers to take; the limit is "
                f"{int(settings.client_bytes_max)}",
                RETRY_AFTER_S,
            )
        held = self.held_bytes
        if held >= settings.held_bytes_max:
            raise ServiceBusy(
                f"{held} bytes of answers wait for clients; the limit is {int(settings.held_bytes_max)}",
                RETRY_AFTER_S,
            )

    @contextmanager
    def _planning(self, client: str) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock:
                self._planned[client] -= 1
                if not self._planned[client]:
                    del self._planned[client]

    def add(self, run: QueryRun) -> None:
        """Give out the splits of a query, too."""
        self._runs[run.query_id] = run
        self.wake()

    def remove(self, run: QueryRun) -> None:
        """Forget a query."""
        self._runs.pop(run.query_id, None)
        if run.running:
            # They end at the end of their turn; those that no worker has begun until then never do.
            own = [task for task in self._tasks if task.get_name() == run.query_id]
            for task in own:
                asyncio.get_running_loop().call_later(GRACE_S, task.cancel)
        else:
            self._cluster.forget(run.query_id)
        self.wake()

    def wake(self) -> None:
        """Look whether there is something to give out."""
        self._wake.set()

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            for run, piece in self._next():
                self._running += 1
                run.last_served = next(self._turns)
                # A split must be known as running before the next one is chosen.
                run.begin(piece)
                task = asyncio.create_task(self._work(run, piece), name=run.query_id)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _next(self) -> Iterator[tuple[QueryRun, Piece]]:
        while self._running < max(THREADS_LEAST, int(self._cluster.threads * QUEUED)):
            at_work: Counter[str] = Counter()
            for run in self._runs.values():
                at_work[run.client] += run.running
            fair = sorted(self._runs.values(), key=lambda run: (at_work[run.client], run.last_served))
            found = next(((run, piece) for run in fair if (piece := run.take()) is not None), None)
            if found is None:
                return
            yield found

    async def _work(self, run: QueryRun, piece: Piece) -> None:
        try:
            await run.work_on(piece)
        except Exception as error:  # noqa: BLE001
            run.fail(mistake(error))  # nobody must wait for this split for ever
        finally:
            self._running -= 1
            if run.query_id not in self._runs and not run.running:
                self._cluster.forget(run.query_id)
            self.wake()
