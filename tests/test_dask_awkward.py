"""Lazy arrays of dask-awkward: equal to what a query gives at once, by every scheduler, and read in part.

`make test-dask-awkward` runs these in an environment of their own: dask-awkward takes an older Dask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import awkward as ak
import pytest
from ingest_helpers import write_root
from local_dask import dask_processes

import skyhook_casa
from skyhook_casa.errors import InvalidRequest, NotFound
from skyhook_casa.stores import MemoryStore
from skyhook_client import Client
from skyhook_client.embedded import EmbeddedRun

cloudpickle = pytest.importorskip("cloudpickle")
dask = pytest.importorskip("dask")
dak = pytest.importorskip(
    "dask_awkward", reason="pip install 'skyhook_casa[dask-awkward]'", exc_type=ImportError
)
distributed = pytest.importorskip("distributed")

SCHEDULERS = ["synchronous", "threads", "distributed"]
QUERIES: dict[str, dict[str, Any]] = {
    "all": {},
    "a cut": {"columns": ["Muon_pt", "Jet", "MET_pt"], "cut": "nMuon >= 2 and MET_pt > 15"},
    "define": {"columns": ["lead", "HT", "event"], "define": {"lead": "Muon_pt[0]", "HT": "sum(Jet_pt)"}},
    "objects": {"columns": ["Muon", "nMuon", "Jet_pt"], "objects": {"Muon": "pt > 20"}, "cut": "nJet > 1"},
    "a limit": {"columns": ["Muon_pt", "event"], "cut": "MET_pt > 15", "limit": 300},
    "nothing left": {"columns": ["Muon_pt", "event"], "cut": "MET_pt > 1e9"},
}


GUIDE = Path(__file__).resolve().parent.parent / "docs/analysts.md"
EXAMPLE = re.compile(r"^```python dask-awkward\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two Dask workers, which are processes."""
    with dask_processes(2, tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """What computes, by default."""
    if request.param == "distributed":
        with distributed.Client(request.getfixturevalue("cluster")):
            yield request.param
    else:
        with dask.config.set(scheduler=request.param):
            yield request.param


@pytest.fixture
def at_once() -> Iterator[None]:
    """Compute in this thread."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def columns_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The columns that each run in this process has delivered; none if it has only counted."""
    read: list[tuple[str, ...]] = []
    collect, count = EmbeddedRun.collect, EmbeddedRun.count

    def collecting(run: EmbeddedRun) -> Any:
        batch = collect(run)
        read.append(tuple(output.name for output in batch.outputs))
        return batch

    def counting(run: EmbeddedRun) -> int:
        read.append(())
        return count(run)

    monkeypatch.setattr(EmbeddedRun, "collect", collecting)
    monkeypatch.setattr(EmbeddedRun, "count", counting)
    return read


def assert_identical(found: ak.Array, expected: ak.Array) -> None:
    """Equal in type and in every bit of every value; how missing ones are marked does not matter."""

    def one_marking(layout: Any, **_: Any) -> Any:
        return layout.to_IndexedOptionArray64() if layout.is_option else None

    assert found.type == expected.type
    forms, lengths, buffers = zip(
        *(ak.to_buffers(ak.to_packed(ak.transform(one_marking, array))) for array in (found, expected)),
        strict=True,
    )
    assert forms[0] == forms[1] and lengths[0] == lengths[1]
    assert buffers[0].keys() == buffers[1].keys()
    for name, buffer in buffers[1].items():
        assert buffers[0][name].tobytes() == buffer.tobytes(), name


# -- answers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("asked", QUERIES)
def test_a_lazy_array_computes_to_what_the_query_gives(
    client: Client, scheduler: str, asked: str, nested: bool
) -> None:
    query = client.query("dy", **QUERIES[asked])

    lazy = query.dask_awkward(nested)

    assert lazy.fields == query.to_awkward(nested).fields
    assert_identical(lazy.compute(), query.to_awkward(nested))


def test_what_is_made_of_lazy_arrays_equals_what_is_made_of_answers(client: Client, scheduler: str) -> None:
    """Several results at once, of a query whose columns are touched, tested, counted and left out."""
    query = client.query(
        "dy", ["Muon", "Jet", "MET_*", "lead"], define={"lead": "Muon_pt[0]"}, cut="nJet >= 1"
    )
    lazy, events = query.dask_awkward(nested=True), query.to_awkward(nested=True)

    found = dask.compute(
        dak.sum(lazy.Jet.pt, axis=1),
        dak.num(lazy.Muon),
        lazy.Muon[lazy.Muon.pt > 10].eta,
        dak.is_none(lazy.lead),
        dak.num(lazy, axis=0),
        lazy[lazy.MET.pt > 20][["Jet"]],
    )

    expected = [
        ak.sum(events.Jet.pt, axis=1),
        ak.num(events.Muon),
        events.Muon[events.Muon.pt > 10].eta,
        ak.is_none(events.lead),
        events[events.MET.pt > 20][["Jet"]],
    ]
    assert found[4] == len(events)
    for one, same in zip([*found[:4], found[5]], expected, strict=True):
        assert_identical(one, same)


# -- partitions ----------------------------------------------------------------------------------
def test_there_is_a_dask_partition_for_each_of_the_dataset_and_divisions_without_a_cut(
    client: Client,
) -> None:
    sizes = client.backend.partition_events(client.backend.version("dy"))

    whole = client.query("dy").dask_awkward()
    cut = client.query("dy", cut="MET_pt > 15").dask_awkward()

    assert len(sizes) > 3
    assert whole.npartitions == cut.npartitions == len(sizes)
    assert whole.divisions == tuple(sum(sizes[:number]) for number in range(len(sizes) + 1))
    assert not cut.known_divisions


def test_one_partition_is_read_when_one_is_computed(
    embedded_client: Client, columns_read: list[tuple[str, ...]], at_once: None
) -> None:
    lazy = embedded_client.query("dy", ["MET_pt"]).dask_awkward()

    second = lazy.partitions[1].compute()

    assert columns_read == [("MET_pt",)]
    start, stop = lazy.divisions[1:3]
    assert_identical(second, embedded_client.query("dy", ["MET_pt"]).to_awkward()[start:stop])


def test_a_range_of_events_is_read_from_the_partitions_that_have_it(
    embedded_client: Client, columns_read: list[tuple[str, ...]], at_once: None
) -> None:
    lazy = embedded_client.query("dy", ["MET_pt"]).dask_awkward()
    start, stop = lazy.divisions[1] + 10, lazy.divisions[3] - 10

    found = lazy[start:stop].compute()

    assert len(columns_read) == 2
    assert_identical(found, embedded_client.query("dy", ["MET_pt"]).to_awkward()[start:stop])


def test_files_without_events_make_no_partitions(tmp_path: Path, at_once: None) -> None:
    client = skyhook_casa.connect(tmp_path / "store", progress=False)
    files = [
        write_root(tmp_path / f"{name}.root", events) for name, events in (("a", 0), ("b", 100), ("c", 0))
    ]
    client.ingest("some", files, workers=1)
    client.ingest("none", files[0], workers=1)

    some, none = client.query("some").dask_awkward(), client.query("none").dask_awkward()

    assert (some.npartitions, some.divisions, none.divisions) == (1, (0, 100), (0, 0))
    assert_identical(some.compute(), client.query("some").to_awkward())
    assert_identical(none.compute(), client.query("none").to_awkward())


# -- columns -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("touch", "read"),
    [
        (lambda events: events.Muon.pt + events.Muon.eta, {"Muon_pt", "Muon_eta"}),
        (lambda events: events.Muon[events.MET.pt > 15].phi, {"Muon_phi", "MET_pt"}),
        (lambda events: events.Jet, {"Jet_*"}),
        (lambda events: dak.num(events, axis=0), set()),
    ],
    ids=["two fields", "a field and an event column", "a collection", "none"],
)
def test_only_the_columns_that_are_touched_are_read(
    embedded_client: Client, columns_read: list[tuple[str, ...]], at_once: None, touch: Any, read: set[str]
) -> None:
    events = embedded_client.query("dy", cut="nMuon >= 1").dask_awkward(nested=True)
    jets = [column.name for column in embedded_client.dataset("dy").columns("Jet_*")]

    touch(events).compute()

    assert len(columns_read) == events.npartitions
    expected = set(jets) if read == {"Jet_*"} else read
    assert {frozenset(names) for names in columns_read} == {frozenset(expected)}


def test_the_length_of_lists_costs_one_column_of_them(
    embedded_client: Client, columns_read: list[tuple[str, ...]], at_once: None
) -> None:
    dak.num(embedded_client.query("dy").dask_awkward(nested=True).Muon).compute()

    assert {len(names) for names in columns_read} == {1}
    assert all(name.startswith("Muon_") for (name,) in columns_read)


# -- graphs --------------------------------------------------------------------------------------
def test_a_graph_holds_short_and_plain_values(client: Client) -> None:
    lazy = client.query("dy", cut="MET_pt > 15").dask_awkward(nested=True)

    (layer,) = lazy.dask.layers.values()

    assert all(value is None or isinstance(value, (str, tuple, bool)) for value in astuple(layer.io_func))
    assert len(cloudpickle.dumps(layer)) < 4_000  # of hundreds of columns it holds no names


def test_equal_queries_have_equal_keys(client: Client) -> None:
    """So that Dask computes what they share once."""
    cuts = ("MET_pt > 15", "MET_pt > 15", "MET_pt > 16")
    first, second, other = (client.query("dy", ["MET_pt"], cut).dask_awkward().name for cut in cuts)

    assert first == second != other


# -- errors --------------------------------------------------------------------------------------
def test_a_dataset_that_was_made_anew_is_not_mistaken_for_the_one_asked(tmp_path: Path, cluster: Any) -> None:
    """Its first version has the number that the one which was dropped had."""
    client = skyhook_casa.connect(tmp_path / "store", progress=False)
    client.ingest("dy", write_root(tmp_path / "a.root", 100), workers=1)
    lazy = client.query("dy", ["MET_pt"]).dask_awkward()
    client.drop("dy")
    client.ingest("dy", write_root(tmp_path / "b.root", 100, seed=2), workers=1)

    with (
        distributed.Client(cluster),
        pytest.raises(NotFound, match=r"version 1 of dataset 'dy', made at .* is gone"),
    ):
        lazy.compute()


def test_an_error_where_dask_computes_is_ours(tmp_path: Path, cluster: Any) -> None:
    client = skyhook_casa.connect(tmp_path / "store", progress=False)
    client.ingest("dy", write_root(tmp_path / "a.root", 100), workers=1)
    lazy = client.query("dy", ["MET_pt"]).dask_awkward()
    client.drop("dy")

    with distributed.Client(cluster), pytest.raises(NotFound, match="dy"):
        lazy.compute()


def test_a_store_in_memory_is_refused(tmp_path: Path) -> None:
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("dy", write_root(tmp_path / "a.root", 100), workers=1)

    with pytest.raises(InvalidRequest, match="in the memory of this process"):
        client.query("dy").dask_awkward()


def test_the_example_of_the_guide_runs(
    embedded_client: Client, columns_read: list[tuple[str, ...]], at_once: None
) -> None:
    (example,) = EXAMPLE.findall(GUIDE.read_text())

    exec(compile(example, GUIDE, "exec"), {"client": embedded_client})

    assert set(columns_read) == {("Muon_pt",)}
