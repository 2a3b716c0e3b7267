"""The command line does the main job, and says what is wrong in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from ingest_helpers import write_root
from typer.testing import CliRunner, Result

import skyhook_casa
from skyhook_casa.cli import app, main
from skyhook_casa.cli_words import for_shell
from skyhook_casa.errors import InvalidRequest, NotFound, SkyhookError, StoreError
from skyhook_client import Client


def run(store: str | Path, *arguments: str | Path, stdin: str | None = None) -> Result:
    """Run a command that should succeed, or raise its error."""
    result = CliRunner().invoke(app, ["--store", str(store), *map(str, arguments)], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def store(client: Client) -> str:
    return client.url


def test_the_main_job(nano_file: Path, events: Any, tmp_path: Path) -> None:
    """Ingest, describe, query to a file, count, verify."""
    store = tmp_path / "store"
    assert (
        "version 1, 1,500 events of 1 file added"
        in run(store, "ingest", "dy", nano_file, "-c", "*Muon*,MET_*", "--codec", "zstd").stdout
    )
    assert "Muon (" in run(store, "describe", "dy").stdout
    asked = ["query", "dy", "-c", "Muon_*,MET_pt", "--cut", "nMuon >= 2", "-o", tmp_path / "skim.parquet"]
    result = run(store, *asked)
    arrays = events.arrays(["nMuon", "MET_pt", "Muon_pt"])
    assert f"{np.count_nonzero(arrays.nMuon >= 2):,} events in" in result.stderr
    assert "1 of 1 done" in result.stderr
    assert ak.array_equal(ak.from_parquet(tmp_path / "skim.parquet").MET_pt, arrays.MET_pt[arrays.nMuon >= 2])
    assert int(run(store, "count", "dy", "--cut", "MET_pt > 40").stdout) == np.count_nonzero(
        arrays.MET_pt > 40
    )
    assert "all good" in run(store, "verify", "dy").stdout


def test_describe_shows_columns_with_types_and_titles(
    store: str, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long groups of bits are one line, unless all are asked for."""
    monkeypatch.setattr("skyhook_client.display.GROUP_SHOWN_MAX", 4)
    text = run(store, "describe", "dy").stdout
    assert "counted by nMuon" in text
    assert any(line.split()[:4] == ["Muon_pt", "var", "*", "float32"] for line in text.splitlines())
    assert events["MET_pt"].title in text
    assert "1,500 in" in text
    assert "ROOT file" in text
    assert "HLT_IsoMu27 " not in text
    assert "HLT_IsoMu27 " in run(store, "describe", "dy", "--all").stdout


def test_query_without_a_file_shows_the_first_events(store: str) -> None:
    """With the report on the other stream."""
    result = run(store, "query", "dy", "-c", "event,MET_pt", "--cut", "MET_pt > 20", "-n", "3")
    assert len(result.stdout.splitlines()) == 3
    assert result.stdout.startswith("[{event: ")
    assert "1,500 in" not in result.stdout
    assert "left after MET_pt > 20" in result.stderr


def test_definitions_thinning_and_fill_are_understood(store: str, tmp_path: Path) -> None:
    options = [
        "-d",
        "ht = sum(Jet_pt)",
        "-d",
        "big = ht >= 100",
        "--objects",
        "Jet: pt > 30",
        "--fill",
        "HLT_IsoMu24 = false",
    ]
    run(store, "query", "dy", "-c", "Jet_pt,ht,big,HLT_IsoMu24", *options, "-o", tmp_path / "x.arrow")
    found = skyhook_casa.connect(store).query(
        "dy", "Jet_pt,ht,big", define={"ht": "sum(Jet_pt)", "big": "ht >= 100"}, objects={"Jet": "pt > 30"}
    )
    import pyarrow as pa

    with pa.ipc.open_file(tmp_path / "x.arrow") as file:
        assert file.read_all().select(["Jet_pt", "ht", "big"]).equals(found.to_arrow())
    assert int(run(store, "count", "dy", "--cut", "big", "-d", "big = sum(Jet_pt) > 100").stdout) > 0


def test_explain_says_what_would_be_read(store: str) -> None:
    text = run(store, "explain", "dy", "-c", "Muon_pt", "--cut", "MET_pt > 3").stdout
    assert "for the cut       MET_pt" in text
    assert ("by the workers of the service" if store.startswith("grpc://") else "in this process") in text


@pytest.mark.parametrize("command", ["datasets", "list"])
def test_datasets_are_listed(store: str, command: str) -> None:
    assert run(store, command).stdout.startswith("dy  version   1 ")


@pytest.mark.parametrize("command", [["datasets"], ["jobs"], ["count", "dy"], ["gc"], ["describe", "dy"]])
def test_a_catalog_that_is_not_there_is_made_by_an_ingest_only(
    embedded_client: Client, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped name must not look like a store without datasets."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        NotFound, match=r"no catalog at .*/dyy, which catalog= names.*its own, .*catalog.sqlite"
    ):
        run(embedded_client.url, "--catalog", "dyy", *command)
    assert not (tmp_path / "dyy").exists()


def test_an_empty_store_has_no_datasets(tmp_path: Path) -> None:
    result = run(tmp_path / "none", "datasets")
    assert result.stdout == ""
    assert result.stderr == f"no datasets yet in {(tmp_path / 'none').as_uri()}\n"


def test_lumimask_of_a_file_keeps_its_sections(store: str, tmp_path: Path) -> None:
    mask = tmp_path / "golden.json"
    mask.write_text('{"4000000": [[1, 2]]}')
    assert run(store, "count", "dy", "--lumimask", mask).stdout == "0\n"


def test_options_of_a_file_need_one(store: str) -> None:
    with pytest.raises(InvalidRequest, match="name it with --output"):
        run(store, "query", "dy", "-c", "MET_pt", "--part-events", "10")


def test_golden_json_that_cannot_be_written_is_an_error_of_ours(store: str, tmp_path: Path) -> None:
    path = tmp_path / "none" / "golden.json"
    with pytest.raises(StoreError, match=re.escape(f"cannot write {path}: No such file")):
        run(store, "tally", "dy", "--golden", path)


def test_dropping_asks_first(tmp_path: Path) -> None:
    """What is forgotten is gone with the next gc."""
    store = tmp_path / "store"
    run(store, "ingest", "x", write_root(tmp_path / "a.root"))
    assert run(store, "drop", "x", stdin="n\n").exit_code == 1
    assert run(store, "datasets").stdout
    run(store, "drop", "x", "--yes")
    assert "would remove 1 object," in run(store, "gc", "--dry-run", "--grace-hours", "0").stdout
    assert "removed 1 object," in run(store, "gc", "--grace-hours", "0").stdout


def test_replacing_makes_a_version_of_the_new_files_only(tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(store, "ingest", "x", write_root(tmp_path / "a.root", events=10, seed=1))
    run(store, "ingest", "x", write_root(tmp_path / "b.root", events=20, seed=2), "--replace")
    assert run(store, "count", "x").stdout == "20\n"
    assert run(store, "count", "x", "--version", "1").stdout == "10\n"


def test_verify_fails_if_an_object_is_bad(tmp_path: Path) -> None:
    """Scripts see it by the exit code."""
    store = tmp_path / "store"
    run(store, "ingest", "x", write_root(tmp_path / "a.root"))
    (path,) = (store / "objects").rglob("*/*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    result = run(store, "verify", "x")
    assert result.exit_code == 1
    assert "1 bad" in result.stdout
    assert path.name in result.stderr


@pytest.mark.slow
def test_a_sample_can_be_made(tmp_path: Path) -> None:
    """One file, or a folder of several."""
    assert "10 events" in run(tmp_path, "make-nanoaod", tmp_path / "a.root", "-n", "10").stdout
    run(tmp_path, "make-nanoaod", tmp_path / "many", "-n", "10", "--files", "2", "--data")
    assert len(list((tmp_path / "many").iterdir())) == 2
    with uproot.open(tmp_path / "a.root") as file:
        assert file["Events"].num_entries == 10
    with pytest.raises(SkyhookError, match=r"2 files do not go into 'a.root'"):
        run(tmp_path, "make-nanoaod", tmp_path / "a.root", "--files", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query", "dyy"], "no dataset 'dyy'; did you mean 'dy'"),
        (["query", "dy", "-c", "Muon_ptt"], "did you mean 'Muon_pt'"),
        (["count", "dy", "--cut", "MET_pt >"], r"\^"),
        (["query", "dy", "-d", "ht"], "--define 'ht' is not of the form 'name = …'"),
        (["query", "dy", "-d", "a=1", "-d", "a=2"], "names 'a' twice"),
        (["query", "dy", "--objects", "Jet pt"], "--objects 'Jet pt' is not of the form 'name : …'"),
        (["query", "dy", "--fill", "MET_pt = much"], "--fill gives 'much'"),
        (["query", "dy", "-o", "x.doc"], "does not end in"),
    ],
)
def test_a_mistake_is_explained(store: str, arguments: list[str], message: str) -> None:
    with pytest.raises(SkyhookError, match=message):
        run(store, *arguments)


@pytest.mark.parametrize("arguments", [["query"], ["query", "dy", "--limit", "-1"], ["nonsense"]])
def test_wrong_usage_is_exit_code_2(store: str, arguments: list[str]) -> None:
    assert run(store, *arguments).exit_code == 2


def test_an_error_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    """And piped output holds no progress bar."""
    command = [sys.executable, "-m", "skyhook_casa.cli", "--store", str(tmp_path / "none"), "query", "dy"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("skyhook-casa: there are no datasets in ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("replace=True takes its place", "--replace takes its place"),
        ("skip_bad_files=True takes the others", "--skip-bad-files takes the others"),
        ("without Runs (trees=False)", "without Runs (--no-trees)"),
        ('there: fill={"MET_pt": 0}', "there: --fill 'MET_pt = 0'"),
        ("missing with fill=, then", "missing with --fill, then"),
        ("tally(count=True) does", "tally(count=True) does"),
        ("sum(x, axis=1)", "sum(x, axis=1)"),
        ("width=3 and fill=3", "width=3 and fill=3"),
    ],
)
def test_hints_name_options_instead_of_keywords(message: str, told: str) -> None:
    assert for_shell(message) == told


def test_a_shell_is_told_its_own_options(
    store: str, nano_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["skyhook-casa", "-s", store, "add-columns", "dy", str(nano_file), "-c", "MET_pt"]
    )
    with pytest.raises(SystemExit):
        main()
    assert "a column 'MET_pt' already; --replace takes its place" in capsys.readouterr().err


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"skyhook-casa {skyhook_casa.__version__}\n"


def test_bad_files_are_left_out_and_named(tmp_path: Path) -> None:
    store, good, bad = (
        tmp_path / "store",
        write_root(tmp_path / "a.root"),
        write_root(tmp_path / "b.root", 50, 2),
    )
    bad.write_bytes(bad.read_bytes()[:-50])

    done = run(store, "ingest", "x", good, bad, "--skip-bad-files")

    assert "100 events of 1 file added" in done.stdout
    assert "left out: " in done.stderr and "b.root is cut short" in done.stderr
    assert "Copy the file again" in done.stderr


def test_save_keeps_a_skim_that_describe_explains(store: str, request: pytest.FixtureRequest) -> None:
    """Under its name it is a dataset like any other."""
    name = f"skim of {request.node.name}"
    asked = ["dy", name, "-c", "Muon,ht", "--cut", "nMuon >= 2", "-d", "ht = sum(Jet_pt)", "--codec", "zstd"]
    kept = int(run(store, "count", "dy", "--cut", "nMuon >= 2").stdout)

    lines = run(store, "save", *asked).stdout.splitlines()

    assert lines[0] == f"{name}: version 1, {kept:,} of 1,500 events"
    assert lines[1].startswith("1 partition")
    assert int(run(store, "count", name).stdout) == kept
    described = run(store, "describe", name).stdout
    assert "saved from  dy, version 1 (1,500 events)" in described
    assert "cut         nMuon >= 2" in described
    assert f"{kept:,} kept" in run(store, "jobs").stdout or not store.startswith("grpc")
    with pytest.raises(SkyhookError, match="'dy' is there and was not saved from a query"):
        run(store, "save", "dy", "dy")
    run(store, "drop", name, "--yes")


def test_query_writes_a_folder_of_files(store: str, tmp_path: Path) -> None:
    asked = ["query", "dy", "-c", "Muon_pt,MET_pt", "-o", tmp_path / "skim", "--part-events", "1000"]
    run(store, *asked, "--format", "rntuple")
    files = sorted((tmp_path / "skim").iterdir())
    assert [file.name for file in files] == ["part-00000.root", "part-00001.root"]
    assert [uproot.open(file)["Events"].num_entries for file in files] == [1000, 500]
    with pytest.raises(SkyhookError, match="skim is there already"):
        run(store, *asked, "--format", "parquet")
    with pytest.raises(SkyhookError, match="format is 'hdf5'; one of parquet, feather, arrow"):
        run(store, *asked, "--format", "hdf5")
