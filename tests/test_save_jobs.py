"""Saving as a job of a service: it goes on, whoever leaves, and is ended when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ingest_helpers import write_root
from local_dask import dask_processes
from service_fixture import service_client
from service_processes import wait_until

import skyhook_casa
from skyhook_casa.catalog import Catalog, ServiceJob
from skyhook_casa.errors import ExpressionError, InvalidRequest, QueryCancelled
from skyhook_casa.gc import collect_garbage
from skyhook_casa.ingest import ThisProcess
from skyhook_casa.ingest.pool import Call
from skyhook_casa.query import Query
from skyhook_casa.saving import run
from skyhook_casa.saving.request import SaveRequest
from skyhook_casa.service_cli import job_line

pytest.importorskip("distributed")


from skyhook_server.ingest_jobs import ENDED, IngestJobs
from skyhook_server.ingest_workers import DaskWorkers

EVENTS = 12_000
LONG_S = 120.0
T = TypeVar("T")


class Gate(ThisProcess):
    """Workers that make so many calls as they are allowed to."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.allowed = threading.Semaphore(0)
        self.asked = 0

    def submit(self, call: Call[T]) -> Future[T]:
        self.asked += 1
        self.allowed.acquire()
        return super().submit(call)


class Home:
    """A store with a dataset `x` of many partitions, and services of it."""

    def __init__(self, path: Path) -> None:
        self.client = skyhook_casa.connect(path / "store")
        files = write_root(path / "a.root", EVENTS)
        self.client.ingest("x", files, partition_bytes=65_536, chunk_events=250, workers=1)
        assert self.client.dataset("x").partitions > 4
        self.store, self.gate = self.client.store, Gate(self.client.store)
        self.services: list[IngestJobs] = []

    @property
    def catalog(self) -> Catalog:
        return self.client.catalog

    def new_catalog(self) -> Catalog:
        return self.client.catalog

    def service(self) -> IngestJobs:
        self.services.append(IngestJobs(self, self.store, lambda _: self.gate, lease_s=2.0))
        self.services[-1].begin()
        return self.services[-1]

    def names(self) -> list[str]:
        return [one.name for one in self.client.datasets()]

    def objects(self) -> set[str]:
        return {one.name for one in self.store.list()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr(run, "UNIT_BYTES", 1)
    home = Home(tmp_path)
    yield home
    home.gate.allowed.release(100_000)
    for jobs in home.services:
        jobs.stop()


def request(cut: str = "MET_pt > 30", **options: Any) -> SaveRequest:
    return SaveRequest("y", Query.make("x", ["event", "Muon_pt"], cut), **options)


def ended(jobs: IngestJobs, job: ServiceJob) -> ServiceJob:
    """The job once it has ended."""

    def look() -> ServiceJob | None:
        found = jobs.get(job.job_id)
        return found if found.state in ENDED else None

    found: ServiceJob = wait_until(look, f"job {job.job_id} ends", LONG_S)
    return found


def begun(home: Home, jobs: IngestJobs, calls: int) -> ServiceJob:
    """A job that has made so many partitions, and waits with the next."""
    job = jobs.save(request())
    home.gate.allowed.release(calls)
    wait_until(lambda: home.gate.asked > calls, f"{calls} partitions are worked through", LONG_S)
    return job


def assert_saved(home: Home) -> None:
    found = home.client.query("y").to_awkward()
    expected = home.client.query("x", ["event", "Muon_pt"], "MET_pt > 30").to_awkward()
    assert found.event.tolist() == expected.event.tolist()
    assert found.Muon_pt.tolist() == expected.Muon_pt.tolist()


def test_a_cancelled_save_stops_and_leaves_nothing_but_garbage(home: Home) -> None:
    before = home.objects()
    jobs = home.service()
    job = begun(home, jobs, 2)

    jobs.cancel(job.job_id)
    home.gate.allowed.release(1)

    assert ended(jobs, job).state == "cancelled"
    assert home.names() == ["x"]
    assert len(home.objects() - before) == 3
    collect_garbage(home.catalog, home.store, grace_s=0, job_grace_s=0)
    assert home.objects() == before


def test_a_retry_makes_what_is_missing(home: Home) -> None:
    jobs = home.service()
    job = begun(home, jobs, 2)
    jobs.cancel(job.job_id)
    home.gate.allowed.release(1)
    assert ended(jobs, job).state == "cancelled"
    calls = home.gate.asked

    jobs.retry(job.job_id)
    home.gate.allowed.release(100_000)

    assert ended(jobs, job).state == "done"
    assert home.gate.asked - calls == home.client.dataset("x").partitions - 3
    assert_saved(home)
    with pytest.raises(InvalidRequest, match="is done, and no file failed: nothing to retry"):
        jobs.retry(job.job_id)


def test_the_next_service_goes_on_with_a_save(home: Home) -> None:
    first = home.service()
    job = begun(home, first, 2)
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    wait_until(lambda: first.is_stopping, "the service is told to stop", LONG_S)
    home.gate.allowed.release(1)
    stopping.join(LONG_S)
    assert home.catalog.service_job(job.job_id).state == "queued"
    calls = home.gate.asked

    home.gate.allowed.release(100_000)
    assert ended(home.service(), job).state == "done"

    assert home.gate.asked - calls == home.client.dataset("x").partitions - 3
    assert_saved(home)


def test_the_version_asked_is_that_of_the_request(home: Home, tmp_path: Path) -> None:
    """Though files were ingested while the job waited."""
    jobs = home.service()
    job = begun(home, jobs, 1)
    home.client.ingest("x", write_root(tmp_path / "b.root", seed=9), workers=1)
    home.gate.allowed.release(100_000)
    assert ended(jobs, job).state == "done"
    origin = home.client.dataset("y").origin
    assert origin is not None
    assert (origin.version, origin.events) == (1, EVENTS)


def test_a_wrong_query_makes_no_job(home: Home) -> None:
    jobs = home.service()
    with pytest.raises(ExpressionError, match="did you mean 'MET_pt'"):
        jobs.save(request("MET_ptt > 3"))
    assert jobs.ids() == []


def test_the_same_request_again_is_the_same_job(home: Home) -> None:
    """So that asking again when an answer was lost does no harm."""
    jobs = home.service()
    assert jobs.save(request()).job_id == jobs.save(request()).job_id


@pytest.mark.slow
def test_a_client_sees_the_job_and_can_cancel_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for it is told."""
    monkeypatch.setattr("skyhook_server.service.workers_of", lambda *_: home.gate)
    with service_client(home.client) as client:
        query = client.query("x", ["event"], "MET_pt > 30")
        errors: list[BaseException] = []

        def save() -> None:
            try:
                query.save("y")
            except QueryCancelled as error:
                errors.append(error)

        waiting = threading.Thread(target=save)
        waiting.start()
        home.gate.allowed.release(3)
        wait_until(lambda: home.gate.asked == 4, "some is worked through", LONG_S)

        (job,) = client.jobs()
        line = job_line(job)
        job.cancel()
        home.gate.allowed.release(100_000)
        waiting.join(LONG_S)

        assert (job.dataset, job.events, job.state) == ("y", EVENTS, "running")
        assert job.events_kept is not None
        assert f"{job.events_kept:,} kept" in line
        assert "was cancelled" in str(errors[0])
        assert home.names() == ["x"]


def test_an_interrupt_cancels_the_save(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the client."""
    monkeypatch.setattr("skyhook_server.service.workers_of", lambda *_: home.gate)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with service_client(home.client) as client:
        question = client.query("x", ["event"]).question
        with pytest.raises(KeyboardInterrupt) as raised:
            client.backend.save(question, "y", interrupted)
        home.gate.allowed.release(100_000)
        assert "was cancelled" in raised.value.__notes__[0]
        (job,) = client.jobs()
        wait_until(lambda: client.jobs()[0].state == "cancelled", "it is cancelled", LONG_S)
        assert job.dataset == "y"
        assert home.names() == ["x"]


@pytest.mark.slow
def test_dask_workers_save_what_this_process_saves(home: Home, tmp_path: Path) -> None:
    """They get programs and objects, and open the store by its address."""
    query = home.client.query("x", ["event", "Muon_pt"], "MET_pt > 30")
    saving = run.SaveRun(home.catalog, home.store, SaveRequest("y", query.value))
    with (
        dask_processes(1, tmp_path / "dask") as cluster,
        DaskWorkers(home.store, cluster.scheduler_address) as workers,
    ):
        saving.make(workers)
    report = saving.commit()
    assert report.partitions_made == home.client.dataset("x").partitions
    assert_saved(home)
    assert query.save("z").partitions_reused == report.partitions_made
