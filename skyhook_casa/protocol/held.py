"""Which events of a dataset a client holds, so that a stream that broke goes on where it was."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from ..catalog import Partition
from ..errors import InvalidRequest
from ..query import COUNT_MAX
from . import delivery_pb2 as pb


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two events of a dataset."""

    partition: int
    """Number of the partition in the version, from 0."""
    cursor: int = 0
    """Where to go on in it, as the engine gave it; 0 is the beginning."""
    pruned: bool = True
    """Whether zone maps ruled out every chunk before it."""
    pushed: bool = False
    """Whether something before it ran inside the storage."""


class Held:
    """Events as whole partitions, and beginnings of some.

    The pieces of one partition must be added in their order; partitions may come in any order.
    """

    def __init__(self) -> None:
        self._whole: list[tuple[int, int]] = []
        self._begun: dict[int, Position] = {}
        self.events_out = 0
        """Events that were delivered."""

    def __eq__(self, other: object) -> bool:
        """Whether the same events are held."""
        if not isinstance(other, Held):
            return NotImplemented
        return (self.events_out, self._whole, self._begun) == (other.events_out, other._whole, other._begun)

    def add(self, first: Position, end: Position | None, stop: int, events: int) -> None:
        """Add what lies between two positions.

        Parameters
        ----------
        first : Position
            Where it begins.
        end : Position or None
            Where it ends; None for the beginning of partition `stop`.
        stop : int
            Number of the partition in which it ends.
        events : int
            Events of the answer that lie there.
        """
        last = stop if end is None else end.partition
        if last > first.partition:
            self._begun.pop(first.partition, None)
            self._insert(first.partition, last)
        if end is not None and end.cursor:
            self._begun[end.partition] = end
        self.events_out += events

    def merge(self, message: pb.Held, partitions: int = COUNT_MAX) -> None:
        """Add what a split covers, of a dataset of at most so many partitions.

        Raises
        ------
        InvalidRequest
            If a range is empty, or a place lies outside of the dataset: the answer would silently lack what
            is there.
        """
        for one in message.whole:
            first, stop = one.first, one.stop
            if not 0 <= first < stop <= partitions:
                raise InvalidRequest(f"[{first}, {stop}) is no range of at most {partitions} partitions")
            for number in [n for n in self._begun if first <= n < stop]:
                del self._begun[number]
            self._insert(first, stop)
        for place in message.begun:
            at = Position(place.partition, place.cursor, place.pruned, place.pushed)
            if not 0 <= at.partition < partitions or at.cursor < 0:
                raise InvalidRequest(f"{at} is no place in at most {partitions} partitions")
            self._begun[at.partition] = at
        if message.events_out < 0:
            raise InvalidRequest(f"{message.events_out} events cannot be held")
        self.events_out += message.events_out

    def to_message(self) -> pb.Held:
        """Return the form that travels."""
        return pb.Held(
            whole=[pb.PartitionRange(first=first, stop=stop) for first, stop in self._whole],
            begun=[
                pb.Position(partition=at.partition, cursor=at.cursor, pruned=at.pruned, pushed=at.pushed)
                for at in self._begun.values()
            ],
            events_out=self.events_out,
        )

    @classmethod
    def from_message(cls, message: pb.Held, partitions: int = COUNT_MAX) -> Held:
        """Return what a message says of a dataset of at most so many partitions. Raises as `merge` does."""
        held = cls()
        held.merge(message, partitions)
        return held

    def missing(self, parts: Sequence[Partition]) -> Sequence[tuple[Partition, Position]]:
        """Return each of the partitions that is not held whole, and where to go on in it."""
        return list(self._missing(parts)) if self._whole or self._begun else _Untouched(parts)

    def _missing(self, parts: Sequence[Partition]) -> Iterator[tuple[Partition, Position]]:
        firsts = [first for first, _ in self._whole]
        for part in parts:
            found = bisect_right(firsts, part.index) - 1
            if found >= 0 and part.index < self._whole[found][1]:
                continue
            yield part, self._begun.get(part.index, Position(part.index))

    def _insert(self, first: int, stop: int) -> None:
        """Add a range, and join it with those it touches."""
        apart = [one for one in self._whole if one[1] < first or one[0] > stop]
        touched = [one for one in self._whole if not (one[1] < first or one[0] > stop)]
        first = min([first, *(one[0] for one in touched)])
        stop = max([stop, *(one[1] for one in touched)])
        self._whole = sorted([*apart, (first, stop)])


class _Untouched(Sequence[tuple[Partition, Position]]):
    """Partitions, each from its beginning. Of many, making all pairs would take longer than a short query."""

    def __init__(self, parts: Sequence[Partition]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, at: int) -> tuple[Partition, Position]: ...
    @overload
    def __getitem__(self, at: slice) -> list[tuple[Partition, Position]]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return [(part, Position(part.index)) for part in self._parts[at]]
        part = self._parts[at]
        return part, Position(part.index)
