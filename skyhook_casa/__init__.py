"""skyhook_casa: filtered columns of NanoAOD events, fast, from Arrow objects in Ceph, S3 or a directory.

Begin with ``client = skyhook_casa.connect("store/")``; `connect` and the client it returns say more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyhook_client import connect

__all__ = ["connect"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `skyhook_client.connect`: the client is imported when somebody asks for it."""
    if name != "connect":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import skyhook_client

    return skyhook_client.connect


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
