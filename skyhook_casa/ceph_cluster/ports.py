"""Free ports of 127.0.0.1."""

from __future__ import annotations

import random
import socket
from typing import Final

from ..errors import StoreError
from .config import HOST

PORT_MIN: Final = 20_000
PORT_MAX: Final = 32_000
"""Below the ports that Linux gives to outgoing connections, which would take ours in between."""
TRIES: Final = 200


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nobody listens on now, chosen at random.

    Whoever binds one must be ready to find that another was faster.
    """
    found: set[int] = set()
    for port in random.SystemRandom().sample(range(PORT_MIN, PORT_MAX), TRIES):
        if is_free(port):
            found.add(port)
        if len(found) == count:
            return list(found)
    raise StoreError(f"no {count} free ports of {HOST} between {PORT_MIN} and {PORT_MAX}")


def is_free(port: int) -> bool:
    """Whether nobody listens on a port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
