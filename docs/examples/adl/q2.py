"""ADL benchmark, query 2: pT of all jets."""

from __future__ import annotations

import hist
from adl import main

import skyhook_client


def query(client: skyhook_client.Client, dataset: str) -> hist.Hist:
    """Return the histogram."""
    return client.query(dataset, ["Jet_pt"]).hist("Jet_pt", bins=100, range=(15, 60))


if __name__ == "__main__":
    main(query)
