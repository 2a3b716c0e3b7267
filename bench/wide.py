"""Fixed costs on a real 1,499-branch schema: open a dataset and read one column.

    python -m bench.wide DIR        needs DIR/wide/root: python -m bench.data wide DIR --source nano.root

One core, warm: every system opens the file or dataset anew and reads one column of 30,000
events; the arrays are compared. The same column is then read from a dataset of the same events
that has ten columns only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .data import files_of
from .machine import state_machine

COLUMNS = ("MET_pt", "Muon_pt")
TEN_BRANCHES = (
    "nMuon",
    "MET_pt",
    "MET_phi",
    "Muon_pt",
    "Muon_eta",
    "Muon_phi",
    "Muon_charge",
    "run",
    "event",
    "PV_npvs",
)


def _uproot(path: str, name: str) -> Any:
    import uproot

    with uproot.open(path) as file:
        return file["Events"][name].array()


def _coffea(path: str, name: str) -> Any:
    import awkward as ak
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    NanoAODSchema.warn_missing_crossrefs = False
    events = NanoEventsFactory.from_root({path: "Events"}, schemaclass=NanoAODSchema, mode="virtual").events()
    collection, _, field = name.partition("_")
    return ak.materialize(events[collection][field])


def _ours(store: Path, dataset: str, name: str) -> Any:
    import skyhook_casa

    client = skyhook_casa.connect(store, threads=1, progress=False)
    return client.query(dataset, columns=[name]).to_awkward()[name]


def _planned(store: Path, dataset: str, name: str) -> None:
    """Open and plan, read nothing."""
    import skyhook_casa

    skyhook_casa.connect(store, threads=1, progress=False).query(dataset, columns=[name])


def prepare(store: Path, path: str) -> None:
    """Make the two datasets, if they are not there."""
    import skyhook_casa

    client = skyhook_casa.connect(store, progress=False)
    there = [d.name for d in client.datasets()]
    if "wide" not in there:
        client.ingest("wide", [path])
    if "ten" not in there:
        client.ingest("ten", [path], columns=list(TEN_BRANCHES))


def interleaved(work: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each, run in turn after an untimed pass."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for name in work:
        work[name]()
    for _ in range(rounds):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    os.sched_setaffinity(0, {0})
    path, store = files_of(args.data / "wide", "root")[0], args.data / "wide" / "store"
    prepare(store, path)
    setup = state_machine(f"{path}, one core")
    lines: list[dict[str, Any]] = [setup]
    print("\n| column | system | ms, best (median) | ratio to ours |\n| --- | --- | --- | --- |")
    for name in COLUMNS:
        _check(path, store, name)
        peers = interleaved(
            {"uproot": partial(_uproot, path, name), "coffea": partial(_coffea, path, name)}, 5
        )
        ours = interleaved(
            {
                "ours": partial(_ours, store, "wide", name),
                "ours, ten columns": partial(_ours, store, "ten", name),
                "ours, plan only": partial(_planned, store, "wide", name),
                "ours, ten columns, plan only": partial(_planned, store, "ten", name),
            },
            200,
        )
        for system, seconds in {**peers, **ours}.items():
            ratio = min(seconds) / min(ours["ours"])
            best, median = min(seconds) * 1e3, statistics.median(seconds) * 1e3
            print(f"| {name} | {system} | {best:.3g} ({median:.3g}) | {ratio:.3g} |", flush=True)
            lines.append({"column": name, "wide_system": system, "seconds": seconds})
    if args.out:
        with args.out.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def _check(path: str, store: Path, name: str) -> None:
    """Fail unless all systems give the same array."""
    import awkward as ak

    expected = _uproot(path, name)
    for other in (_coffea(path, name), _ours(store, "wide", name), _ours(store, "ten", name)):
        same = np.array_equal(ak.ravel(other), ak.ravel(expected))
        if not same or (expected.ndim > 1 and not np.array_equal(ak.num(other), ak.num(expected))):
            raise SystemExit(f"the systems disagree on {name}")


if __name__ == "__main__":
    main()
