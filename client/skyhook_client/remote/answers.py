"""What a service says, checked before it is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np

from skyhook_casa.batch import Array, Batch
from skyhook_casa.catalog import DatasetVersion
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import InvalidRequest, ProtocolError
from skyhook_casa.histogram import count_histograms
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.convert import from_message
from skyhook_casa.protocol.held import Held
from skyhook_casa.protocol.reports import from_report_message, from_tally_message
from skyhook_casa.query import Query
from skyhook_casa.report import Report
from skyhook_casa.schema import DTYPES
from skyhook_casa.tally import Tally

from ..backend import Bins

REMEMBERED: Final = 64
"""Versions, and columns of answers, that are kept for the next plan: most plans tell the same of them."""

T = TypeVar("T")


def received(message: Any, kind: type[T]) -> T:
    """Return the value of type `kind` that a message holds.

    Raises
    ------
    ProtocolError
        If there can be no such value.
    """
    try:
        return from_message(message, kind)
    except (InvalidRequest, OverflowError) as error:
        raise ProtocolError(f"the service sent a wrong {kind.__name__}: {error}") from error


def version_of(plan: pb.QueryPlan) -> DatasetVersion:
    """Return the version that a plan is for. Raises as `received` does."""
    return _version(plan.version.SerializeToString())


@lru_cache(maxsize=REMEMBERED)
def _version(message: bytes) -> DatasetVersion:
    return received(pb.DatasetVersion.FromString(message), DatasetVersion)


def query_of(plan: pb.QueryPlan, asked: Query, version: DatasetVersion) -> Query:
    """Return the query of a plan: that which was asked, of its version.

    Raises
    ------
    ProtocolError
        If it is another one, or is for another version.
    """
    text = plan.query
    try:
        query = asked if asked.version is not None else replace(asked, version=version.number)
        # Services write it as we do: reading it would take longer.
        planned = query if text == query.to_json() else Query.from_json(text)
    except InvalidRequest as error:
        raise ProtocolError(f"the service planned what is no query: {error}") from error
    if planned != query or (query.dataset, query.version) != (version.dataset, version.number):
        raise ProtocolError(
            f"the service planned {text} on {version.dataset!r}, version {version.number}; "
            f"{asked.to_json()} was asked"
        )
    return query


def outputs_of(plan: pb.QueryPlan) -> tuple[Output, ...]:
    """Return the columns of a plan.

    Raises
    ------
    ProtocolError
        If they are of unknown types, or have no names of their own.
    """
    return _outputs(tuple([one.SerializeToString() for one in plan.outputs]))


@lru_cache(maxsize=REMEMBERED)
def _outputs(messages: tuple[bytes, ...]) -> tuple[Output, ...]:
    outputs = tuple(received(pb.Output.FromString(one), Output) for one in messages)
    for output in outputs:
        axis = 0 if output.axis is None else output.axis
        if not output.name or output.dtype not in DTYPES or not 0 <= axis < len(outputs):
            raise ProtocolError(f"the service planned a column that cannot be: {output}")
    if len({output.name for output in outputs}) != len(outputs):
        raise ProtocolError("the service planned two columns of one name")
    return outputs


def report_of(message: pb.Report) -> Report:
    """Return a report.

    Raises
    ------
    ProtocolError
        If it counts backwards.
    """
    report = from_report_message(message)
    if min(report.partitions_done, report.events_in, report.events_out, report.bytes_read) < 0:
        raise ProtocolError(f"the service reports less than nothing: {report}")
    return report


def tally_of(message: pb.Tally) -> Tally:
    """Return a tally.

    Raises
    ------
    ProtocolError
        If its sum or its sections are none.
    """
    try:
        return from_tally_message(message)
    except InvalidRequest as error:
        raise ProtocolError(f"the service sent a wrong tally: {error}") from error


def hold(held: Held, split: pb.Split, partitions: int) -> None:
    """Add what a split covers, of a dataset of so many partitions, to what is held.

    Raises
    ------
    ProtocolError
        If it names partitions that are not there, or other events than it has.
    """
    covers, events = split.covers, split.events
    if covers.events_out != events or split.report.events_out != events:
        raise ProtocolError(
            f"split {split.number} has {events} events, covers {covers.events_out} "
            f"and reports {split.report.events_out}"
        )
    try:
        held.merge(covers, partitions)
    except InvalidRequest as error:
        raise ProtocolError(f"split {split.number} covers what is not there: {error}") from error


@dataclass(frozen=True, slots=True)
class ReceivedBins(Bins):
    """Histograms as they came."""

    found: tuple[tuple[Array, Array | None], ...]

    @classmethod
    def checked(
        cls, messages: Sequence[pb.HistogramBins], outputs: tuple[Output, ...], description: bytes
    ) -> ReceivedBins:
        """Return histograms, if they are those that a description asks for.

        Raises
        ------
        ProtocolError
            If they have other bins.
        """
        count = count_histograms(description)
        if len(messages) != count:
            raise ProtocolError(f"the service filled {len(messages)} histograms; {count} were asked for")
        wanted = Batch.result(outputs, False, description)
        found = []
        for number, bins in enumerate(messages):
            sums, squares = wanted.histogram(number)
            sizes = sums.nbytes, 0 if squares is None else squares.nbytes
            if (len(bins.sums), len(bins.squares)) != sizes:
                raise ProtocolError(f"the service filled other bins than those of histogram {number}")
            weights = None if squares is None else np.frombuffer(bins.squares, "<f8")
            found.append((np.frombuffer(bins.sums, "<f8"), weights))
        return cls(tuple(found))

    def histogram(self, number: int) -> tuple[Array, Array | None]:
        """See `Bins.histogram`."""
        return self.found[number]
