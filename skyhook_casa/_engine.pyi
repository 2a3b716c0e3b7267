"""The C++ engine (`ceph_cls/python`)."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

class ScanReport(TypedDict):
    events_in: int
    """Events looked at (those of pruned chunks included)."""
    events_out: int
    passed: list[int | None]
    """Events left after each term of the cut, in the program's order; None where zone maps ruled events out
    for a later term before this one was tried on them."""
    chunks: int
    chunks_pruned: int
    bytes_read: int
    """Stored bytes of column data that were read."""
    bytes_total: int
    """Stored bytes of the query's columns in the chunks looked at."""
    seconds_read: float
    seconds_compute: float

KERNELS: str
"""Which instruction set the loops use: "v3" (AVX2) or "base"."""

ABILITIES: str
"""What the object class can do besides the first ones of its version; words."""
SELECTION_EVENTS_MAX: int
"""Most events from the first to the last of a selection."""

def encode_selection(events: Any) -> bytes:
    """Return a selection of events (int64, rising) as requests have it (`ceph_cls/doc/wire.md`).

    Raises
    ------
    InvalidRequest
        If they do not rise from 0 or more, or lie more than `SELECTION_EVENTS_MAX` apart.
    """

def answer(method: str, request: bytes, read: Callable[[int, int], Any]) -> bytes:
    """Return what the object class answers to a request (`ceph_cls/doc/wire.md`).

    `read` gives the bytes of the object from `start` up to, but not including, `stop`. An error
    of the scan is part of the answer; `Result.append_answer` raises it.
    """

class Result:
    """What scans deliver, growing: one column per output of the program.

    Parameters
    ----------
    dtypes : sequence of str
        NumPy names of the outputs' dtypes.
    groups : sequence of int
        −1 for one value per event; outputs with the same number ≥ 0 share their lists' offsets.
    rows : bool
        Whether to keep the dataset-wide number of each event kept.
    histograms : bytes
        Histograms to fill with the outputs instead of keeping these, as ``wire.md`` describes them.
    """

    def __init__(
        self, dtypes: Sequence[str], groups: Sequence[int], rows: bool = False, histograms: bytes = b""
    ) -> None: ...
    def histogram(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return the bins of a histogram, flat, the last axis fastest, flow bins included.

        Sums of weights, and of squared weights if it has weights. The arrays show the result's own
        memory: they change with the next scan.
        """

    @property
    def events(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def keeps_rows(self) -> bool: ...
    def values(self, output: int) -> NDArray[Any]:
        """Return the values of an output (of all lists, one after the other); no copy is made."""

    def valid(self, output: int) -> NDArray[np.bool_] | None:
        """Return which values are there; None if all are."""

    def offsets(self, group: int) -> NDArray[np.int64]:
        """Return events + 1 offsets of a group's lists."""

    def rows(self) -> NDArray[np.int64]:
        """Return the dataset-wide numbers of the events kept."""

    def append(self, other: Result) -> None:
        """Add the events of another result with the same columns, and its report."""

    def append_piece(self, other: Result, report: ScanReport, rows: Any) -> None:
        """Add the events of another result, and `report` in place of its own.

        Its event numbers count `rows`, int64: those are added in their place.
        """

    def report(self) -> ScanReport: ...
    @property
    def chunks(self) -> int:
        """As in the report, which takes longer to make; and so the next two."""

    @property
    def chunks_pruned(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...
    def append_answer(self, frame: Any) -> int:
        """Add an object class's answer to a scan; return its cursor (−1: the object is done).

        Raises
        ------
        SkyhookError
            The error that the answer tells of; CorruptObject if it is no answer to this question.
        """

    def wire_batch(
        self,
        fields: Sequence[tuple[bool, Sequence[int]]],
        start: int,
        stop: int,
        take: Callable[[int], T],
    ) -> T:
        """Return what `take` makes of events as a record batch, which keeps the result alive.

        Values are not copied, except bool (packed to bits) and the offsets (to int32).

        Parameters
        ----------
        fields : sequence of (bool, sequence of int)
            Of each field of the batch whether it is a list of structs, and the numbers of its outputs. The
            numbers of the events come last, if they are kept.
        start, stop : int
            The first event, and one past the last.
        take : callable
            Is given the address of an ``ArrowArray`` of Arrow's C data interface, which it takes over.

        Raises
        ------
        ResourceExhausted
            If a list has more elements than int32 counts; ask for fewer events.
        """

class WireForm:
    """The record batches of an answer, which are taken apart with one call each.

    Parameters
    ----------
    names : sequence of str
        Of each field, to tell of in errors.
    fields : sequence of (bool, sequence of int)
        As `Result.wire_batch` has them.
    dtypes : sequence of str
        NumPy names of the outputs' dtypes.
    rows : bool
        Whether the numbers of the events come last.
    """

    def __init__(
        self,
        names: Sequence[str],
        fields: Sequence[tuple[bool, Sequence[int]]],
        dtypes: Sequence[str],
        rows: bool = False,
    ) -> None: ...
    def open(
        self, give: Callable[[int], object]
    ) -> tuple[
        int,
        list[NDArray[Any]],
        list[NDArray[np.bool_] | None],
        list[NDArray[np.int32] | None],
        NDArray[np.int64] | None,
    ]:
        """Return the events of a record batch: how many, values, which are there, offsets, and numbers.

        None stands for values that are all there, and for the offsets of a field without lists: those of
        others are from 0. Only bools, and offsets that are not from 0, are copied.
        Every offset is looked at.

        Parameters
        ----------
        give : callable
            Is told the address of an ``ArrowArray`` of the Arrow C data interface, and moves the record
            batch there. It has the types of the form, and Arrow validated the sizes of its buffers.

        Raises
        ------
        CorruptObject
            If lists do not fit their elements, or are missing.
        """

class Scan:
    """A decoded program, ready to run over objects. One thread at a time; the GIL is released.

    Raises
    ------
    InvalidRequest
        If the program is malformed.
    """

    def __init__(self, program: bytes) -> None: ...
    def run_file(
        self,
        path: str,
        directory_start: int,
        directory_bytes: int,
        result: Result,
        first_event: int = 0,
        cursor: int = 0,
        events_max: int = -1,
        bytes_max: int = -1,
    ) -> int:
        """Scan an object that is a file; return −1 when it is finished, else the next cursor.

        Parameters
        ----------
        first_event : int
            Dataset-wide number of the object's first event.
        cursor : int
            0, or what the last call returned.
        events_max, bytes_max : int
            Return a cursor once this many events, or bytes of output, were added; −1 for no limit.

        Raises
        ------
        CorruptObject, InvalidRequest, ResourceExhausted, StoreError
        """

    def run_ranges(
        self,
        read: Callable[[list[tuple[int, int]]], Sequence[Any]],
        directory_start: int,
        directory_bytes: int,
        result: Result,
        first_event: int = 0,
        cursor: int = 0,
        events_max: int = -1,
        bytes_max: int = -1,
        lookahead_bytes: int = 0,
    ) -> int:
        """Scan an object through `read`, which is given [start, stop) ranges and returns their bytes.

        `lookahead_bytes` lets one call of `read` ask for the bytes of later chunks too.
        """
