"""Processes around a service, for tests that end, stop and cut them off: Dask, clients, a proxy."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from serve_process import OWN_HOST, ServeProcess
from waiting import wait_until

END_S = 90.0
CHUNK_BYTES = 64 << 10
LOOPBACK = ("--host", OWN_HOST, "--dashboard-address", f"{OWN_HOST}:0")


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no process {pid}")


def end_process(process: subprocess.Popen[Any]) -> None:
    """End a process, whatever state it is in, and close its pipes."""
    process.kill()
    process.wait(END_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


# -- Dask ----------------------------------------------------------------------------------------
class DaskProcesses:
    """A Dask scheduler, and workers of one thread each, as processes.

    Parameters
    ----------
    place : path
        Where their files go.
    protocol : str
        By which they speak: `tcp` or `tls`.
    environment : mapping
        Variables for them, beside ours.
    """

    def __init__(
        self, place: Path, protocol: str = "tcp", environment: Mapping[str, str] | None = None
    ) -> None:
        self._place = place
        self._protocol = protocol
        self._environment = os.environ | dict(environment or {})
        self._file = place / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._scheduler = self._start_scheduler(0)
        self.address: str = wait_until(self._address, "the scheduler starts")

    def add_workers(self, count: int) -> list[subprocess.Popen[bytes]]:
        """Start workers; they join soon."""
        added = []
        for _ in range(count):
            files = self._place / f"worker{len(list(self._place.glob('*.log')))}"
            flags = ("--nthreads", "1", "--memory-limit", "0", "--no-nanny", "--local-directory", str(files))
            added.append(self._start("dask_worker", self.address, *flags))
            self.workers.append(added[-1])
        return added

    def end_worker(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker; it has no time to say so."""
        self.workers.remove(worker)
        end_process(worker)

    def start_again(self, workers: int) -> None:
        """Kill all, and start a scheduler at the same address and new workers."""
        self.close()
        self.workers.clear()
        self._file.unlink()
        self._scheduler = self._start_scheduler(int(self.address.rpartition(":")[2]))
        assert wait_until(self._address, "the scheduler starts again") == self.address
        self.add_workers(workers)

    def log_text(self) -> str:
        """Return what all of them have logged."""
        return "\n".join(log.read_text() for log in sorted(self._place.glob("*.log")))

    def close(self) -> None:
        """End all of them."""
        for process in (*self.workers, self._scheduler):
            end_process(process)

    def _start_scheduler(self, port: int) -> subprocess.Popen[bytes]:
        flags = ("--protocol", self._protocol, "--port", str(port), "--scheduler-file", str(self._file))
        return self._start("dask_scheduler", *flags)

    def _start(self, program: str, *flags: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *flags, *LOOPBACK]
        number = len(list(self._place.glob("*.log")))
        with (self._place / f"{program}{number}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)

    def _address(self) -> str | None:
        assert self._scheduler.poll() is None, self.log_text()
        try:
            return str(json.loads(self._file.read_text())["address"])
        except (FileNotFoundError, json.JSONDecodeError):  # it is being written
            return None


@contextmanager
def dask(place: Path, workers: int, **options: Any) -> Iterator[DaskProcesses]:
    """Give a Dask cluster; `options` are those of `DaskProcesses`."""
    place.mkdir()
    cluster = DaskProcesses(place, **options)
    try:
        cluster.add_workers(workers)
        yield cluster
    finally:
        cluster.close()


# -- clients -------------------------------------------------------------------------------------
class CallerProcess:
    """A client in a process of its own: `service_callers.py` with a command.

    It tells what it does in lines, and goes on when it is told to.
    """

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        command = [sys.executable, str(Path(__file__).parent / "service_callers.py"), *arguments]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
            )

    def line(self) -> str:
        """Return the next line that it tells."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the client ended with {self.process.wait(END_S)}:\n{self.log.read_text()}"
        return line.strip()

    def go_on(self) -> None:
        """Tell it to go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait(self) -> int:
        """Return the exit code, once it has ended."""
        return self.process.wait(END_S)


@contextmanager
def calling(log: Path, *arguments: str) -> Iterator[CallerProcess]:
    """Give a client process; it is killed at the end, if it still runs."""
    caller = CallerProcess(log, *arguments)
    try:
        yield caller
    finally:
        end_process(caller.process)


# -- the network ---------------------------------------------------------------------------------
Way = Literal["up", "down"]
"""From the client to the server, or from the server to the client."""


class Proxy:
    """Passes TCP connections on, and breaks them off as it is told.

    Parameters
    ----------
    target : (str, int)
        Where the server listens.
    listen : (str, int)
        Where clients call; port 0 is any free one.
    """

    def __init__(self, target: tuple[str, int], listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._target = target
        self._listener = socket.create_server(listen)
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        """Connections that were cut as planned."""
        self._left: dict[Way, int | None] = {"up": None, "down": None}
        self._reset = False
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def cut_after(self, nbytes: int, way: Way, reset: bool = False) -> None:
        """Cut the connection on which the byte of this number, counted from now, would pass.

        Parameters
        ----------
        reset : bool
            Whether both sides are told by a reset, instead of by an ordinary end.
        """
        with self._lock:
            self._left[way], self._reset = nbytes, reset

    def cut_all(self) -> None:
        """Reset all connections now."""
        with self._lock:
            for one in tuple(self._open):
                self._end(one, reset=True)

    def hold(self) -> None:
        """Pass nothing on, as a network that lost its way."""
        self._flows.clear()

    def let_go(self) -> None:
        """Pass on again."""
        self._flows.set()

    def close(self) -> None:
        """End all connections and listen no more."""
        self._closed = True
        self._flows.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(END_S)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:  # it was closed
                return
            try:
                server = socket.create_connection(self._target, END_S)
            except OSError:  # the service is away, and so it looks to the client
                self._end(client, reset=True)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for source, sink, way in ((client, server, "up"), (server, client, "down")):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, way), daemon=True)
                self._threads.append(thread)
                thread.start()
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _pass_on(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                self._flows.wait()
                passed = self._passed(data, way)
                sink.sendall(passed)
                if len(passed) < len(data):
                    break
        except OSError:  # one side is gone; so is the other, then
            pass
        with self._lock:
            for one in (source, sink):
                self._end(one, self._reset)

    def _passed(self, data: bytes, way: Way) -> bytes:
        """Return what of some bytes passes before the connection is cut."""
        with self._lock:
            left = self._left[way]
            if left is None:
                return data
            if left >= len(data):
                self._left[way] = left - len(data)
                return data
            self._left[way] = None
            self.cuts += 1
            return data[:left]

    def _end(self, one: socket.socket, reset: bool) -> None:
        self._open.discard(one)
        with suppress(OSError):  # it was ended by the other thread
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@contextmanager
def proxied(served: ServeProcess, flight_port: int) -> Iterator[tuple[str, Proxy, Proxy]]:
    """Give an address of the service at which both its planes go through proxies, and the proxies.

    The data plane is where the control plane is: at another address of this machine, on the same port.
    """
    control = Proxy(("127.0.0.1", int(served.address.rpartition(":")[2])), (OWN_HOST, 0))
    try:
        data = Proxy(("127.0.0.1", flight_port), (OWN_HOST, flight_port))
        try:
            yield f"grpc://{OWN_HOST}:{control.port}", control, data
        finally:
            data.close()
    finally:
        control.close()


def random_bytes_to(host: str, port: int, seed: int) -> None:
    """Send what no client sends, with or without the beginning of what one does."""
    rng = random.Random(seed)
    preface = rng.choice([b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
    with suppress(ConnectionError, TimeoutError), socket.create_connection((host, port), 5.0) as one:
        one.settimeout(0.05)
        one.sendall(preface + rng.randbytes(rng.randrange(1, 4096)))
        one.recv(CHUNK_BYTES)
