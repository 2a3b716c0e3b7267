"""Which OSD process runs requests to our object class on which object.

librados sends a request again when its OSD ends, to the next replica or to the OSD that was started
anew. A request that was the reason would end one OSD after the other. So each request names the
process that may run it, which the method `info` tells, and the class refuses those of others.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Final

from ..errors import ClassMissing

INFO: Final = "info"
"""The method that tells the number of the process; it computes nothing."""
INFO_BYTES_MAX: Final = 256
FRESH_S: Final = 1.0
"""A process that answered for an object so short a time ago is taken to have it still."""
OBJECTS_MAX: Final = 100_000
"""Most objects that are remembered."""
PROCESSES_MAX: Final = 100_000
"""Most processes of which it is remembered what they can do."""
_INFO = re.compile(rb"skyhook_casa wire \d+ process (\d+)(?: can ([a-z ]*))?")


class OsdProcesses:
    """Remembers which process answered for which object. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered: dict[str, tuple[int, float]] = {}
        self._abilities: dict[int, frozenset[str]] = {}

    def told(self, answer: bytes) -> int:
        """Return the number in an answer of `info`; remember what the process can do.

        Raises
        ------
        ClassMissing
            If there is no number.
        """
        process, abilities = process_of(answer)
        with self._lock:
            if len(self._abilities) >= PROCESSES_MAX:
                self._abilities.clear()
                self._answered.clear()
            self._abilities[process] = abilities
        return process

    def can(self, process: int, ability: str) -> bool:
        """Return whether a process told that it can do something."""
        with self._lock:
            return ability in self._abilities.get(process, ())

    def of(self, oid: str) -> int | None:
        """Return the process that has an object, unless that is unknown or long ago."""
        with self._lock:
            process, answered_s = self._answered.get(oid, (None, 0.0))
        return process if time.monotonic() - answered_s < FRESH_S else None

    def answered(self, oid: str, process: int) -> None:
        """Note that a process answered for an object."""
        with self._lock:
            if len(self._answered) >= OBJECTS_MAX:
                self._answered.clear()
            self._answered[oid] = (process, time.monotonic())

    def forget(self, oid: str) -> None:
        """Note that the process of an object did not answer."""
        with self._lock:
            self._answered.pop(oid, None)


def process_of(answer: bytes) -> tuple[int, frozenset[str]]:
    """Return the number in an answer of `info`, and what the process can do besides the first ones.

    Raises
    ------
    ClassMissing
        If it has none.
    """
    found = _INFO.match(answer)
    if found is None:
        raise ClassMissing(f"the object class answers {answer[:80]!r}; it is of another version")
    return int(found[1]), frozenset((found[2] or b"").decode().split())
