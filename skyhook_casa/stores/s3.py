"""A store in a bucket of S3, which can run our object class if the bucket lies in a Ceph cluster.

`PREFIX/objects/NAME` holds the objects, each one PUT that fails if the name is taken;
`PREFIX/deleting/NAME` is there while NAME is being deleted.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..errors import NotFound, StoreError
from .address import StoreAddress, parse_address
from .base import ByteRange, ObjectStore, StoredObject, check_data, check_name, is_name
from .joining import read_joined
from .rados_pool import Pool, cluster_address, with_absolute_conf
from .s3_client import Bucket, S3Client
from .s3_lock import Lock, waits

if TYPE_CHECKING:
    from typing_extensions import Buffer

TIMEOUT_S: Final = 30.0
"""How long a request waits for a part of its answer, if the address does not say."""
TIMEOUT_LEAST_S: Final = 1.0
ADMIN_TIMEOUT_S: Final = 60.0
"""Longest run of radosgw-admin."""

_CUT_BYTES: Final = 4096
"""Pieces of radosgw are multiples of this."""
_S3_OPTIONS: Final = ("endpoint", "region", "profile", "timeout_s", "catalog")
_RADOS_OPTIONS: Final = ("rados", "marker", "conf", "user")


class S3Store(ObjectStore):
    """Objects in a bucket.

    Parameters
    ----------
    address : str
        ``s3://BUCKET/PREFIX``, with ``endpoint=URL``, ``region=``, ``profile=``, ``timeout_s=30`` and
        ``catalog=ADDRESS`` if they are wanted. Keys come from where AWS's tools take them.
        If the bucket lies in a Ceph cluster whose radosgw stores each PUT as one object: ``rados=POOL``
        with ``conf=PATH`` and ``user=client.x`` lets programs run there. ``marker=`` is the bucket's in
        ``radosgw-admin bucket stats``, which is asked if it is absent.

    Raises
    ------
    InvalidRequest
        If the address is wrong.
    """

    def __init__(self, address: str) -> None:
        parts = with_absolute_conf(parse_address(address, (*_S3_OPTIONS, *_RADOS_OPTIONS)))
        options = parts.options
        self.url = parts.url
        self.catalog = options.get("catalog")
        self._prefix = f"{parts.path}/" if parts.path else ""
        self._objects = f"{self._prefix}objects/"
        endpoint = options.get("endpoint")
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise parts.wrong(f"endpoint={endpoint} must begin with http:// or https://")
        timeout_s = parts.number("timeout_s", TIMEOUT_S, TIMEOUT_LEAST_S)
        bucket = Bucket(parts.place, endpoint, options.get("region"), options.get("profile"), timeout_s)
        self._client = S3Client(bucket)
        self._companion = _companion(parts)

    def put(self, name: str, data: Buffer) -> bool:
        """See `ObjectStore.put`."""
        view = check_data(check_name(name), data)
        key, content = self._key(name), None
        with self._client.reporting(f"cannot store object {name!r}"):
            for _ in waits(f"object {name!r} is being deleted"):
                if self._client.head(key) is None:
                    content = bytes(view) if content is None else content
                    if self._client.create(key, content):
                        return True
                if self._renew(name):
                    return False
        raise AssertionError("waits ends by an error")

    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """See `ObjectStore.read_many`; ranges that lie close together are read as one."""
        check_name(name)
        with self._client.reporting(f"cannot read object {name!r}"):
            return read_joined(self, name, ranges, lambda joined: self._read(name, joined))

    def size(self, name: str) -> int:
        """See `ObjectStore.size`."""
        key = self._key(name)
        with self._client.reporting(f"cannot look at object {name!r}"):
            found = self._client.head(key)
        if found is None:
            raise NotFound(f"no object {name!r} in {self.url}")
        return int(found["ContentLength"])

    def list(self) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        with self._client.reporting("cannot list the objects"):
            for page in self._client.pages(self._objects):
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(self._objects)
                    if is_name(name):
                        yield StoredObject(name, found["Size"], found["LastModified"].timestamp())

    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        """See `ObjectStore.delete`."""
        key = self._key(check_name(name))
        with self._client.reporting(f"cannot delete object {name!r}"):
            if not self._is_old(key, put_before_s):
                return False
            with self._lock(name).hold() as hold:
                if not self._is_old(key, put_before_s):
                    return False
                if not hold.is_ours():
                    raise StoreError(f"looking at object {name!r} took too long; it was not deleted")
                self._client.call("delete_object", Key=key)
        return True

    def remove_unfinished(self, begun_before_s: float) -> int:
        """See `ObjectStore.remove_unfinished`: the locks of deletions that died."""
        removed = 0
        with self._client.reporting("cannot remove unfinished deletions"):
            for page in self._client.pages(f"{self._prefix}deleting/"):
                for found in page.get("Contents", ()):
                    lock = Lock(self._client, found["Key"])
                    if found["LastModified"].timestamp() < begun_before_s and not lock.is_held():
                        self._client.call("delete_object", Key=found["Key"])
                        removed += 1
        return removed

    @property
    def pushes_down(self) -> bool:
        """See `ObjectStore.pushes_down`."""
        return self._companion is not None

    def execute(
        self, name: str, method: str, request: bytes, reply_bytes_max: int, ability: str = ""
    ) -> bytes:
        """See `ObjectStore.execute`; also `StoreError` if radosgw has cut the object into pieces."""
        if self._companion is None:
            return super().execute(name, method, request, reply_bytes_max, ability)
        oid = self._companion.oid(self._key(name))
        self._companion.check_whole(oid, lambda: self.size(name))
        return self._companion.pool.execute(oid, method, request, reply_bytes_max, ability)

    def identity(self) -> str:
        """See `ObjectStore.identity`: server, bucket and prefix."""
        bucket = self._client.bucket
        return f"s3://{bucket.endpoint or 'aws'}/{bucket.name}/{self._prefix}"

    def _key(self, name: str) -> str:
        return f"{self._objects}{check_name(name)}"

    def _lock(self, name: str) -> Lock:
        return Lock(self._client, f"{self._prefix}deleting/{name}")

    def _renew(self, name: str) -> bool:
        """Make an object young; return whether it is there, and stays."""
        key = self._key(name)
        return (
            self._client.renew(key) and not self._lock(name).is_held() and self._client.head(key) is not None
        )

    def _is_old(self, key: str, put_before_s: float | None) -> bool:
        """Whether the object is there and was put before that time."""
        found = self._client.head(key)
        if found is None:
            return False
        # The time is rounded down.
        return put_before_s is None or found["LastModified"].timestamp() + 1 <= put_before_s

    def _read(self, name: str, ranges: Sequence[ByteRange]) -> Sequence[bytes]:
        from obstore.exceptions import GenericError

        try:
            return self._client.read(self._key(name), ranges)
        except GenericError:
            nbytes = self.size(name)
            if any(where.stop > nbytes for where in ranges):
                return [b""] * len(ranges)
            raise


class _Companion:
    """The pool that holds a bucket's objects."""

    def __init__(self, pool: Pool, bucket: str, marker: str | None) -> None:
        self.pool = pool
        self._bucket = bucket
        self._marker = marker
        self._whole: set[str] = set()
        self._may_look = True

    def oid(self, key: str) -> str:
        """Return how RADOS calls the object that S3 calls `key`."""
        if self._marker is None:
            self._marker = _find_marker(self.pool, self._bucket)
        return f"{self._marker}_{key}"

    def check_whole(self, oid: str, size_in_s3: Callable[[], int]) -> None:
        """Make sure that RADOS has all of an object in one; nothing happens if the user may not look.

        Raises
        ------
        NotFound
            If there is no such object.
        StoreError
            If radosgw has cut it into pieces, or the cluster failed.
        """
        if oid in self._whole or not self._may_look:
            return
        nbytes = self.pool.size_if_allowed(oid)
        if nbytes is None:
            self._may_look = False
            return
        # radosgw cuts at round numbers, so nearly always this is settled without asking it.
        if nbytes % _CUT_BYTES == 0 and nbytes != size_in_s3():
            raise StoreError(
                f"radosgw keeps objects longer than {nbytes} bytes in pieces: set rgw_max_chunk_size, "
                "rgw_obj_stripe_size and rgw_put_obj_min_window_size to 64 MiB before they are stored"
            )
        self._whole.add(oid)


def _companion(parts: StoreAddress) -> _Companion | None:
    pool = parts.options.get("rados")
    if pool is None:
        stray = [option for option in _RADOS_OPTIONS if option in parts.options]
        if stray:
            raise parts.wrong(f"{stray[0]}= is for a bucket in a Ceph cluster; name its pool with rados=")
        return None
    if parts.path.startswith("_"):
        raise parts.wrong("with rados= the prefix must not begin with '_', which radosgw stores elsewhere")
    return _Companion(Pool(cluster_address(parts), pool), parts.place, parts.options.get("marker"))


def _find_marker(pool: Pool, bucket: str) -> str:
    """Return what radosgw calls a bucket in the names of RADOS objects."""
    cluster = pool.cluster
    user = ("-c", cluster.conf, "-n", cluster.user)
    command = ("radosgw-admin", *user, "bucket", "stats", f"--bucket={bucket}")
    hint = f"cannot find out the marker of bucket {bucket!r}; give it as marker="
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=ADMIN_TIMEOUT_S)
        stats: Any = json.loads(done.stdout)
        return str(stats["marker"])
    except FileNotFoundError as error:
        raise StoreError(f"{hint} (radosgw-admin is not installed)") from error
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"{hint} (radosgw-admin did not end within {ADMIN_TIMEOUT_S:g} s)") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise StoreError(f"{hint} (radosgw-admin: {said})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{hint} (radosgw-admin's answer is not understood)") from error
