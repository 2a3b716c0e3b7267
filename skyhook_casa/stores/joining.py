"""Reading ranges that lie close together as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from .base import ByteRange

GAP_BYTES: Final = 64 << 10
"""Ranges closer than this are read as one."""
READ_BYTES_MAX: Final = 8 << 20
"""Longest range that is made by joining ranges."""


def join_ranges(ranges: Sequence[tuple[int, int]]) -> list[ByteRange]:
    """Return ranges that cover `ranges`, pairs of start and stop: those with gaps up to `GAP_BYTES` are one."""
    joined: list[list[int]] = []
    for start, stop in sorted(ranges):
        near = joined and start - joined[-1][1] <= GAP_BYTES and stop - joined[-1][0] <= READ_BYTES_MAX
        if joined and (near or start < joined[-1][1]):
            joined[-1][1] = max(joined[-1][1], stop)
        else:
            joined.append([start, stop])
    return [ByteRange(start, stop) for start, stop in joined]


def read_joined(
    read: Callable[[Sequence[ByteRange]], list[bytes]], ranges: Sequence[ByteRange]
) -> list[bytes]:
    """Return the bytes of each of `ranges`, reading by `read` those that lie close together as one."""
    if len(ranges) <= 1:
        return read(ranges)
    joined = join_ranges([(where.start, where.stop) for where in ranges])
    parts = read(joined)
    starts = [where.start for where in joined]
    found = []
    for where in ranges:
        number = bisect_right(starts, where.start) - 1
        part, first = parts[number], starts[number]
        whole = (where.start, where.stop) == (first, joined[number].stop)
        found.append(part if whole else part[where.start - first : where.stop - first])
    return found
