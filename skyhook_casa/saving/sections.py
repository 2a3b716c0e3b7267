"""Trees `LuminosityBlocks` of which a luminosity mask holds a part."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ..errors import InvalidRequest
from ..lumimask import LumiMask
from ..tally import SECTION

SECTIONS_TREE: Final = "LuminosityBlocks"
"""The tree with an entry for each luminosity section."""


def masked_sections(table: pa.Table, mask: LumiMask) -> pa.Table:
    """Return the entries of a tree `LuminosityBlocks` that a mask holds.

    Raises
    ------
    InvalidRequest
        If it does not say which sections they are.
    """
    for name in SECTION:
        if name not in table.column_names:
            raise InvalidRequest(
                f"a tree {SECTIONS_TREE!r} has no branch {name!r} to find masked sections by; it has "
                f"{', '.join(table.column_names)}"
            )
    run, section = (table[name].to_numpy().astype(np.int64) for name in SECTION)
    inside = np.searchsorted(np.array(mask.ends(), np.int64), (run << 32) | section, "right") % 2 == 1
    return table.filter(pa.array(inside))
