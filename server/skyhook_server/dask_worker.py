"""What happens in a Dask worker."""

from __future__ import annotations

import threading
from typing import Final

from skyhook_casa.errors import StoreError
from skyhook_casa.split import Split

from .place import Made, Place
from .shelf import Shelf

WORKER: Final = "worker"
"""Key of the place of a worker process."""
SWEEP_S: Final = 5.0
"""How often splits that nobody took are dropped."""

places: Final[dict[str, Place]] = {}
"""The places of this process: one in a worker; in a service with workers of its own, one for each service."""
_setting_up = threading.Lock()


def run_task(key: str, payload: bytes, store_url: str) -> Made:
    """Run a split on a Dask worker.

    Raises
    ------
    StoreError
        If the worker was not set up by the service's plugin.
    SkyhookError
        What the split raises.
    """
    place = places.get(key)
    if place is None:
        raise StoreError("the worker was not set up to run splits; was it started by another release?")
    return place.run(Split.decode(payload), store_url)


def set_up_worker(host: str, ticket_s: float) -> None:
    """Make this process a place for splits, once."""
    from .flight import SplitServer

    with _setting_up:
        if WORKER in places:
            return
        shelf = Shelf(ticket_s)
        server = SplitServer(shelf, f"grpc://{host}:0")
        places[WORKER] = Place(shelf, f"grpc://{host}:{server.port}")
    threading.Thread(target=_sweep_for_ever, args=(shelf,), name="sweep", daemon=True).start()


def _sweep_for_ever(shelf: Shelf) -> None:
    pause = threading.Event()
    while not pause.wait(SWEEP_S):
        shelf.sweep()
