"""Ingests that a service was asked for: what it has to do, and what became of it.

A service that works on one is its owner for some seconds at a time. If it is killed, that time
passes, and any service of the catalog goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ..errors import InvalidRequest, NotFound, QueryCancelled, ServiceBusy
from .database import Database
from .tables import service_jobs as t
from .types import ServiceJob

WAITING_MAX: Final = 1000
"""Most jobs that are queued or running; more are refused."""
ENDED_MAX: Final = 1000
"""Most jobs that are remembered after their end, the latest."""
BUSY_RETRY_S: Final = 10.0

_LIVE: Final = ("queued", "running")
_columns = [column for column in t.columns if column.name != "id"]
_one = select(*_columns).where(t.c.job_id == bindparam("job_id"))
_alike = select(*_columns).where(t.c.request == bindparam("request"), t.c.state.in_(_LIVE))
_free = (
    select(*_columns)
    .where(t.c.state.in_(_LIVE), t.c.lease_until <= bindparam("now_s"))
    .order_by(t.c.id)
    .limit(1)
)
_newest_ids = select(t.c.job_id).order_by(t.c.id.desc())
_counts = select(t.c.state, sa.func.count()).group_by(t.c.state)
_surplus = select(t.c.id).where(t.c.state.not_in(_LIVE)).order_by(t.c.id.desc()).offset(ENDED_MAX)


class ServiceJobs:
    """The part of `Catalog` that remembers what services were asked to ingest."""

    _database: Database

    def add_service_job(self, job_id: str, dataset: str, request: str) -> ServiceJob:
        """Queue a job and return it; or the one with the same request that has not ended.

        Raises
        ------
        ServiceBusy
            If too many are waiting.
        """
        now_s = time.time()
        row = {
            "job_id": job_id,
            "dataset": dataset,
            "request": request,
            "state": "queued",
            "progress": "",
            "error": "",
            "failures": "",
            "skipped": "",
            "owner": "",
            "lease_until": 0.0,
            "attempts": 0,
            "cancel_asked": False,
            "created": now_s,
            "updated": now_s,
        }
        with self._database.write() as connection:
            alike = connection.execute(_alike, {"request": request}).first()
            if alike is not None:
                return _make(alike)
            counts = _count(connection)
            waiting = sum(counts.get(state, 0) for state in _LIVE)
            if waiting >= WAITING_MAX:
                raise ServiceBusy(f"{waiting} ingest jobs are waiting; no more are taken", BUSY_RETRY_S)
            connection.execute(t.insert(), row)
            surplus = list(connection.execute(_surplus).scalars())
            connection.execute(t.delete().where(t.c.id.in_(surplus)))
            return _get(connection, job_id)

    def service_job(self, job_id: str) -> ServiceJob:
        """Return a job.

        Raises
        ------
        NotFound
            If there is none of that id.
        """
        with self._database.read() as connection:
            return _get(connection, job_id)

    def service_job_ids(self) -> list[str]:
        """Return the ids of all jobs, oldest first."""
        with self._database.read() as connection:
            return list(connection.execute(_newest_ids).scalars())[::-1]

    def count_service_jobs(self) -> dict[str, int]:
        """Return how many jobs there are of each state."""
        with self._database.read() as connection:
            return _count(connection)

    def claim_service_job(self, owner: str, lease_s: float) -> ServiceJob | None:
        """Make `owner` the owner of the oldest job that nobody works on; return it as running.

        Parameters
        ----------
        owner : str
            A text that no other service has.
        lease_s : float
            Seconds for which the job is the owner's, until it says that it still works on it.
        """
        now_s = time.time()
        with self._database.read() as connection:  # most often there is none: take no writer's turn
            if connection.execute(_free, {"now_s": now_s}).first() is None:
                return None
        with self._database.write() as connection:
            found = connection.execute(_free, {"now_s": now_s}).first()
            if found is None:
                return None
            job = _make(found)
            if job.cancel_asked:
                _set(connection, job.job_id, state="cancelled", owner="")
                return None
            values = {"owner": owner, "lease_until": now_s + lease_s, "attempts": job.attempts + 1}
            _set(connection, job.job_id, state="running", **values)
            return _get(connection, job.job_id)

    def keep_service_job(self, job_id: str, owner: str, lease_s: float, **values: str) -> ServiceJob | None:
        """Say that `owner` still works on a job, and what became of it so far.

        Parameters
        ----------
        **values
            `progress`, `failures`, `skipped`: JSON; what is not given stays.

        Returns
        -------
        ServiceJob or None
            The job; None if it is not the owner's any more.
        """
        with self._database.write() as connection:
            if not _owns(connection, job_id, owner):
                return None
            _set(connection, job_id, lease_until=time.time() + lease_s, **values)
            return _get(connection, job_id)

    def end_service_job(self, job_id: str, owner: str, state: str, **values: Any) -> bool:
        """Write down that a job failed or was cancelled, or that it is queued again.

        Parameters
        ----------
        **values
            `error` and what `keep_service_job` takes.

        Returns
        -------
        bool
            False if the job was not the owner's any more; then nothing has changed.
        """
        values |= {"state": state, "owner": "", "lease_until": 0.0}
        if state == "queued":
            values["attempts"] = 0  # its owner ended in an orderly way
        with self._database.write() as connection:
            if not _owns(connection, job_id, owner):
                return False
            _set(connection, job_id, **values)
        return True

    def cancel_service_job(self, job_id: str) -> ServiceJob:
        """Cancel a job that nobody works on; tell the owner of any other to end it.

        Raises
        ------
        NotFound
            If there is none of that id.
        InvalidRequest
            If it has ended.
        """
        with self._database.write() as connection:
            job = _get(connection, job_id)
            if job.state not in _LIVE:
                raise InvalidRequest(f"ingest job {job_id} is {job.state} already: it cannot be cancelled")
            if job.lease_until.timestamp() <= time.time():
                _set(connection, job_id, state="cancelled", owner="", lease_until=0.0)
            else:
                _set(connection, job_id, cancel_asked=True)
            return _get(connection, job_id)

    def requeue_service_job(self, before: ServiceJob, request: str) -> ServiceJob:
        """Queue a job again that has ended.

        Parameters
        ----------
        before : ServiceJob
            The job as the caller saw it.
        request : str
            What is to be done now.

        Raises
        ------
        InvalidRequest
            If it is not as it was: somebody else has queued it.
        """
        fresh = {
            "request": request,
            "progress": "",
            "error": "",
            "failures": "",
            "skipped": "",
            "attempts": 0,
            "cancel_asked": False,
        }
        with self._database.write() as connection:
            job = _get(connection, before.job_id)
            if job.state in _LIVE or job.state != before.state:
                raise InvalidRequest(f"ingest job {job.job_id} is {job.state}: there is nothing to retry")
            _set(connection, job.job_id, state="queued", **fresh)
            return _get(connection, job.job_id)


def finish_service_job(connection: Connection, job_id: str, version: int) -> None:
    """Mark a job as done, if a service does it, inside the transaction that commits its version.

    Raises
    ------
    QueryCancelled
        If it is not running any more.
    """
    found = connection.execute(_one, {"job_id": job_id}).first()
    if found is None:
        return
    if found.state != "running":
        raise QueryCancelled(f"ingest job {job_id} is {found.state}: its version is not committed")
    _set(connection, job_id, state="done", version=version, owner="", lease_until=0.0)


def _owns(connection: Connection, job_id: str, owner: str) -> bool:
    found = connection.execute(_one, {"job_id": job_id}).first()
    return found is not None and (found.state, found.owner) == ("running", owner)


def _set(connection: Connection, job_id: str, **values: Any) -> None:
    statement = t.update().where(t.c.job_id == job_id)
    connection.execute(statement.values(updated=time.time(), **values))


def _get(connection: Connection, job_id: str) -> ServiceJob:
    found = connection.execute(_one, {"job_id": job_id}).first()
    if found is None:
        raise NotFound(f"no ingest job {job_id!r}")
    return _make(found)


def _count(connection: Connection) -> dict[str, int]:
    return {state: int(count) for state, count in connection.execute(_counts)}


def _make(row: Sequence[Any]) -> ServiceJob:
    values = dict(zip((column.name for column in _columns), row, strict=True))
    for name in ("lease_until", "created", "updated"):
        values[name] = datetime.fromtimestamp(values[name], UTC)
    return ServiceJob(**values)
