"""Queries side by side: skyhook_casa, its peers and the hand-written ceiling.

    python -m bench.run DIR --out results.jsonl         everything, about half an hour
    python -m bench.run DIR --queries q1,q4 --systems skyhook_casa,duckdb,ceiling --cores 1
    python -m bench.run DIR --tables results.jsonl      the tables of an earlier run

Each cell is a process of its own, pinned to one or two cores. All cells of one query run
interleaved: after an untimed pass each, one repetition of every system in turn, then the next.
Every repetition's answer is compared with the expected one; a disagreement fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .analysis_data import expected as long_answers
from .data import expected_answer, files_of
from .machine import state_machine
from .ours import dataset_name, ingest
from .queries import QUERIES, Answer, difference
from .systems import CEILING, OURS, PEERS, SERVICES, SLOW_FILES, SYSTEMS

MODES = ("deliver", "histogram")
LONG_SYSTEM = SERVICES[1]
"""The system over the dataset of `bench.analysis_data`."""


class WrongAnswer(Exception):
    """A system's answer contradicts the expected one."""


class Cell:
    """One system, query, mode and number of cores: a worker process."""

    def __init__(self, data: Path, system: str, query: str, mode: str, cores: int) -> None:
        self.data, self.system, self.query, self.mode, self.cores = data, system, query, mode, cores
        self.files = QUERIES[query].files or SLOW_FILES.get(system)
        if system == LONG_SYSTEM:
            self._expected = long_answers(data)[query]
            self.events = sum(next(iter(long_answers(data)["q1"].histograms.values())))
        else:
            self._expected = expected_answer(data, query, self.files)
            self.events = sum(events_per_file(data)[: self.files])
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        command = [sys.executable, "-m", "bench.worker", str(data)]
        command += ["--system", system, "--query", query, "--mode", mode, "--cores", str(cores)]
        command += [] if self.files is None else ["--files", str(self.files)]
        pinned = ["taskset", "-c", ",".join(map(str, range(cores))), *command]
        self._process = subprocess.Popen(
            pinned,
            cwd=Path(__file__).parents[1],
            env=_environment(cores),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()  # the untimed pass

    def repeat(self) -> None:
        """Run once more."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        seconds, cpu_seconds = self._read()
        self.seconds.append(seconds)
        self.cpu_seconds.append(cpu_seconds)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def record(self) -> dict[str, Any]:
        """Return what is kept of the cell."""
        return {
            "system": self.system,
            "query": self.query,
            "mode": self.mode,
            "cores": self.cores,
            "events": self.events,
            "seconds": [round(s, 6) for s in self.seconds],
            "cpu_seconds": [round(s, 2) for s in self.cpu_seconds],
        }

    def _read(self) -> tuple[float, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.system} failed in {self.query} ({self.mode}, {self.cores} cores)")
        result = json.loads(line)
        wrong = difference(QUERIES[self.query], Answer(**result["answer"]), self._expected)
        if wrong:
            raise WrongAnswer(f"{self.system} ({self.mode}, {self.cores} cores): {wrong}")
        return float(result["seconds"]), float(result["cpu_seconds"])


def _environment(cores: int) -> dict[str, str]:
    threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}
    return {**os.environ, **threads, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def run_query(
    data: Path, query: str, mode: str, cores: int, systems: Iterable[str], repetitions: int
) -> list[dict[str, Any]]:
    """Return the records of all systems in one query, run in turn."""
    cells: list[Cell] = []
    try:
        for system in systems:
            if SYSTEMS[system].can(QUERIES[query], mode == "histogram"):
                cells.append(Cell(data, system, query, mode, cores))
        for _ in range(repetitions):
            for cell in cells:
                cell.repeat()
    finally:
        for cell in cells:
            cell.close()
    return [cell.record() for cell in cells]


def events_per_file(data: Path) -> list[int]:
    """Return the number of events in each file: q1 delivers one value per event."""
    stored = json.loads((data / "answers.json").read_text())["q1"]
    return [answer["counts"]["MET_pt"] for answer in stored]


# -- tables ------------------------------------------------------------------------------------------
def rate(record: dict[str, Any], how: str = "best") -> float:
    """Return million events per second: of the best repetition, or of the median."""
    seconds = min(record["seconds"]) if how == "best" else statistics.median(record["seconds"])
    return float(record["events"] / seconds / 1e6)


def tables(records: list[dict[str, Any]]) -> None:
    """Print one table per mode and number of cores."""
    for mode in MODES:
        for cores in sorted({r["cores"] for r in records}):
            here = [r for r in records if (r["mode"], r["cores"]) == (mode, cores)]
            if here:
                _table(here, mode, cores)


def _table(records: list[dict[str, Any]], mode: str, cores: int) -> None:
    queries = [q for q in QUERIES if any(r["query"] == q for r in records)]
    by_cell = {(r["system"], r["query"]): r for r in records}
    systems = [s for s in SYSTEMS if any(r["system"] == s for r in records)]
    repetitions = min(len(r["seconds"]) for r in records)
    print(
        f"\n### {mode}, {cores} core{'s' * (cores > 1)}: million events/s, best (median) of {repetitions}\n"
    )
    _row("system", queries)
    _row("---", ["---"] * len(queries))
    for system in systems:
        _row(system, [_cell(by_cell.get((system, q))) for q in queries])
    best = {q: max((rate(by_cell[s, q]) for s in PEERS if (s, q) in by_cell), default=None) for q in queries}
    ceiling = {q: rate(by_cell[CEILING, q]) for q in queries if (CEILING, q) in by_cell}
    ours = {q: rate(by_cell[OURS, q]) for q in queries if (OURS, q) in by_cell}
    _row("**ours / best library peer**", [_ratio(ours.get(q), best[q]) for q in queries])
    _row("**ours / ceiling**", [_ratio(ours.get(q), ceiling.get(q)) for q in queries])


def _row(first: str, cells: Iterable[str]) -> None:
    print(f"| {first} | {' | '.join(cells)} |")


def _cell(record: dict[str, Any] | None) -> str:
    return "–" if record is None else f"{rate(record):.3g} ({rate(record, 'median'):.3g})"


def _ratio(ours: float | None, other: float | None) -> str:
    return "–" if ours is None or other is None else f"**{ours / other:.2f}**"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", default=",".join(QUERIES))
    parser.add_argument("--systems", default=",".join(name for name in SYSTEMS if name not in SERVICES))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    parser.add_argument("--tables", type=Path, help="only print the tables of these JSON lines")
    args = parser.parse_args()
    if args.tables:
        lines = [json.loads(line) for line in args.tables.read_text().splitlines()]
        tables([line for line in lines if "query" in line])
        return
    data = args.data.resolve()
    queries, systems = args.queries.split(","), args.systems.split(",")
    setup = state_machine(f"{sum(events_per_file(data)):,} events in {len(events_per_file(data))} files")
    if OURS in systems:
        for files in {QUERIES[q].files for q in queries}:
            print(f"dataset {dataset_name(files)}")
            ingest(data, files_of(data, "root", files), files)
    records: list[dict[str, Any]] = []
    _append(args.out, [setup])
    for query in queries:
        for mode in args.modes.split(","):
            for cores in map(int, args.cores.split(",")):
                new = run_query(data, query, mode, cores, systems, args.repetitions)
                _append(args.out, new)
                records += new
                rates = ", ".join(f"{r['system']} {rate(r):.3g}" for r in new)
                print(f"{query} {mode} {cores}: {rates}", flush=True)
    tables(records)


def _append(path: Path | None, records: list[dict[str, Any]]) -> None:
    if path is not None:
        with path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    main()
