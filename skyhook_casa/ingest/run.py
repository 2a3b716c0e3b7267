"""An ingest from beginning to end.

Objects come first and are noted in the catalog one by one; the version comes last, in one
transaction. A run that was killed leaves the dataset as it was, and the same call goes on from
what is noted.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any, Final

from ..catalog import Catalog, FileInfo, Job, MetaTree, NewPartition, ObjectInfo
from ..errors import IngestError, QueryCancelled, SkyhookError
from ..schema import Schema
from ..stores import ObjectStore
from .agreement import IN_ALREADY, Agreement
from .encode import FileFacts, inspect, store_meta_tree, store_range
from .paths import expand
from .pool import Call, Workers, never
from .report import IngestReport, failure_of
from .request import IngestRequest
from .stored import Recorder, StoredPartition

FAILURES_MAX: Final = 1000
"""With more bad files than this an ingest ends: something else must be wrong."""
FAILURES_SHOWN: Final = 10
"""Most bad files that a message names."""
SCHEMAS_KEPT: Final = 16
"""Different schemas of files that later files share."""


class IngestRun:
    """One ingest. `make` makes what is missing, `commit` makes the version of it.

    Parameters
    ----------
    catalog, store
        Where the dataset is kept.
    request : IngestRequest
        What is to be done.
    key : str, optional
        Under which the catalog remembers what was made: a later run with the same key takes
        over what it finds of the same files. By default a hash of files and options.
    changed : callable, optional
        Called with the report whenever it has changed.
    begun : callable, optional
        Called with the job as soon as there is one.
    cancelled : callable, optional
        Asked often whether to stop.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        request: IngestRequest,
        *,
        key: str | None = None,
        changed: Callable[[IngestReport], None] = lambda _: None,
        begun: Callable[[Job], None] = lambda _: None,
        cancelled: Callable[[], bool] = never,
    ) -> None:
        self.report = IngestReport(request.dataset)
        self._began_s = time.monotonic()
        self._catalog = catalog
        self._store = store
        self._request = request
        self._options = request.encode_options
        self._key = key
        self._changed = changed
        self._begun = begun
        self._cancelled = cancelled
        self._run = uuid.uuid4().hex
        self._errors: list[SkyhookError] = []
        self._bad: set[str] = set()
        self._files: list[FileFacts] = []
        self._infos: dict[str, FileInfo] = {}
        self._recorder = Recorder(catalog, store)
        self._made: dict[tuple[str, int], list[NewPartition]] = {}
        self._trees: dict[tuple[str, str], MetaTree] = {}
        self._paths: list[str] = []

    def find(self) -> list[str]:
        """Return the files that paths, globs and URLs lead to.

        Raises
        ------
        IngestError
            If there is none.
        """
        found: list[str] = []
        for one in self._request.files:
            try:
                found += expand(one)
            except IngestError as error:
                self._fail(one, error)
        if not found:
            self._refuse_bad_files()
        self._paths = found
        return found

    def make(self, workers: Workers) -> None:
        """Make every object that is missing, and note it in the catalog.

        Raises
        ------
        SkyhookError
            As `ingest`; QueryCancelled if it was cancelled.
        """
        self._files = self._agreed(self._inspect(workers, self._paths or self.find()))
        self._refuse_bad_files()
        self._infos = {file.path: _file_info(file) for file in self._files}
        self._job = self._catalog.begin_job(self._request.dataset, *self._key_and_description())
        self._begun(self._job)
        self._take_recorded()
        self._sum_up()
        for call, stored in workers.run(self._missing(), self._cancelled):
            if isinstance(stored, IngestError):
                self._fail(call.path, stored)
            else:
                self._record(call, stored)
        self._keep_meta_trees(workers)
        self._files = self._good_files()
        self._refuse_bad_files()
        self._sum_up()

    def commit(self) -> IngestReport:
        """Make the version of what was made, and return the report.

        Raises
        ------
        SkyhookError
            As `Catalog.commit_version`.
        """
        self._check_cancelled()
        version = self._catalog.commit_version(
            self._request.dataset,
            self._schema(),
            [
                partition
                for file in self._files
                for start, _ in file.ranges
                for partition in self._made[file.path, start]
            ],
            [self._infos[file.path] for file in self._files],
            trees=[self._trees[file.path, name] for file in self._files for name in file.meta_trees],
            append=not self._request.replace,
            job=self._job,
        )
        self.report.version = version.number
        self.report.seconds = time.monotonic() - self._began_s
        return self.report

    # -- files ------------------------------------------------------------------------------
    def _inspect(self, workers: Workers, paths: list[str]) -> list[FileFacts]:
        """Return what the readable files hold, in their order."""
        calls = (Call(path, inspect, (path, self._options, self._run)) for path in paths)
        order = {path: number for number, path in enumerate(paths)}
        schemas: list[Schema] = []
        found: list[FileFacts] = []
        for call, facts in workers.near(len(paths)).run(calls, self._cancelled):
            if isinstance(facts, IngestError):
                self._fail(call.path, facts)
            else:
                found.append(replace(facts, schema=_shared(facts.schema, schemas)))
        return sorted(found, key=lambda file: order[file.path])

    def _agreed(self, files: list[FileFacts]) -> list[FileFacts]:
        """Return the files that can be one dataset with each other and what it holds."""
        agreement = Agreement(self._catalog, self._request.dataset, append=not self._request.replace)
        good: list[FileFacts] = []
        for file in files:
            try:
                agreement.take(file)
            except SkyhookError as error:
                self._note_failure(file.path, error)
            else:
                good.append(file)
        return good

    def _schema(self) -> Schema:
        agreement = Agreement(self._catalog, self._request.dataset, append=False)
        for file in self._files:
            agreement.take(file)
        return agreement.schema

    def _good_files(self) -> list[FileFacts]:
        return [file for file in self._files if file.path not in self._bad]

    def _fail(self, path: str, error: SkyhookError) -> None:
        """Give a file up."""
        self._bad.add(path)
        self._note_failure(path, error)

    def _note_failure(self, path: str, error: SkyhookError) -> None:
        self._errors.append(error)
        self.report.failures.append(failure_of(path, error, IN_ALREADY))
        self._changed(self.report)
        if len(self._errors) >= FAILURES_MAX:
            raise self._all_errors() from self._errors[0]

    def _refuse_bad_files(self) -> None:
        """End the ingest if files are bad, unless the good ones shall do."""
        if self._errors and not (self._request.skip_bad_files and self._files):
            if len(self._errors) == 1:
                raise self._errors[0]
            raise self._all_errors() from self._errors[0]

    def _all_errors(self) -> SkyhookError:
        kinds = {type(error) for error in self._errors}
        shown = [str(error) for error in self._errors[:FAILURES_SHOWN]]
        if len(self._errors) > len(shown):
            shown.append(f"and {len(self._errors) - len(shown)} more")
        text = "; ".join(shown)
        kind = kinds.pop() if len(kinds) == 1 else IngestError
        return kind(f"{len(self._errors)} files cannot be ingested: {text}")

    # -- objects ----------------------------------------------------------------------------
    def _take_recorded(self) -> None:
        """Take over what an interrupted run recorded, if the store still has it."""
        recorded: dict[tuple[str, int], NewPartition] = {}
        for one in self._catalog.job_partitions(self._job):
            if one.file == self._infos.get(one.file.path):
                recorded[one.file.path, one.entry_start] = one
        for tree in self._catalog.job_trees(self._job):
            if tree.file == self._infos.get(tree.file.path) and self._store.exists(tree.object.name):
                self._trees[tree.file.path, tree.tree] = tree
        for file in self._files:
            self._check_cancelled()
            for start, stop in file.ranges:
                found, at = [], start
                while at < stop and (next_one := recorded.get((file.path, at))) is not None:
                    if not self._recorder.is_stored(next_one):
                        break
                    found.append(next_one)
                    at = next_one.entry_stop
                if at == stop:
                    self._made[file.path, start] = found
                    self.report.partitions_reused += len(found)

    def _missing(self) -> Iterator[Call[list[StoredPartition]]]:
        """Give what is to be made; of a file that failed meanwhile, nothing more."""
        for file in self._files:
            facts = (file.path, file.uuid, file.entries)
            for start, stop in file.ranges:
                if file.path in self._bad:
                    break
                if (file.path, start) not in self._made:
                    arguments = (facts, self._options, start, stop, self._run)
                    yield Call(file.path, store_range, arguments, stores=True)

    def _record(self, call: Call[Any], stored: list[StoredPartition]) -> None:
        _, _, start, stop, _ = call.arguments
        info = self._infos[call.path]
        made = [self._recorder.record(self._job, one, info) for one in stored]
        self._made[call.path, start] = made
        self.report.partitions_made += sum(one.new for one in stored)
        self.report.partitions_reused += sum(not one.new for one in stored)
        if call.path not in self._bad:
            self.report.bytes += sum(one.bytes for one in stored)
            self.report.events_done += stop - start
        self._changed(self.report)

    def _keep_meta_trees(self, workers: Workers) -> None:
        """Put the trees that travel with the events into the store."""
        calls = (
            Call(file.path, store_meta_tree, (file.path, name), stores=True)
            for file in self._files
            for name in file.meta_trees
            if file.path not in self._bad and (file.path, name) not in self._trees
        )
        for call, kept in workers.run(calls, self._cancelled):
            if isinstance(kept, IngestError):
                self._fail(call.path, kept)
                continue
            _, tree = call.arguments
            name, nbytes, skipped = kept
            if skipped:
                self.report.skipped.setdefault(call.path, []).extend(skipped)
            one = MetaTree(tree, self._infos[call.path], ObjectInfo(name, nbytes, 0, 0, 0))
            self._catalog.record_tree(self._job, one)
            self._trees[call.path, tree] = one

    def _sum_up(self) -> None:
        """Count the good files, and what is done of them."""
        report, files = self.report, self._files
        report.files = len(files)
        report.events = sum(file.entries for file in files)
        report.source_bytes = sum(file.bytes for file in files)
        for file in files:
            if file.skipped:
                report.skipped.setdefault(file.path, list(file.skipped))
        done = [
            one
            for file in files
            for start, _ in file.ranges
            for one in self._made.get((file.path, start), ())
        ]
        report.bytes = sum(one.object.bytes for one in done)
        report.events_done = sum(one.events for one in done)
        self._changed(report)

    # -- the whole --------------------------------------------------------------------------
    def _check_cancelled(self) -> None:
        if self._cancelled():
            raise QueryCancelled("the ingest was cancelled; a retry makes what is missing")

    def _key_and_description(self) -> tuple[str, str]:
        """Return the key of the job, equal for equal work, and what it stands for."""
        described = json.dumps(
            {
                "dataset": self._request.dataset,
                "append": not self._request.replace,
                "options": asdict(self._options),
                "files": [list(info) for info in self._infos.values()],
            },
            sort_keys=True,
        )
        return self._key or hashlib.sha256(described.encode()).hexdigest(), described


def _shared(schema: Schema, known: list[Schema]) -> Schema:
    """Return a schema, the same for equal ones: files of thousands of columns come in thousands."""
    for one in known:
        if one == schema and list(one.columns) == list(schema.columns):
            return one
    if len(known) < SCHEMAS_KEPT:
        known.append(schema)
    return schema


def _file_info(file: FileFacts) -> FileInfo:
    return FileInfo(file.path, file.uuid, file.tree, file.entries, file.bytes)
