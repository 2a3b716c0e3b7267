"""Processes that plan queries and answer the short ones, once many are asked at the same time.

A Python process does its own work on one core. So a busy service starts some more, and gives them what it was
not asked lately. What is asked again it plans itself, to keep plan and answer for those who ask it next. The
processes run `skyhook_server.query_process`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from queue import SimpleQueue
from typing import Final

from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.errors import from_error_message

from .link import Link
from .logs import get_logger
from .settings import Settings

SETTINGS: Final = 1
"""JSON; the first message to a process."""
READY: Final = 2
"""No bytes; the first message from a process."""
QUESTION: Final = 3
"""Name of the query and of its client, with a blank between and a line end behind, and a `QueryStart`."""
PLAN: Final = 4
"""A `QueryPlan`."""
ERROR: Final = 5
"""An `Error`."""

OVERLAPS: Final = 64
"""Questions that come while others are being answered, in `BUSY_S`, after which processes are started."""
BUSY_S: Final = 2.0
LOOK_S: Final = 5.0
"""How often is looked whether processes are missing, or are not needed any more."""
IDLE_S: Final = 600.0
"""Processes that were asked nothing for so long end."""
DEFAULT_MAX: Final = 4
"""Most processes by default."""
REMOTE_LINKS: Final = 4
"""Questions that a process answers at once where objects are elsewhere, and answering is mostly waiting."""
STDERR: Final = 2
SEEN_MAX: Final = 65_536
"""Questions of which the service knows that they were asked."""
SLOW_S: Final = 30.0
"""A process that does not answer for so long is ended."""
START_S: Final = 60.0
"""How long a process may take to start."""

_log = get_logger(__name__)


class QueryProcesses:
    """Gives questions to processes, if there are any. Safe to use from many threads.

    Parameters
    ----------
    settings : Settings
        Of the service.
    most : int
        How many there may be; 0: the service answers by itself.
    links : int
        How many questions each answers at once.
    """

    def __init__(self, settings: Settings, most: int, links: int = 1) -> None:
        # What is asked twice the service keeps.
        own = {"query_processes": 0, "cache_bytes": 0, "plan_cache": 0}
        self._settings = settings.model_copy(update=own)
        self._most = most
        self._links = links
        self._overlaps: deque[float] = deque(maxlen=OVERLAPS)
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._running: list[_Process] = []
        self._idle: SimpleQueue[tuple[_Process, Link] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._life: threading.Thread | None = None
        self._closed = threading.Event()
        self._asked_s = 0.0

    @property
    def pids(self) -> list[int]:
        """Of the processes that answer."""
        return [one.pid for one in list(self._running)]

    def close(self) -> None:
        """End the processes."""
        self._closed.set()
        if self._life is not None:
            self._life.join()

    def overlap(self) -> None:
        """Note that a question comes while another is being answered; after many, processes are started."""
        now = time.monotonic()
        with self._lock:
            self._overlaps.append(now)
            is_busy = len(self._overlaps) == OVERLAPS and now - self._overlaps[0] < BUSY_S
            lives = self._life is not None and self._life.is_alive()
            if is_busy and self._most and not lives and not self._closed.is_set():
                self._life = threading.Thread(target=self._live, name="query-processes", daemon=True)
                self._life.start()

    def take(self, start: pb.QueryStart) -> bytes | None:
        """Return a question as `resolve` wants it; None if there are no processes, or it was asked lately."""
        if not self._running:
            return None
        asked: bytes = start.SerializeToString()
        question = hash(asked)
        with self._lock:
            if question in self._seen:
                self._seen.move_to_end(question)
                return None
            self._seen[question] = None
            if len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)
        return asked

    def resolve(self, query_id: str, client: str, asked: bytes) -> pb.QueryPlan | None:
        """Return the plan, with the answer if it is short; None if the process that was asked is gone.

        Raises
        ------
        SkyhookError
            As `Engine.resolve` does.
        """
        self._asked_s = time.monotonic()
        found = self._idle_link()
        if found is None:
            return None
        process, link = found
        try:
            link.send(QUESTION, f"{query_id} {client}\n".encode() + asked)
            kind, data = link.receive(SLOW_S)
        except OSError as error:
            link.close()
            self._lose(process, error)
            return None
        self._idle.put(found)
        if kind == ERROR:
            raise from_error_message(pb.Error.FromString(data))
        plan: pb.QueryPlan = pb.QueryPlan.FromString(data)
        return plan

    def _idle_link(self) -> tuple[_Process, Link] | None:
        """Wait for a process that has nothing to do; return it and a connection, or None if there is none."""
        while True:
            found = self._idle.get()
            if found is None:
                if not self._running:
                    self._idle.put(None)  # for others who wait
                    return None
            elif found[0] in self._running:
                return found
            else:
                found[1].close()

    def _live(self) -> None:
        """Start processes, also for those that are lost; end them when they have nothing to do any more."""
        self._asked_s = time.monotonic()
        while time.monotonic() < self._asked_s + IDLE_S and not self._closed.is_set():
            for one in [one for one in self._running if one.has_ended]:
                self._lose(one, ConnectionResetError("it has ended"))
            self._fill()
            self._closed.wait(LOOK_S)
        if self._running and not self._closed.is_set():
            _log.info("query_processes_idle", processes=len(self._running))
        for one in list(self._running):
            self._remove(one)
        self._close_idle()

    def _close_idle(self) -> None:
        """Close connections to processes that have ended."""
        while not self._idle.empty():
            found = self._idle.get()
            if found is not None:
                found[1].close()
        self._idle.put(None)

    def _fill(self) -> None:
        while len(self._running) < self._most and not self._closed.is_set():
            try:
                started = _Process(self._settings, self._links)
            except OSError as error:
                _log.warning("query_process_not_started", error=f"{type(error).__name__}: {error}")
                return
            self._running.append(started)
            for link in started.links:
                self._idle.put((started, link))
            _log.info("query_process_started", pid=started.pid)

    def _lose(self, one: _Process, error: OSError) -> None:
        """Forget a process that ended by itself, or hangs."""
        if self._remove(one):
            what = "query_process_hangs" if isinstance(error, TimeoutError) else "query_process_lost"
            _log.warning(what, pid=one.pid)

    def _remove(self, one: _Process) -> bool:
        """End a process; return whether nobody did before."""
        with self._lock:
            if one not in self._running:
                return False
            self._running.remove(one)
        if not self._running:
            self._idle.put(None)
        one.end()
        return True


class _Process:
    """One process, and the connections to it. It answers once it is made.

    Raises
    ------
    OSError
        If it does not.
    """

    def __init__(self, settings: Settings, links: int) -> None:
        ends = [socket.socketpair() for _ in range(links)]
        self.links = [Link(ours) for ours, _ in ends]
        try:
            self._process = _started([its for _, its in ends])
        except BaseException:
            self._close()
            raise
        finally:
            for _, its in ends:
                its.close()
        try:
            self.links[0].send(SETTINGS, settings.model_dump_json().encode())
            self.links[0].receive(START_S)
        except BaseException:
            self.end()
            self._close()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End the process; it has nothing that could be lost."""
        self._process.kill()
        self._process.wait()

    def _close(self) -> None:
        for link in self.links:
            link.close()


def _started(ends: list[socket.socket]) -> subprocess.Popen[bytes]:
    """Return a process that has the other ends of our connections."""
    numbers = [end.fileno() for end in ends]
    # Not from the directory we are in, where anybody may have put modules. A Ctrl-C is for the service alone.
    command = [sys.executable, "-P", "-m", "skyhook_server.query_process", *map(str, numbers)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=STDERR, pass_fds=numbers, start_new_session=True
    )
