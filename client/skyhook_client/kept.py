"""What a process keeps because making it costs something: connections, resolved queries."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key, those that were wanted last. Safe to use from many threads; a fork begins with none.

    Parameters
    ----------
    most : int
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clear()
        # Connections and locks do not survive a fork.
        os.register_at_fork(after_in_child=self._clear)

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key, made if there is none."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
            return self._values[key]

    def _clear(self) -> None:
        self._lock = threading.RLock()
        self._values: OrderedDict[K, V] = OrderedDict()
