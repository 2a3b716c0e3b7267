"""Files that are written hold what was asked for, readable by the tools people have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from skyhook_casa.errors import CorruptObject, InvalidRequest, StoreError
from skyhook_client import Client, export

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
    monkeypatch.setattr(export, "PART_BYTES", 4_000)
    monkeypatch.setattr(export, "COLUMN_BYTES", 1)


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


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".root", ".csv"])
def test_an_empty_answer_makes_a_file_without_events(client: Client, suffix: str, tmp_path: Path) -> None:
    """With the columns of a full one."""
    path = tmp_path / f"skim{suffix}"
    assert client.query("dy", ["MET_pt", "run"], "MET_pt < -1").to_file(path) == 0
    read = {
        ".parquet": lambda: pq.read_table(path).column_names,
        ".arrow": lambda: pa.ipc.open_file(path).read_all().column_names,
        ".root": lambda: uproot.open(path)["Events"].keys(),
        ".csv": lambda: pd.read_csv(path).columns.tolist(),
    }
    assert read[suffix]() == ["MET_pt", "run"]


@pytest.mark.parametrize("name", ["skim.hdf5", "skim", "skim.parquet.gz"])
def test_an_unknown_ending_is_refused(client: Client, name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"does not end in .parquet, .arrow, .root, .csv"):
        client.query("dy", "MET_pt").to_file(tmp_path / name)


def test_a_folder_that_is_not_there_is_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*nowhere"):
        client.query("dy", "MET_pt").to_file(tmp_path / "nowhere" / "skim.parquet")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".root", ".csv"])
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
