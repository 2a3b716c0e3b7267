"""What a client asks of a service."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from skyhook_casa.catalog import DatasetInfo, DatasetVersion, Definition, FileInfo
from skyhook_casa.errors import NotFound, ProtocolError, ServiceLost
from skyhook_casa.gc import Garbage
from skyhook_casa.ingest import IngestReport, ProgressCallback
from skyhook_casa.progress import Progress
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.query import Query as QueryValue
from skyhook_casa.saving.origin import Origin
from skyhook_casa.saving.report import SaveReport
from skyhook_casa.schema import Column, ListInfo
from skyhook_casa.tally import Tally
from skyhook_casa.verify import Verification

from ..backend import Backend, FileTree, Question, SaveCallback
from ..jobs import IngestJob
from . import added
from .address import Address
from .answers import received, tally_of
from .channel import CALL_S, Channel, Patience
from .fetch import Fetcher
from .ingest import Ingests
from .question import RemoteQuestion
from .resolver import Resolver

if TYPE_CHECKING:
    from skyhook_casa.column_sets.report import AddedColumns

TREE_BYTES_MAX: Final = 1 << 30
"""Longest tree of one file that is taken."""


class RemoteBackend(Backend):
    """A service somewhere else.

    Parameters
    ----------
    address : Address
        Where it listens.
    patience : Patience, optional
        How long to wait for it while it is away or busy.
    """

    def __init__(self, address: Address, patience: Patience | None = None) -> None:
        self.channel = Channel(address, patience or Patience())
        self.fetcher = Fetcher()
        self._resolver = Resolver(self.channel, self.fetcher)
        self._ingests = Ingests(self.channel)

    @property
    def url(self) -> str:
        """See `Backend.url`."""
        return self.channel.url

    def address(self) -> dict[str, Any]:
        """See `Backend.address`; catalog and functions are the service's own."""
        return {"store": self.url, "catalog": None, "functions": ()}

    # -- datasets ---------------------------------------------------------------------------
    def datasets(self) -> list[DatasetInfo]:
        """See `Backend.datasets`."""
        found = self.channel.list("Delivery.ListDatasets", pb.ListDatasetsRequest())
        return [received(one, DatasetInfo) for one in found]

    def version(self, dataset: str, number: int | None = None) -> DatasetVersion:
        """See `Backend.version`."""
        request = pb.DatasetRequest(dataset=dataset, version=number)
        return received(self.channel.ask("Delivery.GetVersion", request), DatasetVersion)

    def versions(self, dataset: str) -> list[DatasetVersion]:
        """See `Backend.versions`."""
        found = self.channel.list("Delivery.ListVersions", pb.DatasetRequest(dataset=dataset))
        return [received(one, DatasetVersion) for one in found]

    def columns(self, version: DatasetVersion, pattern: str | None = None) -> list[Column]:
        """See `Backend.columns`."""
        request = pb.ColumnsRequest(dataset=version.dataset, version=version.number, pattern=pattern)
        return [received(one, Column) for one in self.channel.list("Delivery.ListColumns", request)]

    def lists(self, version: DatasetVersion) -> list[ListInfo]:
        """See `Backend.lists`."""
        found = self.channel.list("Delivery.ListLists", _request(version))
        return [received(one, ListInfo) for one in found]

    def files(self, version: DatasetVersion) -> list[FileInfo]:
        """See `Backend.files`."""
        found = self.channel.list("Delivery.ListFiles", _request(version))
        return [received(one, FileInfo) for one in found]

    def partition_events(self, version: DatasetVersion) -> list[int]:
        """See `Backend.partition_events`."""
        found = list(self.channel.ask("Delivery.ListPartitions", _request(version)).events)
        if len(found) != version.partitions or sum(found) != version.events or min(found, default=0) < 0:
            raise ProtocolError(
                f"the service lists {len(found)} partitions with {sum(found)} events; version "
                f"{version.number} of {version.dataset!r} has {version.partitions} with {version.events}"
            )
        return found

    def tally(
        self,
        version: DatasetVersion,
        partitions: tuple[int, int] | None = None,
        events: int | None = None,
        skip: int = 0,
        count: bool = False,
    ) -> Tally:
        """See `Backend.tally`."""
        request = pb.TallyRequest(
            dataset=version.dataset, version=version.number, events=events, skip=skip, count=count
        )
        if partitions is not None:
            request.partitions.first, request.partitions.stop = partitions
        # To count reads whole columns; what was counted stays counted, so it may be asked again.
        return tally_of(self.channel.ask("Delivery.GetTally", request, timeout_s=None if count else CALL_S))

    def file_trees(self, version: DatasetVersion, name: str) -> list[FileTree]:
        """See `Backend.file_trees`."""
        request = pb.TreeRequest(dataset=version.dataset, version=version.number, tree=name)
        trees = self.channel.patiently(lambda: self._trees(request, version))
        if not trees:
            raise NotFound(f"no file of dataset {version.dataset!r} has a tree {name!r}")
        return trees

    def drop(self, dataset: str, number: int | None = None) -> None:
        """See `Backend.drop`."""
        request = pb.DatasetRequest(dataset=dataset, version=number)
        self.channel.ask("Delivery.Drop", request, again=False)

    def verify(self, dataset: str, number: int | None, show_progress: bool | None) -> Verification:
        """See `Backend.verify`."""
        request = pb.DatasetRequest(dataset=dataset, version=number)
        with Progress(f"verify {dataset}", 0, "objects", show_progress) as bar:
            return self.channel.patiently(lambda: self._verification(request, bar))

    def gc(self, dry_run: bool, grace_s: float | None) -> Garbage:
        """See `Backend.gc`."""
        request = pb.GarbageRequest(dry_run=dry_run, grace_s=grace_s)
        found = self.channel.ask("Delivery.CollectGarbage", request, again=dry_run, timeout_s=None)
        return received(found, Garbage)

    # -- ingest -----------------------------------------------------------------------------
    def ingest(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None,
        progress: ProgressCallback,
        **options: Any,
    ) -> IngestReport:
        """See `Backend.ingest`; the files are read where the service runs."""
        return self._ingests.run(dataset, files, columns, progress, **options)

    def save(self, question: Question, name: str, progress: SaveCallback, **options: Any) -> SaveReport:
        """See `Backend.save`; the service does it, as a job."""
        return self._ingests.save(question, name, progress, **options)

    def origin(self, version: DatasetVersion) -> Origin | None:
        """See `Backend.origin`."""
        text = self.channel.ask("Delivery.GetOrigin", _request(version)).text
        return Origin.from_json(text) if text else None

    def add_columns(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None,
        progress: ProgressCallback,
        **options: Any,
    ) -> AddedColumns:
        """See `Backend.add_columns`; the files are read where the service runs."""
        request = added.request(dataset, files, columns, **options)
        return added.followed(self.channel, request, progress)

    def define(self, dataset: str, definitions: Mapping[str, str]) -> None:
        """See `Backend.define`."""
        self.channel.ask("Delivery.Define", added.definitions(dataset, definitions), again=False)

    def definitions(self, dataset: str) -> list[Definition]:
        """See `Backend.definitions`."""
        found = self.channel.list("Delivery.ListDefinitions", pb.DatasetRequest(dataset=dataset))
        return [received(one, Definition) for one in found]

    def drop_definition(self, dataset: str, name: str) -> None:
        """See `Backend.drop_definition`."""
        request = pb.DropDefinitionRequest(dataset=dataset, name=name)
        self.channel.ask("Delivery.DropDefinition", request, again=False)

    def jobs(self) -> list[IngestJob]:
        """See `Backend.jobs`."""
        return self._ingests.jobs()

    # -- questions --------------------------------------------------------------------------
    def ask(self, value: QueryValue, execution: str = "auto") -> Question:
        """See `Backend.ask`."""
        return RemoteQuestion(self, value, execution, at_once=True)

    def resolve(self, start: pb.QueryStart) -> pb.QueryPlan:
        """Return what the service would deliver."""
        return self._resolver.resolve(start)

    def status(self) -> pb.ServiceStatus:
        """See `Backend.status`."""
        status: pb.ServiceStatus = self.channel.ask("Delivery.Status", pb.StatusRequest())
        return status

    def close(self) -> None:
        """See `Backend.close`."""
        self.channel.close()
        self.fetcher.close()

    # -- inside -----------------------------------------------------------------------------
    def _trees(self, request: pb.TreeRequest, version: DatasetVersion) -> list[FileTree]:
        trees, pieces = [], bytearray()
        for piece in self.channel.follow("Delivery.ReadTree", request):
            pieces += piece.data
            if len(pieces) > TREE_BYTES_MAX:
                raise ProtocolError(f"a tree {request.tree!r} is longer than {TREE_BYTES_MAX} bytes")
            if piece.last:
                place = piece.partition if piece.HasField("partition") else None
                if place is not None and not 0 <= place < max(1, version.partitions):
                    raise ProtocolError(
                        f"the service says that a file begins at partition {place}; version "
                        f"{version.number} of {version.dataset!r} has {version.partitions}"
                    )
                trees.append(FileTree(_table(bytes(pieces)), place))
                pieces = bytearray()
        if pieces:
            raise ServiceLost(f"the service at {self.url} broke off in the middle of a tree")
        return trees

    def _verification(self, request: pb.DatasetRequest, bar: Progress) -> Verification:
        for event in self.channel.follow("Delivery.Verify", request):
            if event.HasField("found"):
                return received(event.found, Verification)
            bar.reach(event.progress.done, event.progress.total)
        raise ServiceLost(f"the service at {self.url} broke off before everything was verified")


def _request(version: DatasetVersion) -> pb.DatasetRequest:
    return pb.DatasetRequest(dataset=version.dataset, version=version.number)


def _table(data: bytes) -> pa.Table:
    try:
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            table = reader.read_all()
        table.validate()
    except (pa.ArrowException, OSError) as error:
        raise ProtocolError(f"the service sent a tree that is no Arrow file: {error}") from error
    return table.replace_schema_metadata(None)
