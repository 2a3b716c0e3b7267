"""The hand-written ceiling: `ceiling.cpp`, compiled here, over the Arrow IPC files."""

from __future__ import annotations

import ctypes
import hashlib
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .peers import System
from .queries import BINS, SKIM_COLUMNS, Arrays, BenchQuery, Histograms

_COLUMNS = {
    "q1": ("MET_pt",),
    "q2": ("Jet#", "Jet_pt"),
    "q3": ("Jet#", "Jet_pt", "Jet_eta"),
    "q4": ("MET_pt", "Jet#", "Jet_pt"),
    "q5": ("MET_pt", "Muon#", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge"),
    "q6": ("Jet#", "Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_btag"),
}
_SKIM = ("Muon#", "Jet#", "MET_pt", *SKIM_COLUMNS)
_SKIM_DTYPES = {"run": "int32", "event": "uint64", "Muon_charge": "int32"}
"""The others are float32."""


class Ceiling(System):
    """Hand-written C++ per query on LZ4 chunks."""

    kind = "arrow_lz4"

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        super().__init__(data, query, cores, files)
        self._library = _compiled()
        self._pool = ThreadPoolExecutor(cores)
        for path in self.files:
            _layout(path)

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        return (query.is_skim or query.name in _COLUMNS) and super().can(query, histogram)

    def deliver(self) -> Arrays:
        work = self._skim_file if self.query.is_skim else self._deliver_file
        parts = self._map(work)
        return {name: [part[name] for part in parts] for name in self.query.axes}

    def histogram(self) -> Histograms:
        parts = self._map(self._fill_file)
        return {name: sum(part[name] for part in parts) for name in self.query.axes}

    def _map(self, work: Any) -> list[Any]:
        return list(map(work, self.files) if self.cores == 1 else self._pool.map(work, self.files))

    def _deliver_file(self, path: str) -> dict[str, np.ndarray]:
        events, buffers = _layout(path).of(_COLUMNS[self.query.name])
        room = int(_raw_bytes(buffers).max(axis=1).sum()) // 4 + 2048
        arrays = [np.empty(room, np.float32) for _ in range(2)]
        sizes = np.zeros(2, np.int64)
        self._library.ceiling_deliver(*self._common(events, buffers), *map(_pointer, arrays), _pointer(sizes))
        return {name: x[:n] for name, x, n in zip(self.query.axes, arrays, sizes, strict=False)}

    def _fill_file(self, path: str) -> Histograms:
        events, buffers = _layout(path).of(_COLUMNS[self.query.name])
        bins = [np.zeros(BINS + 2, np.int64) for _ in range(2)]
        limits = np.array([x or (0.0, 1.0) for x in self.query.axes.values()] * 2).ravel()
        self._library.ceiling_fill(*self._common(events, buffers), *map(_pointer, bins), _pointer(limits))
        return dict(zip(self.query.axes, bins, strict=False))

    def _common(self, events: np.ndarray, buffers: np.ndarray) -> tuple[Any, ...]:
        number = ctypes.c_int(int(self.query.name[1:]))
        return (
            number,
            ctypes.c_int64(len(events)),
            _pointer(events),
            ctypes.c_int64(buffers.shape[1]),
            _pointer(buffers),
        )

    def _skim_file(self, path: str) -> dict[str, Any]:
        import awkward as ak

        events, buffers = _layout(path).of(_SKIM)
        outputs = ["Muon#", "Jet#", *SKIM_COLUMNS]
        room = _raw_bytes(buffers)[:, [0, 1, *range(3, len(_SKIM))]].sum(axis=0) + 64
        memory = [np.empty(int(n), np.uint8) for n in room]
        sizes = np.zeros(len(outputs), np.int64)
        lists = np.array([{"Muon": 0, "Jet": 1}.get(name.split("_")[0], -1) for name in _SKIM], np.int32)
        widths = np.array([8 if name == "event" else 4 for name in _SKIM], np.int32)
        above = self.query.met_above_gev
        self._library.ceiling_skim(
            ctypes.c_int(above is None),
            ctypes.c_float(above or 0.0),
            ctypes.c_int64(len(events)),
            _pointer(events),
            ctypes.c_int64(len(_SKIM)),
            *map(
                _pointer,
                (buffers, lists, widths, np.array([m.ctypes.data for m in memory], np.uint64), sizes),
            ),
        )
        found = {name: m[:n] for name, m, n in zip(outputs, memory, sizes, strict=True)}
        offsets = {name: ak.index.Index32(found[name + "#"].view(np.int32)) for name in ("Muon", "Jet")}
        arrays: dict[str, Any] = {}
        for name in SKIM_COLUMNS:
            values = found[name].view(_SKIM_DTYPES.get(name, "float32"))
            axis = offsets.get(name.split("_")[0])
            content = ak.contents.NumpyArray(values)
            arrays[name] = values if axis is None else ak.Array(ak.contents.ListOffsetArray(axis, content))
        return arrays


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)  # keeps the array alive


def _raw_bytes(buffers: np.ndarray) -> np.ndarray:
    """Return the uncompressed length of each buffer, from its first eight bytes."""
    raw = [
        ctypes.c_int64.from_address(address).value if length else 0
        for address, length in buffers.reshape(-1, 2).tolist()
    ]
    lengths = buffers.reshape(-1, 2)[:, 1].tolist()
    return np.array([n if r < 0 else r for r, n in zip(raw, lengths, strict=True)]).reshape(buffers.shape[:2])


@lru_cache
def _compiled() -> ctypes.CDLL:
    source = Path(__file__).with_name("ceiling.cpp")
    tag = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    library = Path(tempfile.gettempdir()) / f"skyhook_ceiling_{tag}.so"
    if not library.exists():
        made = library.with_suffix(".tmp")
        options = ["-std=c++20", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC"]
        subprocess.run(["g++", *options, str(source), "-o", str(made), "-llz4"], check=True)
        made.rename(library)
    return ctypes.CDLL(str(library))


# -- where the buffers of an Arrow IPC file lie ----------------------------------------------------
class _Layout:
    """Addresses and lengths of the body buffers of a mapped IPC file, by column and batch."""

    def __init__(self, path: str) -> None:
        import pyarrow as pa

        self._memory = np.memmap(path, np.uint8, "r")
        with pa.memory_map(path) as file:
            names = _buffer_names(pa.ipc.open_file(file).schema)
        self._events: list[int] = []
        self._where: list[dict[str, tuple[int, int]]] = []
        for start, metadata_bytes in _blocks(self._memory):
            events, buffers = _record_batch(self._memory[start + 8 : start + metadata_bytes].tobytes())
            body = self._memory.ctypes.data + start + metadata_bytes
            self._events.append(events)
            self._where.append(
                {name: (body + o, n) for name, (o, n) in zip(names, buffers, strict=True) if name is not None}
            )

    def of(self, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return events per batch, and (address, length) by batch and column."""
        where = [[batch[name] for name in columns] for batch in self._where]
        return np.array(self._events, np.int64), np.array(where, np.int64)


_layout = lru_cache(_Layout)


def _buffer_names(schema: Any) -> list[str | None]:
    """Return the column of each buffer in IPC order, `Muon#` for offsets, None for validity."""
    import pyarrow as pa

    names: list[str | None] = []

    def walk(name: str, dtype: Any) -> None:
        if pa.types.is_list(dtype):
            names.extend([None, name + "#"])
            walk(name, dtype.value_type)
        elif pa.types.is_struct(dtype):
            names.append(None)
            for field in dtype:
                walk(f"{name}_{field.name}", field.type)
        else:
            names.extend([None, name])

    for field in schema:
        walk(field.name, field.type)
    return names


def _table_field(data: bytes, table: int, number: int) -> int:
    """Return where field `number` of the flatbuffer table at `table` lies."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    return table + int(struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0])


def _follow(data: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", data, place)[0])


def _blocks(memory: np.ndarray) -> list[tuple[int, int]]:
    """Return (offset, bytes of metadata) of each record batch, from the file's footer."""
    length = struct.unpack("<i", memory[-10:-6].tobytes())[0]
    footer = memory[-10 - length : -10].tobytes()
    vector = _follow(footer, _table_field(footer, _follow(footer, 0), 3))
    count = struct.unpack_from("<I", footer, vector)[0]
    return [struct.unpack_from("<qi", footer, vector + 4 + 24 * i) for i in range(count)]


def _record_batch(message: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of rows and (offset, length) of each buffer."""
    batch = _follow(message, _table_field(message, _follow(message, 0), 2))
    rows = struct.unpack_from("<q", message, _table_field(message, batch, 0))[0]
    vector = _follow(message, _table_field(message, batch, 2))
    count = struct.unpack_from("<I", message, vector)[0]
    return rows, [struct.unpack_from("<qq", message, vector + 4 + 16 * i) for i in range(count)]
