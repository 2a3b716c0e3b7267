"""An ingest from beginning to end: ROOT files in, a new version of a dataset out.

Objects come first and are noted in the catalog one by one; the version comes last, in one
transaction. A run that was killed leaves the dataset as it was, and the same call goes on from
what is noted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..catalog import Catalog, DatasetVersion, FileInfo, Job, MetaTree, NewPartition, ObjectInfo, union_schema
from ..cores import usable_cores
from ..errors import AlreadyExists, IngestError, InvalidRequest, NotFound
from ..object_format import CHUNK_EVENTS, CHUNK_EVENTS_MAX
from ..schema import Column, ListInfo, Schema
from ..stores import MemoryStore, ObjectStore
from .branches import SkippedBranch
from .encode import EncodeOptions, FileFacts, StoredPartition, store_meta_tree
from .partitions import PARTITION_BYTES, PARTITION_BYTES_MAX
from .paths import expand
from .pool import Task, Workers

PARTITION_BYTES_MIN = 64 * 1024
POOL_BYTES_MIN = 64 * 2**20
"""Less than this is ingested in this process: starting others would take longer."""

ProgressCallback = Callable[[int, int], None]


@dataclass(slots=True)
class IngestReport:
    """What an ingest did."""

    dataset: str
    version: int = 0
    """The number of the version it made."""
    files: int = 0
    events: int = 0
    """Events of the files."""
    partitions_made: int = 0
    partitions_reused: int = 0
    """Partitions that an interrupted run had made, or the store had already."""
    bytes: int = 0
    """Bytes of the objects of all partitions."""
    source_bytes: int = 0
    """Bytes of the ROOT files."""
    seconds: float = 0.0
    skipped: dict[str, list[SkippedBranch]] = field(default_factory=dict)
    """Branches that cannot be held, by file."""


def ingest(
    catalog: Catalog,
    store: ObjectStore,
    dataset: str,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    tree: str = "Events",
    columns: Sequence[str] | None = None,
    codec: str = "lz4",
    partition_bytes: int = PARTITION_BYTES,
    chunk_events: int = CHUNK_EVENTS,
    workers: int | None = None,
    progress: ProgressCallback | None = None,
    append: bool = True,
) -> IngestReport:
    """Make a new version of `dataset` that holds the events of some ROOT files.

    The call may be repeated after it was interrupted: with the same files and options it makes
    what is missing, and ends with the same objects.

    Parameters
    ----------
    catalog, store
        Where the dataset is kept.
    dataset : str
        Its name; made if it is not there.
    paths : str, path, or several
        Files, globs, or URLs that uproot opens.
    tree : str
        The tree of events. A file whose only tree has another name gives that one.
    columns : sequence of str, optional
        Names and globs of the branches to take; all by default.
    codec : str
        Compression of the objects: `lz4`, `zstd` or `none`.
    partition_bytes : int
        Aim for the size of an object.
    chunk_events : int
        Events of one chunk of an object.
    workers : int, optional
        Processes that work; by default one for each core. 1: everything in this process.
    progress : callable, optional
        Called with the events done and the events in total.
    append : bool
        True: the new version holds the previous version's events first. False: only the new ones.

    Raises
    ------
    IngestError
        If a file cannot be read, lacks what was asked for, or contradicts the other files.
    AlreadyExists
        If a file is in the dataset already, or was given twice.
    InvalidRequest
        If an option is out of its range.
    StoreError
        If the store or the catalog failed, or is full; the dataset is as before.
    """
    began = time.monotonic()
    options = _checked_options(tree, columns, codec, partition_bytes, chunk_events)
    found = expand(paths)
    with Workers(store, _worker_count(workers, store, found)) as pool:
        return _ingest(catalog, store, dataset, pool, found, options, progress, append, began)


def _ingest(
    catalog: Catalog,
    store: ObjectStore,
    dataset: str,
    pool: Workers,
    paths: list[str],
    options: EncodeOptions,
    progress: ProgressCallback | None,
    append: bool,
    began: float,
) -> IngestReport:
    files = pool.inspect(paths, options)
    schema = _united(files)
    if append:
        _check_against(catalog, dataset, files, schema)
    report = IngestReport(dataset, files=len(files), events=sum(file.entries for file in files))
    report.source_bytes = sum(file.bytes for file in files)
    report.skipped = {file.path: list(file.skipped) for file in files if file.skipped}
    job = catalog.begin_job(dataset, *_job_key(dataset, files, options, append))
    run = _Run(catalog, store, job, files, options, report, progress)
    run.make_partitions(pool)
    trees = run.keep_meta_trees()
    version = catalog.commit_version(
        dataset,
        schema,
        run.partitions(),
        [_file_info(file) for file in files],
        trees=trees,
        append=append,
        job=job,
    )
    report.version = version.number
    report.seconds = time.monotonic() - began
    return report


class _Run:
    """The working half of one ingest: makes what the job has not recorded."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        job: Job,
        files: list[FileFacts],
        options: EncodeOptions,
        report: IngestReport,
        progress: ProgressCallback | None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._job = job
        self._files = files
        self._infos = {file.path: _file_info(file) for file in files}
        self._options = options
        self._report = report
        self._progress = progress
        self._done_events = 0
        self._layouts: dict[tuple[str, ...], int] = {}
        self._made: dict[tuple[str, int], list[NewPartition]] = {}

    def partitions(self) -> list[NewPartition]:
        """Return the partitions in the order of their events."""
        return [
            partition
            for file in self._files
            for start, _ in file.ranges
            for partition in self._made[file.path, start]
        ]

    def make_partitions(self, pool: Workers) -> None:
        """Make every partition that is missing."""
        self._take_recorded()
        tasks: list[Task] = [
            ((file.path, file.uuid, file.entries), self._options, start, stop)
            for file in self._files
            for start, stop in file.ranges
            if (file.path, start) not in self._made
        ]
        self._advance(0)
        for task, stored in pool.store_ranges(tasks):
            self._record(task, stored)

    def keep_meta_trees(self) -> list[MetaTree]:
        """Put the trees that travel with the events into the store; return them."""
        known = {(one.tree, one.file): one for one in self._catalog.job_trees(self._job)}
        kept: list[MetaTree] = []
        for file in self._files:
            for name in file.meta_trees:
                recorded = known.get((name, self._infos[file.path]))
                if recorded is None or not self._store.exists(recorded.object.name):
                    recorded = self._keep_meta_tree(file, name)
                kept.append(recorded)
        return kept

    def _keep_meta_tree(self, file: FileFacts, tree: str) -> MetaTree:
        name, nbytes, skipped = store_meta_tree(self._store, file.path, tree)
        if skipped:
            self._report.skipped.setdefault(file.path, []).extend(skipped)
        kept = MetaTree(tree, self._infos[file.path], ObjectInfo(name, nbytes, 0, 0, 0))
        self._catalog.record_tree(self._job, kept)
        return kept

    def _take_recorded(self) -> None:
        """Take over what an interrupted run recorded, if the store still has it."""
        recorded: dict[tuple[str, int], NewPartition] = {}
        for one in self._catalog.job_partitions(self._job):
            if one.file == self._infos.get(one.file.path):
                recorded[one.file.path, one.entry_start] = one
        for file in self._files:
            for start, stop in file.ranges:
                found, at = [], start
                while at < stop and (next_one := recorded.get((file.path, at))) is not None:
                    if not self._is_stored(next_one):
                        break
                    found.append(next_one)
                    at = next_one.entry_stop
                if at == stop:
                    self._made[file.path, start] = found
                    self._report.partitions_reused += len(found)
                    self._report.bytes += sum(one.object.bytes for one in found)
                    self._done_events += stop - start

    def _is_stored(self, partition: NewPartition) -> bool:
        name = partition.object.name
        return self._store.exists(name) and self._store.size(name) == partition.object.bytes

    def _record(self, task: Task, stored: list[StoredPartition]) -> None:
        (path, _, _), _, start, stop = task
        made = [
            NewPartition(one.stop - one.start, self._object_info(one), self._infos[path], one.start, one.stop)
            for one in stored
        ]
        for partition in made:
            self._catalog.record_partition(self._job, partition)
        self._made[path, start] = made
        self._report.partitions_made += sum(one.new for one in stored)
        self._report.partitions_reused += sum(not one.new for one in stored)
        self._report.bytes += sum(one.bytes for one in stored)
        self._advance(stop - start)

    def _object_info(self, stored: StoredPartition) -> ObjectInfo:
        if stored.columns not in self._layouts:
            self._layouts[stored.columns] = self._catalog.add_layout(stored.columns)
        layout = self._layouts[stored.columns]
        return ObjectInfo(stored.name, stored.bytes, stored.directory_start, stored.directory_bytes, layout)

    def _advance(self, events: int) -> None:
        self._done_events += events
        if self._progress is not None:
            self._progress(self._done_events, self._report.events)


def _checked_options(
    tree: str, columns: Sequence[str] | None, codec: str, partition_bytes: int, chunk_events: int
) -> EncodeOptions:
    if not PARTITION_BYTES_MIN <= partition_bytes <= PARTITION_BYTES_MAX:
        allowed = f"{PARTITION_BYTES_MIN} to {PARTITION_BYTES_MAX}"
        raise InvalidRequest(f"partition_bytes is {partition_bytes}; {allowed} are allowed")
    if not 1 <= chunk_events <= CHUNK_EVENTS_MAX:
        raise InvalidRequest(f"chunk_events is {chunk_events}; 1 to {CHUNK_EVENTS_MAX} are allowed")
    if codec not in ("lz4", "zstd", "none"):
        raise InvalidRequest(f"codec {codec!r} is unknown: lz4, zstd, none")
    wanted = (columns,) if isinstance(columns, str) else columns
    chosen = None if wanted is None else tuple(wanted)
    return EncodeOptions(tree, chosen, codec, partition_bytes, chunk_events)


def _worker_count(workers: int | None, store: ObjectStore, paths: list[str]) -> int:
    """Return how many processes shall work: none but this one for little data."""
    if workers is not None and workers < 1:
        raise InvalidRequest(f"workers is {workers}; at least 1 is needed")
    if isinstance(store, MemoryStore):
        return 1
    if workers is not None:
        return workers
    if sum(_local_bytes(path) for path in paths) < POOL_BYTES_MIN:
        return 1
    return usable_cores()


def _local_bytes(path: str) -> int:
    """Return the size of a file; of one elsewhere, that it is large."""
    return POOL_BYTES_MIN if "://" in path else Path(path).stat().st_size


def _file_info(file: FileFacts) -> FileInfo:
    return FileInfo(file.path, file.uuid, file.tree, file.entries, file.bytes)


def _job_key(dataset: str, files: list[FileFacts], options: EncodeOptions, append: bool) -> tuple[str, str]:
    """Return the key of a job, equal for equal work, and what it stands for."""
    described = json.dumps(
        {
            "dataset": dataset,
            "append": append,
            "options": asdict(options),
            "files": [list(_file_info(file)) for file in files],
        },
        sort_keys=True,
    )
    return hashlib.sha256(described.encode()).hexdigest(), described


def _united(files: list[FileFacts]) -> Schema:
    """Return the union of the files' schemas; refuse files that contradict each other."""
    columns: dict[str, tuple[Column, str]] = {}
    lists: dict[str, tuple[ListInfo, str]] = {}
    identities: dict[tuple[str, str, int], str] = {}
    united = Schema()
    for file in files:
        identity = (file.uuid, file.tree, file.entries)
        if identity in identities:
            raise AlreadyExists(
                f"{file.path} is the same file as {identities[identity]}: equal UUID and tree"
            )
        identities[identity] = file.path
        for column in file.schema.columns.values():
            before, path = columns.setdefault(column.name, (column, file.path))
            _check_column(column, before, file.path, path)
        for info in file.schema.lists.values():
            other, path = lists.setdefault(info.name, (info, file.path))
            if info.collection != other.collection:
                where = f"one of {path} and {file.path}"
                raise IngestError(f"list {info.name!r} is a collection in {where}, one column in the other")
        united = union_schema(united, file.schema)
    return united


def _check_column(column: Column, before: Column, path: str, other: str) -> None:
    if (column.dtype, column.list, column.counts) != (before.dtype, before.list, before.counts):
        raise IngestError(
            f"column {column.name!r} is {_spelled(before)} in {other} and {_spelled(column)} in {path}; "
            "files whose columns differ in type cannot be one dataset"
        )


def _spelled(column: Column) -> str:
    if column.counts is not None:
        return f"{column.dtype} (the length of {column.counts!r})"
    return column.dtype if column.list is None else f"{column.dtype} per element of {column.list!r}"


def _check_against(catalog: Catalog, dataset: str, files: list[FileFacts], schema: Schema) -> None:
    """Refuse files that the newest version has, or whose columns contradict it."""
    try:
        version = catalog.version(dataset)
    except NotFound:
        return
    held = {(one.uuid, one.tree, one.entries): one.path for one in catalog.files(version)}
    for file in files:
        path = held.get((file.uuid, file.tree, file.entries))
        if path is not None:
            raise AlreadyExists(f"{file.path} is in dataset {dataset!r} already, ingested from {path}")
    for before in catalog.columns_named(version, schema.columns).values():
        _check_column_of_version(catalog, version, before, files)


def _check_column_of_version(
    catalog: Catalog, version: DatasetVersion, before: Column, files: list[FileFacts]
) -> None:
    for file in files:
        column = file.schema.columns.get(before.name)
        if column is None or (column.dtype, column.list, column.counts) == (
            before.dtype,
            before.list,
            before.counts,
        ):
            continue
        without = catalog.lacking(version, [before.name]).get(before.name, [])
        others = [one.path for one in catalog.files(version) if one not in without]
        _check_column(column, before, file.path, others[0] if others else f"dataset {version.dataset!r}")
