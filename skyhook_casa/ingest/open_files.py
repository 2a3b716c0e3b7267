"""ROOT files that stay open from one task to the next: to open one costs as much as to read some events."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..cores import usable_cores
from .root_file import Events, RootFile

if TYPE_CHECKING:
    from .encode import EncodeOptions

IDLE_MAX: Final = max(2, usable_cores())
"""Most files that are kept open while no task uses them."""

_Key = tuple[str, "EncodeOptions", str]
_idle: OrderedDict[tuple[_Key, int], Events] = OrderedDict()
_lock = threading.Lock()


@contextmanager
def opened(path: str, options: EncodeOptions, run: str) -> Iterator[Events]:
    """Yield the events of a file, which are the caller's alone meanwhile.

    Parameters
    ----------
    run : str
        Names the ingest. Each opens its files anew, for they may have been replaced.

    Raises
    ------
    IngestError
        If the file cannot be read, or lacks the tree or a branch asked for.
    """
    key = (path, options, run)
    events = _take(key) or _open(path, options)
    try:
        yield events
    except BaseException:
        events.file.close()
        raise
    _give_back(key, events)


def close_files() -> None:
    """Close the files that no task uses."""
    with _lock:
        idle = list(_idle.values())
        _idle.clear()
    for events in idle:
        events.file.close()


def _take(key: _Key) -> Events | None:
    with _lock:
        found = next((one for one in _idle if one[0] == key), None)
        return None if found is None else _idle.pop(found)


def _open(path: str, options: EncodeOptions) -> Events:
    file = RootFile(path)
    try:
        return file.events(options.tree, options.columns)
    except BaseException:
        file.close()
        raise


def _give_back(key: _Key, events: Events) -> None:
    with _lock:
        _idle[key, id(events)] = events
        surplus = [_idle.popitem(last=False)[1] for _ in range(len(_idle) - IDLE_MAX)]
    for one in surplus:
        one.file.close()
