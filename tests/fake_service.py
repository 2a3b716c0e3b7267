# ruff: noqa: N802
"""A service that does as a test says: it breaks off, lies, is busy, and sends what makes no sense."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import SkyhookError
from skyhook_casa.protocol import ERROR_KEY
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.batches import to_ipc, wire_form
from skyhook_casa.protocol.convert import to_message
from skyhook_casa.protocol.delivery_pb2_grpc import (
    DeliveryServicer,
    IngestServicer,
    add_DeliveryServicer_to_server,
    add_IngestServicer_to_server,
)
from skyhook_casa.protocol.errors import error_message, status_of
from skyhook_casa.protocol.held import Held
from skyhook_casa.query import Query
from skyhook_client import Client
from skyhook_client.remote.address import parse_service
from skyhook_client.remote.backend import RemoteBackend
from skyhook_client.remote.channel import Patience

PARTITIONS = 6
PART_EVENTS = 10
EVENTS = PARTITIONS * PART_EVENTS
OUTPUTS = (
    Output("event", "int64", None),
    Output("Muon_pt", "float32", 0, "Muon", True),
)
FORM = wire_form(OUTPUTS)
VERSION = pb.DatasetVersion(
    id=1, dataset="x", number=1, schema_id=1, events=EVENTS, partitions=PARTITIONS, bytes=1000
)
QUERY_ID = "abc123"

SOON = Patience(lost_s=60.0, busy_s=60.0, first_s=0.01, most_s=0.1)
"""Of a client that tries again quickly."""
NOT_LONG = Patience(lost_s=0.1, busy_s=0.1, first_s=0.01, most_s=0.02)
"""Of one that gives up quickly, too."""

Script = Callable[["Asked"], Iterator[pb.QueryEvent]]


class Asked:
    """One `Query` call as the service sees it."""

    def __init__(self, messages: Iterator[pb.QueryMessage], context: grpc.ServicerContext) -> None:
        self.start = next(messages).start
        self.context = context
        self.acknowledged: list[int] = []
        self.ended = threading.Event()
        self._changed = threading.Condition()
        context.add_callback(self.ended.set)
        threading.Thread(target=self._listen, args=(messages,), daemon=True).start()

    def missing(self) -> list[int]:
        """Partitions that the client does not hold."""
        whole = [range(one.first, one.stop) for one in self.start.held.whole]
        return [number for number in range(PARTITIONS) if not any(number in one for one in whole)]

    def wait_for(self, number: int, timeout_s: float = 60) -> bool:
        """Return whether a split was acknowledged in time."""
        with self._changed:
            return self._changed.wait_for(lambda: number in self.acknowledged, timeout_s)

    def _listen(self, messages: Iterator[pb.QueryMessage]) -> None:
        try:
            for message in messages:
                with self._changed:
                    self.acknowledged.append(message.acknowledge)
                    self._changed.notify_all()
        except grpc.RpcError:
            return  # the client hung up


class FakeService(DeliveryServicer, IngestServicer):
    """Answers queries of `EVENTS` events, one split for each partition, unless scripts say otherwise.

    Attributes
    ----------
    scripts : list of callables
        What the first, second, … `Query` call does; those after the last are answered well.
    failures : dict of str to list
        Errors that calls of a name raise first: of the project, or gRPC status codes.
    changed : QueryPlan
        What plans say in place of what is right.
    short : Answer, optional
        What comes with the plan, if it is asked for.
    shelf : dict of bytes to batches
        What the Flight server gives; an exception among the batches breaks it off.
    acts : callable, optional
        Gives the results of the Flight action `resolve`; without it there is none, as in services of before.
    """

    def __init__(self) -> None:
        self.protocols = [1]
        self.flight_location = ""
        self.scripts: list[Script] = []
        self.failures: dict[str, list[SkyhookError | grpc.StatusCode]] = {}
        self.asked: list[Asked] = []
        self.calls: list[str] = []
        self.metadata: dict[str, str] = {}
        self.shelf: dict[bytes, Sequence[pa.RecordBatch | Exception]] = {}
        self.fetched: list[bytes] = []
        self.acted: list[tuple[str, bytes]] = []
        self.acts: Callable[[pb.QueryStart], list[bytes]] | None = None
        self.outputs: tuple[Output, ...] = OUTPUTS
        self.ingest = pb.IngestRequest()
        self.updates: list[list[pb.IngestJob]] = []
        self.tree: list[pb.TreePiece] = []
        self.tally = pb.Tally()
        self.changed = pb.QueryPlan()
        self.short: pb.Answer | None = None
        self.flight = FakeFlight(self)
        self._port = 0
        self.begin()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"grpc://127.0.0.1:{self._port}"

    def begin(self) -> None:
        """Listen, after an end on the same port."""
        options = [("grpc.so_reuseport", 0)]
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
        add_DeliveryServicer_to_server(self, self._server)
        add_IngestServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()

    def end(self) -> None:
        """End as if killed."""
        self._server.stop(0).wait()

    def close(self) -> None:
        """End for good."""
        self.end()
        self.flight.shutdown()

    # -- calls ------------------------------------------------------------------------------
    def Hello(self, request: Any, context: Any) -> pb.HelloReply:
        self._called("Hello", context)
        return pb.HelloReply(
            server="0.0.0",
            protocols=self.protocols,
            flight_port=self.flight.port,
            flight_location=self.flight_location,
        )

    def GetVersion(self, request: Any, context: Any) -> pb.DatasetVersion:
        self._called("GetVersion", context)
        return VERSION

    def Drop(self, request: Any, context: Any) -> pb.Done:
        self._called("Drop", context)
        return pb.Done()

    def ListDatasets(self, request: Any, context: Any) -> Iterator[pb.DatasetInfo]:
        self._called("ListDatasets", context)
        yield pb.DatasetInfo(name="x", newest=VERSION, versions=1)

    def GetTally(self, request: Any, context: Any) -> pb.Tally:
        self._called("GetTally", context)
        return self.tally

    def ReadTree(self, request: Any, context: Any) -> Iterator[pb.TreePiece]:
        self._called("ReadTree", context)
        yield from self.tree

    def Resolve(self, request: pb.QueryStart, context: Any) -> pb.QueryPlan:
        self._called("Resolve", context)
        plan = self.plan(request)
        if request.at_once and self.short is not None:
            plan.answer.CopyFrom(self.short)
        return plan

    def Query(self, messages: Any, context: grpc.ServicerContext) -> Iterator[pb.QueryEvent]:
        self._called("Query", context)
        asked = Asked(messages, context)
        self.asked.append(asked)
        script = self.scripts.pop(0) if self.scripts else self.answer
        yield from script(asked)

    def Start(self, request: pb.IngestRequest, context: Any) -> pb.IngestJob:
        self._called("Start", context)
        self.ingest = request
        return pb.IngestJob(job_id="j1", dataset=request.dataset, state="queued")

    def Watch(self, request: pb.JobRequest, context: Any) -> Iterator[pb.IngestJob]:
        self._called("Watch", context)
        yield from self.updates.pop(0)

    def List(self, request: Any, context: Any) -> Iterator[pb.IngestJob]:
        self._called("List", context)
        yield pb.IngestJob(
            job_id="j1", dataset="x", state="failed", error=pb.Error(kind="ingest", message="bad")
        )

    def Cancel(self, request: pb.JobRequest, context: Any) -> pb.IngestJob:
        self._called("Cancel", context)
        return pb.IngestJob(job_id=request.job_id, dataset="x", state="cancelled")

    def Retry(self, request: pb.JobRequest, context: Any) -> pb.IngestJob:
        self._called("Retry", context)
        return pb.IngestJob(job_id=request.job_id, dataset="x", state="queued")

    # -- what scripts are made of ---------------------------------------------------------------
    def plan(self, start: pb.QueryStart) -> pb.QueryPlan:
        """The plan of the one query."""
        query = Query.from_json(start.query)
        plan = pb.QueryPlan(
            query_id=QUERY_ID,
            query=replace(query, version=1).to_json(),
            version=VERSION,
            outputs=[to_message(output, pb.Output) for output in self.outputs],
            partitions=PARTITIONS,
            events=EVENTS,
            object_bytes=1000,
        )
        plan.MergeFrom(self.changed)
        return plan

    def answer(self, asked: Asked) -> Iterator[pb.QueryEvent]:
        """All that the client does not hold, and the end."""
        yield pb.QueryEvent(plan=self.plan(asked.start))
        missing = asked.missing()
        if asked.start.deliver == pb.QueryStart.BATCHES:
            for number, partition in enumerate(missing, 1):
                yield pb.QueryEvent(split=split(number, partition))
        yield end(len(missing), asked.start.deliver)

    def first(self, splits: int) -> Script:
        """All up to so many splits, and then nothing: the stream breaks off."""

        def script(asked: Asked) -> Iterator[pb.QueryEvent]:
            yield pb.QueryEvent(plan=self.plan(asked.start))
            for number, partition in enumerate(asked.missing()[:splits], 1):
                yield pb.QueryEvent(split=split(number, partition))

        return script

    def sends(self, *events: pb.QueryEvent) -> Script:
        """The plan, and these events."""

        def script(asked: Asked) -> Iterator[pb.QueryEvent]:
            yield pb.QueryEvent(plan=self.plan(asked.start))
            yield from events

        return script

    def ticketed(self, number: int, partition: int, *locations: str) -> pb.QueryEvent:
        """A split that is on the shelf."""
        ticket = f"part{partition}".encode()
        self.shelf.setdefault(ticket, [record_batch(partition)])
        return pb.QueryEvent(split=split(number, partition, data=b"", ticket=ticket, locations=locations))

    def on_shelf(self, asked: Asked) -> Iterator[pb.QueryEvent]:
        """The whole answer, to be fetched."""
        yield pb.QueryEvent(plan=self.plan(asked.start))
        missing = asked.missing()
        for number, partition in enumerate(missing, 1):
            yield self.ticketed(number, partition)
        yield end(len(missing))

    def _called(self, name: str, context: grpc.ServicerContext) -> None:
        self.calls.append(name)
        self.metadata = dict(context.invocation_metadata())
        if self.failures.get(name):
            fail(context, self.failures[name].pop(0))


class FakeFlight(fl.FlightServerBase):
    """Gives what is on the shelf."""

    def __init__(self, service: FakeService) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._service = service
        self.held = threading.Event()
        self.held.set()

    def do_get(self, context: Any, ticket: fl.Ticket) -> fl.FlightDataStream:
        self._service.fetched.append(ticket.ticket)
        batches = self._service.shelf.get(ticket.ticket)
        if batches is None:
            raise fl.FlightServerError("not-found: no such ticket")
        schema = next((one.schema for one in batches if isinstance(one, pa.RecordBatch)), FORM.schema)
        return fl.GeneratorStream(schema, _given(batches))

    def do_action(self, context: Any, action: fl.Action) -> list[bytes]:
        body = action.body.to_pybytes()
        self._service.acted.append((action.type, body))
        self.held.wait(60)
        if self._service.acts is None:
            raise fl.FlightServerError("invalid-request: the action is unknown")
        return self._service.acts(pb.QueryStart.FromString(pb.ResolveAction.FromString(body).start))


def _given(batches: Sequence[pa.RecordBatch | Exception]) -> Iterator[pa.RecordBatch]:
    for one in batches:
        if isinstance(one, Exception):
            raise one
        yield one


def client_of(service: FakeService, patience: Patience = SOON) -> Client:
    """A client of the service."""
    return Client(RemoteBackend(parse_service(service.address), patience), progress=False)


def fail(context: grpc.ServicerContext, error: SkyhookError | grpc.StatusCode) -> None:
    """End a call with an error of the project, or one that knows nothing of it."""
    if isinstance(error, grpc.StatusCode):
        context.abort(error, "as the test wants")
    assert isinstance(error, SkyhookError)
    context.set_trailing_metadata(((ERROR_KEY, error_message(error, QUERY_ID).SerializeToString()),))
    context.abort(status_of(error), "see metadata")


def batch(partition: int) -> Batch:
    """The events of a partition: their numbers, and as many muons as the number's last digit."""
    numbers = np.arange(partition * PART_EVENTS, (partition + 1) * PART_EVENTS)
    offsets = np.concatenate([[0], np.cumsum(numbers % 10)]).astype(np.int64)
    pt = np.repeat(numbers, numbers % 10).astype(np.float32)
    return Batch(OUTPUTS, PART_EVENTS, [numbers, pt], [None, offsets], [None, None])


def record_batch(partition: int) -> pa.RecordBatch:
    """The same as it travels."""
    return FORM.to_wire(batch(partition))


def split(number: int, partition: int, **changed: Any) -> pb.Split:
    """A split of one partition, with some fields changed."""
    covers = Held()
    covers.merge(
        pb.Held(whole=[pb.PartitionRange(first=partition, stop=partition + 1)], events_out=PART_EVENTS)
    )
    fields: dict[str, Any] = {
        "number": number,
        "events": PART_EVENTS,
        "nbytes": record_batch(partition).nbytes,
        "report": report(1),
        "covers": covers.to_message(),
        "data": to_ipc([record_batch(partition)], FORM.schema),
    }
    return pb.Split(**(fields | changed))


def report(partitions: int, **changed: Any) -> pb.Report:
    """What so many partitions report."""
    events = partitions * PART_EVENTS
    fields = {
        "dataset": "x",
        "version": 1,
        "partitions_planned": PARTITIONS,
        "partitions_done": partitions,
        "events_in": events,
        "events_out": events,
        "bytes_read": partitions * 10,
    }
    return pb.Report(**(fields | changed))


def end(splits: int, deliver: pb.QueryStart.Deliver = pb.QueryStart.BATCHES, **changed: Any) -> pb.QueryEvent:
    """The end of a stream."""
    announced = splits if deliver == pb.QueryStart.BATCHES else 0
    return pb.QueryEvent(end=pb.QueryEnd(**({"report": report(splits), "splits": announced} | changed)))
