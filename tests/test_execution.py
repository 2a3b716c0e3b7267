"""Scans inside a store: the same answers as here, whoever runs them, and reading when that fails."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import skyhook_client
from skyhook_casa import _engine, worker
from skyhook_casa.errors import ClassMissing, CorruptObject, InvalidRequest, StoreError
from skyhook_casa.execution import SAMPLE_BYTES, WORTH, Choice
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.plan import plan
from skyhook_casa.query import Query
from skyhook_casa.stores import MemoryStore

COLUMNS = ["MET_pt", "nMuon", "Muon_pt", "Muon_charge"]
CUT = "nMuon >= 2 and any((Muon_pt > 20) & (abs(Muon_eta) < 2.4))"


@pytest.fixture(scope="module")
def root_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("execution") / "nano.root"
    make_nanoaod(path, 4000, seed=5)
    return path


@pytest.fixture
def client(root_file: Path) -> skyhook_client.Client:
    client = skyhook_client.connect(MemoryStore(runs_class=True), threads=2, progress=False)
    client.ingest("dy", [root_file], ["MET_*", "Muon_*", "Jet_*"], partition_bytes=65_536, chunk_events=300)
    return client


@pytest.mark.parametrize("answer_bytes", [1, 5_000, worker.ANSWER_BYTES])
@pytest.mark.parametrize("cut", [CUT, "MET_pt > 1e9", None])
def test_a_scan_in_the_store_answers_as_one_here(
    client: skyhook_client.Client, cut: str | None, answer_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is cut off and goes on."""
    monkeypatch.setattr(worker, "ANSWER_BYTES", answer_bytes)
    here = client.query("dy", COLUMNS, cut, execution="read")
    there = client.query("dy", COLUMNS, cut, execution="pushdown")

    expected, found = here.to_awkward(), there.to_awkward()

    assert ak.array_equal(found, expected, dtype_exact=True)
    assert there.report.events_in == here.report.events_in
    assert there.report.cutflow == here.report.cutflow
    assert there.report.partitions_pushed == there.report.partitions_planned
    assert here.report.partitions_pushed == 0


def test_rare_events_move_few_bytes(client: skyhook_client.Client) -> None:
    """That is what it is for."""
    here = client.query("dy", ["Jet_*"], "MET_pt > 60", execution="read")
    there = client.query("dy", ["Jet_*"], "MET_pt > 60", execution="pushdown")

    here.to_awkward()
    there.to_awkward()

    assert there.report.bytes_moved < here.report.bytes_moved


def test_a_cut_starts_in_the_store_and_everything_is_read(client: skyhook_client.Client) -> None:
    assert "inside memory://" in str(client.query("dy", COLUMNS, CUT).explain())
    assert "every event is wanted" in str(client.query("dy", COLUMNS).explain())


def test_long_answers_turn_auto_to_reading(client: skyhook_client.Client) -> None:
    """At the sample's size and at the share that is just too long."""
    choice = Choice(plan(client.catalog, Query.make("dy", COLUMNS, CUT)), client.store)

    choice.learn(int(SAMPLE_BYTES * WORTH) + 1, SAMPLE_BYTES - 1)
    assert choice.pushdown
    choice.learn(0, 1)
    assert not choice.pushdown


def test_answers_that_are_just_short_enough_keep_auto_in_the_store(client: skyhook_client.Client) -> None:
    choice = Choice(plan(client.catalog, Query.make("dy", COLUMNS, CUT)), client.store)

    choice.learn(int(SAMPLE_BYTES * WORTH), SAMPLE_BYTES)
    assert choice.pushdown
    choice.learn(1, 0)
    assert not choice.pushdown


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


def test_a_store_that_only_stores_refuses_to_push_down(tmp_path: Path, root_file: Path) -> None:
    client = skyhook_client.connect(tmp_path)
    client.ingest("dy", [root_file], ["MET_pt"])

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
