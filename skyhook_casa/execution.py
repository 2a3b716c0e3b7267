"""Where the parts of a query run: inside the storage, or here on bytes that were read.

Pushing down moves only what is delivered, but as plain values; reading moves the stored bytes of
the columns, which are compressed. So pushing down wins when few events or elements are kept and
loses when nearly all are. The first parts show which it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .errors import InvalidRequest, RequestLost, StoreError
from .stores import ObjectStore
from .work import Computation

EXECUTIONS: Final = ("auto", "pushdown", "read")
"""What a caller may ask for."""
WORTH: Final = 1.0
"""Push down while answers are shorter than this part of the stored bytes that they stand for. Measured by
`bench.pushdown`: up to here pushing down is no slower, and takes no more CPU of client and OSDs together."""
SAMPLE_BYTES: Final = 1 << 20
"""Stored bytes to have met before what was seen is trusted."""
LOSSES_MAX: Final = 1
"""Pieces of one scan that may be lost with their OSDs before all are read."""


class Choice:
    """Decides for each piece of a scan where it runs, and learns from the pieces that ran.

    Safe to use from many threads.

    Parameters
    ----------
    plan : Computation
        What is asked.
    store : ObjectStore
        Where the objects are.
    execution : str
        One of `EXECUTIONS`: to decide, or to always do one of the two.
    delivers : bool
        Whether values are delivered; histograms and counts are always short.

    Raises
    ------
    InvalidRequest
        If `execution` is none of these, or asks for a push-down that the store cannot do.
    """

    def __init__(
        self, plan: Computation, store: ObjectStore, execution: str = "auto", delivers: bool = True
    ) -> None:
        if execution not in EXECUTIONS:
            raise InvalidRequest(f"execution is {execution!r}; one of {', '.join(EXECUTIONS)} is needed")
        if execution == "pushdown" and not store.pushes_down:
            raise InvalidRequest(f"{store.url} only stores: a query there is read, not pushed down")
        self.forced = execution != "auto"
        self._lock = threading.Lock()
        self._alone = threading.Lock()
        self._came_back = False
        self._losses = self._answered = self._stored = 0
        self._push, self.reason = self._first(plan, store, execution, delivers)

    @property
    def pushdown(self) -> bool:
        """Whether the next piece should run inside the storage."""
        return self._push

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Give whether the next piece should run inside the storage, and keep others from it meanwhile.

        Others wait only until one piece has come back: should the program end the OSD that runs it,
        one OSD is lost, not one for each thread.
        """
        if self._push and not self._came_back:
            with self._alone:
                if not self._came_back:
                    yield self._push
                    return
        yield self._push

    def lose(self, error: RequestLost) -> None:
        """Note that a piece did not come back; it is read then, and so are all if it was no accident."""
        with self._lock:
            self._losses += 1
            accident = self._came_back and self._losses <= LOSSES_MAX
        if not accident:
            self.give_up(f"pushing down failed: {error}")

    def learn(self, answer_bytes: int, stored_bytes: int) -> None:
        """Note that events took `answer_bytes` to deliver and `stored_bytes` to keep."""
        with self._lock:
            self._came_back = True
            self._answered += answer_bytes
            self._stored += stored_bytes
            if self.forced or not self._push or self._stored < SAMPLE_BYTES:
                return
            share = self._answered / self._stored
            if share > WORTH:
                self._push = False
                self.reason = f"answers were {share:.0%} of the stored bytes that reading moves"

    def fail(self, error: StoreError) -> None:
        """Read from now on, because pushing down failed.

        Raises
        ------
        StoreError
            `error`, if the caller insists on pushing down.
        """
        if self.forced:
            raise error
        self.give_up(f"pushing down failed: {error}")

    def give_up(self, why: str) -> None:
        """Read from now on."""
        with self._lock:
            self._push = False
            self.reason = why

    @staticmethod
    def _first(plan: Computation, store: ObjectStore, execution: str, delivers: bool) -> tuple[bool, str]:
        if execution != "auto":
            return execution == "pushdown", "as asked"
        if not store.pushes_down:
            return False, "the store cannot run programs"
        if not delivers or not plan.outputs:
            return True, "only counts and bins leave the store"
        if not plan.terms and not plan.thins:
            return False, "every event is wanted, and its columns are shorter as they are stored"
        return True, "the cut may keep few events; read from when answers prove long"
