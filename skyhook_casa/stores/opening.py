"""From an address to a store."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import InvalidRequest
from .base import ObjectStore
from .directory import DirectoryStore
from .memory import MemoryStore


def open_store(address: str | os.PathLike[str]) -> ObjectStore:
    """Return the store at `address`; nothing is made until the first `put`.

    Parameters
    ----------
    address : str or path
        A directory (`store/`, `file:///data/store`); a pool of a Ceph cluster
        (`rados://POOL?conf=/etc/ceph/ceph.conf`); a bucket (`s3://BUCKET/PREFIX`); or `memory://` for a
        new store that lives as long as the value returned.

    Raises
    ------
    InvalidRequest
        If the address is of an unknown kind, or names a file where a directory belongs.
    """
    if isinstance(address, os.PathLike) or "://" not in address:
        return DirectoryStore(address)
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return DirectoryStore(Path(unquote(parts.path)))
    if address == "memory://":
        return MemoryStore()
    if parts.scheme == "rados":
        from .rados import RadosStore

        return RadosStore(address)
    if parts.scheme == "s3":
        from .s3 import S3Store

        return S3Store(address)
    raise InvalidRequest(
        f"no store is known for {address!r}: "
        "give a directory, file:///path, memory://, rados://POOL?conf=PATH or s3://BUCKET/PREFIX; "
        "or grpc://host:port, of a service"
    )
