"""What a part of an expression can be while it is compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ..schema import Column, ListInfo

Number = bool | int | float
Momentum = tuple[int, int, int, int]
"""Nodes of px, py, pz and energy, float64, all on one axis."""


class Mismatch(Exception):
    """Operands do not fit; whoever knows the place in the text turns it into an `ExpressionError`."""


class Names(Protocol):
    """What an expression may refer to."""

    def column(self, name: str) -> Column | None:
        """Return the column called `name`, or None."""

    def list_info(self, name: str) -> ListInfo | None:
        """Return the list called `name`, or None."""

    def known(self) -> Iterable[str]:
        """Return all names, for near matches in an error message."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number written in the text. It takes the dtype of what it meets (NumPy calls that weak)."""

    value: Number


@dataclass(frozen=True, slots=True)
class Array:
    """A value of the program: one per event, or one per element of a list."""

    node: int


@dataclass(frozen=True, slots=True)
class Nested(Array):
    """A value on a cross that a reduction takes as one list for each element of the first part."""


class Record(ABC):
    """Something with fields: an element of a collection, a pair, a four-vector."""

    axis: int
    """Where it lies: EVENT or an axis node."""
    label: str
    """What to call one of it in a message."""

    @abstractmethod
    def field(self, name: str) -> Operand:
        """Return a field. Raises Mismatch if there is none."""

    @abstractmethod
    def momentum(self) -> Momentum:
        """Return the four-momentum. Raises Mismatch if it has none."""

    @abstractmethod
    def moved(self, axis: int, apply: Callable[[int], int]) -> Record:
        """Return the record on another axis; `apply` brings a node there."""


Operand = Literal | Array | Record


@dataclass(frozen=True, slots=True)
class Term:
    """One of the conditions that a cut joins by `and`: a bool per event, never missing."""

    node: int
    """Its number in the program."""
    text: str
    """What it says, as it stands in the cut."""


@dataclass(frozen=True, slots=True)
class Value:
    """A compiled value that can be delivered."""

    node: int
    """Its number in the program."""
    dtype: str
    """NumPy name of the element type."""
    axis: int
    """EVENT, or the axis node that it lies on."""
    list: str | None
    """The stored list that it lies on; None for one per event and for derived lists."""
    optional: bool
    """Whether elements may be missing."""
