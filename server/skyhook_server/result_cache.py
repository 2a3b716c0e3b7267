"""Answers that are kept for equal queries: versions are immutable, so they stay right."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from skyhook_casa.catalog import Partition
from skyhook_casa.protocol import INLINE_BYTES
from skyhook_casa.protocol.batches import from_ipc, to_ipc
from skyhook_casa.protocol.held import Held, Position
from skyhook_casa.report import Report

from .place import Made
from .shelf import Ready

if TYPE_CHECKING:
    import pyarrow as pa

ENTRY_BYTES: Final = 2048
"""About what a split takes besides its events."""
SPLIT_BYTES: Final = 64 << 20
"""How large the splits of kept answers may be: nobody waits until they are made, clients hand on their events
as they come, and each costs both sides a millisecond."""
SHARE_MAX: Final = 4
"""An answer larger than this part of the cache is not kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One split of an answer."""

    made: Made
    first: Position
    parts: Sequence[Partition]
    ready: Ready | None
    """The events, if they do not travel in the event that announces them."""

    @classmethod
    def of(cls, made: Made, first: Position, parts: Sequence[Partition], ready: Ready | None = None) -> Kept:
        """Return a split for those who ask the same later: its report says that it was kept."""
        report = replace(made.report, splits_cached=1)
        return cls(replace(made, ticket=b"", report=report), first, parts, ready)

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return self.made.nbytes + ENTRY_BYTES

    @property
    def batches(self) -> list[pa.RecordBatch]:
        """Its events."""
        return list(self.ready.batches if self.ready is not None else from_ipc(self.made.data))


class ResultCache:
    """Keeps the answers that were used last. Safe to use from many threads.

    Parameters
    ----------
    bytes_max : int
        Bytes of all answers together.
    split_bytes : int
        Splits of an answer are joined up to this size.
    """

    def __init__(self, bytes_max: int, split_bytes: int) -> None:
        self._bytes_max = bytes_max
        self._split_bytes = split_bytes
        self._answers: OrderedDict[bytes, Sequence[Kept]] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0
        """Bytes of the answers."""

    @property
    def answer_bytes_max(self) -> int:
        """Bytes of the largest answer that is kept."""
        return self._bytes_max // SHARE_MAX

    def short(self, key: bytes) -> Sequence[Kept] | None:
        """Return an answer that can travel with its plan; None if there is none."""
        answer = self.get(key)
        if answer is None or any(one.ready is not None for one in answer):
            return None
        return answer if sum(one.made.nbytes for one in answer) <= INLINE_BYTES else None

    def get(self, key: bytes) -> Sequence[Kept] | None:
        """Return an answer, in dataset order; None if there is none."""
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
        return found

    def put(self, key: bytes, answer: Sequence[Kept]) -> None:
        """Keep an answer, and forget those that were not used for longest."""
        if key in self._answers:
            return
        answer = list(_joined(answer, self._split_bytes))
        nbytes = sum(one.nbytes for one in answer)
        if nbytes > self.answer_bytes_max:
            return
        with self._lock:
            if key in self._answers:
                return
            self._answers[key] = answer
            self.nbytes += nbytes
            while self.nbytes > self._bytes_max:
                _, old = self._answers.popitem(last=False)
                self.nbytes -= sum(one.nbytes for one in old)


def not_held(answer: Sequence[Kept], held: Held) -> Sequence[Kept] | None:
    """Return the splits of an answer that a client does not hold; None if it holds a part of one."""
    sofar = Held()
    for number, kept in enumerate(answer):
        if sofar == held:
            return answer[number:]
        sofar.add(kept.first, kept.made.end, kept.parts[-1].index + 1, kept.made.events)
    return () if sofar == held else None


def _joined(answer: Sequence[Kept], split_bytes: int) -> Iterator[Kept]:
    """Yield an answer in fewer splits; the first stays small if it is, so that its events are there soon."""
    group: list[Kept] = []
    nbytes = 0
    for number, kept in enumerate(answer):
        joins = number > 1 and not kept.made.bins and nbytes + kept.made.nbytes <= split_bytes
        if group and not joins:
            yield _one(group)
            group, nbytes = [], 0
        group.append(kept)
        nbytes += kept.made.nbytes
    if group:
        yield _one(group)


def _one(group: Sequence[Kept]) -> Kept:
    """Return splits that follow each other as one."""
    if len(group) == 1:
        return group[0]
    first, last = group[0], group[-1]
    report = Report(first.made.report.dataset, first.made.report.version)
    for kept in group:
        report.add(kept.made.report)
    report.splits = report.splits_cached = 1
    made = Made(
        sum(kept.made.events for kept in group),
        sum(kept.made.nbytes for kept in group),
        last.made.end,
        report,
        sum(kept.made.seconds for kept in group),
    )
    batches = [batch for kept in group if kept.made.nbytes for batch in kept.batches]
    if not batches:
        return Kept(made, first.first, last.parts, None)
    schema = batches[0].schema
    if made.nbytes <= INLINE_BYTES:
        return Kept(replace(made, data=to_ipc(batches, schema)), first.first, last.parts, None)
    return Kept(made, first.first, last.parts, Ready(schema, batches, made.nbytes))
