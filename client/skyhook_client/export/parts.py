"""Where the batches of an answer go: one file, or a folder of files of limited size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest

from .trees import CarriedTrees
from .writers import Writer

PART_BYTES: Final = 32 << 20
"""About how many bytes of arrays become one row group, record batch or set of baskets."""
COLUMN_BYTES: Final = 16 << 10
"""The same for each column, where that is more in all: very small baskets are slow."""
FILES_MAX: Final = 100_000
"""Most files of one folder: their names have five digits, so that they sort."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How large the files of a folder may become; with neither size there is one file, no folder.

    Raises
    ------
    InvalidRequest
        If a size is no whole number of at least 1.
    """

    events: int | None = None
    """Most events of one file."""
    bytes: int | None = None
    """Most bytes of the values in one file, before compression; only a single event may pass it."""

    def __post_init__(self) -> None:
        for name, value in (("part_events", self.events), ("part_bytes", self.bytes)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InvalidRequest(f"{name} is {value!r}; a whole number of at least 1 is needed")

    @property
    def wanted(self) -> bool:
        """Whether there is to be a folder of files at all."""
        return self.events is not None or self.bytes is not None


class Target:
    """The file, or the files one after the other, that an answer is written to. A context manager.

    Parameters
    ----------
    kind : type of Writer
        The kind of file.
    outputs : tuple of Output
        The columns.
    nested : bool
        Whether collections are lists of structs.
    path : Path
        The file, or the folder if `parts` wants one.
    parts : Parts
        How large files may become.
    trees : CarriedTrees, optional
        What each file carries of the trees of the files whose events begin in it, or before it and behind
        the file before.

    Attributes
    ----------
    events, nbytes : int
        What was written: events, and bytes of their values.
    """

    def __init__(
        self,
        kind: type[Writer],
        outputs: tuple[Output, ...],
        nested: bool,
        path: Path,
        parts: Parts,
        trees: CarriedTrees | None = None,
    ) -> None:
        self.events = self.nbytes = 0
        self._kind, self._outputs, self._nested = kind, outputs, nested
        self._path, self._parts, self._trees = path, parts, trees
        self._last_event = -1
        self._writer: Writer | None = None
        self._files = 0
        self._part_events = self._part_bytes = 0

    @property
    def batch_bytes(self) -> int:
        """About how large the batches should be."""
        nbytes = max(PART_BYTES, COLUMN_BYTES * len(self._outputs))
        return nbytes if self._parts.bytes is None else min(nbytes, self._parts.bytes)

    def add(self, batch: Batch) -> None:
        """Append events.

        Raises
        ------
        InvalidRequest
            If there would be too many files.
        """
        for piece in self._fitting(batch):
            start = 0
            while start < piece.events:
                writer = self._with_room(piece.nbytes)
                room = piece.events if self._parts.events is None else self._parts.events - self._part_events
                stop = min(piece.events, start + room)
                some = piece if stop - start == piece.events else piece.slice(start, stop)
                writer.add(some)
                if some.rows is not None:
                    self._last_event = int(some.rows[-1])
                self._part_events += some.events
                self._part_bytes += some.nbytes
                self.events += some.events
                self.nbytes += some.nbytes
                start = stop

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._close(self._writer or self._next(), None)  # an empty answer has its columns too
        elif self._writer is not None:
            try:
                self._writer.close()
            except OSError as late:
                error.add_note(f"closing the unfinished file failed too: {late}")

    def _fitting(self, batch: Batch) -> Iterator[Batch]:
        """Yield the batch in pieces that a file has room for."""
        most = self._parts.bytes
        if most is None or batch.nbytes <= most or batch.events == 1:
            yield batch
            return
        for half in batch.split(2):
            yield from self._fitting(half)

    def _with_room(self, nbytes: int) -> Writer:
        """Return a file that takes at least one event, and so many bytes if they are more than one."""
        parts = self._parts
        is_full = self._part_events == parts.events or (
            parts.bytes is not None and self._part_events and self._part_bytes + nbytes > parts.bytes
        )
        if self._writer is not None and not is_full:
            return self._writer
        if self._writer is not None:
            full, self._writer = self._writer, None
            self._close(full, self._last_event)
        return self._next()

    def _close(self, writer: Writer, event: int | None) -> None:
        """Close a file with the trees of files that begin up to an event of the dataset, or of all left."""
        with closing(writer):
            for name, table in self._trees.take(event).items() if self._trees is not None else ():
                writer.add_tree(name, table)

    def _next(self) -> Writer:
        """Begin the next file."""
        path = self._path
        if self._parts.wanted:
            if self._files == FILES_MAX:
                raise InvalidRequest(
                    f"there would be more than {FILES_MAX:,} files; allow larger ones than "
                    f"part_events={self._parts.events}, part_bytes={self._parts.bytes}"
                )
            path = path / f"part-{self._files:05d}{self._kind.ending}"
        self._files += 1
        self._part_events = self._part_bytes = 0
        self._writer = self._kind(path, self._outputs, self._nested)
        return self._writer
