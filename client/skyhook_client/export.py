"""Answers as files: Parquet, Arrow IPC, ROOT and CSV, streamed with bounded memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest, StoreError

from .arrays import arrow_schema, list_names, to_awkward, to_record_batch
from .layout import Group, list_groups

if TYPE_CHECKING:
    from .query import Query

PART_BYTES: Final = 32 << 20
"""About how many bytes of arrays become one row group, record batch or set of baskets."""
COLUMN_BYTES: Final = 16 << 10
"""The same for each column, where that is more in all: very small baskets are slow."""


def write(query: Query, path: str | os.PathLike[str], nested: bool = False) -> int:
    """Write the answer of `query` to a file of the kind that its ending names; return the events.

    Parameters
    ----------
    query : Query
        What to write.
    path : path
        Ends in .parquet, .arrow, .root or .csv. The file appears whole or not at all.
    nested : bool
        Parquet and Arrow: collections as lists of structs instead of flat columns.

    Raises
    ------
    InvalidRequest
        If the ending is another, or the kind of file cannot hold the columns.
    StoreError
        If the file cannot be written.
    """
    path = Path(path)
    kind = WRITERS.get(path.suffix.lower())
    if kind is None:
        raise InvalidRequest(f"{path.name!r} does not end in {', '.join(WRITERS)}")
    kind.check(query.outputs)
    part_bytes = max(PART_BYTES, COLUMN_BYTES * len(query.outputs))
    events = 0
    with _whole(path) as unfinished, kind(unfinished, query.outputs, nested) as writer:
        for batch in query.stream(part_bytes, rows=kind.needs_rows):
            if batch.events:
                writer.add(batch)
            events += batch.events
    return events


class Writer(ABC):
    """One kind of file, open for writing."""

    needs_rows = False
    """Whether batches must tell the numbers of their events."""

    def __init__(self, path: Path, outputs: tuple[Output, ...], nested: bool) -> None:
        self.outputs = outputs
        self.nested = nested
        self.target: Any = self.open(path)

    @classmethod
    @abstractmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """Refuse columns that this kind of file cannot hold.

        Raises
        ------
        InvalidRequest
            The message says what to ask for instead.
        """

    @abstractmethod
    def open(self, path: Path) -> Any:
        """Return what is written to; it has `close`."""

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Append events."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self.target.close()


class ParquetWriter(Writer):
    """Parquet with zstd; one row group for each part."""

    @classmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """See `Writer.check`: holds every column."""

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        import pyarrow.parquet as pq

        return pq.ParquetWriter(path, arrow_schema(self.outputs, self.nested), compression="zstd")

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        self.target.write_batch(to_record_batch(batch, self.nested), row_group_size=max(1, batch.events))


class ArrowWriter(Writer):
    """Arrow IPC file; one record batch for each part."""

    @classmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """See `Writer.check`: holds every column."""

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        import pyarrow as pa

        return pa.ipc.new_file(str(path), arrow_schema(self.outputs, self.nested))

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        self.target.write_batch(to_record_batch(batch, self.nested))


class RootWriter(Writer):
    """A ROOT file with a tree `Events` as NanoAOD has it: `nMuon` counts the branches `Muon_*`."""

    @classmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """See `Writer.check`."""
        for output in outputs:
            if output.optional:
                raise InvalidRequest(
                    f"{output.name} can have missing elements, no ROOT branch can; write .parquet instead"
                )
        counters = {f"n{output.list}" for output in outputs if output.axis is not None}
        for output in outputs:
            if output.name in counters and output.counts != output.name[1:]:
                raise InvalidRequest(
                    f"{output.name} would be the counter of {output.name[1:]}; leave one of them out"
                )

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        import uproot
        from awkward.types import ListType, NumpyType, RecordType

        delivered = list_names(self.outputs)
        groups = list_groups(self.outputs)
        self._groups = [group for group in groups if self._counted(group) not in delivered]
        types: dict[str, Any] = {}
        for group in self._groups:
            kinds = [NumpyType(self.outputs[number].dtype) for number in group.members]
            if group.axis is None:
                types[group.name] = np.dtype(kinds[0].primitive)
            else:
                types[group.name] = ListType(
                    RecordType(kinds, list(group.fields)) if group.fields else kinds[0]
                )
        file = uproot.recreate(path)
        self._tree = file.mktree("Events", types, title="Events")
        return file

    def _counted(self, group: Group) -> str | None:
        return self.outputs[group.members[0]].counts

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        arrays = to_awkward(batch, groups=self._groups)
        self._tree.extend({group.name: arrays[group.name] for group in self._groups})


class CsvWriter(Writer):
    """One line per event, or per element of the one list whose columns are asked for."""

    @classmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """See `Writer.check`."""
        lists = list_names(outputs)
        if len(lists) > 1 or (lists and any(output.axis is None for output in outputs)):
            raise InvalidRequest(
                f"a CSV file has lines of one kind, but the answer has columns of {', '.join(lists[:5])}"
                f"{' and of events' if any(output.axis is None for output in outputs) else ''}; "
                f"ask for event columns alone, or for the columns of one collection, or write .parquet"
            )

    needs_rows = True

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        from pyarrow import csv

        return csv.CSVWriter(str(path), self._lines(None).schema)

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        self.target.write(self._lines(batch))

    def _lines(self, batch: Batch | None) -> Any:
        import pyarrow as pa

        from .arrays import arrow_element, subentries

        empty = pa.array([], pa.int64())
        columns: dict[str, Any] = {}
        if list_names(self.outputs):
            entry, subentry = (empty, empty) if batch is None else subentries(batch)
            columns = {"entry": pa.array(entry), "subentry": pa.array(subentry)}
        for number, output in enumerate(self.outputs):
            kind = pa.from_numpy_dtype(output.dtype)
            columns[output.name] = pa.array([], kind) if batch is None else arrow_element(batch, number)
        return pa.table(columns)


WRITERS: Final[dict[str, type[Writer]]] = {
    ".parquet": ParquetWriter,
    ".arrow": ArrowWriter,
    ".root": RootWriter,
    ".csv": CsvWriter,
}
"""Kinds of files by their ending."""


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path` at the end, and is removed on an error."""
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.unfinished{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
