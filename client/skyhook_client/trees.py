"""The trees that travel with a dataset's files: `Runs` and `LuminosityBlocks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import awkward as ak

    from skyhook_casa.catalog import MetaTree
    from skyhook_casa.stores import ObjectStore


def read_trees(store: ObjectStore, trees: Sequence[MetaTree]) -> ak.Array:
    """Return the entries of the same tree of several files, in the files' order.

    A branch that some files lack is of option type, missing in their entries.
    """
    import awkward as ak
    import pyarrow as pa

    tables = []
    for tree in trees:
        with pa.ipc.open_file(pa.BufferReader(store.read_object(tree.object.name))) as reader:
            tables.append(reader.read_all().replace_schema_metadata(None))
    return ak.from_arrow(pa.concat_tables(tables, promote_options="default").combine_chunks())
