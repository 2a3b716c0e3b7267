"""Workers of an ingest: processes, or this one."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_any

import pyarrow as pa

from ..errors import IngestError
from ..stores import ObjectStore, open_store
from .encode import EncodeOptions, StoredPartition, store_range

Task = tuple[tuple[str, str, int], EncodeOptions, int, int]
"""File (path, UUID, entries), options, first entry and end: the arguments of `store_range`."""

_store: ObjectStore | None = None


def store_ranges(
    store: ObjectStore, tasks: Iterable[Task], workers: int
) -> Iterator[tuple[Task, list[StoredPartition]]]:
    """Do the tasks and yield each with its result, in the order in which they end.

    With one worker all is done in this process; with more, in new processes that open the store
    by its URL. Each holds one task's events in memory.

    Raises
    ------
    IngestError
        If a file cannot be read, or a worker process died.
    StoreError
        If the store fails or is full.
    """
    if workers <= 1:
        for task in tasks:
            yield task, store_range(store, *task)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(store.url,))
    try:
        yield from _in_window(pool, tasks, 2 * workers)
    except BrokenProcessPool as error:
        raise IngestError("a worker process died; was it killed for its memory use?") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_window(
    pool: ProcessPoolExecutor, tasks: Iterable[Task], ahead: int
) -> Iterator[tuple[Task, list[StoredPartition]]]:
    """Submit at most `ahead` tasks at a time; yield what ends."""
    running: dict[Future[list[StoredPartition]], Task] = {}
    for task in tasks:
        running[pool.submit(_work, task)] = task
        if len(running) >= ahead:
            yield from _ended(running)
    while running:
        yield from _ended(running)


def _ended(
    running: dict[Future[list[StoredPartition]], Task],
) -> Iterator[tuple[Task, list[StoredPartition]]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


def _begin_worker(url: str) -> None:
    """Set up a worker process: one thread, one store, and an end when the parent ends."""
    global _store
    pa.set_cpu_count(1)
    _store = open_store(url)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_any([parent.sentinel])
        os._exit(1)


def _work(task: Task) -> list[StoredPartition]:
    assert _store is not None
    return store_range(_store, *task)
