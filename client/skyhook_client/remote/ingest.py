"""Ingest jobs of a service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from skyhook_casa.errors import IngestError, InvalidRequest, QueryCancelled, ServiceLost, SkyhookError
from skyhook_casa.ingest import IngestReport, ProgressCallback, SkippedBranch
from skyhook_casa.ingest.report import FileFailure
from skyhook_casa.making import Making
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.errors import from_error_message
from skyhook_casa.saving.report import SaveReport

from ..backend import Question, SaveCallback
from ..jobs import IngestJob, JobControl
from .answers import received
from .channel import Channel

ENDED: Final = ("done", "failed", "cancelled")
"""States of a job in which nothing more will happen."""


class Ingests(JobControl):
    """Starts, follows and ends the ingest jobs of a service."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def run(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None,
        progress: ProgressCallback,
        *,
        tree: str = "Events",
        codec: str = "lz4",
        partition_bytes: int | None = None,
        chunk_events: int | None = None,
        workers: int | None = None,
        append: bool = True,
        skip_bad_files: bool = False,
    ) -> IngestReport:
        """Run a job to its end and return what was done; Ctrl-C cancels it."""
        if workers is not None:
            raise InvalidRequest(f"workers={workers}: the service uses those that it has; leave it out")
        if columns is not None and not columns:
            raise InvalidRequest("columns is empty; name at least one, or leave it out for all of them")
        request = pb.IngestRequest(
            dataset=dataset,
            files=named(files),
            columns=[columns] if isinstance(columns, str) else columns,
            tree=tree,
            codec=codec,
            partition_bytes=partition_bytes,
            chunk_events=chunk_events,
            replace=not append,
            skip_bad_files=skip_bad_files,
        )
        job = self._channel.ask("Ingest.Start", request, again=False)
        job = self._ended(job, lambda update: progress(update.events_done, update.events))
        return _report(job)

    def save(
        self,
        question: Question,
        name: str,
        progress: SaveCallback,
        *,
        codec: str = "lz4",
        partition_bytes: int | None = None,
        chunk_events: int | None = None,
        workers: int | None = None,
    ) -> SaveReport:
        """Run a job that keeps an answer to its end and return what was done; Ctrl-C cancels it."""
        if workers is not None:
            raise InvalidRequest(f"workers={workers}: the service uses those that it has; leave it out")
        request = pb.SaveRequest(
            name=name,
            query=question.value.to_json(),
            execution=question.execution,
            codec=codec,
            partition_bytes=partition_bytes,
            chunk_events=chunk_events,
        )
        job = self._channel.ask("Ingest.Save", request, again=False)
        return _saved(_checked(self._ended(job, lambda update: progress(_saved(update)))))

    def jobs(self) -> list[IngestJob]:
        """Return all jobs that the service knows, oldest first."""
        return [self._value(job) for job in self._channel.list("Ingest.List", pb.ListJobsRequest())]

    def cancel_job(self, job: IngestJob) -> IngestJob:
        """See `JobControl.cancel_job`."""
        return self._act("Ingest.Cancel", job.job_id)

    def retry_job(self, job: IngestJob) -> IngestJob:
        """See `JobControl.retry_job`."""
        return self._act("Ingest.Retry", job.job_id)

    def _act(self, name: str, job_id: str) -> IngestJob:
        return self._value(self._channel.ask(name, pb.JobRequest(job_id=job_id), again=False))

    def _ended(self, job: pb.IngestJob, progress: Callable[[pb.IngestJob], None]) -> pb.IngestJob:
        """Return the job once it has ended; an interrupt cancels it."""
        try:
            return self._followed(job, progress)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(self._cancelled(job.job_id))
            raise

    def _followed(self, job: pb.IngestJob, progress: Callable[[pb.IngestJob], None]) -> pb.IngestJob:
        """Return the job once it has ended, however often the service is lost meanwhile."""
        request = pb.JobRequest(job_id=job.job_id)
        while job.state not in ENDED:
            for update in self._channel.patience.keep(lambda: self._updates(request)):
                job = update
                progress(job)
        return job

    def _updates(self, request: pb.JobRequest) -> Iterator[pb.IngestJob]:
        """Return what a job does, once something was said of it, until that breaks off."""
        updates = self._channel.follow("Ingest.Watch", request)
        first = next(updates, None)
        if first is None:
            raise ServiceLost(
                f"the service at {self._channel.url} said nothing of ingest job {request.job_id}"
            )

        def rest() -> Iterator[pb.IngestJob]:
            yield first
            try:
                yield from updates
            except ServiceLost:
                return  # asked again, as the job has not ended

        return rest()

    def _cancelled(self, job_id: str) -> str:
        try:
            self._act("Ingest.Cancel", job_id)
        except SkyhookError as error:
            return f"ingest job {job_id} could not be cancelled and may go on: {error}"
        return f"ingest job {job_id} was cancelled"

    def _value(self, job: pb.IngestJob) -> IngestJob:
        return IngestJob(
            job.job_id,
            job.dataset,
            job.state,
            files=job.files,
            events=job.events,
            events_done=job.events_done,
            version=job.version if job.HasField("version") else None,
            updated=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=job.updated),
            error=str(from_error_message(job.error)) if job.HasField("error") else "",
            failures=tuple(received(one, FileFailure) for one in job.failures),
            events_kept=job.events_kept if job.HasField("events_kept") else None,
            control=self,
        )


def named(files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return paths, globs and URLs as the service needs them: paths of this machine are made absolute."""
    given = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    texts = [os.fspath(one) for one in given]
    return [text if "://" in text else str(Path(text).expanduser().absolute()) for text in texts]


def _checked(job: pb.IngestJob) -> pb.IngestJob:
    """Return a job that is done.

    Raises
    ------
    SkyhookError
        What it failed with.
    """
    if job.state == "cancelled":
        raise QueryCancelled(f"ingest job {job.job_id} of dataset {job.dataset!r} was cancelled")
    failures = [received(one, FileFailure) for one in job.failures]
    if job.state == "failed":
        error = from_error_message(job.error)
        if isinstance(error, IngestError) and failures:
            error.advice = failures[0].advice
        error.add_note(f"ingest job {job.job_id}")
        raise error
    return job


def _saved(job: pb.IngestJob) -> SaveReport:
    """Return what a job that keeps an answer did so far."""
    return SaveReport(**_counts(job, SaveReport))


def _report(job: pb.IngestJob) -> IngestReport:
    """Return what an ingest did. Raises as `_checked`."""
    failures = [received(one, FileFailure) for one in _checked(job).failures]
    skipped: dict[str, list[SkippedBranch]] = {}
    for one in job.skipped:
        skipped.setdefault(one.path, []).append(SkippedBranch(one.name, one.typename, one.reason))
    return IngestReport(**_counts(job, Making), skipped=skipped, failures=failures)


def _counts(job: pb.IngestJob, kind: type[Making]) -> dict[str, Any]:
    """Return what a kind of report has under the same names."""
    return {one.name: getattr(job, one.name) for one in fields(kind)}
