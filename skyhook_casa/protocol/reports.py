"""Reports on the wire."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter

from ..report import Report
from ..tally import Tally, joined
from . import delivery_pb2 as pb

_ALIKE = [field.name for field in pb.Report.DESCRIPTOR.fields if field.name not in ("cutflow", "seconds")]
"""Fields that a `Report` has under the same name and in the same form."""
_values = attrgetter(*(field.name for field in fields(Report)))
"""What a message has for each field of a `Report`, in their order."""


def report_message(report: Report) -> pb.Report:
    """Return the form of a report that travels."""
    message = pb.Report(**{name: getattr(report, name) for name in _ALIKE})
    message.cutflow.extend(
        pb.CutCount(term=term, events=events or 0, uncounted=events is None)
        for term, events in report.cutflow
    )
    message.seconds.update(report.seconds)
    return message


def from_report_message(message: pb.Report) -> Report:
    """Return the report that a message holds."""
    report = Report(*_values(message))
    report.cutflow = [(one.term, None if one.uncounted else one.events) for one in message.cutflow]
    report.seconds = dict(message.seconds)
    return report


def tally_message(tally: Tally) -> pb.Tally:
    """Return the form of a tally that travels."""
    return pb.Tally(
        weights=None if tally.weights is None else str(tally.weights),
        sections=None if tally.sections is None else tally.sections.encode(),
        unknown=tally.unknown,
    )


def from_tally_message(message: pb.Tally) -> Tally:
    """Return the tally that a message holds.

    Raises
    ------
    InvalidRequest
        If its sum or its sections are none.
    """
    return joined(
        [message.weights] if message.HasField("weights") else None,
        [message.sections] if message.HasField("sections") else None,
        message.unknown,
    )
