"""Runs expressions on the engine, over a table written as one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from expression_strategies import Table

from skyhook_casa import _engine
from skyhook_casa.expression import compile_cut, compile_value
from skyhook_casa.object_format import EncodedObject, ObjectWriter
from skyhook_casa.program import ProgramBuilder

Values = np.ndarray[Any, Any]


@dataclass
class Answer:
    """A column, flat: values that are not there hold anything."""

    values: Values
    valid: Values
    counts: Values | None


def written(table: Table, chunk_events: int, codec: str = "lz4") -> EncodedObject:
    """Return a table as an object of chunks of `chunk_events` events."""
    writer = ObjectWriter(table.schema, codec, threads=False, bytes_max=1 << 22)
    for start in range(0, table.n_events, chunk_events):
        stop = min(start + chunk_events, table.n_events)
        writer.write(stop - start, table.chunk(start, stop))
    return writer.finish()


def run(
    table: Table,
    item: EncodedObject,
    values: list[str],
    cut: str | None = None,
    defined: dict[str, str] | None = None,
    events_max: int = -1,
) -> tuple[list[Answer], Values]:
    """Return derived columns of the events that pass a cut, and the numbers of those events."""
    builder = ProgramBuilder()
    terms = [] if cut is None else [t.node for t in compile_cut(builder, table, cut, defined)]
    outputs = [compile_value(builder, table, text, defined) for text in values]
    axes = sorted({v.axis for v in outputs if v.axis >= 0})
    groups = [axes.index(v.axis) if v.axis >= 0 else -1 for v in outputs]
    result = _engine.Result([v.dtype for v in outputs], groups, rows=True)
    scan = _engine.Scan(builder.encode(terms, [v.node for v in outputs]))
    data = memoryview(item.data)
    cursor = 0
    while cursor >= 0:
        cursor = scan.run_ranges(
            lambda ranges: [data[start:stop] for start, stop in ranges],
            item.directory_start,
            item.directory_bytes,
            result,
            cursor=cursor,
            events_max=events_max,
        )
    answers = []
    for number, group in enumerate(groups):
        got, valid = result.values(number), result.valid(number)
        counts = None if group < 0 else np.diff(result.offsets(group))
        answers.append(Answer(got, np.ones(len(got), bool) if valid is None else valid, counts))
    return answers, result.rows()


def flattened(column: ak.Array) -> Answer:
    """Return an awkward column in the same form."""
    counts = None
    if column.ndim > 1:
        counts = ak.to_numpy(ak.num(column))
        column = ak.flatten(column, axis=1)
    valid = ~ak.to_numpy(ak.is_none(column))
    there = ak.to_numpy(ak.drop_none(column))
    values = np.zeros(len(valid), there.dtype)
    values[valid] = there
    return Answer(values, valid, counts)


def assert_same(got: Answer, expected: Answer, ulps: int = 0) -> None:
    """Check dtype, lengths, what is missing, and values: bit by bit, or within some ulps."""
    if expected.counts is not None or got.counts is not None:
        np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_array_equal(got.valid, expected.valid)
    assert got.values.dtype == expected.values.dtype
    a, b = got.values[got.valid], expected.values[expected.valid]
    if a.dtype.kind != "f":
        np.testing.assert_array_equal(a, b)
        return
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if ulps == 0:
        np.testing.assert_array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))
    else:
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))
        np.testing.assert_array_max_ulp(a[np.isfinite(a)], b[np.isfinite(b)], ulps)
