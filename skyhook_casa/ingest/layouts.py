"""Flat arrays out of awkward layouts, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import IngestError
from .branches import Array, Jagged


def from_layout(name: str, layout: Any) -> Array | Jagged:
    """Return the numbers, or lists of numbers, of an awkward layout.

    Raises
    ------
    IngestError
        If the layout is any other.
    """
    if layout.is_numpy:
        return _native(layout.data)
    if not (layout.is_list and layout.content.is_numpy):
        raise IngestError(f"branch {name!r} was read as {layout.form.type}")
    layout = layout.to_ListOffsetArray64(True)
    offsets = np.asarray(layout.offsets.data)
    return Jagged(offsets, _native(layout.content.data[: offsets[-1]]))


def _native(values: Any) -> Array:
    array = np.ascontiguousarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
