"""ADL benchmark, query 7: sum of the pT of jets above 30 GeV with no lepton above 10 GeV within ΔR 0.4."""

from __future__ import annotations

import hist
from adl import main

import skyhook_client


def query(client: skyhook_client.Client, dataset: str) -> hist.Hist:
    """Return the histogram."""
    events = client.query(
        dataset,
        ["Jet_pt"],
        define={
            "jets": "Jet[Jet_pt > 30]",
            "near_muon": "any(deltaR(cross(jets, Muon[Muon_pt > 10])) < 0.4, axis=2)",
            "near_electron": "any(deltaR(cross(jets, Electron[Electron_pt > 10])) < 0.4, axis=2)",
            "clean": "jets.pt[~(near_muon | near_electron)]",
        },
        cut="any(Jet_pt > 30)",
    )
    # What is missing fills nothing: events without a clean jet.
    return events.hist("mask(sum(clean), len(clean) > 0)", bins=100, range=(15, 200))


if __name__ == "__main__":
    main(query)
