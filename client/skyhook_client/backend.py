"""What answers a client: a store that this process opens itself, or a service."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from skyhook_casa.errors import InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa

    from skyhook_casa.batch import Array, Batch
    from skyhook_casa.catalog import Catalog, DatasetInfo, DatasetVersion, Definition, FileInfo
    from skyhook_casa.column_sets.report import AddedColumns
    from skyhook_casa.compile_query import Output
    from skyhook_casa.explain import Explanation
    from skyhook_casa.gc import Garbage
    from skyhook_casa.ingest import IngestReport, ProgressCallback
    from skyhook_casa.progress import Progress
    from skyhook_casa.protocol.delivery_pb2 import ServiceStatus
    from skyhook_casa.query import Query as QueryValue
    from skyhook_casa.report import Report
    from skyhook_casa.saving.origin import Origin
    from skyhook_casa.saving.report import SaveReport
    from skyhook_casa.schema import Column, ListInfo
    from skyhook_casa.stores import ObjectStore
    from skyhook_casa.tally import Tally
    from skyhook_casa.verify import Verification

    from .jobs import IngestJob


class FileTree(NamedTuple):
    """A tree that travels with a file: `Runs` or `LuminosityBlocks`."""

    table: pa.Table
    """Its entries, without schema metadata."""
    partition: int | None
    """The first partition of the file; None if an older service does not tell."""


SaveCallback = Callable[["SaveReport"], None]
"""Is told what a save has done so far."""


class Backend(ABC):
    """Datasets, and questions to them. `Client` says what each call does and raises."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Address of the store or the service."""

    @property
    def store(self) -> ObjectStore:
        """The object store.

        Raises
        ------
        InvalidRequest
            If this process does not open it itself.
        """
        raise InvalidRequest(f"{self.url} is a service; its object store is not opened here")

    @property
    def catalog(self) -> Catalog:
        """The list of what the store holds.

        Raises
        ------
        InvalidRequest
            If this process does not open it itself.
        NotFound
            If nothing was ingested yet.
        """
        raise InvalidRequest(f"{self.url} is a service; its catalog is not opened here")

    @abstractmethod
    def address(self) -> dict[str, Any]:
        """Return what `connect` takes to open the same in another process: store, catalog and functions.

        Raises
        ------
        InvalidRequest
            If no other process can open it.
        """

    # -- datasets ---------------------------------------------------------------------------
    @abstractmethod
    def datasets(self) -> list[DatasetInfo]:
        """Return every dataset, by name."""

    @abstractmethod
    def version(self, dataset: str, number: int | None = None) -> DatasetVersion:
        """Return a version of a dataset, the latest by default."""

    @abstractmethod
    def versions(self, dataset: str) -> list[DatasetVersion]:
        """Return all versions of a dataset, newest first."""

    @abstractmethod
    def columns(self, version: DatasetVersion, pattern: str | None = None) -> list[Column]:
        """Return the columns that match a glob, or all, in file order."""

    @abstractmethod
    def lists(self, version: DatasetVersion) -> list[ListInfo]:
        """Return the lists of a version, in file order."""

    @abstractmethod
    def partition_events(self, version: DatasetVersion) -> list[int]:
        """Return how many events each partition of a version has, in its order."""

    @abstractmethod
    def tally(
        self,
        version: DatasetVersion,
        partitions: tuple[int, int] | None = None,
        events: int | None = None,
        skip: int = 0,
        count: bool = False,
    ) -> Tally:
        """Return the tally of events of some partitions, see `skyhook_casa.tallying.tally_of`."""

    @abstractmethod
    def files(self, version: DatasetVersion) -> list[FileInfo]:
        """Return the files of a version, in its order."""

    @abstractmethod
    def file_trees(self, version: DatasetVersion, name: str) -> list[FileTree]:
        """Return the tree `name` of each file that has one, in the files' order.

        Raises
        ------
        NotFound
            If no file has one.
        """

    @abstractmethod
    def drop(self, dataset: str, number: int | None = None) -> None:
        """Forget a dataset, or one version of it."""

    @abstractmethod
    def verify(self, dataset: str, number: int | None, show_progress: bool | None) -> Verification:
        """Re-read every object of a version and return what was found."""

    @abstractmethod
    def gc(self, dry_run: bool, grace_s: float | None) -> Garbage:
        """Remove what no version and no running ingest uses."""

    # -- ingest -----------------------------------------------------------------------------
    @abstractmethod
    def ingest(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None,
        progress: ProgressCallback,
        **options: Any,
    ) -> IngestReport:
        """Make a new version of a dataset and return what was done."""

    @abstractmethod
    def add_columns(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None,
        progress: ProgressCallback,
        **options: Any,
    ) -> AddedColumns:
        """Make a new version of a dataset that has more columns, from other files."""

    @abstractmethod
    def define(self, dataset: str, definitions: Mapping[str, str]) -> None:
        """Declare derived columns of a dataset."""

    @abstractmethod
    def definitions(self, dataset: str) -> list[Definition]:
        """Return the derived columns of a dataset, oldest first."""

    @abstractmethod
    def drop_definition(self, dataset: str, name: str) -> None:
        """Forget a derived column, and what was stored of it."""

    @abstractmethod
    def save(self, question: Question, name: str, progress: SaveCallback, **options: Any) -> SaveReport:
        """Keep the answer to a question of this backend as a dataset."""

    @abstractmethod
    def origin(self, version: DatasetVersion) -> Origin | None:
        """Return the question whose answer a version is; None if it was ingested."""

    @abstractmethod
    def jobs(self) -> list[IngestJob]:
        """Return the ingest jobs that are known, oldest first."""

    # -- questions --------------------------------------------------------------------------
    @abstractmethod
    def ask(self, value: QueryValue, execution: str = "auto") -> Question:
        """Return a question, resolved and found to be possible; nothing is read."""

    def status(self) -> ServiceStatus:
        """Return what the service does just now.

        Raises
        ------
        InvalidRequest
            If there is no service.
        """
        raise InvalidRequest(f"{self.url} is opened by this process; only a service (grpc://…) has a status")

    @abstractmethod
    def close(self) -> None:
        """Give back what is held open; the next call opens it again."""


class Question(ABC):
    """A query resolved against one version of a dataset.

    Attributes
    ----------
    backend : Backend
        What answers it.
    value : Query
        What is asked, with the version filled in.
    version : DatasetVersion
        What it is asked of.
    outputs : tuple of Output
        The columns of the answer.
    execution : str
        Where the parts run, see `skyhook_casa.execution`.
    """

    backend: Backend
    value: QueryValue
    version: DatasetVersion
    outputs: tuple[Output, ...]
    execution: str

    @abstractmethod
    def knows(self, name: str) -> bool:
        """Return whether the dataset has a column of this name."""

    @abstractmethod
    def asking(self, value: QueryValue) -> Question:
        """Return another question to the same version."""

    @abstractmethod
    def only(self, outputs: Sequence[str]) -> Question:
        """Return the question that delivers only these of the outputs, one at least."""

    @abstractmethod
    def run(self, progress: Progress, rows: bool = False, histograms: bytes = b"") -> Run:
        """Return a run that has not begun.

        Parameters
        ----------
        progress : Progress
            Is told the events that were worked through.
        rows : bool
            Whether batches tell the number of each event in the dataset.
        histograms : bytes
            Histograms for `Run.fill`, see `skyhook_casa.histogram`.
        """

    def tell_tally_of(self, report: Report) -> None:
        """Let the report of a run look up what is added up of the events that it counts.

        These are the first of the partitions asked: a run goes through them in order, or to the end.
        """
        report.tallied_by(partial(self.backend.tally, self.version, self.value.partitions))

    @abstractmethod
    def explain(self) -> Explanation:
        """Return what a run would do, without reading any events."""


class Bins(Protocol):
    """What filled histograms are read from."""

    def histogram(self, number: int) -> tuple[Array, Array | None]:
        """Return the sums of the bins of a histogram, and of the squared weights if there are any."""


class Run(ABC):
    """One run of a question: call one of its methods, once.

    Attributes
    ----------
    report : Report
        What was done; whole once the method that was called has returned.
    """

    report: Report

    @abstractmethod
    def collect(self) -> Batch:
        """Return the whole answer.

        Raises
        ------
        SkyhookError
            If any part fails: an answer is whole or is none.
        """

    @abstractmethod
    def stream(self, batch_bytes: int, ordered: bool = True) -> Iterator[Batch]:
        """Yield the answer in batches of about `batch_bytes` bytes, at least one; memory stays bounded.

        Events come in dataset order, or if not `ordered` in whatever order is fastest.

        Raises
        ------
        SkyhookError
            If any part fails; the batches before it were given, those after it are not.
        """

    @abstractmethod
    def count(self) -> int:
        """Return how many events the answer has; no column of it is read. Raises as `collect` does."""

    @abstractmethod
    def fill(self) -> Bins:
        """Return the histograms, filled. Raises as `collect` does."""
