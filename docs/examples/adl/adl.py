"""What the scripts q1.py to q8.py share: they fill their histogram and print it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import hist

import skyhook_client

Answer = hist.Hist | Mapping[str, hist.Hist]


def main(query: Callable[[skyhook_client.Client, str], Answer]) -> None:
    """Ask a store or a service, and print the histograms."""
    parser = argparse.ArgumentParser(description="Fill a histogram of the ADL benchmarks.")
    parser.add_argument("--store", help="a directory, an s3:// or rados:// address, or a service, grpc://…")
    parser.add_argument("--dataset", default="dy", help="a dataset of NanoAOD")
    options = parser.parse_args()
    with skyhook_client.connect(options.store) as client:
        answer = query(client, options.dataset)
        for made in answer.values() if isinstance(answer, Mapping) else [answer]:
            print(f"{made.axes[0].label}, {made.sum(flow=True):,.0f} entries")
            print(made)
