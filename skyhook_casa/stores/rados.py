"""A store in a pool of a Ceph cluster, which can also run our object class on its objects.

One object of the store is one object of RADOS. `put` creates and writes in one operation that fails
if the object is there. Uses Debian's `python3-rados`: for answers of 1 to 4 MB an own binding of
librados was measured to be 1.0 to 1.3 times faster, mostly (1.7 at worst; at 8 MB up to 2.2 times).
"""

from __future__ import annotations

import calendar
import errno
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ..librados import rados
from .address import parse_address
from .base import ByteRange, ObjectStore, StoredObject, check_data, check_name, is_name
from .joining import read_joined
from .rados_connection import cluster_id
from .rados_pool import Pool, cluster_address, with_absolute_conf

if TYPE_CHECKING:
    from typing_extensions import Buffer

IN_FLIGHT_BYTES: Final = 16 << 20
"""About how much is asked for ahead of what has come."""
IN_FLIGHT_MAX: Final = 16
"""Most reads that are asked for ahead."""
PIECE_BYTES: Final = 4 << 20
"""Longer ranges are read in pieces of so much, side by side."""
LISTED_TOGETHER: Final = 256
"""Objects whose size and time are asked for at a time."""

_OPTIONS: Final = ("conf", "user", "namespace", "timeout_s", "catalog")
_CHANGED: Final = (errno.ERANGE, errno.EOVERFLOW)
"""What `assert_version` answers when the object has another version."""
_NO_OBJECT: Final = "-"
"""No name of an object."""
_MARK: Final = "skyhook.put"
"""Extended attribute that is set when a taken name is put again; that makes the object young."""


class RadosStore(ObjectStore):
    """Objects in a pool of a Ceph cluster.

    The times of objects are those of the clients' clocks, in whole seconds.

    Parameters
    ----------
    address : str
        ``rados://POOL?conf=PATH``, with ``user=client.x``, ``namespace=n``, ``timeout_s=30`` and
        ``catalog=ADDRESS`` if they are wanted.

    Raises
    ------
    InvalidRequest
        If the address is wrong.
    """

    def __init__(self, address: str) -> None:
        parts = with_absolute_conf(parse_address(address, _OPTIONS))
        if parts.path:
            raise parts.wrong("a pool has no folders; use namespace=")
        self.url = parts.url
        self.catalog = parts.options.get("catalog")
        self._pool = Pool(cluster_address(parts), parts.place, parts.options.get("namespace", ""))

    def put(self, name: str, data: Buffer) -> bool:
        """See `ObjectStore.put`."""
        view = check_data(check_name(name), data)
        with self._pool.reporting(f"cannot store object {name!r}", self._needs("rw")):
            io = self._pool.io()
            content = None
            while True:
                if _touch(io, name):
                    return False
                content = bytes(view) if content is None else content
                if _create(io, name, content):
                    return True

    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """See `ObjectStore.read_many`; ranges that lie close together are read as one."""
        check_name(name)
        with self._pool.reporting(f"cannot read object {name!r}", self._needs("r")):
            return read_joined(self, name, ranges, lambda joined: self._read(name, joined))

    def size(self, name: str) -> int:
        """See `ObjectStore.size`."""
        return self._pool.size(check_name(name))

    def list(self) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        with self._pool.reporting("cannot list the objects", self._needs("r")):
            io = self._pool.io()
            names = (name for name in self._keys(io) if is_name(name))
            while together := tuple(islice(names, LISTED_TOGETHER)):
                yield from _listing(self._pool, io, together)

    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        """See `ObjectStore.delete`."""
        check_name(name)
        # The version of the last reply belongs to the Ioctx, so this thread needs its own.
        with (
            self._pool.reporting(f"cannot delete object {name!r}", self._needs("rw")),
            closing(self._pool.own_io()) as io,
        ):
            try:
                if put_before_s is not None:
                    return _remove_old(io, name, put_before_s)
                io.remove_object(name)
            except rados().ObjectNotFound:
                return False
        return True

    @property
    def pushes_down(self) -> bool:
        """See `ObjectStore.pushes_down`: the first call tells whether the class is there."""
        return True

    def execute(
        self, name: str, method: str, request: bytes, reply_bytes_max: int, ability: str = ""
    ) -> bytes:
        """See `ObjectStore.execute`."""
        return self._pool.execute(check_name(name), method, request, reply_bytes_max, ability)

    def identity(self) -> str:
        """See `ObjectStore.identity`: cluster, pool and namespace."""
        pool = self._pool
        return f"rados://{cluster_id(pool.cluster)}/{pool.name}/{pool.namespace}"

    def _keys(self, io: Any) -> Iterator[str]:
        """Yield the names of all objects of RADOS.

        rados's iterator ends at an error as if there were no more. So a user who may not list is found
        out by another request, and a listing that ended without an answer by the time it took.
        """
        with suppress(rados().ObjectNotFound):
            io.stat(_NO_OBJECT)
        begin_s = time.monotonic()
        for found in io.list_objects():
            yield found.key
            begin_s = time.monotonic()
        if time.monotonic() - begin_s >= self._pool.cluster.timeout_s:
            raise self._pool.error(errno.ETIMEDOUT, "cannot list the objects", self._needs("r"))

    def _needs(self, caps: str) -> str:
        return f"osd 'allow {caps} pool={self._pool.name}'"

    def _read(self, name: str, ranges: Sequence[ByteRange]) -> tuple[bytes, ...]:
        """Read every range, several at a time."""
        io = self._pool.io()
        if len(ranges) == 1 and ranges[0].nbytes <= PIECE_BYTES:
            return (io.read(name, ranges[0].nbytes, ranges[0].start),)
        groups = [_pieces(where) for where in ranges]
        got = _read_ahead(io, name, [piece for group in groups for piece in group])
        return tuple(_joined([self._checked(name, next(got)) for _ in group]) for group in groups)

    def _checked(self, name: str, outcome: bytes | int) -> bytes:
        if isinstance(outcome, int):
            raise self._pool.error(outcome, f"cannot read object {name!r}", self._needs("r"))
        return outcome


def _listing(pool: Pool, io: Any, names: Sequence[str]) -> Iterator[StoredObject]:
    """Yield those objects that are still there."""
    asked: list[tuple[str, Any, list[tuple[int, Any]]]] = []
    for name in names:
        answer: list[tuple[int, Any]] = []
        asked.append((name, io.aio_stat(name, _stat_keeper(answer)), answer))
    for name, completion, answer in asked:
        completion.wait_for_complete_and_cb()
        code = completion.get_return_value()
        if code >= 0:
            yield StoredObject(name, answer[0][0], _seconds(answer[0][1]))
        elif code != -errno.ENOENT:
            raise pool.error(-code, f"cannot look at object {name!r}", f"osd 'allow r pool={pool.name}'")


def _touch(io: Any, name: str) -> bool:
    """Make an object that is there young; return whether it was there."""
    operation = io.create_write_op()
    operation.rm_xattr(_MARK)  # fails if there is no object
    operation.set_xattr(_MARK, b"1")
    try:
        io.operate_write_op(operation, name, mtime=int(time.time()))
    except rados().ObjectNotFound:
        return False
    finally:
        io.release_write_op(operation)
    return True


def _create(io: Any, name: str, data: bytes) -> bool:
    """Create and write an object in one operation; return whether the name was free."""
    operation = io.create_write_op()
    operation.new(rados().LIBRADOS_CREATE_EXCLUSIVE)
    operation.write_full(data)
    try:
        io.operate_write_op(operation, name, mtime=int(time.time()))
    except rados().ObjectExists:
        return False
    finally:
        io.release_write_op(operation)
    return True


def _remove_old(io: Any, name: str, put_before_s: float) -> bool:
    """Remove an object if it was last put before that time; return whether it was."""
    while True:
        _, modified = io.stat(name)
        version = io.get_last_version()
        if _seconds(modified) + 1 > put_before_s:  # the time is rounded down
            return False
        operation = io.create_write_op()
        operation.assert_version(version)
        operation.remove()
        try:
            io.operate_write_op(operation, name)
        except rados().Error as error:
            if error.errno not in _CHANGED:
                raise
        else:
            return True
        finally:
            io.release_write_op(operation)


def _pieces(where: ByteRange) -> list[ByteRange]:
    starts = range(where.start, where.stop, PIECE_BYTES)
    return [ByteRange(start, min(start + PIECE_BYTES, where.stop)) for start in starts]


def _joined(parts: Sequence[bytes]) -> bytes:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_ahead(io: Any, name: str, ranges: Sequence[ByteRange]) -> Iterator[bytes | int]:
    """Yield the bytes of each range, or the errno of its failure, in order; read some ahead."""
    waiting: deque[tuple[Any, list[bytes], int]] = deque()
    nbytes = 0
    for where in ranges:
        while waiting and (nbytes + where.nbytes > IN_FLIGHT_BYTES or len(waiting) >= IN_FLIGHT_MAX):
            nbytes -= waiting[0][2]
            yield _outcome(*waiting.popleft()[:2])
        answer: list[bytes] = []
        waiting.append(
            (io.aio_read(name, where.nbytes, where.start, _read_keeper(answer)), answer, where.nbytes)
        )
        nbytes += where.nbytes
    while waiting:
        yield _outcome(*waiting.popleft()[:2])


def _outcome(completion: Any, answer: list[bytes]) -> bytes | int:
    completion.wait_for_complete_and_cb()
    code: int = completion.get_return_value()
    return answer[0] if code >= 0 else -code


def _read_keeper(to: list[bytes]) -> Callable[[Any, bytes], None]:
    return lambda _, data: to.append(data)


def _stat_keeper(to: list[tuple[int, Any]]) -> Callable[[Any, int, Any], None]:
    return lambda _, size, modified: to.append((size, modified))


def _seconds(local: time.struct_time) -> float:
    """Return seconds since 1970 of a local time that knows its distance from UTC."""
    return float(calendar.timegm(local) - local.tm_gmtoff)
