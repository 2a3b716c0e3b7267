"""Fixed costs of pushing down, for `bench.pushdown`: calls, wide objects, memory of the OSDs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from skyhook_casa.ceph_cluster.daemons import resident_bytes
from skyhook_casa.plan import plan as make_plan
from skyhook_casa.scan import REMOTE_THREADS
from skyhook_casa.stores import ByteRange
from skyhook_casa.worker import REPLY_BYTES_MAX, scan_request

from .pushdown_data import TEN, WIDE
from .pushdown_runs import Bench, Cost

READ_BYTES: Final = 64
WIDE_COLUMNS: Final = ("MET_pt", "Muon_pt")


def calls(bench: Bench, dataset: str, rounds: int) -> list[dict[str, Any]]:
    """Print and return the latency of a no-op call of the class, beside that of a short read."""
    asked = bench.client.query(dataset, ["MET_pt"], "MET_pt < -1")
    plan = make_plan(bench.client.catalog, asked.value)
    part = plan.partitions[0]
    name, layout = part.object.name, part.object.layout_id
    assert layout is not None
    request = scan_request(plan, layout, part)
    work: dict[str, Callable[[], Any]] = {
        f"read of {READ_BYTES} bytes": lambda: bench.store.read(name, ByteRange(0, READ_BYTES)),
        "class, info": lambda: bench.store.execute(name, "info", b"", 100),
        "class, scan that zone maps rule out": lambda: bench.store.execute(
            name, "scan", request, REPLY_BYTES_MAX
        ),
    }
    seconds: dict[str, list[float]] = {what: [] for what in work}
    for what in work:
        work[what]()
    for _ in range(rounds):
        for what, run in work.items():
            start = time.perf_counter()
            run()
            seconds[what].append(time.perf_counter() - start)
    base = statistics.median(next(iter(seconds.values())))
    print(
        f"\n### one call, {rounds} in turn\n\n| | p50 µs | p99 µs | p50 / read |\n| --- | --- | --- | --- |"
    )
    lines = []
    for what, taken in seconds.items():
        p50, p99 = (float(np.quantile(taken, q)) * 1e6 for q in (0.5, 0.99))
        print(f"| {what} | {p50:.0f} | {p99:.0f} | {p50 / base / 1e6:.2f} |", flush=True)
        lines.append({"call": what, "p50_us": p50, "p99_us": p99})
    return lines


def wide(bench: Bench, rounds: int) -> list[dict[str, Any]]:
    """Print and return what one column costs, of objects with 1,500 columns and with ten."""
    print(f"\n### one column pushed down, {rounds} in turn: ms, best (median)\n")
    print("| column | 1,500 columns | 10 columns | ratio of best | of median |\n" + "| --- " * 5 + "|")
    lines = []
    for column in WIDE_COLUMNS:
        taken: dict[str, list[float]] = {WIDE: [], TEN: []}
        answers = {}
        for repetition in range(-1, rounds):
            for name in taken:
                cost = Cost()
                answers[name] = bench.run({"dataset": name, "columns": [column]}, "pushdown", cost)
                if repetition >= 0:
                    taken[name] += cost.wall_s
        if answers[WIDE] != answers[TEN]:
            raise SystemExit(f"wide and narrow objects give different answers for {column}")
        best = min(taken[WIDE]) / min(taken[TEN])
        median = statistics.median(taken[WIDE]) / statistics.median(taken[TEN])
        print(
            f"| {column} | {_ms(taken[WIDE])} | {_ms(taken[TEN])} | {best:.2f} | {median:.2f} |", flush=True
        )
        lines.append({"wide_column": column, "seconds": taken})
    return lines


def memory(bench: Bench, queries: list[dict[str, Any]], scans: int) -> list[dict[str, Any]]:
    """Print and return the memory of the OSDs before, during and after many scans."""
    jobs = []
    for query in queries:
        plan = make_plan(bench.client.catalog, bench.client.query(**query).value)
        for part in plan.partitions:
            assert part.object.layout_id is not None
            jobs.append((part.object.name, scan_request(plan, part.object.layout_id, part)))
    print(
        f"\n### memory of the OSDs in MB over {scans:,} scans\n\n| scans | sum | each |\n| --- | --- | --- |"
    )
    lines = [_memory_line(bench, 0)]
    step = max(1, scans // 5)
    with ThreadPoolExecutor(REMOTE_THREADS) as pool:
        for first in range(0, scans, step):
            last = min(scans, first + step)
            wanted = [jobs[number % len(jobs)] for number in range(first, last)]
            list(
                pool.map(
                    lambda job: len(bench.store.execute(job[0], "scan", job[1], REPLY_BYTES_MAX)), wanted
                )
            )
            lines.append(_memory_line(bench, last))
    return lines


def _memory_line(bench: Bench, scans: int) -> dict[str, Any]:
    each = [resident_bytes(pid) / 1e6 for pid in bench.pids]
    print(f"| {scans:,} | {sum(each):.0f} | {', '.join(f'{mb:.0f}' for mb in each)} |", flush=True)
    return {"scans": scans, "osd_rss_mb": each}


def _ms(seconds: list[float]) -> str:
    return f"{min(seconds) * 1e3:.1f} ({statistics.median(seconds) * 1e3:.1f})"
