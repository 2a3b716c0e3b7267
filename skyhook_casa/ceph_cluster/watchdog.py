"""Ends a cluster when the process that wanted it has ended, however that came.

Run by `Cluster.up(…, guard=PID)` as ``python -m skyhook_casa.ceph_cluster.watchdog PID CONF``.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Final

from .cluster import Cluster

POLL_S: Final = 1.0


def watch(pid: int, folder: Path) -> None:
    """Wait until process `pid` ends, then end the cluster in `folder`; or until the cluster is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        handle = None
    while handle is not None and not select.select([handle], [], [], POLL_S)[0]:
        if not Cluster.exists(folder):
            return
    if Cluster.exists(folder):
        Cluster.at(folder).down()


if __name__ == "__main__":
    watch(int(sys.argv[1]), Path(sys.argv[2]).parent)
