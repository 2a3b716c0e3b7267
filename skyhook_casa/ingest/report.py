"""What an ingest did, and which files it could not take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import IngestError, SkyhookError
from ..making import Making
from .branches import SkippedBranch

ProgressCallback = Callable[[int, int], None]
ADVICE = "Correct the file, then retry; with skip_bad_files=True the others are committed without it."


class FileFailure(NamedTuple):
    """A file that could not be ingested."""

    path: str
    kind: str
    """As in ``skyhook_casa.errors``."""
    message: str
    advice: str
    """What to do about it."""


@dataclass(slots=True)
class IngestReport(Making):
    """What an ingest did, or has done so far."""

    skipped: dict[str, list[SkippedBranch]] = field(default_factory=dict)
    """Branches that cannot be held, by file."""
    failures: list[FileFailure] = field(default_factory=list)
    """Files that could not be ingested; `files`, `events` and bytes are without them."""


def failure_of(path: str, error: SkyhookError, advice: str = "") -> FileFailure:
    """Return what is told of a file because of which `error` was raised."""
    own = error.advice if isinstance(error, IngestError) else ""
    return FileFailure(path, error.kind, str(error), own or advice or ADVICE)
