"""What becomes of queries when workers, services, clients and networks fail: with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from ingest_helpers import write_root
from serve_process import OWN_HOST, ServeProcess, serving
from service_processes import (
    DaskProcesses,
    calling,
    dask,
    memory_bytes,
    proxied,
    random_bytes_to,
)
from waiting import LONG_S, wait_until

pytest.importorskip("distributed")

import skyhook_casa
from skyhook_casa.errors import ServiceBusy, ServiceLost, SkyhookError
from skyhook_casa.protocol import ERROR_KEY, PROTOCOL_KEY
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.delivery_pb2_grpc import DeliveryStub
from skyhook_casa.protocol.errors import from_rpc_error
from skyhook_client import Client
from skyhook_client.remote.channel import Patience

pytestmark = pytest.mark.slow

EVENTS = 200_000
SPLIT_BYTES = 300 << 10
"""Longer than what travels in the event that announces a split: so both planes are used."""
WINDOW_BYTES = 4 * SPLIT_BYTES
HELD_BYTES_MAX = 2 * WINDOW_BYTES
"""A window, and what was at work when it became full."""
SMALL = {
    "SKYHOOK_SERVE_SPLIT_BYTES": str(SPLIT_BYTES),
    "SKYHOOK_SERVE_WINDOW_BYTES": str(WINDOW_BYTES),
    "SKYHOOK_SERVE_CACHE_BYTES": "0",
}
"""So that a query of the sample has many splits, and waits for its client."""
BATCH_BYTES = 100_000
METADATA = [(PROTOCOL_KEY, "1")]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A store with a dataset `flat` of many partitions, and a dataset `empty` without events."""
    place = tmp_path_factory.mktemp("faults")
    client = skyhook_casa.connect(place / "store", threads=2)
    flat = write_root(place / "flat.root", EVENTS)
    client.ingest("flat", flat, partition_bytes=128 << 10, chunk_events=2048, workers=1)
    client.ingest("empty", write_root(place / "empty.root", 0), workers=1)
    return client


@pytest.fixture(scope="module")
def expected(embedded: Client) -> pa.Table:
    """All events."""
    return embedded.query("flat").to_arrow()


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[DaskProcesses]:
    with dask(tmp_path / "dask", workers=2) as cluster:
        yield cluster


@contextmanager
def served_by(
    embedded: Client, place: Path, *flags: str, listen: str = "127.0.0.1:0", **environment: str
) -> Iterator[tuple[ServeProcess, Client]]:
    """Give a service of the store, and a client of it."""
    variables = SMALL | {f"SKYHOOK_SERVE_{name.upper()}": value for name, value in environment.items()}
    with (
        serving(embedded.url, place / "serve.log", *flags, listen=listen, environment=variables) as served,
        skyhook_casa.connect(f"grpc://{served.address}") as client,
    ):
        yield served, client


@pytest.fixture(scope="module")
def served(embedded: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A service with workers of its own, for tests that leave it as it was."""
    with served_by(embedded, tmp_path_factory.mktemp("serve")) as (served, _):
        yield served


@pytest.fixture
def client(served: ServeProcess) -> Iterator[Client]:
    with skyhook_casa.connect(f"grpc://{served.address}") as client:
        yield client


def begin(client: Client, batches: int = 3) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch], Any]:
    """Ask for all events; return the first batches, the rest to come, and the query."""
    query = client.query("flat")
    rest = iter(query.batches(batch_bytes=BATCH_BYTES))
    return [next(rest) for _ in range(batches)], rest, query


def assert_whole(query: Any, batches: list[pa.RecordBatch], expected: pa.Table) -> None:
    """Each event came once and in order, and the report says so."""
    assert pa.Table.from_batches(batches).equals(expected)
    report = query.report
    assert report.partitions_done == report.partitions_planned > 10
    assert report.events_in == report.events_out == EVENTS


def wait_for_nothing(client: Client) -> None:
    """Wait until the service runs nothing and holds nothing."""
    wait_until(
        lambda: not (status := client.status()).queries and not status.held_bytes, "the service is idle"
    )


# -- workers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("delivery", ["direct", "relay"])
def test_a_worker_that_is_killed_costs_no_event(
    embedded: Client, expected: pa.Table, dask_cluster: DaskProcesses, tmp_path: Path, delivery: str
) -> None:
    flags = ("--dask", dask_cluster.address, "--delivery", delivery)
    with served_by(embedded, tmp_path, *flags) as (_, client):
        wait_until(lambda: client.status().workers == 2, "two workers joined")
        batches, rest, query = begin(client)

        dask_cluster.end_worker(dask_cluster.workers[0])
        batches += rest

        assert_whole(query, batches, expected)
        wait_for_nothing(client)


def test_an_answer_goes_on_when_all_workers_were_killed_and_others_join(
    embedded: Client, expected: pa.Table, dask_cluster: DaskProcesses, tmp_path: Path
) -> None:
    with served_by(embedded, tmp_path, "--dask", dask_cluster.address) as (_, client):
        wait_until(lambda: client.status().workers == 2, "two workers joined")
        batches, rest, query = begin(client)

        for worker in list(dask_cluster.workers):
            dask_cluster.end_worker(worker)
        later = threading.Timer(1.0, dask_cluster.add_workers, [2])
        later.start()
        batches += rest
        later.join()

        assert_whole(query, batches, expected)
        wait_for_nothing(client)


def test_batches_in_any_order_come_once_also_if_a_worker_is_killed(
    embedded: Client, expected: pa.Table, dask_cluster: DaskProcesses, tmp_path: Path
) -> None:
    with served_by(embedded, tmp_path, "--dask", dask_cluster.address) as (_, client):
        wait_until(lambda: client.status().workers == 2, "two workers joined")
        rest = client.query("flat").batches(batch_bytes=BATCH_BYTES, ordered=False)
        batches = [next(rest) for _ in range(3)]

        dask_cluster.end_worker(dask_cluster.workers[0])
        batches += rest

        assert pa.Table.from_batches(batches).sort_by("event").equals(expected)


def test_a_query_waits_for_the_first_worker(embedded: Client, expected: pa.Table, tmp_path: Path) -> None:
    """An adaptive cluster starts workers only when there are tasks."""
    with (
        dask(tmp_path / "dask", workers=0) as cluster,
        served_by(embedded, tmp_path, "--dask", cluster.address) as (_, client),
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(client.query("flat").to_arrow)
        wait_until(lambda: client.status().queries, "the query runs")
        cluster.add_workers(1)
        assert asked.result().equals(expected)


def test_a_split_of_a_worker_that_hangs_is_made_by_another(
    embedded: Client,
    expected: pa.Table,
    dask_cluster: DaskProcesses,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its splits cannot be fetched either: the client asks for them again."""
    monkeypatch.setattr("skyhook_client.remote.fetch.FETCH_S", 1.0)
    with served_by(embedded, tmp_path, "--dask", dask_cluster.address, hang_s="0.5") as (_, client):
        wait_until(lambda: client.status().workers == 2, "two workers joined")
        batches, rest, query = begin(client)

        worker = dask_cluster.workers[0]
        worker.send_signal(signal.SIGSTOP)
        batches += rest

        assert_whole(query, batches, expected)
        worker.send_signal(signal.SIGCONT)
        wait_for_nothing(client)


def test_a_cluster_that_is_started_again_goes_on(
    embedded: Client, expected: pa.Table, dask_cluster: DaskProcesses, tmp_path: Path
) -> None:
    """Its address stays the same; its workers are new ones."""
    with served_by(embedded, tmp_path, "--dask", dask_cluster.address) as (_, client):
        wait_until(lambda: client.status().workers == 2, "two workers joined")
        batches, rest, query = begin(client)

        dask_cluster.start_again(workers=1)
        batches += rest

        assert_whole(query, batches, expected)


# -- the service ---------------------------------------------------------------------------------
def test_a_service_that_is_killed_and_started_again_goes_on_where_it_was(
    embedded: Client, expected: pa.Table, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        served, client = stack.enter_context(served_by(embedded, tmp_path, listen=f"{OWN_HOST}:0"))
        batches, rest, query = begin(client)

        served.signal(signal.SIGKILL)
        served.wait()
        again = serving(embedded.url, tmp_path / "again.log", listen=served.address, environment=SMALL)
        stack.enter_context(again)
        batches += rest

        assert_whole(query, batches, expected)
        status = client.status()
        assert status.queries_done == 1


def test_a_service_that_does_not_come_back_is_a_clear_error(
    embedded: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_by(embedded, tmp_path) as (served, client):
        monkeypatch.setattr(client.backend.channel, "patience", Patience(lost_s=0.5))
        _, rest, _ = begin(client)
        served.signal(signal.SIGKILL)
        served.wait()

        with pytest.raises(ServiceLost, match=served.address):
            list(rest)


def test_a_drained_service_ends_the_running_query_and_exits_with_0(
    embedded: Client, expected: pa.Table, dask_cluster: DaskProcesses, tmp_path: Path
) -> None:
    with served_by(embedded, tmp_path, "--dask", dask_cluster.address) as (served, client):
        batches, rest, query = begin(client)

        served.signal(signal.SIGTERM)
        wait_until(lambda: client.status().draining, "the service drains")
        with pytest.raises(grpc.RpcError) as refused:
            list(asked(served, json.dumps({"query": 1, "dataset": "flat"})))
        batches += rest

        assert isinstance(from_rpc_error(refused.value, "here"), ServiceBusy)
        assert_whole(query, batches, expected)
        assert served.wait() == 0


# -- clients -------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_is_ended_leaves_nothing_behind(
    served: ServeProcess, client: Client, tmp_path: Path, number: int
) -> None:
    """No query, and no answer that waits to be taken."""
    with calling(tmp_path / "caller.log", "stream", client.url, "flat", str(BATCH_BYTES)) as caller:
        assert int(caller.line()) > 0
        wait_until(lambda: client.status().held_bytes, "splits wait to be taken")
        assert len(client.status().queries) == 1

        caller.process.send_signal(number)
        assert caller.wait() != 0

        wait_for_nothing(client)


def test_a_stream_that_is_closed_ends_its_query(client: Client) -> None:
    _, rest, _ = begin(client)
    assert client.status().queries

    rest.close()  # type: ignore[attr-defined]

    wait_for_nothing(client)


def test_a_client_that_does_not_read_stops_at_the_window_and_nobody_else(
    served: ServeProcess, client: Client, expected: pa.Table, tmp_path: Path
) -> None:
    with calling(tmp_path / "caller.log", "stream", client.url, "flat", str(BATCH_BYTES)) as caller:
        batches = [int(caller.line())]
        assert client.query("flat", "event").to_arrow().num_rows == EVENTS
        before = memory_bytes(served.process.pid)
        for _ in range(30):
            assert client.query("flat").to_arrow().equals(expected)
            (running,) = client.status().queries
            assert running.held_bytes <= HELD_BYTES_MAX
        assert memory_bytes(served.process.pid) - before < 48 << 20

        while True:
            caller.go_on()
            if (line := caller.line()) == "end":
                break
            batches.append(int(line))
        assert sum(batches) == EVENTS
        assert caller.wait() == 0


def asked(served: ServeProcess, query: str, messages: Any = None, **start: Any) -> Any:
    """Ask as no proper client does; return what is told."""
    channel = grpc.insecure_channel(served.address)
    message = pb.QueryMessage(start=pb.QueryStart(query=query, **start))
    call = DeliveryStub(channel).Query(
        iter([message]) if messages is None else messages(message), metadata=METADATA, timeout=60.0
    )
    try:
        yield from call
    finally:
        call.cancel()
        channel.close()


def test_a_client_that_acknowledges_nothing_is_told_no_more_than_the_window(
    served: ServeProcess, client: Client
) -> None:
    sent: queue.SimpleQueue[pb.QueryMessage | None] = queue.SimpleQueue()

    def messages(start: pb.QueryMessage) -> Iterator[pb.QueryMessage]:
        sent.put(start)
        return iter(sent.get, None)

    events = asked(served, json.dumps({"query": 1, "dataset": "flat"}), messages)
    splits = (event.split for event in events if event.WhichOneof("event") == "split")
    nbytes = number = 0
    while nbytes < WINDOW_BYTES:
        split = next(splits)
        nbytes, number = nbytes + split.nbytes, split.number
    reader = ThreadPoolExecutor(1)
    coming = reader.submit(next, splits)
    for _ in range(20):
        assert client.query("flat", cut="MET_pt > 20").count() > 0  # the service is at work
    wait_until(lambda: not client.status().queries[0].running, "what was at work has ended")
    (running,) = client.status().queries
    assert not coming.done()
    assert running.held_bytes <= HELD_BYTES_MAX

    sent.put(pb.QueryMessage(acknowledge=number))

    assert coming.result(60).number == number + 1
    reader.shutdown()
    sent.put(None)
    events.close()
    wait_for_nothing(client)


# -- many clients --------------------------------------------------------------------------------
def test_a_short_query_ends_before_long_ones_that_came_earlier(embedded: Client, tmp_path: Path) -> None:
    """One worker of one thread; by turns of a millisecond each long query has dozens.

    Their clients leave the last events until the short query has ended: did it have to wait for them,
    it would never end.
    """
    short_ended = threading.Event()

    def ask_long(address: str) -> int:
        events = 0
        with skyhook_casa.connect(address) as client:
            for batch in client.query("flat").batches(batch_bytes=BATCH_BYTES):
                events += batch.num_rows
                if events > EVENTS // 2:
                    assert short_ended.wait(LONG_S)
        return events

    with (
        served_by(embedded, tmp_path, "--workers", "1", turn_s="0.001") as (_, client),
        ThreadPoolExecutor(5) as pool,
    ):
        long = [pool.submit(ask_long, client.url) for _ in range(4)]
        wait_until(lambda: len(client.status().queries) == 4, "the long queries run")
        assert client.query("flat", limit=1).to_arrow().num_rows == 1
        assert len(client.status().queries) == 4
        short_ended.set()
        assert [one.result() for one in long] == [EVENTS] * 4


def test_queries_over_a_limit_wait_until_others_have_ended(
    embedded: Client, expected: pa.Table, tmp_path: Path
) -> None:
    with (
        served_by(embedded, tmp_path, queries_per_client_max="1") as (_, client),
        ThreadPoolExecutor(1) as pool,
    ):
        batches, rest, query = begin(client)
        second = pool.submit(client.query("flat").to_arrow)
        wait_until(lambda: client.status().queries_refused >= 2, "the second query was refused twice")
        assert len(client.status().queries) == 1

        batches += rest

        assert_whole(query, batches, expected)
        assert second.result().equals(expected)


def test_a_query_over_the_limit_of_all_clients_is_a_typed_error(embedded: Client, tmp_path: Path) -> None:
    with served_by(embedded, tmp_path, queries_max="1") as (served, client):
        _, rest, _ = begin(client)
        with pytest.raises(grpc.RpcError) as caught:
            list(asked(served, json.dumps({"query": 1, "dataset": "flat"})))
        refused = from_rpc_error(caught.value, "here")
        assert isinstance(refused, ServiceBusy)
        assert "1 queries run, as many as the service allows" in str(refused)
        assert refused.retry_after_s > 0
        rest.close()  # type: ignore[attr-defined]


LOAD_S = float(os.environ.get("SKYHOOK_LOAD_S", "20"))
"""Two minutes are the full test."""
LOAD_CLIENTS = 64
KILL_EVERY_S = 10.0


def load_questions(embedded: Client) -> str:
    """Queries, each with its number of events and their sum."""
    asked: list[tuple[dict[str, Any], int, int]] = []
    for arguments in (
        {"columns": "event", "cut": "MET_pt > 150"},
        {"columns": "event", "cut": "nMuon >= 3 and any(Muon_pt > 60)"},
        {"columns": "event, MET_pt", "cut": "event < 5000"},
        {"columns": "event, Muon_pt, Jet_pt", "cut": "MET_pt > 60"},
        {"columns": "event", "limit": 1000},
        {"columns": ["event", "run", "MET_pt", "Muon_pt"]},
    ):
        query = {"dataset": "flat", **arguments}
        numbers = embedded.query(**query).to_arrow()["event"].to_numpy()
        asked.append((query, len(numbers), int(numbers.sum())))
    return json.dumps(asked)


def test_64_clients_get_right_answers_while_workers_are_killed(
    embedded: Client, dask_cluster: DaskProcesses, tmp_path: Path
) -> None:
    """Nothing is lost or comes twice, and the service's memory stays flat."""
    processes = 4
    with ExitStack() as stack:
        served, client = stack.enter_context(served_by(embedded, tmp_path, "--dask", dask_cluster.address))
        wait_until(lambda: client.status().workers == 2, "two workers joined")
        arguments = (load_questions(embedded), str(LOAD_CLIENTS // processes), str(LOAD_S))
        callers = [
            stack.enter_context(
                calling(tmp_path / f"caller{number}.log", "load", client.url, *arguments, str(number))
            )
            for number in range(processes)
        ]
        memory = [memory_bytes(served.process.pid)]
        kills = 0
        done = threading.Event()

        def disturb() -> None:
            nonlocal kills
            while not done.wait(KILL_EVERY_S):
                dask_cluster.add_workers(1)
                dask_cluster.end_worker(dask_cluster.workers[0])
                kills += 1
                memory.append(memory_bytes(served.process.pid))

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            told = [json.loads(caller.line()) for caller in callers]
        finally:
            done.set()
            disturbing.join()
        print(f"{LOAD_S:.0f} s, {kills} workers killed, answers {told}, MiB {[m >> 20 for m in memory]}")

        assert [one["wrong"] for one in told] == [[]] * processes
        assert sum(one["answers"] for one in told) >= LOAD_CLIENTS
        assert kills >= 1
        # Until the first kill all clients come; then nothing grows.
        assert max(memory[1:]) - memory[1] < 256 << 20
        wait_for_nothing(client)


# -- answers -------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["local", "dask direct", "dask relay"])
def answering(
    embedded: Client, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Client]:
    """A client of a service with workers of its own, or with those of a cluster."""
    place = tmp_path_factory.mktemp("answering")
    with ExitStack() as stack:
        flags: tuple[str, ...] = ()
        if request.param != "local":
            cluster = stack.enter_context(dask(place / "dask", workers=1))
            flags = ("--dask", cluster.address, "--delivery", request.param.split()[1])
        _, client = stack.enter_context(served_by(embedded, place, *flags))
        yield client


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"columns": "event, Muon_pt", "cut": "nMuon >= 2"},
        {"cut": "MET_pt > 1e9"},
        {"limit": 0},
        {"limit": 1},
        {"limit": 5000, "cut": "MET_pt > 30"},
        {"limit": 10 * EVENTS},
        {"columns": "x, event", "define": {"x": "sum(Muon_pt)"}, "objects": {"Muon": "pt > 10"}},
    ],
    ids=lambda arguments: ", ".join(arguments) or "all",
)
def test_answers_equal_those_without_a_service(
    answering: Client, embedded: Client, arguments: dict[str, Any]
) -> None:
    query, same = answering.query("flat", **arguments), embedded.query("flat", **arguments)
    assert query.to_arrow().equals(same.to_arrow())
    assert (query.report.events_out, query.report.cutflow) == (same.report.events_out, same.report.cutflow)
    assert query.count() == same.count()


def test_histograms_equal_those_without_a_service(answering: Client, embedded: Client) -> None:
    found, same = (
        client.query("flat", cut="nMuon > 0").hist("MET_pt", bins=50, range=(0, 200))
        for client in (answering, embedded)
    )
    assert (found.values(flow=True) == same.values(flow=True)).all()


def test_a_dataset_without_events_has_an_empty_answer(answering: Client, embedded: Client) -> None:
    query = answering.query("empty")
    assert query.to_arrow().equals(embedded.query("empty").to_arrow())
    assert query.count() == 0


def test_splits_longer_than_the_window_come_one_by_one(
    embedded: Client, expected: pa.Table, tmp_path: Path
) -> None:
    """A split ends with a chunk of events, however short it should be."""
    with served_by(embedded, tmp_path, split_bytes="1000", window_bytes="1000") as (_, client):
        batches, rest, query = begin(client)
        assert_whole(query, [*batches, *rest], expected)


def test_an_equal_query_is_answered_from_what_is_kept(
    embedded: Client, expected: pa.Table, tmp_path: Path
) -> None:
    with served_by(embedded, tmp_path, cache_bytes="256MiB") as (_, client):
        first, second = client.query("flat"), client.query("flat")
        assert first.to_arrow().equals(expected)
        assert second.to_arrow().equals(expected)
        assert first.report.splits_cached == 0
        assert second.report.splits_cached == second.report.splits > 3
        assert client.query("flat", limit=10).to_arrow().equals(expected.slice(0, 10))
        assert client.status().cache_hits == 1
        wait_for_nothing(client)


# -- the network ---------------------------------------------------------------------------------
SEEDS = int(os.environ.get("SKYHOOK_CUTS", "100"))
"""Two hundred are the full test."""


def flight_port(served: ServeProcess) -> int:
    with grpc.insecure_channel(served.address) as channel:
        hello = DeliveryStub(channel).Hello(pb.HelloRequest(), metadata=METADATA, timeout=60.0)
    return int(hello.flight_port)


def test_connections_that_are_cut_anywhere_cost_no_event(served: ServeProcess, client: Client) -> None:
    """Of either plane, in either direction, with a reset or an ordinary end."""
    cuts, errors = 0, []
    query = (["event", "run", "MET_pt", "Muon_pt"], f"event < {EVENTS // 3}")
    same = client.query("flat", *query).to_arrow()
    assert same.num_rows == EVENTS // 3
    with proxied(served, flight_port(served)) as (address, control, data):
        for seed in range(SEEDS):
            rng = random.Random(seed)
            with skyhook_casa.connect(address) as cut_off:
                cut_off.backend.channel.patience = Patience(first_s=0.01)
                plane, way = rng.choice([control, data, data]), rng.choice(["up", "down", "down"])
                most = 2000 if way == "up" else 300_000 if plane is control else same.nbytes
                plane.cut_after(int(most ** rng.random()) - 1, way, reset=rng.random() < 0.5)
                before = control.cuts + data.cuts
                try:
                    found = cut_off.query("flat", *query).to_arrow()
                except SkyhookError as error:
                    errors.append(f"seed {seed}: {type(error).__name__}: {error}")
                else:
                    assert found.equals(same), seed
                cuts += control.cuts + data.cuts - before
    print(f"{cuts} cuts, errors: {errors}")
    assert cuts > SEEDS // 2
    assert len(errors) <= SEEDS // 20, errors
    wait_for_nothing(client)


def test_a_network_that_pauses_costs_no_event(served: ServeProcess, expected: pa.Table) -> None:
    with (
        proxied(served, flight_port(served)) as (address, control, data),
        skyhook_casa.connect(address) as client,
    ):
        batches, rest, query = begin(client)
        for proxy in (control, data):
            proxy.hold()
        later = threading.Timer(2.0, lambda: [proxy.let_go() for proxy in (control, data)])
        later.start()
        batches += rest
        later.join()
        assert_whole(query, batches, expected)


# -- what no client sends ------------------------------------------------------------------------
def test_random_bytes_to_both_ports_hurt_nobody(
    served: ServeProcess, client: Client, expected: pa.Table
) -> None:
    ports = [int(served.address.rpartition(":")[2]), flight_port(served)]
    for seed in range(100):
        random_bytes_to("127.0.0.1", ports[seed % 2], seed)
    assert client.query("flat").to_arrow().equals(expected)


def test_a_request_longer_than_the_limit_is_refused(served: ServeProcess, client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(asked(served, "x" * (17 << 20)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.query("flat", "event", limit=1).to_arrow().num_rows == 1


@pytest.mark.parametrize(
    "ticket",
    [b"", b"x", b"\0" * 16, b"query:", b"query:{", b'query:{"query": 1, "dataset": "none"}', b"y" * 70_000],
)
def test_a_wrong_ticket_is_an_error_and_the_service_goes_on(served: ServeProcess, ticket: bytes) -> None:
    with fl.connect(f"grpc://127.0.0.1:{flight_port(served)}") as flight:
        with pytest.raises(pa.ArrowException):
            flight.do_get(fl.Ticket(ticket)).read_all()
        found = flight.do_get(fl.Ticket(b'query:{"query": 1, "dataset": "flat", "limit": 3}')).read_all()
    assert found.num_rows == 3


def test_a_flight_client_that_leaves_in_mid_stream_leaves_nothing_behind(
    served: ServeProcess, client: Client
) -> None:
    with fl.connect(f"grpc://127.0.0.1:{flight_port(served)}") as flight:
        reader = flight.do_get(fl.Ticket(b'query:{"query": 1, "dataset": "flat"}'))
        assert reader.read_chunk().data.num_rows
        assert client.status().queries
        reader.cancel()
        del reader
        wait_for_nothing(client)


FUZZ_INPUTS = int(os.environ.get("SKYHOOK_FUZZ_INPUTS", "3000"))
"""Ten thousand are the full test."""


def mutated(rng: random.Random) -> str:
    """A query that is mostly right."""
    query: dict[str, Any] = {
        "query": 1,
        "dataset": "flat",
        "columns": ["event", "Muon_pt"],
        "cut": "nMuon >= 2 and any((Muon_pt > 20) & (Muon_charge == 1)) or MET_pt / 2 > 30",
        "define": {"x": "sum(Muon_pt ** 2) + MET_pt"},
        "objects": {"Jet": "pt > 30"},
        "fill": {"HLT_mu": False},
        "limit": 10,
    }
    values = [
        None,
        True,
        -1,
        0,
        1.5,
        2**63,
        -(2**70),
        1e308,
        "",
        "x",
        "\0",
        "Muon_pt",
        [],
        {},
        [[]],
        {"a": {}},
    ]
    for _ in range(rng.randrange(3)):
        name = rng.choice([*query, "version", "none", ""])
        if rng.random() < 0.3:
            query.pop(name, None)
        else:
            query[name] = rng.choice([*values, "(" * rng.randrange(2000), "Muon_pt+" * rng.randrange(300)])
    if rng.random() < 0.6 and isinstance(query.get("cut"), str):
        query["cut"] = scrambled(rng, query["cut"], "()[]&|<>=!+-*/%.,'\"0123456789 nMuon_ptanysumé\n")
    text = json.dumps(query)
    return scrambled(rng, text, '{}[]",:\\0e\x00') if rng.random() < 0.4 else text


def scrambled(rng: random.Random, text: str, letters: str) -> str:
    """Some text with some characters changed, dropped, added or doubled."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text) + 1)
        stop = min(len(text), at + rng.choice([0, 0, 1, 1, 5, 30]))
        text = text[:at] + rng.choice(["", rng.choice(letters), text[at:stop] * 2]) + text[stop:]
    return text


def test_queries_that_are_mostly_wrong_are_answered_or_refused(
    served: ServeProcess, client: Client, expected: pa.Table
) -> None:
    """With an error of ours each time, of a kind that says whose fault it is."""
    kinds: dict[str, int] = {}

    async def ask(stub: DeliveryStub, seed: int) -> str:
        rng = random.Random(seed)
        start = pb.QueryStart(query=mutated(rng), deliver=pb.QueryStart.COUNT)
        if rng.random() < 0.1:
            start.execution = rng.choice(["read", "pushdown", "x", "\0"])
        if rng.random() < 0.1:
            start.held.whole.add(first=rng.randrange(-9, 99), stop=rng.randrange(-9, 2**62))
        if rng.random() < 0.1:
            start.held.begun.add(partition=rng.randrange(-9, 99), cursor=rng.randrange(-9, 2**62))
        if rng.random() < 0.05:
            start.deliver, start.histograms = pb.QueryStart.HISTOGRAMS, rng.randbytes(rng.randrange(99))

        async def messages() -> Any:
            yield pb.QueryMessage(start=start)

        try:
            last = [event async for event in stub.Query(messages(), metadata=METADATA, timeout=60.0)][-1]
        except grpc.aio.AioRpcError as error:
            if ERROR_KEY not in dict(error.trailing_metadata() or ()):
                raise AssertionError(f"seed {seed}: {start}") from error
            return from_rpc_error(error, "here").kind
        assert last.WhichOneof("event") == "end"
        return "answer"

    async def ask_all() -> None:
        async with grpc.aio.insecure_channel(served.address) as channel:
            stub = DeliveryStub(channel)
            for first in range(0, FUZZ_INPUTS, 20):
                for kind in await asyncio.gather(*(ask(stub, seed) for seed in range(first, first + 20))):
                    kinds[kind] = kinds.get(kind, 0) + 1

    asyncio.run(ask_all())
    print(kinds)
    assert sum(kinds.values()) == FUZZ_INPUTS
    assert kinds["answer"] > FUZZ_INPUTS // 20
    assert kinds["invalid-request"] > FUZZ_INPUTS // 20
    assert "internal" not in kinds and "store" not in kinds and "busy" not in kinds
    assert client.query("flat").to_arrow().equals(expected)
    wait_for_nothing(client)
