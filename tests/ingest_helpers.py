"""ROOT files for the tests of ingest, and datasets read back without the engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from skyhook_casa.catalog import Catalog, DatasetVersion
from skyhook_casa.object_format import read_chunk, read_directory
from skyhook_casa.stores import ObjectStore

ZLIB = uproot.ZLIB(1)
SAMPLES = Path(os.environ.get("SKYHOOK_SAMPLES", Path(__file__).resolve().parents[2] / "shared" / "samples"))
SAMPLE_NAMES = [
    "nanoAOD_2015_CMS_Open_Data_ttbar.root",
    "nano_dimuon.root",
    "nano_dy.root",
    "nanoaod_rntuple_v1.root",
    "uproot-HZZ.root",
]


def sample(name: str) -> Path:
    """The path of a sample file; skips the test if it is not there."""
    if not (SAMPLES / name).exists():
        pytest.skip(f"no {name} in {SAMPLES}; set SKYHOOK_SAMPLES")
    return SAMPLES / name


def make_events(events: int, seed: int = 1) -> dict[str, Any]:
    """Columns as `uproot` writes them: collections are records of lists."""
    rng = np.random.default_rng(seed)
    muons, jets = rng.integers(0, 4, events), rng.integers(0, 6, events)
    pt = rng.exponential(20, muons.sum()).astype(np.float32)
    return {
        "run": np.full(events, 362_000 + seed, np.uint32),
        "event": np.arange(events, dtype=np.uint64),
        "MET_pt": rng.exponential(30, events).astype(np.float32),
        "HLT_mu": rng.random(events) < 0.3,
        "Muon": ak.zip(
            {
                "pt": ak.unflatten(pt, muons),
                "charge": ak.unflatten(rng.choice([-1, 1], muons.sum()).astype(np.int32), muons),
                "tight": ak.unflatten(rng.random(muons.sum()) < 0.5, muons),
            }
        ),
        "Jet": ak.zip({"pt": ak.unflatten(rng.exponential(40, jets.sum()).astype(np.float32), jets)}),
    }


def write_root(
    path: Path,
    events: int = 100,
    seed: int = 1,
    tree: str = "Events",
    basket: int = 0,
    compression: Any = ZLIB,
    **more: Any,
) -> Path:
    """Write a TTree like NanoAOD; None in `more` leaves a branch out. `basket` is events per basket."""
    columns = {
        name: values for name, values in (make_events(events, seed) | more).items() if values is not None
    }
    with uproot.recreate(path, compression=compression) as file:
        for start in range(0, events, basket or max(events, 1)):
            part = {name: values[start : start + (basket or events)] for name, values in columns.items()}
            if start == 0:
                file.mktree(tree, {name: branch_type(values) for name, values in part.items()})
            file[tree].extend(part)
        if events == 0:
            file.mktree(tree, {name: branch_type(values) for name, values in columns.items()})
    return path


def damage(path: Path, branch: str = "MET_pt") -> Path:
    """Overwrite the last basket of a branch: the file opens, but its last events cannot be read."""
    with uproot.open({str(path): "Events"}) as tree:
        start = int(tree[branch].member("fBasketSeek")[tree[branch].num_baskets - 1])
    with path.open("r+b") as file:
        file.seek(start + 100)  # past the head of the basket
        file.write(bytes(100))
    return path


def branch_type(values: Any) -> Any:
    """What `mktree` is told of a branch."""
    if isinstance(values, ak.Array):
        return values.type.content
    return np.dtype((values.dtype, values.shape[1:])) if values.ndim > 1 else values.dtype


def read_back(catalog: Catalog, store: ObjectStore, version: DatasetVersion) -> dict[str, ak.Array]:
    """All columns of a dataset, decoded in Python from its objects; counters included."""
    parts: dict[str, list[Any]] = {}
    schema = catalog.schema(version)
    for partition in catalog.partitions(version):
        data = store.read_object(partition.object.name)
        directory = read_directory(data)
        assert directory.events == partition.events
        assert directory.directory_start == partition.object.directory_start
        assert directory.directory_bytes == partition.object.directory_bytes
        for chunk in range(len(directory.chunk_events)):
            arrays = {c.name: read_chunk(data, directory, c.name, chunk) for c in directory.columns}
            for name, column in schema.columns.items():
                home = column.list or column.counts
                counts = None if home is None else np.diff(arrays[home + "#"])
                if column.counts is not None:
                    values = counts.astype(column.dtype)
                else:
                    values = arrays[name] if counts is None else ak.unflatten(arrays[name], counts)
                parts.setdefault(name, []).append(values)
    return {name: ak.Array(ak.concatenate(pieces)) for name, pieces in parts.items()}


def assert_equal(got: dict[str, ak.Array], expected: dict[str, ak.Array]) -> None:
    """Check names, types, list lengths and values bit by bit."""
    assert set(got) == set(expected)
    for name, values in expected.items():
        mine = got[name]
        assert str(mine.type.content) == str(values.type.content), name
        if values.ndim > 1:
            assert np.array_equal(ak.num(mine), ak.num(values)), name
        flat, wanted = (np.asarray(ak.flatten(a, axis=None)) for a in (mine, values))
        assert flat.dtype == wanted.dtype, name
        assert flat.tobytes() == wanted.tobytes(), name


def by_uproot(path: Path, tree: str = "Events", names: list[str] | None = None) -> dict[str, ak.Array]:
    """All columns of a file, as uproot gives them."""
    arrays = uproot.open({str(path): None})[tree].arrays(library="ak", how=dict)
    return {
        name: values
        for name, values in arrays.items()
        if (names is None or name in names) and not name.startswith("_collection")
    }
