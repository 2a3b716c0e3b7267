"""How many events pass each of several conditions, counted where the data is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.histogram import HISTOGRAMS_MAX, Histogram, HistogramAxis

from .made_names import errors_without

if TYPE_CHECKING:
    from skyhook_casa.batch import Array
    from skyhook_casa.compile_query import Output

    from .backend import Bins, Question
    from .histograms import Fill

CUTS_MAX: Final = HISTOGRAMS_MAX // 2 - 1
"""Most conditions of a cutflow."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Events that were counted."""

    events: int
    sum_of_weights: float | None = None
    """None if there is no weight."""
    variance: float | None = None
    """Sum of the squared weights; None if there is no weight."""


@dataclass(frozen=True, slots=True)
class Step:
    """One condition of a cutflow."""

    name: str
    cut: str
    passed: Passed
    """Events that meet it and all before it."""
    alone: Passed
    """Events that meet it."""
    others: Passed | None
    """Events that meet all conditions but, perhaps, this one; None if that was not asked for."""


@dataclass(frozen=True, slots=True)
class Cutflow:
    """How many events pass conditions, one after the other and each alone."""

    initial: Passed
    """Events that the conditions were tried on: those that the query keeps."""
    steps: tuple[Step, ...]

    @property
    def final(self) -> Passed:
        """Events that meet all conditions."""
        return self.steps[-1].passed

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain values, as JSON can hold them."""
        return {"initial": asdict(self.initial), "steps": [asdict(step) for step in self.steps]}

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text, its head first."""
        weighted = self.initial.sum_of_weights is not None
        head = ["cut", "events", "of all", "of before", "alone"]
        head += ["others"] if self.steps[0].others is not None else []
        head += ["weighted"] if weighted else []
        rows = [tuple(head)]
        before = self.initial
        for name, passed, step in self._lines():
            row = [name, f"{passed.events:,}", _share(passed, self.initial), _share(passed, before)]
            row.append("" if step is None else f"{step.alone.events:,}")
            if self.steps[0].others is not None:
                row.append("" if step is None or step.others is None else f"{step.others.events:,}")
            if weighted:
                row.append(f"{passed.sum_of_weights:.6g}")
            rows.append(tuple(row))
            before = passed
        return rows

    def _lines(self) -> Iterator[tuple[str, Passed, Step | None]]:
        yield "all", self.initial, None
        for step in self.steps:
            yield step.name, step.passed, step

    def __str__(self) -> str:
        """The counts as a table."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                text.rjust(width) if i else text.ljust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = (
            "".join(
                f"<td style='text-align:{'right' if i else 'left'}'>{escape(text)}</td>"
                for i, text in enumerate(row)
            )
            for row in self.rows()
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head.replace('td', 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _share(part: Passed, whole: Passed) -> str:
    return f"{part.events / whole.events:.2%}" if whole.events else "–"


def count(
    question: Question,
    cuts: Sequence[str] | Mapping[str, str],
    weight: str | None,
    n_minus_one: bool,
    run: Fill,
) -> Cutflow:
    """Return the cutflow of the events that a question keeps. `Query.cutflow` says more.

    One histogram counts how many conditions each event meets before the first that it fails, and
    how many it fails; one more for each condition counts it alone.
    """
    named = _named(cuts)
    values = _Values(question, list(named.values()), weight)
    with errors_without(values.made):
        asked = question.asking(values.query)
    values.check(asked.outputs)
    n = len(named)
    axes = [(HistogramAxis(0, (-0.5, n + 0.5), n + 1), HistogramAxis(1, (-0.5, 1.5), 2))]
    alone = [(HistogramAxis(2 + i, (-0.5, 1.5), 2),) for i in range(n)]
    weights = [None] if weight is None else [None, 2 + n]
    counts = _Counts(run(asked, [Histogram(a, w) for a in (*axes, *alone) for w in weights]), len(weights), n)
    steps = [
        Step(name, cut, counts.passed(i + 1), counts.alone(i), counts.others(i) if n_minus_one else None)
        for i, (name, cut) in enumerate(named.items())
    ]
    return Cutflow(counts.passed(0), tuple(steps))


def _named(cuts: Sequence[str] | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(cuts, str) or not isinstance(cuts, (Sequence, Mapping)):
        raise InvalidRequest(f"cuts is {cuts!r}; a list of conditions, or a dict with their names, is needed")
    if not 1 <= len(cuts) <= CUTS_MAX:
        raise InvalidRequest(f"a cutflow of {len(cuts)} conditions; 1 to {CUTS_MAX} are allowed")
    named = cuts if isinstance(cuts, Mapping) else {cut: cut for cut in cuts}
    if len(named) != len(cuts):
        raise InvalidRequest(f"cuts names a condition twice: {list(cuts)}")
    for cut in named.values():
        if not isinstance(cut, str):
            raise InvalidRequest(f"cuts has {cut!r}; a text is needed")
    return named


class _Values:
    """What is computed of each event: where it stops, how much it fails, each condition, its weight."""

    def __init__(self, question: Question, cuts: Sequence[str], weight: str | None) -> None:
        define = dict(question.value.define)
        prefix = "cutflow"
        while any(name.startswith(prefix) for name in define):
            prefix += "_"
        self._cuts = cuts
        self._weight = weight
        meets = [f"{prefix}_{i}" for i in range(len(cuts))]
        so_far = [f"{prefix}_to_{i}" for i in range(len(cuts))]
        define.update(zip(meets, cuts, strict=True))
        # With `and`, what has no truth value in an event counts as false, as in a cut.
        define.update((so_far[i], f"{so_far[i - 1] if i else True} and {meets[i]}") for i in range(len(cuts)))
        define[f"{prefix}_place"] = " + ".join(f"int64({name})" for name in so_far)
        define[f"{prefix}_failed"] = " + ".join(f"int64(not {name})" for name in meets)
        delivered = [f"{prefix}_place", f"{prefix}_failed", *meets]
        if weight is not None:
            define[f"{prefix}_weight"] = weight
            delivered.append(f"{prefix}_weight")
        self.made = {name: text for name, text in define.items() if name.startswith(prefix)}
        self.query = replace(question.value, columns=tuple(delivered), define=tuple(define.items()))

    def check(self, outputs: Sequence[Output]) -> None:
        """Refuse what has a value per element of a list."""
        for cut, output in zip(self._cuts, outputs[2:], strict=False):
            if output.axis is not None:
                raise InvalidRequest(
                    f"the condition {cut!r} has a truth value per element of a list; "
                    "reduce it with any(…) or all(…)"
                )
        if self._weight is not None and outputs[-1].axis is not None:
            raise InvalidRequest(
                f"the weight {self._weight!r} has a value per element of a list; one per event is needed"
            )


class _Counts:
    """What the histograms of a cutflow say."""

    def __init__(self, bins: Bins, kinds: int, cuts: int) -> None:
        self._bins = bins
        self._kinds = kinds
        self._cuts = cuts

    def passed(self, at_least: int) -> Passed:
        """Return the events that meet so many conditions before the first that they fail."""
        return self._of(0, lambda sums: sums.reshape(-1, 4)[1 + at_least :])

    def others(self, cut: int) -> Passed:
        """Return the events that fail no other condition: none, or first and only this one."""
        return self._of(0, lambda sums: sums.reshape(-1, 4)[[self._cuts + 1, cut + 1], [1, 2]])

    def alone(self, cut: int) -> Passed:
        """Return the events that meet one condition."""
        return self._of(cut + 1, lambda sums: sums[2])

    def _of(self, number: int, pick: Callable[[Array], Any]) -> Passed:
        """Return the sum of those bins of a histogram, and of its weighted twin, that `pick` takes."""
        events = int(np.sum(pick(self._bins.histogram(number * self._kinds)[0])))
        if self._kinds == 1:
            return Passed(events)
        sums, squares = self._bins.histogram(number * self._kinds + 1)
        assert squares is not None
        return Passed(events, float(np.sum(pick(sums))), float(np.sum(pick(squares))))
