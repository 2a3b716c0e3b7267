"""Whether files can be one dataset: their columns agree, and no event comes in twice."""

from __future__ import annotations

from ..catalog import Catalog, DatasetVersion, union_schema
from ..errors import AlreadyExists, IngestError, NotFound
from ..schema import Column, ListInfo, Schema
from .encode import FileFacts

OTHER_DATASET = "Ingest it into a dataset of its own."
IN_ALREADY = "Its events are there: leave it out."

_Shape = tuple[str, str | None, str | None]


class Agreement:
    """What the files taken so far agree on.

    Parameters
    ----------
    catalog : Catalog
        Knows what the dataset holds.
    dataset : str
        Whose newest version the files must agree with, too.
    append : bool
        False: with nothing but each other.
    """

    def __init__(self, catalog: Catalog, dataset: str, append: bool) -> None:
        self.schema = Schema()
        """The union over the files, in their order."""
        self._catalog = catalog
        self._dataset = dataset
        self._version = _newest(catalog, dataset) if append else None
        self._held: dict[tuple[str, str, int], str] = {}
        if self._version is not None:
            files = catalog.files(self._version)
            self._held = {(one.uuid, one.tree, one.entries): one.path for one in files}
        self._before: dict[str, Column] = {}
        self._asked: set[str] = set()
        self._taken: dict[tuple[str, str, int], str] = {}
        self._columns: dict[str, tuple[Column, str]] = {}
        self._lists: dict[str, tuple[ListInfo, str]] = {}
        self._latest: Schema | None = None

    def take(self, file: FileFacts) -> None:
        """Take a file in; one that is refused changes nothing.

        Raises
        ------
        AlreadyExists
            If it was taken already, or is in the dataset.
        IngestError
            If one of its columns is of another type in another file.
        """
        identity = (file.uuid, file.tree, file.entries)
        if identity in self._taken:
            raise AlreadyExists(
                f"{file.path} is the same file as {self._taken[identity]}: equal UUID and tree"
            )
        differs = file.schema is not self._latest  # most files of a dataset are alike
        if differs:
            self._check_files(file)
        if identity in self._held:
            raise AlreadyExists(
                f"{file.path} is in dataset {self._dataset!r} already, ingested from {self._held[identity]}"
            )
        if differs:
            self._check_version(file)
            self._unite(file)
        self._taken[identity] = file.path

    def _unite(self, file: FileFacts) -> None:
        for column in file.schema.columns.values():
            self._columns.setdefault(column.name, (column, file.path))
        for info in file.schema.lists.values():
            self._lists.setdefault(info.name, (info, file.path))
        self.schema = union_schema(self.schema, file.schema)
        self._latest = file.schema

    def _check_files(self, file: FileFacts) -> None:
        for column in file.schema.columns.values():
            before, path = self._columns.get(column.name, (column, file.path))
            _check_column(column, before, file.path, path)
        for info in file.schema.lists.values():
            other, path = self._lists.get(info.name, (info, file.path))
            if info.collection != other.collection:
                where = f"one of {path} and {file.path}"
                raise IngestError(
                    f"list {info.name!r} is a collection in {where}, one column in the other", OTHER_DATASET
                )

    def _check_version(self, file: FileFacts) -> None:
        if self._version is None:
            return
        new = [name for name in file.schema.columns if name not in self._asked]
        self._before |= self._catalog.columns_named(self._version, new)
        self._asked.update(new)
        for column in file.schema.columns.values():
            before = self._before.get(column.name)
            if before is not None and _shape(before) != _shape(column):
                _check_column(column, before, file.path, self._first_having(self._version, column.name))

    def _first_having(self, version: DatasetVersion, name: str) -> str:
        without = self._catalog.lacking(version, [name]).get(name, [])
        having = (one.path for one in self._catalog.files(version) if one not in without)
        return next(having, f"dataset {version.dataset!r}")


def _newest(catalog: Catalog, dataset: str) -> DatasetVersion | None:
    try:
        return catalog.version(dataset)
    except NotFound:
        return None


def _shape(column: Column) -> _Shape:
    return column.dtype, column.list, column.counts


def _check_column(column: Column, before: Column, path: str, other: str) -> None:
    if _shape(column) != _shape(before):
        raise IngestError(
            f"column {column.name!r} is {_spelled(before)} in {other} and {_spelled(column)} in {path}; "
            "files whose columns differ in type cannot be one dataset",
            OTHER_DATASET,
        )


def _spelled(column: Column) -> str:
    if column.counts is not None:
        return f"{column.dtype} (the length of {column.counts!r})"
    return column.dtype if column.list is None else f"{column.dtype} per element of {column.list!r}"
