"""The schema of a dataset: the union over its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ..errors import InvalidRequest
from ..schema import Column, ListInfo, Schema

_T = TypeVar("_T")


def union_schema(first: Schema, second: Schema) -> Schema:
    """Return the columns and lists of both, those only `second` has after their neighbours in it.

    Titles and type names are the first's. A list has a counter if either has one.

    Raises
    ------
    InvalidRequest
        If a column has another type, or another list, in `second` than in `first`.
    """
    lists = {name: _same_list(info, first.lists.get(name)) for name, info in second.lists.items()}
    for name, column in second.columns.items():
        _check_same(column, first.columns.get(name))
    return Schema(
        columns=_merge(first.columns, second.columns, lambda mine, _: mine),
        lists=_merge(first.lists, lists, lambda _, theirs: theirs),
    )


def _check_same(column: Column, before: Column | None) -> None:
    if before is None:
        return
    if (column.dtype, column.list, column.counts) != (before.dtype, before.list, before.counts):
        raise InvalidRequest(
            f"column {column.name!r} is {_spelled(before)} in the dataset and {_spelled(column)} here; "
            "files whose columns differ in type cannot be one dataset"
        )


def _spelled(column: Column) -> str:
    if column.counts is not None:
        return f"{column.dtype}, the length of list {column.counts!r},"
    return column.dtype if column.list is None else f"{column.dtype} per element of list {column.list!r}"


def _same_list(info: ListInfo, before: ListInfo | None) -> ListInfo:
    if before is None:
        return info
    if info.collection != before.collection:
        raise InvalidRequest(f"list {info.name!r} is a collection in some files and one column in others")
    return before if before.counter is not None else info


def _merge(
    first: Mapping[str, _T], second: Mapping[str, _T], chosen: Callable[[_T, _T], _T]
) -> dict[str, _T]:
    """Return the entries of both; one that is new goes right behind its forerunner in `second`."""
    behind: dict[str | None, list[str]] = {}
    forerunner: str | None = None
    for name in second:
        if name in first:
            forerunner = name
        else:
            behind.setdefault(forerunner, []).append(name)
    merged = {name: second[name] for name in behind.get(None, [])}
    for name, value in first.items():
        merged[name] = chosen(value, second[name]) if name in second else value
        merged |= {new: second[new] for new in behind.get(name, [])}
    return merged
