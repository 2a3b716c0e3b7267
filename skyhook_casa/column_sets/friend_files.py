"""Files that columns are added from: ROOT trees and ntuples, and Parquet."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import IngestError, did_you_mean
from ..ingest.branches import storable
from ..ingest.paths import expand
from ..ingest.root_file import Events, RootFile, reading
from ..schema import DTYPE_CODE, Column, ListInfo, Schema, offsets_column
from .keys import Array, check_keys

PIECE_BYTES: Final = 32 << 20
"""About how much of a ROOT file is in memory at a time; of a Parquet file it is one row group."""
_PARQUET_MAGIC: Final = b"PAR1"


class Piece(NamedTuple):
    """Some entries of a file, one after the other."""

    start: int
    keys: list[Array]
    values: Callable[[], dict[str, Array]]
    """Reads the columns: one value per event, or elements; and for list `Muon`, offsets `Muon#` from 0."""


class FriendFile(ABC):
    """One file.

    Attributes
    ----------
    path : str
        Where it is.
    entries : int
        Its events.
    schema : Schema
        The columns that are wanted of it.
    nbytes : int
        About what these take in memory.
    """

    path: str
    entries: int
    schema: Schema
    nbytes: int

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """Yield all entries, in order.

        Raises
        ------
        IngestError
            If the file cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


def open_friends(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    keys: Sequence[str],
    columns: Sequence[str] | None,
    tree: str,
) -> list[FriendFile]:
    """Return the files, each with the columns that names and globs mean.

    Raises
    ------
    IngestError
        If a file cannot be read, lacks a key or a column, or is there twice.
    InvalidRequest
        If keys are no whole numbers.
    """
    found: list[FriendFile] = []
    try:
        for path in expand(paths):
            if any(path == one.path for one in found):
                raise IngestError(f"{path} was given twice")
            opened: FriendFile = (
                _ParquetFriend(path, keys, columns)
                if _is_parquet(path)
                else _RootFriend(path, keys, columns, tree)
            )
            found.append(opened)
    except BaseException:
        for one in found:
            one.close()
        raise
    return found


def _is_parquet(path: str) -> bool:
    if path.endswith((".parquet", ".pq")):
        return True
    if "://" in path:
        return False
    with Path(path).open("rb") as file:
        return file.read(4) == _PARQUET_MAGIC


class _RootFriend(FriendFile):
    """A TTree or RNTuple."""

    def __init__(self, path: str, keys: Sequence[str], columns: Sequence[str] | None, tree: str) -> None:
        self.path = path
        self._file = RootFile(path)
        try:
            self._keys = self._file.events(tree, list(keys))
            check_keys(keys, [self._keys.schema.columns[name].dtype for name in keys], path)
            self._names = keys
            self._values: Events = self._file.events(tree, columns)
        except BaseException:
            self._file.close()
            raise
        self.entries = self._keys.entries
        self.schema = self._values.schema
        self.nbytes = self._values.nbytes()[1]

    def pieces(self) -> Iterator[Piece]:
        """See `FriendFile.pieces`."""
        step = max(1, PIECE_BYTES * self.entries // max(self.nbytes + 24 * self.entries, 1))
        for start in range(0, self.entries, step):
            stop = min(start + step, self.entries)
            keys = self._keys.read(start, stop)
            yield Piece(start, [keys[name] for name in self._names], partial(self._values.read, start, stop))

    def close(self) -> None:
        """See `FriendFile.close`."""
        self._file.close()


class _ParquetFriend(FriendFile):
    """A Parquet file: numbers, lists of numbers, and lists of structs of numbers, none of them null."""

    def __init__(self, path: str, keys: Sequence[str], columns: Sequence[str] | None) -> None:
        self.path = path
        with reading(path):
            self._file = pq.ParquetFile(path)
            arrow = self._file.schema_arrow
        try:
            self._names = list(keys)
            whole = _parquet_schema(arrow)
            for name in keys:
                if name not in whole.columns:
                    raise IngestError(f"{path} has no column {name!r}{did_you_mean(name, whole.columns)}")
            check_keys(keys, [whole.columns[name].dtype for name in keys], path)
            self.schema = _chosen(whole, columns, path)
        except BaseException:
            self._file.close()
            raise
        self.entries = self._file.metadata.num_rows
        self._fields = list(dict.fromkeys(one.list or one.name for one in self.schema.columns.values()))
        wanted = set(self._fields)
        groups = (self._file.metadata.row_group(n) for n in range(self._file.num_row_groups))
        chunks = (group.column(n) for group in groups for n in range(group.num_columns))
        self.nbytes = sum(
            one.total_uncompressed_size for one in chunks if one.path_in_schema.partition(".")[0] in wanted
        )

    def pieces(self) -> Iterator[Piece]:
        """See `FriendFile.pieces`."""
        start = 0
        for number in range(self._file.num_row_groups):
            with reading(self.path):
                table = self._file.read_row_group(number, columns=self._names)
            keys = [self._plain(table.column(name), name) for name in self._names]
            yield Piece(start, keys, partial(self._read, number))
            start += len(table)

    def close(self) -> None:
        """See `FriendFile.close`."""
        self._file.close()

    def _read(self, number: int) -> dict[str, Array]:
        with reading(self.path):
            table = self._file.read_row_group(number, columns=self._fields).combine_chunks()
            found: dict[str, Array] = {}
            for name in self._fields:
                self._take(name, _one(table.column(name)), found)
            return found

    def _take(self, name: str, values: pa.Array, found: dict[str, Array]) -> None:
        if name not in self.schema.lists:
            found[name] = self._plain(values, name)
            return
        if values.null_count:
            raise IngestError(f"{values.null_count} lists of column {name!r} of {self.path} are null")
        offsets = values.offsets.to_numpy()
        found[offsets_column(name)] = (offsets - offsets[0]).astype(np.int64)
        content = values.flatten()
        for column in self.schema.columns.values():
            if column.list == name:
                member = (
                    pc.struct_field(content, column.field) if self.schema.lists[name].collection else content
                )
                found[column.name] = self._plain(member, column.name)

    def _plain(self, values: Any, name: str) -> Array:
        if values.null_count:
            raise IngestError(f"{values.null_count} values of column {name!r} of {self.path} are null")
        array: Array = _one(values).to_numpy(zero_copy_only=False)
        return array


def _one(values: Any) -> Any:
    """Return an array from one that may be in chunks."""
    if not isinstance(values, pa.ChunkedArray):
        return values
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)


def _parquet_schema(arrow: pa.Schema) -> Schema:
    """Return the columns of a Parquet file that can be held."""
    schema = Schema()
    for field in arrow:
        kind = field.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            _add(schema, field.name, kind, None)
        elif pa.types.is_struct(kind.value_type):
            members = [kind.value_type.field(n) for n in range(kind.value_type.num_fields)]
            added = [_add(schema, f"{field.name}_{one.name}", one.type, field.name) for one in members]
            if any(added):
                schema.lists[field.name] = ListInfo(field.name, None, collection=True)
        elif _add(schema, field.name, kind.value_type, field.name):
            schema.lists[field.name] = ListInfo(field.name)
    return schema


def _add(schema: Schema, name: str, kind: pa.DataType, home: str | None) -> bool:
    if storable(name) or not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    ):
        return False
    dtype = np.dtype(kind.to_pandas_dtype()).name
    if dtype not in DTYPE_CODE or name in schema.columns:
        return False
    schema.columns[name] = Column(name, dtype, home)
    return True


def _chosen(schema: Schema, wanted: Sequence[str] | None, path: str) -> Schema:
    names = set(schema.columns)
    if wanted is not None:
        names = set()
        for pattern in wanted:
            found = {name for name in schema.columns if fnmatchcase(name, pattern)}
            if not found:
                near = did_you_mean(pattern, schema.columns)
                raise IngestError(f"{path} has no column {pattern!r} that can be held{near}")
            names |= found
    columns = {name: column for name, column in schema.columns.items() if name in names}
    homes = {column.list for column in columns.values()}
    return Schema(columns, {name: info for name, info in schema.lists.items() if name in homes})
