"""ADL benchmark, query 1: MET of all events."""

from __future__ import annotations

import hist
from adl import main

import skyhook_client


def query(client: skyhook_client.Client, dataset: str) -> hist.Hist:
    """Return the histogram."""
    return client.query(dataset, ["MET_pt"]).hist("MET_pt", bins=100, range=(0, 200))


if __name__ == "__main__":
    main(query)
