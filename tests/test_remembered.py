"""A catalog that remembers tells what is, whoever changed it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from ingest_helpers import write_root

import skyhook_casa
from skyhook_casa.catalog import Catalog, DatasetVersion, FileInfo, NewPartition, ObjectInfo
from skyhook_casa.catalog.database import close_all
from skyhook_casa.catalog.remembered import REMEMBERED_MAX, RememberingCatalog
from skyhook_casa.errors import NotFound
from skyhook_casa.schema import Column, Schema
from skyhook_client import Client

SCHEMA = Schema({"x": Column("x", "float32")}, {})


def commit(path: Path, parts: int = 1) -> None:
    """Commit a version of `dy`, as another user of the catalog."""
    catalog = Catalog(path)
    layout_id = catalog.add_layout(["x"])
    file = FileInfo("a.root", "a", "Events", 10 * parts, 100)
    stored = [ObjectInfo(f"{number:064x}", 1000, 100, 900, layout_id) for number in range(parts)]
    catalog.commit_version(
        "dy", SCHEMA, [NewPartition(10, one, file, 10 * n, 10 * n + 10) for n, one in enumerate(stored)]
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.sqlite"
    commit(path, 3)
    return path


def selects(catalog: Catalog, ask: Callable[[], object]) -> int:
    """How often the database is asked."""
    found: list[str] = []
    engine = catalog._database.engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return len(found)


def look(catalog: Catalog) -> DatasetVersion:
    version = catalog.version("dy")
    assert len(catalog.partitions(version)) == version.partitions
    return version


def test_what_nobody_changed_is_looked_up_once(path: Path) -> None:
    catalog = RememberingCatalog(path)
    assert selects(catalog, lambda: look(catalog)) > 0
    assert selects(catalog, lambda: look(catalog)) == 0


def test_a_commit_of_this_process_is_seen(path: Path) -> None:
    catalog = RememberingCatalog(path)
    for number in range(1, 4):
        assert look(catalog).number == number
        commit(path, number)


def test_a_commit_of_another_process_is_seen(path: Path) -> None:
    catalog = RememberingCatalog(path)
    assert look(catalog).number == 1
    other = multiprocessing.get_context("spawn").Process(target=commit, args=(path, 5))
    other.start()
    other.join()
    assert other.exitcode == 0
    assert (look(catalog).number, look(catalog).partitions) == (2, 5)


def test_what_was_dropped_is_gone(path: Path) -> None:
    catalog = RememberingCatalog(path)
    version = look(catalog)
    Catalog(path).drop_dataset("dy")
    with pytest.raises(NotFound):
        catalog.version("dy")
    with pytest.raises(NotFound, match="dropped"):
        catalog.partitions(version)


def test_a_commit_between_two_connections_is_seen(path: Path) -> None:
    """Each connection counts commits from its own beginning: the same number may come again."""
    catalog = RememberingCatalog(path)
    for number in range(1, 4):
        assert look(catalog).number == number
        close_all()
        catalog._database.close()
        commit(path)


def _sees(catalog: Catalog, number: int, done: int) -> None:
    commit(Path(catalog.url), done)
    assert (look(catalog).number, look(catalog).partitions) == (number, done)


def test_a_forked_child_sees_what_was_committed_since(path: Path) -> None:
    catalog = RememberingCatalog(path)
    for number in range(1, 4):
        assert look(catalog).number == number
        child = multiprocessing.get_context("fork").Process(target=_sees, args=(catalog, number + 1, number))
        child.start()
        child.join()
        assert child.exitcode == 0


def test_a_forked_child_can_look_though_a_thread_looked(path: Path) -> None:
    """Nobody lets go of a lock that another thread of its parent held."""
    catalog = RememberingCatalog(path)
    look(catalog)
    with catalog._lock:
        child = multiprocessing.get_context("fork").Process(target=look, args=(catalog,))
        child.start()
    child.join(60)
    if child.exitcode is None:
        child.kill()
        child.join()
    assert child.exitcode == 0


def test_only_so_much_is_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REMEMBERED_MAX < 1_000_000
    monkeypatch.setattr("skyhook_casa.catalog.remembered.REMEMBERED_MAX", 3)
    catalog = RememberingCatalog(path)
    assert len(catalog.partitions(look(catalog))) == 3
    assert selects(catalog, lambda: catalog.partitions(catalog.version("dy"))) > 0, "four rows are too many"
    assert selects(catalog, lambda: catalog.version("dy")) == 0


def test_in_memory_nothing_is_remembered_or_missed() -> None:
    catalog = RememberingCatalog("memory://")
    layout_id = catalog.add_layout(["x"])
    for number in range(1, 3):
        one = ObjectInfo("0" * 64, 1000, 100, 900, layout_id)
        part = NewPartition(10, one, FileInfo("a.root", "a", "Events", 10, 100), 0, 10)
        catalog.commit_version("dy", SCHEMA, [part])
        assert look(catalog).number == number


def test_an_embedded_client_plans_from_what_it_knows_and_sees_what_others_ingest(tmp_path: Path) -> None:
    one, other = (skyhook_casa.connect(tmp_path / "store", progress=False) for _ in range(2))
    other.ingest("dy", write_root(tmp_path / "a.root", 50), workers=1)

    def ask(client: Client) -> int:
        return client.query("dy", ["MET_pt"], "MET_pt > -1").count()

    assert ask(one) == 50
    assert selects(one.catalog, lambda: ask(one)) == 0
    other.ingest("dy", write_root(tmp_path / "b.root", 30), workers=1)
    assert (ask(one), ask(other)) == (80, 80)
    other.drop("dy")
    with pytest.raises(NotFound):
        ask(one)
