"""ADL benchmark, query 3: pT of the jets with |η| < 1."""

from __future__ import annotations

import hist
from adl import main

import skyhook_client


def query(client: skyhook_client.Client, dataset: str) -> hist.Hist:
    """Return the histogram."""
    return client.query(dataset, ["Jet_pt"]).hist("Jet_pt[abs(Jet_eta) < 1]", bins=100, range=(15, 60))


if __name__ == "__main__":
    main(query)
