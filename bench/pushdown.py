"""Cuts inside the OSDs beside reading, on a real Ceph cluster of three OSDs that is made for it.

    python -m bench.pushdown DIR --gib 2.05 --repetitions 8 --out results.jsonl     about ten minutes
    python -m bench.pushdown DIR --gib 2.05 --parts calls        only one part of it
    python -m bench.pushdown DIR --gib 0.05 --repetitions 1 --scans 200     a trial
    python -m bench.pushdown DIR --tables results.jsonl          the tables of an earlier run

DIR keeps the data, which take five minutes to make, for the next run; the cluster is taken
down at the end. A query delivers ten of 312 columns, six of them jagged, at different fractions
of the events: spread over all (a cut on MET_pt), or together (a cut on the event number, where
zone maps rule chunks out).
All executions run in turn, and every answer is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from skyhook_casa import execution, scan, worker
from skyhook_casa.ceph_cluster import Cluster

from .machine import state_machine
from .pushdown_costs import calls, memory, wide
from .pushdown_data import TEN, WIDE, catalog_url, dataset, load, object_bytes, prepare
from .pushdown_runs import EXECUTIONS, Bench, Cost, compare

FRACTIONS: Final = (1.0, 0.5, 0.1, 0.01, 0.001)
SPREAD: Final = "spread"
TOGETHER: Final = "together"
COLUMNS: Final = (
    *("event", "MET_pt", "MET_phi", "PV_npvs"),
    *("Muon_pt", "Muon_eta", "Muon_phi", "Jet_pt", "Jet_eta", "Jet_phi"),
)
ANCHOR: Final = {1.0: "0.67–1.4", 0.01: "≤ 8.5"}
"""How many times faster than plain reads the Skyhook of Arrow was, by fraction."""


def query_of(bench: Bench, name: str, events: str, fraction: float) -> dict[str, Any]:
    """Return the query that keeps such a fraction of the events."""
    column = "MET_pt" if events == SPREAD else "event"
    values = np.asarray(bench.client.query(name, [column]).to_awkward()[column])
    if events == SPREAD:
        cut = f"MET_pt >= {float(np.quantile(values, 1 - fraction)):.9g}"
    else:
        cut = f"event <= {int(values.min()) - 1 + round(fraction * len(values))}"
    return {"dataset": name, "columns": list(COLUMNS), "cut": "MET_pt >= 0" if fraction == 1.0 else cut}


def run_queries(bench: Bench, name: str, repetitions: int, fractions: list[float]) -> list[dict[str, Any]]:
    """Return the records of all fractions."""
    records = []
    for events in (SPREAD, TOGETHER):
        for fraction in fractions:
            if fraction == 1.0 and events == TOGETHER:
                continue
            query = query_of(bench, name, events, fraction)
            kept, costs = compare(bench, query, EXECUTIONS, repetitions)
            record = {"events": events, "fraction": fraction, "cut": query["cut"], "kept": kept}
            records.append(record | {"costs": {how: cost.record() for how, cost in costs.items()}})
            walls = ", ".join(f"{how} {min(cost.wall_s):.3g} s" for how, cost in costs.items())
            print(f"{events} {fraction:.1%}: {walls}", flush=True)
    return records


def tables(records: list[dict[str, Any]]) -> None:
    """Print what the queries cost, and the ratios."""
    print("\n### cost: best (median) of", len(records[0]["costs"]["plain"]["wall_s"]), "repetitions\n")
    print(
        "| events kept | | wall s | client CPU s | OSD CPU s | MB moved | parts pushed |\n"
        + "| --- " * 7
        + "|"
    )
    for record in records:
        for how, cost in _costs(record).items():
            times = (_both(taken) for taken in (cost.wall_s, cost.client_cpu_s, cost.osd_cpu_s))
            cells = [_label(record), how, *times, f"{cost.moved_bytes / 1e6:.1f}", cost.pushed]
            print(f"| {' | '.join(cells)} |")
    print("\n### times faster than plain reads (medians); auto beside the better of pushdown and read\n")
    print(
        "| events kept | pushdown | read | auto | Arrow's Skyhook | fewer bytes by pushdown "
        "| client CPU, plain / pushdown | auto / better, best (median) |\n" + "| --- " * 8 + "|"
    )
    for record in records:
        print(f"| {' | '.join(_ratios(record))} |")


def _ratios(record: dict[str, Any]) -> list[str]:
    costs = _costs(record)
    median = {how: statistics.median(cost.wall_s) for how, cost in costs.items()}
    faster = [f"{median['plain'] / median[how]:.2f}" for how in ("pushdown", "read", "auto")]
    fewer = costs["plain"].moved_bytes / costs["pushdown"].moved_bytes
    client = statistics.median(costs["plain"].client_cpu_s) / statistics.median(
        costs["pushdown"].client_cpu_s
    )
    best = {how: min(cost.wall_s) for how, cost in costs.items()}
    better = [took["auto"] / min(took["pushdown"], took["read"]) for took in (best, median)]
    anchor = ANCHOR.get(record["fraction"], "–")
    return [
        _label(record),
        *faster,
        anchor,
        f"{fewer:.1f}",
        f"{client:.1f}",
        f"{better[0]:.2f} ({better[1]:.2f})",
    ]


def _costs(record: dict[str, Any]) -> dict[str, Cost]:
    return {how: Cost(**cost) for how, cost in record["costs"].items()}


def _label(record: dict[str, Any]) -> str:
    return f"{record['fraction']:.1%} {record['events']}"


def _both(seconds: list[float]) -> str:
    return f"{min(seconds):.3g} ({statistics.median(seconds):.3g})"


def settings() -> str:
    """Return the constants that the figures depend on."""
    return (
        f"WORTH {execution.WORTH}, WORTH_AGAIN {execution.WORTH_AGAIN}, WHOLE {execution.WHOLE}, "
        f"ANSWER_BYTES {worker.ANSWER_BYTES}, REMOTE_THREADS {scan.REMOTE_THREADS}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--gib", type=float, default=2.05, help="bytes of the objects, roughly")
    parser.add_argument("--fractions", default=",".join(map(str, FRACTIONS)))
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=100, help="of the wide and narrow objects")
    parser.add_argument("--scans", type=int, default=10_000, help="over which the OSDs' memory is watched")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cache-mib", type=int, default=128, help="of each OSD; data that fits is read once")
    parser.add_argument("--parts", default="queries,calls,wide,memory")
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    parser.add_argument("--tables", type=Path, help="only print the tables of these JSON lines")
    args = parser.parse_args()
    if args.tables:
        lines = [json.loads(line) for line in args.tables.read_text().splitlines()]
        tables([line for line in lines if "costs" in line])
        return
    name, store = dataset(args.gib), prepare(args.data.resolve(), args.gib)
    sizes = object_bytes(store, name)
    with tempfile.TemporaryDirectory(prefix="osd", dir="/tmp") as folder:
        cache = {"bluestore_cache_size": args.cache_mib << 20}
        with Cluster.up(Path(folder) / "c", osds=3, extra_conf={"osd": cache}, guard=os.getpid()) as cluster:
            load(store, [name, WIDE, TEN], cluster.url)
            bench = Bench(cluster, catalog_url(store), args.threads)
            setup = state_machine(
                f"{sum(sizes.values()) / 2**30:.2f} GiB in {len(sizes)} objects, "
                f"{bench.client.dataset(name).events:,} events; 3 OSDs, bluestore",
                f"everything read before; each OSD caches {args.cache_mib} MiB of data and reads the rest "
                "from its disk",
            )
            print(f"settings: {settings()}", flush=True)
            _append(args.out, [setup | {"settings": settings()}])
            for part in args.parts.split(","):
                _append(args.out, run_part(part, bench, name, args))


def run_part(part: str, bench: Bench, name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run and print one part of the benchmark."""
    if part == "calls":
        return calls(bench, name, args.calls)
    if part == "wide":
        return wide(bench, args.rounds)
    if part == "memory":
        queries = [query_of(bench, name, SPREAD, fraction) for fraction in (0.001, 0.01, 0.1)]
        return memory(bench, queries, args.scans)
    records = run_queries(bench, name, args.repetitions, [float(f) for f in args.fractions.split(",")])
    tables(records)
    return records


def _append(path: Path | None, records: list[dict[str, Any]]) -> None:
    if path is not None:
        with path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    main()
