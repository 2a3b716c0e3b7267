"""Open ROOT files with trees, or RNTuples, as NanoAOD has them: `Events`, `Runs`, `LuminosityBlocks`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from skyhook_casa.batch import Array, Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest
from skyhook_casa.root_titles import set_titles

from ..arrays import list_names
from ..layout import Group, flat_groups, list_groups
from .writers import Writer

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "Events"
"""Of the tree, as readers of NanoAOD expect."""


class TreeWriter(Writer):
    """A TTree: `nMuon` counts the branches `Muon_*`, and is there even if it was not asked for."""

    ending = ".root"
    carries_trees = True

    @classmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """See `Writer.check`."""
        _check(outputs)

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        import uproot
        from awkward.types import ListType, NumpyType, RecordType

        delivered = list_names(self.outputs)
        groups = list_groups(self.outputs)
        self._groups = [group for group in groups if self._counted(group) not in delivered]
        types: dict[str, Any] = {}
        for group in self._groups:
            kinds = [NumpyType(self.outputs[number].dtype) for number in group.members]
            if group.axis is None:
                types[group.name] = np.dtype(kinds[0].primitive)
            else:
                types[group.name] = ListType(
                    RecordType(kinds, list(group.fields)) if group.fields else kinds[0]
                )
        file = uproot.recreate(path)
        self._tree = file.mktree(NAME, types, title=NAME)
        set_titles(self._tree, {one.name: one.title for one in self.outputs if one.title})
        return file

    def _counted(self, group: Group) -> str | None:
        return self.outputs[group.members[0]].counts

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        from ..records import to_awkward

        arrays = to_awkward(batch, groups=self._groups)
        self._tree.extend({group.name: arrays[group.name] for group in self._groups})

    def add_tree(self, name: str, table: pa.Table) -> None:
        """See `Writer.add_tree`; each branch of lists has a counter of its own."""
        from awkward.types import ListType, NumpyType

        arrays, counters = _branches(name, table)
        types = {
            branch: ListType(NumpyType(values.type.content.content.primitive))
            if values.ndim > 1
            else np.dtype(values.type.content.primitive)
            for branch, values in arrays.items()
            if branch not in counters
        }
        tree = self.target.mktree(name, types, title=name)
        set_titles(tree, {one.name: title for one in table.schema if (title := _title(one))})
        if len(table):
            tree.extend({branch: arrays[branch] for branch in types})


class NtupleWriter(Writer):
    """An RNTuple: flat fields, `Muon_pt` a list of numbers; counters follow the lists' lengths."""

    ending = ".root"
    carries_trees = True

    @classmethod
    def check(cls, outputs: Sequence[Output]) -> None:
        """See `Writer.check`."""
        _check(outputs)

    def open(self, path: Path) -> Any:
        """See `Writer.open`."""
        import uproot

        self._counters = _counters(self.outputs)
        file = uproot.recreate(path)
        empty = self._fields(Batch.empty(self.outputs))
        self._ntuple = file.mkrntuple(NAME, empty.layout.form)
        return file

    def add(self, batch: Batch) -> None:
        """See `Writer.add`."""
        self._ntuple.extend(self._fields(batch))

    def add_tree(self, name: str, table: pa.Table) -> None:
        """See `Writer.add_tree`."""
        import awkward as ak

        arrays, _ = _branches(name, table)
        fields = ak.zip(arrays, depth_limit=1)
        ntuple = self.target.mkrntuple(name, fields.layout.form)
        if len(table):
            ntuple.extend(fields)

    def _fields(self, batch: Batch) -> Any:
        """Return the events as they are written: counters that were not asked for come last."""
        from ..records import to_awkward

        arrays = to_awkward(batch, groups=flat_groups(batch.outputs))
        for name, number in self._counters.items():
            arrays[name] = np.diff(cast(Array, batch.offsets[number])).astype(np.int32)
        return arrays


def _branches(tree: str, table: pa.Table) -> tuple[dict[str, Any], set[str]]:
    """Return the branches of a small tree, and which of them count the lists of others, as ``nX`` those of X.

    Raises
    ------
    InvalidRequest
        If a branch has the name of a counter and other values.
    """
    import awkward as ak

    entries = ak.from_arrow(table.combine_chunks())
    arrays = {name: entries[name] for name in entries.fields}
    counters = set()
    for name, values in arrays.items():
        counter = f"n{name}"
        if values.ndim > 1 and counter in arrays:
            if arrays[counter].tolist() != ak.num(values).tolist():
                raise InvalidRequest(
                    f"{counter} of the tree {tree!r} would be the counter of {name} and is not; write "
                    "without Runs and LuminosityBlocks (trees=False)"
                )
            counters.add(counter)
    return arrays, counters


def _title(field: pa.Field) -> str:
    return str((field.metadata or {}).get(b"title", b"").decode())


def _check(outputs: Sequence[Output]) -> None:
    for output in outputs:
        if output.optional:
            raise InvalidRequest(
                f"{output.name} can have missing elements, no ROOT branch can; give them a number with "
                f"fill_none({output.name}, …), or write .parquet instead"
            )
    counters = {f"n{output.list}" for output in outputs if output.axis is not None}
    for output in outputs:
        if output.name in counters and output.counts != output.name[1:]:
            raise InvalidRequest(
                f"{output.name} would be the counter of {output.name[1:]}; leave one of them out"
            )


def _counters(outputs: Sequence[Output]) -> dict[str, int]:
    """Return the counters that were not asked for, and of each one output whose lists it counts."""
    names = {output.name for output in outputs}
    found: dict[str, int] = {}
    for number, output in enumerate(outputs):
        if output.axis is not None and f"n{output.list}" not in names:
            found.setdefault(f"n{output.list}", number)
    return found
