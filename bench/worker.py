"""One cell of the benchmark in a process of its own: one system, one query, one mode.

After an untimed pass it says that it is ready; for each line on its input it runs once more and
writes seconds and the answer as one JSON line. Run by `bench.run`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from .peers import System
from .queries import QUERIES, answer_of_arrays, answer_of_histograms
from .systems import SYSTEMS


def run_once(system: System, histogram: bool) -> str:
    """Run once and return the seconds it took, with the answer, which is worked out untimed."""
    start = time.perf_counter()
    if histogram:
        bins = system.histogram()
        seconds = time.perf_counter() - start
        answer = answer_of_histograms(bins)
    else:
        arrays = system.deliver()
        seconds = time.perf_counter() - start
        answer = answer_of_arrays(system.query, arrays)
    return json.dumps({"seconds": seconds, "answer": asdict(answer)})


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
    print(run_once(system, histogram), flush=True)
    for _ in sys.stdin:
        print(run_once(system, histogram), flush=True)


if __name__ == "__main__":
    main()
