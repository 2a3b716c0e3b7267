"""TTree baskets straight to flat arrays.

uproot finds the baskets; here their bytes are decompressed and turned into native numbers with no
copy in between. Only plain branches are read so: numbers, or lists of numbers with a counter.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import uproot

from ..errors import IngestError
from .branches import Array

_KEY = struct.Struct(">ihiIhh")
_BASKET = struct.Struct(">Hiiii")
_BLOCK_HEADER_BYTES = 9
_LZ4_CHECKSUM_BYTES = 8


def _zlib_decompressor() -> Callable[[Any, int], Any]:
    """Return ISA-L's decompressor if it is installed: it takes half the time of zlib's."""
    if find_spec("isal") is None:
        return lambda data, size: zlib.decompress(data, bufsize=size)
    isal: Any = import_module("isal.isal_zlib")
    return lambda data, size: isal.decompress(data, bufsize=size)


_DECOMPRESS: dict[bytes, Callable[[Any, int], Any]] = {
    b"ZL": _zlib_decompressor(),
    b"XZ": uproot.LZMA(1).decompress,
    b"L4": lambda data, size: uproot.LZ4(1).decompress(data[_LZ4_CHECKSUM_BYTES:], size),
    b"ZS": uproot.ZSTD(1).decompress,
}


@dataclass(frozen=True, slots=True)
class Basket:
    """One basket's uncompressed bytes."""

    data: Array
    """uint8: the values, big endian."""
    entry_offsets: Array | None
    """>i4, shape (entries,): where each entry begins in the basket, its key included."""
    key_bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class PlainBranch:
    """Where the baskets of a branch of numbers lie."""

    name: str
    stored: np.dtype[Any]
    """Big endian."""
    native: np.dtype[Any]
    starts: Array
    """First entry of each basket, and the number of entries."""
    seeks: Array
    sizes: Array

    def baskets(self, start: int, stop: int) -> range:
        """Return the numbers of the baskets with entries in [start, stop)."""
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        return range(first, int(np.searchsorted(self.starts, stop, "left")))


def plain_branch(branch: Any) -> PlainBranch | None:
    """Return the baskets of an uproot TBranch; None if it is to be read by uproot itself."""
    interpretation = branch.interpretation
    if type(interpretation) is uproot.AsJagged:
        if interpretation.header_bytes or _counter_leaf(branch) is None:
            return None
        interpretation = interpretation.content
    if type(interpretation) is not uproot.AsDtype or branch.embedded_baskets:
        return None
    stored, native = np.dtype(interpretation.from_dtype), np.dtype(interpretation.to_dtype)
    count = int(branch.num_baskets)
    if stored.newbyteorder("=") != native or stored.shape or native.names:
        return None
    seeks = np.asarray(branch.member("fBasketSeek")[:count], np.int64)
    sizes = np.asarray(branch.member("fBasketBytes")[:count], np.int64)
    starts = np.asarray(branch.entry_offsets, np.int64)
    if len(starts) != count + 1 or len(seeks) != count:
        return None
    return PlainBranch(branch.name, stored, native, starts, seeks, sizes)


def _counter_leaf(branch: Any) -> Any:
    leaves = branch.member("fLeaves")
    return leaves[0].member("fLeafCount") if len(leaves) == 1 else None


def read_plain(
    source: Any, branches: Sequence[tuple[PlainBranch, Array | None]], start: int, stop: int
) -> dict[str, Array]:
    """Return the values of plain branches for the entries [start, stop).

    Parameters
    ----------
    source
        uproot's source of bytes of the file.
    branches
        Each with the offsets of its lists over [start, stop), starting at 0; None for numbers.

    Returns
    -------
    dict
        Without the branches whose lists cannot be found inside a basket that is not read whole:
        some files leave out where each entry begins.

    Raises
    ------
    IngestError
        If a basket contradicts the offsets or the tree.
    """
    places, ranges = [], []
    arrays: dict[str, Array] = {}
    for branch, offsets in branches:
        arrays[branch.name] = np.empty(stop - start if offsets is None else int(offsets[-1]), branch.native)
        for number in branch.baskets(start, stop):
            places.append((branch, offsets, number))
            seek = int(branch.seeks[number])
            ranges.append((seek, seek + int(branch.sizes[number])))
    expected = _ExpectedOffsets()
    for chunk, (branch, offsets, number) in zip(_chunks(source, ranges), places, strict=True):
        basket = _basket(chunk, branch.name)
        first, last = int(branch.starts[number]), int(branch.starts[number + 1])
        if basket.entries != last - first:
            raise IngestError(
                f"a basket of branch {branch.name!r} has {basket.entries} entries, not {last - first}"
            )
        begin, end = max(first, start), min(last, stop)
        out = arrays.get(branch.name)
        if out is None:
            continue
        if offsets is None:
            _copy(basket.data, branch, begin - first, out[begin - start : end - start])
            continue
        skip = _lead(basket, branch, begin - first)
        if skip is None:
            del arrays[branch.name]
            continue
        mine = offsets[begin - start : end - start + 1]
        expected.check(basket, branch, begin - first, end - first, mine, skip)
        _copy(basket.data, branch, skip, out[mine[0] : mine[-1]])
    return arrays


class _Ignored:
    """Takes the place of the queue that tells which chunks are there: they are taken in order."""

    def put(self, chunk: object) -> None:
        """Forget that `chunk` is there."""


def _chunks(source: Any, ranges: list[tuple[int, int]]) -> Any:
    """Yield the bytes of each range, asked for all at once."""
    if not ranges:
        return
    chunks = source.chunks(ranges, notifications=_Ignored())
    chunks.reverse()
    while chunks:
        chunk = chunks.pop()
        chunk.wait(insist=True)
        yield chunk.raw_data


def _basket(raw: Any, name: str) -> Basket:
    """Return the uncompressed basket whose key and payload are `raw`."""
    view = memoryview(raw).cast("B")
    total, _, object_bytes, _, key_bytes, _ = _KEY.unpack_from(view)
    _, _, _, entries, last = _BASKET.unpack_from(view, key_bytes - _BASKET.size - 1)
    payload = view[key_bytes:total]
    data = (
        np.frombuffer(payload, np.uint8)
        if len(payload) == object_bytes
        else _decompress(payload, object_bytes, name)
    )
    border = last - key_bytes
    if not 0 <= border <= len(data):
        raise IngestError(f"a basket of branch {name!r} ends at byte {border} of {len(data)}")
    tail = data[border:]
    offsets = tail[4 : 4 + 4 * entries].view(">i4") if len(tail) >= 4 + 4 * entries and len(tail) else None
    return Basket(data[:border], offsets, key_bytes, entries)


def _decompress(payload: memoryview, size: int, name: str) -> Array:
    """Return the `size` bytes that ROOT's compressed blocks hold."""
    parts, at, filled = [], 0, 0
    while filled < size:
        method = bytes(payload[at : at + 2])
        stored = int.from_bytes(payload[at + 3 : at + 6], "little")
        plain = int.from_bytes(payload[at + 6 : at + 9], "little")
        at += _BLOCK_HEADER_BYTES
        if method not in _DECOMPRESS or at + stored > len(payload) or plain == 0:
            raise IngestError(
                f"a basket of branch {name!r} has no compressed block where one must be ({method!r})"
            )
        parts.append(np.frombuffer(_DECOMPRESS[method](payload[at : at + stored], plain), np.uint8))
        at += stored
        filled += plain
    data = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if len(data) != size:
        raise IngestError(f"a basket of branch {name!r} has {len(data)} bytes, not {size}")
    return data


def _copy(data: Array, branch: PlainBranch, skip: int, out: Array) -> None:
    """Fill `out` with the basket's values from number `skip` on, in native byte order."""
    size = branch.stored.itemsize
    raw = data[skip * size : (skip + len(out)) * size]
    if len(raw) != len(out) * size:
        raise IngestError(f"a basket of branch {branch.name!r} is too short: {len(data)} bytes")
    out[:] = raw.view(branch.stored)


def _lead(basket: Basket, branch: PlainBranch, entries: int) -> int | None:
    """Return how many elements the first `entries` entries of a basket have; None if it does not say."""
    if entries == 0:
        return 0
    if basket.entry_offsets is None:
        return None
    return (int(basket.entry_offsets[entries]) - basket.key_bytes) // branch.stored.itemsize


class _ExpectedOffsets:
    """Compares the entry offsets of baskets with the offsets that the counter gives.

    All branches of a collection have equal offsets but for item size and key length, so what is
    expected is computed once for many branches.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int, int], tuple[Array, bytes]] = {}

    def check(
        self, basket: Basket, branch: PlainBranch, begin: int, end: int, offsets: Array, skip: int
    ) -> None:
        """Refuse a basket whose entries [begin, end) do not have these offsets."""
        size = branch.stored.itemsize
        needed = (skip + int(offsets[-1] - offsets[0])) * size
        whole = end == basket.entries
        if needed > len(basket.data) or (whole and needed != len(basket.data)):
            raise IngestError(f"branch {branch.name!r} does not have as many elements as its counter says")
        if basket.entry_offsets is None:
            return
        key = (offsets.ctypes.data, begin, end, size, basket.key_bytes + skip * size)
        if key not in self._known:
            lead = basket.key_bytes + (skip - int(offsets[0])) * size
            self._known[key] = offsets, (offsets[:-1] * size + lead).astype(">i4").tobytes()
        if basket.entry_offsets[begin:end].tobytes() != self._known[key][1]:
            raise IngestError(f"the lists of branch {branch.name!r} are not as long as its counter says")
