"""A store in a pool of a Ceph cluster, which can also run our object class on its objects.

One object of the store is one object of RADOS. `put` creates and writes in one operation that fails
if the object is there. Uses Debian's `python3-rados`: for answers of 1 to 4 MB an own binding of
librados was measured to be at most 1.3 times faster (at 8 MB 1.5 times).
"""

from __future__ import annotations

import calendar
import errno
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ClassMissing, NotFound, ResourceExhausted, StoreError
from ..librados import rados
from .address import StoreAddress, parse_address
from .base import ByteRange, ObjectStore, StoredObject, check_data, check_name, is_name, past_the_end
from .joining import read_joined
from .rados_connection import (
    CONF_DEFAULT,
    TIMEOUT_LEAST_S,
    USER_DEFAULT,
    ClusterAddress,
    Connection,
    cluster_id,
    connect,
    forget_if_lost,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

CLASS_NAME: Final = "skyhook_casa_1"
"""Our object class; the number is the version of its requests and answers."""
TIMEOUT_S: Final = 30.0
"""How long a read or write waits, if the address does not say. Below 20 s an OSD that restarts is missed."""
CLASS_TIMEOUT_S: Final = 5.0
"""Longest wait for the object class, which gives back what it has after 0.1 s."""
IN_FLIGHT_BYTES: Final = 16 << 20
"""About how much is asked for ahead of what has come."""
IN_FLIGHT_MAX: Final = 16
"""Most reads that are asked for ahead."""
PIECE_BYTES: Final = 4 << 20
"""Longer ranges are read in pieces of so much, side by side."""
LISTED_TOGETHER: Final = 256
"""Objects whose size and time are asked for at a time."""

_OPTIONS: Final = ("conf", "user", "namespace", "timeout_s", "catalog")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DENIED: Final = (errno.EPERM, errno.EACCES)
_CHANGED: Final = (errno.ERANGE, errno.EOVERFLOW)
"""What `assert_version` answers when the object has another version."""
_MARK: Final = "skyhook.put"
"""Extended attribute that is set when a taken name is put again; that makes the object young."""


class Pool:
    """One namespace of a pool, as one user. Safe to use from many threads.

    Parameters
    ----------
    cluster : ClusterAddress
        Which cluster, as whom.
    name, namespace : str
        The pool; the namespace in it may be empty.
    """

    def __init__(self, cluster: ClusterAddress, name: str, namespace: str = "") -> None:
        self.cluster = cluster
        self.name = name
        self.namespace = namespace
        # librados sends a request again, to the next replica, when its OSD dies. Nothing but the
        # time-out, which is the connection's, can stop that; so the object class gets a connection of
        # its own with a short one, and nobody calls again what ended in it. That bounds the wait, not the
        # damage: a request that killed each OSD it met reached the second one after 0.3 to 1.8 s.
        self._impatient = ClusterAddress(cluster.conf, cluster.user, min(cluster.timeout_s, CLASS_TIMEOUT_S))

    def io(self) -> Any:
        """Return the `rados.Ioctx` that all threads share. Raises as `Connection.own_pool`."""
        return connect(self.cluster).pool(self.name, self.namespace)

    def own_io(self) -> Any:
        """Return a `rados.Ioctx` that only the caller uses; to be closed. Raises as `Connection.own_pool`."""
        return connect(self.cluster).own_pool(self.name, self.namespace)

    def execute(self, oid: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        """Run a method of our object class on an object of RADOS. Raises as `ObjectStore.execute`."""
        connection = connect(self._impatient)
        io = connection.pool(self.name, self.namespace)
        with self.reporting(f"cannot run {CLASS_NAME}.{method} on object {oid!r}", "", self._impatient):
            try:
                _, reply = io.execute(oid, CLASS_NAME, method, request, reply_bytes_max)
            except rados().Error as error:
                raise self._class_error(error, oid, method, reply_bytes_max) or error from error
        return bytes(reply)

    @contextmanager
    def reporting(self, what: str, needs: str, cluster: ClusterAddress | None = None) -> Iterator[None]:
        """Turn errors of librados into ours; `needs` is what the user must be allowed for this."""
        try:
            yield
        except rados().Error as error:
            if isinstance(error.errno, int):
                raise self.error(error.errno, what, needs, cluster) from error
            raise StoreError(f"{what}: {error}") from error

    def error(
        self, number: int, what: str, needs: str, cluster: ClusterAddress | None = None
    ) -> NotFound | StoreError:
        """Return the error that an errno of librados means."""
        address = cluster or self.cluster
        place = f"pool {self.name!r}"
        if number == errno.ENOENT:
            return NotFound(f"{what}: no such object in {place}")
        if number in _DENIED:
            return StoreError(f"{what} in {place}: {address.user} may not; its key needs {needs}")
        if number == errno.ETIMEDOUT:
            return StoreError(f"{what} in {place}: no answer within {address.timeout_s:g} s")
        if number in _FULL:
            return StoreError(f"{what}: {place} is full ({errno.errorcode[number]})")
        forget_if_lost(connect(address), number)
        return StoreError(f"{what} in {place}: {errno.errorcode.get(number, number)}")

    def _class_error(self, error: Any, oid: str, method: str, reply_bytes_max: int) -> StoreError | None:
        """Return what an errno means only for a call of the object class."""
        call = f"{CLASS_NAME}.{method}"
        if error.errno == errno.EOPNOTSUPP:
            return ClassMissing(f"the OSDs of pool {self.name!r} have no object class {call}")
        if error.errno in _DENIED:
            return StoreError(
                f"{self.cluster.user} may not run {call} in pool {self.name!r}: its key needs "
                f"osd 'allow class {CLASS_NAME} {method}', or the OSDs may not load the class"
            )
        if error.errno == errno.ERANGE:
            return StoreError(f"{call} on object {oid!r} answered more than {reply_bytes_max} bytes")
        return None


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
        if not ranges:
            self.size(name)
        check_name(name)
        with self._pool.reporting(f"cannot read object {name!r}", self._needs("r")):
            return read_joined(lambda joined: self._read(name, joined), ranges)

    def size(self, name: str) -> int:
        """See `ObjectStore.size`."""
        check_name(name)
        with self._pool.reporting(f"cannot look at object {name!r}", self._needs("r")):
            return int(self._pool.io().stat(name)[0])

    def list(self) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        with self._pool.reporting("cannot list the objects", self._needs("r")):
            io = self._pool.io()
            names: list[str] = []
            for found in io.list_objects():
                if is_name(found.key):
                    names.append(found.key)
                if len(names) == LISTED_TOGETHER:
                    yield from self._stored(io, names)
                    names = []
            yield from self._stored(io, names)

    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        """See `ObjectStore.delete`."""
        check_name(name)
        with self._pool.reporting(f"cannot delete object {name!r}", self._needs("rw")):
            # The version of the last reply belongs to the Ioctx, so this thread needs its own.
            with closing(self._pool.own_io()) as io:
                try:
                    while not (done := _remove(io, name, put_before_s)):
                        if done is None:
                            return False
                except rados().ObjectNotFound:
                    return False
        return True

    @property
    def pushes_down(self) -> bool:
        """See `ObjectStore.pushes_down`: the first call tells whether the class is there."""
        return True

    def execute(self, name: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        """See `ObjectStore.execute`."""
        return self._pool.execute(check_name(name), method, request, reply_bytes_max)

    def identity(self) -> str:
        """See `ObjectStore.identity`: cluster, pool and namespace."""
        pool = self._pool
        return f"rados://{cluster_id(pool.cluster)}/{pool.name}/{pool.namespace}"

    def _needs(self, caps: str) -> str:
        return f"osd 'allow {caps} pool={self._pool.name}'"

    def _read(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Read every range, several at a time."""
        io = self._pool.io()
        if len(ranges) == 1 and ranges[0].nbytes <= PIECE_BYTES:
            return [self._whole(name, ranges[0], io.read(name, ranges[0].nbytes, ranges[0].start))]
        pieces = [
            [
                ByteRange(start, min(start + PIECE_BYTES, where.stop))
                for start in range(where.start, where.stop, PIECE_BYTES)
            ]
            for where in ranges
        ]
        got = _read_ahead(io, name, [piece for group in pieces for piece in group])
        found = []
        for where, group in zip(ranges, pieces, strict=True):
            parts = [self._checked(name, next(got)) for _ in group]
            found.append(self._whole(name, where, parts[0] if len(parts) == 1 else b"".join(parts)))
        return found

    def _checked(self, name: str, outcome: bytes | int) -> bytes:
        if isinstance(outcome, int):
            raise self._pool.error(outcome, f"cannot read object {name!r}", self._needs("r"))
        return outcome

    def _whole(self, name: str, where: ByteRange, data: bytes) -> bytes:
        if len(data) != where.nbytes:
            raise past_the_end(name, self.size(name), where)
        return data

    def _stored(self, io: Any, names: Sequence[str]) -> list[StoredObject]:
        """Return the listing of those objects that are still there."""
        asked: list[tuple[str, Any, list[tuple[int, Any]]]] = []
        for name in names:
            answer: list[tuple[int, Any]] = []
            asked.append((name, io.aio_stat(name, _stat_keeper(answer)), answer))
        found = []
        for name, completion, answer in asked:
            completion.wait_for_complete_and_cb()
            code = completion.get_return_value()
            if code == -errno.ENOENT:
                continue
            if code < 0:
                raise self._pool.error(-code, f"cannot look at object {name!r}", self._needs("r"))
            found.append(StoredObject(name, answer[0][0], _seconds(answer[0][1])))
        return found


def with_absolute_conf(parts: StoreAddress) -> StoreAddress:
    """Return the address with a path of ``ceph.conf`` that holds in any directory."""
    conf = parts.options.get("conf")
    if conf is None:
        return parts
    return replace(parts, options={**parts.options, "conf": str(Path(conf).expanduser().absolute())})


def cluster_address(parts: StoreAddress) -> ClusterAddress:
    """Return the cluster that the options ``conf``, ``user`` and ``timeout_s`` name."""
    user = parts.options.get("user", USER_DEFAULT)
    return ClusterAddress(
        conf=parts.options.get("conf", CONF_DEFAULT),
        user=user if "." in user else f"client.{user}",
        timeout_s=parts.number("timeout_s", TIMEOUT_S, TIMEOUT_LEAST_S),
    )


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


def _remove(io: Any, name: str, put_before_s: float | None) -> bool | None:
    """Remove an object; None if it was put too late, False if it changed meanwhile."""
    if put_before_s is None:
        io.remove_object(name)
        return True
    _, modified = io.stat(name)
    version = io.get_last_version()
    if _seconds(modified) + 1 > put_before_s:  # the time is rounded down
        return None
    operation = io.create_write_op()
    operation.assert_version(version)
    operation.remove()
    try:
        io.operate_write_op(operation, name)
    except rados().Error as error:
        if error.errno in _CHANGED:
            return False
        raise
    finally:
        io.release_write_op(operation)
    return True


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
