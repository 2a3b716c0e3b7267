"""Open ROOT files with a tree, or an RNTuple, `Events` as NanoAOD has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from skyhook_casa.batch import Array, Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest
from skyhook_casa.root_titles import set_titles

from ..arrays import list_names, to_awkward
from ..layout import Group, flat_groups, list_groups
from .writers import Writer

NAME = "Events"
"""Of the tree, as readers of NanoAOD expect."""


class TreeWriter(Writer):
    """A TTree: `nMuon` counts the branches `Muon_*`, and is there even if it was not asked for."""

    ending = ".root"

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
        arrays = to_awkward(batch, groups=self._groups)
        self._tree.extend({group.name: arrays[group.name] for group in self._groups})


class NtupleWriter(Writer):
    """An RNTuple: flat fields, `Muon_pt` a list of numbers; counters follow the lists' lengths."""

    ending = ".root"

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

    def _fields(self, batch: Batch) -> Any:
        """Return the events as they are written: counters that were not asked for come last."""
        arrays = to_awkward(batch, groups=flat_groups(batch.outputs))
        for name, number in self._counters.items():
            arrays[name] = np.diff(cast(Array, batch.offsets[number])).astype(np.int32)
        return arrays


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
