"""Events found again by whole numbers that name them, such as run, luminosityBlock and event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import InvalidRequest

Array = npt.NDArray[Any]

KEY_EVENT_BYTES: Final = 96
"""Memory that an event takes at most while an index of three key columns is made."""


class KeyIndex:
    """Finds the rows of events by their keys, exactly.

    Each key column becomes a code, its place among the different values; codes are put together column by
    column. So nothing is hashed, and no two keys can be taken for one another.

    Parameters
    ----------
    columns : sequence of arrays
        Whole numbers, each of shape (n_events,).
    """

    def __init__(self, columns: Sequence[Array]) -> None:
        self.events = len(columns[0])
        self._steps: list[tuple[Array, Array]] = []
        codes = np.zeros(self.events, np.int64)
        for column in columns:
            values, places = np.unique(column, return_inverse=True)
            pairs, codes = np.unique(codes * max(len(values), 1) + places, return_inverse=True)
            self._steps.append((values, pairs))
        keys = len(self._steps[-1][1])
        self._rows = np.zeros(keys, np.int64)
        self._rows[codes[::-1]] = np.arange(self.events)[::-1]
        self.repeated = self.events - keys
        """Events whose key an earlier one has."""

    def find(self, columns: Sequence[Array]) -> Array:
        """Return the row of the first event with each key; −1 where there is none."""
        found = np.full(len(columns[0]), self.events > 0)
        codes = np.zeros(len(found), np.int64)
        if not self.events:
            return np.full(len(found), -1)
        for (values, pairs), column in zip(self._steps, columns, strict=True):
            same, fits = _converted(column, values.dtype)
            places, there = _places(values, same)
            found &= fits & there
            codes, there = _places(pairs, codes * len(values) + places)
            found &= there
        return np.where(found, self._rows[codes], -1)


def check_keys(names: Sequence[str], dtypes: Sequence[str], where: str) -> None:
    """Refuse key columns that are no whole numbers.

    Raises
    ------
    InvalidRequest
        If one is not.
    """
    for name, dtype in zip(names, dtypes, strict=True):
        if np.dtype(dtype).kind not in "iu":
            raise InvalidRequest(f"key column {name!r} of {where} is {dtype}; whole numbers name an event")


def _places(values: Array, wanted: Array) -> tuple[Array, Array]:
    """Return where each number stands among rising ones, and whether it is there."""
    places = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return places, values[places] == wanted


def _converted(column: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return whole numbers as another type, and which of them it can hold."""
    if column.dtype == dtype:
        return column, np.ones(len(column), np.bool_)
    ends = np.iinfo(dtype)
    fits = (column >= ends.min) & (column <= ends.max)
    return column.astype(dtype), fits
