"""Writes realistic NanoAOD ROOT files: for the demo, for tests, for benchmarks.

The files have what real ones have: collections with their counters, columns that point from one
collection into another, floats of reduced precision, trigger bits, weights, and the trees `Runs`
and `LuminosityBlocks`. The same seed gives the same events. See `nanoaod_model` for the physics.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cores import usable_cores
from .errors import InvalidRequest
from .nanoaod_model import Collection, simulate
from .nanoaod_tables import (
    COLLECTIONS,
    FLAGS,
    LONE_LISTS,
    SCALARS,
    SIMULATED_SCALARS,
    TRIGGERS,
    Array,
    Field,
    bit_names,
)
from .processes import fresh_processes
from .root_titles import set_titles

if TYPE_CHECKING:
    import uproot

COMPRESSIONS = ("zlib", "lz4", "zstd", "lzma", "none")
CLUSTER_EVENTS = 20_000
"""Events written at a time: one basket per branch."""
EVENTS_PER_LUMINOSITY_BLOCK = 1_000
EVENTS_PER_RUN = 2_000_000
FIRST_RUN = 362_000
SIMULATED_ONLY = frozenset(("GenPart", "GenJet", *LONE_LISTS))
_SIMULATED_FIELDS = frozenset(("genPartIdx", "genPartFlav", "genJetIdx", "partonFlavour", "hadronFlavour"))


@dataclass(frozen=True, slots=True)
class NanoFile:
    """A file that was written."""

    path: Path
    events: int
    branches: int
    """Branches of the tree `Events`."""
    bytes: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """What to write."""

    simulated: bool
    bits: tuple[str, ...]
    """Further trigger and L1 bits."""

    @property
    def collections(self) -> dict[str, tuple[str, list[Field]]]:
        """Title and fields of each collection."""
        return {
            name: (title, [f for f in fields if self.simulated or f.name not in _SIMULATED_FIELDS])
            for name, (title, fields) in COLLECTIONS.items()
            if self.simulated or name not in SIMULATED_ONLY
        }

    @property
    def scalars(self) -> tuple[Field, ...]:
        """Branches with one value per event that a table describes."""
        return SCALARS + SIMULATED_SCALARS if self.simulated else SCALARS

    @property
    def lone_lists(self) -> dict[str, tuple[str, int, float]]:
        """Lists outside any collection."""
        return LONE_LISTS if self.simulated else {}


def make_nanoaod(
    path: str | os.PathLike[str],
    events: int,
    *,
    seed: int = 1,
    first_event: int = 0,
    compression: str = "zlib",
    simulated: bool = True,
    branches: int | None = None,
    cluster_events: int = CLUSTER_EVENTS,
) -> NanoFile:
    """Write one NanoAOD file and return what was written.

    Parameters
    ----------
    path : path
        The file; replaced if it is there.
    events : int
        How many events, 0 or more.
    seed : int
        The same seed, `first_event` and `cluster_events` give the same events.
    first_event : int
        Number of the first event in its dataset, from 0: other files hold other events.
    compression : str
        One of `COMPRESSIONS`.
    simulated : bool
        False: collision data, without generator branches and with changing run numbers.
    branches : int, optional
        At least so many branches: filled up with trigger and L1 bits, up to about 2,000. Such a
        file has no branch titles, and takes a few seconds more: uproot is slow with many branches.
    cluster_events : int
        Events per basket.

    Raises
    ------
    InvalidRequest
        If a number is out of range or there is no such compression.
    """
    import uproot

    if events < 0 or first_event < 0 or cluster_events < 1:
        raise InvalidRequest(
            f"cannot make {events} events from number {first_event}, {cluster_events} at a time"
        )
    layout = _layout(simulated, branches)
    with uproot.recreate(path, compression=_compression(compression)) as file:
        tree = _event_tree(file, layout, -(-events // cluster_events))
        weights = np.zeros(0)
        for start in range(0, events, cluster_events):
            n = min(cluster_events, events - start)
            data = _cluster(layout, n, seed, first_event + start)
            weights = np.append(weights, data.get("genWeight", np.ones(n)))
            tree.extend(data)
        _write_runs(file, simulated, *_numbers(first_event, events, simulated)[:2], weights)
    return NanoFile(Path(path), events, _count_branches(layout), Path(path).stat().st_size)


def make_dataset(
    folder: str | os.PathLike[str],
    events: int,
    *,
    files: int = 1,
    name: str = "nano",
    processes: int | None = None,
    seed: int = 1,
    **options: Any,
) -> list[NanoFile]:
    """Write a dataset of several files, `name`_0.root and so on, and return what was written.

    Parameters
    ----------
    folder : path
        Where the files go; made if it is not there.
    events : int
        How many events in all; the files share them evenly.
    files : int
        How many files.
    processes : int, optional
        How many files to write at the same time; the processors' number if not given.
    **options
        Passed on to `make_nanoaod`.
    """
    if files < 1:
        raise InvalidRequest(f"cannot write {files} files: at least 1 is needed")
    Path(folder).mkdir(parents=True, exist_ok=True)
    edges = [events * i // files for i in range(files + 1)]
    jobs = [
        (
            Path(folder) / f"{name}_{i}.root",
            edges[i + 1] - edges[i],
            options | {"seed": seed, "first_event": edges[i]},
        )
        for i in range(files)
    ]
    processes = min(files, processes or usable_cores())
    if processes == 1:
        return [_make(job) for job in jobs]
    with ProcessPoolExecutor(processes, mp_context=fresh_processes()) as pool:
        return list(pool.map(_make, jobs))


def _make(job: tuple[Path, int, dict[str, Any]]) -> NanoFile:
    path, events, options = job
    return make_nanoaod(path, events, **options)


# -- layout -------------------------------------------------------------------------------------
def _layout(simulated: bool, branches: int | None) -> _Layout:
    plain = _Layout(simulated, ())
    missing = (branches or 0) - _count_branches(plain)
    return _Layout(simulated, tuple(bit_names(missing))) if missing > 0 else plain


def _count_branches(layout: _Layout) -> int:
    return len(_titles(layout))


def _titles(layout: _Layout) -> dict[str, str]:
    """Return every branch of `Events` with its title."""
    titles = {"run": "run/i", "luminosityBlock": "luminosityBlock/i", "event": "event/l"}
    for name, (title, fields) in layout.collections.items():
        titles[f"n{name}"] = title
        titles.update((f"{name}_{field.name}", field.title) for field in fields)
    for name, (title, _, _) in layout.lone_lists.items():
        titles |= {f"n{name}": "", name: title}
    titles.update((field.name, field.title) for field in layout.scalars)
    flags = [f"Flag_{flag}" for flag in FLAGS] + [path for path, *_ in TRIGGERS] + list(layout.bits)
    return titles | dict.fromkeys(flags, "Trigger/flag bit")


def _event_tree(file: uproot.WritableDirectory, layout: _Layout, clusters: int) -> Any:
    """Return an empty, writable tree `Events` with room for so many baskets per branch."""
    from awkward.types import ListType, NumpyType, RecordType

    types: dict[str, Any] = {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64"}
    for name, (_, fields) in layout.collections.items():
        record = RecordType([NumpyType(f.dtype) for f in fields], [f.name for f in fields])
        types[name] = ListType(record)
    types.update((name, ListType(NumpyType("float32"))) for name in layout.lone_lists)
    types.update((field.name, field.dtype) for field in layout.scalars)
    types.update((name, "bool") for name in _titles(layout) if name.startswith(("Flag_", "HLT_", "L1_")))
    types = {name: np.dtype(t) if isinstance(t, str) else t for name, t in types.items()}
    tree = file.mktree("Events", types, title="Events", initial_basket_capacity=clusters + 2)
    if not layout.bits:
        set_titles(tree, _titles(layout))
    return tree


def _compression(name: str) -> Any:
    import uproot

    if name not in COMPRESSIONS:
        raise InvalidRequest(f"compression is {name!r}; it can be {', '.join(COMPRESSIONS)}")
    levels = {"zlib": uproot.ZLIB(1), "lz4": uproot.LZ4(4), "zstd": uproot.ZSTD(5), "lzma": uproot.LZMA(4)}
    return levels.get(name)


# -- data ---------------------------------------------------------------------------------------
def _cluster(layout: _Layout, n: int, seed: int, first_event: int) -> dict[str, Any]:
    """Return the branches of `n` events, as uproot's `extend` takes them."""
    import awkward as ak

    rng = np.random.default_rng([seed, first_event])
    found = simulate(n, rng)
    run, block, event = _numbers(first_event, n, layout.simulated)
    data: dict[str, Any] = {"run": run, "luminosityBlock": block, "event": event}
    for name, (_, fields) in layout.collections.items():
        collection = found.collections[name]
        record = dict(_columns(fields, collection, rng))
        data[name] = ak.unflatten(ak.zip(record, depth_limit=1), collection.counts)
    for name, (_, entries, spread) in layout.lone_lists.items():
        weights = 1 + np.float32(spread) * rng.standard_normal(n * entries, np.float32)
        data[name] = ak.unflatten(_reduced(weights, 10), np.full(n, entries))
    for field in layout.scalars:
        data[field.name] = _column(field, n, found.scalars.get(field.name), rng)
    for flag in FLAGS:
        data[f"Flag_{flag}"] = rng.random(n, np.float32) < 0.995
    data.update((path, found.scalars[path]) for path, *_ in TRIGGERS)
    for name in layout.bits:
        data[name] = rng.random(n, np.float32) < _rate(name)
    return data


def _columns(
    fields: list[Field], collection: Collection, rng: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    n = len(collection.table["event"])
    for field in fields:
        yield field.name, _column(field, n, collection.table.get(field.name), rng)


def _column(field: Field, n: int, values: Array | None, rng: np.random.Generator) -> Array:
    if field.draw is not None:
        values = field.draw.sample(rng, n)
    assert values is not None, field.name
    values = np.ascontiguousarray(values, field.dtype)
    return _reduced(values, field.bits) if field.dtype == "float32" and field.bits < 23 else values


def _reduced(values: Array, bits: int) -> Array:
    """Round float32 values to `bits` bits of mantissa, as NanoAOD does to compress better."""
    drop = 23 - bits
    raw = values.view(np.uint32) + np.uint32(1 << (drop - 1))
    return (raw & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(np.float32)


def _rate(path: str) -> float:
    """Return how often a trigger bit is set: between 1e-4 and 0.1, fixed by its name."""
    return float(10.0 ** (-4.0 + 3.0 * (zlib.crc32(path.encode()) / 2**32)))


def _numbers(first_event: int, n: int, simulated: bool) -> tuple[Array, Array, Array]:
    """Return run, luminosity block and event numbers."""
    number = np.arange(first_event, first_event + n)
    run = np.ones(n, np.int64) if simulated else FIRST_RUN + number // EVENTS_PER_RUN
    block = 1 + (number if simulated else number % EVENTS_PER_RUN) // EVENTS_PER_LUMINOSITY_BLOCK
    return run.astype(np.uint32), block.astype(np.uint32), (number + 1).astype(np.uint64)


def _write_runs(
    file: uproot.WritableDirectory, simulated: bool, run: Array, block: Array, weights: Array
) -> None:
    """Write the trees `Runs` and `LuminosityBlocks`."""
    import awkward as ak

    runs, where = np.unique(run, return_inverse=True)
    data: dict[str, Any] = {"run": runs}
    if simulated:
        data["genEventCount"] = np.bincount(where, minlength=len(runs)).astype(np.int64)
        data["genEventSumw"] = np.bincount(where, weights, len(runs))
        data["genEventSumw2"] = np.bincount(where, weights**2, len(runs))
        data["LHEPdfSumw"] = ak.unflatten(np.ones(33 * len(runs)), np.full(len(runs), 33))
    _write_tree(file, "Runs", data)
    pairs = np.unique(np.stack([run, block]), axis=1)
    _write_tree(file, "LuminosityBlocks", {"run": pairs[0], "luminosityBlock": pairs[1]})


def _write_tree(file: uproot.WritableDirectory, name: str, data: dict[str, Any]) -> None:
    import awkward as ak

    types = {k: v.dtype if isinstance(v, np.ndarray) else ak.type(v).content for k, v in data.items()}
    file.mktree(name, types).extend(data)
