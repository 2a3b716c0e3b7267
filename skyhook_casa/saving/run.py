"""Saving an answer from beginning to end.

As in an ingest, objects come first and are noted in the catalog one by one; the version comes last, in
one transaction. A run that was killed leaves every dataset as it was, and the same call goes on from
what is noted.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from .. import __version__
from ..catalog import Catalog, DatasetVersion, FileInfo, Job, MetaTree, NewPartition, ObjectInfo, Partition
from ..column_sets.derivation import mentioned_by
from ..column_sets.derived import ready
from ..definitions import needed
from ..errors import AlreadyExists, NotFound, QueryCancelled, SkyhookError
from ..execution import check_execution
from ..ingest.pool import Call, ThisProcess, Workers, never
from ..ingest.stored import Recorder, StoredPartition
from ..plan import plan
from ..report import counted
from ..stores import ObjectStore
from .columns import saved_schema
from .objects import Saving, save_parts, save_sections
from .origin import Origin
from .report import SaveReport
from .request import SaveRequest
from .sections import SECTIONS_TREE

UNIT_BYTES: Final = 256 << 20
"""Partitions of so many bytes are worked through together, so that the little left of each is one object."""

ProgressCallback = Callable[[SaveReport], None]


class SaveRun:
    """One save. `make` makes what is missing, `commit` makes the version of it.

    Parameters
    ----------
    catalog, store
        Where the datasets are kept.
    request : SaveRequest
        What is to be done.
    threads : int, optional
        With how many threads derived columns of the dataset are computed first.
    functions : sequence of str
        Modules and packages from which these may import functions.
    key : str, optional
        Under which the catalog remembers what was made; by default a hash of the request.
    changed : callable, optional
        Called with the report whenever it has changed.
    begun : callable, optional
        Called with the job as soon as there is one.
    cancelled : callable, optional
        Asked often whether to stop.

    Raises
    ------
    NotFound
        If there is no such dataset, version or column.
    InvalidRequest, ExpressionError
        If the query is wrong, or its answer cannot be stored.
    AlreadyExists
        If the name is that of a dataset that is no saved answer, or of one to another dataset.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        request: SaveRequest,
        *,
        threads: int | None = None,
        functions: Sequence[str] = (),
        key: str | None = None,
        changed: ProgressCallback = lambda _: None,
        begun: Callable[[Job], None] = lambda _: None,
        cancelled: Callable[[], bool] = never,
    ) -> None:
        check_execution(request.execution, store, store.url)
        self.report = SaveReport(request.name)
        self._began_s = time.monotonic()
        self._catalog, self._store, self._request = catalog, store, request
        self._threads, self._functions = threads, functions
        self._key, self._changed, self._begun, self._cancelled = key, changed, begun, cancelled
        self._plan = plan(catalog, request.query)
        self._schema = saved_schema(catalog, self._plan.version, self._plan.outputs)
        self._expected = _newest_number(catalog, request.name, self._plan.version)
        self._made: list[list[NewPartition]] = []
        self._recorder = Recorder(catalog, store)

    @property
    def version(self) -> DatasetVersion:
        """The version that is asked."""
        return self._plan.version

    @property
    def nbytes(self) -> int:
        """Bytes of the objects that are asked."""
        return self._plan.partitions.nbytes

    def make(self, workers: Workers) -> None:
        """Make every object that is missing, and note it in the catalog.

        Raises
        ------
        SkyhookError
            As a query does, and if the store fails or is full; QueryCancelled if it was cancelled.
        """
        self._plan = ready(self._plan, self._catalog, self._store, self._threads, self._functions)
        self._files = self._catalog.files(self.version)
        self._job = self._catalog.begin_job(self._request.name, *self._key_and_description())
        self._begun(self._job)
        report, limit = self.report, self._request.query.limit
        report.files, report.events, report.source_bytes = len(self._files), self.version.events, self.nbytes
        self._trees = self._kept_trees(workers)
        units = list(_units(self._plan.partitions))
        self._made = [[] for _ in units]
        self._numbers = {unit[0].index: number for number, unit in enumerate(units)}
        todo = self._todo(units)
        # Which events are the first of the answer is known when those before them are.
        chosen = workers if limit is None else ThisProcess(self._store)
        calls = self._calls(units, todo)
        for call, saved in chosen.run(calls, self._cancelled):
            if isinstance(saved, SkyhookError):
                raise saved
            self._record(call, saved)

    def commit(self) -> SaveReport:
        """Make the version of what was made, and return the report.

        Raises
        ------
        NotFound
            If the version that was asked was dropped meanwhile.
        AlreadyExists
            If another made a version of this name meanwhile.
        SkyhookError
            As `Catalog.commit_version`.
        """
        if self._cancelled():
            raise QueryCancelled(
                f"saving {self._request.name!r} was cancelled; a retry makes what is missing"
            )
        report, asked = self.report, self.version
        version = self._catalog.commit_version(
            self._request.name,
            self._schema,
            [one for made in self._made for one in made],
            self._files,
            trees=self._trees,
            note=f"{counted(report.events_kept, 'event')} of {asked.dataset}, version {asked.number}",
            expected=self._expected,
            job=self._job,
            origin=self._origin().to_json(),
            of=asked,
        )
        report.version, report.seconds = version.number, time.monotonic() - self._began_s
        return report

    # -- trees ------------------------------------------------------------------------------
    def _kept_trees(self, workers: Workers) -> list[MetaTree]:
        """Return the trees of the files that tell what was processed.

        Those of all files, for a file of which nothing is left was processed too. With a luminosity mask,
        of `LuminosityBlocks` what it holds. With a limit none: nobody knows of which events they would tell.
        """
        if self._request.query.limit is not None:
            return []
        trees, mask = self._catalog.trees(self.version), self._request.query.lumimask
        if mask is None:
            return trees
        masked: dict[FileInfo, MetaTree] = {
            one.file: one for one in self._catalog.job_trees(self._job) if self._store.exists(one.object.name)
        }
        calls = (
            Call(tree.file.path, save_sections, (tree, mask), stores=True)
            for tree in trees
            if tree.tree == SECTIONS_TREE and tree.file not in masked
        )
        for call, kept in workers.run(calls, self._cancelled):
            if isinstance(kept, SkyhookError):
                raise kept
            name, nbytes = kept
            before = call.arguments[0]
            one = MetaTree(before.tree, before.file, ObjectInfo(name, nbytes, 0, 0, 0))
            self._catalog.record_tree(self._job, one)
            masked[one.file] = one
        return [masked[one.file] if one.tree == SECTIONS_TREE else one for one in trees]

    # -- objects ----------------------------------------------------------------------------
    def _todo(self, units: list[tuple[Partition, ...]]) -> list[int]:
        """Return the numbers of the units that are to be made; take over what an interrupted run recorded."""
        recorded: dict[tuple[FileInfo, int], NewPartition] = {
            (one.file, one.entry_start): one for one in self._catalog.job_partitions(self._job)
        }
        todo = []
        for number, unit in enumerate(units):
            found, at, stop = [], unit[0].entry_start, unit[-1].entry_stop
            while at < stop and (one := recorded.get((unit[0].file, at))) is not None:
                if not self._recorder.is_stored(one):
                    break
                found.append(one)
                at = one.entry_stop
            if at != stop:
                todo.append(number)
                continue
            self._made[number] = found
            self.report.partitions_reused += len(found)
            self._count(unit, found)
        self._changed(self.report)
        return todo

    def _calls(
        self, units: list[tuple[Partition, ...]], todo: list[int]
    ) -> Iterator[Call[list[StoredPartition]]]:
        """Give what is to be made, until there are as many events as were asked for."""
        saving = Saving(
            self._plan.work(self._request.execution, rows=True), self._schema, self._request.encode_options
        )
        limit = self._request.query.limit
        for number in todo:
            left = -1
            if limit is not None:
                before = sum(one.events for made in self._made[:number] for one in made)
                left = limit - before
                if left <= 0:
                    return
            first, last = units[number][0], units[number][-1]
            what = f"entries {first.entry_start} to {last.entry_stop - 1} of {first.file.path}"
            yield Call(what, save_parts, (saving, units[number], left), stores=True)

    def _record(self, call: Call[list[StoredPartition]], saved: list[StoredPartition]) -> None:
        unit: tuple[Partition, ...] = call.arguments[1]
        made = [self._recorder.record(self._job, one, unit[0].file) for one in saved]
        self._made[self._numbers[unit[0].index]] = made
        self.report.partitions_made += sum(one.new for one in saved)
        self.report.partitions_reused += sum(not one.new for one in saved)
        self._count(unit, made)
        self._changed(self.report)

    def _count(self, unit: tuple[Partition, ...], made: list[NewPartition]) -> None:
        self.report.events_done += sum(part.events for part in unit)
        self.report.events_kept += sum(one.events for one in made)
        self.report.bytes += sum(one.object.bytes for one in made)

    # -- the whole --------------------------------------------------------------------------
    def _origin(self) -> Origin:
        known = self._catalog.definition_texts(self.version.dataset)
        names = mentioned_by(self._plan.query) | {output.name for output in self._plan.outputs}
        texts = tuple((name, known[name]) for name in needed(known, sorted(names & known.keys())))
        return Origin(self._plan.query, self.version.events, texts, __version__)

    def _key_and_description(self) -> tuple[str, str]:
        """Return the key of the job, equal for equal work, and what it stands for."""
        request = replace(self._request, query=self._plan.query)
        described = json.dumps(
            {"request": json.loads(request.to_json()), "files": [list(info) for info in self._files]}
        )
        return self._key or hashlib.sha256(described.encode()).hexdigest(), described


def _units(parts: Sequence[Partition]) -> Iterator[tuple[Partition, ...]]:
    """Yield the partitions in groups of one file each."""
    unit: list[Partition] = []
    nbytes = 0
    for part in parts:
        if not part.events:
            continue
        if unit and (part.file != unit[0].file or nbytes + part.nbytes > UNIT_BYTES):
            yield tuple(unit)
            unit, nbytes = [], 0
        unit.append(part)
        nbytes += part.nbytes
    if unit:
        yield tuple(unit)


def _newest_number(catalog: Catalog, name: str, asked: DatasetVersion) -> int:
    """Return the number of the newest version of a name that may be taken; 0 if there is none.

    Raises
    ------
    AlreadyExists
        If the name stands for something else.
    """
    try:
        newest = catalog.version(name)
    except NotFound:
        return 0
    text = catalog.origin(newest)
    if text is None:
        raise AlreadyExists(f"dataset {name!r} is there and was not saved from a query; choose another name")
    origin = Origin.from_json(text)
    if origin.dataset != asked.dataset:
        raise AlreadyExists(
            f"dataset {name!r} was saved from {origin.dataset!r}, not from {asked.dataset!r}; choose another "
            "name, or drop it first"
        )
    return newest.number
