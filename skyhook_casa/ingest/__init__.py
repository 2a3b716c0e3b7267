"""ROOT files in, objects out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .branches import SkippedBranch
    from .job import IngestReport, ProgressCallback, ingest
    from .root_file import Events, RootFile

__all__ = ["Events", "IngestReport", "ProgressCallback", "RootFile", "SkippedBranch", "ingest"]

_HOMES = {
    "Events": "root_file",
    "IngestReport": "job",
    "ProgressCallback": "job",
    "RootFile": "root_file",
    "SkippedBranch": "branches",
    "ingest": "job",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: workers have no use for the catalog."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
