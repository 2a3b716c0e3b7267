"""Where everything starts: `connect` and the client it gives."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.lumimask import LumiMask
from skyhook_casa.progress import Progress
from skyhook_casa.query import Fill
from skyhook_casa.query import Query as QueryValue

from .dataset import Dataset
from .options import INGEST_OPTIONS, checked
from .query import Query

if TYPE_CHECKING:
    from skyhook_casa.catalog import Catalog, Definition
    from skyhook_casa.column_sets.report import AddedColumns
    from skyhook_casa.functions import Function
    from skyhook_casa.gc import Garbage
    from skyhook_casa.ingest import IngestReport
    from skyhook_casa.protocol.delivery_pb2 import ServiceStatus
    from skyhook_casa.stores import ObjectStore
    from skyhook_casa.verify import Verification

    from .backend import Backend
    from .jobs import IngestJob

STORE_VARIABLE: Final = "SKYHOOK_STORE"
"""Environment variable with the address of the store that `connect()` opens."""
SERVICE_SCHEMES: Final = ("grpc://", "grpcs://")
"""How the address of a service begins."""
STORE_DEFAULT: Final = "skyhook-store"
"""The directory that `connect()` opens if the variable is not set, below the current one."""


def connect(
    store: str | os.PathLike[str] | ObjectStore | None = None,
    *,
    catalog: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    functions: Sequence[str] = (),
) -> Client:
    """Return a client of a store or a service. Nothing is made or called until it is used.

    Parameters
    ----------
    store : str, path or ObjectStore, optional
        A directory, or the URL of another kind of store; or ``grpc://host:port``, a service that
        answers the same calls. By default what the environment variable ``SKYHOOK_STORE`` says,
        else the directory ``skyhook-store`` below the current one.
    catalog : str, optional
        Database URL of the catalog; by default what the store's URL says with ``catalog=``, else
        ``catalog.sqlite`` inside the store's directory. For a pool or bucket what the environment
        variable ``SKYHOOK_CATALOG`` says, else a file in the user's data directory.
    threads : int, optional
        How many threads a query uses; by default as many as there are cores.
    progress : bool, optional
        Whether long work shows a progress bar; by default where somebody looks: on a terminal and
        in a notebook.
    functions : sequence of str
        Modules and packages from which derived columns may import Python functions; by default none.

    Raises
    ------
    InvalidRequest
        If the address is of an unknown kind; or is that of a service, which has its own catalog and
        threads, and one of these is given.
    """
    address = store if store is not None else os.environ.get(STORE_VARIABLE) or STORE_DEFAULT
    return Client(_open(address, catalog, threads, functions), progress)


class Client:
    """Datasets of one store: ingest, look, ask. Made by `connect`."""

    def __init__(self, backend: Backend, progress: bool | None = None) -> None:
        self.backend = backend
        self.progress = progress

    @property
    def url(self) -> str:
        """Address of the store, or of the service."""
        return self.backend.url

    @property
    def store(self) -> ObjectStore:
        """The object store.

        Raises
        ------
        InvalidRequest
            If a service answers: the store is not opened here.
        """
        return self.backend.store

    @property
    def catalog(self) -> Catalog:
        """The list of what the store holds.

        Raises
        ------
        NotFound
            If nothing was ingested here yet.
        InvalidRequest
            If a service answers: the catalog is not opened here.
        """
        return self.backend.catalog

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
            Local paths, globs, or URLs that uproot opens. A service reads them where it runs: paths
            must lead to the same files there.
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
        InvalidRequest
            If there is no such option, or it is out of its range.
        """
        options = checked("ingest", options, INGEST_OPTIONS)
        with Progress(f"ingest {dataset}", 0, "events", self.progress) as bar:
            report = self.backend.ingest(dataset, files, columns, bar.reach, **options)
        _log_skipped(report)
        return report

    def add_columns(
        self,
        dataset: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        columns: Sequence[str] | None = None,
        *,
        on: Sequence[str] = ("run", "luminosityBlock", "event"),
        fill: Fill | Mapping[str, Fill] | None = None,
        replace: bool = False,
        tree: str = "Events",
    ) -> AddedColumns:
        """Join columns of other files to the events of a dataset, in whatever order these come.

        Makes a new version, which shares all objects of the latest one. If anything is wrong the
        dataset stays as it was.

        Parameters
        ----------
        dataset : str
            Name of the dataset.
        files : str, path or list of them
            ROOT (TTree, RNTuple) or Parquet files. A service reads them where it runs.
        columns : list of str, optional
            Names and globs of the columns to take; by default all but the keys and what the dataset has.
            ``Muon_x`` belongs to the collection ``Muon`` if there is one, and must be as long.
        on : list of str
            Columns of whole numbers, in the dataset and in the files, that name an event.
        fill : number, or dict of column and number, optional
            Values for events that no file has. Without it such events are refused, and so are events that
            come twice, of which else the first counts.
        replace : bool
            True: the columns take the place of those that the dataset has; older versions keep theirs.
        tree : str
            The tree of ROOT files.

        Raises
        ------
        NotFound
            If there is no such dataset, or it lacks a key or, with `replace`, a column.
        AlreadyExists
            If the dataset has a column already, or got another version meanwhile.
        IngestError
            If a file cannot be read or lacks a column, or files contradict each other.
        InvalidRequest
            If events are missing or come twice, types or list lengths differ, or a fill does not fit.
        """
        options = {"on": on, "fill": fill, "replace": replace, "tree": tree}
        with Progress(f"add columns to {dataset}", 0, "events", self.progress) as bar:
            return self.backend.add_columns(dataset, files, columns, bar.reach, **options)

    def define(self, dataset: str, definitions: Mapping[str, str | Function]) -> None:
        """Declare derived columns: queries may name them like stored ones, in every version.

        The first query that needs one computes it for the whole version and stores it; later ones read
        it. What cannot be stored (records, lists with missing elements) is computed with each query.
        Defining a name again changes it.

        Parameters
        ----------
        dataset : str
            Name of the dataset.
        definitions : dict of str to str or Function
            Name and expression, which may use other definitions:
            ``{"dimuon_mass": "mass(Muon[0] + Muon[1])"}``. Or a `skyhook_casa.functions.Function`: Python
            code by import path, which gets events as awkward records and returns an array. Who opens the
            store says with ``connect(functions=…)``, a service with its setting `functions`, from where.

        Raises
        ------
        NotFound
            If there is no such dataset.
        InvalidRequest
            If a name is taken or no identifier, or definitions use each other in a circle.
        ExpressionError
            If an expression cannot be parsed or typed; it shows the place.
        """
        from skyhook_casa.functions import Function

        if isinstance(definitions, Mapping):
            texts = {n: one.to_text() if isinstance(one, Function) else one for n, one in definitions.items()}
        self.backend.define(dataset, texts if isinstance(definitions, Mapping) else definitions)

    def definitions(self, dataset: str) -> list[Definition]:
        """Return the derived columns of a dataset, and for which versions they are stored.

        Raises
        ------
        NotFound
            If there is no such dataset.
        """
        return self.backend.definitions(dataset)

    def drop_definition(self, dataset: str, name: str) -> None:
        """Forget a derived column and what is stored of it; `gc` then frees the space.

        Raises
        ------
        NotFound
            If there is none of this name.
        InvalidRequest
            If other definitions use it.
        """
        self.backend.drop_definition(dataset, name)

    def dataset(self, name: str, version: int | None = None) -> Dataset:
        """Return a version of a dataset, the latest by default.

        Raises
        ------
        NotFound
            If there is none; near matches are named.
        """
        return Dataset(self, self.backend.version(name, version))

    def datasets(self) -> list[Dataset]:
        """Return the latest version of every dataset, by name; none if nothing was ingested yet."""
        return [Dataset(self, info.newest) for info in self.backend.datasets()]

    def drop(self, dataset: str, version: int | None = None) -> None:
        """Forget a dataset, or one version of it; `gc` then frees the space.

        Raises
        ------
        NotFound
            If there is no such dataset or version.
        """
        self.backend.drop(dataset, version)

    def verify(self, dataset: str, version: int | None = None) -> Verification:
        """Re-read every object of a version, check every checksum, and return what was found."""
        return self.backend.verify(dataset, version, self.progress)

    def gc(self, *, dry_run: bool = False, grace_s: float | None = None) -> Garbage:
        """Remove the objects that no version and no running ingest uses.

        Parameters
        ----------
        dry_run : bool
            Only say what would be removed.
        grace_s : float, optional
            Objects put within so many seconds are left alone; by default a day's.
        """
        return self.backend.gc(dry_run, grace_s)

    def jobs(self) -> list[IngestJob]:
        """Return the ingest jobs that are known, oldest first."""
        return self.backend.jobs()

    def status(self) -> ServiceStatus:
        """Return what the service does just now: its queries, its memory, what it has done.

        Raises
        ------
        InvalidRequest
            If this process opened the store itself: there is no service.
        """
        return self.backend.status()

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
        lumimask: str | os.PathLike[str] | Mapping[str, Any] | LumiMask | None = None,
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
        lumimask : path, dict or LumiMask, optional
            The good luminosity sections: a golden JSON file, or what it holds,
            ``{"273158": [[1, 1279]]}``. Events of others are dropped before anything else is read.
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
        value = QueryValue.make(
            dataset,
            columns,
            cut,
            version=version,
            define=define,
            objects=objects,
            fill=fill,
            limit=limit,
            lumimask=None if lumimask is None else LumiMask.of(lumimask),
        )
        return Query(self.backend.ask(value, execution), self.progress)

    def close(self) -> None:
        """Give back what is held open, such as connections; the next call opens it again."""
        self.backend.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _repr_html_(self) -> str:
        from .display import client_html

        return client_html(self)


def _open(
    address: str | os.PathLike[str] | ObjectStore,
    catalog: str | None,
    threads: int | None,
    functions: Sequence[str],
) -> Backend:
    if isinstance(address, str) and address.lower().startswith(SERVICE_SCHEMES):
        return _service(address, catalog, threads, functions)
    from .embedded import EmbeddedBackend

    if isinstance(address, (str, os.PathLike)):
        from skyhook_casa.stores import open_store

        address = open_store(address)
    return EmbeddedBackend(address, catalog, threads, functions)


def _service(address: str, catalog: str | None, threads: int | None, functions: Sequence[str]) -> Backend:
    from .remote.address import parse_service
    from .remote.backend import RemoteBackend

    for name, value in (("catalog", catalog), ("threads", threads), ("functions", functions or None)):
        if value is not None:
            raise InvalidRequest(f"{name}={value!r}: the service at {address} has its own; leave it out")
    return RemoteBackend(parse_service(address))


def _log_skipped(report: IngestReport) -> None:
    for path, skipped in report.skipped.items():
        shown = ", ".join(f"{one.name} ({one.typename}: {one.reason})" for one in skipped)
        logging.getLogger(__name__).warning("%s: %d branches left out: %s", path, len(skipped), shown)
