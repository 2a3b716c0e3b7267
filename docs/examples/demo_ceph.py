"""Cuts inside the OSDs of a Ceph cluster, and how many bytes left them.

Starts a real cluster of three OSDs on this machine, and ends it.
Run by `make demo-ceph`, or by hand: ``python docs/examples/demo_ceph.py FOLDER [EVENTS]``.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import awkward as ak
from demo import CUT, step

import skyhook_casa
from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.nanoaod import make_dataset
from skyhook_casa.report import Report, human_bytes
from skyhook_client import Client

COLUMNS = ["Muon_pt", "Muon_eta", "MET_pt", "dimuon_mass"]
DEFINE = {"dimuon_mass": "mass(Muon[0] + Muon[1])"}
CUTS = [CUT, f"{CUT} and MET_pt > 60"]


@dataclass(frozen=True)
class Run:
    """One way to get one selection."""

    answer: ak.Array
    report: Report
    seconds: float
    counted: int
    """Bytes that the OSDs sent meanwhile, by their own counters."""


def main(folder: Path, events: int) -> None:
    """Run the demo; everything it makes goes into `folder`."""
    with step(f"Make {events:,} simulated NanoAOD events"):
        files = make_dataset(folder / "nano", events, files=4)
    if Cluster.exists(folder / "ceph"):  # a demo was interrupted
        Cluster.at(folder / "ceph").down()
    with step("Start a Ceph cluster"):
        cluster = Cluster.up(folder / "ceph", osds=3, guard=os.getpid())
        print(f"3 OSDs in {cluster.folder}, with the object class {', '.join(cluster.class_names())}")
    with cluster, TemporaryDirectory() as scratch:
        client = skyhook_casa.connect(cluster.url, catalog=f"{scratch}/catalog.sqlite")
        with step("Ingest them into its pool"):
            client.ingest("dy", [file.path for file in files])
            print(f"{client.dataset('dy').size / 1e6:.0f} MB of Arrow objects in {client.url}")
        for cut in CUTS:
            read, pushdown = run(cluster, client, cut, "read"), run(cluster, client, cut, "pushdown")
            if not ak.array_equal(read.answer, pushdown.answer):
                raise SystemExit("the two ways gave different answers")
            print_table(cut, read, pushdown)


def run(cluster: Cluster, client: Client, cut: str, execution: str) -> Run:
    """Ask for a selection twice; the second time is measured: everything is connected and cached then."""
    query = client.query("dy", COLUMNS, cut, define=DEFINE, execution=execution)
    query.to_awkward()
    before, start = bytes_out(cluster), time.perf_counter()
    answer = query.to_awkward()
    seconds = time.perf_counter() - start
    return Run(answer, query.report, seconds, bytes_out(cluster) - before)


def print_table(cut: str, read: Run, pushdown: Run) -> None:
    """Print what left the OSDs in each way, beside a read of the objects in whole."""
    report = pushdown.report
    share = report.events_out / report.events_in
    print(f"\n{report.events_out:,} of {report.events_in:,} events ({share:.2%}) with")
    print(f"  {cut}\n")
    print(f"{'':<30}{'left the OSDs':>15}{'of a plain read':>18}{'as they counted':>18}{'time':>12}")
    whole = report.bytes_read + report.bytes_skipped
    print(f"{'plain read of whole objects':<30}{human_bytes(whole):>15}{1:>18.2%}")
    for name, way in (("read columns, cut here", read), ("cut inside the OSDs", pushdown)):
        moved = way.report.bytes_moved
        counted, took = human_bytes(way.counted), f"{way.seconds * 1e3:.0f} ms"
        print(f"{name:<30}{human_bytes(moved):>15}{moved / whole:>18.2%}{counted:>18}{took:>12}")


def bytes_out(cluster: Cluster) -> int:
    """Bytes that all OSDs have sent to clients, by their own counters."""
    return sum(int(cluster.osd_counters(osd)["op_out_bytes"]) for osd in cluster.osd_pids())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
