"""What a client is told of the splits of its query: of each, and of all together."""

from __future__ import annotations

import time

import numpy as np

from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.held import Held, Position
from skyhook_casa.protocol.reports import report_message
from skyhook_casa.report import Report
from skyhook_casa.work import Work

from .metrics import Metrics
from .place import Made
from .plans import Prepared


class Account:
    """Adds up the splits of one query.

    Parameters
    ----------
    query_id : str
        Name of the query in the log.
    prepared : Prepared
        What is asked.
    work : Work
        What is computed on every partition.
    metrics : Metrics
        What counts the splits of all queries.
    held : Held, optional
        What the client holds from a stream that broke.
    """

    def __init__(
        self, query_id: str, prepared: Prepared, work: Work, metrics: Metrics, held: Held | None = None
    ) -> None:
        version = prepared.plan.version
        self.query_id = query_id
        self.began_s = time.monotonic()
        self.report = Report(version.dataset, version.number, len(prepared.parts))
        self.report.query_id = query_id
        self.report.cutflow = [(term, 0) for term in work.terms]
        self.held = held or Held()
        self.splits = 0
        """Splits that were announced …"""
        self.nbytes = 0
        """… and their bytes."""
        self._prepared = prepared
        self._metrics = metrics
        self._bins: list[tuple[np.ndarray, np.ndarray | None]] = []

    def plan(self) -> pb.QueryPlan:
        """Return what the client is told first."""
        message = pb.QueryPlan()
        message.CopyFrom(self._prepared.message)
        message.query_id = self.query_id
        return message

    def add(self, first: Position, stop: int, made: Made, source: str) -> None:
        """Add what was made of the events from a position on, up to partition `stop` or where it ends."""
        if not self.report.splits:
            self._metrics.first_batch_seconds.observe(time.monotonic() - self.began_s)
        self._metrics.splits.labels(source).inc()
        self.report.add(made.report)
        self.held.add(first, made.end, stop, made.events)
        self._add_bins(made)

    def split(self, first: Position, stop: int, made: Made, locations: list[str]) -> pb.Split:
        """Return the announcement of a split that was added."""
        self.splits += 1
        self.nbytes += made.nbytes
        self._metrics.events_delivered.inc(made.events)
        self._metrics.bytes_delivered.inc(made.nbytes)
        covers = Held()
        covers.add(first, made.end, stop, made.events)
        return pb.Split(
            number=self.splits,
            events=made.events,
            nbytes=made.nbytes,
            report=report_message(made.report),
            covers=covers.to_message(),
            data=made.data,
            ticket=made.ticket,
            locations=locations,
        )

    def end(self) -> pb.QueryEnd:
        """Return what the client is told last."""
        report = self.report
        report.seconds["total"] = time.monotonic() - self.began_s
        report.bytes_skipped = max(0, self._prepared.parts.nbytes - report.bytes_read)
        return pb.QueryEnd(
            report=report_message(report),
            splits=self.splits,
            histograms=[
                pb.HistogramBins(sums=sums.tobytes(), squares=b"" if more is None else more.tobytes())
                for sums, more in self._bins
            ],
        )

    def _add_bins(self, made: Made) -> None:
        found = [
            (np.frombuffer(sums), np.frombuffer(squares) if squares else None) for sums, squares in made.bins
        ]
        if not self._bins:
            self._bins = [(sums.copy(), None if more is None else more.copy()) for sums, more in found]
            return
        for (sums, squares), (more, more_squares) in zip(self._bins, found, strict=True):
            sums += more
            if squares is not None and more_squares is not None:
                squares += more_squares
