"""The catalog's tables.

Ids are never given twice, so what a reader remembers about an id stays true. Schemas and
layouts are named by a digest of their content and shared by every version that has them.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = 5
"""Of the tables below. A catalog of a newer one is refused, an older one is upgraded."""

metadata = MetaData()
_BIG = BigInteger().with_variant(Integer(), "sqlite")


def _id() -> Column[int]:
    return Column("id", _BIG, primary_key=True, autoincrement=True)


def _key(name: str) -> Column[Any]:
    """A part of a primary key that is some other row's id."""
    return Column(name, _BIG, primary_key=True, autoincrement=False)


def _name(name: str = "name", **options: Any) -> Column[str]:
    return Column(name, Text, nullable=False, **options)


def _number(name: str) -> Column[Any]:
    return Column(name, _BIG, nullable=False)


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


def _entity(name: str, *columns: Any) -> Table:
    """A table whose rows have ids."""
    return Table(name, metadata, _id(), *columns, sqlite_autoincrement=True)


def _relation(name: str, *columns: Any) -> Table:
    """A table that is looked up by its whole primary key or a prefix of it."""
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


catalog_info = Table(
    "catalog_info", metadata, Column("schema_version", Integer, primary_key=True), _time("created")
)

datasets = _entity(
    "datasets", _name(unique=True), Column("last_number", Integer, nullable=False), _time("created")
)

versions = _entity(
    "versions",
    _number("dataset_id"),
    Column("number", Integer, nullable=False),
    _number("schema_id"),
    _number("events"),
    _number("partitions"),
    _number("bytes"),
    _time("created"),
    Column("note", Text, nullable=False),
    UniqueConstraint("dataset_id", "number"),
)

schemas = _entity("schemas", Column("digest", String(64), nullable=False, unique=True))

schema_columns = _relation(
    "schema_columns",
    _key("schema_id"),
    _name(primary_key=True),
    Column("position", Integer, nullable=False),
    Column("dtype", String(16), nullable=False),
    Column("list", Text),
    Column("counts", Text),
    Column("title", Text, nullable=False),
    Column("typename", Text, nullable=False),
)

schema_lists = _relation(
    "schema_lists",
    _key("schema_id"),
    _name(primary_key=True),
    Column("position", Integer, nullable=False),
    Column("counter", Text),
    Column("collection", Boolean, nullable=False),
)

layouts = _entity("layouts", Column("digest", String(64), nullable=False, unique=True))

layout_columns = _relation(
    "layout_columns",
    _key("layout_id"),
    _name(primary_key=True),
    Column("index", Integer, nullable=False),
)

objects = _entity(
    "objects",
    Column("name", String(128), nullable=False, unique=True),
    _number("bytes"),
    _number("directory_start"),
    _number("directory_bytes"),
    _number("layout_id"),
)

files = _entity(
    "files",
    Column("path", Text, nullable=False),
    Column("uuid", String(64), nullable=False),
    _name("tree"),
    _number("entries"),
    _number("bytes"),
    UniqueConstraint("uuid", "tree", "path", "entries", "bytes"),
)

partitions = _entity(
    "partitions",
    _number("object_id"),
    _number("file_id"),
    _number("entry_start"),
    _number("entry_stop"),
    _number("events"),
    UniqueConstraint("object_id", "file_id", "entry_start", "entry_stop"),
)

version_partitions = _relation(
    "version_partitions",
    _key("version_id"),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _number("partition_id"),
    _number("first_event"),
)

version_files = _relation(
    "version_files",
    _key("version_id"),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _number("file_id"),
)

version_layouts = _relation("version_layouts", _key("version_id"), _key("layout_id"))

version_trees = _relation(
    "version_trees",
    _key("version_id"),
    _name("tree", primary_key=True),
    _key("file_id"),
    _number("object_id"),
)

jobs = _entity(
    "jobs",
    Column("key", String(64), nullable=False, unique=True),
    _name("dataset"),
    Column("state", String(16), nullable=False),
    Column("description", Text, nullable=False),
    Column("version", Integer),
    _time("updated"),
)

job_partitions = _relation("job_partitions", _key("job_id"), _key("partition_id"))

job_trees = _relation(
    "job_trees",
    _key("job_id"),
    _name("tree", primary_key=True),
    _key("file_id"),
    _number("object_id"),
)

service_jobs = _entity(
    "service_jobs",
    Column("job_id", String(64), nullable=False, unique=True),  # the key of its row in `jobs`
    _name("dataset"),
    Column("request", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("progress", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("failures", Text, nullable=False),
    Column("skipped", Text, nullable=False),
    Column("version", Integer),
    Column("owner", String(64), nullable=False),
    _time("lease_until"),
    Column("attempts", Integer, nullable=False),
    Column("cancel_asked", Boolean, nullable=False),
    _time("created"),
    _time("updated"),
)

version_sets = _relation(
    "version_sets",
    _key("version_id"),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("layer", Integer, primary_key=True, autoincrement=False),
    _number("object_id"),
)

definitions = _entity(
    "definitions",
    _number("dataset_id"),
    _name(),
    Column("text", Text, nullable=False),
    _time("created"),
    UniqueConstraint("dataset_id", "name"),
)

derived_sets = _entity(
    "derived_sets",
    _number("version_id"),
    _name(),
    Column("digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("description", Text, nullable=False),
    Column("owner", String(64), nullable=False),
    _time("lease_until"),
    _time("updated"),
    UniqueConstraint("version_id", "digest"),
)

derived_objects = _relation(
    "derived_objects",
    _key("set_id"),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _number("object_id"),
)

# What is added up of the events of an object: see `skyhook_casa.tally`. An object that has the columns and no
# row here was made by a release that did not add up.
object_weights = _relation("object_weights", _key("object_id"), Column("exact", Text, nullable=False))

object_sections = _relation(
    "object_sections", _key("object_id"), Column("ranges", LargeBinary, nullable=False)
)

version_origins = _relation("version_origins", _key("version_id"), Column("text", Text, nullable=False))

ADDED: Final = {
    2: (service_jobs,),
    3: (version_sets, definitions, derived_sets, derived_objects),
    4: (object_weights, object_sections),
    5: (version_origins,),
}
"""Tables that came with each version after the first: what an older catalog lacks."""
