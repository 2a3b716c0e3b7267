"""Ingest: what files become, and what is refused."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_helpers import SAMPLE_NAMES, assert_equal, by_uproot, read_back, sample, write_root

import skyhook_casa
from skyhook_casa.catalog import Catalog
from skyhook_casa.errors import AlreadyExists, IngestError, InvalidRequest, NotFound
from skyhook_casa.ingest import IngestReport, RootFile, baskets, ingest
from skyhook_casa.schema import ListInfo
from skyhook_casa.stores import DirectoryStore, MemoryStore, ObjectStore


class Home:
    """A catalog and a store."""

    def __init__(self, path: Path, store: ObjectStore | None = None) -> None:
        self.store = store or DirectoryStore(path / "store")
        self.catalog = Catalog(path / "store" / "catalog.sqlite")

    def ingest(self, paths: Any, dataset: str = "dy", **options: Any) -> IngestReport:
        return ingest(self.catalog, self.store, dataset, paths, **({"workers": 1} | options))

    def read(self, dataset: str = "dy", number: int | None = None) -> dict[str, ak.Array]:
        return read_back(self.catalog, self.store, self.catalog.version(dataset, number))

    def objects(self, dataset: str = "dy") -> list[str]:
        return [p.object.name for p in self.catalog.partitions(self.catalog.version(dataset))]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


REAL_FILES = [pytest.param(name, marks=() if "HZZ" in name else pytest.mark.slow) for name in SAMPLE_NAMES]
"""One of them is small."""


# -- what comes in is what goes out ---------------------------------------------------------


@pytest.fixture(scope="module", params=REAL_FILES)
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, IngestReport, dict[str, ak.Array]]:
    """A file that was ingested, what was reported, and its columns as uproot reads them.

    Three generations of NanoAOD, an RNTuple and a tree without NanoAOD counters.
    """
    path = sample(request.param)
    home = Home(tmp_path_factory.mktemp("real"))
    report = home.ingest(path)
    return home, report, by_uproot(path, "events" if "HZZ" in request.param else "Events")


def test_every_branch_of_a_real_file_reads_back_as_uproot_reads_it(
    real: tuple[Home, IngestReport, dict[str, ak.Array]],
) -> None:
    home, report, expected = real
    assert_equal(home.read(), expected)
    assert report.skipped == {}


def test_a_client_gets_every_branch_of_a_real_file_as_uproot_reads_it(
    real: tuple[Home, IngestReport, dict[str, ak.Array]],
) -> None:
    home, _, expected = real
    found = skyhook_casa.connect(home.store, catalog=home.catalog.url).query("dy").to_awkward()
    assert_equal({name: found[name] for name in found.fields}, expected)


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("chunk_events", [1, 7, 100, 16_384])
def test_chunks_and_codec_do_not_change_values(
    home: Home, tmp_path: Path, codec: str, chunk_events: int
) -> None:
    path = write_root(tmp_path / "a.root", 60, basket=13)

    home.ingest(path, codec=codec, chunk_events=chunk_events)

    assert_equal(home.read(), by_uproot(path))


@pytest.mark.parametrize("basket", [0, 1000, 1777])
def test_partitions_do_not_change_values(home: Home, tmp_path: Path, basket: int) -> None:
    """Cuts fall inside baskets, at their ends, and between those of different branches."""
    path = write_root(tmp_path / "a.root", 8000, basket=basket)

    report = home.ingest(path, partition_bytes=65536, chunk_events=500)

    assert report.partitions_made > 2
    assert_equal(home.read(), by_uproot(path))


@pytest.mark.slow
def test_processes_make_the_same_objects_as_one(tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root", 8000)
    alone, many = Home(tmp_path / "1"), Home(tmp_path / "2")

    alone.ingest(path, partition_bytes=65536, chunk_events=500)
    many.ingest(path, partition_bytes=65536, chunk_events=500, workers=2)

    assert alone.objects() == many.objects()


@pytest.mark.parametrize("compression", [uproot.ZLIB(1), uproot.LZMA(1), uproot.LZ4(1), uproot.ZSTD(1), None])
def test_every_compression_of_root_reads(home: Home, tmp_path: Path, compression: Any) -> None:
    path = write_root(tmp_path / "a.root", 3000, compression=compression)

    home.ingest(path)

    assert_equal(home.read(), by_uproot(path))


@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bool"],
)
def test_every_type_of_number_reads(home: Home, tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(3)
    values = (
        rng.integers(0, 2, 50).astype(dtype)
        if dtype == "bool"
        else rng.integers(0, 256, 400, "u1").view(dtype)
    )
    values = np.nan_to_num(values[:50]) if dtype.startswith("float") else values[:50]
    lists = ak.unflatten(np.resize(values, 100), np.full(50, 2))
    write_root(tmp_path / "a.root", 50, x=np.resize(values, 50), Tau=ak.zip({"x": lists}))

    home.ingest(tmp_path / "a.root")

    assert_equal(home.read(), by_uproot(tmp_path / "a.root"))


def test_an_rntuple_reads_as_uproot_reads_it(home: Home, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        ntuple = file.mkrntuple("Events", ntuple_columns(100))
        ntuple.extend(ntuple_columns(57))
        ntuple.extend(ntuple_columns(3))

    home.ingest(tmp_path / "a.root")

    assert_equal(home.read(), by_uproot(tmp_path / "a.root"))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 160), (0, 100), (100, 157), (99, 158), (156, 157), (157, 160), (5, 6)]
)
def test_any_range_of_an_rntuple_reads(tmp_path: Path, start: int, stop: int) -> None:
    """Ranges begin and end inside clusters, at their ends, and span several."""
    with uproot.recreate(tmp_path / "a.root") as file:
        ntuple = file.mkrntuple("Events", ntuple_columns(100))
        ntuple.extend(ntuple_columns(57))
        ntuple.extend(ntuple_columns(3))
    expected = by_uproot(tmp_path / "a.root")

    with RootFile(str(tmp_path / "a.root")) as file:
        arrays = file.events().read(start, stop)

    assert arrays["x"].tolist() == expected["x"][start:stop].tolist()
    assert arrays["b"].tolist() == expected["b"][start:stop].tolist()
    lists = ak.unflatten(arrays["v"], np.diff(arrays["v#"]))
    assert lists.tolist() == expected["v"][start:stop].tolist()


def ntuple_columns(events: int) -> dict[str, Any]:
    rng = np.random.default_rng(events)
    counts = rng.integers(0, 4, events)
    return {
        "x": rng.normal(size=events),
        "b": rng.random(events) < 0.5,
        "v": ak.unflatten(rng.integers(0, 99, counts.sum()).astype(np.int16), counts),
    }


def test_a_file_without_events_is_a_dataset_without_events(home: Home, tmp_path: Path) -> None:
    report = home.ingest(write_root(tmp_path / "a.root", 0))

    version = home.catalog.version("dy")
    assert (report.events, version.events, version.partitions) == (0, 0, 0)
    assert home.catalog.column(version, "Muon_pt") is not None


Tree = tuple[Path, dict[str, ak.Array]]


@pytest.fixture(scope="module")
def tree_of_baskets(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    path = write_root(tmp_path_factory.mktemp("tree") / "a.root", 100, basket=13)
    return path, by_uproot(path)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_range_of_a_tree_reads(tree_of_baskets: Tree, data: st.DataObject) -> None:
    """Ranges begin and end inside baskets, at their ends, and span several."""
    path, expected = tree_of_baskets
    start = data.draw(st.integers(0, 100))
    stop = data.draw(st.integers(start, 100))

    with RootFile(str(path)) as file:
        arrays = file.events().read(start, stop)

    for name in ("MET_pt", "HLT_mu"):
        assert arrays[name].tolist() == expected[name][start:stop].tolist()
    for name in ("Muon_pt", "Muon_charge", "Muon_tight"):
        lists = ak.unflatten(arrays[name], np.diff(arrays["Muon#"]))
        assert lists.tolist() == expected[name][start:stop].tolist()


def test_baskets_without_entry_offsets_are_left_to_uproot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ROOT can leave them out; then only whole baskets can be cut by the counter alone."""
    path = write_root(tmp_path / "a.root", 60, basket=20)
    expected = by_uproot(path)
    whole = baskets._basket
    monkeypatch.setattr(baskets, "_basket", lambda *args: replace(whole(*args), entry_offsets=None))

    with RootFile(str(path)) as file:
        arrays = file.events().read(5, 45)

    lists = ak.unflatten(arrays["Muon_pt"], np.diff(arrays["Muon#"]))
    assert lists.tolist() == expected["Muon_pt"][5:45].tolist()


def test_a_url_is_a_file_too(home: Home, tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root")
    write_root(tmp_path / "b.root", 3, 2)

    home.ingest(path.as_uri())
    home.ingest((tmp_path / "*.root").as_uri().replace("%2A", "*"), "both")

    assert_equal(home.read(), by_uproot(path))
    assert home.catalog.version("both").events == 103


# -- schema ---------------------------------------------------------------------------------


def test_branches_counted_by_one_counter_are_a_collection(tmp_path: Path) -> None:
    with RootFile(str(write_root(tmp_path / "a.root"))) as file:
        schema = file.events().schema

    assert schema.lists == {
        "Muon": ListInfo("Muon", "nMuon", collection=True),
        "Jet": ListInfo("Jet", "nJet", collection=True),
    }
    assert schema.columns["nMuon"].counts == "Muon"
    assert (schema.columns["Muon_pt"].list, schema.columns["Muon_pt"].dtype) == ("Muon", "float32")
    assert schema.columns["MET_pt"].list is None


def test_a_branch_called_as_its_counter_says_is_a_lone_list(tmp_path: Path) -> None:
    """Like LHEPdfWeight[nLHEPdfWeight]."""
    weights = ak.Array([[1.0, 2.0], [], [3.0]])
    with RootFile(str(write_root(tmp_path / "a.root", 3, Weight=weights))) as file:
        schema = file.events().schema

    assert schema.lists["Weight"] == ListInfo("Weight", "nWeight")
    assert schema.columns["Weight"].list == "Weight"
    assert schema.columns["nWeight"].counts == "Weight"


def test_a_tree_without_nanoaod_counters_keeps_lists_of_their_own(home: Home) -> None:
    """The counters of HZZ are called NJet: ordinary columns, and each list stands alone."""
    home.ingest(sample("uproot-HZZ.root"))
    version = home.catalog.version("dy")

    assert home.catalog.list_info(version, "Jet_Px") == ListInfo("Jet_Px")
    counter = home.catalog.column(version, "NJet")
    assert counter is not None
    assert (counter.list, counter.counts) == (None, None)


def test_titles_and_types_of_branches_are_kept(home: Home) -> None:
    home.ingest(sample("nano_dy.root"), columns=["Muon_pt"])

    column = home.catalog.column(home.catalog.version("dy"), "Muon_pt")
    assert column is not None
    assert (column.title, column.typename) == ("pt", "float[]")


def test_chosen_columns_bring_their_counter(home: Home, tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root")

    home.ingest(path, columns=["MET_pt", "Muon_[pc]*"])

    names = ["MET_pt", "nMuon", "Muon_pt", "Muon_charge"]
    assert_equal(home.read(), by_uproot(path, names=names))


def test_a_counter_alone_can_be_chosen(home: Home, tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root")

    home.ingest(path, columns=["nMuon"])

    assert_equal(home.read(), by_uproot(path, names=["nMuon"]))


def test_a_column_that_matches_nothing_is_named_with_near_ones(home: Home, tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"no branch 'Moun_pt' that can be held; did you mean 'Muon_pt'"):
        home.ingest(write_root(tmp_path / "a.root"), columns=["Moun_pt"])


def test_branches_that_cannot_be_held_are_named_and_the_rest_is_kept(home: Home, tmp_path: Path) -> None:
    """Skipped, never silently."""
    path = write_root(tmp_path / "a.root", 10, matrix=np.zeros((10, 3)), MET_pt=np.ones(10, np.float32))

    report = home.ingest(path)

    ((where, (skipped,)),) = report.skipped.items()
    assert where == str(path)
    assert (skipped.name, skipped.reason) == ("matrix", "arrays of fixed size [3]")
    assert "double[3]" in skipped.typename
    assert "matrix" not in home.read()


def test_a_tree_of_which_nothing_can_be_held_is_refused(home: Home, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("Events", {"matrix": np.dtype(("f8", (3,)))})

    with pytest.raises(IngestError, match=r"no branch that can be held \(matrix: arrays of fixed size"):
        home.ingest(tmp_path / "a.root")


# -- several files --------------------------------------------------------------------------


def test_files_that_differ_in_branches_are_united(home: Home, tmp_path: Path) -> None:
    """Trigger paths come and go."""
    one = write_root(tmp_path / "a.root", 5, HLT_old=np.ones(5, bool))
    two = write_root(tmp_path / "b.root", 7, 2, HLT_new=np.ones(7, bool))

    home.ingest([one, two])

    version = home.catalog.version("dy")
    assert {"HLT_old", "HLT_new"} <= set(home.catalog.column_names(version))
    lacking = home.catalog.lacking(version, ["HLT_old", "HLT_new", "run"])
    assert {name: [f.path for f in files] for name, files in lacking.items() if files} == {
        "HLT_old": [str(two)],
        "HLT_new": [str(one)],
    }


def test_files_that_differ_in_a_type_are_both_named(home: Home, tmp_path: Path) -> None:
    one = write_root(tmp_path / "a.root", 5)
    two = write_root(tmp_path / "b.root", 5, 2, MET_pt=np.ones(5))

    with pytest.raises(IngestError, match=r"'MET_pt' is float32 in .*a\.root and float64 in .*b\.root"):
        home.ingest([one, two])


def test_a_later_file_that_differs_in_a_type_is_refused(home: Home, tmp_path: Path) -> None:
    home.ingest(write_root(tmp_path / "a.root", 5))
    two = write_root(tmp_path / "b.root", 5, 2, MET_pt=np.ones(5))

    with pytest.raises(IngestError, match=r"'MET_pt' is float32 in .*a\.root and float64 in .*b\.root"):
        home.ingest(two)


def test_each_call_adds_a_version(home: Home, tmp_path: Path) -> None:
    one, two = write_root(tmp_path / "a.root", 5), write_root(tmp_path / "b.root", 7, 2)

    first, second = home.ingest(one), home.ingest(two)

    assert (first.version, second.version) == (1, 2)
    assert home.catalog.version("dy", 1).events == 5
    assert home.catalog.version("dy").events == 12
    assert home.read()["run"].tolist() == [362_001] * 5 + [362_002] * 7


def test_a_version_may_begin_anew(home: Home, tmp_path: Path) -> None:
    home.ingest(write_root(tmp_path / "a.root", 5))

    home.ingest(write_root(tmp_path / "b.root", 7, 2), append=False)

    assert home.catalog.version("dy").events == 7


def test_a_glob_takes_files_in_order_of_name(home: Home, tmp_path: Path) -> None:
    for seed, name in ((2, "b"), (1, "a"), (3, "c")):
        write_root(tmp_path / f"{name}.root", 2, seed)

    home.ingest(str(tmp_path / "*.root"))

    assert home.read()["run"].tolist() == [362_001] * 2 + [362_002] * 2 + [362_003] * 2


def test_the_same_file_twice_is_refused(home: Home, tmp_path: Path) -> None:
    """Also under another name: files are known by UUID."""
    path = write_root(tmp_path / "a.root")
    copy = tmp_path / "copy.root"
    copy.write_bytes(path.read_bytes())
    home.ingest(path)

    for again in (path, copy):
        with pytest.raises(AlreadyExists, match=rf"{again.name} is in dataset 'dy' already.*a\.root"):
            home.ingest(again)
    with pytest.raises(AlreadyExists, match=r"copy\.root is the same file as .*a\.root"):
        home.ingest([path, copy], "other")
    assert home.catalog.version("dy").number == 1


def test_each_partition_says_where_it_is_from(home: Home, tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root", 8000)
    home.ingest(path, partition_bytes=65536, chunk_events=500)

    partitions = home.catalog.partitions(home.catalog.version("dy"))

    with RootFile(str(path)) as file:
        uuid = file.uuid
    assert {(p.file.path, p.file.uuid, p.file.tree, p.file.entries) for p in partitions} == {
        (str(path), uuid, "Events", 8000)
    }
    assert [p.entry_start for p in partitions[1:]] == [p.entry_stop for p in partitions[:-1]]


def test_runs_and_lumis_are_kept(home: Home, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["Events"] = {"x": np.arange(3)}
        file["Runs"] = {"run": np.array([7], np.uint32), "LHEPdfSumw": ak.Array([[0.5, 0.25]])}
        file["LuminosityBlocks"] = {"luminosityBlock": np.array([1, 2], np.uint32)}

    home.ingest(tmp_path / "a.root")

    trees = {t.tree: t for t in home.catalog.trees(home.catalog.version("dy"))}
    assert set(trees) == {"Runs", "LuminosityBlocks"}
    runs = pa.ipc.open_file(home.store.read_object(trees["Runs"].object.name)).read_all()
    assert runs["run"].to_pylist() == [7]
    assert runs["LHEPdfSumw"].to_pylist() == [[0.5, 0.25]]


# -- bad input ------------------------------------------------------------------------------


def test_a_file_that_is_not_root_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.root").write_text("run,event\n1,2\n" * 100)

    with pytest.raises(IngestError, match=r"a\.root is no ROOT file: it begins with b'run,'"):
        home.ingest(tmp_path / "a.root")


def test_an_empty_file_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.root").touch()

    with pytest.raises(IngestError, match=r"a\.root is no ROOT file: it is empty"):
        home.ingest(tmp_path / "a.root")


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(home: Home, tmp_path: Path, kept: float) -> None:
    whole = write_root(tmp_path / "a.root", 5000).read_bytes()
    (tmp_path / "a.root").write_bytes(whole[: int(len(whole) * kept)])

    with pytest.raises(IngestError, match=r"a\.root (is cut short|cannot be read)"):
        home.ingest(tmp_path / "a.root")
    with pytest.raises(NotFound):
        home.catalog.version("dy")


@pytest.mark.slow
def test_damaged_baskets_are_refused_or_harmless(tmp_path: Path) -> None:
    """Bytes of a file may be anything: an error of ours, or a dataset; never another exception."""
    whole = write_root(tmp_path / "a.root", 300).read_bytes()
    rng = np.random.default_rng(5)

    for number in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(100, len(whole), 3):
            damaged[at] ^= int(rng.integers(1, 256))
        path = tmp_path / f"{number}.root"
        path.write_bytes(damaged)
        with contextlib.suppress(IngestError), RootFile(str(path)) as file:
            events = file.events()
            events.read(0, min(events.entries, 100_000))


def test_a_file_that_is_not_there_is_named(home: Home, tmp_path: Path) -> None:
    for missing in ("none.root", "none*.root"):
        with pytest.raises(IngestError, match=r"no file .*none"):
            home.ingest(tmp_path / missing)


def test_a_missing_tree_is_refused_with_what_there_is(home: Home, tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root", tree="Data")
    with uproot.update(path) as file:
        file["More"] = {"x": np.arange(3)}

    with pytest.raises(IngestError, match=r"no tree 'Events'; its trees: 'Data', 'More'"):
        home.ingest(path)


def test_the_only_tree_is_taken_whatever_its_name(home: Home, tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root", tree="nominal")

    home.ingest(path)

    assert_equal(home.read(), by_uproot(path, "nominal"))


def test_a_tree_asked_for_by_name_must_be_there(home: Home, tmp_path: Path) -> None:
    with pytest.raises(IngestError, match="no tree 'Friends'"):
        home.ingest(write_root(tmp_path / "a.root"), tree="Friends")


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "gzip"},
        {"chunk_events": 0},
        {"partition_bytes": 1},
        {"partition_bytes": 2**30},
        {"workers": 0},
    ],
)
def test_options_out_of_range_are_refused(home: Home, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(options))):
        home.ingest(write_root(tmp_path / "a.root"), **options)


# -- sizes ----------------------------------------------------------------------------------


def test_an_object_that_would_be_too_large_is_cut_in_two(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes are guessed before; events that do not compress as guessed must not pass the limit."""
    path = write_root(tmp_path / "a.root", 4000)
    monkeypatch.setattr("skyhook_casa.ingest.encode.OBJECT_BYTES_MAX", 40_000)

    report = home.ingest(path, chunk_events=300)

    assert report.partitions_made > 1
    assert all(p.object.bytes <= 40_000 for p in home.catalog.partitions(home.catalog.version("dy")))
    assert_equal(home.read(), by_uproot(path))


def test_one_event_larger_than_an_object_is_refused(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyhook_casa.ingest.encode.OBJECT_BYTES_MAX", 2_000)

    with pytest.raises(IngestError, match=r"event 0 .* does not fit into one object"):
        home.ingest(write_root(tmp_path / "a.root", 3))


def test_progress_ends_at_the_total(home: Home, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    home.ingest(
        write_root(tmp_path / "a.root", 8000),
        partition_bytes=65536,
        chunk_events=500,
        progress=lambda done, total: seen.append((done, total)),
    )

    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, 8000), (8000, 8000))


def test_a_store_in_memory_is_filled_in_this_process(tmp_path: Path) -> None:
    home = Home(tmp_path, MemoryStore())
    path = write_root(tmp_path / "a.root", 100)

    home.ingest(path, workers=4)

    assert_equal(home.read(), by_uproot(path))


@pytest.mark.parametrize(
    ("content", "found"), [(b"", "it is empty"), (b"[1, 2]", r"it begins with b'\[1, '")]
)
def test_a_file_that_is_no_root_file_is_called_so(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "a.root"
    path.write_bytes(content)
    with pytest.raises(IngestError, match=f"a.root is no ROOT file: {found}"):
        Home(tmp_path).ingest(path)


@pytest.mark.slow
def test_script_without_a_main_guard_ingests_several_files_and_runs_once(tmp_path: Path) -> None:
    """Worker processes do not import it: without that each would run it again."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('begun', flush=True)\n"
        "import skyhook_casa\n"
        "from skyhook_casa.nanoaod import make_dataset\n"
        "files = [one.path for one in make_dataset('nano', 300, files=3, processes=2)]\n"
        "report = skyhook_casa.connect('store').ingest('dy', files, workers=2)\n"
        "print(report.events, __file__ is not None)\n"
    )

    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begun", "300", "True"]
