"""An answer in one piece, of batches that come one after the other."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from skyhook_casa.batch import Array, Batch
from skyhook_casa.compile_query import Output

ROOM_BYTES: Final = 1 << 30
"""Most room that all columns together get for what is only expected."""
SPARE: Final = 1.1
"""How much more than expected there is room for."""


class Gathered:
    """Takes over the events of batches as they come, so that what they came in can be used again.

    Parameters
    ----------
    outputs : tuple of Output
        The columns of the batches.
    rows : bool
        Whether they tell the numbers of the events.
    """

    def __init__(self, outputs: tuple[Output, ...], rows: bool) -> None:
        self._outputs = outputs
        self._rows = rows
        self._only: Batch | None = None
        """The first batch, until there is another one."""
        self._grown: Grown | None = None
        """All batches, once there are several."""

    def add(self, batch: Batch, share: float = 1.0) -> None:
        """Add the events of a batch behind those before it.

        Parameters
        ----------
        batch : Batch
            Some events.
        share : float
            About which part of all events has come with it.
        """
        if self._grown is None:
            if self._only is None:
                self._only = batch
                return
            self._grown = Grown(self._outputs, self._rows)
            self._grown.append(self._only, 1.0)
            self._only = None
        self._grown.append(batch, SPARE / max(share, 1e-6))

    def whole(self) -> Batch:
        """Return all events."""
        if self._grown is not None:
            return self._grown.batch()
        return Batch.empty(self._outputs, self._rows) if self._only is None else self._only


class Grown:
    """Columns that grow, a batch at a time. Parameters are those of `Gathered`."""

    def __init__(self, outputs: tuple[Output, ...], rows: bool) -> None:
        self._outputs = outputs
        self._most = ROOM_BYTES // max(1, len(outputs))
        self._events = 0
        self._values = [Growing(np.dtype(output.dtype)) for output in outputs]
        self._valid: list[Growing | None] = [None] * len(outputs)
        self._axes = {output.axis: number for number, output in enumerate(outputs) if output.axis is not None}
        self._offsets = {axis: Growing(np.dtype(np.int64)) for axis in self._axes}
        for offsets in self._offsets.values():
            offsets.append(np.zeros(1, np.int64))
        self._rows = Growing(np.dtype(np.int64)) if rows else None

    def batch(self) -> Batch:
        """Return all events."""
        offsets = {axis: grown.array for axis, grown in self._offsets.items()}
        return Batch(
            self._outputs,
            self._events,
            [grown.array for grown in self._values],
            [None if output.axis is None else offsets[output.axis] for output in self._outputs],
            [None if grown is None else grown.array for grown in self._valid],
            None if self._rows is None else self._rows.array,
        )

    def append(self, batch: Batch, times: float) -> None:
        """Add the events of a batch; there will be about `times` as many as there are with it."""
        for number, values in enumerate(batch.values):
            self._append_valid(number, batch.valid[number], len(values))
            self._values[number].expect(len(values), times, self._most)
            self._values[number].append(values)
        for axis, number in self._axes.items():
            offsets, grown = batch.offsets_at_hand(number), self._offsets[axis]
            grown.expect(batch.events, times, self._most)
            grown.append(offsets[1:], int(grown.array[-1]))
        if self._rows is not None:
            assert batch.rows is not None
            self._rows.append(batch.rows)
        self._events += batch.events

    def _append_valid(self, number: int, valid: Array | None, count: int) -> None:
        grown = self._valid[number]
        if grown is None:
            if valid is None:
                return
            grown = self._valid[number] = Growing(np.dtype(np.bool_))
            grown.append(np.ones(len(self._values[number]), np.bool_))
        grown.append(np.ones(count, np.bool_) if valid is None else valid)


class Growing:
    """An array that grows at its end; room that is not used yet takes no memory."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._array: Array = np.empty(0, dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def array(self) -> Array:
        """What was appended."""
        return self._array[: self._length]

    def expect(self, count: int, times: float, most_bytes: int) -> None:
        """Make room for `times` as many values as there are with `count` more, if there is none for these."""
        stop = self._length + count
        if stop > len(self._array):
            most = max(2 * stop, most_bytes // self._array.itemsize)
            self._make_room(min(most, round(stop * max(times, 1.0))))

    def append(self, values: Array, shift: int = 0) -> None:
        """Add values, each of them made larger by `shift`."""
        stop = self._length + len(values)
        if stop > len(self._array):
            self._make_room(max(stop, 2 * len(self._array)))
        target = self._array[self._length : stop]
        if shift:
            np.add(values, shift, out=target, dtype=target.dtype)
        else:
            target[:] = values
        self._length = stop

    def _make_room(self, length: int) -> None:
        grown: Array = np.empty(length, self._array.dtype)
        grown[: self._length] = self.array
        self._array = grown
