"""Golden JSON as a cut at the data, and what luminosity sections and weights files hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.errors import InvalidRequest, NotFound
from skyhook_casa.lumimask import RANGES_MAX, RUN_MAX, SECTION_MAX, LumiMask
from skyhook_casa.query import Query
from skyhook_casa.stores import MemoryStore
from skyhook_client import Client

RUNS = [273_158, 273_302, 283_885, 325_175]
EVENTS = 16_000
GOOD = {"273158": [[1, 12], [20, 1279]], "283885": [[3, 3]], "300000": [[1, 5]]}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Events of four runs, one after the other, forty luminosity sections each."""
    path = tmp_path_factory.mktemp("lumimask") / "data.root"
    number = np.arange(EVENTS)
    run = np.array(RUNS, np.uint32)[number // (EVENTS // 4)]
    block = (1 + number % (EVENTS // 4) // 100).astype(np.uint32)
    with uproot.recreate(path) as file:
        file["Events"] = {"run": run, "luminosityBlock": block, "x": np.arange(EVENTS, dtype=np.float32)}
        pairs = np.unique(np.stack([run, block]), axis=1)
        file["LuminosityBlocks"] = {"run": pairs[0], "luminosityBlock": pairs[1]}
        file["Runs"] = {"run": np.array(RUNS, np.uint32)}
    client = skyhook_casa.connect(MemoryStore(runs_class=True), threads=2, progress=False)
    client.ingest("data", path, partition_bytes=65_536, chunk_events=128)
    return client


@pytest.fixture(scope="module", params=ANSWERERS)
def client(request: pytest.FixtureRequest, stored: Client) -> Iterator[Client]:
    with answered(request.param, stored) as client:
        yield client


def is_good(golden: dict[str, Any], run: Any, block: Any) -> Any:
    """Whether events lie in a section, looked up one range after the other."""
    good = np.zeros(len(run), bool)
    for number, ranges in golden.items():
        for first, last in ranges:
            good |= (run == int(number)) & (block >= first) & (block <= last)
    return good


# -- as a cut -----------------------------------------------------------------------------------
@pytest.mark.parametrize("execution", ["read", "pushdown"])
@pytest.mark.parametrize(
    "golden", [GOOD, {}, {"1": [[1, 2]]}, {str(run): [[0, SECTION_MAX]] for run in RUNS}], ids=str
)
def test_only_events_of_good_sections_are_kept(
    client: Client, golden: dict[str, Any], execution: str
) -> None:
    every = client.query("data").to_numpy()
    good = is_good(golden, every["run"], every["luminosityBlock"])

    query = client.query("data", ["x"], lumimask=golden, execution=execution)

    np.testing.assert_array_equal(query.to_numpy()["x"], every["x"][good])
    assert query.count() == good.sum()
    assert query.report.cutflow[0] == (str(LumiMask.make(golden)), good.sum())


def test_a_mask_goes_with_a_cut_and_histograms(client: Client) -> None:
    every = client.query("data").to_numpy()
    good = is_good(GOOD, every["run"], every["luminosityBlock"]) & (every["x"] > 500)
    query = client.query("data", cut="x > 500", lumimask=GOOD)
    assert query.hist("x", bins=10, range=(0, EVENTS)).sum(flow=True) == good.sum()


def test_chunks_of_other_runs_are_not_read(client: Client) -> None:
    query = client.query("data", ["x"], lumimask={"283885": [[1, 40]]}, execution="read")
    assert len(query.to_numpy()["x"]) == EVENTS // 4
    assert query.report.chunks_pruned > query.report.chunks // 2


def test_a_mask_may_be_a_file(client: Client, tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text(json.dumps(GOOD))
    from_file = client.query("data", ["x"], lumimask=tmp_path / "golden.json")
    assert from_file.value == client.query("data", ["x"], lumimask=GOOD).value
    assert from_file.value == client.query("data", ["x"], lumimask=LumiMask.make(GOOD)).value


def test_a_mask_of_as_many_ranges_as_allowed_is_fast_enough_to_answer(stored: Client) -> None:
    golden = {"283885": [[2 * i, 2 * i] for i in range(RANGES_MAX)]}
    assert stored.query("data", lumimask=golden).count() == EVENTS // 8


def test_without_the_columns_there_is_an_error(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "bare.root") as file:
        file["Events"] = {"x": np.arange(3)}
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("bare", tmp_path / "bare.root")
    with pytest.raises(NotFound, match=r"needs the columns run and luminosityBlock.*'bare' has no such run"):
        client.query("bare", lumimask=GOOD)


# -- the value ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("golden", "message"),
    [
        ([1], "a dict of run and ranges"),
        ({"x": [[1, 2]]}, "'x'; a number"),
        ({"-1": [[1, 2]]}, "'-1'; a number"),
        ({"1": [1, 2]}, r"a list of \[first, last\]"),
        ({"1": [[1, 2, 3]]}, r"a list of \[first, last\]"),
        ({"1": [[2, 1]]}, "the first is after the last"),
        ({"1": [[1.5, 2]]}, "1.5; a number"),
        ({"1": [[True, 2]]}, "True; a number"),
        ({"1": [[2 * i, 2 * i] for i in range(RANGES_MAX + 1)]}, "32,769 ranges"),
    ],
)
def test_what_is_no_golden_json_is_refused(golden: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        LumiMask.make(golden)


def test_a_file_that_is_no_golden_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
        LumiMask.read(tmp_path / "none.json")
    for text in ("[", "[" * 100_000, '{"1": 3}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InvalidRequest, match="lumimask"):
            LumiMask.read(tmp_path / "bad.json")


def test_a_query_with_a_mask_survives_json_and_one_without_does_not_mention_it() -> None:
    query = Query.make("data", lumimask=GOOD)
    assert Query.from_json(query.to_json()) == query
    assert hash(Query.from_json(query.to_json())) == hash(query)
    assert "lumimask" not in Query.make("data").to_json()
    with pytest.raises(InvalidRequest, match="a dict"):
        Query.from_json('{"query": 1, "dataset": "data", "lumimask": "/etc/passwd"}')


GOLDEN = st.dictionaries(
    st.integers(0, 4).map(str),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)).map(lambda p: [p[0], p[0] + p[1]]), max_size=4),
    max_size=3,
)


def sections_in(golden: dict[str, Any]) -> set[tuple[int, int]]:
    return {(int(run), s) for run, ranges in golden.items() for a, b in ranges for s in range(a, b + 1)}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(golden=GOLDEN, other=GOLDEN)
def test_masks_are_sets_of_sections(golden: dict[str, Any], other: dict[str, Any]) -> None:
    mask, both = LumiMask.make(golden), LumiMask.make(golden) & LumiMask.make(other)
    sections = sections_in(golden)
    assert sections_in(mask.to_dict()) == sections
    assert mask == LumiMask.of_sections(sections) == LumiMask.make(mask.to_dict())
    assert mask.sections == len(sections)
    assert mask.runs == len({run for run, _ in sections})
    assert both == LumiMask.of_sections(sections & sections_in(other))
    ends = mask.ends()
    assert ends == sorted(set(ends))
    inside = {
        (run, s) for run in range(6) for s in range(20) if np.searchsorted(ends, (run << 32) + s, "right") % 2
    }
    assert inside == sections


def test_the_greatest_numbers_are_allowed_and_no_greater_ones() -> None:
    mask = LumiMask.make({str(RUN_MAX): [[0, SECTION_MAX]], "0": [[SECTION_MAX, SECTION_MAX]], "1": [[0, 0]]})
    assert mask.ends() == [SECTION_MAX, (1 << 32) + 1, RUN_MAX << 32, (RUN_MAX + 1) << 32]
    assert mask.ends()[-1] < 1 << 63
    for golden in ({str(RUN_MAX + 1): [[1, 1]]}, {"1": [[1, SECTION_MAX + 1]]}):
        with pytest.raises(InvalidRequest, match="a number of 0 to"):
            LumiMask.make(golden)


# -- what files hold ----------------------------------------------------------------------------
def test_a_dataset_knows_its_luminosity_sections(client: Client) -> None:
    sections = client.dataset("data").luminosity_sections()
    assert sections.to_dict() == {str(run): [[1, 40]] for run in RUNS}
    processed = sections & LumiMask.make(GOOD)
    assert processed.to_dict() == {"273158": [[1, 12], [20, 40]], "283885": [[3, 3]]}


def simulated(path: Path, weights: Any, generated: int) -> Path:
    """A file with some events of many that were generated, whose weights are all 0.1."""
    with uproot.recreate(path) as file:
        file["Events"] = {"genWeight": np.asarray(weights, np.float32)}
        file["Runs"] = {
            "run": np.array([1, 2], np.uint32),
            "genEventCount": np.full(2, generated, np.int64),
            "genEventSumw": np.full(2, 0.1 * generated),
            "genEventSumw2": np.full(2, 0.01 * generated),
        }
    return path


def test_a_dataset_knows_the_sum_of_its_weights(tmp_path: Path) -> None:
    """Of all files, and of all events that were generated, also those that were dropped since."""
    paths = [simulated(tmp_path / f"{n}.root", [0.1] * n, 1_000 * n) for n in (3, 4)]
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("dy", paths)

    dataset = client.dataset("dy")

    assert dataset.sum_of_weights() == 1_400.0
    assert dataset.sum_of_weights("genEventSumw2") == 140.0
    assert dataset.sum_of_weights("genEventCount") == 14_000


def test_real_data_have_no_sum_of_weights(client: Client) -> None:
    with pytest.raises(NotFound, match="'Runs' of a file of 'data' has no genEventSumw; it has run"):
        client.dataset("data").sum_of_weights()


def test_a_file_without_the_tree_makes_no_sum(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "bare.root") as file:
        file["Events"] = {"genWeight": np.ones(3, np.float32)}
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("dy", [simulated(tmp_path / "one.root", [0.1], 10), tmp_path / "bare.root"])
    with pytest.raises(NotFound, match="only 1 of the 2 files"):
        client.dataset("dy").sum_of_weights()
