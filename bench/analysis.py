"""What analysts do, through the service: one histogram of a long dataset, the ADL queries, coffea processors.

    python -m bench.data make DIR && python -m bench.analysis_data DIR     the data, once
    python -m bench.analysis DIR --out analysis.jsonl                      everything, about twenty minutes
    python -m bench.analysis DIR --parts met,coffea
    python -m bench.analysis DIR --parts adl --queries q1,q5 --systems service,long-service,duckdb,ceiling

Beside each wall time stands the time on the processors, of all processes together: it says as much
on a machine that others use too. Every answer is compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .analysis_coffea import bench_coffea
from .analysis_data import ANSWERS, DATASET, MET
from .data import files_of
from .machine import state_machine
from .ours import dataset_name, ingest
from .queries import QUERIES
from .run import run_query
from .service import serving, show
from .systems import CEILING, PEERS, SERVICES, SYSTEMS
from .worker import cpu_seconds

QUERIES_ADL = [name for name, query in QUERIES.items() if not query.is_skim]
BINS = 100


# -- MET of all events -----------------------------------------------------------------------------
def bench_met(data: Path, repetitions: int) -> list[dict[str, Any]]:
    """Fill MET of the long dataset with other bins each time, by a service that keeps no answers."""
    import skyhook_casa

    met = np.memmap(data / MET, np.float32, "r")
    found: list[dict[str, Any]] = []
    with serving(str(data / "store"), cache_bytes=0) as (address, _):
        client = skyhook_casa.connect(address, progress=False)
        assert client.dataset(DATASET).events == len(met)
        for number in range(repetitions + 1):
            limits = (0.0, 200.0 + number)
            wall, cpu = time.perf_counter(), cpu_seconds()
            made = client.query(DATASET, ["MET_pt"]).hist("MET_pt", bins=BINS, range=limits)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            np.testing.assert_array_equal(made.values(flow=True), numpy_bins(met, *limits))
            if number:
                found.append({"part": "met", "events": len(met), "seconds": wall, "cpu_seconds": cpu})
    for what in ("seconds", "cpu_seconds"):
        show(f"MET of {len(met):,} events, {what}", f"{min(one[what] for one in found):.3f}", "0.3 s (53 M)")
    return found


def numpy_bins(values: Any, low: float, high: float) -> Any:
    """Return the bins with flow bins, by NumPy alone."""
    bins = np.zeros(BINS + 2, np.int64)
    for start in range(0, len(values), 1 << 20):
        place = (values[start : start + (1 << 20)].astype(np.float64) - low) / (high - low)
        number = np.clip(np.floor(place * BINS) + 1, 0, BINS + 1)
        bins += np.bincount(number.astype(np.int64), minlength=BINS + 2)
    return bins


# -- the ADL queries -------------------------------------------------------------------------------
def bench_adl(
    data: Path, queries: list[str], systems: list[str], cores: int, repetitions: int, out: Path | None
) -> None:
    """Fill the histograms of the ADL queries with every system, in turn, and print the tables."""
    for files in {QUERIES[q].files for q in queries if set(systems) & {"skyhook_casa", "service"}}:
        ingest(data, files_of(data, "root", files), files)
    records: list[dict[str, Any]] = []
    for query in queries:
        new = run_query(data, query, "histogram", cores, systems, repetitions)
        _append(out, new)
        records += new
        print(query, ", ".join(f"{r['system']} {rate(r):.3g}" for r in records if r["query"] == query))
    print(
        f"\n{cores} cores, million events a second, best of {repetitions}: of wall time (of processor time)\n"
    )
    adl_tables(records, queries)


def rate(record: dict[str, Any], of: str = "seconds") -> float:
    """Return million events a second, of the best repetition; 10 ms are the least that is counted."""
    return float(record["events"] / max(min(record[of]), 0.01 if of == "cpu_seconds" else 0.0) / 1e6)


def adl_tables(records: list[dict[str, Any]], queries: list[str]) -> None:
    """Print one row per system, and the service as multiples of the best peer and of the ceiling."""
    cells = {(r["system"], r["query"]): r for r in records}
    print(f"| system | {' | '.join(queries)} |\n|---|{'---|' * len(queries)}")
    for system in SYSTEMS:
        if any((system, query) in cells for query in queries):
            _row(
                system,
                queries,
                lambda q, of, system=system: _rate_in(cells, (system,), q, of),  # type: ignore[misc]
            )
    for service in SERVICES:
        for other, names in (("best peer", PEERS), ("ceiling", (CEILING,))):

            def ratio(
                query: str, of: str, service: str = service, names: tuple[str, ...] = names
            ) -> float | None:
                ours, best = _rate_in(cells, (service,), query, of), _rate_in(cells, names, query, of)
                return ours / best if ours and best else None

            _row(f"**{service} / {other}**", queries, ratio)


def _rate_in(cells: Any, systems: tuple[str, ...], query: str, of: str) -> float | None:
    return max((rate(cells[s, query], of) for s in systems if (s, query) in cells), default=None)


def _row(first: str, queries: list[str], of: Callable[[str, str], float | None]) -> None:
    found = [[of(query, what) for what in ("seconds", "cpu_seconds")] for query in queries]
    texts = ["–" if a is None or b is None else f"{a:.3g} ({b:.3g})" for a, b in found]
    print(f"| {first} | {' | '.join(texts)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    systems = [name for name in SYSTEMS if name not in ("skyhook_casa", "arrow-ipc")]
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", default="met,adl,coffea")
    parser.add_argument("--queries", default=",".join(QUERIES_ADL))
    parser.add_argument("--systems", default=",".join(systems))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    args = parser.parse_args()
    data, parts = args.data.resolve(), args.parts.split(",")
    long_files = len((data / ANSWERS).read_text().splitlines())
    _append(args.out, [state_machine(f"{long_files} files in the long dataset")])
    if "met" in parts:
        _append(args.out, bench_met(data, args.repetitions))
    if "adl" in parts:
        queries, chosen = args.queries.split(","), args.systems.split(",")
        bench_adl(data, queries, chosen, args.cores, args.repetitions, args.out)
    if "coffea" in parts:
        ingest(data, files_of(data, "root", 2), 2)
        _append(
            args.out,
            bench_coffea(data / "store", dataset_name(2), files_of(data, "root", 2), args.repetitions),
        )


def _append(path: Path | None, records: list[dict[str, Any]]) -> None:
    if path is not None:
        with path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    main()
