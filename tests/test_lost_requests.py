"""Requests that do not come back from the storage: read instead, and never sent again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import pytest
from ingest_helpers import write_root

from skyhook_casa.errors import ClassMissing, RequestLost
from skyhook_casa.execution import LOSSES_MAX
from skyhook_casa.stores import MemoryStore, osd_processes
from skyhook_casa.stores.osd_processes import FRESH_S, OBJECTS_MAX, OsdProcesses, process_of
from skyhook_client import Client, connect

COLUMNS = ["event", "Jet_pt"]
CUT = "MET_pt > 10"


class Losing(MemoryStore):
    """Loses the calls of the object class whose numbers, from 0, `lost` names."""

    def __init__(self) -> None:
        super().__init__(runs_class=True)
        self.lost: Callable[[int], bool] = lambda _: False
        self.calls: list[bytes] = []
        self.running = self.running_max = 0
        self._counting = threading.Lock()

    def execute(self, name: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        with self._counting:
            number = len(self.calls)
            self.calls.append(request + name.encode())
            self.running += 1
            if number == 0:
                self.running_max = 0
            self.running_max = max(self.running_max, self.running)
        try:
            if self.lost(number):
                time.sleep(0.05)
                raise RequestLost("the OSD is gone")
            return super().execute(name, method, request, reply_bytes_max)
        finally:
            with self._counting:
                self.running -= 1


@pytest.fixture
def store() -> Losing:
    return Losing()


@pytest.fixture
def client(store: Losing, tmp_path: Path) -> Client:
    client = connect(store, catalog="memory://", threads=4, progress=False)
    path = write_root(tmp_path / "a.root", 20_000, basket=500)
    client.ingest("x", path, partition_bytes=65_536, chunk_events=250, workers=1)
    return client


@pytest.fixture
def expected(client: Client) -> ak.Array:
    return client.query("x", COLUMNS, CUT, execution="read").to_awkward()


@pytest.mark.parametrize("execution", ["pushdown", "auto"])
def test_a_first_request_that_is_lost_is_the_only_one(
    client: Client, store: Losing, expected: ak.Array, execution: str
) -> None:
    """Each request of other threads might end an OSD too."""
    store.lost = lambda _: True
    query = client.query("x", COLUMNS, CUT, execution=execution)

    found = query.to_awkward()

    assert ak.array_equal(found, expected)
    assert len(store.calls) == 1
    assert query.report.partitions_pushed == 0
    assert query.report.reason.startswith("pushing down failed: the OSD is gone; ")


@pytest.mark.parametrize("execution", ["pushdown", "auto"])
def test_a_later_loss_costs_its_part_only(
    client: Client, store: Losing, expected: ak.Array, execution: str
) -> None:
    """OSDs end for other reasons too."""
    store.lost = lambda number: number == 3
    query = client.query("x", COLUMNS, CUT, execution=execution)

    found = query.to_awkward()

    assert ak.array_equal(found, expected)
    assert query.report.partitions_pushed == query.report.partitions_planned - 1
    assert len(set(store.calls)) == len(store.calls)


@pytest.mark.parametrize("losses", [LOSSES_MAX, LOSSES_MAX + 1])
def test_after_several_losses_all_is_read(
    client: Client, store: Losing, expected: ak.Array, losses: int
) -> None:
    store.lost = lambda number: 1 <= number <= losses
    client.backend.threads = 1
    query = client.query("x", COLUMNS, CUT, execution="pushdown")

    assert ak.array_equal(query.to_awkward(), expected)

    gave_up = query.report.reason.startswith("pushing down failed")
    assert gave_up == (losses > LOSSES_MAX)
    assert len(store.calls) == (1 + losses if gave_up else query.report.partitions_planned)


def test_a_lost_part_is_not_pushed_again_where_it_goes_on(
    client: Client, store: Losing, expected: ak.Array
) -> None:
    """In a stream a part takes several calls; after a loss the rest of it is read."""
    store.lost = lambda number: number == 3
    query = client.query("x", COLUMNS, CUT, execution="pushdown")
    parts = list(query.batches(batch_bytes=1_000))
    assert ak.array_equal(ak.concatenate([ak.from_arrow(batch) for batch in parts]), expected)
    assert len(set(store.calls)) == len(store.calls)


def test_the_first_request_runs_alone_and_later_ones_together(client: Client, store: Losing) -> None:
    first, together = threading.Event(), threading.Event()
    ran_beside: list[int] = []

    def lost(number: int) -> bool:
        if number == 0:
            time.sleep(0.1)
            ran_beside.append(store.running)
            first.set()
        else:
            assert first.is_set()
            if store.running > 1:
                together.set()
            assert together.wait(60)
        return False

    store.lost = lost
    client.query("x", COLUMNS, CUT, execution="pushdown").to_awkward()
    assert ran_beside == [1]
    assert store.running_max > 1


# -- who has an object ----------------------------------------------------------------------------
def test_a_process_is_known_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """On both sides of that moment's end."""
    now = [100.0]
    monkeypatch.setattr(osd_processes.time, "monotonic", lambda: now[0])
    processes = OsdProcesses()
    assert processes.of("a") is None
    processes.answered("a", 7)
    now[0] += FRESH_S - 0.01
    assert processes.of("a") == 7
    assert processes.of("b") is None
    now[0] += 0.01
    assert processes.of("a") is None


def test_a_process_that_did_not_answer_is_forgotten() -> None:
    processes = OsdProcesses()
    processes.answered("a", 7)
    processes.forget("a")
    processes.forget("a")
    assert processes.of("a") is None


def test_objects_are_remembered_up_to_a_number() -> None:
    """A process that lives long asks about many."""
    processes = OsdProcesses()
    for number in range(OBJECTS_MAX):
        processes.answered(f"o{number}", 1)
    assert processes.of("o0") == 1
    processes.answered("one more", 2)
    assert (processes.of("o0"), processes.of("one more")) == (None, 2)


def test_the_number_of_a_process_is_found_in_its_answer() -> None:
    assert process_of(b"skyhook_casa wire 1 process 18446744073709551615") == (2**64 - 1, frozenset())
    with pytest.raises(ClassMissing, match="another version"):
        process_of(b"skyhook_casa wire 1")


def test_what_a_process_can_do_is_found_in_its_answer() -> None:
    """The first classes did not tell: they can do none of it."""
    processes = OsdProcesses()
    assert processes.told(b"skyhook_casa wire 1 process 7 can select dance") == 7
    assert processes.told(b"skyhook_casa wire 1 process 8") == 8
    assert [processes.can(process, "select") for process in (7, 8, 9)] == [True, False, False]
    assert processes.can(7, "dance")
