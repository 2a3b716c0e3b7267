"""Definitions of derived columns, and what was computed of them.

A derived column of a version is computed once: who does it claims it for some seconds at a time, and
notes each object, so that it is kept, and who comes after a killed process goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ..definitions import definition_digests, users_of
from ..errors import InvalidRequest, NotFound, QueryCancelled, did_you_mean
from . import statements as s
from . import tables as t
from .database import Database
from .reading import chunks, id_of_dataset
from .rows import Rows
from .types import DatasetVersion, Definition, DerivedSet, ObjectInfo

_texts = (
    select(t.definitions.c.name, t.definitions.c.text)
    .join(t.datasets, t.datasets.c.id == t.definitions.c.dataset_id)
    .where(t.datasets.c.name == bindparam("dataset"))
    .order_by(t.definitions.c.id)
)
_all = (
    select(t.definitions.c.name, t.definitions.c.text, t.definitions.c.created)
    .join(t.datasets, t.datasets.c.id == t.definitions.c.dataset_id)
    .where(t.datasets.c.name == bindparam("dataset"))
    .order_by(t.definitions.c.id)
)
_stored = (
    select(t.derived_sets.c.name, t.versions.c.number, sa.func.coalesce(sa.func.sum(t.objects.c.bytes), 0))
    .select_from(t.derived_sets)
    .join(t.versions, t.versions.c.id == t.derived_sets.c.version_id)
    .join(t.datasets, t.datasets.c.id == t.versions.c.dataset_id)
    .outerjoin(t.derived_objects, t.derived_objects.c.set_id == t.derived_sets.c.id)
    .outerjoin(t.objects, t.objects.c.id == t.derived_objects.c.object_id)
    .where(t.datasets.c.name == bindparam("dataset"), t.derived_sets.c.state == "done")
    .group_by(t.derived_sets.c.id, t.derived_sets.c.name, t.versions.c.number)
    .order_by(t.versions.c.number)
)
_set_columns = (
    t.derived_sets.c.id,
    t.derived_sets.c.name,
    t.derived_sets.c.digest,
    t.derived_sets.c.state,
    t.derived_sets.c.description,
    t.derived_sets.c.owner,
    t.derived_sets.c.lease_until,
)
_sets = select(*_set_columns).where(
    t.derived_sets.c.version_id == bindparam("version_id"),
    t.derived_sets.c.digest.in_(bindparam("digests", expanding=True)),
)
_objects = (
    select(t.derived_objects.c.position, *s.object_fields)
    .join(t.objects, t.objects.c.id == t.derived_objects.c.object_id)
    .where(t.derived_objects.c.set_id == bindparam("set_id"))
    .order_by(t.derived_objects.c.position)
)
_states = (
    select(t.derived_sets.c.digest, t.derived_sets.c.state)
    .where(t.derived_sets.c.version_id == bindparam("version_id"), t.derived_sets.c.state != "running")
    .order_by(t.derived_sets.c.id)
)
_of_version = (
    select(t.derived_sets.c.name, t.derived_objects.c.position, *s.object_fields)
    .select_from(t.derived_sets)
    .join(t.derived_objects, t.derived_objects.c.set_id == t.derived_sets.c.id)
    .join(t.objects, t.objects.c.id == t.derived_objects.c.object_id)
    .where(t.derived_sets.c.version_id == bindparam("version_id"))
    .order_by(t.derived_sets.c.id, t.derived_objects.c.position)
)


class Derived:
    """The part of `Catalog` that knows derived columns."""

    _database: Database

    def define(self, dataset: str, definitions: Mapping[str, str]) -> None:
        """Add definitions to a dataset, or change them; what was computed of changed ones is forgotten.

        Raises
        ------
        NotFound
            If there is no such dataset.
        InvalidRequest
            If definitions use each other in a circle.
        ExpressionError
            If one cannot be parsed.
        """
        with self._database.write() as connection:
            dataset_id = id_of_dataset(connection, dataset)
            texts = _known(connection, dataset)
            now_s = time.time()
            digests = definition_digests({**texts, **definitions})
            for name, text in definitions.items():
                mine = (t.definitions.c.dataset_id == dataset_id) & (t.definitions.c.name == name)
                if name in texts:
                    connection.execute(t.definitions.update().where(mine).values(text=text, created=now_s))
                else:
                    row = {"dataset_id": dataset_id, "name": name, "text": text, "created": now_s}
                    connection.execute(t.definitions.insert(), row)
            _forget_others(connection, dataset_id, digests.values())

    def drop_definition(self, dataset: str, name: str) -> None:
        """Forget a definition, and what was computed of it in all versions; `gc` then frees the space.

        Raises
        ------
        NotFound
            If there is none of this name.
        InvalidRequest
            If others use it.
        """
        with self._database.write() as connection:
            dataset_id = id_of_dataset(connection, dataset)
            texts = _known(connection, dataset)
            if name not in texts:
                raise NotFound(f"dataset {dataset!r} has no definition {name!r}{did_you_mean(name, texts)}")
            users = users_of(texts, name)
            if users:
                raise InvalidRequest(f"definition {name!r} is used by {', '.join(users)}; drop these first")
            mine = (t.definitions.c.dataset_id == dataset_id) & (t.definitions.c.name == name)
            connection.execute(t.definitions.delete().where(mine))
            del texts[name]
            _forget_others(connection, dataset_id, definition_digests(texts).values())

    def definition_texts(self, dataset: str) -> dict[str, str]:
        """Return the definitions of a dataset; none if there is no such dataset."""
        with self._database.read() as connection:
            return _known(connection, dataset)

    def definitions(self, dataset: str) -> list[Definition]:
        """Return the definitions of a dataset, oldest first, and where they are stored."""
        with self._database.read() as connection:
            rows = connection.execute(_all, {"dataset": dataset}).all()
            stored = connection.execute(_stored, {"dataset": dataset}).all()
        return [
            Definition(
                name,
                text,
                datetime.fromtimestamp(created_s, UTC),
                tuple(number for one, number, _ in stored if one == name),
                sum(int(nbytes) for one, _, nbytes in stored if one == name),
            )
            for name, text, created_s in rows
        ]

    # -- what was computed --------------------------------------------------------------------
    def derived_sets(self, version: DatasetVersion, digests: Collection[str]) -> dict[str, DerivedSet]:
        """Return what was computed, or is, of definitions with these digests."""
        with self._database.read() as connection:
            rows: list[Any] = []
            for some in chunks(list(digests)):
                rows += connection.execute(_sets, {"version_id": version.id, "digests": some})
        return {row[2]: DerivedSet(*row) for row in rows}

    def derived_objects(self, set_id: int) -> dict[int, ObjectInfo]:
        """Return the objects of a derived column by the partition of the version that they belong to."""
        with self._database.read() as connection:
            rows = connection.execute(_objects, {"set_id": set_id})
            return {index: ObjectInfo(*stored) for index, *stored in rows}

    def derived_state(self, version: DatasetVersion) -> tuple[Any, ...]:
        """Return what changes whenever a query of `version` may be planned otherwise."""
        with self._database.read() as connection:
            texts = _known(connection, version.dataset)
            if not texts:
                return ()
            states = connection.execute(_states, {"version_id": version.id}).all()
        return (*texts.items(), *(tuple(row) for row in states))

    def derived_of(self, version: DatasetVersion) -> list[tuple[str, int, ObjectInfo]]:
        """Return the objects of all derived columns of `version`: name, partition, object."""
        with self._database.read() as connection:
            rows = connection.execute(_of_version, {"version_id": version.id})
            return [(name, index, ObjectInfo(*stored)) for name, index, *stored in rows]

    def claim_derived(
        self, version: DatasetVersion, name: str, digest: str, owner: str, lease_s: float
    ) -> DerivedSet:
        """Make `owner` the one who computes a derived column, unless it is done or another does it.

        Returns
        -------
        DerivedSet
            With `owner` as its owner if it is to compute it.

        Raises
        ------
        NotFound
            If the version was dropped.
        """
        now_s = time.time()
        key = {"version_id": version.id, "digests": [digest]}
        row = {
            "version_id": version.id,
            "name": name,
            "digest": digest,
            "state": "running",
            "description": "",
            "owner": "",
            "lease_until": 0.0,
            "updated": now_s,
        }
        with self._database.write() as connection:
            there = connection.execute(select(t.versions.c.id).where(t.versions.c.id == version.id)).first()
            if there is None:
                raise NotFound(f"version {version.number} of dataset {version.dataset!r} was dropped")
            connection.execute(self._database.insert_new(t.derived_sets), row)
            found = DerivedSet(*connection.execute(_sets, key).one())
            if found.state == "running" and found.lease_until_s <= now_s:
                _update(connection, found.id, owner=owner, lease_until=now_s + lease_s)
                found = DerivedSet(*connection.execute(_sets, key).one())
        return found

    def record_derived(self, mine: DerivedSet, position: int, info: ObjectInfo, lease_s: float) -> None:
        """Note an object that is in the store, so that it is kept; the column stays the owner's.

        Raises
        ------
        QueryCancelled
            If the column is not the owner's any more, or was dropped.
        """
        with self._database.write() as connection:
            _check_owner(connection, mine)
            _update(connection, mine.id, lease_until=time.time() + lease_s)
            objects = Rows(self._database, connection).objects([info])
            row = {"set_id": mine.id, "position": position, "object_id": objects[info]}
            connection.execute(
                t.derived_objects.delete().where(
                    t.derived_objects.c.set_id == mine.id, t.derived_objects.c.position == position
                )
            )
            connection.execute(t.derived_objects.insert(), row)

    def finish_derived(self, mine: DerivedSet, state: str, description: str = "") -> None:
        """Say that a derived column is done, is not to be stored (`inline`), or is free again (`running`).

        Raises as `record_derived`.
        """
        with self._database.write() as connection:
            _check_owner(connection, mine)
            _update(connection, mine.id, state=state, description=description, owner="", lease_until=0.0)

    def drop_derived_idle_since(self, time_s: float) -> None:
        """Forget what was begun and not gone on with since that time."""
        idle = select(t.derived_sets.c.id).where(
            t.derived_sets.c.state == "running", t.derived_sets.c.updated < time_s
        )
        with self._database.write() as connection:
            forget_sets(connection, connection.execute(idle).scalars().all())


def forget_sets(connection: Connection, ids: Iterable[int]) -> None:
    """Delete derived sets."""
    for some in chunks(list(ids)):
        connection.execute(t.derived_objects.delete().where(t.derived_objects.c.set_id.in_(some)))
        connection.execute(t.derived_sets.delete().where(t.derived_sets.c.id.in_(some)))


def forget_derived(connection: Connection, version_ids: list[int]) -> None:
    """Delete what was computed of some versions."""
    for some in chunks(version_ids):
        ids = select(t.derived_sets.c.id).where(t.derived_sets.c.version_id.in_(some))
        forget_sets(connection, connection.execute(ids).scalars().all())


def _known(connection: Connection, dataset: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(_texts, {"dataset": dataset})}


def _forget_others(connection: Connection, dataset_id: int, digests: Collection[str]) -> None:
    """Delete what was computed of definitions that are not there any more, as they were then."""
    rows = connection.execute(
        select(t.derived_sets.c.id, t.derived_sets.c.digest)
        .join(t.versions, t.versions.c.id == t.derived_sets.c.version_id)
        .where(t.versions.c.dataset_id == dataset_id)
    ).all()
    forget_sets(connection, [id_ for id_, digest in rows if digest not in digests])


def _check_owner(connection: Connection, mine: DerivedSet) -> None:
    owner = connection.execute(select(t.derived_sets.c.owner).where(t.derived_sets.c.id == mine.id)).scalar()
    if owner != mine.owner:
        raise QueryCancelled(
            f"the derived column {mine.name!r} was dropped, or taken over by another process, while it was "
            "computed; ask again"
        )


def _update(connection: Connection, set_id: int, **values: Any) -> None:
    statement = t.derived_sets.update().where(t.derived_sets.c.id == set_id)
    connection.execute(statement.values(updated=time.time(), **values))
