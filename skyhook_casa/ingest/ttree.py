"""Events in a TTree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import uproot

from ..errors import IngestError
from ..schema import DTYPE_CODE
from .baskets import PlainBranch, plain_branch, read_plain
from .branches import Array, Branch, Jagged, SkippedBranch, storable
from .layouts import from_layout

ELEMENTS_MAX = 2**31 - 1
"""Most list elements in one read: offsets are int32."""


class TreeSource:
    """An `EventSource` over an uproot TTree."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self.entries = int(tree.num_entries)
        self.branches: list[Branch] = []
        self.skipped: list[SkippedBranch] = []
        self._found: dict[str, Any] = {}
        self._known: dict[str, Branch] = {}
        self._plain: dict[str, PlainBranch | None] = {}
        for branch in tree.branches:
            self._add(branch)

    def _add(self, branch: Any) -> None:
        reason = storable(branch.name)
        if branch.name in self._found:
            reason = "a second branch of that name"
        dtype, jagged = "", False
        if not reason:
            dtype, jagged, reason = _element_type(branch)
        if not reason and branch.num_entries != self.entries:
            reason = f"{branch.num_entries} entries in a tree of {self.entries}"
        if reason:
            self.skipped.append(SkippedBranch(branch.name, _typename(branch), reason))
            return
        counter = _counter_name(branch) if jagged else None
        title = branch.title or ""
        self._found[branch.name] = branch
        known = Branch(branch.name, dtype, jagged, counter, title, _typename(branch))
        self._known[branch.name] = known
        self.branches.append(known)

    def boundaries(self) -> list[int]:
        """Return the entries where every branch begins a basket."""
        common: set[int] | None = None
        for branch in self._found.values():
            offsets = {int(entry) for entry in branch.entry_offsets}
            common = offsets if common is None else common & offsets
        return sorted({0, self.entries} | (common or set()))

    def nbytes(self, names: Iterable[str]) -> tuple[int, int]:
        """Return stored and uncompressed bytes of some branches."""
        found = [self._found[name] for name in names]
        return sum(int(b.compressed_bytes) for b in found), sum(int(b.uncompressed_bytes) for b in found)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array | Jagged]:
        """Return the values of some branches for the entries [start, stop)."""
        counters = {b.counter for b in map(self._known.__getitem__, names) if b.counter in self._known}
        numbers = [name for name in names if not self._known[name].jagged]
        first = self._read(list(dict.fromkeys([*numbers, *(c for c in counters if c)])), {}, start, stop)
        offsets = {name: _offsets(name, first[name]) for name in counters if name}
        lists = [name for name in names if self._known[name].jagged]
        found = first | self._read(lists, offsets, start, stop)
        return {name: found[name] for name in names}

    def _read(
        self, names: list[str], offsets: dict[str, Array], start: int, stop: int
    ) -> dict[str, Array | Jagged]:
        """Return values of numbers, or of lists whose counters' offsets are known."""
        plain, rest = [], []
        for name in names:
            branch = self._plain_branch(name)
            mine = offsets.get(self._known[name].counter or "")
            if branch is None or (self._known[name].jagged and mine is None):
                rest.append(name)
            else:
                plain.append((branch, mine))
        found: dict[str, Array | Jagged] = {}
        flat = read_plain(self._tree.file.source, plain, start, stop)
        for branch, mine in plain:
            content = flat.pop(branch.name, None)
            if content is None:
                rest.append(branch.name)
            else:
                found[branch.name] = content if mine is None else Jagged(mine, content)
        for name, values in self._by_uproot(rest, start, stop).items():
            mine = offsets.get(self._known[name].counter or "")
            found[name] = values if mine is None else _agree(name, values, mine)
        return found

    def _plain_branch(self, name: str) -> PlainBranch | None:
        if name not in self._plain:
            self._plain[name] = plain_branch(self._found[name])
        return self._plain[name]

    def _by_uproot(self, names: list[str], start: int, stop: int) -> dict[str, Array | Jagged]:
        if not names:
            return {}
        wanted = set(names)
        arrays = self._tree.arrays(
            filter_branch=lambda branch: branch.name in wanted and self._found[branch.name] is branch,
            entry_start=start,
            entry_stop=stop,
            library="ak",
            how=dict,
            array_cache=None,
        )
        return {name: from_layout(name, arrays[name].layout) for name in names}


def _offsets(name: str, counts: Array | Jagged) -> Array:
    """Return int32 offsets from a counter's values."""
    assert isinstance(counts, np.ndarray)
    if len(counts) and (counts.min() < 0 or counts.sum(dtype=np.int64) > ELEMENTS_MAX):
        raise IngestError(f"counter {name!r} gives list lengths from {counts.min()} to {counts.max()}")
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _agree(name: str, values: Array | Jagged, offsets: Array) -> Jagged:
    if not isinstance(values, Jagged) or not np.array_equal(values.offsets, offsets):
        raise IngestError(f"the lists of branch {name!r} are not as long as its counter says")
    return Jagged(offsets, values.content)


def _typename(branch: Any) -> str:
    try:
        return str(branch.typename)
    except (uproot.interpretation.identify.UnknownInterpretation, ValueError):
        return "unknown"


def _element_type(branch: Any) -> tuple[str, bool, str]:
    """Return dtype, whether jagged, and why the branch cannot be held, if so."""
    interpretation = branch.interpretation
    if len(branch.branches):
        return "", False, f"it has {len(branch.branches)} sub-branches"
    jagged = isinstance(interpretation, uproot.AsJagged)
    element = interpretation.content if jagged else interpretation
    if not isinstance(element, uproot.interpretation.numerical.Numerical):
        return "", False, f"objects ({type(interpretation).__name__}), not numbers or lists of numbers"
    to_dtype = getattr(element, "to_dtype", None)
    if to_dtype is None:
        return "", False, f"objects ({type(interpretation).__name__}), not numbers or lists of numbers"
    dtype = np.dtype(to_dtype)
    if dtype.shape:
        return "", False, f"arrays of fixed size {list(dtype.shape)}"
    if dtype.names:
        return "", False, f"structs of {', '.join(map(str, dtype.names))}"
    if dtype.name not in DTYPE_CODE:
        return "", False, f"numbers of type {dtype.name}"
    return dtype.name, jagged, ""


def _counter_name(branch: Any) -> str | None:
    leaves = branch.member("fLeaves")
    leaf = leaves[0].member("fLeafCount") if len(leaves) == 1 else None
    return None if leaf is None else str(leaf.member("fName"))
