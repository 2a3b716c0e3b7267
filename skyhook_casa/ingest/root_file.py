"""A ROOT file as flat columns of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import uproot

from ..errors import IngestError, SkyhookError
from ..schema import Column, ListInfo, Schema, offsets_column
from .branches import Array, EventSource, Jagged, SkippedBranch, nanoaod_schema, select_columns
from .paths import NO_FILE
from .rntuple import NtupleSource
from .ttree import TreeSource

NTUPLE_CLASS = "ROOT::RNTuple"
COPY_AGAIN = "Copy the file again from where it came from, then retry."
OTHER_TREE = "Ingest it on its own, with a tree and columns that it has."


class RootFile:
    """One open ROOT file.

    Parameters
    ----------
    path : str
        A path, or any URL that uproot opens.

    Raises
    ------
    IngestError
        If it is no ROOT file, is cut short, or cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with reading(path):
            _check_beginning(path)
            self._directory: Any = uproot.open({path: None})
            self.uuid = str(self._directory.file.uuid)
            expected = int(self._directory.file.fEND)
            self.bytes = int(self._directory.file.source.num_bytes or expected)
            self._trees: dict[str, str] = {
                name: kind
                for name, kind in self._directory.classnames(cycle=False).items()
                if kind in ("TTree", "TNtuple", "TNtupleD", NTUPLE_CLASS)
            }
        if self.bytes < expected:
            self.close()
            raise IngestError(f"{path} is cut short: it has {self.bytes} of {expected} bytes", COPY_AGAIN)

    def __enter__(self) -> RootFile:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; its events can be read no more."""
        self._directory.close()

    @property
    def trees(self) -> list[str]:
        """The names of the trees and ntuples in the file."""
        return list(self._trees)

    def events(self, tree: str = "Events", columns: Sequence[str] | None = None) -> Events:
        """Return the events of `tree`; of the only tree there is, if `tree` is the default.

        Parameters
        ----------
        tree : str
            Its name.
        columns : sequence of str, optional
            Names and globs of the branches to take; all by default.

        Raises
        ------
        IngestError
            If there is no such tree, or no branch that one of `columns` means.
        """
        return Events(self, self._choose(tree), columns)

    def source(self, tree: str) -> EventSource:
        """Return the branches of `tree`, which must be there."""
        with reading(self.path):
            found = self._directory[tree]
            return NtupleSource(found) if self._trees[tree] == NTUPLE_CLASS else TreeSource(found)

    def _choose(self, tree: str) -> str:
        if tree in self._trees:
            return tree
        others = [name for name in self._trees if name not in ("Runs", "LuminosityBlocks")]
        if tree == "Events" and len(others) == 1:
            return others[0]
        held = ", ".join(map(repr, self._trees)) or "none"
        raise IngestError(f"{self.path} has no tree {tree!r}; its trees: {held}", OTHER_TREE)


class Events:
    """The chosen columns of one tree of a `RootFile`."""

    def __init__(self, file: RootFile, tree: str, columns: Sequence[str] | None = None) -> None:
        self.file = file
        self.tree = tree
        self._source = file.source(tree)
        self.entries = self._source.entries
        where = f"tree {tree!r} of {file.path}"
        if not self._source.branches:
            raise IngestError(
                f"{where} has no branch that can be held{_reasons(self._source.skipped)}", OTHER_TREE
            )
        self.schema: Schema = select_columns(nanoaod_schema(self._source.branches), columns, where)
        self._members: dict[str, list[Column]] = {name: [] for name in self.schema.lists}
        for column in self.schema.columns.values():
            if column.list is not None:
                self._members[column.list].append(column)

    @property
    def skipped(self) -> list[SkippedBranch]:
        """Branches of the tree that cannot be held."""
        return self._source.skipped

    def boundaries(self) -> list[int]:
        """Return the entries where it is cheap to begin reading, with 0 and `entries`."""
        return self._source.boundaries()

    def nbytes(self) -> tuple[int, int]:
        """Return stored and uncompressed bytes of the columns in the file."""
        return self._source.nbytes(self.schema.columns)

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return the physical columns of the entries [start, stop).

        Returns
        -------
        dict
            `MET_pt`: one value per event; `Muon_pt`: all elements; `Muon#`: int32 offsets, shape
            (stop - start + 1,), starting at 0. What an `ObjectWriter` takes.

        Raises
        ------
        IngestError
            If the file cannot be read, or the columns of a list contradict each other.
        """
        with reading(self.file.path):
            found = self._source.read(list(self.schema.columns), start, stop)
            arrays: dict[str, Array] = {}
            for column in self.schema.columns.values():
                values = found[column.name]
                if column.list is None and column.counts is None:
                    arrays[column.name] = _numbers(column, values)
            for info in self.schema.lists.values():
                self._add_list(info, found, arrays, stop - start)
        return arrays

    def _add_list(
        self, info: ListInfo, found: dict[str, Array | Jagged], arrays: dict[str, Array], events: int
    ) -> None:
        offsets: Array | None = None
        if info.counter is not None:
            counts = _numbers(self.schema.columns[info.counter], found[info.counter])
            offsets = np.zeros(events + 1, np.int64)
            np.cumsum(counts, out=offsets[1:])
        seen: Array | None = None
        for column in self._members[info.name]:
            values = found[column.name]
            if not isinstance(values, Jagged):
                raise IngestError(f"branch {column.name!r} was read as numbers, not lists")
            if offsets is None:
                offsets = values.offsets
            if values.offsets is not seen and not np.array_equal(values.offsets, offsets):
                raise IngestError(
                    f"the lists of {column.name!r} are not as long as those of list {info.name!r}"
                )
            seen = values.offsets
            arrays[column.name] = _numbers(column, values.content)
        assert offsets is not None
        if offsets[-1] > np.iinfo(np.int32).max:
            raise IngestError(f"list {info.name!r} has {offsets[-1]} elements in {events} events")
        arrays[offsets_column(info.name)] = offsets.astype(np.int32, copy=False)


def _numbers(column: Column, values: Array | Jagged) -> Array:
    if isinstance(values, Jagged) or values.dtype.name != column.dtype:
        found = "lists" if isinstance(values, Jagged) else values.dtype.name
        raise IngestError(f"branch {column.name!r} was read as {found}, not {column.dtype}")
    return values


def _reasons(skipped: Sequence[SkippedBranch]) -> str:
    shown = "; ".join(f"{one.name}: {one.reason}" for one in skipped[:5])
    return f" ({shown})" if shown else ""


def _check_beginning(path: str) -> None:
    """Refuse a local file that is no ROOT file: what uproot says of a short one tells nobody so."""
    if not Path(path).is_file():
        return
    with open(path, "rb") as file:
        first = file.read(4)
    if first != b"root":
        found = f"it begins with {first!r}" if first else "it is empty"
        raise IngestError(f"{path} is no ROOT file: {found}", COPY_AGAIN)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn whatever uproot or a decompressor raises over a bad file into `IngestError`."""
    try:
        yield
    except SkyhookError as error:
        if isinstance(error, IngestError) and path not in str(error):
            raise IngestError(f"{path}: {error}", error.advice) from error
        raise
    except MemoryError as error:
        raise IngestError(f"{path} cannot be read: there is no memory for what it says it holds") from error
    except FileNotFoundError as error:
        raise IngestError(f"no file {path}", NO_FILE) from error
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise IngestError(f"{path} cannot be read: {reason}", COPY_AGAIN) from error
