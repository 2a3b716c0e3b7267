"""Synthetic events with the 86 branches of the ADL benchmark's file, Run2012B_SingleMu.

Every marginal follows `run2012b.txt`. An event's activity couples the multiplicities, MET_sumet
and PV_npvs; a quarter of the events with two muons have a Z → μμ pair, so q5 has a peak; jets are
sorted by pt. Floats have full precision, as in that file, so it compresses as badly.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from .data import COLLECTIONS

CLUSTER_EVENTS = 50_000
LUMINOSITY_BLOCK_EVENTS = 40_000
Z_FRACTION = 0.24
"""Part of the events with two muons whose first two come from a Z."""
LATER_MUON_PT_GEV = (3.01, 3.30, 3.70, 4.40, 5.6, 8.0, 12.5, 20.0, 29.0, 41.0, 160.0)
"""Quantiles of the muons after the first."""
JOINT = {
    "Tau_idIso": ("VLoose", "Loose", "Medium", "Tight"),
    "Tau_idAntiEle": ("Loose", "Medium", "Tight"),
    "Tau_idAntiMu": ("Loose", "Medium", "Tight"),
}
"""Working points drawn together: who passes the tighter passes the looser."""
TRACK_FIELDS = ("dxy", "dxyErr", "dz", "dzErr")
"""Muon fields that are -999 together."""

Sampler = Callable[[np.ndarray], np.ndarray]
"""Takes uniform numbers, gives values."""
Wanted = Callable[[str], bool]
"""Says of a branch whether it is made; counters always are if their collection is."""


def every(name: str) -> bool:
    """Want every branch."""
    return True


# -- marginals ---------------------------------------------------------------------------------------
@lru_cache
def samplers() -> dict[str, Sampler]:
    """Return the sampler of each branch, in the file's order."""
    lines = Path(__file__).with_name("run2012b.txt").read_text().splitlines()
    table = [line.split(" ", 2) for line in lines if not line.startswith("#")]
    return {name: _sampler(kind, text) for name, kind, text in table}


def _sampler(kind: str, text: str) -> Sampler:
    if kind == "b":
        return lambda u: u < float(text)
    if kind == "i":
        values, edges = _weighted(text.split())
        whole = values.astype(np.int32)
        return lambda u: whole[np.minimum(np.searchsorted(edges, u), len(whole) - 1)]
    if kind == "q":
        quantiles = np.array(text.split(), float)
        return lambda u: np.floor(_at_quantile(quantiles, u) + 0.5).astype(np.int32)
    single, _, rest = text.partition("|")
    return _mixed(
        *_weighted([x for x in single.strip().split(",") if x], whole=False), np.array(rest.split(), float)
    )


def _weighted(pairs: list[str], whole: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return the values and the cumulated probabilities of "value:probability" texts."""
    values = np.array([float(pair.split(":")[0]) for pair in pairs])
    edges = np.cumsum([float(pair.split(":")[1]) for pair in pairs])
    return values, edges / edges[-1] if whole else edges


def _mixed(values: np.ndarray, edges: np.ndarray, quantiles: np.ndarray) -> Sampler:
    """Return a sampler of single values and, for the rest of the probability, of quantiles."""
    below = float(edges[-1]) if len(edges) else 0.0

    def sample(u: np.ndarray) -> np.ndarray:
        if not len(quantiles):
            return np.full(len(u), values[0], np.float32)
        drawn = _at_quantile(quantiles, np.clip((u - below) / (1 - below), 0, 1))
        for value, low, high in zip(values, [0.0, *edges], edges, strict=False):
            drawn[(u >= low) & (u < high)] = value
        return drawn.astype(np.float32)

    return sample


def _at_quantile(quantiles: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return the inverse distribution at `u`; a long upper tail falls as a power, not evenly."""
    last = len(quantiles) - 1
    x = np.interp(u * last, np.arange(last + 1), quantiles)
    if quantiles[-1] > 2 * quantiles[-2] > 0:
        tail = np.maximum(u * last - (last - 1), 0)
        x = np.where(tail > 0, quantiles[-2] * (quantiles[-1] / quantiles[-2]) ** (tail**3), x)
    return x


# -- events ------------------------------------------------------------------------------------------
def make_events(
    events: int, rng: np.random.Generator, first_event: int, wanted: Wanted = every
) -> dict[str, Any]:
    """Return one cluster of events as uproot writes it: columns, and a record list per collection."""
    activity, pileup = rng.standard_normal((2, events))

    def coupled(to_activity: float, to_pileup: float = 0.0) -> np.ndarray:
        own = np.sqrt(1 - to_activity**2 - to_pileup**2) * rng.standard_normal(events)
        z = to_activity * activity + to_pileup * pileup + own
        return np.asarray(1 / (1 + np.exp(-z * (1.5976 + 0.070566 * z * z))))

    uniforms = {
        "PV_npvs": coupled(0.3, 0.75),
        "MET_sumet": coupled(0.6, 0.6),
        "nMuon": coupled(0.15),
        "nElectron": coupled(0.3),
        "nTau": coupled(0.8, 0.1),
        "nPhoton": coupled(0.5),
        "nJet": coupled(0.85, 0.1),
    }
    trigger = rng.random(events)
    uniforms |= {"HLT_IsoMu24_eta2p1": trigger, "HLT_IsoMu24": trigger}
    made: dict[str, Any] = _event_numbers(events, rng, first_event)
    for name, sample in samplers().items():
        collection = name.split("_")[0].removeprefix("n")
        if collection not in COLLECTIONS and wanted(name):
            made[name] = sample(uniforms.get(name, rng.random(events)))
        elif name == "n" + collection and wanted(name):
            made[collection] = _collection(collection, sample(uniforms[name]).astype(np.int64), rng, wanted)
    made["MET_phi"] = _angles(events, rng)
    return made


def _event_numbers(events: int, rng: np.random.Generator, first_event: int) -> dict[str, Any]:
    numbers = first_event + np.arange(events)
    return {
        "run": np.full(events, 193_834 + first_event // 1_500_000, np.int32),
        "luminosityBlock": (1 + numbers // LUMINOSITY_BLOCK_EVENTS).astype(np.uint32),
        "event": np.uint64(60_000_000 + 13 * first_event)
        + np.sort(rng.integers(0, 13 * events, events)).astype(np.uint64),
    }


def _angles(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-np.pi, np.pi, n).astype(np.float32)


def _collection(name: str, lengths: np.ndarray, rng: np.random.Generator, wanted: Wanted) -> Any:
    """Return the records of one collection."""
    import awkward as ak

    n = int(lengths.sum())
    sentinel = rng.random(n)
    fields: dict[str, np.ndarray] = {}
    for full, sample in samplers().items():
        if full.startswith(name + "_") and wanted(full):
            fields[full[len(name) + 1 :]] = sample(rng.random(n))
            if full.endswith("_eta"):
                fields["phi"] = _angles(n, rng)
    if name == "Muon":
        _shape_muons(fields, lengths, sentinel, rng)
    if name == "Tau":
        for prefix, points in JOINT.items():
            u = rng.random(n)
            fields |= {(prefix + p)[4:]: samplers()[prefix + p](u) for p in points if wanted(prefix + p)}
    if name == "Jet":
        owner = np.repeat(np.arange(len(lengths)), lengths)
        fields["pt"] = fields["pt"][np.lexsort((-fields["pt"], owner))]
        fields["mass"] = (fields["pt"] * np.exp(rng.normal(-1.6, 0.3, n))).astype(np.float32)
    return ak.unflatten(ak.zip(fields, depth_limit=1), lengths)


def _shape_muons(
    fields: dict[str, np.ndarray], lengths: np.ndarray, sentinel: np.ndarray, rng: np.random.Generator
) -> None:
    """Make later muons soft, lost tracks common to all fields, and insert the Z pairs."""
    first = np.cumsum(lengths) - lengths
    later = np.ones(len(sentinel), bool)
    later[first[lengths > 0]] = False
    soft = _at_quantile(np.array(LATER_MUON_PT_GEV), rng.random(int(later.sum())))
    fields["pt"][later] = soft.astype(np.float32)
    lost = sentinel < 0.1604
    for name in filter(fields.__contains__, TRACK_FIELDS):
        again = samplers()["Muon_" + name](rng.uniform(0.1604, 1, len(sentinel)))
        fields[name] = np.where(lost, np.float32(-999), again)
    chosen = np.flatnonzero(lengths >= 2)
    chosen = chosen[rng.random(len(chosen)) < Z_FRACTION]
    plus = rng.random(len(chosen)) < 0.5
    for slot, momentum in enumerate(_z_muons(len(chosen), rng)):
        at = first[chosen] + slot
        pt = np.hypot(momentum[0], momentum[1])
        fields["pt"][at] = pt
        fields["eta"][at] = np.arcsinh(momentum[2] / pt).clip(-2.5, 2.5)
        fields["phi"][at] = np.arctan2(momentum[1], momentum[0])
        fields["charge"][at] = np.where(plus, 1, -1) * (1 - 2 * slot)


def _z_muons(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the momenta (x, y, z) of the two muons of `n` Z bosons, in GeV."""
    lorentzian = np.tan(np.pi * (rng.random(n) - 0.5)).clip(-40, 40)
    mass = np.abs((91.1876 + 0.5 * 2.4952 * lorentzian) * (1 + 0.012 * rng.standard_normal(n))) + 1e-3
    pt, rapidity = np.exp(rng.normal(2.4, 0.85, n)), rng.normal(0, 0.85, n)
    angle, decay_angle = rng.uniform(-np.pi, np.pi, (2, n))
    cosine = rng.uniform(-0.9, 0.9, n)
    sine = np.sqrt(1 - cosine**2)
    transverse_mass = np.hypot(mass, pt)
    z = np.stack([pt * np.cos(angle), pt * np.sin(angle), transverse_mass * np.sinh(rapidity)])
    energy = transverse_mass * np.cosh(rapidity)
    decay = np.stack([sine * np.cos(decay_angle), sine * np.sin(decay_angle), cosine]) * mass / 2

    def boosted(momentum: np.ndarray) -> np.ndarray:
        along = (z * momentum).sum(axis=0)
        return np.asarray(momentum + z * (along / (mass * (energy + mass)) + 0.5))

    return boosted(decay), boosted(-decay)


# -- files -------------------------------------------------------------------------------------------
def write(
    path: Path, events: int, first_event: int, seed: int, wanted: Wanted = every, level: int = 1
) -> Path:
    """Write one ROOT file, by default with zlib level 1; level 0 does not compress."""
    import awkward as ak
    import uproot

    rng = np.random.default_rng([seed, first_event])
    with uproot.recreate(path, compression=uproot.ZLIB(level) if level else None) as file:
        tree = None
        for start in range(0, events, CLUSTER_EVENTS):
            made = make_events(min(CLUSTER_EVENTS, events - start), rng, first_event + start, wanted)
            if tree is None:
                types = {
                    n: a.dtype if isinstance(a, np.ndarray) else ak.type(a).content for n, a in made.items()
                }
                tree = file.mktree("Events", types)
            tree.extend(made)
    return path


def write_dataset(folder: Path, events: int, files: int, seed: int = 1, processes: int = 2) -> None:
    """Write `files` ROOT files of `events` events together."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = [events * i // files for i in range(files + 1)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        jobs = [
            pool.submit(write, folder / f"nano_{i:03d}.root", edges[i + 1] - edges[i], edges[i], seed)
            for i in range(files)
        ]
        for job in jobs:
            print(job.result(), flush=True)
