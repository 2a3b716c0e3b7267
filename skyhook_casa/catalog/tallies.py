"""What is added up of partitions: weights and luminosity sections, kept for each object that has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ..errors import NotFound
from ..tally import SECTION, TALLIED, WEIGHT
from . import statements as s
from . import tables as t
from .database import Database
from .reading import chunks
from .types import DatasetVersion, PartitionTally

_object_ids = select(t.objects.c.name, t.objects.c.id).where(
    t.objects.c.name.in_(bindparam("names", expanding=True))
)


class Tallies:
    """The part of `Catalog` that knows sums over the events of partitions."""

    _database: Database

    def partition_tallies(self, version: DatasetVersion, first: int, stop: int) -> list[PartitionTally]:
        """Return what was added up of the partitions of `version` from `first` up to `stop`.

        A column counts as it is in the newest object that has it, as a query would read it.

        Raises
        ------
        NotFound
            If the version was dropped.
        """
        key = {"version_id": version.id, "first": first, "stop": stop}
        with self._database.read() as connection:
            rows = connection.execute(s.partition_tallies, key).all()
            beside = connection.execute(s.set_tallies, key).all()
            layouts = {row[3] for row in rows} | {row[2] for row in beside}
            having = _having(connection, layouts)
        if len(rows) != stop - first:
            raise NotFound(f"version {version.number} of dataset {version.dataset!r} was dropped")
        found = {
            index: _newer(PartitionTally(index, events, None, None, None, None), rest, having)
            for index, events, *rest in rows
        }
        for index, *rest in beside:
            found[index] = _newer(found[index], rest, having)
        return list(found.values())

    def record_tallies(self, weights: Mapping[str, str], sections: Mapping[str, bytes]) -> None:
        """Remember what was added up of objects, by their names; of those that are gone, nothing."""
        with self._database.write() as connection:
            ids: dict[str, int] = {}
            for names in chunks([*{**weights, **sections}]):
                ids |= {row[0]: row[1] for row in connection.execute(_object_ids, {"names": names})}
            insert_tallies(
                self._database,
                connection,
                {ids[name]: exact for name, exact in weights.items() if name in ids},
                {ids[name]: ranges for name, ranges in sections.items() if name in ids},
            )


def insert_tallies(
    database: Database, connection: Connection, weights: Mapping[int, str], sections: Mapping[int, bytes]
) -> None:
    """Write what was added up of objects, by their ids; of those that are known, nothing."""
    if weights:
        rows = [{"object_id": id_, "exact": exact} for id_, exact in weights.items()]
        connection.execute(database.insert_new(t.object_weights), rows)
    if sections:
        found = [{"object_id": id_, "ranges": ranges} for id_, ranges in sections.items()]
        connection.execute(database.insert_new(t.object_sections), found)


def _having(connection: Connection, layouts: set[int]) -> dict[int, set[str]]:
    """Return which of the columns objects of each layout have."""
    having: dict[int, set[str]] = {layout_id: set() for layout_id in layouts}
    for some in chunks(sorted(layouts)):
        for name, layout_id in connection.execute(
            s.layouts_having, {"layout_ids": some, "names": list(TALLIED)}
        ):
            having[layout_id].add(name)
    return having


def _newer(tally: PartitionTally, row: list[Any], having: Mapping[int, set[str]]) -> PartitionTally:
    """Return a partition's tally with the columns of a newer one of its objects."""
    name, layout_id, exact, ranges = row
    if WEIGHT in having[layout_id]:
        tally = tally._replace(weights_in=name, weights=exact)
    there = having[layout_id].intersection(SECTION)
    if there:
        both = len(there) == len(SECTION)
        tally = tally._replace(sections_in=name if both else "", sections=ranges if both else None)
    return tally
