"""ROOT files in, objects out."""

from __future__ import annotations

from .branches import SkippedBranch
from .job import IngestReport, ProgressCallback, ingest
from .root_file import Events, RootFile

__all__ = ["Events", "IngestReport", "ProgressCallback", "RootFile", "SkippedBranch", "ingest"]
