"""Columns that are joined to a dataset for one client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from skyhook_casa.column_sets.add_columns import KEYS, add_columns
from skyhook_casa.column_sets.report import AddedColumns
from skyhook_casa.errors import InvalidRequest, QueryCancelled
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.query import fill_from_json

if TYPE_CHECKING:
    from .engine import Engine

PROGRESS_S: Final = 0.2
"""How often a client is told how far it is."""


class Adding:
    """One call of `AddColumns`.

    Parameters
    ----------
    engine : Engine
        Whose store and catalog are meant.
    request : AddColumnsRequest
        What is asked.
    """

    def __init__(self, engine: Engine, request: pb.AddColumnsRequest) -> None:
        self._engine = engine
        self._request = request
        self._cancelled = threading.Event()
        self._told = (0, 0)

    def run(self) -> AddedColumns:
        """Do it; it blocks. Raises as `add_columns` does, and `QueryCancelled` after `cancel`."""
        request = self._request
        return add_columns(
            self._engine.catalog,
            self._engine.store,
            request.dataset,
            list(request.files),
            list(request.columns) or None,
            on=list(request.on) or KEYS,
            fill=_fill(request.fill),
            replace=request.replace,
            tree=request.tree or "Events",
            progress=self._reach,
        )

    async def progress(self, running: asyncio.Future[Any]) -> AsyncIterator[pb.Advance]:
        """Yield how far it is, until it has ended."""
        said = (0, 0)
        while not running.done():
            await asyncio.wait([running], timeout=PROGRESS_S)
            if self._told != said:
                said = self._told
                yield pb.Advance(done=said[0], total=said[1])

    def cancel(self) -> None:
        """End it at the next group of events, if it has not ended."""
        self._cancelled.set()

    def _reach(self, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise QueryCancelled(
                f"adding columns to {self._request.dataset!r} was ended: the client has left"
            )
        self._told = (done, total)


def _fill(text: str) -> Any:
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"fill is not JSON: {error}") from error
    if isinstance(found, dict) and not isinstance(found.get("float"), str):
        return {name: fill_from_json(name, value) for name, value in found.items()}
    return fill_from_json("all columns", found)
