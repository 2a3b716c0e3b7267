"""ADL benchmark, query 8: transverse mass of MET and the leading lepton outside the pair nearest to the Z.

Of events with three leptons (electrons or muons), two of them of one flavor and opposite charges.
"""

from __future__ import annotations

import hist
from adl import main

import skyhook_client


def pairs(name: str, leptons: str) -> dict[str, str]:
    """Define the pairs of opposite charge, the best of them, and how far that is from the Z."""
    return {
        f"{name}_all": f"pairs({leptons})",
        f"{name}_opposite": f"{name}_all.slot0.charge != {name}_all.slot1.charge",
        f"{name}_off": f"abs({name}_all[{name}_opposite].mass - 91.2)",
        f"{name}_miss": f"fill_none(min({name}_off), inf)",
        f"{name}_places": f"pairs(local_index({leptons}))",
        f"{name}_first": f"{name}_places.slot0[{name}_opposite][argmin({name}_off)]",
        f"{name}_second": f"{name}_places.slot1[{name}_opposite][argmin({name}_off)]",
    }


def others(name: str, leptons: str, other: str) -> dict[str, str]:
    """Define the leading lepton that is not in the best pair: all are free if that is of the other flavor."""
    place = f"local_index({leptons})"
    return {
        f"{name}_out": f"({place} != {name}_first) & ({place} != {name}_second)",
        f"{name}_free": f"{leptons}[{name}_out | ({name}_miss > {other}_miss)]",
        f"{name}_lead": f"{name}_free[argmax({name}_free.pt)]",
        f"{name}_pt": f"fill_none({name}_lead.pt, 0)",
    }


def query(client: skyhook_client.Client, dataset: str) -> hist.Hist:
    """Return the histogram."""
    events = client.query(
        dataset,
        ["MET_pt"],
        define={
            **pairs("e", "Electron"),
            **pairs("mu", "Muon"),
            **others("e", "Electron", "mu"),
            **others("mu", "Muon", "e"),
            "dphi": "deltaphi(where(e_pt > mu_pt, e_lead.phi, mu_lead.phi), MET_phi)",
            "mt": "sqrt(2 * max(e_pt, mu_pt) * MET_pt * (1 - cos(dphi)))",
        },
        cut="nElectron + nMuon >= 3 and min(e_miss, mu_miss) < inf",
    )
    return events.hist("mt", bins=100, range=(0, 200))


if __name__ == "__main__":
    main(query)
