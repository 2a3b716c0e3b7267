"""The delivery service beside the embedded engine and a bare Flight server.

    python -m bench.service STORE --dataset nano        about four minutes

STORE is a store whose dataset has some million events, such as `bench.data` and `bench.run` leave
in DIR/store. The service is a process of its own, as a user starts it. Every answer is compared
with that of the embedded engine. Print: each figure, its aim, and on which machine.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import awkward as ak
import psutil

import skyhook_casa
from skyhook_client import Client

from .machine import state_machine

WIDE = "run event MET_pt MET_phi Muon_pt Muon_eta Muon_phi Muon_mass Muon_charge Jet_pt".split()
SMALL = ("MET_pt Muon_pt".split(), "MET_pt > {}")
LARGE_TERMS = [
    f"sin({k} * Jet_phi) * cosh(Jet_eta / {k + 1}) * exp(-Jet_pt / {10 * k})" for k in range(1, 17)
]
LARGE_CUT = f"sum({' + '.join(LARGE_TERMS)}) > 1"
"""It takes two cores about a second for four million events."""
REPETITIONS = 5
WARM_S = 4.0
"""How long many users ask before their queries are counted: a service starts processes for them."""
BATCH_BYTES = 3 << 20
"""Of the batches of a stream, as the service has them."""


@contextmanager
def serving(store: str, **settings: Any) -> Iterator[tuple[str, psutil.Process]]:
    """Give the address of a service that runs meanwhile, and its process."""
    environment = {f"SKYHOOK_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "skyhook_casa.cli", "--store", store, "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        command,
        env=os.environ | environment | {"SKYHOOK_SERVE_LOG_LEVEL": "warning"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"grpc://\S+", process.stdout.readline())
        assert found is not None, "the service did not start"
        yield found.group(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def timed(what: Callable[[], Any], count: int = REPETITIONS) -> list[float]:
    """Return the seconds of some runs, after one that is not counted."""
    what()
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - began)
    return seconds


def percentile(seconds: list[float], percent: float) -> float:
    return statistics.quantiles(seconds, n=1000, method="inclusive")[round(percent * 10) - 1]


def show(what: str, value: str, aim: str) -> None:
    print(f"{what:<58} {value:>22}   aim {aim}", flush=True)


# -- small queries ------------------------------------------------------------------------------
def small(client: Client, dataset: str, number: int) -> Any:
    """A query that looks at one partition and delivers few rows, asked anew each time."""
    columns, cut = SMALL
    query = client.query(dataset, columns, cut.format(20 + number % 50), limit=1 + number % 20)
    return query.to_awkward()


def fresh(client: Client, dataset: str, number: int) -> Any:
    """The same, and a query that nobody asked before."""
    columns, cut = SMALL
    query = client.query(dataset, columns, cut.format(20 + number / 1e9), limit=1 + number % 20)
    return query.to_awkward()


ASKS = {"some small queries again and again": small, "small queries that are all different": fresh}


def repeated(client: Client, dataset: str) -> Any:
    columns, cut = SMALL
    return client.query(dataset, columns, cut.format(40), limit=10).to_awkward()


def bench_latency(remote: Client, embedded: Client, dataset: str, count: int = 400) -> None:
    offset = 900_000_000  # beyond the numbers of `bench_concurrent`
    for label, ask in (
        ("a new small query each time", lambda client, n: fresh(client, dataset, n + offset)),
        ("the same small query", lambda client, n: repeated(client, dataset)),
    ):
        for number in range(50):
            assert ak.array_equal(ask(remote, number), ask(embedded, number))
        taken: dict[str, list[float]] = {}
        for name, client in (("service", remote), ("embedded", embedded)):
            found = []
            for number in range(count):
                began = time.perf_counter()
                ask(client, number)
                found.append(time.perf_counter() - began)
            taken[name] = found
            p50, p99 = (1000 * percentile(found, percent) for percent in (50, 99))
            show(f"{label}, {name}: p50, p99", f"{p50:.2f}, {p99:.2f} ms", "10, 40 ms")


def bench_concurrent(
    remote: Client, process: psutil.Process, store: str, dataset: str, users: int = 32, seconds: float = 8.0
) -> None:
    """Compare what many users get from the service with what each core gets from the embedded engine.

    The users have no cores of their own. What the service alone takes for a query says what it could
    answer if they had.
    """
    cores = len(os.sched_getaffinity(0))
    for what in ASKS:
        command = [sys.executable, "-m", "bench.service", "--user"]
        cpu_s, done = _cpu_s(process), remote.status().queries_done
        served = _throughput([*command, remote.url, dataset, what], cores, users, seconds)
        cpu_ms = 1000 * (_cpu_s(process) - cpu_s) / (remote.status().queries_done - done)
        alone = _throughput([*command, store, dataset, what], cores, cores, seconds)
        show(f"{users} users, {what}:", "", "")
        show(f"  service, {cores} embedded", f"{served:.0f}, {alone:.0f} /s", "")
        show("  ratio", f"{served / alone:.2f}", "0.8")
        show(
            "  a query: service without its users, embedded",
            f"{cpu_ms:.2f}, {1000 * cores / alone:.2f} ms",
            "",
        )


def _cpu_s(process: psutil.Process) -> float:
    """Return the processor time that a process and its children have taken."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _throughput(command: list[str], processes: int, users: int, seconds: float) -> float:
    """Return queries a second of `users` that are threads of some processes."""
    each = [str(users // processes), str(seconds)]
    running = [
        subprocess.Popen([*command, *each, str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def run_user(address: str, dataset: str, what: str, threads: int, seconds: float, process: int) -> None:
    """Ask small queries for some time, and `WARM_S` before it; print how many a second were answered."""
    asked = ASKS[what]
    first = process * 100_000_000
    own = None if address.startswith("grpc:") else 1
    client = skyhook_casa.connect(address, threads=own, progress=False)
    for number in range(10):
        small(client, dataset, number)
    begin = time.monotonic() + WARM_S

    def ask(start: int) -> int:
        done = warm = 0
        while time.monotonic() < begin + seconds:
            asked(client, dataset, start + done)
            done += 1
            warm += time.monotonic() < begin
        return done - warm

    with ThreadPoolExecutor(threads) as pool:
        print(sum(pool.map(ask, range(first, first + 1_000_000 * threads, 1_000_000))) / seconds)


# -- large answers ------------------------------------------------------------------------------
def bench_wide(remote: Client, embedded: Client, dataset: str) -> None:
    """Compare delivery with a bare Flight server that has the same batches in memory.

    Both as they come: a bare client too is given one record batch after the other. And both in one
    piece, which no Flight client has without copying: there the bare one is joined in Arrow.
    """
    asked = [client.query(dataset, WIDE) for client in (remote, embedded)]
    assert ak.array_equal(*(query.to_awkward() for query in asked))
    nbytes = sum(batch.nbytes for batch in asked[1].stream(BATCH_BYTES))
    with bare_flight(embedded.url, dataset) as read:
        streamed = best_of(
            lambda: _drain(asked[0]),
            lambda: sum(chunk.data.num_rows for chunk in read()),
            lambda: _drain(asked[1]),
        )
        cached = asked[0].report.splits_cached == asked[0].report.splits
        whole = best_of(
            lambda: asked[0].to_awkward(),
            lambda: read().read_all().combine_chunks(),
            lambda: asked[1].to_awkward(),
        )
    what = "kept by the service" if cached else "scanned by the service"
    for how, seconds, aim in (("batch by batch", streamed, "0.7"), ("in one piece", whole, "")):
        rates = ", ".join(f"{nbytes / one / 1e9:.2f}" for one in seconds)
        show(f"{nbytes / 1e6:.0f} MB {what}, {how}: service, bare, embedded", f"{rates} GB/s", "")
        show("  ratio of service and bare Flight", f"{seconds[1] / seconds[0]:.2f}", aim)


def best_of(*what: Callable[[], Any]) -> list[float]:
    """Return the least seconds of each function, called in turn so that all meet the same conditions."""
    rounds = []
    for number in range(2 * REPETITIONS + 1):
        taken = []
        for one in what:
            began = time.perf_counter()
            one()
            taken.append(time.perf_counter() - began)
        if number:
            rounds.append(taken)
    return [min(column) for column in zip(*rounds, strict=True)]


def _drain(query: Any) -> int:
    return sum(batch.events for batch in query.stream(BATCH_BYTES))


@contextmanager
def bare_flight(store: str, dataset: str) -> Iterator[Callable[[], Any]]:
    """Give what begins to read all batches from a Flight server that does nothing else."""
    import pyarrow.flight as fl

    command = [sys.executable, "-m", "bench.service", "--bare", store, dataset]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        client = fl.connect(f"grpc://127.0.0.1:{int(process.stdout.readline())}")
        yield lambda: client.do_get(fl.Ticket(b""))
    finally:
        process.terminate()
        process.wait()


def run_bare(store: str, dataset: str) -> None:
    """Serve the batches of the wide query, made before."""
    import pyarrow as pa
    import pyarrow.flight as fl

    from skyhook_casa.protocol.batches import wire_form

    query = skyhook_casa.connect(store, progress=False).query(dataset, WIDE)
    form = wire_form(query.outputs)
    table = pa.Table.from_batches([form.to_wire(batch) for batch in query.stream(BATCH_BYTES)], form.schema)

    class Bare(fl.FlightServerBase):  # type: ignore[misc]
        def do_get(self, context: Any, ticket: Any) -> Any:
            return fl.RecordBatchStream(table)

    server = Bare("grpc://127.0.0.1:0")
    print(server.port, flush=True)
    server.serve()


def bench_first(remote: Client, dataset: str) -> None:
    def first() -> None:
        for _ in remote.query(dataset, WIDE, "MET_pt > 1").stream():
            return

    seconds = timed(first)
    show("first batch of a large query", f"{1000 * statistics.median(seconds):.1f} ms", "100 ms")


def bench_second(remote: Client, embedded: Client, dataset: str) -> None:
    """Compare a query that takes the embedded engine about a second."""
    columns = ["MET_pt", "Muon_pt"]

    def ask(client: Client, number: int) -> Any:
        return client.query(dataset, columns, f"{LARGE_CUT} and MET_pt > {5 + number / 1000}").to_awkward()

    assert ak.array_equal(ask(remote, 0), ask(embedded, 0))
    numbers = iter(range(1, 1000))
    served, alone = [], []
    for _ in range(REPETITIONS):
        for found, client in ((served, remote), (alone, embedded)):
            began = time.perf_counter()
            ask(client, next(numbers))
            found.append(time.perf_counter() - began)
    a, b = statistics.median(served), statistics.median(alone)
    show("a long query: service, embedded", f"{a:.3f}, {b:.3f} s", "")
    show("  ratio", f"{a / b:.2f}", "1.15")


def main() -> None:
    if sys.argv[1:2] == ["--bare"]:
        return run_bare(*sys.argv[2:4])
    if sys.argv[1:2] == ["--user"]:
        place, dataset, what, threads, seconds, process = sys.argv[2:8]
        return run_user(place, dataset, what, int(threads), float(seconds), int(process))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store")
    parser.add_argument("--dataset", default="nano")
    parser.add_argument("--parts", default="latency,concurrent,first,long,wide,kept")
    given = parser.parse_args()
    parts = given.parts.split(",")
    state_machine(f"dataset {given.dataset} of a store in a directory")
    embedded = skyhook_casa.connect(given.store, progress=False)
    with serving(given.store) as (address, process):
        remote = skyhook_casa.connect(address, progress=False)
        if "latency" in parts:
            bench_latency(remote, embedded, given.dataset)
        if "concurrent" in parts:
            bench_concurrent(remote, process, given.store, given.dataset)
        if "first" in parts:
            bench_first(remote, given.dataset)
        if "long" in parts:
            bench_second(remote, embedded, given.dataset)
        if "wide" in parts:
            bench_wide(remote, embedded, given.dataset)
    if "kept" in parts:
        with serving(given.store, cache_bytes="6GiB", held_bytes_max="6GiB", client_bytes_max="6GiB") as (
            address,
            _,
        ):
            bench_wide(skyhook_casa.connect(address, progress=False), embedded, given.dataset)


if __name__ == "__main__":
    main()
