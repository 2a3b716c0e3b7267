"""From the engine's buffers to Arrow, NumPy and pandas; copied only where the target needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skyhook_casa.batch import Array, Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest

from .layout import Group, flat_groups, nested_groups

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ELEMENTS_MAX: Final = 2**31 - 1
"""Most elements of one Arrow list array, whose offsets are int32."""


# -- arrow --------------------------------------------------------------------------------------
def arrow_schema(outputs: Sequence[Output], nested: bool = False) -> pa.Schema:
    """Return the Arrow schema of an answer: no field is nullable but derived ones with missing elements."""
    import pyarrow as pa

    groups = nested_groups(outputs) if nested else flat_groups(outputs)
    return pa.schema([_arrow_field(outputs, group) for group in groups])


def to_record_batch(batch: Batch, nested: bool = False) -> pa.RecordBatch:
    """Return the batch as one Arrow record batch.

    Raises
    ------
    InvalidRequest
        If a list column has more than `ELEMENTS_MAX` elements; cut the batch into pieces.
    """
    import pyarrow as pa

    schema = arrow_schema(batch.outputs, nested)
    groups = nested_groups(batch.outputs) if nested else flat_groups(batch.outputs)
    offsets: dict[int, Any] = {}
    arrays = []
    for group, field in zip(groups, schema, strict=True):
        if group.axis is None:
            arrays.append(_arrow_values(batch, group, field.type))
            continue
        if group.axis not in offsets:
            offsets[group.axis] = _offsets32(batch, group)
        values = _arrow_values(batch, group, field.type.value_type)
        arrays.append(pa.ListArray.from_arrays(offsets[group.axis], values, type=field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema) if arrays else _no_columns(batch.events)


def to_arrow(batch: Batch, nested: bool = False) -> pa.Table:
    """Return the batch as an Arrow table, of several chunks if it is very long."""
    import pyarrow as pa

    longest = max((len(values) for values in batch.values), default=0)
    pieces = batch.split(longest // ELEMENTS_MAX * 2 + 1)
    schema = arrow_schema(batch.outputs, nested)
    return pa.Table.from_batches([to_record_batch(piece, nested) for piece in pieces], schema)


def _arrow_field(outputs: Sequence[Output], group: Group) -> pa.Field:
    import pyarrow as pa

    members = [outputs[number] for number in group.members]
    if group.fields:
        fields = [_element_field(name, output) for name, output in zip(group.fields, members, strict=True)]
        element = pa.field("item", pa.struct(fields), nullable=False)
    else:
        element = _element_field("item", members[0])
    if group.axis is not None:
        metadata = None if group.fields else element.metadata
        return pa.field(group.name, pa.list_(element.remove_metadata()), nullable=False, metadata=metadata)
    return element.with_name(group.name)


def _element_field(name: str, output: Output) -> pa.Field:
    import pyarrow as pa

    metadata = {"title": output.title} if output.title else None
    return pa.field(name, pa.from_numpy_dtype(output.dtype), nullable=output.optional, metadata=metadata)


def _arrow_values(batch: Batch, group: Group, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    arrays = [arrow_element(batch, number) for number in group.members]
    return pa.StructArray.from_arrays(arrays, fields=list(kind)) if group.fields else arrays[0]


def arrow_element(batch: Batch, number: int) -> pa.Array:
    """Return the values of an output: one per event, or the content of its lists."""
    import pyarrow as pa

    valid = batch.valid[number]
    return pa.array(batch.values[number], mask=None if valid is None else ~valid)


def _offsets32(batch: Batch, group: Group) -> pa.Array:
    import pyarrow as pa

    offsets = batch.offsets[group.members[0]]
    assert offsets is not None
    if offsets[-1] > ELEMENTS_MAX:
        raise InvalidRequest(
            f"{group.name} has {offsets[-1]} elements; {ELEMENTS_MAX} go into one record batch"
        )
    return pa.array(offsets.astype(np.int32))


def _no_columns(events: int) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_struct_array(pa.array([{}] * events, pa.struct([])))


# -- numpy and pandas ---------------------------------------------------------------------------
def check_numpy(outputs: Sequence[Output]) -> None:
    """Refuse columns that NumPy has no array for.

    Raises
    ------
    InvalidRequest
        If a column is jagged or can have missing elements; the message says what to ask for instead.
    """
    for output in outputs:
        if output.axis is not None:
            raise InvalidRequest(
                f"{output.name} has a list for each event; NumPy has no such array, use to_awkward()"
            )
        if output.optional:
            raise InvalidRequest(f"{output.name} can have missing elements; NumPy has none, use to_awkward()")


def to_numpy(batch: Batch) -> dict[str, Array]:
    """Return each column, for which `check_numpy` holds, as a NumPy array of shape (events,)."""
    return {output.name: values for output, values in zip(batch.outputs, batch.values, strict=True)}


def list_names(outputs: Sequence[Output]) -> list[str]:
    """Return the names of the lists that columns lie in, once each."""
    return list(dict.fromkeys(output.list for output in outputs if output.list is not None))


def subentries(batch: Batch) -> tuple[Array, Array]:
    """Return, for each element of the lists of the first output, its event's number and its place."""
    offsets = batch.offsets[0]
    assert offsets is not None and batch.rows is not None
    counts = np.diff(offsets)
    return np.repeat(batch.rows, counts), np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)


def pandas_columns(outputs: Sequence[Output], collection: str | None) -> list[str]:
    """Return the columns that make one frame: those of `collection`, or those with one value per event.

    Raises
    ------
    InvalidRequest
        If there are none, or without `collection` there are others too.
    """
    lists = list_names(outputs)
    if collection is not None:
        if collection not in lists:
            choice = (
                f"choose from {', '.join(lists)}"
                if lists
                else "it has one value per event only; leave it out"
            )
            raise InvalidRequest(f"the answer has no column of collection {collection!r}; {choice}")
        return [output.name for output in outputs if output.list == collection]
    scalars = [output.name for output in outputs if output.axis is None]
    if lists and (scalars or len(lists) > 1):
        shown = ", ".join(lists[:5]) + (" and others" if len(lists) > 5 else "")
        raise InvalidRequest(
            f"a frame has rows of one kind, but the answer has columns of {shown}"
            f"{' and of events' if scalars else ''}; ask for one with to_pandas(collection={lists[0]!r}), "
            f"or for event columns alone in a query of their own"
        )
    return [output.name for output in outputs]


def to_pandas(batch: Batch) -> pd.DataFrame:
    """Return a frame of columns that all lie on one axis.

    One row per event, indexed by ``entry``, the event's number in the dataset; or one row per list
    element, indexed by ``entry`` and ``subentry``, the element's place in its list.
    """
    import pandas as pd

    columns = [_series(values, valid) for values, valid in zip(batch.values, batch.valid, strict=True)]
    data = {output.name: column for output, column in zip(batch.outputs, columns, strict=True)}
    if batch.outputs[0].axis is None:
        assert batch.rows is not None
        return pd.DataFrame(data, index=pd.Index(batch.rows, name="entry"), copy=False)
    index = pd.MultiIndex.from_arrays(subentries(batch), names=["entry", "subentry"])
    return pd.DataFrame(data, index=index, copy=False)


def _series(values: Array, valid: Array | None) -> Any:
    import pandas as pd

    if valid is None:
        return values
    if values.dtype.kind == "f":
        return np.where(valid, values, values.dtype.type(np.nan))
    kinds = {"b": pd.arrays.BooleanArray, "i": pd.arrays.IntegerArray, "u": pd.arrays.IntegerArray}
    return kinds[values.dtype.kind](values, ~valid)
