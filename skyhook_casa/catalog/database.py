"""Connections to the catalog's database: the only place that knows SQLite from PostgreSQL.

A process has one connection pool for each catalog. Writers of one catalog take turns, so that a
write transaction sees no other writer's changes come and go.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import QueuePool

from ..errors import AccessDenied, InvalidRequest, NotFound, StoreError
from .tables import ADDED, SCHEMA_VERSION, catalog_info, metadata

WAIT_S: Final = 60.0
"""How long a writer waits for its turn."""
DATABASES_MAX: Final = 16
"""Most catalogs whose connections a process keeps open."""

_APPLICATION_ID: Final = 0x534B5943  # "SKYC", in the header of a SQLite file
_WRITERS_LOCK: Final = 0x534B5943  # of PostgreSQL's advisory locks
_DENIED_BY_POSTGRESQL: Final = ("25006", "42501")  # a read-only transaction; no such privilege
_WRITES = {"skyhook_writes": True}


_watched = count()
"""Connections that looked for commits."""
_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """A connection pool to one catalog whose tables are there. Safe to use from many threads."""

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._counts_commits = self.is_sqlite and bool(engine.url.database)
        self._watching: Any = None
        self._watched_before = 0
        self._watching_lock = Lock()
        _databases.add(self)
        weakref.finalize(self, engine.dispose)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection for selects; on SQLite each select is a transaction of its own."""
        with self._reporting(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection inside a transaction with no other writer; commit at the end."""
        with (
            self._reporting(),
            self.engine.connect().execution_options(**_WRITES) as connection,
            connection.begin(),
        ):
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITERS_LOCK)))
            yield connection

    def insert_new(self, table: sa.Table) -> sa.Insert:
        """Return an insert that passes over rows whose key is there."""
        if self.is_sqlite:
            return sqlite.insert(table).on_conflict_do_nothing()
        return postgresql.insert(table).on_conflict_do_nothing()

    def state(self) -> int | None:
        """Return a number that every commit changes, whoever makes it, in microseconds; None on PostgreSQL.

        Source: https://www.sqlite.org/pragma.html#pragma_data_version, which counts the commits that
        one connection did not make itself: hence one that is kept for this. Numbers of different
        connections say nothing of each other, so each has a range of its own.
        """
        if not self._counts_commits:
            return None
        with self._watching_lock:
            if self._watching is None:
                self._watch()
            try:
                found: int = self._watching.dbapi_connection.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error as error:
                raise StoreError(f"catalog {self.url}: {error}") from error
            return self._watched_before + found

    def _watch(self) -> None:
        """Keep a connection that looks for commits."""
        with self._reporting():
            connection = self.engine.raw_connection()
            connection.detach()
        self._watching = connection
        self._watched_before = next(_watched) << 32

    def close(self) -> None:
        """Close idle connections; using the database opens new ones."""
        with self._watching_lock:
            watching, self._watching = self._watching, None
        if watching is not None:
            watching.close()
        self.engine.dispose()

    def forget(self) -> None:
        """Leave the connections to the parent of this process, whose they are."""
        self._watching, self._watching_lock = None, Lock()
        self.engine.dispose(close=False)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        with reporting(self.url):
            yield


@contextmanager
def reporting(url: str) -> Iterator[None]:
    """Turn the database's errors into `StoreError`, `AccessDenied` if the user may only read."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if _is_denied(error.orig):
            raise AccessDenied(f"catalog {url} is read-only for this user: {error.orig}") from error
        raise StoreError(f"catalog {url}: {error.orig}") from error
    except sa.exc.SQLAlchemyError as error:
        raise StoreError(f"catalog {url}: {error}") from error


def _is_denied(error: object) -> bool:
    """Return whether a database's error says that the user may not write."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return bool(code & 0xFF == sqlite3.SQLITE_READONLY)  # the rest says why
    return getattr(error, "sqlstate", None) in _DENIED_BY_POSTGRESQL


def open_database(address: str | os.PathLike[str], create: bool) -> Database:
    """Return the database at `address`, the one that is open already if there is one.

    Raises
    ------
    NotFound
        If there is no catalog and `create` is false.
    InvalidRequest
        If `address` is no address, or what is there is no catalog, or one of a newer version.
    StoreError
        If the database cannot be reached or is damaged.
    """
    url = _parse(address)
    if url.get_backend_name() != "sqlite":
        return _remembered((str(url),), lambda: _open_server(url, create))
    if not url.database:
        return _open_sqlite(url, create=True)
    path = Path(url.database)
    key = _file_key(path)
    if key is not None:
        return _remembered(key, lambda: _open_sqlite(url, create))
    if not create:
        raise NotFound(f"no catalog at {path}")
    made = _open_sqlite(url, create=True)
    return _remembered(_file_key(path) or (path,), lambda: made)


def _file_key(path: Path) -> tuple[object, ...] | None:
    """Return what tells a file from a later one at the same path; None if there is no file.

    An open connection keeps the file's inode from being given to another.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"cannot open catalog {path}: {error.strerror}") from error
    return path, status.st_dev, status.st_ino


def _parse(address: str | os.PathLike[str]) -> URL:
    if isinstance(address, os.PathLike) or "://" not in address:
        return URL.create("sqlite", database=str(Path(address).expanduser().absolute()))
    if address == "memory://":
        return URL.create("sqlite")
    try:
        url = make_url(address)
        name = url.get_backend_name()
    except sa.exc.ArgumentError as error:
        raise InvalidRequest(f"{address!r} is no address of a catalog: {error}") from error
    if name not in ("sqlite", "postgresql"):
        raise InvalidRequest(f"a catalog lives in SQLite or PostgreSQL, not in {name!r}")
    if name == "sqlite" and url.database:
        return url.set(database=str(Path(url.database).expanduser().absolute()))
    return url


_open_databases: OrderedDict[tuple[object, ...], Database] = OrderedDict()
_open_lock = Lock()


def _remembered(key: tuple[object, ...], opening: Any) -> Database:
    with _open_lock:
        database = _open_databases.get(key)
        if database is not None:
            _open_databases.move_to_end(key)
            return database
    opened: Database = opening()
    with _open_lock:
        kept = _open_databases.setdefault(key, opened)
        if kept is not opened:
            opened.close()
        if len(_open_databases) > DATABASES_MAX:
            _open_databases.popitem(last=False)[1].close()
    return kept


def close_all() -> None:
    """Close every idle connection; what is opened next is read from disk anew."""
    while _open_databases:
        _open_databases.popitem()[1].close()


def _forget_all() -> None:
    """In a forked child: its parent's connections are not its own, not even to close."""
    for database in list(_databases):
        database.forget()
    _open_databases.clear()


os.register_at_fork(after_in_child=_forget_all)


def _open_sqlite(url: URL, create: bool) -> Database:
    options: dict[str, Any] = {"poolclass": QueuePool}
    if not url.database:
        options |= {"pool_size": 1, "max_overflow": 0, "pool_timeout": WAIT_S}
    elif create:
        _make_parent(Path(url.database))
    engine = sa.create_engine(
        url, connect_args={"timeout": WAIT_S, "check_same_thread": False, "isolation_level": None}, **options
    )
    sa.event.listen(engine, "begin", _begin_sqlite)
    database = Database(engine, url.database or "memory://")
    try:
        with reporting(database.url):
            _check_sqlite(database, create)
    except BaseException:
        database.close()
        raise
    return database


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the directory of catalog {path}: {error.strerror}") from error


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail where another writes in between.
    if connection.get_execution_options().get("skyhook_writes"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_sqlite(database: Database, create: bool) -> None:
    """Check the version in the file's header; make the tables of an empty file, or those it lacks."""
    with database.engine.connect() as connection:
        version = _sqlite_version(connection, database.url)
        if version == SCHEMA_VERSION:
            return
        if not version:
            if not create:
                raise NotFound(f"no catalog at {database.url}: the file is empty")
            _use_write_ahead_log(connection)
    with database.write() as connection:
        version = _sqlite_version(connection, database.url)
        if version == SCHEMA_VERSION:
            return
        if version:
            _upgrade(connection, version)
        else:
            _make_tables(connection)
            connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _sqlite_version(connection: Connection, url: str) -> int:
    """Return the version of the catalog's tables; 0 for an empty file."""
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if application == _APPLICATION_ID:
        _check_version(version, url)
        return version
    if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one():
        raise InvalidRequest(f"{url} is a SQLite database, but no catalog")
    return 0


def _use_write_ahead_log(connection: Connection) -> None:
    """Let readers go on while one writes; waits for others who open the new file too."""
    give_up = time.monotonic() + WAIT_S
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except sa.exc.OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _open_server(url: URL, create: bool) -> Database:
    shown = url.render_as_string(hide_password=True)
    try:
        engine = sa.create_engine(url, pool_pre_ping=True)
    except ImportError as error:
        raise StoreError(f"catalog {shown}: install the driver first ({error})") from error
    database = Database(engine, shown)
    try:
        _check_server(database, create)
    except BaseException:
        database.close()
        raise
    return database


def _check_server(database: Database, create: bool) -> None:
    with database.write() as connection:
        if not sa.inspect(connection).has_table(catalog_info.name):
            if not create:
                raise NotFound(f"no catalog in {database.url}: it has no table {catalog_info.name!r}")
            _make_tables(connection)
        version = connection.execute(sa.select(catalog_info.c.schema_version)).scalar_one()
        _check_version(version, database.url)
        if version < SCHEMA_VERSION:
            _upgrade(connection, version)


def _make_tables(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    connection.execute(catalog_info.insert(), {"schema_version": SCHEMA_VERSION, "created": time.time()})


def _upgrade(connection: Connection, version: int) -> None:
    """Make what a catalog of an older version lacks, inside the transaction that looked."""
    for later in range(version + 1, SCHEMA_VERSION + 1):
        for table in ADDED[later]:
            table.create(connection)
    connection.execute(catalog_info.update().values(schema_version=SCHEMA_VERSION))


def _check_version(version: int, url: str) -> None:
    if version > SCHEMA_VERSION:
        raise InvalidRequest(
            f"catalog {url} has tables of version {version}; this skyhook_casa knows versions up to "
            f"{SCHEMA_VERSION}: use a newer one"
        )
