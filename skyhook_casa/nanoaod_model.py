"""The generator's events: Z, W and multijet production, and what a detector sees of them.

Everything is a *table* here: flat arrays of one length, one row per object, with the number of its
event in the column `event`. Momenta are in GeV, angles in radians.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .nanoaod_tables import TRIGGERS, Array

Table = dict[str, Array]

Z_MASS, Z_WIDTH = 91.1876, 2.4952
W_MASS, W_WIDTH = 80.377, 2.085
PROCESSES = {"z_to_mumu": 0.35, "z_to_ee": 0.25, "z_to_tautau": 0.10, "w_to_munu": 0.15, "multijet": 0.15}
"""Share of the events of each process."""
_LEPTON = {"z_to_mumu": 13, "z_to_ee": 11, "z_to_tautau": 15, "w_to_munu": 13, "multijet": 0}
BOSON_INDEX = 2
"""Where the boson stands in its event's GenPart; the two incoming partons come before it."""


@dataclass(slots=True)
class Collection:
    """The objects of one kind: `counts` per event, `table` in event order."""

    counts: Array
    table: Table

    @property
    def starts(self) -> Array:
        """Row of the first object of each event."""
        return np.cumsum(self.counts) - self.counts

    @property
    def local(self) -> Array:
        """Number of each object inside its event."""
        return np.arange(len(self.table["event"])) - self.starts[self.table["event"]]


@dataclass(slots=True)
class Events:
    """Simulated events before the columns that are drawn independently."""

    collections: dict[str, Collection]
    scalars: dict[str, Array]


def simulate(n: int, rng: np.random.Generator) -> Events:
    """Return `n` events; nothing but `rng` decides what they are."""
    process = rng.choice(len(PROCESSES), n, p=list(PROCESSES.values()))
    particles = collect(n, _particles(process, rng))
    pileup = rng.uniform(15.0, 60.0, n)
    leptons = _leptons(n, particles, rng)
    collections = {"GenPart": particles, **leptons, **_jets(n, particles.table, leptons, rng)}
    collections.update(_others(n, collections, rng))
    _match(collections)
    met = _missing_momentum(n, particles.table, collections["Jet"].table, rng)
    return Events(collections, met | _conditions(n, pileup, rng) | _triggers(n, collections, rng))


# -- tables -------------------------------------------------------------------------------------
def collect(n: int, *tables: Table, by_pt: bool = False) -> Collection:
    """Return the rows of the tables in event order, by falling pt if wanted, else as they are."""
    whole = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    order = np.lexsort((-whole["pt"], whole["event"])) if by_pt else np.argsort(whole["event"], kind="stable")
    counts = np.bincount(whole["event"], minlength=n)
    return Collection(counts, {name: values[order] for name, values in whole.items()})


def rows(table: Table, keep: Array) -> Table:
    """Return the rows of a table that a mask or an index names."""
    return {name: values[keep] for name, values in table.items()}


def with_columns(table: Table, **columns: Array | float) -> Table:
    """Return a table with further or other columns; a number fills its column."""
    n = len(table["event"])
    return table | {name: np.broadcast_to(np.asarray(v), n) for name, v in columns.items()}


def scattered(
    n: int, mean: float, pt_min: float, pt_scale: float, eta_max: float, rng: np.random.Generator
) -> Table:
    """Return on average `mean` objects per event, with falling pt and flat angles."""
    event = np.repeat(np.arange(n), rng.poisson(mean, n))
    m = len(event)
    return {
        "event": event,
        "pt": pt_min + rng.exponential(pt_scale, m),
        "eta": rng.uniform(-eta_max, eta_max, m),
        "phi": rng.uniform(-np.pi, np.pi, m),
    }


def nearest(left: Collection, right: Collection, dr_max: float) -> Array:
    """Return for each object of `left` the number of the nearest in `right`, −1 if none within `dr_max`."""
    a, b = left.table, right.table
    n_right = right.counts[a["event"]]
    first = right.starts[a["event"]]
    pair_left = np.repeat(np.arange(len(n_right)), n_right)
    pair_start = np.cumsum(n_right) - n_right
    local = np.arange(len(pair_left)) - pair_start[pair_left]
    pair_right = first[pair_left] + local
    dphi = np.abs(a["phi"][pair_left] - b["phi"][pair_right])
    dphi = np.minimum(dphi, 2 * np.pi - dphi)
    dr2 = (a["eta"][pair_left] - b["eta"][pair_right]) ** 2 + dphi**2

    found = np.full(len(n_right), -1)
    some = n_right > 0
    if some.any():
        least = np.full(len(n_right), np.inf)
        least[some] = np.minimum.reduceat(dr2, pair_start[some])
        best = (dr2 == least[pair_left]) & (dr2 < dr_max**2)
        found[pair_left[best]] = local[best]
    return found


def first_two(source: Collection, index: str, target: Collection) -> tuple[Array, Array, Array]:
    """Return for each object of `target` how many of `source` point at it, and the first two of them."""
    pointing = np.flatnonzero(source.table[index] >= 0)
    row = target.starts[source.table["event"][pointing]] + source.table[index][pointing]
    order = np.argsort(row, kind="stable")
    row, local = row[order], source.local[pointing][order]
    counts = np.bincount(row, minlength=len(target.table["event"]))
    rank = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    one, two = np.full(len(counts), -1), np.full(len(counts), -1)
    one[row[rank == 0]] = local[rank == 0]
    two[row[rank == 1]] = local[rank == 1]
    return counts, one, two


# -- what is produced ---------------------------------------------------------------------------
def _particles(process: Array, rng: np.random.Generator) -> Table:
    """Return two incoming partons, the boson and its two leptons if there is one, and hard partons."""
    n = len(process)
    lepton = np.array(list(_LEPTON.values()))[process]
    decays = np.flatnonzero(lepton)
    is_w = process[decays] == list(PROCESSES).index("w_to_munu")
    sign = np.where(rng.random(len(decays)) < 0.5, 1, -1)
    boson, minus, plus = _decay(is_w, rng)
    other = np.where(is_w, lepton[decays] + 1, lepton[decays])
    stable = np.where(lepton[decays] == 15, 2, 1)

    def rows_of(event: Array, momentum: Table, pdg: Array, mother: int, status: Array | int) -> Table:
        return with_columns({"event": event, **momentum}, pdgId=pdg, genPartIdxMother=mother, status=status)

    every = np.arange(n)
    beam = {"pt": np.zeros(n), "phi": np.zeros(n), "mass": np.zeros(n)}
    event = np.repeat(every, rng.poisson(np.where(lepton == 0, 3.0, 1.3)))
    m = len(event)
    partons = {
        "pt": 18.0 + rng.exponential(32.0, m) * np.exp(0.5 * rng.standard_normal(m)),
        "eta": np.clip(rng.normal(0.0, 1.9, m), -4.7, 4.7),
        "phi": rng.uniform(-np.pi, np.pi, m),
        "mass": np.zeros(m),
    }
    flavour = np.array([21, 21, 21, 21, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5])[rng.integers(0, 14, m)]
    tables = [
        rows_of(every, beam | {"eta": np.full(n, 23_000.0)}, rng.choice([1, 2, 21], n), -1, 21),
        rows_of(every, beam | {"eta": np.full(n, -23_000.0)}, rng.choice([-2, -1, 21], n), -1, 21),
        rows_of(decays, boson, np.where(is_w, 24 * sign, 23), 0, 62),
        rows_of(decays, minus, -lepton[decays] * np.where(is_w, sign, -1), BOSON_INDEX, stable),
        rows_of(decays, plus, other * np.where(is_w, sign, -1), BOSON_INDEX, stable),
        rows_of(event, partons, flavour, 0, 23),
    ]
    whole = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    prompt = 0x2001 + 0x100 * (whole["status"] > 20)
    return with_columns(whole, statusFlags=prompt)


def _decay(is_w: Array, rng: np.random.Generator) -> tuple[Table, Table, Table]:
    """Return bosons with Breit-Wigner masses and the two massless leptons each decays to."""
    n = len(is_w)
    peak, width = np.where(is_w, W_MASS, Z_MASS), np.where(is_w, W_WIDTH, Z_WIDTH)
    mass = np.clip(peak + 0.5 * width * np.tan(np.pi * (rng.random(n) - 0.5)), 15.0, 600.0)
    pt = np.exp(rng.normal(2.4, 0.85, n))
    rapidity = rng.normal(0.0, 1.2, n)
    phi = rng.uniform(-np.pi, np.pi, n)
    cosine, azimuth = rng.uniform(-1.0, 1.0, n), rng.uniform(-np.pi, np.pi, n)
    sine = np.sqrt(1.0 - cosine**2)
    direction = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine])

    mass_t = np.hypot(mass, pt)
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), mass_t * np.sinh(rapidity)])
    energy = mass_t * np.cosh(rapidity)
    boson = _polar(momentum) | {"mass": mass}
    leptons = []
    for side in (0.5, -0.5):
        along = (momentum * direction).sum(0) * side
        leptons.append(_polar(side * mass * direction + momentum * (along / (mass + energy) + 0.5)))
    for lepton in leptons:
        lepton["mass"] = np.zeros(n)
    return boson, leptons[0], leptons[1]


def _polar(momentum: Array) -> Table:
    """Return pt, eta and phi of Cartesian momenta, shape (3, n)."""
    pt = np.hypot(momentum[0], momentum[1])
    return {"pt": pt, "eta": np.arcsinh(momentum[2] / pt), "phi": np.arctan2(momentum[1], momentum[0])}


# -- what is seen -------------------------------------------------------------------------------
def _leptons(n: int, particles: Collection, rng: np.random.Generator) -> dict[str, Collection]:
    """Return muons, electrons and taus: smeared prompt ones and some that are not."""
    truth = with_columns(particles.table, row=particles.local)
    kind = np.abs(truth["pdgId"])
    taus = rows(truth, kind == 15)
    visible = with_columns(taus, pt=taus["pt"] * rng.uniform(0.3, 1.0, len(taus["pt"])))
    fate = rng.random(len(taus["pt"]))
    seen = {
        "Muon": [rows(truth, kind == 13), rows(visible, fate < 0.174)],
        "Electron": [rows(truth, kind == 11), rows(visible, (fate >= 0.174) & (fate < 0.352))],
        "Tau": [rows(visible, fate >= 0.352)],
    }
    fakes = {
        "Muon": scattered(n, 0.20, 3.0, 4.0, 2.4, rng),
        "Electron": scattered(n, 0.15, 5.0, 6.0, 2.5, rng),
        "Tau": scattered(n, 0.20, 18.0, 10.0, 2.3, rng),
    }
    code = {"Muon": 13, "Electron": 11, "Tau": 15}
    smear = {"Muon": 0.012, "Electron": 0.02, "Tau": 0.08}
    cuts = {"Muon": (3.0, 2.4), "Electron": (5.0, 2.5), "Tau": (18.0, 2.3)}
    mass = {"Muon": 0.10566, "Electron": 0.000511, "Tau": 1.0}
    result = {}
    for name, tables in seen.items():
        prompt = [_reconstructed(t, smear[name], *cuts[name], rng) for t in tables]
        sign = rng.choice([-1, 1], len(fakes[name]["event"]))
        fake = with_columns(fakes[name], charge=sign, genPartIdx=-1, genPartFlav=0)
        found = collect(n, *prompt, fake, by_pt=True)
        found.table = with_columns(found.table, mass=mass[name], pdgId=-code[name] * found.table["charge"])
        result[name] = found
    result["Tau"].table["mass"] = rng.choice([0.1396, 0.78, 1.15, 1.3], len(result["Tau"].table["event"]))
    return result


def _reconstructed(
    truth: Table, smear: float, pt_min: float, eta_max: float, rng: np.random.Generator
) -> Table:
    m = len(truth["event"])
    found = {
        "event": truth["event"],
        "pt": truth["pt"] * (1.0 + smear * rng.standard_normal(m)),
        "eta": truth["eta"] + 0.0005 * rng.standard_normal(m),
        "phi": _wrap(truth["phi"] + 0.0005 * rng.standard_normal(m)),
        "charge": -np.sign(truth["pdgId"]),
        "genPartIdx": truth["row"],
        "genPartFlav": np.where(np.abs(truth["pdgId"]) == 15, 15, 1),
    }
    keep = (found["pt"] > pt_min) & (np.abs(found["eta"]) < eta_max) & (rng.random(m) < 0.95)
    return rows(found, keep)


def _jets(
    n: int, particles: Table, leptons: Mapping[str, Collection], rng: np.random.Generator
) -> dict[str, Collection]:
    """Return generated jets, jets, fat jets and their subjets."""
    partons = rows(particles, particles["status"] == 23)
    m = len(partons["event"])
    flavour = np.where(np.abs(partons["pdgId"]) == 21, 0, np.abs(partons["pdgId"]))
    heavy = np.where(flavour >= 4, flavour, 0)
    partons = with_columns(partons, partonFlavour=partons["pdgId"], hadronFlavour=heavy)
    names = ("event", "pt", "eta", "phi", "partonFlavour", "hadronFlavour")
    true_jets = {name: partons[name] for name in names}
    generated = collect(n, _massive(true_jets, rng), by_pt=True)

    seen = [with_columns(true_jets, pt=partons["pt"] * rng.normal(1.0, 0.12, m))]
    for found in leptons.values():
        seen.append(_unflavoured(rows(found.table, found.table["pt"] > 13.0), names))
    seen.append(_unflavoured(scattered(n, 1.6, 15.0, 8.0, 4.7, rng), names))
    jets = [_massive(rows(t, t["pt"] > 15.0), rng) for t in seen]
    wide = rows(true_jets, partons["pt"] > 140.0)
    fat = collect(n, _massive(with_columns(wide, pt=1.1 * wide["pt"]), rng), by_pt=True)
    fat.table = with_columns(fat.table, subJetIdx1=2 * fat.local, subJetIdx2=2 * fat.local + 1)
    twice = rows(fat.table, np.repeat(np.arange(len(fat.table["event"])), 2))
    share = np.tile([0.62, 0.38], len(fat.table["event"]))
    spread = np.tile([0.1, -0.16], len(fat.table["event"]))
    halves = with_columns(twice, pt=share * twice["pt"], eta=twice["eta"] + spread, mass=0.4 * twice["mass"])
    return {
        "GenJet": generated,
        "Jet": collect(n, *jets, by_pt=True),
        "FatJet": fat,
        "SubJet": Collection(2 * fat.counts, halves),
    }


def _unflavoured(table: Table, names: tuple[str, ...]) -> Table:
    return {name: table[name] if name in table else np.zeros(len(table["event"]), int) for name in names}


def _massive(jets: Table, rng: np.random.Generator) -> Table:
    return with_columns(jets, mass=jets["pt"] * np.exp(rng.normal(-1.9, 0.3, len(jets["pt"]))))


def _others(n: int, found: Mapping[str, Collection], rng: np.random.Generator) -> dict[str, Collection]:
    """Return photons, final-state photons, vertices and trigger objects."""
    electrons, muons = found["Electron"].table, found["Muon"].table
    copies = rows(electrons, rng.random(len(electrons["pt"])) < 0.7)
    angles = ("event", "pt", "eta", "phi")
    lone = with_columns(scattered(n, 0.4, 5.0, 9.0, 2.5, rng), genPartIdx=-1, genPartFlav=0)
    same = {name: copies[name] for name in (*angles, "genPartIdx")}
    same = with_columns(same, genPartFlav=np.where(same["genPartIdx"] < 0, 0, 11))
    photons = collect(n, lone, same, by_pt=True)
    radiating = np.flatnonzero(rng.random(len(muons["pt"])) < 0.04)
    final = {name: muons[name][radiating] for name in angles}
    final = with_columns(
        final, pt=2.0 + rng.exponential(4.0, len(radiating)), muonIdx=found["Muon"].local[radiating]
    )
    vertices = with_columns(scattered(n, 0.5, 2.0, 12.0, 2.5, rng), mass=1.5)
    vertices["mass"] = rng.exponential(1.6, len(vertices["event"]))
    fired = []
    for table, code in ((muons, 13), (electrons, 11)):
        objects = rows(table, table["pt"] > 10.0)
        near = {name: objects[name] for name in angles}
        l1pt = near["pt"] * rng.normal(1.0, 0.2, len(near["pt"]))
        fired.append(with_columns(near, l1pt=l1pt, id=code))
    primary = {"event": np.repeat(np.arange(n), 3), "pt": np.zeros(3 * n)}
    return {
        "Photon": photons,
        "FsrPhoton": collect(n, final),
        "SV": collect(n, vertices, by_pt=True),
        "TrigObj": collect(n, *fired),
        "OtherPV": collect(n, primary),
    }


def _match(found: dict[str, Collection]) -> None:
    """Add the columns that point from one collection into another."""
    jets, muons, electrons = found["Jet"], found["Muon"], found["Electron"]
    for name in ("Muon", "Electron", "Tau", "Photon"):
        found[name].table["jetIdx"] = nearest(found[name], jets, 0.4)
    jets.table["genJetIdx"] = nearest(jets, found["GenJet"], 0.4)
    found["Photon"].table["electronIdx"] = nearest(found["Photon"], electrons, 0.05)
    electrons.table["photonIdx"] = nearest(electrons, found["Photon"], 0.05)
    _, muons.table["fsrPhotonIdx"], _ = first_two(found["FsrPhoton"], "muonIdx", muons)
    for kind, source in (("muon", muons), ("electron", electrons)):
        counts, one, two = first_two(source, "jetIdx", jets)
        jets.table[f"n{kind.capitalize()}s"] = counts
        jets.table[f"{kind}Idx1"], jets.table[f"{kind}Idx2"] = one, two


# -- one value per event ------------------------------------------------------------------------
def _missing_momentum(n: int, particles: Table, jets: Table, rng: np.random.Generator) -> dict[str, Array]:
    invisible = rows(particles, np.isin(np.abs(particles["pdgId"]), (12, 14, 16)))
    x = np.bincount(invisible["event"], invisible["pt"] * np.cos(invisible["phi"]), n)
    y = np.bincount(invisible["event"], invisible["pt"] * np.sin(invisible["phi"]), n)
    total = np.bincount(jets["event"], jets["pt"], n) + rng.gamma(6.0, 60.0, n)
    result = {"GenMET_pt": np.hypot(x, y), "GenMET_phi": np.arctan2(y, x)}
    for name, resolution in (("MET", 0.62), ("PuppiMET", 0.55), ("RawMET", 0.75)):
        width = resolution * np.sqrt(total)
        seen_x, seen_y = x + width * rng.standard_normal(n), y + width * rng.standard_normal(n)
        result[f"{name}_pt"] = np.hypot(seen_x, seen_y)
        result[f"{name}_phi"] = np.arctan2(seen_y, seen_x)
        result[f"{name}_sumEt"] = total
    result["MET_significance"] = result["MET_pt"] ** 2 / (0.62**2 * total)
    return result


def _conditions(n: int, pileup: Array, rng: np.random.Generator) -> dict[str, Array]:
    vertices = 1 + rng.poisson(0.75 * pileup)
    sign = np.where(rng.random(n) < 0.15, -1.0, 1.0)
    return {
        "PV_npvs": vertices,
        "PV_npvsGood": np.maximum(1, vertices - rng.poisson(2.0, n)),
        "fixedGridRhoFastjetAll": np.maximum(0.5, 0.65 * pileup + rng.normal(0.0, 3.0, n)),
        "Pileup_nTrueInt": pileup,
        "Pileup_nPU": rng.poisson(pileup),
        "genWeight": 26_520.5 * sign,
        "Generator_weight": 26_520.5 * sign,
    }


def _triggers(n: int, found: Mapping[str, Collection], rng: np.random.Generator) -> dict[str, Array]:
    """Return the paths of TRIGGERS: enough objects above threshold, and a little luck."""
    bits = {}
    for path, name, needed, threshold, efficiency in TRIGGERS:
        table = found[name].table
        above = np.bincount(table["event"][table["pt"] > threshold], minlength=n)
        bits[path] = (above >= needed) & (rng.random(n) < efficiency)
    return bits


def _wrap(phi: Array) -> Array:
    """Return angles in [−π, π)."""
    return (phi + np.pi) % (2 * np.pi) - np.pi
