"""ADL queries 7 and 8 as awkward users write them: jets away from leptons, and leptons beside a Z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Z_MASS_GEV = 91.2
JET_PT_GEV, LEPTON_PT_GEV, DELTA_R = 30, 10, 0.4
FIELDS = ("pt", "eta", "phi", "mass", "charge")
Q7_COLUMNS = tuple(f"{c}_{x}" for c in ("Jet", "Muon", "Electron") for x in ("pt", "eta", "phi"))
Q8_COLUMNS = ("MET_pt", "MET_phi", *(f"{c}_{x}" for c in ("Electron", "Muon") for x in FIELDS))


def q7(events: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum of the pt of jets above 30 GeV away from leptons, of the events that have any."""
    import awkward as ak

    hard = events["Jet_pt"] > JET_PT_GEV
    pt, eta, phi = (events[f"Jet_{x}"][hard] for x in ("pt", "eta", "phi"))
    near: Any = False
    for name in ("Muon", "Electron"):
        kept = events[f"{name}_pt"] > LEPTON_PT_GEV
        etas, phis = (
            ak.unzip(ak.cartesian([jet, events[f"{name}_{x}"][kept]], nested=True))
            for jet, x in ((eta, "eta"), (phi, "phi"))
        )
        distance = np.hypot(etas[0] - etas[1], delta_phi(*phis))
        near = near | ak.any(distance < DELTA_R, axis=2)
    clean = pt[~near]
    return {"sum_pt": np.asarray(ak.sum(clean[ak.num(clean) > 0], axis=1))}


def q8(events: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transverse mass of MET and the leading lepton outside the pair nearest to the Z."""
    import awkward as ak

    number = ak.num(events["Electron_pt"]) + ak.num(events["Muon_pt"])
    three = np.asarray(number >= 3)
    events = {name: events[name][three] for name in Q8_COLUMNS}
    flavors = [_momenta(events, name) for name in ("Electron", "Muon")]
    best = [_near_z(leptons) for leptons in flavors]
    leads = []
    for mine, other in ((0, 1), (1, 0)):
        leptons, (miss, i, j) = flavors[mine], best[mine]
        place = ak.local_index(leptons)
        free = leptons[((place != i) & (place != j)) | (miss > best[other][0])]
        leads.append(free[ak.argmax(free.pt, axis=1, keepdims=True)])
    lead = ak.concatenate(leads, axis=1)
    lead = ak.firsts(lead[ak.argmax(lead.pt, axis=1, keepdims=True)])
    kept = np.minimum(best[0][0], best[1][0]) < np.inf
    pt, phi = (ak.to_numpy(lead[x][kept], allow_missing=False) for x in ("pt", "phi"))
    met, met_phi = (np.asarray(events[name])[np.asarray(kept)] for name in ("MET_pt", "MET_phi"))
    return {"mt": np.sqrt(2 * pt * met * (1 - np.cos(delta_phi(phi, met_phi))))}


def delta_phi(a: Any, b: Any) -> Any:
    """Return the difference of two angles, from -π to π."""
    return (a - b + np.pi) % (2 * np.pi) - np.pi


def _momenta(events: Mapping[str, Any], name: str) -> Any:
    import awkward as ak

    pt, eta, phi, mass, charge = (events[f"{name}_{x}"] for x in FIELDS)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px * px + py * py + pz * pz + mass * mass)
    return ak.zip({"px": px, "py": py, "pz": pz, "e": energy, "pt": pt, "phi": phi, "charge": charge})


def _near_z(leptons: Any) -> tuple[Any, Any, Any]:
    """Return how far the best pair of opposite charge is from the Z, and its places; inf, -1 without one."""
    import awkward as ak

    a, b = ak.unzip(ak.combinations(leptons, 2))
    i, j = ak.unzip(ak.argcombinations(leptons, 2))
    square = (a.e + b.e) ** 2 - (a.px + b.px) ** 2 - (a.py + b.py) ** 2 - (a.pz + b.pz) ** 2
    opposite = a.charge != b.charge
    off = abs(np.sqrt(np.maximum(square, 0)) - Z_MASS_GEV)[opposite]
    best = ak.argmin(off, axis=1, keepdims=True)
    return (
        ak.fill_none(ak.min(off, axis=1), np.inf),
        ak.fill_none(ak.firsts(i[opposite][best]), -1),
        ak.fill_none(ak.firsts(j[opposite][best]), -1),
    )
