"""What happens in a Dask worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from distributed import get_worker

from skyhook_casa.split import Split

from .place import Made, Place
from .shelf import Shelf

SWEEP_S: Final = 5.0
"""How often splits that nobody took are dropped."""

places: Final[dict[str, Place]] = {}
"""The places of the services in this process."""
_worker_places: Final[list[Place]] = []
"""That of a worker process, once it was given something to run."""
_setting_up = threading.Lock()


def run_here(key: str, payload: bytes, store_url: str) -> Made:
    """Run a split in the process of the service. Raises as `run_split` does."""
    return places[key].run(Split.decode(payload), store_url, _released())


def run_on_worker(host: str | None, ticket_s: float, payload: bytes, store_url: str) -> Made:
    """Run a split on a Dask worker, which is set up by its first one.

    Parameters
    ----------
    host : str, optional
        Where its Flight server listens; by default the host by which the cluster knows the worker.
    ticket_s : float
        Seconds after which a split that nobody took is dropped.

    Raises
    ------
    SkyhookError
        What the split raises.
    """
    host = host or urlsplit(get_worker().address).hostname or "127.0.0.1"
    return _worker_place(host, ticket_s).run(Split.decode(payload), store_url, _released())


def _released() -> Callable[[], bool]:
    """Return what tells whether nobody waits for the task of this thread any more.

    Its query may have ended, or another worker was faster. Then nobody else would free its answer.
    """
    worker = get_worker()
    key, tasks = worker.get_current_task(), worker.state.tasks

    def released() -> bool:
        task = tasks.get(key)
        return task is None or task.state == "cancelled"

    return released


def _worker_place(host: str, ticket_s: float) -> Place:
    from .flight import SplitServer

    with _setting_up:
        if not _worker_places:
            shelf = Shelf(ticket_s)
            server = SplitServer(shelf, f"grpc://{host}:0")
            _worker_places.append(Place(shelf, f"grpc://{host}:{server.port}"))
            threading.Thread(target=_sweep_for_ever, args=(shelf,), name="sweep", daemon=True).start()
        return _worker_places[0]


def _sweep_for_ever(shelf: Shelf) -> None:
    pause = threading.Event()
    while not pause.wait(SWEEP_S):
        shelf.sweep()
