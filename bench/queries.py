"""The nine benchmark queries: what each is, its answer, and how our users would write it.

A query delivers one or more named arrays. Its answer is kept as sums over files: how many values
each array has, an order-free fingerprint of their bits, and their histogram. So every system can
be checked on any number of files, whatever order it delivers its events in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .leptons import Q7_COLUMNS, Q8_COLUMNS, q7, q8

Arrays = Mapping[str, Any]
"""What a system delivers: by name NumPy, Arrow, Polars or awkward arrays, or lists of those, one per part."""
Histograms = dict[str, np.ndarray]
"""By name the 102 bin contents, flow bins included."""

BINS = 100
MET_AXIS = (0.0, 200.0)
JET_AXIS = (15.0, 60.0)
TOP_MASS_GEV = 172.5


@dataclass(frozen=True)
class BenchQuery:
    """One query."""

    name: str
    about: str
    columns: tuple[str, ...]
    """The columns that a system must read."""
    axes: Mapping[str, tuple[float, float] | None]
    """The delivered arrays; the histogram's range, or None for one that is not filled."""
    ours: Mapping[str, Any]
    """Keyword arguments of `client.query(dataset, …)`."""
    files: int | None = None
    """Run over this many files only, because the peers are slow; None: all."""
    tolerance: float = 0.0
    """Largest part of the values that may differ, where floating point leaves room."""
    met_above_gev: float | None = None
    """Of a skim: the cut on MET_pt, with nMuon >= 2; None keeps every event."""

    @property
    def is_skim(self) -> bool:
        return self.name.startswith("skim")


MUONS = ("Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge")
SKIM_COLUMNS = ("run", "event", "MET_pt", "MET_phi", *MUONS, "Jet_pt")
DIMUON_MASS = (
    "sqrt(2 * pairs(Muon).slot0.pt * pairs(Muon).slot1.pt"
    " * (cosh(pairs(Muon).slot0.eta - pairs(Muon).slot1.eta)"
    " - cos(pairs(Muon).slot0.phi - pairs(Muon).slot1.phi)))"
)


def _skim(percent: int, met_above_gev: float | None) -> BenchQuery:
    cut = {} if met_above_gev is None else {"cut": f"MET_pt > {met_above_gev} and nMuon >= 2"}
    return BenchQuery(
        f"skim{percent}",
        f"{percent} % of the events, ten columns of which six jagged",
        ("nMuon", *SKIM_COLUMNS),
        dict.fromkeys(SKIM_COLUMNS),
        {"columns": list(SKIM_COLUMNS), **cut},
        met_above_gev=met_above_gev,
    )


QUERIES: dict[str, BenchQuery] = {
    q.name: q
    for q in (
        BenchQuery("q1", "MET of all events", ("MET_pt",), {"MET_pt": MET_AXIS}, {"columns": ["MET_pt"]}),
        BenchQuery("q2", "pt of all jets", ("Jet_pt",), {"Jet_pt": JET_AXIS}, {"columns": ["Jet_pt"]}),
        BenchQuery(
            "q3",
            "pt of jets with |eta| < 1",
            ("Jet_pt", "Jet_eta"),
            {"Jet_pt": JET_AXIS},
            {"columns": ["Jet_pt"], "objects": {"Jet": "abs(eta) < 1"}},
        ),
        BenchQuery(
            "q4",
            "MET of events with at least two jets of pt > 40",
            ("MET_pt", "Jet_pt"),
            {"MET_pt": MET_AXIS},
            {"columns": ["MET_pt"], "cut": "count_nonzero(Jet_pt > 40) >= 2"},
        ),
        BenchQuery(
            "q5",
            "MET of events with an opposite-charge muon pair of 60 < m < 120",
            ("MET_pt", "nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge"),
            {"MET_pt": MET_AXIS},
            {
                "columns": ["MET_pt"],
                "cut": "nMuon >= 2 and any((pairs(Muon).slot0.charge != pairs(Muon).slot1.charge)"
                f" & ({DIMUON_MASS} > 60) & ({DIMUON_MASS} < 120))",
            },
            tolerance=1e-4,
        ),
        BenchQuery(
            "q6",
            "pt and largest b-tag of the three jets whose mass is nearest the top's",
            ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_btag"),
            {"trijet_pt": (15.0, 40.0), "trijet_btag": (0.0, 1.0)},
            {
                "columns": ["trijet_pt", "trijet_btag"],
                "cut": "nJet >= 3",
                "define": {
                    "tri": "combinations(Jet, 3)",
                    "best": f"argmin(abs(mass(tri) - {TOP_MASS_GEV}))",
                    "trijet_pt": "pt(tri)[best]",
                    "trijet_btag": "max(max(tri.slot0.btag, tri.slot1.btag), tri.slot2.btag)[best]",
                },
            },
            files=2,
            tolerance=1e-3,
        ),
        BenchQuery(
            "q7",
            "sum of the pt of jets above 30 GeV with no lepton above 10 GeV within ΔR 0.4",
            Q7_COLUMNS,
            {"sum_pt": (15.0, 200.0)},
            {
                "columns": ["sum_pt"],
                "cut": "has_clean",
                "define": {
                    "jets": "Jet[Jet_pt > 30]",
                    "near_muon": "any(deltaR(cross(jets, Muon[Muon_pt > 10])) < 0.4, axis=2)",
                    "near_electron": "any(deltaR(cross(jets, Electron[Electron_pt > 10])) < 0.4, axis=2)",
                    "clean": "jets.pt[~(near_muon | near_electron)]",
                    "has_clean": "len(clean) > 0",
                    "sum_pt": "sum(clean)",
                },
            },
            files=2,
            tolerance=1e-4,
        ),
        BenchQuery(
            "q8",
            "transverse mass of MET and the leading lepton outside the pair nearest to the Z",
            Q8_COLUMNS,
            {"mt": (0.0, 200.0)},
            {},
            files=2,
            tolerance=1e-3,
        ),
        _skim(1, 57.5),
        _skim(10, 33.0),
        _skim(100, None),
    )
}


# -- the independent answer ------------------------------------------------------------------------
def deliver_awkward(query: BenchQuery, events: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of `query` from awkward arrays of its columns, in the idiom of its users."""
    if query.is_skim:
        return _skim_awkward(query, events)
    return _AWKWARD[query.name](events)


def _q1(events: Mapping[str, Any]) -> dict[str, Any]:
    return {"MET_pt": np.asarray(events["MET_pt"])}


def _q2(events: Mapping[str, Any]) -> dict[str, Any]:
    import awkward as ak

    return {"Jet_pt": np.asarray(ak.flatten(events["Jet_pt"]))}


def _q3(events: Mapping[str, Any]) -> dict[str, Any]:
    import awkward as ak

    pt, eta = (np.asarray(ak.flatten(events[name])) for name in ("Jet_pt", "Jet_eta"))
    return {"Jet_pt": pt[np.abs(eta) < 1]}


def _q4(events: Mapping[str, Any]) -> dict[str, Any]:
    import awkward as ak

    keep = ak.sum(events["Jet_pt"] > 40, axis=1) >= 2
    return {"MET_pt": np.asarray(events["MET_pt"])[np.asarray(keep)]}


def _q5(events: Mapping[str, Any]) -> dict[str, Any]:
    import awkward as ak

    two = np.asarray(ak.num(events["Muon_pt"]) >= 2)
    muons = ak.zip({name: events[f"Muon_{name}"][two] for name in ("pt", "eta", "phi", "charge")})
    a, b = ak.unzip(ak.combinations(muons, 2))
    mass = np.sqrt(2 * a.pt * b.pt * (np.cosh(a.eta - b.eta) - np.cos(a.phi - b.phi)))
    keep = ak.any((a.charge != b.charge) & (mass > 60) & (mass < 120), axis=1)
    return {"MET_pt": np.asarray(events["MET_pt"])[two][np.asarray(keep)]}


def _q6(events: Mapping[str, Any]) -> dict[str, Any]:
    import awkward as ak

    three = np.asarray(ak.num(events["Jet_pt"]) >= 3)
    pt, eta, phi, mass, btag = (events[name][three] for name in QUERIES["q6"].columns)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px * px + py * py + pz * pz + mass * mass)
    jets = ak.zip({"x": px, "y": py, "z": pz, "e": energy, "btag": btag})
    a, b, c = ak.unzip(ak.combinations(jets, 3))
    x, y, z, e = a.x + b.x + c.x, a.y + b.y + c.y, a.z + b.z + c.z, a.e + b.e + c.e
    distance = np.abs(np.sqrt(np.maximum(e * e - x * x - y * y - z * z, 0)) - TOP_MASS_GEV)
    best = ak.argmin(distance, axis=1, keepdims=True)
    largest = np.maximum(np.maximum(a.btag[best], b.btag[best]), c.btag[best])
    return {
        "trijet_pt": np.asarray(ak.flatten(np.sqrt(x[best] ** 2 + y[best] ** 2))),
        "trijet_btag": np.asarray(ak.flatten(largest)),
    }


_AWKWARD = {"q1": _q1, "q2": _q2, "q3": _q3, "q4": _q4, "q5": _q5, "q6": _q6, "q7": q7, "q8": q8}


def _skim_awkward(query: BenchQuery, events: Mapping[str, Any]) -> dict[str, Any]:
    import awkward as ak

    if query.met_above_gev is None:
        return {name: events[name] for name in SKIM_COLUMNS}
    keep = (np.asarray(events["MET_pt"]) > np.float32(query.met_above_gev)) & (
        np.asarray(events["nMuon"]) >= 2
    )
    return {name: ak.to_packed(events[name][keep]) for name in SKIM_COLUMNS}


def fill(query: BenchQuery, arrays: Arrays, threads: int = 1) -> Histograms:
    """Return the histograms of delivered NumPy arrays, by boost-histogram."""
    import boost_histogram as bh

    filled: Histograms = {}
    for name, limits in query.axes.items():
        assert limits is not None
        histogram = bh.Histogram(bh.axis.Regular(BINS, *limits), storage=bh.storage.Int64())
        for part in arrays[name] if isinstance(arrays[name], list) else [arrays[name]]:
            histogram.fill(part, threads=threads if threads > 1 else None)
        filled[name] = histogram.view(flow=True)
    return filled


# -- comparing answers -----------------------------------------------------------------------------
@dataclass
class Answer:
    """What a query delivered, as sums over files."""

    counts: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, int] = field(default_factory=dict)
    histograms: dict[str, list[int]] = field(default_factory=dict)

    def __add__(self, other: Answer) -> Answer:
        def add(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
            return {k: (a.get(k, 0) + b.get(k, 0)) % 2**64 for k in {**a, **b}}

        bins = dict(self.histograms)
        for name, contents in other.histograms.items():
            bins[name] = [x + y for x, y in zip(bins.get(name, [0] * (BINS + 2)), contents, strict=True)]
        return Answer(add(self.counts, other.counts), add(self.fingerprints, other.fingerprints), bins)


def answer_of_arrays(query: BenchQuery, arrays: Arrays) -> Answer:
    """Return the answer that delivered arrays give."""
    answer = Answer()
    flat: dict[str, list[np.ndarray]] = {}
    for name in query.axes:
        for values, lengths in _parts(arrays[name]):
            flat.setdefault(name, []).append(values)
            _count(answer, name, values)
            if lengths is not None:
                _count(answer, name + "#", lengths.astype(np.int64))
    if not query.is_skim:
        answer.histograms = {name: list(map(int, bins)) for name, bins in fill(query, flat).items()}
    return answer


def answer_of_histograms(histograms: Histograms) -> Answer:
    """Return the answer that filled histograms give."""
    bins = {name: list(map(int, contents)) for name, contents in histograms.items()}
    return Answer({name: sum(contents) for name, contents in bins.items()}, {}, bins)


def difference(query: BenchQuery, got: Answer, expected: Answer) -> str | None:
    """Return how `got` contradicts `expected`, or None if it does not."""
    for name, bins in got.histograms.items():
        total = sum(expected.histograms[name])
        moved = sum(abs(a - b) for a, b in zip(bins, expected.histograms[name], strict=True))
        if moved > 2 * query.tolerance * total:
            return f"{query.name}: {name} has {moved} of {total} entries in other bins"
    if query.tolerance == 0 and got.fingerprints:
        for name, print_ in expected.fingerprints.items():
            if (got.counts.get(name), got.fingerprints.get(name)) != (expected.counts[name], print_):
                found = got.counts.get(name)
                return f"{query.name}: {name} has {found} values, not the {expected.counts[name]} expected"
    return None


def _count(answer: Answer, name: str, values: np.ndarray) -> None:
    answer.counts[name] = answer.counts.get(name, 0) + len(values)
    answer.fingerprints[name] = (answer.fingerprints.get(name, 0) + fingerprint(values)) % 2**64


def fingerprint(values: np.ndarray) -> int:
    """Return a sum over the mixed bits of the values: the same in any order."""
    bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").astype(np.uint64)
    bits = (bits + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return int(np.sum(bits ^ (bits >> np.uint64(32)), dtype=np.uint64))


def _parts(array: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield (flat values, list lengths or None) of each part of a delivered array."""
    import awkward as ak
    import pyarrow as pa

    if isinstance(array, list):
        for part in array:
            yield from _parts(part)
    elif isinstance(array, np.ndarray):
        yield array, None
    elif isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from _parts(chunk)
    elif isinstance(array, pa.Array):
        if hasattr(array, "offsets"):
            yield array.flatten().to_numpy(), np.diff(array.offsets.to_numpy())
        else:
            yield array.to_numpy(), None
    elif isinstance(array, ak.Array):
        if array.ndim == 1:
            yield np.asarray(array), None
        else:
            yield np.asarray(ak.flatten(array)), np.asarray(ak.num(array))
    else:  # a polars.Series
        yield from _parts(array.to_arrow())
