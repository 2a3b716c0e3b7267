"""A service in this process, so that the tests of queries run through it too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

import skyhook_casa
from skyhook_casa.catalog import Catalog
from skyhook_client import Client

START_S = 60.0
ANSWERERS = ["embedded", "service"]
"""What can answer a client: this process on its own, or a service that runs in it."""


class RunningService:
    """A service that runs in a thread, until it is stopped.

    Parameters
    ----------
    client : Client
        Whose store and catalog it serves; they need not have an address.
    settings
        See `skyhook_server.settings.Settings`.
    """

    def __init__(self, client: Client, **settings: Any) -> None:
        self._ready: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, args=(client, settings), name="service")
        self._thread.start()
        self.address = self._ready.result(START_S)

    def stop(self) -> None:
        """End at once; queries that run fail."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_S)
        assert not self._thread.is_alive()

    def _run(self, client: Client, settings: dict[str, Any]) -> None:
        try:
            asyncio.run(self._serve(client, settings))
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self, client: Client, settings: dict[str, Any]) -> None:
        from skyhook_server import engine
        from skyhook_server.service import Service
        from skyhook_server.settings import Settings

        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(engine, "open_store", lambda _: client.store)
            own = {"store": client.url, "listen": "127.0.0.1:0", "query_processes": 0}
            self.service = service = Service(Settings(**own | settings))
        if client.datasets():
            service.engine._catalog = _catalog_of(client)
        try:
            await service.start()
            self._ready.set_result(service.address)
            await self._stopping.wait()
        finally:
            await service.stop(drain=False)


def _catalog_of(client: Client) -> Catalog:
    """Return what a service would open by itself; a catalog in memory has no other address."""
    from skyhook_casa.catalog.remembered import RememberingCatalog

    in_memory = client.catalog.url == "memory://"
    return client.catalog if in_memory else RememberingCatalog(client.catalog.url, create=False)


@contextmanager
def service_client(client: Client, **settings: Any) -> Iterator[Client]:
    """Give a client of a service of the same store and catalog."""
    service = RunningService(client, workers=2, **settings)
    try:
        with skyhook_casa.connect(service.address, progress=client.progress) as served:
            yield served
    finally:
        service.stop()


@contextmanager
def answered(answerer: str, client: Client, **settings: Any) -> Iterator[Client]:
    """Give an embedded client itself, or one of a service of its store."""
    if answerer == "embedded":
        yield client
    else:
        pytest.importorskip("distributed")
        with service_client(client, **settings) as served:
            yield served
