"""A pool of a Ceph cluster: where requests go, our object class among them, and what its errors mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import AccessDenied, ClassMissing, NotFound, RequestLost, StoreError
from ..librados import rados
from .address import StoreAddress
from .osd_processes import INFO, INFO_BYTES_MAX, OsdProcesses
from .rados_connection import (
    CONF_DEFAULT,
    TIMEOUT_LEAST_S,
    USER_DEFAULT,
    ClusterAddress,
    connect,
    forget_if_lost,
)

CLASS_NAME: Final = "skyhook_casa_1"
"""Our object class; the number is the version of its requests and answers."""
TIMEOUT_S: Final = 30.0
"""How long a read or write waits, if the address does not say. Below 20 s an OSD that restarts is missed."""
CLASS_TIMEOUT_S: Final = 5.0
"""Longest wait for the object class, which gives back what it has after 0.1 s."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DENIED: Final = (errno.EPERM, errno.EACCES)


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
        # librados sends a request again, to the next replica, when its OSD dies. The class there refuses
        # it (see `OsdProcesses`); and so that nobody waits long for an OSD that hangs, the object class
        # gets a connection of its own with a short time-out.
        self._processes = OsdProcesses()
        self._impatient = ClusterAddress(cluster.conf, cluster.user, min(cluster.timeout_s, CLASS_TIMEOUT_S))

    def io(self) -> Any:
        """Return the `rados.Ioctx` that all threads share. Raises as `Connection.own_pool`."""
        return connect(self.cluster).pool(self.name, self.namespace)

    def own_io(self) -> Any:
        """Return a `rados.Ioctx` that only the caller uses; to be closed. Raises as `Connection.own_pool`."""
        return connect(self.cluster).own_pool(self.name, self.namespace)

    def size(self, oid: str) -> int:
        """Return the bytes of an object of RADOS. Raises as `ObjectStore.size`."""
        with self.reporting(f"cannot look at object {oid!r}", f"osd 'allow r pool={self.name}'"):
            return int(self.io().stat(oid)[0])

    def size_if_allowed(self, oid: str) -> int | None:
        """Return the bytes of an object of RADOS; None if the user may not look. Raises as `size`."""
        with self.reporting(f"cannot look at object {oid!r}", ""):
            try:
                return int(self.io().stat(oid)[0])
            except rados().Error as error:
                if error.errno in _DENIED:
                    return None
                raise

    def execute(
        self, oid: str, method: str, request: bytes, reply_bytes_max: int, ability: str = ""
    ) -> bytes:
        """Run a method of our object class on an object of RADOS. Raises as `ObjectStore.execute`."""
        if method == INFO:
            return self._call(oid, INFO, b"", reply_bytes_max)
        process = self._processes.of(oid)
        if process is None:
            process = self._processes.told(self._call(oid, INFO, b"", INFO_BYTES_MAX))
        if ability and not self._processes.can(process, ability):
            raise ClassMissing(
                f"an OSD of pool {self.name!r} runs an earlier release of the object class {CLASS_NAME}, "
                f"which cannot {ability} events; renew the class and restart the OSD"
            )
        try:
            reply = self._call(oid, method, process.to_bytes(8, "little") + request, reply_bytes_max)
        except StoreError:
            self._processes.forget(oid)
            raise
        self._processes.answered(oid, process)
        return reply

    def _call(self, oid: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        with self.reporting(f"cannot run {CLASS_NAME}.{method} on object {oid!r}", "", self._impatient):
            io = connect(self._impatient).pool(self.name, self.namespace)
            try:
                _, reply = io.execute(oid, CLASS_NAME, method, request, reply_bytes_max)
            except rados().Error as error:
                raise self._class_error(error, oid, method, reply_bytes_max) or error from error
        return bytes(reply)

    @contextmanager
    def reporting(self, what: str, needs: str, cluster: ClusterAddress | None = None) -> Iterator[None]:
        """Requests are sent inside. Turn their errors into ours; `needs` are the caps that they need."""
        try:
            with connect(cluster or self.cluster).in_use():
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
            return AccessDenied(f"{what} in {place}: {address.user} may not; its key needs {needs}")
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
            if method == INFO:
                return ClassMissing(f"the OSDs of pool {self.name!r} have no object class {CLASS_NAME}")
            return ClassMissing(
                f"the OSDs of pool {self.name!r} have no {call}, or the pool is erasure-coded: "
                "no OSD has a whole object then"
            )
        if error.errno == errno.ESTALE:
            return RequestLost(f"{call} on object {oid!r}: the OSD that was to run it is gone")
        if error.errno == errno.ETIMEDOUT and method != INFO:
            wait_s = self._impatient.timeout_s
            return RequestLost(f"{call} on object {oid!r}: no answer within {wait_s:g} s")
        if error.errno in _DENIED:
            methods = (INFO, "scan" if method == INFO else method)
            caps = ", ".join(f"allow class {CLASS_NAME} {one}" for one in methods)
            return AccessDenied(
                f"{self.cluster.user} may not run {call} in pool {self.name!r}: its key needs osd '{caps}', "
                "or the OSDs may not load the class"
            )
        if error.errno == errno.ERANGE:
            return StoreError(f"{call} on object {oid!r} answered more than {reply_bytes_max} bytes")
        return None


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
