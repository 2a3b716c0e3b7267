"""Rows that are named by their content: each is stored once, whoever stores it first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ..errors import InvalidRequest
from ..schema import Schema
from ..tally import EncodedTally
from . import tables as t
from .database import Database
from .reading import chunks
from .tallies import insert_tallies
from .types import FileInfo, NewPartition, ObjectInfo, Partition

_OBJECT_KEY = ("name", "bytes", "directory_start", "directory_bytes", "layout_id")
_FILE_KEY = ("uuid", "path", "tree", "entries", "bytes")
_PARTITION_KEY = ("object_id", "file_id", "entry_start", "entry_stop", "events")


class Rows:
    """Finds or makes rows inside one write transaction."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    def objects(self, objects: Iterable[ObjectInfo]) -> dict[ObjectInfo, int]:
        """Return the id of each object.

        Raises
        ------
        InvalidRequest
            If an object is recorded with another size or layout.
        """
        wanted = list(dict.fromkeys(objects))
        ids = self._ids(t.objects, _OBJECT_KEY, [tuple(one) for one in wanted])
        return {one: ids[tuple(one)] for one in wanted}

    def files(self, files: Iterable[FileInfo]) -> dict[FileInfo, int]:
        """Return the id of each file."""
        wanted = list(dict.fromkeys(files))
        keys = [(one.uuid, one.path, one.tree, one.entries, one.bytes) for one in wanted]
        ids = self._ids(t.files, _FILE_KEY, keys)
        return {one: ids[key] for one, key in zip(wanted, keys, strict=True)}

    def partitions(self, partitions: Sequence[NewPartition | Partition]) -> list[int]:
        """Return the id of each partition, in order; makes their objects and files too."""
        objects = self.objects(one.object for one in partitions)
        files = self.files(one.file for one in partitions)
        keys = [
            (objects[one.object], files[one.file], one.entry_start, one.entry_stop, one.events)
            for one in partitions
        ]
        ids = self._ids(t.partitions, _PARTITION_KEY, keys)
        self.tallies((one.object, one.tally) for one in partitions if isinstance(one, NewPartition))
        return [ids[key] for key in keys]

    def tallies(self, tallies: Iterable[tuple[ObjectInfo, EncodedTally]]) -> None:
        """Write what was added up of objects."""
        found = dict(tallies)
        objects = self.objects(found)
        insert_tallies(
            self._database,
            self._connection,
            {objects[info]: one.weights for info, one in found.items() if one.weights is not None},
            {objects[info]: one.sections for info, one in found.items() if one.sections is not None},
        )

    def layout(self, columns: Sequence[str]) -> int:
        """Return the id of the layout with these physical columns in this order."""
        layout_id, new = self._by_digest(t.layouts, list(columns))
        if new:
            rows = [
                {"layout_id": layout_id, "name": name, "index": index} for index, name in enumerate(columns)
            ]
            self._insert(t.layout_columns, rows)
        return layout_id

    def schema(self, schema: Schema) -> int:
        """Return the id of the schema."""
        columns = [astuple(column) for column in schema.columns.values()]
        lists = [astuple(info) for info in schema.lists.values()]
        schema_id, new = self._by_digest(t.schemas, [columns, lists])
        if new:
            self._insert(t.schema_columns, _rows_of(t.schema_columns, schema_id, columns))
            self._insert(t.schema_lists, _rows_of(t.schema_lists, schema_id, lists))
        return schema_id

    def _by_digest(self, table: sa.Table, content: Any) -> tuple[int, bool]:
        """Return the id of the row that `content` names and whether it is new."""
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        known = select(table.c.id).where(table.c.digest == digest)
        found = self._connection.execute(known).scalar()
        if found is not None:
            return int(found), False
        self._connection.execute(table.insert(), {"digest": digest})
        return int(self._connection.execute(known).scalar_one()), True

    def _ids(self, table: sa.Table, key: tuple[str, ...], keys: list[tuple[Any, ...]]) -> dict[Any, int]:
        """Return the id of the row with each key, made if it is not there."""
        if not keys:
            return {}
        rows = [dict(zip(key, values, strict=True)) for values in dict.fromkeys(keys)]
        self._connection.execute(self._database.insert_new(table), rows)
        statement = select(*(table.c[name] for name in key), table.c.id).where(
            table.c[key[0]].in_(bindparam("first", expanding=True))
        )
        found: dict[Any, int] = {}
        for some in chunks(list(dict.fromkeys(values[0] for values in keys))):
            found |= {
                tuple(values): id_ for *values, id_ in self._connection.execute(statement, {"first": some})
            }
        for values in keys:
            if values not in found:
                raise InvalidRequest(f"{table.name[:-1]} {values[0]!r} is recorded with other properties")
        return found

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(table.insert(), rows)


def _rows_of(table: sa.Table, schema_id: int, values: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return a schema's rows: `values` are the table's columns but schema_id and position."""
    names = [column.name for column in table.columns if column.name not in ("schema_id", "position")]
    return [
        {"schema_id": schema_id, "position": position, **dict(zip(names, row, strict=True))}
        for position, row in enumerate(values)
    ]
