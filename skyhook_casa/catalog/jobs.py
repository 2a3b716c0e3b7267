"""Jobs, ingests and saves: what a killed one has made already, so that it goes on from there.

The process that works on a job says so every few seconds (`skyhook_casa.catalog.lease`): a job of which
that was not said for longer is interrupted. Of a job that a service does, the service's own lease decides.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ..errors import AlreadyExists, InvalidRequest, NotFound
from . import statements as s
from . import tables as t
from .database import Database
from .reading import make_tree
from .rows import Rows
from .service_jobs import finish_service_job
from .types import FileInfo, Job, MetaTree, NewPartition, ObjectInfo

LEASE_S: Final = 60.0
"""A job of which nobody said for so long that it is worked on is interrupted."""

_OPEN: Final = ("running", "interrupted")
_jobs = select(*t.jobs.columns).order_by(t.jobs.c.id)
_with_service = (
    select(*t.jobs.columns, t.service_jobs.c.state, t.service_jobs.c.lease_until)
    .select_from(t.jobs)
    .outerjoin(t.service_jobs, t.service_jobs.c.job_id == t.jobs.c.key)
    .order_by(t.jobs.c.id)
)
_job = _jobs.where(t.jobs.c.key == bindparam("key"))
_idle = _jobs.where(t.jobs.c.state.in_(_OPEN), t.jobs.c.updated < bindparam("time_s"))
_job_partitions = (
    select(
        t.partitions.c.events,
        t.partitions.c.entry_start,
        t.partitions.c.entry_stop,
        *s.file_fields,
        *s.object_fields,
    )
    .select_from(t.job_partitions)
    .join(t.partitions, t.partitions.c.id == t.job_partitions.c.partition_id)
    .join(t.objects, t.objects.c.id == t.partitions.c.object_id)
    .join(t.files, t.files.c.id == t.partitions.c.file_id)
    .where(t.job_partitions.c.job_id == bindparam("job_id"))
    .order_by(t.files.c.path, t.partitions.c.entry_start)
)
_job_trees = (
    select(t.job_trees.c.tree, *s.file_fields, *s.object_fields)
    .select_from(t.job_trees)
    .join(t.files, t.files.c.id == t.job_trees.c.file_id)
    .join(t.objects, t.objects.c.id == t.job_trees.c.object_id)
    .where(t.job_trees.c.job_id == bindparam("job_id"))
    .order_by(t.job_trees.c.tree, t.files.c.path)
)


class Jobs:
    """The part of `Catalog` that remembers ingests and saves."""

    _database: Database

    def begin_job(self, dataset: str, key: str, description: str = "") -> Job:
        """Return the running job `key`: a new one, or the one that did not finish.

        A job that is done begins anew, with nothing recorded.

        Parameters
        ----------
        dataset : str
            The dataset it will add to.
        key : str
            Hash of the files and options, at most 64 characters: equal for equal work.
        description : str
            What the caller wants to remember of the options, as JSON.

        Raises
        ------
        InvalidRequest
            If the job `key` is for another dataset.
        """
        row = {"key": key, "dataset": dataset, "state": "running", "description": description}
        with self._database.write() as connection:
            connection.execute(self._database.insert_new(t.jobs), {**row, "updated": time.time()})
            job = _make_job(connection.execute(_job, {"key": key}).one())
            if job.dataset != dataset:
                raise InvalidRequest(f"job {key!r} is for dataset {job.dataset!r}, not {dataset!r}")
            _update(connection, job.id, state="running", version=None)
            return _make_job(connection.execute(_job, {"key": key}).one())

    def keep_job(self, job: Job) -> bool:
        """Say that a process still works on a job; return whether it is one that can be worked on."""
        mine = (t.jobs.c.id == job.id) & t.jobs.c.state.in_(_OPEN)
        with self._database.write() as connection:
            statement = t.jobs.update().where(mine).values(state="running", updated=time.time())
            return connection.execute(statement).rowcount == 1

    def interrupt_job(self, job: Job) -> None:
        """Say that nobody works on a job any more; nothing, if it is done or was given up."""
        mine = (t.jobs.c.id == job.id) & (t.jobs.c.state == "running")
        with self._database.write() as connection:
            connection.execute(t.jobs.update().where(mine).values(state="interrupted"))

    def record_partition(self, job: Job, partition: NewPartition) -> None:
        """Remember a partition whose object is in the store: `gc` keeps it, a second run skips it.

        Raises
        ------
        NotFound
            If the job was given up meanwhile.
        """
        with self._database.write() as connection:
            _update(connection, job.id)
            (partition_id,) = Rows(self._database, connection).partitions([partition])
            row = {"job_id": job.id, "partition_id": partition_id}
            connection.execute(self._database.insert_new(t.job_partitions), row)

    def record_tree(self, job: Job, tree: MetaTree) -> None:
        """Remember a `Runs` or `LuminosityBlocks` tree that is in the store. Raises as above."""
        with self._database.write() as connection:
            _update(connection, job.id)
            rows = Rows(self._database, connection)
            row = {
                "job_id": job.id,
                "tree": tree.tree,
                "file_id": rows.files([tree.file])[tree.file],
                "object_id": rows.objects([tree.object])[tree.object],
            }
            connection.execute(self._database.insert_new(t.job_trees), row)

    def job_partitions(self, job: Job) -> list[NewPartition]:
        """Return what the job has recorded, by the files' paths and entries."""
        with self._database.read() as connection:
            rows = connection.execute(_job_partitions, {"job_id": job.id}).all()
        return [_make_partition(row) for row in rows]

    def job_trees(self, job: Job) -> list[MetaTree]:
        """Return the trees that the job has recorded."""
        with self._database.read() as connection:
            return [make_tree(row) for row in connection.execute(_job_trees, {"job_id": job.id})]

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first, each in the state that it is in now."""
        now_s = time.time()
        with self._database.read() as connection:
            return [_now(row, now_s) for row in connection.execute(_with_service)]

    def drop_job(self, job: Job) -> None:
        """Give a job up: `gc` then frees what only it has made."""
        with self._database.write() as connection:
            _forget(connection, job.id)

    def jobs_idle_since(self, time_s: float) -> list[Job]:
        """Return the unfinished jobs that nobody worked on since that time."""
        with self._database.read() as connection:
            return [_make_job(row) for row in connection.execute(_idle, {"time_s": time_s})]

    def drop_jobs_idle_since(self, time_s: float) -> list[Job]:
        """Give up those jobs and return them."""
        with self._database.write() as connection:
            idle = [_make_job(row) for row in connection.execute(_idle, {"time_s": time_s})]
            for job in idle:
                _forget(connection, job.id)
        return idle


def finish_job(connection: Connection, job: Job, version: int) -> None:
    """Mark a job as done inside the transaction that commits its version.

    Raises
    ------
    NotFound
        If the job was given up: its objects may be gone.
    AlreadyExists
        If another run has finished it.
    QueryCancelled
        If a service does it, and was told to end it.
    """
    known = connection.execute(_job, {"key": job.key}).first()
    if known is not None and _make_job(known).state == "done":
        raise AlreadyExists(f"another run of this ingest of {job.dataset!r} made version {known.version}")
    _update(connection, job.id, state="done", version=version)
    _forget_progress(connection, job.id)
    finish_service_job(connection, job.key, version)


def _update(connection: Connection, job_id: int, **values: Any) -> None:
    statement = t.jobs.update().where(t.jobs.c.id == job_id).values(updated=time.time(), **values)
    if connection.execute(statement).rowcount != 1:
        raise NotFound(f"ingest job {job_id} was given up; run the ingest again")


def _forget_progress(connection: Connection, job_id: int) -> None:
    for table in (t.job_partitions, t.job_trees):
        connection.execute(table.delete().where(table.c.job_id == job_id))


def _forget(connection: Connection, job_id: int) -> None:
    _forget_progress(connection, job_id)
    connection.execute(t.jobs.delete().where(t.jobs.c.id == job_id))


def _now(row: Sequence[Any], now_s: float) -> Job:
    """Return a job in the state that its lease, or that of the service which does it, gives it."""
    *own, service_state, service_lease_s = row
    job = _make_job(own)
    if service_state is not None:
        dead = service_state == "running" and service_lease_s <= now_s  # the next service goes on with it
        return replace(job, state="queued" if dead else service_state)
    if job.state == "running" and job.updated.timestamp() + LEASE_S <= now_s:
        return replace(job, state="interrupted")
    return job


def _make_job(row: Sequence[Any]) -> Job:
    values = [*row]
    values[6] = datetime.fromtimestamp(values[6], UTC)
    return Job(*values)


def _make_partition(row: Sequence[Any]) -> NewPartition:
    events, start, stop, *rest = row
    return NewPartition(events, ObjectInfo(*rest[5:]), FileInfo(*rest[:5]), start, stop)
