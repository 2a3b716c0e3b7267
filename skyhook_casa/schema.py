"""Columns and the lists they live in.

A *list* is one jagged axis: all columns of a NanoAOD collection share one. A column is either one
value per event (`list` is None), one value per list element, or the *counter* of a list, which
is not stored: it is derived from the list's offsets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
)
"""Element types by their code in the object format and in engine programs."""

DTYPE_CODE = {name: code for code, name in enumerate(DTYPES)}

OFFSETS_SUFFIX = "#"
"""The offsets of list `Muon` are the physical column `Muon#`."""


@dataclass(frozen=True, slots=True)
class Column:
    """A named column of a dataset."""

    name: str
    """Flat name, as in the ROOT file: `Muon_pt`, `MET_pt`, `nMuon`."""
    dtype: str
    """NumPy name of one element's type, one of `DTYPES`."""
    list: str | None = None
    """The list this column has one value per element of; None for one value per event."""
    counts: str | None = None
    """The list whose length this column is; None if it is no counter."""
    title: str = ""
    """The branch title of the ROOT file."""
    typename: str = ""
    """The type as the ROOT file spells it: `float[]`, `std::uint32_t`."""

    @property
    def field(self) -> str:
        """The name inside its collection: `pt` of `Muon_pt`; the whole name elsewhere."""
        if self.list is not None and self.name.startswith(self.list + "_"):
            return self.name[len(self.list) + 1 :]
        return self.name


@dataclass(frozen=True, slots=True)
class ListInfo:
    """One jagged axis of a dataset."""

    name: str
    """`Muon` for a collection; the column's own name for a list on its own."""
    counter: str | None = None
    """The counter column, `nMuon`; None where the file has none."""
    collection: bool = False
    """True: stored as list<struct>, columns are `name_*`. False: one column, `name` itself."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a dataset or an object, in file order, and the lists they live in."""

    columns: dict[str, Column] = field(default_factory=dict)
    lists: dict[str, ListInfo] = field(default_factory=dict)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of one of `DTYPES`."""
    return np.dtype(name)


def offsets_column(list_name: str) -> str:
    """Return the physical name of a list's offsets: `Muon#`."""
    return list_name + OFFSETS_SUFFIX
