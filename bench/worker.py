"""One cell of the benchmark in a process of its own: one system, one query, one mode.

After an untimed pass it says that it is ready; for each line on its input it runs once more and
writes seconds and the answer as one JSON line. Run by `bench.run`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .peers import System
from .queries import QUERIES, answer_of_arrays, answer_of_histograms
from .systems import SYSTEMS


def run_once(system: System, histogram: bool) -> str:
    """Run once and return the seconds it took, with the answer, which is worked out untimed."""
    start, cpu = time.perf_counter(), cpu_seconds()
    made: Any = system.histogram() if histogram else system.deliver()
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    answer = answer_of_histograms(made) if histogram else answer_of_arrays(system.query, made)
    return json.dumps({"seconds": seconds, "cpu_seconds": cpu, "answer": asdict(answer)})


def cpu_seconds() -> float:
    """Return what this process and those that it started have used of the processors, in steps of 10 ms."""
    ticks = 0
    for pid in _tree(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and those below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _tree(int(child))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--system", required=True, choices=SYSTEMS)
    parser.add_argument("--query", required=True, choices=QUERIES)
    parser.add_argument("--mode", required=True, choices=("deliver", "histogram"))
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--files", type=int)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    system = SYSTEMS[args.system](args.data, QUERIES[args.query], args.cores, args.files)
    histogram = args.mode == "histogram"
    try:
        print(run_once(system, histogram), flush=True)
        for _ in sys.stdin:
            print(run_once(system, histogram), flush=True)
    finally:
        system.close()


if __name__ == "__main__":
    main()
