"""Makes the golden object of the current format version: run it once for each new version.

python tests/golden/make_object.py tests/golden/object_v1.arrow
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from skyhook_casa.object_format import EncodedObject, ObjectWriter
from skyhook_casa.schema import DTYPES, Column, ListInfo, Schema


def golden_schema() -> Schema:
    """Every element type per event and per element, with and without a counter."""
    columns = [Column("run", "uint32", title="run number", typename="uint32_t")]
    columns += [Column(f"x_{dtype}", dtype) for dtype in DTYPES]
    columns.append(Column("nMuon", "uint32", counts="Muon", title="muons", typename="uint32_t"))
    columns += [Column(f"Muon_{dtype}", dtype, list="Muon", title=dtype) for dtype in DTYPES]
    columns.append(Column("Weight", "float32", list="Weight"))
    lists = [ListInfo("Muon", "nMuon", collection=True), ListInfo("Weight")]
    return Schema({c.name: c for c in columns}, {one.name: one for one in lists})


def golden_chunks() -> list[tuple[int, dict[str, np.ndarray]]]:
    """Three chunks by arithmetic alone: no generator that a library could change."""
    return [(events, _chunk(first, events)) for first, events in ((0, 64), (64, 64), (128, 5))]


def _chunk(first: int, events: int) -> dict[str, np.ndarray]:
    event = np.arange(first, first + events)
    counts = (event * 7) % 5 if first != 64 else np.zeros(events, np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    arrays = {"run": np.full(events, 362_000, np.uint32), "Muon#": offsets}
    arrays |= {f"x_{dtype}": _values(dtype, event) for dtype in DTYPES}
    arrays |= {f"Muon_{dtype}": _values(dtype, np.arange(offsets[-1]) + 3 * first) for dtype in DTYPES}
    arrays["Weight#"] = np.arange(events + 1, dtype=np.int32)
    arrays["Weight"] = np.sqrt(event).astype(np.float32)
    if first == 0:
        arrays["Weight"][:4] = [np.nan, np.inf, -np.inf, -0.0]
    return arrays


def _values(dtype: str, numbers: np.ndarray) -> np.ndarray:
    if dtype == "bool":
        return numbers % 3 == 0
    if dtype.startswith("float"):
        return (numbers * 0.5 - 20).astype(dtype)
    info = np.iinfo(dtype)
    return np.array([info.min, info.max, *range(126)], dtype)[numbers % 128]


def golden_object() -> EncodedObject:
    """The object as this version of the package writes it."""
    writer = ObjectWriter(golden_schema())
    for events, arrays in golden_chunks():
        writer.write(events, arrays)
    return writer.finish()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(golden_object().data)
