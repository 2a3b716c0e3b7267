"""Answers that are kept: as files, and as datasets of the same store."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.progress import Progress
from skyhook_casa.report import human_bytes

from .options import SAVE_OPTIONS, checked

if TYPE_CHECKING:
    from skyhook_casa.batch import Batch
    from skyhook_casa.compile_query import Output
    from skyhook_casa.saving.report import SaveReport

    from .backend import Question


class Keeping(ABC):
    """The part of `Query` that keeps answers."""

    question: Question
    _progress: bool | None

    @property
    @abstractmethod
    def outputs(self) -> tuple[Output, ...]:
        """The columns of the answer with their types."""

    @abstractmethod
    def exporting(
        self, label: str, batch_bytes: int, rows: bool = False
    ) -> AbstractContextManager[tuple[Progress, Iterator[Batch]]]:
        """Give the bar of a run and its batches, as `stream` gives them; the report is there at the end."""

    def to_file(self, path: str | os.PathLike[str], nested: bool = False) -> int:
        """Write the answer to a .parquet, .feather, .arrow, .root or .csv file and return its events.

        The answer is streamed, so memory stays bounded. The file appears whole or not at all.
        `nested`: Parquet, Feather and Arrow hold collections as lists of structs.

        Raises
        ------
        InvalidRequest
            If the ending is another, or the format cannot hold the columns.
        StoreError
            If the file cannot be written.
        """
        from .export import write

        return write(self, path, nested=nested)

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        nested: bool = False,
        *,
        part_events: int | None = None,
        part_bytes: int | None = None,
    ) -> int:
        """Write the answer to a Parquet file, or to a folder of them, and return its events.

        Parameters
        ----------
        path : path
            The file, which is replaced; or with `part_events` or `part_bytes` a folder, which must not
            be there: its files are ``part-00000.parquet`` and so on, in dataset order. File or folder
            appears whole or not at all.
        nested : bool
            Collections as lists of structs instead of flat columns.
        part_events : int, optional
            Most events of one file.
        part_bytes : int, optional
            Most bytes of the values in one file, before compression.

        Raises
        ------
        AlreadyExists
            If the folder is there.
        InvalidRequest
            If a size is no whole number of at least 1.
        StoreError
            If it cannot be written.
        """
        return self._write(path, "parquet", nested, part_events, part_bytes)

    def to_feather(
        self,
        path: str | os.PathLike[str],
        nested: bool = False,
        *,
        part_events: int | None = None,
        part_bytes: int | None = None,
    ) -> int:
        """Write the answer to a Feather file, or to a folder of them, and return its events.

        It is an Arrow IPC file with LZ4. Parameters and errors are those of `to_parquet`.
        """
        return self._write(path, "feather", nested, part_events, part_bytes)

    def to_root(
        self,
        path: str | os.PathLike[str],
        format: str = "ttree",  # noqa: A002 - what people call it
        *,
        part_events: int | None = None,
        part_bytes: int | None = None,
        trees: bool = True,
    ) -> int:
        """Write the answer to a ROOT file, or to a folder of them, and return its events.

        What was NanoAOD is NanoAOD again: `Events` has flat branches, and each list its counter, ``nMuon``,
        whether it was asked for or not. `Runs` and `LuminosityBlocks` are those of the files that the query
        works through, as `save` keeps them; of the files in a folder each has those of its own input.

        Parameters
        ----------
        path : path
            As for `to_parquet`.
        format : str
            ``"ttree"`` or ``"rntuple"``.
        part_events, part_bytes : int, optional
            As for `to_parquet`.
        trees : bool
            False: write only `Events`.

        Raises
        ------
        InvalidRequest
            If the format is another, or a column can have missing elements; if the trees `Runs` or
            `LuminosityBlocks` of the dataset's files cannot be one; and as `to_parquet` does.
        AlreadyExists, StoreError
            As `to_parquet` does.
        """
        if format not in ("ttree", "rntuple"):
            raise InvalidRequest(f"format is {format!r}; 'ttree' or 'rntuple' is needed")
        return self._write(path, format, False, part_events, part_bytes, trees)

    def save(self, name: str, **options: Any) -> SaveReport:
        """Keep the answer as a dataset in the same store, and return what was done.

        It is a dataset like any other: its columns are those of the answer, derived ones included, and it
        knows the question, see `Dataset.origin`. Files, `Runs` and `LuminosityBlocks` are those of the
        dataset that was asked, so that sums of generator weights and luminosity sections stay those of what
        was processed: all of its files. With a `lumimask` only its sections are left of `LuminosityBlocks`;
        with a `limit` there are no such trees, as nobody knows of which events they would tell.

        A service runs it as a job. A call that was interrupted may be repeated: only what is missing is made.

        Parameters
        ----------
        name : str
            Of the dataset. If it was saved from the same dataset before, it gets a new version.
        **options
            `codec`, `partition_bytes` and `chunk_events` as `Client.ingest` has them; and `workers`, if this
            process opened the store itself.

        Raises
        ------
        AlreadyExists
            If the name is that of another dataset.
        InvalidRequest
            If a column can have missing elements, or there is no such option, or it is out of its range.
        StoreError
            If the store is full; in all cases every dataset is as before.
        """
        options = checked("save", options, SAVE_OPTIONS)
        with Progress(f"save {name}", self.question.version.events, "events", self._progress) as bar:

            def changed(report: SaveReport) -> None:
                bar.note = f"{report.events_kept:,} kept, {human_bytes(report.bytes)}"
                bar.reach(report.events_done, report.events)

            return self.question.backend.save(self.question, name, changed, **options)

    def _write(
        self,
        path: str | os.PathLike[str],
        kind: str,
        nested: bool,
        part_events: int | None,
        part_bytes: int | None,
        trees: bool = True,
    ) -> int:
        from .export import Parts, write

        return write(self, path, kind, nested, Parts(part_events, part_bytes), trees)
