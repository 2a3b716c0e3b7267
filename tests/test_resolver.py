"""Queries are resolved by Flight; whatever is wrong there, the control plane tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.flight as fl
import pytest
from fake_service import EVENTS, FakeService, client_of
from service_fixture import RunningService

import skyhook_casa
from skyhook_casa.errors import NotFound, ProtocolError
from skyhook_casa.protocol import PROTOCOL_VERSION, RESOLVE_ACTION
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.query import Query
from skyhook_client import Client
from skyhook_client.remote import resolver
from skyhook_client.remote.backend import RemoteBackend


# -- the client ----------------------------------------------------------------------------------
@pytest.fixture
def fake() -> Iterator[FakeService]:
    service = FakeService()
    service.acts = lambda start: [service.plan(start).SerializeToString()]
    yield service
    service.close()


def events_of(client: Client) -> list[int]:
    found: list[int] = client.query("x").to_awkward().event.tolist()
    return found


def test_once_a_service_was_greeted_its_flight_port_resolves(fake: FakeService) -> None:
    with client_of(fake) as client:
        assert [events_of(client) for _ in range(3)] == [list(range(EVENTS))] * 3

    assert fake.calls == ["Hello", "Resolve", "Query", "Query", "Query"]
    kind, body = fake.acted[-1]
    asked = pb.ResolveAction.FromString(body)
    assert (kind, asked.protocol, len(fake.acted)) == (RESOLVE_ACTION, PROTOCOL_VERSION, 2)
    assert asked.client == fake.metadata["skyhook-client"]


def test_without_a_result_the_control_plane_tells_why(fake: FakeService) -> None:
    fake.acts = lambda start: []
    with client_of(fake) as client:
        client.query("x")
        fake.failures["Resolve"] = [NotFound("there is no dataset 'x'")]
        with pytest.raises(NotFound, match="no dataset 'x'"):
            client.query("x")
        client.query("x")

    assert len(fake.acted) == 2


def broken(start: pb.QueryStart) -> list[bytes]:
    raise fl.FlightInternalError("as the test wants")


@pytest.mark.parametrize("acts", [None, broken])
def test_a_flight_port_that_fails_is_left_alone_for_a_while(
    fake: FakeService, acts: Callable[[pb.QueryStart], list[bytes]] | None, monkeypatch: Any
) -> None:
    """As that of a service of before, which does not know the action."""
    good, fake.acts = fake.acts, acts
    with client_of(fake) as client:
        assert [events_of(client) for _ in range(3)] == [list(range(EVENTS))] * 3
        assert (len(fake.acted), fake.calls.count("Resolve")) == (1, 3)

        fake.acts = good
        assert isinstance(client.backend, RemoteBackend)
        monkeypatch.setattr(client.backend._resolver, "_not_before_s", 0.0)
        assert [events_of(client) for _ in range(2)] == [list(range(EVENTS))] * 2
        assert (len(fake.acted), fake.calls.count("Resolve")) == (3, 3)


def test_a_flight_port_that_hangs_costs_its_time_once(fake: FakeService, monkeypatch: Any) -> None:
    monkeypatch.setattr(resolver, "RESOLVE_S", 0.2)
    with client_of(fake) as client:
        client.query("x")
        fake.flight.held.clear()
        try:
            assert events_of(client) == list(range(EVENTS))
            assert events_of(client) == list(range(EVENTS))
        finally:
            fake.flight.held.set()

    assert (len(fake.acted), fake.calls.count("Resolve")) == (1, 3)


def test_a_flight_port_that_is_not_there_is_done_without(fake: FakeService) -> None:
    fake.flight_location = "grpc://127.0.0.1:1"
    with client_of(fake) as client:
        assert [events_of(client) for _ in range(3)] == [list(range(EVENTS))] * 3

    assert fake.calls.count("Resolve") == 3


def test_what_is_no_plan_is_refused(fake: FakeService) -> None:
    fake.acts = lambda start: [b"\xff what"]
    with client_of(fake) as client:
        client.query("x")
        with pytest.raises(ProtocolError, match="sent a plan that is none"):
            client.query("x")


# -- the service ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def service(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    pytest.importorskip("distributed")
    client = skyhook_casa.connect(tmp_path_factory.mktemp("resolve") / "store")
    client.ingest("one", nano_file, workers=1)
    running = RunningService(client, workers=1, request_bytes_max=64 << 10)
    yield running
    running.stop()


@pytest.fixture
def flight(service: RunningService) -> Iterator[fl.FlightClient]:
    with fl.connect(f"grpc://127.0.0.1:{service.service.flight_port}") as client:
        yield client


def question(limit: int = 3, **fields: Any) -> pb.ResolveAction:
    query = Query.make("one", ["MET_pt"], limit=limit).to_json()
    start = pb.QueryStart(query=query, at_once=True).SerializeToString()
    return pb.ResolveAction(**{"protocol": PROTOCOL_VERSION, "client": "me", "start": start} | fields)


def acted(flight: fl.FlightClient, body: bytes) -> list[pb.QueryPlan]:
    results = flight.do_action(fl.Action(RESOLVE_ACTION, body))
    return [pb.QueryPlan.FromString(one.body.to_pybytes()) for one in results]


def test_the_same_words_get_the_same_answer_under_another_name(flight: fl.FlightClient) -> None:
    plans = [plan for _ in range(4) for plan in acted(flight, question().SerializeToString())]

    assert len({plan.query_id for plan in plans}) == len(plans) == 4
    assert [plan.answer.end.report.splits_cached for plan in plans] == [0, 1, 1, 1]
    for plan in plans:
        plan.query_id = ""
    assert plans[3] == plans[2]
    assert plans[1].answer.splits[0].data == plans[0].answer.splits[0].data


def test_another_state_of_the_catalog_is_looked_at(service: RunningService, flight: fl.FlightClient) -> None:
    asked = question(4).SerializeToString()
    for _ in range(3):
        acted(flight, asked)
        acted(flight, question(5).SerializeToString())
    before = service.service.engine.resolver.replies.nbytes
    service.service.engine.catalog.define("one", {"twice": "2 * MET_pt"})

    assert before > 0
    assert acted(flight, asked)[0].answer.end.report.events_out == 4
    assert service.service.engine.resolver.replies.nbytes < before


@pytest.mark.parametrize(
    "body",
    [
        question(protocol=PROTOCOL_VERSION + 1).SerializeToString(),
        question(start=b"\xff what").SerializeToString(),
        question(start=pb.QueryStart(query="{").SerializeToString()).SerializeToString(),
        question(
            start=pb.QueryStart(query=Query.make("none").to_json()).SerializeToString()
        ).SerializeToString(),
        b"\xff what",
        question(client="x" * (64 << 10)).SerializeToString(),
    ],
    ids=["protocol", "start", "query", "dataset", "garbage", "long"],
)
def test_what_is_refused_has_no_result(flight: fl.FlightClient, body: bytes) -> None:
    assert acted(flight, body) == []
    assert len(acted(flight, question().SerializeToString())) == 1


def test_the_action_is_listed(flight: fl.FlightClient) -> None:
    assert [one.type for one in flight.list_actions()] == ["drop", RESOLVE_ACTION]


def test_metrics_count_answers_however_they_were_kept(
    service: RunningService, flight: fl.FlightClient
) -> None:
    metrics = service.service.metrics
    counters = {
        "hits": metrics.cache_hits,
        "misses": metrics.cache_misses,
        "direct": metrics.splits.labels("direct"),
        "cached": metrics.splits.labels("cache"),
        "events": metrics.events_delivered,
        "done": metrics.queries.labels("done"),
    }
    before = {name: one._value.get() for name, one in counters.items()}

    for _ in range(5):
        acted(flight, question(7).SerializeToString())

    counted = {name: one._value.get() - before[name] for name, one in counters.items()}
    assert counted == {"hits": 4, "misses": 1, "direct": 1, "cached": 4, "events": 35, "done": 5}
