"""Reading ranges that lie close together as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from ..errors import InvalidRequest, StoreError
from .base import ByteRange, ObjectStore, past_the_end

GAP_BYTES: Final = 64 << 10
"""Ranges closer than this are read as one."""
READ_BYTES_MAX: Final = 8 << 20
"""Longest range that is made by joining ranges."""


def join_ranges(ranges: Sequence[tuple[int, int]]) -> list[ByteRange]:
    """Return ranges that cover `ranges` (start, stop): those with gaps up to `GAP_BYTES` are one."""
    joined: list[list[int]] = []
    for start, stop in sorted(ranges):
        near = joined and start - joined[-1][1] <= GAP_BYTES and stop - joined[-1][0] <= READ_BYTES_MAX
        if joined and (near or start < joined[-1][1]):
            joined[-1][1] = max(joined[-1][1], stop)
        else:
            joined.append([start, stop])
    return [ByteRange(start, stop) for start, stop in joined]


def read_joined(
    store: ObjectStore,
    name: str,
    ranges: Sequence[ByteRange],
    read: Callable[[Sequence[ByteRange]], Sequence[bytes]],
) -> list[bytes]:
    """Return the bytes of each of `ranges`, reading those that lie close together as one.

    Parameters
    ----------
    store : ObjectStore
        Is asked for the size of the object if something is short.
    name : str
        The object.
    ranges : sequence of ByteRange
        What is wanted; if nothing is, the object must be there all the same.
    read : callable
        Returns the bytes of each range; fewer where a range reaches past the end.

    Raises
    ------
    NotFound
        If there is no object called `name`.
    InvalidRequest
        If a range reaches past the end.
    StoreError
        If the store gave too little.
    """
    if not ranges:
        store.size(name)
        return []
    joined = join_ranges([(where.start, where.stop) for where in ranges])
    parts = read(joined)
    if any(len(part) != where.nbytes for part, where in zip(parts, joined, strict=True)):
        raise _short(store, name, ranges)
    starts = [where.start for where in joined]
    found = []
    for where in ranges:
        number = bisect_right(starts, where.start) - 1
        part, first = parts[number], starts[number]
        found.append(part if len(part) == where.nbytes else part[where.start - first : where.stop - first])
    return found


def _short(store: ObjectStore, name: str, ranges: Sequence[ByteRange]) -> InvalidRequest | StoreError:
    nbytes = store.size(name)
    for where in ranges:
        if where.stop > nbytes:
            return past_the_end(name, nbytes, where)
    return StoreError(f"{store.url} gave fewer bytes of object {name!r} than it holds")
