"""The calls of the control plane about ingest jobs."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from google.protobuf.json_format import Parse

from skyhook_casa.catalog import ServiceJob
from skyhook_casa.errors import NotFound, ServiceLost, SkyhookError
from skyhook_casa.ingest import FileFailure, IngestRequest
from skyhook_casa.ingest.partitions import PARTITION_BYTES
from skyhook_casa.object_format import CHUNK_EVENTS
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.convert import EPOCH
from skyhook_casa.protocol.delivery_pb2_grpc import IngestServicer as Servicer
from skyhook_casa.query import Query
from skyhook_casa.saving.request import SaveRequest

from .callers import caller
from .errors import abort_with
from .ingest_jobs import ENDED, IngestJobs
from .logs import get_logger

WATCH_S: Final = 0.2
"""How often a watched job is looked at that this service works on."""
WATCH_OTHER_S: Final = 1.0
"""The same of one that waits or runs in another service: each look asks the catalog."""
SOON: Final = 10
"""Looks after which a job that does not run here is looked at less often."""
CANCEL_S: Final = 2.0
"""How long the answer to a cancel waits for the job to stop."""

T = TypeVar("T")
_log = get_logger(__name__)


class IngestServicer(Servicer):
    """Answers the calls of `Ingest` in ``delivery.proto``.

    Parameters
    ----------
    jobs : IngestJobs
        What runs the jobs.
    threads : ThreadPoolExecutor
        Where the catalog is asked.
    """

    def __init__(self, jobs: IngestJobs, threads: ThreadPoolExecutor) -> None:
        self._jobs = jobs
        self._threads = threads

    async def Start(self, request: pb.IngestRequest, context: Any) -> pb.IngestJob:
        """Queue a job."""
        job = await self._do(context, lambda: self._jobs.start(_request(request)))
        _log.info("ingest_asked", client=caller(context), job_id=job.job_id, dataset=job.dataset)
        return job_message(job)

    async def Save(self, request: pb.SaveRequest, context: Any) -> pb.IngestJob:
        """Queue a job that keeps an answer."""
        job = await self._do(context, lambda: self._jobs.save(_save_request(request)))
        _log.info("save_asked", client=caller(context), job_id=job.job_id, dataset=job.dataset)
        return job_message(job)

    async def Get(self, request: pb.JobRequest, context: Any) -> pb.IngestJob:
        """Give a job as it is now."""
        return job_message(await self._do(context, lambda: self._jobs.get(request.job_id)))

    async def List(self, request: pb.ListJobsRequest, context: Any) -> AsyncIterator[pb.IngestJob]:
        """Give all jobs, oldest first."""
        for job_id in await self._do(context, self._jobs.ids):
            job = await self._do(context, partial(self._known, job_id))
            if job is not None:
                yield job_message(job)

    async def Watch(self, request: pb.JobRequest, context: Any) -> AsyncIterator[pb.IngestJob]:
        """Give a job whenever it has changed, until it has ended."""
        job_id, before = request.job_id, None
        for look in itertools.count():
            job = await self._do(context, lambda: self._jobs.get(job_id))
            if job != before:
                yield job_message(job)
                before = job
            if job.state in ENDED:
                return
            if self._jobs.is_stopping:
                error = ServiceLost(f"the service ends; ingest job {job_id} goes on when it is back")
                await abort_with(context, error)
            soon = look < SOON or self._jobs.is_here(job_id)
            await asyncio.sleep(WATCH_S if soon else WATCH_OTHER_S)

    async def Cancel(self, request: pb.JobRequest, context: Any) -> pb.IngestJob:
        """End a job."""
        job = await self._do(context, lambda: self._jobs.cancel(request.job_id))
        _log.info("ingest_cancelled", client=caller(context), job_id=job.job_id)
        loop = asyncio.get_running_loop()
        until = loop.time() + CANCEL_S
        while job.state not in ENDED and loop.time() < until:
            await asyncio.sleep(WATCH_S)
            job = await self._do(context, lambda: self._jobs.get(request.job_id))
        return job_message(job)

    async def Retry(self, request: pb.JobRequest, context: Any) -> pb.IngestJob:
        """Run a job again that has ended."""
        job = await self._do(context, lambda: self._jobs.retry(request.job_id))
        _log.info("ingest_retried", client=caller(context), job_id=job.job_id)
        return job_message(job)

    def _known(self, job_id: str) -> ServiceJob | None:
        """Return a job; None if it was forgotten meanwhile."""
        try:
            return self._jobs.get(job_id)
        except NotFound:
            return None

    async def _do(self, context: Any, what: Callable[[], T]) -> T:
        """Return what a blocking function gives; its errors end the call."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, what)
        except SkyhookError as error:
            await abort_with(context, error)


def job_message(job: ServiceJob) -> pb.IngestJob:
    """Return what tells of a job."""
    message = pb.IngestJob(
        job_id=job.job_id,
        dataset=job.dataset,
        state=job.state,
        version=job.version,
        failures=[pb.FileFailure(**FileFailure(*one)._asdict()) for one in json.loads(job.failures or "[]")],
        skipped=[
            pb.SkippedBranch(path=path, name=name, typename=typename, reason=reason)
            for path, name, typename, reason in json.loads(job.skipped or "[]")
        ],
        created=_microseconds(job.created),
        updated=_microseconds(job.updated),
        **json.loads(job.progress or "{}"),
    )
    if job.error:
        Parse(job.error, message.error)
    return message


def _microseconds(when: datetime) -> int:
    return (when - EPOCH) // timedelta(microseconds=1)


def _save_request(message: pb.SaveRequest) -> SaveRequest:
    return SaveRequest(
        message.name,
        Query.from_json(message.query),
        message.execution or "auto",
        message.codec or "lz4",
        message.partition_bytes if message.HasField("partition_bytes") else PARTITION_BYTES,
        message.chunk_events if message.HasField("chunk_events") else CHUNK_EVENTS,
    )


def _request(message: pb.IngestRequest) -> IngestRequest:
    return IngestRequest(
        message.dataset,
        tuple(message.files),
        tuple(message.columns) or None,
        message.tree or "Events",
        message.codec or "lz4",
        message.partition_bytes if message.HasField("partition_bytes") else PARTITION_BYTES,
        message.chunk_events if message.HasField("chunk_events") else CHUNK_EVENTS,
        replace=message.replace,
        skip_bad_files=message.skip_bad_files,
    )
