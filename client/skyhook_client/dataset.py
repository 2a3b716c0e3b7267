"""One version of a dataset: what it holds and where it came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    import awkward as ak
    import pyarrow as pa

    from skyhook_casa.catalog import DatasetVersion, Definition, FileInfo
    from skyhook_casa.lumimask import LumiMask
    from skyhook_casa.saving.origin import Origin
    from skyhook_casa.schema import Column
    from skyhook_casa.tally import Tally

    from .client import Client
    from .display import Description
    from .query import Query


@dataclass(frozen=True, slots=True)
class Collection:
    """A jagged axis of a dataset with its columns."""

    name: str
    counter: str | None
    """The column that gives its length in each event, if there is one."""
    columns: tuple[Column, ...]


class Dataset:
    """One version of a dataset. Made by `Client.dataset`, `datasets` and `ingest`."""

    def __init__(self, client: Client, version: DatasetVersion) -> None:
        self._client = client
        self._version = version

    @property
    def name(self) -> str:
        """Its name."""
        return self._version.dataset

    @property
    def version(self) -> int:
        """Number of this version."""
        return self._version.number

    @property
    def created(self) -> datetime:
        """When this version was made, in UTC."""
        return self._version.created

    @property
    def note(self) -> str:
        """What was noted of this version, such as the columns that were added."""
        return self._version.note

    @property
    def origin(self) -> Origin | None:
        """The question whose answer this version is, if it was saved; None if it was ingested."""
        return self._client.backend.origin(self._version)

    @property
    def events(self) -> int:
        """How many events there are."""
        return self._version.events

    @property
    def size(self) -> int:
        """Bytes of the stored objects."""
        return self._version.bytes

    @property
    def partitions(self) -> int:
        """How many parts it has."""
        return self._version.partitions

    def __len__(self) -> int:
        return self.events

    def columns(self, pattern: str | None = None) -> list[Column]:
        """Return the columns whose name matches a glob, or all, in file order."""
        return self._client.backend.columns(self._version, pattern)

    def collections(self) -> dict[str, Collection]:
        """Return the jagged axes with their columns, by name, in file order."""
        backend = self._client.backend
        columns: dict[str, list[Column]] = {}
        for column in backend.columns(self._version):
            if column.list is not None:
                columns.setdefault(column.list, []).append(column)
        lists = {info.name: info for info in backend.lists(self._version)}
        return {name: Collection(name, lists[name].counter, tuple(found)) for name, found in columns.items()}

    def definitions(self) -> list[Definition]:
        """Return the derived columns of the dataset; see `Client.define`."""
        return self._client.backend.definitions(self.name)

    def versions(self) -> list[DatasetVersion]:
        """Return all versions of the dataset, newest first."""
        return self._client.backend.versions(self.name)

    def files(self) -> list[FileInfo]:
        """Return the ROOT files that the events came from."""
        return self._client.backend.files(self._version)

    def query(
        self, columns: str | Iterable[str] | None = None, cut: str | None = None, **options: Any
    ) -> Query:
        """Return a query of this version; see `Client.query`."""
        return self._client.query(self.name, columns, cut, version=self.version, **options)

    def runs(self) -> ak.Array:
        """Return the entries of the files' `Runs` trees, such as sums of weights; one record each."""
        return self._tree("Runs")

    def luminosity_blocks(self) -> ak.Array:
        """Return the entries of the files' `LuminosityBlocks` trees; one record each."""
        return self._tree("LuminosityBlocks")

    def sum_of_weights(self, column: str = "genEventSumw") -> float:
        """Return the sum over all generated events, also those that no file kept: of the `Runs` trees.

        Parameters
        ----------
        column : str
            Which sum: ``genEventSumw``, ``genEventSumw2`` or ``genEventCount``.

        Raises
        ------
        NotFound
            If a file has no such tree or branch, as those of real data.
        """
        from .trees import sum_of

        return sum_of(self._tables("Runs", column), column)

    def luminosity_sections(self) -> LumiMask:
        """Return the luminosity sections of the files, also those without events; `to_dict` gives JSON.

        Raises
        ------
        NotFound
            If a file has no `LuminosityBlocks` tree.
        """
        from .trees import sections_of

        return sections_of(self._tables("LuminosityBlocks", "run", "luminosityBlock"))

    def tally(self, count: bool = False) -> Tally:
        """Return the sum of `genWeight` and the luminosity sections of the events that are held.

        An ingest adds them up for each partition, so nothing is read: `sum_of_weights`, a float, and
        `sections`, a `LumiMask`, are None if the dataset has no such columns.

        Parameters
        ----------
        count : bool
            Whether to read the columns of partitions that were not added up, as of datasets that an older
            release ingested, once: the catalog remembers.

        Raises
        ------
        AccessDenied
            If there is something to be remembered, and the catalog may only be read.
        """
        return self._client.backend.tally(self._version, count=count)

    def describe(self) -> Description:
        """Return what there is to know, to be printed or shown."""
        from .display import Description

        return Description.of(self)

    def _tables(self, name: str, *columns: str) -> list[pa.Table]:
        """Return a tree of each file; every file must have it, with these branches."""
        from skyhook_casa.errors import NotFound

        tables = self._every(name)
        if len(tables) != len(self.files()):
            raise NotFound(
                f"only {len(tables)} of the {len(self.files())} files of {self.name!r} have a tree {name!r}"
            )
        for table in tables:
            for column in columns:
                if column not in table.column_names:
                    raise NotFound(
                        f"the tree {name!r} of a file of {self.name!r} has no {column}; "
                        f"it has {', '.join(table.column_names)}"
                    )
        return tables

    def _tree(self, name: str) -> ak.Array:
        from .trees import joined

        return joined(self._every(name))

    def _every(self, name: str) -> list[pa.Table]:
        return [one.table for one in self._client.backend.file_trees(self._version, name)]

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, version={self.version}, events={self.events})"

    def _repr_html_(self) -> str:
        return self.describe()._repr_html_()
