"""Garbage collection removes what nothing uses, and nothing else."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from skyhook_casa.catalog import Catalog, FileInfo, Job, MetaTree, NewPartition, ObjectInfo
from skyhook_casa.errors import InvalidRequest, NotFound, StoreError
from skyhook_casa.gc import GRACE_S, JOB_GRACE_S, collect_garbage
from skyhook_casa.schema import Column, Schema
from skyhook_casa.stores import DirectoryStore

SCHEMA = Schema({"MET_pt": Column("MET_pt", "float32")})
DAY_S = 24 * 3600.0


@dataclass
class Site:
    """A store and its catalog, which was made long ago."""

    store: DirectoryStore
    catalog: Catalog

    def put(self, content: bytes, age_s: float = 10 * DAY_S) -> str:
        """Store an object that looks `age_s` old; return its name."""
        name = hashlib.sha256(content).hexdigest()
        self.store.put(name, content)
        then = time.time() - age_s
        os.utime(self.store.local_path(name), (then, then))
        return name

    def partition(self, content: bytes) -> NewPartition:
        """Store an object and describe it as a partition."""
        name = self.put(content)
        layout_id = self.catalog.add_layout(["MET_pt"])
        file = FileInfo(f"{name[:8]}.root", name, "Events", 10, 100)
        return NewPartition(10, ObjectInfo(name, len(content), 0, 0, layout_id), file, 0, 10)

    def names(self) -> set[str]:
        return {one.name for one in self.store.list()}


def make_catalog_older(catalog: Catalog, age_s: float) -> None:
    with catalog._database.write() as connection:
        connection.exec_driver_sql(f"UPDATE catalog_info SET created = {time.time() - age_s}")


def make_job_older(catalog: Catalog, job: Job, age_s: float) -> None:
    with catalog._database.write() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET updated = {time.time() - age_s} WHERE id = {job.id}")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(DirectoryStore(tmp_path), Catalog(tmp_path / "catalog.sqlite"))
    make_catalog_older(site.catalog, 100 * DAY_S)
    return site


def test_an_empty_site_has_no_garbage(site: Site) -> None:
    garbage = collect_garbage(site.catalog, site.store)
    assert (garbage.objects, garbage.bytes, garbage.kept_objects, garbage.jobs) == (0, 0, 0, ())


def test_what_a_version_uses_stays(site: Site) -> None:
    part = site.partition(b"events")
    tree = MetaTree("Runs", part.file, ObjectInfo(site.put(b"runs"), 4, 0, 0, 0))
    site.catalog.commit_version("dy", SCHEMA, [part], trees=[tree])
    assert collect_garbage(site.catalog, site.store, grace_s=0).objects == 0
    assert site.names() == {part.object.name, tree.object.name}


def test_what_nothing_uses_goes(site: Site) -> None:
    part = site.partition(b"events")
    site.catalog.commit_version("dy", SCHEMA, [part])
    site.put(b"orphan")
    garbage = collect_garbage(site.catalog, site.store)
    assert (garbage.objects, garbage.bytes, garbage.kept_objects) == (1, 6, 0)
    assert site.names() == {part.object.name}


def test_dropping_versions_frees_only_what_no_other_uses(site: Site) -> None:
    shared, alone = site.partition(b"shared"), site.partition(b"alone")
    site.catalog.commit_version("dy", SCHEMA, [shared, alone])
    site.catalog.commit_version("dy", SCHEMA, [shared])
    site.catalog.drop_version("dy", 1)
    collect_garbage(site.catalog, site.store)
    assert site.names() == {shared.object.name}
    site.catalog.drop_dataset("dy")
    collect_garbage(site.catalog, site.store)
    assert site.names() == set()


@pytest.mark.parametrize(("age_s", "removed"), [(GRACE_S - 60, 0), (GRACE_S + 60, 1)])
def test_young_objects_stay(site: Site, age_s: float, removed: int) -> None:
    site.put(b"just made", age_s)
    garbage = collect_garbage(site.catalog, site.store)
    assert (garbage.objects, garbage.kept_objects) == (removed, 1 - removed)


def test_what_a_running_job_recorded_stays_however_old(site: Site) -> None:
    job = site.catalog.begin_job("dy", "key")
    part = site.partition(b"events")
    tree = MetaTree("Runs", part.file, ObjectInfo(site.put(b"runs"), 4, 0, 0, 0))
    site.catalog.record_partition(job, part)
    site.catalog.record_tree(job, tree)
    garbage = collect_garbage(site.catalog, site.store, grace_s=0)
    assert (garbage.objects, garbage.jobs) == (0, ())
    assert site.names() == {part.object.name, tree.object.name}
    assert site.catalog.job_partitions(job) == [part]


@pytest.mark.parametrize(("age_s", "given_up"), [(JOB_GRACE_S - 60, False), (JOB_GRACE_S + 60, True)])
def test_a_job_that_nobody_goes_on_with_is_given_up(site: Site, age_s: float, given_up: bool) -> None:
    job = site.catalog.begin_job("dy", "key")
    site.catalog.record_partition(job, site.partition(b"events"))
    make_job_older(site.catalog, job, age_s)
    garbage = collect_garbage(site.catalog, site.store)
    assert [one.key for one in garbage.jobs] == (["key"] if given_up else [])
    assert bool(site.names()) is not given_up
    assert bool(site.catalog.jobs()) is not given_up


def test_a_dry_run_says_the_same_and_changes_nothing(site: Site) -> None:
    job = site.catalog.begin_job("tt", "key")
    site.catalog.record_partition(job, site.partition(b"recorded"))
    make_job_older(site.catalog, job, JOB_GRACE_S + 60)
    site.catalog.commit_version("dy", SCHEMA, [site.partition(b"dropped")])
    site.catalog.drop_dataset("dy")
    site.put(b"orphan")
    site.put(b"young", 0)
    (site.store.path / "unfinished" / "x").write_bytes(b"1")
    os.utime(site.store.path / "unfinished" / "x", (0, 0))
    before = sorted(site.store.list())

    dry = collect_garbage(site.catalog, site.store, dry_run=True)
    assert sorted(site.store.list()) == before
    assert [one.key for one in site.catalog.jobs()] == ["key"]

    real = collect_garbage(site.catalog, site.store)
    assert (
        (dry.objects, dry.bytes, dry.kept_objects)
        == (real.objects, real.bytes, real.kept_objects)
        == (3, 21, 1)
    )
    assert [one.key for one in dry.jobs] == [one.key for one in real.jobs] == ["key"]
    assert (dry.unfinished, real.unfinished) == (0, 1)


def test_objects_older_than_the_catalog_are_not_its_own(site: Site) -> None:
    """A catalog that was made anew, or opened at a wrong address, must not empty a store."""
    make_catalog_older(site.catalog, DAY_S)
    site.put(b"of another catalog", 50 * DAY_S)
    garbage = collect_garbage(site.catalog, site.store, grace_s=0)
    assert (garbage.objects, garbage.foreign_objects) == (0, 1)
    garbage = collect_garbage(site.catalog, site.store, grace_s=0, foreign=True)
    assert (garbage.objects, garbage.foreign_objects) == (1, 0)


class Interrupting(DirectoryStore):
    """A store in which something happens between the listing and the removals."""

    then: Callable[[], object]

    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        self.then()
        return super().delete(name, put_before_s)


def test_an_ingest_that_finds_its_object_there_keeps_it(site: Site) -> None:
    """The object is old and unused when listed, but an ingest relies on it before it is removed."""
    name = site.put(b"events")
    store = Interrupting(site.store.path)
    found: list[bool] = []
    store.then = lambda: found.append(site.store.put(name, b"events"))
    garbage = collect_garbage(site.catalog, store)
    assert found == [False]
    assert (garbage.objects, garbage.kept_objects) == (0, 1)
    assert site.store.exists(name)


@pytest.mark.slow
def test_ingests_and_collections_at_once_lose_nothing(site: Site) -> None:
    """Four contents are made, committed, dropped and collected again and again.

    The grace covers the time from put to commit; a turn that took longer on a busy machine tells
    nothing.
    """
    grace_s = 0.3
    stop = threading.Event()
    failures: list[str] = []

    def ingest(number: int) -> None:
        content = b"content %d" % (number % 4)
        name = hashlib.sha256(content).hexdigest()
        layout_id = site.catalog.add_layout(["MET_pt"])
        file = FileInfo(f"{number}.root", "", "Events", 10, 100)
        part = NewPartition(10, ObjectInfo(name, len(content), 0, 0, layout_id), file, 0, 10)
        for _ in range(10):
            put_s = time.monotonic()
            site.store.put(name, content)
            site.catalog.commit_version(f"dy{number}", SCHEMA, [part])
            in_time = time.monotonic() - put_s < grace_s * 0.9
            if in_time and not site.store.exists(name):
                failures.append(name)
            site.catalog.drop_dataset(f"dy{number}")

    def collect() -> None:
        while not stop.is_set():
            collect_garbage(site.catalog, site.store, grace_s=grace_s)

    collector = threading.Thread(target=collect)
    writers = [threading.Thread(target=ingest, args=(number,)) for number in range(6)]
    for thread in (collector, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    collector.join()
    assert failures == []


@pytest.mark.parametrize("which", ["grace_s", "job_grace_s"])
def test_a_negative_grace_is_refused(site: Site, which: str) -> None:
    """It would remove what is being written."""
    with pytest.raises(InvalidRequest, match="-1 seconds"):
        collect_garbage(site.catalog, site.store, **{which: -1})  # type: ignore[arg-type]


def test_a_failed_collection_can_be_repeated(site: Site) -> None:
    for i in range(3):
        site.put(b"orphan %d" % i)
    store = Interrupting(site.store.path)
    calls = iter([None])

    def fail_at_the_second() -> None:
        if next(calls, "over") == "over":
            raise StoreError("the store is away")

    store.then = fail_at_the_second
    with pytest.raises(StoreError, match="away"):
        collect_garbage(site.catalog, store)
    assert len(site.names()) == 2
    assert collect_garbage(site.catalog, site.store).objects == 2


def test_a_query_of_a_dropped_version_finds_nothing(site: Site) -> None:
    part = site.partition(b"events")
    version = site.catalog.commit_version("dy", SCHEMA, [part])
    site.catalog.drop_dataset("dy")
    collect_garbage(site.catalog, site.store)
    with pytest.raises(NotFound):
        site.catalog.partitions(version)
    with pytest.raises(NotFound):
        site.store.read_object(part.object.name)
