"""Events as a service brings them, each handed on once."""

from __future__ import annotations

from collections import deque

from skyhook_casa.batch import Batch
from skyhook_casa.protocol import delivery_pb2 as pb


class Arrivals:
    """Hands on batches before their split is whole, and after a loss only those that were not handed on.

    In dataset order a stream that begins again brings the same events again, from the last split on that
    was whole. In any other order nobody knows which come first, so there only whole splits are handed on.

    Parameters
    ----------
    ordered : bool
        Whether events come in dataset order.
    """

    def __init__(self, ordered: bool = True) -> None:
        self.given = 0
        """Events that were handed on, or are ready to be."""
        self.split: pb.Split | None = None
        """The split of which some batches came."""
        self._ordered = ordered
        self._in_split = 0
        self._at = 0
        self._withheld: list[Batch] = []
        self._ready: deque[Batch] = deque()

    @property
    def events_in(self) -> float:
        """About how many events of the dataset those that came of `split` stand for."""
        if self.split is None or not self.split.events:
            return 0.0
        return self.split.report.events_in * self._in_split / self.split.events

    def begin(self, held: int) -> None:
        """Note that a stream begins behind so many events, which came in whole splits."""
        self._at = held
        self._end_split()
        self._withheld.clear()

    def add(self, split: pb.Split, batch: Batch | None) -> None:
        """Add the next batch of a split, or None once it is whole."""
        if batch is None:
            self._end_split()
            self._ready.extend(self._withheld)
            self.given += sum(one.events for one in self._withheld)
            self._withheld.clear()
            return
        self.split = split
        self._in_split += batch.events
        if not self._ordered:
            self._withheld.append(batch)
            return
        known = min(self.given - self._at, batch.events)
        self._at += batch.events
        if known < batch.events:
            self._ready.append(batch.slice(known, batch.events) if known else batch)
            self.given = self._at

    def take(self) -> Batch | None:
        """Return the next batch to hand on, if there is one."""
        return self._ready.popleft() if self._ready else None

    def _end_split(self) -> None:
        self.split, self._in_split = None, 0
