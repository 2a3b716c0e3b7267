"""The plugin that sets up Dask workers for splits, also those that join later."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from distributed import WorkerPlugin

from .dask_worker import set_up_worker


class SplitPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives a worker a shelf and a Flight server.

    Parameters
    ----------
    host : str, optional
        Where to listen; by default the host by which the cluster knows the worker.
    ticket_s : float
        Seconds after which a split that nobody took is dropped.
    """

    name = "skyhook-casa"
    idempotent = True

    def __init__(self, host: str | None, ticket_s: float) -> None:
        self._host = host
        self._ticket_s = ticket_s

    def setup(self, worker: Any) -> None:
        """Set up a worker; once in each process."""
        set_up_worker(self._host or urlsplit(worker.address).hostname or "127.0.0.1", self._ticket_s)
