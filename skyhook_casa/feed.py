"""From a thread that makes pieces to the one that takes them, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Condition
from typing import Generic, Protocol, TypeVar


class Piece(Protocol):
    """Something that takes memory."""

    @property
    def nbytes(self) -> int:
        """How much."""


T = TypeVar("T", bound=Piece)


class Feed(Generic[T]):
    """A queue of one maker and one taker. The maker waits while `bytes_max` or more are not taken.

    Parameters
    ----------
    bytes_max : int
        The maker may pass it by one piece.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pieces: deque[T] = deque()
        self._bytes = 0
        self._changed = Condition()
        self._ended = False
        self._error: BaseException | None = None

    def put(self, piece: T) -> bool:
        """Hand over a piece; False if the feed ended and nobody wants it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._bytes < self._bytes_max)
            if self._ended:
                return False
            self._pieces.append(piece)
            self._bytes += piece.nbytes
            self._changed.notify_all()
        return True

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come, or, as taker, that nothing more is wanted."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield each piece; at the end raise the maker's error, if there was one."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or bool(self._pieces))
                if not self._pieces:
                    break
                piece = self._pieces.popleft()
                self._bytes -= piece.nbytes
                self._changed.notify_all()
            yield piece
        if self._error is not None:
            raise self._error
