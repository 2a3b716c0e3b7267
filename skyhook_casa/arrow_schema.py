"""Schemas of this project as Arrow schemas, and back.

A collection is one field ``list<struct<...>>`` whose members are named without the collection's
prefix; a list on its own is one field ``list<value>``; everything else is a plain field. No field
is nullable at any level. Titles, type names and what is known of a counter are field metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from .errors import InvalidRequest
from .schema import Column, ListInfo, Schema, offsets_column

NO_OFFSETS = 0xFFFFFFFF
"""The offsets index of a column that is no list element."""
KIND_EVENT, KIND_ELEMENT, KIND_OFFSETS = 0, 1, 2

_ARROW_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "int16": pa.int16(),
    "uint16": pa.uint16(),
    "int32": pa.int32(),
    "uint32": pa.uint32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
_DTYPE_OF = {arrow: name for name, arrow in _ARROW_TYPES.items()}


@dataclass(frozen=True, slots=True)
class PhysicalColumn:
    """One stored column: one row of an object's directory."""

    name: str
    """`MET_pt`, `Muon_pt`, or `Muon#` for the offsets of list `Muon`."""
    dtype: str
    kind: int
    """0: a value per event; 1: a value per list element; 2: a list's offsets."""
    offsets_index: int = NO_OFFSETS
    """The number of the list's offsets column, for kind 1."""


@dataclass(frozen=True, slots=True)
class TopField:
    """One top-level Arrow field: an event column, or a list with its columns."""

    list: ListInfo | None
    columns: tuple[Column, ...]


def top_fields(schema: Schema) -> list[TopField]:
    """Return the Arrow fields of `schema`, in order: a list stands where its first column does.

    Counters do not appear: they follow from the offsets. A list whose counter is known but which
    has no column is kept, without members, at the counter's place.
    """
    members: dict[str, list[Column]] = {name: [] for name in schema.lists}
    order: dict[str, Column | None] = {}
    for key, column in schema.columns.items():
        home = column.list or column.counts
        if home is None:
            order["=" + key] = column
            continue
        if home not in members:
            raise InvalidRequest(f"column {column.name!r} belongs to list {home!r}, which the schema lacks")
        order.setdefault("[" + home, None)
        if column.counts is None:
            members[home].append(column)
    fields = []
    for place, event_column in order.items():
        if event_column is not None:
            fields.append(TopField(None, (event_column,)))
            continue
        info = schema.lists[place[1:]]
        if not info.collection and len(members[info.name]) != 1:
            raise InvalidRequest(
                f"list {info.name!r} is no collection and has {len(members[info.name])} columns"
            )
        fields.append(TopField(info, tuple(members[info.name])))
    return fields


def physical_columns(schema: Schema) -> list[PhysicalColumn]:
    """Return the stored columns of `schema` in directory order.

    That is the order of the Arrow schema, depth first; a list's offsets come before its elements.
    """
    found: list[PhysicalColumn] = []
    for top in top_fields(schema):
        if top.list is None:
            found.append(PhysicalColumn(top.columns[0].name, top.columns[0].dtype, KIND_EVENT))
            continue
        offsets_index = len(found)
        found.append(PhysicalColumn(offsets_column(top.list.name), "int32", KIND_OFFSETS))
        found += [PhysicalColumn(c.name, c.dtype, KIND_ELEMENT, offsets_index) for c in top.columns]
    return found


def arrow_type(dtype: str) -> pa.DataType:
    """Return the Arrow type of one of `schema.DTYPES`."""
    return _ARROW_TYPES[dtype]


def to_arrow_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema that an object with the columns of `schema` has."""
    return pa.schema([_arrow_field(top, schema) for top in top_fields(schema)])


def from_arrow_schema(arrow: pa.Schema) -> Schema:
    """Return the schema that `to_arrow_schema` was given.

    Order is the stored one: a counter comes just before the columns of its list.

    Raises
    ------
    InvalidRequest
        If a field is of no type that this project writes.
    """
    schema = Schema()
    for field in arrow:
        if not pa.types.is_list(field.type):
            schema.columns[field.name] = _column(field, field.name, None)
            continue
        info, columns = _list_of(field)
        schema.lists[info.name] = info
        for column in columns:
            schema.columns[column.name] = column
    return schema


def _arrow_field(top: TopField, schema: Schema) -> pa.Field:
    if top.list is None:
        return _leaf(top.columns[0], top.columns[0].name)
    metadata = _list_metadata(top.list, schema)
    if not top.list.collection:
        leaf = _leaf(top.columns[0], "item")
        metadata |= leaf.metadata or {}
        item = pa.field("item", leaf.type, nullable=False)
    else:
        members = [_leaf(c, c.field) for c in top.columns]
        item = pa.field("item", pa.struct(members), nullable=False)
    return pa.field(top.list.name, pa.list_(item), nullable=False, metadata=metadata or None)


def _leaf(column: Column, field_name: str) -> pa.Field:
    metadata = {b"title": column.title.encode(), b"typename": column.typename.encode()}
    if column.list is not None and _flat_name(column.list, field_name) != column.name:
        metadata[b"name"] = column.name.encode()
    kept = {key: value for key, value in metadata.items() if value}
    return pa.field(field_name, arrow_type(column.dtype), nullable=False, metadata=kept or None)


def _flat_name(list_name: str, field_name: str) -> str:
    return list_name if field_name == "item" else f"{list_name}_{field_name}"


def _list_metadata(info: ListInfo, schema: Schema) -> dict[bytes, bytes]:
    if info.counter is None:
        return {}
    counter = schema.columns.get(info.counter)
    if counter is None:
        raise InvalidRequest(f"the schema lacks {info.counter!r}, the counter of list {info.name!r}")
    return {
        b"counter": counter.name.encode(),
        b"counter_dtype": counter.dtype.encode(),
        b"counter_title": counter.title.encode(),
        b"counter_typename": counter.typename.encode(),
    }


def _column(field: pa.Field, name: str, list_name: str | None) -> Column:
    if field.type not in _DTYPE_OF:
        raise InvalidRequest(f"column {name!r} is of Arrow type {field.type}, which no object holds")
    title, typename = _text(field, b"title"), _text(field, b"typename")
    return Column(name, _DTYPE_OF[field.type], list=list_name, title=title, typename=typename)


def _text(field: pa.Field, key: bytes) -> str:
    metadata: dict[bytes, bytes] = field.metadata or {}
    return metadata.get(key, b"").decode()


def _list_of(field: pa.Field) -> tuple[ListInfo, list[Column]]:
    collection = pa.types.is_struct(field.type.value_type)
    counter = _text(field, b"counter") or None
    columns = []
    if counter is not None:
        columns.append(
            Column(
                counter,
                _text(field, b"counter_dtype"),
                counts=field.name,
                title=_text(field, b"counter_title"),
                typename=_text(field, b"counter_typename"),
            )
        )
    columns += _members(field) if collection else [_lone(field)]
    return ListInfo(field.name, counter, collection), columns


def _lone(field: pa.Field) -> Column:
    value = pa.field(field.name, field.type.value_type, nullable=False, metadata=field.metadata)
    return _column(value, _text(field, b"name") or field.name, field.name)


def _members(field: pa.Field) -> Iterator[Column]:
    struct = field.type.value_type
    for number in range(struct.num_fields):
        member = struct.field(number)
        yield _column(member, _text(member, b"name") or _flat_name(field.name, member.name), field.name)
