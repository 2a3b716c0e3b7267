"""One end of a connection between the service and a process of its own: messages, one after the other."""

from __future__ import annotations

import socket
import struct
from typing import Final

HEAD: Final = struct.Struct("<IB")
"""How a message begins: bytes that follow, and what it is."""
RECEIVED: Final = 1 << 16
"""Bytes that are taken at once."""


class Link:
    """Sends and receives messages. Each side waits for what the other says before it goes on.

    Parameters
    ----------
    end : socket
        Is closed with the link.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, kind: int, data: bytes) -> None:
        """Send a message. Raises OSError if the other side is gone, or takes nothing for too long."""
        self._end.sendall(HEAD.pack(len(data), kind) + data)

    def receive(self, timeout_s: float | None = None) -> tuple[int, bytes]:
        """Return what the next message is, and its bytes.

        Raises
        ------
        TimeoutError
            If nothing comes for `timeout_s` seconds.
        OSError
            If the other side is gone.
        """
        self._end.settimeout(timeout_s)
        came = self._some()
        while len(came) < HEAD.size:
            came += self._some()
        size, kind = HEAD.unpack_from(came)
        if len(came) == HEAD.size + size:
            return kind, came[HEAD.size :]
        pieces, missing = [came[HEAD.size :]], HEAD.size + size - len(came)
        while missing > 0:
            pieces.append(self._some())
            missing -= len(pieces[-1])
        return kind, b"".join(pieces)

    def close(self) -> None:
        """End the connection."""
        self._end.close()

    def _some(self) -> bytes:
        came = self._end.recv(RECEIVED)
        if not came:
            raise ConnectionResetError("the other process has ended")
        return came
