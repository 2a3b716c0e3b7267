"""The data plane: Arrow Flight hands out splits by their tickets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.flight as fl

from skyhook_casa.errors import InvalidRequest, NotFound, SkyhookError, StoreError

from .shelf import TICKET_BYTES, Shelf

DROP: Final = "drop"
"""Action that frees splits: its body is their tickets, one after the other."""
DROP_BYTES_MAX: Final = 1 << 16
DROP_S: Final = 5.0
"""How long a worker may take to free splits."""
CALL_S: Final = 30.0
"""A worker that does not answer for so long is given up."""


class SplitServer(fl.FlightServerBase):  # type: ignore[misc]
    """Gives the splits of a shelf to whoever has their tickets.

    Parameters
    ----------
    shelf : Shelf
        Where the splits are.
    location : str
        Where to listen: ``grpc://127.0.0.1:0`` takes any free port.

    Raises
    ------
    StoreError
        If the port is taken, or the host is not one of this machine.
    """

    def __init__(self, shelf: Shelf, location: str) -> None:
        try:
            super().__init__(location)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"Arrow Flight cannot listen on {location}: {error}") from error
        self._shelf = shelf

    def do_get(self, context: fl.ServerCallContext, ticket: fl.Ticket) -> fl.FlightDataStream:
        """Stream the record batches of a split."""
        with flight_errors():
            return self.stream(ticket.ticket)

    def stream(self, ticket: bytes) -> fl.FlightDataStream:
        """Return what a ticket stands for."""
        ready = self._shelf.get(ticket)
        # As a table the batches are written without Python.
        return fl.RecordBatchStream(pa.Table.from_batches(ready.batches, ready.schema))

    def do_action(self, context: fl.ServerCallContext, action: fl.Action) -> list[bytes]:
        """Do what `list_actions` names."""
        with flight_errors():
            return self.act(action.type, action.body.to_pybytes())

    def act(self, kind: str, body: bytes) -> list[bytes]:
        """Free splits."""
        if kind != DROP:
            offered = ", ".join(repr(name) for name, _ in self.list_actions(None))
            raise InvalidRequest(f"the action {kind!r} is unknown; there is {offered}")
        if len(body) > DROP_BYTES_MAX or len(body) % TICKET_BYTES:
            raise InvalidRequest(f"{len(body)} bytes are no list of tickets")
        self.drop([body[at : at + TICKET_BYTES] for at in range(0, len(body), TICKET_BYTES)])
        return []

    def drop(self, tickets: list[bytes]) -> None:
        """Free splits."""
        self._shelf.drop(tickets)

    def list_flights(self, context: fl.ServerCallContext, criteria: bytes) -> Iterator[fl.FlightInfo]:
        """Refuse: the port of a worker has no queries."""
        raise _unimplemented("ListFlights")

    def get_flight_info(
        self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor
    ) -> fl.FlightInfo:
        """Refuse, as above."""
        raise _unimplemented("GetFlightInfo")

    def get_schema(self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        """Refuse, as above."""
        raise _unimplemented("GetSchema")

    def do_put(self, context: fl.ServerCallContext, *call: Any) -> None:
        """Refuse: nothing is written by Flight."""
        raise _unimplemented("DoPut")

    def do_exchange(self, context: fl.ServerCallContext, *call: Any) -> None:
        """Refuse: nothing is written by Flight."""
        raise _unimplemented("DoExchange")

    def list_actions(self, context: fl.ServerCallContext | None) -> list[tuple[str, str]]:
        """Name the actions."""
        return [(DROP, "free splits: the body is their tickets, 16 bytes each")]


def _unimplemented(call: str) -> fl.FlightServerError:
    return fl.FlightServerError(
        f"protocol: {call} is not offered here. DoGet gives splits; the port of a service also has "
        "ListFlights, and GetFlightInfo and GetSchema of queries"
    )


class flight_errors:  # noqa: N801
    """Turns this project's errors into those of Flight, which reach the caller with their message."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, SkyhookError):
            raise fl.FlightServerError(f"{error.kind}: {error}") from error


class Relay:
    """Connections to the Flight servers of workers. Safe to use from many threads."""

    def __init__(self) -> None:
        self._clients: dict[str, fl.FlightClient] = {}
        self._lock = threading.Lock()

    def stream(self, location: str, ticket: bytes) -> fl.FlightDataStream:
        """Pass on a split that a worker holds, batch by batch."""
        reader = self._reader(location, ticket)
        return fl.GeneratorStream(reader.schema, _chunks(reader, location))

    def batches(self, location: str, ticket: bytes) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a split that a worker holds."""
        yield from _chunks(self._reader(location, ticket), location)

    def drop(self, location: str, tickets: list[bytes]) -> None:
        """Free splits that a worker holds.

        Raises
        ------
        StoreError
            If it does not answer: it hangs, or has ended and so has freed them.
        """
        client = self._client(location)
        most = DROP_BYTES_MAX // TICKET_BYTES
        for at in range(0, len(tickets), most):
            action = fl.Action(DROP, b"".join(tickets[at : at + most]))
            try:
                list(client.do_action(action, fl.FlightCallOptions(timeout=DROP_S)))
            except pa.ArrowException as error:
                raise StoreError(f"the worker at {location} frees no splits: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _reader(self, location: str, ticket: bytes) -> fl.FlightStreamReader:
        try:
            return self._client(location).do_get(fl.Ticket(ticket), fl.FlightCallOptions(timeout=CALL_S))
        except pa.ArrowException as error:
            raise NotFound(f"the worker at {location} gave no split: {error}") from error

    def _client(self, location: str) -> fl.FlightClient:
        with self._lock:
            if location not in self._clients:
                self._clients[location] = fl.connect(location)
            return self._clients[location]


def _chunks(reader: fl.FlightStreamReader, location: str) -> Iterator[pa.RecordBatch]:
    try:
        for chunk in reader:
            yield chunk.data
    except pa.ArrowException as error:
        raise fl.FlightUnavailableError(f"the worker at {location} broke off: {error}") from error
