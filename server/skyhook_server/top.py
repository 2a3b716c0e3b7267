"""``skyhook-casa top``: what the service does just now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from skyhook_casa.report import counted, human_bytes

if TYPE_CHECKING:
    from skyhook_casa.protocol.delivery_pb2 import RunningQuery, ServiceStatus

PIPED_COLUMNS: Final = 200
"""Width of the table where no terminal gives one."""
CUT_CHARS_MAX: Final = 40
"""Most characters of a cut that are shown."""


def top(status: Callable[[], ServiceStatus], *, once: bool = False, every_s: float = 1.0) -> None:
    """Show a table of the running queries, renewed until Ctrl-C.

    Parameters
    ----------
    status : callable
        Asks the service.
    once : bool
        Print the table and return.
    every_s : float
        Seconds between two looks.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_COLUMNS)
    if once:
        console.print(view(status()))
        return
    try:
        with Live(view(status()), console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                time.sleep(every_s)
                live.update(view(status()), refresh=True)
    except KeyboardInterrupt:
        return


def view(status: ServiceStatus) -> Group:
    """Return what is shown: a few lines on the service, and a line for each query."""
    return Group(*(Text(line) for line in _lines(status)), Text(), _table(status))


def _lines(status: ServiceStatus) -> list[str]:
    draining = ", stopping" if status.draining else ""
    threads = counted(status.threads, "thread")
    looked = status.cache_hits + status.cache_misses
    rate = f", {status.cache_hits / looked:.0%} hits" if looked else ""
    return [
        f"skyhook-casa {status.server}, up {_duration(status.uptime_s)}{draining}",
        f"{counted(status.workers, 'worker')}, {threads}",
        f"queries: {len(status.queries):,} running, {status.queries_done:,} done, "
        f"{status.queries_failed:,} failed, {status.queries_refused:,} refused",
        f"{human_bytes(status.held_bytes)} wait for clients; cache {human_bytes(status.cache_bytes)}{rate}",
    ]


def _table(status: ServiceStatus) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("QUERY", "CLIENT", "DATASET", "CUT"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("AGE", "DONE", "EVENTS/S", "SENT", "WAITS", "TASKS"):
        table.add_column(name, no_wrap=True, justify="right")
    for query in sorted(status.queries, key=lambda one: -one.age_s):
        table.add_row(*_cells(query))
    return table


def _cells(query: RunningQuery) -> list[Text]:
    cut = query.cut if len(query.cut) <= CUT_CHARS_MAX else query.cut[: CUT_CHARS_MAX - 1] + "…"
    done = f"{query.events_done / query.events:.0%}" if query.events else "-"
    rate = f"{query.events_done / query.age_s:,.0f}" if query.age_s > 0 else "-"
    cells = [
        *(query.query_id, query.client, query.dataset, cut, _duration(query.age_s), done, rate),
        *(human_bytes(query.bytes_out), human_bytes(query.held_bytes), str(query.running)),
    ]
    # As plain texts: what users wrote is no markup.
    return [Text(cell) for cell in cells]


def _duration(seconds: float) -> str:
    """Return a time such as ``4.2 s``, ``3:05`` or ``1 d 2:03:04``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
