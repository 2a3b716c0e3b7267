"""What a run of a query did: every answer comes with one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from .tally import Tallied

if TYPE_CHECKING:
    from ._engine import ScanReport

_SUMMED: Final = (
    "partitions_done events_in events_out objects_pruned chunks chunks_pruned bytes_read bytes_moved "
    "partitions_pushed splits splits_cached"
).split()
"""Counts of parts that add up to those of the whole."""
_summed = attrgetter(*_SUMMED)
_COUNTED: Final = ("events_in", "events_out", "chunks", "chunks_pruned", "bytes_read")
"""Those that the engine makes."""


@dataclass(slots=True)
class Report(Tallied):
    """Counts of one run. An answer with failed parts is never given: the run raises."""

    dataset: str
    version: int
    partitions_planned: int = 0
    """Parts of the dataset that the plan names."""
    partitions_done: int = 0
    """Parts that were worked through; fewer than planned only once `limit` events were found."""
    events_in: int = 0
    """Events looked at, those included that zone maps ruled out."""
    events_out: int = 0
    """Events delivered."""
    cutflow: list[tuple[str, int | None]] = field(default_factory=list)
    """Each condition in the order tried, and the events that met it and all before it; None if they were not
    all counted, because zone maps ruled events out for a later condition before this one was tried."""
    objects_pruned: int = 0
    """Objects of which zone maps ruled out every chunk."""
    chunks: int = 0
    """Chunks of the objects that were worked through."""
    chunks_pruned: int = 0
    """Chunks that zone maps ruled out: nothing of them was read."""
    bytes_read: int = 0
    """Stored bytes of the columns that were read."""
    bytes_skipped: int = 0
    """Bytes of the same objects that were not read."""
    bytes_moved: int = 0
    """Bytes that came from the store to this process: ranges that were read, and answers of scans
    that ran inside the storage."""
    partitions_pushed: int = 0
    """Parts of which at least some ran inside the storage."""
    reason: str = ""
    """Why parts ran where they ran, if the storage can run them: what decided for the last one."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time per stage; `total` is wall time, the others are summed over threads."""
    query_id: str = ""
    """Number of the query in the log of the service that ran it."""
    splits: int = 0
    """Pieces in which the answer came from a service."""
    splits_cached: int = 0
    """Those that the service had at hand from an equal query."""

    def count(self, counts: ScanReport) -> None:
        """Add what the engine counted; the conditions are in the order of `cutflow`."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + counts[name])
        passed = counts["passed"] or [0] * len(self.cutflow)
        pairs = zip(self.cutflow, passed, strict=True)
        self.cutflow = [(term, _together(n, more)) for (term, n), more in pairs]
        for stage in ("read", "compute"):
            self.seconds[stage] = self.seconds.get(stage, 0.0) + counts[f"seconds_{stage}"]  # type: ignore[literal-required]

    def add(self, other: Report) -> None:
        """Add what a part of the run did; its time counts, except `total`."""
        for name, mine, more in zip(_SUMMED, _summed(self), _summed(other), strict=True):
            if more:
                setattr(self, name, mine + more)
        if not self.cutflow:
            self.cutflow = [(term, 0) for term, _ in other.cutflow]
        pairs = zip(self.cutflow, other.cutflow, strict=True) if other.cutflow else ()
        self.cutflow = [(term, _together(n, more)) for (term, n), (_, more) in pairs] or self.cutflow
        self.reason = other.reason or self.reason
        for stage, seconds in other.seconds.items():
            if stage != "total":
                self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def __str__(self) -> str:
        """The report in a few lines."""
        return "\n".join(f"{name:<11}{text}" for name, text in self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_html(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Return (name, text) of each line of the report."""
        kept = f" ({self.events_out / self.events_in:.2%})" if self.events_in else ""
        lines = [
            ("dataset", f"{self.dataset}, version {self.version}"),
            ("partitions", f"{self.partitions_done} of {self.partitions_planned} done"),
            ("events", f"{self.events_in:,} in, {self.events_out:,} out{kept}"),
        ]
        lines += [("cut", _step(term, events)) for term, events in self.cutflow]
        lines += [
            ("pruned", f"{self.objects_pruned:,} objects, {self.chunks_pruned:,} of {self.chunks:,} chunks"),
            ("bytes", f"{human_bytes(self.bytes_read)} read, {human_bytes(self.bytes_skipped)} skipped"),
            ("moved", self._moved()),
            ("seconds", ", ".join(f"{stage} {s:.4g}" for stage, s in self.seconds.items())),
        ]
        if self.query_id:
            cached = f", {self.splits_cached:,} of them from its cache" if self.splits_cached else ""
            lines.append(("service", f"query {self.query_id}, {counted(self.splits, 'split')}{cached}"))
        return lines + (self.tally.lines() if self.is_tallied else [])

    def _moved(self) -> str:
        inside = f", {self.partitions_pushed:,} partitions ran in it" if self.partitions_pushed else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{human_bytes(self.bytes_moved)} from the store{inside}{reason}"


def _together(n: int | None, more: int | None) -> int | None:
    """Return the events of two parts that a condition left; None if they are not known of one."""
    return None if n is None or more is None else n + more


def _step(term: str, events: int | None) -> str:
    if events is None:
        return f"? left after {term} (zone maps ruled events out before it was tried)"
    return f"{events:,} left after {term}"


def table_html(lines: Iterable[tuple[str, str]]) -> str:
    """Return lines of (name, text) as an HTML table."""
    left = "style='text-align:left'"
    rows = [f"<tr><th {left}>{escape(n)}</th><td {left}>{escape(text)}</td></tr>" for n, text in lines]
    return f"<table>{''.join(rows)}</table>"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: ``1 file``, ``2,000 files``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def human_bytes(n: int) -> str:
    """Return a number of bytes with a unit: ``1.5 MB`` for 1,500,000."""
    if n < 1000:
        return f"{n} B"
    size = float(n)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} PB"
