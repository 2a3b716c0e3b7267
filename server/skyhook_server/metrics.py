"""What the service counts, for Prometheus."""

from __future__ import annotations

from threading import Thread
from typing import Final, Literal
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    start_http_server,
)

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.protocol import delivery_pb2 as pb

from .replies import Reply

Outcome = Literal["done", "failed", "cancelled"]
Source = Literal["task", "direct", "cache"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

OUTCOMES: Final[tuple[Outcome, ...]] = ("done", "failed", "cancelled")
SOURCES: Final[tuple[Source, ...]] = ("task", "direct", "cache")
JOB_STATES: Final[tuple[JobState, ...]] = ("queued", "running", "done", "failed", "cancelled")
QUERY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
"""Upper ends of the bins of times, in seconds."""


class Metrics:
    """Counters and gauges of one service, in a registry of their own. Safe to use from many threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.queries = self._counter("queries", "Queries that ended, by outcome.", "outcome", OUTCOMES)
        self.queries_refused = self._counter("queries_refused", "Queries refused, the service being busy.")
        self.queries_resumed = self._counter(
            "queries_resumed", "Queries that go on where a broken stream ended."
        )
        self.queries_running = self._gauge("queries_running", "Queries that run.")
        self.query_seconds = self._histogram("query_seconds", "From the start of a query to its end.")
        self.first_batch_seconds = self._histogram(
            "first_batch_seconds", "From the start of a query to its first split."
        )
        self.splits = self._counter(
            "splits",
            "Splits that came from a task of a worker, without a task, or from the cache.",
            "source",
            SOURCES,
        )
        self.events_delivered = self._counter("events_delivered", "Events in the splits that were announced.")
        self.bytes_delivered = self._counter("bytes_delivered", "Bytes of the splits that were announced.")
        self.held_bytes = self._gauge("held_bytes", "Bytes of answers that clients have not taken yet.")
        self.shelf_bytes = self._gauge("shelf_bytes", "Those of them that lie in the service's memory.")
        self.cache_hits = self._counter("cache_hits", "Queries whose answer was found in the cache.")
        self.cache_misses = self._counter("cache_misses", "Queries whose answer was not there.")
        self.cache_bytes = self._gauge("cache_bytes", "Bytes in the cache.")
        self.query_processes = self._gauge(
            "query_processes", "Processes that plan queries and answer short ones."
        )
        self.workers = self._gauge("workers", "Dask workers.")
        self.worker_threads = self._gauge("worker_threads", "Threads of all workers together.")
        self.ingest_jobs = Gauge(
            "skyhook_ingest_jobs", "Ingest jobs, by state.", ["state"], registry=self.registry
        )
        for state in JOB_STATES:
            self.ingest_jobs.labels(state)
        self._server: tuple[WSGIServer, Thread] | None = None

    def count_answer(self, plan: pb.QueryPlan, seconds: float) -> None:
        """Count the answer, if there is one, of a plan that another process made, which keeps none."""
        if plan.HasField("answer"):
            self.cache_misses.inc()
            splits = plan.answer.splits
            events, nbytes = (sum(one.events for one in splits), sum(one.nbytes for one in splits))
            self._count_splits("direct", plan.answer.end.report.splits, events, nbytes, seconds)

    def count_reply(self, reply: Reply, seconds: float) -> None:
        """Count an answer that was given before, word for word."""
        self.cache_hits.inc()
        self._count_splits("cache", reply.splits, reply.events, reply.nbytes, seconds)

    def _count_splits(self, source: Source, splits: int, events: int, nbytes: int, seconds: float) -> None:
        self.first_batch_seconds.observe(seconds)
        self.splits.labels(source).inc(splits)
        self.events_delivered.inc(events)
        self.bytes_delivered.inc(nbytes)

    def text(self) -> str:
        """Return all values in the form that Prometheus reads."""
        return generate_latest(self.registry).decode()

    def serve(self, host: str, port: int) -> int:
        """Answer HTTP requests in a thread, and return the port (that was chosen for port 0).

        Raises
        ------
        InvalidRequest
            If the port is taken, or the host is not one of this machine.
        """
        try:
            self._server = start_http_server(port, host, self.registry)
        except OSError as error:
            raise InvalidRequest(f"metrics cannot be served at {host}:{port}: {error}") from error
        return int(self._server[0].server_port)

    def close(self) -> None:
        """End the thread that answers; nothing happens if there is none."""
        if self._server is None:
            return
        server, thread = self._server
        server.shutdown()
        server.server_close()
        thread.join()
        self._server = None

    def _counter(self, name: str, what: str, label: str = "", values: tuple[str, ...] = ()) -> Counter:
        found = Counter(f"skyhook_{name}", what, [label] if label else [], registry=self.registry)
        for value in values:
            found.labels(value)  # so that it is there as zero from the beginning
        return found

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"skyhook_{name}", what, registry=self.registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(f"skyhook_{name}", what, buckets=QUERY_SECONDS, registry=self.registry)


def count_of(counter: Counter, label: str = "") -> int:
    """Return what a counter counted; with a label, of the things that have it."""
    counted = next(iter(counter.collect())).samples
    return sum(
        int(one.value)
        for one in counted
        if one.name.endswith("_total") and (not label or label in one.labels.values())
    )
