"""What a query computes on objects: a plan that needs no catalog any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .compile_query import Output
from .merged_object import MergedColumn
from .mixed_program import MixedProgram


class Computation(Protocol):
    """What running a query needs to know of it; `Plan` and `Work` do."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The columns of the answer."""

    @property
    def terms(self) -> Sequence[str]:
        """The conditions on events."""

    @property
    def thins(self) -> bool:
        """Whether elements of collections are thinned."""

    def program(self, *layout_ids: int) -> bytes:
        """Return the engine's program for objects of this layout; for several, merged into one."""

    def mixed(self, *layout_ids: int) -> MixedProgram:
        """Return the query divided over the objects of a partition with these layouts."""

    def columns(self, *layout_ids: int) -> Sequence[MergedColumn]:
        """Return what a merged object of several, with these layouts, holds."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a query computes on every partition: a plan without its catalog."""

    dataset: str
    version: int
    outputs: tuple[Output, ...]
    terms: tuple[str, ...]
    thins: bool
    """Whether elements of collections are thinned."""
    programs: Mapping[tuple[int, ...], bytes]
    """The engine's program for the layouts of the objects of each partition."""
    merged: Mapping[tuple[int, ...], tuple[MergedColumn, ...]] = field(default_factory=dict)
    """Where partitions need several objects: what is taken from each."""
    divided: Mapping[tuple[int, ...], MixedProgram] = field(default_factory=dict)
    """There, what each of them computes."""
    execution: str = "auto"
    rows: bool = False
    """Whether to deliver the number of each event too."""
    histograms: bytes = b""
    """Histograms to fill instead of delivering values."""

    def program(self, *layout_ids: int) -> bytes:
        """See `Computation.program`."""
        return self.programs[layout_ids]

    def mixed(self, *layout_ids: int) -> MixedProgram:
        """See `Computation.mixed`."""
        return self.divided[layout_ids]

    def columns(self, *layout_ids: int) -> Sequence[MergedColumn]:
        """See `Computation.columns`."""
        return self.merged[layout_ids]
