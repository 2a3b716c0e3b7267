"""Workers of an ingest: this process, others of this machine, or whatever takes calls as futures."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import wait as wait_for_any
from typing import Any, Final, Generic, TypeVar

import pyarrow as pa

from ..errors import IngestError, QueryCancelled, SkyhookError, StoreError
from ..processes import fresh_processes
from ..stores import ObjectStore, open_store
from .open_files import close_files

AHEAD: Final = 2
"""Calls that are given out for each worker, so that none waits for its next one."""
DEATHS_MAX: Final = 3
"""A call at which so many workers died is not made again."""
POLL_S: Final = 0.1
"""How often a wait looks whether the ingest was cancelled."""
STORES_MAX: Final = 4
"""Most stores that a worker keeps open."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[T]):
    """A call that a worker makes."""

    path: str
    """The file that it is about."""
    function: Callable[..., T]
    """Of a module, so that other processes find it."""
    arguments: tuple[Any, ...]
    stores: bool = False
    """Whether the store goes before the arguments."""


def never() -> bool:
    """Return False: nobody cancels."""
    return False


class Workers(ABC):
    """Make calls side by side. A context manager: leaving it ends what it started.

    Parameters
    ----------
    store : ObjectStore
        Where objects go.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def __enter__(self) -> Workers:
        """Return the workers."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the workers back; calls that did not begin are not made."""
        self.close()

    @property
    @abstractmethod
    def calls_max(self) -> int:
        """Calls worth giving out at once; may change at any time."""

    @abstractmethod
    def submit(self, call: Call[T]) -> Future[T]:
        """Begin a call, or queue it for a worker."""

    def near(self, calls: int) -> Workers:
        """Return who makes so few calls soonest: this process, if others are still to start."""
        return self

    def close(self) -> None:  # noqa: B027 - there may be nothing to give back
        """Give the workers back."""

    def deaths(self, error: BaseException) -> int:
        """Return how many workers died at the call that gave `error`: 0 if it is another error."""
        return 0

    def run(
        self, calls: Iterable[Call[T]], cancelled: Callable[[], bool] = never
    ) -> Iterator[tuple[Call[T], T | IngestError]]:
        """Make calls; yield each with what it returned, as they end.

        A call is taken from `calls` when a worker is free for it. One at which a worker died is
        made again; then it is the only one, for several may have been at work.

        Parameters
        ----------
        cancelled : callable
            Whether to stop. Calls that were made meanwhile are yielded first.

        Yields
        ------
        (Call, result or IngestError)
            The error if the file is to blame.

        Raises
        ------
        QueryCancelled
            If `cancelled` said so.
        SkyhookError
            What a call raised, but for `IngestError`.
        """
        waiting, suspects = iter(calls), deque[Call[T]]()
        running: dict[Future[T], Call[T]] = {}
        deaths: Counter[Call[T]] = Counter()
        try:
            while self._fill(running, suspects, waiting):
                for future in wait(running, POLL_S, FIRST_COMPLETED).done:
                    call = running.pop(future)
                    error = _error(future)
                    died = 0 if error is None else self.deaths(error)
                    deaths[call] += died
                    if died and deaths[call] < DEATHS_MAX:
                        suspects.append(call)
                    elif died:
                        yield call, _killed(call.path, deaths[call])
                    elif isinstance(error, IngestError):
                        yield call, error
                    elif error is not None:
                        raise error
                    else:
                        yield call, future.result()
                if cancelled():
                    raise QueryCancelled("the work was cancelled; a retry makes what is missing")
        finally:
            for future in running:
                future.cancel()

    def _fill(
        self, running: dict[Future[T], Call[T]], suspects: deque[Call[T]], waiting: Iterator[Call[T]]
    ) -> bool:
        """Give out calls; return whether any are running."""
        if suspects and not running:
            call = suspects.popleft()
            running[self.submit(call)] = call
        while not suspects and len(running) < self.calls_max:
            more = next(waiting, None)
            if more is None:
                break
            running[self.submit(more)] = more
        return bool(running)


class ThisProcess(Workers):
    """Makes each call at once, in the thread that asks for it."""

    @property
    def calls_max(self) -> int:
        """One: it is made before `submit` returns."""
        return 1

    def submit(self, call: Call[T]) -> Future[T]:
        """Make a call."""
        future: Future[T] = Future()
        given = (self.store, *call.arguments) if call.stores else call.arguments
        try:
            future.set_result(call.function(*given))
        except SkyhookError as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Close the files that were read."""
        close_files()


class Processes(Workers):
    """Some processes of this machine, which open the store by its URL.

    Parameters
    ----------
    store : ObjectStore
        Where objects go.
    count : int
        How many.
    """

    def __init__(self, store: ObjectStore, count: int) -> None:
        super().__init__(store)
        self._count = count
        self._executor = self._start()

    @property
    def calls_max(self) -> int:
        """Two for each process."""
        return AHEAD * self._count

    def submit(self, call: Call[T]) -> Future[T]:
        """Queue a call; new processes take the place of those that died."""
        with suppress(BrokenProcessPool):
            return self._submit(call)
        self._executor.shutdown(wait=True)
        self._executor = self._start()
        return self._submit(call)

    def near(self, calls: int) -> Workers:
        """Return this process for fewer calls than it has processes."""
        return ThisProcess(self.store) if calls <= self._count else self

    def close(self) -> None:
        """End the processes, once they have made the calls that they began."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        close_files()

    def deaths(self, error: BaseException) -> int:
        """Return 1 if a process died: then all of them end."""
        return int(isinstance(error, BrokenProcessPool))

    def _start(self) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(self._count, fresh_processes(), initializer=_begin_worker)
        for _ in range(self._count):
            executor.submit(os.getpid)  # they start while this process looks at the files
        return executor

    def _submit(self, call: Call[T]) -> Future[T]:
        return self._executor.submit(make, self.store.url, call)


def make(url: str, call: Call[T]) -> T:
    """Make a call in a worker process.

    Parameters
    ----------
    url : str
        Address of the store; it stays open.
    """
    return (
        call.function(_opened_store(url), *call.arguments) if call.stores else call.function(*call.arguments)
    )


@lru_cache(maxsize=STORES_MAX)
def _opened_store(url: str) -> ObjectStore:
    return open_store(url)


def _error(future: Future[Any]) -> BaseException | None:
    """Return the error with which a call ended, raised or given."""
    try:
        error = future.exception()
    except CancelledError as cancelled:
        raise StoreError("the workers were taken away from the ingest; run it again") from cancelled
    if error is None and isinstance(future.result(), SkyhookError):
        error = future.result()
    return error


def _killed(path: str, deaths: int) -> IngestError:
    return IngestError(
        f"{path} cannot be ingested: {deaths} workers died at it; were they killed for their memory use?",
        "Ingest it with a smaller partition_bytes, or give the workers more memory.",
    )


def _begin_worker() -> None:
    """Set up a worker process: one thread, and an end when the parent ends, also by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    wait_for_any([parent.sentinel])
    os._exit(1)
