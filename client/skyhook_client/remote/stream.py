"""One stream of a query: its events are read ahead, and its splits fetched ahead, within bounds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import ProtocolError, ServiceLost
from skyhook_casa.feed import Feed
from skyhook_casa.protocol import delivery_pb2 as pb

from .channel import Channel
from .fetch import Ended, Fetcher, inline, unpacked
from .order import Order

if TYPE_CHECKING:
    import pyarrow as pa

AHEAD_BYTES: Final = 32 << 20
"""About how many bytes are fetched or being fetched that nobody has taken yet."""
FETCHES: Final = 2
"""Splits that are fetched at the same time: more take turns at the processor and at the connection."""
CLOSE_S: Final = 5.0
"""How long to wait for a stream to end by itself, and then for its threads."""

Planned = Callable[[pb.QueryPlan], None]
Advanced = Callable[[int, int], None]


@dataclass(slots=True)
class Coming:
    """A split that is announced."""

    split: pb.Split
    batches: SimpleQueue[Batch | BaseException | None] = field(default_factory=SimpleQueue)
    """Its events as they come, and None behind them, or what went wrong."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, at least one."""
        return max(1, self.split.nbytes)


class SplitStream:
    """A `Query` call that was begun. Belongs to one thread, but for its readers.

    Parameters
    ----------
    channel, fetcher
        Connections to the service.
    start : QueryStart
        The query, and what of it is held already.
    outputs : tuple of Output
        The columns that the service said it would deliver.
    planned : callable
        Told the plan, which it may refuse, before there is any split; in a thread of this stream.
    advanced : callable
        Told the events done and to be done; in the same thread.
    """

    def __init__(
        self,
        channel: Channel,
        fetcher: Fetcher,
        start: pb.QueryStart,
        outputs: tuple[Output, ...],
        planned: Planned,
        advanced: Advanced,
    ) -> None:
        self._channel = channel
        self._fetcher = fetcher
        self._outputs = outputs
        self._rows = start.rows
        self._order = Order(start.deliver == pb.QueryStart.BATCHES)
        self._planned = planned
        self._advanced = advanced
        self._has_plan = False
        self._taken = 0
        self._current: Coming | None = None
        self._feed: Feed[Coming] = Feed(AHEAD_BYTES)
        self._coming = iter(self._feed)
        self._ended = Ended()
        self._waiting: deque[Coming] = deque()
        self._fetches = 0
        self._lock = threading.Lock()
        self._messages: SimpleQueue[pb.QueryMessage | None] = SimpleQueue()
        self._messages.put(pb.QueryMessage(start=start))
        self._call: Any = channel.query(iter(self._messages.get, None))
        self._reader = threading.Thread(target=self._read, name="query", daemon=True)
        self._reader.start()

    @property
    def end(self) -> pb.QueryEnd | None:
        """The end of the answer, once it came."""
        return self._order.end

    def take(self) -> tuple[pb.Split, Batch | None] | None:
        """Return the next batch and its split, or None in place of a batch once all of that split were taken.

        Return None if there are no more splits, and `end` is there. After a split that is whole,
        asking for more tells the service that it is held.

        Raises
        ------
        ServiceLost
            If the stream broke off, or a split cannot be fetched.
        SkyhookError
            What the service says of a query that failed.
        """
        if self._current is None:
            if self._taken:
                self._messages.put(pb.QueryMessage(acknowledge=self._taken))
            self._current = next(self._coming, None)
            if self._current is None:
                return None
        split, batch = self._current.split, self._current.batches.get()
        if isinstance(batch, BaseException):
            raise batch
        if batch is None:
            self._taken = split.number
            self._current = None
        return split, batch

    def finish(self) -> None:
        """Let the stream, all of which was taken, end by itself, and close it."""
        self._messages.put(None)
        self._reader.join(CLOSE_S)
        self.close()

    def close(self) -> None:
        """End the stream at once, at any time."""
        self._feed.end()
        self._call.cancel()
        self._messages.put(None)
        self._ended.set()
        self._reader.join(CLOSE_S)
        with self._lock:
            self._waiting.clear()

    # -- in the thread that reads -------------------------------------------------------------
    def _read(self) -> None:
        """Read all events; what goes wrong is raised by `take`."""
        try:
            with self._channel.speaking():
                for event in self._call:
                    if not self._handle(event):
                        return
            if self.end is None:
                raise ServiceLost(
                    f"the service at {self._channel.url} broke off before the end of the answer"
                )
        except BaseException as error:  # noqa: BLE001
            self._feed.end(error)
        else:
            self._feed.end()

    def _handle(self, event: pb.QueryEvent) -> bool:
        """Handle one event; return False if nobody wants more."""
        kind = event.WhichOneof("event")
        if self.end is not None or self._has_plan == (kind == "plan"):
            raise ProtocolError(f"the service sent an event {kind!r} out of turn")
        if kind == "plan":
            self._has_plan = True
            self._planned(event.plan)
        elif kind == "split":
            return self._announce(event.split)
        elif kind == "progress":
            self._advanced(event.progress.done, event.progress.total)
        elif kind == "end":
            self._order.finish(event.end)
            self._feed.end()
        else:
            raise ProtocolError("the service sent an event of no kind that this client knows")
        return True

    def _announce(self, split: pb.Split) -> bool:
        """Begin to fetch a split, once there is room for it."""
        self._order.add(split)
        coming = Coming(split)
        if split.ticket:
            self._await_fetch(coming)
        else:
            self._unpack(coming, inline(split))
        return self._feed.put(coming)

    def _await_fetch(self, coming: Coming) -> None:
        with self._lock:
            self._waiting.append(coming)
            if self._fetches == FETCHES:
                return
            self._fetches += 1
        self._fetcher.submit(self._fetch_waiting)

    def _fetched(self, split: pb.Split) -> Generator[pa.RecordBatch]:
        # The service itself has what its workers hold, where they cannot be reached.
        locations = [*split.locations, self._channel.flight_location()]
        yield from self._fetcher.fetch(split.ticket, locations, split.nbytes, self._ended)

    # -- in the threads that fetch ------------------------------------------------------------
    def _fetch_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._fetches -= 1
                    return
                coming = self._waiting.popleft()
            self._unpack(coming, self._fetched(coming.split))

    def _unpack(self, coming: Coming, batches: Generator[pa.RecordBatch]) -> None:
        """Hand over each batch of a split as soon as it is there, while the processor has it at hand."""
        try:
            with closing(batches):
                for batch in unpacked(coming.split, batches, self._outputs, self._rows):
                    coming.batches.put(batch)
        except BaseException as error:  # noqa: BLE001
            coming.batches.put(error)
        else:
            coming.batches.put(None)
