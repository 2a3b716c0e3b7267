"""Errors on the wire: the service's exceptions are raised again by the client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from ..errors import (
    ExpressionError,
    ProtocolError,
    ServiceBusy,
    ServiceLost,
    SkyhookError,
    error_kinds,
)
from . import ERROR_KEY
from .delivery_pb2 import Error

MESSAGE_CHARS_MAX: Final = 4000
"""Longest text of an error that travels: trailing metadata has room for 8 KiB."""
CODES: Final = {
    "invalid-request": grpc.StatusCode.INVALID_ARGUMENT,
    "expression": grpc.StatusCode.INVALID_ARGUMENT,
    "missing-column": grpc.StatusCode.INVALID_ARGUMENT,
    "not-found": grpc.StatusCode.NOT_FOUND,
    "already-exists": grpc.StatusCode.ALREADY_EXISTS,
    "ingest": grpc.StatusCode.FAILED_PRECONDITION,
    "corrupt-object": grpc.StatusCode.DATA_LOSS,
    "resource-exhausted": grpc.StatusCode.OUT_OF_RANGE,
    "busy": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "cancelled": grpc.StatusCode.CANCELLED,
    "protocol": grpc.StatusCode.FAILED_PRECONDITION,
    "service-lost": grpc.StatusCode.UNAVAILABLE,
    "store": grpc.StatusCode.UNAVAILABLE,
    "request-lost": grpc.StatusCode.UNAVAILABLE,
    "class-missing": grpc.StatusCode.FAILED_PRECONDITION,
    "access-denied": grpc.StatusCode.PERMISSION_DENIED,
    "internal": grpc.StatusCode.INTERNAL,
}
"""The gRPC status of each kind of error."""


def error_message(error: SkyhookError, query_id: str = "") -> Error:
    """Return what tells of an error."""
    message = Error(kind=error.kind, query_id=query_id)
    if isinstance(error, ExpressionError):
        text = error.text[:MESSAGE_CHARS_MAX]
        message.MergeFrom(
            Error(message=error.message, text=text, start=error.start, stop=min(error.stop, len(text) + 1))
        )
    else:
        message.message = str(error)
    if isinstance(error, ServiceBusy):
        message.retry_after_s = error.retry_after_s
    if len(message.message) > MESSAGE_CHARS_MAX:
        message.message = message.message[:MESSAGE_CHARS_MAX] + " …"
    return message


def from_error_message(message: Error) -> SkyhookError:
    """Return the exception that the message tells of."""
    kind = error_kinds().get(message.kind, SkyhookError)
    if kind is ExpressionError:
        error: SkyhookError = ExpressionError(message.message, message.text, message.start, message.stop)
    elif kind is ServiceBusy:
        error = ServiceBusy(message.message, message.retry_after_s)
    else:
        error = kind(message.message)
    if message.query_id:
        error.add_note(f"query {message.query_id}")
    return error


def status_of(error: SkyhookError) -> grpc.StatusCode:
    """Return the gRPC status that goes with an error."""
    return CODES.get(error.kind, grpc.StatusCode.INTERNAL)


def from_rpc_error(error: grpc.RpcError, where: str) -> SkyhookError:
    """Return the exception that a failed call tells of.

    Parameters
    ----------
    error : grpc.RpcError
        What the call raised.
    where : str
        Address of the service, for errors that do not come from it.
    """
    call: Any = error
    told = _told(call.trailing_metadata() or ())
    if told is not None:
        return from_error_message(told)
    code = call.code()
    # Some ways to lose a connection have no code of their own; neither have mistakes of the service.
    gone = code is grpc.StatusCode.UNKNOWN and "Stream removed" in (call.details() or "")
    if gone or code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return ServiceLost(f"the service at {where} cannot be reached: {call.details()}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError(
            f"what answers at {where} is no delivery service, or an older one; "
            "use the address that `skyhook-casa serve` printed: its Flight port is another"
        )
    return SkyhookError(f"the service at {where} failed: {code.name.lower()}: {call.details()}")


def _told(metadata: Iterable[tuple[str, str | bytes]]) -> Error | None:
    for key, value in metadata:
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                told: Error = Error.FromString(value)
            except DecodeError:
                return None
            return told
    return None
