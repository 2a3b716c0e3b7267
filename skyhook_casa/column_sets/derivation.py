"""Definitions of a dataset in a query: read where they are stored, else computed with it."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..catalog import DerivedSet, Partitions
from ..compile_query import Output
from ..definitions import definition_digests, needed
from ..errors import InvalidRequest
from ..expression import mentioned_names
from ..functions import OWN_LIST, PER_EVENT, Function, function_of, shown
from ..query import Query
from ..resolve import DatasetNames
from ..schema import Column, ListInfo, offsets_column

DIGEST_CHARS = 12
"""Of the digest, in the name of the column that is stored: enough for the definitions of one name."""


class Pending(NamedTuple):
    """A derived column that is asked for and not stored."""

    name: str
    digest: str


class Stored(NamedTuple):
    """How a derived column is stored."""

    column: Column
    list: ListInfo | None
    """Its list, if that is not one of the dataset's."""
    text: str
    """The expression that reads it."""

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        info = None if self.list is None else astuple(self.list)
        return json.dumps({"column": astuple(self.column), "list": info, "text": self.text})

    @classmethod
    def from_json(cls, text: str) -> Stored:
        """Return what `to_json` wrote."""
        found = json.loads(text)
        info = None if found["list"] is None else ListInfo(*found["list"])
        return cls(Column(*found["column"]), info, found["text"])


def stored_as(
    name: str, digest: str, dtype: str, list_name: str | None, alone: bool, optional: bool, title: str = ""
) -> Stored:
    """Return how the values of a definition are stored.

    Parameters
    ----------
    list_name : str or None
        The list of the dataset that they lie in.
    alone : bool
        Whether they lie in lists of their own instead.
    optional : bool
        Whether values per event may be missing.
    """
    column = f"{name}__{digest[:DIGEST_CHARS]}"
    if list_name is not None:
        return Stored(Column(column, dtype, list_name, title=title), None, column)
    if not alone and not optional:
        return Stored(Column(column, dtype, title=title), None, column)
    # A value that may be missing is the first element of a list that may be empty.
    text = f"{column}[0]" if optional else column
    return Stored(Column(column, dtype, column, title=title), ListInfo(column), text)


def stored_function(name: str, digest: str, function: Function) -> Stored:
    """Return how what a function returns is stored."""
    alone = function.per == OWN_LIST
    list_name = None if alone or function.per == PER_EVENT else function.per
    return stored_as(name, digest, function.dtype, list_name, alone, function.optional)


class Derivation:
    """What the definitions of a dataset mean for one query.

    Attributes
    ----------
    query : Query
        The query with the definitions that it uses; those that are stored are read.
    known : dict
        All definitions of the dataset.
    pending : tuple of Pending
        Those that the query names and that are neither stored nor known to be no use to store.
    uncalled : set of str
        The physical columns, read by the query, that functions will be stored as and that no object has yet.
    """

    def __init__(self, names: DatasetNames, query: Query, mentioned: set[str]) -> None:
        self.query = query
        self.pending: tuple[Pending, ...] = ()
        self.uncalled: set[str] = set()
        self._sets: list[DerivedSet] = []
        self._titles: dict[str, str] = {}
        self._names = names
        self.known = names.catalog.definition_texts(names.version.dataset)
        if self.known:
            self._use(mentioned)

    def titled(self, output: Output) -> Output:
        """Return a column of the answer with its definition as its title, wherever it is read from."""
        title = self._titles.get(output.name)
        return output if title is None else replace(output, title=title)

    def beside(self, parts: Partitions) -> Partitions:
        """Return the partitions with the objects of the derived columns that are read."""
        for one in self._sets:
            objects = self._names.catalog.derived_objects(one.id)
            parts = Partitions(
                part._replace(sets=(*part.sets, objects[part.index])) if part.index in objects else part
                for part in parts
            )
        return parts

    def _use(self, mentioned: set[str]) -> None:
        for name, _ in self.query.define:
            if name in self.known:
                raise InvalidRequest(
                    f"define names a column {name!r}, which dataset {self._names.version.dataset!r} has as a "
                    "definition; choose another name"
                )
        globs = [text for text in self.query.columns or () if "*" in text or "?" in text]
        named = {n for n in self.known if n in mentioned or any(fnmatchcase(n, one) for one in globs)}
        self._names.prefetch(self.known)
        texts = {n: text for n, text in self.known.items() if self._names.column(n) is None}
        if not named & texts.keys():
            return
        digests = definition_digests(self.known)
        sets = self._names.catalog.derived_sets(
            self._names.version, [digests[name] for name in needed(texts, named)]
        )
        stored = {name: sets[digests[name]] for name in texts if digests[name] in sets}
        done = {name: one for name, one in stored.items() if one.state == "done"}
        for name, one in done.items():
            texts[name] = self._read(Stored.from_json(one.description))
        functions = self._stand_in(texts, digests)
        used = needed(texts, named)
        self._sets = [one for name, one in done.items() if name in used]
        self._names.definitions = set(used)
        self._titles = {name: shown(self.known[name]) for name in used}
        self.query = replace(self.query, define=(*((n, texts[n]) for n in used), *self.query.define))
        inline = {name for name, one in stored.items() if one.state == "inline"}
        left = [n for n in used if n in functions or (n in named and n not in done and n not in inline)]
        self.pending = tuple(Pending(name, digests[name]) for name in left)

    def _stand_in(self, texts: dict[str, str], digests: dict[str, str]) -> set[str]:
        """Let functions that were not called be read from where they will be stored; return their names."""
        waiting = set()
        for name, text in texts.items():
            function = function_of(text)
            if function is not None:
                stored = stored_function(name, digests[name], function)
                texts[name] = self._read(stored)
                self.uncalled.add(stored.column.name)
                if stored.list is not None:
                    self.uncalled.add(offsets_column(stored.list.name))
                waiting.add(name)
        return waiting

    def _read(self, stored: Stored) -> str:
        """Make the column of a stored definition known; return the expression that reads it."""
        self._names.add(stored.column, stored.list)
        return stored.text


def mentioned_by(query: Query) -> set[str]:
    """Return the names that the query may refer to, so that one look-up fetches them."""
    names = {name.replace(".", "_", 1) for name in query.columns or ()}
    for text in (query.cut, *(text for _, text in query.define)):
        names |= set() if text is None else mentioned_names(text)
    return names
