"""skyhook_casa: filtered columns of NanoAOD events, fast, from Arrow objects in Ceph, S3 or a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyhook_client import Client

__version__ = "0.1.0"


def connect(*args: Any, **options: Any) -> Client:
    """Return a client of a store; see `skyhook_client.connect`."""
    import skyhook_client

    return skyhook_client.connect(*args, **options)
