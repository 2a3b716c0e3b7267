"""Where splits run: what a process keeps between them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from skyhook_casa.errors import QueryCancelled
from skyhook_casa.execution import Choice
from skyhook_casa.protocol import INLINE_BYTES
from skyhook_casa.protocol.batches import to_ipc, wire_form
from skyhook_casa.protocol.held import Position
from skyhook_casa.report import Report
from skyhook_casa.split import Outcome, Split, run_split
from skyhook_casa.stores import ObjectStore, open_store

from .shelf import Ready, Shelf

BATCH_BYTES: Final = 2 << 20
"""About how large the record batches of a split are: Flight moves 1 to 8 MiB about equally fast, and the
client looks at each column of each."""
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
        made = self._keep(split, outcome)
        if cancelled():
            self.shelf.drop([made.ticket] if made.ticket else [])
            raise QueryCancelled(f"query {split.query_id} was ended")
        return replace(made, seconds=time.perf_counter() - began)

    def forget(self, query_id: str) -> None:
        """Forget what was learned of a query."""
        with self._lock:
            self._choices.pop(query_id, None)

    def _keep(self, split: Split, outcome: Outcome) -> Made:
        batch, report, end = outcome.batch, outcome.report, outcome.end
        if outcome.histograms:
            bins = tuple(
                (sums.tobytes(), b"" if squares is None else squares.tobytes())
                for sums, squares in outcome.histograms
            )
            nbytes = sum(len(sums) + len(squares) for sums, squares in bins)
            return Made(report.events_out, nbytes, end, report, 0.0, bins=bins)
        if not split.work.outputs or not batch.events:
            return Made(report.events_out, 0, end, report, 0.0)
        form = wire_form(split.work.outputs, split.work.rows)
        batches = [form.to_wire(piece) for piece in batch.pieces(BATCH_BYTES)]
        nbytes = sum(one.nbytes for one in batches)
        if nbytes <= INLINE_BYTES:
            return Made(batch.events, nbytes, end, report, 0.0, data=to_ipc(batches, form.schema))
        ticket = self.shelf.put(Ready(form.schema, batches, nbytes))
        return Made(batch.events, nbytes, end, report, 0.0, ticket=ticket, location=self.location)

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
