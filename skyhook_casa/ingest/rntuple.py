"""Events in an RNTuple.

NanoAOD in RNTuple keeps each collection in an untyped field `_collectionN`; the names that people
use (`Muon_pt`, and the counter `nMuon` as a cardinality) are projections of it. The projections
are read; fields that share a source share their lists.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from ..errors import IngestError
from .branches import Array, Branch, Jagged, SkippedBranch, storable

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
        self._numbers: dict[str, int] = {}
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
        self._numbers[field.name] = int(field.field_id)
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
        """Return the values of some fields for the entries [start, stop).

        Fields of one collection get one array of offsets.
        """
        reading = _Clusters(self._ntuple, start, stop)
        return {name: self._values(name, reading) for name in names}

    def _values(self, name: str, reading: _Clusters) -> Array | Jagged:
        form = self._ntuple.field_form(self._numbers[name], ())
        if form.is_numpy:
            return reading.numbers(form.form_key)
        if form.is_list and form.content.is_numpy:
            return reading.lists(form.form_key, form.content.form_key)
        raise IngestError(f"field {name!r} was read as {form.type}")


class _Clusters:
    """The columns of an RNTuple over the entries [start, stop), each read once.

    uproot's own `arrays` builds one form of all fields, which takes time quadratic in their number.
    """

    def __init__(self, ntuple: Any, start: int, stop: int) -> None:
        firsts = [int(cluster.num_first_entry) for cluster in ntuple.cluster_summaries]
        self._ntuple = ntuple
        self._clusters = max(bisect_right(firsts, start) - 1, 0), bisect_left(firsts, stop)
        self._first = firsts[self._clusters[0]] if firsts else 0
        self._start, self._stop = start - self._first, stop - self._first
        self._offsets: dict[str, tuple[Array, int, int]] = {}

    def numbers(self, key: str) -> Array:
        """Return a column with one value per entry, or the lengths of lists."""
        if key.endswith("-cardinality"):
            return np.diff(self._list_offsets(key.removesuffix("-cardinality"))[0]).astype(np.int64)
        return self._column(key)[self._start : self._stop]

    def lists(self, key: str, content_key: str) -> Jagged:
        """Return a column with lists of values."""
        offsets, begin, end = self._list_offsets(key)
        return Jagged(offsets, self._column(content_key)[begin:end])

    def _list_offsets(self, key: str) -> tuple[Array, int, int]:
        """Return offsets that start at 0, and where the elements begin and end in their column."""
        if key not in self._offsets:
            offsets = self._column(key)[self._start : self._stop + 1]
            begin, end = int(offsets[0]), int(offsets[-1])
            self._offsets[key] = (offsets.astype(np.int64) - begin), begin, end
        return self._offsets[key]

    def _column(self, key: str) -> Array:
        number = int(key.removeprefix("column-"))
        late = int(self._ntuple.column_records[number].first_element_index)
        padding = max(late - self._first, 0)
        values: Array = self._ntuple.read_cluster_range(
            number, *self._clusters, missing_element_padding=padding
        )
        return values


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
