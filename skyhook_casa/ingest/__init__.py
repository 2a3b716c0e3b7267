"""ROOT files in, objects out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .branches import SkippedBranch
    from .job import ingest
    from .pool import Processes, ThisProcess, Workers
    from .report import FileFailure, IngestReport, ProgressCallback
    from .request import IngestRequest
    from .root_file import Events, RootFile
    from .run import IngestRun

__all__ = [
    "Events",
    "FileFailure",
    "IngestReport",
    "IngestRequest",
    "IngestRun",
    "Processes",
    "ProgressCallback",
    "RootFile",
    "SkippedBranch",
    "ThisProcess",
    "Workers",
    "ingest",
]

_HOMES = {
    "Events": "root_file",
    "FileFailure": "report",
    "IngestReport": "report",
    "IngestRequest": "request",
    "IngestRun": "run",
    "Processes": "pool",
    "ProgressCallback": "report",
    "RootFile": "root_file",
    "SkippedBranch": "branches",
    "ThisProcess": "pool",
    "Workers": "pool",
    "ingest": "job",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: workers have no use for the catalog."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
