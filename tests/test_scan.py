"""A scan's parts: ranges that are joined, blocks that are even, a feed that is bounded."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyhook_casa.catalog import FileInfo, ObjectInfo, Partition
from skyhook_casa.feed import Feed
from skyhook_casa.shares import Shares, blocks
from skyhook_casa.stores import ByteRange, MemoryStore
from skyhook_casa.stores.joining import GAP_BYTES, READ_BYTES_MAX, join_ranges, read_joined

RANGES = st.lists(
    st.builds(lambda start, size: (start, start + size), st.integers(0, 300_000), st.integers(1, 50_000)),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize(
    ("gap", "joined"), [(0, [(0, 20)]), (GAP_BYTES, [(0, 20 + GAP_BYTES)]), (GAP_BYTES + 1, None)]
)
def test_ranges_are_joined_over_small_gaps(gap: int, joined: list[tuple[int, int]] | None) -> None:
    """One request costs more than some bytes too many."""
    ranges = [(0, 10), (10 + gap, 20 + gap)]
    assert [(r.start, r.stop) for r in join_ranges(ranges)] == (joined or ranges)


@pytest.mark.parametrize(("length", "count"), [(READ_BYTES_MAX, 1), (READ_BYTES_MAX + 1, 2)])
def test_joined_ranges_are_bounded(length: int, count: int) -> None:
    assert len(join_ranges([(0, length - 10), (length - 10, length)])) == count


@given(RANGES)
def test_every_range_gets_its_bytes(ranges: list[tuple[int, int]]) -> None:
    """In the order asked, overlapping or not."""
    store = MemoryStore()
    data = bytes(range(256)) * 1500
    store.put("ab", data)
    wanted = [ByteRange(start, stop) for start, stop in ranges]
    found = read_joined(store, "ab", wanted, lambda joined: store.read_many("ab", joined))
    assert [bytes(view) for view in found] == [data[start:stop] for start, stop in ranges]


def make_parts(events: list[int]) -> list[Partition]:
    info = ObjectInfo("ab", 1, 0, 0, 1)
    file = FileInfo("a", "u", "t", 1, 1)
    return [Partition(n, 0, size, info, file, 0, size) for n, size in enumerate(events)]


@given(st.lists(st.integers(1, 1000), max_size=30), st.integers(1, 8))
def test_blocks_are_contiguous_and_even(events: list[int], count: int) -> None:
    """Each differs from an even share by one part at most."""
    parts = make_parts(events)
    found = blocks(parts, count)
    assert [part for block in found for part in block] == parts
    assert all(found)
    assert len(found) <= count
    for block in found:
        assert sum(part.events for part in block) <= sum(events) / count + max(events)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=20), st.integers(1, 5), st.randoms())
def test_shares_give_each_part_once_and_keep_order(events: list[int], count: int, random: Any) -> None:
    """Whoever works faster: own parts of a share, then stolen ones by number, are in dataset order."""
    shares = Shares(make_parts(events), count)
    taken: list[tuple[int, int, int]] = []
    finished: set[int] = set()
    while True:
        worker = random.randrange(len(shares))
        part = shares.next(worker) if worker not in finished else None
        if part is not None:
            taken.append((worker, -1, part.index))
            continue
        finished.add(worker)
        stolen = shares.steal()
        if stolen is not None:
            taken.append((stolen[0], stolen[1].index, stolen[1].index))
        elif len(finished) == len(shares):
            break
    assert [index for *_, index in sorted(taken, key=lambda one: one[:2])] == list(range(len(events)))


@dataclass
class Thing:
    nbytes: int


def test_a_feed_keeps_order_and_ends() -> None:
    feed: Feed[Thing] = Feed(100)
    for n in (1, 2, 3):
        assert feed.put(Thing(n))
    feed.end()
    assert [thing.nbytes for thing in feed] == [1, 2, 3]
    assert not feed.put(Thing(4))


def test_a_feed_makes_its_maker_wait() -> None:
    """At the limit one waits; below it none does."""
    feed: Feed[Thing] = Feed(10)
    feed.put(Thing(9))
    feed.put(Thing(1))
    made = threading.Event()
    maker = threading.Thread(target=lambda: (feed.put(Thing(5)), made.set()))
    maker.start()
    assert not made.wait(0.05)
    assert next(iter(feed)).nbytes == 9
    assert made.wait(60)
    maker.join()


def test_a_feed_gives_its_makers_error_after_the_pieces() -> None:
    feed: Feed[Thing] = Feed(10)
    feed.put(Thing(1))
    feed.end(ValueError("bad"))
    pieces = iter(feed)
    assert next(pieces).nbytes == 1
    with pytest.raises(ValueError, match="bad"):
        next(pieces)


def test_a_taker_who_leaves_frees_the_maker() -> None:
    feed: Feed[Thing] = Feed(1)
    feed.put(Thing(1))
    answers: list[bool] = []
    maker = threading.Thread(target=lambda: answers.append(feed.put(Thing(1))))
    maker.start()
    feed.end()
    maker.join(60)
    assert answers == [False]
