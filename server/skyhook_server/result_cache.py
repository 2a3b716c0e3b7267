"""Answers that are kept for equal queries: versions are immutable, so they stay right."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from skyhook_casa.catalog import Partition
from skyhook_casa.protocol.held import Position

from .place import Made
from .shelf import Ready


@dataclass(frozen=True, slots=True)
class Kept:
    """One split of an answer."""

    made: Made
    first: Position
    parts: Sequence[Partition]
    ready: Ready | None
    """The events, if they do not travel in the event that announces them."""

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return self.made.nbytes + ENTRY_BYTES


ENTRY_BYTES = 2048
"""About what a split takes besides its events."""
SHARE_MAX = 4
"""An answer larger than this part of the cache is not kept."""


class ResultCache:
    """Keeps the answers that were used last. Belongs to one event loop.

    Parameters
    ----------
    bytes_max : int
        Bytes of all answers together.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._answers: OrderedDict[bytes, Sequence[Kept]] = OrderedDict()
        self.nbytes = 0
        """Bytes of the answers."""
        self.hits = 0
        self.misses = 0

    @property
    def answer_bytes_max(self) -> int:
        """Bytes of the largest answer that is kept."""
        return self._bytes_max // SHARE_MAX

    def __contains__(self, key: bytes) -> bool:
        return key in self._answers

    def get(self, key: bytes) -> Sequence[Kept] | None:
        """Return an answer, in dataset order; None if there is none."""
        found = self._answers.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._answers.move_to_end(key)
        return found

    def put(self, key: bytes, answer: Sequence[Kept]) -> None:
        """Keep an answer, and forget those that were not used for longest."""
        nbytes = sum(one.nbytes for one in answer)
        if nbytes > self.answer_bytes_max or key in self._answers:
            return
        self._answers[key] = answer
        self.nbytes += nbytes
        while self.nbytes > self._bytes_max:
            _, old = self._answers.popitem(last=False)
            self.nbytes -= sum(one.nbytes for one in old)
