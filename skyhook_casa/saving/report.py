"""What saving an answer did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SaveReport:
    """What saving an answer did, or has done so far."""

    dataset: str
    """Name of the dataset that holds the answer."""
    version: int = 0
    """The number of the version it made."""
    files: int = 0
    """Files that the events came from, also those of which no event was kept."""
    events: int = 0
    """Events of the dataset that was asked."""
    events_done: int = 0
    events_kept: int = 0
    """Events of the answer."""
    partitions_made: int = 0
    partitions_reused: int = 0
    """Partitions that an interrupted run had made, or the store had already."""
    bytes: int = 0
    """Bytes of the objects of all partitions."""
    source_bytes: int = 0
    """Bytes of the objects that were asked."""
    seconds: float = 0.0
