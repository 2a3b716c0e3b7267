"""One run of a query for `bench.pushdown`: where it executes, and what it costs on both sides."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import xxhash

from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.ceph_cluster.daemons import cpu_s
from skyhook_casa.scan import REMOTE_THREADS
from skyhook_casa.stores import ByteRange, ObjectStore, open_store
from skyhook_client import connect

EXECUTIONS: Final = ("pushdown", "read", "auto", "plain")
"""`plain`: whole objects are read through the same client, and the engine computes here."""


@dataclass
class Cost:
    """What the repetitions of one query cost."""

    wall_s: list[float] = field(default_factory=list)
    client_cpu_s: list[float] = field(default_factory=list)
    osd_cpu_s: list[float] = field(default_factory=list)
    moved_bytes: int = 0
    pushed: str = ""
    """Parts that ran at least partly in the OSDs, of all."""

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class Answer:
    """What identifies an answer: events, and a checksum of every column's values and offsets."""

    def __init__(self, events: Any) -> None:
        self.events = len(events)
        self.checksums = {name: _checksum(events[name]) for name in events.fields}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.events)


class WholeObjects(ObjectStore):
    """A store of which every object is read as a whole, once by each thread that works on it."""

    def __init__(self, store: ObjectStore) -> None:
        self.url = store.url
        self._store = store
        self._last = threading.local()
        self._lock = threading.Lock()
        self.moved_bytes = 0

    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Return views of the object, which is kept until the thread goes on to another."""
        if getattr(self._last, "name", None) != name:
            self._last.data = None
            self._last.data = memoryview(self._store.read_object(name))
            self._last.name = name
            with self._lock:
                self.moved_bytes += self._last.data.nbytes
        return [self._last.data[where.start : where.stop] for where in ranges]

    def size(self, name: str) -> int:
        """See `ObjectStore.size`."""
        return self._store.size(name)

    def put(self, name: str, data: Any) -> bool:
        """See `ObjectStore.put`."""
        return self._store.put(name, data)

    def list(self) -> Any:
        """See `ObjectStore.list`."""
        return self._store.list()

    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        """See `ObjectStore.delete`."""
        return self._store.delete(name, put_before_s)


class Bench:
    """A cluster that holds the objects, and clients of it."""

    def __init__(self, cluster: Cluster, catalog: str, threads: int | None = None) -> None:
        self.pids = list(cluster.osd_pids().values())
        self.store = open_store(cluster.url)
        self.client = connect(self.store, catalog=catalog, threads=threads, progress=False)
        self._catalog, self._threads = catalog, threads

    def osd_cpu_s(self) -> float:
        """Return the seconds of CPU that the OSDs have used."""
        return sum(map(cpu_s, self.pids))

    def run(self, query: dict[str, Any], execution: str, cost: Cost | None) -> Answer:
        """Run a query, add what it took to `cost`, and return its answer, whose checksums are not timed."""
        client = self.client
        if execution == "plain":
            threads = self._threads or REMOTE_THREADS
            whole = WholeObjects(self.store)
            client = connect(whole, catalog=self._catalog, threads=threads, progress=False)
        osd_s, client_s, start_s = self.osd_cpu_s(), time.process_time(), time.perf_counter()
        asked = client.query(**query, execution="auto" if execution == "plain" else execution)
        events = asked.to_awkward()
        wall_s = time.perf_counter() - start_s
        client_s, osd_s = time.process_time() - client_s, self.osd_cpu_s() - osd_s
        if cost is not None:
            report = asked.report
            cost.wall_s.append(wall_s)
            cost.client_cpu_s.append(client_s)
            cost.osd_cpu_s.append(osd_s)
            cost.moved_bytes = whole.moved_bytes if execution == "plain" else report.bytes_moved
            cost.pushed = f"{report.partitions_pushed}/{report.partitions_done}"
        return Answer(events)


ORDERS: Final = ((0, 1, 3, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1))
"""Orders in which each execution follows each other one once: a plain read empties the OSDs' caches."""


def compare(
    bench: Bench, query: dict[str, Any], executions: Sequence[str], repetitions: int
) -> tuple[int, dict[str, Cost]]:
    """Return the events of the answer and what each execution costs, run in turn after an untimed pass.

    The order changes from repetition to repetition, so that each meets the caches as each other leaves them.

    Raises
    ------
    SystemExit
        If two answers differ.
    """
    costs = {execution: Cost() for execution in executions}
    expected = bench.run(query, executions[0], None)
    for repetition in range(-1, repetitions):
        order = [executions[place] for place in ORDERS[repetition % len(ORDERS)] if place < len(executions)]
        for execution in order:
            if bench.run(query, execution, costs[execution] if repetition >= 0 else None) != expected:
                raise SystemExit(f"{execution} and {executions[0]} give different answers to {query}")
    return expected.events, costs


def _checksum(column: Any) -> str:
    import awkward as ak

    digest = xxhash.xxh3_64()
    if column.ndim > 1:
        digest.update(np.asarray(ak.num(column), np.int64).tobytes())
        column = ak.flatten(column)
    values = np.asarray(ak.to_numpy(column))
    digest.update(values.dtype.str.encode())
    digest.update(values.tobytes())
    return digest.hexdigest()
