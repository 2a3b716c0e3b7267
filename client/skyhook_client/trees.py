"""The trees that travel with a dataset's files: `Runs` and `LuminosityBlocks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
