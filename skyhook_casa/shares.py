"""Who works on which part: a contiguous share for each thread, and help for those who lag behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from .catalog import Partition


class Shares:
    """Parts in contiguous shares of about equal numbers of events. Safe to use from many threads.

    The owner of a share works from its front. Who has finished takes parts from the back of the
    share that has most left, so the parts of a share stay in order: the owner's, then those taken.

    Parameters
    ----------
    parts : sequence of Partition
        Each with at least one event.
    count : int
        Most shares; there are fewer if there are fewer parts.
    """

    def __init__(self, parts: Sequence[Partition], count: int) -> None:
        self._shares = [deque(block) for block in blocks(parts, count)]
        self._left = [sum(part.events for part in share) for share in self._shares]
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._shares)

    def next(self, share: int) -> Partition | None:
        """Return the next part of one's own share; None if there is none left."""
        with self._lock:
            return self._take(share, front=True)

    def steal(self) -> tuple[int, Partition] | None:
        """Return a share and the last part of it that nobody has begun; None if all are begun."""
        with self._lock:
            share = max(range(len(self._left)), key=self._left.__getitem__)
            part = self._take(share, front=False)
            return None if part is None else (share, part)

    def _take(self, share: int, front: bool) -> Partition | None:
        parts = self._shares[share]
        if not parts:
            return None
        part = parts.popleft() if front else parts.pop()
        self._left[share] -= part.events
        return part


def blocks(parts: Sequence[Partition], count: int) -> list[list[Partition]]:
    """Return `parts` as at most `count` contiguous blocks of about equal numbers of events."""
    total = sum(part.events for part in parts)
    found: dict[int, list[Partition]] = {}
    seen = 0
    for part in parts:
        found.setdefault((2 * seen + part.events) * count // (2 * total), []).append(part)
        seen += part.events
    return list(found.values())
