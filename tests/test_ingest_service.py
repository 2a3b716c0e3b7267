"""Ingest as a service: jobs that go on, whoever leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from ingest_helpers import assert_equal, by_uproot, damage, read_back, write_root
from local_dask import dask_processes
from serve_process import serving
from service_fixture import service_client
from waiting import LONG_S, wait_until

import skyhook_casa
from skyhook_casa.catalog import Catalog, ServiceJob
from skyhook_casa.errors import (
    AlreadyExists,
    IngestError,
    InvalidRequest,
    NotFound,
    ServiceBusy,
    ServiceLost,
    StoreError,
)
from skyhook_casa.gc import collect_garbage
from skyhook_casa.ingest import IngestRequest, ThisProcess, Workers, ingest
from skyhook_casa.ingest.pool import Call
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.protocol import PROTOCOL_KEY, delivery_pb2_grpc
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.errors import from_error_message, from_rpc_error
from skyhook_casa.service_cli import job_line
from skyhook_casa.stores import DirectoryStore

pytest.importorskip("distributed")


from skyhook_server import ingest_jobs
from skyhook_server.ingest import IngestServicer
from skyhook_server.ingest_jobs import ENDED, IngestJobs
from skyhook_server.ingest_workers import DaskWorkers, workers_of

T = TypeVar("T")
SMALL: dict[str, Any] = {"partition_bytes": 65_536, "chunk_events": 250}
LEASE_S = 60.0
"""Longer than a process stands still on a machine that is busy."""
RENEWALS = 300
"""So many looks at the jobs in a lease."""


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_jobs, "RENEWALS", RENEWALS)


class Gate(ThisProcess):
    """Workers that make so many calls as they are allowed to."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.allowed = threading.Semaphore(0)
        self.asked = 0
        self.closed = 0

    def allow(self, calls: int = 1_000_000) -> None:
        self.allowed.release(min(calls, 100_000))

    def submit(self, call: Call[T]) -> Future[T]:
        self.wait()
        return super().submit(call)

    def wait(self) -> None:
        self.asked += 1
        self.allowed.acquire()

    def close(self) -> None:
        self.closed += 1
        super().close()


class GatedDask(DaskWorkers):
    """The same on Dask."""

    def __init__(self, gate: Gate, address: str) -> None:
        super().__init__(gate.store, address)
        self._gate = gate

    def submit(self, call: Call[T]) -> Future[T]:
        self._gate.wait()
        return super().submit(call)


class Home:
    """A catalog, a store, files, and services that work on them one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = DirectoryStore(path / "store")
        self.gate = Gate(self.store)
        self.services: list[IngestJobs] = []

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.path / "store" / "catalog.sqlite", create=False)

    def new_catalog(self) -> Catalog:
        return Catalog(self.path / "store" / "catalog.sqlite")

    def service(self, workers: Callable[[int], Workers] | None = None, **options: Any) -> IngestJobs:
        jobs = IngestJobs(
            self, self.store, workers or (lambda _: ThisProcess(self.store)), **{"lease_s": LEASE_S} | options
        )
        self.services.append(jobs)
        jobs.begin()
        return jobs

    def gated(self, **options: Any) -> IngestJobs:
        return self.service(lambda _: self.gate, **options)

    def file(self, name: str, events: int = 50) -> Path:
        return write_root(self.path / name, events, seed=1 + sum(name.encode()), basket=1000)

    def objects(self, dataset: str = "dy") -> list[str]:
        return [one.object.name for one in self.catalog.partitions(self.catalog.version(dataset))]

    @contextmanager
    def opening_the_gate(self, job_id: str) -> Iterator[None]:
        """Let the workers go on as soon as the job is told to end, and not before."""
        live = next(jobs._live[job_id] for jobs in self.services if jobs.is_here(job_id))

        def allow_then() -> None:
            wait_until(live.is_ending, "the job is told to end")
            self.gate.allow()

        opening = threading.Thread(target=allow_then)
        opening.start()
        yield
        opening.join()

    def let_leases_end(self) -> None:
        """Make all leases be over."""
        with self.catalog._database.write() as connection:
            connection.exec_driver_sql("UPDATE service_jobs SET lease_until = 0")

    def close(self) -> None:
        self.gate.allow()
        for jobs in self.services:
            jobs.stop()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.close()


def request(*files: Path, **options: Any) -> IngestRequest:
    return IngestRequest("dy", tuple(map(str, files)), **options)


def ended(jobs: IngestJobs, job: ServiceJob) -> ServiceJob:
    """The job once it has ended."""

    def look() -> ServiceJob | None:
        found = jobs.get(job.job_id)
        return found if found.state in ENDED else None

    found: ServiceJob = wait_until(look, f"job {job.job_id} ends", LONG_S)
    return found


# -- jobs ------------------------------------------------------------------------------------


def test_a_job_makes_what_an_embedded_ingest_makes(home: Home, tmp_path: Path) -> None:
    path = home.file("a.root", 8000)
    jobs = home.service()

    done = ended(jobs, jobs.start(request(path, **SMALL)))

    other = DirectoryStore(tmp_path / "other")
    alone = Catalog(tmp_path / "other" / "catalog.sqlite")
    ingest(alone, other, "dy", path, workers=1, **SMALL)
    assert (done.state, done.version) == ("done", 1)
    assert home.objects() == [one.object.name for one in alone.partitions(alone.version("dy"))]
    assert_equal(read_back(home.catalog, home.store, home.catalog.version("dy")), by_uproot(path))


def test_there_are_no_jobs_before_the_first_ingest(home: Home) -> None:
    """Looking for them makes no catalog."""
    jobs = home.service()

    assert jobs.ids() == []
    with pytest.raises(NotFound, match="no ingest job 'x'"):
        jobs.get("x")
    assert not (home.path / "store" / "catalog.sqlite").exists()


def test_only_so_many_jobs_run_at_once(home: Home) -> None:
    jobs = home.gated(running_max=2)
    started = [jobs.start(request(home.file(f"{name}.root"))) for name in "abc"]
    wait_until(lambda: home.gate.asked == 2, "two jobs run")

    wait_until(lambda: (jobs.count("running"), jobs.count("queued")) == (2, 1), "they are counted")
    assert [jobs.get(job.job_id).state for job in started] == ["running", "running", "queued"]

    home.gate.allow()
    assert [ended(jobs, job).state for job in started] == ["done"] * 3
    assert home.catalog.version("dy").events == 150


def test_a_job_cancelled_while_it_waits_never_begins(home: Home) -> None:
    jobs = home.gated(running_max=1)
    first, second = (jobs.start(request(home.file(f"{name}.root"))) for name in "ab")
    wait_until(lambda: home.gate.asked == 1, "the first runs")

    assert jobs.cancel(second.job_id).state == "cancelled"

    home.gate.allow()
    assert ended(jobs, first).state == "done"
    assert jobs.get(second.job_id).state == "cancelled"
    with pytest.raises(InvalidRequest, match="is done already: it cannot be cancelled"):
        jobs.cancel(first.job_id)


def test_a_cancelled_job_stops_and_a_retry_makes_what_is_missing(home: Home) -> None:
    jobs = home.gated()
    job = jobs.start(request(home.file("a.root", 12_000), **SMALL))
    home.gate.allow(3)  # the file is inspected, and two partitions are made
    wait_until(lambda: home.gate.asked == 4, "two partitions are made")

    jobs.cancel(job.job_id)
    home.gate.allow()

    assert ended(jobs, job).state == "cancelled"
    with pytest.raises(NotFound):
        home.catalog.version("dy")
    made = len(home.catalog.job_partitions(home.catalog.jobs()[0]))
    assert 2 <= made <= 3
    jobs.retry(job.job_id)
    done = ended(jobs, job)
    assert done.state == "done"
    assert f'"partitions_reused": {made}' in done.progress


def test_progress_is_seen_while_a_job_runs(home: Home) -> None:
    jobs = home.gated()
    job = jobs.start(request(home.file("a.root", 12_000), **SMALL))
    home.gate.allow(3)

    wait_until(lambda: '"partitions_made": 2' in jobs.get(job.job_id).progress, "two are made")

    assert '"events": 12000' in jobs.get(job.job_id).progress
    wait_until(lambda: home.catalog.service_job(job.job_id).progress, "others see it too")


def test_garbage_collection_leaves_the_objects_of_running_jobs(home: Home) -> None:
    jobs = home.gated()
    job = jobs.start(request(home.file("a.root", 12_000), **SMALL))
    home.gate.allow(3)
    wait_until(lambda: home.gate.asked == 4, "two partitions are made")

    garbage = collect_garbage(home.catalog, home.store, grace_s=0.0)

    assert garbage.objects == 0
    home.gate.allow()
    assert ended(jobs, job).state == "done"
    assert all(home.store.exists(name) for name in home.objects())


# -- bad files -------------------------------------------------------------------------------


def test_a_job_that_fails_names_all_bad_files(home: Home) -> None:
    jobs = home.service()
    short, other, missing = home.file("a.root"), home.file("c.root"), home.path / "no.root"
    for path in (short, other):
        path.write_bytes(path.read_bytes()[:-50])

    failed = ended(jobs, jobs.start(request(short, home.file("b.root"), other)))
    gone = ended(jobs, jobs.start(request(missing)))

    assert failed.state == "failed"
    assert "a.root is cut short" in failed.error and "c.root is cut short" in failed.error
    assert [Path(one.path).name for one in progress_of(failed).failures] == ["a.root", "c.root"]
    assert "Copy the file again" in failed.failures
    assert "no file" in gone.error and "no.root" in gone.failures
    with pytest.raises(NotFound):
        home.catalog.version("dy")


def test_a_retry_after_the_repair_makes_only_what_failed(home: Home) -> None:
    jobs = home.service()
    good, bad = home.file("b.root", 8000), damage(home.file("a.root", 4000))
    failed = ended(jobs, jobs.start(request(bad, good, **SMALL)))
    of_good = sum(one.file.path == str(good) for one in home.catalog.job_partitions(home.catalog.jobs()[0]))
    assert (failed.state, of_good > 1) == ("failed", True)
    home.file("a.root", 4000)

    jobs.retry(failed.job_id)

    done = ended(jobs, failed)
    assert (done.state, done.error, done.failures) == ("done", "", "")
    message = progress_of(done)
    assert message.partitions_reused >= of_good
    assert message.partitions_made + message.partitions_reused == len(home.objects())


@pytest.mark.slow
def test_a_retry_of_a_job_that_skipped_files_adds_only_those(home: Home) -> None:
    """Also if the job was to replace what was there: it has done so."""
    jobs = home.service()
    ended(jobs, jobs.start(request(home.file("old.root"))))
    good, bad = home.file("b.root"), damage(home.file("a.root", 4000))
    first = ended(jobs, jobs.start(request(bad, good, skip_bad_files=True, replace=True)))
    assert (first.state, first.version) == ("done", 2)
    assert "a.root" in first.failures
    home.file("a.root")

    jobs.retry(first.job_id)

    second = ended(jobs, first)
    assert (second.state, second.version, second.failures) == ("done", 3, "")
    assert progress_of(second).files == 1
    files = [Path(one.path).name for one in home.catalog.files(home.catalog.version("dy"))]
    assert files == ["b.root", "a.root"]
    with pytest.raises(InvalidRequest, match="is done, and no file failed: nothing to retry"):
        jobs.retry(first.job_id)


def test_an_error_that_is_not_ours_fails_the_job_alone(home: Home) -> None:
    """A mistake in the code must not leave a job that never ends."""

    def broken(_: list[str]) -> Workers:
        raise RuntimeError("no such thing")

    jobs = home.service(broken)

    failed = ended(jobs, jobs.start(request(home.file("a.root"))))

    assert failed.state == "failed"
    assert "RuntimeError: no such thing" in failed.error


def progress_of(job: ServiceJob) -> pb.IngestJob:
    from skyhook_server.ingest import job_message

    return job_message(job)


# -- services come and go ----------------------------------------------------------------------


@pytest.mark.slow
def test_jobs_go_on_in_the_next_service(home: Home) -> None:
    """The one before ended in order: what it made is made no second time."""
    first = home.gated(running_max=1)
    running = first.start(request(home.file("a.root", 12_000), **SMALL))
    waiting = first.start(request(home.file("b.root")))
    home.gate.allow(3)
    wait_until(lambda: home.gate.asked == 4, "two partitions are made")
    with home.opening_the_gate(running.job_id):
        first.stop()
    assert home.catalog.service_job(running.job_id).state == "queued"
    made = len(home.catalog.job_partitions(home.catalog.jobs()[0]))

    second = home.service()

    assert [ended(second, job).state for job in (running, waiting)] == ["done", "done"]
    assert progress_of(second.get(running.job_id)).partitions_reused == made > 0


def test_a_job_of_a_service_that_was_killed_is_claimed_when_its_time_is_over(home: Home) -> None:
    job = home.new_catalog().add_service_job("a", "dy", request(home.file("a.root")).to_json())
    home.catalog.claim_service_job("killed", 10 * LONG_S)
    jobs = home.service()
    assert ended(jobs, jobs.start(request(home.file("b.root")))).state == "done"
    assert (jobs.get("a").state, jobs.get("a").attempts) == ("running", 1)

    home.let_leases_end()

    done = ended(jobs, job)
    assert (done.state, done.attempts) == ("done", 2)


def test_two_services_share_the_jobs(home: Home) -> None:
    one, two = home.gated(running_max=1), home.gated(running_max=1)
    started = [one.start(request(home.file(f"{name}.root"))) for name in "ab"]

    wait_until(lambda: home.gate.asked == 2, "each has one")

    assert [one.is_here(job.job_id) + two.is_here(job.job_id) for job in started] == [1, 1]
    there = started[0] if two.is_here(started[0].job_id) else started[1]
    one.cancel(there.job_id)
    wait_until(lambda: two._live[there.job_id].is_ending(), "the other hears of it")
    home.gate.allow()
    assert ended(one, there).state == "cancelled"


def test_a_job_that_kills_services_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the service would be killed each time it is started."""
    monkeypatch.setattr(ingest_jobs, "ATTEMPTS_MAX", 2)
    job = home.new_catalog().add_service_job("a", "dy", request(home.file("a.root")).to_json())
    for _ in range(2):
        assert home.catalog.claim_service_job("killed", -1.0)

    failed = ended(home.service(), job)

    assert failed.state == "failed"
    assert "2 services were killed while they worked on ingest job a" in failed.error


def test_a_service_that_lost_a_job_leaves_it_alone(home: Home) -> None:
    """It stood still for longer than its lease, and another has the job."""
    jobs = home.gated()
    job = jobs.start(request(home.file("a.root", 12_000), **SMALL))
    wait_until(lambda: home.gate.asked == 1, "it runs")
    with home.catalog._database.write() as connection:
        connection.exec_driver_sql("UPDATE service_jobs SET owner = 'other', lease_until = 4e9")
    wait_until(lambda: jobs._live[job.job_id].is_ending(), "it hears of it")

    home.gate.allow()

    wait_until(lambda: not jobs.is_here(job.job_id), "it stops")
    kept = home.catalog.service_job(job.job_id)
    assert (kept.state, kept.owner) == ("running", "other")


# -- calls ------------------------------------------------------------------------------------


class Server:
    """The calls of `Ingest` over real gRPC."""

    def __init__(self, jobs: IngestJobs) -> None:
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(jobs)))
        self._thread.start()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._ready.result(30)}")
        self.stub = delivery_pb2_grpc.IngestStub(self._channel)

    async def _serve(self, jobs: IngestJobs) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server()
        with ThreadPoolExecutor(4) as threads:
            delivery_pb2_grpc.add_IngestServicer_to_server(IngestServicer(jobs, threads), server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            self._ready.set_result(port)
            await self._stop.wait()
            await server.stop(None)

    def close(self) -> None:
        self._channel.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def watch(self, job_id: str) -> Iterator[pb.IngestJob]:
        """The job, whenever it has changed."""
        return self._call("Watch", pb.JobRequest(job_id=job_id))

    def _call(self, name: str, message: Any) -> Any:
        return getattr(self.stub, name)(message, metadata=((PROTOCOL_KEY, "1"),), timeout=LONG_S)

    def ask(self, name: str, message: Any) -> Any:
        """The answer; raises what the service raised."""
        try:
            found = self._call(name, message)
            return found if name not in ("List", "Watch") else list(found)
        except grpc.RpcError as error:
            raise from_rpc_error(error, "here") from None


@pytest.fixture
def gated_server(home: Home) -> Iterator[Server]:
    server = Server(home.gated())
    yield server
    server.close()


def test_a_watched_job_tells_of_its_progress_until_it_ends(home: Home, gated_server: Server) -> None:
    path = home.file("a.root", 8000)
    job = gated_server.ask("Start", pb.IngestRequest(dataset="dy", files=[str(path)], **SMALL))
    assert (job.dataset, job.state) == ("dy", "queued")
    seen = []
    for one in gated_server.watch(job.job_id):
        seen.append(one)
        home.gate.allow(2)  # not all at once, and more than there are messages

    done = [one.events_done for one in seen]
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert seen[0].state in ("queued", "running")
    last = seen[-1]
    assert (last.state, last.version, last.events, last.events_done) == ("done", 1, 8000, 8000)
    assert (last.files, last.source_bytes) == (1, path.stat().st_size)
    assert last.bytes == home.catalog.version("dy").bytes
    assert last.created <= last.updated
    assert gated_server.ask("Get", pb.JobRequest(job_id=job.job_id)) == last
    assert gated_server.ask("List", pb.ListJobsRequest()) == [last]


def test_a_job_goes_on_when_who_watches_it_leaves(home: Home, gated_server: Server) -> None:
    files = [str(home.file("a.root"))]
    job = gated_server.ask("Start", pb.IngestRequest(dataset="dy", files=files))
    watching = gated_server.stub.Watch(pb.JobRequest(job_id=job.job_id))
    next(watching)
    watching.cancel()

    home.gate.allow()

    assert gated_server.ask("Watch", pb.JobRequest(job_id=job.job_id))[-1].state == "done"


def test_what_failed_is_told_with_reason_and_advice(home: Home, gated_server: Server) -> None:
    home.gate.allow()
    short = home.file("a.root")
    short.write_bytes(short.read_bytes()[:-50])
    files = [str(short), str(home.path / "no*.root")]
    job = gated_server.ask("Start", pb.IngestRequest(dataset="dy", files=[*files, str(home.file("b.root"))]))

    failed = gated_server.ask("Watch", pb.JobRequest(job_id=job.job_id))[-1]

    assert failed.state == "failed"
    assert not failed.HasField("version")
    error = from_error_message(failed.error)
    assert isinstance(error, IngestError)
    one, other = failed.failures
    assert (one.path, one.kind, other.path) == (files[1], "ingest", files[0])
    assert "no file matches" in one.message
    assert "Correct the path" in one.advice


def test_wrong_requests_are_refused_before_anything_runs(gated_server: Server) -> None:
    for wrong, error in (
        (pb.IngestRequest(dataset="dy"), IngestError),
        (pb.IngestRequest(dataset=" ", files=["a"]), InvalidRequest),
        (pb.IngestRequest(dataset="dy", files=["a"], codec="gzip"), InvalidRequest),
        (pb.IngestRequest(dataset="dy", files=["a"], chunk_events=0), InvalidRequest),
        (pb.IngestRequest(dataset="dy", files=["a"], partition_bytes=1), InvalidRequest),
    ):
        with pytest.raises(error):
            gated_server.ask("Start", wrong)
    assert gated_server.ask("List", pb.ListJobsRequest()) == []


@pytest.mark.parametrize("name", ["Get", "Watch", "Cancel", "Retry"])
def test_an_unknown_job_is_not_found(gated_server: Server, name: str) -> None:
    with pytest.raises(NotFound, match="no ingest job 'none'"):
        gated_server.ask(name, pb.JobRequest(job_id="none"))


def test_a_cancelled_job_can_be_run_again(home: Home, gated_server: Server) -> None:
    files = [str(home.file("a.root", 8000))]
    job = gated_server.ask("Start", pb.IngestRequest(dataset="dy", files=files, **SMALL))
    home.gate.allow(2)
    wait_until(lambda: home.gate.asked == 3, "one partition is made")
    with home.opening_the_gate(job.job_id):
        assert gated_server.ask("Cancel", pb.JobRequest(job_id=job.job_id)).state in ("running", "cancelled")
        assert gated_server.ask("Watch", pb.JobRequest(job_id=job.job_id))[-1].state == "cancelled"

    with pytest.raises(InvalidRequest, match="cannot be cancelled"):
        gated_server.ask("Cancel", pb.JobRequest(job_id=job.job_id))
    assert gated_server.ask("Retry", pb.JobRequest(job_id=job.job_id)).state == "queued"
    done = gated_server.ask("Watch", pb.JobRequest(job_id=job.job_id))[-1]
    assert done.state == "done"
    assert done.partitions_reused > 0


def test_who_watches_hears_that_the_service_ends(home: Home, gated_server: Server) -> None:
    job = gated_server.ask("Start", pb.IngestRequest(dataset="dy", files=[str(home.file("a.root"))]))
    wait_until(lambda: home.gate.asked == 1, "it runs")
    watching = gated_server.stub.Watch(pb.JobRequest(job_id=job.job_id))
    assert next(watching).state == "running"
    with home.opening_the_gate(job.job_id):
        home.services[0].stop()

    with pytest.raises(grpc.RpcError) as raised:
        list(watching)
    error = from_rpc_error(raised.value, "here")
    assert isinstance(error, ServiceLost)
    assert "goes on when it is back" in str(error)


def test_too_many_waiting_jobs_are_refused_with_a_time(
    home: Home, gated_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyhook_casa.catalog.service_jobs.WAITING_MAX", 1)
    waiting, refused = (str(home.file(name)) for name in ("a.root", "b.root"))
    gated_server.ask("Start", pb.IngestRequest(dataset="dy", files=[waiting]))

    with pytest.raises(ServiceBusy) as raised:
        gated_server.ask("Start", pb.IngestRequest(dataset="dy", files=[refused]))

    assert raised.value.retry_after_s > 1


# -- Dask and whole services ------------------------------------------------------------------


@pytest.mark.slow
def test_a_client_sees_which_files_a_job_left_out_and_retries_them(tmp_path: Path) -> None:
    """Through the whole service, as a user does it."""
    embedded = skyhook_casa.connect(tmp_path / "store", progress=False)
    good, bad = write_root(tmp_path / "a.root"), damage(write_root(tmp_path / "b.root", 4000, 2))
    with service_client(embedded) as client:
        report = client.ingest("dy", [good, bad], skip_bad_files=True)
        assert (report.version, report.events) == (1, 100)
        assert [failure.path for failure in report.failures] == [str(bad)]
        (job,) = client.jobs()
        first, second = job_line(job).splitlines()
        assert "100 of 100 events  version 1" in first
        assert second.startswith(f"    {bad} cannot be read") and "Copy the file again" in second
        write_root(bad, 4000, 2)

        job.retry()

        wait_until(lambda: client.jobs()[0].version == 2, "the file is in")
        assert client.jobs()[0].failures == ()
        assert client.dataset("dy").events == 4100
        with pytest.raises(IngestError, match=r"2 files .*: no file .*c\.root; no file .*d\.root"):
            client.ingest("dy", [good, tmp_path / "c.root", tmp_path / "d.root"], append=False)
        with pytest.raises(AlreadyExists, match=r"a\.root is in dataset 'dy' already"):
            client.ingest("dy", good)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """Two worker processes, which are started again when they die.

    Each test has its own: where workers died, one may be missing for good.
    """
    with dask_processes(2, tmp_path / "dask") as cluster:
        yield cluster


@contextmanager
def stopped(cluster: Any) -> Iterator[dict[str, int]]:
    """Stop both workers, of which one may be killed; gives their process ids by their addresses."""

    def running() -> dict[str, int] | None:
        joined = set(cluster.scheduler.workers)
        pids = {one.worker_address: one.pid for one in cluster.workers.values()}
        return pids if len(joined) == 2 and joined == set(pids) else None

    pids: dict[str, int] = wait_until(running, "both workers run")
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def busy_worker(cluster: Any) -> str:
    """The address of the worker that has a call to make, as soon as one has."""

    def look() -> str | None:
        return next((name for name, one in list(cluster.scheduler.workers.items()) if one.processing), None)

    found: str = wait_until(look, "a worker has a call")
    return found


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nanoaod(tmp_path_factory.mktemp("nano") / "a.root", 6_000, cluster_events=500).path


@pytest.mark.slow
def test_a_job_survives_the_death_of_dask_workers(home: Home, cluster: Any, nano: Path) -> None:
    """Real processes, killed one after the other in mid-call."""
    jobs = home.service(lambda _: GatedDask(home.gate, cluster.scheduler_address))
    options = {"partition_bytes": 131_072, "chunk_events": 100}
    job = jobs.start(request(nano, **options))
    home.gate.allow(2)
    for asked in (3, 4):
        wait_until(lambda asked=asked: home.gate.asked == asked, "a partition is made")
        with stopped(cluster) as pids:
            home.gate.allow(1)
            os.kill(pids[busy_worker(cluster)], signal.SIGKILL)
        assert jobs.get(job.job_id).state == "running"
    home.gate.allow()

    done = ended(jobs, job)

    alone = Home(home.path / "alone")
    ingest(alone.new_catalog(), alone.store, "dy", nano, workers=1, **options)
    assert done.state == "done"
    assert home.objects() == alone.objects()
    assert len(home.objects()) > 6


@pytest.mark.slow
def test_a_file_at_which_dask_workers_die_is_named(home: Home, cluster: Any) -> None:
    # Not at once: Dask does not start a worker again that dies while it starts.
    deadly = Call("deadly.root", os.system, ("sleep 3; kill -KILL $PPID",))
    calls: list[Call[Any]] = [deadly, Call("good.root", os.getpid, ())]

    with DaskWorkers(home.store, cluster.scheduler_address) as workers:
        results = {call.path: result for call, result in workers.run(calls)}

    assert isinstance(results["deadly.root"], IngestError)
    assert "deadly.root cannot be ingested: 3 workers died at it" in str(results["deadly.root"])
    assert isinstance(results["good.root"], int)


@pytest.mark.slow
def test_bad_files_on_dask(home: Home, cluster: Any) -> None:
    jobs = home.service(lambda paths: workers_of(cluster.scheduler_address, home.store, paths))
    good, bad = home.file("b.root", 4000), damage(home.file("a.root", 4000))

    skipped = ended(jobs, jobs.start(request(bad, good, skip_bad_files=True, **SMALL)))

    assert (skipped.state, skipped.version) == ("done", 1)
    (failure,) = progress_of(skipped).failures
    assert failure.path == str(bad)


@pytest.mark.slow
def test_a_job_can_be_cancelled_while_a_worker_hangs(home: Home, cluster: Any, nano: Path) -> None:
    jobs = home.service(lambda _: GatedDask(home.gate, cluster.scheduler_address))
    job = jobs.start(request(nano, partition_bytes=131_072, chunk_events=100))
    home.gate.allow(2)
    wait_until(lambda: home.gate.asked == 3, "a partition is made")
    with stopped(cluster):
        home.gate.allow()
        busy_worker(cluster)
        jobs.cancel(job.job_id)
        assert ended(jobs, job).state == "cancelled"


@pytest.mark.slow
def test_a_cluster_that_is_not_there_fails_the_job(home: Home) -> None:
    with pytest.raises(StoreError, match="there is no Dask scheduler at tcp://127"):
        DaskWorkers(home.store, "tcp://127.0.0.1:9")


@pytest.mark.slow
def test_a_job_survives_the_death_of_its_service(home: Home, nano: Path) -> None:
    """kill -9 in mid-ingest; the same command again goes on, and a client sees one job."""
    options = {"partition_bytes": 65_536, "chunk_events": 100}
    log = home.path / "serve.log"
    catalog = home.new_catalog()

    def made(dataset: str) -> int:
        """How much is made of a version that is not there yet."""
        jobs = [job for job in catalog.jobs() if (job.dataset, job.state) == (dataset, "running")]
        return sum(len(catalog.job_partitions(job)) for job in jobs)

    def begun(job_id: str, dataset: str) -> bool:
        return made(dataset) >= 2 or catalog.service_job(job_id).state in ENDED

    with serving(str(home.path / "store"), log) as served:
        with grpc.insecure_channel(served.address) as channel:
            stub = delivery_pb2_grpc.IngestStub(channel)
            for dataset in map("dy{}".format, range(20)):  # until we are in time
                asked = pb.IngestRequest(dataset=dataset, files=[str(nano)], **options)
                job_id = stub.Start(asked, metadata=((PROTOCOL_KEY, "1"),), timeout=LONG_S).job_id
                wait_until(partial(begun, job_id, dataset), "it has made some")
                served.signal(signal.SIGSTOP)
                if made(dataset) >= 2:
                    break
                served.signal(signal.SIGCONT)
        served.signal(signal.SIGKILL)
        served.wait()
    assert catalog.service_job(job_id).state == "running"
    recorded = made(dataset)
    home.let_leases_end()

    with serving(str(home.path / "store"), log) as served:
        wait_until(lambda: catalog.service_job(job_id).state in ENDED, "it ends", LONG_S)
        with skyhook_casa.connect(f"grpc://{served.address}") as client:
            (job,) = (job for job in client.jobs() if job.dataset == dataset)

    alone = Home(home.path / "alone")
    ingest(alone.new_catalog(), alone.store, "dy", nano, workers=1, **options)
    assert (job.state, job.version, job.events_done) == ("done", 1, 6_000)
    assert progress_of(catalog.service_job(job_id)).partitions_reused >= recorded >= 2
    assert home.objects(dataset) == alone.objects()
