"""An ingest by one call: ROOT files in, a new version of a dataset out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..catalog import Catalog, JobLease
from ..cores import usable_cores
from ..errors import InvalidRequest
from ..object_format import CHUNK_EVENTS
from ..stores import MemoryStore, ObjectStore
from .partitions import PARTITION_BYTES
from .pool import Processes, ThisProcess, Workers
from .report import IngestReport, ProgressCallback
from .request import IngestRequest
from .run import IngestRun

POOL_BYTES_MIN: Final = 64 * 2**20
"""Less than this is ingested in this process: starting others would take longer."""


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
    workers: int | Workers | None = None,
    progress: ProgressCallback | None = None,
    append: bool = True,
    skip_bad_files: bool = False,
) -> IngestReport:
    """Make a new version of `dataset` that holds the events of some ROOT files.

    The call may be repeated after it was interrupted or failed: with the same files and options
    it makes what is missing, and ends with the same objects.

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
    workers : int or Workers, optional
        Processes that work; by default one for each core. 1: everything in this process.
    progress : callable, optional
        Called with the events done and the events in total.
    append : bool
        True: the new version holds the previous version's events first. False: only the new ones.
    skip_bad_files : bool
        True: the good files are committed, and the report's `failures` say which are not.

    Raises
    ------
    IngestError
        If a file cannot be read, lacks what was asked for, or contradicts the other files. All
        such files are named, and the good ones are worked on first.
    AlreadyExists
        If a file is in the dataset already, or was given twice.
    InvalidRequest
        If an option is out of its range.
    StoreError
        If the store or the catalog failed, or is full; the dataset is as before.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    request = IngestRequest(
        dataset,
        tuple(os.fspath(one) for one in given),
        (columns,) if isinstance(columns, str) else None if columns is None else tuple(columns),
        tree,
        codec,
        partition_bytes,
        chunk_events,
        replace=not append,
        skip_bad_files=skip_bad_files,
    )

    def changed(report: IngestReport) -> None:
        if progress is not None and report.files:
            progress(report.events_done, report.events)

    with JobLease(catalog) as lease:
        run = IngestRun(catalog, store, request, changed=changed, begun=lease.keep)
        nbytes = bytes_of(run.find())
        with workers if isinstance(workers, Workers) else choose_workers(workers, store, nbytes) as chosen:
            run.make(chosen)
        return run.commit()


def choose_workers(count: int | None, store: ObjectStore, nbytes: int) -> Workers:
    """Return who shall work: nobody but this process for little data.

    Parameters
    ----------
    count : int, optional
        Processes; by default one for each core, or this one.
    nbytes : int
        How much there is to read.

    Raises
    ------
    InvalidRequest
        If there are none.
    """
    if count is not None and count < 1:
        raise InvalidRequest(f"workers is {count}; at least 1 is needed")
    if count is None:
        count = 1 if nbytes < POOL_BYTES_MIN else usable_cores()
    return ThisProcess(store) if count == 1 or isinstance(store, MemoryStore) else Processes(store, count)


def bytes_of(paths: list[str]) -> int:
    """Return the size of files; one elsewhere counts as large."""
    return sum(POOL_BYTES_MIN if "://" in path else Path(path).stat().st_size for path in paths)
