"""Ingest jobs of a service: they go on when whoever asked leaves, and when the service starts again.

The catalog has all jobs. A service claims those that nobody works on, a few at a time, and says
every second or so that it still does; so those of a service that was killed are soon claimed again.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from google.protobuf.json_format import MessageToJson

from skyhook_casa.catalog import Catalog, ServiceJob
from skyhook_casa.errors import InvalidRequest, NotFound, SkyhookError, StoreError
from skyhook_casa.ingest import FileFailure, IngestRequest, IngestRun, Workers
from skyhook_casa.ingest.job import bytes_of
from skyhook_casa.protocol.errors import error_message
from skyhook_casa.saving.request import SaveRequest
from skyhook_casa.saving.run import SaveRun
from skyhook_casa.stores import ObjectStore

from .live_job import LiveJob
from .logs import bound, get_logger

RUNNING_MAX: Final = 2
"""Most jobs that run at once, if nothing else is said."""
LEASE_S: Final = 15.0
"""A job whose service said nothing for so long is claimed by another."""
RENEWALS: Final = 10
"""How often a service says in that time that it still works on a job."""
ATTEMPTS_MAX: Final = 5
"""A job at which so many services were killed is not begun again."""
END_S: Final = 60.0
"""How long jobs get to stop when the service ends; what they work on then ends first."""
ENDED: Final = ("done", "failed", "cancelled")
"""States of a job in which nothing more will happen."""

_log = get_logger(__name__)


class HasCatalog(Protocol):
    """Opens the catalog."""

    @property
    def catalog(self) -> Catalog:
        """The catalog; NotFound while there is none."""
        ...

    def new_catalog(self) -> Catalog:
        """Return the catalog; it is made if there is none."""
        ...


class IngestJobs:
    """Starts, runs and ends ingest jobs. Safe to use from many threads.

    Parameters
    ----------
    home : HasCatalog
        Where the jobs are kept.
    store : ObjectStore
        Where objects go.
    workers : callable
        Returns workers for so many bytes to read.
    running_max : int
        Most jobs that run at once; others wait.
    lease_s : float
        A job whose service said nothing for so long goes on in another.
    functions : sequence of str
        Modules and packages from which derived columns may import functions.
    """

    def __init__(
        self,
        home: HasCatalog,
        store: ObjectStore,
        workers: Callable[[int], Workers],
        *,
        running_max: int = RUNNING_MAX,
        lease_s: float = LEASE_S,
        functions: Sequence[str] = (),
    ) -> None:
        self._home = home
        self._store = store
        self._workers = workers
        self._running_max = running_max
        self._lease_s = lease_s
        self._functions = functions
        self._owner = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._live: dict[str, LiveJob] = {}
        self._counts: dict[str, int] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="ingest jobs", daemon=True)

    # -- the service ------------------------------------------------------------------------
    def begin(self) -> None:
        """Begin to work, on what earlier services left first."""
        self._thread.start()

    @property
    def is_stopping(self) -> bool:
        """Whether no more work is done here."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Give the jobs back that run: the next service goes on with them. Returns when they rest."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            live = list(self._live.values())
        for one in live:
            one.end("queued")
        deadline = time.monotonic() + END_S
        for one in live:
            one.thread.join(max(0.0, deadline - time.monotonic()))
            if one.thread.is_alive():
                _log.warning("ingest_left", job_id=one.job.job_id, why="a worker did not end its task")

    # -- what callers ask -------------------------------------------------------------------
    def start(self, request: IngestRequest) -> ServiceJob:
        """Queue a job and return it.

        One with the same request that has not ended is returned itself: so it does no harm to
        ask again when the answer was lost.

        Raises
        ------
        ServiceBusy
            If too many wait.
        """
        return self._queue(self._home.new_catalog(), request.dataset, request.to_json())

    def save(self, request: SaveRequest) -> ServiceJob:
        """Queue a job that keeps the answer to a query, and return it; else as `start`.

        Raises
        ------
        SkyhookError
            As `SaveRun`: if the query is wrong, its answer cannot be stored, or the name is taken.
        ServiceBusy
            If too many wait.
        """
        catalog = self._home.catalog
        asked = self._save_run(catalog, request).version
        pinned = replace(request, query=replace(request.query, version=asked.number))
        return self._queue(catalog, pinned.name, pinned.to_json())

    def get(self, job_id: str) -> ServiceJob:
        """Return a job as it is now.

        Raises
        ------
        NotFound
            If there is none of that id.
        """
        with self._lock:
            live = self._live.get(job_id)
        return live.view() if live is not None else self._catalog(job_id).service_job(job_id)

    def is_here(self, job_id: str) -> bool:
        """Return whether this service works on a job."""
        with self._lock:
            return job_id in self._live

    def ids(self) -> list[str]:
        """Return the ids of all jobs, oldest first."""
        try:
            return self._home.catalog.service_job_ids()
        except NotFound:
            return []

    def count(self, state: str) -> int:
        """Return how many jobs there were of a state a moment ago."""
        return self._counts.get(state, 0)

    def cancel(self, job_id: str) -> ServiceJob:
        """End a job; it may take a moment to stop. What it made is kept for a retry.

        Raises
        ------
        NotFound
            If there is none of that id.
        InvalidRequest
            If it has ended.
        """
        job = self._catalog(job_id).cancel_service_job(job_id)
        with self._lock:
            live = self._live.get(job_id)
        if live is not None:
            live.end("cancelled")
        return job

    def retry(self, job_id: str) -> ServiceJob:
        """Run a job again: what is missing, if it failed or was cancelled; the bad files, if it is done.

        Raises
        ------
        NotFound
            If there is none of that id.
        InvalidRequest
            If it has not ended, or all of its files are in.
        """
        catalog = self._catalog(job_id)
        job = catalog.service_job(job_id)
        request = job.request
        if job.state == "done":
            bad = [FileFailure(*one).path for one in json.loads(job.failures or "[]")]
            if not bad:
                raise InvalidRequest(f"ingest job {job_id} is done, and no file failed: nothing to retry")
            # What is in stays in, even if the job was to replace the version before.
            asked = IngestRequest.from_json(request)
            request = replace(asked, files=tuple(bad), replace=False).to_json()
        job = catalog.requeue_service_job(job, request)
        self._wake.set()
        return job

    def _queue(self, catalog: Catalog, dataset: str, request: str) -> ServiceJob:
        job = catalog.add_service_job(secrets.token_hex(8), dataset, request)
        self._wake.set()
        return job

    def _catalog(self, job_id: str) -> Catalog:
        try:
            return self._home.catalog
        except NotFound:
            raise NotFound(f"no ingest job {job_id!r}") from None

    # -- the work ---------------------------------------------------------------------------
    def _look_after(self) -> None:
        """Claim jobs and keep them, until the service ends."""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                catalog = self._home.catalog
                self._keep(catalog)
                self._claim(catalog)
                self._counts = catalog.count_service_jobs()
            except NotFound:
                pass  # there is no catalog yet, and so no job
            except SkyhookError as error:
                _log.warning("ingest_catalog", error=str(error))
            self._wake.wait(self._lease_s / RENEWALS)

    def _keep(self, catalog: Catalog) -> None:
        """Say that the jobs are still worked on, and what became of them."""
        with self._lock:
            live = list(self._live.values())
        for one in live:
            kept = catalog.keep_service_job(one.job.job_id, self._owner, self._lease_s, **one.news())
            if kept is None:
                one.end("lost")
            elif kept.cancel_asked:
                one.end("cancelled")

    def _claim(self, catalog: Catalog) -> None:
        while not self._stopping.is_set():
            with self._lock:
                if len(self._live) >= self._running_max:
                    return
            job = catalog.claim_service_job(self._owner, self._lease_s)
            if job is None:
                return
            if job.attempts > ATTEMPTS_MAX:
                why = f"{ATTEMPTS_MAX} services were killed while they worked on ingest job {job.job_id}"
                catalog.end_service_job(job.job_id, self._owner, "failed", error=_told(StoreError(why)))
                continue
            self._launch(catalog, job)

    def _launch(self, catalog: Catalog, job: ServiceJob) -> None:
        live = LiveJob(job)
        live.thread = threading.Thread(
            target=self._work, args=(catalog, live), name=f"ingest {job.job_id}", daemon=True
        )
        with self._lock:
            if job.job_id in self._live:  # the catalog was away for longer than the lease
                return
            self._live[job.job_id] = live
        live.thread.start()

    def _work(self, catalog: Catalog, live: LiveJob) -> None:
        with bound(job_id=live.job.job_id, dataset=live.job.dataset):
            _log.info("ingest_begins", attempt=live.job.attempts)
            try:
                self._run(catalog, live)
            except StoreError as error:  # its lease ends, and it is claimed again
                _log.warning("ingest_catalog", error=str(error))
            finally:
                with self._lock:
                    self._live.pop(live.job.job_id, None)
                self._wake.set()

    def _run(self, catalog: Catalog, live: LiveJob) -> None:
        job_id = live.job.job_id
        try:
            version = self._done(catalog, live)
        except SkyhookError as error:
            state, told = live.ending or "failed", error
        except Exception as error:  # noqa: BLE001 - the service lives on, and the caller is told
            _log.error("ingest_failed", exc_info=True)
            state, told = "failed", SkyhookError(f"{type(error).__name__}: {error}")
        else:
            _log.info("ingest_done", version=version)
            return
        if state == "lost":
            return
        _log.info("ingest_ends", state=state, error=str(told))
        error_json = _told(told) if state == "failed" else ""
        catalog.end_service_job(job_id, self._owner, state, error=error_json, **live.news(all_of_it=True))

    def _done(self, catalog: Catalog, live: LiveJob) -> int:
        """Do a job; return the number of the version that it made."""
        text = live.job.request
        about: dict[str, Any] = {"key": live.job.job_id, "cancelled": live.is_ending}
        run: IngestRun | SaveRun
        if SaveRequest.is_one(text):
            run = self._save_run(catalog, SaveRequest.from_json(text), changed=live.saved, **about)
            nbytes = run.nbytes
        else:
            request = IngestRequest.from_json(text)
            run = IngestRun(catalog, self._store, request, changed=live.changed, **about)
            nbytes = bytes_of(run.find())
        with self._workers(nbytes) as workers:
            run.make(workers)
        # The commit also ends the job; what became of it is written before.
        catalog.keep_service_job(live.job.job_id, self._owner, self._lease_s, **live.news(all_of_it=True))
        return run.commit().version

    def _save_run(self, catalog: Catalog, request: SaveRequest, **about: Any) -> SaveRun:
        return SaveRun(catalog, self._store, request, functions=self._functions, **about)


def _told(error: SkyhookError) -> str:
    told: str = MessageToJson(error_message(error), indent=None)
    return told
