"""Objects as this package writes them, read by Arrow, by the Python directory reader, by the engine."""

from __future__ import annotations

import hashlib
import runpy
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyhook_casa.arrow_schema import from_arrow_schema, physical_columns, to_arrow_schema
from skyhook_casa.errors import CorruptObject, InvalidRequest, NotFound, ResourceExhausted
from skyhook_casa.object_format import (
    CHUNK_ELEMENTS_MAX,
    CHUNK_EVENTS_MAX,
    EncodedObject,
    ObjectWriter,
    read_chunk,
    read_directory,
)
from skyhook_casa.program import ProgramBuilder
from skyhook_casa.schema import DTYPES, Column, ListInfo, Schema

GOLDEN = Path(__file__).parent / "golden"
CODECS = ["lz4", "zstd", "none"]
Arrays = dict[str, np.ndarray[Any, Any]]


def make_schema(*columns: Column, lists: tuple[ListInfo, ...] = ()) -> Schema:
    return Schema({c.name: c for c in columns}, {one.name: one for one in lists})


SMALL = make_schema(
    Column("run", "uint32", title="run number", typename="uint32_t"),
    Column("nMuon", "uint32", counts="Muon", title="muons", typename="uint32_t"),
    Column("Muon_pt", "float32", list="Muon", title="pt in GeV"),
    Column("Muon_charge", "int32", list="Muon"),
    Column("HLT_mu", "bool"),
    Column("Muon_tight", "bool", list="Muon"),
    Column("Weights", "float64", list="Weights"),
    lists=(ListInfo("Muon", "nMuon", collection=True), ListInfo("Weights")),
)


def small_chunk(events: int, seed: int = 1) -> Arrays:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, events))]).astype(np.int32)
    muons = int(offsets[-1])
    return {
        "run": np.arange(events, dtype=np.uint32),
        "Muon#": offsets,
        "Muon_pt": rng.exponential(20, muons).astype(np.float32),
        "Muon_charge": rng.choice([-1, 1], muons).astype(np.int32),
        "HLT_mu": rng.random(events) < 0.3,
        "Muon_tight": rng.random(muons) < 0.7,
        "Weights#": np.arange(events + 1, dtype=np.int32),
        "Weights": rng.normal(size=events),
    }


def encode(schema: Schema, chunks: list[tuple[int, Arrays]], codec: str = "lz4") -> EncodedObject:
    writer = ObjectWriter(schema, codec)
    for events, arrays in chunks:
        writer.write(events, arrays)
    return writer.finish()


def assert_holds(item: EncodedObject, chunks: list[tuple[int, Arrays]]) -> None:
    directory = read_directory(item.data)
    assert directory.chunk_events == tuple(events for events, _ in chunks)
    for number, (_, arrays) in enumerate(chunks):
        for name, expected in arrays.items():
            got = read_chunk(item.data, directory, name, number)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)


# -- writing and reading back ---------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_arrow_opens_an_object(codec: str) -> None:
    """The format promises that no knowledge of the directory is needed."""
    chunks = [(100, small_chunk(100)), (7, small_chunk(7, 2))]

    table = pa.ipc.open_file(encode(SMALL, chunks, codec).data).read_all()

    table.validate(full=True)
    assert table.num_rows == 107
    np.testing.assert_array_equal(table["run"].chunk(1).to_numpy(), chunks[1][1]["run"])
    muons = table["Muon"].chunk(0)
    np.testing.assert_array_equal(muons.offsets.to_numpy(), chunks[0][1]["Muon#"])
    np.testing.assert_array_equal(muons.values.field("pt").to_numpy(), chunks[0][1]["Muon_pt"])
    assert not any(field.nullable for field in table.schema)


@pytest.mark.parametrize("codec", CODECS)
def test_the_directory_finds_every_value(codec: str) -> None:
    chunks = [(100, small_chunk(100)), (1, small_chunk(1, 2)), (9, small_chunk(9, 3))]

    item = encode(SMALL, chunks, codec)

    assert_holds(item, chunks)
    assert read_directory(item.data).codec == codec


def test_an_object_is_named_by_its_content() -> None:
    item = encode(SMALL, [(5, small_chunk(5))])

    assert item.name == hashlib.sha256(item.data).hexdigest()
    assert item.name == encode(SMALL, [(5, small_chunk(5))]).name


def test_the_writer_says_where_the_directory_is() -> None:
    """The catalog keeps these numbers so that a reader needs no look-up."""
    writer = ObjectWriter(SMALL)
    writer.write(5, small_chunk(5))
    foretold = writer.directory_bytes
    item = writer.finish()

    directory = read_directory(item.data)

    assert (item.directory_start, item.directory_bytes) == (
        directory.directory_start,
        directory.directory_bytes,
    )
    assert item.directory_start % 8 == 0
    assert foretold == item.directory_bytes
    assert item.columns == tuple(c.name for c in directory.columns)


def test_offsets_come_before_the_columns_of_their_list() -> None:
    names = [column.name for column in physical_columns(SMALL)]

    assert names == [
        "run",
        "Muon#",
        "Muon_pt",
        "Muon_charge",
        "Muon_tight",
        "HLT_mu",
        "Weights#",
        "Weights",
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_an_object_without_events_is_an_object(codec: str) -> None:
    item = encode(SMALL, [], codec)

    assert read_directory(item.data).events == 0
    table = pa.ipc.open_file(item.data).read_all()
    assert (table.num_rows, table.schema.names) == (0, ["run", "Muon", "HLT_mu", "Weights"])


def test_an_object_without_columns_knows_its_events() -> None:
    item = encode(Schema(), [(3, {})])

    assert read_directory(item.data).events == 3


def test_a_collection_without_columns_keeps_its_lengths() -> None:
    schema = make_schema(
        Column("nMuon", "uint32", counts="Muon"), lists=(ListInfo("Muon", "nMuon", collection=True),)
    )

    item = encode(schema, [(2, {"Muon#": np.array([0, 2, 3], np.int32)})])

    assert pa.ipc.open_file(item.data).read_all()["Muon"].to_pylist() == [[{}, {}], [{}]]
    assert_holds(item, [(2, {"Muon#": np.array([0, 2, 3], np.int32)})])


def test_a_column_called_as_its_collection_keeps_its_name() -> None:
    """Some files have both `SV` and `SV_pt`, counted by one `nSV`."""
    schema = make_schema(
        Column("nSV", "uint32", counts="SV"),
        Column("SV", "float32", list="SV"),
        Column("SV_pt", "float32", list="SV"),
        lists=(ListInfo("SV", "nSV", collection=True),),
    )

    assert from_arrow_schema(to_arrow_schema(schema)) == schema
    assert [column.name for column in physical_columns(schema)] == ["SV#", "SV", "SV_pt"]


def test_titles_types_and_counters_travel_with_the_object() -> None:
    item = encode(SMALL, [(5, small_chunk(5))])

    read = from_arrow_schema(pa.ipc.open_file(item.data).schema)

    assert read == SMALL


def test_zone_maps_leave_nan_aside() -> None:
    schema = make_schema(Column("x", "float32"))
    chunks = [[1.5, np.nan, -2.0], [np.nan, np.nan], [np.inf, -np.inf, np.nan], [0.25, 4.0]]

    item = encode(schema, [(len(c), {"x": np.array(c, np.float32)}) for c in chunks])

    column = read_directory(item.data).column("x")
    assert [column.range(i) for i in range(4)] == [(-2.0, 1.5), None, (-np.inf, np.inf), (0.25, 4.0)]
    assert column.chunks["flags"].tolist() == [3, 2, 3, 1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_zone_maps_are_exact_at_the_ends_of_a_type(dtype: str) -> None:
    if dtype == "bool":
        low, high = False, True
    else:
        info = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
        low, high = info.min, info.max
    values = np.array([high, low, high], dtype)

    item = encode(make_schema(Column("x", dtype)), [(3, {"x": values})])

    assert read_directory(item.data).column("x").range(0) == (low, high)


def test_the_zone_map_of_offsets_is_the_range_of_list_lengths() -> None:
    arrays = small_chunk(3) | {"Weights#": np.array([0, 4, 4, 5], np.int32), "Weights": np.zeros(5)}

    item = encode(SMALL, [(3, arrays)])

    assert read_directory(item.data).column("Weights#").range(0) == (0, 4)


def test_strided_arrays_are_written_as_they_read() -> None:
    values = np.arange(20, dtype=np.int16)[::2]

    item = encode(make_schema(Column("x", "int16")), [(10, {"x": values})])

    assert_holds(item, [(10, {"x": values})])


@st.composite
def objects(draw: st.DrawFn) -> tuple[Schema, list[tuple[int, Arrays]]]:
    scalars = draw(st.lists(st.sampled_from(DTYPES), max_size=3))
    lists = draw(st.lists(st.lists(st.sampled_from(DTYPES), max_size=3), max_size=2))
    columns = [Column(f"s{i}", dtype) for i, dtype in enumerate(scalars)]
    infos = []
    for i, dtypes in enumerate(lists):
        infos.append(ListInfo(f"L{i}", f"nL{i}", collection=True))
        columns.append(Column(f"nL{i}", "uint32", counts=f"L{i}"))
        columns += [Column(f"L{i}_{j}", dtype, list=f"L{i}") for j, dtype in enumerate(dtypes)]
    schema = make_schema(*columns, lists=tuple(infos))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    chunks = []
    for events in draw(st.lists(st.integers(1, 40), max_size=3)):
        lengths = {"": events}
        arrays: Arrays = {}
        for info in infos:
            offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 3, events))]).astype(np.int32)
            arrays[info.name + "#"] = offsets
            lengths[info.name] = int(offsets[-1])
        for column in columns:
            if column.counts is None:
                raw = rng.integers(0, 256, lengths[column.list or ""] * 8, dtype=np.uint8)
                values = raw.view(np.uint64) if column.dtype == "bool" else raw.view(column.dtype)
                values = values[: lengths[column.list or ""]]
                arrays[column.name] = values % 2 == 1 if column.dtype == "bool" else values
        chunks.append((events, arrays))
    return schema, chunks


@settings(deadline=None, max_examples=60)
@given(objects(), st.sampled_from(CODECS))
def test_any_bytes_come_back(content: tuple[Schema, list[tuple[int, Arrays]]], codec: str) -> None:
    """Random bytes are values too: every NaN, every denormal, huge integers."""
    schema, chunks = content
    item = encode(schema, chunks, codec)

    directory = read_directory(item.data)

    for number, (_, arrays) in enumerate(chunks):
        for name, expected in arrays.items():
            got = read_chunk(item.data, directory, name, number)
            assert got.tobytes() == np.ascontiguousarray(expected).tobytes()
    table = pa.ipc.open_file(item.data).read_all()
    table.validate(full=True)
    assert from_arrow_schema(table.schema).lists == schema.lists


# -- what the writer refuses ----------------------------------------------------------------


def replace(**changes: np.ndarray[Any, Any] | None) -> Arrays:
    arrays = small_chunk(5) | changes
    return {name.replace("_offsets", "#"): a for name, a in arrays.items() if a is not None}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (replace(run=None), "lacks column 'run'"),
        (replace(run=np.zeros(5)), "'run' is float64, not uint32"),
        (replace(run=np.zeros(4, np.uint32)), r"shape \(4,\), not \(5,\)"),
        (replace(Muon_pt=np.zeros(99, np.float32)), "'Muon_pt' has shape"),
        (small_chunk(5) | {"Muon#": np.array([0, 1, 0, 1, 1, 1], np.int32)}, "do not rise from 0"),
        (small_chunk(5) | {"Muon#": np.arange(1, 7, dtype=np.int32)}, "do not rise from 0"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(arrays: Arrays, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        ObjectWriter(SMALL).write(5, arrays)


def test_an_empty_chunk_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="0 events"):
        ObjectWriter(SMALL).write(0, {})


def test_a_chunk_has_so_many_events_and_elements_and_no_more() -> None:
    """The engine refuses to read more."""
    schema = Schema(
        {"x": Column("x", "bool"), "nA": Column("nA", "uint32", counts="A")}, {"A": ListInfo("A", "nA", True)}
    )
    most, elements = CHUNK_EVENTS_MAX, CHUNK_ELEMENTS_MAX

    def write(events: int, elements: int) -> None:
        offsets = np.full(events + 1, elements, np.int32)
        offsets[0] = 0
        ObjectWriter(schema).write(events, {"x": np.zeros(events, np.bool_), "A#": offsets})

    write(most, elements)
    with pytest.raises(InvalidRequest, match=f"{most + 1} events"):
        write(most + 1, 0)
    with pytest.raises(ResourceExhausted, match=f"{elements + 1} elements"):
        write(1, elements + 1)


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'lzo' is unknown: none, lz4, zstd"):
        ObjectWriter(SMALL, "lzo")


def test_two_columns_of_one_name_are_refused() -> None:
    schema = Schema({"a": Column("x", "int8"), "b": Column("x", "int8")})

    with pytest.raises(InvalidRequest, match="'x' and 'x' cannot be told apart"):
        ObjectWriter(schema)


def test_an_object_may_be_as_large_as_allowed_and_no_larger() -> None:
    """At the limit it is written; one byte less room and it is refused."""
    size = encode(SMALL, [(50, small_chunk(50))]).data.size

    for room, fits in ((size, True), (size - 1, False)):
        writer = ObjectWriter(SMALL, bytes_max=room)
        writer.write(50, small_chunk(50))
        if fits:
            assert writer.finish().data.size == size
        else:
            with pytest.raises(ResourceExhausted, match=f"would pass {room} bytes"):
                writer.finish()


def test_a_chunk_that_does_not_fit_into_the_object_is_refused() -> None:
    writer = ObjectWriter(SMALL, bytes_max=5000)

    with pytest.raises(ResourceExhausted, match="would pass 5000 bytes"):
        writer.write(500, small_chunk(500))


# -- the golden object ----------------------------------------------------------------------


def golden() -> dict[str, Any]:
    return runpy.run_path(str(GOLDEN / "make_object.py"), run_name="golden")


@pytest.mark.parametrize("name", ["object_v1.arrow"])
def test_the_golden_object_still_reads(name: str) -> None:
    """Objects of every version that ever was must stay readable."""
    recipe = golden()
    data = pa.py_buffer((GOLDEN / name).read_bytes())
    directory = read_directory(data)

    for number, (_, arrays) in enumerate(recipe["golden_chunks"]()):
        for column, expected in arrays.items():
            np.testing.assert_array_equal(read_chunk(data, directory, column, number), expected)
    table = pa.ipc.open_file(data).read_all()
    table.validate(full=True)
    assert from_arrow_schema(table.schema) == recipe["golden_schema"]()


def test_the_golden_recipe_still_makes_the_same_directory() -> None:
    """Compressed bytes may change with Arrow; what the directory says of the values may not."""
    stored = read_directory((GOLDEN / "object_v1.arrow").read_bytes())
    made = read_directory(golden()["golden_object"]().data)

    for one, other in zip(stored.columns, made.columns, strict=True):
        assert (one.name, one.dtype, one.kind, one.offsets_index) == (
            other.name,
            other.dtype,
            other.kind,
            other.offsets_index,
        )
        for key in ("raw_bytes", "min", "max", "values", "flags"):
            np.testing.assert_array_equal(one.chunks[key], other.chunks[key])


# -- damage ---------------------------------------------------------------------------------


def tiny() -> tuple[EncodedObject, dict[str, list[bytes]]]:
    schema = make_schema(
        Column("run", "uint16"),
        Column("nMuon", "uint32", counts="Muon"),
        Column("Muon_pt", "float32", list="Muon"),
        Column("ok", "bool"),
        lists=(ListInfo("Muon", "nMuon", collection=True),),
    )
    item = encode(schema, [(9, pick(small_chunk(9), schema)), (3, pick(small_chunk(3, 2), schema))])
    return item, values_of(item.data)


def pick(arrays: Arrays, schema: Schema) -> Arrays:
    found = {column.name: arrays.get(column.name) for column in physical_columns(schema)}
    found["run"] = arrays["run"].astype(np.uint16)
    found["ok"] = arrays["HLT_mu"]
    return {name: values for name, values in found.items() if values is not None}


def values_of(data: Any) -> dict[str, list[bytes]]:
    directory = read_directory(data)
    return {
        column.name: [
            read_chunk(data, directory, column.name, i).tobytes() for i in range(len(directory.chunk_events))
        ]
        for column in directory.columns
    }


def test_every_flipped_byte_is_found_or_does_not_matter() -> None:
    """A typed error or the right answer, for each byte of an object; never wrong values."""
    item, expected = tiny()
    original = item.data.to_pybytes()
    found = 0

    for at in range(len(original)):
        damaged = bytearray(original)
        damaged[at] ^= 0xFF
        try:
            assert values_of(damaged) == expected
        except CorruptObject:
            found += 1
    assert found >= item.directory_bytes


def test_every_shortened_object_is_found() -> None:
    item, _ = tiny()
    original = item.data.to_pybytes()

    for size in range(len(original)):
        with pytest.raises(CorruptObject):
            values_of(original[:size])


def test_the_engine_finds_every_flipped_byte() -> None:
    """As above, with the reader that queries use."""
    engine = pytest.importorskip("skyhook_casa._engine")
    item, _ = tiny()
    original = item.data.to_pybytes()
    expected = scanned(engine, item, original)
    found = 0

    for at in range(len(original)):
        for mask in (0xFF, 0x01):
            damaged = bytearray(original)
            damaged[at] ^= mask
            try:
                assert scanned(engine, item, bytes(damaged)) == expected
            except CorruptObject:
                found += 1
    assert found >= item.directory_bytes


def scanned(engine: Any, item: EncodedObject, data: bytes) -> list[bytes]:
    muon = ListInfo("Muon", "nMuon", collection=True)
    builder = ProgramBuilder()
    outputs = [
        builder.load(Column("run", "uint16"), None),
        builder.load(Column("ok", "bool"), None),
        builder.load(Column("Muon_pt", "float32", list="Muon"), muon),
    ]
    result = engine.Result(["uint16", "bool", "float32"], [-1, -1, 0], rows=True)
    scan = engine.Scan(builder.encode([], outputs))
    view = memoryview(data)
    cursor = 0
    while cursor >= 0:
        cursor = scan.run_ranges(
            lambda ranges: [view[start:stop] for start, stop in ranges],
            item.directory_start,
            item.directory_bytes,
            result,
            cursor=cursor,
            events_max=-1,
        )
    return [result.values(i).tobytes() for i in range(3)] + [result.offsets(0).tobytes()]


def test_a_column_that_is_not_there_is_named_with_its_neighbours() -> None:
    item, _ = tiny()

    with pytest.raises(NotFound, match=r"no column 'Muon_pz'; did you mean 'Muon_pt'"):
        read_directory(item.data).column("Muon_pz")


def test_a_newer_version_is_refused() -> None:
    item, _ = tiny()
    data = bytearray(item.data)
    struct.pack_into("<I", data, item.directory_start + 8, 2)

    with pytest.raises(CorruptObject):
        read_directory(data)
