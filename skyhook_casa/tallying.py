"""Tallies of the events that a query worked through: looked up, and read where nobody added up before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .catalog import Catalog, DatasetVersion, PartitionTally
from .errors import InvalidRequest
from .plan import plan
from .query import Query
from .scan import Scan
from .stores import ObjectStore
from .tally import SECTION, TALLIED, WEIGHT, EncodedTally, Tally, countable, joined

RECORDED_TOGETHER: Final = 64
"""Partitions that are counted before the catalog remembers them: what a killed process has to do again."""


def tally_of(
    catalog: Catalog,
    store: ObjectStore,
    version: DatasetVersion,
    partitions: tuple[int, int] | None = None,
    events: int | None = None,
    skip: int = 0,
    count: bool = False,
) -> Tally:
    """Return the tally of events of some partitions; the catalog knows it of whole partitions.

    Parameters
    ----------
    catalog, store
        Where the dataset is kept.
    version : DatasetVersion
        Of which version.
    partitions : (int, int), optional
        The first, and one past the last; all by default.
    events : int, optional
        How many of their events; all that are left by default. Of a partition that is not in as a whole the
        columns are read.
    skip : int
        How many of their events come before the first.
    count : bool
        Whether to read the columns of partitions that nobody added up, and to remember what they give.

    Raises
    ------
    NotFound
        If the version was dropped.
    InvalidRequest
        If there are not so many partitions or events.
    AccessDenied
        If there is something to be remembered, and the catalog may only be read.
    """
    first, stop = partitions or (0, version.partitions)
    if not 0 <= first <= stop <= version.partitions:
        raise InvalidRequest(f"partitions {first} to {stop} are asked; there are {version.partitions}")
    tallies = _Tallies(catalog, store, version)
    found = tallies.of_partitions(first, stop)
    if count:
        found = list(tallies.count(found))
    there = sum(one.events for one in found)
    end = there if events is None else skip + events
    if not 0 <= skip <= end <= there:
        raise InvalidRequest(f"events {skip} to {end} of partitions are asked that have {there}")
    return tallies.joined(tallies.between(found, skip, end))


def whole_tally(catalog: Catalog, version: DatasetVersion, bytes_max: int) -> Tally | None:
    """Return what the catalog knows of all events of a version; None if it knows more than `bytes_max` bytes.

    Raises
    ------
    NotFound
        If the version was dropped.
    """
    tallies = _Known(catalog, version)
    found = tallies.of_partitions(0, version.partitions)
    if sum(len(one.sections or "") for one in found) > bytes_max:
        return None
    return tallies.joined(found)


class _Known:
    """What the catalog knows of one version."""

    def __init__(self, catalog: Catalog, version: DatasetVersion) -> None:
        self._catalog, self._version = catalog, version
        self._has_weights, self._has_sections = countable(catalog.columns_named(version, TALLIED))

    def of_partitions(self, first: int, stop: int) -> list[PartitionTally]:
        """Return what the catalog knows; of lists that are called like a column, nothing."""
        found = self._catalog.partition_tallies(self._version, first, stop)
        if not self._has_weights:
            found = [one._replace(weights_in=None, weights=None) for one in found]
        if not self._has_sections:
            found = [one._replace(sections_in=None, sections=None) for one in found]
        return found

    def joined(self, parts: Sequence[PartitionTally]) -> Tally:
        """Return the tally of all the parts together."""
        weights = [one.weights for one in parts if one.weights is not None]
        sections = [one.sections for one in parts if one.sections is not None]
        return joined(
            weights if self._has_weights and len(weights) == len(parts) else None,
            sections if self._has_sections and len(sections) == len(parts) else None,
            any(map(_is_unknown, parts)),
        )


class _Tallies(_Known):
    """The tallies of one version, also those that are read."""

    def __init__(self, catalog: Catalog, store: ObjectStore, version: DatasetVersion) -> None:
        super().__init__(catalog, version)
        self._store = store

    def count(self, found: Sequence[PartitionTally]) -> Iterator[PartitionTally]:
        """Yield the tallies, those completed and remembered that are not known."""
        for at in range(0, len(found), RECORDED_TOGETHER):
            some = found[at : at + RECORDED_TOGETHER]
            made = {one.index: self._read(one) for one in some if _is_unknown(one)}
            if made:
                self._catalog.record_tallies(
                    {one.weights_in: one.weights for one in made.values() if one.weights_in and one.weights},
                    {
                        one.sections_in: one.sections
                        for one in made.values()
                        if one.sections_in and one.sections is not None
                    },
                )
            yield from (made.get(one.index, one) for one in some)

    def between(self, found: Sequence[PartitionTally], start: int, stop: int) -> list[PartitionTally]:
        """Return the tallies of the events from `start` up to `stop`, read where a partition is cut."""
        parts, first = [], 0
        for one in found:
            begin, end = max(start - first, 0), min(stop - first, one.events)
            if (begin, end) == (0, one.events):
                parts.append(one)
            elif begin < end:
                parts.append(self._read(one, begin, end))
            first += one.events
        return parts

    def _read(self, part: PartitionTally, begin: int = 0, end: int | None = None) -> PartitionTally:
        """Return the tally of a partition, or of its events from `begin` to `end`, that its columns give."""
        names = [WEIGHT] if part.weights_in else []
        names += SECTION if part.sections_in is not None else ()  # also those that lie in two objects
        if not names:
            return part
        asked = Query.make(
            self._version.dataset,
            names,
            version=self._version.number,
            partitions=(part.index, part.index + 1),
            limit=end,
        )
        batch = Scan(plan(self._catalog, asked), self._store).collect()
        values = {name: found[begin:] for name, found in zip(names, batch.values, strict=True)}
        tally = EncodedTally.of(values, bool(part.weights_in), part.sections_in is not None)
        return part._replace(weights=tally.weights, sections=tally.sections)


def _is_unknown(part: PartitionTally) -> bool:
    """Return whether a partition has columns that nobody added up."""
    no_weights = part.weights_in is not None and part.weights is None
    return no_weights or (part.sections_in is not None and part.sections is None)
