"""Python functions as derived columns: named by import path, never pickled, imported only if allowed."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from .errors import AccessDenied, InvalidRequest
from .schema import DTYPE_CODE

PER_EVENT: Final = "event"
OWN_LIST: Final = "list"
_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Function:
    """A function of an awkward record array of events that returns one array, as long as the events.

    Raises
    ------
    InvalidRequest
        If a value is none of those that are possible.
    """

    path: str
    """Where it is: ``package.module:function``."""
    columns: tuple[str, ...]
    """Names of the columns that it is given, flat as ``events.Muon_pt``; definitions may be among them."""
    dtype: str = "float32"
    """Type of the numbers that it returns."""
    per: str = PER_EVENT
    """What it returns: a number for each ``event``, one for each element of a list, such as ``Muon``, or
    a ``list`` of its own for each event."""
    optional: bool = False
    """Whether numbers for each event may be missing (None)."""

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not _PATH.fullmatch(self.path):
            raise InvalidRequest(
                f"function {self.path!r} is no import path such as 'package.module:function'"
            )
        if not _are_names(self.columns):
            raise InvalidRequest(f"columns of {self.path} are {self.columns!r}; names of columns are needed")
        object.__setattr__(self, "columns", tuple(self.columns))
        if self.dtype not in DTYPE_CODE:
            raise InvalidRequest(f"dtype of {self.path} is {self.dtype!r}; one of {', '.join(DTYPE_CODE)}")
        if not _is_name(self.per):
            raise InvalidRequest(f"per of {self.path} is {self.per!r}; 'event', 'list' or a list's name")
        if self.optional and self.per != PER_EVENT:
            raise InvalidRequest(f"{self.path}: only numbers for each event may be missing")

    def to_text(self) -> str:
        """Return the form in which it is stored and travels; no expression looks like it."""
        return json.dumps({"function": asdict(self)}, sort_keys=True)


def function_of(text: str) -> Function | None:
    """Return the function that a definition is; None for an expression.

    Raises
    ------
    InvalidRequest
        If it is neither.
    """
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)["function"]
        return Function(**{**found, "columns": tuple(found["columns"])})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest(f"a definition is no function: {error}") from error


def shown(text: str) -> str:
    """Return a definition as people write it: an expression, or a function with its columns."""
    function = function_of(text)
    return text if function is None else f"{function.path}({', '.join(function.columns)})"


def load(path: str, allowed: Sequence[str]) -> Callable[[Any], Any]:
    """Import a function.

    Parameters
    ----------
    allowed : sequence of str
        Modules and packages that may be imported.

    Raises
    ------
    AccessDenied
        If it lies in no module that is allowed.
    InvalidRequest
        If there is no such function.
    """
    module, _, name = path.partition(":")
    if not any(module == one or module.startswith(one + ".") for one in allowed):
        shown = ", ".join(allowed) or "none"
        raise AccessDenied(f"function {path} may not be imported: allowed are modules {shown}")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidRequest(f"there is no function {path}: {error}") from error
    if not callable(function):
        raise InvalidRequest(f"{path} is a {type(function).__name__}, no function")
    found: Callable[[Any], Any] = function
    return found


def _are_names(names: object) -> bool:
    return isinstance(names, (tuple, list)) and bool(names) and all(map(_is_name, names))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier()
