"""Every system of the benchmark, by its name in the tables."""

from __future__ import annotations

from .ceiling import Ceiling
from .ours import LongService, Service, Skyhook
from .peers import (
    ArrowIpc,
    Coffea,
    DuckDB,
    DuckDBJoin,
    DuckDBSplit,
    Polars,
    PolarsSplit,
    PolarsStreaming,
    PyArrow,
    PyArrowSplit,
    System,
    Uproot,
)
from .rdataframe import RDataFrame, RNTuple

SYSTEMS: dict[str, type[System]] = {
    "skyhook_casa": Skyhook,
    "service": Service,
    "long-service": LongService,
    "uproot": Uproot,
    "coffea": Coffea,
    "pyarrow": PyArrow,
    "pyarrow-split": PyArrowSplit,
    "duckdb": DuckDB,
    "duckdb-split": DuckDBSplit,
    "duckdb-join": DuckDBJoin,
    "polars": Polars,
    "polars-split": PolarsSplit,
    "polars-streaming": PolarsStreaming,
    "rdataframe": RDataFrame,
    "rntuple": RNTuple,
    "arrow-ipc": ArrowIpc,
    "ceiling": Ceiling,
}
OURS = "skyhook_casa"
SERVICES = ("service", "long-service")
"""Ours too, through a service: over the same files, and over the long dataset."""
CEILING = "ceiling"
PEERS = tuple(name for name in SYSTEMS if name not in (OURS, *SERVICES, CEILING, "arrow-ipc"))
"""The library peers that the ratios are taken against; Arrow IPC is shown beside them."""
SLOW_FILES = {"coffea": 2}
"""Systems that run over so many files only: rates are per event."""
