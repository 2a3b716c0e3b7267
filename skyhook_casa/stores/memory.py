"""A store in this process's memory: for tests, and for a look at small data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from ..errors import NotFound, StoreError
from .base import ByteRange, ObjectStore, StoredObject, check_data, check_name, past_the_end

if TYPE_CHECKING:
    from typing_extensions import Buffer


class MemoryStore(ObjectStore):
    """Objects in a dictionary; gone with the value.

    Parameters
    ----------
    runs_class : bool
        Whether it answers `execute` as a cluster with the object class does.
    """

    def __init__(self, runs_class: bool = False) -> None:
        self.url = "memory://"
        self._runs_class = runs_class
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = Lock()

    def put(self, name: str, data: Buffer) -> bool:
        """See `ObjectStore.put`."""
        view = check_data(check_name(name), data)
        with self._lock:
            there = self._objects.get(name)
            self._objects[name] = (there[0] if there else bytes(view), time.time())
        return there is None

    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """See `ObjectStore.read_many`."""
        data = self._get(name)[0]
        for where in ranges:
            if where.stop > len(data):
                raise past_the_end(name, len(data), where)
        return [data[where.start : where.stop] for where in ranges]

    @property
    def pushes_down(self) -> bool:
        """See `ObjectStore.pushes_down`."""
        return self._runs_class

    def execute(
        self, name: str, method: str, request: bytes, reply_bytes_max: int, ability: str = ""
    ) -> bytes:
        """See `ObjectStore.execute`."""
        if not self._runs_class:
            return super().execute(name, method, request, reply_bytes_max, ability)
        from .. import _engine

        self.size(name)
        if method == "info":
            return b"skyhook_casa"
        answer = _engine.answer(method, request, lambda start, stop: self.read(name, ByteRange(start, stop)))
        if len(answer) > reply_bytes_max:
            raise StoreError(f"the answer has {len(answer)} bytes; {reply_bytes_max} were allowed")
        return answer

    def size(self, name: str) -> int:
        """See `ObjectStore.size`."""
        return len(self._get(name)[0])

    def list(self) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        with self._lock:
            listing = [StoredObject(name, len(data), put_s) for name, (data, put_s) in self._objects.items()]
        yield from listing

    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        """See `ObjectStore.delete`."""
        check_name(name)
        with self._lock:
            there = self._objects.get(name)
            if there is None or (put_before_s is not None and there[1] >= put_before_s):
                return False
            del self._objects[name]
        return True

    def _get(self, name: str) -> tuple[bytes, float]:
        check_name(name)
        try:
            return self._objects[name]
        except KeyError:
            raise NotFound(f"no object {name!r} in {self.url}") from None
