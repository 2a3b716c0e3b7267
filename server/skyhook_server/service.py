"""The whole service: control plane, data plane, workers, metrics."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from skyhook_casa.errors import StoreError
from skyhook_casa.protocol import delivery_pb2, delivery_pb2_grpc

from .callers import VersionCheck
from .data_plane import DataPlane
from .delivery import Delivery
from .engine import Engine
from .ingest import IngestServicer
from .ingest_jobs import IngestJobs
from .ingest_workers import workers_of
from .logs import get_logger
from .metrics import JOB_STATES, Metrics
from .settings import Settings, split_address

POLL_S: Final = 0.05
"""How often a drain looks whether the queries have ended."""
KEEPALIVE_MS: Final = 20_000
"""After so much silence a client is asked whether it is still there."""
KEEPALIVE_TIMEOUT_MS: Final = 10_000
"""A client that does not answer that for so long is gone."""

_log = get_logger(__name__)


class Service:
    """The delivery service.

    Parameters
    ----------
    settings : Settings
        What it is told.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.engine = Engine(settings, self.metrics)
        store = self.engine.store
        workers = partial(workers_of, settings.dask, store)
        self.jobs = IngestJobs(
            self.engine,
            store,
            workers,
            running_max=settings.ingest_jobs_max,
            functions=settings.function_modules,
        )
        for state in JOB_STATES:
            self.metrics.ingest_jobs.labels(state).set_function(partial(self.jobs.count, state))
        self._server: Any = None
        self._health: Any = None
        self._data_plane: DataPlane | None = None
        self.address = ""
        """Where clients call, ``grpc://host:port``, once it was started."""
        self.metrics_port = 0
        """Port of the metrics, once it was started, if they are wanted."""

    @property
    def flight_port(self) -> int:
        """Port of the data plane, once it was started."""
        assert self._data_plane is not None
        return int(self._data_plane.port)

    async def start(self) -> None:
        """Begin to answer.

        Raises
        ------
        StoreError
            If the workers cannot be reached, or an address cannot be listened on.
        """
        settings = self.settings
        host, _ = split_address(settings.listen)
        await self.engine.start()
        self._data_plane = DataPlane(self.engine, host, settings.flight_port, asyncio.get_running_loop())
        self._server = self._make_server()
        try:
            bound_port = self._server.add_insecure_port(settings.listen)
        except RuntimeError as error:
            raise StoreError(f"cannot listen on {settings.listen}: {error}") from error
        await self._server.start()
        self.jobs.begin()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self.address = f"grpc://{_bracketed(host)}:{bound_port}"
        if settings.metrics_listen is not None:
            metrics_host, metrics_port = split_address(settings.metrics_listen)
            self.metrics_port = self.metrics.serve(metrics_host, metrics_port)
        _log.info("started", address=self.address, flight_port=self.flight_port, store=self.engine.store_name)

    async def stop(self, drain: bool = True) -> None:
        """End: with `drain`, queries that run get `Settings.drain_s` to end first.

        Ingest jobs stop; the next service goes on with them.
        """
        self.engine.dispatcher.drain()
        jobs_stop = asyncio.get_running_loop().run_in_executor(None, self.jobs.stop)
        if self._health is not None:
            await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        if drain:
            await self._drained()
        await jobs_stop
        if self._server is not None:
            await self._server.stop(grace=None)
        await self.engine.close()
        if self._data_plane is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._data_plane.shutdown)
        self.metrics.close()
        _log.info("stopped")

    async def wait(self) -> None:
        """Return when the service has ended."""
        await self._server.wait_for_termination()

    async def _drained(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.drain_s
        while not self.engine.dispatcher.is_idle and loop.time() < deadline:
            await asyncio.sleep(POLL_S)
        left = len(self.engine.dispatcher.runs)
        if left:
            _log.warning("queries_ended", queries=left, why="they took longer than drain_s")

    def _make_server(self) -> Any:
        server = grpc.aio.server(
            interceptors=[VersionCheck()],
            options=[
                ("grpc.max_receive_message_length", int(self.settings.request_bytes_max)),
                ("grpc.max_send_message_length", -1),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 4),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),
            ],
        )
        location = "" if self.settings.advertise is None else self._location(self.settings.advertise)
        delivery = Delivery(self.engine, self.flight_port, location)
        delivery_pb2_grpc.add_DeliveryServicer_to_server(delivery, server)
        ingest = IngestServicer(self.jobs, self.engine.threads)
        delivery_pb2_grpc.add_IngestServicer_to_server(ingest, server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [one.full_name for one in delivery_pb2.DESCRIPTOR.services_by_name.values()]
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection([*names, health_name, reflection.SERVICE_NAME], server)
        return server

    def _location(self, host: str) -> str:
        return f"grpc://{_bracketed(host)}:{self.flight_port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
