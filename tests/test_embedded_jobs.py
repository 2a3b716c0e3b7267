"""Ingest jobs of a store that this process opens itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingest_helpers import write_root

import skyhook_casa
from skyhook_casa.errors import InvalidRequest, NotFound
from skyhook_client import Client


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A store with a job that is done and one that was interrupted."""
    client = skyhook_casa.connect("memory://")
    client.ingest("x", write_root(tmp_path / "a.root", events=30))
    client.catalog.begin_job("y", "k" * 64)
    return client


def test_jobs_are_listed(client: Client) -> None:
    done, interrupted = client.jobs()
    assert (done.dataset, done.state, done.version) == ("x", "done", 1)
    assert (done.files, done.events, done.events_done) == (1, 30, 30)
    assert (interrupted.dataset, interrupted.state, interrupted.version) == ("y", "running", None)
    assert skyhook_casa.connect("memory://").jobs() == []


def test_an_interrupted_job_can_be_given_up(client: Client) -> None:
    done, interrupted = client.jobs()
    assert interrupted.cancel().state == "cancelled"
    assert client.jobs() == [done]
    with pytest.raises(NotFound, match="no ingest job"):
        interrupted.cancel()
    with pytest.raises(InvalidRequest, match="is done; only a running one"):
        done.cancel()


def test_a_job_is_run_again_by_calling_ingest(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="call ingest again with the same files"):
        client.jobs()[1].retry()
