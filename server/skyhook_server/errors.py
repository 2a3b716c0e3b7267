"""How a call ends with an error that the client raises again."""

from __future__ import annotations

from typing import Any, NoReturn

from skyhook_casa.errors import SkyhookError
from skyhook_casa.protocol import ERROR_KEY
from skyhook_casa.protocol.errors import error_message, status_of

from .logs import get_logger

_log = get_logger(__name__)


def mistake(error: Exception) -> SkyhookError:
    """Return what is told of an error that only a mistake in the service can raise."""
    _log.error("mistake", exc_info=error)
    return SkyhookError(f"the service made a mistake: {type(error).__name__}: {error}")


async def abort_with(context: Any, error: SkyhookError, query_id: str = "") -> NoReturn:
    """End a call of `grpc.aio` with an error.

    Parameters
    ----------
    context : grpc.aio.ServicerContext
        Of the call.
    error : SkyhookError
        What the client shall raise.
    query_id : str
        The query, if it is one's.
    """
    message = error_message(error, query_id)
    context.set_trailing_metadata(((ERROR_KEY, message.SerializeToString()),))
    await context.abort(status_of(error), message.message[:1000])
    raise AssertionError("abort returns never")
