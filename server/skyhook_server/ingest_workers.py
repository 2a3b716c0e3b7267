"""Who works for ingest jobs: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from distributed import Client, KilledWorker

from skyhook_casa.errors import SkyhookError, StoreError
from skyhook_casa.ingest.job import choose_workers
from skyhook_casa.ingest.open_files import close_files
from skyhook_casa.ingest.pool import DEATHS_MAX, Call, Workers, make
from skyhook_casa.stores import MemoryStore, ObjectStore

from .logs import get_logger
from .scheduler import unreachable

SHARE: Final = 0.5
"""Of the cluster's threads, that an ingest uses: a query finds the others."""
PRIORITY: Final = -10
"""Below that of queries."""
CONNECT_S: Final = 10.0
CLOSE_S: Final = 5.0
"""How long workers get to close their files; what stays open is closed by the next ingest."""
COUNT_S: Final = 1.0
"""How often the size of the cluster is asked for."""

T = TypeVar("T")
_log = get_logger(__name__)


def workers_of(dask: str, store: ObjectStore, nbytes: int) -> Workers:
    """Return workers for a job.

    Parameters
    ----------
    dask : str
        Address of a Dask scheduler; or `local`: then processes of this machine work, not the threads
        of this process, which queries need.
    nbytes : int
        How much there is to read.
    """
    if dask == "local" or isinstance(store, MemoryStore):
        return choose_workers(None, store, nbytes)
    return DaskWorkers(store, dask)


class DaskWorkers(Workers):
    """Makes the calls of an ingest on Dask workers, which open the store by its URL.

    A call whose worker died is made again by Dask.

    Parameters
    ----------
    store : ObjectStore
        Where objects go.
    address : str
        Of the scheduler.

    Raises
    ------
    StoreError
        If there is no scheduler.
    """

    def __init__(self, store: ObjectStore, address: str) -> None:
        super().__init__(store)
        self._address = address
        try:
            self._client = Client(address, set_as_default=False, timeout=CONNECT_S)
        except (OSError, TimeoutError) as error:
            raise unreachable(address, error) from error
        self._executor = self._client.get_executor(pure=False)
        self._calls_max = 1
        self._counted_s = float("-inf")

    @property
    def calls_max(self) -> int:
        """Half of the threads that there are just now; one if there are none, so that some are started."""
        now_s = time.monotonic()
        if now_s - self._counted_s > COUNT_S:
            try:
                threads = sum(self._client.nthreads().values())
            except (OSError, TimeoutError) as error:
                raise StoreError(f"the Dask scheduler at {self._address} is gone: {error}") from error
            self._calls_max = max(1, int(threads * SHARE))
            self._counted_s = now_s
        return self._calls_max

    def submit(self, call: Call[T]) -> Future[T]:
        """Give a call to Dask."""
        future: Future[T] = self._executor.submit(make_quietly, self.store.url, call, priority=PRIORITY)
        return future

    def deaths(self, error: BaseException) -> int:
        """Return how many workers died of a call that Dask gave up."""
        return DEATHS_MAX if isinstance(error, KilledWorker) else 0

    def close(self) -> None:
        """Leave the cluster: calls that did not begin are not made, and files are closed."""
        try:
            if self._client.status == "running":
                # As `run` does, but without waiting for a worker that hangs.
                work = self._client._run
                self._client.sync(work, close_files, on_error="ignore", callback_timeout=CLOSE_S)
        except (OSError, TimeoutError) as error:
            _log.warning("files_left_open", address=self._address, error=str(error))
        finally:
            self._client.close()


def make_quietly(url: str, call: Call[Any]) -> Any:
    """Make a call in a Dask worker; return an error of ours, for Dask would log it with its arguments."""
    try:
        return make(url, call)
    except SkyhookError as error:
        return error
