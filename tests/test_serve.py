"""`skyhook-casa serve` as its administrator sees it: it starts, tells, and ends in good order."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from serve_process import END_S, ServeProcess, serving
from typer.testing import CliRunner
from waiting import wait_until

pytest.importorskip("distributed")

import skyhook_casa
from skyhook_casa.cli import app
from skyhook_casa.errors import NotFound, ServiceBusy, SkyhookError
from skyhook_casa.protocol import PROTOCOL_KEY
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.delivery_pb2_grpc import DeliveryStub
from skyhook_casa.protocol.errors import from_rpc_error
from skyhook_casa.query import Query
from skyhook_casa.service_cli import job_line
from skyhook_client import Client
from skyhook_client.jobs import IngestJob

SMALL_PIECES = {"SKYHOOK_SERVE_SPLIT_BYTES": "20kB", "SKYHOOK_SERVE_WINDOW_BYTES": "40kB"}
"""So that a query of the small sample has many splits, and waits for its client."""


class Asking:
    """A query that acknowledges its last split only when it goes on, so that it stays in mid-stream."""

    def __init__(self, served: ServeProcess, query: Query) -> None:
        self.messages: queue.SimpleQueue[pb.QueryMessage | None] = queue.SimpleQueue()
        self.messages.put(pb.QueryMessage(start=pb.QueryStart(query=query.to_json())))
        self.number = 0
        self.channel = grpc.insecure_channel(served.address)
        self.stub = DeliveryStub(self.channel)
        self.events = self.begin(iter(self.messages.get, None))

    def begin(self, messages: Iterator[pb.QueryMessage]) -> Any:
        return self.stub.Query(messages, metadata=[(PROTOCOL_KEY, "1")], timeout=END_S)

    def next(self, kind: str) -> Any:
        """Return the next event of a kind; raise what the service raises."""
        try:
            if self.number:
                self.messages.put(pb.QueryMessage(acknowledge=self.number))
            for event in self.events:
                if event.WhichOneof("event") == "split":
                    self.number = event.split.number
                if event.WhichOneof("event") == kind:
                    return getattr(event, kind)
                if event.WhichOneof("event") == "split":
                    self.messages.put(pb.QueryMessage(acknowledge=self.number))
        except grpc.RpcError as error:
            raise from_rpc_error(error, "here") from None
        raise AssertionError(f"no {kind}")

    def again(self, query: Query) -> Any:
        """Begin another query on the same connection."""
        return self.begin(iter([pb.QueryMessage(start=pb.QueryStart(query=query.to_json()))]))

    def close(self) -> None:
        self.messages.put(None)
        self.channel.close()


@pytest.fixture
def served(embedded_client: Client, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServeProcess]:
    """A service of the sample; a parameter is for how long it drains, in seconds."""
    environment = SMALL_PIECES | {"SKYHOOK_SERVE_DRAIN_S": str(getattr(request, "param", 60))}
    with serving(
        embedded_client.url, tmp_path / "log", "--log-format", "json", environment=environment
    ) as found:
        yield found


@pytest.fixture
def asking(served: ServeProcess) -> Iterator[Asking]:
    """A query in mid-stream."""
    asking = Asking(served, Query.make("dy"))
    assert asking.next("plan").version.events == 1_500
    asking.next("split")
    yield asking
    asking.close()


def stopping(served: ServeProcess) -> None:
    """Send SIGTERM and wait until the service says that it stops."""
    served.signal()
    wait_until(lambda: "stopping" in served.log_text(), "the service stops")


@pytest.mark.slow
def test_the_ready_line_says_where_the_service_and_its_metrics_are(
    embedded_client: Client, tmp_path: Path
) -> None:
    with serving(embedded_client.url, tmp_path / "log", "--metrics", "127.0.0.1:0") as served:
        assert served.line.startswith(f"skyhook-casa serves {embedded_client.url} at grpc://127.0.0.1:")
        with urllib.request.urlopen(served.metrics_url, timeout=END_S) as answer:
            text = answer.read().decode()
    assert "skyhook_queries_running 0.0" in text
    assert "_created" not in text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_service_with_exit_code_0(served: ServeProcess, number: int) -> None:
    served.signal(number)
    assert served.wait() == 0


@pytest.mark.slow
def test_a_draining_service_ends_its_queries_and_takes_no_new_ones(
    served: ServeProcess, asking: Asking
) -> None:
    stopping(served)

    with pytest.raises(grpc.RpcError) as caught:
        next(asking.again(Query.make("dy")))
    refused = from_rpc_error(caught.value, "here")
    assert isinstance(refused, ServiceBusy)
    assert refused.retry_after_s > 0
    assert asking.next("end").report.events_out == 1_500

    assert served.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("served", [0.2], indirect=True)
def test_queries_that_take_longer_than_the_drain_are_ended_with_an_error(
    served: ServeProcess, asking: Asking
) -> None:
    """Its client tries another service, or this one when it is back."""
    stopping(served)
    assert served.wait() == 0
    with pytest.raises(SkyhookError):
        asking.next("end")


@pytest.mark.slow
def test_a_second_signal_ends_the_service_at_once(served: ServeProcess, asking: Asking) -> None:
    stopping(served)
    served.signal()
    assert served.wait() == 128 + signal.SIGTERM


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skyhook_casa.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=END_S, check=False)


@pytest.mark.slow
def test_a_taken_port_is_one_message_and_exit_code_1(embedded_client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("--store", embedded_client.url, "serve", "--listen", address)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"skyhook-casa: cannot listen on {address}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_host_of_another_machine_is_one_message_and_exit_code_1(embedded_client: Client) -> None:
    done = run("--store", embedded_client.url, "serve", "--listen", "192.0.2.1:0")  # of no machine: RFC 5737
    assert done.returncode == 1
    assert "cannot listen on" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_wrong_setting_is_one_message_and_exit_code_1(embedded_client: Client) -> None:
    done = run("--store", embedded_client.url, "serve", "--listen", "everywhere")
    assert done.returncode == 1
    assert done.stderr == (
        "skyhook-casa: listen is 'everywhere' (--listen): host:port is needed, such as 127.0.0.1:8815\n"
    )


@pytest.mark.slow
def test_the_version_of_the_software_is_told_by_its_status(served: ServeProcess) -> None:
    with grpc.insecure_channel(served.address) as channel:
        status = DeliveryStub(channel).Status(
            pb.StatusRequest(), metadata=[(PROTOCOL_KEY, "1")], timeout=END_S
        )
    assert status.server == skyhook_casa.__version__
    assert not status.draining


# ---- jobs --------------------------------------------------------------------------------------
def test_ingest_jobs_are_listed_and_ended_by_command(nano_file: Path, tmp_path: Path) -> None:
    """Those of a store that is opened here, too."""
    store = tmp_path / "store"
    assert job_command(store, "jobs") == ("", "no jobs\n")
    own = skyhook_casa.connect(store)
    own.ingest("dy", nano_file, workers=1)
    running = own.catalog.begin_job("other", "key", "")

    done, other = job_command(store, "jobs")[0].splitlines()
    assert done.split()[1] == "done"
    assert done.endswith("dy  1,500 of 1,500 events  version 1")
    assert other.split()[:2] == [str(running.id), "running"]

    assert job_command(store, "jobs", "cancel", str(running.id))[0].split()[1] == "cancelled"
    assert len(job_command(store, "jobs")[0].splitlines()) == 1
    with pytest.raises(NotFound, match="no ingest job '99'; `skyhook-casa jobs` lists them"):
        job_command(store, "jobs", "retry", "99")


def test_a_job_that_failed_is_listed_with_its_reason() -> None:
    updated = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    failed = IngestJob("a1", "dy", "failed", 2, 0, 10, None, updated, error="b.root is cut short")
    assert job_line(failed) == (
        "a1  failed       2026-05-04 03:02:01  dy  10 of ? events\n    b.root is cut short"
    )


def job_command(store: Path, *arguments: str) -> tuple[str, str]:
    """Return what a command writes; raise its error."""
    result = CliRunner().invoke(app, ["--store", str(store), *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout, result.stderr
