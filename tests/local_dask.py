"""A Dask cluster of processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ANY_PORT = "127.0.0.1:0"


@contextmanager
def dask_processes(workers: int, place: Path) -> Iterator[Any]:
    """Give a cluster whose workers are processes of one thread, which are started again when they die.

    Parameters
    ----------
    workers : int
        With which it starts.
    place : path
        Where their files go.
    """
    import dask
    from distributed import LocalCluster

    quiet = {"distributed.worker.profile.enabled": False}  # it can stop a worker of CPython 3.11 for good
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=ANY_PORT,
            worker_dashboard_address=ANY_PORT,
            memory_limit=0,
            local_directory=str(place),
        ) as cluster,
    ):
        yield cluster
