"""Where catalogs of tests live: a SQLite file, and a PostgreSQL server if the machine has one."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from waiting import wait_until

from skyhook_casa.catalog import Catalog
from skyhook_casa.catalog.tables import metadata


def postgres_programs() -> Path | None:
    """The newest PostgreSQL of this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: path.parts[-3])
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a new PostgreSQL server on a socket of its own."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("the program `postgres` is not installed")
    user = "postgres" if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="skyhook-postgres-"))
    try:
        if user is not None:
            shutil.chown(place, user)
        initdb = [programs / "initdb", "-D", place / "data", "-U", "skyhook", "-A", "trust", "--no-sync"]
        made = subprocess.run(initdb, user=user, cwd="/", capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"initdb failed: {made.stderr[-300:]}")
        command = [programs / "postgres", "-D", place / "data", "-k", place, "-c", "listen_addresses=", "-F"]
        with subprocess.Popen(command, user=user, cwd="/", stderr=subprocess.DEVNULL) as server:
            try:
                yield _when_it_runs(f"postgresql+psycopg://skyhook@/postgres?host={place}")
            finally:
                server.send_signal(signal.SIGQUIT)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _when_it_runs(url: str) -> str:
    engine = sa.create_engine(url)

    def answers() -> bool:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            return False
        return True

    wait_until(answers, "PostgreSQL answers")
    engine.dispose()
    return url


_numbers = itertools.count()


def new_postgres_schema(server: str) -> str:
    """Make a schema, for one catalog, in a PostgreSQL server; return its address."""
    name = f"test{next(_numbers)}"
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    engine.dispose()
    return f"{server}&options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def postgres_catalog(postgres: str) -> str:
    """The address of a catalog that tests share one after the other: making tables takes long."""
    return new_postgres_schema(postgres)


def _empty(address: str) -> str:
    """Make the catalog at `address` as good as new."""
    with Catalog(address)._database.write() as connection:
        names = ", ".join(table.name for table in metadata.sorted_tables if table.name != "catalog_info")
        connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
    return address


BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=BACKENDS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty catalog is, or can be made."""
    if request.param == "sqlite":
        return str(tmp_path / "store" / "catalog.sqlite")
    return _empty(request.getfixturevalue("postgres_catalog"))


@pytest.fixture(params=BACKENDS)
def new_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a catalog can be made."""
    if request.param == "sqlite":
        return str(tmp_path / "store" / "catalog.sqlite")
    return new_postgres_schema(request.getfixturevalue("postgres"))
