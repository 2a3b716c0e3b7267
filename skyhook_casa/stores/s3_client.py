"""How this process talks to S3, and what S3's errors mean.

boto3 does what is rare or needs its options. Ranges are read by obstore, whose requests take a
quarter of the time and a sixth of the CPU (64 KiB from a radosgw nearby: 0.3 ms of CPU instead of 1.9 ms).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ..errors import InvalidRequest, NotFound, SkyhookError, StoreError
from .base import ByteRange
from .joining import GAP_BYTES

if TYPE_CHECKING:
    from obstore.store import S3Store as RangeStore

REGION_DEFAULT: Final = "us-east-1"
"""Region of a server that has none, such as radosgw."""
CONNECT_TIMEOUT_S: Final = 5.0
ATTEMPTS: Final = 4
"""How often a request is sent before it has failed, with growing, random waits between."""
CONNECTIONS_MAX: Final = 32
"""Most connections that are kept open."""

_obstore_process: int | None = None
"""The process that obstore's threads run in."""
_PAST_THE_END: Final = ("InvalidRange", "416")
_NOT_FOUND: Final = ("404", "NoSuchKey", "NotFound")
_TAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_FULL: Final = ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Which bucket, where, as whom, and how patiently."""

    name: str
    endpoint: str | None
    """URL of the server; AWS if there is none."""
    region: str | None
    profile: str | None
    """Part of the user's AWS configuration; the default one if there is none."""
    timeout_s: float
    """Longest wait for a part of an answer."""

    def __str__(self) -> str:
        """The bucket and its server, for messages."""
        return f"bucket {self.name!r} of {self.endpoint or 'AWS'}"


class S3Client:
    """A bucket, as this process reaches it. Safe to use from many threads, and after a fork."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._lock = threading.Lock()
        self._process = -1
        self._boto: Any = None
        self._ranges: RangeStore | None = None

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of boto3's S3 client on the bucket. May raise what `reporting` turns into ours."""
        if self._process != os.getpid():
            self._connect()
        return getattr(self._boto, method)(Bucket=self.bucket.name, **arguments)

    def pages(self, prefix: str) -> Iterator[Any]:
        """Yield the pages of the listing of keys that begin so. Raises as `call`."""
        if self._process != os.getpid():
            self._connect()
        pages = self._boto.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name, Prefix=prefix)
        yield from pages

    def head(self, key: str) -> Any | None:
        """Return what S3 knows of an object; None if there is none."""
        return self.unless(_NOT_FOUND, "head_object", Key=key)

    def create(self, key: str, data: bytes) -> bool:
        """Store an object unless the key is taken; return whether it was free."""
        return self.unless(_TAKEN, "put_object", Key=key, Body=data, IfNoneMatch="*") is not None

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        """Store an object in place of the one with that ETag; return whether that was there."""
        # radosgw compares with the ETag as it is without quotes.
        held = self.unless((*_TAKEN, *_NOT_FOUND), "put_object", Key=key, Body=data, IfMatch=etag.strip('"'))
        return held is not None

    def renew(self, key: str) -> bool:
        """Make an object young by copying it onto itself; return whether it was there."""
        source = {"Bucket": self.bucket.name, "Key": key}
        copied = self.unless(
            _NOT_FOUND, "copy_object", Key=key, CopySource=source, MetadataDirective="REPLACE"
        )
        return copied is not None

    def unless(self, codes: Sequence[str], method: str, **arguments: Any) -> Any | None:
        """`call`, with None for an error with one of the `codes`."""
        from botocore.exceptions import ClientError

        try:
            return self.call(method, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] in codes:
                return None
            raise

    def read(self, key: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Return the bytes of each range, asked for side by side.

        May raise what `reporting` turns into ours; also if a range reaches past the end.
        """
        if self._process != os.getpid():
            self._connect()
        if self._ranges is None:
            return [self._read_by_boto(key, where) for where in ranges]
        import obstore

        if len(ranges) == 1:
            part = obstore.get_range(self._ranges, key, start=ranges[0].start, end=ranges[0].stop)
            return [bytes(part)]
        starts, ends = [where.start for where in ranges], [where.stop for where in ranges]
        parts = obstore.get_ranges(self._ranges, key, starts=starts, ends=ends, coalesce=GAP_BYTES)
        return [bytes(part) for part in parts]

    def _read_by_boto(self, key: str, where: ByteRange) -> bytes:
        span = f"bytes={where.start}-{where.stop - 1}"
        found = self.unless(_PAST_THE_END, "get_object", Key=key, Range=span)
        return b"" if found is None else bytes(found["Body"].read())

    @contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Turn the errors of boto3 and obstore into ours."""
        from botocore.exceptions import BotoCoreError, ClientError
        from obstore.exceptions import BaseError

        try:
            yield
        except ClientError as error:
            code, text = error.response["Error"]["Code"], str(error)
            status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
            raise self._error(what, code, status, text) from error
        except BotoCoreError as error:
            raise StoreError(f"{what} in {self.bucket}: {error}") from error
        except (BaseError, FileNotFoundError) as error:
            raise self._range_error(what, error) from error

    def _range_error(self, what: str, error: Exception) -> SkyhookError:
        from obstore import exceptions

        text = str(error).partition("\n\n")[0]
        if "NoSuchBucket" in str(error):
            return self._error(what, "NoSuchBucket", 404, text)
        if isinstance(error, FileNotFoundError):
            return self._error(what, "NoSuchKey", 404, text)
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            return self._error(what, "AccessDenied", 403, text)
        return StoreError(f"{what} in {self.bucket}: {text}")

    def _error(self, what: str, code: str, status: int, text: str) -> SkyhookError:
        if code == "NoSuchBucket":
            return InvalidRequest(f"there is no {self.bucket}; make it first")
        if code in _NOT_FOUND:
            return NotFound(f"{what}: no such object in {self.bucket}")
        if status in (401, 403):
            who = f"profile {self.bucket.profile!r}" if self.bucket.profile else "the S3 key"
            return StoreError(f"{what}: {self.bucket} denies access to {who} ({code})")
        if code in _FULL:
            return StoreError(f"{what}: {self.bucket} is full ({code})")
        return StoreError(f"{what} in {self.bucket}: {text}")

    def _connect(self) -> None:
        """Make the clients; a forked process must not share its parent's sockets."""
        with self._lock:
            if self._process == os.getpid():
                return
            session = _modules()[0].Session(
                profile_name=self.bucket.profile, region_name=self.bucket.region or _region(self.bucket)
            )
            with self.reporting("cannot use S3"):
                credentials = session.get_credentials()
            if credentials is None:
                raise StoreError(
                    "there are no S3 keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                    "or AWS_PROFILE or profile= for keys in ~/.aws/credentials"
                )
            self._boto = self._boto_client(session)
            self._ranges = self._range_store(session) if _may_use_obstore() else None
            self._process = os.getpid()

    def _boto_client(self, session: Any) -> Any:
        from botocore.config import Config

        return session.client(
            "s3",
            endpoint_url=self.bucket.endpoint,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=self.bucket.timeout_s,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=CONNECTIONS_MAX,
                tcp_keepalive=True,
                # The server compares what it gets with a SHA-256 that is signed, so more checksums are
                # not needed, and older servers do not know them.
                s3={"addressing_style": "path", "payload_signing_enabled": True},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def _range_store(self, session: Any) -> RangeStore:
        from obstore.auth.boto3 import Boto3CredentialProvider
        from obstore.store import S3Store as RangeStore

        return RangeStore(
            self.bucket.name,
            endpoint=self.bucket.endpoint,
            region=session.region_name,
            credential_provider=Boto3CredentialProvider(session),
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=self.bucket.timeout_s),
                "pool_max_idle_per_host": str(CONNECTIONS_MAX),
            },
            retry_config={
                "max_retries": ATTEMPTS - 1,
                "retry_timeout": timedelta(seconds=self.bucket.timeout_s),
                "backoff": {
                    "init_backoff": timedelta(seconds=0.1),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
        )


def _may_use_obstore() -> bool:
    """Whether obstore works in this process: its threads do not come along in a fork."""
    global _obstore_process
    if _obstore_process is None:
        _obstore_process = os.getpid()
    return _obstore_process == os.getpid()


def _region(bucket: Bucket) -> str | None:
    return REGION_DEFAULT if bucket.endpoint else None


def _modules() -> tuple[ModuleType, ModuleType]:
    """Return boto3 and obstore."""
    try:
        import boto3
        import obstore
    except ImportError as error:
        raise StoreError(f"S3 needs more packages ({error}): pip install 'skyhook_casa[s3]'") from error
    return boto3, obstore
