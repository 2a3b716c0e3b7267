"""How a cluster starts: files, keys, then one daemon after the other."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ..errors import AlreadyExists, InvalidRequest, StoreError
from . import admin, classes, daemons, s3
from .config import HOST, POOL, S3_POOL, Layout, Settings, ceph_conf
from .keys import daemon_caps, keyring_text, new_key, user_caps

UP_TIMEOUT_S: Final = 90.0
"""Longest wait for daemons to be up; a few seconds are usual."""


class Start:
    """The steps of one start in an empty folder.

    Parameters
    ----------
    layout, settings
        What to start, and where.
    class_files
        Object classes to load beside the system's.
    """

    def __init__(self, layout: Layout, settings: Settings, class_files: Sequence[Path]) -> None:
        self.layout = layout
        self.settings = settings
        self.class_files = class_files
        self.osd_ids = [str(uuid.uuid4()) for _ in range(self.settings.osds)]
        self.pids: dict[str, int] = {}

    def run(self, guard: int | None) -> None:
        """Start everything, and return when it can be used; it ends with process `guard`."""
        self.write_files()
        if guard is not None:
            daemons.spawn(self.layout, f"{daemons.WATCHDOG}.{guard}")
        self.make_monitor()
        with ThreadPoolExecutor(self.settings.osds) as pool:
            made = [pool.submit(self.make_osd, number) for number in range(self.settings.osds)]
            self.spawn("mon.a")
        for osd in made:
            osd.result()
        self.wait_for_port("mon.a", self.settings.mon_port)
        with admin.connected(self.layout) as connected:
            self.start_osds(connected)
            if self.settings.mgr:
                self.spawn("mgr.x")
            connected.wait_for_osds(self.settings.osds, UP_TIMEOUT_S, self.check)
            pools = [POOL, S3_POOL] if self.settings.s3 else [POOL]
            for name in pools:
                connected.create_pool(name, self.settings.copies, self.settings.pgs)
            if self.settings.s3:
                self.spawn("rgw.r")
            for name in pools:
                connected.probe_pool(name, self.settings.pgs)
            if self.settings.mgr:
                admin.wait_until(
                    lambda: bool(connected.command("mgr dump")["available"]),
                    UP_TIMEOUT_S,
                    self.check,
                    "the manager being available",
                )
        if self.settings.s3:
            self.start_s3()

    def write_files(self) -> None:
        """Write the configuration, keys and links to classes."""
        layout, settings = self.layout, self.settings
        partial = layout.settings.with_suffix(".partial")
        partial.write_text(settings.to_json())
        partial.replace(layout.settings)
        layout.logs.mkdir(mode=0o700, exist_ok=True)
        layout.sockets(settings.fsid).mkdir(mode=0o700)
        for name in ("keys", "data", "crash"):
            (layout.folder / name).mkdir(mode=0o700)
        for name in ("mon.a", "mgr.x", "rgw.r", *(f"osd.{number}" for number in range(settings.osds))):
            layout.data(name).mkdir()
        classes.link(layout.classes, self.class_files)
        layout.conf.write_text(ceph_conf(layout, settings))
        users = user_caps(settings, classes.class_names(self.class_files) or [classes.CLASS_NAME])
        texts = {
            user: keyring_text(user, new_key(), caps)
            for user, caps in (daemon_caps(settings) | users).items()
        }
        for user, text in texts.items():
            write_secret(layout.keyring(user), text)
        write_secret(layout.keyring("all"), "".join(texts.values()))
        write_secret(layout.keyring("mon.a"), texts["mon."])

    def make_monitor(self) -> None:
        """Make the monitor's data, with all users."""
        layout = self.layout
        address = f"[v2:{HOST}:{self.settings.mon_port}]"
        daemons.run_tool(
            layout,
            *("monmaptool", "--create", "--fsid", self.settings.fsid, "--addv", "a", address),
            str(layout.monmap),
        )
        daemons.run_tool(
            layout,
            *("ceph-mon", "--mkfs", "-i", "a", "-c", str(layout.conf)),
            *("--monmap", str(layout.monmap), "--keyring", str(layout.keyring("all"))),
        )
        layout.keyring("all").unlink()

    def make_osd(self, number: int) -> None:
        """Make one OSD's data."""
        layout = self.layout
        daemons.run_tool(
            layout,
            *("ceph-osd", "--mkfs", "-i", str(number), "-c", str(layout.conf), "--no-mon-config"),
            *("--osd-uuid", self.osd_ids[number], "--monmap", str(layout.monmap)),
        )

    def start_osds(self, connected: admin.Admin) -> None:
        """Register the OSDs and start them."""
        for number, identity in enumerate(self.osd_ids):
            connected.command("osd new", uuid=identity, id=number)
        for number in range(self.settings.osds):
            self.spawn(f"osd.{number}")

    def start_s3(self) -> None:
        """Wait for radosgw, and make the user and the bucket."""
        self.wait_for_port("rgw.r", self.settings.s3_port)
        s3.create_user(self.layout)
        s3.create_bucket(self.layout, self.settings)

    def wait_for_port(self, name: str, port: int) -> None:
        """Wait until a daemon listens; another process on its port does not count."""
        pid = self.pids[name]
        what = f"{name} listening on port {port}; see {self.layout.logs / name}.log"
        admin.wait_until(lambda: daemons.listens(pid, port), UP_TIMEOUT_S, self.check, what)

    def spawn(self, name: str) -> None:
        """Start a daemon, and remember to watch it."""
        self.pids[name] = daemons.spawn(self.layout, name)

    def check(self) -> None:
        """Raise a `StoreError` if a daemon has ended."""
        daemons.check_alive(self.layout, self.pids.values())


def checked_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the absolute path, without symbolic links, if `ceph.conf` can hold it."""
    path = Path(folder).expanduser().resolve()
    if set("$;#\"'\\\n") & set(str(path)):
        raise InvalidRequest(f"{str(path)!r} holds a character that ceph.conf cannot")
    return path


def check_programs(*, mgr: bool, s3: bool) -> None:
    """Raise a `StoreError` that names what is to be installed, if something is."""
    missing = daemons.missing_programs(mgr=mgr, s3=s3)
    if missing:
        packages = f"{daemons.PACKAGES}{' ceph-mgr' if mgr else ''}"
        raise StoreError(
            f"Ceph is not installed here ({', '.join(missing)}); on Debian: "
            f"apt-get install --no-install-recommends {packages}"
        )


def claim(layout: Layout, settings: Settings) -> None:
    """Take the folder; a second `up` in it, even at the same time, fails."""
    layout.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    others = sorted(path.name for path in layout.folder.iterdir() if path.name != layout.logs.name)
    if layout.settings.name in others:
        raise AlreadyExists(f"{layout.folder} holds a cluster; `skyhook-casa ceph down` removes it")
    if others:
        raise AlreadyExists(f"{layout.folder} holds {others[0]!r}; an empty folder is needed")
    try:
        with open(layout.settings, "x") as file:
            file.write(settings.to_json())
    except FileExistsError as error:
        raise AlreadyExists(f"another process is starting a cluster in {layout.folder}") from error


def write_secret(file: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    file.touch(mode=0o600)
    file.write_text(text)
