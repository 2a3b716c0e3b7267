"""The splits of one query in dataset order: which to run next, which to announce."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from skyhook_casa.catalog import Partition
from skyhook_casa.protocol import INLINE_BYTES
from skyhook_casa.protocol.held import Position

from .place import Made

FIRST_BYTES: Final = INLINE_BYTES * 3 // 4
"""Where the first split stops, so that its events are there soon, in the event that announces it."""
GROWTH: Final = 4
"""How many more partitions than were seen for each split one may have."""
SHORT_S: Final = 0.05
"""Pieces are not made shorter than this: giving one to a worker takes some milliseconds."""
UNANNOUNCED_MAX: Final = 1024
"""Splits of one query that are given out or ready but not taken by its client, however small."""


class State(Enum):
    """What became of a piece."""

    WAITING = 1
    RUNNING = 2
    READY = 3


@dataclass(slots=True, eq=False)
class Piece:
    """Some partitions in a row, from a position on."""

    parts: Sequence[Partition]
    first: Position
    bytes_max: int
    direct: bool = False
    """Whether it goes without a task."""
    state: State = State.WAITING
    made: Made | None = None

    @property
    def stop(self) -> int:
        """Number of the partition that follows."""
        return self.parts[-1].index + 1


class Line:
    """Cuts what a query has to do into pieces of about equal time, and keeps their order.

    Parameters
    ----------
    missing : sequence of (Partition, Position)
        What is to be done, in dataset order.
    turn_s : float
        Seconds that a piece should take.
    split_bytes : int
        Bytes of its answer at which a piece stops.
    threads : int
        How many workers share the work.
    first_bytes : int
        Where the first piece stops.
    """

    def __init__(
        self,
        missing: Sequence[tuple[Partition, Position]],
        turn_s: float,
        split_bytes: int,
        threads: int,
        first_bytes: int,
    ) -> None:
        self._rest = missing
        self._next = 0
        self._turn_s = turn_s
        self._split_bytes = split_bytes
        self._threads = max(1, threads)
        self._first_bytes = min(first_bytes, split_bytes)
        self._pieces: deque[Piece] = deque()
        self._seconds = 0.0
        self._events = 0
        self._nbytes = 0
        self._finished = 0
        self.running = 0
        self.ready_bytes = 0
        """Bytes of pieces that are ready."""

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def is_empty(self) -> bool:
        """Whether everything was done and taken off."""
        return not self._pieces and self._next >= len(self._rest)

    @property
    def expected_bytes(self) -> int:
        """Bytes that the running pieces will have, by those that ended."""
        mean = self._split_bytes if not self._finished else self._nbytes // self._finished
        return self.running * mean

    def seconds(self, piece: Piece) -> float:
        """Return about how long a piece takes at most, by those that ended; 0 before any did."""
        if not self._events:
            return 0.0
        return self._seconds / self._events * sum(part.events for part in piece.parts)

    def waiting(self) -> tuple[Piece | None, bool]:
        """Return the piece to run next, and whether all pieces before it are done with."""
        for number, piece in enumerate(self._pieces):
            if piece.state is State.WAITING:
                return piece, number == 0
        if self._next < len(self._rest):
            piece = self._cut()
            self._pieces.append(piece)
            return piece, len(self._pieces) == 1
        return None, False

    def begin(self, piece: Piece) -> None:
        """Note that a piece was given to a worker."""
        piece.state = State.RUNNING
        self.running += 1

    def end(self, piece: Piece, made: Made | None) -> None:
        """Note what came of a piece, if anything did; what it left is the piece behind it."""
        self.running -= 1
        if made is None:
            return
        piece.state, piece.made = State.READY, made
        self.ready_bytes += made.nbytes
        self._seconds += made.seconds
        self._events += made.report.events_in
        self._nbytes += made.nbytes
        self._finished += 1
        if made.end is not None:
            at = next(n for n, part in enumerate(piece.parts) if part.index == made.end.partition)
            rest = Piece(piece.parts[at:], made.end, self._split_bytes)
            self._pieces.insert(self._pieces.index(piece) + 1, rest)

    def add_ready(self, piece: Piece, made: Made) -> None:
        """Add a piece that was made before."""
        piece.state, piece.made = State.READY, made
        self.ready_bytes += made.nbytes
        self._pieces.append(piece)

    def pop(self, ordered: bool) -> Piece | None:
        """Take off the next ready piece: the first of all, or if not `ordered` any."""
        for piece in self._pieces:
            if piece.state is State.READY:
                self._pieces.remove(piece)
                assert piece.made is not None
                self.ready_bytes -= piece.made.nbytes
                return piece
            if ordered:
                return None
        return None

    def drop(self) -> Iterator[Made]:
        """Take everything off; yield what is ready."""
        self._next = len(self._rest)
        pieces, self._pieces = self._pieces, deque()
        self.ready_bytes = 0
        for piece in pieces:
            if piece.made is not None:
                yield piece.made

    def _cut(self) -> Piece:
        """Cut a piece off the front of what nobody has begun."""
        start = self._next
        first = self._rest[start][1]
        count = 1 if first.cursor else self._count()
        stop = start + 1
        while stop < min(start + count, len(self._rest)) and self._follows(stop):
            stop += 1
        self._next = stop
        bytes_max = self._split_bytes if start else self._first_bytes
        return Piece([part for part, _ in self._rest[start:stop]], first, bytes_max)

    def _follows(self, number: int) -> bool:
        """Return whether a partition can go into one piece with the one before it."""
        (before, _), (part, position) = self._rest[number - 1], self._rest[number]
        return not position.cursor and before.first_event + before.events == part.first_event

    def _count(self) -> int:
        """Return how many partitions take about one turn; fewer near the end, so that all end together."""
        left = len(self._rest) - self._next
        if not self._events:
            return 1
        part = self._rest[self._next][0]
        seconds = self._seconds / self._events * part.events
        fit, short = (int(s / seconds) if seconds > 0 else left for s in (self._turn_s, SHORT_S))
        balanced = max(left // (2 * self._threads), short)
        return max(1, min(fit, GROWTH * self._finished, balanced))
