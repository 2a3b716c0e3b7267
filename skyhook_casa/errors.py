"""Everything this project raises.

SkyhookError
├── InvalidRequest        also a ValueError; the caller asked for something impossible
│   ├── ExpressionError   a cut or definition that cannot be parsed or typed; shows the place
│   └── MissingColumn     a column that some files of the dataset do not have, and no fill given
├── NotFound              also a KeyError; no such dataset, version, column or object
├── AlreadyExists         the name is taken
├── IngestError           an input file cannot be read as events
├── CorruptObject         stored bytes contradict their checksums or their own directory
├── ResourceExhausted     an answer would pass a limit: memory, request size, list length
├── ProtocolError         client and service do not understand each other
├── QueryCancelled        the query was ended before its answer was whole
└── StoreError            also an OSError; the object store or catalog failed; a retry may help
    ├── ClassMissing      the storage has no object class of this version: read instead
    ├── RequestLost       what ran a request ended, or did not answer in time: read instead
    ├── AccessDenied      the user's key does not allow it
    ├── ServiceBusy       the service has too much to do; it says when to try again
    └── ServiceLost       the service cannot be reached, or broke off and did not come back

``kind`` is the code of an error on the wire and in the C++ engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar, Final

SHOWN_CHARS_MAX: Final = 160
"""Most characters of an expression that a message shows."""


class SkyhookError(Exception):
    """Base of every error of this project."""

    kind: ClassVar[str] = "internal"

    def __str__(self) -> str:
        """The message as it was given (a `KeyError` would quote it)."""
        return str(self.args[0]) if self.args else ""


class InvalidRequest(SkyhookError, ValueError):
    """The caller asked for something impossible."""

    kind = "invalid-request"


class ExpressionError(InvalidRequest):
    """An expression cannot be parsed or typed.

    Parameters
    ----------
    message : str
        What is wrong and what would be right.
    text : str
        The whole expression.
    start, stop : int
        The characters of `text` that are wrong: `start` is in, `stop` is out.
    """

    kind = "expression"

    def __init__(self, message: str, text: str = "", start: int = 0, stop: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.start = start
        self.stop = max(stop, start + 1)

    def __str__(self) -> str:
        """The message, the expression (of a long one the wrong place) and carets under that place."""
        if not self.text:
            return self.message
        first = max(0, self.start - SHOWN_CHARS_MAX // 2)
        shown = self.text[first : first + SHOWN_CHARS_MAX]
        before = "…" if first else ""
        after = "…" if first + SHOWN_CHARS_MAX < len(self.text) else ""
        blanks = " " * (len(before) + self.start - first)
        carets = "^" * min(self.stop - self.start, SHOWN_CHARS_MAX - (self.start - first))
        return f"{self.message}\n    {before}{shown}{after}\n    {blanks}{carets}"


class MissingColumn(InvalidRequest):
    """Some files of the dataset do not have a column that the query needs."""

    kind = "missing-column"


class NotFound(SkyhookError, KeyError):
    """There is no such dataset, version, column or object."""

    kind = "not-found"


class AlreadyExists(SkyhookError):
    """The name is taken."""

    kind = "already-exists"


class IngestError(SkyhookError):
    """An input file cannot be read as events.

    Parameters
    ----------
    message : str
        What is wrong.
    advice : str
        What to do about it, if that is known.
    """

    kind = "ingest"

    def __init__(self, message: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class CorruptObject(SkyhookError):
    """Stored bytes contradict their checksums or their own directory."""

    kind = "corrupt-object"


class ResourceExhausted(SkyhookError):
    """An answer would pass a limit."""

    kind = "resource-exhausted"


class StoreError(SkyhookError, OSError):
    """The object store or the catalog failed; a retry may help."""

    kind = "store"


class ClassMissing(StoreError):
    """The storage has no object class of this version; the objects can be read instead."""

    kind = "class-missing"


class RequestLost(StoreError):
    """The OSD that had a request ended or did not answer; perhaps because of it, so it is not sent again."""

    kind = "request-lost"


class AccessDenied(StoreError):
    """The user's key does not allow it; the message says what would."""

    kind = "access-denied"


class ProtocolError(SkyhookError):
    """Client and service do not understand each other: other versions, or a broken message."""

    kind = "protocol"


class QueryCancelled(SkyhookError):
    """The query, or the ingest, was ended before it was whole."""

    kind = "cancelled"


class ServiceBusy(StoreError):
    """The service has too much to do.

    Parameters
    ----------
    message : str
        What there is too much of.
    retry_after_s : float
        Seconds after which trying again makes sense.
    """

    kind = "busy"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceLost(StoreError):
    """The service cannot be reached, or broke off and did not come back."""

    kind = "service-lost"


def error_kinds() -> dict[str, type[SkyhookError]]:
    """Return the class of each `kind`."""
    found: dict[str, type[SkyhookError]] = {}
    classes: list[type[SkyhookError]] = [SkyhookError]
    for one in classes:
        found[one.kind] = one
        classes += one.__subclasses__()
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'a' or 'b'?"``, or an empty string if nothing is near `name`."""
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
