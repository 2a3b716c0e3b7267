"""Between the project's values and the messages of ``delivery.proto``, which have the same fields."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from functools import cache
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
    message: M = kind()
    for field in kind.DESCRIPTOR.fields:
        found = getattr(value, field.name, None)
        if found is None:
            continue
        if _is_map(field):
            getattr(message, field.name).update(found)
        elif field.is_repeated:
            getattr(message, field.name).extend(_wire_value(one, field) for one in found)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(_wire_value(found, field))
        else:
            setattr(message, field.name, _wire_value(found, field))
    return message


def from_message(message: Message, kind: type[T]) -> T:
    """Return the value of type `kind` that `to_message` made the message of.

    Raises
    ------
    InvalidRequest
        If the values of the fields are refused by `kind`.
    """
    fields = message.DESCRIPTOR.fields_by_name
    hints = _hints(kind)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if name not in fields:
            continue
        field = fields[name]
        if field.has_presence and not message.HasField(name):
            values[name] = None
        else:
            values[name] = _python_value(getattr(message, name), hint)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"a {message.DESCRIPTOR.name} makes no {kind.__name__}: {error}") from error


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _wire_value(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return to_message(value, field.message_type._concrete_class)
    if isinstance(value, datetime):
        return (value - EPOCH) // _MICROSECOND
    return value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}
    return {name: hints[name] for name in kind._fields}


def _python_value(found: Any, hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (hint,) = (one for one in arguments if one is not NoneType)
        return _python_value(found, hint)
    if origin is dict:
        return dict(found)
    if origin in (tuple, list):
        return origin(_python_value(one, arguments[0]) for one in found)
    if hint is datetime:
        return EPOCH + timedelta(microseconds=found)
    if isinstance(found, Message):
        return from_message(found, hint)
    return found
