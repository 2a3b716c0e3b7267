"""``skyhook-casa ceph up DIR``: a real Ceph cluster on this machine, for development and tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import NotFound
from ..report import human_bytes
from .config import OSDS_MAX

if TYPE_CHECKING:
    from .cluster import Cluster

app = typer.Typer(
    no_args_is_help=True, help="A real Ceph cluster on this machine, for development and tests."
)

Folder = Annotated[Path, typer.Argument(help="Folder of the cluster.", show_default=False)]


@app.command()
def up(
    folder: Folder,
    osds: Annotated[int, typer.Option(min=1, max=OSDS_MAX, help="Number of OSDs.")] = 3,
    bluestore: Annotated[
        bool, typer.Option("--bluestore/--memstore", help="Keep objects in files, or in memory.")
    ] = True,
    s3: Annotated[bool, typer.Option("--s3", help="Start a radosgw too.")] = False,
    mgr: Annotated[
        bool, typer.Option("--mgr/--no-mgr", help="Start a manager too, which `ceph df` and quotas need.")
    ] = False,
    class_file: Annotated[
        list[Path] | None,
        typer.Option(help="Object class to load; by default those of this project; repeatable."),
    ] = None,
) -> None:
    """Start a cluster on 127.0.0.1 with a pool `skyhook`, and print how to use it."""
    from .cluster import Cluster  # 60 ms that the other commands need not wait for

    start = time.monotonic()
    store = "bluestore" if bluestore else "memstore"
    cluster = Cluster.up(folder, osds=osds, store=store, s3=s3, mgr=mgr, class_files=class_file)
    typer.echo(
        f"Ceph runs in {cluster.folder}: {osds} OSDs ({store}), up in {time.monotonic() - start:.1f} s"
    )
    for line in usage(cluster):
        typer.echo(line)


@app.command()
def down(folder: Folder) -> None:
    """End the cluster at once, and delete all it holds."""
    _at(folder).down()


@app.command()
def status(folder: Folder) -> None:
    """Show what runs, and how to use it."""
    cluster = _at(folder)
    pids = {daemon.name: daemon.pid for daemon in cluster.daemons()}
    for name in cluster.daemon_names():
        running = (
            f"process {pids[name]:>8}  {human_bytes(cluster.rss_bytes(name)):>9}" if name in pids else "-"
        )
        typer.echo(f"{name:<6}  {running}")
    missing = [name for name in cluster.daemon_names() if name not in pids]
    if missing:
        raise NotFound(f"not all of the cluster runs: {', '.join(missing)}; see {cluster.layout.logs}")
    with cluster.admin() as connected:
        typer.echo(f"health  {connected.command('health')['status']}")
    for line in usage(cluster):
        typer.echo(line)


def usage(cluster: Cluster) -> list[str]:
    """Return lines that say how to reach a cluster."""
    lines = [f"store   {cluster.url}"]
    if cluster.settings.s3:
        (variable, file), *_ = cluster.s3_environment().items()
        lines += [f"store   {cluster.s3_url}", f"        keys: export {variable}={file}"]
    names = cluster.class_names()
    lines += [
        f"class   {', '.join(names) if names else 'none; cuts run outside the OSDs'}",
        "users   client.admin; client.skyhook reads and writes the pool; client.analyst only scans",
        f"end     skyhook-casa ceph down {cluster.folder}",
    ]
    return lines


def _at(folder: Path) -> Cluster:
    from .cluster import Cluster

    return Cluster.at(folder)
