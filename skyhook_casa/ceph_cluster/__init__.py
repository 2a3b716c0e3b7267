"""Real Ceph clusters on this machine, for development and tests: ``Cluster.up(folder)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cluster import Cluster

__all__ = ["Cluster"]


def __getattr__(name: str) -> object:
    """`Cluster`, imported when it is first asked for: the command line can do without it."""
    if name == "Cluster":
        from .cluster import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
