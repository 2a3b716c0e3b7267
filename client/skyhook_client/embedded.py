"""A store that this process opens itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from skyhook_casa.errors import InvalidRequest, NotFound
from skyhook_casa.stores import MemoryStore

from .backend import Backend, Bins, FileTree, Question, Run, SaveCallback
from .jobs import IngestJob, JobControl

if TYPE_CHECKING:
    from skyhook_casa.batch import Batch
    from skyhook_casa.catalog import Catalog, DatasetInfo, DatasetVersion, Definition, FileInfo, Job
    from skyhook_casa.column_sets.report import AddedColumns
    from skyhook_casa.explain import Explanation
    from skyhook_casa.gc import Garbage
    from skyhook_casa.ingest import IngestReport, ProgressCallback
    from skyhook_casa.plan import Plan
    from skyhook_casa.progress import Progress
    from skyhook_casa.query import Query as QueryValue
    from skyhook_casa.report import Report
    from skyhook_casa.saving.origin import Origin
    from skyhook_casa.saving.report import SaveReport
    from skyhook_casa.scan import Scan
    from skyhook_casa.schema import Column, ListInfo
    from skyhook_casa.stores import ObjectStore
    from skyhook_casa.tally import Tally
    from skyhook_casa.verify import Verification

CALL_AGAIN: Final = (
    "the same ingest or save again, with the same files and options, goes on and makes only what is missing"
)
"""What to do about a job that was interrupted."""


class EmbeddedBackend(Backend, JobControl):
    """Catalog, plan and scan in this process.

    Parameters
    ----------
    store : ObjectStore
        Where the objects are.
    catalog : str, optional
        Database URL of the catalog; by default the store's own.
    threads : int, optional
        How many threads a query uses; by default as many as there are cores.
    functions : sequence of str
        Modules and packages from which derived columns may import functions.
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: str | None = None,
        threads: int | None = None,
        functions: Sequence[str] = (),
    ) -> None:
        self.functions = (functions,) if isinstance(functions, str) else tuple(functions)
        self._store = store
        self.threads = threads
        self._catalog_url = catalog
        self._catalog: Catalog | None = None

    @property
    def url(self) -> str:
        """See `Backend.url`."""
        return self._store.url

    @property
    def store(self) -> ObjectStore:
        """The object store."""
        return self._store

    @property
    def catalog(self) -> Catalog:
        """See `Backend.catalog`."""
        if self._catalog is None:
            try:
                self._catalog = self._open_catalog(create=False)
            except NotFound as error:
                raise NotFound(self._no_catalog(error)) from error
        return self._catalog

    def address(self) -> dict[str, Any]:
        """See `Backend.address`."""
        if isinstance(self.store, MemoryStore):
            raise InvalidRequest(
                f"{self.url} is in the memory of this process, and Dask may compute in others; ingest into a "
                "directory, or into another store that has an address"
            )
        return {"store": self.url, "catalog": self._catalog_url, "functions": self.functions}

    # -- datasets ---------------------------------------------------------------------------
    def datasets(self) -> list[DatasetInfo]:
        """See `Backend.datasets`."""
        return self.catalog.datasets() if self._has_catalog() else []

    def version(self, dataset: str, number: int | None = None) -> DatasetVersion:
        """See `Backend.version`."""
        return self.catalog.version(dataset, number)

    def versions(self, dataset: str) -> list[DatasetVersion]:
        """See `Backend.versions`."""
        return self.catalog.versions(dataset)

    def columns(self, version: DatasetVersion, pattern: str | None = None) -> list[Column]:
        """See `Backend.columns`."""
        return self.catalog.columns(version, pattern)

    def lists(self, version: DatasetVersion) -> list[ListInfo]:
        """See `Backend.lists`."""
        return self.catalog.lists(version)

    def partition_events(self, version: DatasetVersion) -> list[int]:
        """See `Backend.partition_events`."""
        return self.catalog.partition_events(version)

    def tally(
        self,
        version: DatasetVersion,
        partitions: tuple[int, int] | None = None,
        events: int | None = None,
        skip: int = 0,
        count: bool = False,
    ) -> Tally:
        """See `Backend.tally`."""
        from skyhook_casa.tallying import tally_of

        return tally_of(self.catalog, self.store, version, partitions, events, skip, count)

    def files(self, version: DatasetVersion) -> list[FileInfo]:
        """See `Backend.files`."""
        return self.catalog.files(version)

    def file_trees(self, version: DatasetVersion, name: str) -> list[FileTree]:
        """See `Backend.file_trees`."""
        import pyarrow as pa

        trees = self.catalog.placed_trees(version, name)
        if not trees:
            raise NotFound(f"no file of dataset {version.dataset!r} has a tree {name!r}")
        found = []
        for tree, partition in trees:
            with pa.ipc.open_file(pa.BufferReader(self.store.read_object(tree.object.name))) as reader:
                found.append(FileTree(reader.read_all().replace_schema_metadata(None), partition))
        return found

    def drop(self, dataset: str, number: int | None = None) -> None:
        """See `Backend.drop`."""
        if number is None:
            self.catalog.drop_dataset(dataset)
        else:
            self.catalog.drop_version(dataset, number)

    def verify(self, dataset: str, number: int | None, show_progress: bool | None) -> Verification:
        """See `Backend.verify`."""
        from skyhook_casa.verify import verify

        return verify(self.catalog, self.store, self.catalog.version(dataset, number), show_progress)

    def gc(self, dry_run: bool, grace_s: float | None) -> Garbage:
        """See `Backend.gc`."""
        from skyhook_casa.gc import GRACE_S, collect_garbage

        grace_s = GRACE_S if grace_s is None else grace_s
        return collect_garbage(self.catalog, self.store, dry_run=dry_run, grace_s=grace_s)

    # -- ingest -----------------------------------------------------------------------------
    def ingest(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None,
        progress: ProgressCallback,
        **options: Any,
    ) -> IngestReport:
        """See `Backend.ingest`."""
        from skyhook_casa.ingest import ingest

        if self._catalog is None:
            self._catalog = self._open_catalog(create=True)
        return ingest(
            self._catalog, self.store, dataset, files, columns=columns, progress=progress, **options
        )

    def add_columns(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None,
        progress: ProgressCallback,
        **options: Any,
    ) -> AddedColumns:
        """See `Backend.add_columns`."""
        from skyhook_casa.column_sets.add_columns import add_columns

        return add_columns(self.catalog, self.store, dataset, files, columns, progress=progress, **options)

    def define(self, dataset: str, definitions: Mapping[str, str]) -> None:
        """See `Backend.define`."""
        from skyhook_casa.column_sets.derived import define

        define(self.catalog, dataset, definitions)

    def definitions(self, dataset: str) -> list[Definition]:
        """See `Backend.definitions`."""
        self.catalog.version(dataset)  # refuses one that is not there
        return self.catalog.definitions(dataset)

    def drop_definition(self, dataset: str, name: str) -> None:
        """See `Backend.drop_definition`."""
        self.catalog.drop_definition(dataset, name)

    def save(self, question: Question, name: str, progress: SaveCallback, **options: Any) -> SaveReport:
        """See `Backend.save`."""
        from skyhook_casa.catalog import JobLease
        from skyhook_casa.ingest.job import choose_workers
        from skyhook_casa.saving.request import SaveRequest
        from skyhook_casa.saving.run import SaveRun

        workers = options.pop("workers", None)
        with JobLease(self.catalog) as lease:
            run = SaveRun(
                self.catalog,
                self.store,
                SaveRequest(name, question.value, question.execution, **options),
                threads=self.threads,
                functions=self.functions,
                changed=progress,
                begun=lease.keep,
            )
            with choose_workers(workers, self.store, run.nbytes) as chosen:
                run.make(chosen)
            return run.commit()

    def origin(self, version: DatasetVersion) -> Origin | None:
        """See `Backend.origin`."""
        from skyhook_casa.saving.origin import Origin

        text = self.catalog.origin(version)
        return None if text is None else Origin.from_json(text)

    def jobs(self) -> list[IngestJob]:
        """See `Backend.jobs`."""
        return [self._job(job) for job in self.catalog.jobs()] if self._has_catalog() else []

    def cancel_job(self, job: IngestJob) -> IngestJob:
        """Give a job up: the process that runs it ends with an error when it next notes anything."""
        for known in self.catalog.jobs():
            if str(known.id) == job.job_id:
                return self._cancelled(known)
        raise NotFound(f"no ingest job {job.job_id}")

    def retry_job(self, job: IngestJob) -> IngestJob:
        """Refuse: only a caller of `ingest` or `save` runs jobs here.

        Raises
        ------
        InvalidRequest
            Always.
        """
        raise InvalidRequest(f"job {job.job_id} ran in a process of its own: {CALL_AGAIN}")

    def _cancelled(self, job: Job) -> IngestJob:
        if job.key in self.catalog.service_job_ids():
            state = self.catalog.cancel_service_job(job.key).state
            return replace(self._job(job), state=state)
        if job.state not in ("running", "interrupted"):
            raise InvalidRequest(f"job {job.id} is {job.state}; only one that has not ended can be cancelled")
        found = self._job(job)
        self.catalog.drop_job(job)
        return replace(found, state="cancelled", error="")

    def _job(self, job: Job) -> IngestJob:
        described = json.loads(job.description) if job.description else {}
        files = described.get("files", [])
        parts = self.catalog.job_partitions(job)
        events = sum(entries for _, _, _, entries, _ in files)
        saves, done = "request" in described, job.state == "done"
        return IngestJob(
            str(job.id),
            job.dataset,
            job.state,
            files=len(files),
            events=events,
            events_done=events if done else sum(part.entry_stop - part.entry_start for part in parts),
            version=job.version,
            updated=job.updated,
            error=f"the process that ran it ended: {CALL_AGAIN}" if job.state == "interrupted" else "",
            events_kept=sum(part.events for part in parts) if saves and not done else None,
            control=self,
        )

    # -- questions --------------------------------------------------------------------------
    def ask(self, value: QueryValue, execution: str = "auto") -> Question:
        """See `Backend.ask`."""
        from skyhook_casa.execution import check_execution
        from skyhook_casa.plan import plan

        with self.catalog.steady():
            resolved = plan(self.catalog, value)
        check_execution(execution, self.store, self.store.url)
        return EmbeddedQuestion(self, resolved, execution)

    def close(self) -> None:
        """See `Backend.close`: the connections of a catalog belong to the process, not to a client."""

    # -- inside -----------------------------------------------------------------------------
    def _open_catalog(self, create: bool) -> Catalog:
        from skyhook_casa.catalog.place import catalog_address
        from skyhook_casa.catalog.remembered import RememberingCatalog

        return RememberingCatalog(catalog_address(self.store, self._catalog_url), create=create)

    def _no_catalog(self, error: NotFound) -> str:
        """Return what is told if there is no catalog, and what would work."""
        from skyhook_casa.catalog.place import catalog_address

        if not self._names_catalog:
            return f"there are no datasets in {self.url} yet; ingest one first ({error})"
        told = f"{error}, which catalog= names for {self.url}: only an ingest makes one"
        own = catalog_address(self._store)
        if self._catalog_url and isinstance(own, Path) and own.exists():
            return f"{told}. The store has its own, {own}: leave catalog= out to use it"
        return told

    @property
    def _names_catalog(self) -> bool:
        """Whether the caller said which catalog; one that is not there is then a mistake."""
        return bool(self._catalog_url or self._store.catalog)

    def _has_catalog(self) -> bool:
        try:
            return self.catalog is not None
        except NotFound:
            if self._names_catalog:
                raise
            return False


class EmbeddedQuestion(Question):
    """A plan, and the backend whose store it runs on."""

    def __init__(self, backend: EmbeddedBackend, plan: Plan, execution: str) -> None:
        self.backend: EmbeddedBackend = backend
        self.plan = plan
        self.value = plan.query
        self.version = plan.version
        self.outputs = plan.outputs
        self.execution = execution

    def knows(self, name: str) -> bool:
        """See `Question.knows`."""
        return self.plan.knows(name)

    def asking(self, value: QueryValue) -> Question:
        """See `Question.asking`."""
        return self._with(self.plan.asking(value))

    def only(self, outputs: Sequence[str]) -> Question:
        """See `Question.only`."""
        return self._with(self.plan.only(outputs))

    def run(self, progress: Progress, rows: bool = False, histograms: bytes = b"") -> Run:
        """See `Question.run`."""
        return EmbeddedRun(self, progress, rows, histograms)

    def explain(self) -> Explanation:
        """See `Question.explain`."""
        from skyhook_casa.explain import explain

        return explain(self.plan, self.backend.store, self.execution)

    def _with(self, plan: Plan) -> EmbeddedQuestion:
        return EmbeddedQuestion(self.backend, plan, self.execution)


class EmbeddedRun(Run):
    """A scan in this process."""

    def __init__(self, question: EmbeddedQuestion, progress: Progress, rows: bool, histograms: bytes) -> None:
        self._question = question
        self._progress = progress
        self._rows = rows
        self._histograms = histograms

    def collect(self) -> Batch:
        """See `Run.collect`."""
        return self._scan(self._question.plan).collect()

    def stream(self, batch_bytes: int, ordered: bool = True) -> Iterator[Batch]:
        """See `Run.stream`; here dataset order is as fast as any."""
        return self._scan(self._question.plan).stream(batch_bytes)

    def count(self) -> int:
        """See `Run.count`."""
        return self._scan(self._question.plan.only([])).count()

    def fill(self) -> Bins:
        """See `Run.fill`."""
        return self._scan(self._question.plan).fill()

    def _scan(self, plan: Plan) -> Scan:
        from skyhook_casa.column_sets.derived import ready
        from skyhook_casa.scan import Scan

        asked = self._question
        store, threads = asked.backend.store, asked.backend.threads
        plan = ready(plan, asked.backend.catalog, store, threads, asked.backend.functions)
        scan = Scan(plan, store, threads, self._progress, self._rows, asked.execution, self._histograms)
        self.report: Report = scan.report
        asked.tell_tally_of(scan.report)
        return scan
