"""A catalog that looks up once what many queries ask for."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Final

from ..schema import Column
from . import Catalog, DatasetVersion

REMEMBERED_MAX: Final = 100_000
"""Rows that are remembered, of all look-ups together."""


def _remembered(look: Callable[..., Any]) -> Any:
    """Return a look-up that is made again only if the catalog has changed since."""
    name = look.__name__

    @wraps(look)
    def remembering(self: RememberingCatalog, *arguments: Any) -> Any:
        key = (name, *arguments)
        state = self.state()
        memory = self._memory
        found = memory.found.get(key) if memory.state == state else None
        if found is None:
            found = look(self, *arguments)
            self._remember(state, key, found)
        return found

    return remembering


class RememberingCatalog(Catalog):
    """A catalog for planning many queries: what it returns must not be changed.

    It forgets everything when anybody commits, in any process, so it never tells what was. In PostgreSQL,
    where that cannot be seen without a look-up, and in memory it remembers nothing.
    """

    def __init__(self, address: str | os.PathLike[str], create: bool = True) -> None:
        super().__init__(address, create)
        self._begin()
        _catalogs.add(self)

    version = _remembered(Catalog.version)
    column = _remembered(Catalog.column)
    list_info = _remembered(Catalog.list_info)
    partitions = _remembered(Catalog.partitions)
    definition_texts = _remembered(Catalog.definition_texts)
    derived_state = _remembered(Catalog.derived_state)
    _columns_named = _remembered(Catalog.columns_named)
    _layout_index = _remembered(Catalog.layout_index)

    def columns_named(self, version: DatasetVersion, names: Iterable[str]) -> dict[str, Column]:
        """See `Catalog.columns_named`."""
        found: dict[str, Column] = self._columns_named(version, tuple(sorted(names)))
        return found

    def layout_index(self, layout_id: int, physical_names: Iterable[str]) -> dict[str, int]:
        """See `Catalog.layout_index`."""
        found: dict[str, int] = self._layout_index(layout_id, tuple(physical_names))
        return found

    def _begin(self) -> None:
        self._steady = _Steady()
        self._memory = _Memory(None)
        self._lock = threading.Lock()

    def state(self) -> int | None:
        """See `Catalog.state`; inside of `steady` it is what that gave."""
        held = self._steady.state
        return super().state() if held is None else held

    def steady(self) -> _Steadying:
        """See `Catalog.steady`: all look-ups of this thread inside cost one look at the catalog."""
        return _Steadying(self._steady, self.state())

    def _remember(self, state: int | None, key: Hashable, found: Any) -> None:
        if state is None or found is None or _rows(found) > REMEMBERED_MAX:
            return
        with self._lock:
            if state != self._memory.state:
                self._memory = _Memory(state)
            self._memory.add(key, found)


class _Steady(threading.local):
    """What `steady` gave this thread."""

    state: int | None = None


class _Steadying(AbstractContextManager[int | None]):
    """Holds a state of the catalog for this thread."""

    def __init__(self, held: _Steady, state: int | None) -> None:
        self._held, self._state = held, state

    def __enter__(self) -> int | None:
        self._outer, self._held.state = self._held.state, self._state
        return self._state

    def __exit__(self, *_: object) -> None:
        self._held.state = self._outer


class _Memory:
    """What was looked up as of one state of a catalog, which never changes; reading takes no lock."""

    def __init__(self, state: int | None) -> None:
        self.state = state
        self.found: dict[Hashable, Any] = {}
        self._rows = 0

    def add(self, key: Hashable, found: Any) -> None:
        """Add what was found, and forget what came first if that is too much."""
        if key in self.found:
            return
        self.found[key] = found
        self._rows += _rows(found)
        while self._rows > REMEMBERED_MAX:
            self._rows -= _rows(self.found.pop(next(iter(self.found))))


_catalogs: weakref.WeakSet[RememberingCatalog] = weakref.WeakSet()


def _begin_all() -> None:
    """In a forked child: threads of the parent may have held the locks."""
    for catalog in list(_catalogs):
        catalog._begin()


os.register_at_fork(after_in_child=_begin_all)


def _rows(found: Any) -> int:
    return 1 + len(found) if isinstance(found, list | dict | tuple) else 1
