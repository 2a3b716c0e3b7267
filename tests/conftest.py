"""A NanoAOD file and a store that holds it, made once for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uproot
from hypothesis import HealthCheck, settings
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_client import Client

EVENTS = 1_500
pytest_plugins = ["ceph_fixture", "postgres_fixture", "s3_fixture"]
# A machine that is slow or busy fails no test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=25)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples where slow tests are left out, if a test does not say how many."""
    if "not slow" in config.option.markexpr:
        settings.load_profile("quick")


@pytest.fixture(scope="session")
def nano_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NanoAOD file of EVENTS events."""
    return make_nanoaod(tmp_path_factory.mktemp("nano") / "dy.root", EVENTS, cluster_events=500).path


@pytest.fixture(scope="session")
def embedded_client(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A client of a store whose dataset `dy` has several partitions of several chunks. Do not change it."""
    client = skyhook_casa.connect(tmp_path_factory.mktemp("store"), threads=2)
    client.ingest("dy", nano_file, partition_bytes=256 * 1024, chunk_events=64, workers=1)
    return client


@pytest.fixture(scope="session", params=ANSWERERS)
def client(request: pytest.FixtureRequest, embedded_client: Client) -> Iterator[Client]:
    """The same store, opened here or asked through a service: the answers are the same."""
    with answered(request.param, embedded_client) as client:
        yield client


@pytest.fixture(scope="session")
def events(nano_file: Path) -> Any:
    """The tree `Events` of the file: ask for branches with `.arrays(…)`."""
    with uproot.open(nano_file) as file:
        yield file["Events"]
