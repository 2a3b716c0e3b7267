"""The Flight port of the service: its own splits, those of workers passed on, and queries by Flight alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa
import pyarrow.flight as fl
from google.protobuf.message import DecodeError

from skyhook_casa.errors import InvalidRequest, SkyhookError
from skyhook_casa.plan import Plan
from skyhook_casa.protocol import PROTOCOL_VERSION, RESOLVE_ACTION
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.batches import from_ipc, wire_form
from skyhook_casa.query import Query

from .callers import NAME_CHARS_MAX
from .flight import SplitServer, flight_errors
from .query_run import QueryRun

if TYPE_CHECKING:
    from .engine import Engine

BARE: Final = b"query:"
"""How the ticket of a query by Flight alone begins; the query follows as JSON."""
BARE_CLIENT: Final = "flight"
"""Name of all clients that use Flight alone."""

T = TypeVar("T")


class DataPlane(SplitServer):
    """Answers Flight clients on the service's own port.

    Parameters
    ----------
    engine : Engine
        What runs queries, in the event loop `loop`.
    host, port : str and int
        Where to listen; port 0 takes any free one.
    """

    def __init__(self, engine: Engine, host: str, port: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine.shelf, f"grpc://{host}:{port}")
        self._engine = engine
        self._loop = loop

    def stream(self, ticket: bytes) -> fl.FlightDataStream:
        """Return what a ticket stands for: a split of this process or of a worker, or a query."""
        if ticket.startswith(BARE):
            return self._run(pb.QueryStart(query=ticket[len(BARE) :].decode(errors="replace")))
        location = self._engine.cluster.locations.get(ticket)
        if location is not None:
            return self._engine.relay.stream(location, ticket)
        return super().stream(ticket)

    def act(self, kind: str, body: bytes) -> list[bytes]:
        """Resolve a query, or do what any `SplitServer` does."""
        return self._resolved(body) if kind == RESOLVE_ACTION else super().act(kind, body)

    def list_actions(self, context: fl.ServerCallContext | None) -> list[tuple[str, str]]:
        """Name the actions."""
        resolve = (RESOLVE_ACTION, "say what a query would deliver: the body is a `ResolveAction`")
        return [*super().list_actions(context), resolve]

    def get_flight_info(
        self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor
    ) -> fl.FlightInfo:
        """Plan the query that is the descriptor's command; its ticket runs it."""
        with flight_errors():
            plan = self._planned(descriptor)
            ticket = fl.Ticket(BARE + plan.query.to_json().encode())
            endpoint = fl.FlightEndpoint(ticket, [])
            return fl.FlightInfo(wire_form(plan.outputs).schema, descriptor, [endpoint], -1, -1)

    def get_schema(self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        """Return the schema of the answer to the query that is the descriptor's command."""
        with flight_errors():
            return fl.SchemaResult(wire_form(self._planned(descriptor).outputs).schema)

    def list_flights(self, context: fl.ServerCallContext, criteria: bytes) -> Iterator[fl.FlightInfo]:
        """Give each dataset as the query of all its columns."""
        with flight_errors():
            names = [one.name for one in self._engine.datasets()]
        for name in names:
            query = Query.make(name).to_json().encode()
            yield self.get_flight_info(context, fl.FlightDescriptor.for_command(query))

    def _resolved(self, body: bytes) -> list[bytes]:
        """Return the plan that a client asks for, or nothing: then it is told why on the control plane."""
        if len(body) > self._engine.settings.request_bytes_max:
            return []
        try:
            asked = pb.ResolveAction.FromString(body)
            if asked.protocol != PROTOCOL_VERSION:
                return []
            return [self._engine.resolver.reply(asked.client[:NAME_CHARS_MAX] or BARE_CLIENT, asked.start)]
        except (SkyhookError, DecodeError):
            return []

    def _planned(self, descriptor: fl.FlightDescriptor) -> Plan:
        """Return the plan of the query that is a descriptor's command."""
        if not descriptor.command:
            raise InvalidRequest("the descriptor's command is no query; its JSON is needed")
        start = pb.QueryStart(query=descriptor.command.decode(errors="replace"))
        return self._engine.planner.prepare(start).plan

    def _run(self, start: pb.QueryStart) -> fl.FlightDataStream:
        """Run a query for a client that knows nothing but Flight."""
        schema = wire_form(self._engine.planner.prepare(start).plan.outputs).schema
        return fl.GeneratorStream(schema, self._batches(start))

    def _batches(self, start: pb.QueryStart) -> Iterator[pa.RecordBatch]:
        running = self._engine.running(self._engine.new_query_id(), BARE_CLIENT, start)
        with flight_errors():
            run = self._wait(running.__aenter__())
            events = run.events()
            try:
                while (event := self._wait(_next(events))) is not None:
                    if event.WhichOneof("event") == "split":
                        yield from self._taken(run, event.split)
            except BaseException as error:
                self._wait(events.aclose())
                self._wait(running.__aexit__(type(error), error, error.__traceback__))
                raise
            self._wait(running.__aexit__(None, None, None))

    def _taken(self, run: QueryRun, split: pb.Split) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a split, and free it."""
        if split.data:
            yield from from_ipc(split.data)
        elif split.ticket:
            location = self._engine.cluster.locations.get(split.ticket)
            if location is None:
                yield from self._engine.shelf.get(split.ticket).batches
            else:
                yield from self._engine.relay.batches(location, split.ticket)
        self._wait(self._acknowledge(run, split.number))

    async def _acknowledge(self, run: QueryRun, number: int) -> None:
        self._engine.cluster.release(run.acknowledge(number))

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _next(events: AsyncGenerator[pb.QueryEvent, None]) -> pb.QueryEvent | None:
    return await anext(events, None)
