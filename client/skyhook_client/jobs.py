"""Jobs, ingests and saves, as a client sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from skyhook_casa.ingest import FileFailure


class JobControl(ABC):
    """Acts on ingest jobs."""

    @abstractmethod
    def cancel_job(self, job: IngestJob) -> IngestJob:
        """End a job; what it made is kept for a while, so that it can go on."""

    @abstractmethod
    def retry_job(self, job: IngestJob) -> IngestJob:
        """Run a job again: what is missing, or the files that it left out."""


@dataclass(frozen=True, slots=True)
class IngestJob:
    """An ingest or a save at one moment; `Client.jobs` gives them."""

    job_id: str
    dataset: str
    state: str
    """`queued`, `running`, `done`, `failed` or `cancelled`; of a store that this process opens also
    `interrupted`: the process that ran it ended."""
    files: int
    events: int
    """Events of the files; 0 until they are known."""
    events_done: int
    version: int | None
    """The version it made, once done."""
    updated: datetime
    """When it was last worked on, in UTC."""
    error: str = ""
    """Why it failed or was interrupted."""
    failures: tuple[FileFailure, ...] = ()
    """Files that could not be ingested, each with what to do about it."""
    events_kept: int | None = None
    """Events of the answer so far, of a job that keeps one; None of an ingest."""
    control: JobControl | None = field(default=None, repr=False, compare=False)

    def cancel(self) -> IngestJob:
        """End the job and return what it is now; its dataset stays as it was.

        Raises
        ------
        NotFound
            If the job is not known any more.
        InvalidRequest
            If it has ended already.
        """
        assert self.control is not None
        return self.control.cancel_job(self)

    def retry(self) -> IngestJob:
        """Run a job that failed or was cancelled again, only what is missing; return what it is now.

        Of a job that is done, the files that it left out are tried again.

        Raises
        ------
        NotFound
            If the job is not known any more.
        InvalidRequest
            If it did not end, or all of its files are in.
        """
        assert self.control is not None
        return self.control.retry_job(self)
