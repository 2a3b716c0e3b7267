"""Files that are written hold what was asked for, readable by the tools people have."""

from __future__ import annotations

import gc
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import uproot
from pyarrow import feather

from skyhook_casa.errors import AlreadyExists, CorruptObject, InvalidRequest, StoreError
from skyhook_casa.progress import Progress
from skyhook_casa.report import human_bytes
from skyhook_client import Client
from skyhook_client.export import FORMATS, Parts, parts, places, write

COLUMNS = [
    "run",
    "event",
    "nMuon",
    "Muon_pt",
    "Muon_charge",
    "Muon_isGlobal",
    "nJet",
    "MET_pt",
    "HLT_IsoMu24",
]
CUT = "nMuon >= 1"


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make writers add a little at a time."""
    monkeypatch.setattr(parts, "PART_BYTES", 4_000)
    monkeypatch.setattr(parts, "COLUMN_BYTES", 1)


def expected(events: Any, columns: list[str] = COLUMNS) -> ak.Array:
    arrays = events.arrays([*columns, "nMuon"])
    return arrays[arrays.nMuon >= 1][columns]


@pytest.mark.usefixtures("many_parts")
def test_parquet_holds_the_answer(client: Client, events: Any, tmp_path: Path) -> None:
    """In several row groups, with no nullable field."""
    written = client.query("dy", COLUMNS, CUT).to_file(tmp_path / "skim.parquet")
    file = pq.ParquetFile(tmp_path / "skim.parquet")
    assert file.num_row_groups > 3
    assert not any(field.nullable for field in file.schema_arrow)
    found = ak.from_parquet(tmp_path / "skim.parquet")
    assert written == len(found)
    assert str(found.type) == str(expected(events).type)
    assert ak.array_equal(found, expected(events))


@pytest.mark.usefixtures("many_parts")
def test_arrow_holds_the_answer(client: Client, events: Any, tmp_path: Path) -> None:
    client.query("dy", COLUMNS, CUT).to_file(tmp_path / "skim.arrow")
    with pa.ipc.open_file(tmp_path / "skim.arrow") as file:
        assert file.num_record_batches > 3
        assert ak.array_equal(ak.from_arrow(file.read_all()), expected(events))


def test_nested_parquet_holds_lists_of_structs(client: Client, events: Any, tmp_path: Path) -> None:
    client.query("dy", COLUMNS, CUT).to_file(tmp_path / "skim.parquet", nested=True)
    found = ak.from_parquet(tmp_path / "skim.parquet")
    assert ak.array_equal(found.Muon.pt, expected(events).Muon_pt)
    assert found.MET.fields == ["pt"]


@pytest.mark.usefixtures("many_parts")
def test_root_is_nanoaod_again(client: Client, events: Any, tmp_path: Path) -> None:
    """Counters count the branches of their collection."""
    client.query("dy", COLUMNS, CUT).to_file(tmp_path / "skim.root")
    with uproot.open(tmp_path / "skim.root") as file:
        tree = file["Events"]
        assert tree["Muon_pt"].count_branch.name == "nMuon"
        assert tree["Muon_pt"].num_baskets > 3
        assert [tree[name].title for name in COLUMNS] == [events[name].title for name in COLUMNS]
        found = tree.arrays()
    reference = expected(events)
    assert set(found.fields) == set(COLUMNS)
    for name in COLUMNS:
        assert found[name].tolist() == reference[name].tolist()
        if name != "nMuon":
            assert str(found[name].type) == str(reference[name].type)


def test_written_root_can_be_ingested_again(client: Client, events: Any, tmp_path: Path) -> None:
    """A skim is a dataset like any other."""
    import skyhook_casa

    client.query("dy", ["Muon", "Jet_pt", "LHEPdfWeight", "MET_pt"], CUT).to_file(tmp_path / "skim.root")
    again = skyhook_casa.connect("memory://")
    again.ingest("skim", tmp_path / "skim.root")
    found = again.query("skim", ["Muon_pt", "nJet", "LHEPdfWeight"]).to_awkward()
    reference = expected(events, ["Muon_pt", "nJet", "LHEPdfWeight"])
    assert found.Muon_pt.tolist() == reference.Muon_pt.tolist()
    assert found.nJet.tolist() == reference.nJet.tolist()
    assert found.LHEPdfWeight.tolist() == reference.LHEPdfWeight.tolist()


def test_csv_of_event_columns_has_a_line_for_each_event(client: Client, events: Any, tmp_path: Path) -> None:
    client.query("dy", ["run", "MET_pt", "HLT_IsoMu24"], CUT).to_file(tmp_path / "skim.csv")
    found = pd.read_csv(tmp_path / "skim.csv")
    reference = expected(events, ["run", "MET_pt", "HLT_IsoMu24"])
    assert found.columns.tolist() == ["run", "MET_pt", "HLT_IsoMu24"]
    np.testing.assert_array_equal(found.MET_pt.astype("f4"), reference.MET_pt.to_numpy())
    np.testing.assert_array_equal(found.HLT_IsoMu24, reference.HLT_IsoMu24.to_numpy())


@pytest.mark.usefixtures("many_parts")
def test_csv_of_a_collection_has_a_line_for_each_element(client: Client, tmp_path: Path) -> None:
    """With the numbers of event and element first, as in a frame."""
    query = client.query("dy", ["Muon_pt", "Muon_charge"], CUT)
    query.to_file(tmp_path / "skim.csv")
    found = pd.read_csv(tmp_path / "skim.csv", index_col=["entry", "subentry"])
    frame = query.to_pandas()
    assert found.index.equals(frame.index)
    np.testing.assert_array_equal(found.Muon_charge, frame.Muon_charge)


@pytest.mark.parametrize("columns", [["Muon_pt", "MET_pt"], ["Muon_pt", "Jet_pt"]])
def test_csv_of_mixed_lines_is_refused(client: Client, columns: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="ask for event columns alone, or for the columns of one"):
        client.query("dy", columns).to_file(tmp_path / "skim.csv")
    assert list(tmp_path.iterdir()) == []


def test_missing_elements_are_kept_where_the_format_can(client: Client, tmp_path: Path) -> None:
    query = client.query("dy", ["lead"], define={"lead": "Muon_pt[0]"})
    expected = query.to_awkward().lead.tolist()
    query.to_file(tmp_path / "skim.parquet")
    assert pq.read_table(tmp_path / "skim.parquet")["lead"].to_pylist() == expected
    query.to_file(tmp_path / "skim.csv")
    lines = (tmp_path / "skim.csv").read_text().splitlines()[1:]
    assert [line == "" for line in lines] == [value is None for value in expected]
    with pytest.raises(InvalidRequest, match="lead can have missing elements"):
        query.to_file(tmp_path / "skim.root")


def test_a_column_in_a_counters_place_is_refused(client: Client, tmp_path: Path) -> None:
    """uproot would write two branches of one name."""
    query = client.query("dy", ["m", "nm"], define={"m": "Muon_pt * 2", "nm": "MET_pt"})
    with pytest.raises(InvalidRequest, match="nm would be the counter of m"):
        query.to_file(tmp_path / "skim.root")


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow", ".root", ".csv"])
def test_an_empty_answer_makes_a_file_without_events(client: Client, suffix: str, tmp_path: Path) -> None:
    """With the columns of a full one."""
    path = tmp_path / f"skim{suffix}"
    assert client.query("dy", ["MET_pt", "run"], "MET_pt < -1").to_file(path) == 0
    read = {
        ".parquet": lambda: pq.read_table(path).column_names,
        ".feather": lambda: feather.read_table(path).column_names,
        ".arrow": lambda: pa.ipc.open_file(path).read_all().column_names,
        ".root": lambda: uproot.open(path)["Events"].keys(),
        ".csv": lambda: pd.read_csv(path).columns.tolist(),
    }
    assert read[suffix]() == ["MET_pt", "run"]


@pytest.mark.parametrize("name", ["skim.hdf5", "skim", "skim.parquet.gz"])
def test_an_unknown_ending_is_refused(client: Client, name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"does not end in .parquet, .feather, .arrow, .root, .csv"):
        client.query("dy", "MET_pt").to_file(tmp_path / name)


def test_batches_of_no_bytes_are_refused(client: Client) -> None:
    assert len(list(client.query("dy", "MET_pt", limit=3).batches(batch_bytes=1))) == 3
    with pytest.raises(InvalidRequest, match="batches of 0 bytes are asked"):
        next(client.query("dy", "MET_pt").batches(batch_bytes=0))


def test_a_folder_that_is_not_there_is_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*: there is no folder .*nowhere$"):
        client.query("dy", "MET_pt").to_file(tmp_path / "nowhere" / "skim.parquet")


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow", ".root", ".csv"])
def test_a_failed_run_leaves_the_old_file(
    client: Client, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file appears whole or not at all."""
    path = tmp_path / f"skim{suffix}"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise CorruptObject("bad")

    monkeypatch.setattr("skyhook_casa.worker.Worker.run", fail)
    with pytest.raises(CorruptObject, match="bad"):
        client.query("dy", "MET_pt", "MET_pt > -17").to_file(path)  # asked nowhere else: no answer is kept
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


# -- feather and RNTuple ------------------------------------------------------------------------
@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("by", ["ending", "method"])
def test_feather_holds_the_answer(client: Client, events: Any, by: str, tmp_path: Path) -> None:
    """For pyarrow's and pandas' readers."""
    query, path = client.query("dy", COLUMNS, CUT), tmp_path / "skim.feather"
    written = query.to_file(path) if by == "ending" else query.to_feather(path)
    found = feather.read_table(path)
    assert written == len(found)
    assert ak.array_equal(ak.from_arrow(found), expected(events))
    assert pd.read_feather(path).Muon_pt.map(len).tolist() == ak.num(expected(events).Muon_pt).tolist()


@pytest.mark.usefixtures("many_parts")
def test_an_rntuple_holds_the_answer_in_several_clusters(client: Client, events: Any, tmp_path: Path) -> None:
    client.query("dy", COLUMNS, CUT).to_root(tmp_path / "skim.root", format="rntuple")
    with uproot.open(tmp_path / "skim.root") as file:
        ntuple = file["Events"]
        assert type(ntuple).__name__ == "Model_ROOT_3a3a_RNTuple"
        assert len(ntuple.cluster_summaries) > 3
        found = ntuple.arrays()
    reference = expected(events)
    assert set(COLUMNS) <= set(found.fields)
    for name in COLUMNS:
        assert found[name].tolist() == reference[name].tolist()
        assert str(found[name].type) == str(reference[name].type)


@pytest.mark.parametrize("kind", ["ttree", "rntuple"])
@pytest.mark.slow
def test_coffea_reads_a_written_root_file_as_nanoaod(client: Client, kind: str, tmp_path: Path) -> None:
    """With counters that were not asked for; cross references between collections work."""
    pytest.importorskip("coffea")
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    columns = ["run", "luminosityBlock", "event", "Muon", "Jet", "MET_*"]
    query = client.query("dy", columns, "nMuon >= 2")
    query.to_root(tmp_path / "skim.root", kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Missing cross-reference", RuntimeWarning)
        found = NanoEventsFactory.from_root(
            {str(tmp_path / "skim.root"): "Events"}, schemaclass=NanoAODSchema, mode="eager"
        ).events()
        there = query.nanoevents(NanoAODSchema)
    reference = query.to_awkward()
    assert len(found) == len(reference)
    assert found.Muon.pt.tolist() == reference.Muon_pt.tolist()
    assert found.MET.pt.tolist() == reference.MET_pt.tolist()
    assert found.Muon.matched_jet.pt.tolist() == there.Muon.matched_jet.pt.tolist()


@pytest.mark.parametrize("kind", ["ttree", "rntuple"])
def test_counters_are_there_whether_asked_for_or_not(client: Client, kind: str, tmp_path: Path) -> None:
    query = client.query("dy", ["Muon_pt", "GenPart_pt", "MET_pt"], CUT)
    query.to_root(tmp_path / "skim.root", kind)
    with uproot.open({tmp_path / "skim.root": "Events"}) as file:
        found = file.arrays()
    for name in ("Muon", "GenPart"):
        assert found[f"n{name}"].tolist() == ak.num(found[f"{name}_pt"]).tolist()


def test_another_root_format_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="format is 'RNTuple'; 'ttree' or 'rntuple' is needed"):
        client.query("dy", "MET_pt").to_root(tmp_path / "skim.root", "RNTuple")


def test_nested_columns_of_a_flat_format_are_refused(client: Client, tmp_path: Path) -> None:
    """They were left flat without a word."""
    with pytest.raises(InvalidRequest, match=r"\.root files are flat"):
        client.query("dy", "Muon_pt").to_file(tmp_path / "skim.root", nested=True)


# -- folders of files ---------------------------------------------------------------------------
def test_a_folder_of_parquet_files_is_one_dataset(client: Client, events: Any, tmp_path: Path) -> None:
    """In dataset order, each file as long as was allowed but the last."""
    folder = tmp_path / "skim"
    written = client.query("dy", COLUMNS, CUT).to_parquet(folder, part_events=200)
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"part-{number:05d}.parquet" for number in range(len(files))]
    lengths = [pq.read_metadata(file).num_rows for file in files]
    assert len(files) > 3
    assert set(lengths[:-1]) == {200}
    assert sum(lengths) == written
    found = pads.dataset(folder, format="parquet").to_table()
    assert ak.array_equal(ak.from_arrow(found), expected(events))


@pytest.mark.parametrize("kind", ["ttree", "rntuple"])
def test_a_folder_of_root_files_is_read_by_a_glob(
    client: Client, events: Any, kind: str, tmp_path: Path
) -> None:
    client.query("dy", COLUMNS, CUT).to_root(tmp_path / "skim", kind, part_events=500)
    found = uproot.concatenate(f"{tmp_path}/skim/*.root:Events")
    assert found.Muon_pt.tolist() == expected(events).Muon_pt.tolist()
    assert found.event.tolist() == expected(events).event.tolist()


def test_no_file_of_a_folder_holds_more_bytes_than_allowed(client: Client, tmp_path: Path) -> None:
    """Counted before compression."""
    query = client.query("dy", ["event", "MET_pt"])
    query.to_feather(tmp_path / "skim", part_bytes=4800)
    files = sorted((tmp_path / "skim").iterdir())
    tables = [feather.read_table(file) for file in files]
    assert all(table.nbytes <= 4800 for table in tables)
    assert len(files) >= 4
    assert pa.concat_tables(tables)["event"].to_pylist() == query.to_awkward().event.tolist()


def test_an_event_larger_than_a_file_may_be_has_one_alone(client: Client, tmp_path: Path) -> None:
    query = client.query("dy", ["event"], limit=3)
    assert query.to_parquet(tmp_path / "skim", part_bytes=1) == 3
    assert [pq.read_metadata(file).num_rows for file in (tmp_path / "skim").iterdir()] == [1, 1, 1]


def test_an_empty_answer_makes_a_folder_with_one_file(client: Client, tmp_path: Path) -> None:
    """So that a reader finds the columns."""
    query = client.query("dy", ["MET_pt", "run"], "MET_pt < -1")
    assert query.to_parquet(tmp_path / "skim", part_events=10) == 0
    found = pads.dataset(tmp_path / "skim", format="parquet").to_table()
    assert (found.column_names, len(found)) == (["MET_pt", "run"], 0)


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_a_folder_that_is_there_is_refused(client: Client, there: str, tmp_path: Path) -> None:
    """Files of two answers would be mixed."""
    path = tmp_path / "skim"
    {"folder": path.mkdir, "file": path.touch, "link": lambda: path.symlink_to("nowhere")}[there]()
    query = client.query("dy", ["MET_pt"])
    with pytest.raises(AlreadyExists, match="skim is there already"):
        query.to_parquet(path, part_events=10)
    assert [one.name for one in tmp_path.iterdir()] == ["skim"]
    assert not query.has_run


def test_a_folder_that_appeared_meanwhile_is_left_as_it_is(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = places.whole_folder

    @contextmanager
    def raced(path: Path) -> Iterator[Path]:
        with whole(path) as unfinished:
            yield unfinished
            path.mkdir()
            (path / "mine").touch()

    monkeypatch.setattr("skyhook_client.export.whole_folder", raced)
    with pytest.raises(AlreadyExists, match="skim is there already"):
        client.query("dy", ["MET_pt"]).to_parquet(tmp_path / "skim", part_events=1000)
    assert [one.name for one in tmp_path.rglob("*")] == ["skim", "mine"]


@pytest.mark.parametrize("size", [0, -5, 1.5, True, "10"])
def test_a_size_that_is_none_is_refused(client: Client, size: Any, tmp_path: Path) -> None:
    query = client.query("dy", ["MET_pt"])
    with pytest.raises(InvalidRequest, match=r"part_events is .*; a whole number of at least 1"):
        query.to_parquet(tmp_path / "skim", part_events=size)
    with pytest.raises(InvalidRequest, match=r"part_bytes is .*; a whole number of at least 1"):
        query.to_root(tmp_path / "skim", part_bytes=size)


@pytest.mark.parametrize(("most", "fits"), [(2, False), (3, True)])
def test_too_many_files_are_refused(
    client: Client, most: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FILES_MAX", most)
    query = client.query("dy", ["event"], limit=3)
    with nullcontext() if fits else pytest.raises(InvalidRequest, match="more than 2 files; allow larger"):
        query.to_parquet(tmp_path / "skim", part_events=1)
    assert [one.name for one in tmp_path.iterdir()] == (["skim"] if fits else [])


# -- when it goes wrong -------------------------------------------------------------------------
@contextmanager
def small_disk(nbytes: int) -> Iterator[None]:
    """Let no file of this process become longer than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def few_to_forget() -> Iterator[None]:
    """Let the garbage collector look only at what a test makes, not at all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("few_to_forget", "many_parts")
@pytest.mark.parametrize("partitioned", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk_leaves_nothing(
    embedded_client: Client, kind: str, partitioned: bool, tmp_path: Path
) -> None:
    """And is told, with the path; files before that were whole go too."""
    columns = ["event", "MET_pt"] if kind == "csv" else COLUMNS
    query, path = embedded_client.query("dy", columns), tmp_path / "skim"
    with small_disk(3000), pytest.raises(StoreError, match=r"cannot write .*skim: .*[Ff]ile too large"):
        write(query, path, kind, parts=Parts(1000) if partitioned else None)
    gc.collect()  # nothing is written later, when writers are forgotten
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_interrupted_in_the_middle_leaves_nothing(
    client: Client, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two batches."""
    add, added = FORMATS[kind].add, []

    def interrupted(self: Any, batch: Any) -> None:
        add(self, batch)
        added.append(batch.events)
        if len(added) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(FORMATS[kind], "add", interrupted)
    columns = ["event", "MET_pt"] if kind == "csv" else COLUMNS
    with pytest.raises(KeyboardInterrupt):
        write(client.query("dy", columns), tmp_path / "skim", kind, parts=Parts(400))
    assert list(tmp_path.iterdir()) == []


def test_a_bar_counts_what_was_written(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts the events of the dataset, and beside it those that were kept and their bytes."""
    seen: list[tuple[str, int, int, str]] = []

    class Seen(Progress):
        def __exit__(self, *error: Any) -> None:
            seen.append((self.label, self.done, self.total, self.note))
            super().__exit__(*error)

    monkeypatch.setattr("skyhook_client.query.Progress", Seen)
    query = client.query("dy", ["event"], CUT)
    written = query.to_parquet(tmp_path / "skim.parquet")
    total = client.dataset("dy").events
    assert seen == [
        ("write skim.parquet", total, total, f"{written:,} events, {human_bytes(8 * written)} written")
    ]
    assert query.report.events_out == written
