"""The trees that travel with a dataset's files: `Runs` and `LuminosityBlocks`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skyhook_casa.lumimask import LumiMask

if TYPE_CHECKING:
    import awkward as ak
    import pyarrow as pa


def joined(tables: Sequence[pa.Table]) -> ak.Array:
    """Return the entries of the same tree of several files, in the files' order.

    A branch that some files lack is of option type, missing in their entries.
    """
    import awkward as ak
    import pyarrow as pa

    return ak.from_arrow(pa.concat_tables(tables, promote_options="default").combine_chunks())


def sum_of(tables: Sequence[pa.Table], column: str) -> float:
    """Return the sum of a branch over the entries of all files, rounded once."""
    return math.fsum(value for table in tables for value in table[column].to_pylist())


def sections_of(tables: Sequence[pa.Table]) -> LumiMask:
    """Return the luminosity sections that the trees `LuminosityBlocks` of all files name."""
    return LumiMask.of_sections(
        pair
        for table in tables
        for pair in zip(table["run"].to_pylist(), table["luminosityBlock"].to_pylist(), strict=True)
    )
