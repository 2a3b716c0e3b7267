"""The generator's files look like NanoAOD, and are the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.nanoaod import make_dataset, make_nanoaod

EVENTS = 3_000

INDICES = {
    "Muon_jetIdx": "Jet",
    "Muon_fsrPhotonIdx": "FsrPhoton",
    "Muon_genPartIdx": "GenPart",
    "Electron_jetIdx": "Jet",
    "Electron_photonIdx": "Photon",
    "Electron_genPartIdx": "GenPart",
    "Tau_jetIdx": "Jet",
    "Tau_genPartIdx": "GenPart",
    "Photon_electronIdx": "Electron",
    "Photon_jetIdx": "Jet",
    "Photon_genPartIdx": "GenPart",
    "Jet_muonIdx1": "Muon",
    "Jet_muonIdx2": "Muon",
    "Jet_electronIdx1": "Electron",
    "Jet_electronIdx2": "Electron",
    "Jet_genJetIdx": "GenJet",
    "FatJet_subJetIdx1": "SubJet",
    "FatJet_subJetIdx2": "SubJet",
    "FsrPhoton_muonIdx": "Muon",
    "GenPart_genPartIdxMother": "GenPart",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated file of three clusters, the last one short."""
    path = tmp_path_factory.mktemp("nanoaod") / "nano.root"
    make_nanoaod(path, EVENTS, seed=7, cluster_events=1_250)
    return path


@pytest.fixture(scope="module")
def events(sample: Path) -> ak.Array:
    with uproot.open(sample) as file:
        return file["Events"].arrays()


def read(path: Path) -> ak.Array:
    with uproot.open(path) as file:
        return file["Events"].arrays()


@pytest.mark.slow
def test_same_seed_gives_the_same_events(tmp_path: Path, events: ak.Array) -> None:
    make_nanoaod(tmp_path / "again.root", EVENTS, seed=7, cluster_events=1_250)

    again = read(tmp_path / "again.root")

    assert again.fields == events.fields
    for name in events.fields:
        assert ak.array_equal(again[name], events[name], dtype_exact=True), name


def test_another_seed_gives_other_events(tmp_path: Path, events: ak.Array) -> None:
    make_nanoaod(tmp_path / "other.root", 1_250, seed=8, cluster_events=1_250)

    with uproot.open(tmp_path / "other.root") as file:
        assert not ak.array_equal(file["Events"]["MET_pt"].array(), events.MET_pt[:1_250])


def test_every_jagged_branch_is_counted_by_its_collections_counter(sample: Path) -> None:
    with uproot.open(sample) as file:
        jagged = [b for b in file["Events"].branches if isinstance(b.interpretation, uproot.AsJagged)]

        assert len(jagged) > 200
        for branch in jagged:
            collection = branch.count_branch.name[1:]
            assert branch.name == collection or branch.name.startswith(f"{collection}_")


def test_counters_are_the_lengths_of_their_lists(events: ak.Array) -> None:
    for counter in (name for name in events.fields if f"{name[1:]}_pt" in events.fields and name[0] == "n"):
        assert ak.all(events[counter] == ak.num(events[f"{counter[1:]}_pt"])), counter
    assert ak.all(events.nLHEPdfWeight == 33)


@pytest.mark.parametrize(("index", "target"), INDICES.items())
def test_an_index_points_to_an_object_that_is_there_or_is_minus_one(
    events: ak.Array, index: str, target: str
) -> None:
    assert ak.all(events[index] >= -1)
    assert ak.all(events[index] < events[f"n{target}"])
    if not index.endswith("Idx2"):
        assert ak.any(events[index] >= 0)


def test_a_muon_and_its_jet_point_at_each_other(events: ak.Array) -> None:
    first = events.Jet_muonIdx1
    has_muon = first >= 0

    jet_of_muon = events.Muon_jetIdx[first[has_muon]]

    assert ak.all(jet_of_muon == ak.local_index(first)[has_muon])
    assert ak.all((events.Jet_nMuons > 0) == has_muon)


def test_prompt_muons_come_from_generated_muons_or_taus(events: ak.Array) -> None:
    matched = events.Muon_genPartIdx >= 0

    pdg = np.abs(events.GenPart_pdgId[events.Muon_genPartIdx[matched]])

    assert ak.all((pdg == 13) | (pdg == 15))
    assert ak.all((events.Muon_genPartFlav == 0) == ~matched)


def test_opposite_charge_muon_pairs_peak_at_the_z_mass(events: ak.Array) -> None:
    pairs = events[(events.nMuon == 2)]
    pairs = pairs[ak.sum(pairs.Muon_charge, axis=1) == 0]
    pt, eta, phi = pairs.Muon_pt, pairs.Muon_eta, pairs.Muon_phi

    angles = np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1])
    mass = np.sqrt(2 * pt[:, 0] * pt[:, 1] * angles)

    assert len(mass) > 0.1 * EVENTS
    assert 90.0 < np.median(mass) < 92.0
    assert np.mean((mass > 80.0) & (mass < 100.0)) > 0.7


def test_collections_are_sorted_by_pt(events: ak.Array) -> None:
    for name in ("Muon", "Electron", "Tau", "Photon", "Jet", "FatJet"):
        pt = events[f"{name}_pt"]
        assert ak.all(pt[:, 1:] <= pt[:, :-1]), name


def test_floats_have_the_precision_of_nanoaod(events: ak.Array) -> None:
    raw = ak.to_numpy(ak.flatten(events.Jet_pt)).view(np.uint32)

    assert not np.any(raw & 0x1FFF)  # 10 of 23 bits of mantissa
    assert np.any(raw & 0x2000)


def test_a_single_muon_trigger_needs_a_muon(events: ak.Array) -> None:
    fired = events.HLT_IsoMu24

    assert ak.all(ak.any(events.Muon_pt[fired] > 24.0, axis=1))
    assert 0.1 < np.mean(fired) < 0.9


def test_branches_have_titles(sample: Path) -> None:
    with uproot.open(sample) as file:
        tree = file["Events"]

        assert tree["Muon_dxy"].title == "dxy (with sign) wrt first PV, in cm"
        assert tree["nJet"].title.startswith("slimmedJets")
        assert tree["run"].title == "run/i"


def test_runs_hold_the_sums_of_weights(sample: Path, events: ak.Array) -> None:
    with uproot.open(sample) as file:
        runs, blocks = file["Runs"].arrays(), file["LuminosityBlocks"].arrays()

    assert runs.genEventCount.tolist() == [EVENTS]
    assert runs.genEventSumw[0] == np.sum(ak.to_numpy(events.genWeight), dtype=np.float64)
    assert blocks.luminosityBlock.tolist() == [1, 2, 3]


def test_collision_data_has_no_generator_branches(tmp_path: Path) -> None:
    make_nanoaod(tmp_path / "data.root", 100, simulated=False, first_event=1_999_950)

    data = read(tmp_path / "data.root")

    assert not [name for name in data.fields if "gen" in name.lower() or name.startswith("LHE")]
    assert np.unique(data.run).tolist() == [362_000, 362_001]


@pytest.mark.slow
def test_files_of_a_dataset_continue_each_other(tmp_path: Path) -> None:
    files = make_dataset(tmp_path / "new", 1_001, files=3, processes=1, seed=3)

    assert [file.path.name for file in files] == ["nano_0.root", "nano_1.root", "nano_2.root"]
    assert [file.events for file in files] == [333, 334, 334]
    numbers = np.concatenate([ak.to_numpy(read(file.path).event) for file in files])
    assert numbers.tolist() == list(range(1, 1_002))


@pytest.mark.slow
def test_files_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    one = make_dataset(tmp_path / "one", 200, files=2, processes=1)
    two = make_dataset(tmp_path / "two", 200, files=2, processes=2)

    for a, b in zip(one, two, strict=True):
        assert ak.array_equal(read(a.path), read(b.path))


@pytest.mark.parametrize(
    "compression",
    ["none", *(pytest.param(one, marks=pytest.mark.slow) for one in ("zlib", "lz4", "zstd", "lzma"))],
)
def test_every_compression_reads_back(tmp_path: Path, compression: str) -> None:
    made = make_nanoaod(tmp_path / "nano.root", 50, compression=compression)

    assert made.bytes == made.path.stat().st_size
    assert len(read(made.path)) == 50


def test_a_file_can_be_filled_up_with_trigger_bits(tmp_path: Path) -> None:
    made = make_nanoaod(tmp_path / "wide.root", 20, branches=600)

    with uproot.open(made.path) as file:
        tree = file["Events"]
        assert len(tree.branches) == made.branches == 600
        assert sum(name.startswith(("HLT_", "L1_")) for name in tree.keys())  # noqa: SIM118 > 250


def test_a_file_may_have_no_events(tmp_path: Path) -> None:
    made = make_nanoaod(tmp_path / "none.root", 0)

    assert len(read(made.path)) == 0


@pytest.mark.parametrize(
    "wrong", [{"events": -1}, {"events": 1, "first_event": -1}, {"events": 1, "compression": "zip"}]
)
def test_impossible_requests_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        make_nanoaod(tmp_path / "nano.root", **wrong)  # type: ignore[arg-type]


def test_a_dataset_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="0 files"):
        make_dataset(tmp_path, 10, files=0)
