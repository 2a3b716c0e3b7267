"""Processes that answer beside a service: right, replaced when they are lost, gone when nobody needs them."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import awkward as ak
import pytest
from service_fixture import RunningService
from waiting import wait_until

import skyhook_casa
from skyhook_casa.errors import SkyhookError
from skyhook_client import Client

pytest.importorskip("distributed")
from skyhook_server import query_processes
from skyhook_server.query_processes import QueryProcesses
from skyhook_server.settings import Settings

pytestmark = pytest.mark.slow

THREADS = 16
numbers = itertools.count()


@pytest.fixture(scope="module")
def stored(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    client = skyhook_casa.connect(tmp_path_factory.mktemp("processes") / "store")
    client.ingest("one", nano_file, workers=1)
    return client


class Busy:
    """A service, and so many different questions at the same time that it starts processes.

    Parameters
    ----------
    stored : Client
        What it serves.
    """

    def __init__(self, stored: Client, processes: int) -> None:
        self.stored = stored
        self.running_service = RunningService(stored, workers=2, query_processes=processes)
        self.client = skyhook_casa.connect(self.running_service.address, progress=False)
        self.engine = self.running_service.service.engine

    def close(self) -> None:
        self.client.close()
        self.running_service.stop()

    @property
    def running(self) -> set[int]:
        """Process ids."""
        return set(self.engine.query_processes.pids)

    def ask(self, number: int) -> None:
        """Ask what nobody asked, and compare."""
        found, expected = (
            client.query("one", ["MET_pt", "Muon_pt"], f"MET_pt > {20 + number / 1e6}", limit=1 + number % 7)
            for client in (self.client, self.stored)
        )
        assert ak.array_equal(found.to_awkward(), expected.to_awkward(), dtype_exact=True)
        assert found.report.cutflow == expected.report.cutflow
        assert found.report.splits_cached == 0

    def ask_many(self) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(self.ask, itertools.islice(numbers, 10 * THREADS)))

    def until(self, processes: int) -> set[int]:
        """Ask until so many processes run, and return their ids."""

        def run() -> set[int] | None:
            life = self.engine.query_processes._life
            if life is None or not life.is_alive():
                self.ask_many()
            running = self.running
            return running if len(running) == processes else None

        found: set[int] = wait_until(run, f"{processes} processes run")
        return found


@pytest.fixture(scope="module")
def busy(stored: Client) -> Iterator[Busy]:
    """A service with two processes."""
    service = Busy(stored, 2)
    service.until(2)
    yield service
    service.close()


@pytest.fixture
def failing(stored: Client) -> Iterator[Busy]:
    """A service whose processes may be ended."""
    service = Busy(stored, 2)
    yield service
    service.close()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_many_different_questions_are_answered_by_processes_that_end_with_the_service(
    stored: Client,
) -> None:
    service = Busy(stored, 2)
    try:
        assert service.running == set()
        running = service.until(2)
        before = service.engine.metrics.cache_misses._value.get()
        service.ask_many()
        assert service.running == running
        assert service.engine.metrics.cache_misses._value.get() == before + 10 * THREADS
    finally:
        service.close()
    wait_until(lambda: all(map(is_gone, running)), "they are gone")


def test_a_question_that_is_asked_again_is_kept_by_the_service(busy: Busy) -> None:
    expected = busy.stored.query("one", ["MET_pt"], "MET_pt > 31.5", limit=3).to_awkward()

    cached = []
    for _ in range(4):
        query = busy.client.query("one", ["MET_pt"], "MET_pt > 31.5", limit=3)
        assert ak.array_equal(query.to_awkward(), expected, dtype_exact=True)
        cached.append(query.report.splits_cached)

    assert cached == [0, 0, 1, 1]


def test_counts_and_histograms_come_from_processes_too(busy: Busy) -> None:
    found, expected = (
        client.query("one", ["MET_pt"], "MET_pt > 31.25") for client in (busy.client, busy.stored)
    )

    splits = busy.engine.metrics.splits.labels("direct")._value
    before = splits.get()
    assert found.count() == expected.count()
    assert splits.get() == before + 1
    assert found.hist("MET_pt", bins=10, range=(0, 100)) == expected.hist("MET_pt", bins=10, range=(0, 100))


def test_errors_are_those_of_the_service(busy: Busy) -> None:
    for asked in (["no_such"], ["MET_pt"]):
        said = []
        for client in (busy.client, busy.stored):
            with pytest.raises(SkyhookError) as raised:
                client.query("one", asked, "MET_pt + ")
            said.append((type(raised.value), str(raised.value)))
        assert said[0] == said[1]


def test_a_version_that_was_made_meanwhile_is_the_one_that_is_asked(busy: Busy, nano_file: Path) -> None:
    events = busy.client.query("one", ["MET_pt"], "MET_pt > -1.5").count()

    busy.stored.ingest("one", nano_file, append=False, columns=["run", "MET_pt"], workers=1)
    try:
        query = busy.client.query("one", ["MET_pt"], "MET_pt > -1.25")
        assert query.count() == events
        assert query.report.version == 2
    finally:
        busy.stored.drop("one", 2)


def test_killed_processes_cost_no_answer_and_are_replaced(failing: Busy, monkeypatch: Any) -> None:
    monkeypatch.setattr(query_processes, "LOOK_S", 0.05)
    killed = failing.until(2)

    for pid in killed:
        with ThreadPoolExecutor(1) as thread:
            asking = thread.submit(failing.ask_many)
            os.kill(pid, signal.SIGKILL)
            asking.result()

    assert not failing.until(2) & killed
    wait_until(lambda: all(map(is_gone, killed)), "they are reaped")


def test_a_process_that_hangs_is_ended(failing: Busy, monkeypatch: Any) -> None:
    monkeypatch.setattr(query_processes, "LOOK_S", 0.05)
    hanging = failing.until(2)
    monkeypatch.setattr(query_processes, "SLOW_S", 0.5)

    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    failing.ask_many()

    wait_until(lambda: all(map(is_gone, hanging)), "they are ended")
    failing.ask_many()


def test_processes_end_when_nobody_asks_and_start_again(failing: Busy, monkeypatch: Any) -> None:
    monkeypatch.setattr(query_processes, "LOOK_S", 0.05)
    first = failing.until(2)

    with monkeypatch.context() as patched:
        patched.setattr(query_processes, "IDLE_S", 0.0)
        wait_until(lambda: all(map(is_gone, first)), "they end")

    assert failing.running == set()
    assert not failing.until(2) & first


@pytest.mark.parametrize(("store", "wanted"), [("directory", 0), ("memory", 2)])
def test_none_are_started_if_none_are_wanted_or_could_read(
    store: str, wanted: int, stored: Client, nano_file: Path
) -> None:
    """What lies in the memory of the service no other process has."""
    if store == "memory":
        stored = skyhook_casa.connect("memory://")
        stored.ingest("one", nano_file, workers=1)
    service = Busy(stored, wanted)
    try:
        for _ in range(3):
            service.ask_many()
        assert service.running == set()
    finally:
        service.close()


def test_a_process_that_cannot_start_leaves_the_work_to_the_service(
    stored: Client, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(query_processes.sys, "executable", "/no/such/python")
    service = Busy(stored, 2)
    try:
        for _ in range(3):
            service.ask_many()
        wait_until(lambda: "query_process_not_started" in caplog.text, "it is told")
        service.ask_many()
        assert service.running == set()
    finally:
        service.close()


def test_questions_are_remembered_up_to_a_limit(monkeypatch: Any) -> None:
    from skyhook_casa.protocol import delivery_pb2 as pb

    monkeypatch.setattr(query_processes, "SEEN_MAX", 3)
    processes = QueryProcesses(Settings(), 1)
    starts = [pb.QueryStart(query=str(number)) for number in range(4)]

    assert processes.take(starts[0]) is None
    processes._running.append(object())  # type: ignore[arg-type]
    asked = [one.SerializeToString() for one in starts]
    assert [processes.take(one) for one in starts[:3]] == asked[:3]
    assert [processes.take(one) for one in starts[:3]] == [None] * 3
    assert processes.take(starts[3]) == asked[3]
    assert [processes.take(one) for one in (*starts[1:], starts[0])] == [None] * 3 + asked[:1]
