"""ADL benchmark, query 5: MET of the events with an opposite-charge muon pair of mass 60 to 120 GeV."""

from __future__ import annotations

import hist
from adl import main

import skyhook_client


def query(client: skyhook_client.Client, dataset: str) -> hist.Hist:
    """Return the histogram."""
    events = client.query(
        dataset,
        ["MET_pt"],
        define={"z": "pairs(Muon)"},
        cut="nMuon >= 2 and any((z.slot0.charge != z.slot1.charge) & (z.mass > 60) & (z.mass < 120))",
    )
    return events.hist("MET_pt", bins=100, range=(0, 200))


if __name__ == "__main__":
    main(query)
