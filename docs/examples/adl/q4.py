"""ADL benchmark, query 4: MET of the events with at least two jets of pT > 40 GeV."""

from __future__ import annotations

import hist
from adl import main

import skyhook_client


def query(client: skyhook_client.Client, dataset: str) -> hist.Hist:
    """Return the histogram."""
    return client.query(dataset, ["MET_pt"], "sum(Jet_pt > 40) >= 2").hist("MET_pt", bins=100, range=(0, 200))


if __name__ == "__main__":
    main(query)
