"""A process that plans queries and answers short ones for a service, see `skyhook_server.query_processes`."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from typing import Final

from skyhook_casa.errors import SkyhookError
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.errors import error_message
from skyhook_casa.stores import DirectoryStore

from . import logs
from .engine import Engine
from .errors import mistake
from .metrics import Metrics
from .query_processes import ERROR, HEAD, PLAN, READY
from .settings import Settings

REMOTE_THREADS: Final = 4
"""Questions that are answered at once where the objects are elsewhere, and answering is mostly waiting."""


class QueryProcess:
    """Answers what comes through a socket, until it ends.

    Parameters
    ----------
    link : socket
        To the service. What comes first are its settings.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._reader = link.makefile("rb")
        self._reading, self._writing = threading.Lock(), threading.Lock()
        settings = Settings.model_validate_json(self._next()[1])
        # The service logs what it passes on; from here come only warnings.
        logs.configure(settings.log_format, "error" if settings.log_level == "error" else "warning")
        self._engine = Engine(settings, Metrics())

    def run(self) -> None:
        """Answer until the service wants no more."""
        gc.collect()
        gc.freeze()
        self._say(0, READY, b"")
        is_local = isinstance(self._engine.store, DirectoryStore)
        threads = [threading.Thread(target=self._serve) for _ in range(1 if is_local else REMOTE_THREADS)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    def _serve(self) -> None:
        try:
            while True:
                number, question = self._next()
                self._say(number, *self._answered(question))
        except (EOFError, ConnectionError):
            return

    def _answered(self, question: bytes) -> tuple[int, bytes]:
        head, _, asked = question.partition(b"\n")
        query_id, _, client = head.decode().partition(" ")
        try:
            plan = self._engine.answered(query_id, client, pb.QueryStart.FromString(asked))
        except SkyhookError as error:
            return ERROR, error_message(error).SerializeToString()
        except Exception as error:  # noqa: BLE001
            return ERROR, error_message(mistake(error)).SerializeToString()
        return PLAN, plan.SerializeToString()

    def _next(self) -> tuple[int, bytes]:
        with self._reading:
            size, number, _ = HEAD.unpack(self._read(HEAD.size))
            return number, self._read(size)

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _say(self, number: int, kind: int, data: bytes) -> None:
        with self._writing:
            self._link.sendall(HEAD.pack(len(data), number, kind) + data)


def main() -> None:
    """Answer what comes through the socket that is standard input."""
    link = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    QueryProcess(link).run()


if __name__ == "__main__":
    main()
