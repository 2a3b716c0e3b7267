"""What the names in a query stand for, looked up one by one: never all columns of a dataset."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .catalog import Catalog, DatasetVersion
from .errors import InvalidRequest, NotFound, did_you_mean
from .expression import is_record
from .program import ProgramBuilder
from .query import Query
from .schema import Column, ListInfo

_GLOB: Final = re.compile(r"[*?\[]")


class DatasetNames:
    """The columns and lists of one version of a dataset, remembered once looked up."""

    def __init__(self, catalog: Catalog, version: DatasetVersion) -> None:
        self.catalog = catalog
        self.version = version
        self._columns: dict[str, Column | None] = {}
        self._lists: dict[str, ListInfo | None] = {}
        self.definitions: set[str] = set()
        """Derived columns of the dataset that are in use."""
        self._beside: set[str] = set()

    def prefetch(self, names: Iterable[str]) -> None:
        """Look up columns all at once."""
        wanted = set(names) - self._columns.keys()
        found = self.catalog.columns_named(self.version, wanted) if wanted else {}
        self._columns.update((name, found.get(name)) for name in wanted)

    def add(self, column: Column, info: ListInfo | None) -> None:
        """Add a column that lies beside those of the version, and its list if that is new too."""
        self._columns[column.name] = column
        if info is not None:
            self._lists[info.name] = info
            self._beside.add(info.name)

    def lies_alone(self, definition: str, list_name: str | None) -> bool:
        """Return whether the lists of a derived column of the dataset are its own, stored or not."""
        return definition in self.definitions and (list_name is None or list_name in self._beside)

    def column(self, name: str) -> Column | None:
        """Return the column of this flat name, or None."""
        if name not in self._columns:
            self._columns[name] = self.catalog.column(self.version, name)
        return self._columns[name]

    def list_info(self, name: str) -> ListInfo | None:
        """Return the list of this name, or None."""
        if name not in self._lists:
            self._lists[name] = self.catalog.list_info(self.version, name)
        return self._lists[name]

    def known(self) -> Iterable[str]:
        """Return every column name, for the near matches of an error."""
        return self.catalog.column_names(self.version)

    def matching(self, pattern: str | None) -> list[Column]:
        """Return the columns that match a glob (None for all), in file order."""
        found = self.catalog.columns(self.version, pattern)
        self._columns.update((column.name, column) for column in found)
        return found

    def list_of(self, column: Column) -> ListInfo | None:
        """Return the list that a column lies in or counts; None for a value per event."""
        name = column.list or column.counts
        return None if name is None else self.list_info(name)


def resolve_columns(
    names: DatasetNames, query: Query, own: Sequence[tuple[str, str]] | None = None
) -> list[Column | str]:
    """Return what the query delivers, in order and once each: columns, and names of derived ones.

    Parameters
    ----------
    own : sequence of (str, str), optional
        Those definitions that count as columns if all are asked for; by default all of the query.

    Raises
    ------
    NotFound
        If a name stands for nothing; the message offers near matches.
    InvalidRequest
        If a derived column has the name of a stored one, or is no identifier.
    """
    defined = [name for name, _ in query.define]
    for name in defined:
        check_defined(names, name)
    if query.columns is None:
        mine = [name for name, _ in (query.define if own is None else own)]
        return [*names.matching(None), *(name for name in _deliverable(names, query) if name in mine)]
    found: dict[str, Column | str] = {}
    for asked in query.columns:
        for item in _resolve(names, asked.strip(), defined):
            found.setdefault(item if isinstance(item, str) else item.name, item)
    return list(found.values())


def list_named(names: DatasetNames, name: str) -> ListInfo:
    """Return the list of this name.

    Raises
    ------
    NotFound
        If there is none; the message offers near matches.
    """
    info = names.list_info(name)
    if info is None:
        lists = [one.name for one in names.catalog.lists(names.version)]
        raise NotFound(
            f"dataset {names.version.dataset!r} has no collection {name!r}{did_you_mean(name, lists)}"
        )
    return info


def _deliverable(names: DatasetNames, query: Query) -> list[str]:
    """Return the derived columns that are values, not records that others only use."""
    defined = dict(query.define)
    return [name for name in defined if not is_record(ProgramBuilder(), names, name, defined)]


def _resolve(names: DatasetNames, asked: str, defined: list[str]) -> Iterator[Column | str]:
    if asked in defined:
        yield asked
        return
    found = _stored(names, asked)
    derived = _matching_defined(asked, defined)
    if not found and not derived:
        raise NotFound(_unknown(names, asked, defined))
    yield from found
    yield from derived


def _stored(names: DatasetNames, asked: str) -> list[Column]:
    column = names.column(asked)
    if column is not None:
        return [column]
    collection, dot, field = asked.partition(".")
    if dot:
        found = (
            names.matching(f"{collection}_{field}")
            if _GLOB.search(field)
            else [names.column(f"{collection}_{field}")]
        )
        in_list = names.list_info(collection) is not None
        return [c for c in found if c is not None and (c.list == collection or not in_list)]
    if _GLOB.search(asked):
        return names.matching(asked)
    if names.list_info(asked) is not None:
        return [column for column in names.matching(f"{asked}_*") if column.list == asked]
    return []


def _matching_defined(asked: str, defined: list[str]) -> list[str]:
    if not _GLOB.search(asked):
        return []
    from fnmatch import fnmatchcase

    return [name for name in defined if fnmatchcase(name, asked)]


def _unknown(names: DatasetNames, asked: str, defined: list[str]) -> str:
    where = f"dataset {names.version.dataset!r}"
    if not re.fullmatch(r"[\w.*?\[\]!-]*", asked):
        return f"{where} has no column {asked!r}; to compute it say define={{'x': {asked!r}}} and ask for 'x'"
    if _GLOB.search(asked):
        return f"no column of {where} matches {asked!r}"
    if names.matching(f"{asked}_*"):
        return f"{where} has no column {asked!r}; '{asked}_*' asks for the columns that start so"
    return (
        f"{where} has no column {asked!r}{did_you_mean(asked.replace('.', '_'), [*names.known(), *defined])}"
    )


def check_defined(names: DatasetNames, name: str) -> None:
    """Refuse a name for a derived column that is no identifier, or that the dataset has already.

    Raises
    ------
    InvalidRequest
        If it is one of these.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InvalidRequest(
            f"define names a column {name!r}; letters, digits and _ are needed, no digit first, and no word "
            "of Python's own such as class"
        )
    if names.column(name) is not None or names.list_info(name) is not None:
        raise InvalidRequest(
            f"define names a column {name!r}, which the dataset has already; choose another name"
        )
