"""Columns of other files joined to the events of a dataset, whatever their order.

The events of the dataset are taken group by group: an index of the keys of a group, and its new columns,
are in memory; the files stream past once for each group, and their columns are read only where events of
the group are. A group is as large as `GROUP_BYTES` allow, so memory does not grow with the dataset: it
takes about twice that, a piece of one file (see `friend_files`) and a byte for each event of the files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from ..catalog import Catalog, DatasetVersion, ObjectInfo, Partition
from ..errors import InvalidRequest, NotFound, did_you_mean
from ..plan import check_value, plan
from ..query import Fill, Query
from ..report import counted
from ..scan import Scan
from ..schema import Schema, offsets_column
from ..stores import ObjectStore
from ..tally import TALLIED, EncodedTally, countable
from .friend_files import FriendFile, Piece, open_friends
from .friend_schema import FriendSchemas, with_columns
from .joined_columns import JoinedColumns
from .keys import KEY_EVENT_BYTES, Array, KeyIndex
from .objects import SetObjects
from .report import AddedColumns

KEYS: Final = ("run", "luminosityBlock", "event")
"""What names an event of CMS."""
GROUP_BYTES: Final = 256 << 20
"""Memory for the keys and the new columns of a group of events."""
NAMED_MAX: Final = 3
"""Events that an error names."""

ProgressCallback = Callable[[int, int], None]


def add_columns(
    catalog: Catalog,
    store: ObjectStore,
    dataset: str,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    columns: Sequence[str] | None = None,
    *,
    on: Sequence[str] = KEYS,
    fill: Fill | Mapping[str, Fill] | None = None,
    replace: bool = False,
    tree: str = "Events",
    progress: ProgressCallback | None = None,
) -> AddedColumns:
    """Make a new version of `dataset` that has more columns, from other files; its objects are shared.

    Parameters
    ----------
    catalog, store
        Where the dataset is kept.
    dataset : str
        Its name.
    paths : str, path, or several
        ROOT (TTree, RNTuple) or Parquet files; files, globs, or URLs that uproot opens.
    columns : sequence of str, optional
        Names and globs of the columns to take; by default all but the keys and what the dataset has.
        ``X_y`` belongs to the collection ``X`` if the dataset has one; its lists must be as long then.
    on : sequence of str
        Columns of whole numbers, in the dataset and in the files, that name an event.
    fill : number, or dict of column and number, optional
        Values for events that no file has; without it such events are refused, and so are
        events that come twice, of which else the first counts.
    replace : bool
        True: the columns take the place of those that the dataset has, with the same types.
    tree : str
        The tree of ROOT files.
    progress : callable, optional
        Called with the events done and the events in total.

    Raises
    ------
    NotFound
        If there is no such dataset, or it lacks a key or, with `replace`, a column.
    AlreadyExists
        If the dataset has a column already, or got a new version meanwhile.
    IngestError
        If a file cannot be read or lacks a column, or files contradict each other.
    InvalidRequest
        If events are missing or come twice, types or list lengths differ, or a fill value does not fit.
    StoreError
        If the store or the catalog failed; in all cases the dataset is as before.
    """
    began_s = time.monotonic()
    version = catalog.version(dataset)
    keys = _names("on", on)
    wanted = None if columns is None else _names("columns", columns)
    if wanted is None and replace:
        raise InvalidRequest("replace=True needs the columns that are to be replaced")
    files = open_friends(paths, keys, wanted, tree)
    try:
        schema = FriendSchemas(catalog, version, keys, wanted is None, replace).united(files)
        join = _Join(catalog, store, version, keys, files, schema, _fills(schema, fill), progress)
        parts = join.run()
    finally:
        for file in files:
            file.close()
    made = catalog.commit_version(
        dataset,
        with_columns(catalog.schema(version), schema),
        parts,
        catalog.files(version),
        trees=catalog.trees(version),
        note=f"columns {', '.join(join.columns)} from {counted(len(files), 'file')}",
        expected=version.number,
        origin=catalog.origin(version) or "",
        tallies=join.tallies,
    )
    nbytes = sum(part.sets[-1].bytes for part in parts if part.events)
    return AddedColumns(
        dataset,
        made.number,
        tuple(join.columns),
        version.events,
        join.missing,
        join.duplicates,
        join.unused,
        nbytes,
        time.monotonic() - began_s,
    )


def _names(what: str, names: Sequence[str]) -> list[str]:
    found = [names] if isinstance(names, str) else list(names)
    if not found or not all(isinstance(one, str) and one for one in found):
        raise InvalidRequest(f"{what} is {names!r}; names of columns are needed")
    if len(set(found)) != len(found):
        raise InvalidRequest(f"{what} names {found} twice")
    return found


def _fills(schema: Schema, fill: Fill | Mapping[str, Fill] | None) -> dict[str, Fill] | None:
    """Return the fill value of each column; None if there are none."""
    if fill is None:
        return None
    values = {name: one for name, one in schema.columns.items() if one.counts is None}
    if not isinstance(fill, Mapping):
        found = dict.fromkeys(values, fill)
    else:
        for name in fill:
            if name not in values:
                raise NotFound(f"fill names {name!r}, which is not added{did_you_mean(name, values)}")
        lacking = [name for name in values if name not in fill]
        if lacking:
            raise InvalidRequest(
                f"fill has no value for {lacking[0]!r}; give one for each column that is added"
            )
        found = dict(fill)
    for name, value in found.items():
        if not isinstance(value, (bool, int, float)):
            raise InvalidRequest(f"fill[{name!r}] is {value!r}; a number or a bool is needed")
        check_value(values[name], value)
    return found


class _Join:
    """One join at work."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        version: DatasetVersion,
        keys: list[str],
        files: list[FriendFile],
        schema: Schema,
        fills: dict[str, Fill] | None,
        progress: ProgressCallback | None,
    ) -> None:
        self._catalog, self._store, self._version = catalog, store, version
        self._keys, self._files, self._schema, self._fills = keys, files, schema, fills
        self._progress = progress
        self._objects = SetObjects(catalog, store, schema)
        self._countable = countable(schema.columns)
        self.tallies: dict[ObjectInfo, EncodedTally] = {}
        """What is added up of the new objects."""
        self.columns = [name for name, column in schema.columns.items() if column.counts is None]
        self._matched = [np.zeros(file.entries, np.bool_) for file in files]
        self.missing = self.duplicates = self.repeated = 0
        self._named: list[str] = []

    @property
    def unused(self) -> int:
        """Events of the files that the dataset does not have."""
        return sum(int((~matched).sum()) for matched in self._matched)

    def run(self) -> list[Partition]:
        """Return the partitions with their new objects, which are in the store."""
        made: list[Partition] = []
        done = 0
        for group in self._groups():
            made += self._group(group)
            done += sum(part.events for part in group)
            if self._progress is not None:
                self._progress(done, self._version.events)
        self._refuse()
        return made

    def _refuse(self) -> None:
        if self.repeated:
            raise InvalidRequest(
                f"{self.repeated:,} events of dataset {self._version.dataset!r} have the keys of others "
                f"({self._examples()}); what names each event must be given with on="
            )
        if self._fills is not None or not (self.missing or self.duplicates):
            return
        found = []
        if self.missing:
            found.append(f"{self.missing:,} of {self._version.events:,} events are in no file")
        if self.duplicates:
            found.append(f"{self.duplicates:,} events of the files come again")
        raise InvalidRequest(
            f"{' and '.join(found)} ({self._examples()}); give the value for what is missing with fill=, "
            "then the first of equal events counts"
        )

    def _examples(self) -> str:
        return "; ".join(self._named)

    def _groups(self) -> Iterator[list[Partition]]:
        """Yield the partitions in groups whose events fit into memory."""
        entries = sum(file.entries for file in self._files)
        event_bytes = KEY_EVENT_BYTES + sum(file.nbytes for file in self._files) // max(entries, 1)
        most = max(1, GROUP_BYTES // event_bytes)
        group: list[Partition] = []
        for part in self._catalog.partitions(self._version):
            if group and sum(one.events for one in group) + part.events > most:
                yield group
                group = []
            group.append(part)
        if group:
            yield group

    def _group(self, group: list[Partition]) -> list[Partition]:
        """Join the events of some partitions, unless it is known that the join will be refused."""
        events = sum(part.events for part in group)
        keys = self._stored_keys(group)
        index = KeyIndex(keys)
        if index.repeated:
            again = np.flatnonzero(index.find(keys) != np.arange(events))
            self._note(keys, again, "twice in the dataset")
            self.repeated += index.repeated
        found = _Found(events)
        columns = JoinedColumns(self._schema, events, self._fills, self._known_offsets(group))
        for file, matched in zip(self._files, self._matched, strict=True):
            for piece in file.pieces():
                chosen, rows = self._match(index, piece, matched, found)
                if len(rows) and not self._fails:
                    columns.take(rows, chosen, piece.values(), file)
        absent = np.flatnonzero(~found.seen)
        self.missing += len(absent)
        self._note(keys, absent, "missing")
        if self._fails:
            return group
        arrays = columns.finish()
        return [self._put(part, arrays, part.first_event - group[0].first_event) for part in group]

    @property
    def _fails(self) -> bool:
        return bool(self.repeated or (self._fills is None and (self.missing or self.duplicates)))

    def _match(self, index: KeyIndex, piece: Piece, matched: Array, found: _Found) -> tuple[Array, Array]:
        """Return the entries of a piece that are taken, and the rows they go to."""
        rows = index.find(piece.keys)
        hits = np.flatnonzero(rows >= 0)
        places = slice(piece.start, piece.start + len(rows))
        across = matched[places][hits]
        if across.any():  # an event of the files that an earlier group has, too
            self._note(piece.keys, hits[across], "twice in the dataset")
            self.repeated += int(across.sum())
        matched[places][hits] = True
        first = found.first(rows[hits])
        if not first.all():
            self._note(piece.keys, hits[~first], "again in the files")
            self.duplicates += int((~first).sum())
        chosen = hits[first]
        return chosen, rows[chosen]

    def _note(self, keys: Sequence[Array], rows: Array, what: str) -> None:
        """Remember some events for the error."""
        for row in rows[: max(0, NAMED_MAX - len(self._named))].tolist():
            named = ", ".join(f"{name} {int(key[row])}" for name, key in zip(self._keys, keys, strict=True))
            self._named.append(f"{what}: {named}")

    def _stored_keys(self, group: list[Partition]) -> list[Array]:
        dataset, number = self._version.dataset, self._version.number
        asked = Query.make(
            dataset, self._keys, version=number, partitions=(group[0].index, group[-1].index + 1)
        )
        return list(Scan(plan(self._catalog, asked), self._store).collect().values)

    def _known_offsets(self, group: list[Partition]) -> dict[str, Array]:
        """Return the offsets of those lists that every partition of the group has already."""
        known: dict[str, Array] = {}
        for name in self._schema.lists:
            found = [self._objects.offsets(part, name) for part in group if part.events]
            there = [one for one in found if one is not None]
            if there and len(there) == len(found):
                lengths = np.concatenate([np.diff(one) for one in there])
                known[name] = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return known

    def _put(self, part: Partition, arrays: dict[str, Array], first: int) -> Partition:
        if not part.events:
            return part
        mine: dict[str, Array] = {}
        bounds: dict[str | None, tuple[int, int]] = {None: (first, first + part.events)}
        for name in self._schema.lists:
            offsets = arrays[offsets_column(name)][first : first + part.events + 1]
            bounds[name] = int(offsets[0]), int(offsets[-1])
            mine[offsets_column(name)] = offsets - offsets[0]
        for name in self.columns:
            begin, end = bounds[self._schema.columns[name].list]
            mine[name] = arrays[name][begin:end]
        info = self._objects.put(part, mine)
        if any(self._countable):
            tallied: dict[str, Array] = {name: mine[name] for name in TALLIED if name in mine}
            self.tallies[info] = EncodedTally.of(tallied, *self._countable)
        return part._replace(sets=(*part.sets, info))


class _Found:
    """Which rows of a group have their event."""

    def __init__(self, events: int) -> None:
        self.seen = np.zeros(events, np.bool_)

    def first(self, rows: Array) -> Array:
        """Return which of `rows` come for the first time, and note them."""
        _, places = np.unique(rows, return_index=True)
        first = np.zeros(len(rows), np.bool_)
        first[places] = True
        first &= ~self.seen[rows]
        self.seen[rows] = True
        return first
