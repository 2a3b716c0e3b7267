"""Who calls: the name a client gives itself, and the version of the protocol that it speaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from skyhook_casa import __version__
from skyhook_casa.errors import ProtocolError
from skyhook_casa.protocol import CLIENT_KEY, ERROR_KEY, PROTOCOL_KEY, PROTOCOL_VERSION
from skyhook_casa.protocol.errors import error_message, status_of

NAME_CHARS_MAX: Final = 128
"""Longer names of clients are cut."""
OURS: Final = "/skyhook_casa."
"""How the names of our calls begin; health checks and reflection ask for no version."""


def caller(context: Any) -> str:
    """Return the name of the client: what it says, else its address without the port."""
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_KEY and isinstance(value, str) and value:
            return value[:NAME_CHARS_MAX]
    peer: str = context.peer()
    return peer.rpartition(":")[0]


class VersionCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls of another version of the protocol."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        if not details.method.startswith(OURS):
            return await continuation(details)
        spoken = dict(details.invocation_metadata or ()).get(PROTOCOL_KEY)
        if spoken == str(PROTOCOL_VERSION):
            return await continuation(details)
        handler = await continuation(details)
        return handler if handler is None else _refusing(handler, spoken)


def _refusing(handler: Any, spoken: str | bytes | None) -> Any:
    """Return a handler of the same shape that refuses every call."""
    said = "no version" if spoken is None else f"version {spoken!s:.32}"
    error = ProtocolError(
        f"the client speaks {said} of the protocol (metadata {PROTOCOL_KEY}); this service, "
        f"skyhook_casa {__version__}, speaks version {PROTOCOL_VERSION}: "
        "install the same release on both sides"
    )

    async def refuse(context: Any) -> None:
        context.set_trailing_metadata(((ERROR_KEY, error_message(error).SerializeToString()),))
        await context.abort(status_of(error), str(error))

    async def unary(request: Any, context: Any) -> Any:
        await refuse(context)

    async def stream(request: Any, context: Any) -> Any:
        await refuse(context)
        yield

    shapes = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = shapes[handler.request_streaming, handler.response_streaming]
    answer = stream if handler.response_streaming else unary
    return make(answer, handler.request_deserializer, handler.response_serializer)
