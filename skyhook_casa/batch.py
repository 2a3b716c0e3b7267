"""Some events of an answer, as NumPy arrays that lie in the engine's buffers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
import numpy.typing as npt

from .compile_query import Output

if TYPE_CHECKING:
    from . import _engine

Array = npt.NDArray[Any]
OFFSET_BYTES: Final = 8


class Widened(Sequence[Array | None]):
    """Offsets as they came, int32, which become int64 when they are asked for: not everybody does.

    Parameters
    ----------
    narrow : sequence of (Array or None)
        Of each field int32 from 0, or None if it has no lists.
    fields : sequence of int
        The field of each output.
    """

    __slots__ = ("_fields", "_narrow", "_wide")

    def __init__(self, narrow: Sequence[Array | None], fields: Sequence[int]) -> None:
        self._narrow = narrow
        self._fields = fields
        self._wide: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self._fields)

    @overload
    def __getitem__(self, number: int) -> Array | None: ...

    @overload
    def __getitem__(self, number: slice) -> list[Array | None]: ...

    def __getitem__(self, number: int | slice) -> Array | list[Array | None] | None:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        field = self._fields[number]
        narrow = self._narrow[field]
        if narrow is None:
            return None
        found = self._wide.get(field)
        # Outputs share one array, whichever thread makes it.
        return self._wide.setdefault(field, narrow.astype(np.int64)) if found is None else found

    def narrow(self, number: int) -> Array | None:
        """Return the offsets of an output as they came."""
        return self._narrow[self._fields[number]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events of an answer, column by column, in dataset order."""

    outputs: tuple[Output, ...]
    events: int
    values: Sequence[Array]
    """Of each output: one value per event, or the flat content of its lists."""
    offsets: Sequence[Array | None]
    """Of each output: int64, shape (events + 1,), from 0; None for one value per event.
    Outputs on one axis share one array."""
    valid: Sequence[Array | None]
    """Of each output: bool, whether each value is there; None where all are."""
    rows: Array | None = None
    """int64, shape (events,): number of each event in the dataset, from 0; None if not asked for."""

    @classmethod
    def of(cls, outputs: tuple[Output, ...], result: _engine.Result, rows: bool = False) -> Batch:
        """Return what the engine delivered, without copying it."""
        axes = {output.axis for output in outputs} - {None}
        shared = {axis: result.offsets(axis) for axis in axes if axis is not None}
        numbers = range(len(outputs))
        return cls(
            outputs,
            result.events,
            [result.values(number) for number in numbers],
            [None if output.axis is None else shared[output.axis] for output in outputs],
            [result.valid(number) if outputs[number].optional else None for number in numbers],
            result.rows() if rows else None,
        )

    @classmethod
    def concat(cls, batches: Sequence[Batch]) -> Batch:
        """Return the events of some batches, one at least, of the same columns, in one batch."""
        if len(batches) == 1:
            return batches[0]
        outputs = batches[0].outputs
        numbers = range(len(outputs))
        shared: dict[int, Array] = {}
        for number, output in enumerate(outputs):
            if output.axis is not None and output.axis not in shared:
                shared[output.axis] = _joined_offsets([batch.offsets[number] for batch in batches])
        rows = [batch.rows for batch in batches if batch.rows is not None]
        return cls(
            outputs,
            sum(batch.events for batch in batches),
            [np.concatenate([batch.values[number] for batch in batches]) for number in numbers],
            [None if output.axis is None else shared[output.axis] for output in outputs],
            [_joined_valid(batches, number) for number in numbers],
            np.concatenate(rows) if rows else None,
        )

    @classmethod
    def empty(cls, outputs: tuple[Output, ...], rows: bool = False) -> Batch:
        """Return a batch without events."""
        return cls.of(outputs, cls.result(outputs, rows), rows)

    @staticmethod
    def result(outputs: tuple[Output, ...], rows: bool, histograms: bytes = b"") -> _engine.Result:
        """Return an empty result for the engine to fill."""
        from . import _engine

        groups = [-1 if output.axis is None else output.axis for output in outputs]
        return _engine.Result([output.dtype for output in outputs], groups, rows, histograms)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays; offsets that outputs share count once."""
        axes = {output.axis for output in self.outputs if output.axis is not None}
        return sum([array.nbytes for array in self.values]) + len(axes) * OFFSET_BYTES * (self.events + 1)

    def offsets_at_hand(self, number: int) -> Array:
        """Return the offsets of an output that has lists as int32 or int64, whichever needs no copy."""
        offsets = self.offsets
        found = offsets.narrow(number) if isinstance(offsets, Widened) else offsets[number]
        assert found is not None
        return found

    def slice(self, start: int, stop: int) -> Batch:
        """Return the events from `start` up to, but not including, `stop`; values are not copied."""
        rebased: dict[int, Array] = {}
        values: list[Array] = []
        offsets: list[Array | None] = []
        valid: list[Array | None] = []
        for number, output in enumerate(self.outputs):
            first, last, whole = start, stop, self.offsets[number]
            if output.axis is not None and whole is not None:
                first, last = int(whole[start]), int(whole[stop])
                if output.axis not in rebased:
                    rebased[output.axis] = whole[start : stop + 1] - whole[start]
            there = self.valid[number]
            values.append(self.values[number][first:last])
            valid.append(None if there is None else there[first:last])
            offsets.append(None if output.axis is None else rebased[output.axis])
        rows = None if self.rows is None else self.rows[start:stop]
        return Batch(self.outputs, stop - start, values, offsets, valid, rows)

    def pieces(self, nbytes: int) -> Iterator[Batch]:
        """Yield the batch in pieces of about `nbytes` bytes, of one event at least."""
        yield from self.split(round(self.nbytes / nbytes))

    def split(self, count: int) -> Iterator[Batch]:
        """Yield the batch in `count` pieces of about equal numbers of events, none of them empty."""
        count = min(max(1, count), max(1, self.events))
        if count == 1:
            yield self
            return
        ends = [self.events * piece // count for piece in range(count + 1)]
        for start, stop in itertools.pairwise(ends):
            yield self.slice(start, stop)


def _joined_offsets(parts: Sequence[Array | None]) -> Array:
    """Return the offsets of lists that are put one behind the other."""
    joined = [np.zeros(1, np.int64)]
    end = 0
    for offsets in parts:
        assert offsets is not None
        joined.append(offsets[1:] + end)
        end += int(offsets[-1])
    return np.concatenate(joined)


def _joined_valid(batches: Sequence[Batch], number: int) -> Array | None:
    parts = [batch.valid[number] for batch in batches]
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [
            np.ones(len(batch.values[number]), np.bool_) if part is None else part
            for batch, part in zip(batches, parts, strict=True)
        ]
    )
