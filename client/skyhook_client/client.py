"""Where everything starts: `connect` and the client it gives."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from skyhook_casa.errors import NotFound
from skyhook_casa.progress import Progress
from skyhook_casa.query import Fill
from skyhook_casa.query import Query as QueryValue

from .dataset import Dataset
from .query import Query

if TYPE_CHECKING:
    from skyhook_casa.catalog import Catalog
    from skyhook_casa.gc import Garbage
    from skyhook_casa.ingest import IngestReport
    from skyhook_casa.stores import ObjectStore
    from skyhook_casa.verify import Verification

STORE_VARIABLE: Final = "SKYHOOK_STORE"
"""Environment variable with the address of the store that `connect()` opens."""
STORE_DEFAULT: Final = "skyhook-store"
"""The directory that `connect()` opens if the variable is not set, below the current one."""


def connect(
    store: str | os.PathLike[str] | None = None,
    *,
    catalog: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Client:
    """Return a client of a store. Nothing is made until the first ingest.

    Parameters
    ----------
    store : str or path, optional
        A directory, or the URL of another kind of store. By default what the environment variable
        ``SKYHOOK_STORE`` says, else the directory ``skyhook-store`` below the current one.
    catalog : str, optional
        Database URL of the catalog; by default what the store's URL says with ``catalog=``, else
        ``catalog.sqlite`` inside the store's directory. For a pool or bucket what the environment
        variable ``SKYHOOK_CATALOG`` says, else a file in the user's data directory.
    threads : int, optional
        How many threads a query uses; by default as many as there are cores.
    progress : bool, optional
        Whether long work shows a progress bar; by default where somebody looks: on a terminal and
        in a notebook.
    """
    from skyhook_casa.stores import open_store

    address = store if store is not None else os.environ.get(STORE_VARIABLE) or STORE_DEFAULT
    return Client(open_store(address), catalog, threads, progress)


class Client:
    """Datasets of one store: ingest, look, ask. Made by `connect`."""

    def __init__(
        self, store: ObjectStore, catalog: str | None, threads: int | None, progress: bool | None
    ) -> None:
        self.store = store
        self.threads = threads
        self.progress = progress
        self._catalog_url = catalog
        self._catalog: Catalog | None = None

    @property
    def url(self) -> str:
        """Address of the store."""
        return self.store.url

    @property
    def catalog(self) -> Catalog:
        """The list of what the store holds.

        Raises
        ------
        NotFound
            If nothing was ingested here yet.
        """
        if self._catalog is None:
            from skyhook_casa.catalog import Catalog

            try:
                self._catalog = Catalog(self._catalog_address(), create=False)
            except NotFound as error:
                raise NotFound(
                    f"there are no datasets in {self.url} yet; ingest one first ({error})"
                ) from error
        return self._catalog

    # -- datasets ---------------------------------------------------------------------------
    def ingest(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None = None,
        **options: Any,
    ) -> IngestReport:
        """Read ROOT files into the store, as a new version of a dataset, and return what was done.

        A call that was interrupted may be repeated: only what is missing is made. Branches of types
        that cannot be held are left out, logged as a warning and named in the report.

        Parameters
        ----------
        dataset : str
            Name of the dataset; it is made if there is none of this name.
        files : str, path or list of them
            Local paths, globs, or URLs that uproot opens.
        columns : list of str, optional
            Names and globs of the branches to take; all by default.
        **options
            See `skyhook_casa.ingest.ingest`: tree, codec, workers, append and others.

        Raises
        ------
        IngestError
            If a file cannot be read as events; then the dataset stays as it was.
        AlreadyExists
            If a file is in the dataset already.
        """
        from skyhook_casa.catalog import Catalog
        from skyhook_casa.ingest import ingest

        if self._catalog is None:
            self._catalog = Catalog(self._catalog_address(), create=True)
        with Progress(f"ingest {dataset}", 0, "events", self.progress) as bar:
            report = ingest(
                self._catalog, self.store, dataset, files, columns=columns, progress=bar.reach, **options
            )
        _log_skipped(report)
        return report

    def dataset(self, name: str, version: int | None = None) -> Dataset:
        """Return a version of a dataset, the latest by default.

        Raises
        ------
        NotFound
            If there is none; near matches are named.
        """
        return Dataset(self, self.catalog.version(name, version))

    def datasets(self) -> list[Dataset]:
        """Return the latest version of every dataset, by name; none if nothing was ingested yet."""
        return [Dataset(self, info.newest) for info in self.catalog.datasets()] if self._has_catalog() else []

    def drop(self, dataset: str, version: int | None = None) -> None:
        """Forget a dataset, or one version of it; `gc` then frees the space.

        Raises
        ------
        NotFound
            If there is no such dataset or version.
        """
        if version is None:
            self.catalog.drop_dataset(dataset)
        else:
            self.catalog.drop_version(dataset, version)

    def verify(self, dataset: str, version: int | None = None) -> Verification:
        """Re-read every object of a version, check every checksum, and return what was found."""
        from skyhook_casa.verify import verify

        return verify(self.catalog, self.store, self.catalog.version(dataset, version), self.progress)

    def gc(self, *, dry_run: bool = False, grace_s: float | None = None) -> Garbage:
        """Remove the objects that no version and no running ingest uses.

        Parameters
        ----------
        dry_run : bool
            Only say what would be removed.
        grace_s : float, optional
            Objects put within so many seconds are left alone; by default a day's.
        """
        from skyhook_casa.gc import GRACE_S, collect_garbage

        grace_s = GRACE_S if grace_s is None else grace_s
        return collect_garbage(self.catalog, self.store, dry_run=dry_run, grace_s=grace_s)

    # -- questions --------------------------------------------------------------------------
    def query(
        self,
        dataset: str,
        columns: str | Iterable[str] | None = None,
        cut: str | None = None,
        *,
        version: int | None = None,
        define: Mapping[str, str] | None = None,
        objects: Mapping[str, str] | None = None,
        fill: Mapping[str, Fill] | None = None,
        limit: int | None = None,
        execution: str = "auto",
    ) -> Query:
        """Return a query; nothing is read until rows are asked for.

        Parameters
        ----------
        dataset : str
            Name of the dataset.
        columns : list of str, or str, optional
            Names (``Muon_pt`` or ``Muon.pt``), globs (``Muon_*``), whole collections (``Muon``) and
            names from `define`; as one text with commas too. By default all columns.
        cut : str, optional
            Condition on an event: ``"nMuon >= 2 and any(Muon_pt > 20)"``.
        version : int, optional
            Number of the version; by default the latest now.
        define : dict of str to str, optional
            Derived columns: name and expression. Later ones may use earlier ones.
        objects : dict of str to str, optional
            Thinning: collection, and a condition on its elements, in which its fields need no
            prefix: ``{"Jet": "pt > 30"}``. Cut and definitions see the whole collections.
        fill : dict, optional
            Column, and its value in files that do not have it. An absent bool is false anyway.
        limit : int, optional
            Most events to deliver: the first of the dataset that pass.
        execution : str
            Where the parts run: ``"pushdown"`` inside the storage, ``"read"`` here on the bytes that
            are needed, ``"auto"`` whichever moves less. The answer is the same.

        Raises
        ------
        NotFound
            If there is no such dataset, version or column; near matches are named.
        ExpressionError
            If an expression cannot be parsed or typed; it shows the place.
        InvalidRequest
            If a value has the wrong type.
        """
        from skyhook_casa.execution import Choice
        from skyhook_casa.plan import plan

        value = QueryValue.make(
            dataset, columns, cut, version=version, define=define, objects=objects, fill=fill, limit=limit
        )
        compiled = plan(self.catalog, value)
        Choice(compiled, self.store, execution)  # refuses what the store cannot do
        return Query(compiled, self.store, self.threads, self.progress, execution)

    def _has_catalog(self) -> bool:
        try:
            return self.catalog is not None
        except NotFound:
            return False

    def _catalog_address(self) -> str | os.PathLike[str]:
        from skyhook_casa.catalog.place import catalog_address

        return catalog_address(self.store, self._catalog_url)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _repr_html_(self) -> str:
        from .display import client_html

        return client_html(self)


def _log_skipped(report: IngestReport) -> None:
    for path, skipped in report.skipped.items():
        shown = ", ".join(f"{one.name} ({one.typename}: {one.reason})" for one in skipped)
        logging.getLogger(__name__).warning("%s: %d branches left out: %s", path, len(skipped), shown)
