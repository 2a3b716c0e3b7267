"""Where immutable objects live: one seam, `ObjectStore`, with a store behind it for each place."""

from __future__ import annotations

from .base import OBJECT_BYTES_MAX, ByteRange, ObjectStore, StoredObject
from .directory import DirectoryStore
from .memory import MemoryStore
from .opening import open_store

__all__ = [
    "OBJECT_BYTES_MAX",
    "ByteRange",
    "DirectoryStore",
    "MemoryStore",
    "ObjectStore",
    "StoredObject",
    "open_store",
]
