"""Addresses of datasets and queries: ``skyhook://dy?store=…&cut=…``, and what answers them in a process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from skyhook_casa.errors import InvalidRequest, did_you_mean
from skyhook_casa.lumimask import LumiMask
from skyhook_casa.query import Query as QueryValue
from skyhook_casa.query import split_columns

from ..client import Client
from ..kept import Kept
from ..opened import opened
from .answer import Answer

SCHEME: Final = "skyhook"
ANSWERS_MAX: Final = 16
"""Queries whose columns and partitions a process remembers."""


@dataclass(frozen=True, slots=True)
class DatasetAddress:
    """A query of a dataset of a store, as a text that any process can open.

    ``skyhook://NAME?store=…&catalog=…&version=…&cut=…&columns=a,b&define={…}&fill={…}&lumimask={…}``;
    the last three are JSON objects.
    """

    dataset: str
    store: str | None = None
    """Directory, or URL of a store or a service; None for what `skyhook_client.connect()` opens."""
    catalog: str | None = None
    version: int | None = None
    cut: str | None = None
    columns: tuple[str, ...] | None = None
    define: tuple[tuple[str, str], ...] = ()
    fill: tuple[tuple[str, Any], ...] = ()
    lumimask: LumiMask | None = None
    path: str = ""
    """What follows the dataset's name after a slash: a file of `SkyhookFileSystem`."""

    @classmethod
    def parse(cls, url: str) -> DatasetAddress:
        """Take an address apart.

        Raises
        ------
        InvalidRequest
            If it does not begin with ``skyhook://`` and a name, or has unknown options.
        """
        parts = urlsplit(url)
        if parts.scheme != SCHEME or not parts.netloc:
            raise InvalidRequest(
                f"{url!r} is no dataset of a store: skyhook://NAME is needed (files are ingested first)"
            )
        if parts.fragment:
            raise InvalidRequest(f"{url!r} has a '#'; write %23 instead")
        options: dict[str, Any] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if not value or name in options:
                raise InvalidRequest(f"{name!r} in {url!r} is {'given twice' if value else 'empty'}")
            options[name] = value
        for name in {"define", "fill", "lumimask"} & set(options):
            options[name] = _object(url, name, options[name])
        if "version" in options:
            options["version"] = _number(url, options["version"])
        path = unquote(parts.path).strip("/")
        return cls(unquote(parts.netloc), path=path).having(options, url)

    def having(self, options: Mapping[str, Any], where: str) -> DatasetAddress:
        """Return the address with options as `Client.query` takes them, and `store` and `catalog`.

        Raises
        ------
        InvalidRequest
            If an option is unknown, or there already and different.
        """
        changes: dict[str, Any] = {}
        for name, value in options.items():
            if name == "objects":
                raise InvalidRequest(
                    f"{where}: NanoEvents have whole collections; leave objects out and mask in the processor"
                )
            if name not in _OPTIONS:
                raise InvalidRequest(
                    f"{where}: unknown option {name!r}{did_you_mean(name, _OPTIONS)}; there are "
                    f"{', '.join(_OPTIONS)}"
                )
            if value is None:
                continue
            made = _OPTIONS[name](value)
            there = getattr(self, name)
            if there not in (None, (), made):
                raise InvalidRequest(f"{where}: {name} is {made!r}, but the address says {there!r}")
            changes[name] = made
        return replace(self, **changes)

    @property
    def url(self) -> str:
        """The text that `parse` takes apart into this."""
        options: dict[str, str] = {}
        for name in _OPTIONS:
            value = getattr(self, name)
            if name in ("define", "fill"):
                value = json.dumps(dict(value)) if value else None
            elif name == "columns":
                value = None if value is None else ",".join(value)
            elif name == "lumimask":
                value = None if value is None else json.dumps(value.to_dict(), separators=(",", ":"))
            if value is not None:
                options[name] = str(value)
        path = f"/{quote(self.path)}" if self.path else ""
        query = f"?{urlencode(options, quote_via=quote, safe='/:*')}" if options else ""
        return f"{SCHEME}://{quote(self.dataset, safe='')}{path}{query}"

    def client(self) -> Client:
        """Return a client of the store, the same for all of a process."""
        return opened(self.store, self.catalog)

    def answer(self) -> Answer:
        """Return the answer, the same for all of a process if the version is named.

        Raises
        ------
        NotFound
            If there is no such dataset, version or column.
        SkyhookError
            If the query is wrong in another way.
        """
        if self.version is None:
            return self._answer()
        return _answers.get(replace(self, path="").url, self._answer)

    def _answer(self) -> Answer:
        value = QueryValue.make(
            self.dataset,
            self.columns,
            self.cut,
            version=self.version,
            define=dict(self.define),
            fill=dict(self.fill),
            lumimask=self.lumimask,
        )
        return Answer(self.client().backend.ask(value))


def _object(url: str, name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{name} in {url!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"{name} in {url!r} is {found!r}; a JSON object is needed")
    return found


def _number(url: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidRequest(f"version in {url!r} is {text!r}; a whole number is needed")
    return int(text)


def _pairs(mapping: Any) -> tuple[tuple[str, Any], ...]:
    if not isinstance(mapping, Mapping):
        raise InvalidRequest(f"{mapping!r} is given; a dict is needed")
    return tuple(mapping.items())


_OPTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "store": os.fspath,
    "catalog": str,
    "version": lambda number: number,
    "cut": lambda text: text,
    "columns": split_columns,
    "define": _pairs,
    "fill": _pairs,
    "lumimask": LumiMask.of,
}
"""What an address can say, and how it is kept."""

_answers: Final[Kept[str, Answer]] = Kept(ANSWERS_MAX)
