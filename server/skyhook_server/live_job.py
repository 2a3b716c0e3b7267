"""An ingest job that this service works on, seen by many threads."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, Final

from skyhook_casa.catalog import ServiceJob
from skyhook_casa.ingest import FileFailure, IngestReport
from skyhook_casa.making import Making
from skyhook_casa.saving.report import SaveReport

SKIPPED_MAX: Final = 1000
"""Most skipped branches that are told of."""
MESSAGE_CHARS_MAX: Final = 1000
"""Longest message about a file."""


class LiveJob:
    """A job that this service works on."""

    thread: threading.Thread

    def __init__(self, job: ServiceJob) -> None:
        self.job = job
        self._began_s = time.monotonic()
        self._lock = threading.Lock()
        self._ending = ""
        self._updated = job.updated
        self._progress: dict[str, Any] = {}
        self._failures: tuple[FileFailure, ...] = ()
        self._skipped: tuple[tuple[str, ...], ...] = ()
        self._told: dict[str, str] = {}

    @property
    def ending(self) -> str:
        """Why it shall stop: `cancelled`, `queued` to go on elsewhere, `lost`; empty if it shall not."""
        return self._ending

    def is_ending(self) -> bool:
        """Return whether it shall stop."""
        return bool(self._ending)

    def end(self, state: str) -> None:
        """Let it stop soon, with that state."""
        with self._lock:
            self._ending = self._ending or state

    def changed(self, report: IngestReport) -> None:
        """Note what became of it; called by its own thread."""
        failures = self._failures
        if len(failures) != len(report.failures):
            failures = tuple(one._replace(message=one.message[:MESSAGE_CHARS_MAX]) for one in report.failures)
        skipped = self._skipped
        if len(skipped) < SKIPPED_MAX:
            every = ((path, *one) for path, some in report.skipped.items() for one in some)
            skipped = tuple(one for one, _ in zip(every, range(SKIPPED_MAX), strict=False))
        self._note(report, Making, failures, skipped)

    def saved(self, report: SaveReport) -> None:
        """Note what became of a save; called by its own thread."""
        self._note(report, SaveReport, (), ())

    def _note(
        self,
        report: Making,
        kind: type[Making],
        failures: tuple[FileFailure, ...],
        skipped: tuple[tuple[str, ...], ...],
    ) -> None:
        names = [one.name for one in fields(kind) if one.name not in ("dataset", "version", "seconds")]
        counts = {name: getattr(report, name) for name in names}
        counts["seconds"] = time.monotonic() - self._began_s
        with self._lock:
            self._progress, self._failures, self._skipped = counts, failures, skipped
            self._updated = datetime.now(UTC)

    def texts(self) -> dict[str, str]:
        """Return what became of it, as the catalog keeps it."""
        with self._lock:
            progress, failures, skipped = self._progress, self._failures, self._skipped
        return {
            "progress": json.dumps(progress) if progress else "",
            "failures": json.dumps(failures) if failures else "",
            "skipped": json.dumps(skipped) if skipped else "",
        }

    def news(self, all_of_it: bool = False) -> dict[str, str]:
        """Return what is not in the catalog yet, or all."""
        texts = self.texts()
        news = {name: text for name, text in texts.items() if all_of_it or text != self._told.get(name)}
        self._told = texts
        return news

    def view(self) -> ServiceJob:
        """Return the job as it is now."""
        texts = self.texts()
        return replace(
            self.job,
            updated=self._updated,
            progress=texts["progress"],
            failures=texts["failures"],
            skipped=texts["skipped"],
        )
