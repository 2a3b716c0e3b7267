"""Short answers, which come with their plan: whole, right, and only if they are soon there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_service import EVENTS, PARTITIONS, QUERY_ID, FakeService, client_of, end, split
from ingest_helpers import write_root
from service_fixture import service_client

import skyhook_casa
from skyhook_casa.errors import InvalidRequest, MissingColumn, ProtocolError, SkyhookError
from skyhook_casa.protocol import INLINE_BYTES
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_client import Client
from skyhook_client.remote.backend import RemoteBackend

pytest.importorskip("distributed")


def short(*splits: pb.Split, count: int = PARTITIONS, deliver: Any = pb.QueryStart.BATCHES) -> pb.Answer:
    return pb.Answer(splits=splits, end=end(count, deliver).end)


ALL = tuple(split(number + 1, number) for number in range(PARTITIONS))


@pytest.fixture
def fake() -> Iterator[FakeService]:
    service = FakeService()
    yield service
    service.close()


# -- the client ----------------------------------------------------------------------------------
def test_an_answer_that_came_with_the_plan_saves_the_second_call(fake: FakeService) -> None:
    fake.short = short(*ALL)
    with client_of(fake) as client:
        query = client.query("x")
        found = [query.to_awkward().event.tolist() for _ in range(2)]

    assert found == [list(range(EVENTS))] * 2
    assert fake.calls == ["Hello", "Resolve"]
    assert (query.report.query_id, query.report.splits) == (QUERY_ID, PARTITIONS)


def test_a_count_is_asked_for_at_once_and_needs_no_stream(fake: FakeService) -> None:
    with client_of(fake) as client:
        query = client.query("x", cut="event > 0")
        fake.short = short(count=PARTITIONS, deliver=pb.QueryStart.COUNT)
        assert query.count() == EVENTS

    assert fake.calls == ["Hello", "Resolve", "Resolve"]


def test_without_an_answer_in_the_plan_there_is_a_stream(fake: FakeService) -> None:
    with client_of(fake) as client:
        assert client.query("x").to_awkward().event.tolist() == list(range(EVENTS))

    assert fake.calls == ["Hello", "Resolve", "Query"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (pb.Answer(splits=ALL), "without its end"),
        (short(*ALL[:-1]), "ended after 5 splits; it says 6"),
        (short(*ALL[1:], count=5), "announced split 2 after 0"),
        (short(*ALL, split(7, 5), count=7), "after 7 of 6 partitions"),
        (short(split(1, 0, data=b"", ticket=b"t"), *ALL[1:]), "without its events"),
        (short(split(1, 0, events=9), *ALL[1:]), "announced|events"),
        (short(split(1, 0, data=b"what"), *ALL[1:]), "Arrow"),
        (short(split(1, 0, nbytes=1 << 40), *ALL[1:]), "bytes are taken"),
        (short(*ALL[:-1], count=5), "after 5 of 6 partitions"),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(
    fake: FakeService, answer: pb.Answer, message: str
) -> None:
    fake.short = answer
    with client_of(fake) as client, pytest.raises(ProtocolError, match=message):
        client.query("x").to_awkward()


# -- the service ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def stored(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Datasets: `dy` of many partitions, `one` of a single one, `two` of files with other columns."""
    place = tmp_path_factory.mktemp("nano")
    client = skyhook_casa.connect(place / "store")
    client.ingest("dy", nano_file, partition_bytes=128 * 1024, chunk_events=64, workers=1)
    client.ingest("one", nano_file, workers=1)
    client.ingest("two", nano_file, columns=["run", "event", "MET_pt"], workers=1)
    client.ingest("two", write_root(place / "b.root", 20, seed=2), columns=["run", "event"], workers=1)
    return client


@pytest.fixture(scope="module")
def served(stored: Client) -> Iterator[Client]:
    with service_client(stored) as client:
        yield client


@pytest.fixture
def no_stream(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a `Query` call is made."""

    def query(messages: Any) -> Any:
        raise AssertionError("a stream was begun")

    assert isinstance(served.backend, RemoteBackend)
    monkeypatch.setattr(served.backend.channel, "query", query)


def answer_of(query: Any) -> pb.Answer | None:
    plan = query.question.plan
    return plan.answer if plan.HasField("answer") else None


QUERIES: dict[str, Callable[[Client], Any]] = {
    "limit": lambda client: client.query("dy", ["event", "Muon_pt"], "MET_pt > 5", limit=7),
    "one partition": lambda client: client.query("one", ["event", "Muon_pt"], "nMuon >= 2"),
    "no events": lambda client: client.query("one", ["event", "Muon_pt"], "MET_pt < 0"),
    "thinned": lambda client: client.query("one", ["event", "Muon"], objects={"Muon": "pt > 10"}),
}


@pytest.mark.usefixtures("no_stream")
@pytest.mark.parametrize("name", QUERIES)
def test_short_answers_equal_the_embedded_ones(stored: Client, served: Client, name: str) -> None:
    """The first time and when they are kept; with their reports."""
    embedded, query = QUERIES[name](stored), QUERIES[name](served)

    for again in range(2):
        assert query.to_arrow().equals(embedded.to_arrow())
        here, there = embedded.report, query.report
        assert (there.events_in, there.events_out, there.cutflow) == (
            here.events_in,
            here.events_out,
            here.cutflow,
        )
        assert there.reason == here.reason
        assert (there.partitions_done, there.partitions_planned) == (
            here.partitions_done,
            here.partitions_planned,
        )
        query = QUERIES[name](served)
        if again:
            assert query.to_arrow().equals(embedded.to_arrow())
            assert query.report.splits_cached == query.report.splits


@pytest.mark.usefixtures("no_stream")
def test_counts_rows_and_histograms_of_short_queries_need_no_stream(stored: Client, served: Client) -> None:
    for ask in (
        lambda client: client.query("one", "event", "MET_pt > 20").count(),
        lambda client: client.query("one", ["event", "nMuon"], "MET_pt > 20").to_pandas().to_dict(),
        lambda client: client.query("one").hist("MET_pt", bins=10, range=(0, 100)).values(flow=True).tolist(),
    ):
        assert ask(served) == ask(stored)


@pytest.mark.parametrize("description", [b"abc", b""])
def test_histograms_that_are_none_are_refused_with_the_question(served: Client, description: bytes) -> None:
    text = client_question(served)
    start = pb.QueryStart(query=text, deliver=pb.QueryStart.HISTOGRAMS, histograms=description)

    assert isinstance(served.backend, RemoteBackend)
    with pytest.raises(InvalidRequest, match="histogram"):
        served.backend.resolve(start)


def client_question(client: Client) -> str:
    text: str = client.query("one", ["MET_pt"]).question.value.to_json()
    return text


def test_explain_says_who_reads(stored: Client, served: Client) -> None:
    places = [client.query("dy", ["event"]).explain().place for client in (stored, served)]

    assert places[0].startswith("in this process, on file://")
    assert places[1].startswith("by the workers of the service, on file://")


def test_a_long_query_comes_as_a_stream_until_its_answer_is_kept(served: Client) -> None:
    asked = ["event"], "MET_pt > 3"
    first = served.query("dy", *asked)
    assert answer_of(first) is None
    events = first.to_awkward().event.tolist()

    again = served.query("dy", *asked)

    assert answer_of(again) is not None
    assert again.to_awkward().event.tolist() == events


def test_what_is_too_long_for_a_message_comes_as_a_stream(stored: Client, served: Client) -> None:
    """Also when it is kept."""
    for _ in range(2):
        query = served.query("one")
        assert answer_of(query) is None
        found = query.to_arrow()
        assert found.nbytes > INLINE_BYTES
        assert found.equals(stored.query("one").to_arrow())


def test_an_error_of_the_data_comes_when_they_are_asked_for(served: Client) -> None:
    """As it does embedded: the query itself is right."""
    query = served.query("two", ["event", "MET_pt"], limit=2_000)

    with pytest.raises(MissingColumn, match="MET_pt is not in"):
        query.to_awkward()


def test_objects_that_cannot_be_read_fail_the_run_and_not_the_question(tmp_path: Path) -> None:
    path = write_root(tmp_path / "dy.root", 50)
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("dy", path, workers=1)
    for one in (tmp_path / "store" / "objects").rglob("*"):
        if one.is_file():
            one.unlink()
    with service_client(client) as served:
        query = served.query("dy", "event")
        with pytest.raises(SkyhookError, match="object"):
            query.to_awkward()


def test_a_busy_service_still_says_what_it_would_deliver(stored: Client) -> None:
    with service_client(stored, queries_max=1) as served:
        running = served.query("dy", ["event"], "MET_pt > 4").batches()
        query = served.query("one", ["event"], "MET_pt > 40")
        assert [output.name for output in query.outputs] == ["event"]
        running.close()
        assert query.to_arrow().num_rows == stored.query("one", ["event"], "MET_pt > 40").count()


def test_short_queries_count_once(stored: Client) -> None:
    """Whether they were kept or not, and not those of which only the plan was wanted."""
    with service_client(stored) as served:
        for _ in range(3):
            served.query("one", ["event"], "MET_pt > 41", limit=3).to_awkward()
        status = served.status()

    assert (status.queries_done, status.cache_hits, status.cache_misses) == (3, 2, 1)
    assert not status.queries


# -- what is remembered between queries --------------------------------------------------------------
@pytest.fixture
def changing(tmp_path: Path) -> Iterator[tuple[Client, Client, Path]]:
    """A client of a service, one that changes the same store by itself, and a file."""
    path = write_root(tmp_path / "dy.root", 50)
    home = skyhook_casa.connect(tmp_path / "store")
    home.ingest("dy", path, workers=1)
    with service_client(home) as served:
        yield served, home, path


def test_the_next_query_sees_a_new_version_of_another_process(
    changing: tuple[Client, Client, Path], tmp_path: Path
) -> None:
    served, home, _ = changing
    before = [served.query("dy", "event").to_arrow().num_rows for _ in range(2)]

    home.ingest("dy", write_root(tmp_path / "more.root", 30, seed=3), workers=1)

    assert before == [50, 50]
    assert served.query("dy", "event").to_arrow().num_rows == 80
    assert served.query("dy", "event", version=1).to_arrow().num_rows == 50


def test_the_next_query_sees_that_a_dataset_was_dropped(changing: tuple[Client, Client, Path]) -> None:
    served, home, _ = changing
    served.query("dy", "event").to_arrow()

    home.drop("dy")

    with pytest.raises(SkyhookError, match="no dataset 'dy'"):
        served.query("dy", "event")


def test_the_next_query_sees_another_definition(changing: tuple[Client, Client, Path]) -> None:
    served, home, _ = changing
    found = []
    for text in ("MET_pt * 2", "MET_pt * 3"):
        home.define("dy", {"more": text})
        found.append(served.query("dy", ["MET_pt", "more"]).to_awkward())
        home.drop_definition("dy", "more")

    assert found[0].more.tolist() != found[1].more.tolist()
    for factor, one in zip((2, 3), found, strict=True):
        assert one.more.tolist() == pytest.approx((one.MET_pt * factor).tolist())
