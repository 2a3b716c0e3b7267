"""Workers of an ingest: processes, or this one."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_any
from typing import Any, Final, ParamSpec, TypeVar

import pyarrow as pa

from ..errors import IngestError
from ..stores import ObjectStore, open_store
from .encode import EncodeOptions, FileFacts, StoredPartition, close_files, inspect, store_range

Task = tuple[tuple[str, str, int], EncodeOptions, int, int]
"""File (path, UUID, entries), options, first entry and end: the arguments of `store_range`."""
AHEAD: Final = 2
"""Tasks that are given out for each worker, so that none waits for its next one."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_store: ObjectStore | None = None


class _ThisProcess(Executor):
    """Does at once what is submitted."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Workers:
    """Some processes that inspect files and store their events, or this process alone.

    Use it as a context manager. Each process holds the events of one task in memory.

    Parameters
    ----------
    store : ObjectStore
        Where objects go; other processes open it by its URL.
    count : int
        Processes; with 1 all is done in this process.
    """

    def __init__(self, store: ObjectStore, count: int) -> None:
        self._store = store
        self._count = count
        self._executor: Executor = _ThisProcess()
        if count > 1:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(
                count, context, initializer=_begin_worker, initargs=(store.url,)
            )
            for _ in range(count):
                self._executor.submit(os.getpid)  # they start while this process looks at the files

    def __enter__(self) -> Workers:
        """Return the workers."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; what was not begun is not done."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        close_files()

    def inspect(self, paths: Sequence[str], options: EncodeOptions) -> list[FileFacts]:
        """Return what each file holds. Raises as `encode.inspect`."""
        if len(paths) <= self._count:
            return [inspect(path, options) for path in paths]
        with _deaths_reported():
            found = [self._executor.submit(inspect, path, options) for path in paths]
            return [future.result() for future in found]

    def store_ranges(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, list[StoredPartition]]]:
        """Do the tasks; yield each with its result, as they end. Raises as `encode.store_range`."""
        running: dict[Future[list[StoredPartition]], Task] = {}
        with _deaths_reported():
            for task in tasks:
                running[self._submit(task)] = task
                if self._count <= 1 or len(running) >= AHEAD * self._count:
                    yield from _ended(running)
            while running:
                yield from _ended(running)

    def _submit(self, task: Task) -> Future[list[StoredPartition]]:
        if self._count <= 1:
            return self._executor.submit(store_range, self._store, *task)
        return self._executor.submit(_work, task)


def _ended(
    running: dict[Future[list[StoredPartition]], Task],
) -> Iterator[tuple[Task, list[StoredPartition]]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


@contextmanager
def _deaths_reported() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise IngestError("a worker process died; was it killed for its memory use?") from error


def _begin_worker(url: str) -> None:
    """Set up a worker process: one thread, one store, and an end when the parent ends."""
    global _store
    pa.set_cpu_count(1)
    _store = open_store(url)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    wait_for_any([parent.sentinel])
    os._exit(1)


def _work(task: Task) -> list[StoredPartition]:
    assert _store is not None
    return store_range(_store, *task)
