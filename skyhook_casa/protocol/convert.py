"""Between the project's values and the messages of ``delivery.proto``, which have the same fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from google.protobuf.message import Message

from ..errors import InvalidRequest

M = TypeVar("M", bound=Message)
T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_message(value: Any, kind: type[M]) -> M:
    """Return the message of type `kind` that has the fields of `value`.

    Fields of the message that `value` does not have stay unset, and so do those that are None.

    Parameters
    ----------
    value : dataclass or named tuple
        Of numbers, texts, times, dicts of these, other such values, and sequences of them.
    kind : type
        A message type. Fields are matched by name.
    """
    plain, others = _written(kind)  # type: ignore[arg-type]
    values = {name: _plain(found) for name in plain if (found := getattr(value, name, None)) is not None}
    message: M = kind(**values)
    for name, write in others:
        found = getattr(value, name, None)
        if found is not None:
            write(getattr(message, name), found)
    return message


def from_message(message: Message, kind: type[T]) -> T:
    """Return the value of type `kind` that `to_message` made the message of.

    Raises
    ------
    InvalidRequest
        If the values of the fields are refused by `kind`.
    """
    values: dict[str, Any] = {}
    for name, is_optional, read in _read(type(message), kind):  # type: ignore[arg-type]
        found = None if is_optional and not message.HasField(name) else getattr(message, name)
        values[name] = found if found is None or read is None else read(found)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"a {message.DESCRIPTOR.name} makes no {kind.__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """Return the value of a field that is neither repeated nor a message."""
    return (value - EPOCH) // _MICROSECOND if isinstance(value, datetime) else value


@cache
def _written(kind: type[Message]) -> tuple[list[str], list[tuple[str, Callable[[Any, Any], None]]]]:
    """Return the plain fields of a message type, and of each other one what writes its value."""
    plain: list[str] = []
    others: list[tuple[str, Callable[[Any, Any], None]]] = []
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            others.append((field.name, lambda target, value: target.update(value)))
        elif field.is_repeated:
            others.append((field.name, _extending(field)))
        elif field.message_type is not None:
            others.append((field.name, partial(_copy, field.message_type._concrete_class)))
        else:
            plain.append(field.name)
    return plain, others


def _copy(kind: type[Message], target: Any, value: Any) -> None:
    target.CopyFrom(to_message(value, kind))


def _extending(field: Any) -> Callable[[Any, Any], None]:
    """Return what writes the values of a repeated field."""
    kind = None if field.message_type is None else field.message_type._concrete_class
    one = _plain if kind is None else partial(to_message, kind=kind)
    return lambda target, values: target.extend(map(one, values))


@cache
def _read(message: type[Message], kind: type[Any]) -> list[tuple[str, bool, Callable[[Any], Any] | None]]:
    """Return each field that a value of type `kind` has: its name, whether it may be unset, what reads it."""
    fields = message.DESCRIPTOR.fields_by_name
    return [
        (name, fields[name].has_presence, _reader(hint))
        for name, hint in _hints(kind).items()
        if name in fields
    ]


def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}
    return {name: hints[name] for name in kind._fields}


def _reader(hint: Any) -> Callable[[Any], Any] | None:
    """Return what makes a value of this type of that of a field; None if they are the same."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (hint,) = (one for one in arguments if one is not NoneType)
        return _reader(hint)
    if origin is dict:
        return dict
    if origin in (tuple, list):
        one = _reader(arguments[0])
        return origin if one is None else lambda found: origin(map(one, found))
    if hint is datetime:
        return lambda found: EPOCH + timedelta(microseconds=found)
    if dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
        return partial(from_message, kind=hint)
    return None
