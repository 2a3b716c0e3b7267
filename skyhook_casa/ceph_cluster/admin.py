"""What the administrator tells a cluster through its monitor."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..errors import AlreadyExists, InvalidRequest, NotFound, StoreError
from ..librados import rados
from .config import Layout
from .keys import Caps

POLL_S: Final = 0.05
REPLY_TIMEOUT_S: Final = 30
"""Longest wait for an answer of a monitor or OSD."""
PROBES_PER_PG: Final = 4


class Admin:
    """A connection as `client.admin`; use `connected`.

    Parameters
    ----------
    handle
        A connected `rados.Rados`.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def command(self, prefix: str, **arguments: object) -> Any:
        """Send a command to the monitor, and return its answer: decoded if it is JSON, else bytes."""
        return self._answer(prefix, *self.handle.mon_command(_request(prefix, arguments), b""))

    def osd_command(self, osd: int, prefix: str, **arguments: object) -> Any:
        """Send a command to one OSD."""
        return self._answer(prefix, *self.handle.osd_command(osd, _request(prefix, arguments), b""))

    def osd_states(self) -> list[dict[str, Any]]:
        """Return what the monitor knows of every OSD."""
        states: list[dict[str, Any]] = self.command("osd dump")["osds"]
        return states

    def wait_for_osds(self, count: int, timeout_s: float, check: Callable[[], None]) -> None:
        """Wait until `count` OSDs are up; `check` raises if that will never be."""
        wait_until(
            lambda: sum(state["up"] for state in self.osd_states()) >= count,
            timeout_s,
            check,
            f"{count} OSDs being up",
        )

    def create_pool(self, name: str, size: int, pgs: int, *, erasure: bool = False) -> None:
        """Make a pool, replicated `size` times or with `size` - 1 data shards and one of parity.

        Raises
        ------
        AlreadyExists
            If there is a pool of the name.
        InvalidRequest
            If `size` is too small.
        """
        if size < (3 if erasure else 1):
            raise InvalidRequest(f"{size} is too few OSDs for {'an erasure-coded' if erasure else 'a'} pool")
        if self.handle.pool_exists(name):
            raise AlreadyExists(f"there is a pool {name!r} already")
        if erasure:
            shards = [f"k={size - 1}", "m=1", "crush-failure-domain=osd"]
            self.command("osd erasure-code-profile set", name=name, profile=shards)
            kind: dict[str, object] = {"pool_type": "erasure", "erasure_code_profile": name}
        else:
            kind = {"pool_type": "replicated", "size": size}
        self.command("osd pool create", pool=name, pg_num=pgs, pgp_num=pgs, **kind)
        if size == 1:  # a size of 1 wants to be confirmed
            self.command("osd pool set", pool=name, var="size", val="1", yes_i_really_mean_it=True)
        self.command("osd pool application enable", pool=name, app=name)

    def probe_pool(self, name: str, pgs: int) -> None:
        """Wait until the placement groups of a pool answer and take a write."""
        context = self.handle.open_ioctx(name)
        try:
            # So many names that nearly every placement group has one; that no object has it is an answer.
            names = [f".probe-{number}" for number in range(PROBES_PER_PG * pgs)]
            stats = [context.aio_stat(one, lambda *_: None) for one in names]
            for stat in stats:
                stat.wait_for_complete_and_cb()  # a callback that comes after `close` crashes
            codes = {stat.get_return_value() for stat in stats} - {0, -errno.ENOENT}
            if codes:
                raise StoreError(f"pool {name!r} does not answer: {errno.errorcode.get(-min(codes), codes)}")
            context.write_full(names[0], b"probe")
            context.remove_object(names[0])
        finally:
            context.close()

    def pg_states(self) -> dict[str, str]:
        """Return the state of every placement group by its id; for want of an answer that is "unknown"."""
        states = {}
        for pool in self.command("osd dump")["pools"]:
            for number in range(pool["pg_num"]):
                pg = f"{pool['pool']}.{number:x}"
                code, output, _ = self.handle.pg_command(pg, _request("query", {"pgid": pg}), b"")
                states[pg] = str(json.loads(output)["state"]) if code == 0 else "unknown"
        return states

    def user(self, name: str, caps: Caps) -> str:
        """Make a user if there is none, set its caps, and return its key."""
        pairs = [word for daemon, cap in caps.items() for word in (daemon, cap)]
        found = self.command("auth get-or-create-key", entity=name)
        self.command("auth caps", entity=name, caps=pairs)
        return str(found["key"])

    @staticmethod
    def _answer(prefix: str, code: int, output: bytes, message: str) -> Any:
        if code == -errno.ENOENT:
            raise NotFound(f"{prefix}: {message}")
        if code != 0:
            raise StoreError(f"{prefix}: {message or errno.errorcode.get(-code, code)}")
        return json.loads(output) if output.strip()[:1] in (b"{", b"[") else output


@contextmanager
def connected(layout: Layout, user: str = "client.admin") -> Iterator[Admin]:
    """Connect as an administrator.

    Raises
    ------
    StoreError
        If the cluster does not answer.
    """
    with rados_handle(layout, user) as handle:
        yield Admin(handle)


@contextmanager
def rados_handle(layout: Layout, user: str) -> Iterator[Any]:
    """Connect as any user; gives a `rados.Rados`."""
    module = rados()
    options = {
        "objecter_timeout": "1",  # ask for a new map soon after an OSD has ended
        "objecter_tick_interval": "0.5",
        "client_mount_timeout": str(REPLY_TIMEOUT_S),
        "rados_mon_op_timeout": str(REPLY_TIMEOUT_S),
        "rados_osd_op_timeout": str(REPLY_TIMEOUT_S),
    }
    handle = module.Rados(conffile=str(layout.conf), name=user, conf=options)
    try:
        handle.connect()
        yield handle
    except module.Error as error:
        raise StoreError(f"the cluster in {layout.folder} failed for {user}: {error}") from error
    finally:
        handle.shutdown()


def wait_until(done: Callable[[], bool], timeout_s: float, check: Callable[[], None], what: str) -> None:
    """Ask `done` until it says so.

    Raises
    ------
    StoreError
        After `timeout_s`; or what `check`, asked in between, raises.
    """
    limit = time.monotonic() + timeout_s
    while not done():
        check()
        if time.monotonic() > limit:
            raise StoreError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(POLL_S)


def _request(prefix: str, arguments: dict[str, object]) -> str:
    return json.dumps({"prefix": prefix, "format": "json", **arguments})
