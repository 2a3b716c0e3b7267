"""Plans of queries, kept for those that ask the same again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

from skyhook_casa import __version__
from skyhook_casa.catalog import Catalog, DatasetVersion, Partitions
from skyhook_casa.compile_query import Output
from skyhook_casa.plan import Plan, plan
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.convert import to_message
from skyhook_casa.protocol.held import Position
from skyhook_casa.protocol.reports import tally_message
from skyhook_casa.query import Query
from skyhook_casa.split import Split
from skyhook_casa.tallying import whole_tally
from skyhook_casa.work import Work
from skyhook_casa.worker import NO_LIMIT

from .line import FIRST_BYTES

DIRECT_BYTES: Final = 64 << 20
"""The first piece of a query goes without a task, if its object is no longer."""
AT_ONCE_S: Final = 0.02
"""Where the first split of a short query stops: nobody asked for rows yet."""
SHORT_EVENTS: Final = 10_000
"""Queries of which no more events are wanted are tried at once."""
TALLY_BYTES_MAX: Final = 16 << 10
"""Longest tally that comes with a plan."""
MERGED_BYTES_MAX: Final = 1 << 20
"""Most bytes of partitions' tallies that are put together for a plan."""
TALLIES_MAX: Final = 64
"""Versions whose tallies are kept."""
OUTPUTS_MAX: Final = 4096
"""Columns of answers of which is kept what clients are told of them."""


@dataclass(frozen=True)
class Prepared:
    """A query resolved against one version, ready to run. Safe to use from many threads."""

    plan: Plan
    lock: threading.RLock
    tally: pb.Tally | None = None
    """Of all events that are asked, if it is known and short; else a client may ask for it."""

    @property
    def parts(self) -> Partitions:
        """The partitions that have events."""
        return self.plan.partitions.filled

    @cached_property
    def message(self) -> pb.QueryPlan:
        """What a client is told of the plan."""
        plan = self.plan
        return pb.QueryPlan(
            query=plan.query.to_json(),
            version=_version_message(plan.version),
            outputs=map(_output_message, plan.outputs),
            terms=plan.terms,
            partitions=len(self.parts),
            events=plan.events,
            object_bytes=self.parts.nbytes,
            tally=self.tally,
        )

    @property
    def is_short(self) -> bool:
        """Whether the answer is likely to be there about as soon as the plan."""
        limit = self.plan.query.limit
        if not self.parts or limit == 0:
            return False
        few = len(self.parts) < 2 or (limit is not None and limit <= SHORT_EVENTS)
        return few and all(part.object.bytes <= DIRECT_BYTES for part in self.parts[:1])

    def ends_with(self, events: int, end: Position | None) -> bool:
        """Whether so many events, from the first on, are the whole answer, if they come up to `end`.

        None as in a split that is through.
        """
        return events == self.plan.query.limit or (end is None and len(self.parts) < 2)

    @property
    def is_compiled(self) -> bool:
        """Whether `work` was asked for before, and returns at once."""
        return "_work" in self.__dict__

    @cached_property
    def _work(self) -> Work:
        with self.lock:
            return self.plan.work()

    def work(self, execution: str, rows: bool, histograms: bytes) -> Work:
        """Return what is computed on every partition. Raises as `Plan.program` does."""
        work = self._work
        if (work.execution, work.rows, work.histograms) == (execution, rows, histograms):
            return work
        return replace(work, execution=execution, rows=rows, histograms=histograms)

    def first_split(self, query_id: str, work: Work, start: pb.QueryStart) -> Split:
        """Return the split with which a short query begins that is answered at once."""
        part, limit = self.parts[0], self.plan.query.limit
        return Split(
            query_id,
            work,
            (part,),
            Position(part.index),
            NO_LIMIT if limit is None else limit,
            FIRST_BYTES if start.deliver == pb.QueryStart.BATCHES else NO_LIMIT,
            AT_ONCE_S,
        )

    def answer_key(self, work: Work) -> bytes:
        """Return what is equal for equal answers of this release."""
        query = self.plan.query
        digest: hashlib._Hash = self._computed.copy()
        digest.update(f"{self.plan.version.id} {query.limit} {query.partitions} {work.rows} ".encode())
        digest.update(work.histograms)
        return digest.digest()

    @cached_property
    def _computed(self) -> hashlib._Hash:
        """The hash of what is computed on each partition."""
        work = self._work
        digest = hashlib.sha256(f"{__version__} {work.outputs} {work.terms}".encode())
        for layout_ids, program in work.programs.items():
            digest.update(f"{layout_ids} {len(program)}".encode() + program)
        return digest


@lru_cache(maxsize=TALLIES_MAX)
def _version_message(version: DatasetVersion) -> pb.DatasetVersion:
    return to_message(version, pb.DatasetVersion)


@lru_cache(maxsize=OUTPUTS_MAX)
def _output_message(output: Output) -> pb.Output:
    return to_message(output, pb.Output)


class Plans:
    """The plans that were asked for last. Safe to use from many threads.

    Parameters
    ----------
    catalog : Catalog
        Where datasets are looked up.
    most : int
        Plans that are kept.
    """

    def __init__(self, catalog: Catalog, most: int) -> None:
        self._catalog = catalog
        self._most = most
        self._plans: OrderedDict[tuple[Any, ...], Prepared] = OrderedDict()
        self._tallies: OrderedDict[int, pb.Tally | None] = OrderedDict()
        self._state: int | None = None
        self._asked: dict[tuple[str, bool], Prepared] = {}
        self._lock = threading.Lock()

    def known(self, text: str, counts: bool = False) -> Prepared | None:
        """Return a plan that was asked for before, if the catalog is as it was; it does not block."""
        with self._lock:
            if self._state is None or self._state != self._catalog.state():
                return None
            return self._asked.get((text, counts))

    def planned(self, text: str, counts: bool = False) -> Prepared:
        """Return the plan of a query, given as JSON. Raises as `prepare` does."""
        found = self.known(text, counts)
        if found is not None:
            return found
        with self._catalog.steady() as state:  # what is found may be newer, but not older
            prepared = self.prepare(Query.from_json(text), counts)
        with self._lock:
            if state != self._state or len(self._asked) >= self._most:
                self._state, self._asked = state, {}
            if self._most:
                self._asked[text, counts] = prepared
        return prepared

    def prepare(self, query: Query, counts: bool = False) -> Prepared:
        """Return a plan: of the query, or if it `counts` of one that delivers nothing.

        Raises
        ------
        SkyhookError
            As `plan` does.
        """
        version = self._catalog.version(query.dataset, query.version)
        if query.version is None:
            query = replace(query, version=version.number)
        # Equal numbers may be different values to fill in: 0.0 and -0.0, 1 and True.
        key = (version.id, query, repr(query.fill), counts, self._catalog.derived_state(version))
        with self._lock:
            if key in self._plans:
                self._plans.move_to_end(key)
                return self._plans[key]
        made = plan(self._catalog, query)
        tally = self._tally(version) if query.limit is None and query.partitions is None else None
        prepared = Prepared(made.only([]) if counts else made, threading.RLock(), tally)
        with self._lock:
            prepared = self._plans.setdefault(key, prepared)
            while len(self._plans) > self._most:
                self._plans.popitem(last=False)
        return prepared

    def _tally(self, version: DatasetVersion) -> pb.Tally | None:
        """Return the tally of a version, if it is known and short."""
        with self._lock:
            if version.id in self._tallies:
                self._tallies.move_to_end(version.id)
                return self._tallies[version.id]
        tally = whole_tally(self._catalog, version, MERGED_BYTES_MAX)
        found = None if tally is None or tally.unknown else tally_message(tally)
        if found is not None and found.ByteSize() > TALLY_BYTES_MAX:
            found = None
        with self._lock:
            self._tallies[version.id] = found
            while len(self._tallies) > TALLIES_MAX:
                self._tallies.popitem(last=False)
        return found
