"""coffea on a store: NanoEvents of queries, a runner for processors, and a file system for fsspec.

Importing this package does not import coffea; what needs it does so when it is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .address import DatasetAddress
    from .events import nanoevents
    from .filesystem import ParquetCatalog, SkyhookFileSystem, parquet_files
    from .runner import SkyhookRunner

_MODULES: Final = {
    "DatasetAddress": "address",
    "ParquetCatalog": "filesystem",
    "SkyhookFileSystem": "filesystem",
    "SkyhookRunner": "runner",
    "nanoevents": "events",
    "parquet_files": "filesystem",
}

__all__ = [
    "DatasetAddress",
    "ParquetCatalog",
    "SkyhookFileSystem",
    "SkyhookRunner",
    "nanoevents",
    "parquet_files",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
