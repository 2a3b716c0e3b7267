"""Peak memory of a scan: resident bytes beyond those of a client that has done nothing.

    python -m bench.memory DIR

Each case is a process of its own. Streaming must stay flat however many events there are; an
answer delivered as a whole costs its own size and little more.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .data import files_of
from .machine import state_machine
from .ours import dataset_name, ingest
from .queries import QUERIES

MIB = 1 << 20


def _stream(query: Any) -> int:
    return sum(batch.nbytes for batch in query)


def _whole(query: Any) -> int:
    import awkward as ak

    buffers = ak.to_buffers(query.to_awkward())[2].values()  # columns of a collection share their offsets
    return sum({buffer.ctypes.data: buffer.nbytes for buffer in buffers}.values())


def _count(query: Any) -> int:
    query.count()
    return 0


CASES: dict[str, tuple[str, str | None, Callable[[Any], int]]] = {
    "idle": ("a client and a plan, nothing run", None, lambda query: 0),
    "count": ("count of q5", "q5", _count),
    "stream": ("skim100 streamed", "skim100", _stream),
    "stream, half the data": ("skim100 of half the files, streamed", "skim100", _stream),
    "stream all": ("every column streamed", None, _stream),
    "whole": ("skim100 as one awkward array", "skim100", _whole),
}


def measure(data: Path, case: str, files: int | None, threads: int) -> dict[str, Any]:
    """Run one case in this process and return its peak and what it delivered, in bytes."""
    import awkward
    import pyarrow

    import skyhook_casa

    assert awkward and pyarrow
    _, name, work = CASES[case]
    client = skyhook_casa.connect(data / "store", threads=threads, progress=False)
    query = client.query(dataset_name(files), **(QUERIES[name].ours if name else {}))
    delivered = work(query)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"case": case, "threads": threads, "peak_bytes": peak, "delivered_bytes": delivered}


def run_case(data: Path, case: str, files: int | None, threads: int) -> dict[str, Any]:
    """Run one case in a process of its own."""
    command = [sys.executable, "-m", "bench.memory", str(data), "--case", case, "--threads", str(threads)]
    command += [] if files is None else ["--files", str(files)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--case", choices=CASES, help="run this case in this process")
    parser.add_argument("--files", type=int)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    data = args.data.resolve()
    if args.case:
        print(json.dumps(measure(data, args.case, args.files, args.threads)))
        return
    paths = files_of(data, "root")
    half = len(paths) // 2
    state_machine(f"dataset of {len(paths)} files; half: {half}")
    for files in (None, half):
        ingest(data, files_of(data, "root", files), files)
    for threads in (1, 2):
        idle = run_case(data, "idle", None, threads)["peak_bytes"]
        print(f"\n### {threads} thread{'s' * (threads > 1)}; an idle client has {idle / MIB:.0f} MiB\n")
        print("| case | peak above idle, MiB | delivered, MiB |\n| --- | --- | --- |")
        for case, (about, _, _) in list(CASES.items())[1:]:
            found = run_case(data, case, half if "half" in case else None, threads)
            above = (found["peak_bytes"] - idle) / MIB
            print(f"| {about} | {above:.0f} | {found['delivered_bytes'] / MIB:.0f} |", flush=True)


if __name__ == "__main__":
    main()
