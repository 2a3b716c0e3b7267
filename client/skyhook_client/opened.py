"""Clients that are the same for all of a process."""

from __future__ import annotations

from typing import Final

from .client import Client, connect
from .kept import Kept

CLIENTS_MAX: Final = 4
"""Stores that a process keeps open for addresses."""


def opened(store: str | None, catalog: str | None, functions: tuple[str, ...] = ()) -> Client:
    """Return the client of a store or a service; the arguments are those of `connect`."""
    key = store, catalog, functions
    return _clients.get(key, lambda: connect(store, catalog=catalog, functions=functions, progress=False))


_clients: Final[Kept[tuple[str | None, str | None, tuple[str, ...]], Client]] = Kept(CLIENTS_MAX)
