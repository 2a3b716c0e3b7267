"""Checks of objects by the object class, where they are stored: no byte of a good object leaves the storage.

The class checks every checksum inside an object and computes the SHA-256 of all its bytes. What it has
computed travels with the cursor, so that each call is short. See ``ceph_cls/doc/wire.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import xxhash

from . import _engine
from .catalog import ObjectInfo
from .errors import ClassMissing, CorruptObject, RequestLost, SkyhookError, StoreError
from .stores import ObjectStore
from .worker import MILLISECONDS_MAX, NO_LIMIT, WIRE_VERSION

ANSWER_BYTES_MAX: Final = 64 << 10
"""Longest answer that is accepted; only the text of an error is of any length."""
LOSSES_MAX: Final = 1
"""Requests that may be lost with their OSDs before all other objects are read."""
_REQUEST = struct.Struct("<8sIIQQqqqqIIII")
_SIZE = struct.Struct("<Q")
_STATE = struct.Struct("<8I")
_ANSWER_HEAD_BYTES: Final = 128
_FOUND = struct.Struct("<32sQ")


@dataclass(frozen=True, slots=True)
class Found:
    """What the object class found in an object whose checksums all hold."""

    sha256: str
    """Of all its bytes, in hex."""
    events: int
    names_checksum: int
    """See `names_checksum`."""


class InsideCheck:
    """Lets the storage check objects, as long as it can.

    Parameters
    ----------
    store : ObjectStore
        Where the objects are.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.works = store.pushes_down
        """Whether to try it with the next object."""
        self._answered = False
        self._losses = 0
        self.reason = "" if self.works else "the store cannot run programs"
        """Why objects were read instead; empty if none had to be."""
        self.bytes_moved = 0
        """Bytes of requests and answers."""

    def check(self, info: ObjectInfo) -> Found | None:
        """Return what the storage found; None if the object is to be read instead.

        Raises
        ------
        CorruptObject
            If a checksum in the object does not hold, or its directory contradicts itself.
        NotFound
            If there is no such object.
        """
        if not self.works:
            return None
        cursor, state = 0, bytes(_STATE.size)
        while cursor >= 0:
            answer = self._ask(info, cursor, state)
            if answer is None:
                return None
            result = _engine.Result([], [])
            try:
                cursor = result.append_answer(answer)
            except CorruptObject:
                raise
            except SkyhookError as error:
                self.reason = f"the object class cannot check object {info.name}: {error}"
                return None
            state, names = _FOUND.unpack_from(answer, _ANSWER_HEAD_BYTES)
        digest = struct.pack(">8I", *_STATE.unpack(state)).hex()
        return Found(digest, result.report()["events_in"], names)

    def _ask(self, info: ObjectInfo, cursor: int, state: bytes) -> bytes | None:
        """Return the answer of one call; None if there was none that can be used."""
        request = verify_request(info, cursor, state)
        try:
            answer = self._store.execute(info.name, "verify", request, ANSWER_BYTES_MAX)
            self.bytes_moved += len(request) + len(answer)
            if len(answer) < _ANSWER_HEAD_BYTES + _FOUND.size and not _is_error(answer):
                raise ClassMissing("the object class is of an older version, which checks less")
        except RequestLost as error:
            self._lose(error)
            return None
        except StoreError as error:
            self._give_up(error)
            return None
        self._answered = True
        return answer

    def _lose(self, error: RequestLost) -> None:
        """A request that did not come back may be the reason that its OSD ended: it is not sent again."""
        self._losses += 1
        self.reason = str(error)
        if not self._answered or self._losses > LOSSES_MAX:
            self._give_up(error)

    def _give_up(self, error: StoreError) -> None:
        self.works, self.reason = False, str(error)


def verify_request(info: ObjectInfo, cursor: int, state: bytes) -> bytes:
    """Return the request that goes on at `cursor` with the SHA-256 of what comes before."""
    head = _REQUEST.pack(
        b"SKYSCAN1",
        WIRE_VERSION,
        0,
        info.directory_start,
        info.directory_bytes,
        0,
        cursor,
        NO_LIMIT,
        NO_LIMIT,
        MILLISECONDS_MAX,
        0,
        _SIZE.size + _STATE.size,
        0,
    )
    return head + _SIZE.pack(info.bytes) + state


def names_checksum(names: Iterable[str]) -> int:
    """Return the checksum of the key table of an object with these physical columns, in this order."""
    digests = b"".join(xxhash.xxh3_64_intdigest(name.encode()).to_bytes(8, "little") for name in names)
    return xxhash.xxh3_64_intdigest(digests)


def _is_error(answer: bytes) -> bool:
    return len(answer) >= _ANSWER_HEAD_BYTES and answer[12:16] != bytes(4)
