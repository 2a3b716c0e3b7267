"""Ingest jobs of a store that this process opens itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ingest_helpers import write_root
from waiting import wait_until

import skyhook_casa
from skyhook_casa.catalog import Catalog, JobLease, lease
from skyhook_casa.catalog import jobs as jobs_module
from skyhook_casa.errors import IngestError, InvalidRequest, NotFound
from skyhook_casa.service_cli import job_line
from skyhook_client import Client

DIES = """
import os, signal, sys
import skyhook_casa
from skyhook_casa.ingest.stored import Recorder

record = Recorder.record

def record_one(self, *arguments):
    record(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)

Recorder.record = record_one
client = skyhook_casa.connect(sys.argv[1], progress=False)
if sys.argv[2] == "save":
    client.query("x", ["event"]).save("y")
else:
    client.ingest("y", sys.argv[3])
"""


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A store with a job that is done and one that runs."""
    client = skyhook_casa.connect("memory://")
    client.ingest("x", write_root(tmp_path / "a.root", events=30))
    client.catalog.begin_job("y", "k" * 64)
    return client


def test_jobs_are_listed(client: Client) -> None:
    done, running = client.jobs()
    assert (done.dataset, done.state, done.version) == ("x", "done", 1)
    assert (done.files, done.events, done.events_done) == (1, 30, 30)
    assert (running.dataset, running.state, running.version, running.error) == ("y", "running", None, "")
    assert skyhook_casa.connect("memory://").jobs() == []


def test_a_job_can_be_given_up(client: Client) -> None:
    done, running = client.jobs()
    assert running.cancel().state == "cancelled"
    assert client.jobs() == [done]
    with pytest.raises(NotFound, match="no ingest job"):
        running.cancel()
    with pytest.raises(InvalidRequest, match="is done; only one that has not ended"):
        done.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ingest", "save"])
def test_a_job_whose_process_was_killed_is_interrupted_once_its_lease_has_ended(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = skyhook_casa.connect(tmp_path / "store", progress=False)
    path = write_root(tmp_path / "a.root", events=30)
    client.ingest("x", path)
    (tmp_path / "dies.py").write_text(DIES)
    command = [sys.executable, str(tmp_path / "dies.py"), str(tmp_path / "store"), kind, str(path)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert client.jobs()[1].state == "running"

    monkeypatch.setattr(jobs_module, "LEASE_S", 0.0)

    job = client.jobs()[1]
    assert (job.dataset, job.state, job.events_done) == ("y", "interrupted", 30)
    assert job.events_kept == (30 if kind == "save" else None)
    assert "the same ingest or save again" in job_line(job)
    if kind == "save":
        assert client.query("x", ["event"]).save("y").partitions_reused == 1
    else:
        assert client.ingest("y", path).partitions_reused == 1
    assert client.jobs()[1].state == "done"


def test_an_ingest_that_failed_is_interrupted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = skyhook_casa.connect("memory://")

    def fail(*_: object) -> None:
        raise IngestError("no more")

    monkeypatch.setattr("skyhook_casa.ingest.run.IngestRun._record", fail)
    with pytest.raises(IngestError, match="no more"):
        client.ingest("x", write_root(tmp_path / "a.root", events=30))

    (job,) = client.jobs()
    assert job.state == "interrupted"
    with pytest.raises(InvalidRequest, match="the same ingest or save again"):
        job.retry()
    assert job.cancel().state == "cancelled"
    assert client.jobs() == []


def test_a_job_that_is_worked_on_for_long_stays_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is recorded meanwhile."""
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    catalog = Catalog("memory://")
    with JobLease(catalog) as kept:
        job = catalog.begin_job("x", "key")
        kept.keep(job)
        catalog.interrupt_job(job)  # as another process with the same call does when it fails
        wait_until(lambda: catalog.jobs()[0].state == "running", "running again")
        before = catalog.jobs()[0].updated
        wait_until(lambda: catalog.jobs()[0].updated > before, "kept once more")


def test_of_the_job_of_a_service_its_lease_decides() -> None:
    """Not what the job itself says: a service that ends it does not look at that again."""
    catalog = Catalog("memory://")
    catalog.add_service_job("a", "x", "{}")
    catalog.claim_service_job("service", lease_s=60.0)
    catalog.begin_job("x", "a")
    assert catalog.jobs()[0].state == "running"
    catalog.keep_service_job("a", "service", lease_s=-1.0)
    assert catalog.jobs()[0].state == "queued"
    catalog.end_service_job("a", "service", "failed", error="{}")
    assert catalog.jobs()[0].state == "failed"


def test_the_job_of_a_service_is_cancelled_as_the_service_does() -> None:
    client = skyhook_casa.connect("memory://")
    client.backend._catalog = catalog = Catalog("memory://")  # type: ignore[attr-defined]
    catalog.add_service_job("a", "x", "{}")
    catalog.begin_job("x", "a")
    assert client.jobs()[0].cancel().state == "cancelled"
    assert catalog.service_job("a").state == "cancelled"


def test_a_job_is_run_again_by_calling_ingest(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="the same ingest or save again"):
        client.jobs()[1].retry()
