"""The ADL benchmark queries, pushed down, equal plain awkward on the same arrays, bin by bin."""

from __future__ import annotations

import importlib
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from ingest_helpers import sample as sample_path
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.stores import MemoryStore
from skyhook_client import Client, Query

SCRIPTS = Path(__file__).resolve().parent.parent / "docs/examples/adl"
QUERIES = [f"q{i}" for i in range(1, 9)]
LEPTONS = ("pt", "eta", "phi", "mass", "charge")
COLUMNS = [
    "MET_pt",
    "MET_phi",
    *(f"Jet_{name}" for name in ("pt", "eta", "phi", "mass", "btagDeepFlavB")),
    *(f"{lepton}_{name}" for lepton in ("Muon", "Electron") for name in LEPTONS),
]
NANO_SAMPLES = ("nano_dy.root", "nano_dimuon.root", "nanoAOD_2015_CMS_Open_Data_ttbar.root")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough events that all queries find some."""
    return make_nanoaod(tmp_path_factory.mktemp("adl") / "dy.root", 6_000, seed=21).path


@pytest.fixture(scope="module")
def stored(made: Path) -> Client:
    client = skyhook_casa.connect(MemoryStore(runs_class=True), threads=2, progress=False)
    client.ingest(
        "dy", made, ["MET_*", "Jet_*", "Muon_*", "Electron_*"], partition_bytes=1 << 19, chunk_events=500
    )
    return client


@pytest.fixture(scope="module", params=ANSWERERS)
def client(request: pytest.FixtureRequest, stored: Client) -> Iterator[Client]:
    with answered(request.param, stored) as client:
        yield client


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One of the scripts, imported as it would be run."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module(request.param)


def read(path: Path) -> Any:
    with uproot.open(path) as file:
        return file["Events"].arrays(COLUMNS)


# -- plain awkward ------------------------------------------------------------------------------
def counted(values: Any, low: float, high: float) -> hist.Hist[Any]:
    made = hist.Hist(hist.axis.Regular(100, low, high), storage=hist.storage.Int64())
    return made.fill(np.asarray(values))


def momenta(events: Any, name: str) -> Any:
    """Cartesian momenta in float64, with what else the queries use."""
    pt, eta, phi, mass = (
        ak.values_astype(events[f"{name}_{x}"], np.float64) for x in ("pt", "eta", "phi", "mass")
    )
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    rest = {
        x: events[f"{name}_{x}"]
        for x in ("eta", "phi", "charge", "btagDeepFlavB")
        if f"{name}_{x}" in events.fields
    }
    energy = np.sqrt(px**2 + py**2 + pz**2 + mass**2)
    return ak.zip({"px": px, "py": py, "pz": pz, "e": energy, "pt": events[f"{name}_pt"], **rest})


def mass(*parts: Any) -> Any:
    px, py, pz, e = (sum(part[x] for part in parts) for x in ("px", "py", "pz", "e"))
    return np.sqrt(np.maximum(e**2 - (px**2 + py**2 + pz**2), 0))


def delta_phi(a: Any, b: Any) -> Any:
    return (a - b + np.pi) % (2 * np.pi) - np.pi


def near_z(leptons: Any) -> tuple[Any, Any, Any]:
    """Distance of the best pair of opposite charge from the Z, and its places; inf, −1 if there is none."""
    a, b = ak.unzip(ak.combinations(leptons, 2))
    i, j = ak.unzip(ak.argcombinations(leptons, 2))
    opposite = a.charge != b.charge
    off = abs(mass(a, b) - 91.2)[opposite]
    best = ak.argmin(off, axis=1, keepdims=True)
    return (
        ak.fill_none(ak.min(off, axis=1), np.inf),
        ak.fill_none(ak.firsts(i[opposite][best]), -1),
        ak.fill_none(ak.firsts(j[opposite][best]), -1),
    )


def q1(events: Any) -> Any:
    return counted(events.MET_pt, 0, 200)


def q2(events: Any) -> Any:
    return counted(ak.flatten(events.Jet_pt), 15, 60)


def q3(events: Any) -> Any:
    return counted(ak.flatten(events.Jet_pt[abs(events.Jet_eta) < 1]), 15, 60)


def q4(events: Any) -> Any:
    return counted(events.MET_pt[ak.sum(events.Jet_pt > 40, axis=1) >= 2], 0, 200)


def q5(events: Any) -> Any:
    a, b = ak.unzip(ak.combinations(momenta(events, "Muon"), 2))
    m = mass(a, b)
    return counted(events.MET_pt[ak.any((a.charge != b.charge) & (m > 60) & (m < 120), axis=1)], 0, 200)


def q6(events: Any) -> Any:
    tops = ak.combinations(momenta(events, "Jet")[ak.num(events.Jet_pt) >= 3], 3)
    a, b, c = (
        x[ak.argmin(abs(mass(*ak.unzip(tops)) - 172.5), axis=1, keepdims=True)] for x in ak.unzip(tops)
    )
    pt = np.hypot(a.px + b.px + c.px, a.py + b.py + c.py)
    btag = np.maximum(np.maximum(a.btagDeepFlavB, b.btagDeepFlavB), c.btagDeepFlavB)
    return {"pt": counted(ak.flatten(pt), 15, 40), "btag": counted(ak.flatten(btag), 0, 1)}


def q7(events: Any) -> Any:
    jets = momenta(events, "Jet")[events.Jet_pt > 30]
    near = False
    for name in ("Muon", "Electron"):
        leptons = momenta(events, name)[events[f"{name}_pt"] > 10]
        a, b = ak.unzip(ak.cartesian([jets, leptons], nested=True))
        near = near | ak.any(np.sqrt((a.eta - b.eta) ** 2 + delta_phi(a.phi, b.phi) ** 2) < 0.4, axis=2)
    clean = jets.pt[~near]
    return counted(ak.sum(clean[ak.num(clean) > 0], axis=1), 15, 200)


def q8(events: Any) -> Any:
    flavors = [momenta(events, "Electron"), momenta(events, "Muon")]
    best = [near_z(leptons) for leptons in flavors]
    leads = []
    for mine, other, leptons in ((0, 1, flavors[0]), (1, 0, flavors[1])):
        miss, i, j = best[mine]
        place = ak.local_index(leptons)
        free = leptons[((place != i) & (place != j)) | (miss > best[other][0])]
        leads.append(free[ak.argmax(free.pt, axis=1, keepdims=True)])
    lead = ak.concatenate(leads, axis=1)
    lead = ak.firsts(lead[ak.argmax(lead.pt, axis=1, keepdims=True)])
    kept = (ak.num(flavors[0]) + ak.num(flavors[1]) >= 3) & (np.minimum(best[0][0], best[1][0]) < np.inf)
    lead, met = lead[kept], events[kept]
    return counted(np.sqrt(2 * lead.pt * met.MET_pt * (1 - np.cos(delta_phi(lead.phi, met.MET_phi)))), 0, 200)


PLAIN = {f.__name__: f for f in (q1, q2, q3, q4, q5, q6, q7, q8)}


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for name in expected:
            assert_same(found[name], expected[name])
        return
    np.testing.assert_array_equal(found.values(flow=True), expected.values(flow=True))


# -- tests --------------------------------------------------------------------------------------
@pytest.mark.parametrize("script", QUERIES, indirect=True)
def test_a_script_fills_what_plain_awkward_fills(script: ModuleType, client: Client, made: Path) -> None:
    expected = PLAIN[script.__name__](read(made))

    found = script.query(client, "dy")

    for one in expected.values() if isinstance(expected, Mapping) else [expected]:
        assert one.sum(flow=True) > 10
    assert_same(found, expected)


@pytest.fixture(scope="module", params=NANO_SAMPLES)
def sample(request: pytest.FixtureRequest) -> tuple[Client, Any]:
    """A sample, stored and as it is read."""
    path = sample_path(request.param)
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("dy", path, ["MET_*", "Jet_*", "Muon_*", "Electron_*"])
    return client, read(path)


@pytest.mark.slow
@pytest.mark.parametrize("script", QUERIES, indirect=True)
def test_samples_fill_the_same(script: ModuleType, sample: tuple[Client, Any]) -> None:
    client, events = sample
    assert_same(script.query(client, "dy"), PLAIN[script.__name__](events))


class Pushing:
    """A client whose queries run inside the storage; it keeps them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.asked: list[Query] = []

    def query(self, *args: Any, **options: Any) -> Query:
        self.asked.append(self.client.query(*args, **options, execution="pushdown"))
        return self.asked[-1]


def assert_all_run_inside(client: Client, events: Any) -> None:
    """No values leave the storage: only bins, and these are right."""
    pushing = Pushing(client)
    for name in QUERIES:
        assert_same(importlib.import_module(name).query(pushing, "dy"), PLAIN[name](events))
    assert len(pushing.asked) == len(QUERIES)
    for query in pushing.asked:
        assert query.report.partitions_pushed == query.report.partitions_done > 1
        assert query.report.bytes_moved < 20_000 * query.report.partitions_done


def test_every_query_runs_inside_the_storage(
    stored: Client, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    assert_all_run_inside(stored, read(made))


@pytest.mark.ceph
def test_every_query_runs_inside_osds(
    ceph: Cluster, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so do categories, regions, cutflows and luminosity masks."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    url = f"{ceph.url}&namespace={uuid.uuid4().hex}"
    client = skyhook_casa.connect(url, catalog=f"sqlite:///{tmp_path}/catalog.sqlite", progress=False)
    columns = ["MET_*", "Jet_*", "Muon_*", "Electron_*", "run", "luminosityBlock"]
    client.ingest("dy", made, columns, partition_bytes=1 << 19, chunk_events=500)

    assert_all_run_inside(client, read(made))
    found = []
    for execution in ("pushdown", "read"):
        query = client.query("dy", lumimask={"1": [[2, 4]]}, execution=execution)
        met = query.hist("MET_pt", bins=9, range=(0, 50), category={"a": "nMuon > 1", "b": "MET_pt > 9"})
        by = query.hist("Jet_pt", bins=9, range=(0, 50), category="nMuon")
        flow = query.cutflow(["nMuon > 1", "MET_pt > 9"], weight="MET_pt", n_minus_one=True)
        found.append(
            (met.values(flow=True).tolist(), by.values(flow=True).tolist(), flow.steps[1].others.events)
        )
        assert flow.initial.events > 100
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_script_prints_its_histogram(made: Path, tmp_path: Path) -> None:
    skyhook_casa.connect(tmp_path / "store", progress=False).ingest("dy", made, ["MET_pt"])

    command = [sys.executable, "-W", "error", str(SCRIPTS / "q1.py"), "--store", str(tmp_path / "store")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)

    assert printed.stdout.startswith("MET_pt, 6,000 entries\n")
