"""The kinds of files that answers can be written as."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from skyhook_casa.errors import InvalidRequest

from .root import NtupleWriter, TreeWriter
from .writers import ArrowWriter, CsvWriter, FeatherWriter, ParquetWriter, Writer

FORMATS: Final[dict[str, type[Writer]]] = {
    "parquet": ParquetWriter,
    "feather": FeatherWriter,
    "arrow": ArrowWriter,
    "ttree": TreeWriter,
    "rntuple": NtupleWriter,
    "csv": CsvWriter,
}
"""Kinds of files by their name."""


def by_name(name: str) -> type[Writer]:
    """Return the kind of file of this name.

    Raises
    ------
    InvalidRequest
        If there is none.
    """
    if name not in FORMATS:
        raise InvalidRequest(f"format is {name!r}; one of {', '.join(FORMATS)} is needed")
    return FORMATS[name]


def by_ending(path: Path) -> type[Writer]:
    """Return the kind of file that the ending of a path names: of .root files the tree.

    Raises
    ------
    InvalidRequest
        If it is another.
    """
    kinds: dict[str, type[Writer]] = {}
    for kind in FORMATS.values():
        kinds.setdefault(kind.ending, kind)
    if path.suffix.lower() not in kinds:
        raise InvalidRequest(
            f"{path.name!r} does not end in {', '.join(kinds)}; name one of them, or a format"
        )
    return kinds[path.suffix.lower()]
