"""What saving an answer did."""

from __future__ import annotations

from dataclasses import dataclass

from ..making import Making


@dataclass(slots=True)
class SaveReport(Making):
    """What saving an answer did, or has done so far; `dataset` is the one that holds the answer."""

    events_kept: int = 0
    """Events of the answer."""
