"""Axes of `hist` as bins of the engine, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.histogram import HistogramAxis

if TYPE_CHECKING:
    from skyhook_casa.batch import Array


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of a histogram, and what fills it."""

    expression: str
    axis: Any
    """Its `hist` axis."""

    @property
    def open(self) -> bool:
        """Whether the values of a category are still to be found."""
        return bool(self.axis.traits.growth)

    def closed(self, values: Sequence[int]) -> Dimension:
        """Return the category with those values that were found, after those it had."""
        import hist

        have = [int(value) for value in self.axis]
        values = have + [value for value in values if value not in have]
        axis = hist.axis.IntCategory(values, name=self.axis.name, label=self.axis.label, growth=True)
        return replace(self, axis=axis)

    def check(self, dtype: str) -> None:
        """Refuse to fill an axis of whole numbers or truth values with something else."""
        import hist

        if isinstance(self.axis, (hist.axis.Integer, hist.axis.IntCategory)):
            if np.dtype(dtype).kind not in "iub":
                raise InvalidRequest(
                    f"{self.expression!r} is {dtype}; an axis of whole numbers or a category needs whole "
                    "numbers, as int32(…) gives them"
                )
        elif isinstance(self.axis, hist.axis.Boolean) and dtype != "bool":
            raise InvalidRequest(f"{self.expression!r} is {dtype}; a Boolean axis needs true or false")


def axis_of(axis: Any, name: str, bins: int | None, limits: tuple[float, float] | None) -> Dimension:
    """Return an axis that was asked for; a text takes `bins` and `limits`, and `name` if it is no name.

    Raises
    ------
    InvalidRequest
        If a text comes without bins, or the axis has no name or cannot be filled in a scan.
    """
    import hist

    if not isinstance(axis, str):
        return Dimension(_axis_name(axis), _checked(axis))
    if bins is None or limits is None:
        raise InvalidRequest(f"hist({axis!r}) needs bins= and range=, or a hist.axis named {axis!r}")
    if not limits[0] < limits[1] or bins < 1:
        raise InvalidRequest(f"{bins} bins from {limits[0]} to {limits[1]} are no bins")
    return Dimension(axis, hist.axis.Regular(bins, *limits, name=_name(axis, name), label=axis))


def found_category(expression: str) -> Dimension:
    """Return the category of an expression whose values are to be found."""
    import hist

    name = _name(expression, "category")
    return Dimension(expression, hist.axis.IntCategory([], name=name, label=expression, growth=True))


def _name(expression: str, other: str) -> str:
    return expression if expression.isidentifier() else other


def _axis_name(axis: Any) -> str:
    name = getattr(axis, "name", "")
    if not name:
        raise InvalidRequest(f"{axis!r} has no name; the name says which column it is filled with")
    return str(name)


def _checked(axis: Any) -> Any:
    import hist

    kinds = (
        hist.axis.Regular,
        hist.axis.Variable,
        hist.axis.Integer,
        hist.axis.Boolean,
        hist.axis.IntCategory,
    )
    traits = getattr(axis, "traits", None)
    grows = traits is not None and traits.growth and not isinstance(axis, hist.axis.IntCategory)
    if not isinstance(axis, kinds) or traits is None or traits.circular or grows:
        raise InvalidRequest(
            f"{axis!r} cannot be filled in a scan; Regular, Variable, Integer, Boolean and IntCategory axes "
            "that are neither circular nor growing can"
        )
    if getattr(axis, "transform", None) is not None:
        raise InvalidRequest(f"{axis!r} has a transform; give its edges as a Variable axis")
    return axis


def engine_bins(output: int, axis: Any) -> HistogramAxis:
    """Return the bins of a `hist` axis for the engine."""
    import hist

    if isinstance(axis, hist.axis.IntCategory):
        return _category_bins(output, sorted(int(value) for value in axis))
    edges = [float(edge) for edge in axis.edges]
    if isinstance(axis, (hist.axis.Integer, hist.axis.Boolean)):
        # Half a step off, so that no whole number lies at an edge, where rounding would move it.
        return HistogramAxis(output, (edges[0] - 0.5, edges[-1] - 0.5), len(edges) - 1)
    # Without an overflow bin, hist puts what lies at the upper end into the last bin.
    closed = not axis.traits.overflow
    if isinstance(axis, hist.axis.Regular):
        return HistogramAxis(output, (edges[0], edges[-1]), len(edges) - 1, closed=closed)
    return HistogramAxis(output, tuple(edges), len(edges) - 1, regular=False, closed=closed)


def _category_bins(output: int, values: Sequence[int]) -> HistogramAxis:
    """Return a bin for each value, and for each gap between them."""
    if not values:
        return HistogramAxis(output, (-0.5, 0.5), 1)
    if values[-1] - values[0] + 1 == len(values):
        return HistogramAxis(output, (values[0] - 0.5, values[-1] + 0.5), len(values))
    edges = tuple(dict.fromkeys(edge for value in values for edge in (value - 0.5, value + 0.5)))
    return HistogramAxis(output, edges, len(edges) - 1, regular=False)


def with_flow(values: Array, axes: Sequence[Any]) -> Array:
    """Return the engine's bins as a histogram of `axes` has them, with the flow bins that it has."""
    for number, axis in enumerate(axes):
        places = _places(axis, values.shape[number])
        if np.array_equal(places, np.arange(axis.extent)):
            continue
        moved = np.zeros((axis.extent + 1, *np.delete(values.shape, number)), values.dtype)
        np.add.at(moved, places, np.moveaxis(values, number, 0))
        values = np.moveaxis(moved[:-1], 0, number)
    return values


def _places(axis: Any, n: int) -> Array:
    """Return where each of the engine's `n` bins goes on an axis; `extent` if it has no place."""
    import hist

    if isinstance(axis, hist.axis.IntCategory):
        return _category_places(axis, n)
    first = 1 if axis.traits.underflow else 0
    under = 0 if axis.traits.underflow else axis.extent
    over = first + n - 2 if axis.traits.overflow else axis.extent
    return np.array([under, *range(first, first + n - 2), over])


def _category_places(axis: Any, n: int) -> Array:
    rest = axis.size if axis.traits.overflow else axis.extent
    places = np.full(n, rest)
    edges = np.array(_category_bins(0, sorted(values := [int(value) for value in axis])).edges)
    if len(edges) == 2:
        edges = np.arange(edges[0], edges[1] + 1)
    for place, value in enumerate(values):
        places[np.searchsorted(edges, value)] = place
    return places
