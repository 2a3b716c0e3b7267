"""The processes of a cluster: started without a supervisor, found by their command lines, killed by id.

A process belongs to a cluster if it is a program of Ceph and one of its arguments is the path of the
cluster's `ceph.conf`. So nothing has to be recorded, and nothing else can be hit.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import NotFound, StoreError
from .config import RGW_NAME, Layout

DAEMONS: Final = ("ceph-mon", "ceph-osd", "ceph-mgr", "radosgw")
TOOLS: Final = ("monmaptool", "radosgw-admin")
PACKAGES: Final = "ceph-mon ceph-osd radosgw ceph-common python3-rados"
WATCHDOG: Final = "watchdog"
WATCHDOG_MODULE: Final = f"{__package__}.watchdog"
TOOL_TIMEOUT_S: Final = 120.0
END_TIMEOUT_S: Final = 30.0
"""Longest wait for a daemon to end after a signal that ends it."""
LOG_LINES_SHOWN: Final = 5
TCP_LISTENS: Final = "0A"
"""State of a socket, in /proc/net/tcp."""

_children: Final[dict[int, list[str]]] = {}
"""Command lines of the daemons that this process started and has not reaped, by id."""
_reaping: Final = threading.Lock()
"""Held while a process in `_children` is looked at, which must not be reaped meanwhile."""
os.register_at_fork(after_in_child=_children.clear)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running process of a cluster."""

    name: str
    """Such as "osd.0"."""
    pid: int
    """Its process id."""


def missing_programs(*, mgr: bool = False, s3: bool = False) -> list[str]:
    """Return the programs of Ceph that a cluster needs and that are not installed."""
    needed = ["ceph-mon", "ceph-osd", "monmaptool"]
    needed += ["ceph-mgr"] if mgr else []
    needed += ["radosgw", "radosgw-admin"] if s3 else []
    return [program for program in needed if shutil.which(program) is None]


def command(layout: Layout, name: str) -> list[str]:
    """Return the command line of one daemon; "watchdog.123" ends the cluster when process 123 ends."""
    kind, _, number = name.partition(".")
    if kind == WATCHDOG:
        return [sys.executable, "-m", WATCHDOG_MODULE, number, str(layout.conf)]
    if kind == "rgw":
        return ["radosgw", "-f", "-n", RGW_NAME, "-c", str(layout.conf)]
    return [f"ceph-{kind}", "-f", "-i", number, "-c", str(layout.conf)]


def spawn(layout: Layout, name: str) -> int:
    """Start one daemon in a session of its own, and return its process id.

    It may outlive this process, so no `subprocess.Popen` watches it, which would warn at the end.
    """
    argv = command(layout, name)
    with open(layout.logs / f"{name}.out", "ab") as output:
        pid = os.posix_spawnp(
            argv[0],
            argv,
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                *((os.POSIX_SPAWN_DUP2, output.fileno(), number) for number in (1, 2)),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],  # which Python ignores
        )
    _children[pid] = argv
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    return pid


def run_tool(layout: Layout, *argv: str) -> str:
    """Run a program of Ceph to its end, and return what it printed.

    Raises
    ------
    StoreError
        If it fails, with the beginning of what it said: after an abort, the stack comes last.
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=_environment(),
            timeout=TOOL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"{argv[0]} did not end within {TOOL_TIMEOUT_S:.0f} s") from error
    log = layout.logs / "tools.out"
    with open(log, "a") as file:
        file.write(f"{argv[0]}: exit code {done.returncode}\n{done.stderr}")
    if done.returncode != 0:
        first = "; ".join(done.stderr.strip().splitlines()[:LOG_LINES_SHOWN])
        raise StoreError(f"{argv[0]} failed with exit code {done.returncode}: {first}; see {log}")
    return done.stdout


def running(layout: Layout) -> list[Daemon]:
    """Return the cluster's processes but this one, in order of their names."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            name = _daemon_name(_arguments(int(entry.name)), layout)
            if name is not None:
                found.append(Daemon(name, int(entry.name)))
    return sorted(found, key=lambda daemon: daemon.name)


def find(layout: Layout, name: str) -> Daemon:
    """Return one running daemon.

    Raises
    ------
    NotFound
        If it does not run.
    """
    found = [daemon for daemon in running(layout) if daemon.name == name]
    if not found:
        raise NotFound(f"{name} of the cluster in {layout.folder} does not run")
    return found[0]


def end(layout: Layout, daemons: Iterable[Daemon], number: int = signal.SIGKILL) -> None:
    """Send a signal that ends processes, and wait until they are gone."""
    handles = {daemon: _send(layout, daemon, number) for daemon in daemons}
    try:
        limit = time.monotonic() + END_TIMEOUT_S
        for daemon, handle in handles.items():
            if handle is None:
                continue
            if not select.select([handle], [], [], max(0.0, limit - time.monotonic()))[0]:
                raise StoreError(f"{daemon.name} (process {daemon.pid}) did not end on signal {number}")
    finally:
        for handle in handles.values():
            if handle is not None:
                os.close(handle)
    _reap(layout)


def send_signal(layout: Layout, daemon: Daemon, number: int) -> None:
    """Send a signal, and wait for nothing."""
    handle = _send(layout, daemon, number)
    if handle is not None:
        os.close(handle)


def check_alive(layout: Layout, pids: Iterable[int]) -> None:
    """Raise a `StoreError` with the end of the log if a daemon that this process started has ended."""
    for pid in pids:
        with _reaping:
            argv = _children.get(pid, [])
            code = _exit_code(pid) if argv else None
        if code is not None:
            name = _daemon_name(argv, layout) or "a daemon"
            raise StoreError(f"{name} ended with exit code {code}: {log_end(layout, name)}")


def log_end(layout: Layout, name: str) -> str:
    """Return the last lines that a daemon printed or logged, and where there are more."""
    for suffix in ("out", "log"):
        file = layout.logs / f"{name}.{suffix}"
        lines = file.read_text(errors="replace").split("\n") if file.is_file() else []
        shown = [line.strip() for line in lines if line.strip()][-LOG_LINES_SHOWN:]
        if shown:
            return f"{'; '.join(shown)}; see {layout.logs / name}.log and .out"
    return f"it said nothing; see {layout.logs}"


def said(layout: Layout, name: str, text: str) -> bool:
    """Whether a daemon printed or logged something."""
    files = (layout.logs / f"{name}.{suffix}" for suffix in ("out", "log"))
    return any(text in file.read_text(errors="replace") for file in files if file.is_file())


def listens(pid: int, port: int) -> bool:
    """Whether a process listens on a port of IPv4."""
    sockets = set()
    with suppress(FileNotFoundError):  # it may end, or close a file, while we look
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == TCP_LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
        return any(str(file.readlink()) in sockets for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _send(layout: Layout, daemon: Daemon, number: int) -> int | None:
    """Signal a process; return a handle that becomes readable when it has ended, or None if it has."""
    try:
        handle = os.pidfd_open(daemon.pid)
    except ProcessLookupError:
        return None
    # The handle holds on to one process: if it is ours now, the signal cannot reach another.
    if _daemon_name(_arguments(daemon.pid), layout) == daemon.name:
        with suppress(ProcessLookupError):  # it may end in between, which the handle tells
            signal.pidfd_send_signal(handle, number)
        return handle
    os.close(handle)
    return None


def _exit_code(child: int) -> int | None:
    """The exit code, or minus the signal, of a child that has ended; it is still there to be reaped."""
    done = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if done is None:
        return None
    return done.si_status if done.si_code == os.CLD_EXITED else -done.si_status


def _reap(layout: Layout) -> None:
    """Let go of a cluster's processes that we started and that have ended, of themselves or not."""
    with _reaping:
        for pid, argv in tuple(_children.items()):
            if str(layout.conf) in argv and _exit_code(pid) is not None:
                os.waitpid(pid, 0)
                del _children[pid]


def _arguments(pid: int) -> list[str]:
    """The command line of a process; empty if it has ended."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [os.fsdecode(part) for part in line.split(b"\0")[:-1]]


def _daemon_name(argv: Sequence[str], layout: Layout) -> str | None:
    """What a command line calls a daemon of this cluster, such as "osd.0"; None for all else."""
    if not argv or str(layout.conf) not in argv:
        return None
    program = Path(argv[0]).name
    if program == "radosgw":
        return "rgw.r"
    if program in DAEMONS and "-i" in argv:
        return f"{program.removeprefix('ceph-')}.{argv[argv.index('-i') + 1]}"
    if program in TOOLS:
        return program
    return WATCHDOG if argv[1:3] == ["-m", WATCHDOG_MODULE] else None


def _environment() -> dict[str, str]:
    """Ours, without what would change a daemon's configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CEPH_")}
