"""The Dask workers that run splits: threads of this process, or a cluster by its address."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import dask
from distributed import Client, KilledWorker, LocalCluster
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from skyhook_casa.errors import ServiceBusy, SkyhookError, StoreError
from skyhook_casa.split import Split
from skyhook_casa.stores import ObjectStore

from .dask_worker import SWEEP_S, places, run_here, run_on_worker
from .logs import get_logger
from .place import Made, Place
from .scheduler import check_certificates, unreachable
from .shelf import Shelf

if TYPE_CHECKING:
    from .flight import Relay
    from .settings import Settings

ALLOWED_DEATHS: Final = 3
"""Workers that may die at a split before it is given up."""
CLUSTER_S: Final = 30.0
"""How long a split waits for a cluster that went away to come back."""
GATHERS: Final = 1024
"""Splits of which the ends are being asked for at once."""
DROPS: Final = 4
"""Workers that are told at once to free answers."""
POLL_S: Final = 1.0
"""How often the size of a cluster is asked for."""
LOOPBACK: Final = "127.0.0.1:0"
"""Where the workers of this process show what they do: they cannot be told to show nothing."""
CALM: Final = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.scheduler.work-stealing": False,
}
"""Dask in this process watches itself less: an idle service takes no CPU. Its profiler must be off: it calls
`sys._current_frames`, which in CPython 3.11 never returns if garbage collected in it ends a thread."""
REMOTE_THREADS: Final = 4
"""Least threads where the storage computes: they mostly wait."""

_log = get_logger(__name__)


class Cluster:
    """Runs splits on Dask workers, and frees their answers. Belongs to one event loop.

    Parameters
    ----------
    settings : Settings
        Where the workers are, and how many.
    store : ObjectStore
        Where the objects are; workers in other processes open it by its URL.
    shelf : Shelf
        Where answers that are made in this process wait.
    relay : Relay
        Connections to workers in other processes.
    threads : int
        Threads of the workers in this process.
    """

    def __init__(
        self, settings: Settings, store: ObjectStore, shelf: Shelf, relay: Relay, threads: int
    ) -> None:
        self.place = Place(shelf)
        self.place.add_store(store)
        self._settings = settings
        self._store = store
        self._relay = relay
        self._key = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._cancelled: set[str] = set()
        self._executor = ThreadPoolExecutor(threads, "split")
        self._client: Any = None
        self._cluster: Any = None
        self._own_threads = threads
        self._drop_executor = ThreadPoolExecutor(DROPS, "drop")
        self._dropping: dict[str, list[bytes]] = {}
        self._drops: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()
        self._hanging: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._connecting = asyncio.Lock()
        self.locations: dict[bytes, str] = {}
        """Where the splits are that workers in other processes hold, by their tickets."""
        self.threads = threads
        """Of all workers together."""
        self.workers = 1
        """Processes."""

    @property
    def is_local(self) -> bool:
        """Whether the workers are threads of this process."""
        return self._settings.dask == "local"

    async def start(self) -> None:
        """Connect to the workers.

        Raises
        ------
        InvalidRequest
            If the scheduler is to be reached by TLS, and there are no certificates.
        StoreError
            If there is no scheduler at the address; AccessDenied if it or we do not trust the other's
            certificate.
        """
        check_certificates(self._settings.dask)
        places[self._key] = self.place
        if self.is_local:
            with dask.config.set(CALM):
                self._cluster = await LocalCluster(
                    n_workers=1,
                    threads_per_worker=self._own_threads,
                    executor=self._executor,  # the same threads for splits with and without a task
                    processes=False,
                    asynchronous=True,
                    dashboard_address=LOOPBACK,
                    worker_dashboard_address=LOOPBACK,
                    protocol="inproc://",
                    memory_limit=0,
                )
        await self._connect()
        if not self.is_local:
            self._tasks.append(asyncio.create_task(self._watch()))
        self._tasks.append(asyncio.create_task(self._sweep()))

    async def close(self) -> None:
        """Leave the workers; those of this process end."""
        for task in (*self._tasks, *self._drops, *self._hanging.values()):
            task.cancel()
        if self._client is not None:
            await self._client.close()
        if self._cluster is not None:
            await self._cluster.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._drop_executor.shutdown(wait=False, cancel_futures=True)
        places.pop(self._key, None)

    async def run(self, split: Split, direct: bool = False) -> Made:
        """Run a split.

        Parameters
        ----------
        direct : bool
            Whether it goes without a task, in this process: giving it to a worker takes some milliseconds.

        Raises
        ------
        SkyhookError
            What the split raised; StoreError if its workers died, ServiceBusy if there are none.
        """
        if direct:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self.run_here, split)
        arguments = (split.encode(), self._store.url)
        patience = AsyncRetrying(
            retry=retry_if_exception_type(ServiceBusy),
            stop=stop_after_delay(CLUSTER_S),
            wait=wait_fixed(POLL_S),
            reraise=True,
        )
        made: Made = await patience(self._run_task, split.query_id, arguments)
        if made.location:
            self.locations[made.ticket] = made.location
        return made

    def cancel(self, query_id: str) -> None:
        """End the splits of a query that run in this process, at the end of their partition."""
        self._cancelled.add(query_id)

    def forget(self, query_id: str) -> None:
        """Forget a query: none of its splits runs any more."""
        self._cancelled.discard(query_id)
        self.place.forget(query_id)

    def release(self, made: Iterable[Made]) -> None:
        """Free answers, wherever they are: elsewhere soon, for a worker may be slow or gone."""
        for one in made:
            if not one.ticket:
                continue
            self.locations.pop(one.ticket, None)
            if not one.location:
                self.place.shelf.drop([one.ticket])
            elif one.location in self._dropping:
                self._dropping[one.location].append(one.ticket)
            else:
                self._dropping[one.location] = [one.ticket]
                task = asyncio.create_task(self._drop(one.location))
                self._drops.add(task)
                task.add_done_callback(self._drops.discard)

    async def _drop(self, location: str) -> None:
        """Free answers that a worker holds, until there are no more to be freed."""
        loop = asyncio.get_running_loop()
        try:
            while tickets := self._dropping[location]:
                self._dropping[location] = []
                await loop.run_in_executor(self._drop_executor, self._relay.drop, location, tickets)
        except StoreError as error:  # what a worker holds that went on is dropped by it in time
            _log.warning("worker_lost", location=location, error=str(error))
        finally:
            del self._dropping[location]

    def run_here(self, split: Split) -> Made:
        """Run a split in this thread. Raises as `run_split` does."""
        query_id = split.query_id
        cancelled = self._cancelled.__contains__
        return self.place.run(split, self._store.url, lambda: cancelled(query_id))

    # -- tasks ------------------------------------------------------------------------------
    async def _run_task(self, query_id: str, arguments: tuple[bytes, str]) -> Made:
        futures = [self._submit(query_id, arguments)]
        waiting = [asyncio.ensure_future(futures[0].result())]
        try:
            while True:
                done, _ = await asyncio.wait(
                    waiting, timeout=self._settings.hang_s, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return self._result(done.pop())
                twin = await self._twin(futures, query_id, arguments)
                if twin is not None:
                    futures.append(twin)
                    waiting.append(asyncio.ensure_future(twin.result()))
        finally:
            for one in waiting:
                one.cancel()
            for future in futures:
                future.release()

    def _result(self, done: asyncio.Future[Made]) -> Made:
        """Return what a task gave, or raise what its end means."""
        try:
            return done.result()
        except SkyhookError:
            raise
        except asyncio.CancelledError as error:  # Dask's own: nobody here cancels a task that is done
            raise ServiceBusy(f"the Dask cluster at {self._settings.dask} lost a split", 2.0) from error
        except Exception as error:
            raise self._explained(error) from error

    def _submit(self, query_id: str, arguments: tuple[bytes, str], **options: Any) -> Any:
        if self._client is None or self._client.status != "running":
            raise ServiceBusy(f"the Dask cluster at {self._settings.dask} is away", retry_after_s=2.0)
        if self._hanging and not options:
            options = {"workers": sorted(self._known - self._hanging.keys()), "allow_other_workers": True}
        options |= {"key": f"skyhook-{query_id}-{next(self._numbers)}", "pure": False}
        if self.is_local:
            return self._client.submit(run_here, self._key, *arguments, **options)
        settings = self._settings
        where = (settings.worker_flight_host, settings.ticket_s)
        return self._client.submit(run_on_worker, *where, *arguments, **options)

    async def _twin(self, futures: list[Any], query_id: str, arguments: tuple[bytes, str]) -> Any:
        """Give a split that does not come back to another worker too; None if there is none."""
        at_work, made = await asyncio.gather(self._client.processing(), self._client.who_has(futures))
        keys = {future.key for future in futures}
        busy = {worker for worker, found in at_work.items() if keys & {str(key) for key in found}}
        # Or it was made, but the worker does not hand it out.
        busy.update(worker for holders in made.values() for worker in holders)
        for worker in busy - self._hanging.keys():
            self._hanging[worker] = asyncio.create_task(self._until_it_answers(worker))
        others = sorted(set(at_work) - self._hanging.keys())
        if not busy or not others:
            return None
        _log.warning("split_hangs", query_id=query_id, workers=sorted(busy), others=len(others))
        return self._submit(query_id, arguments, workers=others, allow_other_workers=False)

    async def _until_it_answers(self, worker: str) -> None:
        """Let splits be given to others while a worker hangs: until it runs something, or is gone."""
        key = f"skyhook-ping-{next(self._numbers)}"
        ping = self._client.submit(
            bool, key=key, pure=False, workers=[worker], allow_other_workers=False, priority=1
        )
        try:
            while worker in self._known and ping.status == "pending":
                await asyncio.sleep(POLL_S)
        finally:
            ping.release()
            del self._hanging[worker]

    def _explained(self, error: Exception) -> SkyhookError:
        """Return what a failure of Dask means."""
        if isinstance(error, KilledWorker):
            return StoreError(f"a part of the query ended {ALLOWED_DEATHS} workers that ran it: {error}")
        if self._client.status != "running":
            return ServiceBusy(f"the Dask cluster at {self._settings.dask} went away", retry_after_s=2.0)
        return StoreError(f"a part of the query failed on a worker: {type(error).__name__}: {error}")

    # -- the cluster ------------------------------------------------------------------------
    async def _connect(self) -> None:
        address = self._cluster if self.is_local else self._settings.dask
        try:
            self._client = await Client(address, asynchronous=True, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise unreachable(self._settings.dask, error) from error
        # A few workers that hang must not hold up what others made: by default five would.
        self._client._gather_semaphore = asyncio.Semaphore(GATHERS)
        if not self.is_local:
            await self._count()

    async def _watch(self) -> None:
        """Follow the size of the cluster, and find it again when it was lost."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                if self._client.status == "closed":  # until then it looks for the scheduler by itself
                    await self._connect()
                    _log.info("cluster_found", address=self._settings.dask)
                if self._client.status == "running":
                    await self._count()
                else:
                    self.threads = self.workers = 0
            except (OSError, TimeoutError) as error:
                _log.warning("cluster_lost", address=self._settings.dask, error=str(error))

    async def _count(self) -> None:
        threads = await self._client.nthreads()
        self._known = set(threads)
        self.workers, self.threads = len(threads), sum(threads.values())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            dropped = self.place.shelf.sweep()
            if dropped:
                _log.warning("splits_dropped", splits=dropped, why="nobody fetched them in time")
