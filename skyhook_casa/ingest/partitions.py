"""How a file's events are cut into objects.

The cuts depend on nothing but the file and the options, so an ingest that is run again makes the
same objects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

PARTITION_BYTES: Final = 32 * 2**20
"""Aim for the size of an object."""
PARTITION_BYTES_MAX: Final = 48 * 2**20
"""Largest aim: objects grow past it by chance, and must stay below 64 MiB."""
OBJECT_BYTES_MAX: Final = 60 * 2**20
"""An object that would be larger is cut in two."""
RAW_RATIO: Final = 4
"""What ROOT compresses better than this, objects are guessed not to."""


def object_bytes_guess(stored_bytes: int, raw_bytes: int) -> int:
    """Return a guess of the objects' size from the sizes of the branches in the ROOT file."""
    return max(stored_bytes, raw_bytes // RAW_RATIO)


def cut(
    entries: int, nbytes: int, boundaries: Sequence[int], partition_bytes: int, chunk_events: int
) -> list[tuple[int, int]]:
    """Return the entry ranges [start, stop) of the partitions of one file.

    Parameters
    ----------
    entries : int
        Events of the file.
    nbytes : int
        Guess of the size of all objects together.
    boundaries : sequence of int
        Entries where the file's clusters begin, rising; cuts go there if they are near.
    partition_bytes : int
        Aim for the size of one object.
    chunk_events : int
        Events of a chunk; partitions are no shorter, but for the last.
    """
    if entries == 0:
        return []
    count = max(1, -(-nbytes // partition_bytes))
    aim = max(-(-entries // count), min(chunk_events, entries))
    ranges, start = [], 0
    while start < entries:
        left = entries - start
        parts = max(1, round(left / aim))
        stop = entries if parts == 1 else start + _nearest(start, -(-left // parts), boundaries, chunk_events)
        ranges.append((start, stop))
        start = stop
    return ranges


def _nearest(start: int, ideal: int, boundaries: Sequence[int], chunk_events: int) -> int:
    """Return how many events to take: to the cluster nearest to `ideal`, else whole chunks."""
    at = bisect_left(boundaries, start + ideal)
    near = [b - start for b in boundaries[max(at - 1, 0) : at + 1]]
    good = [events for events in near if 3 * ideal <= 4 * events <= 5 * ideal]
    if good:
        return min(good, key=lambda events: abs(events - ideal))
    return max(ideal // chunk_events, 1) * chunk_events if ideal >= chunk_events else ideal


def halves(start: int, stop: int, chunk_events: int) -> list[tuple[int, int]]:
    """Return a range cut in two, between chunks if it has more than one."""
    chunks = -(-(stop - start) // chunk_events)
    middle = start + (chunks // 2 * chunk_events if chunks > 1 else (stop - start) // 2)
    return [(start, middle), (middle, stop)]
