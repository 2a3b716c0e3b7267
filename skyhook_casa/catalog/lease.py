"""Whose an unfinished job is: while a process works on it, it says so every few seconds."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final

from ..errors import StoreError

if TYPE_CHECKING:
    from . import Catalog
    from .types import Job

BEAT_S: Final = 10.0
"""Between two times that a process says it still works on a job; see `skyhook_casa.catalog.jobs.LEASE_S`."""


class JobLease:
    """Keeps the job that a run of this process begins the process's own until the `with` block ends.

    A block that an error ends leaves the job interrupted; a process that dies does so some seconds later.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._job: Job | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="job lease", daemon=True)

    def keep(self, job: Job) -> None:
        """Say from now on that this process works on `job`; to be called once."""
        self._job = job
        self._thread.start()

    def __enter__(self) -> JobLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._job is None:
            return
        self._ended.set()
        self._thread.join()
        if error is None:
            return
        try:
            self._catalog.interrupt_job(self._job)
        except StoreError as problem:
            error.add_note(f"the job is shown as running for a while: {problem}")

    def _beat(self) -> None:
        assert self._job is not None
        while not self._ended.wait(BEAT_S):
            try:
                if not self._catalog.keep_job(self._job):
                    return
            except StoreError as problem:  # what the run itself writes will fail too, if it lasts
                logging.getLogger(__name__).warning("job of %s: %s", self._job.dataset, problem)
