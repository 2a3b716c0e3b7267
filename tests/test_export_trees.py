"""ROOT files that are written carry `Runs` and `LuminosityBlocks` of what the query worked through."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from service_fixture import ANSWERERS, answered
from typer.testing import CliRunner

import skyhook_casa
from skyhook_casa.cli import app
from skyhook_casa.errors import InvalidRequest, ProtocolError
from skyhook_casa.query import Query as QueryValue
from skyhook_casa.schema import DTYPES
from skyhook_client import Client
from skyhook_client.backend import FileTree
from skyhook_client.query import Query

FILES = 4
FILE_EVENTS = 2_000
NOTHING_KEPT = 2
"""The file of which the cut keeps nothing."""
CUT = "x >= 0"
KINDS = ["ttree", "rntuple"]


def write_nano(path: Path, number: int, kind: str = "ttree", **runs: Any) -> Path:
    """A file of one run: of each of its sections 100 events, and one section more that has none."""
    count = np.arange(FILE_EVENTS)
    sections = FILE_EVENTS // 100 + 1
    trees = {
        "Events": {
            "run": np.full(FILE_EVENTS, number + 1, np.uint32),
            "luminosityBlock": (1 + count // 100).astype(np.uint32),
            "x": np.where(number == NOTHING_KEPT, -1, count).astype(np.float32),
            # Makes the partitions several.
            **{f"noise_{i}": np.random.default_rng(10 * number + i).random(FILE_EVENTS) for i in range(9)},
        },
        "Runs": {
            "run": np.array([number + 1], np.uint32),
            "genEventCount": np.array([FILE_EVENTS + 7], np.int64),
            "genEventSumw": np.array([0.1 * (number + 1)]),
            "LHEPdfSumw": ak.Array([[0.5 * number, 0.25, 1e300]]),
            **runs,
        },
        "LuminosityBlocks": {
            "run": np.full(sections, number + 1, np.uint32),
            "luminosityBlock": np.arange(1, sections + 1, dtype=np.uint32),
            "isGood": np.arange(sections) % 2 == 0,
        },
    }
    with uproot.recreate(path) as file:
        for name, branches in trees.items():
            present = {key: values for key, values in branches.items() if values is not None}
            if kind == "ttree":
                types = {
                    key: ak.type(v).content if isinstance(v, ak.Array) else v.dtype
                    for key, v in present.items()
                }
                file.mktree(name, types).extend(present)
            else:
                array = ak.zip(present, depth_limit=1)
                file.mkrntuple(name, array.layout.form).extend(array)
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [write_nano(folder / f"nano_{number}.root", number) for number in range(FILES)]


@pytest.fixture(scope="module")
def stored(paths: list[Path]) -> Client:
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("mc", paths, partition_bytes=65_536, chunk_events=128, workers=1)
    assert client.dataset("mc").partitions >= 2 * FILES
    return client


@pytest.fixture(scope="module", params=ANSWERERS)
def client(request: pytest.FixtureRequest, stored: Client) -> Iterator[Client]:
    with answered(request.param, stored) as client:
        yield client


def trees_of(*paths: Path) -> dict[str, list[dict[str, Any]]]:
    """The entries of the trees of some files, one after the other; those of `Events` aside."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        with uproot.open(path) as file:
            for name in file.keys(cycle=False):
                if name != "Events":
                    entries = file[name].arrays()
                    found.setdefault(name, []).extend(entries[sorted(entries.fields)].to_list())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_file_has_the_trees_of_all_that_was_processed(
    client: Client, paths: list[Path], kind: str, tmp_path: Path
) -> None:
    """Of files of which nothing was kept, too; with types, titles and counters."""
    written = client.query("mc", ["x"], CUT).to_root(tmp_path / "skim.root", kind)

    assert written == (FILES - 1) * FILE_EVENTS
    assert trees_of(tmp_path / "skim.root") == trees_of(*paths)
    with uproot.open(tmp_path / "skim.root") as file, uproot.open(paths[0]) as source:
        assert file["Events"].num_entries == written
        for name in ("Runs", "LuminosityBlocks"):
            found, expected = file[name].arrays(), source[name].arrays()
            for field in set(expected.fields) - {"nLHEPdfSumw"}:
                assert found[field].type.content == expected[field].type.content
                if kind == "ttree":
                    assert file[name][field].title == source[name][field].title
        if kind == "ttree":
            assert file["Runs"]["LHEPdfSumw"].count_branch.name == "nLHEPdfSumw"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [{"part_events": 700}, {"part_bytes": 3_000}, {"part_events": 100_000}])
def test_each_file_of_a_folder_has_the_trees_of_its_own_input(
    client: Client, paths: list[Path], kind: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    """Each once over all of them; those of a file go with its first events."""
    client.query("mc", ["run"], CUT).to_root(tmp_path / "skim", kind, **sizes)

    parts = sorted((tmp_path / "skim").iterdir())
    assert trees_of(*parts) == trees_of(*paths)
    begun: set[int] = set()
    for part in parts:
        mine = trees_of(part)
        assert set(mine) == {"Runs", "LuminosityBlocks"}, "so that a glob reads them all"
        with uproot.open({part: "Events"}) as events:
            new = set(np.unique(events["run"].array()).tolist()) - begun
        runs = {one["run"] for one in mine["Runs"]}
        assert new == runs - {NOTHING_KEPT + 1}
        assert runs == {one["run"] for one in mine["LuminosityBlocks"]}
        begun |= runs
    assert begun == set(range(1, FILES + 1))
    sums = uproot.concatenate(f"{tmp_path}/skim/*.root:Runs")
    assert ak.sum(sums.genEventCount) == FILES * (FILE_EVENTS + 7)


@pytest.mark.parametrize("parts", [None, 500])
def test_queries_of_disjoint_partitions_write_each_tree_once(
    client: Client, paths: list[Path], parts: int | None, tmp_path: Path
) -> None:
    """As jobs do that share a dataset; a file is whole where its first partition is."""
    whole = client.dataset("mc").partitions
    bounds = [0, 1, 3, whole - 1, whole]
    for number, (first, stop) in enumerate(pairwise(bounds)):
        value = QueryValue.make("mc", ["x"], CUT, partitions=(first, stop))
        Query(client.backend.ask(value), progress=False).to_root(
            tmp_path / f"{number}", part_events=parts or 10**6
        )
    written = sorted(tmp_path.rglob("*.root"))
    assert trees_of(*written) == trees_of(*paths)
    assert len(trees_of(*(tmp_path / "0").iterdir())["Runs"]) == 1


def test_an_answer_without_events_has_the_trees(client: Client, paths: list[Path], tmp_path: Path) -> None:
    assert client.query("mc", ["x"], "x > 1e9").to_root(tmp_path / "none.root") == 0
    assert client.query("mc", ["x"], "x > 1e9").to_root(tmp_path / "none", part_events=5) == 0
    assert trees_of(tmp_path / "none.root") == trees_of(*paths)
    assert trees_of(tmp_path / "none" / "part-00000.root") == trees_of(*paths)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_sections_of_a_mask_are_written(client: Client, kind: str, tmp_path: Path) -> None:
    """As a save keeps them; sums of weights stay those of the files."""
    mask = {"1": [[2, 5]], "4": [[20, 30]]}
    query = client.query("mc", ["x"], lumimask=mask)
    query.to_root(tmp_path / "skim.root", kind)
    found = trees_of(tmp_path / "skim.root")
    pairs = [(one["run"], one["luminosityBlock"]) for one in found["LuminosityBlocks"]]
    assert pairs == [(1, n) for n in range(2, 6)] + [(4, 20), (4, 21)]
    assert len(found["Runs"]) == FILES


def test_a_limited_answer_has_no_trees_nor_one_that_is_to_have_none(client: Client, tmp_path: Path) -> None:
    """Of the events of a limited answer no tree tells."""
    client.query("mc", ["x"], limit=2_500).to_root(tmp_path / "limited.root")
    client.query("mc", ["x"]).to_root(tmp_path / "bare.root", trees=False)
    assert trees_of(tmp_path / "limited.root", tmp_path / "bare.root") == {}


def test_the_command_line_writes_them_unless_told_not_to(paths: list[Path], tmp_path: Path) -> None:
    skyhook_casa.connect(tmp_path / "store", progress=False).ingest("mc", paths[:2], workers=1)
    run = ["--store", str(tmp_path / "store"), "query", "mc", "-c", "x", "-o"]
    CliRunner().invoke(app, [*run, str(tmp_path / "with.root")], catch_exceptions=False)
    CliRunner().invoke(app, [*run, str(tmp_path / "without.root"), "--no-trees"], catch_exceptions=False)
    assert trees_of(tmp_path / "with.root") == trees_of(*paths[:2])
    assert trees_of(tmp_path / "without.root") == {}


def test_data_without_runs_is_written_without(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "plain.root") as file:
        file["Events"] = {"x": np.arange(10)}
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("plain", tmp_path / "plain.root")
    client.query("plain").to_root(tmp_path / "skim.root")
    assert trees_of(tmp_path / "skim.root") == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_a_skim_that_is_ingested_or_saved_keeps_the_trees(
    client: Client, paths: list[Path], source: str, kind: str, tmp_path: Path
) -> None:
    """Saved there, written, ingested again, and written again: nothing is lost, or counted twice."""
    file = write_nano(tmp_path / "more.root", FILES, source)
    again = skyhook_casa.connect("memory://", progress=False)
    client.query("mc", ["run", "luminosityBlock", "x"], CUT).save(f"kept {source} {kind}")
    client.query(f"kept {source} {kind}").to_root(tmp_path / "skim", kind, part_events=3_000)
    again.ingest("mc", [*sorted((tmp_path / "skim").iterdir()), file], workers=1)
    again.query("mc", ["x"]).to_root(tmp_path / "again.root")
    found, expected = trees_of(tmp_path / "again.root"), trees_of(*paths, file)
    if source == "rntuple":  # has no counters
        for one in expected["Runs"]:
            one["nLHEPdfSumw"] = 3
    assert found == {name: [dict(sorted(one.items())) for one in tree] for name, tree in expected.items()}
    assert client.dataset(f"kept {source} {kind}").sum_of_weights() == client.dataset("mc").sum_of_weights()


@pytest.mark.parametrize("kind", KINDS)
def test_branches_of_every_type_come_back(kind: str, tmp_path: Path) -> None:
    """One of each type that is held, and lists of it."""
    branches: dict[str, Any] = {}
    for dtype in DTYPES:
        values = np.array([1, 0, 1, 0]).astype(dtype)
        branches |= {f"one_{dtype}": values, f"some_{dtype}": ak.unflatten(ak.Array(values), [2, 0, 1, 1])}
    with uproot.recreate(tmp_path / "a.root") as file:
        file["Events"] = {"x": np.arange(5)}
        types = {k: ak.type(v).content if isinstance(v, ak.Array) else v.dtype for k, v in branches.items()}
        file.mktree("Runs", types).extend(branches)
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("all", tmp_path / "a.root")
    client.query("all").to_root(tmp_path / "b.root", kind)
    with uproot.open(tmp_path / "b.root") as file, uproot.open(tmp_path / "a.root") as source:
        found, expected = file["Runs"].arrays(), source["Runs"].arrays()
    for name in expected.fields:
        assert found[name].tolist() == expected[name].tolist()
        assert found[name].type == expected[name].type


def test_a_tree_of_which_nothing_could_be_held_is_left_out(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["Events"] = {"x": np.arange(5)}
        file["Runs"] = {"fixed": np.zeros((2, 3))}
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("mc", tmp_path / "a.root")
    client.query("mc").to_root(tmp_path / "b.root")
    assert trees_of(tmp_path / "b.root") == {}


# -- what cannot be one tree ------------------------------------------------------------------------
def test_lists_that_a_file_lacks_are_empty(tmp_path: Path) -> None:
    """Some samples have no PDF weights."""
    paths = [write_nano(tmp_path / "a.root", 0), write_nano(tmp_path / "b.root", 1, LHEPdfSumw=None)]
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("mc", paths, workers=1)
    for kind in KINDS:
        client.query("mc", ["x"]).to_root(tmp_path / f"{kind}.root", kind)
        found = trees_of(tmp_path / f"{kind}.root")["Runs"]
        assert [one["LHEPdfSumw"] for one in found] == [[0.0, 0.25, 1e300], []]
        assert [one["nLHEPdfSumw"] for one in found] == [3, 0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"genEventSumw": None}, "'genEventSumw' is in some and not in others"),
        ({"genEventSumw": np.array([1], np.int64)}, "'genEventSumw' is double in some and int64 in others"),
    ],
)
def test_trees_that_contradict_each_other_are_refused(
    other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """A zero would be a wrong sum; nothing is written, unless the trees are left out."""
    paths = [write_nano(tmp_path / "a.root", 0), write_nano(tmp_path / "b.root", 1, **other)]
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("mc", paths, workers=1)
    query = client.query("mc", ["x"])
    with pytest.raises(InvalidRequest, match=rf"{message}.*trees=False"):
        query.to_root(tmp_path / "skim.root")
    with pytest.raises(InvalidRequest, match=message):
        query.to_root(tmp_path / "skim", part_events=10)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.root", "b.root"]
    assert query.to_root(tmp_path / "skim.root", trees=False) == 2 * FILE_EVENTS


def test_a_branch_in_a_counters_place_is_refused(tmp_path: Path) -> None:
    path = write_nano(tmp_path / "a.root", 0, "rntuple", nLHEPdfSumw=np.array([8], np.int32))
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("mc", path)
    with pytest.raises(InvalidRequest, match="nLHEPdfSumw of the tree 'Runs' would be the counter"):
        client.query("mc", ["x"]).to_root(tmp_path / "skim.root")


def test_sections_without_numbers_cannot_be_masked(tmp_path: Path) -> None:
    """Neither written nor saved."""
    with uproot.recreate(tmp_path / "odd.root") as file:
        file["Events"] = {"run": np.ones(3, np.uint32), "luminosityBlock": np.ones(3, np.uint32)}
        file["LuminosityBlocks"] = {"luminosityBlock": np.ones(1, np.uint32)}
    client = skyhook_casa.connect("memory://", progress=False)
    client.ingest("odd", tmp_path / "odd.root")
    query = client.query("odd", lumimask={"1": [[1, 1]]})
    with pytest.raises(
        InvalidRequest, match="'LuminosityBlocks' has no branch 'run' to find masked sections"
    ):
        query.to_root(tmp_path / "skim.root")
    with pytest.raises(
        InvalidRequest, match="'LuminosityBlocks' has no branch 'run' to find masked sections"
    ):
        query.save("masked")


def test_an_older_service_says_that_it_cannot(stored: Client, tmp_path: Path) -> None:
    query = stored.query("mc", ["x"])
    told = stored.backend.file_trees
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stored.backend, "file_trees", lambda *args: [FileTree(one.table, None) for one in told(*args)]
        )
        with pytest.raises(ProtocolError, match=r"earlier release; write without .* \(trees=False\)"):
            query.to_root(tmp_path / "skim.root")
    assert list(tmp_path.iterdir()) == []
