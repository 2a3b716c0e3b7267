"""NanoEvents of a query: equal to coffea's of the ROOT file, fetched late and once, refused where wrong."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from ingest_helpers import sample, write_root

pytest.importorskip("coffea")

import cloudpickle
from coffea.nanoevents import BaseSchema, NanoAODSchema, NanoEventsFactory

import skyhook_casa
from skyhook_casa.errors import CorruptObject, InvalidRequest, MissingColumn, NotFound, StoreError
from skyhook_casa.query import Query as QueryValue
from skyhook_client import Client
from skyhook_client.coffea.answer import Answer
from skyhook_client.coffea.events import grouped, of_query

pytestmark = [
    pytest.mark.slow,  # to import coffea alone takes some seconds
    pytest.mark.filterwarnings(
        "ignore:Missing cross-reference:RuntimeWarning",
        "ignore:Branch .* already exists:RuntimeWarning",
        "ignore:distinctChildrenDeep may not:UserWarning",
    ),
]
CUT = "nMuon >= 2 and any(Muon_pt > 20)"
NANOAOD_SAMPLES = [
    "nano_dy.root",
    "nano_dimuon.root",
    "nanoAOD_2015_CMS_Open_Data_ttbar.root",
    "nanoaod_rntuple_v1.root",
]
CROSS_REFERENCES = {
    "Muon": ["matched_jet", "matched_gen", "matched_fsrPhoton"],
    "Electron": ["matched_jet", "matched_gen", "matched_photon"],
    "Photon": ["matched_electron", "matched_jet", "matched_gen"],
    "Tau": ["matched_jet", "matched_gen"],
    "Jet": ["matched_electrons", "matched_muons", "matched_gen"],
    "FatJet": ["subjets", "matched_gen"],
    "GenPart": ["parent", "children", "distinctParent", "distinctChildren", "distinctChildrenDeep"],
}


def from_root(path: Path, schemaclass: Any = NanoAODSchema, tree: str = "Events") -> Any:
    """NanoEvents as coffea makes them of the file."""
    return NanoEventsFactory.from_root({str(path): tree}, schemaclass=schemaclass, mode="eager").events()


def assert_equal_fields(found: Any, expected: Any) -> int:
    """Equal in fields, types, documentation and values; return how many fields there are."""
    fields = 0
    assert set(found.fields) == set(expected.fields)
    for name in expected.fields:
        assert set(found[name].fields) == set(expected[name].fields), name
        for field in expected[name].fields or [None]:
            one, other = (
                (found[name], expected[name])
                if field is None
                else (found[name][field], expected[name][field])
            )
            assert str(one.type) == str(other.type), (name, field)
            assert ak.array_equal(one, other, equal_nan=True, check_parameters=True), (name, field)
            fields += 1
    return fields


def assert_equal_references(found: Any, expected: Any) -> int:
    """Follow every cross reference that there is; return how many."""
    followed = 0
    for name, references in CROSS_REFERENCES.items():
        for reference in references:
            if name not in expected.fields or not hasattr(expected[name], reference):
                continue
            one, other = getattr(found[name], reference), getattr(expected[name], reference)
            assert set(one.fields) == set(other.fields)
            for field in [f for f in ("pt", "eta", "pdgId", "charge") if f in other.fields]:
                assert ak.array_equal(one[field], other[field], equal_nan=True), (name, reference, field)
            followed += 1
    return followed


class Told:
    """A question whose runs are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
        self.asked: list[tuple[str, ...]] = []
        backend, ask = client.backend, client.backend.ask

        def counting(value: QueryValue, execution: str = "auto") -> Any:
            question = ask(value, execution)
            question_type = type(question)
            if question_type.run.__name__ != "counted":
                run = question_type.run

                def counted(one: Any, *args: Any, **kwargs: Any) -> Any:
                    self.asked.append(one.value.columns)
                    return run(one, *args, **kwargs)

                monkeypatch.setattr(question_type, "run", counted)
            return question

        monkeypatch.setattr(backend, "ask", counting)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, client: Client) -> list[tuple[str, ...]]:
    """The columns of each fetch."""
    return Told(monkeypatch, client).asked


@pytest.fixture(scope="session")
def nano_events(nano_file: Path) -> Any:
    """The generated file's events, as coffea reads them."""
    return from_root(nano_file)


# -- equal to coffea's --------------------------------------------------------------------------
def test_every_field_and_reference_equals_coffeas(client: Client, nano_events: Any) -> None:
    """The generated file, embedded and through a service."""
    events = client.query("dy").nanoevents(mode="eager")

    assert assert_equal_fields(events, nano_events) > 100
    assert assert_equal_references(events, nano_events) >= 10


@pytest.mark.parametrize("name", NANOAOD_SAMPLES)
def test_every_field_and_reference_of_a_real_file_equals_coffeas(name: str) -> None:
    """Simulation, data, open data and an RNTuple; touched one by one, as an analyst does."""
    path = sample(name)
    client = skyhook_casa.connect("memory://")
    client.ingest("x", path, partition_bytes=512 * 1024, chunk_events=16)
    expected = from_root(path)

    events = client.query("x").nanoevents(preload=lambda field: "Muon" in field.name)

    assert assert_equal_fields(events, expected) > 900
    assert assert_equal_references(events, expected) >= 8


def test_a_wrong_index_is_noticed_by_these_tests() -> None:
    """The comparison of references can fail."""
    path = sample("nano_dy.root")
    client = skyhook_casa.connect("memory://")
    client.ingest("x", path)
    events = client.query("x").nanoevents()
    index = client.query("x", ["Muon_jetIdx"]).to_awkward().Muon_jetIdx
    wrong = ak.unflatten(np.roll(ak.flatten(index), 1), ak.num(index))

    muons = ak.with_field(events.Muon, ak.where(wrong >= 0, wrong, -1), "jetIdxG")

    assert not ak.array_equal(muons.matched_jet.pt, from_root(path).Muon.matched_jet.pt, equal_nan=True)


def test_files_that_are_no_nanoaod_work_with_another_schema() -> None:
    """Its columns are as they are."""
    path = sample("uproot-HZZ.root")
    client = skyhook_casa.connect("memory://")
    client.ingest("hzz", path)
    expected = from_root(path, BaseSchema, "events")

    events = client.query("hzz").nanoevents(BaseSchema)

    assert set(events.fields) == set(client.query("hzz").columns)
    for name in events.fields:
        assert ak.array_equal(events[name], expected[name], equal_nan=True, check_parameters=True), name


def test_a_cut_keeps_what_the_same_mask_keeps(client: Client, nano_events: Any) -> None:
    """References are local to an event, so they point at the same objects."""
    mask = (ak.num(nano_events.Muon) >= 2) & ak.any(nano_events.Muon.pt > 20, axis=1)
    expected = nano_events[mask]

    events = client.query("dy", cut=CUT).nanoevents()

    assert 0 < len(events) < len(nano_events)
    assert events.event.tolist() == expected.event.tolist()
    assert_equal_references(events, expected)
    assert ak.array_equal(
        (events.Muon[:, 0] + events.Muon[:, 1]).mass, (expected.Muon[:, 0] + expected.Muon[:, 1]).mass
    )


def test_a_cut_that_nothing_passes_gives_no_events(client: Client) -> None:
    """And every column of none."""
    events = client.query("dy", cut="MET_pt < -1").nanoevents()
    assert len(events) == 0
    assert events.Muon.matched_jet.pt.tolist() == []


def test_a_limit_takes_the_first_events(client: Client, nano_events: Any) -> None:
    """Of those that pass, for every column alike."""
    events = client.query("dy", cut="nMuon >= 1", limit=7).nanoevents()
    expected = nano_events[ak.num(nano_events.Muon) >= 1][:7]
    assert events.Muon.pt.tolist() == expected.Muon.pt.tolist()
    assert events.MET.pt.tolist() == expected.MET.pt.tolist()


def test_derived_columns_are_fields_too(client: Client, nano_events: Any) -> None:
    """Of a collection, if they are named so."""
    events = client.query("dy", define={"Muon_gev": "Muon_pt * 2", "ht": "sum(Jet_pt)"}).nanoevents()
    assert events.Muon.gev.tolist() == (nano_events.Muon.pt * 2).tolist()
    assert events.ht.tolist() == ak.sum(nano_events.Jet.pt, axis=1).tolist()
    assert "Muon_pt * 2" in events.Muon.gev.__doc__


# -- late, and once -----------------------------------------------------------------------------
def test_nothing_is_fetched_until_it_is_touched(client: Client, fetched: list[Any]) -> None:
    """Without a cut, not even to know how many there are; then each column once."""
    events = client.query("dy").nanoevents()
    assert len(events) == 1500 and events.fields and not fetched
    pt = events.Muon.pt
    assert fetched == [("nMuon",)]

    ak.sum(pt), ak.sum(events.Muon.pt), ak.sum(pt + events.Muon.pt)

    assert fetched == [("nMuon",), ("Muon_pt",)]


def test_a_cut_finds_the_events_once(client: Client, fetched: list[Any]) -> None:
    """With the numbers that identify them."""
    events = client.query("dy", cut=CUT).nanoevents()
    assert [set(names) for names in fetched] == [{"run", "luminosityBlock", "event"}]
    events.run.tolist(), events.event.tolist()
    assert len(fetched) == 1


@pytest.mark.parametrize("cut", [None, CUT])
def test_what_was_touched_of_one_part_comes_at_once_for_the_next(
    client: Client, fetched: list[Any], cut: str | None
) -> None:
    """Column by column of the first; of the others in one fetch, and what is touched besides in its own."""
    first, second, third = islice(client.query("dy", cut=cut).nanoevents_partitions(), 3)
    expected = [ak.sum(events.Muon.pt) + ak.sum(events.MET.pt) for events in (first, second)]
    before = len(fetched)
    assert before > 2

    ak.sum(third.Muon.eta)
    sums = [ak.sum(events.Muon.pt) + ak.sum(events.MET.pt) for events in (second, third)]

    assert sums[0] == expected[1]
    told = [set(names) for names in fetched[before:]]
    assert len(told) == len(fetched) - before <= 2
    assert {"nMuon", "Muon_pt", "MET_pt"} <= told[0]


def test_columns_that_are_named_come_at_once(client: Client, fetched: list[Any]) -> None:
    """One fetch finds the events too; a name that is no column does no harm."""
    events = client.query("dy", cut=CUT).nanoevents(preload=["nMuon", "Muon_pt", "MET_pt", "NoSuch_column"])
    ak.sum(events.Muon.pt), ak.sum(events.MET.pt)
    assert [set(names) for names in fetched] == [{"nMuon", "Muon_pt", "MET_pt"}]


def test_columns_that_a_function_touches_come_at_once(client: Client, fetched: list[Any]) -> None:
    """It is tried on events of which there are none, so that nothing is fetched for it."""

    def process(events: Any) -> Any:
        return ak.sum(events.Muon.matched_jet.pt) + ak.sum(events.MET.pt)

    events = client.query("dy").nanoevents(trace=process)
    assert len(fetched) == 1 and {"Muon_jetIdx", "nJet", "Jet_pt", "MET_pt"} <= set(fetched[0])
    process(events)
    assert len(fetched) == 1


def test_eager_fetches_everything_at_once(client: Client, fetched: list[Any]) -> None:
    """And nothing later."""
    events = client.query("dy", ["Muon_pt", "MET_pt"]).nanoevents(mode="eager")
    assert ak.sum(events.Muon.pt) > 0
    assert len(fetched) == 1


def test_threads_fetch_a_column_once(client: Client, fetched: list[Any]) -> None:
    """However many touch it at the same time."""
    events = client.query("dy").nanoevents()
    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(lambda _: ak.sum(events.Jet.pt), range(8)))
    assert len(set(sums)) == 1
    assert sorted(fetched) == [("Jet_pt",), ("nJet",)]


def test_a_buffer_cache_saves_later_fetches_of_the_same_query_only(
    client: Client, fetched: list[Any]
) -> None:
    """Another cut, version or range has other keys."""
    cache: dict[str, Any] = {}
    first = client.query("dy", cut="nMuon >= 1").nanoevents(buffer_cache=cache)
    total = ak.sum(first.MET.pt)
    once = len(fetched)

    again = client.query("dy", cut="nMuon >= 1").nanoevents(buffer_cache=cache, preload=["run"])
    assert ak.sum(again.MET.pt) == total
    assert len(fetched) == once + 1

    other = client.query("dy", cut="nMuon >= 2").nanoevents(buffer_cache=cache)
    assert ak.sum(other.MET.pt) != total


def test_the_report_of_the_last_fetch_is_there(client: Client) -> None:
    """As after any other run."""
    query = client.query("dy", cut=CUT)
    events = query.nanoevents()
    assert query.report.events_out == len(events)


def test_an_access_log_says_what_was_touched(client: Client) -> None:
    """As coffea's does."""
    log: list[Any] = []
    events = client.query("dy").nanoevents(access_log=log)
    ak.sum(events.Muon.pt)
    assert {one.branch for one in log} == {"nMuon", "Muon_pt"}


def test_events_can_be_pickled_with_what_they_hold(client: Client) -> None:
    """By cloudpickle, as those of coffea; the connection stays here."""
    events = client.query("dy", ["Muon_pt", "MET_pt"], CUT).nanoevents()
    copy = cloudpickle.loads(cloudpickle.dumps(events.Muon.pt))
    assert copy.tolist() == events.Muon.pt.tolist()


# -- columns ------------------------------------------------------------------------------------
def test_identity_and_counters_come_with_any_columns(client: Client, nano_events: Any) -> None:
    """Without them collections could not point at each other; and nobody is warned of what was left out.

    The components of a vector come together, since coffea makes no object of some of them.
    """
    events = client.query("dy", ["Muon_jetIdx", "Jet_pt"]).nanoevents()
    assert {"run", "luminosityBlock", "event", "Muon", "Jet", "nElectron"} <= set(events.fields)
    assert {"pt", "eta", "phi", "mass", "charge"} <= set(events.Muon.fields)
    assert "tightId" not in events.Muon.fields
    assert ak.array_equal(events.Muon.matched_jet.pt, nano_events.Muon.matched_jet.pt)


def test_metadata_is_given_or_names_the_dataset(client: Client) -> None:
    """Processors look there."""
    assert client.query("dy").nanoevents().metadata["dataset"] == "dy"
    assert client.query("dy").nanoevents(metadata={"year": 2018}).metadata["year"] == 2018


# -- partitions ---------------------------------------------------------------------------------
def test_partitions_one_by_one_are_the_whole(client: Client, nano_events: Any) -> None:
    """In dataset order, each with its own events."""
    whole = client.query("dy", cut=CUT).nanoevents()
    parts = list(client.query("dy", cut=CUT).nanoevents_partitions())

    assert len(parts) == client.dataset("dy").partitions > 2
    assert [n for part in parts for n in part.event.tolist()] == whole.event.tolist()
    assert [
        pt for part in parts for pt in part.Muon.matched_jet.pt.tolist()
    ] == whole.Muon.matched_jet.pt.tolist()


def test_partitions_come_together_up_to_a_number_of_events(client: Client) -> None:
    """Counted before the cut."""
    events_of = [len(part) for part in client.query("dy").nanoevents_partitions(events_max=700)]
    assert sum(events_of) == 1500 and all(n <= 700 for n in events_of) and len(events_of) < 6


def test_grouping_never_cuts_a_partition() -> None:
    """A long one comes alone; empty ones are left out."""
    assert grouped([0, 10, 20, 20, 70, 80], 25) == [(0, 20), (20, 70), (70, 80)]
    assert grouped([0, 10, 10, 20], 0) == [(0, 10), (10, 20)]
    assert grouped([0], 5) == []


def test_a_query_of_some_partitions_gives_their_events(client: Client) -> None:
    """With a cut, in order, with their numbers in the dataset; and all of them without."""
    answer = Answer(client.query("dy").question)
    first, stop = answer.bounds[1], answer.bounds[3]
    value = QueryValue.make("dy", ["event"], "nMuon >= 1", partitions=(1, 3))
    whole = client.query("dy", ["event"], "nMuon >= 1")
    rows = np.concatenate([batch.rows for batch in whole.stream(rows=True)])
    expected = whole.to_awkward().event[(rows >= first) & (rows < stop)]

    from skyhook_client.query import Query

    some = Query(client.backend.ask(value))
    every = Query(client.backend.ask(QueryValue.make("dy", ["event"], partitions=(1, 3))))

    assert some.to_awkward().event.tolist() == expected.tolist()
    assert some.count() == len(expected)
    assert every.count() == stop - first
    assert len(every.to_awkward()) == stop - first
    assert every.explain().events == stop - first


def test_partitions_that_are_not_there_are_refused(client: Client) -> None:
    """The message says how many there are."""
    there = client.dataset("dy").partitions
    client.backend.ask(QueryValue.make("dy", partitions=(0, there)))
    with pytest.raises(InvalidRequest, match=f"has {there}, numbered from 0"):
        client.backend.ask(QueryValue.make("dy", partitions=(0, there + 1)))


def test_parts_of_other_events_have_other_keys(client: Client) -> None:
    """And the same ones the same key, in any process."""

    def keys(cut: str | None, **more: Any) -> list[str]:
        answer = Answer(client.query("dy", cut=cut, **more).question)
        ends = answer.bounds
        return [
            str(answer.part(entries).uuid) for entries in (None, (0, ends[1]), (ends[1], ends[2]), (0, 5))
        ]

    assert keys(None) == keys(None)
    every = keys(None) + keys("nMuon >= 1") + keys("nMuon >= 2") + keys(None, define={"x": "MET_pt"})
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("cut", [None, "nMuon >= 1"])
def test_a_range_inside_a_partition_has_its_events(client: Client, nano_events: Any, cut: str | None) -> None:
    """Numbered before the cut."""
    answer = Answer(client.query("dy", cut=cut).question)
    expected = nano_events[150:333]
    if cut:
        expected = expected[ak.num(expected.Muon) >= 1]

    from skyhook_client.coffea import nanoevents

    events = nanoevents(answer.part((150, 333)))

    assert events.event.tolist() == expected.event.tolist()
    assert events.Muon.matched_jet.pt.tolist() == expected.Muon.matched_jet.pt.tolist()


# -- refused ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda c: c.query("dy", objects={"Jet": "pt > 30"}).nanoevents(),
            "leave out objects= .for Jet. and mask",
        ),
        (
            lambda c: c.query("dy", define={"lead": "Muon_pt[0]"}).nanoevents(),
            "lead can have missing elements",
        ),
        (lambda c: c.query("dy").nanoevents(mode="dask"), "'virtual' or 'eager' is needed"),
        (lambda c: c.query("dy").nanoevents(preload="Muon_pt"), "a list of names is needed"),
        (lambda c: c.query("dy").nanoevents(preload=[], trace=len), "preload and trace"),
        (lambda c: c.query("dy", limit=3).nanoevents_partitions(), "limit=3 counts events of all partitions"),
        (lambda c: Answer(c.query("dy").question).part((0, 1501)), "has 1500"),
    ],
)
def test_wrong_requests_are_refused(client: Client, call: Callable[[Client], Any], message: str) -> None:
    """The message says what would work."""
    with pytest.raises(InvalidRequest, match=message):
        call(client)


def test_a_column_that_is_not_there_is_no_attribute(client: Client) -> None:
    """As in coffea."""
    with pytest.raises(AttributeError, match="ptt"):
        client.query("dy").nanoevents().Muon.ptt  # noqa: B018
    with pytest.raises(NotFound, match="did you mean 'Muon_pt'"):
        client.query("dy", ["Muon_ptt"]).nanoevents()


def test_a_column_that_some_files_lack_is_refused_when_it_is_touched(tmp_path: Path) -> None:
    """The others are there; with a fill value, this one too."""
    client = skyhook_casa.connect("memory://")
    ids = {"luminosityBlock": np.ones(20, np.uint32)}
    paths = [
        write_root(tmp_path / "a.root", 20, 1, **ids, extra=np.ones(20, np.float32)),
        write_root(tmp_path / "b.root", 20, 2, **ids),
    ]
    client.ingest("x", paths)

    events = client.query("x").nanoevents(BaseSchema)

    assert len(events.Muon_pt) == 40
    with pytest.raises(MissingColumn, match=r"extra is not in .*b\.root"):
        ak.sum(events.extra)
    filled = client.query("x", fill={"extra": -1.0}).nanoevents(BaseSchema)
    assert filled.extra.tolist() == [1.0] * 20 + [-1.0] * 20


def test_damage_is_told_when_a_column_is_touched(tmp_path: Path) -> None:
    """Naming the object."""
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("x", write_root(tmp_path / "a.root", 200, luminosityBlock=np.ones(200, np.uint32)))
    events = client.query("x").nanoevents(BaseSchema)
    (part,) = client.catalog.partitions(client.catalog.version("x"))
    path = client.store.local_path(part.object.name)
    assert path is not None
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[64 : part.object.directory_start] = bytes(part.object.directory_start - 64)
    path.write_bytes(data)

    with pytest.raises(CorruptObject, match=part.object.name[:8]):
        ak.sum(events.Muon_pt)


def test_other_events_than_before_are_never_given(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a version had changed, which it cannot."""
    answer = Answer(client.query("dy", cut="nMuon >= 1").question)
    part = answer.part()
    assert len(part) > 2
    other = Answer(client.query("dy", cut="nMuon >= 2").question)
    monkeypatch.setattr(answer, "question", other.question)

    with pytest.raises(StoreError, match="cannot change"):
        part.column("MET_pt")


def test_a_question_alone_is_enough(client: Client) -> None:
    """What the client's query calls."""
    told: list[Any] = []
    events = of_query(client.query("dy", cut="nMuon >= 1").question, told.append)
    assert len(told) == 1 and told[0].events_out == len(events)
