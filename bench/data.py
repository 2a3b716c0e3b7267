"""Make the benchmark data: ROOT files, their Parquet and Arrow copies, and the expected answers.

python -m bench.data make DIR                       4 million events in 8 ROOT files, then the rest
python -m bench.data copies DIR                     copies and answers of the files in DIR/root
python -m bench.data wide DIR --source nano.root    bootstrapped events of a real NanoAOD schema
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .queries import QUERIES, Answer, answer_of_arrays, deliver_awkward

EVENTS = 4_000_000
FILES = 8
COLLECTIONS = ("Muon", "Electron", "Tau", "Photon", "Jet")
ROW_GROUP_EVENTS = 100_000
ANSWER_STEP_EVENTS = 50_000


def files_of(data: Path, kind: str, files: int | None = None) -> list[str]:
    """Return the paths of the first `files` files of one copy: root, parquet_zstd, arrow_lz4 …"""
    paths = sorted(map(str, (data / kind).glob("nano_*")))
    if not paths:
        raise SystemExit(f"no {kind} files in {data}; run: python -m bench.data make {data}")
    return paths[:files]


# -- Parquet and Arrow copies ----------------------------------------------------------------------
def copies(data: Path) -> None:
    """Write the copies that the peers read, and the answers, of every file in `data`/root."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in QUERIES}
    for path in files_of(data, "root"):
        _copy_file(Path(path), data)
        for name, answer in _answers_of_file(path).items():
            answers[name].append(asdict(answer))
        print(path, flush=True)
    (data / "answers.json").write_text(json.dumps(answers))


def _copy_file(path: Path, data: Path) -> None:
    """Every field is non-nullable: NanoAOD has no nulls, and readers are much faster without."""
    import pyarrow.parquet as pq
    import uproot

    with uproot.open(path) as file:
        arrays = file["Events"].arrays(library="ak", how=dict)
    flat = _required({name: _arrow(array) for name, array in arrays.items()})
    for kind, options in (("parquet_zstd", {}), ("parquet_bss", _byte_stream_split(flat.schema))):
        target = _target(data, kind, path, ".parquet")
        pq.write_table(
            flat, target, row_group_size=ROW_GROUP_EVENTS, compression="zstd", compression_level=3, **options
        )
    _write_ipc(_with_structs(flat), _target(data, "arrow_lz4", path, ".arrow"))


def _target(data: Path, kind: str, path: Path, suffix: str) -> Path:
    target = data / kind / (path.stem + suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _arrow(array: Any) -> Any:
    """Return the Arrow array of a flat or jagged awkward array."""
    import awkward as ak
    import pyarrow as pa

    if array.ndim == 1:
        return pa.array(ak.to_numpy(array))
    packed = ak.to_packed(array)
    values = pa.array(ak.to_numpy(packed.layout.content))
    offsets = pa.array(np.asarray(packed.layout.offsets.data, np.int32))
    element = pa.field("element", values.type, nullable=False)
    return pa.ListArray.from_arrays(offsets, values, type=pa.list_(element))


def _required(columns: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    schema = pa.schema([pa.field(name, array.type, nullable=False) for name, array in columns.items()])
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def _byte_stream_split(schema: Any) -> dict[str, Any]:
    """Return the writer options: byte-stream-split for float columns, a dictionary for the others."""
    import pyarrow as pa

    def leaf(field: Any) -> tuple[str, Any]:
        if pa.types.is_list(field.type):
            return f"{field.name}.list.element", field.type.value_type
        return field.name, field.type

    leaves = [leaf(field) for field in schema]
    return {
        "use_byte_stream_split": [name for name, dtype in leaves if dtype == pa.float32()],
        "use_dictionary": [name for name, dtype in leaves if dtype != pa.float32()],
    }


def _with_structs(flat: Any) -> Any:
    """Return the table with each collection as one list<struct>, which shares its offsets."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in flat.column_names:
        collection = name.split("_")[0]
        if collection not in COLLECTIONS:
            columns[name] = flat[name].chunk(0)
        elif collection not in columns:
            names = [n for n in flat.column_names if n.startswith(collection + "_")]
            lists = [flat[n].chunk(0) for n in names]
            fields = [
                pa.field(n[len(collection) + 1 :], x.values.type, nullable=False)
                for n, x in zip(names, lists, strict=True)
            ]
            struct = pa.StructArray.from_arrays([x.values for x in lists], fields=fields)
            item = pa.field("item", struct.type, nullable=False)
            columns[collection] = pa.ListArray.from_arrays(lists[0].offsets, struct, type=pa.list_(item))
    return _required(columns)


def _write_ipc(table: Any, target: Path) -> None:
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=ROW_GROUP_EVENTS)


# -- the expected answers --------------------------------------------------------------------------
def _answers_of_file(path: str) -> dict[str, Answer]:
    """Return the answer of each query, by uproot and awkward alone."""
    import uproot

    answers = {name: Answer() for name in QUERIES}
    columns = sorted({c for q in QUERIES.values() for c in q.columns})
    with uproot.open(path) as file:
        for events in file["Events"].iterate(columns, step_size=ANSWER_STEP_EVENTS, library="ak", how=dict):
            for name, query in QUERIES.items():
                answers[name] += answer_of_arrays(query, deliver_awkward(query, events))
    return answers


def expected_answer(data: Path, query: str, files: int | None) -> Answer:
    """Return the answer of a query over the first `files` files."""
    stored = json.loads((data / "answers.json").read_text())[query]
    answer = Answer()
    for one in stored[:files]:
        answer += Answer(**one)
    return answer


# -- wide events -----------------------------------------------------------------------------------
def widen(source: Path, target: Path, events: int, seed: int, cluster: int = 5000) -> None:
    """Write `events` events drawn from those of a real NanoAOD file, all its branches kept.

    Floats are smeared by a few per cent and cut back to the mantissa bits that their branch
    really uses: NanoAOD stores reduced precision, which decides how well it compresses.
    """
    import uproot

    rng = np.random.default_rng(seed)
    with uproot.open(source) as file:
        tree = file["Events"]
        counters = {b.name: b.count_branch.name if b.count_branch else None for b in tree.branches}
        arrays = tree.arrays(library="ak", how=dict)
    bits = {name: _mantissa_bits(array) for name, array in arrays.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(target, compression=uproot.ZLIB(1)) as file:
        out = None
        for start in range(0, events, cluster):
            drawn = rng.integers(0, tree.num_entries, min(cluster, events - start))
            chunk = dict(_drawn(arrays, counters, bits, drawn, rng))
            chunk["event"] = (seed * events + start + np.arange(len(drawn))).astype(chunk["event"].dtype)
            out = out or file.mktree("Events", {name: _branch_type(array) for name, array in chunk.items()})
            out.extend(chunk)


def _drawn(
    arrays: Mapping[str, Any],
    counters: Mapping[str, str | None],
    bits: Mapping[str, int],
    drawn: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[tuple[str, Any]]:
    """Yield what uproot writes: event columns, and one record per counted collection."""
    import awkward as ak

    for counter in sorted({c for c in counters.values() if c}):
        members = [name for name, c in counters.items() if c == counter]
        picked = {name: arrays[name][drawn] for name in members}
        lengths = ak.num(picked[members[0]])
        record = {
            name[len(counter) :] or counter[1:]: _smeared(ak.to_numpy(ak.flatten(x)), bits[name], rng)
            for name, x in picked.items()
        }
        yield counter[1:], ak.unflatten(ak.zip(record, depth_limit=1), lengths)
    for name, own in counters.items():
        if own is None and name not in counters.values():
            yield name, _smeared(np.asarray(arrays[name])[drawn], bits[name], rng)


def _branch_type(array: Any) -> Any:
    import awkward as ak

    return array.dtype if isinstance(array, np.ndarray) else ak.type(array).content


def _mantissa_bits(array: Any) -> int:
    """Return how many mantissa bits a float32 column uses: 23 are all; 0 of other types."""
    import awkward as ak

    flat = np.asarray(ak.ravel(array))
    if flat.dtype != np.float32:
        return 0
    used = int(np.bitwise_or.reduce(flat.view(np.uint32) & 0x7FFFFF, initial=0))
    return 0 if used == 0 else 24 - (used & -used).bit_length()


def _smeared(values: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Return the values, those of floats times 1 ± 0.05; sentinels such as -999 stay."""
    if bits < 2 or not len(values):
        return values
    smeared = (values * (1 + 0.05 * rng.standard_normal(len(values), dtype=np.float32))).astype(np.float32)
    mask = np.uint32((0xFFFFFFFF << (23 - bits)) & 0xFFFFFFFF)
    return np.where(np.abs(values) > 900, values, (smeared.view(np.uint32) & mask).view(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("make", "copies", "wide"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--source", type=Path, help="a real NanoAOD file, whose schema `wide` takes")
    args = parser.parse_args()
    if args.what == "wide":
        for i in range(2):
            widen(args.source, args.data / "wide" / "root" / f"nano_{i:03d}.root", 30_000, seed=i + 1)
        return
    if args.what == "make":
        from .generator import write_dataset

        write_dataset(args.data / "root", args.events, args.files)
    copies(args.data)


if __name__ == "__main__":
    main()
