"""The set-up that every figure comes with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("numpy", "awkward", "uproot", "pyarrow", "duckdb", "polars", "coffea")


def machine() -> dict[str, str]:
    """Return processor, memory, system, versions and the code's revision."""
    cpu = _first("/proc/cpuinfo", "model name")
    memory_gib = int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "machine": f"{os.cpu_count()} x {cpu}, {memory_gib:.0f} GiB",
        "platform": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "revision": revision,
    }


def state_machine(data: str, state: str = "warm page cache") -> dict[str, str]:
    """Print and return the set-up: machine, `data` and `state` in words, and the load when it began."""
    load = f"{os.getloadavg()[0]:.1f}"
    setup = {**machine(), "data": data, "state": state, "load": load}
    for what, value in setup.items():
        print(f"{what}: {value}", flush=True)
    return setup


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "0"
