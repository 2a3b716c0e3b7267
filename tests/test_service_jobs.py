"""What the catalog remembers of ingests that a service was asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from skyhook_casa.catalog import Catalog, service_jobs
from skyhook_casa.catalog import database as database_module
from skyhook_casa.catalog.tables import ADDED, SCHEMA_VERSION
from skyhook_casa.errors import AlreadyExists, InvalidRequest, NotFound, QueryCancelled, ServiceBusy
from skyhook_casa.schema import Column, Schema

SCHEMA = Schema({"MET_pt": Column("MET_pt", "float32")})
LONG_S = 3600.0
OVER_S = -1.0
"""A lease that has ended already, as that of a service that was killed."""


@pytest.fixture
def catalog(address: str) -> Iterator[Catalog]:
    catalog = Catalog(address)
    yield catalog
    catalog._database.close()


def test_a_job_is_queued_until_a_service_claims_it(catalog: Catalog) -> None:
    queued = catalog.add_service_job("a", "dy", '{"files": []}')

    claimed = catalog.claim_service_job("me", LONG_S)

    assert claimed is not None
    assert (queued.state, queued.owner, queued.attempts, queued.version) == ("queued", "", 0, None)
    assert (claimed.job_id, claimed.state, claimed.owner, claimed.attempts) == ("a", "running", "me", 1)
    assert claimed.lease_until > datetime.now(UTC)
    assert claimed.updated >= queued.created
    assert catalog.claim_service_job("you", LONG_S) is None


def test_jobs_are_claimed_in_the_order_in_which_they_came(catalog: Catalog) -> None:
    for name in "bac":
        catalog.add_service_job(name, "dy", name)

    claimed = [catalog.claim_service_job("me", LONG_S) for _ in range(3)]

    assert [job.job_id for job in claimed if job] == ["b", "a", "c"]
    assert catalog.service_job_ids() == ["b", "a", "c"]
    assert catalog.count_service_jobs() == {"running": 3}


def test_a_job_whose_service_was_killed_is_claimed_by_another(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("killed", OVER_S)

    claimed = catalog.claim_service_job("next", LONG_S)

    assert claimed is not None
    assert (claimed.owner, claimed.attempts) == ("next", 2)
    assert catalog.keep_service_job("a", "killed", LONG_S, progress="lost") is None
    assert not catalog.end_service_job("a", "killed", "failed", error="lost")
    assert catalog.service_job("a") == claimed


def test_a_request_that_is_repeated_is_the_same_job(catalog: Catalog) -> None:
    """The answer to the first may have been lost on its way."""
    first = catalog.add_service_job("a", "dy", '{"files": ["x"]}')

    assert catalog.add_service_job("b", "dy", '{"files": ["x"]}') == first
    assert catalog.add_service_job("c", "dy", '{"files": ["y"]}').job_id == "c"
    catalog.cancel_service_job("a")
    assert catalog.add_service_job("d", "dy", '{"files": ["x"]}').job_id == "d"


def test_more_jobs_than_may_wait_are_refused(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_jobs, "WAITING_MAX", 2)
    catalog.add_service_job("a", "dy", "a")
    catalog.add_service_job("b", "dy", "b")

    with pytest.raises(ServiceBusy, match="2 ingest jobs are waiting"):
        catalog.add_service_job("c", "dy", "c")


def test_only_so_many_jobs_are_remembered_after_their_end(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_jobs, "_surplus", service_jobs._surplus.offset(2))
    for name in "abcd":
        catalog.add_service_job(name, "dy", name)
        catalog.cancel_service_job(name)

    catalog.add_service_job("e", "dy", "e")

    assert catalog.service_job_ids() == ["c", "d", "e"]


def test_what_became_of_a_job_is_kept(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("me", LONG_S)

    kept = catalog.keep_service_job("a", "me", LONG_S, progress="1", failures="2", skipped="3")
    catalog.end_service_job("a", "me", "failed", error="4")

    assert kept is not None
    assert (kept.progress, kept.failures, kept.skipped, kept.state) == ("1", "2", "3", "running")
    ended = catalog.service_job("a")
    assert (ended.state, ended.error, ended.owner, ended.progress) == ("failed", "4", "", "1")


def test_the_commit_of_a_version_ends_its_job(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("me", LONG_S)

    version = catalog.commit_version("dy", SCHEMA, [], job=catalog.begin_job("dy", "a"))

    done = catalog.service_job("a")
    assert (done.state, done.version, done.owner) == ("done", version.number, "")
    assert catalog.keep_service_job("a", "me", LONG_S) is None


def test_two_services_that_do_one_job_commit_one_version(catalog: Catalog) -> None:
    """One of them was stopped for longer than its lease."""
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("slow", OVER_S)
    slow = catalog.begin_job("dy", "a")
    catalog.claim_service_job("quick", LONG_S)
    catalog.commit_version("dy", SCHEMA, [], job=catalog.begin_job("dy", "a"))

    with pytest.raises(AlreadyExists, match="another run of this ingest of 'dy' made version 1"):
        catalog.commit_version("dy", SCHEMA, [], job=slow)

    assert catalog.version("dy").number == 1


def test_a_cancelled_job_commits_nothing(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("killed", OVER_S)
    job = catalog.begin_job("dy", "a")

    assert catalog.cancel_service_job("a").state == "cancelled"

    with pytest.raises(QueryCancelled, match="ingest job a is cancelled"):
        catalog.commit_version("dy", SCHEMA, [], job=job)
    with pytest.raises(NotFound):
        catalog.version("dy")


def test_the_owner_of_a_job_is_told_that_it_is_cancelled(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("me", LONG_S)

    assert catalog.cancel_service_job("a").state == "running"

    kept = catalog.keep_service_job("a", "me", LONG_S)
    assert kept is not None and kept.cancel_asked


def test_a_job_whose_service_was_killed_after_the_cancel_is_cancelled(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("me", LONG_S)
    catalog.cancel_service_job("a")
    catalog.keep_service_job("a", "me", OVER_S)

    assert catalog.claim_service_job("next", LONG_S) is None

    assert catalog.service_job("a").state == "cancelled"


def test_a_job_that_has_ended_cannot_be_cancelled(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "")
    catalog.cancel_service_job("a")

    with pytest.raises(InvalidRequest, match="a is cancelled already"):
        catalog.cancel_service_job("a")
    with pytest.raises(NotFound, match="no ingest job 'b'"):
        catalog.cancel_service_job("b")


def test_a_job_that_has_ended_is_queued_again(catalog: Catalog) -> None:
    catalog.add_service_job("a", "dy", "one")
    catalog.claim_service_job("me", LONG_S)
    catalog.end_service_job("a", "me", "failed", error="why")

    again = catalog.requeue_service_job(catalog.service_job("a"), "two")

    assert (again.state, again.request, again.error, again.attempts) == ("queued", "two", "", 0)
    with pytest.raises(InvalidRequest, match="a is queued: there is nothing to retry"):
        catalog.requeue_service_job(again, "three")


def test_a_job_that_its_service_gave_back_begins_from_nought(catalog: Catalog) -> None:
    """Attempts count services that were killed, not those that ended in order."""
    catalog.add_service_job("a", "dy", "")
    catalog.claim_service_job("me", LONG_S)

    catalog.end_service_job("a", "me", "queued")

    claimed = catalog.claim_service_job("next", LONG_S)
    assert claimed is not None
    assert claimed.attempts == 1


def test_a_catalog_of_version_1_is_upgraded_where_it_is(tmp_path: Path) -> None:
    """The file is as the first version of the tables made it."""
    path = tmp_path / "catalog.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript((Path(__file__).parent / "golden" / "catalog_v1.sql").read_text())
    old.close()

    catalog = Catalog(path, create=False)

    assert catalog.version("dy").events == 20
    unfinished = catalog.jobs()[1]
    assert [part.object.name for part in catalog.job_partitions(unfinished)] == ["3" * 64]
    assert catalog.add_service_job("a", "dy", "").state == "queued"
    database_module.close_all()
    assert Catalog(path, create=False).service_job("a").dataset == "dy"


def test_every_older_catalog_is_upgraded(new_address: str) -> None:
    Catalog(new_address).commit_version("dy", SCHEMA, [])
    database = Catalog(new_address)._database
    with database.write() as connection:
        for tables in ADDED.values():
            for table in tables:
                table.drop(connection)
        connection.execute(sa.text("UPDATE catalog_info SET schema_version = 1"))
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA user_version = 1")
    database_module.close_all()

    catalog = Catalog(new_address)

    assert catalog.version("dy").number == 1
    assert catalog.service_job_ids() == []
    with catalog._database.read() as connection:
        found = connection.execute(sa.text("SELECT schema_version FROM catalog_info")).scalar_one()
    assert found == SCHEMA_VERSION
