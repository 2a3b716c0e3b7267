"""Scans inside a store: the same answers as here, whoever runs them, and reading when that fails."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from service_fixture import ANSWERERS, answered

import skyhook_client
from skyhook_casa import _engine, worker
from skyhook_casa.errors import AccessDenied, ClassMissing, CorruptObject, InvalidRequest, StoreError
from skyhook_casa.execution import DIRECTORY_BYTES, RECENT_PIECES, WHOLE, WORTH, WORTH_AGAIN, Choice
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.plan import plan
from skyhook_casa.query import Query
from skyhook_casa.stores import ByteRange, MemoryStore

COLUMNS = ["MET_pt", "nMuon", "Muon_pt", "Muon_charge"]
CUT = "nMuon >= 2 and any((Muon_pt > 20) & (abs(Muon_eta) < 2.4))"


@pytest.fixture(scope="module")
def root_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("execution") / "nano.root"
    make_nanoaod(path, 4000, seed=5)
    return path


@pytest.fixture(scope="module")
def client(root_file: Path) -> skyhook_client.Client:
    """Of a store that tests may add to, and leave `dy` as it is."""
    client = skyhook_client.connect(MemoryStore(runs_class=True), threads=2, progress=False)
    client.ingest("dy", [root_file], ["MET_*", "Muon_*", "Jet_*"], partition_bytes=65_536, chunk_events=300)
    return client


@pytest.fixture(scope="module", params=ANSWERERS)
def asked(request: pytest.FixtureRequest, client: skyhook_client.Client) -> Iterator[skyhook_client.Client]:
    """The same data, asked here or through a service, which keeps no answers: each query runs."""
    with answered(request.param, client, cache_bytes=0) as asked:
        yield asked


@pytest.mark.parametrize("answer_bytes", [1, 5_000, worker.ANSWER_BYTES])
@pytest.mark.parametrize("cut", [CUT, "MET_pt > 1e9", None])
def test_a_scan_in_the_store_answers_as_one_here(
    asked: skyhook_client.Client, cut: str | None, answer_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is cut off and goes on."""
    monkeypatch.setattr(worker, "ANSWER_BYTES", answer_bytes)
    here = asked.query("dy", COLUMNS, cut, execution="read")
    there = asked.query("dy", COLUMNS, cut, execution="pushdown")

    expected, found = here.to_awkward(), there.to_awkward()

    assert ak.array_equal(found, expected, dtype_exact=True)
    assert there.report.events_in == here.report.events_in
    assert there.report.cutflow == here.report.cutflow
    assert there.report.partitions_pushed == there.report.partitions_planned
    assert here.report.partitions_pushed == 0


def test_rare_events_move_few_bytes(asked: skyhook_client.Client) -> None:
    """That is what it is for."""
    here = asked.query("dy", ["Jet_*"], "MET_pt > 60", execution="read")
    there = asked.query("dy", ["Jet_*"], "MET_pt > 60", execution="pushdown")

    here.to_awkward()
    there.to_awkward()

    assert there.report.bytes_moved < here.report.bytes_moved


def test_a_cut_starts_in_the_store_and_everything_is_read(asked: skyhook_client.Client) -> None:
    assert "inside memory://" in str(asked.query("dy", COLUMNS, CUT).explain())
    assert "every event is wanted" in str(asked.query("dy", COLUMNS).explain())


# -- the choice of a place ------------------------------------------------------------------------
STORED = 1_000_000
"""Stored bytes of a piece, with what its directory takes."""


@pytest.fixture
def choice(client: skyhook_client.Client) -> Choice:
    return Choice(plan(client.catalog, Query.make("dy", COLUMNS, CUT)), client.store)


def pushes(choice: Choice) -> bool:
    return choice.pushdown


def show(choice: Choice, share: float, pieces: int = 1) -> None:
    """Let pieces run whose answers are this part of the stored bytes."""
    for _ in range(pieces):
        choice.learn(int(share * STORED), STORED - DIRECTORY_BYTES)


def test_answers_as_long_as_stored_bytes_keep_auto_in_the_store(choice: Choice) -> None:
    show(choice, WORTH)
    assert pushes(choice)
    choice.learn(int(WORTH * STORED) + 1, STORED - DIRECTORY_BYTES)
    assert not pushes(choice)
    assert "answers are 100% of the stored bytes" in choice.reason


def test_shorter_answers_turn_auto_back(choice: Choice) -> None:
    """They are known while reading too; a little shorter is not enough, so that nothing swings."""
    show(choice, 2.0)
    assert not pushes(choice)
    show(choice, WORTH_AGAIN + 0.01, RECENT_PIECES)
    assert not pushes(choice)
    show(choice, 0.01)
    assert pushes(choice)


def test_chunks_that_are_ruled_out_turn_auto_back(choice: Choice) -> None:
    """Nothing is read of them but the directory; a few of them are enough, however long others were."""
    show(choice, 2.0, 100)
    for _ in range(RECENT_PIECES):
        assert not pushes(choice)
        choice.learn(300, 0)
    assert pushes(choice)


def test_long_histograms_are_filled_here_from_then_on(client: skyhook_client.Client) -> None:
    """Their bins are as long however few events are kept."""
    choice = Choice(plan(client.catalog, Query.make("dy", COLUMNS, CUT)), client.store, delivers=False)
    show(choice, WORTH, RECENT_PIECES)
    assert pushes(choice)
    show(choice, 2.0)
    show(choice, 0.0001, RECENT_PIECES)
    assert not pushes(choice)


def test_a_thread_judges_by_what_it_met_itself(choice: Choice) -> None:
    """It works on neighbouring parts; one that has met nothing begins where others are."""
    show(choice, 2.0)
    with ThreadPoolExecutor(1) as other:
        assert not other.submit(pushes, choice).result()
        other.submit(show, choice, 0.01).result()
        assert other.submit(pushes, choice).result()
        assert not pushes(choice)


@pytest.mark.parametrize("execution", ["pushdown", "read"])
def test_a_place_that_was_asked_for_stays(client: skyhook_client.Client, execution: str) -> None:
    choice = Choice(plan(client.catalog, Query.make("dy", COLUMNS, CUT)), client.store, execution)
    for share in (2.0, 0.01):
        show(choice, share, RECENT_PIECES)
        assert pushes(choice) == (execution == "pushdown")


def test_a_store_that_failed_is_not_turned_to_again(choice: Choice) -> None:
    choice.fail(ClassMissing("no such class"))
    show(choice, 0.01, RECENT_PIECES)
    assert not pushes(choice)
    assert choice.reason == "pushing down failed: no such class"


def test_a_cut_on_a_stretch_of_events_reads_there_and_pushes_elsewhere(
    client: skyhook_client.Client, root_file: Path
) -> None:
    """Zone maps rule out all other objects; the whole answer is right."""
    stretch = skyhook_client.connect(client.store, threads=1, progress=False)
    stretch.ingest("dy2", [root_file], ["event", "MET_*", "Muon_*"], partition_bytes=65_536, chunk_events=300)
    first = int(stretch.query("dy2", ["event"]).to_awkward()["event"][0])
    cut, columns = f"event < {first + 2_500}", ["event", "MET_*", "Muon_*"]
    query = stretch.query("dy2", columns, cut)

    found = query.to_awkward()

    assert ak.array_equal(found, stretch.query("dy2", columns, cut, execution="read").to_awkward())
    assert 0 < query.report.partitions_pushed < query.report.partitions_planned
    assert "of the stored bytes" in query.report.reason


# -- ranges or whole objects ----------------------------------------------------------------------
@pytest.mark.parametrize(("needed", "whole"), [(600, True), (599, False)])
def test_objects_of_which_most_is_needed_are_read_as_a_whole(
    choice: Choice, needed: int, whole: bool
) -> None:
    assert not choice.whole
    choice.need(needed, 1000)
    assert (WHOLE, choice.whole) == (0.6, whole)
    assert ("whole objects are read" if whole else "only ranges are read") in choice.reason


def test_a_thread_reads_as_its_last_object_was_needed(choice: Choice) -> None:
    choice.need(900, 1000)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lambda: choice.whole).result()
        other.submit(choice.need, 0, 1000).result()
        assert not other.submit(lambda: choice.whole).result()
    assert choice.whole
    assert "as 45% of their bytes are needed" in choice.reason


class _Counted(MemoryStore):
    """A store that counts its reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, list[ByteRange]]] = []

    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        self.reads.append((name, list(ranges)))
        return super().read_many(name, ranges)


@pytest.fixture
def counted(root_file: Path) -> tuple[skyhook_client.Client, _Counted]:
    store = _Counted()
    client = skyhook_client.connect(store, threads=1, progress=False)
    client.ingest("dy", [root_file], ["MET_*", "Muon_*", "Jet_*"], partition_bytes=65_536, chunk_events=300)
    return client, store


@pytest.mark.parametrize("batch_bytes", [None, 20_000])
def test_all_columns_take_one_read_of_each_object_but_the_first(
    counted: tuple[skyhook_client.Client, _Counted], batch_bytes: int | None
) -> None:
    """However many pieces it is delivered in; the explanation says so before."""
    client, store = counted
    query = client.query("dy")
    assert "whole objects are read" in str(query.explain())
    store.reads.clear()

    if batch_bytes is None:
        query.to_awkward()
    else:
        assert len(list(query.batches(batch_bytes=batch_bytes))) > query.report.partitions_planned

    parts = client.catalog.partitions(client.catalog.version("dy"))
    reads = Counter(name for name, _ in store.reads)
    first, *others = (part.object for part in parts)
    assert reads[first.name] > 1
    for info in others:
        assert reads[info.name] == 1
        assert (info.name, [ByteRange(0, info.bytes)]) in store.reads
    assert "whole objects are read" in query.report.reason


def test_one_column_is_read_in_ranges(counted: tuple[skyhook_client.Client, _Counted]) -> None:
    client, _ = counted
    query = client.query("dy", ["MET_pt"])
    assert "only ranges are read" in str(query.explain())
    query.to_awkward()
    assert "only ranges are read" in query.report.reason
    objects = sum(part.object.bytes for part in client.catalog.partitions(client.catalog.version("dy")))
    assert query.report.bytes_moved < objects / 4


def test_a_stream_of_small_batches_reads_no_range_twice(
    counted: tuple[skyhook_client.Client, _Counted],
) -> None:
    """Each batch ends in the middle of a chunk, whose columns the next one needs again."""
    client, store = counted
    query = client.query("dy", ["MET_pt", "Muon_pt"])
    store.reads.clear()
    assert len(list(query.batches(batch_bytes=1_000))) > 10
    read = Counter((name, where) for name, ranges in store.reads for where in ranges)
    assert set(read.values()) == {1}
    assert query.report.bytes_moved == sum(where.nbytes for _, where in read)


def test_ranges_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit and one byte past it; what was used last stays."""
    store = _Counted()
    store.put("x", bytes(range(100)))
    for limit, again in ((30, 0), (29, 1)):
        monkeypatch.setattr(worker, "KEPT_BYTES_MAX", limit)
        reader = worker.ObjectReader(store, "x")
        for where in ((0, 10), (10, 20), (20, 30)):
            assert list(reader([where])) == [bytes(range(*where))]
        reads = len(store.reads)
        reader([(20, 30)])
        reader([(10, 20)])
        assert len(store.reads) == reads
        reader([(0, 10)])
        assert len(store.reads) == reads + again
        assert (reader.nbytes, reader.needed_bytes) == (30 + 10 * again, 30)


# -- users who may not ----------------------------------------------------------------------------
class _OnlyRuns(MemoryStore):
    """A store that runs programs for a user who may not read, once `closed` is set."""

    closed = False

    def __init__(self) -> None:
        super().__init__(runs_class=True)

    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        if self.closed:
            raise AccessDenied("may not read")
        return super().read_many(name, ranges)

    def execute(self, name: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        data = super().read_object(name) if not self.closed else self._get(name)[0]
        return _engine.answer(method, request, lambda start, stop: data[start:stop])


@pytest.fixture
def closed(root_file: Path) -> skyhook_client.Client:
    store = _OnlyRuns()
    client = skyhook_client.connect(store, threads=2, progress=False)
    client.ingest("dy", [root_file], ["MET_*", "Muon_*"], partition_bytes=65_536, chunk_events=300)
    store.closed = True
    return client


@pytest.mark.parametrize("cut", [None, CUT, "MET_pt >= 0"])
def test_auto_pushes_down_what_may_not_be_read(
    client: skyhook_client.Client, closed: skyhook_client.Client, cut: str | None
) -> None:
    """Although every event is wanted, or answers prove long."""
    query = closed.query("dy", COLUMNS, cut)
    found = query.to_awkward()
    assert ak.array_equal(found, client.query("dy", COLUMNS, cut, execution="read").to_awkward())
    assert query.report.partitions_pushed == query.report.partitions_planned
    with pytest.raises(AccessDenied, match="may not read"):
        closed.query("dy", COLUMNS, cut, execution="read").to_awkward()


@pytest.mark.parametrize("cut", [None, CUT])
def test_an_explanation_without_the_right_to_read_says_what_it_does_not_know(
    closed: skyhook_client.Client, cut: str | None
) -> None:
    explained = closed.query("dy", COLUMNS, cut).explain()
    assert "inside memory://" in explained.place
    assert "an unknown part of" in str(explained)
    assert explained.bytes_max == explained.object_bytes > 0
    assert not explained.cut_bytes
    with pytest.raises(AccessDenied):
        closed.query("dy", COLUMNS, cut, execution="read").explain()


class _Coded(MemoryStore):
    """A store like an erasure-coded pool: the class is there, but cannot look into objects."""

    def __init__(self) -> None:
        super().__init__(runs_class=True)

    def execute(self, name: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        if method == "info":
            return super().execute(name, method, request, reply_bytes_max)
        raise ClassMissing("no OSD has a whole object")


def test_an_explanation_finds_out_that_the_class_cannot_look_into_objects(root_file: Path) -> None:
    client = skyhook_client.connect(_Coded(), threads=2, progress=False)
    client.ingest("dy", [root_file], ["MET_*", "Muon_*"], partition_bytes=65_536)
    explained = client.query("dy", COLUMNS, CUT).explain()
    assert "in this process" in explained.place
    assert "no OSD has a whole object" in explained.place
    assert explained.bytes_max > 0


# -- a class that fails ---------------------------------------------------------------------------
class _BrokenClass(MemoryStore):
    """A store whose class fails after some calls."""

    def __init__(self, error: StoreError, calls: int) -> None:
        super().__init__(runs_class=True)
        self.error, self.calls = error, calls

    def execute(self, name: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        self.calls -= 1
        if self.calls < 0:
            raise self.error
        return super().execute(name, method, request, reply_bytes_max)


@pytest.mark.parametrize("error", [ClassMissing("no such class"), StoreError("the OSD died")])
@pytest.mark.parametrize("calls", [0, 3])
def test_auto_reads_when_the_class_fails(root_file: Path, error: StoreError, calls: int) -> None:
    """Nothing is lost or doubled, also in the middle of an object."""
    store = _BrokenClass(error, calls)
    client = skyhook_client.connect(store, catalog="memory://", threads=2, progress=False)
    client.ingest("dy", [root_file], ["MET_*", "Muon_*"], partition_bytes=65_536, chunk_events=300)
    query = client.query("dy", COLUMNS, CUT)

    found = query.to_awkward()

    expected = client.query("dy", COLUMNS, CUT, execution="read").to_awkward()
    assert ak.array_equal(found, expected, dtype_exact=True)
    with pytest.raises(type(error), match=str(error)):
        client.query("dy", COLUMNS, CUT, execution="pushdown").to_awkward()


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_a_store_that_only_stores_refuses_to_push_down(
    tmp_path: Path, root_file: Path, answerer: str
) -> None:
    embedded = skyhook_client.connect(tmp_path)
    embedded.ingest("dy", [root_file], ["MET_pt"])

    with answered(answerer, embedded) as client:
        with pytest.raises(InvalidRequest, match="only stores"):
            client.query("dy", execution="pushdown")
        with pytest.raises(InvalidRequest, match="one of auto, pushdown, read"):
            client.query("dy", execution="fast")


# -- the messages themselves -----------------------------------------------------------------------
def _request(client: skyhook_client.Client) -> tuple[bytes, str, bytes]:
    """Return a request, the object it is for, and the object's bytes."""
    made = plan(client.catalog, Query.make("dy", COLUMNS, CUT))
    part = made.partitions[0]
    assert part.object.layout_id is not None
    request = worker.scan_request(made, part.object.layout_id, part)
    return request, part.object.name, client.store.read_object(part.object.name)


def _result() -> _engine.Result:
    return _engine.Result(["float32", "int32", "float32", "int32"], [-1, -1, 0, 0])


def test_an_error_of_the_class_is_raised_here(client: skyhook_client.Client) -> None:
    request, _, data = _request(client)
    damaged = bytearray(data)
    start = struct.unpack_from("<Q", request, 16)[0]
    damaged[start + 20] ^= 1

    answer = _engine.answer("scan", request, lambda a, b: bytes(damaged[a:b]))

    with pytest.raises(CorruptObject, match="checksum"):
        _result().append_answer(answer)


def test_every_changed_byte_of_a_request_is_refused_or_harmless(client: skyhook_client.Client) -> None:
    """An answer that fits the question, or a typed error; never a crash."""
    request, _, data = _request(client)
    rng = np.random.default_rng(3)
    for place in range(len(request)):
        changed = bytearray(request)
        changed[place] ^= int(rng.integers(1, 256))
        answer = _engine.answer("scan", bytes(changed), lambda a, b: data[a:b])
        with suppress(InvalidRequest, CorruptObject, StoreError):
            _result().append_answer(answer)


def test_every_changed_byte_of_an_answer_is_refused_or_fits(client: skyhook_client.Client) -> None:
    """Values carry no checksum of their own on the wire; their number and lists are checked."""
    request, _, data = _request(client)
    answer = _engine.answer("scan", request, lambda a, b: data[a:b])
    for place in (*range(400), *range(400, len(answer), max(1, len(answer) // 1000))):
        changed = bytearray(answer)
        changed[place] ^= 0xFF
        result = _result()
        try:
            result.append_answer(bytes(changed))
        except (InvalidRequest, CorruptObject, StoreError):
            assert result.events == 0
    for length in (*range(400), *range(400, len(answer) - 64, max(1, len(answer) // 500))):
        with pytest.raises(CorruptObject):
            _result().append_answer(answer[:length])


def test_a_class_of_another_version_says_so(client: skyhook_client.Client) -> None:
    request, _, data = _request(client)
    newer = bytearray(request)
    struct.pack_into("<I", newer, 8, worker.WIRE_VERSION + 1)

    answer = _engine.answer("scan", bytes(newer), lambda a, b: data[a:b])

    with pytest.raises(InvalidRequest, match=f"version {worker.WIRE_VERSION + 1}; this engine speaks"):
        _result().append_answer(answer)
