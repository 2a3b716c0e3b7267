"""skyhook_casa through its public API: embedded, and through a service that is a process of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .analysis_data import DATASET
from .peers import System
from .queries import Arrays, BenchQuery, Histograms

SCRIPTS = Path(__file__).parents[1] / "docs/examples/adl"


class Skyhook(System):
    """skyhook_casa, a directory store on this machine."""

    kind = "root"

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        super().__init__(data, query, cores, files)
        self._dataset = dataset_name(files)
        self._client = self._connected(data / "store", cores)

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        return (histogram or bool(query.ours)) and super().can(query, histogram)

    def _connected(self, store: Path, cores: int) -> Any:
        import skyhook_casa

        return skyhook_casa.connect(store, threads=cores, progress=False)

    def deliver(self) -> Arrays:
        import awkward as ak

        events: Any = self._client.query(self._dataset, **self.query.ours).to_awkward()
        if self.query.is_skim:
            return {name: events[name] for name in self.query.axes}
        flat = self.query.name in ("q2", "q3")
        return {
            name: np.asarray(ak.flatten(events[name]) if flat else events[name]) for name in self.query.axes
        }

    def histogram(self) -> Histograms:
        """Fill by the script of the documentation."""
        if str(SCRIPTS) not in sys.path:
            sys.path.insert(0, str(SCRIPTS))
        script = importlib.import_module(self.query.name)
        names = {"score": "btag"} if self.query.name == "q6" else {}
        made = script.query(self._client, self._dataset, **names)
        filled = made.values() if isinstance(made, Mapping) else [made]
        return {
            name: one.values(flow=True).astype(np.int64)
            for name, one in zip(self.query.axes, filled, strict=True)
        }


class Service(Skyhook):
    """skyhook_casa, through a service that keeps no answers."""

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        return histogram and super().can(query, histogram)

    def _connected(self, store: Path, cores: int) -> Any:
        import skyhook_casa

        from .service import serving

        self._running = ExitStack()
        address, _ = self._running.enter_context(serving(str(store), cache_bytes=0))
        return skyhook_casa.connect(address, progress=False)

    def close(self) -> None:
        self._client.close()
        self._running.close()


class LongService(Service):
    """The same, over the long dataset."""

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        super().__init__(data, query, cores, files)
        self._dataset = DATASET


def dataset_name(files: int | None) -> str:
    """Return the name of the dataset of the first `files` ROOT files."""
    return "nano" if files is None else f"nano_{files}_files"


def ingest(data: Path, paths: list[str], files: int | None) -> None:
    """Make the dataset that `Skyhook` reads, if it is not there."""
    import skyhook_casa

    client = skyhook_casa.connect(data / "store")
    if dataset_name(files) not in [d.name for d in client.datasets()]:
        client.ingest(dataset_name(files), paths)
