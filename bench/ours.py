"""skyhook_casa through its public API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .peers import System
from .queries import Arrays, BenchQuery, Histograms, fill


class Skyhook(System):
    """skyhook_casa, a directory store on this machine."""

    kind = "root"

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        import skyhook_casa

        super().__init__(data, query, cores, files)
        self._client = skyhook_casa.connect(data / "store", threads=cores, progress=False)
        self._dataset = dataset_name(files)

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
        return fill(self.query, self.deliver(), threads=self.cores)


def dataset_name(files: int | None) -> str:
    """Return the name of the dataset of the first `files` ROOT files."""
    return "nano" if files is None else f"nano_{files}_files"


def ingest(data: Path, paths: list[str], files: int | None) -> None:
    """Make the dataset that `Skyhook` reads, if it is not there."""
    import skyhook_casa

    client = skyhook_casa.connect(data / "store")
    if dataset_name(files) not in [d.name for d in client.datasets()]:
        client.ingest(dataset_name(files), paths)
