"""The calls of the control plane about datasets and queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from skyhook_casa import __version__
from skyhook_casa.column_sets.derived import define
from skyhook_casa.errors import InvalidRequest, NotFound, SkyhookError
from skyhook_casa.explain import explain
from skyhook_casa.gc import GRACE_S, collect_garbage
from skyhook_casa.protocol import PROTOCOL_VERSION, QUERY_KEY
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.convert import to_message
from skyhook_casa.protocol.delivery_pb2_grpc import DeliveryServicer
from skyhook_casa.protocol.reports import tally_message
from skyhook_casa.tallying import tally_of
from skyhook_casa.verify import verify

from .adding import Adding
from .callers import caller
from .errors import abort_with, mistake
from .logs import bound, get_logger
from .plans import Prepared
from .query_run import QueryRun

if TYPE_CHECKING:
    from skyhook_casa.catalog import Catalog, DatasetVersion, MetaTree
    from skyhook_casa.stores import ObjectStore
    from skyhook_casa.tally import Tally

    from .engine import Engine

PIECE_BYTES: Final = 1 << 20
"""How large the pieces are in which a tree travels."""

T = TypeVar("T")
_log = get_logger(__name__)


class Delivery(DeliveryServicer):
    """Answers the calls of `Delivery` in ``delivery.proto``.

    Parameters
    ----------
    engine : Engine
        What runs queries.
    flight_port : int
        Where the data plane is.
    flight_location : str
        The same as a whole location, if the service is told under which name it is reached.
    """

    def __init__(self, engine: Engine, flight_port: int, flight_location: str = "") -> None:
        self._engine = engine
        self._flight_port = flight_port
        self._flight_location = flight_location

    # -- datasets -----------------------------------------------------------------------------
    async def Hello(self, request: pb.HelloRequest, context: Any) -> pb.HelloReply:
        """Say what is spoken here, and where the data plane is."""
        return pb.HelloReply(
            server=__version__,
            protocols=[PROTOCOL_VERSION],
            flight_port=self._flight_port,
            flight_location=self._flight_location,
            store=self._engine.store_name,
        )

    async def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: Any
    ) -> AsyncIterator[pb.DatasetInfo]:
        """Give the latest version of each dataset."""
        for one in await self._do(context, self._engine.datasets):
            yield to_message(one, pb.DatasetInfo)

    async def GetVersion(self, request: pb.DatasetRequest, context: Any) -> pb.DatasetVersion:
        """Give one version."""
        found = await self._look(context, lambda catalog: _version(catalog, request))
        return to_message(found, pb.DatasetVersion)

    async def ListVersions(
        self, request: pb.DatasetRequest, context: Any
    ) -> AsyncIterator[pb.DatasetVersion]:
        """Give all versions of a dataset, newest first."""
        for one in await self._look(context, lambda catalog: catalog.versions(request.dataset)):
            yield to_message(one, pb.DatasetVersion)

    async def ListColumns(self, request: pb.ColumnsRequest, context: Any) -> AsyncIterator[pb.Column]:
        """Give the columns of a version in file order."""
        pattern = request.pattern if request.HasField("pattern") else None
        found = await self._look(
            context, lambda catalog: catalog.columns(_version(catalog, request), pattern)
        )
        for one in found:
            yield to_message(one, pb.Column)

    async def ListLists(self, request: pb.DatasetRequest, context: Any) -> AsyncIterator[pb.ListInfo]:
        """Give the jagged axes of a version."""
        for one in await self._look(context, lambda catalog: catalog.lists(_version(catalog, request))):
            yield to_message(one, pb.ListInfo)

    async def ListFiles(self, request: pb.DatasetRequest, context: Any) -> AsyncIterator[pb.FileInfo]:
        """Give the ROOT files that the events came from."""
        for one in await self._look(context, lambda catalog: catalog.files(_version(catalog, request))):
            yield to_message(one, pb.FileInfo)

    async def ListPartitions(self, request: pb.DatasetRequest, context: Any) -> pb.PartitionEvents:
        """Give the events of each partition of a version."""
        found = await self._look(
            context, lambda catalog: catalog.partition_events(_version(catalog, request))
        )
        return pb.PartitionEvents(events=found)

    async def GetTally(self, request: pb.TallyRequest, context: Any) -> pb.Tally:
        """Give the sum of weights and the luminosity sections of events."""
        store = self._engine.store
        return tally_message(await self._look(context, lambda catalog: _tally(catalog, store, request)))

    async def ReadTree(self, request: pb.TreeRequest, context: Any) -> AsyncIterator[pb.TreePiece]:
        """Give the trees that travel with the files, one after the other."""
        trees = await self._look(context, lambda catalog: _trees(catalog, request))
        for tree, partition in trees:
            name = tree.object.name
            data = await self._do(context, partial(self._engine.store.read_object, name))
            for start in range(0, max(1, len(data)), PIECE_BYTES):
                stop = start + PIECE_BYTES
                last = stop >= len(data)
                place = partition if last else None
                yield pb.TreePiece(data=data[start:stop], last=last, partition=place)

    async def GetOrigin(self, request: pb.DatasetRequest, context: Any) -> pb.Origin:
        """Give the question whose answer a version is."""
        text = await self._look(context, lambda catalog: catalog.origin(_version(catalog, request)))
        return pb.Origin(text=text or "")

    async def Drop(self, request: pb.DatasetRequest, context: Any) -> pb.Done:
        """Forget a dataset or a version."""

        def drop(catalog: Catalog) -> None:
            if request.HasField("version"):
                catalog.drop_version(request.dataset, request.version)
            else:
                catalog.drop_dataset(request.dataset)

        await self._look(context, drop)
        _log.info("dropped", client=caller(context), dataset=request.dataset, version=request.version or 0)
        return pb.Done()

    async def Verify(self, request: pb.DatasetRequest, context: Any) -> AsyncIterator[pb.VerifyEvent]:
        """Check every object of a version."""
        engine = self._engine
        found = await self._look(
            context,
            lambda catalog: verify(catalog, engine.store, _version(catalog, request), False),
            threads=engine.chores,
        )
        yield pb.VerifyEvent(found=to_message(found, pb.Verification))

    async def CollectGarbage(self, request: pb.GarbageRequest, context: Any) -> pb.Garbage:
        """Remove the objects that nobody uses."""
        grace_s = request.grace_s if request.HasField("grace_s") else GRACE_S
        store, dry_run = self._engine.store, request.dry_run
        found = await self._look(
            context,
            lambda catalog: collect_garbage(catalog, store, dry_run=dry_run, grace_s=grace_s),
            threads=self._engine.chores,
        )
        return to_message(found, pb.Garbage)

    # -- column sets --------------------------------------------------------------------------
    async def AddColumns(
        self, request: pb.AddColumnsRequest, context: Any
    ) -> AsyncIterator[pb.AddColumnsEvent]:
        """Join columns of files to the events of a dataset."""
        adding = Adding(self._engine, request)
        running = asyncio.ensure_future(self._do(context, adding.run, self._engine.chores))
        try:
            async for progress in adding.progress(running):
                yield pb.AddColumnsEvent(progress=progress)
            found = await running
        finally:
            adding.cancel()
            running.cancel()  # it may wait for its turn yet
        _log.info("added_columns", client=caller(context), dataset=found.dataset, version=found.version)
        yield pb.AddColumnsEvent(found=to_message(found, pb.AddedColumns))

    async def Define(self, request: pb.DefineRequest, context: Any) -> pb.Done:
        """Declare derived columns."""
        texts = {one.name: one.text for one in request.definitions}
        await self._look(context, lambda catalog: define(catalog, request.dataset, texts))
        return pb.Done()

    async def ListDefinitions(self, request: pb.DatasetRequest, context: Any) -> AsyncIterator[pb.Definition]:
        """Give the derived columns of a dataset."""

        def listed(catalog: Catalog) -> list[Any]:
            catalog.version(request.dataset)  # refuses one that is not there
            return list(catalog.definitions(request.dataset))

        for one in await self._look(context, listed):
            yield to_message(one, pb.Definition)

    async def DropDefinition(self, request: pb.DropDefinitionRequest, context: Any) -> pb.Done:
        """Forget a derived column."""
        await self._look(context, lambda catalog: catalog.drop_definition(request.dataset, request.name))
        return pb.Done()

    # -- queries ------------------------------------------------------------------------------
    async def Resolve(self, request: pb.QueryStart, context: Any) -> pb.QueryPlan:
        """Say what a query would deliver."""
        reply = partial(self._engine.resolver.reply, caller(context), request.SerializeToString())
        plan: pb.QueryPlan = pb.QueryPlan.FromString(await self._do(context, reply))
        return plan

    async def Explain(self, request: pb.QueryStart, context: Any) -> pb.Explanation:
        """Say what a query would do."""

        def explained() -> Any:
            prepared: Prepared = self._engine.planner.prepare(request)
            with prepared.lock:
                store, execution = self._engine.store, request.execution or "auto"
                return explain(prepared.plan, store, execution, "by the workers of the service")

        return to_message(await self._do(context, explained), pb.Explanation)

    async def Query(
        self, requests: AsyncIterator[pb.QueryMessage], context: Any
    ) -> AsyncIterator[pb.QueryEvent]:
        """Run a query."""
        query_id = self._engine.new_query_id()
        client = caller(context)
        with bound(query_id=query_id, client=client):
            await context.send_initial_metadata(((QUERY_KEY, query_id),))
            try:
                start = await _started(requests)
                async with self._engine.running(query_id, client, start) as run:
                    listening = asyncio.create_task(self._listen(requests, run))
                    try:
                        async with aclosing(run.events()) as events:
                            async for event in events:
                                yield event
                        # The splits stay until the client has them, or hangs up.
                        holding = asyncio.create_task(run.taken())
                        await asyncio.wait({holding, listening}, return_when=asyncio.FIRST_COMPLETED)
                        holding.cancel()
                    finally:
                        listening.cancel()
            except SkyhookError as error:
                await abort_with(context, error, query_id)
            except Exception as error:  # noqa: BLE001
                await abort_with(context, mistake(error), query_id)

    async def _listen(self, requests: AsyncIterator[pb.QueryMessage], run: QueryRun) -> None:
        """Take what the client acknowledges."""
        async for message in requests:
            try:
                if message.WhichOneof("message") != "acknowledge":
                    raise InvalidRequest("only acknowledgements may follow the start of a query")
                freed = run.acknowledge(message.acknowledge)
            except SkyhookError as error:
                run.fail(error)
                return
            self._engine.cluster.release(freed)

    async def Status(self, request: pb.StatusRequest, context: Any) -> pb.ServiceStatus:
        """Say what the service does just now."""
        return self._engine.status()

    # -- inside -------------------------------------------------------------------------------
    async def _look(
        self,
        context: Any,
        what: Callable[[Catalog], T],
        threads: Executor | None = None,
    ) -> T:
        """Return what the catalog says."""
        return await self._do(context, lambda: what(self._engine.catalog), threads)

    async def _do(self, context: Any, what: Callable[[], T], threads: Executor | None = None) -> T:
        """Return what a blocking function gives; its errors end the call."""
        done = asyncio.get_running_loop().run_in_executor(threads or self._engine.threads, what)
        return await self._ended(context, done)

    async def _ended(self, context: Any, what: Awaitable[T]) -> T:
        """Return what comes of something; its errors end the call."""
        try:
            return await what
        except SkyhookError as error:
            await abort_with(context, error)
        except Exception as error:  # noqa: BLE001
            await abort_with(context, mistake(error))


async def _started(requests: AsyncIterator[pb.QueryMessage]) -> pb.QueryStart:
    async for message in requests:
        if message.WhichOneof("message") == "start":
            return message.start
        break
    raise InvalidRequest("the first message of a query says what is asked")


def _version(catalog: Catalog, request: Any) -> DatasetVersion:
    return catalog.version(request.dataset, request.version if request.HasField("version") else None)


def _tally(catalog: Catalog, store: ObjectStore, request: pb.TallyRequest) -> Tally:
    asked = request.partitions
    return tally_of(
        catalog,
        store,
        _version(catalog, request),
        (asked.first, asked.stop) if request.HasField("partitions") else None,
        request.events if request.HasField("events") else None,
        request.skip,
        request.count,
    )


def _trees(catalog: Catalog, request: pb.TreeRequest) -> Iterable[tuple[MetaTree, int]]:
    found = catalog.placed_trees(_version(catalog, request), request.tree)
    if not found:
        raise NotFound(f"no file of dataset {request.dataset!r} has a tree {request.tree!r}")
    return found
