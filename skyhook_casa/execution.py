"""Where the parts of a query run: inside the storage, or here on bytes that were read.

Pushing down moves only what is delivered, but as plain values; reading moves the stored bytes of
the columns, which are compressed. So pushing down wins when few events or elements are kept and
loses when nearly all are. The pieces that ran show which it is, wherever they ran: the bytes of
what is delivered and of what it is made from are known in both places.

Objects are read in the ranges that the query needs, or as a whole when it needs most of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .errors import AccessDenied, ClassMissing, InvalidRequest, RequestLost, StoreError
from .mixed_program import MixedProgram
from .stores import ObjectStore
from .work import Computation

EXECUTIONS: Final = ("auto", "pushdown", "read")
"""What a caller may ask for."""
WORTH: Final = 1.0
"""Push down while answers are shorter than this part of the stored bytes that they are made from. Measured by
`bench.pushdown`: up to here pushing down is no slower, and takes no more CPU of client and OSDs together."""
WORTH_AGAIN: Final = 0.8
"""Go back from reading to pushing down below this part; less than `WORTH`, so that nothing swings."""
WORTH_SEVERAL: Final = 0.35
"""The same where columns lie in several objects: these look into chunks twice, and here their values are put
together. Measured on three OSDs: so far it takes no more CPU of client and OSDs together."""
DIRECTORY_BYTES: Final = 8 << 10
"""About what reading moves of an object besides columns; all of it if zone maps rule out every chunk."""
RECENT_PIECES: Final = 4
"""Pieces by which a thread judges. Few, because neighbours in a dataset are alike: after a stretch of events
that all pass the cut there may be one of which zone maps rule out every chunk."""
WHOLE: Final = 0.6
"""Read objects as a whole if at least this part of their bytes is needed. Measured on three OSDs: many ranges
and one request take equally long at 0.5 to 0.7; through radosgw one request is never slower."""
LOSSES_MAX: Final = 1
"""Pieces of one scan that may be lost with their OSDs before all are read."""


def check_execution(execution: str, store: ObjectStore, name: str) -> None:
    """Refuse what nobody can ask for, or what the store, called `name`, cannot do.

    Raises
    ------
    InvalidRequest
        If it is one of these.
    """
    if execution not in EXECUTIONS:
        raise InvalidRequest(f"execution is {execution!r}; one of {', '.join(EXECUTIONS)} is needed")
    if execution == "pushdown" and not store.pushes_down:
        raise InvalidRequest(f"{name} only stores: a query there is read, not pushed down")


class Choice:
    """Decides for each piece of a scan where it runs, and learns from the pieces that ran.

    Safe to use from many threads. Each judges by the pieces that it ran itself: a thread of a scan
    works on neighbouring parts.

    Parameters
    ----------
    plan : Computation
        What is asked.
    store : ObjectStore
        Where the objects are.
    execution : str
        One of `EXECUTIONS`: to decide, or to always do one of the two.
    delivers : bool
        Whether values are delivered; histograms and counts are mostly short.

    Raises
    ------
    InvalidRequest
        If `execution` is none of these, or asks for a push-down that the store cannot do.
    """

    def __init__(
        self, plan: Computation, store: ObjectStore, execution: str = "auto", delivers: bool = True
    ) -> None:
        check_execution(execution, store, store.url)
        self.forced = execution != "auto"
        self._can_push = store.pushes_down and execution != "read"
        self._can_read = True
        # Bins are as long however few events are kept, and here nobody sees how long.
        self._worth_again = WORTH_AGAIN if delivers else 0.0
        self._lock = threading.Lock()
        self._alone = threading.Lock()
        self._came_back = False
        self._unmixed = ""
        """Why parts whose columns lie in several objects are read, if they are wherever others run."""
        self._losses = 0
        self._needed_bytes = self._object_bytes = 0
        self._recent = _Recent()
        self._push, self._why = self._first(plan, store, execution, delivers)

    @property
    def pushdown(self) -> bool:
        """Whether this thread's next piece should run inside the storage."""
        push = self._push if self._recent.push is None else self._recent.push
        return self._can_push and push

    @property
    def whole(self) -> bool:
        """Whether this thread's next object, if it is read, should be read as a whole."""
        needed = self._recent.needed
        return (self._needed if needed is None else needed) >= WHOLE

    @property
    def reason(self) -> str:
        """Why pieces run where they run: what decided last; and how the objects that are read are read."""
        why = [self._why] if self._why else []
        if self._unmixed:
            why.append(f"parts whose columns lie in several objects are read: {self._unmixed}")
        if self._object_bytes:
            why.append(self._how())
        return "; ".join(why)

    def _how(self) -> str:
        how = "whole objects are" if self._needed >= WHOLE else "only ranges are"
        return f"{how} read, as {self._needed:.0%} of their bytes are needed"

    @property
    def _needed(self) -> float:
        return self._needed_bytes / self._object_bytes if self._object_bytes else 0.0

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Give whether the next piece should run inside the storage, and keep others from it meanwhile.

        Others wait only until one piece has come back: should the program end the OSD that runs it,
        one OSD is lost, not one for each thread.
        """
        if self.pushdown and not self._came_back:
            with self._alone:
                if not self._came_back:
                    yield self.pushdown
                    return
        yield self.pushdown

    def came_back(self) -> None:
        """Note that a piece that was pushed down came back: what it asks for ends no OSD."""
        self._came_back = True

    def lose(self, error: RequestLost) -> None:
        """Note that a piece did not come back; it is read then, and so are all if it was no accident."""
        with self._lock:
            self._losses += 1
            accident = self._came_back and self._losses <= LOSSES_MAX
        if not accident:
            self.give_up(f"pushing down failed: {error}")

    def learn(self, answer_bytes: int, stored_bytes: int, several: bool = False) -> None:
        """Note what a piece showed, wherever it ran.

        Parameters
        ----------
        answer_bytes : int
            What it takes to deliver its events as an answer of the storage.
        stored_bytes : int
            Stored bytes of columns that they were made from.
        several : bool
            Whether these lie in several objects, and the piece ran inside them.
        """
        if self.forced or not (self._can_push and self._can_read):
            return
        pieces = self._recent.pieces
        pieces.append((answer_bytes, stored_bytes + DIRECTORY_BYTES))
        share = sum(answer for answer, _ in pieces) / sum(stored for _, stored in pieces)
        worth = WORTH if self.pushdown else self._worth_again
        push = share <= (WORTH_SEVERAL if several else worth)
        if push != self.pushdown:
            self._recent.push = push
            with self._lock:
                self._push = push  # where threads begin that have seen nothing yet
                self._why = f"answers are {share:.0%} of the stored bytes that reading moves"

    def need(self, needed_bytes: int, object_bytes: int) -> None:
        """Note how much of an object, or of several, is needed."""
        self._recent.needed = needed_bytes / object_bytes
        with self._lock:
            self._needed_bytes += needed_bytes
            self._object_bytes += object_bytes

    def mixes(self, program: MixedProgram) -> bool:
        """Return whether parts whose columns lie in several objects may run inside these.

        Unless the caller insists, not if no condition can: then all of their events would be delivered.
        """
        if not self._can_push or self._unmixed:
            return False
        if not (program.stages or self.forced) and self._can_read:
            with self._lock:
                self._unmixed = "no condition needs columns of one object alone"
        return not self._unmixed

    def cannot_mix(self, error: ClassMissing) -> None:
        """Read parts whose columns lie in several objects from now on.

        Raises
        ------
        ClassMissing
            `error`, if the caller insists on pushing down, or the objects may not be read.
        """
        if self.forced or not self._can_read:
            raise error
        with self._lock:
            self._unmixed = str(error)

    def fail(self, error: StoreError) -> None:
        """Read from now on, because pushing down failed.

        Raises
        ------
        StoreError
            `error`, if the caller insists on pushing down, or the objects may not be read.
        """
        if self.forced or not self._can_read:
            raise error
        self.give_up(f"pushing down failed: {error}")

    def give_up(self, why: str) -> None:
        """Read from now on."""
        with self._lock:
            self._can_push = False
            self._why = why

    def deny(self, error: AccessDenied) -> None:
        """Push down from now on, because the objects may not be read.

        Raises
        ------
        AccessDenied
            `error`, if pushing down is no way out.
        """
        if not self._can_push or self.forced:
            raise error
        with self._lock:
            self._can_read = False
            self._push, self._recent = True, _Recent()
            self._why = "the objects may not be read"

    @staticmethod
    def _first(plan: Computation, store: ObjectStore, execution: str, delivers: bool) -> tuple[bool, str]:
        if not store.pushes_down:
            return False, ""
        if execution != "auto":
            return execution == "pushdown", "as asked"
        if not delivers or not plan.outputs:
            return True, "only counts and bins leave the store"
        if not plan.terms and not plan.thins:
            return False, "every event is wanted, and its columns are shorter as they are stored"
        return True, "the cut may keep few events; read from when answers prove long"


class _Recent(threading.local):
    """What this thread's last pieces showed."""

    def __init__(self) -> None:
        self.push: bool | None = None
        """Where the next one should run; None as long as nothing was decided here."""
        self.pieces: deque[tuple[int, int]] = deque(maxlen=RECENT_PIECES)
        """Bytes of the answer, and those that reading would move."""
        self.needed: float | None = None
        """Part of the bytes of the last object that was read."""
