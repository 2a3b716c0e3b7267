"""Derived columns that a dataset knows: computed once, stored, read like others, dropped like data."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_helpers import make_events, write_root
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.catalog import Catalog, Partition
from skyhook_casa.column_sets import derived
from skyhook_casa.column_sets.derivation import Pending
from skyhook_casa.definitions import definition_digests
from skyhook_casa.errors import (
    AccessDenied,
    AlreadyExists,
    CorruptObject,
    ExpressionError,
    InvalidRequest,
    MissingColumn,
    NotFound,
    QueryCancelled,
)
from skyhook_casa.functions import Function, load
from skyhook_client import Client

EVENTS = 1_200
DEFINED = {
    "lead": "Muon_pt[0]",
    "ht": "sum(Jet_pt[Jet_pt > 30])",
    "Muon_rel": "Muon_pt / (MET_pt + 1)",
    "hard": "Jet_pt[Jet_pt > 20]",
    "isolated": "any(Muon_tight)",
    "twice": "lead * 2",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a dataset `dy` of two files, to copy."""
    place = tmp_path_factory.mktemp("derived")
    paths = [write_root(place / f"{seed}.root", EVENTS // 2, seed) for seed in (1, 2)]
    skyhook_casa.connect(place / "store", progress=False).ingest("dy", paths, chunk_events=150, workers=1)
    return place / "store"


class Site:
    """A copy of that store, and what the definitions of its dataset are worth."""

    def __init__(self, made: Path, place: Path) -> None:
        self.place = place
        shutil.copytree(made, place / "store")
        self.client = skyhook_casa.connect(place / "store", progress=False, threads=2)
        parts = [make_events(EVENTS // 2, seed) for seed in (1, 2)]
        events = {name: ak.concatenate([part[name] for part in parts]) for name in parts[0]}
        muon, jet = events["Muon"], events["Jet"]
        lead = ak.firsts(muon.pt)
        self.events = events
        self.expected = {
            "lead": lead,
            "ht": ak.sum(jet.pt[jet.pt > 30], axis=1),
            "Muon_rel": muon.pt / (events["MET_pt"] + np.float32(1)),
            "hard": jet.pt[jet.pt > 20],
            "isolated": ak.any(muon.tight, axis=1),
            "twice": lead * np.float32(2),
        }

    @property
    def catalog(self) -> Catalog:
        """The catalog."""
        return self.client.catalog

    def parts(self) -> list[Partition]:
        """The partitions of the latest version."""
        return list(self.catalog.partitions(self.catalog.version("dy")))

    def objects(self) -> set[str]:
        """What is in the store."""
        return {one.name for one in self.client.store.list()}


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Site:
    return Site(made, tmp_path)


@pytest.fixture(params=ANSWERERS)
def client(request: pytest.FixtureRequest, site: Site) -> Iterator[Client]:
    """The site's client, or one of a service of its store."""
    with answered(request.param, site.client) as client:
        yield client


def assert_same(got: Any, expected: Any) -> None:
    assert ak.array_equal(got, expected, equal_nan=True, same_content_types=False, check_parameters=False)
    assert ak.flatten(got, axis=None).type.content == ak.flatten(expected, axis=None).type.content


# -- answers ------------------------------------------------------------------------------------
def test_derived_columns_are_read_like_others(site: Site, client: Client) -> None:
    """Alone, mixed with base columns, in cuts, from what was computed and from what was stored."""
    client.define("dy", DEFINED)
    for _ in range(2):
        for name, expected in site.expected.items():
            got = client.query("dy", [name]).to_awkward()
            assert_same(got[name], ak.Array(expected))
        got = client.query(
            "dy", ["lead", "MET_pt", "Muon_rel", "Muon_pt"], "ht > 50 and lead > 10"
        ).to_awkward()
        passed = (site.expected["ht"] > 50) & ak.fill_none(site.expected["lead"] > 10, False)
        assert 0 < len(got) < EVENTS
        for name in ("lead", "Muon_rel"):
            assert_same(got[name], site.expected[name][passed])
        assert_same(got["MET_pt"], site.events["MET_pt"][passed])
        assert client.query("dy", None, "ht > 50").count() == int(ak.sum(site.expected["ht"] > 50))
    assert {one.name: one.versions for one in client.definitions("dy")} == dict.fromkeys(DEFINED, (1,))
    assert all(one.bytes > 0 for one in client.definitions("dy"))


def test_the_first_query_stores_and_later_ones_only_read(site: Site) -> None:
    site.client.define("dy", DEFINED)
    before = site.objects()
    query = site.client.query("dy", ["ht"])
    assert query.question.outputs[0].title == DEFINED["ht"]
    query.to_awkward()
    stored = site.objects()
    assert len(stored - before) == len(site.parts())
    again = site.client.query("dy", ["ht"])
    again.to_awkward()
    assert site.objects() == stored
    assert again.report.bytes_read < EVENTS * 4 + 1_000, "only the column itself is read"
    assert again.question.outputs == query.question.outputs


def test_all_columns_do_not_count_in_the_derived_ones(site: Site) -> None:
    """Who asks for everything that is stored asks for nothing to be computed."""
    before = site.client.query("dy").columns
    site.client.define("dy", DEFINED)
    assert site.client.query("dy").columns == before
    assert site.client.query("dy", ["Muon_*"]).columns == ["Muon_pt", "Muon_charge", "Muon_tight", "Muon_rel"]


def test_thinning_takes_derived_elements_along(site: Site) -> None:
    site.client.define("dy", DEFINED)
    muon = site.events["Muon"]
    for _ in range(2):
        got = site.client.query("dy", ["Muon_rel", "Muon_pt"], objects={"Muon": "pt > 20"}).to_awkward()
        assert_same(got["Muon_rel"], site.expected["Muon_rel"][muon.pt > 20])


def test_columns_on_equal_lists_stay_apart(site: Site, client: Client) -> None:
    """The answer has the same form whether they were stored or not; a service refuses others."""
    client.define("dy", {**DEFINED, "harder": "Jet_pt[Jet_pt > 20] + 1"})
    hard = site.expected["hard"]
    for _ in range(2):
        query = client.query("dy", ["harder", "hard", "more", "Jet_pt"], define={"more": "hard * 2"})
        outputs = query.outputs
        got = query.to_awkward()
        assert [output.axis for output in outputs] == [0, 1, 2, 3]
        assert client.query("dy", ["harder", "hard"]).outputs == outputs[:2]
        for name, expected in (
            ("harder", hard + np.float32(1)),
            ("hard", hard),
            ("more", hard * np.float32(2)),
        ):
            assert_same(got[name], expected)
        assert client.query("dy", ["hard", "harder"]).to_arrow().num_rows == EVENTS


def test_histograms_take_derived_columns(site: Site, client: Client) -> None:
    pytest.importorskip("hist")
    client.define("dy", DEFINED)
    for _ in range(2):
        counts = client.query("dy").hist("ht", bins=5, range=(0, 100)).values()
        assert counts.tolist() == np.histogram(site.expected["ht"], 5, (0, 100 - 1e-9))[0].tolist()


def test_what_some_files_lack_something_for_is_computed_with_each_query(site: Site) -> None:
    """One query may fill it otherwise than the next."""
    more = write_root(site.place / "more.root", 50, 3, extra=np.arange(50, dtype=np.int32))
    site.client.ingest("dy", more, workers=1)
    site.client.define("dy", {"plus": "extra + 1"})
    before = site.objects()
    for value in (-1, 5):
        with pytest.raises(MissingColumn, match="extra is not in"):
            site.client.query("dy", ["plus"]).to_awkward()
        got = site.client.query("dy", ["plus"], fill={"extra": value}).to_awkward()
        assert got.plus.tolist() == [value + 1] * EVENTS + list(range(1, 51))
    assert site.objects() == before
    assert [one.versions for one in site.client.definitions("dy")] == [()]


def test_definitions_of_four_vectors(site: Site, nano_file: Path) -> None:
    """Masses are stored; records, and lists with missing elements, are computed with each query."""
    site.client.ingest("nano", nano_file, workers=1)
    defined = {
        "pair": "Muon[0] + Muon[1]",
        "nearest": "min(deltaR(cross(Jet, Muon)), axis=2)",
        "dimuon_mass": "pair.mass",
        "masses": "mass(pairs(Muon))",
    }
    asked = ["dimuon_mass", "masses", "nearest", "Muon_pt"]
    cut = "60 < dimuon_mass < 120"
    expected = site.client.query("nano", asked, cut, define=defined).to_awkward()
    assert len(expected) > 0
    site.client.define("nano", defined)
    for _ in range(2):
        query = site.client.query("nano", asked, cut)
        assert ak.array_equal(query.to_awkward(), expected, equal_nan=True)
    stored = {one.name: one.versions for one in site.client.definitions("nano")}
    assert stored == {"pair": (), "nearest": (), "dimuon_mass": (1,), "masses": (1,)}


def test_each_version_has_its_own(site: Site) -> None:
    site.client.define("dy", DEFINED)
    site.client.query("dy", ["ht"]).to_awkward()
    site.client.ingest("dy", write_root(site.place / "more.root", 50, 3), workers=1)
    assert len(site.client.query("dy", ["ht"]).to_awkward()) == EVENTS + 50
    assert len(site.client.query("dy", ["ht"], version=1).to_awkward()) == EVENTS
    (found,) = (one for one in site.client.definitions("dy") if one.name == "ht")
    assert found.versions == (1, 2)


def test_friends_and_derived_columns_mix(site: Site) -> None:
    weight = np.random.default_rng(1).random(EVENTS)
    keys = {name: np.asarray(site.events[name]) for name in ("run", "event")}
    pq.write_table(
        pa.table({**keys, "weight": weight}).take(pa.array(np.arange(EVENTS)[::-1])), site.place / "w.parquet"
    )
    site.client.add_columns("dy", site.place / "w.parquet", on=["run", "event"])
    site.client.define("dy", {**DEFINED, "scaled": "weight * ht"})
    passed = (weight > 0.5) & ak.fill_none(site.expected["lead"] > 10, False) & (site.events["MET_pt"] > 5)
    for _ in range(2):
        got = site.client.query(
            "dy", ["scaled", "weight", "Jet_pt"], "weight > 0.5 and lead > 10 and MET_pt > 5"
        ).to_awkward()
        assert_same(got["scaled"], (weight * site.expected["ht"])[passed])
        assert_same(got["Jet_pt"], site.events["Jet"].pt[passed])
    pq.write_table(pa.table({**keys, "ht": weight}), site.place / "ht.parquet")
    with pytest.raises(AlreadyExists, match="definition of 'ht'"):
        site.client.add_columns("dy", site.place / "ht.parquet", on=["run", "event"])


# -- once ---------------------------------------------------------------------------------------
def test_many_who_ask_at_once_compute_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.client.define("dy", DEFINED)
    runs: list[str] = []
    begun = derived._Computation.run

    def run(self: Any) -> Any:
        runs.append(threading.current_thread().name)
        time.sleep(0.3)  # so that all others find it at work
        return begun(self)

    monkeypatch.setattr(derived._Computation, "run", run)
    clients = [skyhook_casa.connect(site.place / "store", progress=False, threads=1) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda client: client.query("dy", ["ht"]).to_awkward().ht, clients))
    assert len(runs) == 1
    for answer in answers:
        assert_same(answer, site.expected["ht"])


def test_a_killed_process_is_taken_over(site: Site) -> None:
    """What it has noted is not made again."""
    site.client.define("dy", DEFINED)
    site.client.query("dy", ["ht"]).to_awkward()
    version, digest = site.catalog.version("dy"), definition_digests(DEFINED)["ht"]
    done = site.catalog.derived_sets(version, [digest])[digest]
    objects = site.catalog.derived_objects(done.id)
    site.client.drop_definition("dy", "ht")
    site.client.define("dy", {"ht": DEFINED["ht"]})
    dead = site.catalog.claim_derived(version, "ht", digest, "dead", 0.0)
    assert dead.owner == "dead"
    site.catalog.record_derived(dead, 0, objects[0], 0.0)
    site.client.gc(grace_s=0)
    assert objects[0].name in site.objects() and objects[1].name not in site.objects()
    assert_same(site.client.query("dy", ["ht"]).to_awkward().ht, site.expected["ht"])
    with pytest.raises(QueryCancelled, match="taken over"):
        site.catalog.record_derived(dead, 1, objects[1], 60.0)
    with pytest.raises(QueryCancelled, match="taken over"):
        site.catalog.finish_derived(dead, "done")


def test_a_failed_computation_leaves_the_column_free(site: Site) -> None:
    site.client.define("dy", DEFINED)
    path = site.client.store.local_path(site.parts()[1].object.name)
    assert path is not None
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(good[:64] + bytes(len(good) - 128) + good[-64:])
    with pytest.raises(CorruptObject):
        site.client.query("dy", ["ht"]).to_awkward()
    path.write_bytes(good)
    assert_same(site.client.query("dy", ["ht"]).to_awkward().ht, site.expected["ht"])


def test_who_may_not_write_computes_with_each_query(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(name: str, data: object) -> bool:
        raise AccessDenied("the key of this user only reads")

    site.client.define("dy", DEFINED)
    monkeypatch.setattr(site.client.store, "put", denied)
    for _ in range(2):
        assert_same(site.client.query("dy", ["ht"]).to_awkward().ht, site.expected["ht"])
    assert site.client.definitions("dy")[1].versions == ()


def test_a_version_that_was_dropped_meanwhile_is_said_so(site: Site) -> None:
    site.client.define("dy", DEFINED)
    version, digest = site.catalog.version("dy"), definition_digests(DEFINED)["ht"]
    site.client.ingest("dy", write_root(site.place / "more.root", 50, 3), workers=1)
    site.client.drop("dy", 1)
    with pytest.raises(NotFound, match="was dropped"):
        derived.store_derived(site.catalog, site.client.store, version, Pending("ht", digest))


def test_every_catalog_keeps_derived_columns_and_sets(tmp_path: Path, address: str) -> None:
    """In SQLite and in PostgreSQL: claimed, stored, listed, redefined, dropped."""
    path = write_root(tmp_path / "dy.root", 300)
    client = skyhook_casa.connect(tmp_path / "store", catalog=address, progress=False, threads=2)
    client.ingest("dy", path, chunk_events=100, workers=1)
    events = make_events(300)
    client.define("dy", DEFINED)
    for _ in range(2):
        assert_same(
            client.query("dy", ["twice"]).to_awkward().twice, ak.firsts(events["Muon"].pt) * np.float32(2)
        )
    weight = events["MET_pt"] * np.float32(3)
    table = pa.table({"run": events["run"], "event": events["event"], "weight": weight})
    pq.write_table(table, tmp_path / "w.parquet")
    client.add_columns("dy", tmp_path / "w.parquet", on=["run", "event"])
    got = client.query("dy", ["weight", "MET_pt"], "ht > 20 and weight > 10").to_awkward()
    passed = (ak.sum(events["Jet"].pt[events["Jet"].pt > 30], axis=1) > 20) & (weight > 10)
    assert_same(got["weight"], weight[passed])
    assert {one.name: one.versions for one in client.definitions("dy")}["twice"] == (1,)
    assert client.verify("dy").ok
    client.define("dy", {"lead": "Muon_pt[0] + 1"})
    assert {one.name: one.versions for one in client.definitions("dy")}["twice"] == ()
    client.drop("dy")
    client.gc(grace_s=0)
    assert list(client.store.list()) == []


# -- definitions --------------------------------------------------------------------------------
def test_a_new_definition_takes_the_place_of_the_old(site: Site, client: Client) -> None:
    """Also in what uses it; nothing computed before is seen."""
    client.define("dy", DEFINED)
    client.query("dy", ["twice", "lead"]).to_awkward()
    stored = site.objects()
    client.define("dy", {"lead": "Muon_pt[0] + 1"})
    got = client.query("dy", ["twice", "lead"]).to_awkward()
    lead = site.expected["lead"] + np.float32(1)
    assert_same(got["lead"], lead)
    assert_same(got["twice"], lead * np.float32(2))
    assert site.client.gc(grace_s=0).objects >= len(site.parts())
    assert not stored <= site.objects()
    assert_same(client.query("dy", ["twice"]).to_awkward()["twice"], lead * np.float32(2))


def test_dropping_frees_what_was_stored(site: Site, client: Client) -> None:
    before = site.objects()
    client.define("dy", DEFINED)
    for name in DEFINED:
        client.query("dy", [name]).to_awkward()
    assert client.gc(grace_s=0).objects == 0
    with pytest.raises(InvalidRequest, match="'lead' is used by twice"):
        client.drop_definition("dy", "lead")
    for name in reversed(DEFINED):
        client.drop_definition("dy", name)
    with pytest.raises(NotFound, match="no column 'ht'"):
        client.query("dy", ["ht"])
    assert client.definitions("dy") == []
    client.gc(grace_s=0)
    assert site.objects() == before


def test_dropping_a_version_or_dataset_frees_what_was_stored(site: Site) -> None:
    site.client.define("dy", DEFINED)
    site.client.query("dy", ["ht"]).to_awkward()
    site.client.drop("dy")
    site.client.gc(grace_s=0)
    assert site.objects() == set()
    site.client.ingest("dy", write_root(site.place / "new.root", 50, 3), workers=1)
    assert site.client.definitions("dy") == []


def test_verify_finds_a_bad_object_of_a_derived_column(site: Site) -> None:
    site.client.define("dy", DEFINED)
    before = site.objects()
    site.client.query("dy", ["ht"]).to_awkward()
    (name, *_) = sorted(site.objects() - before)
    path = site.client.store.local_path(name)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    (bad,) = site.client.verify("dy").bad
    assert bad.name == name and bad.holds.startswith("derived column ht of partition")


@pytest.mark.parametrize(
    ("definitions", "error", "message"),
    [
        ({"MET_pt": "1 + 1"}, InvalidRequest, "'MET_pt', which the dataset has already"),
        ({"Muon": "1 + 1"}, InvalidRequest, "'Muon', which the dataset has already"),
        ({"a b": "MET_pt"}, InvalidRequest, "letters, digits and _"),
        ({"x": "MET_ptt > 3"}, ExpressionError, "did you mean 'MET_pt'"),
        ({"x": "MET_pt +"}, ExpressionError, "ends too early"),
        ({"x": "y + 1", "y": "x + 1"}, InvalidRequest, "x, y use each other in a circle"),
        ({"x": "x + 1"}, InvalidRequest, "in a circle"),
        ({"x": ""}, InvalidRequest, "a name and an expression"),
        ({"x": 3}, InvalidRequest, "a name and an expression"),
        ({}, InvalidRequest, "a dict of names and expressions is needed"),
        (["x"], InvalidRequest, "a dict of names and expressions is needed"),
    ],
)
def test_wrong_definitions_are_refused(
    site: Site, definitions: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        site.client.define("dy", definitions)
    assert site.client.definitions("dy") == []


def test_a_change_that_breaks_others_is_refused(site: Site, client: Client) -> None:
    client.define("dy", DEFINED)
    with pytest.raises(InvalidRequest, match="'twice', which uses it, would be wrong"):
        client.define("dy", {"lead": "Muon[0]"})
    with pytest.raises(InvalidRequest, match="definition; choose another name"):
        client.query("dy", ["ht"], define={"ht": "MET_pt"})
    with pytest.raises(NotFound, match="did you mean 'ht'"):
        client.drop_definition("dy", "htt")
    with pytest.raises(NotFound, match="did you mean 'dy'"):
        client.define("dyy", {"x": "MET_pt"})
    with pytest.raises(NotFound, match="did you mean 'dy'"):
        client.definitions("dyy")


# -- functions ----------------------------------------------------------------------------------
ALLOWED = "derived_functions"
FUNCTIONS = {
    "score": Function(f"{ALLOWED}:total", ("Jet_pt", "MET_pt")),
    "Muon_rel": Function(f"{ALLOWED}:relative", ("Muon_pt", "MET_pt"), per="Muon"),
    "first": Function(f"{ALLOWED}:first", ("Muon_pt",), optional=True),
    "hard": Function(f"{ALLOWED}:hard", ("Jet_pt",), per="list"),
    "more": Function(f"{ALLOWED}:doubled", ("score",)),
    "most": "more + score",
}


@pytest.fixture(params=ANSWERERS)
def calling(request: pytest.FixtureRequest, site: Site) -> Iterator[Client]:
    """A client, or one of a service, that may import the functions."""
    allowing = skyhook_casa.connect(site.place / "store", progress=False, threads=2, functions=[ALLOWED])
    settings = {} if request.param == "embedded" else {"functions": f"{ALLOWED}, json"}
    with answered(request.param, allowing, **settings) as client:
        yield client


def test_functions_are_called_once_and_read_like_others(site: Site, calling: Client) -> None:
    calling.define("dy", FUNCTIONS)
    jet, muon, met = site.events["Jet"], site.events["Muon"], site.events["MET_pt"]
    score = ak.sum(jet.pt, axis=1) + met
    expected = {
        "most": score * np.float32(2) + score,
        "score": score,
        "Muon_rel": muon.pt / met,
        "first": ak.firsts(muon.pt),
        "hard": jet.pt[jet.pt > 20],
    }
    for _ in range(2):
        for name, values in expected.items():
            assert_same(calling.query("dy", [name]).to_awkward()[name], ak.Array(values))
        got = calling.query("dy", ["Muon_rel", "MET_pt"], "most > 100 and first > 10").to_awkward()
        passed = (expected["most"] > 100) & ak.fill_none(expected["first"] > 10, False)
        assert 0 < len(got) < EVENTS
        assert_same(got["Muon_rel"], expected["Muon_rel"][passed])
    assert all(one.versions == (1,) for one in calling.definitions("dy"))
    assert calling.query("dy", ["score"]).outputs[0].title == f"{ALLOWED}:total(Jet_pt, MET_pt)"


def test_who_was_not_allowed_imports_nothing_but_reads(site: Site) -> None:
    site.client.define("dy", FUNCTIONS)
    with pytest.raises(AccessDenied, match="functions:total may not be imported: allowed are modules none"):
        site.client.query("dy", ["MET_pt"], "score > 100").to_awkward()
    allowing = skyhook_casa.connect(site.place / "store", progress=False, functions=ALLOWED)
    expected = allowing.query("dy", ["score"]).to_awkward()
    assert ak.array_equal(site.client.query("dy", ["score"]).to_awkward(), expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("raises", {}, "derived_functions:raises raised ValueError: no model at hand"),
        ("wider", {}, r"returned .*float64; float32 was declared"),
        ("fewer", {}, "values for 600 events"),
        ("shorter", {"per": "Muon"}, "the lists of 'Muon' differ in"),
        ("first", {}, "returned"),
        ("total", {"per": "list"}, "lists were declared"),
        ("nothing", {}, "there is no function derived_functions:nothing"),
        ("number", {}, "is a int, no function"),
    ],
)
def test_functions_that_do_otherwise_are_refused(
    site: Site, name: str, options: dict[str, Any], message: str
) -> None:
    """Nothing of the column is kept as done; who corrects the function asks again."""
    client = skyhook_casa.connect(site.place / "store", progress=False, functions=ALLOWED)
    columns = ("MET_pt", "Muon_pt", "Jet_pt")
    client.define("dy", {"x": Function(f"{ALLOWED}:{name}", columns, **options)})
    for _ in range(2):
        with pytest.raises(InvalidRequest, match=message):
            client.query("dy", ["x"]).to_awkward()
    assert client.definitions("dy")[0].versions == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "os.system"}, "no import path"),
        ({"path": "a:b()"}, "no import path"),
        ({"columns": "MET_pt"}, "names of columns are needed"),
        ({"columns": ()}, "names of columns are needed"),
        ({"columns": ("MET_ptt",)}, "needs 'MET_ptt', which is no column; did you mean 'MET_pt'"),
        ({"dtype": "float16"}, "dtype of a:b is 'float16'"),
        ({"per": "Muons"}, "no collection 'Muons'; did you mean 'Muon'"),
        ({"per": "Muon", "optional": True}, "only numbers for each event may be missing"),
    ],
)
def test_wrong_functions_are_refused(site: Site, options: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidRequest, NotFound), match=message):
        site.client.define("dy", {"x": Function(**{"path": "a:b", "columns": ("MET_pt",), **options})})
    with pytest.raises(InvalidRequest, match="is no function"):
        site.client.define("dy", {"x": '{"function": 3}'})


def test_a_package_is_allowed_with_what_is_in_it() -> None:
    assert load("json.decoder:JSONDecoder", ["json"])
    for path in ("jsonx:loads", "json.decoder:JSONDecoder"):
        with pytest.raises(AccessDenied, match=r"allowed are modules json\.encoder"):
            load(path, ["json.encoder"])
