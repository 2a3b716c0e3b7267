"""Batches as Arrow record batches, the form in which they travel.

A batch has one field for each column with one value per event, under its own name, and one field
``list<struct<…>>`` for each jagged axis, so that offsets travel once. The fields of the struct are
the columns of that axis under their full names. If the numbers of the events in the dataset were
asked for, they come last, as `ROWS_FIELD`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .. import _engine
from ..batch import Array, Batch, Widened
from ..compile_query import Output
from ..errors import CorruptObject, ProtocolError, ResourceExhausted

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_FIELD: Final = "#event"
"""Field of int64: the number of each event in the dataset, from 0."""
ELEMENTS_MAX: Final = 2**31 - 1
"""Most elements of one list array, whose offsets are int32."""
FORMS_MAX: Final = 64
"""Forms that are kept for the next batch of the same columns."""
_IPC_END: Final = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Axis:
    """A field of the record batch: a column on its own, or all columns of one jagged axis."""

    name: str
    jagged: bool
    members: tuple[int, ...]
    """Numbers of the outputs."""


class Form:
    """The record batches of an answer: made once, for looking at all columns takes as long as reading them.

    Parameters
    ----------
    outputs : sequence of Output
        The columns of the answer.
    rows : bool
        Whether the numbers of the events come with them.
    """

    def __init__(self, outputs: Sequence[Output], rows: bool = False) -> None:
        self.outputs = tuple(outputs)
        self.rows = rows
        self.axes = tuple(_axes(self.outputs))
        self.schema = _schema(self.axes, self.outputs, rows)
        self._fields = [(axis.jagged, axis.members) for axis in self.axes]
        self._opener = _engine.WireForm(
            [axis.name for axis in self.axes], self._fields, [output.dtype for output in self.outputs], rows
        )
        fields = {member: number for number, axis in enumerate(self.axes) for member in axis.members}
        self._field_of = [fields[number] for number in range(len(self.outputs))]

    def of(self, result: _engine.Result, start: int, stop: int) -> pa.RecordBatch:
        """Return the events from `start` up to `stop` of what the engine delivered, as one record batch.

        Only bools and offsets are copied.

        Raises
        ------
        ResourceExhausted
            If an axis has more than `ELEMENTS_MAX` elements; ask for fewer events.
        """
        import pyarrow as pa

        def take(array: int) -> pa.RecordBatch:
            return pa.RecordBatch._import_from_c(array, self.schema)

        return result.wire_batch(self._fields, start, stop, take)

    def to_wire(self, batch: Batch) -> pa.RecordBatch:
        """Return the batch as one record batch; only bools and offsets are copied.

        Raises
        ------
        ResourceExhausted
            If an axis has more than `ELEMENTS_MAX` elements; cut the batch into pieces.
        """
        import pyarrow as pa

        arrays: list[Any] = []
        for axis, field in zip(self.axes, self.schema, strict=False):
            columns = [_values(batch.values[n], batch.valid[n]) for n in axis.members]
            if not axis.jagged:
                arrays += columns
                continue
            offsets = batch.offsets_at_hand(axis.members[0])
            if offsets[-1] > ELEMENTS_MAX:
                raise ResourceExhausted(
                    f"{axis.name} has {offsets[-1]} elements; {ELEMENTS_MAX} go into a batch"
                )
            content = pa.StructArray.from_arrays(columns, fields=list(field.type.value_type))
            narrow = _values(offsets.astype(np.int32, copy=False), None)
            arrays.append(pa.ListArray.from_arrays(narrow, content, type=field.type))
        if batch.rows is not None:
            arrays.append(_values(batch.rows, None))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def from_wire(self, batch: pa.RecordBatch) -> Batch:
        """Return the batch that a record batch holds; its values are not copied.

        Raises
        ------
        ProtocolError
            If the record batch has other fields, or its lists do not fit together.
        """
        if not batch.schema.equals(self.schema, check_metadata=False):
            raise ProtocolError(
                f"a batch has the fields {batch.schema.names}, not {self.schema.names} as announced"
            )
        try:
            batch.validate()
            events, values, valid, offsets, numbers = self._opener.open(batch._export_to_c)
        except (ValueError, CorruptObject) as error:
            raise ProtocolError(f"a batch contradicts itself: {error}") from error
        return Batch(self.outputs, events, values, Widened(offsets, self._field_of), valid, numbers)


@lru_cache(maxsize=FORMS_MAX)
def wire_form(outputs: tuple[Output, ...], rows: bool = False) -> Form:
    """Return the form of an answer's record batches."""
    return Form(outputs, rows)


def _axes(outputs: Sequence[Output]) -> Iterator[Axis]:
    """Yield the fields of a record batch, in the order of their first columns."""
    members: dict[tuple[str, int], list[int]] = {}
    for number, output in enumerate(outputs):
        key = ("event", number) if output.axis is None else ("axis", output.axis)
        members.setdefault(key, []).append(number)
    taken = {output.name for output in outputs if output.axis is None} | {ROWS_FIELD}
    for (kind, _), numbers in members.items():
        name = outputs[numbers[0]].name
        if kind == "axis":
            name = outputs[numbers[0]].list or name
            while name in taken:
                name += "_"
            taken.add(name)
        yield Axis(name, kind == "axis", tuple(numbers))


def _schema(axes: Iterable[Axis], outputs: Sequence[Output], rows: bool) -> pa.Schema:
    import pyarrow as pa

    fields = []
    for axis in axes:
        columns = [_field(outputs[number]) for number in axis.members]
        if axis.jagged:
            element = pa.field("item", pa.struct(columns), nullable=False)
            fields.append(pa.field(axis.name, pa.list_(element), nullable=False))
        else:
            fields += columns
    if rows:
        fields.append(pa.field(ROWS_FIELD, pa.int64(), nullable=False))
    return pa.schema(fields)


def _field(output: Output) -> pa.Field:
    import pyarrow as pa

    metadata = {"title": output.title} if output.title else None
    return pa.field(
        output.name, pa.from_numpy_dtype(output.dtype), nullable=output.optional, metadata=metadata
    )


def _values(values: Array, valid: Array | None) -> pa.Array:
    import pyarrow as pa

    if valid is not None or values.dtype == np.bool_:
        return pa.array(values, mask=None if valid is None else ~valid)
    # `pa.array` would look first whether it is something of pandas, which it imports for that.
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def to_ipc(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """Return record batches as one Arrow IPC stream.

    Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, messages and an end. A
    stream writer makes the same in twice the time.
    """
    return b"".join((schema.serialize(), *(batch.serialize() for batch in batches), _IPC_END))


def from_ipc(data: bytes) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of an Arrow IPC stream.

    Raises
    ------
    ProtocolError
        If it is none.
    """
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(data) as reader:
            yield from reader
    except (pa.ArrowException, OSError) as error:  # a stream that was cut is an OSError
        raise ProtocolError(f"a split is no Arrow stream: {error}") from error
