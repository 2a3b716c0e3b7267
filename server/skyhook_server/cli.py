"""``skyhook-casa serve``: runs the service until a signal asks it to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import Final

from prometheus_client import disable_created_metrics

from . import logs
from .service import Service
from .settings import Settings, split_address

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = logs.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT, then let running queries end and return.

    New queries are refused from then on. A second signal ends the process at once.

    Raises
    ------
    SkyhookError
        If the service cannot start.
    """
    logs.configure(settings.log_format, settings.log_level)
    # They are a second number beside each counter, which nobody looks at.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stopping = _on_signals()
    service = Service(settings)
    try:
        await service.start()
        # What is there by now stays: looking through it for garbage would hold up queries.
        gc.collect()
        gc.freeze()
        print(ready_line(service, settings), flush=True)
        await stopping.wait()
        _log.info("stopping; running queries may end", drain_s=settings.drain_s)
        await service.stop(drain=True)
    except BaseException:
        await service.stop(drain=False)
        raise


def ready_line(service: Service, settings: Settings) -> str:
    """Return what scripts and people wait for: that the service is ready, and where it is."""
    store = logs.without_secrets(settings.store)
    metrics = ""
    if settings.metrics_listen is not None:
        host, _ = split_address(settings.metrics_listen)
        shown = f"[{host}]" if ":" in host else host
        metrics = f" (metrics http://{shown}:{service.metrics_port}/metrics)"
    return f"skyhook-casa serves {store} at {service.address}{metrics}"


def _on_signals() -> asyncio.Event:
    """Return what the first signal sets; the second finds the system's own way to end a process."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        stopping.set()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, _end_now)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    return stopping


def _end_now(number: int, frame: object) -> None:
    # Threads that scan would hold up an ordinary end, and process 1 of a container has no default way.
    os._exit(128 + number)
