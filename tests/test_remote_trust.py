"""A service that lies: what it says is checked before it is believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from fake_service import EVENTS, OUTPUTS, QUERY_ID, FakeService, client_of, end, record_batch, report, split

from skyhook_casa.compile_query import Output
from skyhook_casa.errors import ProtocolError
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.batches import to_ipc
from skyhook_casa.query import Query
from skyhook_client import Client
from skyhook_client.remote.address import check_location
from skyhook_client.remote.fetch import unpacked


@pytest.fixture
def service() -> Iterator[FakeService]:
    service = FakeService()
    yield service
    service.close()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with client_of(service) as client:
        yield client


WRONG: dict[str, tuple[Callable[[FakeService], list[pb.QueryEvent]], str]] = {
    "fewer splits at the end": (lambda s: [_split(1, 0), end(2)], "after 1 splits; it says 2"),
    "more splits at the end": (lambda s: [_split(1, 0), end(0)], "after 1 splits; it says 0"),
    "other events at the end": (
        lambda s: [_split(n + 1, n) for n in range(6)] + [end(6, report=report(5))],
        "splits have 60 events; the service says 50",
    ),
    "a short answer": (lambda s: [_split(1, 0), end(1)], "after 1 of 6 partitions"),
    "a number left out": (lambda s: [_split(1, 0), _split(3, 1)], "announced split 3 after 1"),
    "a split twice": (lambda s: [_split(1, 0), _split(1, 0)], "announced split 1 after 1"),
    "a second plan": (lambda s: [pb.QueryEvent(plan=pb.QueryPlan())], "'plan' out of turn"),
    "nothing": (lambda s: [pb.QueryEvent()], "no kind that this client knows"),
    "events without data": (lambda s: [_split(1, 0, data=b"")], "neither data nor a ticket"),
    "too many bytes": (lambda s: [_split(1, 0, nbytes=(256 << 20) + 1)], "bytes are taken"),
    "fewer than no bytes": (lambda s: [_split(1, 0, nbytes=-1)], "bytes are taken"),
    "events that are not there": (
        lambda s: [_split(1, 0, events=11, covers=pb.Held(events_out=11), report=report(1, events_out=11))],
        "has 10 events; 11 were announced",
    ),
    "other columns": (lambda s: [_split(1, 0, data=_other_columns())], "has the fields"),
    "no Arrow": (lambda s: [_split(1, 0, data=b"nonsense")], "no Arrow stream"),
    "partitions that are not there": (
        lambda s: [_split(1, 0, covers=pb.Held(whole=[pb.PartitionRange(first=0, stop=7)], events_out=10))],
        "at most 6 partitions",
    ),
    "a range backwards": (
        lambda s: [_split(1, 0, covers=pb.Held(whole=[pb.PartitionRange(first=3, stop=2)], events_out=10))],
        "at most 6 partitions",
    ),
    "a place in no partition": (
        lambda s: [_split(1, 0, covers=pb.Held(begun=[pb.Position(partition=6, cursor=1)], events_out=10))],
        "at most 6 partitions",
    ),
    "other events than covered": (lambda s: [_split(1, 0, covers=pb.Held(events_out=9))], "covers 9"),
    "other conditions": (
        lambda s: [_split(1, 0, report=report(1, cutflow=[pb.CutCount(term="x > 1", events=1)]))],
        "other conditions",
    ),
    "less than nothing": (lambda s: [_split(1, 0, report=report(1, bytes_read=-1))], "less than nothing"),
    "a place that is none": (lambda s: [s.ticketed(1, 0, "file:///etc/passwd")], "as a place of data"),
    "a place without a port": (lambda s: [s.ticketed(1, 0, "grpc://host")], "as a place of data"),
}


def _split(number: int, partition: int, **changed: Any) -> pb.QueryEvent:
    return pb.QueryEvent(split=split(number, partition, **changed))


def _other_columns() -> bytes:
    other = pa.RecordBatch.from_pydict({"event": [1.5] * 10})
    return to_ipc([other], other.schema)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_stream_is_refused(service: FakeService, client: Client, name: str) -> None:
    """It is not asked again: the service would say the same. The error names the query."""
    sent, message = WRONG[name]
    service.scripts = [service.sends(*sent(service))]
    with pytest.raises(ProtocolError, match=message) as raised:
        client.query("x").to_awkward()
    assert len(service.asked) == 1
    assert raised.value.__notes__ == [f"query {QUERY_ID}"]


@pytest.mark.parametrize(
    ("fetched", "message"),
    [
        ([record_batch(0).slice(0, 9)], "has 9 events; 10 were announced"),
        ([pa.RecordBatch.from_pydict({"event": [1]})], "has the fields"),
        ([record_batch(0), record_batch(1)], "has 20 events; 10 were announced"),
    ],
)
def test_wrong_batches_are_refused(
    service: FakeService, client: Client, fetched: list[pa.RecordBatch], message: str
) -> None:
    service.shelf[b"part0"] = fetched
    service.scripts = [service.on_shelf]
    with pytest.raises(ProtocolError, match=message):
        client.query("x").to_awkward()


def test_a_split_that_grows_beyond_what_is_taken_is_refused(
    service: FakeService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was announced."""
    monkeypatch.setattr("skyhook_client.remote.fetch.SPLIT_BYTES_MAX", 1000)
    service.shelf[b"part0"] = [record_batch(0)] * 10
    service.scripts = [service.on_shelf]
    with pytest.raises(ProtocolError, match="more than 1000 bytes"):
        client.query("x").to_awkward()


def test_a_limit_that_is_passed_is_refused(service: FakeService, client: Client) -> None:
    with pytest.raises(ProtocolError, match="delivered 60 events; the limit is 59"):
        client.query("x", limit=EVENTS - 1).to_awkward()


def test_another_plan_than_was_promised_is_refused(service: FakeService, client: Client) -> None:
    """As after an upgrade of the service between two calls."""
    query = client.query("x")
    service.outputs = service.outputs[:1]
    with pytest.raises(ProtocolError, match="another answer than it announced"):
        query.to_awkward()


@pytest.mark.parametrize(
    "output",
    [
        Output("a", "object", None),
        Output("a", "float32", 7),
        Output("", "float32", None),
        Output("event", "int64", None),
    ],
)
def test_columns_that_cannot_be_are_refused(service: FakeService, client: Client, output: Any) -> None:
    service.outputs = (*service.outputs, output)
    with pytest.raises(ProtocolError, match="planned"):
        client.query("x")


PLANS: dict[str, tuple[pb.QueryPlan, str]] = {
    "another cut": (
        pb.QueryPlan(query=Query("x", cut="event > 2", version=1).to_json()),
        "event > 1.* was asked",
    ),
    "no version": (pb.QueryPlan(query=Query("x", cut="event > 1").to_json()), "was asked"),
    "no query": (pb.QueryPlan(query="nonsense"), "no query"),
    "another dataset": (pb.QueryPlan(version=pb.DatasetVersion(dataset="y")), "on 'y', version 1"),
    "another version": (pb.QueryPlan(version=pb.DatasetVersion(number=2)), "on 'x', version 2"),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_of_another_query_is_refused(service: FakeService, client: Client, name: str) -> None:
    """Its answer would pass for that to the query."""
    changed, message = PLANS[name]
    service.changed.CopyFrom(changed)
    with pytest.raises(ProtocolError, match=message):
        client.query("x", cut="event > 1")


def test_a_plan_for_another_version_than_was_named_is_refused(service: FakeService, client: Client) -> None:
    with pytest.raises(ProtocolError, match=r'version 1; .*"version": 3.* was asked'):
        client.query("x", version=3)


def test_a_plan_may_write_the_query_in_another_way(service: FakeService, client: Client) -> None:
    """What it says counts."""
    query = Query("x", cut="event > 1", version=1)
    service.changed.query = json.dumps(json.loads(query.to_json()), indent=1, sort_keys=True)
    assert client.query("x", cut="event > 1").value == query


def test_another_protocol_is_refused(service: FakeService, client: Client) -> None:
    """The message names both."""
    service.protocols = [7, 8]
    with pytest.raises(ProtocolError, match=r"speaks protocol 7, 8; this client .* speaks 1"):
        client.datasets()


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ([pb.HistogramBins(sums=b"\0" * 24)], "other bins"),
        ([pb.HistogramBins(sums=b"\0" * 40, squares=b"\0" * 40)], "other bins"),
        ([], "0 histograms; 1 were asked for"),
    ],
)
def test_bins_that_do_not_fit_are_refused(
    service: FakeService, client: Client, sent: list[pb.HistogramBins], asked: str
) -> None:
    service.scripts = [service.sends(end(6, pb.QueryStart.HISTOGRAMS, histograms=sent))]
    with pytest.raises(ProtocolError, match=asked):
        client.query("x").hist("event", bins=3, range=(0, 60))


def test_events_are_refused_where_only_a_count_was_asked_for(service: FakeService, client: Client) -> None:
    service.scripts = [service.sends(_split(1, 0), end(1))]
    with pytest.raises(ProtocolError, match="only counts were asked for"):
        client.query("x", cut="event > 1").count()


def test_a_tree_that_is_none_is_refused(service: FakeService, client: Client) -> None:
    service.tree = [pb.TreePiece(data=b"nonsense", last=True)]
    with pytest.raises(ProtocolError, match="no Arrow file"):
        client.dataset("x").runs()


@pytest.mark.parametrize("location", ["", "grpc://", "grpc+unix:///tmp/x", "http://host:1", "grpc://host:x"])
def test_a_location_of_another_kind_is_refused(location: str) -> None:
    with pytest.raises(ProtocolError, match="as a place of data"):
        check_location(location)


def test_batches_of_two_kinds_are_refused() -> None:
    first, other = record_batch(0).slice(0, 5), record_batch(0).slice(5)
    other = pa.RecordBatch.from_arrays(other.columns, names=["event", "Electron"])
    with pytest.raises(ProtocolError, match="are not of one kind"):
        list(unpacked(split(1, 0), [first, other], OUTPUTS, False))


def test_lists_that_reach_past_their_elements_are_refused() -> None:
    """Also where batches are joined first."""
    good = record_batch(0).slice(0, 5)
    lists = good.column(1)
    offsets = pa.array([0, 1000, 3, 6, 10, 15], pa.int32()).buffers()[1]
    bad = pa.Array.from_buffers(lists.type, 5, [None, offsets], children=[lists.values])
    worse = pa.RecordBatch.from_arrays([good.column(0), bad], schema=good.schema)
    with pytest.raises(ProtocolError):
        list(unpacked(split(1, 0), [good, worse], OUTPUTS, False))
