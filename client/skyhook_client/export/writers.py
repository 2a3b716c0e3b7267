"""Open files of each kind that hold plain tables: Parquet, Feather, Arrow IPC, CSV."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest

from ..arrays import arrow_element, arrow_schema, list_names, subentries, to_record_batch

if TYPE_CHECKING:
    import pyarrow as pa


class Writer(ABC):
    """One kind of file, open for writing until `close`.

    Parameters
    ----------
    path : Path
        Where; what is there is replaced.
    outputs : tuple of Output
        The columns.
    nested : bool
        Whether collections are lists of structs, for kinds that can.
    """

    ending: ClassVar[str]
    """With its dot."""
    nests: ClassVar[bool] = False
    """Whether it can hold lists of structs."""
    needs_rows: ClassVar[bool] = False
    """Whether batches must tell the numbers of their events."""
    carries_trees: ClassVar[bool] = False
    """Whether it can hold other trees beside the events: then it has `add_tree`."""

    def __init__(self, path: Path, outputs: tuple[Output, ...], nested: bool) -> None:
        self.outputs = outputs
        self.nested = nested
        self.target: Any = self.open(path)

    @classmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """Refuse columns that this kind of file cannot hold; most hold every column.

        Raises
        ------
        InvalidRequest
            The message says what to ask for instead.
        """
        return

    @abstractmethod
    def open(self, path: Path) -> Any:
        """Return what is written to; it has `close`."""

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Append events, one at least."""

    def add_tree(self, name: str, table: pa.Table) -> None:
        """Write a small tree of its own, as a whole, behind the events.

        Raises
        ------
        InvalidRequest
            If this kind of file cannot hold it.
        """
        raise InvalidRequest(f"a {self.ending} file has no room for a tree {name!r}")

    def close(self) -> None:
        """Write what is left, and close the file."""
        self.target.close()


class ParquetWriter(Writer):
    """Parquet with zstd; one row group for each batch."""

    ending = ".parquet"
    nests = True

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        import pyarrow.parquet as pq

        return pq.ParquetWriter(path, arrow_schema(self.outputs, self.nested), compression="zstd")

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        self.target.write_batch(to_record_batch(batch, self.nested), row_group_size=batch.events)


class ArrowWriter(Writer):
    """Arrow IPC file that can be mapped into memory; one record batch for each batch."""

    ending = ".arrow"
    nests = True
    compression: ClassVar[str | None] = None

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression=self.compression)
        return pa.ipc.new_file(str(path), arrow_schema(self.outputs, self.nested), options=options)

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        self.target.write_batch(to_record_batch(batch, self.nested))


class FeatherWriter(ArrowWriter):
    """Feather, version 2: an Arrow IPC file with LZ4, as its readers expect."""

    ending = ".feather"
    compression = "lz4"


class CsvWriter(Writer):
    """One line per event, or per element of the one list whose columns are asked for."""

    ending = ".csv"
    needs_rows = True

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

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        from pyarrow import csv

        return csv.CSVWriter(str(path), self._lines(None).schema)

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        self.target.write(self._lines(batch))

    def _lines(self, batch: Batch | None) -> Any:
        import pyarrow as pa

        empty = pa.array([], pa.int64())
        columns: dict[str, Any] = {}
        if list_names(self.outputs):
            entry, subentry = (empty, empty) if batch is None else subentries(batch)
            columns = {"entry": pa.array(entry), "subentry": pa.array(subentry)}
        for number, output in enumerate(self.outputs):
            kind = pa.from_numpy_dtype(output.dtype)
            columns[output.name] = pa.array([], kind) if batch is None else arrow_element(batch, number)
        return pa.table(columns)
