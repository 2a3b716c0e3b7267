"""Deletions of one name take turns, by an object of S3 that only one of them can make.

S3 need not know deletions under a condition (radosgw deletes regardless). So whoever deletes holds a
lock, looks again and deletes; whoever relies on an object that is there makes it young first, and then
sees that it is there while nobody holds the lock. Then a deletion that began before has ended, and one
that begins later sees a young object.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ..errors import StoreError
from .s3_client import S3Client

STALE_S: Final = 600.0
"""A lock older than this has lost its holder; longer than every request takes with its repetitions."""
WAIT_S: Final = 30.0
"""Longest wait for a lock."""
_FIRST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 1.0


class Lock:
    """The lock of one name, at `key`."""

    def __init__(self, client: S3Client, key: str) -> None:
        self._client = client
        self._key = key

    def is_held(self) -> bool:
        """Whether a deletion is going on."""
        held = self._client.head(self._key)
        return held is not None and _age_s(held) <= STALE_S

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """Hold the lock.

        Raises
        ------
        StoreError
            If another holds it for longer than `WAIT_S`.
        """
        for _ in waits(f"another process is deleting what {self._key!r} locks"):
            begin_s = time.monotonic()
            if self._take():
                break
        hold = Hold(begin_s)
        try:
            yield hold
        finally:
            if hold.is_ours():
                self._client.call("delete_object", Key=self._key)

    def _take(self) -> bool:
        token = secrets.token_bytes(16)  # makes the ETag of every holder another one
        if self._client.create(self._key, token):
            return True
        held = self._client.head(self._key)
        if held is None or _age_s(held) <= STALE_S:
            return False
        return self._client.replace(self._key, token, held["ETag"])


class Hold:
    """A lock that is held."""

    def __init__(self, begin_s: float) -> None:
        self._begin_s = begin_s

    def is_ours(self) -> bool:
        """Whether nobody can have taken the lock for stale."""
        return time.monotonic() - self._begin_s < STALE_S / 2


def waits(what: str) -> Iterator[None]:
    """Yield at once and then after growing, random waits; raise `StoreError` after `WAIT_S`."""
    end_s, wait_s = time.monotonic() + WAIT_S, _FIRST_WAIT_S
    while True:
        yield
        if time.monotonic() >= end_s:
            raise StoreError(f"{what}, for {WAIT_S:g} s; try again later")
        time.sleep(random.uniform(0, wait_s))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _age_s(held: Any) -> float:
    """Return how old an object is, by its server's clock."""
    now = parsedate_to_datetime(held["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - held["LastModified"]).total_seconds())
