"""NanoEvents over an answer: coffea asks for buffers by name, and gets those that were fetched."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from typing import Any

import awkward as ak
from awkward.contents import ListOffsetArray, NumpyArray
from awkward.index import Index64
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from coffea.nanoevents.mapping.base import BaseSourceMapping
from coffea.nanoevents.trace import trace as coffea_trace
from coffea.nanoevents.util import quote, tuple_to_key

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.report import Report

from ..backend import Question
from .answer import Answer, Field, Part

MODES = ("virtual", "eager")
TREE = "Events"
"""What coffea calls the place of columns inside a source, and the title of NanoAOD's tree."""

Told = Callable[[Report], None]
Preload = Iterable[str] | Callable[[Field], bool] | None
"""Columns to fetch at once: names, or a function that says of each whether it is one."""


class EventMapping(BaseSourceMapping):  # type: ignore[misc]
    """Gives coffea the buffers of a part of an answer."""

    def __init__(
        self,
        part: Part,
        virtual: bool = True,
        access_log: list[Any] | None = None,
        buffer_cache: MutableMapping[str, Any] | None = None,
    ) -> None:
        self.part = part
        super().__init__(
            None,
            0,
            len(part),
            cache={},
            access_log=access_log,
            file_handle=part,
            virtual=virtual,
            buffer_cache=buffer_cache,
        )
        self._arrays: dict[str, Any] = {}

    @classmethod
    def _extract_base_form(cls, source: Answer) -> dict[str, Any]:
        return base_form(source.fields.values())

    def key_root(self) -> str:
        """Return what keys of this kind of source begin with."""
        return "EventMapping:"

    def get_column_handle(self, columnsource: Part, name: str, allow_missing: bool) -> str | None:
        """Return what `extract_column` takes for a column."""
        if name in columnsource.answer.fields:
            return name
        if allow_missing:
            return None
        raise InvalidRequest(f"the answer has no column {name!r}, though the schema made from it says so")

    def extract_column(
        self, columnhandle: str | None, start: int, stop: int, allow_missing: bool, **kwargs: Any
    ) -> Any:
        """Return a column as an array; it is fetched if it was not before."""
        if columnhandle is None:
            return ak.Array(_all_missing(stop - start))
        if columnhandle not in self._arrays:
            values, offsets = self.part.column(columnhandle)
            content = NumpyArray(values)
            self._arrays[columnhandle] = ak.Array(
                content if offsets is None else ListOffsetArray(Index64(offsets), content)
            )
        return self._arrays[columnhandle]

    def _column_source(self, uuid: str, path_in_source: str) -> Part:
        return self.part

    def __len__(self) -> int:
        return len(self.part)

    def __iter__(self) -> Iterator[str]:
        return iter(self.part.answer.fields)


def base_form(fields: Iterable[Field]) -> dict[str, Any]:
    """Return the form that coffea's schemas begin with, as they get it for the same columns in ROOT."""
    forms = {field.name: _form(field) for field in fields if not set(",!") & set(field.name)}
    return {
        "class": "RecordArray",
        "fields": list(forms),
        "contents": list(forms.values()),
        "parameters": {"__doc__": TREE},
        "form_key": None,
        "typenames": {field.name: field.typename for field in fields},
    }


def nanoevents(
    part: Part,
    schemaclass: Any = None,
    metadata: Mapping[str, Any] | None = None,
    mode: str = "virtual",
    preload: Preload = None,
    access_log: list[Any] | None = None,
    buffer_cache: MutableMapping[str, Any] | None = None,
) -> Any:
    """Return NanoEvents of a part of an answer.

    Parameters
    ----------
    part : Part
        The events.
    schemaclass : coffea schema, optional
        How columns become objects; by default `NanoAODSchema`.
    metadata : mapping, optional
        What `events.metadata` holds.
    mode : str
        ``"virtual"``: columns are fetched when they are touched. ``"eager"``: all of them at once, now.
    preload : iterable of str, or callable, optional
        Columns to fetch at once, now: names, or a function of a column (with `name`, `dtype`, …).
    access_log : list, optional
        Is told the columns that are touched.
    buffer_cache : mapping, optional
        Where buffers are kept for others, by key.

    Raises
    ------
    InvalidRequest
        If the mode is unknown.
    SkyhookError
        If events cannot be read.
    """
    if mode not in MODES:
        raise InvalidRequest(f"mode is {mode!r}; {' or '.join(map(repr, MODES))} is needed")
    answer = part.answer
    part.fetch(answer.fields if mode == "eager" else _preloaded(answer, preload))
    form = base_form(answer.fields.values())
    form["parameters"]["metadata"] = dict(metadata or {})
    schema = _quiet(NanoAODSchema if schemaclass is None else schemaclass, answer.narrow)(form)
    mapping = EventMapping(part, mode == "virtual", access_log, buffer_cache)
    key = tuple_to_key((str(part.uuid), TREE, f"0-{len(part)}"))
    return NanoEventsFactory(schema, mapping, key, mode=mode).events()


def touched(
    answer: Answer,
    process: Callable[[Any], Any],
    schemaclass: Any = None,
    metadata: Mapping[str, Any] | None = None,
    trace: Callable[..., Iterable[str]] | None = None,
) -> frozenset[str]:
    """Return the columns that `process` touches, found on events of which there are none."""
    finds = coffea_trace if trace is None else trace
    return frozenset(finds(process, nanoevents(answer.nothing(), schemaclass, metadata)))


def of_query(
    question: Question, told: Told, schemaclass: Any = None, mode: str = "virtual", **options: Any
) -> Any:
    """Return NanoEvents of the whole answer of a query; see `Query.nanoevents`."""
    answer = Answer(question)
    return _events(answer.part(), told, schemaclass, mode, _found(answer, schemaclass, options))


def of_partitions(
    question: Question,
    told: Told,
    events_max: int = 0,
    schemaclass: Any = None,
    mode: str = "virtual",
    **options: Any,
) -> Iterator[Any]:
    """Return an iterator over NanoEvents of partitions; see `Query.nanoevents_partitions`."""
    if question.value.limit is not None:
        raise InvalidRequest(
            f"limit={question.value.limit} counts events of all partitions; leave it out, or use nanoevents()"
        )
    answer = Answer(question)
    found = _found(answer, schemaclass, options)
    ranges = grouped(answer.bounds, events_max)
    return (_events(answer.part(entries), told, schemaclass, mode, found) for entries in ranges)


def grouped(bounds: Sequence[int], events_max: int) -> list[tuple[int, int]]:
    """Return ranges of events that are whole partitions, each of one or of at most `events_max` events."""
    ranges: list[tuple[int, int]] = []
    for start, stop in itertools.pairwise(bounds):
        if start == stop:
            continue
        if ranges and stop - ranges[-1][0] <= events_max:
            ranges[-1] = ranges[-1][0], stop
        else:
            ranges.append((start, stop))
    return ranges


def _events(part: Part, told: Told, schemaclass: Any, mode: str, options: dict[str, Any]) -> Any:
    part.selection.told = told
    return nanoevents(part, schemaclass, mode=mode, **options)


def _found(answer: Answer, schemaclass: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with what is not given, and with the columns that `trace` touches."""
    metadata = options.get("metadata")
    found = {**options, "metadata": {"dataset": answer.version.dataset} if metadata is None else metadata}
    process = found.pop("trace", None)
    if process is not None:
        if found.get("preload") is not None:
            raise InvalidRequest(
                "preload and trace are given, which both say what to fetch at once; give one"
            )
        found["preload"] = touched(answer, process, schemaclass, found["metadata"])
    return found


def _preloaded(answer: Answer, preload: Preload) -> list[str]:
    if preload is None:
        return []
    if callable(preload):
        return [name for name, field in answer.fields.items() if preload(field)]
    if isinstance(preload, str):
        raise InvalidRequest(f"preload is {preload!r}; a list of names is needed")
    return list(preload)


def _form(field: Field) -> dict[str, Any]:
    parameters = {"__doc__": field.title, "typename": field.typename}
    key = f"{field.name},!load"
    values = {
        "class": "NumpyArray",
        "primitive": field.dtype,
        "inner_shape": [],
        "parameters": parameters,
        "form_key": quote(key + ",!content" if field.jagged else key),
    }
    if not field.jagged:
        return values
    return {
        "class": "ListOffsetArray",
        "offsets": "i64",
        "content": values,
        "parameters": {},
        "form_key": quote(key),
    }


@cache
def _quiet_class(schemaclass: Any) -> Any:
    # Its name stays: schemas are told apart by it in reports.
    return type(schemaclass.__name__, (schemaclass,), {"warn_missing_crossrefs": False})


def _quiet(schemaclass: Any, narrow: bool) -> Any:
    """Return a schema that does not warn of missing references where columns were left out on purpose."""
    if narrow and isinstance(schemaclass, type) and getattr(schemaclass, "warn_missing_crossrefs", False):
        return _quiet_class(schemaclass)
    return schemaclass


def _all_missing(events: int) -> Any:
    import numpy as np
    from awkward.contents import IndexedOptionArray

    return IndexedOptionArray(Index64(np.full(events, -1)), NumpyArray(np.zeros(0, np.bool_)))
