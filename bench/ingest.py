"""Ingest beside uproot alone reading the same branches, and bytes on disk beside the ROOT files.

    python -m bench.ingest DIR [--files 2]

Every run is a process of its own, pinned to one or two cores, into an empty store on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .data import files_of
from .machine import state_machine

STEP_EVENTS = 100_000


def read_with_uproot(paths: list[str]) -> int:
    """Read every branch and return the number of events."""
    import uproot

    events = 0
    for path in paths:
        with uproot.open(path) as file:
            for arrays in file["Events"].iterate(step_size=STEP_EVENTS, library="ak", how=dict):
                events += len(next(iter(arrays.values())))
    return events


def ingest(paths: list[str], store: Path, workers: int) -> int:
    """Ingest and return the number of events."""
    import skyhook_casa

    client = skyhook_casa.connect(store, progress=False)
    client.ingest("bench", paths, workers=workers)
    return int(client.dataset("bench").events)


def stored_bytes(store: Path) -> int:
    """Return the bytes of all objects."""
    return sum(p.stat().st_size for p in (store / "objects").rglob("*") if p.is_file())


def run_one(what: str, paths: list[str], store: Path, workers: int) -> dict[str, Any]:
    """Run once in this process."""
    import uproot  # noqa: F401  imports are not timed

    import skyhook_casa.ingest  # noqa: F401

    start = time.perf_counter()
    events = read_with_uproot(paths) if what == "uproot" else ingest(paths, store, workers)
    return {"what": what, "workers": workers, "events": events, "seconds": time.perf_counter() - start}


def run_pinned(what: str, data: Path, files: int, store: Path, workers: int) -> dict[str, Any]:
    """Run once in a process of its own."""
    command = ["taskset", "-c", ",".join(map(str, range(workers))), sys.executable, "-m", "bench.ingest"]
    command += [
        str(data),
        "--files",
        str(files),
        "--one",
        what,
        "--workers",
        str(workers),
        "--store",
        str(store),
    ]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--one", choices=("uproot", "ours"), help="run once in this process")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    args = parser.parse_args()
    data = args.data.resolve()
    paths = files_of(data, "root", args.files)
    if args.one:
        print(json.dumps(run_one(args.one, paths, args.store, args.workers)))
        return
    setup = state_machine(
        f"{args.files} files, {sum(map(os.path.getsize, paths)) / 1e6:.0f} MB of ROOT, every branch"
    )
    store = args.store or data / "ingest-store"
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for _ in range(args.repetitions):
        for what, workers in (("uproot", 1), ("ours", 1), ("ours", 2)):
            shutil.rmtree(store, ignore_errors=True)
            found = run_pinned(what, data, args.files, store, workers)
            if (what, workers) not in best or found["seconds"] < best[what, workers]["seconds"]:
                best[what, workers] = found
    size = stored_bytes(store)
    shutil.rmtree(store)
    _table(best, size, sum(map(os.path.getsize, paths)))
    if args.out:
        with args.out.open("a") as file:
            file.writelines(
                json.dumps(line) + "\n" for line in [setup, *best.values(), {"stored_bytes": size}]
            )


def _table(best: dict[tuple[str, int], dict[str, Any]], size: int, root: int) -> None:
    alone, one, two = (best[key]["seconds"] for key in (("uproot", 1), ("ours", 1), ("ours", 2)))
    events = best["uproot", 1]["events"]
    if any(found["events"] != events for found in best.values()):
        raise SystemExit(f"events differ: {best}")
    print("\n| | seconds | thousand events/s |\n| --- | --- | --- |")
    for name, seconds in (
        ("uproot alone, 1 core", alone),
        ("ingest, 1 worker", one),
        ("ingest, 2 workers", two),
    ):
        print(f"| {name} | {seconds:.2f} | {events / seconds / 1e3:.0f} |")
    print(f"\ningest / uproot alone, one core: {alone / one:.2f}")
    print(f"two workers / one: {one / two:.2f}")
    print(f"bytes on disk: {size / events:.0f} per event, {size / root:.3f} of the ROOT files'")


if __name__ == "__main__":
    main()
