"""Columns that a service adds to a dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence

from skyhook_casa.column_sets.report import AddedColumns
from skyhook_casa.errors import InvalidRequest, ServiceLost
from skyhook_casa.ingest import ProgressCallback
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.query import Fill, fill_to_json

from .answers import received
from .channel import Channel
from .ingest import named


def request(
    dataset: str,
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    columns: Sequence[str] | None,
    *,
    on: Sequence[str],
    fill: Fill | Mapping[str, Fill] | None = None,
    replace: bool = False,
    tree: str = "Events",
) -> pb.AddColumnsRequest:
    """Return what asks for columns to be added.

    Raises
    ------
    InvalidRequest
        If a value has the wrong type.
    """
    if columns is not None and not columns:
        raise InvalidRequest(f"columns is {columns!r}; names of columns are needed")
    if not on:
        raise InvalidRequest(f"on is {on!r}; names of columns are needed")
    if isinstance(fill, Mapping):
        filled: object = {name: fill_to_json(value) for name, value in fill.items()}
    else:
        filled = fill_to_json(fill)
    try:
        text = "" if fill is None else json.dumps(filled)
    except TypeError as error:
        raise InvalidRequest(f"fill is {fill!r}; a number or a bool is needed") from error
    return pb.AddColumnsRequest(
        dataset=dataset,
        files=named(files),
        columns=[columns] if isinstance(columns, str) else columns,
        on=[on] if isinstance(on, str) else on,
        fill=text,
        replace=replace,
        tree=tree,
    )


def followed(channel: Channel, asked: pb.AddColumnsRequest, progress: ProgressCallback) -> AddedColumns:
    """Ask for columns to be added and return what was done; who leaves ends it.

    Raises
    ------
    ServiceLost
        If the service broke off: the dataset has them all, or is as before.
    """
    for event in channel.follow("Delivery.AddColumns", asked):
        if event.HasField("found"):
            return received(event.found, AddedColumns)
        progress(event.progress.done, event.progress.total)
    raise ServiceLost(f"the service at {channel.url} broke off before the columns were added")


def definitions(dataset: str, texts: Mapping[str, str]) -> pb.DefineRequest:
    """Return what declares derived columns.

    Raises
    ------
    InvalidRequest
        If these are no texts.
    """
    if not isinstance(texts, Mapping) or not texts:
        raise InvalidRequest(f"definitions are {texts!r}; a dict of names and expressions is needed")
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InvalidRequest(f"definition {name!r} is {text!r}; a name and an expression are needed")
    return pb.DefineRequest(
        dataset=dataset, definitions=[pb.NewDefinition(name=name, text=text) for name, text in texts.items()]
    )
