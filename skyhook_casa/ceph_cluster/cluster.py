"""A real Ceph cluster on this machine, for development and tests: up in seconds, gone without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from ..errors import AlreadyExists, InvalidRequest, StoreError
from ..librados import rados
from . import admin, classes, daemons, s3
from .config import HOST, POOL, Layout, Options, Settings, normalized
from .keys import Caps, keyring_text
from .ports import free_ports, is_free
from .start import Start, check_programs, checked_folder, claim, write_secret

UP_TIMEOUT_S: Final = 90.0
"""Longest wait for daemons to be up; a few seconds are usual."""
PORT_TRIES: Final = 3
"""Starts, if another process takes a port before our daemon does."""
ENDING: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGABRT, signal.SIGSEGV)
"""Signals that end a daemon."""
MADE: Final = (
    *("ceph.conf", "monmap", "s3-credentials", "keys", "data", "crash", "classes", "cluster.partial"),
    "cluster.json",
)
"""What is in a cluster's folder, beside logs."""


class Cluster:
    """A monitor, OSDs and perhaps a manager and a radosgw, all on 127.0.0.1 and in one folder.

    Made by `Cluster.up`, found again by `Cluster.at`; as a context it is taken down at the end.
    """

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self.layout = layout
        self.settings = settings

    @classmethod
    def up(
        cls,
        folder: str | os.PathLike[str],
        *,
        osds: int = 3,
        store: str = "bluestore",
        mgr: bool = False,
        s3: bool = False,
        class_files: Sequence[Path] | None = None,
        extra_conf: Options | None = None,
        guard: int | None = None,
    ) -> Cluster:
        """Start a cluster, and return it when it can be used.

        Parameters
        ----------
        folder
            Where everything goes; absent, empty, or with the logs of an earlier try.
        osds
            Number of OSDs, 1 to 16.
        store
            "memstore", fast and gone when an OSD ends, or "bluestore", files in `folder`.
        mgr
            Start a manager too; `ceph df`, quotas and HEALTH_OK need one.
        s3
            Start a radosgw too, with a user and the bucket `skyhook`.
        class_files
            Object classes to load beside the system's; by default ours, if they are found.
        extra_conf
            Options of Ceph by section, such as ``{"osd": {"osd op num shards": 4}}``.
        guard
            Take the cluster down when the process of this id ends, however it ends.

        Raises
        ------
        AlreadyExists
            If something is in `folder`.
        StoreError
            If Ceph is not installed or a daemon does not start. What ran is ended; logs stay.
        """
        layout = Layout(checked_folder(folder))
        rados()
        check_programs(mgr=mgr, s3=s3)
        files = classes.our_files() if class_files is None else classes.checked(class_files)
        settings = Settings(
            fsid=str(uuid.uuid4()),
            osds=osds,
            store=store,
            mgr=mgr,
            s3=s3,
            mon_port=0,
            s3_port=0,
            osd_port_min=0,
            extra=normalized(extra_conf or {}),
        )
        claim(layout, settings)
        try:
            return _start(layout, settings, files, guard)
        except BaseException:
            cls(layout, settings).down(keep_logs=True)
            raise

    @classmethod
    def at(cls, folder: str | os.PathLike[str]) -> Cluster:
        """Return the cluster that `up` made in `folder`, running or not.

        Raises
        ------
        NotFound
            If there is none.
        """
        layout = Layout(Path(folder).resolve())
        return cls(layout, layout.read_settings())

    @staticmethod
    def exists(folder: str | os.PathLike[str]) -> bool:
        """Whether `folder` holds a cluster, running or not."""
        return Layout(Path(folder).resolve()).settings.is_file()

    def down(self, *, keep_logs: bool = False) -> None:
        """End all processes at once, and delete what `up` made."""
        while found := daemons.running(self.layout):
            daemons.end(self.layout, found)
        _delete(self.layout.sockets(self.settings.fsid))
        for name in MADE if keep_logs else ("log", *MADE):
            _delete(self.layout.folder / name)
        if self.layout.folder.is_dir() and not any(self.layout.folder.iterdir()):
            self.layout.folder.rmdir()

    def __enter__(self) -> Self:
        """Return the cluster."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the cluster down."""
        self.down()

    def __repr__(self) -> str:
        """The folder and what runs in it."""
        return f"Cluster({str(self.layout.folder)!r}, {self.settings.osds} OSDs, {self.settings.store})"

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.layout.folder

    @property
    def conf(self) -> Path:
        """The `ceph.conf` that clients give; it leads to the keys of all users."""
        return self.layout.conf

    @property
    def url(self) -> str:
        """The address of a store in the pool `skyhook`."""
        return self.pool_url(POOL)

    @property
    def s3_endpoint(self) -> str:
        """The address of radosgw."""
        return f"http://{HOST}:{self.settings.s3_port}"

    @property
    def s3_url(self) -> str:
        """The address of a store in the bucket `skyhook`; the keys are in `s3_environment`."""
        return f"s3://{s3.BUCKET}/store?endpoint={self.s3_endpoint}"

    def pool_url(self, pool: str) -> str:
        """Return the address of a store in a pool."""
        return f"rados://{quote(pool)}?conf={quote(str(self.conf))}"

    def s3_environment(self) -> dict[str, str]:
        """Return the environment variables that lead to the keys of S3."""
        return {"AWS_SHARED_CREDENTIALS_FILE": str(self.layout.s3_credentials)}

    def s3_keys(self) -> tuple[str, str]:
        """Return the access key and the secret key of S3."""
        return s3.keys(self.layout)

    def create_bucket(self, name: str) -> None:
        """Make a bucket."""
        s3.create_bucket(self.layout, self.settings, name)

    def daemons(self) -> list[daemons.Daemon]:
        """Return the running processes."""
        return [one for one in daemons.running(self.layout) if one.name != daemons.WATCHDOG]

    def daemon_names(self) -> list[str]:
        """Return the names of the processes that a whole cluster has."""
        settings = self.settings
        return [
            "mon.a",
            *(f"osd.{number}" for number in range(settings.osds)),
            *(["mgr.x"] if settings.mgr else []),
            *(["rgw.r"] if settings.s3 else []),
        ]

    def class_names(self) -> list[str]:
        """Return the names of our object classes that the OSDs load."""
        return classes.class_names(self.layout.classes.glob(classes.PATTERN))

    def osd_pids(self) -> dict[int, int]:
        """Return the process ids of the running OSDs by their numbers."""
        return {
            int(one.name.removeprefix("osd.")): one.pid
            for one in self.daemons()
            if one.name.startswith("osd.")
        }

    def rss_bytes(self, daemon: int | str) -> int:
        """Return the memory in RAM of an OSD, by its number, or of any daemon, by its name."""
        return daemons.resident_bytes(self._pid(daemon))

    def cpu_s(self, daemon: int | str) -> float:
        """Return the seconds of CPU that an OSD (or other daemon) has used since its start."""
        return daemons.cpu_s(self._pid(daemon))

    def _pid(self, daemon: int | str) -> int:
        name = f"osd.{daemon}" if isinstance(daemon, int) else daemon
        return daemons.find(self.layout, name).pid

    def osd_counters(self, osd: int) -> dict[str, Any]:
        """Return the counters of an OSD, such as `op_out_bytes`."""
        with self.admin() as connected:
            counters: dict[str, Any] = connected.osd_command(osd, "perf dump")["osd"]
        return counters

    def kill_osd(self, osd: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to an OSD, and wait until it is gone if the signal ends it.

        An OSD of a memstore cluster keeps its objects only on SIGTERM.

        Raises
        ------
        NotFound
            If it does not run.
        """
        daemon = daemons.find(self.layout, f"osd.{osd}")
        if number in ENDING:
            daemons.end(self.layout, [daemon], number)
        else:
            daemons.send_signal(self.layout, daemon, number)

    def start_osd(self, osd: int) -> None:
        """Start an OSD that was killed, and wait until the cluster knows that it is up.

        Raises
        ------
        AlreadyExists
            If it runs.
        InvalidRequest
            If the cluster has no such OSD.
        """
        if not 0 <= osd < self.settings.osds:
            raise InvalidRequest(f"there is no osd.{osd}; the cluster has {self.settings.osds}")
        if osd in self.osd_pids():
            raise AlreadyExists(f"osd.{osd} runs already")
        with self.admin() as connected:
            before = _up_from(connected, osd)
            pid = daemons.spawn(self.layout, f"osd.{osd}")
            admin.wait_until(
                lambda: _up_from(connected, osd) > before,
                UP_TIMEOUT_S,
                lambda: daemons.check_alive(self.layout, [pid]),
                f"osd.{osd} being up",
            )

    def wait_clean(self, timeout_s: float = UP_TIMEOUT_S) -> None:
        """Wait until all OSDs are up and every object has all its copies.

        Raises
        ------
        StoreError
            After `timeout_s`.
        """
        with self.admin() as connected:
            connected.wait_for_osds(self.settings.osds, timeout_s, lambda: None)
            admin.wait_until(
                lambda: all("active+clean" in state for state in connected.pg_states().values()),
                timeout_s,
                lambda: None,
                "all placement groups being clean",
            )

    def add_pool(self, name: str, size: int = 2, *, erasure: bool = False) -> str:
        """Make a pool, and return the address of a store in it.

        Parameters
        ----------
        name
            A new name.
        size
            Copies; or, of an erasure-coded pool, data shards and one of parity together.
        erasure
            Make it erasure-coded.
        """
        if size > self.settings.osds:
            raise InvalidRequest(f"a pool of size {size} needs as many OSDs; there are {self.settings.osds}")
        with self.admin() as connected:
            connected.create_pool(name, size, self.settings.pgs, erasure=erasure)
            connected.probe_pool(name, self.settings.pgs)
        return self.pool_url(name)

    def user(self, name: str, caps: Caps) -> Path:
        """Make a user, or set the caps of one, and return its keyring, which `conf` leads to.

        Parameters
        ----------
        name
            Such as "client.analyst".
        caps
            What it may do, such as ``{"mon": "allow r", "osd": "allow r pool=skyhook"}``.
        """
        if not name.startswith("client."):
            raise InvalidRequest(f"user {name!r}: a name such as 'client.{name}' is needed")
        with self.admin() as connected:
            key = connected.user(name, caps)
        write_secret(self.layout.keyring(name), keyring_text(name, key, caps))
        return self.layout.keyring(name)

    @contextmanager
    def admin(self, user: str = "client.admin") -> Iterator[admin.Admin]:
        """Connect for commands; `.handle` is the `rados.Rados`."""
        with admin.connected(self.layout, user) as connected:
            yield connected


def _start(layout: Layout, settings: Settings, files: Sequence[Path], guard: int | None) -> Cluster:
    for last in range(PORT_TRIES):
        mon, s3_port, osd = free_ports(3)
        cluster = Cluster(layout, settings.on_ports(mon, s3_port, osd))
        try:
            Start(cluster.layout, cluster.settings, files).run(guard)
        except StoreError:
            if last == PORT_TRIES - 1 or not _port_taken(cluster):
                raise
            cluster.down()
            claim(layout, settings)
        else:
            return cluster
    raise AssertionError("unreachable")


def _port_taken(cluster: Cluster) -> bool:
    """Whether another process has a port of ours; a daemon may end before it has logged that."""
    running = {daemon.name for daemon in cluster.daemons()}
    ports = {"mon.a": cluster.settings.mon_port, "rgw.r": cluster.settings.s3_port}
    return any(
        daemons.said(cluster.layout, name, "Address already in use")
        or (name not in running and not is_free(port))
        for name, port in ports.items()
    )


def _up_from(connected: admin.Admin, osd: int) -> int:
    """The epoch since which an OSD is up; -1 while it is down."""
    state = next(state for state in connected.osd_states() if state["osd"] == osd)
    return int(state["up_from"]) if state["up"] else -1


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
