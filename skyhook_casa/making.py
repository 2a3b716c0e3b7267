"""What making a version of a dataset did: an ingest, or keeping an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Making:
    """What making a version did, or has done so far."""

    dataset: str
    """Name of the dataset whose version it is."""
    version: int = 0
    """The number of the version it made."""
    files: int = 0
    """Files that the events came from, also those of which no event was kept."""
    events: int = 0
    """Events to be looked at: of the files, or of the dataset that was asked."""
    events_done: int = 0
    partitions_made: int = 0
    partitions_reused: int = 0
    """Partitions that an interrupted run had made, or the store had already."""
    bytes: int = 0
    """Bytes of the objects of all partitions."""
    source_bytes: int = 0
    """Bytes of the ROOT files, or of the objects that were asked."""
    seconds: float = 0.0
