"""Real Ceph clusters for tests: one that all tests of a run share, and new ones for tests that break them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.ceph_cluster.daemons import missing_programs
from skyhook_casa.errors import SkyhookError, StoreError
from skyhook_casa.librados import rados

RUN = "SKYHOOK_TEST_CEPH"
"""Environment variable: process id of the run's first process, and the folder of the shared cluster."""
FIXTURES = {"ceph", "new_ceph", "module_ceph"}


def pytest_configure(config: pytest.Config) -> None:
    """Choose the shared cluster's folder, in the process that starts the others."""
    if not hasattr(config, "workerinput"):
        folder = Path(tempfile.gettempdir()) / f"skyhook-ceph-{uuid.uuid4().hex[:8]}"
        os.environ[RUN] = f"{os.getpid()}:{folder}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the shared cluster down; if this process is killed, the cluster's watchdog does it."""
    if not hasattr(config, "workerinput"):
        _, folder = _run()
        if Cluster.exists(folder):
            Cluster.at(folder).down()
        for file in (_beside(folder, "lock"), _beside(folder, "failed")):
            file.unlink(missing_ok=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a cluster."""
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.ceph)


@pytest.fixture(scope="session")
def ceph() -> Cluster:
    """The cluster of this run: 3 OSDs in memory and S3. Leave it as it is, but for objects and pools."""
    _skip_without_ceph()
    pid, folder = _run()
    failed = _beside(folder, "failed")
    with _locked(_beside(folder, "lock")):
        if failed.exists():
            pytest.fail(f"the cluster did not start: {failed.read_text()}")
        if Cluster.exists(folder):
            return Cluster.at(folder)
        try:
            return Cluster.up(folder, store="memstore", s3=True, guard=pid)
        except SkyhookError as error:
            failed.write_text(str(error))
            raise


@pytest.fixture
def new_ceph() -> Iterator[Callable[..., Cluster]]:
    """A function that starts a cluster (in memory, if not told otherwise) for one test alone."""
    yield from _new_clusters()


@pytest.fixture(scope="module")
def module_ceph() -> Iterator[Callable[..., Cluster]]:
    """The same for all tests of a module."""
    yield from _new_clusters()


def _new_clusters() -> Iterator[Callable[..., Cluster]]:
    _skip_without_ceph()
    made: list[Path] = []

    def up(folder: Path | None = None, **options: Any) -> Cluster:
        made.append(folder or Path(tempfile.mkdtemp(prefix="skyhook-ceph-")))
        return Cluster.up(made[-1], **{"store": "memstore", "guard": os.getpid(), **options})

    yield up
    for folder in made:
        if Cluster.exists(folder):
            Cluster.at(folder).down()
        shutil.rmtree(folder, ignore_errors=True)


def _skip_without_ceph() -> None:
    missing = missing_programs(s3=True)
    if missing:
        pytest.skip(f"Ceph is not installed: no {', '.join(missing)}")
    try:
        rados()
    except StoreError as error:
        pytest.skip(str(error))


def _run() -> tuple[int, Path]:
    pid, _, folder = os.environ[RUN].partition(":")
    return int(pid), Path(folder)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f"{folder.name}.{suffix}")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock among processes; it is free again when the holder ends."""
    with open(file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
