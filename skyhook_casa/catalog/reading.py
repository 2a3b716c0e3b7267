"""Questions to the catalog.

What a query asks of a dataset costs as much as the columns it names: a few indexed look-ups with
statements that are compiled once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

from sqlalchemy import select
from sqlalchemy.engine import Connection

from ..errors import NotFound, did_you_mean
from ..schema import Column, ListInfo, Schema, offsets_column
from . import statements as s
from . import tables as t
from .database import Database
from .types import (
    ColumnSet,
    DatasetInfo,
    DatasetVersion,
    FileInfo,
    MetaTree,
    ObjectInfo,
    Partition,
    Partitions,
)

IN_MAX: Final = 1000
"""Most values of one SQL `IN (…)`."""

_T = TypeVar("_T")


class Reading:
    """The half of `Catalog` that asks."""

    _database: Database

    def state(self) -> int | None:
        """Return a number that every commit changes; None if looking for changes is as cheap."""
        return self._database.state()

    def steady(self) -> AbstractContextManager[int | None]:
        """Give `state`, as of which the look-ups inside may be, each as of then or newer."""
        return nullcontext(self.state())

    def version(self, dataset: str, number: int | None = None) -> DatasetVersion:
        """Return a version of `dataset`, the newest if no number is given.

        Raises
        ------
        NotFound
            If there is no such dataset or version; near matches are named.
        """
        with self._database.read() as connection:
            if number is None:
                row = connection.execute(s.newest, {"dataset": dataset}).first()
            else:
                row = connection.execute(s.numbered, {"dataset": dataset, "number": number}).first()
        if row is None:
            raise self._no_version(dataset, number)
        return make_version(row)

    def versions(self, dataset: str) -> list[DatasetVersion]:
        """Return all versions of `dataset`, newest first. Raises as `version` does."""
        with self._database.read() as connection:
            rows = connection.execute(s.versions, {"dataset": dataset}).all()
        if not rows:
            raise self._no_version(dataset, None)
        return [make_version(row) for row in rows]

    def datasets(self) -> list[DatasetInfo]:
        """Return every dataset that has a version, by name."""
        with self._database.read() as connection:
            rows = connection.execute(s.all_newest).all()
        return [DatasetInfo(row[1], make_version(row[:-1]), row[-1]) for row in rows]

    def column(self, version: DatasetVersion, name: str) -> Column | None:
        """Return the column `name` of `version`; None if no file of it has one."""
        with self._database.read() as connection:
            row = connection.execute(s.one_column, {"schema_id": version.schema_id, "name": name}).first()
        return None if row is None else Column(*row)

    def columns_named(self, version: DatasetVersion, names: Iterable[str]) -> dict[str, Column]:
        """Return those of `names` that `version` has, in one look-up, in no particular order."""
        found: dict[str, Column] = {}
        with self._database.read() as connection:
            for some in chunks(list(names)):
                rows = connection.execute(s.some_columns, {"schema_id": version.schema_id, "names": some})
                found |= {row[0]: Column(*row) for row in rows}
        return found

    def columns(self, version: DatasetVersion, pattern: str | None = None) -> list[Column]:
        """Return the columns whose name matches the glob `pattern`, or all, in file order."""
        with self._database.read() as connection:
            rows = connection.execute(s.all_columns, {"schema_id": version.schema_id}).all()
        if pattern is not None:
            rows = [row for row in rows if fnmatchcase(row[0], pattern)]
        return [Column(*row) for row in rows]

    def column_names(self, version: DatasetVersion) -> list[str]:
        """Return the name of every column of `version`, in file order."""
        with self._database.read() as connection:
            return list(connection.execute(s.all_names, {"schema_id": version.schema_id}).scalars())

    def list_info(self, version: DatasetVersion, name: str) -> ListInfo | None:
        """Return the list `name` of `version`; None if no file of it has one."""
        with self._database.read() as connection:
            row = connection.execute(s.one_list, {"schema_id": version.schema_id, "name": name}).first()
        return None if row is None else ListInfo(*row)

    def lists(self, version: DatasetVersion) -> list[ListInfo]:
        """Return every list of `version`, in file order."""
        with self._database.read() as connection:
            rows = connection.execute(s.all_lists, {"schema_id": version.schema_id}).all()
        return [ListInfo(*row) for row in rows]

    def schema(self, version: DatasetVersion) -> Schema:
        """Return all columns and lists of `version`: the union over its files."""
        with self._database.read() as connection:
            return load_schema(connection, version.schema_id)

    def partitions(self, version: DatasetVersion, first: int = 0, stop: int | None = None) -> Partitions:
        """Return the partitions of `version` from `first` up to, but not including, `stop`, in its order.

        Raises
        ------
        NotFound
            If the version was dropped.
        """
        key = {"version_id": version.id}
        stop = version.partitions if stop is None else stop
        with self._database.read() as connection:
            files = {row[0]: FileInfo(*row[1:]) for row in connection.execute(s.version_files, key)}
            rows = connection.execute(s.version_partitions, {**key, "first": first, "stop": stop}).all()
            sets: dict[int, tuple[ObjectInfo, ...]] = {}
            for index, *stored in connection.execute(s.version_sets, {**key, "first": first, "stop": stop}):
                sets[index] = (*sets.get(index, ()), ObjectInfo(*stored))
        if len(rows) != stop - first:
            raise NotFound(f"version {version.number} of dataset {version.dataset!r} was dropped")
        return Partitions(
            Partition(
                index, first, events, ObjectInfo(*stored), files[file_id], start, stop, sets.get(index, ())
            )
            for index, first, events, start, stop, file_id, *stored in rows
        )

    def column_sets(self, version: DatasetVersion) -> list[ColumnSet]:
        """Return the columns of `version` that lie beside its base objects, in the order they came."""
        with self._database.read() as connection:
            rows = connection.execute(s.set_layouts, {"version_id": version.id}).all()
            return [
                ColumnSet(
                    tuple(row[0] for row in connection.execute(s.whole_layout, {"layout_id": layout_id})),
                    count,
                    int(nbytes),
                )
                for layout_id, count, nbytes in rows
            ]

    def partition_events(self, version: DatasetVersion) -> list[int]:
        """Return how many events each partition of `version` has, in its order. Raises as `partitions`."""
        with self._database.read() as connection:
            rows = connection.execute(s.version_partition_events, {"version_id": version.id}).all()
        if len(rows) != version.partitions:
            raise NotFound(f"version {version.number} of dataset {version.dataset!r} was dropped")
        return [events for (events,) in rows]

    def files(self, version: DatasetVersion) -> list[FileInfo]:
        """Return every file of `version`, in its order; also those without events."""
        with self._database.read() as connection:
            return [
                FileInfo(*row[1:]) for row in connection.execute(s.version_files, {"version_id": version.id})
            ]

    def trees(self, version: DatasetVersion, tree: str | None = None) -> list[MetaTree]:
        """Return the kept trees called `tree`, or all: one for each file that has it."""
        with self._database.read() as connection:
            rows = connection.execute(s.version_trees, {"version_id": version.id}).all()
        return [make_tree(row) for row in rows if tree is None or row[0] == tree]

    def placed_trees(self, version: DatasetVersion, tree: str) -> list[tuple[MetaTree, int]]:
        """Return the kept trees called `tree` in the files' order, each with the first partition of its file.

        A file without partitions is taken to begin where the one before it does.
        """
        key = {"version_id": version.id}
        with self._database.read() as connection:
            trees = [make_tree(row) for row in connection.execute(s.version_trees, key) if row[0] == tree]
            files = connection.execute(s.version_files, key).all()
            firsts = {row[0]: row[1] for row in connection.execute(s.version_file_partitions, key)}
        found, place = {one.file: one for one in trees}, 0
        placed = []
        for file_id, *fields in files:
            place = firsts.get(file_id, place)
            file = FileInfo(*fields)
            if file in found:
                placed.append((found[file], place))
        return placed

    def origin(self, version: DatasetVersion) -> str | None:
        """Return where all events of `version` come from, as JSON, if that is another dataset."""
        with self._database.read() as connection:
            found = connection.execute(s.origin, {"version_id": version.id}).scalar()
        return None if found is None else str(found)

    def layout_index(self, layout_id: int, physical_names: Iterable[str]) -> dict[str, int]:
        """Return where columns stand in the directory of objects with that layout.

        Names that those objects lack are absent from the result.
        """
        found: dict[str, int] = {}
        with self._database.read() as connection:
            for some in chunks(list(physical_names)):
                rows = connection.execute(s.layout_index, {"layout_id": layout_id, "names": some})
                found |= {row[0]: row[1] for row in rows}
        return found

    def layout(self, layout_id: int) -> dict[str, int]:
        """Return all that `layout_index` can return, in the directory's order."""
        with self._database.read() as connection:
            rows = connection.execute(s.whole_layout, {"layout_id": layout_id})
            return {row[0]: row[1] for row in rows}

    def lacking(self, version: DatasetVersion, names: Sequence[str]) -> dict[str, list[FileInfo]]:
        """Return the files, by path, that lack columns: those of `names` that some file lacks.

        A counter counts as there if its list is. Physical names (`Muon#`) are understood too.
        Files without events lack nothing.
        """
        wanted = self.columns_named(version, names)
        physical = {name: _physical(wanted.get(name), name) for name in names}
        with self._database.read() as connection:
            missing = _missing(connection, version.id, physical)
            if not missing:
                return {}
            rows: list[Any] = []
            for some in chunks(sorted(set().union(*missing.values()))):
                rows += connection.execute(s.files_of_layouts, {"version_id": version.id, "layout_ids": some})
            beside = _positions_having(connection, version, set(physical.values()))
        lacking = {
            name: list(
                dict.fromkeys(
                    FileInfo(*file)
                    for *file, layout_id, position in rows
                    if layout_id in layout_ids and position not in beside.get(physical[name], ())
                )
            )
            for name, layout_ids in missing.items()
        }
        return {name: files for name, files in lacking.items() if files}

    def _no_version(self, dataset: str, number: int | None) -> NotFound:
        with self._database.read() as connection:
            known = connection.execute(select(t.datasets.c.name)).scalars().all()
            numbers = [row[2] for row in connection.execute(s.versions, {"dataset": dataset})]
        if dataset not in known:
            return NotFound(f"no dataset {dataset!r}{did_you_mean(dataset, known)}")
        if not numbers or number is None:
            return NotFound(f"dataset {dataset!r} has no version")
        return NotFound(f"dataset {dataset!r} has no version {number}; the newest is {numbers[0]}")


def id_of_dataset(connection: Connection, dataset: str) -> int:
    """Return the id of a dataset. Raises `NotFound` if there is none; near matches are named."""
    found = connection.execute(select(t.datasets.c.id).where(t.datasets.c.name == dataset)).scalar()
    if found is None:
        known = connection.execute(select(t.datasets.c.name)).scalars().all()
        raise NotFound(f"no dataset {dataset!r}{did_you_mean(dataset, known)}")
    return int(found)


def make_version(row: Sequence[Any]) -> DatasetVersion:
    """Return the version that a row of `s.version_columns` holds."""
    values = [*row]
    values[7] = datetime.fromtimestamp(values[7], UTC)
    return DatasetVersion(*values)


def make_tree(row: Sequence[Any]) -> MetaTree:
    """Return the tree that a row of (tree, file fields, object fields) holds."""
    tree, *rest = row
    return MetaTree(tree, FileInfo(*rest[:5]), ObjectInfo(*rest[5:]))


def load_schema(connection: Connection, schema_id: int) -> Schema:
    """Return a whole schema."""
    columns = connection.execute(s.all_columns, {"schema_id": schema_id})
    lists = connection.execute(s.all_lists, {"schema_id": schema_id})
    return Schema({row[0]: Column(*row) for row in columns}, {row[0]: ListInfo(*row) for row in lists})


def chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield `values` in parts that fit into one SQL statement."""
    for start in range(0, len(values), IN_MAX):
        yield values[start : start + IN_MAX]


def _physical(column: Column | None, name: str) -> str:
    return offsets_column(column.counts) if column is not None and column.counts is not None else name


def _positions_having(
    connection: Connection, version: DatasetVersion, names: set[str]
) -> dict[str, set[int]]:
    """Return the partitions that have columns in a set beside their base object."""
    having: dict[str, set[int]] = {}
    key = {"version_id": version.id, "first": 0, "stop": version.partitions}
    sets = [(row[0], row[-1]) for row in connection.execute(s.version_sets, key)]
    for layout_ids in chunks(sorted({layout_id for _, layout_id in sets})):
        for some in chunks(list(names)):
            for name, layout_id in connection.execute(
                s.layouts_having, {"layout_ids": layout_ids, "names": some}
            ):
                having.setdefault(name, set()).update(at for at, mine in sets if mine == layout_id)
    return having


def _missing(connection: Connection, version_id: int, physical: dict[str, str]) -> dict[str, set[int]]:
    """Return, for names that some layouts of the version lack, those layouts."""
    layouts = set(connection.execute(s.version_layouts, {"version_id": version_id}).scalars())
    having: dict[str, set[int]] = {}
    for names in chunks(list(set(physical.values()))):
        for layout_ids in chunks(sorted(layouts)):
            rows = connection.execute(s.layouts_having, {"layout_ids": layout_ids, "names": names})
            for name, layout_id in rows:
                having.setdefault(name, set()).add(layout_id)
    lacking = {name: layouts - having.get(stored, set()) for name, stored in physical.items()}
    return {name: layout_ids for name, layout_ids in lacking.items() if layout_ids}
