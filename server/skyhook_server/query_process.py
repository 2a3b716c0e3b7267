"""A process that plans queries and answers short ones for a service, see `skyhook_server.query_processes`."""

from __future__ import annotations

import gc
import socket
import sys
import threading

from skyhook_casa.errors import SkyhookError
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.errors import error_message

from . import logs
from .engine import Engine
from .errors import mistake
from .link import Link
from .metrics import Metrics
from .query_processes import ERROR, PLAN, READY
from .settings import Settings


def serve(link: Link, engine: Engine) -> None:
    """Answer what comes through a link, until it is closed."""
    try:
        while True:
            link.send(*_answered(engine, link.receive()[1]))
    except ConnectionError:
        return


def _answered(engine: Engine, question: bytes) -> tuple[int, bytes]:
    head, _, asked = question.partition(b"\n")
    query_id, _, client = head.decode().partition(" ")
    try:
        plan = engine.resolver.resolve(query_id, client, pb.QueryStart.FromString(asked))
    except SkyhookError as error:
        return ERROR, error_message(error).SerializeToString()
    except Exception as error:  # noqa: BLE001
        return ERROR, error_message(mistake(error)).SerializeToString()
    return PLAN, plan.SerializeToString()


def main() -> None:
    """Answer what comes through the sockets whose numbers are the arguments, until the service ends."""
    links = [Link(socket.socket(fileno=int(number))) for number in sys.argv[1:]]
    settings = Settings.model_validate_json(links[0].receive()[1])
    # The service logs what it passes on; from here come only warnings.
    logs.configure(settings.log_format, "error" if settings.log_level == "error" else "warning")
    engine = Engine(settings, Metrics())
    gc.collect()
    gc.freeze()
    links[0].send(READY, b"")
    threads = [threading.Thread(target=serve, args=(link, engine)) for link in links]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


if __name__ == "__main__":
    main()
