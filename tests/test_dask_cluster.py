"""A service on Dask clusters that speak TLS, and on those that grow and shrink while it works."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dask_tls import VARIABLE, tls_environment
from ingest_helpers import write_root
from local_dask import dask_processes
from serve_process import serving
from service_processes import DaskProcesses, dask
from waiting import wait_until

pytest.importorskip("distributed")

import dask as dask_package

import skyhook_casa
from skyhook_client import Client
from skyhook_server.scheduler import check_certificates

pytestmark = pytest.mark.slow

EVENTS = 100_000
SMALL = {
    "SKYHOOK_SERVE_SPLIT_BYTES": "200KB",
    "SKYHOOK_SERVE_WINDOW_BYTES": "800KB",
    "SKYHOOK_SERVE_CACHE_BYTES": "0",
}
"""So that a query has many splits, and waits for its client."""
BATCH_BYTES = 100_000
LOOPBACK = "127.0.0.1:0"
END_S = 120.0


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A store with a dataset `flat` of many partitions."""
    place = tmp_path_factory.mktemp("cluster")
    client = skyhook_casa.connect(place / "store", threads=2)
    flat = write_root(place / "flat.root", EVENTS)
    client.ingest("flat", flat, partition_bytes=128 << 10, chunk_events=2048, workers=1)
    return client


@pytest.fixture(scope="module")
def expected(embedded: Client) -> pa.Table:
    """All events."""
    return embedded.query("flat").to_arrow()


@contextmanager
def served_by(
    embedded: Client, place: Path, address: str, *flags: str, **environment: str
) -> Iterator[Client]:
    """Give a client of a service that works with a cluster."""
    flags = ("--dask", address, *flags)
    with (
        serving(embedded.url, place / "serve.log", *flags, environment=SMALL | environment) as served,
        skyhook_casa.connect(f"grpc://{served.address}") as client,
    ):
        yield client


# -- TLS -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that name the certificates of the cluster."""
    return tls_environment(tmp_path_factory.mktemp("good"), "good")


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that name the certificates of another authority."""
    return tls_environment(tmp_path_factory.mktemp("strange"), "strange")


@pytest.fixture(scope="module")
def tls_cluster(good: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """Two workers and a scheduler that speak TLS only."""
    place = tmp_path_factory.mktemp("tls") / "dask"
    with dask(place, workers=2, protocol="tls", environment=good) as cluster:
        assert cluster.address.startswith("tls://")
        yield cluster


@pytest.mark.parametrize("delivery", ["direct", "relay"])
def test_a_cluster_that_speaks_tls_answers(
    embedded: Client,
    expected: pa.Table,
    tls_cluster: DaskProcesses,
    good: dict[str, str],
    tmp_path: Path,
    delivery: str,
) -> None:
    with served_by(embedded, tmp_path, tls_cluster.address, "--delivery", delivery, **good) as client:
        wait_until(lambda: client.status().workers == 2, "two workers joined")
        assert client.query("flat").to_arrow().equals(expected)
        found = client.query("flat", cut="nMuon >= 2").hist("MET_pt", bins=20, range=(0, 100))
        same = embedded.query("flat", cut="nMuon >= 2").hist("MET_pt", bins=20, range=(0, 100))
        assert (found.values(flow=True) == same.values(flow=True)).all()


def test_a_cluster_that_speaks_tls_ingests(
    tls_cluster: DaskProcesses, good: dict[str, str], tmp_path: Path
) -> None:
    place = skyhook_casa.connect(tmp_path / "store")
    file = write_root(tmp_path / "a.root", 2_000)
    with served_by(place, tmp_path, tls_cluster.address, **good) as client:
        client.ingest("dy", file)
        found = client.query("dy").to_arrow()

    place.ingest("same", file, workers=1)
    assert found.equals(place.query("same").to_arrow())


def started(embedded: Client, address: str, environment: dict[str, str]) -> tuple[int, str]:
    """Start a service that cannot start; return its exit code, and what it says."""
    command = [sys.executable, "-m", "skyhook_casa.cli", "--store", embedded.url]
    done = subprocess.run(
        [*command, "serve", "--listen", LOOPBACK, "--dask", address],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=END_S,
    )
    assert done.stdout == ""
    return done.returncode, " ".join(done.stderr.split())


def test_a_service_of_another_authority_says_what_to_set(
    embedded: Client, tls_cluster: DaskProcesses, good: dict[str, str], strange: dict[str, str]
) -> None:
    """Whether the service mistrusts the scheduler, or the scheduler the service."""
    trusting = strange | {f"{VARIABLE}CA_FILE": good[f"{VARIABLE}CA_FILE"]}
    for environment in (strange, trusting):
        code, said = started(embedded, tls_cluster.address, environment)

        assert code == 1
        assert f"the Dask scheduler at {tls_cluster.address} and this service do not trust each other" in said
        assert f"ca-file {environment[f'{VARIABLE}CA_FILE']}" in said
        assert "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE to the authority of the cluster" in said
        assert "Traceback" not in said


def test_a_service_without_certificates_says_what_to_set(
    embedded: Client, good: dict[str, str], tmp_path: Path
) -> None:
    """Before anything is called."""
    missing = good | {f"{VARIABLE}CA_FILE": str(tmp_path / "nowhere.pem")}
    for environment, why in (
        ({}, "needs certificates; Dask's settings have none"),
        (
            missing,
            f"cannot be read ([Errno 2] No such file or directory): ca-file {tmp_path / 'nowhere.pem'}",
        ),
    ):
        code, said = started(embedded, "tls://127.0.0.1:9", environment)

        assert code == 1
        assert why in said
        assert "__CLIENT__CERT and …__CLIENT__KEY to a certificate that it signed and its key" in said
        assert "Traceback" not in said


def test_a_scheduler_that_speaks_tls_is_not_called_without(
    embedded: Client, tls_cluster: DaskProcesses
) -> None:
    code, said = started(embedded, tls_cluster.address.replace("tls://", "tcp://"), {})

    assert code == 1
    assert "if it speaks TLS, give tls:// instead of tcp://" in said


def test_a_key_that_is_given_as_text_is_not_shown(good: dict[str, str]) -> None:
    key = Path(good[f"{VARIABLE}CLIENT__KEY"]).read_text()
    with (
        dask_package.config.set({"distributed.comm.tls.client.key": key}),
        pytest.raises(ValueError, match=r"client\.key given as text") as raised,
    ):
        check_certificates("tls://127.0.0.1:9")
    assert "PRIVATE KEY" not in str(raised.value)


# -- clusters that grow and shrink ---------------------------------------------------------------
@pytest.fixture
def elastic(tmp_path: Path) -> Iterator[Any]:
    """A cluster without workers, which it starts as processes of one thread when it is told to."""
    with dask_processes(0, tmp_path / "workers") as cluster:
        yield cluster


def begin(client: Client) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch], Any]:
    """Ask for all events; return the first batches, the rest to come, and the query."""
    query = client.query("flat")
    rest = iter(query.batches(batch_bytes=BATCH_BYTES))
    return [next(rest) for _ in range(3)], rest, query


def assert_whole(query: Any, batches: list[pa.RecordBatch], expected: pa.Table) -> None:
    """Each event came once and in order, and the report says so."""
    assert pa.Table.from_batches(batches).equals(expected)
    assert query.report.events_in == query.report.events_out == EVENTS
    assert query.report.partitions_done == query.report.partitions_planned > 10


def test_an_adaptive_cluster_starts_workers_for_a_query_that_waits(
    embedded: Client, expected: pa.Table, elastic: Any, tmp_path: Path
) -> None:
    """From none, by itself: splits wait at the scheduler, and that is what it looks at."""
    with (
        served_by(embedded, tmp_path, elastic.scheduler_address) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(client.query("flat").to_arrow)
        wait_until(lambda: client.status().queries, "the query runs")
        assert client.status().workers == 0

        elastic.adapt(minimum=0, maximum=2, interval="200ms")

        assert asked.result().equals(expected)


@pytest.mark.parametrize("delivery", ["direct", "relay"])
def test_an_adaptive_cluster_that_ends_its_workers_in_mid_query_costs_no_event(
    embedded: Client, expected: pa.Table, elastic: Any, tmp_path: Path, delivery: str
) -> None:
    """A client that pauses leaves it nothing to do. Answers that it held are made again by new workers."""
    with served_by(embedded, tmp_path, elastic.scheduler_address, "--delivery", delivery) as client:
        elastic.adapt(minimum=0, maximum=2, interval="200ms", wait_count=2)
        batches, rest, query = begin(client)

        wait_until(lambda: not elastic.scheduler.workers, "the cluster has ended its workers")
        batches += rest

        assert_whole(query, batches, expected)


@pytest.mark.parametrize("delivery", ["direct", "relay"])
def test_workers_that_are_retired_in_mid_query_cost_no_event(
    embedded: Client, expected: pa.Table, elastic: Any, tmp_path: Path, delivery: str
) -> None:
    with served_by(embedded, tmp_path, elastic.scheduler_address, "--delivery", delivery) as client:
        elastic.scale(3)
        wait_until(lambda: client.status().workers == 3, "three workers joined")
        batches, rest, query = begin(client)

        elastic.scale(1)
        for batch in rest:
            batches.append(batch)
            if len(elastic.scheduler.workers) == 1:
                break
        wait_until(lambda: len(elastic.scheduler.workers) == 1, "two workers are retired")
        elastic.scale(2)
        batches += rest

        assert_whole(query, batches, expected)
