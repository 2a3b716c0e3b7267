"""A query that a service resolved."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from skyhook_casa.explain import Explanation
from skyhook_casa.progress import Progress
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.query import Query as QueryValue

from ..backend import Question, Run
from .answers import outputs_of, query_of, received, tally_of, version_of
from .run import RemoteRun

if TYPE_CHECKING:
    from skyhook_casa.report import Report
    from skyhook_casa.tally import Tally

    from .backend import RemoteBackend


class RemoteQuestion(Question):
    """What a service said that it would deliver.

    Parameters
    ----------
    backend : RemoteBackend
        The service.
    value : Query
        What is asked.
    execution : str
        Where the parts run.
    at_once : bool
        Whether the service may begin with the answer: its events are likely to be asked for next.
    """

    def __init__(
        self, backend: RemoteBackend, value: QueryValue, execution: str, at_once: bool = False
    ) -> None:
        start = pb.QueryStart(query=value.to_json(), execution=execution, at_once=at_once)
        plan = backend.resolve(start)
        self.plan = plan
        """What the service said."""
        self.backend: RemoteBackend = backend
        self.version = version_of(plan)
        self.value = query_of(plan, value, self.version)
        self.outputs = outputs_of(plan)
        self.execution = execution

    def knows(self, name: str) -> bool:
        """See `Question.knows`."""
        stored = {output.name for output in self.outputs} - dict(self.value.define).keys()
        return name in stored or bool(self.backend.columns(self.version, glob.escape(name)))

    def asking(self, value: QueryValue) -> Question:
        """See `Question.asking`."""
        return RemoteQuestion(self.backend, replace(value, version=self.version.number), self.execution)

    def only(self, outputs: Sequence[str]) -> Question:
        """See `Question.only`."""
        names = tuple(output.name for output in self.outputs if output.name in outputs)
        return self.asking(replace(self.value, columns=names))

    def run(self, progress: Progress, rows: bool = False, histograms: bytes = b"") -> Run:
        """See `Question.run`."""
        return RemoteRun(self, progress, rows, histograms)

    def tell_tally_of(self, report: Report) -> None:
        """See `Question.tell_tally_of`; that of all events comes with the plan, if it is short."""
        ask = partial(self.backend.tally, self.version, self.value.partitions)
        plan = self.plan
        # Its bytes: a part of the plan would keep all of it, with an answer that came with it.
        known = plan.tally.SerializeToString() if plan.HasField("tally") else None
        report.tallied_by(ask if known is None else partial(_tally, ask, plan.events, known))

    def explain(self) -> Explanation:
        """See `Question.explain`."""
        start = pb.QueryStart(query=self.value.to_json(), execution=self.execution)
        return received(self.backend.channel.ask("Delivery.Explain", start), Explanation)


def _tally(ask: Callable[[int], Tally], events_of_all: int, of_all: bytes, events: int) -> Tally:
    """Return the tally of the first events, which is known if these are all, or else asked for."""
    return tally_of(pb.Tally.FromString(of_all)) if events == events_of_all else ask(events)
