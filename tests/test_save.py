"""Answers kept as datasets: they hold what the query gives, and know where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import pyarrow.parquet as pq
import pytest
from ingest_helpers import by_uproot, make_events, write_root
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.errors import (
    AlreadyExists,
    CorruptObject,
    ExpressionError,
    InvalidRequest,
    NotFound,
    SkyhookError,
    StoreError,
)
from skyhook_casa.gc import collect_garbage
from skyhook_casa.ingest import ThisProcess
from skyhook_casa.lumimask import LumiMask
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.progress import Progress
from skyhook_casa.query import Query as QueryValue
from skyhook_casa.saving import objects, run
from skyhook_casa.saving.origin import Origin
from skyhook_casa.saving.request import SaveRequest
from skyhook_casa.stores import ObjectStore
from skyhook_client import Client

EVENTS = 800
COLUMNS = ["run", "luminosityBlock", "event", "Muon", "Jet", "MET_pt", "nElectron", "LHEPdfWeight"]
CUT = "nMuon >= 2"


@pytest.fixture(scope="module")
def store_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A client of a store whose dataset `dy` has two files of several partitions."""
    folder = tmp_path_factory.mktemp("save")
    files = [
        make_nanoaod(folder / f"dy{n}.root", EVENTS, seed=n, first_event=n * EVENTS, cluster_events=200).path
        for n in range(2)
    ]
    client = skyhook_casa.connect(folder / "store", threads=2)
    client.ingest("dy", files, partition_bytes=64 * 1024, chunk_events=50, workers=1)
    assert client.dataset("dy").partitions > 8
    return client


@pytest.fixture(scope="module", params=ANSWERERS)
def client(request: pytest.FixtureRequest, store_client: Client) -> Iterator[Client]:
    with answered(request.param, store_client) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test saves under."""
    return str(request.node.name)


def parts_of(client: Client, name: str) -> list[Any]:
    catalog = client.catalog
    return catalog.partitions(catalog.version(name))


# -- what is kept -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"define": {"ht": "sum(Jet_pt)", "Muon_pt2": "2 * Muon_pt", "good": "Muon_pt[Muon_pt > 10]"}},
        {"objects": {"Jet": "pt > 30"}},
    ],
    ids=["stored", "defined", "thinned"],
)
def test_a_saved_answer_is_the_answer(client: Client, name: str, options: dict[str, Any]) -> None:
    """Value for value and type for type, in the same order; counters come with their lists."""
    query = client.query("dy", [*COLUMNS, *options.get("define", {})], CUT, **options)

    report = query.save(name)

    saved = client.dataset(name)
    found, expected = saved.query(query.columns).to_awkward(), query.to_awkward()
    assert (report.version, report.events, report.events_kept) == (1, 2 * EVENTS, len(expected))
    assert saved.events == len(found) == len(expected)
    assert str(found.type) == str(expected.type)
    assert ak.array_equal(found, expected)
    counted = saved.query(["nMuon", "nJet"]).to_awkward()
    assert counted.nJet.tolist() == ak.num(expected.Jet_pt).tolist()
    assert counted.nMuon.tolist() == ak.num(expected.Muon_pt).tolist()
    assert client.verify(name).ok


def test_all_columns_are_kept_by_default(client: Client, name: str) -> None:
    client.query("dy", cut=CUT).save(name)

    saved, asked = client.dataset(name), client.dataset("dy")
    assert [column.name for column in saved.columns()] == [column.name for column in asked.columns()]
    assert saved.columns() == asked.columns()
    assert saved.collections().keys() == asked.collections().keys()


def test_the_counter_of_a_list_that_is_not_kept_is_a_number(client: Client, name: str) -> None:
    query = client.query("dy", ["nMuon", "MET_pt"], CUT)
    query.save(name)
    assert client.dataset(name).collections() == {}
    assert client.query(name, "nMuon").to_awkward().tolist() == query.to_awkward()[["nMuon"]].tolist()


def test_a_saved_answer_can_be_asked_cut_and_saved_again(client: Client, name: str) -> None:
    client.query("dy", COLUMNS, "nMuon >= 1").save(name)
    client.query(name, COLUMNS, "MET_pt > 20").save(f"{name}2")
    expected = client.query("dy", "event", "nMuon >= 1 and MET_pt > 20").to_awkward()
    assert client.query(f"{name}2", "event").to_awkward().tolist() == expected.tolist()
    origin = client.dataset(f"{name}2").origin
    assert origin is not None
    assert (origin.dataset, origin.version) == (name, 1)


def test_an_answer_without_events_is_kept_with_its_columns(client: Client, name: str) -> None:
    report = client.query("dy", ["MET_pt", "Muon_pt"], "MET_pt < -1").save(name)
    assert (report.version, report.events_kept, report.bytes) == (1, 0, 0)
    assert [one.name for one in client.dataset(name).columns()] == ["MET_pt", "nMuon", "Muon_pt"]
    assert len(client.query(name, ["Muon_pt"]).to_awkward()) == 0


def test_derived_columns_of_the_dataset_become_columns(client: Client, name: str) -> None:
    """What they meant is noted: the dataset may define them otherwise later."""
    client.define("dy", {f"{name[:4]}_ht": "sum(Jet_pt)", f"{name[:4]}_twice": f"2 * {name[:4]}_ht"})
    query = client.query("dy", [f"{name[:4]}_twice"], f"{name[:4]}_twice > 100")
    query.save(name)
    expected = query.to_awkward()
    client.drop_definition("dy", f"{name[:4]}_twice")
    client.drop_definition("dy", f"{name[:4]}_ht")
    assert client.query(name).to_awkward().tolist() == expected.tolist()
    origin = client.dataset(name).origin
    assert origin is not None
    assert dict(origin.definitions) == {
        f"{name[:4]}_ht": "sum(Jet_pt)",
        f"{name[:4]}_twice": f"2 * {name[:4]}_ht",
    }


def test_columns_that_some_files_lack_are_in_all_objects(tmp_path: Path) -> None:
    """Filled as was asked: later queries need not say it again."""
    files = [write_root(tmp_path / "a.root", seed=1), write_root(tmp_path / "b.root", seed=2, MET_pt=None)]
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("x", files, workers=1)
    client.query("x", ["event", "MET_pt"], fill={"MET_pt": -1.0}).save("y")
    found = client.query("y", ["MET_pt"]).to_awkward().MET_pt
    assert found.tolist() == by_uproot(files[0])["MET_pt"].tolist() + [-1.0] * 100


# -- where it comes from ------------------------------------------------------------------------
def test_a_saved_dataset_knows_the_question(client: Client, name: str) -> None:
    query = client.query(
        "dy", ["MET_pt", "ht"], CUT, define={"ht": "sum(Jet_pt)"}, objects={"Jet": "pt > 30"}
    )
    query.save(name)

    saved = client.dataset(name)

    assert saved.origin == Origin(query.value, 2 * EVENTS, (), skyhook_casa.__version__)
    assert saved.origin.query.version == 1
    assert saved.note == f"{saved.events} events of dy, version 1"
    text = str(saved.describe())
    assert "saved from  dy, version 1 (1,600 events)" in text
    assert "cut         nMuon >= 2" in text
    assert "define      ht = sum(Jet_pt)" in text
    assert client.dataset("dy").origin is None
    assert name in [one.name for one in client.datasets()]


def test_asking_the_origin_again_gives_the_same_events(client: Client, name: str) -> None:
    client.query("dy", ["event", "MET_pt"], CUT, lumimask={"1": [[1, 1]]}, limit=50).save(name)
    origin = client.dataset(name).origin
    assert origin is not None
    again = client.backend.ask(origin.query)
    assert again.value == origin.query
    assert (
        client.query(name).to_awkward().tolist()
        == client.query(
            "dy", origin.query.columns, origin.query.cut, lumimask=origin.query.lumimask, limit=50
        )
        .to_awkward()
        .tolist()
    )


def test_sums_and_sections_stay_those_of_what_was_processed(client: Client, name: str) -> None:
    """Also of the file of which no event is left."""
    client.query("dy", ["event"], f"event <= {EVENTS}").save(name)
    saved, asked = client.dataset(name), client.dataset("dy")
    assert saved.files() == asked.files()
    assert saved.sum_of_weights() == asked.sum_of_weights()
    assert saved.luminosity_sections() == asked.luminosity_sections()
    assert saved.runs().tolist() == asked.runs().tolist()


def test_sections_are_those_of_the_mask(client: Client, name: str) -> None:
    """Others were not processed; generated events are counted whatever was selected."""
    mask = {"1": [[1, 1], [7, 9]]}
    client.query("dy", ["event"], lumimask=mask).save(name)
    saved, asked = client.dataset(name), client.dataset("dy")
    assert saved.luminosity_sections() == asked.luminosity_sections() & LumiMask.make(mask)
    assert 0 < len(saved.luminosity_blocks()) < len(asked.luminosity_blocks())
    assert saved.sum_of_weights() == asked.sum_of_weights()


@pytest.mark.parametrize("limit", [0, 3, 150, 2 * EVENTS])
def test_a_limit_keeps_the_first_events_and_no_trees(
    client: Client, name: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows of which events the trees of the files would tell then."""
    monkeypatch.setattr(run, "UNIT_BYTES", 1)
    query = client.query("dy", ["event"], "nMuon >= 1", limit=limit)
    expected = query.to_awkward()
    query.save(name)
    assert client.query(name).to_awkward().tolist() == expected.tolist()
    with pytest.raises(NotFound, match="has a tree 'Runs'"):
        client.dataset(name).sum_of_weights()


def test_saving_again_makes_a_new_version_of_shared_objects(client: Client, name: str) -> None:
    query = client.query("dy", ["event", "MET_pt"], CUT)
    assert query.save(name).version == 1
    again = query.save(name)
    assert (again.version, again.partitions_made) == (2, 0)
    client.query("dy", ["event"]).save(name)
    assert [one.events for one in client.dataset(name).versions()] == [2 * EVENTS] + 2 * [query.count()]
    origin = client.dataset(name, version=2).origin
    assert origin is not None
    assert origin.query.cut == CUT


# -- what is refused ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "taken", "kind", "why"),
    [
        ({"columns": ["MET_pt"]}, "dy", AlreadyExists, "'dy' is there and was not saved from a query"),
        ({"columns": ["MET_pt"]}, "", InvalidRequest, "'' is no dataset name"),
        ({"columns": ["MET_pt"]}, "a\nb", InvalidRequest, "is no dataset name"),
        (
            {"columns": ["lead"], "define": {"lead": "Muon_pt[0]"}},
            "refused",
            InvalidRequest,
            "lead can have missing elements, .* fill_none",
        ),
        ({"columns": ["MET_ptt"]}, "refused", NotFound, "did you mean 'MET_pt'"),
        ({"columns": ["MET_pt"], "cut": "Muon_pt > 3"}, "refused", ExpressionError, "Muon_pt"),
    ],
)
def test_what_cannot_be_saved_is_refused(
    client: Client, asked: dict[str, Any], taken: str, kind: type[SkyhookError], why: str
) -> None:
    """Before anything runs: there is no job."""
    jobs = len(client.jobs())
    with pytest.raises(kind, match=why):
        client.query("dy", **asked).save(taken)
    assert len(client.jobs()) == jobs
    assert "refused" not in [one.name for one in client.datasets()]


def test_the_name_of_an_answer_to_another_dataset_is_refused(client: Client, name: str) -> None:
    """A mistake would mix them up."""
    client.query("dy", ["event"], CUT).save(name)
    with pytest.raises(AlreadyExists, match="was saved from 'dy', not from"):
        client.query(name, ["event"]).save(name)
    assert client.dataset(name).version == 1


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"codec": "zip"}, "codec 'zip' is unknown"),
        ({"partition_bytes": 1}, "partition_bytes is 1; 65536 to"),
        ({"chunk_events": 0}, "chunk_events is 0; 1 to"),
        ({"workers": 0}, "workers"),
        ({"codecs": "lz4"}, "save has no option 'codecs'; did you mean 'codec'"),
        ({"tree": "Events"}, "no option 'tree'; there are codec, partition_bytes"),
        ({"codec": 3}, "codec of save is 3; a text is needed"),
        ({"partition_bytes": "1 MB"}, "partition_bytes of save is '1 MB'; a whole number"),
    ],
)
def test_options_out_of_range_are_refused(client: Client, option: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        client.query("dy", ["event"]).save("refused", **option)


def test_a_query_of_some_partitions_cannot_be_saved() -> None:
    with pytest.raises(InvalidRequest, match="a query of some partitions cannot be saved"):
        SaveRequest("x", QueryValue.make("dy", partitions=(0, 1)))


def test_a_request_of_a_newer_release_is_refused() -> None:
    text = SaveRequest("x", QueryValue.make("dy")).to_json()
    assert SaveRequest.from_json(text) == SaveRequest("x", QueryValue.make("dy"))
    with pytest.raises(InvalidRequest, match="a save asks for more: a newer skyhook_casa wrote it"):
        SaveRequest.from_json(text[:-1] + ', "more": 1}')


# -- objects ------------------------------------------------------------------------------------
def test_little_that_is_left_of_many_partitions_is_one_object(store_client: Client, name: str) -> None:
    """One for each file, made from all of its entries."""
    store_client.query("dy", ["event"], "event % 100 == 7").save(name)
    parts = parts_of(store_client, name)
    assert [(one.entry_start, one.entry_stop) for one in parts] == [(0, EVENTS)] * 2
    assert [one.events for one in parts] == [EVENTS // 100] * 2


@pytest.mark.parametrize("limits", ["full", "middle", "halves"])
def test_much_that_is_left_is_cut_into_objects(
    store_client: Client, name: str, limits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind partitions, in the middle of a large one, and in halves if an object came out too large."""
    if limits == "full":
        monkeypatch.setattr(objects, "RAW_RATIO", 0.05)
        monkeypatch.setattr(objects, "RAW_MAX", 1000)
    elif limits == "middle":
        monkeypatch.setattr(objects, "RAW_RATIO", 0.05)
        monkeypatch.setattr(objects, "PIECE_BYTES", 500)
    else:
        monkeypatch.setattr("skyhook_casa.ingest.encode.OBJECT_BYTES_MAX", 12_000)
    query = store_client.query("dy", ["event", "Jet_pt", "Muon_pt"])

    query.save(name, partition_bytes=64 * 1024, chunk_events=40)

    parts = parts_of(store_client, name)
    assert len(parts) > 6
    assert ak.array_equal(store_client.query(name, query.columns).to_awkward(), query.to_awkward())
    for number, file in enumerate(store_client.dataset("dy").files()):
        mine = [(one.entry_start, one.entry_stop) for one in parts if one.file == file]
        assert [start for start, _ in mine] == [0, *(stop for _, stop in mine[:-1])], number
        assert mine[-1][1] == EVENTS
    assert all(one.events == one.entry_stop - one.entry_start for one in parts)


def test_an_event_too_large_for_an_object_is_told(
    store_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyhook_casa.ingest.encode.OBJECT_BYTES_MAX", 500)
    with pytest.raises(InvalidRequest, match="event 0 of 'dy' does not fit into one object; save fewer"):
        store_client.query("dy", ["event"]).save("refused")


def test_what_was_added_up_of_the_events_is_known(store_client: Client, name: str) -> None:
    """As of ingested ones: no event is read for it."""
    query = store_client.query("dy", ["run", "luminosityBlock", "genWeight"], CUT)
    query.save(name)
    tally = store_client.dataset(name).tally()
    assert not tally.unknown
    assert tally.sum_of_weights == pytest.approx(float(ak.sum(query.to_awkward().genWeight)))


# -- when it goes wrong -------------------------------------------------------------------------
class Stopping(ThisProcess):
    """Workers that do a few calls, then let something happen."""

    def __init__(self, store: ObjectStore, calls: int, error: BaseException) -> None:
        super().__init__(store)
        self.left, self.error = calls, error

    def submit(self, call: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().submit(call)


@pytest.mark.parametrize(
    ("error", "most"), [(KeyboardInterrupt(), 5), (CorruptObject("bad"), 6), (StoreError("full"), 7)]
)
def test_what_is_interrupted_is_not_there_and_goes_on(
    store_client: Client, name: str, error: BaseException, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call makes what is missing; nobody sees half of it."""
    monkeypatch.setattr(run, "UNIT_BYTES", 1)
    query = store_client.query("dy", ["event"], f"event % 8 < {most}")
    catalog, store = store_client.catalog, store_client.store
    request = SaveRequest(name, query.value)
    with pytest.raises(type(error)):
        run.SaveRun(catalog, store, request).make(Stopping(store, 3, error))
    assert name not in [one.name for one in store_client.datasets()]
    assert store_client.jobs()[-1].state == "running"

    collect_garbage(catalog, store, grace_s=0)
    report = query.save(name)

    assert report.partitions_reused >= 3
    assert report.partitions_made > 0
    assert store_client.query(name).to_awkward().tolist() == query.to_awkward().tolist()
    assert store_client.jobs()[-1].state == "done"


def test_what_was_given_up_is_garbage(
    store_client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "UNIT_BYTES", 1)
    catalog, store = store_client.catalog, store_client.store
    collect_garbage(catalog, store, grace_s=0)
    before = {one.name for one in store.list()}
    query = store_client.query("dy", ["event", "MET_pt"], "MET_pt > 11.5")
    with pytest.raises(KeyboardInterrupt):
        run.SaveRun(catalog, store, SaveRequest(name, query.value)).make(
            Stopping(store, 3, KeyboardInterrupt())
        )
    assert len({one.name for one in store.list()} - before) == 3
    store_client.jobs()[-1].cancel()
    assert collect_garbage(catalog, store, grace_s=0).objects == 3
    assert {one.name for one in store.list()} == before


def test_a_full_store_is_told_and_every_dataset_is_as_before(
    store_client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise StoreError("cannot put object: No space left on device")

    monkeypatch.setattr(type(store_client.store), "put", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store_client.query("dy", ["event"], "MET_pt > 12").save(name)
    assert name not in [one.name for one in store_client.datasets()]


def test_a_version_that_was_dropped_meanwhile_is_not_saved(tmp_path: Path) -> None:
    """Its trees may be gone."""
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("x", write_root(tmp_path / "a.root"), workers=1)
    query = client.query("x", ["event"])
    saving = run.SaveRun(client.catalog, client.store, SaveRequest("y", query.value))
    saving.make(ThisProcess(client.store))
    client.drop("x")
    with pytest.raises(NotFound, match="version 1 of dataset 'x' was dropped meanwhile"):
        saving.commit()
    assert client.datasets() == []


def test_of_two_at_once_under_one_name_the_first_wins(store_client: Client, name: str) -> None:
    runs = []
    for cut in ("MET_pt > 20", "MET_pt > 30"):
        query = store_client.query("dy", ["event"], cut)
        runs.append(run.SaveRun(store_client.catalog, store_client.store, SaveRequest(name, query.value)))
        runs[-1].make(ThisProcess(store_client.store))
    assert runs[0].commit().version == 1
    with pytest.raises(AlreadyExists, match="another commit came first"):
        runs[1].commit()
    assert len(store_client.dataset(name).versions()) == 1


def test_a_dropped_dataset_frees_its_space_and_its_name(store_client: Client, name: str) -> None:
    catalog, store = store_client.catalog, store_client.store
    collect_garbage(catalog, store, grace_s=0)
    before = {one.name for one in store.list()}
    store_client.query("dy", ["event"], "MET_pt > 13").save(name)
    store_client.drop(name)
    collect_garbage(catalog, store, grace_s=0)
    assert {one.name for one in store.list()} == before
    assert store_client.query("dy", ["event"], "MET_pt > 13").save(name).version == 1
    assert store_client.dataset("dy").sum_of_weights() == store_client.dataset(name).sum_of_weights()


def test_columns_that_are_added_later_leave_the_origin(
    client: Client, store_client: Client, tmp_path: Path
) -> None:
    """The events are the same."""
    name = f"added to {type(client.backend).__name__}"
    client.query("dy", ["run", "luminosityBlock", "event", "MET_pt"], CUT).save(name)
    table = client.query(name).to_arrow()
    pq.write_table(table.rename_columns(["run", "luminosityBlock", "event", "score"]), tmp_path / "a.parquet")
    client.add_columns(name, tmp_path / "a.parquet", ["score"])
    newest = client.dataset(name)
    assert newest.version == 2
    assert newest.origin == client.dataset(name, version=1).origin
    assert newest.origin is not None


def test_files_that_are_ingested_later_end_it(tmp_path: Path) -> None:
    """Not all events are the answer then; the name is taken."""
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("x", write_root(tmp_path / "a.root", seed=1), workers=1)
    client.query("x").save("y")
    client.ingest("y", write_root(tmp_path / "b.root", seed=2), workers=1)
    assert client.dataset("y").origin is None
    assert client.dataset("y").events == 200
    with pytest.raises(AlreadyExists, match="'y' is there and was not saved from a query"):
        client.query("x").save("y")


def test_a_bar_shows_what_is_done_and_kept(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int, str]] = []

    class Seen(Progress):
        def __exit__(self, *error: Any) -> None:
            seen.append((self.label, self.done, self.total, self.note.split(",")[0]))
            super().__exit__(*error)

    monkeypatch.setattr("skyhook_client.keeping.Progress", Seen)
    report = client.query("dy", ["event"], CUT).save(name)
    total = 2 * EVENTS
    assert seen == [(f"save {name}", total, total, f"{report.events_kept} kept")]


@pytest.mark.slow
def test_many_bytes_are_worked_through_by_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They give what this process gives."""
    monkeypatch.setattr(run, "UNIT_BYTES", 1)
    events = make_events(3000)
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("x", write_root(tmp_path / "a.root", 3000), partition_bytes=64 * 1024, chunk_events=500)
    query = client.query("x", ["event", "Muon_pt"], "MET_pt > 30")
    query.save("one", workers=1)
    report = query.save("two", workers=2)
    assert report.partitions_reused == client.dataset("one").partitions
    expected = events["event"][events["MET_pt"] > 30]
    assert client.query("two", "event").to_awkward().event.tolist() == expected.tolist()
