"""The same answers in every store, read or computed inside it: test_client's queries, and random ones."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import test_client
import uproot
from engine_runs import written
from expression_strategies import Table, cuts_of, tables, values_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ingest_helpers import SAMPLE_NAMES, sample, write_root
from waiting import wait_until

import skyhook_casa
from skyhook_casa import _engine, worker
from skyhook_casa.batch import Batch
from skyhook_casa.catalog import FileInfo, ObjectInfo, Partition
from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.errors import ExpressionError, InvalidRequest, SkyhookError, StoreError
from skyhook_casa.execution import Choice
from skyhook_casa.expression import compile_cut, compile_value
from skyhook_casa.object_format import EncodedObject
from skyhook_casa.program import ProgramBuilder
from skyhook_casa.report import Report
from skyhook_casa.stores import MemoryStore, ObjectStore, open_store
from skyhook_client import Client, Query
from skyhook_client.embedded import EmbeddedBackend

ONLY_EMBEDDED: Final = {"test_threads_do_not_change_the_answer": ("memory",)}
"""Tests of test_client that connect again, and the kinds where that gives another store."""


class ClientThat(Client):
    """A client whose queries run in one place, if they do not say where."""

    execution = "auto"

    def query(self, *args: Any, **options: Any) -> Query:
        return super().query(*args, **({"execution": self.execution} | options))


@dataclass
class Place:
    """Where the tests of this module run."""

    make: Callable[[Path], str]
    """Returns the address of an empty store, given a folder for its catalog."""
    execution: str = "auto"

    def client(self, folder: Path) -> Client:
        client = ClientThat(EmbeddedBackend(open_store(self.make(folder)), threads=2))
        client.execution = self.execution
        return client


KINDS = [
    "memory",
    *(pytest.param(f"rados-{how}", marks=pytest.mark.ceph) for how in ("pushdown", "read", "auto")),
    pytest.param("s3", marks=pytest.mark.ceph),
]


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each kind of store but the directory, with each way of running where there are several."""
    kind, _, execution = request.param.partition("-")
    if kind == "memory":
        yield Place(lambda _: "memory://")
        return
    cluster: Cluster = request.getfixturevalue("ceph")
    if kind == "rados":
        yield Place(lambda folder: rados_url(cluster, folder), execution)
        return
    pytest.importorskip("skyhook_casa.stores.s3")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.s3_environment().items():
            patch.setenv(name, value)
        yield Place(lambda folder: s3_url(cluster, folder))


def rados_url(cluster: Cluster, folder: Path) -> str:
    return f"{cluster.url}&namespace={uuid.uuid4().hex}&catalog={catalog(folder)}"


def s3_url(cluster: Cluster, folder: Path) -> str:
    bucket, _, options = cluster.s3_url.partition("?")
    return f"{bucket}/{uuid.uuid4().hex}?{options}&catalog={catalog(folder)}"


def catalog(folder: Path) -> str:
    return f"sqlite:///{folder / 'catalog.sqlite'}"


# -- test_client's queries ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def client(place: Place, nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """As the fixture of this name that all tests have, but at a place. Do not change it."""
    client = place.client(tmp_path_factory.mktemp("catalog"))
    client.ingest("dy", nano_file, partition_bytes=256 * 1024, chunk_events=64, workers=1)
    return client


@pytest.fixture
def mixed(place: Place, tmp_path: Path) -> Client:
    """As test_client's, but at a place."""
    client = place.client(tmp_path)
    client.ingest("mixed", test_client.write_mixed(tmp_path))
    return client


@pytest.fixture(autouse=True)
def _only_where_it_can_run(request: pytest.FixtureRequest) -> None:
    name = getattr(request.node, "originalname", "")
    if name in ONLY_EMBEDDED and request.getfixturevalue("place").make(Path()) == "memory://":
        pytest.skip("another connection is another store")


def _arguments(test: Callable[..., None]) -> tuple[str, ...]:
    return test.__code__.co_varnames[: test.__code__.co_argcount]


globals().update(
    {
        name: test
        for name, test in vars(test_client).items()
        if name.startswith("test_") and {"client", "mixed"} & set(_arguments(test))
    }
)


# -- compared with the embedded store -------------------------------------------------------------
@pytest.fixture(scope="module")
def embedded(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """The dataset of `client` in a directory."""
    client = skyhook_casa.connect(tmp_path_factory.mktemp("embedded"), threads=2)
    client.ingest("dy", nano_file, partition_bytes=256 * 1024, chunk_events=64, workers=1)
    return client


def counted(report: Report) -> Report:
    """What a report says that does not depend on where a query ran."""
    same = replace(
        report, bytes_read=0, bytes_skipped=0, bytes_moved=0, partitions_pushed=0, reason="", seconds={}
    )
    assert report.partitions_pushed <= report.partitions_planned
    return same


def assert_equal_answers(found: Query, expected: Query) -> None:
    """Types, values and reports, as a whole and streamed; or errors."""
    for run in (Query.to_awkward, streamed):
        answer, problem = outcome(run, expected)
        mine, my_problem = outcome(run, found)
        assert my_problem == problem
        if problem is None:
            test_client.assert_same(mine, answer)
            assert counted(found.report) == counted(expected.report)


def streamed(query: Query) -> ak.Array:
    return ak.from_arrow(pa.Table.from_batches(query.batches(batch_bytes=5_000)))


def outcome(run: Callable[[Query], ak.Array], query: Query) -> tuple[ak.Array, str | None]:
    try:
        return run(query), None
    except SkyhookError as error:
        return None, f"{type(error).__name__}: {error}"


DEFINE = {
    "pair": "combinations(Muon, 2)",
    "m": "mass(pair)",
    "ht": "sum(Jet_pt[Jet_pt > 25])",
    "lead": "Muon_pt[0]",
    "near": "min(deltaR(cross(Muon, Jet)))",
    "odd": "event % 2 == 1",
}
TERMS = [
    "MET_pt > {}",
    "nMuon >= {}",
    "any(Jet_pt > {})",
    "ht > {}",
    "lead > {}",
    "odd",
    "any((80 < m) & (m < 100))",
    "near < 0.4",
    "HLT_IsoMu24",
]
DELIVERED = ["MET_pt", "event", "nJet", "Jet_pt", "Jet_eta", "Muon_pt", "Muon_jetIdx", "HLT_IsoMu24"]
DELIVERED += ["m", "ht", "lead", "near", "odd"]
THINNED = {"Jet": "pt > {} and abs(eta) < 2.4", "Muon": "pt > {}"}
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 15, 20.5, 30, 60, 1e9])


@st.composite
def questions(draw: Any) -> dict[str, Any]:
    """Arguments of `Client.query`."""
    terms = draw(st.lists(st.sampled_from(TERMS), max_size=3))
    thinned = draw(st.lists(st.sampled_from(sorted(THINNED)), max_size=2, unique=True))
    return {
        "columns": draw(st.lists(st.sampled_from(DELIVERED), min_size=1, max_size=5, unique=True)),
        "cut": " and ".join(term.format(draw(NUMBERS)) for term in terms) or None,
        "define": DEFINE,
        "objects": {name: THINNED[name].format(draw(NUMBERS)) for name in thinned},
        "limit": draw(st.sampled_from([None, None, None, 0, 1, 63, 100, 1_499])),
    }


QUICK = settings(
    deadline=None,
    database=None,
    max_examples=15,
    suppress_health_check=[*HealthCheck],
)


@QUICK
@given(question=questions(), answer_bytes=st.sampled_from([1, 500, 10_000, worker.ANSWER_BYTES]))
def test_random_queries_give_the_same(
    client: Client, embedded: Client, question: dict[str, Any], answer_bytes: int
) -> None:
    """With answers of the object class as short as they can be, too: then an object takes many calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "ANSWER_BYTES", answer_bytes)
        assert_equal_answers(client.query("dy", **question), embedded.query("dy", **question))


def test_rows_have_the_same_numbers(client: Client, embedded: Client) -> None:
    """Frames are indexed by them."""
    for cut in (None, "nMuon >= 2"):
        found, expected = (one.query("dy", ["Jet_pt"], cut).to_pandas() for one in (client, embedded))
        pd.testing.assert_frame_equal(found, expected)


def test_a_pushed_query_runs_in_the_storage_alone(client: Client, place: Place) -> None:
    """And moves what is delivered; one that reads runs nothing there."""
    query = client.query("dy", ["Jet_pt"], "MET_pt > 60")
    query.to_awkward()
    report = query.report
    if place.execution == "pushdown":
        assert report.partitions_pushed == report.partitions_planned > 1
        assert 0 < report.bytes_moved < report.bytes_read
    if place.execution == "read":
        assert report.partitions_pushed == 0
        assert report.bytes_moved >= report.bytes_read


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_every_column_of_a_real_file_gives_the_same(ceph: Cluster, tmp_path: Path, name: str) -> None:
    """All dtypes, in all kinds of lists."""
    embedded = skyhook_casa.connect(tmp_path / "store", threads=2)
    embedded.ingest("x", sample(name), workers=1)
    client = skyhook_casa.connect(
        f"{ceph.url}&namespace={uuid.uuid4().hex}", catalog=catalog(tmp_path / "store"), threads=2
    )
    for stored in embedded.store.list():
        client.store.put(stored.name, embedded.store.read_object(stored.name))
    for execution in ("pushdown", "read"):
        assert_equal_answers(client.query("x", execution=execution), embedded.query("x"))


def test_lists_that_do_not_match_give_the_same_error(place: Place, tmp_path: Path) -> None:
    """It is found while the query runs, wherever that is; and names what was asked."""
    client, embedded = place.client(tmp_path), skyhook_casa.connect("memory://")
    with uproot.recreate(tmp_path / "a.root") as file:
        lists = {"u": ak.Array([[1.0], [2.0, 3.0]]), "v": ak.Array([[1.0], [2.0]])}
        types = {name: values.type.content for name, values in lists.items()}
        file.mktree("Events", types, counter_name=lambda counted: f"length_of_{counted}")
        file["Events"].extend(lists)
    for one in (client, embedded):
        one.ingest("x", tmp_path / "a.root", workers=1)
    query = client.query("x", "w", define={"w": "u + v"})
    with pytest.raises(SkyhookError, match=r"object .*entries 0 to 1 of"):
        query.to_awkward()
    assert_equal_answers(query, embedded.query("x", "w", define={"w": "u + v"}))


# -- explanations, and users and pools that do not allow all ---------------------------------------
@pytest.mark.parametrize("cut", ["MET_pt > 60", "MET_pt >= 0", None])
def test_a_key_that_only_allows_scans_is_enough(
    ceph: Cluster, embedded: Client, nano_file: Path, tmp_path: Path, cut: str | None
) -> None:
    """All answers come from inside then, also those that would rather be read; and it is explained."""
    url = rados_url(ceph, tmp_path)
    skyhook_casa.connect(url).ingest("dy", nano_file, partition_bytes=256 * 1024, chunk_events=64, workers=1)
    query = skyhook_casa.connect(f"{url}&user=client.analyst").query("dy", ["event", "Jet_pt"], cut)

    explained = query.explain()

    assert explained.place.startswith("inside rados://")
    assert "an unknown part of" in str(explained)
    assert explained.object_bytes == embedded.query("dy", ["event"]).explain().object_bytes
    assert_equal_answers(query, embedded.query("dy", ["event", "Jet_pt"], cut))
    assert query.report.partitions_pushed == query.report.partitions_planned


def test_an_erasure_coded_pool_is_read_and_that_is_explained(
    ceph: Cluster, embedded: Client, nano_file: Path, tmp_path: Path
) -> None:
    """Its OSDs have the class, but none of them has a whole object."""
    pool = ceph.add_pool(f"coded-{uuid.uuid4().hex[:8]}", 3, erasure=True)
    client = skyhook_casa.connect(f"{pool}&catalog={catalog(tmp_path)}", threads=2)
    client.ingest("dy", nano_file, partition_bytes=256 * 1024, chunk_events=64, workers=1)
    query = client.query("dy", ["event", "Jet_pt"], "MET_pt > 60")

    explained, expected = query.explain(), embedded.query("dy", ["event", "Jet_pt"], "MET_pt > 60")

    assert explained.place.startswith("in this process, on rados://")
    assert "erasure-coded" in explained.place
    assert explained.cut_bytes == expected.explain().cut_bytes
    assert_equal_answers(query, expected)
    assert "erasure-coded" in query.report.reason
    with pytest.raises(StoreError, match="erasure-coded"):
        client.query("dy", ["event"], "MET_pt > 60", execution="pushdown").explain()


# -- random tables and expressions ----------------------------------------------------------------
@pytest.fixture(scope="module")
def pool(ceph: Cluster) -> ObjectStore:
    return open_store(f"{ceph.url}&namespace={uuid.uuid4().hex}")


COUNTS = ("events_in", "events_out", "passed", "chunks", "chunks_pruned")


def run_program(
    table: Table, item: EncodedObject, values: list[str], cut: str | None, store: ObjectStore, execution: str
) -> dict[str, Any]:
    """Return all that a worker makes of a program on one object."""
    builder = ProgramBuilder()
    terms = [] if cut is None else [term.node for term in compile_cut(builder, table, cut)]
    found = [compile_value(builder, table, text) for text in values]
    axes = sorted({value.axis for value in found if value.axis >= 0})
    groups = [axes.index(value.axis) if value.axis >= 0 else None for value in found]
    program = builder.encode(terms, [value.node for value in found])
    plan: Any = SimpleNamespace(
        program=lambda _: program,
        outputs=[SimpleNamespace(dtype=v.dtype, axis=g) for v, g in zip(found, groups, strict=True)],
    )
    info = ObjectInfo(item.name, len(item.data), item.directory_start, item.directory_bytes, 1)
    part = Partition(0, 1_000, item.events, info, FileInfo("a", "u", "t", 1, 1), 0, item.events)
    store.put(item.name, item.data)
    at = worker.Worker(plan, store, Choice(plan, store, execution))
    flat = [-1 if group is None else group for group in groups]
    result = _engine.Result([value.dtype for value in found], flat, rows=True)
    cursor = 0
    while cursor >= 0:
        cursor = at.run(part, result, cursor)
    assert at.pushed == (execution == "pushdown")
    answer: dict[str, Any] = {"rows": result.rows()}
    answer |= {f"values {n}": result.values(n) for n in range(len(values))}
    answer |= {f"valid {n}": result.valid(n) for n in range(len(values))}
    answer |= {f"offsets {n}": result.offsets(n) for n in range(len(axes))}
    counts = result.report()
    answer |= {
        name: counts[name] for name in ("events_in", "events_out", "passed", "chunks", "chunks_pruned")
    }
    return answer


@settings(QUICK, max_examples=50)
@given(data=st.data())
def test_random_programs_give_the_same_inside_an_osd(pool: ObjectStore, data: st.DataObject) -> None:
    """Any expression of the language, on any table, in any number of calls: bit by bit."""
    table = data.draw(tables())
    values = data.draw(st.lists(values_of(table), min_size=1, max_size=3))
    cut = data.draw(st.none() | cuts_of(table))
    item = written(table, data.draw(st.sampled_from([1, 5, 13] if table.n_events < 50 else [64, 1000])))
    try:
        expected = run_program(table, item, values, cut, MemoryStore(), "read")
    except ExpressionError:
        assume(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "ANSWER_BYTES", data.draw(st.sampled_from([1, 1_000, worker.ANSWER_BYTES])))
        for execution in ("pushdown", "read"):
            found = run_program(table, item, values, cut, pool, execution)
            for name, value in expected.items():
                np.testing.assert_array_equal(
                    found[name], value, err_msg=name, strict=isinstance(value, np.ndarray)
                )


# -- limits of the object class -------------------------------------------------------------------
REQUEST_BYTES_MAX = 1 << 20
ANSWER_BYTES_CAP = 8 << 20
"""Bytes of values at which the class pauses, whatever is asked."""
TRIPLES = "combinations(Jet_pt, 3)"


@pytest.fixture(scope="module")
def large(ceph: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """One object of many chunks."""
    folder = tmp_path_factory.mktemp("large")
    client = skyhook_casa.connect(rados_url(ceph, folder), threads=1)
    client.ingest("x", write_root(folder / "a.root", 60_000, basket=5_000), chunk_events=1_000, workers=1)
    return client


@pytest.fixture(scope="module")
def small(ceph: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """One object of one chunk, so short that no scan pauses in it, however slow the OSD is."""
    folder = tmp_path_factory.mktemp("small")
    client = skyhook_casa.connect(rados_url(ceph, folder), threads=1)
    client.ingest("x", write_root(folder / "a.root", 1_000), chunk_events=1_000, workers=1)
    return client


def the_part(client: Client) -> Partition:
    (part,) = client.catalog.partitions(client.catalog.version("x"))
    return part


def ask(client: Client, query: Query, **limits: int) -> tuple[int, int]:
    """Return the cursor of one call of the class, and the bytes of its answer."""
    plan, part = query.question.plan, the_part(client)
    assert part.object.layout_id is not None
    request = worker.scan_request(plan, part.object.layout_id, part, **limits)
    answer = client.store.execute(part.object.name, "scan", request, worker.REPLY_BYTES_MAX)
    return Batch.result(plan.outputs, False).append_answer(answer), len(answer)


@pytest.mark.parametrize(
    ("nbytes", "error", "message"),
    [
        (REQUEST_BYTES_MAX, InvalidRequest, "program"),
        (REQUEST_BYTES_MAX + 1, StoreError, "E2BIG"),
    ],
)
def test_a_request_has_a_length_at_most(
    large: Client, nbytes: int, error: type[SkyhookError], message: str
) -> None:
    """At the limit the class looks at it; one byte more and it does not."""
    program = bytes(nbytes - 80)
    plan: Any = SimpleNamespace(outputs=[], program=lambda _: program)
    request = worker.scan_request(plan, 1, the_part(large))
    assert len(request) == nbytes
    result = _engine.Result([], [])
    with pytest.raises(error, match=message):
        result.append_answer(large.store.execute(the_part(large).object.name, "scan", request, 1 << 20))


def test_an_answer_pauses_at_a_size_whatever_is_asked(large: Client) -> None:
    """So an OSD's memory is bounded, and a reply fits into what the client accepts.

    An answer may also pause earlier, when its time is over: a busy machine is asked until one does not.
    """
    define = {f"x{n}": f"float64({TRIPLES}.slot0) * {n}.5" for n in range(48)}
    query = large.query("x", list(define), define=define)

    def longest(bytes_max: int) -> int:
        cursor, sizes = 0, []
        while cursor >= 0:
            cursor, nbytes = ask(large, query, cursor=cursor, bytes_max=bytes_max)
            sizes.append(nbytes)
        assert len(sizes) > 6
        assert max(sizes) < ANSWER_BYTES_CAP + (2 << 20) < worker.REPLY_BYTES_MAX
        return max(sizes)

    for bytes_max in (-1, 1 << 40):
        wait_until(lambda most=bytes_max: longest(most) > ANSWER_BYTES_CAP, "an answer is not short of time")


def test_an_answer_longer_than_accepted_is_read_instead(
    small: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the longest accepted length, and one byte past it."""
    query = small.query("x", ["event", "Jet_pt"], "MET_pt > 50")
    cursor, nbytes = ask(small, query, bytes_max=worker.ANSWER_BYTES)
    assert cursor < 0
    expected = query.to_awkward()
    assert len(expected) > 100

    monkeypatch.setattr(worker, "REPLY_BYTES_MAX", nbytes)
    pushed = small.query("x", ["event", "Jet_pt"], "MET_pt > 50", execution="pushdown")
    test_client.assert_same(pushed.to_awkward(), expected)

    monkeypatch.setattr(worker, "REPLY_BYTES_MAX", nbytes - 1)
    with pytest.raises(StoreError, match=f"answered more than {nbytes - 1} bytes"):
        pushed.to_awkward()
    test_client.assert_same(query.to_awkward(), expected)
    assert query.report.partitions_pushed == 0
    assert f"answered more than {nbytes - 1} bytes" in query.report.reason


@pytest.mark.parametrize("milliseconds", [1, 100, 101, 0, 2**32 - 1])
def test_a_scan_pauses_in_time_whatever_is_asked(
    large: Client, monkeypatch: pytest.MonkeyPatch, milliseconds: int
) -> None:
    """Others wait for the placement group meanwhile; more than 100 ms is never given."""
    sines = " + ".join(f"sum(sin({n} * {TRIPLES}.slot0))" for n in range(1, 601))
    query = large.query("x", ["event"], f"{sines} > 1e9", execution="pushdown")
    monkeypatch.setattr(worker, "MILLISECONDS_MAX", milliseconds)
    cursor, _ = ask(large, query)
    chunks = cursor >> 32
    assert 0 < chunks < 60
    if milliseconds == 1:
        assert chunks <= 2
    assert query.count() == 0
    assert query.report.events_in == 60_000
