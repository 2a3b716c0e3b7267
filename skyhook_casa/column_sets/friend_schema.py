"""What files hold in terms of the dataset that it is added to."""

from __future__ import annotations

from dataclasses import replace

from ..catalog import Catalog, DatasetVersion
from ..errors import AlreadyExists, IngestError, InvalidRequest, NotFound, did_you_mean
from ..schema import Column, ListInfo, Schema
from .friend_files import FriendFile
from .keys import check_keys


class FriendSchemas:
    """Brings what the files hold into the dataset's terms, and refuses what does not fit."""

    def __init__(
        self, catalog: Catalog, version: DatasetVersion, keys: list[str], everything: bool, replaces: bool
    ) -> None:
        self._version = version
        self._whole = catalog.schema(version)
        self._defined = catalog.definition_texts(version.dataset)
        self._keys = keys
        self._everything = everything
        self._replaces = replaces
        for name in keys:
            column = self._whole.columns.get(name)
            if column is None:
                raise NotFound(
                    f"dataset {version.dataset!r} has no column {name!r} to find events by"
                    f"{did_you_mean(name, self._whole.columns)}"
                )
            if column.list is not None:
                raise InvalidRequest(f"key column {name!r} has a list for each event; one number is needed")
            check_keys([name], [column.dtype], f"dataset {version.dataset!r}")

    def united(self, files: list[FriendFile]) -> Schema:
        """Return the columns of the set; all files must have the same."""
        first: Schema | None = None
        for file in files:
            schema = self._in_terms(file.schema)
            if first is not None and _plain(schema) != _plain(first):
                raise IngestError(f"{file.path}: {_difference(first, schema, files[0].path)}")
            first = first or schema
        assert first is not None
        if not any(column.counts is None for column in first.columns.values()):
            raise InvalidRequest(
                f"{files[0].path} has no column that dataset {self._version.dataset!r} lacks"
            )
        return first

    def _in_terms(self, schema: Schema) -> Schema:
        found = Schema()
        for column in schema.columns.values():
            taken = column.name in self._keys or (self._everything and column.name in self._whole.columns)
            if taken or column.counts is not None:
                continue
            home = self._home(column, schema)
            column = replace(column, list=None if home is None else home.name)
            self._check(column)
            if home is not None and home.name not in found.lists:
                self._add_list(home, schema, found)
            found.columns[column.name] = column
        return found

    def _add_list(self, info: ListInfo, schema: Schema, found: Schema) -> None:
        """Add a list with its counter: the dataset's, or that of the file for a list that is new."""
        found.lists[info.name] = info
        if info.counter is None:
            return
        known = self._whole.columns.get(info.counter)
        counter = known or schema.columns[info.counter]
        if counter.counts != info.name:
            raise AlreadyExists(
                f"dataset {self._version.dataset!r} has a column {info.counter!r}, which is not the length "
                f"of list {info.name!r}"
            )
        found.columns[counter.name] = counter

    def _home(self, column: Column, schema: Schema) -> ListInfo | None:
        """Return the list that a column shall lie in."""
        if column.list is None:
            return None
        before = self._whole.columns.get(column.name)
        if before is not None and before.list is not None:
            return self._whole.lists[before.list]
        fitting = [
            info
            for info in self._whole.lists.values()
            if info.collection and column.name.startswith(info.name + "_")
        ]
        if fitting:
            return max(fitting, key=lambda info: len(info.name))
        return self._whole.lists.get(column.list) or schema.lists[column.list]

    def _check(self, column: Column) -> None:
        before, dataset = self._whole.columns.get(column.name), self._version.dataset
        if column.name in self._defined:
            raise AlreadyExists(f"dataset {dataset!r} has a definition of {column.name!r}; drop it first")
        if not self._replaces:
            if before is not None:
                raise AlreadyExists(
                    f"dataset {dataset!r} has a column {column.name!r} already; replace=True takes its place"
                )
            info = self._whole.lists.get(column.name)
            if info is not None or (
                column.list in self._whole.lists and not self._whole.lists[column.list].collection
            ):
                raise AlreadyExists(f"dataset {dataset!r} has a list {column.list or column.name!r} already")
            return
        if before is None:
            near = did_you_mean(column.name, self._whole.columns)
            raise NotFound(
                f"dataset {dataset!r} has no column {column.name!r} to replace{near}; without "
                "replace=True it is added"
            )
        if before.counts is not None:
            raise InvalidRequest(
                f"{column.name!r} is the length of list {before.counts!r}: it cannot be replaced"
            )
        if (before.dtype, before.list) != (column.dtype, column.list):
            raise InvalidRequest(
                f"column {column.name!r} is {_spelled(before)} in dataset {dataset!r} and {_spelled(column)} "
                "in the files; what takes its place must be of the same type"
            )


def _plain(schema: Schema) -> tuple[set[tuple[str, str, str | None, str | None]], dict[str, ListInfo]]:
    return {(c.name, c.dtype, c.list, c.counts) for c in schema.columns.values()}, schema.lists


def _difference(first: Schema, second: Schema, path: str) -> str:
    for name in [*first.columns, *second.columns]:
        one, other = first.columns.get(name), second.columns.get(name)
        if one is None or other is None:
            where = path if other is None else "it"
            return f"only {where} has column {name!r}; all files must have the same columns"
        if _spelled(one) != _spelled(other):
            return f"column {name!r} is {_spelled(other)}, but {_spelled(one)} in {path}"
    return f"its lists are not those of {path}"


def _spelled(column: Column) -> str:
    return column.dtype if column.list is None else f"{column.dtype} per element of {column.list!r}"


def with_columns(whole: Schema, new: Schema) -> Schema:
    """Return the dataset's schema with the new columns, those of a list behind its others."""
    columns = dict(whole.columns)
    for name, column in new.columns.items():
        if name in columns:
            continue
        same = [n for n, c in columns.items() if column.list is not None and c.list == column.list]
        if not same:
            columns[name] = column
            continue
        items = list(columns.items())
        items.insert(1 + list(columns).index(same[-1]), (name, column))
        columns = dict(items)
    return Schema(columns, {**whole.lists, **{n: i for n, i in new.lists.items() if n not in whole.lists}})
