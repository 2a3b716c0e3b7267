"""Changes of what datasets hold: each is one transaction, so it is there as a whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ..errors import AlreadyExists, InvalidRequest, NotFound
from ..schema import Schema
from ..tally import EncodedTally
from . import statements as s
from . import tables as t
from .database import Database
from .derived import forget_derived
from .jobs import finish_job
from .names import check_name
from .reading import Reading, id_of_dataset, load_schema, make_version
from .rows import Rows
from .types import DatasetVersion, FileInfo, Job, MetaTree, NewPartition, ObjectInfo, Partition
from .union import union_schema

PARTITIONS_MAX: Final = 1_000_000
"""Most partitions of one version."""

_of_version = {
    table: table.c.version_id == bindparam("id")
    for table in (t.version_partitions, t.version_sets, t.version_files, t.version_layouts, t.version_trees)
}


class Writing(Reading):
    """The half of `Catalog` that changes datasets."""

    def add_layout(self, physical_names: Sequence[str]) -> int:
        """Return the id of the layout of objects whose directory has these columns, in this order.

        The same columns give the same id, whoever asks.

        Raises
        ------
        InvalidRequest
            If a name occurs twice.
        """
        if len(set(physical_names)) != len(physical_names):
            raise InvalidRequest("a column occurs twice in one object")
        with self._database.write() as connection:
            return Rows(self._database, connection).layout(physical_names)

    def commit_version(
        self,
        dataset: str,
        schema: Schema,
        partitions: Sequence[NewPartition | Partition],
        files: Sequence[FileInfo] = (),
        *,
        trees: Sequence[MetaTree] = (),
        note: str = "",
        append: bool = False,
        expected: int | None = None,
        job: Job | None = None,
        origin: str = "",
        of: DatasetVersion | None = None,
        tallies: Mapping[ObjectInfo, EncodedTally] | None = None,
    ) -> DatasetVersion:
        """Make the next version of `dataset`, durably; the dataset is made if it is not there.

        The objects must be in the store already. Of many who commit at once each makes a version
        of its own, one after the other.

        Parameters
        ----------
        dataset : str
            Its name: any printable text of at most 255 characters.
        schema : Schema
            The union over the files, in file order.
        partitions : sequence of NewPartition or Partition
            In the order of their events; those of another version may be among them, and keep their
            column sets.
        files : sequence of FileInfo
            The files in their order, also those without events. Files of `partitions` and `trees`
            that are not named here follow.
        trees : sequence of MetaTree
            `Runs`, `LuminosityBlocks` of the files.
        append : bool
            True: the newest version's partitions, files and trees come first, and its schema is
            united with `schema`. Several processes may append at once.
        expected : int, optional
            The number that the newest version must have (0: there must be none).
        job : Job, optional
            The ingest job that this finishes.
        origin : str
            Where all of its events come from, as JSON, if that is another dataset.
        of : DatasetVersion, optional
            A version that must still be there: files and trees are taken from it.
        tallies : mapping, optional
            What was added up of objects of the column sets.

        Raises
        ------
        AlreadyExists
            If the newest version is not `expected`, or a file would be in the version twice.
        NotFound
            If the version `of` was dropped.
        InvalidRequest
            If the name is no dataset name, or the schema contradicts the newest version's.
        StoreError
            If the catalog failed; then nothing has changed.
        """
        check_name(dataset)
        with self._database.write() as connection:
            commit = _Commit(self._database, connection, dataset)
            commit.check_expected(expected)
            if of is not None:
                commit.check_there(of)
            commit.begin(schema, append)
            commit.add_files([*files, *(one.file for one in partitions), *(one.file for one in trees)])
            commit.add_partitions(partitions)
            commit.add_sets(partitions)
            commit.add_tallies(tallies or {})
            commit.add_trees(trees)
            commit.add_origin(origin)
            version = commit.finish(note)
            if job is not None:
                finish_job(connection, job, version.number)
        return version

    def drop_version(self, dataset: str, number: int) -> None:
        """Forget one version; `gc` then frees what no other version uses. Its number is not reused.

        Raises
        ------
        NotFound
            If there is no such version.
        """
        version = self.version(dataset, number)
        with self._database.write() as connection:
            _delete_versions(connection, [version.id])

    def drop_dataset(self, dataset: str) -> None:
        """Forget a dataset with all its versions; `gc` then frees what no other dataset uses.

        Raises
        ------
        NotFound
            If there is no such dataset.
        """
        with self._database.write() as connection:
            found = id_of_dataset(connection, dataset)
            ids = connection.execute(
                select(t.versions.c.id).where(t.versions.c.dataset_id == found)
            ).scalars()
            _delete_versions(connection, list(ids))
            connection.execute(t.definitions.delete().where(t.definitions.c.dataset_id == found))
            connection.execute(t.datasets.delete().where(t.datasets.c.id == found))

    def sweep(self) -> None:
        """Forget objects, partitions, files and schemas that no version and no job uses.

        Layouts stay: a writer may be about to use one.
        """
        with self._database.write() as connection:
            for table, users in _USERS:
                used = sa.union_all(*(select(column) for column in users))
                connection.execute(table.delete().where(table.c.id.not_in(used)))
            for table in (t.schema_columns, t.schema_lists):
                connection.execute(table.delete().where(table.c.schema_id.not_in(select(t.schemas.c.id))))
            for table in (t.object_weights, t.object_sections):
                connection.execute(table.delete().where(table.c.object_id.not_in(select(t.objects.c.id))))

    def object_names(self, given_up: Sequence[Job] = ()) -> set[str]:
        """Return the name of every object that a version or a job uses, the jobs `given_up` aside."""
        gone = [job.id for job in given_up]
        of_jobs = select(t.job_partitions.c.partition_id).where(t.job_partitions.c.job_id.not_in(gone))
        used = select(t.partitions.c.object_id).where(
            t.partitions.c.id.in_(sa.union_all(select(t.version_partitions.c.partition_id), of_jobs))
        )
        trees = select(t.version_trees.c.object_id)
        sets = select(t.version_sets.c.object_id), select(t.derived_objects.c.object_id)
        job_trees = select(t.job_trees.c.object_id).where(t.job_trees.c.job_id.not_in(gone))
        names = select(t.objects.c.name).where(
            t.objects.c.id.in_(sa.union_all(used, trees, *sets, job_trees))
        )
        with self._database.read() as connection:
            return set(connection.execute(names).scalars())

    def created_s(self) -> float:
        """Return when the catalog was made, in seconds since 1970."""
        with self._database.read() as connection:
            return float(connection.execute(select(t.catalog_info.c.created)).scalar_one())


# In this order: what an unused partition used becomes unused with it.
_USERS: Final = (
    (t.partitions, (t.version_partitions.c.partition_id, t.job_partitions.c.partition_id)),
    (
        t.objects,
        (
            t.partitions.c.object_id,
            t.version_sets.c.object_id,
            t.derived_objects.c.object_id,
            t.version_trees.c.object_id,
            t.job_trees.c.object_id,
        ),
    ),
    (
        t.files,
        (
            t.partitions.c.file_id,
            t.version_files.c.file_id,
            t.version_trees.c.file_id,
            t.job_trees.c.file_id,
        ),
    ),
    (t.schemas, (t.versions.c.schema_id,)),
)


class _Commit:
    """The steps that make one version, inside one transaction."""

    def __init__(self, database: Database, connection: Connection, dataset: str) -> None:
        self._connection = connection
        self._rows = Rows(database, connection)
        self._dataset = dataset
        row = {"name": dataset, "last_number": 0, "created": time.time()}
        connection.execute(database.insert_new(t.datasets), row)
        found = connection.execute(
            select(t.datasets.c.id, t.datasets.c.last_number).where(t.datasets.c.name == dataset)
        ).one()
        self._dataset_id, self._last_number = found
        newest = connection.execute(s.newest, {"dataset": dataset}).first()
        self._newest = None if newest is None else make_version(newest)
        self._base: DatasetVersion | None = None
        self._version_id = 0
        self._file_ids: dict[FileInfo, int] = {}
        self._totals = (0, 0, 0)

    def check_expected(self, expected: int | None) -> None:
        """Refuse if the newest version is not the expected one."""
        number = self._newest.number if self._newest else 0
        if expected is not None and number != expected:
            raise AlreadyExists(
                f"the newest version of dataset {self._dataset!r} is {number}, not {expected}: "
                "another commit came first"
            )

    def check_there(self, of: DatasetVersion) -> None:
        """Refuse if a version was dropped: `gc` may have removed what is taken from it."""
        there = self._connection.execute(select(t.versions.c.id).where(t.versions.c.id == of.id)).first()
        if there is None:
            raise NotFound(f"version {of.number} of dataset {of.dataset!r} was dropped meanwhile")

    def begin(self, schema: Schema, append: bool) -> None:
        """Make the version's row and copy the references of the version it goes on from."""
        self._base = self._newest if append else None
        if self._base is not None:
            schema = union_schema(load_schema(self._connection, self._base.schema_id), schema)
        row = {
            "dataset_id": self._dataset_id,
            "number": self._last_number + 1,
            "schema_id": self._rows.schema(schema),
            "events": 0,
            "partitions": 0,
            "bytes": 0,
            "created": time.time(),
            "note": "",
        }
        self._connection.execute(t.versions.insert(), row)
        self._version_id = self._connection.execute(
            select(t.versions.c.id).where(
                t.versions.c.dataset_id == self._dataset_id, t.versions.c.number == row["number"]
            )
        ).scalar_one()
        if self._base is not None:
            self._totals = (self._base.events, self._base.partitions, self._base.bytes)
            for table in _of_version:
                self._copy(table, self._base.id)

    def add_files(self, files: Iterable[FileInfo]) -> None:
        """Append the files of the new events."""
        self._file_ids = self._rows.files(files)
        taken = self._file_identities()
        for file in self._file_ids:
            identity = (file.uuid or file.path, file.tree)
            if identity in taken:
                raise AlreadyExists(
                    f"tree {file.tree!r} of {file.path} is in dataset {self._dataset!r} already, "
                    f"from {taken[identity]}"
                )
            taken[identity] = file.path
        first = len(taken) - len(self._file_ids)
        self._insert(
            t.version_files,
            [{"position": first + i, "file_id": id_} for i, id_ in enumerate(self._file_ids.values())],
        )

    def add_partitions(self, partitions: Sequence[NewPartition | Partition]) -> None:
        """Append the new partitions and sum up."""
        events, count, nbytes = self._totals
        if count + len(partitions) > PARTITIONS_MAX:
            raise InvalidRequest(
                f"{count + len(partitions)} partitions; a version has at most {PARTITIONS_MAX}"
            )
        firsts = list(accumulate((one.events for one in partitions), initial=events))
        ids = self._rows.partitions(partitions)
        self._insert(
            t.version_partitions,
            [
                {"position": count + i, "partition_id": id_, "first_event": first}
                for i, (id_, first) in enumerate(zip(ids, firsts, strict=False))
            ],
        )
        known = set(
            self._connection.execute(
                select(t.version_layouts.c.layout_id).where(
                    t.version_layouts.c.version_id == self._version_id
                )
            ).scalars()
        )
        new = {one.object.layout_id for one in partitions} - known - {0}
        self._insert(t.version_layouts, [{"layout_id": layout_id} for layout_id in new])
        self._totals = (firsts[-1], count + len(ids), nbytes + sum(one.object.bytes for one in partitions))

    def add_sets(self, partitions: Sequence[NewPartition | Partition]) -> None:
        """Append the column sets of the partitions, which were added just before."""
        events, count, nbytes = self._totals
        first = count - len(partitions)
        found = [
            (first + number, layer, info)
            for number, one in enumerate(partitions)
            for layer, info in enumerate(one.sets if isinstance(one, Partition) else ())
        ]
        objects = self._rows.objects(info for _, _, info in found)
        rows = [{"position": at, "layer": layer, "object_id": objects[info]} for at, layer, info in found]
        self._insert(t.version_sets, rows)
        self._totals = (events, count, nbytes + sum(info.bytes for _, _, info in found))

    def add_tallies(self, tallies: Mapping[ObjectInfo, EncodedTally]) -> None:
        """Note what was added up of objects."""
        self._rows.tallies(tallies.items())

    def add_trees(self, trees: Sequence[MetaTree]) -> None:
        """Append the trees that travel with the new files."""
        objects = self._rows.objects(one.object for one in trees)
        self._insert(
            t.version_trees,
            [
                {"tree": one.tree, "file_id": self._file_ids[one.file], "object_id": objects[one.object]}
                for one in trees
            ],
        )

    def add_origin(self, origin: str) -> None:
        """Note where the events come from, if that is a dataset."""
        if origin:
            self._insert(t.version_origins, [{"text": origin}])

    def finish(self, note: str) -> DatasetVersion:
        """Write the sums and return the version."""
        events, partitions, nbytes = self._totals
        sums = {"events": events, "partitions": partitions, "bytes": nbytes, "note": note}
        self._connection.execute(t.versions.update().where(t.versions.c.id == self._version_id).values(sums))
        self._connection.execute(
            t.datasets.update()
            .where(t.datasets.c.id == self._dataset_id)
            .values(last_number=self._last_number + 1)
        )
        return make_version(self._connection.execute(s.newest, {"dataset": self._dataset}).one())

    def _file_identities(self) -> dict[tuple[str, str], str]:
        if self._base is None:
            return {}
        rows = self._connection.execute(
            select(t.files.c.uuid, t.files.c.tree, t.files.c.path)
            .join(t.version_files, t.version_files.c.file_id == t.files.c.id)
            .where(t.version_files.c.version_id == self._base.id)
        )
        return {(uuid or path, tree): path for uuid, tree, path in rows}

    def _copy(self, table: sa.Table, version_id: int) -> None:
        others = [column for column in table.columns if column.name != "version_id"]
        rows = select(sa.literal(self._version_id), *others).where(table.c.version_id == version_id)
        self._connection.execute(table.insert().from_select(["version_id", *(c.name for c in others)], rows))

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(
                table.insert(), [{"version_id": self._version_id, **row} for row in rows]
            )


def _delete_versions(connection: Connection, ids: list[int]) -> None:
    rows = [{"id": id_} for id_ in ids]
    forget_derived(connection, ids)
    if rows:
        for table, of_version in _of_version.items():
            connection.execute(table.delete().where(of_version), rows)
        mine = t.version_origins.c.version_id == bindparam("id")
        connection.execute(t.version_origins.delete().where(mine), rows)
        connection.execute(t.versions.delete().where(t.versions.c.id == bindparam("id")), rows)
