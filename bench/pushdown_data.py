"""Data of `bench.pushdown`: datasets in a directory store, which is copied into the pool of a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from skyhook_casa.ingest.partitions import PARTITION_BYTES, PARTITION_BYTES_MAX

MAIN: Final = "nano"
WIDE: Final = "wide"
TEN: Final = "ten"
FILE_EVENTS: Final = 300_000
GUESSED_EVENT_BYTES: Final = 800
"""About what an event of the default schema takes when stored; the last file is whatever is still missing."""
WIDE_BRANCHES: Final = 1_500
WIDE_FILES: Final = 4
WIDE_FILE_EVENTS: Final = 30_000
"""One object holds them, whether it has ten columns or 1,500."""
TEN_BRANCHES: Final = (
    *("nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge"),
    *("MET_pt", "MET_phi", "run", "event", "PV_npvs"),
)


def dataset(gib: float) -> str:
    """Return the name of the dataset of at least so many GiB of objects."""
    return f"{MAIN}_{gib:g}_gib"


def prepare(folder: Path, gib: float) -> Path:
    """Return a directory store with all datasets; makes what is missing."""
    store = folder / "store"
    _make_main(folder, store, gib)
    if not {WIDE, TEN} <= set(_names(store)):
        files = [_wide_file(folder, number) for number in range(WIDE_FILES)]
        for name, columns in ((WIDE, None), (TEN, list(TEN_BRANCHES))):
            if name not in _names(store):
                _ingest(store, name, files, columns=columns, partition_bytes=PARTITION_BYTES_MAX)
        _delete(files)
    return store


def object_bytes(store: Path, name: str) -> dict[str, int]:
    """Return the bytes of each object of a dataset, by its name."""
    catalog = _client(store).catalog
    parts = catalog.partitions(catalog.version(name))
    return {part.object.name: part.object.bytes for part in parts}


def load(store: Path, names: list[str], url: str) -> None:
    """Copy the objects of some datasets into another store."""
    from skyhook_casa.stores import open_store

    source, target = open_store(str(store)), open_store(url)
    for name in names:
        for number in object_bytes(store, name):
            target.put(number, source.read_object(number))


def _make_main(folder: Path, store: Path, gib: float) -> None:
    name, first_event = dataset(gib), 0
    if name in _names(store):
        return
    files: list[Path] = []
    while first_event * GUESSED_EVENT_BYTES < gib * 2**30:
        missing = int((gib * 2**30) / GUESSED_EVENT_BYTES) + 1 - first_event
        events = min(FILE_EVENTS, missing)
        files.append(
            _root_file(folder / f"{name}_{len(files)}.root", events, seed=1, first_event=first_event)
        )
        first_event += events
    _ingest(store, name, files)
    _delete(files)


def _wide_file(folder: Path, number: int) -> Path:
    return _root_file(
        folder / f"{WIDE}_{number}.root",
        WIDE_FILE_EVENTS,
        seed=2,
        first_event=number * WIDE_FILE_EVENTS,
        branches=WIDE_BRANCHES,
    )


def _root_file(path: Path, events: int, **options: Any) -> Path:
    """Make a file if it is not there."""
    from skyhook_casa.nanoaod import make_nanoaod

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"making {path.name}: {events:,} events", flush=True)
        unfinished = path.with_suffix(".unfinished")
        make_nanoaod(unfinished, events, compression="lz4", **options)
        unfinished.rename(path)
    return path


def _ingest(
    store: Path,
    name: str,
    files: list[Path],
    columns: list[str] | None = None,
    partition_bytes: int = PARTITION_BYTES,
) -> None:
    print(f"ingesting {name}", flush=True)
    _client(store).ingest(name, files, columns=columns, workers=1, partition_bytes=partition_bytes)


def _delete(files: list[Path]) -> None:
    for file in files:
        file.unlink()


def _names(store: Path) -> list[str]:
    return [one.name for one in _client(store).datasets()] if store.exists() else []


def _client(store: str | os.PathLike[str]) -> Any:
    import skyhook_casa

    return skyhook_casa.connect(store, progress=False)


def catalog_url(store: Path) -> str:
    """Return the address of the store's catalog."""
    return f"sqlite:///{store.resolve() / 'catalog.sqlite'}"
