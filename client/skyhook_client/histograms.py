"""`hist.Hist` objects that are filled where the data is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.histogram import Histogram, HistogramAxis
from skyhook_casa.query import Query as QueryValue

if TYPE_CHECKING:
    import hist

    from .backend import Bins

EXPRESSION_NAME = "hist_value_{}"
"""Name of the definition that an axis which is an expression becomes."""


def hist_axes(
    axes: Sequence[Any], bins: int | None, limits: tuple[float, float] | None
) -> list[tuple[str, Any]]:
    """Return (expression, `hist` axis) of each axis that was asked for.

    Raises
    ------
    InvalidRequest
        If a text comes without `bins` and `range`, or an axis has no name or another kind of bins.
    """
    import hist

    if not axes:
        raise InvalidRequest("a histogram needs an axis: the name of a column, or a hist.axis with a name")
    found: list[tuple[str, Any]] = []
    for axis in axes:
        if isinstance(axis, str):
            if bins is None or limits is None:
                raise InvalidRequest(f"hist({axis!r}) needs bins= and range=, or a hist.axis named {axis!r}")
            if not limits[0] < limits[1] or bins < 1:
                raise InvalidRequest(f"{bins} bins from {limits[0]} to {limits[1]} are no bins")
            name = axis if axis.isidentifier() else f"axis{len(found)}"
            found.append((axis, hist.axis.Regular(bins, *limits, name=name, label=axis)))
        else:
            found.append((_axis_name(axis), _checked(axis)))
    return found


def _axis_name(axis: Any) -> str:
    name = getattr(axis, "name", "")
    if not name:
        raise InvalidRequest(f"{axis!r} has no name; the name says which column it is filled with")
    return str(name)


def _checked(axis: Any) -> Any:
    import hist

    plain = isinstance(axis, (hist.axis.Regular, hist.axis.Variable))
    traits = getattr(axis, "traits", None)
    if not plain or traits is None or not (traits.underflow and traits.overflow) or traits.circular:
        raise InvalidRequest(
            f"{axis!r} cannot be filled in a scan; Regular and Variable axes with flow bins can"
        )
    if getattr(axis, "transform", None) is not None:
        raise InvalidRequest(f"{axis!r} has a transform; give its edges as a Variable axis")
    return axis


def axis_bins(output: int, axis: Any) -> HistogramAxis:
    """Return the bins of a `hist` axis for the engine."""
    import hist

    edges = [float(edge) for edge in axis.edges]
    if isinstance(axis, hist.axis.Regular):
        return HistogramAxis(output, (edges[0], edges[-1]), len(edges) - 1)
    return HistogramAxis(output, tuple(edges), len(edges) - 1, regular=False)


def with_columns(
    query: QueryValue, expressions: Sequence[str], known: Sequence[str]
) -> tuple[QueryValue, list[str]]:
    """Return the query that delivers `expressions`, and the name of each: its own, or a definition's."""
    define = dict(query.define)
    names = []
    for expression in expressions:
        if expression in known or expression in define:
            names.append(expression)
            continue
        name = EXPRESSION_NAME.format(len(define))
        define[name] = expression
        names.append(name)
    columns = tuple(dict.fromkeys(names))
    return replace(query, columns=columns, define=tuple(define.items())), names


def to_hist(axes: Sequence[Any], described: Histogram, result: Bins) -> hist.Hist:
    """Return the first histogram of a result as a `hist.Hist`."""
    import hist

    sums, squares = result.histogram(0)
    if squares is None:
        counted = hist.Hist(*axes, storage=hist.storage.Int64())
        counted.view(flow=True)[...] = sums.reshape(described.shape).astype(np.int64)
        return counted
    weighted = hist.Hist(*axes, storage=hist.storage.Weight())
    view: Any = weighted.view(flow=True)
    view["value"] = sums.reshape(described.shape)
    view["variance"] = squares.reshape(described.shape)
    return weighted
