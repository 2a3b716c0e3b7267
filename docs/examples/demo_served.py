"""The demo with a service: it ingests, selects and fills histograms; the client only asks.

Starts a service on this machine, and ends it.
Run by `make demo-served`, or by hand: ``python docs/examples/demo_served.py FOLDER [EVENTS]``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
from demo import CUT, step

import skyhook_casa
from skyhook_casa.nanoaod import make_dataset

COLUMNS = ["Muon_pt", "Muon_eta", "MET_pt", "dimuon_mass"]
DEFINE = {"dimuon_mass": "mass(Muon[0] + Muon[1])"}


def main(folder: Path, events: int) -> None:
    """Run the demo; everything it makes goes into `folder`."""
    with step(f"Make {events:,} simulated NanoAOD events"):
        files = make_dataset(folder / "nano", events, files=4)
    store = folder / "served-store"
    with serving(store) as address:
        client = skyhook_casa.connect(address)
        if any(dataset.name == "dy" for dataset in client.datasets()):
            client.drop("dy")
        with step(f"Ingest them through {address}"):
            client.ingest("dy", [file.path for file in files])
        query = client.query("dy", COLUMNS, CUT, define=DEFINE)
        print(f"\nEvents with {CUT}:")
        with step("Ask for them"):
            selected = query.to_awkward()
        print()
        print(query.report)
        with step("Count those with a Z, and fill a histogram, without moving events"):
            on_peak = client.query("dy", cut=f"{CUT} and abs(mass(Muon[0] + Muon[1]) - 91.2) < 10").count()
            met = client.query("dy", cut=CUT).hist("MET_pt", bins=12, range=(0, 120))
            print(f"{on_peak:,} events\n{met}")
        alone = skyhook_casa.connect(store).query("dy", COLUMNS, CUT, define=DEFINE).to_awkward()
        if not ak.array_equal(selected, alone):
            raise SystemExit("the service and the embedded engine gave different answers")
        print("\nThe embedded engine gives the same events.")


@contextmanager
def serving(store: Path) -> Iterator[str]:
    """Give the address of a service that runs meanwhile."""
    command = ["-m", "skyhook_casa.cli", "--store", str(store), "serve", "--listen", "127.0.0.1:0"]
    quiet = {**os.environ, "SKYHOOK_SERVE_LOG_LEVEL": "warning"}
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=quiet
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"grpc://\S+", line)
            if found is None:
                raise SystemExit("the service did not start")
            print(f"\n{line.strip()}")
            yield found.group()
        finally:
            process.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
