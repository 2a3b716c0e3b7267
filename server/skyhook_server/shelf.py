"""Splits that are ready, until the client has taken them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from skyhook_casa.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa

TICKET_BYTES: Final = 16
"""Tickets are random, so that nobody takes what was not promised to them."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Record batches of one split."""

    schema: pa.Schema
    batches: Sequence[pa.RecordBatch]
    nbytes: int


class Shelf:
    """Holds splits by their tickets; those that nobody asked for in time are dropped.

    Safe to use from many threads. Who puts splits here bounds their bytes: the window of each query.

    Parameters
    ----------
    ticket_s : float
        Seconds after which a split that nobody took is dropped.
    """

    def __init__(self, ticket_s: float) -> None:
        self._ticket_s = ticket_s
        self._splits: dict[bytes, tuple[float, Ready]] = {}
        self._nbytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the splits here."""
        return self._nbytes

    def __len__(self) -> int:
        return len(self._splits)

    def put(self, ready: Ready) -> bytes:
        """Keep a split and return its ticket."""
        ticket = secrets.token_bytes(TICKET_BYTES)
        with self._lock:
            self._splits[ticket] = (time.monotonic() + self._ticket_s, ready)
            self._nbytes += ready.nbytes
        return ticket

    def get(self, ticket: bytes) -> Ready:
        """Return a split; it stays until it is dropped.

        Raises
        ------
        NotFound
            If there is none: it was dropped, or was made by a process that ended.
        """
        with self._lock:
            found = self._splits.get(ticket)
        if found is None:
            raise NotFound(f"no split has the ticket {ticket.hex()}; ask for what is missing again")
        return found[1]

    def drop(self, tickets: Iterable[bytes]) -> None:
        """Free splits; those that are gone already are no error."""
        with self._lock:
            for ticket in tickets:
                _, ready = self._splits.pop(ticket, (0.0, None))
                self._nbytes -= 0 if ready is None else ready.nbytes

    def sweep(self) -> int:
        """Drop what nobody took in time; return how many splits that were."""
        now = time.monotonic()
        with self._lock:
            late = [ticket for ticket, (until, _) in self._splits.items() if until < now]
        self.drop(late)
        return len(late)
