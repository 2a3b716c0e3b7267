"""The log: one structured line for each event, on stderr, the lines of other libraries among them.

Which query and client a line belongs to is bound once, with `bound`, and stands in every line that
is written below it, in all tasks and threads that were started there with their context.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import Processor

NOISY: Final = ("asyncio", "distributed", "grpc", "tornado", "urllib3", "botocore")
"""Loggers of libraries that tell more than an operator wants to know."""

_SECRETS: Final = (
    # A password in a URL: postgresql+psycopg://user:secret@host/db
    (re.compile(r"(://[^\s/:@]*):[^\s/@]*@"), r"\1:***@"),
    (
        re.compile(r"(?i)\b([\w-]*(?:password|passwd|secret|token|access_key|api_key)[\w-]*=)[^&\s'\"]+"),
        r"\1***",
    ),
)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger: ``log.info("split is ready", number=3)``.

    It writes through the logger of that name of the standard library, so that whoever has not called
    `configure` sees warnings as usual.
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def bound(**values: str) -> AbstractContextManager[None]:
    """Put values, such as ``query_id=…`` and ``client=…``, into every line that is written inside."""
    return structlog.contextvars.bound_contextvars(**values)


def configure(
    form: Literal["console", "json"] = "console", level: str = "info", stream: TextIO | None = None
) -> None:
    """Send everything that is logged in this process to stderr.

    Parameters
    ----------
    form : str
        `console` for people, or `json` for one object a line.
    level : str
        The least important lines that are written. Other libraries are held to warnings unless it is
        ``"debug"``.
    stream : text stream, optional
        Where to write instead.
    """
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(form, colors=out.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        # Dask hangs handlers of its own on its loggers.
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel("DEBUG" if level == "debug" else max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def without_secrets(text: str) -> str:
    """Return the text with passwords in URLs, and values of options such as ``secret=``, as ``***``."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def _formatter(form: str, colors: bool) -> logging.Formatter:
    """Return what makes a line of a record, be it ours or of another library."""
    render: list[Processor]
    if form == "json":
        render = [structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        plain = structlog.dev.plain_traceback
        render = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _hide_secrets,
            *render,
        ],
    )


def _hide_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _hidden(value)
    return event


def _hidden(value: Any) -> Any:
    """Return a value as it may be shown; what is neither a number nor a container becomes text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _hidden(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hidden(one) for one in value]
    return without_secrets(str(value))
