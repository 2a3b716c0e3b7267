"""What was added to a dataset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class AddedColumns:
    """What `add_columns` did."""

    dataset: str
    version: int
    """The number of the version it made."""
    columns: tuple[str, ...]
    events: int
    """Events of the dataset."""
    missing: int
    """Events of the dataset that no file has; they have the fill values."""
    duplicates: int
    """Events of the files that came again; the first counts."""
    unused: int
    """Events of the files that the dataset does not have."""
    bytes: int
    """Bytes of the new objects."""
    seconds: float
