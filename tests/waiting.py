"""Waiting for what comes, however slow and busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LONG_S = 120.0
"""Far more than anything takes in a test."""
POLL_S = 0.02


def wait_until(true: Callable[[], Any], what: str, within_s: float = LONG_S) -> Any:
    """Return what `true` gives as soon as that is true; fail if it does not become so."""
    end = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < end, f"{what}: not within {within_s} s"
        time.sleep(POLL_S)
    return found


@contextmanager
def soon() -> Iterator[None]:
    """Check that something does not hang."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < LONG_S
