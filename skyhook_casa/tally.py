"""What is added up of events before any cut: generator weights, and luminosity sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, NamedTuple

import numpy as np

from .errors import InvalidRequest
from .exact_sum import ExactSum
from .lumimask import LumiMask
from .schema import Column

WEIGHT: Final = "genWeight"
SECTION: Final = ("run", "luminosityBlock")
TALLIED: Final = (WEIGHT, *SECTION)
"""Columns of which each partition's tally is kept."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """The generator weights and luminosity sections of some events. Tallies of other events add to it."""

    weights: ExactSum | None = None
    """Sum of `genWeight`; None if not all of the events are known to have one."""
    sections: LumiMask | None = None
    """Where the events lie; None if that is not known of all."""
    unknown: bool = False
    """Whether something is None because nobody looked: `Dataset.tally` with `count=True` does."""

    @property
    def sum_of_weights(self) -> float | None:
        """The sum of the weights, rounded once."""
        return None if self.weights is None else float(self.weights)

    def __add__(self, other: Tally) -> Tally:
        """Return the tally of the events of both."""
        return Tally(
            None if self.weights is None or other.weights is None else self.weights + other.weights,
            None if self.sections is None or other.sections is None else self.sections | other.sections,
            self.unknown or other.unknown,
        )

    def lines(self) -> list[tuple[str, str]]:
        """Return (name, text) of what it says."""
        lines = []
        if self.weights is not None:
            lines.append(("weights", f"{self.sum_of_weights!r} is the sum of {WEIGHT}"))
        if self.sections is not None:
            plural = "run" if self.sections.runs == 1 else "runs"
            lines.append(("sections", f"{self.sections.sections:,} in {self.sections.runs:,} {plural}"))
        if self.unknown:
            lines.append(
                ("unknown", "what no ingest added up: Dataset.tally(count=True) does, tally --count too")
            )
        return lines


class Tallied:
    """Knows the tally of the events that a run worked through, once somebody asks for it."""

    __slots__ = ("_source", "_tally")
    _source: Callable[[int], Tally]
    _tally: Tally
    events_in: int

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """What is copied and sent elsewhere: the tally itself, not who can be asked for it."""
        if hasattr(self, "_source"):
            _ = self.tally
        names = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        return None, {one: getattr(self, one) for one in names if one != "_source" and hasattr(self, one)}

    def tallied_by(self, source: Callable[[int], Tally]) -> None:
        """Name what tells the tally of the first so many of the events asked for."""
        self._source = source

    @property
    def is_tallied(self) -> bool:
        """Whether the tally was looked up already."""
        return hasattr(self, "_tally")

    @property
    def tally(self) -> Tally:
        """The sum of weights and the sections of the `events_in` events: before the cut, also those pruned.

        It is looked up when it is first wanted.

        Raises
        ------
        SkyhookError
            If what answered the query cannot be asked any more.
        """
        if not self.is_tallied:
            self._tally = self._source(self.events_in) if hasattr(self, "_source") else Tally(unknown=True)
        return self._tally

    @property
    def sum_of_weights(self) -> float | None:
        """The sum of `genWeight` over these events, rounded once; None if it is not there, or not known."""
        return self.tally.sum_of_weights

    @property
    def sections(self) -> LumiMask | None:
        """The luminosity sections of these events, for `to_json`; None if not there, or not known."""
        return self.tally.sections


def countable(columns: Mapping[str, Column]) -> tuple[bool, bool]:
    """Return whether the columns of a dataset or file have weights, and sections, of each event."""
    plain = {name: c.dtype for name, c in columns.items() if c.list is None and c.counts is None}
    whole = [np.dtype(plain[name]).kind in "iu" for name in SECTION if name in plain]
    return WEIGHT in plain, len(whole) == len(SECTION) and all(whole)


class EncodedTally(NamedTuple):
    """A tally as the catalog keeps it; None is what was not added up."""

    weights: str | None = None
    """The text of an `ExactSum`."""
    sections: bytes | None = None
    """An encoded `LumiMask`."""

    @classmethod
    def of(cls, values: Mapping[str, Array], weights: bool, sections: bool) -> EncodedTally:
        """Return the tally of events, of weights and of sections if their columns are given."""
        return cls(
            str(ExactSum.of(values[WEIGHT])) if weights else None,
            _encoded_sections(*(values[name] for name in SECTION)) if sections else None,
        )


def _encoded_sections(runs: Array, sections: Array) -> bytes | None:
    """Return the sections of events; None if their numbers are those of no golden JSON."""
    try:
        return LumiMask.of_events(runs, sections).encode()
    except InvalidRequest:
        return None


def joined(weights: Iterable[str] | None, sections: Iterable[bytes] | None, unknown: bool = False) -> Tally:
    """Return the tally of events of which parts are given as the catalog keeps them."""
    return Tally(
        None if weights is None else reduce(ExactSum.__add__, map(ExactSum.parse, weights), ExactSum()),
        None if sections is None else LumiMask.decode(*sections),
        unknown,
    )
