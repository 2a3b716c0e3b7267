"""What the engine delivered as record batches, straight from its memory."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyhook_casa import _engine
from skyhook_casa.batch import Batch
from skyhook_casa.errors import CorruptObject, InvalidRequest
from skyhook_casa.plan import plan
from skyhook_casa.protocol.batches import Form, to_ipc, wire_form
from skyhook_casa.query import Query
from skyhook_casa.scan import Scan
from skyhook_client import Client

DEFINE = {
    "lead": "Muon_pt[0]",
    "hard": "Muon_pt[Muon_pt > 20]",
    "is_hard": "Jet_pt > 30",
    "has_hard": "any(Jet_pt > 40)",
}
COLUMNS = ["MET_pt", "event", "nMuon", "Muon_pt", "Muon_charge", "Jet_pt", *DEFINE]


def answer(client: Client, columns: list[str], rows: bool = False) -> tuple[_engine.Result, Form, Batch]:
    define = {name: text for name, text in DEFINE.items() if name in columns}
    query = Query.make("dy", columns, "MET_pt > 5", define=define, limit=300)
    scan = Scan(plan(client.catalog, query), client.store, 1, rows=rows)
    result, outputs = scan.fill(), scan.plan.outputs
    return result, wire_form(outputs, rows), Batch.of(outputs, result, rows)


@given(st.data())
def test_it_is_what_its_arrays_make(embedded_client: Client, data: st.DataObject) -> None:
    columns = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True))
    result, form, batch = answer(embedded_client, columns, data.draw(st.booleans()))
    start = data.draw(st.integers(0, result.events))
    stop = data.draw(st.integers(start, result.events))

    made = form.of(result, start, stop)

    wanted = form.to_wire(batch.slice(start, stop))
    made.validate(full=True)
    assert made.equals(wanted)
    assert made.nbytes == wanted.nbytes
    assert to_ipc([made], form.schema) == to_ipc([wanted], form.schema)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_stream_is_what_a_stream_writer_writes(embedded_client: Client, count: int) -> None:
    result, form, _ = answer(embedded_client, COLUMNS)
    batches = [form.of(result, 7 * number, 50 * number + 1) for number in range(count)]

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, form.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)

    assert to_ipc(batches, form.schema) == sink.getvalue().to_pybytes()


def test_it_keeps_the_memory_it_lies_in(embedded_client: Client) -> None:
    result, form, batch = answer(embedded_client, ["Muon_pt", "is_hard"])
    wanted = form.to_wire(batch).to_pylist()
    made = form.of(result, 0, result.events)
    del result, batch
    gc.collect()
    assert made.to_pylist() == wanted


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (2, 1), (0, 301)])
def test_events_that_are_not_there_are_refused(embedded_client: Client, start: int, stop: int) -> None:
    result, form, _ = answer(embedded_client, ["MET_pt"])
    assert result.events == 300
    with pytest.raises(InvalidRequest, match="no such events"):
        form.of(result, start, stop)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([(False, [2])], "no such output"),
        ([(False, [1])], "needs a field of lists"),
        ([(True, [-1])], "no such output"),
        ([(True, [])], "a list needs an output"),
        ([(True, [0])], "lie in one group"),
        ([(True, [1, 0])], "lie in one group"),
    ],
)
def test_fields_that_do_not_fit_are_refused(embedded_client: Client, fields: Any, message: str) -> None:
    result, _, _ = answer(embedded_client, ["MET_pt", "Muon_pt"])
    with pytest.raises(InvalidRequest, match=message):
        result.wire_batch(fields, 0, 1, bool)


def test_a_batch_that_nobody_took_over_is_let_go(embedded_client: Client) -> None:
    result, form, _ = answer(embedded_client, ["MET_pt"])

    def refuse(_array: int) -> None:
        raise InterruptedError("not this one")

    before = sys.getrefcount(result)
    with pytest.raises(InterruptedError, match="not this one"):
        result.wire_batch([(False, [0])], 0, 1, refuse)
    assert sys.getrefcount(result) == before
    assert form.of(result, 0, 1).num_rows == 1


@pytest.mark.parametrize(
    ("names", "fields"),
    [([], [(False, [0])]), (["a"], [(False, [0, 0])]), (["a"], [(True, [1])]), (["a"], [(False, [-1])])],
)
def test_a_form_of_other_outputs_is_refused(names: list[str], fields: list[tuple[bool, list[int]]]) -> None:
    with pytest.raises(InvalidRequest):
        _engine.WireForm(names, fields, ["float32"])


def test_a_form_opens_nothing_but_what_is_given() -> None:
    form = _engine.WireForm(["a"], [(False, [0])], ["float32"])
    with pytest.raises(InvalidRequest, match="no record batch was given"):
        form.open(lambda address: None)
    two = pa.RecordBatch.from_arrays([pa.array([1.0], pa.float32())] * 2, names=["a", "b"])
    with pytest.raises(CorruptObject, match="other fields than its schema"):
        form.open(two._export_to_c)
