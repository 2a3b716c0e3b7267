"""coffea's processors, unchanged: over datasets of a store they give what they give over the ROOT files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from fake_service import NOT_LONG
from ingest_helpers import sample
from local_dask import dask_processes

pytest.importorskip("coffea")

from concurrent.futures import ThreadPoolExecutor

import fsspec
import hist
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from coffea.nanoevents import BaseSchema, NanoAODSchema, NanoEventsFactory
from coffea.nanoevents.trace import trace
from coffea.processor import (
    DaskExecutor,
    FuturesExecutor,
    IterativeExecutor,
    ProcessorABC,
    Runner,
    SimpleCheckpointer,
)
from coffea.processor.executor import WorkItem
from coffea.processor.test_items.NanoEventsProcessor import NanoEventsProcessor
from coffea.processor.test_items.NanoTestProcessor import NanoTestProcessor

import skyhook_casa
from skyhook_casa.errors import ExpressionError, InvalidRequest, NotFound
from skyhook_casa.lumimask import LumiMask
from skyhook_client import Client
from skyhook_client.coffea import (
    DatasetAddress,
    ParquetCatalog,
    SkyhookFileSystem,
    SkyhookRunner,
    filesystem,
    parquet_files,
)
from skyhook_client.coffea.answer import Answer
from skyhook_client.coffea.filesystem import MadeFiles
from skyhook_client.coffea.runner import next_stop, read_fileset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:Missing cross-reference:RuntimeWarning",
        "ignore:Branch .* already exists:RuntimeWarning",
    ),
]
CUT = "nMuon >= 2 and MET_pt > 15"


class Everything(ProcessorABC):  # type: ignore[misc]
    """Follows cross references, fills histograms with weights, and keeps what it was told."""

    def process(self, events: Any) -> Any:
        events = events[(ak.num(events.Muon) >= 2) & (events.MET.pt > 15)]
        pairs = ak.combinations(events.Muon, 2, fields=["a", "b"])
        mass = hist.Hist.new.StrCat([], growth=True, name="dataset").Reg(40, 0, 200, name="mass").Weight()
        masses = (pairs.a + pairs.b).mass
        weights = ak.broadcast_arrays(events.genWeight, masses)[0]
        mass.fill(dataset=events.metadata["dataset"], mass=ak.flatten(masses), weight=ak.flatten(weights))
        return {
            "mass": mass,
            "jets": int(ak.sum(ak.num(events.Muon.matched_jet))),
            "jet_pt": float(ak.sum(ak.values_astype(events.Muon.matched_jet.pt, np.float64))),
            "mothers": int(ak.sum(ak.fill_none(events.GenPart.parent.pdgId, 0))),
            "events": [(int(run), int(event)) for run, event in zip(events.run, events.event, strict=True)],
            "year": {events.metadata.get("year")},
        }

    def postprocess(self, accumulator: Any) -> Any:
        return accumulator


def muons(events: Any) -> dict[str, int]:
    """A processor that is only a function."""
    return {"events": len(events), "muons": int(ak.sum(ak.num(events.Muon)))}


def fails(events: Any) -> Any:
    """A processor with a mistake."""
    return events.Muon.ptt


@pytest.fixture
def runner(client: Client) -> Any:
    """Makes runners on the client's store, or service."""

    def make(executor: Any = None, **options: Any) -> SkyhookRunner:
        executor = IterativeExecutor(status=False, retries=0) if executor is None else executor
        return SkyhookRunner(executor, store=client.url, **options)

    return make


def stock(path: Path, instance: Any, dataset: str = "dy", metadata: Any = None, **options: Any) -> Any:
    """What coffea's own runner gives for the file."""
    # Else coffea keeps what it knows of the file, with its metadata, for all later runs of the process.
    run = Runner(IterativeExecutor(status=False), metadata_cache={}, **options)
    return run({dataset: {"files": {str(path): "Events"}, "metadata": metadata or {}}}, instance)


def assert_equal_output(found: Any, expected: Any) -> None:
    """Equal, histograms bin for bin; sums of floats are added in another order."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name in expected:
            assert_equal_output(found[name], expected[name])
    elif isinstance(expected, hist.Hist):
        assert found.axes == expected.axes
        assert np.allclose(found.values(flow=True), expected.values(flow=True), rtol=1e-12)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12)
    else:
        assert found == expected


# -- the same as coffea's runner ----------------------------------------------------------------
@pytest.fixture(scope="module")
def everything(nano_file: Path) -> Any:
    """What coffea's runner gives for the whole file at once."""
    return stock(nano_file, Everything(), metadata={"year": 2018})


@pytest.mark.parametrize(
    ("chunksize", "cut"), [(100_000, None), (100_000, CUT), (400, None), (400, CUT), (61, None)]
)
def test_a_processor_gives_the_same_as_over_the_file(
    runner: Any, everything: Any, chunksize: int, cut: str | None
) -> None:
    """Events in their order, references and metadata; with the cut at the data, too."""
    entry = {"files": "skyhook://dy", "metadata": {"year": 2018}} | ({"cut": cut} if cut else {})

    found = runner(chunksize=chunksize)({"dy": entry}, Everything())

    assert len(everything["events"]) > 100
    assert_equal_output(found, everything)


@pytest.mark.parametrize(
    ("instance", "schema"),
    [
        (NanoEventsProcessor(mode="virtual", check_filehandle=True), NanoAODSchema),
        (NanoTestProcessor(mode="virtual"), BaseSchema),
    ],
    ids=["NanoEventsProcessor", "NanoTestProcessor"],
)
def test_coffeas_own_processors_give_the_same(
    runner: Any, nano_file: Path, instance: Any, schema: Any
) -> None:
    """Those that coffea tests its runner with, with its metadata."""
    metadata = {"checkusermeta": True, "someusermeta": "hello"}
    expected = stock(nano_file, instance, "ZJets", metadata, schema=schema, savemetrics=True)

    entry = {"files": ["skyhook://dy"], "metadata": metadata, "treename": "Events"}
    found = runner(schema=schema, savemetrics=True)({"ZJets": entry}, instance)

    assert_equal_output(found[0], expected[0])
    assert found[1]["columns"] and set(found[1]["columns"]) == set(expected[1]["columns"])
    assert found[1]["entries"] == expected[1]["entries"] == 1500
    assert found[1]["chunks"] == expected[1]["chunks"] == 1
    assert found[1]["bytesread"] > 0 and found[1]["processtime"] > 0


@pytest.mark.parametrize("name", ["nano_dy.root", "nano_dimuon.root"])
def test_real_files_give_the_same(name: str, tmp_path: Path) -> None:
    """The files that coffea tests its runner with."""
    path, instance = sample(name), NanoEventsProcessor(mode="virtual")
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("x", path)
    expected = stock(path, instance, chunksize=16)
    run = SkyhookRunner(IterativeExecutor(status=False), store=client.url, chunksize=16)
    assert_equal_output(run({"dy": "skyhook://x"}, instance), expected)


def test_threads_give_the_same(runner: Any, nano_file: Path) -> None:
    """They share a client, and what is fetched of a partition that is cut."""
    executor = FuturesExecutor(workers=3, pool=ThreadPoolExecutor, status=False)
    found = runner(executor, chunksize=37)({"dy": "skyhook://dy"}, muons)
    assert_equal_output(found, stock(nano_file, muons))


def test_processes_give_the_same(runner: Any, nano_file: Path) -> None:
    """Each opens the store, or reaches the service, by the address that it is given."""
    instance = NanoEventsProcessor(mode="virtual")
    found = runner(FuturesExecutor(workers=2, status=False), chunksize=400)(
        {"dy": {"files": "skyhook://dy"}}, instance
    )
    assert_equal_output(found, stock(nano_file, instance))


@pytest.mark.filterwarnings("ignore")
def test_dask_workers_give_the_same(runner: Any, nano_file: Path, tmp_path: Path) -> None:
    """Of a cluster of processes; columns may be kept there between runs."""
    distributed = pytest.importorskip("distributed")
    instance = NanoEventsProcessor(mode="virtual")
    with dask_processes(2, tmp_path / "dask") as cluster, distributed.Client(cluster) as dask:
        run = runner(DaskExecutor(client=dask, status=False), chunksize=400, savemetrics=True)
        found, metrics = run({"dy": {"files": "skyhook://dy", "cut": CUT}}, instance, trace=trace)
    expected = SkyhookRunner(IterativeExecutor(status=False), store=run.store)(
        {"dy": {"files": "skyhook://dy", "cut": CUT}}, instance
    )
    assert_equal_output(found, expected)
    assert metrics["chunks"] > 2


def test_several_datasets_in_one_run(runner: Any) -> None:
    """A dataset may have several sources, each with its own query; a file may hold the fileset."""
    fileset = {
        "all": ["skyhook://dy", "skyhook://dy?cut=nMuon%20%3E%3D%202"],
        "none": {"files": {"skyhook://dy": "Events"}, "cut": "MET_pt < 0"},
    }

    def by_dataset(events: Any) -> dict[str, int]:
        return {events.metadata["dataset"]: len(events)}

    found = runner()(fileset, by_dataset)

    pairs = runner()({"x": {"files": "skyhook://dy", "cut": "nMuon >= 2"}}, muons)["events"]
    assert found == {"all": 1500 + pairs, "none": 0}


def test_a_fileset_may_be_a_file(runner: Any, tmp_path: Path) -> None:
    """As JSON."""
    path = tmp_path / "fileset.json"
    path.write_text(json.dumps({"dy": {"files": "skyhook://dy", "cut": CUT}}))
    assert runner()(str(path), muons) == runner()({"dy": {"files": "skyhook://dy", "cut": CUT}}, muons)


def test_the_store_comes_from_the_address_or_the_environment(
    embedded_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the runner does not say it."""
    run = SkyhookRunner(IterativeExecutor(status=False))
    url = DatasetAddress("dy", store=embedded_client.url).url
    assert run({"dy": url}, muons)["events"] == 1500
    monkeypatch.setenv("SKYHOOK_STORE", embedded_client.url)
    (chunk,) = run.preprocess({"dy": "skyhook://dy"})
    assert DatasetAddress.parse(chunk.filename).store == embedded_client.url
    assert DatasetAddress.parse(chunk.filename).version == 1


# -- what was processed ---------------------------------------------------------------------------
@pytest.mark.parametrize("chunksize", [10_000, 37])
def test_a_runner_tells_the_tally_of_the_chunks_that_were_processed(
    runner: Any, nano_file: Path, chunksize: int
) -> None:
    """Whatever the cut: of whole partitions and of parts, and only of those that did not fail."""
    events = uproot.open(nano_file)["Events"].arrays(["genWeight", "run", "luminosityBlock"], library="np")
    done = runner(chunksize=chunksize).run({"dy": {"files": "skyhook://dy", "cut": CUT}}, muons)
    some = [one for one in done["processed"] if 0 < one.entrystart < 700]

    for chunks in (done["processed"], some):
        tallies = SkyhookRunner.tallies(chunks)
        rows = [row for one in chunks for row in range(one.entrystart, one.entrystop)]
        assert set(tallies) == ({"dy"} if rows else set())
        if rows:
            assert tallies["dy"].sum_of_weights == math.fsum(events["genWeight"][rows].tolist())
            pairs = zip(events["run"][rows].tolist(), events["luminosityBlock"][rows].tolist(), strict=True)
            assert tallies["dy"].sections == LumiMask.of_sections(pairs)


def test_nanoevents_leave_a_report_that_tells_it_too(client: Client) -> None:
    query = client.query("dy", ["Muon"], CUT)
    assert len(query.nanoevents()) > 0
    assert query.report.tally == client.dataset("dy").tally()
    for number, events in enumerate(query.nanoevents_partitions()):
        assert len(events) >= 0
        tally = client.backend.tally(client.backend.version("dy"), (number, number + 1))
        assert query.report.tally == tally


# -- chunks -------------------------------------------------------------------------------------
def test_chunks_are_whole_partitions_where_that_can_be(runner: Any, client: Client) -> None:
    """And cover all events once."""
    chunks = list(runner(chunksize=600).preprocess({"dy": "skyhook://dy"}))
    starts = {chunk.entrystart for chunk in chunks}
    bounds = [0, *np.cumsum(client.backend.partition_events(client.backend.version("dy"))).tolist()]
    assert 1 < len(chunks) < len(bounds) - 1
    assert starts <= set(bounds)
    assert [chunk.entrystop for chunk in chunks] == [chunk.entrystart for chunk in chunks[1:]] + [1500]


@pytest.mark.parametrize(
    ("events", "stops"),
    [
        (100, [100, 200, 300, 400, 510, 620]),
        (250, [200, 400, 620]),
        (400, [400, 620]),
        (50, [50, 100, 150, 200, 250, 300, 350, 400, 455, 510, 565, 620]),
        (10_000, [620]),
    ],
)
def test_a_chunk_ends_near_the_size_asked_for(events: int, stops: list[int]) -> None:
    """Between partitions if one ends there."""
    bounds, start, found = [0, 100, 200, 400, 620], 0, []
    while start < bounds[-1]:
        start = next_stop(bounds, start, events)
        found.append(start)
    assert found == stops


def test_partitions_are_never_cut_if_clusters_are_aligned(runner: Any, client: Client) -> None:
    """As coffea does with the clusters of a file."""
    chunks = list(runner(chunksize=10, align_clusters=True).preprocess({"dy": "skyhook://dy"}))
    assert len(chunks) == client.dataset("dy").partitions


def test_maxchunks_counts_for_each_dataset(runner: Any) -> None:
    """As in coffea."""
    fileset = {"a": ["skyhook://dy", "skyhook://dy"], "b": "skyhook://dy"}
    chunks = list(runner(chunksize=300, maxchunks=2).preprocess(fileset))
    assert [chunk.dataset for chunk in chunks] == ["a", "a", "b", "b"]


def test_the_size_of_chunks_may_change_on_the_way(runner: Any) -> None:
    """A caller that sends one gets it from then on."""
    chunks = runner(chunksize=1500).preprocess({"dy": ["skyhook://dy", "skyhook://dy"]})
    assert len(next(chunks)) == 1500
    assert len(chunks.send(50)) < 100


def test_chunks_may_be_made_first_and_run_later(runner: Any) -> None:
    """Some of them, too."""
    chunks = list(runner(chunksize=100).preprocess({"dy": "skyhook://dy"}))
    assert all(isinstance(chunk, WorkItem) for chunk in chunks)
    assert runner().run(chunks[:3], muons)["out"]["events"] == sum(map(len, chunks[:3]))


def test_a_run_can_go_on_from_checkpoints(runner: Any, tmp_path: Path) -> None:
    """Chunks that are done are not processed again; those of another cut are."""
    done: list[int] = []

    def counting(events: Any) -> dict[str, int]:
        done.append(len(events))
        return {"events": len(events)}

    def run(cut: str | None) -> Any:
        keeper = SimpleCheckpointer(str(tmp_path / "kept"))
        return runner(checkpointer=keeper, processor_compression=None)(
            {"dy": {"files": "skyhook://dy", "cut": cut}}, counting
        )

    first = run("nMuon >= 1")
    assert run("nMuon >= 1") == first and len(done) == 1
    assert run("nMuon >= 2") != first and len(done) == 2


# -- columns ------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:Exception during typetracer tracing")
def test_traced_columns_are_fetched_at_once(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fetch for a chunk instead of one for each column; the metrics tell of them."""
    from skyhook_client.coffea.answer import Selection

    fetches: list[list[str]] = []
    read = Selection._read
    monkeypatch.setattr(Selection, "_read", lambda one, names: (fetches.append(names), read(one, names))[1])
    instance = NanoEventsProcessor(mode="virtual")
    fileset = {"dy": {"files": "skyhook://dy", "cut": CUT}}

    lazy = runner()(fileset, instance)
    lazily = len(fetches)
    fetches.clear()
    traced = runner()(fileset, instance, trace=trace)

    assert_equal_output(traced, lazy)
    assert lazily > 3 and len(fetches) == 1
    assert {"nMuon", "Muon_pt", "Muon_mass"} <= set(fetches[0])


def test_columns_to_preload_may_be_given(runner: Any) -> None:
    """Names that are no columns do no harm."""
    entry = {"files": "skyhook://dy", "preload": ["nMuon", "NoSuch_column"]}
    (chunk,) = runner().preprocess({"dy": entry})
    assert chunk.preload == frozenset(entry["preload"])
    assert runner()({"dy": entry}, muons)["events"] == 1500


def test_a_fileset_may_define_and_choose_columns(runner: Any) -> None:
    """As a query does."""
    entry = {
        "files": "skyhook://dy",
        "columns": ["Muon_pt", "ht"],
        "define": {"ht": "sum(Jet_pt)"},
        "cut": "ht > 100",
    }

    def process(events: Any) -> dict[str, Any]:
        return {"least": [float(ak.min(events.ht))], "fields": set(events.fields)}

    found = runner()({"dy": entry}, process)

    assert min(found["least"]) > 100
    assert "Muon" in found["fields"] and "MET" not in found["fields"]


def test_a_fileset_may_keep_good_luminosity_sections(runner: Any, events: Any) -> None:
    """Of a golden JSON; lazily fetched columns are of the same events."""
    ids = events.arrays(["run", "luminosityBlock", "MET_pt"])
    run, section = int(ids.run[0]), int(ids.luminosityBlock[0])
    kept = ids[(ids.run == run) & (ids.luminosityBlock <= section)]

    def process(events: Any) -> dict[str, Any]:
        return {"met": events.MET.pt.tolist()}

    entry = {"files": "skyhook://dy", "lumimask": {str(run): [[1, section]]}}
    assert runner()({"dy": entry}, process)["met"] == kept.MET_pt.tolist()
    assert 0 < len(kept) < 1500


def test_a_buffer_cache_is_used(runner: Any) -> None:
    """It is what `cachestrategy` gives."""
    cache: dict[str, Any] = {}
    run = runner(cachestrategy=lambda: cache, processor_compression=None)
    assert run({"dy": "skyhook://dy"}, muons) == run({"dy": "skyhook://dy"}, muons)
    assert cache


# -- refused, and skipped -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fileset", "kind", "message"),
    [
        ({"dy": "skyhook://dz"}, NotFound, "no dataset 'dz'"),
        ({"dy": {"files": "skyhook://dy", "cut": "MET_ptt > 1"}}, ExpressionError, "did you mean 'MET_pt'"),
        ({"dy": {"files": "skyhook://dy", "cut": "MET_pt >"}}, ExpressionError, "MET_pt >"),
        ({"dy": {"files": "skyhook://dy", "cut": "Muon_pt > 1"}}, ExpressionError, "any"),
        ({"dy": {"files": "skyhook://dy", "columns": ["Muon_ptt"]}}, NotFound, "did you mean 'Muon_pt'"),
        (
            {"dy": {"files": "skyhook://dy", "objects": {"Jet": "pt > 30"}}},
            InvalidRequest,
            "mask in the processor",
        ),
        ({"dy": {"files": "skyhook://dy", "cuts": "MET_pt > 1"}}, InvalidRequest, "did you mean 'cut'"),
        (
            {"dy": {"files": "skyhook://dy?cut=run>0", "cut": "MET_pt > 1"}},
            InvalidRequest,
            "the address says",
        ),
        ({"dy": {"files": "skyhook://dy", "version": 7}}, NotFound, "version 7"),
        ({"dy": {"files": "skyhook://dy", "metadata": {"uuid": 1}}}, InvalidRequest, "coffea sets itself"),
        ({"dy": {"files": []}}, InvalidRequest, "is needed"),
        ({"dy": 3}, InvalidRequest, "is needed"),
        ({"dy": ["nano_dy.root"]}, InvalidRequest, "skyhook://NAME is needed"),
        ({"dy": "skyhook://dy?cut="}, InvalidRequest, "is empty"),
        ({"dy": "skyhook://dy?version=x"}, InvalidRequest, "whole number"),
        ({"dy": "skyhook://dy?define=x"}, InvalidRequest, "not JSON"),
        ({"dy": "skyhook://dy?fill=[1]"}, InvalidRequest, "a JSON object"),
        ({"dy": "skyhook://dy#x"}, InvalidRequest, "%23"),
        (["skyhook://dy"], (InvalidRequest, ValueError), "mapping|dict"),
    ],
)
def test_wrong_filesets_are_refused(runner: Any, fileset: Any, kind: Any, message: str) -> None:
    """Before anything is processed, also where bad datasets are skipped."""
    with pytest.raises(kind, match=message):
        runner()(fileset, muons)


def test_wrong_options_are_refused(runner: Any) -> None:
    """What is for files has no meaning here."""
    with pytest.raises(InvalidRequest, match="leave it out"):
        runner(format="parquet")
    with pytest.raises(InvalidRequest, match="uproot_options"):
        runner().preprocess({"dy": "skyhook://dy"}, uproot_options={"timeout": 1})
    with pytest.raises(InvalidRequest, match="processor_instance"):
        runner().preprocess({"dy": "skyhook://dy"}, trace=trace)


def test_a_processor_that_fails_says_where(runner: Any) -> None:
    """As coffea says it, with the mistake as the cause."""
    with pytest.raises(
        RuntimeError,
        match=r"Failed processing file: WorkItem.*skyhook://dy.*no field.*ptt|Failed processing file",
    ) as caught:
        runner()({"dy": "skyhook://dy"}, fails)
    assert isinstance(caught.value.__cause__, AttributeError)
    with pytest.raises(ValueError, match="should not be None"):
        runner()({"dy": "skyhook://dy"}, lambda events: None)


def test_a_processor_that_fails_is_not_skipped(runner: Any) -> None:
    """Only what cannot be read is."""
    with pytest.raises(RuntimeError, match="Failed processing"):
        runner(skipbadfiles=True)({"dy": "skyhook://dy"}, fails)
    with pytest.raises(ExpressionError, match="MET_ptt"):
        runner(skipbadfiles=True)({"dy": {"files": "skyhook://dy", "cut": "MET_ptt > 1"}}, muons)


def test_a_dataset_that_is_not_there_can_be_skipped(runner: Any) -> None:
    """As a file that is not there."""
    with pytest.warns(UserWarning, match="Skipping bad dataset skyhook://gone"):
        found = runner(skipbadfiles=True)({"a": "skyhook://gone", "b": "skyhook://dy"}, muons)
    assert found["events"] == 1500


def test_damaged_partitions_can_be_skipped(nano_file: Path, tmp_path: Path) -> None:
    """As damaged files; without that the run fails and names the object."""
    client = skyhook_casa.connect(tmp_path / "store")
    client.ingest("dy", nano_file, partition_bytes=256 * 1024, chunk_events=64, workers=1)
    first, *others = client.catalog.partitions(client.catalog.version("dy"))
    path = client.store.local_path(first.object.name)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(bytes(first.object.bytes))
    options = {"store": client.url, "chunksize": 1, "align_clusters": True}
    executor = IterativeExecutor(status=False, retries=0)

    with pytest.warns(UserWarning, match=f"Skipping bad file.*{first.object.name[:8]}"):
        found = SkyhookRunner(executor, skipbadfiles=True, **options)({"dy": "skyhook://dy"}, muons)
    with pytest.raises(RuntimeError, match=first.object.name[:8]):
        SkyhookRunner(executor, **options)({"dy": "skyhook://dy"}, muons)

    assert found["events"] == sum(part.events for part in others)


def test_a_service_that_is_gone_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it can be skipped, or tried again."""
    monkeypatch.setattr("skyhook_client.remote.backend.Patience", lambda: NOT_LONG)
    run = SkyhookRunner(IterativeExecutor(status=False, retries=0), store="grpc://127.0.0.1:1")
    run_skipping = SkyhookRunner(
        IterativeExecutor(status=False, retries=0), store="grpc://127.0.0.1:1", skipbadfiles=True
    )
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
        run({"dy": "skyhook://dy"}, muons)
    with pytest.warns(UserWarning, match="Skipping"), pytest.raises(ValueError, match="No chunks survived"):
        run_skipping({"dy": "skyhook://dy"}, muons)


# -- coffea's own runner, over files that are made when they are read ---------------------------
def parquet_runner(**options: Any) -> Runner:
    """A stock runner."""
    executor = options.pop("executor", None) or IterativeExecutor(status=False)
    return Runner(executor, format="parquet", metadata_cache=ParquetCatalog(), **options)


def run_parquet(client: Client, instance: Any, run: Runner, **query: Any) -> Any:
    """What a stock runner makes of the files of `dy`."""
    files = parquet_files("dy", store=client.url, **query)
    return run({"dy": {"files": files, "treename": "Events"}}, instance, uproot_options=None)


@pytest.mark.parametrize("cut", [None, CUT])
def test_coffeas_runner_reads_partitions_as_parquet(client: Client, nano_file: Path, cut: str | None) -> None:
    """With a cut in the addresses, and chunks smaller than files."""
    expected = stock(nano_file, Everything())
    expected["year"] = {None}
    columns = ["Muon", "Jet", "GenPart", "MET_*", "genWeight"]
    found = run_parquet(client, Everything(), parquet_runner(chunksize=150), cut=cut, columns=columns)
    assert_equal_output(found, expected)


def test_processes_read_partitions_as_parquet(client: Client, nano_file: Path) -> None:
    """They find the file system by its entry point."""
    instance = NanoEventsProcessor(mode="virtual")
    run = parquet_runner(executor=FuturesExecutor(workers=2, status=False))
    found = run_parquet(client, instance, run, columns=["Muon"])
    assert_equal_output(found, stock(nano_file, instance))


def test_every_field_survives_parquet(client: Client, nano_file: Path) -> None:
    """Of a partition, without a cut: names, types, documentation of collections and values."""
    url = parquet_files("dy", store=client.url)[1]
    start, stop = Answer(client.query("dy").question).bounds[1:3]
    expected = NanoEventsFactory.from_root(
        {str(nano_file): "Events"}, mode="eager", entry_start=start, entry_stop=stop
    )
    found, expected = NanoEventsFactory.from_parquet(url, mode="eager").events(), expected.events()
    assert set(found.fields) == set(expected.fields)
    for name in expected.fields:
        for field in expected[name].fields or [None]:
            one, other = (
                (found[name], expected[name])
                if field is None
                else (found[name][field], expected[name][field])
            )
            assert ak.array_equal(one, other, equal_nan=True, check_parameters=False), (name, field)
    assert found.Muon.pt.__doc__ == expected.Muon.pt.__doc__


def test_a_partition_of_which_nothing_passes_is_a_file_without_rows(client: Client) -> None:
    """It has all columns."""
    assert run_parquet(client, muons, parquet_runner(), cut="MET_pt < -1", columns=["Muon"])["muons"] == 0


# -- the file system ----------------------------------------------------------------------------
@pytest.fixture
def files(client: Client) -> SkyhookFileSystem:
    """The file system, as fsspec makes it."""
    made = fsspec.filesystem("skyhook", store=client.url, columns=["MET_pt", "Muon_pt"])
    assert type(made) is SkyhookFileSystem
    return made


def test_datasets_are_folders_of_files(files: SkyhookFileSystem, client: Client) -> None:
    """One for each partition."""
    names = files.ls("skyhook://dy", detail=False)
    assert "dy" in files.ls("", detail=False)
    assert len(names) == client.dataset("dy").partitions
    assert names[0] == "dy/part-00000.parquet" and files.glob("dy/*.parquet") == names
    assert files.isdir("dy") and files.isfile(names[0]) and not files.exists("dy/part-00099.parquet")
    assert files.ls(names[0], detail=False) == [names[0]]


def test_a_file_has_the_same_bytes_whenever_it_is_read(
    files: SkyhookFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was forgotten in between; its size is known before."""
    name = "dy/part-00001.parquet"
    size, whole = files.info(name)["size"], files.cat_file(name)
    monkeypatch.setattr(filesystem, "_made", MadeFiles(1))

    assert len(whole) == size == files.size(name)
    assert files.cat_file(name) == whole
    assert files.cat_file(name, 4, 20) == whole[4:20]
    with files.open(name) as file:
        file.seek(-4, 2)
        assert file.read() == b"PAR1"


def test_parquet_readers_find_the_columns_of_the_query(files: SkyhookFileSystem, events: Any) -> None:
    """And what NanoEvents cannot do without."""
    names = files.ls("dy", detail=False)
    table = pa.concat_tables(pq.read_table(name, filesystem=files) for name in names)
    assert {"MET_pt", "Muon_pt", "event", "nMuon"} <= set(table.column_names)
    assert table["MET_pt"].to_numpy().tolist() == events["MET_pt"].array().tolist()
    assert not table.schema.field("Muon_pt").nullable


def test_no_more_than_so_many_bytes_are_kept() -> None:
    """But for the last file, which somebody reads."""
    kept = MadeFiles(100)
    made: list[str] = []
    for key, size in [("a", 60), ("b", 40), ("a", 60), ("c", 30), ("b", 40), ("d", 500), ("d", 500)]:
        assert len(kept.get(key, lambda key=key, size=size: (made.append(key), bytes(size))[1])) == size
        assert kept.nbytes <= 100 or key == "d"
    assert made == ["a", "b", "c", "b", "d"]
    assert kept.size("a") == 60 and kept.size("x") is None


def test_files_that_are_not_there_are_told_so(files: SkyhookFileSystem) -> None:
    """By the error that everybody knows."""
    for name in ["dz/part-00000.parquet", "dy/part-00099.parquet", "dy/other.txt"]:
        with pytest.raises(FileNotFoundError, match=r"no dataset|no such file"):
            files.open(name)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.open("dy")
    with pytest.raises(InvalidRequest, match="unknown option"):
        files.info("dy/part-00000.parquet?cuts=1")


@pytest.mark.parametrize("what", ["open", "rm", "mkdir", "pipe_file", "cp_file", "put_file", "touch", "mv"])
def test_nothing_can_be_written(files: SkyhookFileSystem, what: str, tmp_path: Path) -> None:
    """The error is an OSError, as of a read-only disk."""
    arguments = {
        "open": ("wb",),
        "pipe_file": (b"x",),
        "cp_file": ("dy/b",),
        "put_file": ("dy/b",),
        "mv": ("dy/b",),
    }
    with pytest.raises(OSError, match="can only be read"):
        getattr(files, what)("dy/part-00000.parquet", *arguments.get(what, ()))


# -- addresses ----------------------------------------------------------------------------------
def test_an_address_says_all_of_a_query() -> None:
    """It is a text that any process reads back."""
    address = DatasetAddress(
        "/DY jets/2018?",
        store="s3://bucket/a b?endpoint=http://x:1&region=eu",
        version=3,
        cut="any(Muon_pt > 20) && MET_pt%2 != 1",
        columns=("Muon_*", "MET_pt"),
        define=(("z", "Muon_pt + 1"), ("a", "z")),
        fill=(("x", -1.0),),
        lumimask=LumiMask.make({"1": [[1, 5], [9, 9]]}),
        path="part-00001.parquet",
    )
    assert DatasetAddress.parse(address.url) == address
    assert DatasetAddress("dy").url == "skyhook://dy"


def test_filesets_name_datasets_in_several_ways() -> None:
    """As coffea's name files."""
    forms: list[Any] = [
        "skyhook://dy",
        ["skyhook://dy"],
        {"files": "skyhook://dy"},
        {"files": {"skyhook://dy": "Events"}},
    ]
    assert len({next(iter(read_fileset({"x": form}))).address for form in forms}) == 1
