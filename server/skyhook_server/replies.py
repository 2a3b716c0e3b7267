"""What was said to questions that many ask word for word."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from skyhook_casa.protocol import delivery_pb2 as pb

ENTRY_BYTES: Final = 512
"""About what a reply takes besides question and message."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A plan that came with its answer."""

    message: bytes
    """A `QueryPlan` without the name of its query."""
    splits: int
    events: int
    nbytes: int

    def to(self, query_id: str) -> bytes:
        """Return the message for a query.

        Fields of messages that are put together come together.
        Source: https://protobuf.dev/programming-guides/encoding/#last-one-wins
        """
        name: bytes = pb.QueryPlan(query_id=query_id).SerializeToString()
        return name + self.message


class Replies:
    """Keeps the replies that were used last while nobody changes the catalog. Safe to use from many threads.

    Parameters
    ----------
    bytes_max : int
        Bytes of all of them together.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._state: int | None = None
        self._replies: OrderedDict[bytes, Reply] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0
        """Bytes of the replies."""

    def get(self, asked: bytes, state: int | None) -> Reply | None:
        """Return what was said to a question; None if nothing was, or the catalog was in another state."""
        with self._lock:
            if state is None or state != self._state:
                return None
            found = self._replies.get(asked)
            if found is not None:
                self._replies.move_to_end(asked)
            return found

    def put(self, asked: bytes, state: int | None, plan: pb.QueryPlan) -> None:
        """Keep the reply to a question, looked up when the catalog was in this state, or later."""
        if state is None:
            return
        unnamed = pb.QueryPlan()
        unnamed.CopyFrom(plan)
        unnamed.query_id = ""
        splits = plan.answer.splits
        reply = Reply(
            unnamed.SerializeToString(),
            len(splits),
            sum(one.events for one in splits),
            sum(one.nbytes for one in splits),
        )
        with self._lock:
            if state != self._state:
                self._state, self.nbytes = state, 0
                self._replies.clear()
            if asked in self._replies:
                return
            self._replies[asked] = reply
            self.nbytes += _bytes(asked, reply)
            while self.nbytes > self._bytes_max:
                self.nbytes -= _bytes(*self._replies.popitem(last=False))


def _bytes(asked: bytes, reply: Reply) -> int:
    return len(asked) + len(reply.message) + ENTRY_BYTES
