"""Where splits run: what a process keeps between them."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from skyhook_casa import _engine
from skyhook_casa.errors import QueryCancelled
from skyhook_casa.execution import Choice
from skyhook_casa.protocol import INLINE_BYTES
from skyhook_casa.protocol.batches import to_ipc, wire_form
from skyhook_casa.protocol.held import Position
from skyhook_casa.report import Report
from skyhook_casa.split import Outcome, Split, run_split
from skyhook_casa.stores import ObjectStore, open_store

from .shelf import Ready, Shelf

BATCH_BYTES: Final = 3 << 20
"""About how large the record batches of a split are at most: Flight moves 1 to 8 MiB about equally fast, the
client looks at each, and many libraries of gRPC take no message over 4 MiB unless they are told to."""
CHOICES_MAX: Final = 256
"""Queries of which a process remembers where their pieces run best."""

Bins = tuple[tuple[bytes, bytes], ...]
"""Sums, and sums of squares if there are weights, of each histogram: float64."""


@dataclass(frozen=True, slots=True)
class Made:
    """A split that ran: what came of it, and where it is."""

    events: int
    nbytes: int
    end: Position | None
    """Where it stopped; None if it is through."""
    report: Report
    seconds: float
    """How long it ran."""
    data: bytes = b""
    """A small answer: an Arrow IPC stream."""
    ticket: bytes = b""
    """Any other answer is on a shelf under this ticket …"""
    location: str = ""
    """… of the Flight server there; empty: of the service itself."""
    bins: Bins = ()


class Place:
    """A process that runs splits: its stores, its shelf, and what it learned of the queries.

    Safe to use from many threads.

    Parameters
    ----------
    shelf : Shelf
        Where answers wait for the clients.
    location : str
        Of the Flight server that serves the shelf; empty in the service's own process.
    """

    def __init__(self, shelf: Shelf, location: str = "") -> None:
        self.shelf = shelf
        self.location = location
        self._stores: dict[str, ObjectStore] = {}
        self._choices: OrderedDict[str, Choice] = OrderedDict()
        self._lock = threading.Lock()

    def add_store(self, store: ObjectStore) -> None:
        """Use this store for its address, instead of opening it."""
        self._stores[store.url] = store

    def run(
        self,
        split: Split,
        store_url: str,
        cancelled: Callable[[], bool] = bool,
    ) -> Made:
        """Run a split and keep its answer, unless nobody wants it any more. Raises as `run_split` does."""
        began = time.perf_counter()
        store = self._store(store_url)
        outcome = run_split(split, store, self._choice(split, store), cancelled)
        made = self._keep(split, outcome, began)
        if cancelled():
            self.shelf.drop([made.ticket] if made.ticket else [])
            raise QueryCancelled(f"query {split.query_id} was ended")
        return made

    def forget(self, query_id: str) -> None:
        """Forget what was learned of a query."""
        with self._lock:
            self._choices.pop(query_id, None)

    def _keep(self, split: Split, outcome: Outcome, began: float) -> Made:
        work, result, report, end = split.work, outcome.result, outcome.report, outcome.end
        bins = tuple(
            (sums.tobytes(), b"" if squares is None else squares.tobytes())
            for sums, squares in outcome.histograms
        )
        nbytes, data, ticket = sum(len(sums) + len(squares) for sums, squares in bins), b"", b""
        if work.outputs and result.events and not bins:
            form = wire_form(work.outputs, work.rows)
            batches = [form.of(result, *ends) for ends in _pieces(result)]
            nbytes = sum(one.get_total_buffer_size() for one in batches)
            if nbytes <= INLINE_BYTES:
                data = to_ipc(batches, form.schema)
            else:
                ticket = self.shelf.put(Ready(form.schema, batches, nbytes))
        location = self.location if ticket else ""
        seconds = time.perf_counter() - began
        return Made(report.events_out, nbytes, end, report, seconds, data, ticket, location, bins)

    def _store(self, url: str) -> ObjectStore:
        with self._lock:
            if url not in self._stores:
                self._stores[url] = open_store(url)
            return self._stores[url]

    def _choice(self, split: Split, store: ObjectStore) -> Choice:
        """Return what decides where pieces of this query run: one for all its splits here."""
        with self._lock:
            choice = self._choices.get(split.query_id)
            if choice is None:
                work = split.work
                choice = Choice(work, store, work.execution, delivers=not work.histograms)
                self._choices[split.query_id] = choice
                if len(self._choices) > CHOICES_MAX:
                    self._choices.popitem(last=False)
            self._choices.move_to_end(split.query_id)
            return choice


def _pieces(result: _engine.Result) -> list[tuple[int, int]]:
    """Return where pieces of about `BATCH_BYTES` at most, with about as many events each, begin and end."""
    events = result.events
    count = min(max(1, math.ceil(result.nbytes / BATCH_BYTES)), events)
    return list(pairwise(events * piece // count for piece in range(count + 1)))
