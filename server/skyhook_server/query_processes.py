"""Processes that plan queries and answer the short ones, once many are asked at the same time.

A Python process does its own work on one core. So a busy service starts some more, and gives them what it was
not asked lately, each question to the one that has least to do. What is asked again it plans itself, to keep
plan and answer for those who ask it next. The processes run `skyhook_server.query_process`.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import struct
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.errors import from_error_message

from .logs import get_logger
from .settings import Settings

HEAD: Final = struct.Struct("<IIB")
"""How a message begins: bytes that follow, number of the question, and what it is."""
SETTINGS: Final = 1
"""JSON; the first message to a process."""
READY: Final = 2
"""No bytes; the first message from a process, numbered 0."""
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
"""How often is looked whether processes are missing, hang, or are not needed any more."""
IDLE_S: Final = 600.0
"""Processes that were asked nothing for so long end."""
DEFAULT_MAX: Final = 4
"""Most processes by default: the service itself hands out no more than so many can answer."""
STDERR: Final = 2
SEEN_MAX: Final = 65_536
"""Questions of which the service knows that they were asked."""
SLOW_S: Final = 30.0
"""A process that owes answers, and gave none for so long, is ended."""
START_S: Final = 60.0
"""How long a process may take to start."""

_log = get_logger(__name__)


class QueryProcesses:
    """Gives questions to processes, if there are any. Belongs to one event loop.

    Parameters
    ----------
    settings : Settings
        Of the service.
    most : int
        How many there may be; 0: the service answers by itself.
    """

    def __init__(self, settings: Settings, most: int) -> None:
        # What is asked twice the service keeps.
        own = {"query_processes": 0, "cache_bytes": 0, "plan_cache": 0}
        self._settings = settings.model_copy(update=own)
        self._most = most
        self._overlaps: deque[float] = deque(maxlen=OVERLAPS)
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._running: list[_Process] = []
        self._life: asyncio.Task[None] | None = None
        self._asked_s = 0.0

    @property
    def count(self) -> int:
        """Processes that answer."""
        return len(self._running)

    async def close(self) -> None:
        """End the processes."""
        self._most = 0
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
        await self._end_all()

    def overlap(self) -> None:
        """Note that a question comes while another is being answered; after many, processes are started."""
        now = time.monotonic()
        self._overlaps.append(now)
        is_busy = len(self._overlaps) == OVERLAPS and now - self._overlaps[0] < BUSY_S
        if is_busy and len(self._running) < self._most and (self._life is None or self._life.done()):
            # They belong to no query, which lines of the log would name.
            self._life = asyncio.create_task(self._live(), context=contextvars.Context())

    def take(self, start: pb.QueryStart) -> bytes | None:
        """Return a question as `resolve` wants it; None if there are no processes, or it was asked lately."""
        if not self._running:
            return None
        asked: bytes = start.SerializeToString()
        question = hash(asked)
        if question in self._seen:
            self._seen.move_to_end(question)
            return None
        self._seen[question] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return asked

    async def resolve(self, query_id: str, client: str, asked: bytes) -> pb.QueryPlan | None:
        """Return the plan, with the answer if it is short; None if the process that was asked is gone.

        Raises
        ------
        SkyhookError
            As `Engine.resolve` does.
        """
        self._asked_s = time.monotonic()
        chosen = min(self._running, key=lambda one: one.waiting)
        try:
            kind, found = await chosen.ask(f"{query_id} {client}\n".encode() + asked)
        except ConnectionError:  # it is in the log
            return None
        if kind == ERROR:
            raise from_error_message(pb.Error.FromString(found))
        plan: pb.QueryPlan = pb.QueryPlan.FromString(found)
        return plan

    async def _live(self) -> None:
        """Start processes, also for those that are lost; end them when they have nothing to do any more."""
        self._asked_s = time.monotonic()
        while time.monotonic() < self._asked_s + IDLE_S:
            await self._fill()
            await asyncio.sleep(LOOK_S)
            for one in self._running:
                if one.owes_s > SLOW_S:
                    _log.warning("query_process_hangs", pid=one.pid)
                    one.kill()
        _log.info("query_processes_idle", processes=len(self._running))
        await self._end_all()

    async def _fill(self) -> None:
        while len(self._running) < self._most:
            started = _Process(self._lost)
            try:
                await started.start(self._settings)
            except (OSError, TimeoutError) as error:
                _log.warning("query_process_not_started", error=f"{type(error).__name__}: {error}")
                return
            self._running.append(started)
            _log.info("query_process_started", pid=started.pid)

    async def _end_all(self) -> None:
        ended, self._running = self._running, []
        await asyncio.gather(*(one.end() for one in ended))

    def _lost(self, one: _Process) -> None:
        """Forget a process that ended by itself."""
        if one in self._running:
            _log.warning("query_process_lost", pid=one.pid)
            self._running.remove(one)


class _Process(asyncio.Protocol):
    """One process, and the connection to it.

    Parameters
    ----------
    lost : callable
        Is told when the process has ended that nobody asked to.
    """

    def __init__(self, lost: Callable[[_Process], None]) -> None:
        self._lost = lost
        self._number = 0
        self._asked: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._answered_s = 0.0
        self._came = bytearray()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def waiting(self) -> int:
        """Questions that it has not answered."""
        return len(self._asked)

    @property
    def owes_s(self) -> float:
        """Seconds for which it has not answered, though there were questions; 0 if there are none."""
        return time.monotonic() - self._answered_s if self._asked else 0.0

    async def start(self, settings: Settings) -> None:
        """Start the process, and return when it answers.

        Raises
        ------
        OSError, TimeoutError
            If it does not.
        """
        loop = asyncio.get_running_loop()
        ours, its = socket.socketpair()
        try:
            self._process = await loop.run_in_executor(None, _started, its)
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()
        self._transport, _ = await loop.create_connection(lambda: self, sock=ours)
        ready = self._asked[0] = loop.create_future()
        try:
            self._write(0, SETTINGS, settings.model_dump_json().encode())
            async with asyncio.timeout(START_S):
                await ready
        except BaseException:
            await self.end()
            raise
        finally:
            del self._asked[0]

    async def ask(self, question: bytes) -> tuple[int, bytes]:
        """Return what is said to a question. Raises ConnectionError if the process is gone."""
        if not self._asked:
            self._answered_s = time.monotonic()
        self._number = number = self._number % 0xFFFF_FFFF + 1
        said: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._asked[number] = said
        try:
            self._write(number, QUESTION, question)
            return await said
        finally:
            del self._asked[number]

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def end(self) -> None:
        """End the process; it has nothing that could be lost."""
        self._lost = lambda _: None
        self.kill()
        self._transport.abort()
        await asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    def _write(self, number: int, kind: int, data: bytes) -> None:
        self._transport.write(HEAD.pack(len(data), number, kind) + data)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._answered_s = time.monotonic()
        came = self._came
        came += data
        while len(came) >= HEAD.size:
            size, number, kind = HEAD.unpack_from(came)
            end = HEAD.size + size
            if len(came) < end:
                return
            said = self._asked.get(number)
            if said is not None and not said.done():
                said.set_result((kind, bytes(came[HEAD.size : end])))
            del came[:end]

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.kill()
        asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        self._lost(self)
        for said in self._asked.values():
            if not said.done():
                said.set_exception(ConnectionResetError("the process has ended"))


def _started(link: socket.socket) -> subprocess.Popen[bytes]:
    """Return a process that has one end of a connection as its standard input."""
    # Not from the directory we are in, where anybody may have put modules. A Ctrl-C is for the service alone.
    command = [sys.executable, "-P", "-m", "skyhook_server.query_process"]
    return subprocess.Popen(command, stdin=link.fileno(), stdout=STDERR, start_new_session=True)
