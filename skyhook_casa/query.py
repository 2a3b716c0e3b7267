"""What was asked: a frozen value that travels as versioned JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .errors import InvalidRequest
from .lumimask import LumiMask

QUERY_VERSION: Final = 1
"""Version of the JSON form."""
QUERY_BYTES_MAX: Final = 1 << 20
"""Longest JSON form that is read."""
COUNT_MAX: Final = 2**63 - 1
"""Most events, or partitions, that can be named."""
VERSION_MAX: Final = 2**31 - 1
"""Highest number of a version, in a catalog."""

_encode = json.JSONEncoder(allow_nan=False).encode
_encoded: Final = json.JSONEncoder(allow_nan=False).encode

Fill = bool | int | float
"""The value of a column in files that do not have it."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question to one version of one dataset. `make` builds it from what people write."""

    dataset: str
    """Name of the dataset."""
    columns: tuple[str, ...] | None = None
    """Names, globs (`Muon_*`), `Muon.pt`, whole collections, defined names; None for all."""
    cut: str | None = None
    """Condition on an event; None keeps every event."""
    version: int | None = None
    """Number of the version; None for the latest."""
    define: tuple[tuple[str, str], ...] = ()
    """Derived columns: name and expression, in order; later ones may use earlier ones."""
    objects: tuple[tuple[str, str], ...] = ()
    """Thinning: collection, and condition on its elements."""
    fill: tuple[tuple[str, Fill], ...] = ()
    """Column, and its value in files that do not have it."""
    limit: int | None = None
    """Most events to deliver, the first in dataset order; None for no limit."""
    partitions: tuple[int, int] | None = None
    """Partitions to ask, numbered from 0: the first is in, the second is out; None for all."""

    lumimask: LumiMask | None = None
    """Luminosity sections whose events are kept; None for all."""

    def __post_init__(self) -> None:
        _check_text("dataset", self.dataset)
        for name in self.columns or ():
            _check_text("a column", name)
        for what, pairs in (("define", self.define), ("objects", self.objects)):
            if pairs:
                _check_texts(what, pairs)
        for name, value in self.fill:
            if not isinstance(value, (bool, int, float)):
                raise InvalidRequest(f"fill[{name!r}] is {value!r}; a number or a bool is needed")
        if self.cut is not None:
            _check_text("cut", self.cut)
        if self.limit is not None:
            _check_whole("limit", self.limit, 0)
        if self.version is not None:
            _check_whole("version", self.version, 1, VERSION_MAX)
        if self.partitions is not None:
            _check_range("partitions", self.partitions)

    @property
    def selects(self) -> bool:
        """Whether a condition may drop events."""
        return self.cut is not None or self.lumimask is not None

    @classmethod
    def make(
        cls,
        dataset: str,
        columns: str | Iterable[str] | None = None,
        cut: str | None = None,
        *,
        version: int | None = None,
        define: Mapping[str, str] | None = None,
        objects: Mapping[str, str] | None = None,
        fill: Mapping[str, Fill] | None = None,
        limit: int | None = None,
        partitions: Sequence[int] | None = None,
        lumimask: LumiMask | Mapping[str, Any] | None = None,
    ) -> Query:
        """Return the query; `columns` may be a list or a text such as ``"Muon_*,MET_pt"``.

        Raises
        ------
        InvalidRequest
            If a value has the wrong type or is out of range.
        """
        return cls(
            dataset,
            split_columns(columns),
            cut if cut is None or not isinstance(cut, str) or cut.strip() else None,
            version,
            _pairs("define", define),
            _pairs("objects", objects),
            _pairs("fill", fill),
            limit,
            tuple(partitions) if isinstance(partitions, list) else partitions,  # type: ignore[arg-type]
            lumimask if lumimask is None or isinstance(lumimask, LumiMask) else LumiMask.make(lumimask),
        )

    def to_json(self) -> str:
        """Return the versioned JSON form."""
        body = {
            "query": QUERY_VERSION,
            "dataset": self.dataset,
            "columns": self.columns,
            "cut": self.cut,
            "version": self.version,
            "define": dict(self.define),
            "objects": dict(self.objects),
            "fill": {name: fill_to_json(value) for name, value in self.fill},
            "limit": self.limit,
        }
        if self.partitions is not None:
            body["partitions"] = self.partitions
        if self.lumimask is not None:
            body["lumimask"] = self.lumimask.to_dict()
        return _encode(body)

    @classmethod
    def from_json(cls, text: str | bytes) -> Query:
        """Return the query that `to_json` wrote.

        Raises
        ------
        InvalidRequest
            If the text is too long, is not JSON, has another version, or has wrong fields.
        """
        if len(text) > QUERY_BYTES_MAX:
            raise InvalidRequest(f"the query is {len(text)} bytes of JSON; {QUERY_BYTES_MAX} are allowed")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"the query is not JSON: {error}") from error
        if not isinstance(body, dict) or body.pop("query", None) != QUERY_VERSION:
            raise InvalidRequest(
                f'the query is not of version {QUERY_VERSION}: {{"query": {QUERY_VERSION}, …}} is needed'
            )
        unknown = body.keys() - cls.__dataclass_fields__.keys()
        if unknown or "dataset" not in body:
            raise InvalidRequest(
                f"the query has unknown fields {sorted(unknown)}" if unknown else "the query has no dataset"
            )
        if not isinstance(body.get("columns"), (list, type(None))):
            raise InvalidRequest(f"columns is {body['columns']!r}; a list of names is needed")
        if isinstance(body.get("fill"), dict):
            body["fill"] = {name: fill_from_json(name, value) for name, value in body["fill"].items()}
        return cls.make(**body)


def split_columns(columns: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return column names from a list, or from a text in which commas separate them."""
    if columns is None:
        return None
    if isinstance(columns, str):
        columns = [part.strip() for part in columns.split(",") if part.strip()]
    try:
        found = tuple(columns)
    except TypeError:
        raise InvalidRequest(f"columns is {columns!r}; a list of names is needed") from None
    if not found:
        raise InvalidRequest("columns is empty; name at least one, or leave it out for all of them")
    return found


def _pairs(what: str, mapping: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    if mapping is None or mapping == {}:
        return ()
    if not isinstance(mapping, Mapping):
        raise InvalidRequest(f"{what} is {mapping!r}; a dict is needed")
    return tuple(mapping.items())


def fill_to_json(value: Any) -> Any:
    """Return a fill value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def fill_from_json(name: str, value: Any) -> Any:
    """Return the fill value of which `fill_to_json` made `value`.

    Raises
    ------
    InvalidRequest
        If there is none.
    """
    if isinstance(value, dict):
        if set(value) != {"float"} or value["float"] not in ("nan", "inf", "-inf"):
            raise InvalidRequest(f"fill[{name!r}] is {value!r}; a number or a bool is needed")
        return float(value["float"])
    return value


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(f"{what} is {value!r}; a text is needed")
    if not value.strip():
        raise InvalidRequest(f"{what} is empty")


def _check_texts(what: str, pairs: tuple[tuple[str, str], ...]) -> None:
    for name, text in pairs:
        _check_text(f"a name in {what}", name)
        _check_text(f"{what}[{name!r}]", text)
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise InvalidRequest(f"{what} names {names} twice")


def _check_whole(what: str, value: object, least: int, most: int = COUNT_MAX) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidRequest(f"{what} is {value!r}; a whole number of at least {least} is needed")
    if value > most:
        raise InvalidRequest(f"{what} is {value}; at most {most} is possible")


def _check_range(what: str, value: object) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise InvalidRequest(f"{what} is {value!r}; the first, and one past the last, are needed")
    first, stop = value
    _check_whole(f"the first of {what}", first, 0)
    _check_whole(f"the end of {what}", stop, first + 1)
