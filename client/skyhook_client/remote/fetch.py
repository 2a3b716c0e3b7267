"""Splits as they are fetched: from the event that announced them, or by their ticket over Arrow Flight."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import ProtocolError, ServiceLost
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.batches import from_ipc, wire_form

from .address import check_location

SPLIT_BYTES_MAX: Final = 256 << 20
"""Largest split that is taken; services make them of about 16 MiB."""
FETCH_S: Final = 30.0
"""Seconds that a fetch may take …"""
FETCH_BYTES_PER_S: Final = 1 << 20
"""… and one more for each so many bytes."""
COLUMN_BYTES: Final = 64 << 10
"""Batches with fewer bytes in each column, on the average, are joined before they are looked at."""
CLIENTS_MAX: Final = 256
"""Flight servers to which connections are kept."""
THREADS_MAX: Final = 64
"""Threads that fetch at the same time, for all queries of a client."""
REUSED_BYTES: Final = 31 << 20
"""Memory that is given back in pieces up to this size is used again; see `reuse_memory`."""
OPTIONS: Final = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", SPLIT_BYTES_MAX)]


class Fetcher:
    """Connections to Flight servers. Safe to use from many threads."""

    def __init__(self) -> None:
        reuse_memory()
        self._clients: OrderedDict[str, fl.FlightClient] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], None]) -> None:
        """Do some work that fetches, in a thread that is kept for the next one.

        Each thread has memory of its own: what comes in a new one comes with page faults.
        """
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS_MAX, "fetch")
            self._pool.submit(work)

    def fetch(
        self, ticket: bytes, locations: Iterable[str], nbytes: int, ended: Ended
    ) -> Generator[pa.RecordBatch]:
        """Yield the batches that a ticket stands for; where a location breaks off the next one goes on.

        Close it, unless it comes to its end: other splits may wait for their turn.

        Raises
        ------
        ServiceLost
            If none does.
        ProtocolError
            If there are more bytes than `SPLIT_BYTES_MAX`, or a location is none.
        """
        failures = []
        given = 0
        for location in locations:
            try:
                batches = self._fetch(ticket, check_location(location), nbytes, ended)
                for batch in islice(batches, given, None):
                    given += 1
                    yield batch
                return
            except (pa.ArrowException, fl.FlightError, OSError) as error:
                self._forget(location)
                failures.append(f"{location}: {_first_line(error)}")
        raise ServiceLost(f"a part of the answer cannot be fetched: {'; '.join(failures)}")

    def act(self, location: str, action: fl.Action, timeout_s: float) -> bytes | None:
        """Return the first result of an action, if it has any; errors are those of Flight."""
        options = fl.FlightCallOptions(timeout=timeout_s)
        try:
            for result in self._client(location).do_action(action, options):
                found: bytes = result.body.to_pybytes()
                return found
            return None
        except (pa.ArrowException, fl.FlightError, OSError):
            self._forget(location)
            raise

    def close(self) -> None:
        """Close the connections and end the threads; the next fetch makes new ones."""
        with self._lock:
            clients, self._clients = self._clients, OrderedDict()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
        for client in clients.values():
            client.close()

    def _fetch(self, ticket: bytes, location: str, nbytes: int, ended: Ended) -> Iterator[pa.RecordBatch]:
        options = fl.FlightCallOptions(timeout=FETCH_S + nbytes / FETCH_BYTES_PER_S)
        reader = self._client(location).do_get(fl.Ticket(ticket), options)
        with ended.cancelling(reader), ended.turn(location):
            yield from bounded(chunk.data for chunk in reader)

    def _client(self, location: str) -> fl.FlightClient:
        with self._lock:
            client = self._clients.get(location)
            if client is None:
                client = self._clients[location] = fl.connect(location, generic_options=OPTIONS)
                if len(self._clients) > CLIENTS_MAX:
                    self._clients.popitem(last=False)
            self._clients.move_to_end(location)
            return client

    def _forget(self, location: str) -> None:
        """Make a new connection next time: this one would wait before it tries again."""
        with self._lock:
            self._clients.pop(location, None)


def reuse_memory() -> None:
    """Let splits come into memory that those before them used: else half of the time goes to page faults.

    glibc asks the system for each larger piece anew, and gives each back, up to the size of the
    largest one (32 MiB at most) that it ever saw freed. This one is never written to, so costs nothing.
    Where malloc works otherwise, or was told what to do, nothing changes.
    """
    np.empty(REUSED_BYTES, np.uint8)


class Ended:
    """Whether nobody wants any more splits; ends the fetches that run then."""

    def __init__(self) -> None:
        self._readers: dict[int, fl.FlightStreamReader] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._is_set = False

    def set(self) -> None:
        """End all fetches."""
        with self._lock:
            self._is_set = True
            for reader in self._readers.values():
                reader.cancel()

    def turn(self, location: str) -> threading.Lock:
        """Return what is held while reading from a server.

        Splits that are read at the same time share one connection: each comes later, and all of them
        together take more memory. So the next one is only opened meanwhile.
        """
        with self._lock:
            return self._turns.setdefault(location, threading.Lock())

    @contextmanager
    def cancelling(self, reader: fl.FlightStreamReader) -> Iterator[None]:
        """Let `set` cancel a reader meanwhile."""
        with self._lock:
            self._readers[id(reader)] = reader
            if self._is_set:
                reader.cancel()
        try:
            yield
        finally:
            with self._lock:
                del self._readers[id(reader)]


def check_size(split: pb.Split) -> None:
    """Refuse a split that is too large, or of which nobody says where it is.

    Raises
    ------
    ProtocolError
        If it is one of these.
    """
    if split.nbytes > SPLIT_BYTES_MAX or split.nbytes < 0 or split.events < 0:
        raise ProtocolError(
            f"split {split.number} is announced with {split.events} events in {split.nbytes} bytes; "
            f"0 to {SPLIT_BYTES_MAX} bytes are taken"
        )
    if split.events and not (split.data or split.ticket):
        raise ProtocolError(f"split {split.number} has {split.events} events but neither data nor a ticket")


def inline(split: pb.Split) -> Generator[pa.RecordBatch]:
    """Yield the batches that came with the announcement of a split."""
    if split.data:
        yield from bounded(from_ipc(split.data))


def bounded(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches.

    Raises
    ------
    ProtocolError
        If they have more than `SPLIT_BYTES_MAX` bytes.
    """
    nbytes = 0
    for batch in batches:
        nbytes += batch.get_total_buffer_size()
        if nbytes > SPLIT_BYTES_MAX:
            raise ProtocolError(f"a split has more than {SPLIT_BYTES_MAX} bytes")
        yield batch


def unpacked(
    split: pb.Split, batches: Iterable[pa.RecordBatch], outputs: tuple[Output, ...], rows: bool
) -> Iterator[Batch]:
    """Yield the events of a split.

    Raises
    ------
    ProtocolError
        If they are not those that were announced.
    """
    form = wire_form(outputs, rows)
    events = 0
    for batch in _joined(split, batches, COLUMN_BYTES * len(outputs)):
        found = form.from_wire(batch)
        events += found.events
        if events > split.events:
            break
        yield found
    if events != split.events:
        raise ProtocolError(f"split {split.number} has {events} events; {split.events} were announced")


def _joined(split: pb.Split, batches: Iterable[pa.RecordBatch], least: int) -> Iterator[pa.RecordBatch]:
    """Yield the same events in batches of `least` bytes, but for the last.

    It is cheaper to copy small ones than to look at each of their columns.
    """
    small: list[pa.RecordBatch] = []
    nbytes = 0
    for batch in batches:
        small.append(batch)
        nbytes += batch.get_total_buffer_size()
        if nbytes >= least:
            yield from _one(split, small)
            small, nbytes = [], 0
    if small:
        yield from _one(split, small)


def _one(split: pb.Split, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(batches) == 1:
        return batches
    try:
        for batch in batches:
            batch.validate()
        return pa.Table.from_batches(batches).combine_chunks().to_batches()  # type: ignore[no-any-return]
    except pa.ArrowException as error:
        raise ProtocolError(f"the batches of split {split.number} are not of one kind: {error}") from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]
