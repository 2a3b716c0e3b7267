"""A client of a service that breaks off, lies or is away: each event comes once, or there is an error."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import awkward as ak
import grpc
import pyarrow as pa
import pytest
from fake_service import (
    EVENTS,
    NOT_LONG,
    PARTITIONS,
    QUERY_ID,
    Asked,
    FakeService,
    batch,
    client_of,
    end,
    fail,
    record_batch,
    report,
    split,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.flight import FlightServerBase
from waiting import wait_until

import skyhook_casa
from skyhook_casa.batch import Batch
from skyhook_casa.errors import (
    CorruptObject,
    InvalidRequest,
    NotFound,
    ProtocolError,
    ServiceBusy,
    ServiceLost,
    SkyhookError,
)
from skyhook_casa.progress import Progress
from skyhook_casa.protocol import CLIENT_KEY, PROTOCOL_KEY
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.batches import to_ipc
from skyhook_client import Client
from skyhook_client.remote import fetch as fetch_module
from skyhook_client.remote import stream as stream_module
from skyhook_client.remote.address import parse_service
from skyhook_client.remote.backend import RemoteBackend

EACH = batch(0).nbytes
"""Of each split: so that each is a batch of its own."""


@pytest.fixture
def service() -> Iterator[FakeService]:
    service = FakeService()
    yield service
    service.close()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with client_of(service) as client:
        yield client


def events(client: Client) -> list[int]:
    return client.query("x").to_awkward().event.tolist()


def numbers(batches: Iterable[Batch]) -> list[int]:
    return [int(number) for one in batches for number in one.values[0]]


# -- recovery ---------------------------------------------------------------------------------
def test_a_good_answer_comes_whole(service: FakeService, client: Client) -> None:
    """Collections too."""
    query = client.query("x")

    found = query.to_awkward()

    assert found.event.tolist() == list(range(EVENTS))
    assert ak.num(found.Muon_pt).tolist() == [number % 10 for number in range(EVENTS)]
    assert (query.report.query_id, query.report.splits) == (QUERY_ID, PARTITIONS)
    assert (query.report.partitions_done, query.report.bytes_skipped) == (PARTITIONS, 1000 - 60)


def test_a_call_says_who_calls_and_what_it_speaks(service: FakeService, client: Client) -> None:
    client.datasets()

    assert service.metadata[PROTOCOL_KEY] == "1"
    assert "@" in service.metadata[CLIENT_KEY]


def test_a_stream_without_an_end_goes_on_where_it_was(service: FakeService, client: Client) -> None:
    """The service is told what is held, and sends the rest."""
    service.scripts = [service.first(2), service.first(1)]

    assert events(client) == list(range(EVENTS))

    assert [asked.missing() for asked in service.asked] == [
        [0, 1, 2, 3, 4, 5],
        [2, 3, 4, 5],
        [3, 4, 5],
    ]
    assert service.asked[2].start.held.events_out == 30


def test_a_service_that_ends_and_comes_back_is_found_again(service: FakeService, client: Client) -> None:
    """On the same port; it is greeted again, as its data may be elsewhere now."""
    going = service.first(3)
    service.scripts = [lambda asked: _then_wait(going, asked)]
    stream = client.query("x").stream(EACH)
    found = [next(stream) for _ in range(3)]

    service.end()
    service.begin()

    assert numbers([*found, *stream]) == list(range(EVENTS))
    assert service.calls.count("Hello") == 2


def _then_wait(script: Any, asked: Asked) -> Iterator[pb.QueryEvent]:
    yield from script(asked)
    asked.ended.wait(60)


def test_a_service_that_stays_away_is_lost(service: FakeService) -> None:
    """The error names it, and the query."""
    service.scripts = [service.first(0)] * 100
    with client_of(service, NOT_LONG) as client, pytest.raises(ServiceLost, match="broke off") as raised:
        events(client)
    assert len(service.asked) > 1
    assert f"query {QUERY_ID}" in raised.value.__notes__


def test_progress_renews_patience(service: FakeService) -> None:
    """A stream that breaks off after each split ends well, however impatient the client."""
    service.scripts = [service.first(1)] * (PARTITIONS - 1)
    with client_of(service, NOT_LONG) as client:
        assert events(client) == list(range(EVENTS))
    assert len(service.asked) == PARTITIONS


def test_nobody_at_an_address_is_a_lost_service() -> None:
    with (
        Client(RemoteBackend(parse_service("grpc://127.0.0.1:1"), NOT_LONG)) as client,
        pytest.raises(ServiceLost, match=r"grpc://127\.0\.0\.1:1 cannot be reached"),
    ):
        client.datasets()


def test_the_port_of_arrow_flight_is_no_service() -> None:
    with (
        FlightServerBase("grpc://127.0.0.1:0") as flight,
        Client(RemoteBackend(parse_service(f"grpc://127.0.0.1:{flight.port}"), NOT_LONG)) as client,
        pytest.raises(ProtocolError, match=r"is no delivery service.* its Flight port is another"),
    ):
        client.datasets()


@pytest.fixture(scope="module")
def shared_service() -> Iterator[FakeService]:
    service = FakeService()
    yield service
    service.close()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
@pytest.mark.slow
def test_each_event_comes_once_however_often_it_breaks(
    shared_service: FakeService, data: st.DataObject
) -> None:
    """Streams that end early and fetches that fail, in any order, before all or after some."""
    service = shared_service
    service.scripts = [
        service.first(data.draw(st.integers(0, PARTITIONS), label="splits"))
        if data.draw(st.booleans(), label="inline")
        else service.on_shelf
        for _ in range(data.draw(st.integers(0, 5), label="attempts"))
    ]
    bad = data.draw(
        st.dictionaries(st.integers(0, PARTITIONS - 1), st.lists(st.integers(1, 4), max_size=2)), label="bad"
    )
    service.shelf = {
        f"part{number}".encode(): [*pieces(number, *sizes), RuntimeError("cut")]
        for number, sizes in bad.items()
    }
    batch_bytes = data.draw(st.sampled_from([1, 500, 1 << 20]), label="batch_bytes")
    ordered = data.draw(st.booleans(), label="ordered")

    with pytest.MonkeyPatch.context() as patch, client_of(service) as client:
        patch.setattr(fetch_module, "COLUMN_BYTES", 1)
        found = numbers(client.query("x").stream(batch_bytes, ordered=ordered))
        assert found == list(range(EVENTS))


def pieces(partition: int, *sizes: int) -> list[pa.RecordBatch]:
    """The first events of a partition, in batches of some sizes."""
    ends = [0, *itertools.accumulate(sizes)]
    return [record_batch(partition).slice(start, stop - start) for start, stop in itertools.pairwise(ends)]


# -- splits that are fetched --------------------------------------------------------------------
def test_splits_are_fetched_by_their_tickets(service: FakeService, client: Client) -> None:
    service.scripts = [service.on_shelf]
    assert events(client) == list(range(EVENTS))
    assert sorted(service.fetched) == [f"part{number}".encode() for number in range(PARTITIONS)]


@pytest.fixture
def batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches are handed on as large ones are: one by one."""
    monkeypatch.setattr(fetch_module, "COLUMN_BYTES", 1)


@pytest.mark.usefixtures("batch_by_batch")
@pytest.mark.parametrize("given", [[], [5], [3, 2], [10]])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_split_that_is_cut_off_goes_on_behind_what_was_handed_on(
    service: FakeService, client: Client, given: list[int], ordered: bool
) -> None:
    """The service sends all of it again."""
    service.scripts = [service.on_shelf]
    service.shelf[b"part2"] = [*pieces(2, *given), RuntimeError("the worker died")]
    query = client.query("x")
    assert numbers(query.stream(1, ordered=ordered)) == list(range(EVENTS))
    assert [asked.missing() for asked in service.asked] == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5]]
    assert query.report.events_out == EVENTS


@pytest.mark.usefixtures("batch_by_batch")
def test_an_answer_in_one_piece_goes_on_behind_what_came(service: FakeService, client: Client) -> None:
    service.scripts = [service.on_shelf]
    service.shelf[b"part2"] = [*pieces(2, 3, 2), RuntimeError("the worker died")]
    assert events(client) == list(range(EVENTS))


@pytest.mark.usefixtures("batch_by_batch")
def test_events_of_a_split_are_handed_on_before_it_is_whole(service: FakeService, client: Client) -> None:
    more = threading.Event()

    class Slow(list[pa.RecordBatch]):
        def __iter__(self) -> Iterator[pa.RecordBatch]:
            yield self[0]
            assert more.wait(60)
            yield self[1]

    service.scripts = [service.on_shelf]
    service.shelf[b"part0"] = Slow(pieces(0, 4, 6))
    stream = client.query("x").stream(EACH)
    assert next(stream).events == 4
    more.set()
    assert sum(one.events for one in stream) == EVENTS - 4


@pytest.mark.usefixtures("batch_by_batch")
def test_a_stream_that_is_left_in_a_split_counts_it(service: FakeService, client: Client) -> None:
    """Its events may have come, so they were worked through."""
    service.scripts = [service.on_shelf]
    service.shelf[b"part0"] = pieces(0, 4, 6)
    query = client.query("x")
    stream = query.stream(1)
    next(stream)
    stream.close()
    assert query.report.events_in == 10


@pytest.mark.usefixtures("batch_by_batch")
def test_a_place_that_breaks_off_is_followed_by_the_next_one(service: FakeService, client: Client) -> None:
    """Which goes on with the same split."""
    worker = FakeService()
    worker.shelf[b"part0"] = [*pieces(0, 4), RuntimeError("the worker died")]
    service.shelf[b"part0"] = pieces(0, 4, 6)
    place = f"grpc://127.0.0.1:{worker.flight.port}"
    service.scripts = [service.sends(*[service.ticketed(n + 1, n, place) for n in range(PARTITIONS)], end(6))]
    try:
        assert numbers(client.query("x").stream(1)) == list(range(EVENTS))
    finally:
        worker.close()
    assert len(service.asked) == 1


@pytest.mark.usefixtures("batch_by_batch")
def test_a_service_that_delivers_less_after_a_loss_is_refused(service: FakeService, client: Client) -> None:
    """What was handed on before cannot be taken back."""
    few = [record_batch(0).slice(0, 3)]
    told = {"events": 3, "data": to_ipc(few, few[0].schema), "report": report(PARTITIONS, events_out=3)}
    covers = pb.Held(whole=[pb.PartitionRange(first=0, stop=PARTITIONS)], events_out=3)
    service.scripts = [
        service.on_shelf,
        service.sends(
            pb.QueryEvent(split=split(1, 0, covers=covers, **told)), end(1, report=report(6, events_out=3))
        ),
    ]
    service.shelf[b"part0"] = [*pieces(0, 4), RuntimeError("the worker died")]
    with pytest.raises(ProtocolError, match="4 events came before the stream broke off and after"):
        list(client.query("x").stream(1))


def test_a_ticket_that_nobody_knows_is_asked_for_again(service: FakeService, client: Client) -> None:
    lost = split(1, 0, data=b"", ticket=b"nobody")
    service.scripts = [service.sends(pb.QueryEvent(split=lost))]
    assert events(client) == list(range(EVENTS))
    assert service.asked[1].missing() == list(range(PARTITIONS))


def test_the_service_itself_is_asked_where_a_worker_cannot_be_reached(
    service: FakeService, client: Client
) -> None:
    service.scripts = [
        service.sends(*[service.ticketed(n + 1, n, "grpc://127.0.0.1:1") for n in range(PARTITIONS)], end(6))
    ]
    assert events(client) == list(range(EVENTS))
    assert len(service.asked) == 1


def test_data_may_be_at_a_place_that_the_service_names(service: FakeService, client: Client) -> None:
    service.flight_location = f"grpc+tcp://localhost:{service.flight.port}"
    service.scripts = [service.on_shelf]
    assert events(client) == list(range(EVENTS))


# -- counts -------------------------------------------------------------------------------------
def test_a_count_that_breaks_off_is_made_again(service: FakeService, client: Client) -> None:
    """From the beginning: a part of a count was never given."""
    service.scripts = [service.first(0), service.first(0)]
    query = client.query("x", cut="event > 1")
    assert query.count() == EVENTS
    assert not service.asked[-1].start.held.whole
    assert query.report.bytes_skipped == 1000 - 60


# -- busy, errors and retries -------------------------------------------------------------------
def test_a_busy_service_is_asked_again(service: FakeService, client: Client) -> None:
    service.failures["Query"] = [ServiceBusy("256 queries run", 0.01)] * 2
    service.failures["Resolve"] = [ServiceBusy("256 queries run", 0.01)]
    assert events(client) == list(range(EVENTS))
    assert service.calls.count("Query") == 3


def test_a_service_that_stays_busy_says_so(service: FakeService) -> None:
    """Waiting longer than the client wants to is not tried."""
    service.failures["Query"] = [ServiceBusy("256 queries run", 60)]
    with client_of(service) as client, pytest.raises(ServiceBusy, match="256 queries run") as raised:
        events(client)
    assert raised.value.retry_after_s == 60
    assert service.calls.count("Query") == 1


def test_an_error_in_mid_stream_is_that_of_the_service(service: FakeService, client: Client) -> None:
    """What was given before it stays given; it is not asked again."""

    def script(asked: Asked) -> Iterator[pb.QueryEvent]:
        yield from service.first(1)(asked)
        fail(asked.context, CorruptObject("object abc is bad"))

    service.scripts = [script]
    stream = client.query("x").stream(EACH)
    assert next(stream).events == 10
    with pytest.raises(CorruptObject, match="object abc is bad") as raised:
        list(stream)
    assert raised.value.__notes__ == [f"query {QUERY_ID}"]
    assert len(service.asked) == 1


def test_a_look_up_is_made_again_if_the_service_is_lost(service: FakeService, client: Client) -> None:
    service.failures["ListDatasets"] = [grpc.StatusCode.UNAVAILABLE] * 2
    assert [one.name for one in client.datasets()] == ["x"]
    assert service.calls.count("ListDatasets") == 3


def test_a_mistake_of_the_service_is_no_loss(service: FakeService, client: Client) -> None:
    """To ask again would not help."""
    service.failures["ListDatasets"] = [grpc.StatusCode.UNKNOWN]
    with pytest.raises(SkyhookError, match="failed: unknown: as the test wants") as raised:
        client.datasets()
    assert raised.type is SkyhookError
    assert service.calls.count("ListDatasets") == 1


def test_a_change_is_not_made_twice(service: FakeService, client: Client) -> None:
    """Nobody knows whether the first one was done. If the service was only busy, it was not."""
    service.failures["Drop"] = [grpc.StatusCode.UNAVAILABLE]
    with pytest.raises(ServiceLost):
        client.drop("x")
    assert service.calls.count("Drop") == 1
    service.failures["Drop"] = [ServiceBusy("busy", 0.01)]
    client.drop("x")
    assert service.calls.count("Drop") == 3


def test_an_error_of_a_look_up_is_that_of_the_service(service: FakeService, client: Client) -> None:
    service.failures["GetVersion"] = [NotFound("no dataset 'y'; did you mean 'x'?")]
    with pytest.raises(NotFound, match="did you mean 'x'"):
        client.dataset("y")


# -- bounds and cancelling ----------------------------------------------------------------------
def test_a_split_is_acknowledged_once_its_caller_comes_back(service: FakeService, client: Client) -> None:
    """The service may free it then, and not before."""
    service.scripts = [lambda asked: _then_wait(service.first(PARTITIONS), asked)]
    stream = client.query("x").stream(EACH)
    next(stream)
    next(stream)
    assert service.asked[0].wait_for(1)
    assert service.asked[0].acknowledged == [1]
    next(stream)
    assert service.asked[0].wait_for(2)
    stream.close()


def test_little_is_fetched_for_a_slow_caller(
    service: FakeService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may be ahead, and one split that waits for room."""
    nbytes = record_batch(0).nbytes
    monkeypatch.setattr(stream_module, "AHEAD_BYTES", nbytes)
    service.scripts = [service.on_shelf]
    stream = client.query("x").stream(EACH)
    next(stream)
    wait_until(lambda: len(service.fetched) == 3, "three are fetched")
    time.sleep(0.1)
    assert len(service.fetched) == 3
    assert sum(one.events for one in stream) == EVENTS - 10


def test_the_first_events_come_at_once_and_then_large_batches(service: FakeService, client: Client) -> None:
    sizes = [one.events for one in client.query("x").stream(2 * EACH)]
    assert sizes[0] == 10
    assert sizes[1:-1] == [20] * (len(sizes) - 2)
    assert sum(sizes) == EVENTS


def test_leaving_a_stream_cancels_the_query(service: FakeService, client: Client) -> None:
    """At once, and its threads end."""
    before = query_threads()
    service.scripts = [lambda asked: _then_wait(service.first(2), asked)]
    stream = client.query("x").stream(EACH)
    next(stream)
    stream.close()
    assert service.asked[0].ended.wait(60)
    wait_until(lambda: query_threads() <= before, "its threads end")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_cancels_the_query(
    service: FakeService, client: Client, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does, while something is awaited."""
    before = query_threads()
    service.scripts = [lambda asked: _then_wait(service.first(1), asked)]

    def interrupted(self: Any) -> Any:
        wait_until(lambda: service.asked, "it is asked")
        raise error

    monkeypatch.setattr(stream_module.SplitStream, "take", interrupted)
    with pytest.raises(error):
        events(client)
    assert service.asked[0].ended.wait(60)
    wait_until(lambda: query_threads() <= before, "its threads end")


def query_threads() -> int:
    """Threads of queries; those that fetch are kept by their client."""
    return sum(thread.name.startswith("query") for thread in threading.enumerate())


def test_progress_goes_on_after_a_loss(service: FakeService, client: Client) -> None:
    """It does not fall back to the beginning."""

    def advanced(done: int, total: int, splits: int) -> Any:
        def script(asked: Asked) -> Iterator[pb.QueryEvent]:
            yield from service.first(splits)(asked)
            yield pb.QueryEvent(progress=pb.Advance(done=done, total=total))

        return script

    service.scripts = [advanced(30, EVENTS, 3), advanced(10, EVENTS - 30, 0)]
    seen = []

    class Seen(Progress):
        def reach(self, done: int, total: int) -> None:
            super().reach(done, total)
            seen.append((self.done, self.total))

    client.query("x").question.run(Seen("query", EVENTS, show=False)).collect()

    assert seen == [(30, 60), (40, 60), (60, 60)]


# -- trees --------------------------------------------------------------------------------------
def _tree_file() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"run": [1, 2]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def test_a_tree_comes_in_pieces(service: FakeService, client: Client) -> None:
    data = _tree_file()
    whole = [pb.TreePiece(data=data[:100]), pb.TreePiece(data=data[100:], last=True)]
    service.tree = whole * 2
    assert client.dataset("x").runs().run.tolist() == [1, 2, 1, 2]


def test_a_tree_that_breaks_off_is_not_given_in_part(service: FakeService) -> None:
    service.tree = [pb.TreePiece(data=_tree_file(), last=True), pb.TreePiece(data=b"more")]
    with client_of(service, NOT_LONG) as client, pytest.raises(ServiceLost, match="in the middle of a tree"):
        client.dataset("x").runs()


# -- tallies ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wrong", [{"weights": "1.5"}, {"sections": b"123"}, {"sections": b"\xff" * 12}], ids=str
)
def test_a_tally_that_makes_no_sense_is_refused(
    service: FakeService, client: Client, wrong: dict[str, Any]
) -> None:
    service.tally = pb.Tally(**wrong)
    with pytest.raises(ProtocolError, match="a wrong tally"):
        client.dataset("x").tally()


# -- addresses ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("grpc://host:1234", "grpc://host:1234"),
        ("grpc://host", "grpc://host:8815"),
        ("grpc://[::1]:99/", "grpc://[::1]:99"),
    ],
)
def test_an_address_names_host_and_port(address: str, url: str) -> None:
    assert skyhook_casa.connect(address).url == url


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("grpcs://host:1", "encrypted services cannot be reached yet"),
        ("grpc://", "give grpc://host:port"),
        ("grpc://host:1/path", "give grpc://host:port"),
        ("grpc://me:secret@host:1", "give grpc://host:port"),
        ("grpc://host:99999", "give grpc://host:port"),
        ("grpc://host:port", "give grpc://host:port"),
    ],
)
def test_another_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        skyhook_casa.connect(address)


@pytest.mark.parametrize("options", [{"threads": 2}, {"catalog": "sqlite:///x"}])
def test_what_a_service_has_itself_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="has its own; leave it out"):
        skyhook_casa.connect("grpc://host:1", **options)


def test_store_and_catalog_are_those_of_the_service(client: Client) -> None:
    for look in (lambda: client.store, lambda: client.catalog):
        with pytest.raises(InvalidRequest, match="is a service; its"):
            look()


def test_only_a_service_has_a_status() -> None:
    with pytest.raises(InvalidRequest, match="only a service"):
        skyhook_casa.connect("memory://").status()


@pytest.mark.parametrize("error", [ServiceLost("gone"), ServiceBusy("busy", 0.0)])
def test_patience_ends(error: SkyhookError) -> None:
    """After about as much waiting as it was given, not before a second attempt."""
    attempts = []

    def attempt() -> None:
        attempts.append(1)
        raise error

    with pytest.raises(type(error)):
        NOT_LONG.keep(attempt)
    assert len(attempts) > 1
