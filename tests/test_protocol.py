"""What travels between client and service comes out as it went in, and strangers can speak it too."""

from __future__ import annotations

import ast
import dataclasses
import gc
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import awkward as ak
import grpc
import numpy as np
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import flight
from serve_process import END_S, OWN_HOST, ServeProcess, serving
from service_fixture import RunningService

import skyhook_casa
from skyhook_casa import errors
from skyhook_casa.batch import Batch
from skyhook_casa.catalog import DatasetInfo, DatasetVersion, FileInfo, Job, ObjectInfo, Partition
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest, ProtocolError, ResourceExhausted, SkyhookError
from skyhook_casa.explain import Explanation
from skyhook_casa.gc import Garbage
from skyhook_casa.protocol import PROTOCOL_KEY
from skyhook_casa.protocol import batches as batches_module
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.batches import ROWS_FIELD, from_ipc, to_ipc, wire_form
from skyhook_casa.protocol.convert import from_message, to_message
from skyhook_casa.protocol.delivery_pb2_grpc import DeliveryStub
from skyhook_casa.protocol.errors import (
    CODES,
    MESSAGE_CHARS_MAX,
    error_message,
    from_error_message,
    from_rpc_error,
    status_of,
)
from skyhook_casa.protocol.held import Held, Position
from skyhook_casa.protocol.reports import from_report_message, report_message
from skyhook_casa.query import Query
from skyhook_casa.report import Report
from skyhook_casa.schema import DTYPES, Column, ListInfo
from skyhook_casa.verify import BadObject, Verification
from skyhook_client import Client
from skyhook_client.remote.gather import Gathered

ROOT = Path(__file__).resolve().parent.parent


# ---- the contract ------------------------------------------------------------------------------
def test_the_modules_are_those_that_the_contract_makes(tmp_path: Path) -> None:
    """`make protocol` was run after the last change of `delivery.proto`."""
    pytest.importorskip("grpc_tools")
    name = "skyhook_casa/protocol/delivery"
    kinds = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", *kinds, f"{name}.proto"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
        made = (tmp_path / f"{name}{ending}").read_text()
        assert made == (ROOT / f"{name}{ending}").read_text(), f"run: make protocol ({name}{ending})"


# ---- values as messages ------------------------------------------------------------------------
MESSAGES: dict[type[Any], type[Any]] = {
    DatasetVersion: pb.DatasetVersion,
    DatasetInfo: pb.DatasetInfo,
    Column: pb.Column,
    ListInfo: pb.ListInfo,
    FileInfo: pb.FileInfo,
    BadObject: pb.BadObject,
    Verification: pb.Verification,
    Garbage: pb.Garbage,
    Job: pb.IngestRun,
    Output: pb.Output,
    Explanation: pb.Explanation,
}
"""The message of each value that travels whole."""

SMALL = st.integers(0, 2**31 - 1)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: SMALL,
    str: TEXTS,
    bool: st.booleans(),
    datetime: TIMES,
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return what makes values of a type that travels."""
    if hint in SCALARS:
        return SCALARS[hint]
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(map(values_of, arguments))
    if get_origin(hint) is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(*map(values_of, arguments), max_size=3)
    hints = get_type_hints(hint)
    return st.builds(hint, **{name: values_of(hints[name]) for name in field_names(hint)})


def field_names(kind: type[Any]) -> set[str]:
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind) if field.init}
    return set(kind._fields)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_message_has_every_field_of_its_value(kind: type[Any]) -> None:
    """What a service leaves out would look like a default to its client."""
    assert {field.name for field in MESSAGES[kind].DESCRIPTOR.fields} == field_names(kind)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_values_come_back_from_their_messages(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(values_of(kind))
    sent = to_message(value, MESSAGES[kind]).SerializeToString()
    assert from_message(MESSAGES[kind].FromString(sent), kind) == value


def test_a_message_that_makes_no_value_is_refused() -> None:
    @dataclasses.dataclass
    class Strict:
        name: str

        def __post_init__(self) -> None:
            if not self.name:
                raise ValueError("a name is needed")

    with pytest.raises(InvalidRequest, match="a Column makes no Strict: a name is needed"):
        from_message(pb.Column(), Strict)


COUNTS = {
    name: st.integers(0, 2**62) for name in "events_in events_out bytes_read bytes_moved splits".split()
}


@settings(deadline=None)
@given(
    report=st.builds(
        Report,
        dataset=TEXTS,
        version=SMALL,
        cutflow=st.lists(st.tuples(TEXTS, st.none() | SMALL), max_size=4),
        seconds=st.dictionaries(TEXTS, st.floats(0, 1e9), max_size=4),
        reason=TEXTS,
        query_id=TEXTS,
        **COUNTS,
    )
)
def test_reports_come_back_from_their_messages(report: Report) -> None:
    sent = report_message(report).SerializeToString()
    assert from_report_message(pb.Report.FromString(sent)) == report


# ---- errors ------------------------------------------------------------------------------------
def every_error() -> Iterator[SkyhookError]:
    for kind in errors.error_kinds().values():
        if kind is errors.ExpressionError:
            yield errors.ExpressionError("what is this", "nMuon >> 2", 6, 8)
        elif kind is errors.ServiceBusy:
            yield errors.ServiceBusy("256 queries run", 2.5)
        else:
            yield kind("no such thing")


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.kind)
def test_errors_come_back_from_their_messages(error: SkyhookError) -> None:
    """With all that a program may look at, and the query that they belong to."""
    sent = error_message(error, "q17").SerializeToString()
    found = from_error_message(pb.Error.FromString(sent))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.__notes__ == ["query q17"]
    for name in ("text", "start", "stop", "retry_after_s"):
        assert getattr(found, name, None) == getattr(error, name, None)


def test_every_kind_has_a_status() -> None:
    assert set(CODES) == set(errors.error_kinds())
    assert status_of(SkyhookError("?")) is grpc.StatusCode.INTERNAL


def test_an_error_of_an_unknown_kind_is_still_an_error() -> None:
    """A newer service may know more kinds."""
    found = from_error_message(pb.Error(kind="moon-phase", message="wait"))
    assert (type(found), str(found)) == (SkyhookError, "wait")


@pytest.mark.parametrize("start", [0, MESSAGE_CHARS_MAX - 1, MESSAGE_CHARS_MAX, 10 * MESSAGE_CHARS_MAX])
def test_long_errors_fit_into_metadata(start: int) -> None:
    """8 KiB is what every gRPC library takes."""
    text = "x" * (20 * MESSAGE_CHARS_MAX)
    for error in (InvalidRequest(text), errors.ExpressionError("wrong", text, start, len(text))):
        message = error_message(error, "q")
        assert message.ByteSize() < 2 * MESSAGE_CHARS_MAX + 100
        assert str(from_error_message(message))


# ---- what a client holds -----------------------------------------------------------------------
PARTS, STEPS = 6, 3
"""The model has six partitions of three steps each; the cursor of step n is n, and 0 the beginning."""


def parts(numbers: Sequence[int] = range(PARTS)) -> list[Partition]:
    info, file = ObjectInfo("", 0, 0, 0, 0), FileInfo("", "", "", 0, 0)
    return [Partition(number, 0, 1, info, file, 0, 1) for number in numbers]


@dataclasses.dataclass
class Model:
    """What is held, piece by piece."""

    steps: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    events: int = 0

    def position(self, part: int) -> int | None:
        """Return the first step of a partition that is not held."""
        return next((step for step in range(STEPS) if (part, step) not in self.steps), None)

    def missing(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        return [(part, step) for part in numbers if (step := self.position(part)) is not None]

    def whole(self) -> list[tuple[int, int]]:
        """Return the longest ranges of whole partitions."""
        ranges: list[tuple[int, int]] = []
        for part in range(PARTS):
            if self.position(part) is not None:
                continue
            if ranges and ranges[-1][1] == part:
                ranges[-1] = (ranges[-1][0], part + 1)
            else:
                ranges.append((part, part + 1))
        return ranges


@st.composite
def answers(draw: st.DrawFn) -> tuple[Model, list[Held]]:
    """Splits of some answer in the order of their announcement, each as what it covers."""
    model, splits = Model(), []
    for _ in range(draw(st.integers(0, 12))):
        missing = model.missing(range(PARTS))
        if not missing:
            break
        part, step = draw(st.sampled_from(missing))
        first = Position(part, step, draw(st.booleans()), draw(st.booleans())) if step else Position(part)
        at = (part, step)
        for _ in range(draw(st.integers(1, 2 * STEPS))):
            model.steps.add(at)
            at = (at[0], at[1] + 1) if at[1] + 1 < STEPS else (at[0] + 1, 0)
            # A split goes on only into partitions that nobody has begun.
            if at[0] == PARTS or (at[1] == 0 and model.position(at[0]) != 0):
                break
        events = draw(st.integers(0, 100))
        model.events += events
        split = Held()
        if at[1]:
            end = Position(at[0], at[1], draw(st.booleans()), draw(st.booleans()))
            split.add(first, end, at[0] + 1, events)
        else:
            split.add(first, None, at[0], events)
        splits.append(split)
    return model, splits


@settings(deadline=None)
@given(answers(), st.sets(st.integers(0, PARTS - 1)), st.booleans())
def test_what_splits_cover_adds_up_to_what_is_held(
    answer: tuple[Model, list[Held]], planned: set[int], resumes: bool
) -> None:
    """For any order of the splits, and if the client comes back after each of them."""
    model, splits = answer
    held = Held()
    appended = pb.Held()
    for split in splits:
        # What a client does that only appends, as docs/protocol.md allows.
        total = appended.events_out + split.to_message().events_out
        appended.MergeFrom(split.to_message())
        appended.events_out = total
        held.merge(pb.Held.FromString(split.to_message().SerializeToString()))
        if resumes:
            held = Held.from_message(pb.Held.FromString(held.to_message().SerializeToString()))
    numbers = sorted(planned)
    for one in (held, Held.from_message(appended)):
        found = [(part.index, at.cursor) for part, at in one.missing(parts(numbers))]
        assert found == model.missing(numbers)
        assert one.events_out == model.events
    assert [(one.first, one.stop) for one in held.to_message().whole] == model.whole()


def test_a_position_keeps_what_is_known_of_the_part_before_it() -> None:
    held = Held()
    at = Position(2, 7 << 32 | 5, pruned=False, pushed=True)
    held.add(Position(0), at, 3, 10)
    again = Held.from_message(held.to_message())
    assert [where for _, where in again.missing(parts([2]))] == [at]


@pytest.mark.parametrize(
    "message",
    [
        pb.Held(whole=[pb.PartitionRange(first=3, stop=3)]),
        pb.Held(whole=[pb.PartitionRange(first=4, stop=3)]),
        pb.Held(events_out=-1),
        pb.Held(begun=[pb.Position(partition=-1, cursor=5)]),
        pb.Held(begun=[pb.Position(partition=1, cursor=-5)]),
    ],
)
def test_what_nobody_can_hold_is_refused(message: pb.Held) -> None:
    with pytest.raises(InvalidRequest):
        Held.from_message(message)


# ---- batches -----------------------------------------------------------------------------------
@st.composite
def made_batches(draw: st.DrawFn) -> Batch:
    """Any columns on any axes, in any order: bit patterns, missing values, no events at all."""
    axes = draw(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=6))
    events = draw(st.integers(0, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    lists = {axis: draw(st.sampled_from([None, "Muon", "c0", "#event"])) for axis in {0, 1, 2}}
    offsets = {axis: np.cumsum([0, *random.integers(0, 4, events)], dtype=np.int64) for axis in {0, 1, 2}}
    outputs, values, valid = [], [], []
    for number, axis in enumerate(axes):
        dtype = draw(st.sampled_from(DTYPES))
        optional, title = draw(st.booleans()), draw(st.sampled_from(["", "p_T in GeV"]))
        name = None if axis is None else lists[axis]
        outputs.append(Output(f"c{number}", dtype, axis, name, optional=optional, title=title))
        count = events if axis is None else int(offsets[axis][-1])
        raw = random.bytes(count * np.dtype(dtype).itemsize)
        bits = np.frombuffer(raw, np.uint8) % 2 == 1 if dtype == "bool" else np.frombuffer(raw, dtype)
        values.append(bits)
        valid.append(random.integers(0, 2, count).astype(bool) if optional else None)
    rows = random.integers(0, 2**62, events) if draw(st.booleans()) else None
    shared = [None if axis is None else offsets[axis] for axis in axes]
    return Batch(tuple(outputs), events, values, shared, valid, rows)


def same(found: Batch, made: Batch) -> bool:
    """Return whether two batches have the same bits wherever there is a value."""
    for number, output in enumerate(made.outputs):
        there = made.valid[number]
        there = np.ones(len(made.values[number]), bool) if there is None else there
        got = found.valid[number]
        if not np.array_equal(np.ones(len(there), bool) if got is None else got, there):
            return False
        values = found.values[number]
        if values.dtype != output.dtype or values[there].tobytes() != made.values[number][there].tobytes():
            return False
        one, other = found.offsets[number], made.offsets[number]
        if (one is None) != (other is None) or (other is not None and not np.array_equal(one, other)):
            return False
    if (found.rows is None) != (made.rows is None):
        return False
    return made.rows is None or found.rows.tobytes() == made.rows.tobytes()


@settings(max_examples=300, deadline=None)
@given(made_batches())
def test_batches_come_back_bit_by_bit(batch: Batch) -> None:
    has_rows = batch.rows is not None
    form = wire_form(batch.outputs, has_rows)
    (sent,) = from_ipc(to_ipc([form.to_wire(batch)], form.schema))
    assert same(form.from_wire(sent), batch)


@settings(deadline=None)
@given(made_batches(), st.data())
def test_pieces_of_a_batch_come_back_bit_by_bit(batch: Batch, data: st.DataObject) -> None:
    """Cut before it travels or after that."""
    start = data.draw(st.integers(0, batch.events))
    stop = data.draw(st.integers(start, batch.events))
    has_rows = batch.rows is not None
    form = wire_form(batch.outputs, has_rows)
    piece = batch.slice(start, stop)
    assert same(form.from_wire(form.to_wire(piece)), piece)
    after = form.to_wire(batch).slice(start, stop - start)
    assert same(form.from_wire(after), piece)


@settings(deadline=None)
@given(made_batches(), st.data())
def test_batches_that_are_gathered_are_one(batch: Batch, data: st.DataObject) -> None:
    """Some of them may have no events, or know of no missing values."""
    ends = sorted(data.draw(st.lists(st.integers(0, batch.events), max_size=5)))
    gathered = Gathered(batch.outputs, batch.rows is not None)
    for start, stop in pairwise([0, *ends, batch.events]):
        piece = batch.slice(start, stop)
        known = [None if valid is None or valid.all() else valid for valid in piece.valid]
        gathered.add(dataclasses.replace(piece, valid=known), data.draw(st.floats(0, 2)))

    found = gathered.whole()

    assert found.events == batch.events
    assert same(found, batch)


def test_nothing_gathered_is_a_batch_without_events() -> None:
    assert same(Gathered(JETS, True).whole(), Batch.empty(JETS, True))


@settings(deadline=None)
@given(made_batches())
def test_fields_have_different_names(batch: Batch) -> None:
    names = wire_form(batch.outputs, batch.rows is not None).schema.names
    assert len(set(names)) == len(names)


JETS = (
    Output("MET_pt", "float32", None),
    Output("Jet_pt", "float32", 0, "Jet", collection=True),
    Output("Jet_id", "uint8", 0, "Jet", collection=True, optional=True),
)


def jets() -> Batch:
    offsets = np.array([0, 2, 2, 3])
    values = [np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float32), np.arange(3, dtype=np.uint8)]
    return Batch(JETS, 3, values, [None, offsets, offsets], [None, None, np.array([True, False, True])])


def test_a_batch_has_the_form_that_is_documented() -> None:
    schema = wire_form(JETS, rows=True).schema
    element = pa.struct([pa.field("Jet_pt", pa.float32(), False), pa.field("Jet_id", pa.uint8(), True)])
    assert schema == pa.schema(
        [
            pa.field("MET_pt", pa.float32(), False),
            pa.field("Jet", pa.list_(pa.field("item", element, False)), False),
            pa.field(ROWS_FIELD, pa.int64(), False),
        ]
    )
    batch = wire_form(JETS).to_wire(jets())
    assert batch.column("Jet").to_pylist() == [
        [{"Jet_pt": 0.0, "Jet_id": 0}, {"Jet_pt": 1.0, "Jet_id": None}],
        [],
        [{"Jet_pt": 2.0, "Jet_id": 2}],
    ]


def test_a_batch_of_other_fields_is_refused() -> None:
    batch = wire_form(JETS).to_wire(jets())
    with pytest.raises(ProtocolError, match=r"\['MET_pt', 'Jet'\], not \['MET_pt'\] as announced"):
        wire_form(JETS[:1]).from_wire(batch)


@pytest.mark.parametrize("offsets", [[0, 2, 1, 3], [0, 2, 2, 9], [-1, 2, 2, 3]])
def test_lists_that_do_not_fit_are_refused(offsets: list[int]) -> None:
    """Else arrays would be read beyond their ends."""
    form = wire_form(JETS)
    good, bad = (np.array(numbers, np.int32).tobytes() for numbers in ([0, 2, 2, 3], offsets))
    data = to_ipc([form.to_wire(jets())], form.schema)
    assert data.count(good) == 1
    (batch,) = from_ipc(data.replace(good, bad))
    with pytest.raises(ProtocolError):
        form.from_wire(batch)


LIST = (Output("Jet_id", "uint8", 0, "Jet", collection=True),)


def of_lists(offsets: list[int], elements: int) -> pa.RecordBatch:
    """A record batch whose lists nobody looked at."""
    schema = wire_form(LIST).schema
    values = pa.array(np.arange(elements) % 100, pa.uint8())
    content = pa.StructArray.from_arrays([values], fields=list(schema.field(0).type.value_type))
    ends = np.zeros(len(offsets), np.int32)
    buffers = [None, pa.py_buffer(ends)]
    lists = pa.Array.from_buffers(schema.field(0).type, len(offsets) - 1, buffers, children=[content])
    batch = pa.RecordBatch.from_arrays([lists], schema=schema)
    ends[:] = offsets  # now that Arrow does not look
    return batch


@pytest.mark.parametrize("events", [0, 1, 5, 100])
@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("behind", [0, 3])
def test_offsets_of_lists_are_made_those_of_a_batch(events: int, first: int, behind: int) -> None:
    """From 0, int64, and of the elements that are in any list."""
    offsets = np.cumsum([first, *np.arange(events) % 4])
    last = int(offsets[-1])
    found = wire_form(LIST).from_wire(of_lists(offsets.tolist(), last + behind))
    wide = found.offsets[0]
    assert wide is not None and wide.dtype == np.int64
    np.testing.assert_array_equal(wide, offsets - first)
    assert wide is found.offsets[0]
    np.testing.assert_array_equal(found.values[0], np.arange(first, last) % 100)
    np.testing.assert_array_equal(found.offsets_at_hand(0), wide)


@pytest.mark.parametrize(
    ("offsets", "elements"),
    [
        ([-1, 0], 3),
        ([0, 2, 1, 3], 3),
        ([3, 0, 3], 3),
        ([0, 4, 3], 3),
        ([0, 4], 3),
        ([0, -(2**31)], 3),
        ([2**31 - 1, -(2**31)], 3),
        ([*range(1000), 998, *range(1000, 2000)], 2000),
    ],
)
def test_offsets_that_do_not_rise_to_the_elements_are_refused(offsets: list[int], elements: int) -> None:
    with pytest.raises(ProtocolError, match="contradicts itself"):
        wire_form(LIST).from_wire(of_lists(offsets, elements))


def test_a_list_that_is_missing_is_refused() -> None:
    good = of_lists([0, 1, 3], 3).column(0)
    missing = pa.ListArray.from_arrays(
        good.offsets, good.values, type=good.type, mask=pa.array([False, True])
    )
    form = wire_form(LIST)
    with pytest.raises(ProtocolError, match="the lists of Jet are not all there"):
        form.from_wire(pa.RecordBatch.from_arrays([missing], schema=form.schema))


def test_offsets_that_are_not_aligned_are_taken() -> None:
    """What comes over the network lies where it came to lie."""
    data = b"x" + np.array([0, 2, 2, 3], np.int32).tobytes()
    good = of_lists([0, 2, 2, 3], 3)
    odd = pa.py_buffer(data).slice(1)
    lists = pa.Array.from_buffers(good.column(0).type, 3, [None, odd], children=[good.column(0).values])
    found = wire_form(LIST).from_wire(pa.RecordBatch.from_arrays([lists], schema=good.schema))
    np.testing.assert_array_equal(found.offsets[0], [0, 2, 2, 3])  # type: ignore[arg-type]


def test_a_batch_that_is_taken_apart_lives_as_long_as_its_arrays() -> None:
    batch = of_lists([0, 2, 2, 3], 3)
    found = wire_form(LIST).from_wire(batch)
    values = found.values[0]
    before = values.tolist()
    del batch, found
    gc.collect()
    assert values.tolist() == before == [0, 1, 2]


@pytest.mark.parametrize(("most", "fits"), [(3, True), (2, False)])
def test_an_axis_has_a_most_elements(most: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "ELEMENTS_MAX", most)
    if fits:
        assert wire_form(JETS).to_wire(jets()).num_rows == 3
        return
    with pytest.raises(ResourceExhausted, match="Jet has 3 elements; 2 go into a batch"):
        wire_form(JETS).to_wire(jets())


def test_a_stream_that_was_cut_gives_whole_batches_or_an_error() -> None:
    """At any byte. Where it is cut between two batches, the number of events tells."""
    form = wire_form(JETS)
    whole = form.to_wire(jets())
    data = to_ipc([whole, whole], form.schema)
    refused = 0
    for stop in range(len(data)):
        try:
            found = list(from_ipc(data[:stop]))
        except ProtocolError:
            refused += 1
        else:
            assert all(batch.equals(whole) for batch in found)
            assert len(found) <= 2
    assert refused > len(data) // 2


# ---- strangers ---------------------------------------------------------------------------------
PROTOCOL_PAGE = (ROOT / "docs/protocol.md").read_text()
SMALL_PIECES = {"SKYHOOK_SERVE_SPLIT_BYTES": "20kB", "SKYHOOK_SERVE_WINDOW_BYTES": "2MB"}
MUONS = {"dataset": "dy", "columns": ["Muon_*", "MET_pt", "event"], "cut": "nMuon >= 1"}
DRIVER = """
import sys, stranger
found = []
for batch in stranger.batches(sys.argv[1], {"dataset": "dy"}):
    found += batch["event"].to_pylist()
    if sys.stdin is not None and len(found) < 400:
        print("some", flush=True)
        sys.stdin.readline()
print(found)
"""
"""Reads slowly at first: after each batch it waits for a line."""


@pytest.fixture(scope="module")
def served(embedded_client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    pytest.importorskip("distributed")
    with serving(
        embedded_client.url, tmp_path_factory.mktemp("serve") / "log", environment=SMALL_PIECES
    ) as found:
        yield found


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client of docs/protocol.md, and what protoc makes of the contract."""
    pytest.importorskip("grpc_tools")
    folder = tmp_path_factory.mktemp("stranger")
    (program,) = re.findall(r"^```py\n(.*?)^```$", PROTOCOL_PAGE, re.MULTILINE | re.DOTALL)
    (folder / "stranger.py").write_text(program)
    (folder / "driver.py").write_text(DRIVER)
    (folder / "delivery.proto").write_text((ROOT / "skyhook_casa/protocol/delivery.proto").read_text())
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--grpc_python_out=."]
    subprocess.run([*command, "delivery.proto"], check=True, cwd=folder, capture_output=True)
    return folder


def test_the_client_of_the_page_gets_the_answer(
    served: ServeProcess, stranger: Path, embedded_client: Client
) -> None:
    command = [sys.executable, "-W", "error", "stranger.py", served.address, json.dumps(MUONS)]
    done = subprocess.run(command, cwd=stranger, capture_output=True, text=True, timeout=END_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{embedded_client.query(**MUONS).count()} events\n"


def test_the_client_of_the_page_is_told_what_is_wrong(served: ServeProcess, stranger: Path) -> None:
    command = [sys.executable, "stranger.py", served.address, '{"dataset": "dyy"}']
    done = subprocess.run(command, cwd=stranger, capture_output=True, text=True, timeout=END_S, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("not-found: no dataset 'dyy'; did you mean 'dy'? (query ")


@pytest.mark.slow
def test_the_client_of_the_page_goes_on_after_the_service_was_killed(
    stranger: Path, embedded_client: Client, tmp_path: Path
) -> None:
    """It gets each event once, though it holds a part of the answer when the service ends."""
    pytest.importorskip("distributed")
    environment = SMALL_PIECES | {"SKYHOOK_SERVE_WINDOW_BYTES": "40kB"}
    store, log = embedded_client.url, tmp_path / "log"
    with serving(store, log, listen=f"{OWN_HOST}:0", environment=environment) as first:
        command = [sys.executable, "-W", "error", "driver.py", first.address]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        driver = subprocess.Popen(command, cwd=stranger, text=True, **pipes)
        assert driver.stdout is not None
        assert driver.stdout.readline() == "some\n"
    with serving(store, log, listen=first.address, environment=environment):
        out, err = driver.communicate("\n" * 1000, timeout=END_S)
    assert driver.returncode == 0, err
    found = ast.literal_eval(out.splitlines()[-1])
    assert found == embedded_client.query("dy", "event").to_awkward().event.to_list()


def test_flight_alone_runs_a_query(served: ServeProcess, embedded_client: Client) -> None:
    with grpc.insecure_channel(served.address) as channel:
        hello = DeliveryStub(channel).Hello(pb.HelloRequest(), metadata=[(PROTOCOL_KEY, "1")], timeout=END_S)
    command = json.dumps({"query": 1, **MUONS}).encode()
    with flight.connect(f"grpc://127.0.0.1:{hello.flight_port}") as stranger:
        info = stranger.get_flight_info(flight.FlightDescriptor.for_command(command))
        (endpoint,) = info.endpoints
        assert endpoint.locations == []
        table = stranger.do_get(endpoint.ticket).read_all()
        assert table.schema == info.schema
        with pytest.raises(flight.FlightError, match="not-found: no dataset 'x'"):
            stranger.get_flight_info(flight.FlightDescriptor.for_command(b'{"query": 1, "dataset": "x"}'))
        with pytest.raises(flight.FlightError, match="not-found: no split has the ticket"):
            stranger.do_get(flight.Ticket(b"0123456789abcdef")).read_all()
    expected = embedded_client.query(**MUONS).to_awkward()
    assert table["event"].to_pylist() == expected.event.to_list()
    muons = pa.concat_arrays([chunk.flatten().field("Muon_pt") for chunk in table["Muon"].chunks])
    assert muons.to_numpy().tobytes() == ak.to_numpy(ak.flatten(expected.Muon_pt)).tobytes()


def test_flight_alone_finds_datasets_and_is_told_what_is_not_offered(served: ServeProcess) -> None:
    with grpc.insecure_channel(served.address) as channel:
        hello = DeliveryStub(channel).Hello(pb.HelloRequest(), metadata=[(PROTOCOL_KEY, "1")], timeout=END_S)
    query = flight.FlightDescriptor.for_command(json.dumps({"query": 1, **MUONS}))
    unknown = flight.FlightDescriptor.for_path("dy")
    with flight.connect(f"grpc://127.0.0.1:{hello.flight_port}") as stranger:
        (listed,) = [one for one in stranger.list_flights() if b'"dy"' in one.descriptor.command]
        table = stranger.do_get(listed.endpoints[0].ticket).read_all()
        assert table.schema == listed.schema
        assert "MET_pt" in table.column_names
        assert stranger.get_schema(query).schema == stranger.get_flight_info(query).schema
        with pytest.raises(pa.ArrowException, match="invalid-request: the descriptor's command is no query"):
            stranger.get_schema(unknown)
        with pytest.raises(flight.FlightError, match=r"invalid-request: the action 'x' is unknown"):
            list(stranger.do_action(flight.Action("x", b"")))
        for name in ("do_put", "do_exchange"):
            with pytest.raises(flight.FlightError, match=r"protocol: Do.* is not offered here") as told:
                write_nothing(stranger, name)
            assert "Traceback" not in str(told.value)


def test_flight_alone_finds_no_datasets_where_there_are_none(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    service = RunningService(skyhook_casa.connect(tmp_path / "store"))
    try:
        with flight.connect(f"grpc://127.0.0.1:{service.service.flight_port}") as stranger:
            assert list(stranger.list_flights()) == []
    finally:
        service.stop()


def write_nothing(stranger: flight.FlightClient, name: str) -> None:
    """Write an empty table, as far as the other side lets us."""
    descriptor, schema = flight.FlightDescriptor.for_path("dy"), pa.schema([])
    if name == "do_put":
        writer, _ = stranger.do_put(descriptor, schema)
    else:
        writer, _ = stranger.do_exchange(descriptor)
        writer.begin(schema)
    writer.done_writing()
    writer.close()


def test_services_are_found_by_reflection_and_health(served: ServeProcess) -> None:
    """Without the metadata that our own calls want: grpcurl and load balancers do not send it."""
    with grpc.insecure_channel(served.address) as channel:
        names = ProtoReflectionDescriptorDatabase(channel).get_services()
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=END_S)
    assert {"skyhook_casa.v1.Delivery", "skyhook_casa.v1.Ingest", "grpc.health.v1.Health"} <= set(names)
    assert check.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(("metadata", "said"), [([], "no version"), ([(PROTOCOL_KEY, "7")], "version 7")])
def test_another_version_is_refused_with_both_named(
    served: ServeProcess, metadata: list[tuple[str, str]], said: str
) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub = DeliveryStub(channel)
        calls: list[Any] = [
            lambda: stub.Hello(pb.HelloRequest(), metadata=metadata, timeout=END_S),
            lambda: list(stub.ListDatasets(pb.ListDatasetsRequest(), metadata=metadata, timeout=END_S)),
            lambda: list(stub.Query(iter([pb.QueryMessage()]), metadata=metadata, timeout=END_S)),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            error = from_rpc_error(caught.value, "here")
            assert isinstance(error, ProtocolError)
            assert f"the client speaks {said}" in str(error)
            assert "speaks version 1" in str(error)


# ---- the page ----------------------------------------------------------------------------------
def rows(heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading of docs/protocol.md."""
    text = PROTOCOL_PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]


def test_the_page_names_every_error_with_its_code() -> None:
    found = {}
    for kinds, code, _ in rows("Errors")[2:]:
        found |= {kind: code.strip("`") for kind in re.findall(r"`([\w-]+)`", kinds)}
    assert found == {kind: code.name for kind, code in CODES.items()}


def test_the_page_names_every_call() -> None:
    found = {name for calls, _ in rows("Calls") for name in re.findall(r"`(\w+)`", calls)}
    services = pb.DESCRIPTOR.services_by_name
    assert found == {method.name for service in services.values() for method in service.methods}


def test_the_page_names_every_field_of_a_query() -> None:
    found = {cells[0].strip("`") for cells in rows("What a query is")}
    query = {field.name for field in dataclasses.fields(Query)} | {"query"}
    start = {field.name for field in pb.QueryStart.DESCRIPTOR.fields}
    assert query | start == found - {"field", "---"}


def test_the_query_of_the_page_is_one() -> None:
    section = PROTOCOL_PAGE.partition("\n## What a query is\n")[2].partition("\n## ")[0]
    (text,) = re.findall(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert Query.from_json(text).limit == 1000
