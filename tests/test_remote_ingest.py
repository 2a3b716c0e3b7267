"""Ingest jobs of a service, as its client starts, follows and ends them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_service import NOT_LONG, FakeService, client_of

from skyhook_casa.errors import IngestError, InvalidRequest, QueryCancelled, ServiceLost
from skyhook_casa.ingest import IngestReport
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_client import Client


@pytest.fixture
def service() -> Iterator[FakeService]:
    service = FakeService()
    yield service
    service.close()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with client_of(service) as client:
        yield client


def job(state: str, **fields: Any) -> pb.IngestJob:
    return pb.IngestJob(job_id="j1", dataset="x", state=state, **fields)


DONE = job(
    "done", files=2, events=70, events_done=70, partitions_made=3, partitions_reused=1,
    bytes=5, source_bytes=9, seconds=1.5, version=4,
    skipped=[pb.SkippedBranch(path="a.root", name="m", typename="double[2]", reason="two dimensions")],
)  # fmt: skip


def test_a_report_is_that_of_the_job(
    service: FakeService, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """As of an ingest in this process; branches left out are logged."""
    service.updates = [[job("running", events=70, events_done=20), DONE]]
    with caplog.at_level(logging.WARNING):
        report = client.ingest("x", ["http://host/a.root"])
    assert isinstance(report, IngestReport)
    assert (report.version, report.files, report.events, report.partitions_reused) == (4, 2, 70, 1)
    assert [one.name for one in report.skipped["a.root"]] == ["m"]
    assert "two dimensions" in caplog.text


def test_paths_of_this_machine_are_sent_whole(
    service: FakeService, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service has another working directory and another home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    service.updates = [[DONE]]
    given = ["a*.root", Path("b.root"), "/c.root", "~/d.root", "root://host//e.root"]
    client.ingest("x", given, ["Muon_*"], codec="zstd", append=False)
    assert list(service.ingest.files) == [
        f"{tmp_path}/a*.root", f"{tmp_path}/b.root", "/c.root", "/home/me/d.root", "root://host//e.root"
    ]  # fmt: skip
    assert list(service.ingest.columns) == ["Muon_*"]
    assert (service.ingest.codec, service.ingest.tree, service.ingest.replace) == ("zstd", "Events", True)
    assert not service.ingest.HasField("partition_bytes")


def test_a_job_is_followed_however_often_the_service_is_lost(service: FakeService) -> None:
    """It goes on there; what was heard renews the patience."""
    service.updates = [[job("running", events_done=done, events=70)] for done in range(0, 70, 10)] + [[DONE]]
    service.failures["Watch"] = [grpc.StatusCode.UNAVAILABLE]
    seen = []
    with client_of(service, NOT_LONG) as client:
        client.backend.ingest("x", "/a.root", None, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 70) for done in range(0, 80, 10)]


def test_a_service_that_says_nothing_more_is_lost(service: FakeService) -> None:
    service.updates = [[] for _ in range(100)]
    with (
        client_of(service, NOT_LONG) as client,
        pytest.raises(ServiceLost, match="said nothing of ingest job j1"),
    ):
        client.ingest("x", "/a.root")


BAD = pb.FileFailure(path="/a.root", kind="ingest", message="/a.root is no ROOT file", advice="Copy again.")


def test_files_that_were_left_out_are_named(service: FakeService, client: Client) -> None:
    service.updates = [[job("done", version=1, failures=[BAD])]]
    report = client.ingest("x", ["/a.root", "/b.root"], skip_bad_files=True)
    assert service.ingest.skip_bad_files
    assert [(one.path, one.advice) for one in report.failures] == [("/a.root", "Copy again.")]


def test_a_job_that_failed_raises_its_error(service: FakeService, client: Client) -> None:
    """With what to do about it."""
    error = pb.Error(kind="ingest", message="/a.root is no ROOT file")
    service.updates = [[job("failed", error=error, failures=[BAD])]]
    with pytest.raises(IngestError, match=r"/a\.root is no ROOT file") as raised:
        client.ingest("x", "/a.root")
    assert raised.value.__notes__ == ["ingest job j1"]
    assert raised.value.advice == "Copy again."


def test_a_job_that_another_cancelled_is_an_error(service: FakeService, client: Client) -> None:
    service.updates = [[job("cancelled")]]
    with pytest.raises(QueryCancelled, match="j1 of dataset 'x' was cancelled"):
        client.ingest("x", "/a.root")


@pytest.mark.parametrize(
    ("failures", "note"), [([], "was cancelled"), ([grpc.StatusCode.UNAVAILABLE], "may go on")]
)
def test_an_interrupt_cancels_the_job(
    service: FakeService, client: Client, failures: list[Any], note: str
) -> None:
    """Ctrl-C; if that cannot be said to the service, the user is told."""
    service.updates = [[job("running")]]
    service.failures["Cancel"] = failures

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        client.backend.ingest("x", "/a.root", None, interrupted)
    assert service.calls[-1] == "Cancel"
    assert note in raised.value.__notes__[0]


def test_a_start_is_not_sent_twice(service: FakeService, client: Client) -> None:
    service.failures["Start"] = [grpc.StatusCode.UNAVAILABLE]
    with pytest.raises(ServiceLost):
        client.ingest("x", "/a.root")
    assert service.calls.count("Start") == 1


def test_workers_are_those_of_the_service(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="the service uses those that it has"):
        client.ingest("x", "/a.root", workers=2)


def test_no_columns_are_refused(client: Client) -> None:
    """On the wire that would be all."""
    with pytest.raises(InvalidRequest, match="columns is empty"):
        client.ingest("x", "/a.root", [])


def test_jobs_can_be_listed_cancelled_and_run_again(client: Client) -> None:
    (found,) = client.jobs()
    assert (found.job_id, found.state, found.error, found.version) == ("j1", "failed", "bad", None)
    assert found.retry().state == "queued"
    assert found.cancel().state == "cancelled"
