"""One connection to each Ceph cluster, shared by everything in a process.

A connection is made when it is first used. After a fork the child makes its own: librados's
threads do not come along, and closing the parent's connection there would wait for them for ever.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..errors import InvalidRequest, StoreError, did_you_mean
from ..librados import rados

CONF_DEFAULT: Final = "/etc/ceph/ceph.conf"
USER_DEFAULT: Final = "client.admin"
CONNECT_TIMEOUT_S: Final = 10.0
"""Longest wait for a monitor."""
REFUSED_S: Final = 1.0
"""After a failed try to connect others fail at once for so long, and those that waited for it."""
MAP_TIMEOUT_S: Final = 2
"""A request without an answer for so long makes the client ask where its object is now."""
TIMEOUT_LEAST_S: Final = 3.0
"""Shortest time-out of a request: below `MAP_TIMEOUT_S` no client would ever find an OSD that moved."""
CLOSE_WAIT_S: Final = 2.0
"""How long the end of the process waits for requests of threads that nobody waits for."""

_LOST: Final = (errno.ESHUTDOWN, errno.ENOTCONN)
"""What a client meets that the cluster has shut out."""


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Which cluster, as whom, and how patiently."""

    conf: str
    """Path of the cluster's ``ceph.conf``."""
    user: str
    """Such as ``client.admin``."""
    timeout_s: float
    """Longest wait for the answer to a request."""

    def options(self) -> dict[str, str]:
        """Return the options of librados that make it answer in time, and quietly."""
        connect_s = str(math.ceil(min(CONNECT_TIMEOUT_S, self.timeout_s)))
        return {
            "client_mount_timeout": connect_s,
            "rados_mon_op_timeout": connect_s,
            "rados_osd_op_timeout": str(math.ceil(self.timeout_s)),
            # By default 10 s and 5 s: a client would find a restarted OSD after 15 s instead of 2 s.
            "objecter_timeout": str(MAP_TIMEOUT_S),
            "objecter_tick_interval": "0.5",
            # Errors are ours to report; a socket for each client helps nobody.
            "log_to_stderr": "false",
            "err_to_stderr": "false",
            "admin_socket": "",
        }


class Connection:
    """A client of one cluster. Safe to use from many threads.

    Every method may raise `StoreError` if the cluster cannot be reached.
    """

    def __init__(self, address: ClusterAddress) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._client: Any = None
        self._pools: dict[tuple[str, str], Any] = {}
        self._idle = threading.Condition()
        self._users = 0
        self._ending = False

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the connection from being closed. Requests may be sent only inside."""
        with self._idle:
            if self._ending:
                raise StoreError("this process is ending")
            self._users += 1
        try:
            yield
        finally:
            with self._idle:
                self._users -= 1
                if not self._users:
                    self._idle.notify_all()

    def pool(self, name: str, namespace: str) -> Any:
        """Return the `rados.Ioctx` of a pool that all threads share. Raises as `own_pool`."""
        found = self._pools.get((name, namespace))
        if found is None:
            opened = self.own_pool(name, namespace)
            with self._lock:
                found = self._pools.setdefault((name, namespace), opened)
        return found

    def own_pool(self, name: str, namespace: str) -> Any:
        """Return a `rados.Ioctx` of a pool that only the caller uses.

        Raises
        ------
        InvalidRequest
            If there is no such pool.
        """
        client = self._connected()
        try:
            pool = client.open_ioctx(name)
        except rados().ObjectNotFound:
            near = did_you_mean(name, client.list_pools())
            raise InvalidRequest(
                f"there is no pool {name!r} in the cluster of {self.address.conf}{near}"
            ) from None
        except rados().Error as error:
            raise self._unusable(error) from error
        pool.set_namespace(namespace)
        # A write to a full pool fails at once, instead of waiting for room.
        pool.set_osdmap_full_try()
        return pool

    def close(self, wait_s: float) -> None:
        """End the connection when nobody uses it; leave it as it is if that takes too long."""
        with self._idle:
            self._ending = True
            if not self._idle.wait_for(lambda: not self._users, wait_s):
                self.keep_for_ever()
                return
        pools, client = list(self._pools.values()), self._client
        self._pools, self._client = {}, None
        for pool in pools:
            pool.close()
        if client is not None:
            client.shutdown()

    def keep_for_ever(self) -> None:
        """Let the objects of librados live until the process ends: closing them here would do harm."""
        for value in (self._client, *self._pools.values()):
            if value is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))

    def _connected(self) -> Any:
        begin_s = time.monotonic()
        with self._lock:
            if self._client is None:
                cluster = (self.address.conf, self.address.user)
                refused_s, why = _refusals.get(cluster, (-math.inf, ""))
                if refused_s > begin_s - REFUSED_S:
                    raise StoreError(why)
                try:
                    self._client = self._connect()
                except StoreError as error:
                    _refusals[cluster] = (time.monotonic(), str(error))
                    raise
            return self._client

    def _connect(self) -> Any:
        client = _configured(self.address)
        try:
            client.connect()
        except rados().Error as error:
            client.shutdown()
            raise self._unusable(error) from error
        return client

    def _unusable(self, error: Any) -> StoreError:
        """Return what a failure to connect means."""
        address = self.address
        if error.errno == errno.ETIMEDOUT:
            waited_s = min(CONNECT_TIMEOUT_S, address.timeout_s)
            return StoreError(f"the cluster of {address.conf} does not answer (waited {waited_s:g} s)")
        if error.errno in (errno.EPERM, errno.EACCES):
            return StoreError(
                f"the cluster of {address.conf} refuses {address.user}: "
                "its key is wrong, or lacks mon 'allow r'"
            )
        if error.errno == errno.ENOENT:
            return StoreError(f"no key of {address.user} in the keyring that {address.conf} names")
        return StoreError(f"cannot connect to the cluster of {address.conf} as {address.user}: {error}")


def cluster_id(address: ClusterAddress) -> str:
    """Return the ID in the cluster's configuration, or the configuration's path; asks nobody.

    Raises
    ------
    StoreError
        If the configuration cannot be read.
    """
    client = _configured(address)
    fsid = str(client.conf_get("fsid") or "")
    client.shutdown()
    return fsid if fsid.strip("0-") else address.conf


def _configured(address: ClusterAddress) -> Any:
    """Return a `rados.Rados` that is not connected."""
    module = rados()
    try:
        return module.Rados(conffile=address.conf, name=address.user, conf=address.options())
    except module.ObjectNotFound as error:
        raise StoreError(f"{address.conf} cannot be read; give the path of ceph.conf as conf=") from error
    except module.Error as error:
        raise StoreError(f"{address.conf} is no configuration of Ceph: {error}") from error


_refusals: dict[tuple[str, str], tuple[float, str]] = {}
"""When a cluster could not be reached as some user, and why."""
_connections: dict[ClusterAddress, Connection] = {}
_connections_lock = threading.Lock()


def connect(address: ClusterAddress) -> Connection:
    """Return this process's connection; nothing is sent before it is used."""
    found = _connections.get(address)
    if found is None:
        with _connections_lock:
            found = _connections.setdefault(address, Connection(address))
    return found


def forget_if_lost(connection: Connection, number: int) -> None:
    """After an error: let the next request connect anew if the cluster has shut this client out."""
    if number in _LOST:
        with _connections_lock:
            if _connections.get(connection.address) is connection:
                del _connections[connection.address]
        connection.keep_for_ever()  # other threads may be using it


def _close_all() -> None:
    """At the end of the process: daemon threads may still be waiting for answers, which need Python."""
    for connection in _connections.values():
        connection.close(CLOSE_WAIT_S)
    _connections.clear()


def _begin_child() -> None:
    """In a forked child: leave the parent's connections alone."""
    global _connections_lock
    _connections_lock = threading.Lock()
    for connection in _connections.values():
        connection.keep_for_ever()
    _connections.clear()


os.register_at_fork(after_in_child=_begin_child)
atexit.register(_close_all)
