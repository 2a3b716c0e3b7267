"""The parts of the service that need no network: the line of splits, fair shares, what is kept."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import grpc
import numpy as np
import pyarrow as pa
import pytest
from distributed import Client as DaskClient
from distributed import LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_until

from skyhook_casa.catalog import FileInfo, ObjectInfo, Partition
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest, NotFound, QueryCancelled, ServiceBusy
from skyhook_casa.protocol import PROTOCOL_KEY, PROTOCOL_VERSION
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.batches import to_ipc, wire_form
from skyhook_casa.protocol.held import Held, Position
from skyhook_casa.query import Query
from skyhook_casa.report import Report
from skyhook_casa.split import Split
from skyhook_client import Client
from skyhook_server.callers import VersionCheck
from skyhook_server.cluster import CALM, LOOPBACK
from skyhook_server.dask_worker import places, run_here
from skyhook_server.dispatcher import THREADS_LEAST, Dispatcher
from skyhook_server.line import FIRST_BYTES, Line, Piece
from skyhook_server.link import HEAD, RECEIVED, Link
from skyhook_server.metrics import Metrics
from skyhook_server.place import Made, Place
from skyhook_server.plans import Plans, Prepared
from skyhook_server.query_run import QueryRun
from skyhook_server.replies import ENTRY_BYTES as REPLY_BYTES
from skyhook_server.replies import Replies
from skyhook_server.result_cache import ENTRY_BYTES, Kept, ResultCache, not_held
from skyhook_server.settings import Settings
from skyhook_server.shelf import TICKET_BYTES, Ready, Shelf

FILE = FileInfo("a.root", "u", "Events", 1 << 20, 1 << 20)
EVENTS = 100
"""Of each partition."""


def parts(count: int) -> list[Partition]:
    return [
        Partition(n, n * EVENTS, EVENTS, ObjectInfo(f"o{n}", 1000, 900, 100, 1), FILE, 0, EVENTS)
        for n in range(count)
    ]


def missing(count: int) -> list[tuple[Partition, Position]]:
    return [(part, Position(part.index)) for part in parts(count)]


def line_of(left: list[tuple[Partition, Position]], turn_s: float, threads: int = 1) -> Line:
    return Line(left, turn_s, 16 << 20, threads, FIRST_BYTES)


def made(piece: Piece, nbytes: int = 10, end: Position | None = None) -> Made:
    """What comes of a piece; a partition takes 10 ms."""
    done = (piece.stop if end is None else end.partition) - piece.first.partition
    report = Report("dy", 1, events_in=done * EVENTS, partitions_done=done, splits=1)
    return Made(1, nbytes, end, report, 0.01 * done)


def work_off(line: Line, cut: Callable[[Piece], Position | None] = lambda piece: None) -> list[Piece]:
    """Run all pieces one after the other, and return them as they come off."""
    done = []
    while not line.is_empty:
        piece, _ = line.waiting()
        assert piece is not None
        line.begin(piece)
        line.end(piece, made(piece, end=cut(piece)))
        while (ready := line.pop(ordered=True)) is not None:
            done.append(ready)
    return done


def begin_two(line: Line) -> tuple[Piece, Piece]:
    """Give the first two pieces to workers."""
    found = []
    for _ in range(2):
        piece, _ = line.waiting()
        assert piece is not None
        line.begin(piece)
        found.append(piece)
    return found[0], found[1]


# -- the line ------------------------------------------------------------------------------------
def test_the_first_piece_is_one_partition_and_travels_in_its_event() -> None:
    """So that there is something to show soon."""
    piece, is_first = line_of(missing(50), 0.25, threads=2).waiting()

    assert piece is not None and is_first
    assert ([part.index for part in piece.parts], piece.bytes_max) == ([0], FIRST_BYTES)


def test_only_the_first_piece_is_made_small() -> None:
    """Giving another one to a worker costs more than making it longer."""
    line = line_of(missing(50), 0.25, threads=2)
    first, second = begin_two(line)

    line.end(first, made(first, end=Position(0, 64)))

    rest, _ = line.waiting()
    assert rest is not None and rest.first == Position(0, 64)
    assert (second.bytes_max, rest.bytes_max) == (16 << 20, 16 << 20)


def test_pieces_grow_to_one_turn_and_shrink_near_the_end() -> None:
    pieces = work_off(line_of(missing(500), 0.25, threads=2))

    sizes = [len(piece.parts) for piece in pieces]
    assert sizes[0] == 1
    assert max(sizes) == 25
    assert sizes[-1] <= 5  # 50 ms
    assert sum(sizes) == 500


def test_a_piece_that_stops_leaves_its_rest_in_its_place() -> None:
    line = line_of(missing(3), 0.25, threads=1)
    first, second = begin_two(line)

    line.end(second, made(second))
    line.end(first, made(first, end=Position(0, 64)))

    rest, _ = line.waiting()
    assert rest is not None and (rest.first, rest.stop) == (Position(0, 64), 1)
    assert line.pop(ordered=True) is first
    assert line.pop(ordered=True) is None  # the rest comes before the second
    assert line.pop(ordered=False) is second


def test_what_comes_ready_in_any_order_comes_off_in_dataset_order() -> None:
    line = line_of(missing(4), 0.25, threads=1)
    pieces = []
    for _ in range(4):
        piece, _ = line.waiting()
        assert piece is not None
        line.begin(piece)
        pieces.append(piece)
    for number in (2, 1, 3):
        line.end(pieces[number], made(pieces[number]))
    assert line.pop(ordered=True) is None

    line.end(pieces[0], made(pieces[0]))

    assert [line.pop(ordered=True) for _ in range(5)] == [*pieces, None]
    assert line.is_empty and line.ready_bytes == 0


def test_partitions_that_do_not_follow_each_other_are_in_different_pieces() -> None:
    """What a client holds may leave holes, and a piece covers a range."""
    left = [one for one in missing(40) if one[0].index not in (11, 12, 20)]
    left[3] = (left[3][0], Position(3, 64))

    pieces = work_off(line_of(left, 60.0))

    for piece in pieces:
        numbers = [part.index for part in piece.parts]
        assert numbers == list(range(numbers[0], piece.stop))
        assert piece.first.cursor == 0 or numbers == [3]
    assert [n for piece in pieces for n in range(piece.first.partition, piece.stop)] == [
        part.index for part, _ in left
    ]


def test_what_is_dropped_is_given_back_once() -> None:
    line = line_of(missing(3), 0.25, threads=1)
    piece, _ = line.waiting()
    assert piece is not None
    line.begin(piece)
    line.end(piece, answer := made(piece, 70))
    assert line.ready_bytes == 70

    dropped = list(line.drop())

    assert dropped == [answer]
    assert line.is_empty and line.ready_bytes == 0 and list(line.drop()) == []


@given(st.data())
def test_any_run_covers_every_event_once(data: st.DataObject) -> None:
    """Whatever pieces stop early, in whatever order they come back."""
    count = data.draw(st.integers(1, 30))
    line = line_of(missing(count), 0.05, data.draw(st.integers(1, 4)))
    running: list[Piece] = []
    covered: list[tuple[tuple[int, int], tuple[int, int]]] = []
    held = Held()
    while not line.is_empty:
        piece, _ = line.waiting()
        if piece is not None and (not running or data.draw(st.booleans())):
            line.begin(piece)
            running.append(piece)
        elif running:
            piece = running.pop(data.draw(st.integers(0, len(running) - 1)))
            end = None
            last = data.draw(st.integers(piece.first.partition, piece.stop))
            if last < piece.stop:
                least = piece.first.cursor + 1 if last == piece.first.partition else 0
                if data.draw(st.booleans()) or least == 0:
                    end = Position(last, data.draw(st.integers(least, least + 50)))
            line.end(piece, made(piece, end=end))
        while (ready := line.pop(ordered=True)) is not None:
            assert ready.made is not None
            stop = ready.made.end or Position(ready.stop)
            first = (ready.first.partition, ready.first.cursor)
            covered.append((first, (stop.partition, stop.cursor)))
            held.add(ready.first, ready.made.end, ready.stop, ready.made.events)

    assert covered[0][0] == (0, 0) and covered[-1][1] == (count, 0)
    assert all(before[1] == after[0] for before, after in pairwise(covered))
    assert list(held.missing(parts(count))) == []
    assert line.running == 0 and line.ready_bytes == 0


# -- the shelf -----------------------------------------------------------------------------------
def ready(nbytes: int = 100) -> Ready:
    schema = pa.schema([("x", pa.int64())])
    return Ready(schema, [pa.record_batch([pa.array([1])], schema=schema)], nbytes)


def test_a_split_stays_until_it_is_dropped_and_its_bytes_are_counted() -> None:
    """A client may fetch it again, if the first time broke off."""
    shelf = Shelf(300.0)
    ticket, other = shelf.put(split := ready()), shelf.put(ready(7))
    assert len(ticket) == TICKET_BYTES and ticket != other
    assert shelf.get(ticket) is shelf.get(ticket) is split
    assert (len(shelf), shelf.nbytes) == (2, 107)

    shelf.drop([ticket, ticket, b"unknown"])

    assert (len(shelf), shelf.nbytes) == (1, 7)
    with pytest.raises(NotFound, match=ticket.hex()):
        shelf.get(ticket)


def test_a_split_that_nobody_took_in_time_is_swept_away() -> None:
    late, early = Shelf(-1.0), Shelf(300.0)
    late.put(ready())
    early.put(ready())

    assert (late.sweep(), early.sweep()) == (1, 0)
    assert (late.nbytes, early.nbytes) == (0, 100)


# -- the dispatcher ------------------------------------------------------------------------------
class FakeCluster:
    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.forgotten: list[str] = []

    def forget(self, query_id: str) -> None:
        self.forgotten.append(query_id)


class FakeRun:
    """A query of some splits, each of which ends when the test says so."""

    def __init__(self, client: str, query_id: str, splits: int, log: list[str]) -> None:
        self.client, self.query_id = client, query_id
        self.last_served = self.running = self.held_bytes = 0
        self._left = splits
        self._log = log
        self._going: list[asyncio.Event] = []
        self.error: Any = None

    def take(self) -> Any:
        return "piece" if self._left else None

    def begin(self, piece: Any) -> None:
        self._left -= 1
        self.running += 1
        self._log.append(self.query_id)

    async def work_on(self, piece: Any) -> None:
        end = asyncio.Event()
        self._going.append(end)
        await end.wait()
        self.running -= 1

    def end_one(self) -> None:
        self._going.pop(0).set()

    def fail(self, error: Any) -> None:
        self.error = error


def dispatching(test: Callable[[Dispatcher, FakeCluster], Awaitable[None]], threads: int = 4) -> None:
    async def run() -> None:
        cluster = FakeCluster(threads)
        dispatcher = Dispatcher(cluster, Settings(queries_max=3, queries_per_client_max=2))  # type: ignore[arg-type]
        dispatcher.start()
        try:
            await test(dispatcher, cluster)
        finally:
            await dispatcher.close()

    asyncio.run(run())


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_no_more_splits_are_given_out_than_keep_the_workers_busy() -> None:
    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        run = FakeRun("a", "q", 100, [])
        dispatcher.add(run)  # type: ignore[arg-type]
        await settle()
        assert run.running == 10  # 8 threads, and a quarter more

        run.end_one()
        await settle()

        assert run.running == 10

    dispatching(test, threads=8)


def test_a_cluster_without_workers_is_given_some_splits() -> None:
    """An adaptive one starts workers for them."""

    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        run = FakeRun("a", "q", 100, [])
        dispatcher.add(run)  # type: ignore[arg-type]
        await settle()
        assert run.running == THREADS_LEAST

    dispatching(test, threads=0)


def test_a_query_that_comes_later_gets_the_next_worker() -> None:
    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        log: list[str] = []
        long, short = FakeRun("a", "long", 1000, log), FakeRun("b", "short", 2, log)
        dispatcher.add(long)  # type: ignore[arg-type]
        await settle()
        dispatcher.add(short)  # type: ignore[arg-type]
        before = len(log)
        for _ in range(2):
            long.end_one()
            await settle()
        assert log[before:] == ["short", "short"]

    dispatching(test)


def test_a_client_of_many_queries_gets_no_more_than_a_client_of_one() -> None:
    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        log: list[str] = []
        many = [FakeRun("greedy", f"g{n}", 1000, log) for n in range(9)]
        one = FakeRun("modest", "m", 1000, log)
        by_name = {run.query_id: run for run in [*many, one]}
        for run in by_name.values():
            dispatcher.add(run)  # type: ignore[arg-type]
        for number in range(200):
            await settle()
            by_name[log[number]].end_one()  # as long a turn for each

        assert 0.45 <= log.count("m") / len(log) <= 0.55
        counts = [log.count(f"g{n}") for n in range(9)]
        assert max(counts) - min(counts) <= 2

    dispatching(test, threads=8)


def test_a_query_that_was_removed_is_forgotten_once_none_of_its_splits_runs() -> None:
    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        run = FakeRun("a", "q", 1, [])
        dispatcher.add(run)  # type: ignore[arg-type]
        await settle()
        dispatcher.remove(run)  # type: ignore[arg-type]
        assert cluster.forgotten == []

        run.end_one()
        await settle()

        assert cluster.forgotten == ["q"]

    dispatching(test)


def test_queries_over_a_limit_are_refused_and_told_when_to_come_again() -> None:
    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        def add(client: str) -> FakeRun:
            with dispatcher.admit(client):
                run = FakeRun(client, f"{client}{len(dispatcher.runs)}", 0, [])
                dispatcher.add(run)  # type: ignore[arg-type]
            return run

        first = add("a")
        add("a")
        with pytest.raises(ServiceBusy, match="2 queries of a run") as refused:
            dispatcher.admit("a")
        assert refused.value.retry_after_s > 0
        add("b")
        with pytest.raises(ServiceBusy, match="3 queries run, as many as the service allows"):
            dispatcher.admit("c")
        dispatcher.remove(first)  # type: ignore[arg-type]
        add("c")
        dispatcher.drain()
        with pytest.raises(ServiceBusy, match="about to end"):
            dispatcher.admit("d")

    dispatching(test)


def test_queries_that_are_being_planned_count_for_the_limits() -> None:
    """Many may come while the first is not planned yet."""

    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        with dispatcher.admit("a"), dispatcher.admit("a"):
            assert not dispatcher.is_idle
            with pytest.raises(ServiceBusy, match="2 queries of a"):
                dispatcher.admit("a")
        assert dispatcher.is_idle
        dispatcher.admit("a")

    dispatching(test)


def test_clients_that_do_not_take_their_answers_are_refused_more() -> None:
    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        settings = Settings()
        dispatcher._settings = settings
        run = FakeRun("a", "q", 0, [])
        dispatcher.add(run)  # type: ignore[arg-type]
        run.held_bytes = settings.client_bytes_max - 1
        dispatcher.admit("a")

        run.held_bytes += 1

        with pytest.raises(ServiceBusy, match="bytes of answers to take"):
            dispatcher.admit("a")
        dispatcher.admit("b")
        run.held_bytes = settings.held_bytes_max
        with pytest.raises(ServiceBusy, match="bytes of answers wait"):
            dispatcher.admit("b")

    dispatching(test)


def test_a_query_ends_if_the_service_makes_a_mistake() -> None:
    """Its client would wait for ever."""

    class Mistaken(FakeRun):
        async def work_on(self, piece: Any) -> None:
            self.running -= 1
            raise ZeroDivisionError("oops")

    async def test(dispatcher: Dispatcher, cluster: FakeCluster) -> None:
        run = Mistaken("a", "q", 1, [])
        dispatcher.add(run)  # type: ignore[arg-type]
        await settle()
        assert str(run.error) == "the service made a mistake: ZeroDivisionError: oops"
        assert run.error.kind == "internal"

    dispatching(test)


# -- one query -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def dataset(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A dataset `dy` of several partitions, and a catalog to plan with."""
    import skyhook_casa

    client = skyhook_casa.connect(tmp_path_factory.mktemp("store"))
    client.ingest("dy", nano_file, partition_bytes=128 * 1024, chunk_events=64, workers=1)
    return client


class HandWork:
    """Runs splits when the test says so, with answers that the test says."""

    threads = 4
    is_local = True
    place = SimpleNamespace(shelf=Shelf(300.0))

    def __init__(self) -> None:
        self.released: list[Made] = []
        self.splits: list[Any] = []
        self.direct: list[bool] = []
        self._answers: list[asyncio.Future[Made]] = []

    async def run(self, split: Any, direct: bool) -> Made:
        self.splits.append(split)
        self.direct.append(direct)
        answer: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        return await answer

    def answer(
        self, number: int, events: int, nbytes: int = 10, end: Position | None = None, seconds: float = 0.01
    ) -> Made:
        split = self.splits[number]
        last = split.parts[-1].index + 1 if end is None else end.partition
        done = last - split.first.partition
        seen = sum(part.events for part in split.parts[:done])
        counts = {"events_in": seen, "events_out": events, "partitions_done": done}
        answer = Made(events, nbytes, end, Report("dy", 1, splits=1, **counts), seconds, data=b"x")
        self._answers[number].set_result(answer)
        return answer

    def cancel(self, query_id: str) -> None: ...

    def release(self, made: Any) -> None:
        self.released += made


def asked(
    client: Client, hands: HandWork, query: Query, cache: ResultCache | None = None, **start: Any
) -> QueryRun:
    prepared = Plans(client.catalog, 8).prepare(query)
    message = pb.QueryStart(query=query.to_json(), **start)
    engine: Any = SimpleNamespace(
        cluster=hands,
        cache=cache or ResultCache(0, 16 << 20),
        settings=Settings(window_bytes=100, split_bytes=50),
        metrics=Metrics(),
        dispatcher=SimpleNamespace(wake=lambda: None),
    )
    return QueryRun(engine, "q", "a", prepared, prepared.work("read", False, b""), message)


def given_out(run: QueryRun) -> list[asyncio.Task[None]]:
    """Begin as many pieces as the run gives."""
    tasks = []
    while (piece := run.take()) is not None:
        run.begin(piece)
        tasks.append(asyncio.create_task(run.work_on(piece)))
    return tasks


async def next_split(events: AsyncIterator[pb.QueryEvent]) -> pb.Split:
    while (event := await anext(events)).WhichOneof("event") != "split":
        assert event.WhichOneof("event") in ("plan", "progress")
    return event.split


def test_a_limit_is_kept_also_if_a_split_ends_before_the_one_before_was_told(dataset: Client) -> None:
    """How many events are left is known only when the splits before were counted."""

    async def test() -> None:
        work = HandWork()
        run = asked(dataset, work, Query.make("dy", "event", limit=10))
        events = run.events()
        given_out(run)
        await settle()
        assert [split.events_max for split in work.splits] == [10]
        work.answer(0, 4)
        await settle()

        given_out(run)
        assert len(work.splits) == 1
        assert (await next_split(events)).events == 4

        given_out(run)
        await settle()

        assert [split.events_max for split in work.splits] == [10, 6]
        work.answer(1, 6)
        assert (await next_split(events)).events == 6
        assert (await anext(events)).end.report.events_out == 10

    asyncio.run(test())


@pytest.mark.parametrize(
    ("is_local", "seconds", "direct"), [(True, 0.01, True), (True, 10.0, False), (False, 0.01, False)]
)
def test_a_task_is_made_of_what_takes_long_or_runs_elsewhere(
    dataset: Client, is_local: bool, seconds: float, direct: bool
) -> None:
    """Making one takes as long as a short piece; the first piece is soon there without."""

    async def test() -> None:
        work = HandWork()
        work.is_local = is_local
        run = asked(dataset, work, Query.make("dy", "event"))
        given_out(run)
        await settle()
        begun = len(work.splits)
        assert work.direct == [True, *[is_local] * (begun - 1)]

        for number in range(begun):
            work.answer(number, 1, 1, seconds=seconds)
        await settle()
        given_out(run)
        await settle()

        assert len(work.splits) > begun
        assert work.direct[begun:] == [direct] * (len(work.splits) - begun)
        run.close()

    asyncio.run(test())


def test_a_window_that_is_full_stops_the_work_until_the_client_has_taken_something(dataset: Client) -> None:
    async def test() -> None:
        work = HandWork()
        run = asked(dataset, work, Query.make("dy", "event"))
        events = run.events()
        given_out(run)
        await settle()
        splits = []
        for number in range(100):
            if number >= len(work.splits):
                break
            work.answer(number, 5, nbytes=40)
            await settle()
            splits.append(await next_split(events))
            given_out(run)
            await settle()
        assert sum(split.nbytes for split in splits) <= 100 + 40 * 3
        assert run.held_bytes >= 100
        assert run.take() is None

        freed = run.acknowledge(splits[-1].number)

        assert len(freed) == len(splits)
        assert run.held_bytes == 0
        assert run.take() is not None
        run.close()

    asyncio.run(test())


@pytest.mark.parametrize("ticks", range(5))
def test_a_client_that_leaves_just_when_something_changes_ends_its_query(dataset: Client, ticks: int) -> None:
    """Else it would hold its window for ever."""

    async def test() -> None:
        run = asked(dataset, HandWork(), Query.make("dy", "event"))
        events = run.events()
        assert (await anext(events)).WhichOneof("event") == "plan"
        telling = asyncio.ensure_future(anext(events))
        await settle()
        run.acknowledge(0)
        for _ in range(ticks):
            await asyncio.sleep(0)

        telling.cancel()
        await settle()

        assert telling.cancelled()

    asyncio.run(test())


def test_a_split_that_was_never_announced_cannot_be_acknowledged(dataset: Client) -> None:
    async def test() -> None:
        run = asked(dataset, HandWork(), Query.make("dy", "event"))
        with pytest.raises(InvalidRequest, match="split 1 is acknowledged; 0 were announced"):
            run.acknowledge(1)

    asyncio.run(test())


def test_a_client_cannot_hold_what_is_not_there(dataset: Client) -> None:
    """Its answer would silently lack what it holds by mistake."""
    partitions = dataset.backend.version("dy").partitions
    query = Query.make("dy", "event")

    async def test() -> None:
        held = pb.Held(whole=[pb.PartitionRange(first=1, stop=partitions)])
        asked(dataset, HandWork(), query, held=held).close()
        held.whole[0].stop += 1
        with pytest.raises(InvalidRequest, match=f"at most {partitions} partitions"):
            asked(dataset, HandWork(), query, held=held)

    asyncio.run(test())


def test_a_query_that_was_closed_frees_what_comes_later(dataset: Client) -> None:
    """Its client went away while workers were at it."""

    async def test() -> None:
        work = HandWork()
        run = asked(dataset, work, Query.make("dy", "event"))
        tasks = given_out(run)
        await settle()
        run.close()
        late = work.answer(0, 5)
        await settle()

        assert work.released == [late]
        assert run.running == len(tasks) - 1
        assert run.take() is None

    asyncio.run(test())


# -- where splits run ----------------------------------------------------------------------------
def whole(client: Client) -> Split:
    prepared = Plans(client.catalog, 8).prepare(Query.make("dy"))
    return Split("q", prepared.work("read", False, b""), prepared.parts, Position(0))


def test_an_answer_that_nobody_wants_any_more_does_not_stay(dataset: Client) -> None:
    """Whether that is known before the first partition, between two, or when its events are there."""
    split = whole(dataset)
    place = Place(Shelf(300.0))
    place.add_store(dataset.backend.store)

    for questions in (1, 2, len(split.parts) + 1):
        answers = iter([False] * (questions - 1))
        with pytest.raises(QueryCancelled):
            place.run(split, dataset.backend.url, lambda answers=answers: next(answers, True))
        assert len(place.shelf) == 0

    place.run(split, dataset.backend.url)
    assert len(place.shelf) == 1


def test_a_task_knows_when_nobody_waits_for_it_any_more(dataset: Client) -> None:
    """Dask cannot end what a thread does."""
    begun, told = threading.Event(), threading.Event()

    class Waiting(Place):
        def run(self, split: Split, store_url: str, cancelled: Callable[[], bool] = bool) -> Made:
            assert not cancelled()
            begun.set()
            wait_until(cancelled, "the task was released")
            told.set()
            raise QueryCancelled("ended")

    async def test() -> None:
        with dask.config.set(CALM):
            async with (
                LocalCluster(
                    n_workers=1,
                    threads_per_worker=1,
                    processes=False,
                    asynchronous=True,
                    dashboard_address=LOOPBACK,
                    worker_dashboard_address=LOOPBACK,
                    protocol="inproc://",
                    memory_limit=0,
                ) as cluster,
                DaskClient(cluster, asynchronous=True, set_as_default=False) as client,
            ):
                future = client.submit(run_here, "waiting", whole(dataset).encode(), "x", key="one")
                await asyncio.to_thread(begun.wait, 60)
                future.release()
                await asyncio.to_thread(told.wait, 60)

    places["waiting"] = Waiting(Shelf(300.0))
    try:
        asyncio.run(test())
    finally:
        del places["waiting"]
    assert told.is_set()


# -- messages between processes -------------------------------------------------------------------
def linked() -> tuple[Link, Link]:
    ours, its = socket.socketpair()
    return Link(ours), Link(its)


@pytest.mark.parametrize("size", [0, 1, RECEIVED - HEAD.size, RECEIVED - HEAD.size + 1, 5 * RECEIVED])
def test_messages_of_any_length_come_whole(size: int) -> None:
    ours, its = linked()
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(ours.send, 7, data)
        assert its.receive(60) == (7, data)
        sending.result()
    ours.close()
    its.close()


def test_a_message_whose_head_comes_in_pieces_comes_whole() -> None:
    ours, its = socket.socketpair()
    link = Link(its)
    with ThreadPoolExecutor(1) as thread:
        received = thread.submit(link.receive, 60)
        for byte in HEAD.pack(2, 9) + b"ab":
            ours.sendall(bytes([byte]))
        assert received.result() == (9, b"ab")
    ours.close()
    link.close()


def test_silence_and_an_end_are_told_apart() -> None:
    ours, its = linked()
    with pytest.raises(TimeoutError):
        its.receive(0.01)
    ours.close()
    with pytest.raises(ConnectionResetError, match="has ended"):
        its.receive(60)
    its.close()


# -- what is kept --------------------------------------------------------------------------------
def kept(nbytes: int) -> list[Kept]:
    return [Kept(Made(1, nbytes - ENTRY_BYTES, None, Report("dy", 1), 0.0), Position(0), parts(1), None)]


def test_the_cache_keeps_what_was_used_last() -> None:
    cache = ResultCache(40_000, 16 << 20)
    for name in (b"a", b"b", b"c", b"d"):
        cache.put(name, kept(10_000))
    assert cache.get(b"a") is not None

    cache.put(b"e", kept(10_000))

    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d", b"e")] == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert cache.nbytes == 40_000


@pytest.mark.parametrize(("nbytes", "fits"), [(10_000, True), (10_001, False)])
def test_an_answer_larger_than_its_share_of_the_cache_is_not_kept(nbytes: int, fits: bool) -> None:
    cache = ResultCache(40_000, 16 << 20)
    cache.put(b"a", kept(nbytes))
    assert (cache.get(b"a") is not None) == fits


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = ResultCache(0, 16 << 20)
    cache.put(b"a", kept(ENTRY_BYTES))
    assert cache.get(b"a") is None
    assert cache.nbytes == 0


SPLIT_FORM = wire_form((Output("event", "int64", None),))


def split_of(number: int, events: int, data: bool) -> Kept:
    """A split of a partition of its own."""
    report = Report("dy", 1, partitions_done=1, events_out=events, splits=1, splits_cached=1)
    batches = [pa.record_batch([np.arange(events) + number * EVENTS], schema=SPLIT_FORM.schema)]
    nbytes = 8 * events
    end = None if number % 2 else Position(number + 1)
    one = Made(events, nbytes, end, report, 0.1, to_ipc(batches, SPLIT_FORM.schema) if data else b"")
    shelved = None if data or not events else Ready(SPLIT_FORM.schema, batches, nbytes)
    return Kept(one, Position(number), parts(number + 1)[number:], shelved)


@given(st.lists(st.tuples(st.integers(0, EVENTS), st.booleans()), min_size=1, max_size=12))
def test_a_kept_answer_is_the_same_in_fewer_splits(sizes: list[tuple[int, bool]]) -> None:
    answer = [split_of(number, *size) for number, size in enumerate(sizes)]
    cache = ResultCache(1 << 30, most := 2000)

    cache.put(b"a", answer)

    found = cache.get(b"a")
    assert found is not None and found[0] is answer[0]
    assert all(one.made.nbytes + other.made.nbytes > most for one, other in pairwise(found[1:]))
    held, report = Held(), Report("dy", 1)
    for one in found:
        held.add(one.first, one.made.end, one.parts[-1].index + 1, one.made.events)
        report.add(one.made.report)
    assert list(held.missing(parts(len(sizes)))) == []
    assert (report.partitions_done, report.splits) == (len(sizes), len(found))
    values = [batch["event"].to_pylist() for one in found if one.made.events for batch in one.batches]
    wanted = [n * EVENTS + event for n, (events, _) in enumerate(sizes) for event in range(events)]
    assert [number for some in values for number in some] == wanted
    assert report.events_out == held.events_out == len(wanted)


@given(st.data())
def test_of_a_kept_answer_comes_what_the_client_does_not_hold(data: st.DataObject) -> None:
    """It may have got the first split with the plan, or the stream may have broken."""
    answer = tuple(split_of(number, data.draw(st.integers(0, 2)), True) for number in range(6))
    count = data.draw(st.integers(0, 6))
    held = Held()
    for one in answer[:count]:
        held.add(one.first, one.made.end, one.parts[-1].index + 1, one.made.events)
    assert not_held(answer, Held.from_message(held.to_message())) == answer[count:]

    held.add(Position(count), Position(count, 64), count + 1, 1)
    assert not_held(answer, held) is None


def test_histograms_that_are_kept_stay_apart() -> None:
    """Their bins are summed for each query anew."""
    bins = ((b"\0" * 8, b""),)
    answer = [
        replace(split_of(n, 0, True), made=replace(split_of(n, 0, True).made, bins=bins)) for n in range(4)
    ]
    cache = ResultCache(1 << 30, 16 << 20)

    cache.put(b"a", answer)

    assert cache.get(b"a") == answer


def test_plans_are_kept_for_equal_queries_and_forgotten_in_order(dataset: Client) -> None:
    plans = Plans(dataset.catalog, 2)
    queries = [Query.make("dy", "event", f"nMuon >= {n}") for n in range(3)]
    first = plans.prepare(queries[0])
    assert plans.prepare(queries[0]) is first
    assert plans.prepare(queries[0], counts=True) is not first

    plans.prepare(queries[2])

    assert plans.prepare(queries[0]) is not first


def test_plans_may_be_kept_not_at_all(dataset: Client) -> None:
    plans = Plans(dataset.catalog, 0)
    query = Query.make("dy", "event")
    assert plans.prepare(query) is not plans.prepare(query)


def test_answers_have_one_key_if_and_only_if_they_are_equal(dataset: Client) -> None:
    plans = Plans(dataset.catalog, 8)

    def prepared(*query: Any, **options: Any) -> Prepared:
        return plans.prepare(Query.make("dy", *query, **options))

    def key(one: Prepared, rows: bool = False) -> bytes:
        return one.answer_key(one.work("read", rows, b""))

    base = prepared(["event", "MET_pt"], "MET_pt > 20")
    assert (
        key(base)
        == key(plans.prepare(base.plan.query))
        == key(Plans(dataset.catalog, 8).prepare(base.plan.query))
    )
    plan = copy(base.plan)
    plan.version = replace(plan.version, id=2)
    of_version_2 = Prepared(plan, base.lock)
    others = [
        key(prepared(["MET_pt", "event"], "MET_pt > 20")),
        key(prepared(["event", "MET_pt"], "MET_pt > 21")),
        key(prepared(["event", "MET_pt"], "MET_pt >= 20")),
        key(prepared(["event", "MET_pt"])),
        key(base, rows=True),
        key(prepared(["event", "MET_pt"], "MET_pt > 20", limit=1)),
        key(of_version_2),
    ]
    assert len({key(base), *others}) == len(others) + 1


# -- who calls -----------------------------------------------------------------------------------
def checked(method: str, *metadata: tuple[str, str]) -> bool:
    """Whether a call gets through to its handler."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: None)

    async def found(details: Any) -> Any:
        return handler

    details = SimpleNamespace(method=method, invocation_metadata=metadata)
    return asyncio.run(VersionCheck().intercept_service(found, details)) is handler


def test_only_calls_of_the_same_version_of_the_protocol_get_through() -> None:
    ours = "/skyhook_casa.v1.Delivery/Hello"
    assert checked(ours, (PROTOCOL_KEY, str(PROTOCOL_VERSION)))
    assert not checked(ours, (PROTOCOL_KEY, str(PROTOCOL_VERSION + 1)))
    assert not checked(ours)
    assert checked("/grpc.health.v1.Health/Check")


# -- replies ------------------------------------------------------------------------------------
def replied(name: str, events: int = 1) -> pb.QueryPlan:
    split = pb.Split(number=1, events=events, nbytes=8 * events, data=b"d" * events)
    return pb.QueryPlan(query_id=name, query="q", answer=pb.Answer(splits=[split]))


def test_a_reply_is_kept_while_the_catalog_stays_as_it_is() -> None:
    replies = Replies(10_000)
    replies.put(b"asked", 5, replied("first", 3))

    found = replies.get(b"asked", 5)

    assert found is not None
    assert (found.splits, found.events, found.nbytes) == (1, 3, 24)
    assert pb.QueryPlan.FromString(found.to("second")) == replied("second", 3)
    assert replies.get(b"asked", 6) is None
    assert replies.get(b"asked", None) is None
    assert replies.get(b"other", 5) is None
    replies.put(b"other", 6, replied("x"))
    assert replies.get(b"asked", 5) is None


def test_replies_that_were_not_used_make_room() -> None:
    size = len(b"0") + len(replied("").SerializeToString()) + REPLY_BYTES
    replies = Replies(3 * size)
    for name in (b"0", b"1", b"2"):
        replies.put(name, 1, replied("x"))
    replies.put(b"0", 1, replied("x"))
    assert (replies.nbytes, replies.get(b"0", 1) is not None) == (3 * size, True)

    replies.put(b"3", 1, replied("x"))

    assert [replies.get(name, 1) is not None for name in (b"0", b"1", b"2", b"3")] == [
        True,
        False,
        True,
        True,
    ]
    assert replies.nbytes == 3 * size


def test_where_nobody_sees_commits_no_reply_is_kept() -> None:
    replies = Replies(10_000)
    replies.put(b"asked", None, replied("x"))
    assert (replies.get(b"asked", None), replies.nbytes) == (None, 0)


def test_a_reply_that_is_longer_than_all_may_be_is_not_kept() -> None:
    replies = Replies(0)
    replies.put(b"asked", 1, replied("x"))
    assert (replies.get(b"asked", 1), replies.nbytes) == (None, 0)
