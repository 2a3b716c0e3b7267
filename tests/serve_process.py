"""The service as a process of its own: `skyhook-casa serve`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

START_S = 120.0
"""A service that is not ready by then is ended; the test fails."""
END_S = 60.0
OWN_HOST = f"127.{1 + os.getpid() // 250 // 250 % 250}.{os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"
"""An address of this machine where nothing else listens, so that a port stays ours while nobody has it."""
READY = re.compile(r"skyhook-casa serves (\S+) at grpc://(\S+?)(?: \(metrics (\S+)\))?\n")


class ServeProcess:
    """A service that runs.

    Parameters
    ----------
    store : str
        What it serves.
    flags : str
        Of the command `serve`.
    log : path
        Where its log goes.
    environment : mapping
        Variables for it, beside ours.
    """

    def __init__(self, store: str, flags: tuple[str, ...], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        command = [sys.executable, "-m", "skyhook_casa.cli", "--store", store, "serve", *flags]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=file, text=True, env=os.environ | dict(environment)
            )
        assert self.process.stdout is not None
        watchdog = Timer(START_S, self.process.kill)
        watchdog.start()
        self.line = self.process.stdout.readline()
        watchdog.cancel()
        found = READY.fullmatch(self.line)
        assert found is not None, f"no ready line but {self.line!r}; its log:\n{self.log_text()}"
        self.address = found[2]
        """``host:port``."""
        self.metrics_url = found[3]

    def log_text(self) -> str:
        """Return what it has logged."""
        return self.log.read_text()

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code, once it has ended."""
        return self.process.wait(END_S)


@contextmanager
def serving(
    store: str,
    log: Path,
    *flags: str,
    listen: str = "127.0.0.1:0",
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServeProcess]:
    """Give a service of a store; it is killed at the end, if it still runs."""
    served = ServeProcess(store, ("--listen", listen, *flags), log, environment or {})
    try:
        yield served
    finally:
        served.process.kill()
        served.process.wait()
        assert served.process.stdout is not None
        served.process.stdout.close()
