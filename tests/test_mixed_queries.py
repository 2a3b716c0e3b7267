"""Queries of columns of several objects of a partition, inside these: the same answers as by reading."""

from __future__ import annotations

import struct
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from service_fixture import answered
from test_client import assert_same
from test_column_sets import EVENTS, Columns, Site, write_parquet

import skyhook_casa
from skyhook_casa import _engine, mixed_scan, worker
from skyhook_casa.batch import Batch
from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.errors import ClassMissing, CorruptObject, InvalidRequest, ResourceExhausted
from skyhook_casa.execution import Choice
from skyhook_casa.mixed_program import MixedProgram
from skyhook_casa.plan import Plan
from skyhook_casa.protocol.held import Position
from skyhook_casa.requests import encode_request
from skyhook_casa.split import Split
from skyhook_casa.stores import MemoryStore
from skyhook_client import Client, Query

PHASES: Final = (Phase.explicit, Phase.generate)
"""A failure is shown as it was found: each try takes a while."""


class RunsClass(MemoryStore):
    """A store that answers as a cluster does, and notes which requests it got."""

    def __init__(self, can_select: bool = True) -> None:
        super().__init__(runs_class=True)
        self.can_select = can_select
        self.asked: list[tuple[str, bool, int]] = []
        """Object, whether values were to be delivered, bytes of the request."""

    def execute(
        self, name: str, method: str, request: bytes, reply_bytes_max: int, ability: str = ""
    ) -> bytes:
        if ability and not self.can_select:
            raise ClassMissing("an OSD runs an earlier release of the object class")
        if method == "scan":
            (outputs,) = struct.unpack_from("<I", request, 68)
            self.asked.append((name, outputs > 0, len(request)))
        return super().execute(name, method, request, reply_bytes_max, ability)


def filled(client: Client, site: Site) -> Client:
    """A dataset of base columns and, in objects of their own: friends, a friend's lists, a derived column."""
    client.ingest("dy", sorted(site.place.glob("dy-*.root")), chunk_events=150, workers=1)
    client.add_columns("dy", site.files("a.parquet", {name: site.new[name] for name in ("weight", "good")}))
    client.add_columns("dy", site.files("b.root", {n: site.new[n] for n in ("Muon_score", "track")}))
    client.define("dy", {"stored": "sum(Jet_pt) * 2"})
    client.query("dy", ["stored"]).to_arrow()
    return client


class Stored:
    """The dataset in a store that runs the class."""

    def __init__(self, place: Path, store: RunsClass | None = None) -> None:
        self.site = Site(place)
        self.store = store or RunsClass()
        self.client = filled(skyhook_casa.connect(self.store, progress=False, threads=2), self.site)
        self.store.asked.clear()

    def query(self, *args: Any, **options: Any) -> Query:
        return self.client.query("dy", *args, **options)

    def plan(self, *args: Any) -> Plan:
        plan: Plan = self.query(*args).question.plan  # type: ignore[attr-defined]
        return plan

    def both(self, *args: Any, **options: Any) -> tuple[Query, Query]:
        """The same query pushed down and read."""
        pushed, read = (self.query(*args, execution=one, **options) for one in ("pushdown", "read"))
        return pushed, read


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return Stored(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(autouse=True)
def _nothing_asked(request: pytest.FixtureRequest) -> None:
    if "stored" in request.fixturenames:
        request.getfixturevalue("stored").store.asked.clear()


Steps = list[tuple[str, int | None]]
"""As `Report.cutflow`."""


def assert_agree(some: Steps, other: Steps) -> None:
    """Conditions are the same, and counts as far as both ways tried them on all events: the last they did."""
    assert [term for term, _ in some] == [term for term, _ in other]
    for (_, n), (_, m) in zip(some, other, strict=True):
        assert n == m or n is None or m is None
    assert all(steps[-1][1] is not None for steps in (some, other) if steps)


def assert_equal_answers(pushed: Query, read: Query) -> ak.Array:
    """Types, values and event numbers; and reports, as far as they do not say where zone maps helped."""
    found, expected = pushed.to_awkward(), read.to_awkward()
    assert_same(found, expected)
    mine, other = pushed.report, read.report
    assert mine.partitions_pushed == mine.partitions_done and other.partitions_pushed == 0
    assert (mine.events_in, mine.events_out) == (other.events_in, other.events_out)
    assert_agree(mine.cutflow, other.cutflow)
    assert mine.partitions_done == other.partitions_done
    return found


CUT = "MET_pt > 10 and weight > 0 and nMuon >= 1 and any(Muon_score > 0.3)"
MIXED_TERM = "any((Muon_pt > 15) & (Muon_score > 0.3))"

# -- random queries -------------------------------------------------------------------------------
TERMS: Final = [
    "MET_pt > {}",
    "weight > {}",
    "weight * 100 < {}",
    "good",
    "not good",
    "nMuon >= {}",
    "any(Muon_score > {} / 60)",
    "any(Jet_pt > {})",
    "stored > {}",
    "sum(track) > {} * 100",
    "luminosityBlock < {}",
    "any((Muon_pt > {}) & (Muon_score > 0.3))",
    "MET_pt > weight * {}",
    "stored > MET_pt + {}",
    "num(track) > nMuon",
    "lead > {}",
]
DEFINE: Final = {
    "lead": "Muon_pt[0]",
    "scored": "sum(Muon_pt[Muon_score > 0.5])",
    "pair": "combinations(Muon, 2)",
    "m": "pair.slot0.pt * pair.slot1.score",
    "sum_of_track": "sum(track)",
}
DELIVERED: Final = [
    "MET_pt", "weight", "good", "nMuon", "Muon_pt", "Muon_score", "Muon_charge", "track", "Jet_pt", "stored",
    "lead", "scored", "m", "sum_of_track", "event",
]  # fmt: skip
THINNED: Final = {"Muon": "score > 0.4", "Jet": "pt > {}"}
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 15, 20.5, 30, 60, 1e9])


@st.composite
def questions(draw: Any) -> dict[str, Any]:
    """Arguments of `Client.query`, of columns that lie in several objects."""
    terms = draw(st.lists(st.sampled_from(TERMS), max_size=4))
    thinned = draw(st.lists(st.sampled_from(sorted(THINNED)), max_size=2, unique=True))
    columns = draw(st.lists(st.sampled_from(DELIVERED), max_size=4, unique=True))
    return {
        "columns": [*columns, *[one for one in ("MET_pt", "weight") if one not in columns]],
        "cut": " and ".join(term.format(draw(NUMBERS)) for term in terms) or None,
        "define": DEFINE,
        "objects": {name: THINNED[name].format(draw(NUMBERS)) for name in thinned},
        "limit": draw(st.sampled_from([None, None, None, 0, 1, 149, 150, 151, 1_000, 1_999, 5_000])),
    }


@pytest.mark.slow
@settings(max_examples=40, deadline=None, database=None, phases=PHASES, suppress_health_check=[*HealthCheck])
@given(
    question=questions(),
    answer_bytes=st.sampled_from([1, 5_000, 4 << 20]),
    window=st.sampled_from([25, 400, 1 << 16]),
    span=st.sampled_from([333, 1 << 22]),
)
def test_random_queries_give_the_same(
    stored: Stored, question: dict[str, Any], answer_bytes: int, window: int, span: int
) -> None:
    """However short the answers, and however few events are taken at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixed_scan, "ANSWER_BYTES", answer_bytes)
        patch.setattr(mixed_scan, "WINDOW_EVENTS_MAX", window)
        patch.setattr(mixed_scan, "SPAN_EVENTS_MAX", span)
        assert_equal_answers(*stored.both(**question))


@pytest.mark.slow
@settings(max_examples=20, deadline=None, database=None, phases=PHASES, suppress_health_check=[*HealthCheck])
@given(question=questions(), steps=st.lists(st.tuples(st.booleans(), st.integers(1, 300)), min_size=1))
def test_a_part_may_change_between_pushing_down_and_reading(
    stored: Stored, question: dict[str, Any], steps: list[tuple[bool, int]]
) -> None:
    """Where one stops, the other goes on: also in another process, that knows no more than the place."""
    plan = stored.query(**(question | {"limit": None})).question.plan  # type: ignore[attr-defined]
    expected = run_part(stored, plan, [(False, -1)])
    assert run_part(stored, plan, steps) == expected


def run_part(stored: Stored, plan: Plan, steps: list[tuple[bool, int]]) -> tuple[Any, ...]:
    part = plan.partitions[1]
    result = Batch.result(plan.outputs, rows=True)
    cursor, turn = 0, 0
    while cursor >= 0:
        push, events_max = steps[turn % len(steps)]
        choice = Choice(plan, stored.store, "pushdown" if push else "read")
        cursor = worker.Worker(plan, stored.store, choice).run(part, result, cursor, events_max)
        turn += 1
    report = result.report()
    batch = Batch.of(plan.outputs, result, rows=True)
    return (
        batch.rows.tolist(),
        [values.tobytes() for values in batch.values],
        [None if one is None else one.tolist() for one in batch.valid],
        report["events_in"],
        report["events_out"],
    )


# -- what is asked of the objects -----------------------------------------------------------------
def test_a_cut_of_three_objects_is_one_request_each_and_one_for_values(stored: Stored) -> None:
    pushed, read = stored.both(["MET_pt", "weight", "Muon_score"], CUT)
    found = assert_equal_answers(pushed, read)
    assert 0 < len(found) < EVENTS
    asked = Counter((name, values) for name, values, _ in stored.store.asked)
    parts = pushed.question.plan.partitions  # type: ignore[attr-defined]
    assert asked == {
        (one.name, values): 1
        for part in parts
        for one in (part.object, *part.sets)
        for values in (False, True)
    }


def test_conditions_of_one_object_stand_together_and_those_of_several_last(stored: Stored) -> None:
    plan = stored.plan(
        ["MET_pt", "weight"], f"MET_pt > weight and weight > 0 and MET_pt > 3 and good and {MIXED_TERM}"
    )
    texts = plan.terms
    assert texts[3:] == ["MET_pt > weight", MIXED_TERM]
    assert {texts.index("weight > 0"), texts.index("good")} in ({0, 1}, {1, 2})
    program = plan.mixed(*plan.partitions[0].layout_ids)
    assert [stage.terms for stage in program.stages] in ([1, 2], [2, 1])
    assert program.terms == 2


def test_counting_needs_no_values_if_no_condition_does(stored: Stored) -> None:
    pushed, read = stored.both(["MET_pt"], CUT)
    assert pushed.count() == read.count() > 0
    assert_agree(pushed.report.cutflow, read.report.cutflow)
    assert not any(values for _, values, _ in stored.store.asked)


def test_nothing_is_asked_for_events_when_none_is_left(stored: Stored) -> None:
    pushed, read = stored.both(["MET_pt", "weight"], "weight > 1e9 and MET_pt > 10")
    assert len(assert_equal_answers(pushed, read)) == 0
    assert not any(values for _, values, _ in stored.store.asked)
    assert len(stored.store.asked) == pushed.report.partitions_done
    assert pushed.report.objects_pruned == 2, "zone maps ruled out every chunk"


def test_zone_maps_rule_chunks_out(stored: Stored) -> None:
    """Chunks without an event that is left are not even read, nor those that a later object rules out."""
    pushed, read = stored.both(["weight", "Muon_score"], "luminosityBlock < 2 and weight > -100")
    assert_equal_answers(pushed, read)
    assert (
        pushed.report.chunks
        == read.report.chunks
        > pushed.report.chunks_pruned
        == read.report.chunks_pruned
        > 0
    )
    assert pushed.report.bytes_read <= read.report.bytes_read
    assert pushed.report.objects_pruned == 1


CONDITIONS: Final[dict[str, Callable[[Columns], Any]]] = {
    "MET_pt > 10": lambda c: c["MET_pt"] > 10,
    "MET_pt > 5": lambda c: c["MET_pt"] > 5,
    "MET_pt > -1": lambda c: c["MET_pt"] > -1,
    "weight > 0": lambda c: c["weight"] > 0,
    "weight > -1": lambda c: c["weight"] > -1,
    "weight > 1e9": lambda c: c["weight"] > 1e9,
    "good": lambda c: c["good"],
    "luminosityBlock > 0": lambda c: c["luminosityBlock"] > 0,
    "luminosityBlock < 2": lambda c: c["luminosityBlock"] < 2,
    "luminosityBlock > 20": lambda c: c["luminosityBlock"] > 20,
    "luminosityBlock > 1e6": lambda c: c["luminosityBlock"] > 1e6,
    "nMuon >= 1": lambda c: ak.num(c["Muon"].pt) >= 1,
    "MET_pt > weight": lambda c: c["MET_pt"] > c["weight"],
    MIXED_TERM: lambda c: ak.any((c["Muon"].pt > 15) & (c["Muon_score"] > 0.3), axis=1),
}
"""As awkward has them."""
RULED_OUT: Final = [
    ["MET_pt > 10", "luminosityBlock < 2", "weight > 0"],
    ["weight > 0", "luminosityBlock < 2", "MET_pt > 10"],
    ["good", "weight > 0", "MET_pt > 10", "luminosityBlock > 20"],
    ["weight > 1e9", "MET_pt > 10"],
    ["MET_pt > 10", "weight > 0", "luminosityBlock > 1e6"],
    ["luminosityBlock > 0", "MET_pt > -1", "weight > 1e9"],
    ["nMuon >= 1", "MET_pt > 10", "luminosityBlock < 2", "weight > 0", MIXED_TERM],
    ["luminosityBlock > 20", MIXED_TERM, "MET_pt > weight"],
]
"""Cuts of which zone maps rule chunks out: by the first condition of an object, a later one, or all."""


def steps(site: Site, terms: list[str]) -> Steps:
    """How many events awkward finds to meet each condition and all before it."""
    columns = {**site.events, **site.new}
    left = np.ones(EVENTS, bool)
    found: Steps = []
    for term in terms:
        left = left & ak.to_numpy(CONDITIONS[term](columns))
        found.append((term, int(left.sum())))
    return found


@pytest.mark.parametrize("terms", RULED_OUT)
def test_each_step_counts_what_awkward_counts(stored: Stored, terms: list[str]) -> None:
    """Or it says that it did not count: where zone maps rule out what it was not tried on."""
    pushed, read = stored.both(["MET_pt", "weight", "good"], " and ".join(terms))
    assert_equal_answers(pushed, read)
    for query in (pushed, read):
        tried = [term for term, _ in query.report.cutflow]
        assert sorted(tried) == sorted(terms)
        assert_agree(query.report.cutflow, steps(stored.site, tried))


def test_steps_are_counted_as_far_as_each_object_tried_them(stored: Stored) -> None:
    """Asked one after the other, the first object does not know what zone maps of the next rule out."""
    pushed, read = stored.both(["MET_pt"], "MET_pt > 10 and weight > 1e9")
    for query in (pushed, read):
        assert query.count() == 0
    expected = steps(stored.site, ["MET_pt > 10", "weight > 1e9"])
    assert pushed.report.cutflow == expected
    assert read.report.cutflow == [("MET_pt > 10", None), expected[1]]


@pytest.mark.parametrize("execution", ["pushdown", "read", "auto"])
@pytest.mark.parametrize("terms", RULED_OUT)
def test_a_cutflow_counts_what_awkward_counts(stored: Stored, terms: list[str], execution: str) -> None:
    """In the order asked, of the events that a cut of columns of two objects keeps."""
    kept = ["MET_pt > 5", "weight > -1"]
    found = stored.query(cut=" and ".join(kept), execution=execution).cutflow(terms)
    _, initial, *expected = steps(stored.site, [*kept, *terms])
    assert found.initial.events == initial[1]
    assert [(one.cut, one.passed.events) for one in found.steps] == expected


def test_of_chunks_that_are_ruled_out_no_object_reads_more_than_conditions(stored: Stored) -> None:
    """Nor those after the one that rules out; where all columns are read together, nothing at all."""
    columns = ["track", "Muon_score", "MET_pt"]
    ruled_out = stored.both(columns, "MET_pt > 10 and weight > 1e9 and good")
    worked_through = stored.both(columns, "MET_pt > 10 and weight > -1e9 and good")
    for one, other in zip(ruled_out, worked_through, strict=True):
        assert (len(one.to_awkward()) == 0) != (len(other.to_awkward()) == 0)
        assert one.report.bytes_read < other.report.bytes_read / 3
    assert ruled_out[1].report.bytes_read == 0


def test_values_that_one_object_can_compute_travel_computed(stored: Stored) -> None:
    plan = stored.query(["s", "weight"], CUT, define={"s": "sum(Muon_pt[Muon_pt > 20]) * 2"}).question.plan  # type: ignore[attr-defined]
    program = plan.mixed(*plan.partitions[0].layout_ids)
    assert all(column.offsets is None and not column.is_offsets for column in program.columns)
    pushed, read = stored.both(["s", "weight"], CUT, define={"s": "sum(Muon_pt[Muon_pt > 20]) * 2"})
    assert_equal_answers(pushed, read)


def test_histograms_are_filled_with_what_is_left(stored: Stored) -> None:
    def filled(execution: str) -> Any:
        query = stored.query(["MET_pt", "weight"], CUT, execution=execution)
        return query.hist("Muon_pt", bins=20, range=(0, 100)), query.hist("Muon_score", bins=9, range=(0, 1))

    for mine, other in zip(filled("pushdown"), filled("read"), strict=True):
        assert mine.sum(flow=True) > 0
        assert np.array_equal(mine.view(flow=True), other.view(flow=True))


def test_event_numbers_are_those_of_the_dataset(stored: Stored) -> None:
    pushed, read = stored.both(["MET_pt", "weight"], CUT)
    assert pushed.to_pandas().equals(read.to_pandas())
    batches = [list(query.stream(1_000, rows=True)) for query in (pushed, read)]
    mine, other = (np.concatenate([batch.rows for batch in one]) for one in batches)
    assert len(batches[0]) > 1 and mine.tolist() == other.tolist()


@pytest.mark.slow
def test_a_service_pushes_down_too(stored: Stored) -> None:
    with answered("service", stored.client) as client:
        query = client.query(
            "dy", ["MET_pt", "weight", "Muon_score"], f"{CUT} and {MIXED_TERM}", execution="pushdown"
        )
        found = query.to_awkward()
        assert query.report.partitions_pushed == 2
    assert_same(
        found, stored.query(["MET_pt", "weight", "Muon_score"], f"{CUT} and {MIXED_TERM}").to_awkward()
    )


def test_a_split_takes_the_divided_query_along(stored: Stored) -> None:
    """A worker elsewhere has no catalog."""
    plan = stored.plan(["weight", "Muon_score"], f"{CUT} and {MIXED_TERM}")
    split = Split("q", plan.work("pushdown"), tuple(plan.partitions), Position(0))
    again = Split.decode(split.encode())
    assert again == split
    assert all(isinstance(one, MixedProgram) and one.stages for one in again.work.divided.values())


# -- where it runs --------------------------------------------------------------------------------
def test_auto_pushes_down_while_few_events_are_left(stored: Stored) -> None:
    few = stored.query(["MET_pt", "weight"], "weight > 2.5 and MET_pt > 10")
    few.to_awkward()
    assert few.report.partitions_pushed == 2
    assert few.explain().place.startswith("inside memory://")


def test_auto_reads_once_answers_prove_long(stored: Stored) -> None:
    """Values travel as they are, stored bytes compressed."""
    many = stored.query(
        ["Muon_pt", "Muon_score", "track", "event"], "weight > -100 and MET_pt > -1", limit=EVENTS
    )
    many.to_awkward()
    assert many.report.partitions_pushed == 1
    assert "of the stored bytes that reading moves" in many.report.reason


def test_auto_reads_what_no_object_can_cut(stored: Stored) -> None:
    pushed, read = stored.both(["MET_pt", "weight"], "MET_pt > weight * 30")
    assert_equal_answers(pushed, read)
    auto = stored.query(["MET_pt", "weight"], "MET_pt > weight * 30")
    assert_same(auto.to_awkward(), read.to_awkward())
    assert auto.report.partitions_pushed == 0
    assert "read: no condition needs columns of one object alone" in auto.report.reason
    assert auto.explain().place.startswith("in this process")


def test_a_class_that_cannot_select_is_not_asked_to(tmp_path: Path) -> None:
    """Queries of one object still run there; who insists is told why others do not."""
    old = Stored(tmp_path, RunsClass(can_select=False))
    auto, read = old.query(["MET_pt", "weight"], CUT), old.query(["MET_pt", "weight"], CUT, execution="read")
    assert_same(auto.to_awkward(), read.to_awkward())
    assert auto.report.partitions_pushed == 0
    reason = "columns lie in several objects are read: an OSD runs an earlier release of the object class"
    assert reason in auto.report.reason
    explained = auto.explain().place
    assert explained.startswith("in this process") and reason in explained
    alone = old.query(["weight"], "weight > 2", execution="auto")
    alone.to_awkward()
    assert alone.report.partitions_pushed == 2
    with pytest.raises(ClassMissing, match="earlier release"):
        old.query(["MET_pt", "weight"], CUT, execution="pushdown").to_awkward()


# -- limits, and what is wrong ---------------------------------------------------------------------
def test_a_selection_reaches_over_so_many_events_and_no_more() -> None:
    most = _engine.SELECTION_EVENTS_MAX
    assert len(_engine.encode_selection(np.array([5, 5 + most - 1]))) < 30
    with pytest.raises(InvalidRequest, match=f"more than {most} apart"):
        _engine.encode_selection(np.array([5, 5 + most]))


@pytest.mark.parametrize(
    "selection",
    [
        b"",
        bytes(15),
        struct.pack("<QII", 0, 10, 2),
        struct.pack("<QIIBB", 0, 10, 0, 5, 6),
        struct.pack("<QIIBB", 0, 10, 0, 5, 0),
        struct.pack("<QIIBB", 0, 10, 0, 5, 0x80),
        struct.pack("<QIIBB", 0, 10, 1, 255, 4),
        struct.pack("<QIIB", 0, 10, 1, 255),
        struct.pack("<QIIBB", 0, (1 << 22) + 1, 0, 0, 1),
        struct.pack("<QIIBB", 1 << 63, 10, 0, 0, 1),
    ],
)
def test_a_malformed_selection_is_refused(stored: Stored, selection: bytes) -> None:
    plan = stored.plan(["MET_pt", "weight"], CUT)
    part = plan.partitions[0]
    stage = plan.mixed(*part.layout_ids).stages[0]
    info = (part.object, *part.sets)[stage.object]
    request = encode_request(info, stage.program, (), rows=True, selection=selection)
    with pytest.raises(InvalidRequest, match="selection"):
        _engine.Result([], [], True).append_answer(stored.store.execute(info.name, "scan", request, 1 << 20))


def test_events_too_large_to_fetch_together_are_fetched_in_smaller_numbers(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the bytes that the largest event takes, and one less."""
    pushed, read = stored.both(["track", "weight"], "weight > 0 and MET_pt > 10")
    expected = read.to_awkward()
    largest = 4 * int(ak.max(ak.num(expected.track))) + 2 * 8 + 4  # elements, two offsets, a weight
    monkeypatch.setattr(mixed_scan, "SECTION_BYTES_MAX", largest)
    assert_same(pushed.to_awkward(), expected)
    monkeypatch.setattr(mixed_scan, "SECTION_BYTES_MAX", largest - 1)
    with pytest.raises(ResourceExhausted, match=rf"takes more than {largest - 1} bytes"):
        pushed.to_awkward()


def test_lists_that_differ_between_objects_are_corrupt(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their offsets come from each object that delivers elements."""
    pushed = stored.query(["Muon_pt", "Muon_score"], "weight > 0 and MET_pt > 10", execution="pushdown")
    assert len(pushed.to_awkward()) > 0
    arrays = mixed_scan._arrays

    def changed(program: MixedProgram, fetch: Any, values: Any) -> Any:
        found = arrays(program, fetch, values)
        return [
            (n, a[::-1].copy()) if program.columns[n].is_offsets and fetch.object else (n, a)
            for n, a in found
        ]

    monkeypatch.setattr(mixed_scan, "_arrays", changed)
    with pytest.raises(CorruptObject, match="has other lists 'Muon#' than those before"):
        pushed.to_awkward()


# -- real OSDs ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def in_osds(ceph: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A dataset in a pool; its friends come from RNTuple files and from Parquet files."""
    folder = tmp_path_factory.mktemp("osds")
    site = Site(folder)
    url = f"{ceph.url}&namespace={uuid.uuid4().hex}&catalog=sqlite:///{folder / 'catalog.sqlite'}"
    client = skyhook_casa.connect(url, progress=False, threads=2)
    client.ingest("dy", sorted(folder.glob("dy-*.root")), chunk_events=150, workers=1)
    order = np.random.default_rng(3).permutation(EVENTS)
    keys = {name: values[order] for name, values in site.keys().items()}
    write_rntuple(
        folder / "n.root", keys | {n: site.new[n][order] for n in ("weight", "Muon_score", "track")}
    )
    write_parquet(folder / "p.parquet", keys | {"good": site.new["good"][order]})
    assert set(client.add_columns("dy", folder / "n.root").columns) == {"weight", "Muon_score", "track"}
    client.add_columns("dy", folder / "p.parquet")
    return client


@pytest.mark.slow
def test_objects_of_radosgw_answer_through_their_pool(
    ceph: Cluster, radosgw_store: str, tmp_path: Path
) -> None:
    """Also for a user of the cluster who may only run the class, whom S3 lets read."""
    if not ceph.class_names():
        pytest.skip("the object class is not built")
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    site = Site(tmp_path)
    client = filled(skyhook_casa.connect(radosgw_store, catalog=catalog, progress=False, threads=2), site)
    marker = client.store._companion.oid("").removesuffix("_")  # type: ignore[attr-defined]
    analyst = skyhook_casa.connect(
        f"{radosgw_store}&user=client.analyst&marker={marker}", catalog=catalog, progress=False, threads=2
    )
    for columns, cut in [
        (["MET_pt", "weight", "Muon_score"], CUT),
        (
            ["Muon_pt", "Muon_score", "track", "stored"],
            f"good and weight > 0 and stored > 1 and {MIXED_TERM}",
        ),
        *((["MET_pt", "weight", "good"], " and ".join(terms)) for terms in RULED_OUT),
    ]:
        read = client.query("dy", columns, cut, execution="read")
        for one in (client, analyst):
            pushed = one.query("dy", columns, cut, execution="pushdown")
            assert_equal_answers(pushed, read)
            assert pushed.explain().place.startswith("inside s3://")
            assert pushed.report.bytes_moved > 0
    terms = RULED_OUT[-2]
    flow = client.query("dy", cut=CUT, execution="pushdown").cutflow(terms)
    assert flow.to_dict() == client.query("dy", cut=CUT, execution="read").cutflow(terms).to_dict()
    few = client.query("dy", ["MET_pt", "weight"], "weight > 2.5 and MET_pt > 10")
    assert few.count() > 0
    assert few.report.partitions_pushed == 2, "auto pushes down, too"
    pushed = client.query("dy", ["MET_pt", "weight"], CUT, execution="pushdown")
    read = client.query("dy", ["MET_pt", "weight"], CUT, execution="read")
    bins = [one.hist("Muon_score", bins=9, range=(0, 1)).view(flow=True) for one in (pushed, read)]
    assert bins[0].sum() > 0
    assert np.array_equal(*bins)


@pytest.mark.slow
def test_osds_count_each_step_as_awkward_does(in_osds: Client, tmp_path: Path) -> None:
    site = Site(tmp_path)
    for terms in RULED_OUT:
        for execution in ("pushdown", "read"):
            query = in_osds.query(
                "dy", ["MET_pt", "weight", "good"], " and ".join(terms), execution=execution
            )
            query.to_awkward()
            assert_agree(query.report.cutflow, steps(site, [term for term, _ in query.report.cutflow]))
            assert query.report.partitions_pushed == (2 if execution == "pushdown" else 0)


def write_rntuple(path: Path, columns: Columns) -> None:
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", {name: ak.Array(values) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("columns", "cut"),
    [
        (["MET_pt", "weight", "good"], "MET_pt > 10 and weight > 0 and good"),
        (["Muon_pt", "Muon_score", "track"], f"good and weight > 0 and {MIXED_TERM}"),
        (["Jet_pt", "good"], "sum(track) > 1e9 and MET_pt > 10"),
        (["weight"], "MET_pt > weight"),
    ],
)
def test_osds_answer_mixed_queries_as_reading_does(in_osds: Client, columns: list[str], cut: str) -> None:
    pushed, read = (in_osds.query("dy", columns, cut, execution=one) for one in ("pushdown", "read"))
    assert_equal_answers(pushed, read)
    assert pushed.report.bytes_moved > 0
    assert pushed.explain().place.startswith("inside rados://")


def test_a_key_that_only_allows_scans_is_enough(in_osds: Client, ceph: Cluster) -> None:
    """Nothing but answers leaves the OSDs, so such a user can ask for columns of all sets."""
    asked = "dy", ["weight", "good", "MET_pt"], "weight > 0 and MET_pt > 10"
    mine = skyhook_casa.connect(f"{in_osds.store.url}&user=client.analyst", progress=False, threads=1)
    found = mine.query(*asked)
    assert_same(found.to_awkward(), in_osds.query(*asked).to_awkward())
    assert found.report.partitions_pushed == found.report.partitions_done == 2
