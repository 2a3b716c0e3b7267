"""Every system of the benchmark, by its name in the tables."""

from __future__ import annotations

from .ceiling import Ceiling
from .ours import Skyhook
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

SYSTEMS: dict[str, type[System]] = {
    "skyhook_casa": Skyhook,
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
    "arrow-ipc": ArrowIpc,
    "ceiling": Ceiling,
}
OURS = "skyhook_casa"
CEILING = "ceiling"
PEERS = tuple(name for name in SYSTEMS if name not in (OURS, CEILING, "arrow-ipc"))
"""The library peers that the ratios are taken against; Arrow IPC is shown beside them."""
SLOW_FILES = {"coffea": 2}
"""Systems that run over so many files only: rates are per event."""
