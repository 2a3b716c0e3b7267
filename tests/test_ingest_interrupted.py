"""Ingests that are killed, or find no room: the dataset is the old version or the new one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ingest_helpers import assert_equal, by_uproot, read_back, write_root
from typing_extensions import Buffer
from waiting import wait_until

from skyhook_casa.catalog import Catalog
from skyhook_casa.errors import IngestError, NotFound, StoreError
from skyhook_casa.ingest import IngestReport, ingest, run
from skyhook_casa.stores import DirectoryStore, MemoryStore

SCRIPT = """
import sys
from skyhook_casa.catalog import Catalog
from skyhook_casa.ingest import ingest
from skyhook_casa.stores import DirectoryStore

left = int(sys.argv[5])

def show(done, total):
    global left
    print(done, flush=True)
    left -= 1
    if left == 0:
        sys.stdin.read()  # until it is killed

if __name__ == "__main__":
    catalog, store, path, workers = sys.argv[1:5]
    ingest(Catalog(catalog), DirectoryStore(store), "dy", path, workers=int(workers), progress=show,
           partition_bytes=65_536, chunk_events=250)
"""


def objects(catalog: Catalog) -> list[str]:
    return [p.object.name for p in catalog.partitions(catalog.version("dy"))]


def run_again(catalog: Catalog, store: DirectoryStore, path: Path) -> IngestReport:
    return ingest(catalog, store, "dy", path, workers=1, partition_bytes=65_536, chunk_events=250)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_root(tmp_path / "a.root", 12_000, basket=3000)


@pytest.fixture
def undisturbed(tmp_path: Path, path: Path) -> list[str]:
    """The objects of an ingest that nothing disturbs."""
    catalog = Catalog(tmp_path / "whole" / "catalog.sqlite")
    run_again(catalog, DirectoryStore(tmp_path / "whole"), path)
    return objects(catalog)


def start(tmp_path: Path, path: Path, workers: int = 1, lines: int = 0) -> subprocess.Popen[str]:
    """Begin an ingest that tells its progress, and stands still after so many lines, if any."""
    script = tmp_path / "ingest_script.py"
    script.write_text(SCRIPT)
    catalog, store = tmp_path / "store" / "catalog.sqlite", tmp_path / "store"
    arguments = [sys.executable, str(script), str(catalog), str(store), str(path), str(workers), str(lines)]
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def start_and_kill(tmp_path: Path, path: Path, lines: int) -> None:
    """Begin an ingest and kill it when it has told so many lines."""
    process = start(tmp_path, path, lines=lines)
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline()
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_killed_ingest_is_resumed_where_it_was(
    tmp_path: Path, path: Path, undisturbed: list[str], steps: int
) -> None:
    """What was made before the kill is made no second time, and the result is the same."""
    start_and_kill(tmp_path, path, steps + 1)
    catalog = Catalog(tmp_path / "store" / "catalog.sqlite")
    with pytest.raises(NotFound):
        catalog.version("dy")

    report = run_again(catalog, DirectoryStore(tmp_path / "store"), path)

    assert report.partitions_reused >= steps
    assert report.partitions_made + report.partitions_reused == len(undisturbed)
    assert objects(catalog) == undisturbed


@pytest.mark.slow
def test_an_ingest_killed_at_any_moment_leaves_the_old_version_or_the_new(
    tmp_path: Path, path: Path, undisturbed: list[str]
) -> None:
    """Kills come ever later, until one comes too late."""
    catalog_path, store = tmp_path / "store" / "catalog.sqlite", DirectoryStore(tmp_path / "store")
    finished = False
    for attempt in range(40):
        process = start(tmp_path, path)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.01 * attempt**1.5)
        process.kill()
        process.communicate()
        finished = process.returncode == 0
        if catalog_path.exists():
            catalog = Catalog(catalog_path)
            try:
                assert objects(catalog) == undisturbed
            except NotFound:
                assert not finished
            else:
                break
    catalog = Catalog(catalog_path)
    if not catalog.datasets():
        run_again(catalog, store, path)
    assert objects(catalog) == undisturbed
    assert_equal(read_back(catalog, store, catalog.version("dy")), by_uproot(path))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_end_when_their_ingest_is_killed(tmp_path: Path, path: Path) -> None:
    process = start(tmp_path, path, workers=2, lines=1)
    assert process.stdout is not None
    process.stdout.readline()
    workers = wait_until(lambda: children(process.pid), "it has workers")

    process.kill()
    process.communicate()

    wait_until(
        lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and cmdline(pid) for pid in workers),
        "the workers end",
    )


def children(parent: int) -> list[int]:
    """Processes started by a process."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def cmdline(pid: int) -> str:
    """A process's command; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.slow
def test_an_object_that_is_gone_is_made_again(tmp_path: Path, path: Path, undisturbed: list[str]) -> None:
    start_and_kill(tmp_path, path, 4)
    store = DirectoryStore(tmp_path / "store")
    assert store.delete(undisturbed[0])

    run_again(Catalog(tmp_path / "store" / "catalog.sqlite"), store, path)

    assert all(store.exists(name) for name in undisturbed)


@pytest.mark.slow
def test_other_options_begin_another_job(tmp_path: Path, path: Path) -> None:
    """What a killed ingest made with other options does not fit and is not taken."""
    start_and_kill(tmp_path, path, 3)
    catalog, store = Catalog(tmp_path / "store" / "catalog.sqlite"), DirectoryStore(tmp_path / "store")

    report = ingest(catalog, store, "dy", path, workers=1, codec="zstd")

    assert report.partitions_reused == 0
    assert_equal(read_back(catalog, store, catalog.version("dy")), by_uproot(path))


class FullStore(MemoryStore):
    """A store that has room for some objects."""

    def __init__(self, objects: int) -> None:
        super().__init__()
        self.room = objects

    def put(self, name: str, data: Buffer) -> bool:
        """Store until the room is used up."""
        if self.room == 0:
            raise StoreError("the disk is full")
        self.room -= 1
        return super().put(name, data)


def test_a_full_store_leaves_the_dataset_as_it_was(
    tmp_path: Path, path: Path, undisturbed: list[str]
) -> None:
    catalog, store = Catalog(tmp_path / "catalog.sqlite"), FullStore(2)
    with pytest.raises(StoreError, match="full"):
        ingest(catalog, store, "dy", path, partition_bytes=65_536, chunk_events=250)
    assert catalog.datasets() == []
    store.room = 1000

    report = ingest(catalog, store, "dy", path, partition_bytes=65_536, chunk_events=250)

    assert report.partitions_reused == 2
    assert objects(catalog) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a small file system here: {mount.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not Path("/bin/mount").exists(), reason="no mount program")
def test_a_full_disk_is_named_and_more_room_goes_on(
    tmp_path: Path, path: Path, small_disk: Path, undisturbed: list[str]
) -> None:
    catalog, store = Catalog(tmp_path / "catalog.sqlite"), DirectoryStore(small_disk / "store")
    with pytest.raises(StoreError, match=r"disk of .* is full"):
        run_again(catalog, store, path)
    assert catalog.datasets() == []
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)

    report = run_again(catalog, store, path)

    assert report.partitions_reused > 0
    assert objects(catalog) == undisturbed


@pytest.mark.slow
def test_a_full_disk_in_a_worker_process_is_named(tmp_path: Path, path: Path, small_disk: Path) -> None:
    catalog, store = Catalog(tmp_path / "catalog.sqlite"), DirectoryStore(small_disk / "store")

    with pytest.raises(StoreError, match=r"disk of .* is full"):
        ingest(catalog, store, "dy", path, workers=2, partition_bytes=65_536, chunk_events=250)


@pytest.mark.slow
def test_a_file_replaced_during_the_ingest_is_noticed(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events would be mixed with those of the file that was inspected."""
    inspect = run.inspect

    def inspect_and_replace(*arguments: object) -> object:
        facts = inspect(*arguments)  # type: ignore[arg-type]
        write_root(tmp_path / "b.root", 12_000, 9)
        (tmp_path / "b.root").replace(path)
        return facts

    monkeypatch.setattr(run, "inspect", inspect_and_replace)

    with pytest.raises(IngestError, match=r"a\.root was replaced during the ingest"):
        ingest(Catalog(tmp_path / "catalog.sqlite"), DirectoryStore(tmp_path / "s"), "dy", path, workers=2)
