"""How many processors this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return how many cores the process may run on: fewer than there are in a pinned job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
