"""What users would pick instead: each system delivers a query's arrays, or its histograms.

A system is made once per process, then called again and again. It may keep open what its users
would keep open (a connection, a thread pool), never anything decoded.
"""

from __future__ import annotations

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .data import COLLECTIONS, files_of
from .queries import BINS, SKIM_COLUMNS, Arrays, BenchQuery, Histograms, deliver_awkward, fill

STEP_EVENTS = 100_000
STEPPED = ("q6", "q7", "q8")
"""The awkward systems work on so many events at a time in these, whose combinations fill memory."""


class System(ABC):
    """One way to answer the benchmark queries."""

    kind: ClassVar[str]
    """The copy of the data that it reads."""

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        self.query = query
        self.cores = cores
        self.files = files_of(data, self.kind, files)

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        """Return whether the system answers `query` at all."""
        return not (histogram and query.is_skim)

    @abstractmethod
    def deliver(self) -> Arrays:
        """Return the arrays of the query."""

    @abstractmethod
    def histogram(self) -> Histograms:
        """Return the histograms of the query, filled the system's own way."""

    def close(self) -> None:  # noqa: B027
        """End what runs beside this process."""


# -- libraries that give awkward arrays, file by file ------------------------------------------------
class PerFile(System):
    """A system that works file by file; on two cores on two files at a time.

    Threads serve where the work is decoding, which releases the interpreter lock. Awkward's own
    arithmetic does not gain from threads, so q4 to q6 and all filling run in processes.
    """

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        super().__init__(data, query, cores, files)
        self._pools: dict[str, Executor] = {}

    @classmethod
    @abstractmethod
    def deliver_file(cls, path: str, query: BenchQuery) -> dict[str, Any]:
        """Return the arrays of one file."""

    @classmethod
    def histogram_file(cls, path: str, query: BenchQuery) -> Histograms:
        """Return the histograms of one file."""
        return fill(query, cls.deliver_file(path, query))

    def deliver(self) -> Arrays:
        threads = self.query.is_skim or self.query.name in ("q1", "q2", "q3")
        parts = self._map(self.deliver_file, "threads" if threads else "processes")
        return {name: [part[name] for part in parts] for name in self.query.axes}

    def histogram(self) -> Histograms:
        parts = self._map(self.histogram_file, "processes")
        return {name: sum(part[name] for part in parts) for name in self.query.axes}

    def _map(self, work: Callable[[str, BenchQuery], Any], how: str) -> list[Any]:
        if self.cores == 1:
            return [work(path, self.query) for path in self.files]
        if how not in self._pools:
            self._pools[how] = (
                ThreadPoolExecutor(self.cores)
                if how == "threads"
                else ProcessPoolExecutor(self.cores, multiprocessing.get_context("spawn"))
            )
        return list(self._pools[how].map(work, self.files, [self.query] * len(self.files)))


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the arrays of several steps: lists, flattened where a part is itself one."""
    return {name: [part[name] for part in parts] for name in parts[0]}


class Uproot(PerFile):
    """uproot and awkward on the ROOT files."""

    kind = "root"

    @classmethod
    def deliver_file(cls, path: str, query: BenchQuery) -> dict[str, Any]:
        import uproot

        with uproot.open(path) as file:
            tree = file["Events"]
            step = STEP_EVENTS if query.name in STEPPED else tree.num_entries
            parts = [
                deliver_awkward(query, events)
                for events in tree.iterate(query.columns, step_size=step, library="ak", how=dict)
            ]
        return parts[0] if len(parts) == 1 else {k: np.concatenate(v) for k, v in _joined(parts).items()}


class Coffea(PerFile):
    """coffea NanoEvents, virtual arrays, on the ROOT files."""

    kind = "root"

    @classmethod
    def deliver_file(cls, path: str, query: BenchQuery) -> dict[str, Any]:
        import uproot

        with uproot.open(path) as file:
            entries = file["Events"].num_entries
        step = STEP_EVENTS if query.name in STEPPED else 250_000
        ranges = [(start, min(entries, start + step)) for start in range(0, entries, step)]
        return _joined([cls._deliver(cls._open(path, *where), query) for where in ranges])

    @staticmethod
    def _open(path: str, start: int, stop: int) -> Any:
        from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

        NanoAODSchema.warn_missing_crossrefs = False
        return NanoEventsFactory.from_root(
            {path: "Events"}, schemaclass=NanoAODSchema, mode="virtual", entry_start=start, entry_stop=stop
        ).events()

    @staticmethod
    def _deliver(events: Any, query: BenchQuery) -> dict[str, Any]:
        import awkward as ak

        def column(source: Any, name: str) -> Any:
            collection, _, field = name.partition("_")
            return source[collection][field] if field else source[name]

        if query.name == "q3":
            return {"Jet_pt": np.asarray(ak.flatten(events.Jet[abs(events.Jet.eta) < 1].pt))}
        if query.name == "q4":
            return {"MET_pt": np.asarray(events[ak.sum(events.Jet.pt > 40, axis=1) >= 2].MET.pt)}
        if query.is_skim:
            if query.met_above_gev is not None:
                above = events.MET.pt > np.float32(query.met_above_gev)
                events = events[above & (ak.num(events.Muon) >= 2)]
            return {name: ak.materialize(column(events, name)) for name in SKIM_COLUMNS}
        arrays = {n: column(events, n) for n in query.columns if n != "nMuon"}
        return deliver_awkward(
            query, {n: ak.Array(ak.without_parameters(ak.materialize(x))) for n, x in arrays.items()}
        )


class ArrowIpc(PerFile):
    """Arrow IPC files with list<struct> collections and LZ4, memory-mapped, and awkward."""

    kind = "arrow_lz4"

    @classmethod
    def deliver_file(cls, path: str, query: BenchQuery) -> dict[str, Any]:
        return _joined([deliver_awkward(query, events) for events in cls._batches(path, query)])

    @staticmethod
    def _batches(path: str, query: BenchQuery) -> Iterator[dict[str, Any]]:
        import awkward as ak
        import pyarrow as pa

        def column(batch: Any, name: str) -> Any:
            collection, _, field = name.partition("_")
            if collection not in COLLECTIONS:
                return ak.from_arrow(batch.column(name))
            lists = batch.column(collection)
            values = lists.values.field(field)
            item = pa.field("item", values.type, nullable=False)
            return ak.from_arrow(pa.ListArray.from_arrays(lists.offsets, values, type=pa.list_(item)))

        with pa.memory_map(path) as file:
            fields = [f.name for f in pa.ipc.open_file(file).schema]
            needed = {n.split("_")[0] if n.split("_")[0] in COLLECTIONS else n for n in query.columns}
            wanted = [i for i, name in enumerate(fields) if name in needed]
            options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
            reader = pa.ipc.open_file(file, options=options)
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                yield {name: column(batch, name) for name in query.columns}


class PyArrow(PerFile):
    """pyarrow.dataset on Parquet, with awkward where a query computes."""

    kind = "parquet_zstd"

    @classmethod
    def deliver_file(cls, path: str, query: BenchQuery) -> dict[str, Any]:
        import awkward as ak
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        dataset = ds.dataset(path, format="parquet")
        if query.is_skim:
            keep = None
            if query.met_above_gev is not None:
                keep = (pc.field("MET_pt") > np.float32(query.met_above_gev)) & (pc.field("nMuon") >= 2)
            table = dataset.to_table(columns=list(SKIM_COLUMNS), filter=keep, use_threads=False)
            return {name: table[name] for name in SKIM_COLUMNS}
        if query.name in ("q1", "q2"):
            table = dataset.to_table(columns=list(query.columns), use_threads=False)
            column = table[query.columns[0]]
            return {query.columns[0]: pc.list_flatten(column) if query.name == "q2" else column}
        batches = dataset.to_batches(
            columns=list(query.columns),
            batch_size=STEP_EVENTS,
            use_threads=False,
            batch_readahead=1,
            fragment_readahead=1,
        )
        return _joined(
            [deliver_awkward(query, {n: ak.from_arrow(b.column(n)) for n in query.columns}) for b in batches]
        )

    @classmethod
    def histogram_file(cls, path: str, query: BenchQuery) -> Histograms:
        arrays = cls.deliver_file(path, query)
        return fill(query, {n: _numpy_parts(x) for n, x in arrays.items()})


class PyArrowSplit(PyArrow):
    """pyarrow.dataset on byte-stream-split Parquet."""

    kind = "parquet_bss"


def _numpy_parts(array: Any) -> list[np.ndarray]:
    return array if isinstance(array, list) else [chunk.to_numpy() for chunk in array.chunks]


# -- engines with a query language of their own ------------------------------------------------------
def _bins(numbers: Any, counts: Any) -> np.ndarray:
    """Return bin contents with flow bins from group-by results."""
    contents = np.zeros(BINS + 2, np.int64)
    np.add.at(contents, np.clip(np.asarray(numbers, np.int64) + 1, 0, BINS + 1), np.asarray(counts, np.int64))
    return contents


_LAMBDA_PAIR = """len(list_filter(range(1, nMuon + 1), lambda i:
 len(list_filter(range(i + 1, nMuon + 1), lambda j: Muon_charge[i] <> Muon_charge[j]
 AND sqrt(2 * Muon_pt[i] * Muon_pt[j] * (cosh(Muon_eta[i] - Muon_eta[j]) - cos(Muon_phi[i] - Muon_phi[j])))
 BETWEEN 60 AND 120)) > 0)) > 0"""
_JOINED_PAIR = """WITH two AS (SELECT row_number() OVER () AS id, * FROM t WHERE nMuon >= 2),
 muon AS (SELECT id, MET_pt, generate_subscripts(Muon_pt, 1) AS i, unnest(Muon_pt) AS pt,
  unnest(Muon_eta) AS eta, unnest(Muon_phi) AS phi, unnest(Muon_charge) AS charge FROM two)
 SELECT any_value(a.MET_pt) AS x FROM muon a JOIN muon b ON a.id = b.id AND a.i < b.i AND a.charge <> b.charge
 WHERE sqrt(2 * a.pt * b.pt * (cosh(a.eta - b.eta) - cos(a.phi - b.phi))) BETWEEN 60 AND 120 GROUP BY a.id"""


class DuckDB(System):
    """DuckDB on Parquet."""

    kind = "parquet_zstd"
    pair = f"SELECT MET_pt AS x FROM t WHERE nMuon >= 2 AND {_LAMBDA_PAIR}"

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        import duckdb

        super().__init__(data, query, cores, files)
        self._connection = duckdb.connect()
        self._connection.execute(f"SET threads={cores}")
        self._connection.execute("SET preserve_insertion_order=false")
        self._connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet({self.files!r})")

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        return query.name not in STEPPED and super().can(query, histogram)

    def deliver(self) -> Arrays:
        if self.query.is_skim:
            table = self._arrow(self._skim())
            return {name: table[name] for name in SKIM_COLUMNS}
        if self.query.name == "q2":  # flattening the Arrow lists beats unnest
            import pyarrow.compute as pc

            return {"Jet_pt": pc.list_flatten(self._arrow("SELECT Jet_pt FROM t")["Jet_pt"])}
        (name,) = self.query.axes
        return {name: self._arrow(self._values())["x"]}

    def histogram(self) -> Histograms:
        ((name, limits),) = self.query.axes.items()
        assert limits is not None
        low, high = limits
        number = f"floor((x::DOUBLE - {low}) / {high - low} * {BINS})::INT"
        sql = f"SELECT {number} AS b, count(*) AS c FROM ({self._values()}) GROUP BY 1"
        table = self._arrow(sql)
        return {name: _bins(table["b"], table["c"])}

    def _arrow(self, sql: str) -> Any:
        return self._connection.execute(sql).to_arrow_table()

    def _values(self) -> str:
        return {
            "q1": "SELECT MET_pt AS x FROM t",
            "q2": "SELECT unnest(Jet_pt) AS x FROM t",
            "q3": "SELECT x FROM (SELECT unnest(Jet_pt) AS x, unnest(Jet_eta) AS eta FROM t)"
            " WHERE abs(eta) < 1",
            "q4": "SELECT MET_pt AS x FROM t WHERE len(list_filter(Jet_pt, lambda p: p > 40)) >= 2",
            "q5": self.pair,
        }[self.query.name]

    def _skim(self) -> str:
        above = self.query.met_above_gev
        where = "" if above is None else f" WHERE MET_pt > {above}::FLOAT AND nMuon >= 2"
        return f"SELECT {', '.join(SKIM_COLUMNS)} FROM t{where}"


class DuckDBSplit(DuckDB):
    """DuckDB on byte-stream-split Parquet."""

    kind = "parquet_bss"


class DuckDBJoin(DuckDB):
    """DuckDB on Parquet, q5 as a join of unnested muons instead of list lambdas."""

    pair = _JOINED_PAIR

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        return query.name == "q5"


class Polars(System):
    """polars on Parquet."""

    kind = "parquet_zstd"
    engine: ClassVar[Any] = "auto"

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        return query.name not in ("q5", *STEPPED) and super().can(query, histogram)

    def deliver(self) -> Arrays:
        frame = (self._skim() if self.query.is_skim else self._values()).collect(engine=self.engine)
        return {name: frame[name] for name in self.query.axes}

    def histogram(self) -> Histograms:
        import polars as pl

        ((name, limits),) = self.query.axes.items()
        assert limits is not None
        low, high = limits
        number = ((pl.col(name).cast(pl.Float64) - low) / (high - low) * BINS).floor().cast(pl.Int32)
        frame = self._values().select(number.alias("b")).group_by("b").len().collect(engine=self.engine)
        return {name: _bins(frame["b"].to_numpy(), frame["len"].to_numpy())}

    def _values(self) -> Any:
        import polars as pl

        events = pl.scan_parquet(self.files)
        if self.query.name == "q1":
            return events.select("MET_pt")
        if self.query.name == "q2":
            return events.select(pl.col("Jet_pt").explode()).drop_nulls()
        if self.query.name == "q3":
            jets = events.select("Jet_pt", "Jet_eta").explode("Jet_pt", "Jet_eta")
            return jets.filter(pl.col("Jet_eta").abs() < 1).select("Jet_pt")
        two = pl.col("Jet_pt").list.eval(pl.element() > 40).list.sum() >= 2
        return events.filter(two).select("MET_pt")

    def _skim(self) -> Any:
        import polars as pl

        events = pl.scan_parquet(self.files)
        if self.query.met_above_gev is not None:
            above = pl.col("MET_pt") > pl.lit(self.query.met_above_gev, pl.Float32)
            events = events.filter(above & (pl.col("nMuon") >= 2))
        return events.select(SKIM_COLUMNS)


class PolarsSplit(Polars):
    """polars on byte-stream-split Parquet."""

    kind = "parquet_bss"


class PolarsStreaming(Polars):
    """polars' streaming engine on Parquet."""

    engine = "streaming"
