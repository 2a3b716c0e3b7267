"""Columns beside those of the base objects: joined, mixed in one query, shared by versions, kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ingest_helpers import ZLIB, branch_type, make_events, write_root
from service_fixture import answered
from waiting import LONG_S, wait_until

import skyhook_casa
import skyhook_casa.protocol.held
from skyhook_casa.column_sets import add_columns as joining
from skyhook_casa.column_sets.keys import KeyIndex
from skyhook_casa.column_sets.report import AddedColumns
from skyhook_casa.errors import (
    AlreadyExists,
    IngestError,
    InvalidRequest,
    MissingColumn,
    NotFound,
    SkyhookError,
    StoreError,
)
from skyhook_casa.split import Split
from skyhook_casa.stores import MemoryStore
from skyhook_casa.verify import verify
from skyhook_client import Client
from skyhook_server.engine import CHORES, THREADS

EVENTS = 2_000
Columns = dict[str, Any]


class Site:
    """A dataset `dy` of two partitions, its events as awkward has them, and columns to add."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.events = make_events(EVENTS)
        self.events["luminosityBlock"] = (np.arange(EVENTS) // 64).astype(np.uint32)
        parts = np.array_split(np.arange(EVENTS), 2)
        paths = [place / f"dy-{number}.root" for number in range(2)]
        for path, rows in zip(paths, parts, strict=True):
            write_tree(path, {name: values[rows] for name, values in self.events.items()})
        self.client = skyhook_casa.connect(place / "store", progress=False, threads=2)
        self.client.ingest("dy", paths, chunk_events=150, workers=1)
        rng = np.random.default_rng(7)
        muons = ak.num(self.events["Muon"].pt)
        self.new: Columns = {
            "weight": rng.normal(size=EVENTS).astype(np.float32),
            "good": rng.random(EVENTS) < 0.5,
            "Muon_score": ak.unflatten(rng.random(int(ak.sum(muons))), muons),
            "track": ak.unflatten(np.arange(int(ak.sum(muons + 1)), dtype=np.int32), muons + 1),
        }

    def keys(self) -> Columns:
        """What names the events."""
        return {name: self.events[name] for name in ("run", "luminosityBlock", "event")}

    def files(self, name: str, columns: Columns, order: Any = None, files: int = 1) -> list[Path]:
        """Write columns with the keys, in some order, as Parquet or ROOT."""
        order = np.arange(EVENTS) if order is None else order
        kind = name.partition(".")[2]
        paths = []
        for number, rows in enumerate(np.array_split(order, files)):
            path = self.place / f"{name.partition('.')[0]}-{number}.{kind}"
            found = {key: values[rows] for key, values in (self.keys() | columns).items()}
            (write_parquet if kind == "parquet" else write_tree)(path, found)
            paths.append(path)
        return paths

    def ask(self, columns: Any, cut: str | None = None, **options: Any) -> ak.Array:
        """The answer of a query."""
        return self.client.query("dy", columns, cut, **options).to_awkward()


def write_parquet(path: Path, columns: Columns) -> None:
    arrays = {
        name: ak.to_arrow(ak.Array(values), list_to32=True, extensionarray=False)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path, row_group_size=300)


def write_tree(path: Path, columns: Columns) -> None:
    with uproot.recreate(path, compression=ZLIB) as file:
        file.mktree("Events", {name: branch_type(values) for name, values in columns.items()})
        file["Events"].extend(columns)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One for tests that leave its dataset as it was."""
    return Site(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def served(site: Site) -> Iterator[Client]:
    """A client of a service of the same store."""
    with answered("service", site.client) as client:
        yield client


def assert_same(got: ak.Array, expected: Columns) -> None:
    """Names, types and values are equal."""
    assert set(got.fields) == set(expected)
    for name, values in expected.items():
        wanted = ak.Array(values)
        assert ak.array_equal(got[name], wanted, equal_nan=True), name
        assert ak.flatten(got[name], axis=None).type.content == ak.flatten(wanted, axis=None).type.content


# -- joining ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["f.parquet", "f.root"])
@pytest.mark.parametrize("files", [1, 3])
def test_columns_find_their_events_in_any_order(site: Site, name: str, files: int) -> None:
    order = np.random.default_rng(1).permutation(EVENTS)
    report = site.client.add_columns("dy", site.files(name, site.new, order, files))
    assert set(report.columns) == set(site.new) and report.version == 2 and not report.unused
    assert_same(site.ask(list(site.new)), site.new)


def test_base_objects_are_shared_and_older_versions_stay(site: Site) -> None:
    before = site.client.catalog.partitions(site.client.catalog.version("dy"))
    site.client.add_columns("dy", site.files("f.parquet", site.new))
    after = site.client.catalog.partitions(site.client.catalog.version("dy"))
    assert len(after) > 1
    assert [part.object for part in after] == [part.object for part in before]
    assert all(len(part.sets) == 1 and not old.sets for part, old in zip(after, before, strict=True))
    assert "weight" not in {one.name for one in site.client.dataset("dy", 1).columns()}
    with pytest.raises(NotFound, match="weight"):
        site.ask(["weight"], version=1)
    assert site.client.dataset("dy").size == sum(part.nbytes for part in after)


def test_a_cut_mixes_columns_of_several_sets(site: Site) -> None:
    site.client.add_columns("dy", site.files("a.parquet", {"weight": site.new["weight"]}))
    site.client.add_columns("dy", site.files("b.root", {"Muon_score": site.new["Muon_score"]}))
    muon, score = site.events["Muon"], site.new["Muon_score"]
    passed = (
        ak.any((muon.pt > 15) & (score > 0.3), axis=1)
        & (site.new["weight"] > 0)
        & (site.events["MET_pt"] > 5)
    )
    cut = "any((Muon_pt > 15) & (Muon_score > 0.3)) and weight > 0 and MET_pt > 5"
    thin = score > 0.5
    got = site.ask(["Muon_pt", "Muon_score", "weight", "Jet_pt"], cut, objects={"Muon": "score > 0.5"})
    expected = {
        "Muon_pt": muon.pt[thin][passed],
        "Muon_score": score[thin][passed],
        "weight": site.new["weight"][passed],
        "Jet_pt": site.events["Jet"].pt[passed],
    }
    assert 0 < len(got) < EVENTS
    assert_same(got, expected)


def test_columns_of_one_set_are_asked_of_its_objects_alone(site: Site) -> None:
    """Such a query runs as if they were base columns: pushed down where it can be."""
    site.client.add_columns("dy", site.files("f.parquet", site.new))
    plan = site.client.query("dy", ["weight", "Muon_score"], "any(Muon_score > 0.5)").question.plan  # type: ignore[attr-defined]
    sets = {part.sets[0] for part in site.client.catalog.partitions(plan.version)}
    assert {part.object for part in plan.partitions} == sets
    assert not any(part.sets for part in plan.partitions)
    assert not any(part.sets for part in plan.only([]).partitions)
    mixed = site.client.query("dy", ["weight"], "MET_pt > 5").question.plan  # type: ignore[attr-defined]
    assert all(part.sets for part in mixed.partitions)


def test_streams_and_event_numbers_are_those_of_the_dataset(site: Site) -> None:
    site.client.add_columns("dy", site.files("f.parquet", site.new))
    query = site.client.query("dy", ["weight", "MET_pt"], "weight > 0 and MET_pt > 10")
    batches = list(query.stream(4_000, rows=True))
    rows = np.flatnonzero((site.new["weight"] > 0) & (site.events["MET_pt"] > 10))
    assert len(batches) > 2
    assert np.concatenate([batch.rows for batch in batches]).tolist() == rows.tolist()
    assert query.count() == len(rows)
    assert query.to_pandas().index.tolist() == rows.tolist()
    assert site.client.query("dy", ["weight", "MET_pt"], limit=217).to_awkward().weight.tolist() == (
        site.new["weight"][:217].tolist()
    )


def test_large_objects_are_scanned_in_sections(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes what is stored to be no longer than an object may be."""
    monkeypatch.setattr("skyhook_casa.merged_object.SECTION_BYTES_MAX", 3_000)
    site.client.add_columns("dy", site.files("f.parquet", site.new))
    query = site.client.query("dy", ["weight", "MET_pt", "Muon_score"], "weight > -1")
    passed = site.new["weight"] > -1
    assert np.array_equal(
        query.to_pandas(collection="Muon").index.levels[0],
        np.flatnonzero(passed & (ak.num(site.new["Muon_score"]) > 0).to_numpy()),
    )
    got = ak.from_arrow(pa.Table.from_batches(query.batches(batch_bytes=2_000)))
    assert ak.array_equal(got.Muon_score, site.new["Muon_score"][passed])
    assert got.weight.tolist() == site.new["weight"][passed].tolist()


def test_many_groups_give_the_same_as_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "GROUP_BYTES", 1)
    order = np.random.default_rng(2).permutation(EVENTS)
    site.client.add_columns("dy", site.files("f.parquet", site.new, order, 2))
    assert_same(site.ask(list(site.new)), site.new)


def test_a_replaced_column_is_seen_everywhere(site: Site) -> None:
    met = site.events["MET_pt"] * np.float32(2)
    pt = site.events["Muon"].pt + np.float32(1)
    site.client.add_columns(
        "dy", site.files("f.root", {"MET_pt": met, "Muon_pt": pt}), ["MET_pt", "Muon_pt"], replace=True
    )
    assert_same(
        site.ask(["MET_pt", "Muon_pt", "Muon_charge"], "MET_pt > 40"),
        {
            "MET_pt": met[met > 40],
            "Muon_pt": pt[met > 40],
            "Muon_charge": site.events["Muon"].charge[met > 40],
        },
    )
    assert_same(site.ask(["MET_pt"], version=1), {"MET_pt": site.events["MET_pt"]})
    again = met * np.float32(2)
    site.client.add_columns("dy", site.files("g.root", {"MET_pt": again}), ["MET_pt"], replace=True)
    assert_same(site.ask(["MET_pt", "Muon_pt"]), {"MET_pt": again, "Muon_pt": pt})


def test_events_appended_later_lack_the_columns(site: Site) -> None:
    site.client.add_columns("dy", site.files("f.parquet", {"weight": site.new["weight"]}))
    more = {"luminosityBlock": np.zeros(50, np.uint32)}
    site.client.ingest("dy", write_root(site.place / "more.root", 50, seed=9, **more), workers=1)
    with pytest.raises(MissingColumn, match=r"weight is not in .*more\.root"):
        site.ask(["weight"])
    got = site.ask(["weight", "MET_pt"], fill={"weight": 1})
    assert got.weight.tolist() == [*site.new["weight"].tolist(), *[1.0] * 50]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
@given(data=st.data())
def test_random_orders_join_as_awkward_does(site: Site, data: st.DataObject) -> None:
    """Some events left out, some twice: counted, and filled."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    kept = rng.permutation(EVENTS)[: data.draw(st.integers(0, EVENTS))]
    twice = rng.choice(kept, data.draw(st.integers(0, 20))) if len(kept) else kept
    order = np.concatenate([kept, twice]).astype(np.int64)
    files = site.files(
        data.draw(st.sampled_from(["f.parquet", "f.root"])), site.new, order, data.draw(st.integers(1, 3))
    )
    report = site.client.add_columns(
        "dy", files, fill={"weight": -9, "good": True, "Muon_score": 0.5, "track": 0}
    )
    try:
        check_joined(site, report, kept, twice)
    finally:
        site.client.drop("dy", report.version)


def check_joined(site: Site, report: AddedColumns, kept: Any, twice: Any) -> None:
    there = np.zeros(EVENTS, np.bool_)
    there[kept] = True
    assert (report.missing, report.duplicates, report.unused) == (EVENTS - len(kept), len(twice), 0)
    score, track = site.new["Muon_score"], site.new["track"]
    lengths = np.where(there, ak.num(track), 0)
    assert_same(
        site.ask(list(site.new)),
        {
            "weight": np.where(there, site.new["weight"], np.float32(-9)),
            "good": np.where(there, site.new["good"], True),
            "Muon_score": ak.where(there, score, score * 0 + 0.5),
            "track": ak.unflatten(ak.flatten(track[there]), lengths),
        },
    )


KEYS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 1 << 62)), max_size=40)


@given(KEYS, KEYS)
def test_an_index_finds_what_a_dict_finds(
    keys: list[tuple[int, int, int]], asked: list[tuple[int, int, int]]
) -> None:
    asked = asked + keys[::2]
    first: dict[tuple[int, int, int], int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    index = KeyIndex(
        [np.array([key[n] for key in keys], dtype) for n, dtype in enumerate(("u4", "u4", "u8"))]
    )
    found = index.find([np.array([key[n] for key in asked], np.int64) for n in range(3)])
    assert found.tolist() == [first.get(key, -1) for key in asked]
    assert index.repeated == len(keys) - len(first)


def test_keys_that_another_type_cannot_hold_are_not_found() -> None:
    index = KeyIndex([np.array([5, 255], np.uint8)])
    assert index.find([np.array([5, 261, -1, 255], np.int64)]).tolist() == [0, -1, -1, 1]


# -- bad input ----------------------------------------------------------------------------------
def half(site: Site) -> list[Path]:
    return site.files("f.parquet", {"weight": site.new["weight"]}, np.arange(EVENTS // 2))


def doubled(site: Site) -> list[Path]:
    return site.files("f.root", {"weight": site.new["weight"]}, np.r_[0:EVENTS, 5, 6])


def shorter(site: Site) -> list[Path]:
    return site.files("f.parquet", {"Muon_score": site.new["Muon_score"][:, 1:]})


def unlike(site: Site) -> list[Path]:
    one = site.files("f.parquet", {"weight": site.new["weight"]}, np.arange(100))
    return one + site.files("g.parquet", {"weight": site.new["weight"].astype("f8")}, np.arange(100, EVENTS))


def lacking(site: Site) -> list[Path]:
    one = site.files("f.parquet", site.new, np.arange(100))
    return one + site.files("g.parquet", {"weight": site.new["weight"]}, np.arange(100, EVENTS))


def whole(site: Site) -> list[Path]:
    return site.files("f.parquet", site.new)


def base(site: Site) -> list[Path]:
    return site.files("f.parquet", {"MET_pt": site.events["MET_pt"]})


def wider(site: Site) -> list[Path]:
    return site.files("f.parquet", {"MET_pt": site.events["MET_pt"].astype("f8")})


def nulls(site: Site) -> list[Path]:
    values = ak.mask(ak.Array(site.new["weight"]), site.new["good"])
    return site.files("f.parquet", {"weight": values})


def broken(site: Site) -> list[Path]:
    (path,) = whole(site)
    path.write_bytes(path.read_bytes()[:-500])
    return [path]


def keyless(site: Site) -> list[Path]:
    path = site.place / "keyless.parquet"
    write_parquet(path, {"weight": site.new["weight"], "event": site.events["event"]})
    return [path]


def floating(site: Site) -> list[Path]:
    return site.files("f.parquet", {"weight": site.new["weight"], "event": site.events["event"].astype("f8")})


@pytest.mark.parametrize(
    ("files", "options", "error", "message"),
    [
        (
            half,
            {},
            InvalidRequest,
            r"1,000 of 2,000 events are in no file \(missing: run 362001, lumi.*fill=",
        ),
        (
            doubled,
            {},
            InvalidRequest,
            r"2 events of the files come again \(again in the files: .*event 5; .*event 6",
        ),
        (
            shorter,
            {},
            InvalidRequest,
            r"lists of Muon_score in .*f-0.parquet are not as long as those of 'Muon'",
        ),
        (unlike, {}, IngestError, r"g-0.parquet: column 'weight' is float64, but float32 in .*f-0.parquet"),
        (lacking, {}, IngestError, r"g-0.parquet: only it has|only .* has column"),
        (whole, {"columns": ["wieght"]}, IngestError, "no column 'wieght'.*did you mean 'weight'"),
        (whole, {"columns": []}, InvalidRequest, "names of columns are needed"),
        (whole, {"on": ("run", "evnt")}, IngestError, "'evnt'; did you mean 'event'"),
        (whole, {"on": ("Muon_score",)}, InvalidRequest, "whole numbers name an event"),
        (whole, {"on": ("run", "run")}, InvalidRequest, "twice"),
        (
            whole,
            {"on": ("run", "luminosityBlock")},
            InvalidRequest,
            "have the keys of others .*twice in the dataset",
        ),
        (whole, {"fill": {"weight": 0}}, InvalidRequest, "fill has no value for 'good'"),
        (whole, {"fill": {"wight": 0}}, NotFound, "did you mean 'weight'"),
        (whole, {"fill": 0.5}, InvalidRequest, r"fill\['good'\] is 0.5"),
        (whole, {"columns": ["weight"], "fill": "x"}, InvalidRequest, "a number or a bool is needed"),
        (whole, {"columns": ["weight"], "replace": True}, NotFound, "no column 'weight' to replace"),
        (whole, {"replace": True}, InvalidRequest, "replace=True needs the columns"),
        (base, {"columns": ["MET_pt"]}, AlreadyExists, "has a column 'MET_pt' already; replace=True"),
        (base, {}, InvalidRequest, "no column that dataset 'dy' lacks"),
        (
            wider,
            {"columns": ["MET_pt"], "replace": True},
            InvalidRequest,
            "is float32 in dataset 'dy' and float64",
        ),
        (nulls, {}, IngestError, "values of column 'weight' of .* are null"),
        (broken, {}, IngestError, "cannot be read"),
        (keyless, {}, IngestError, "no column 'run'"),
        (floating, {}, InvalidRequest, "'event' of .* is float64; whole numbers"),
        (lambda site: whole(site) * 2, {}, IngestError, "given twice"),
        (lambda site: site.place / "none.root", {}, IngestError, "no file"),
    ],
)
def test_what_cannot_be_joined_is_refused_and_changes_nothing(
    untouched: Site,
    files: Callable[[Site], Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        untouched.client.add_columns("dy", files(untouched), **options)
    assert untouched.client.dataset("dy").version == 1
    untouched.client.gc(grace_s=0)
    assert len(untouched.ask(["MET_pt"])) == EVENTS


def test_an_unknown_dataset_gets_near_matches(site: Site) -> None:
    with pytest.raises(NotFound, match="did you mean 'dy'"):
        site.client.add_columns("dyy", whole(site))


def test_a_commit_in_between_is_not_lost(site: Site) -> None:
    """Who adds columns to a version that is not the latest any more must begin anew."""

    def meanwhile(done: int, total: int) -> None:
        catalog = site.client.catalog
        if catalog.version("dy").number == 1:
            version = catalog.version("dy")
            catalog.commit_version("dy", catalog.schema(version), catalog.partitions(version), note="other")

    with pytest.raises(AlreadyExists, match="another commit came first"):
        site.client.backend.add_columns("dy", whole(site), None, meanwhile)
    assert site.client.dataset("dy").version == 2


@pytest.mark.parametrize(
    "options", [{"on": ["evnt"]}, {"fill": "x"}, {"columns": []}, {"columns": ["wight"]}]
)
def test_a_service_refuses_the_same(site: Site, served: Client, options: dict[str, Any]) -> None:
    with pytest.raises(SkyhookError) as here:
        site.client.add_columns("dy", whole(site), **options)
    with pytest.raises(SkyhookError) as there:
        served.add_columns("dy", whole(site), **options)
    assert type(there.value) is type(here.value)
    assert site.client.dataset("dy").version == 1


def test_a_service_joins_columns(site: Site, served: Client) -> None:
    order = np.random.default_rng(5).permutation(EVENTS)[1:]
    files = site.files("f.parquet", site.new, order, 2)
    fill = {"weight": float("nan"), "good": False, "Muon_score": 1, "track": 0}
    report = served.add_columns("dy", [str(path) for path in files], fill=fill)
    assert (report.version, report.events, report.missing, report.duplicates) == (2, EVENTS, 1, 0)
    got = served.query("dy", ["weight", "Muon_score", "MET_pt"], "weight > 0 and MET_pt > 10").to_awkward()
    here = site.ask(["weight", "Muon_score", "MET_pt"], "weight > 0 and MET_pt > 10")
    assert len(got) > 0
    assert ak.array_equal(got, here)


def test_columns_of_one_set_are_pushed_down_alone(site: Site) -> None:
    """Of columns of several sets see test_mixed_queries."""
    store = MemoryStore(runs_class=True)
    client = skyhook_casa.connect(store, progress=False, threads=2)
    client.ingest("dy", sorted(site.place.glob("dy-*.root")), chunk_events=150, workers=1)
    client.add_columns("dy", whole(site))
    alone = client.query("dy", ["weight"], "any(Muon_score > 0.9)", execution="pushdown")
    passed = ak.any(site.new["Muon_score"] > 0.9, axis=1)
    assert alone.to_awkward().weight.tolist() == site.new["weight"][passed].tolist()
    assert alone.report.partitions_pushed == 2


def test_calls_that_take_long_hold_up_no_others(
    site: Site, served: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many of them wait for each other, not for the threads that answer what is short."""
    begun: list[Any] = []
    go_on = threading.Event()

    def slow(*given: Any) -> Any:
        begun.append(given)
        assert go_on.wait(LONG_S)
        return verify(*given)

    monkeypatch.setattr("skyhook_server.delivery.verify", slow)
    with ThreadPoolExecutor(THREADS + 1) as pool:
        asked = [pool.submit(served.verify, "dy") for _ in range(THREADS + 1)]
        try:
            wait_until(lambda: len(begun) == CHORES, "the first have begun")
            assert [one.name for one in served.datasets()] == ["dy"]
        finally:
            go_on.set()
        assert all(not one.result().bad for one in asked)
    assert len(begun) == len(asked)


# -- keeping and freeing ------------------------------------------------------------------------
def test_gc_keeps_the_objects_of_sets_until_their_version_is_dropped(site: Site) -> None:
    names = {one.name for one in site.client.store.list()}
    site.client.add_columns("dy", whole(site))
    assert site.client.gc(grace_s=0).objects == 0
    assert_same(site.ask(list(site.new)), site.new)
    site.client.drop("dy", 2)
    assert site.client.gc(grace_s=0).objects > 1
    assert {one.name for one in site.client.store.list()} == names


def test_verify_finds_a_bad_object_of_a_set(site: Site) -> None:
    site.client.add_columns("dy", whole(site))
    part = site.client.catalog.partitions(site.client.catalog.version("dy"))[1]
    path = site.client.store.local_path(part.sets[0].name)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    found = site.client.verify("dy")
    assert [bad.name for bad in found.bad] == [part.sets[0].name]
    assert "column set 1 of partition 1" in found.bad[0].holds
    with pytest.raises(skyhook_casa.errors.CorruptObject, match=part.sets[0].name):
        site.ask([*site.new, "MET_pt"])


def test_a_run_that_was_broken_off_leaves_nothing_but_garbage(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, data: object) -> bool:
        if len(puts) == 1:
            raise StoreError("the store is full")
        puts.append(name)
        return put(name, data)

    puts: list[str] = []
    put = site.client.store.put
    with monkeypatch.context() as patched:
        patched.setattr(site.client.store, "put", full)
        with pytest.raises(StoreError, match="full"):
            site.client.add_columns("dy", whole(site))
    assert site.client.dataset("dy").version == 1
    site.client.add_columns("dy", whole(site))
    assert_same(site.ask(list(site.new)), site.new)


def test_a_split_takes_the_objects_along(site: Site) -> None:
    """A worker elsewhere has no catalog."""
    site.client.add_columns("dy", whole(site))
    plan = site.client.query("dy", ["weight", "MET_pt"]).question.plan  # type: ignore[attr-defined]
    split = Split("q", plan.work(), tuple(plan.partitions), skyhook_casa.protocol.held.Position(0))
    assert Split.decode(split.encode()) == split


def test_description_tells_of_column_sets(site: Site) -> None:
    site.client.add_columns("dy", site.files("f.parquet", {"weight": site.new["weight"]}))
    (found,) = site.client.catalog.column_sets(site.client.catalog.version("dy"))
    assert found.columns == ("weight",) and found.partitions == site.client.dataset("dy").partitions
    assert site.client.catalog.version("dy").note == "columns weight from 1 file"
    text = site.client.dataset("dy").describe().text()
    assert "columns weight from 1 file" in text and "weight" in {
        one.name for one in site.client.dataset("dy").columns()
    }
    site.client.define("dy", {"heavy": "weight > 1"})
    assert "heavy = weight > 1" in site.client.dataset("dy").describe().text()
