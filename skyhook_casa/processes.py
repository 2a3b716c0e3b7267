"""Processes that begin anew and know this package, but not the program that called it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

_lock = threading.Lock()


class _Process(SpawnProcess):
    """A process that does not import its parent's main module.

    `multiprocessing` imports it so that functions can be sent that are defined there. Ours are not, and
    a script that has no ``if __name__ == "__main__"`` would run a second time in every process.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802
        with _nameless_main():
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process


def fresh_processes() -> SpawnContext:
    """Return the context in which worker processes are started, from a script as from anywhere else.

    Functions that they call must lie in modules which they can import: not in a script itself.
    """
    return _Context()


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Take away meanwhile what says from where the main module can be imported."""
    main: Any = sys.modules["__main__"]
    with _lock:
        kept = {name: main.__dict__[name] for name in ("__spec__", "__file__") if name in main.__dict__}
        main.__dict__.update(dict.fromkeys(kept))
        try:
            yield
        finally:
            main.__dict__.update(kept)
