"""Users of a cluster, their keys, and what each may do."""

from __future__ import annotations

import base64
import os
import struct
import time
from collections.abc import Iterable, Mapping
from typing import Final

from .config import POOL, RGW_NAME, S3_POOL, Settings

Caps = Mapping[str, str]
"""What a user may do, by kind of daemon: ``{"mon": "allow r", "osd": "allow rwx pool=skyhook"}``."""

KEY_BYTES: Final = 16
AES: Final = 1
ANALYST_METHODS: Final = ("info", "scan", "verify")
"""What the user `client.analyst` may run."""


def new_key() -> str:
    """Return a new key as keyrings hold it."""
    header = struct.pack("<HIIH", AES, int(time.time()), 0, KEY_BYTES)
    return base64.b64encode(header + os.urandom(KEY_BYTES)).decode()


def keyring_text(user: str, key: str, caps: Caps) -> str:
    """Return a user's part of a keyring."""
    lines = (f'\tcaps {daemon} = "{cap}"\n' for daemon, cap in caps.items())
    return f"[{user}]\n\tkey = {key}\n{''.join(lines)}"


def daemon_caps(settings: Settings) -> dict[str, Caps]:
    """Return the daemons of a cluster with their caps."""
    everything = "allow *"
    caps: dict[str, Caps] = {"mon.": {"mon": everything}}
    for number in range(settings.osds):
        caps[f"osd.{number}"] = {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": everything}
    if settings.mgr:
        caps["mgr.x"] = {"mon": "allow profile mgr", "osd": everything, "mds": everything}
    if settings.s3:
        caps[RGW_NAME] = {"mon": "allow rw", "osd": "allow rwx", "mgr": "allow rw"}
    return caps


def user_caps(settings: Settings, class_names: Iterable[str]) -> dict[str, Caps]:
    """Return the users of a cluster with their caps.

    `client.skyhook` is the key of a service: it reads and writes the pool `skyhook`, and reads the
    objects of S3. `client.analyst` runs the scans of our object classes, which read for it; it
    neither reads nor writes nor lists objects itself.
    """
    everything = "allow *"
    service = [f"allow rwx pool={POOL}", *([f"allow rx pool={S3_POOL}"] if settings.s3 else [])]
    pools = [POOL, *([S3_POOL] if settings.s3 else [])]
    scans = [
        f"allow class {name} {method} pool={pool}"
        for name in class_names
        for method in ANALYST_METHODS
        for pool in pools
    ]
    return {
        "client.admin": {"mon": everything, "osd": everything, "mgr": everything, "mds": everything},
        "client.skyhook": {"mon": "allow r", "osd": ", ".join(service)},
        "client.analyst": {"mon": "allow r", "osd": ", ".join(scans)},
    }
