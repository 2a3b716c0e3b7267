"""The client side of skyhook_casa: connect, ask, get arrays."""

from __future__ import annotations

from .client import Client, connect
from .dataset import Dataset
from .query import Query

__all__ = ["Client", "Dataset", "Query", "connect"]
