"""Events in an RNTuple.

NanoAOD in RNTuple keeps each collection in an untyped field `_collectionN`; the names that people
use (`Muon_pt`, and the counter `nMuon` as a cardinality) are projections of it. The projections
are read; fields that share a source share their lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from .branches import Array, Branch, Jagged, SkippedBranch, storable
from .layouts import from_layout

_DTYPES: Final = {
    "bool": "bool",
    "std::int8_t": "int8",
    "std::uint8_t": "uint8",
    "char": "int8",
    "std::byte": "uint8",
    "std::int16_t": "int16",
    "std::uint16_t": "uint16",
    "std::int32_t": "int32",
    "std::uint32_t": "uint32",
    "std::int64_t": "int64",
    "std::uint64_t": "uint64",
    "float": "float32",
    "double": "float64",
}
_LIST = re.compile(r"(?:ROOT::VecOps::RVec|std::vector)<(.+)>")
_CARDINALITY = "ROOT::RNTupleCardinality<"
_HIDDEN = re.compile(r"_collection\d+")


class NtupleSource:
    """An `EventSource` over an uproot RNTuple."""

    def __init__(self, ntuple: Any) -> None:
        self._ntuple = ntuple
        self.entries = int(ntuple.num_entries)
        self.branches: list[Branch] = []
        self.skipped: list[SkippedBranch] = []
        fields = [field for field in ntuple.fields if not _HIDDEN.fullmatch(field.name)]
        counters = {_source(ntuple, f): f.name for f in fields if f.typename.startswith(_CARDINALITY)}
        for field in fields:
            self._add(field, counters)

    def _add(self, field: Any, counters: dict[int | None, str]) -> None:
        typename = str(field.typename)
        dtype, jagged = _element_type(typename)
        reason = storable(field.name)
        if not reason and not dtype:
            reason = f"fields of type {typename or 'collection'}, not numbers or lists of numbers"
        if reason:
            self.skipped.append(SkippedBranch(field.name, typename, reason))
            return
        source = _source(self._ntuple, field)
        counter = counters.get(source) if jagged and source is not None else None
        title = str(self._ntuple.field_records[field.field_id].field_desc)
        self.branches.append(Branch(field.name, dtype, jagged, counter, title, typename))

    def boundaries(self) -> list[int]:
        """Return the entries where clusters begin."""
        starts = {int(cluster.num_first_entry) for cluster in self._ntuple.cluster_summaries}
        return sorted({0, self.entries} | starts)

    def nbytes(self, names: Iterable[str]) -> tuple[int, int]:
        """Return stored and uncompressed bytes: by share of the fields, as the file has no sums."""
        wanted = len(set(names))
        total = int(self._ntuple.file.source.num_bytes) * wanted // max(len(self.branches), 1)
        return total, 4 * total

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array | Jagged]:
        """Return the values of some fields for the entries [start, stop)."""
        if not self.skipped and 3 * len(set(names)) >= len(self.branches):
            arrays = self._ntuple.arrays(entry_start=start, entry_stop=stop, library="ak", how=dict)
        else:
            arrays = {name: self._array(name, start, stop) for name in names}
        return {name: from_layout(name, arrays[name].layout) for name in names}

    def _array(self, name: str, start: int, stop: int) -> Any:
        """Return one field as an awkward array; for few fields that is quicker than a filter."""
        return self._ntuple[name].array(entry_start=start, entry_stop=stop, library="ak")


def _source(ntuple: Any, field: Any) -> int | None:
    """Return the number of the field that `field` is a projection of."""
    source = ntuple.field_records[field.field_id].source_field_id
    return None if source is None else int(source)


def _element_type(typename: str) -> tuple[str, bool]:
    """Return dtype and whether jagged; an empty dtype if columns cannot hold it."""
    if typename.startswith(_CARDINALITY):
        return "int64", False
    jagged = _LIST.fullmatch(typename)
    return _DTYPES.get(jagged[1] if jagged else typename, ""), jagged is not None
