"""`hist.Hist` objects that are filled where the data is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.histogram import Histogram, HistogramAxis

from .hist_axes import Dimension, axis_of, engine_bins, found_category, with_flow
from .made_names import errors_without

if TYPE_CHECKING:
    import hist

    from skyhook_casa.batch import Array
    from skyhook_casa.compile_query import Output

    from .backend import Bins, Question

CATEGORIES_MIN: Final = -2048
"""Least value of a category whose values are not named."""
CATEGORIES_MAX: Final = 2047
"""Greatest value of a category whose values are not named."""
VARIATION: Final = "variation"
"""Name of the axis that several weights make."""
REGION: Final = "region"
"""Name of the axis that several regions make."""

Fill = Callable[["Question", Sequence[Histogram]], "Bins"]
"""Runs a question and fills histograms of its outputs."""


def check_hist() -> None:
    """Check that the package `hist` is there.

    Raises
    ------
    InvalidRequest
        If it is not.
    """
    if find_spec("hist") is None:
        raise InvalidRequest("histograms need the package 'hist': pip install 'skyhook_casa[plot]'")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One `hist.Hist` that was asked for."""

    dimensions: tuple[Dimension, ...]
    """Its axes without those of regions and variations, a category first."""
    weights: Mapping[str, str | None]
    """Variation and expression; a single one makes no axis."""
    regions: Mapping[str, str] | None
    """Name and condition of each; None for no such axis."""
    varied: bool
    """Whether the weights are an axis."""

    @classmethod
    def make(
        cls,
        axes: Any,
        bins: int | None = None,
        range: tuple[float, float] | None = None,
        weight: str | Sequence[str] | Mapping[str, str] | None = None,
        category: Any = None,
    ) -> Wanted:
        """Return what the arguments of `Query.hist` ask for.

        Raises
        ------
        InvalidRequest
            If an axis cannot be filled in a scan, or an argument has the wrong type.
        """
        axes = list(axes) if isinstance(axes, (list, tuple)) else [axes]
        if not axes:
            raise InvalidRequest(
                "a histogram needs an axis: the name of a column, or a hist.axis with a name"
            )
        dimensions = [axis_of(axis, f"axis{i}", bins, range) for i, axis in enumerate(axes)]
        regions = None
        if isinstance(category, Mapping):
            regions = _texts("category", category)
        elif isinstance(category, str):
            dimensions.insert(0, found_category(category))
        elif category is not None:
            dimensions.insert(0, axis_of(category, "category", None, None))
        return cls(tuple(dimensions), *cls._weights(weight, regions))

    @staticmethod
    def _weights(
        weight: Any, regions: Mapping[str, str] | None
    ) -> tuple[Mapping[str, str | None], Mapping[str, str] | None, bool]:
        if weight is None or isinstance(weight, str):
            return {"": weight}, regions, False
        if isinstance(weight, Sequence):
            weight = {text: text for text in weight}
        return dict(_texts("weight", weight)), regions, True

    @property
    def lead(self) -> list[Any]:
        """The axes of regions and variations."""
        import hist

        axes = []
        if self.regions is not None:
            axes.append(hist.axis.StrCategory(list(self.regions), name=REGION, growth=True))
        if self.varied:
            axes.append(hist.axis.StrCategory(list(self.weights), name=VARIATION, growth=True))
        return axes

    def parts(self) -> Iterator[tuple[tuple[int, ...], str | None, str | None]]:
        """Yield (place on the axes of `lead`, region, weight) of each histogram to fill."""
        for r, region in enumerate([None] if self.regions is None else self.regions):
            for v, weight in enumerate(self.weights.values()):
                place = (() if self.regions is None else (r,)) + ((v,) if self.varied else ())
                yield place, None if region is None else self.regions[region], weight  # type: ignore[index]


def _texts(what: str, mapping: Any) -> Mapping[str, str]:
    if not isinstance(mapping, Mapping) or not mapping:
        raise InvalidRequest(f"{what} is {mapping!r}; a text, or names with a text each, is needed")
    for name, text in mapping.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InvalidRequest(f"{what} has {name!r}: {text!r}; a name and a text are needed")
    return mapping


def wanted_of(asked: Any, shared: Mapping[str, Any]) -> Wanted:
    """Return what one of the values given to `Query.hists` asks for.

    Parameters
    ----------
    asked : axis, list of axes, or dict
        A dict holds arguments of `Query.hist`, the axes as ``axes``.
    shared : dict
        Arguments for those that do not have their own.
    """
    own = dict(asked) if isinstance(asked, Mapping) else {"axes": asked}
    unknown = sorted(set(own) - {"axes", "bins", "range", "weight", "category"})
    if unknown or "axes" not in own:
        raise InvalidRequest(
            f"a histogram has {unknown or 'no axes'}; it takes axes, bins, range, weight and category"
        )
    return Wanted.make(**{**shared, **own})


class _Definitions:
    """The definitions of a query, and of what its histograms are filled with."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._define = dict(question.value.define)
        self._names: dict[str, str] = {}
        self._delivered: dict[str, None] = {}

    def delivered(self, expression: str) -> str:
        """Return the name of the output that an expression becomes."""
        name = self.named(expression)
        self._delivered[name] = None
        return name

    def named(self, expression: str) -> str:
        """Return the name that stands for an expression: its own, or a definition's."""
        if expression in self._define or self._question.knows(expression):
            return expression
        if not expression.strip():
            raise InvalidRequest("an axis, weight or region is empty; a column or expression is needed")
        if expression not in self._names:
            name = f"hist_value_{len(self._define)}"
            while name in self._define:
                name += "_"
            self._define[name] = expression
            self._names[expression] = name
        return self._names[expression]

    def question(self) -> Question:
        """Return the question that delivers what was named."""
        value = self._question.value
        columns = tuple(self._delivered)
        with errors_without(self._made):
            return self._question.asking(replace(value, columns=columns, define=tuple(self._define.items())))

    def written(self, name: str) -> str:
        """Return what the user wrote for an output."""
        return self._made.get(name, name)

    @property
    def _made(self) -> dict[str, str]:
        """The names that are ours, and what they stand for."""
        return {name: text for text, name in self._names.items()}


@dataclass(frozen=True, slots=True)
class _Part:
    """One histogram that the engine fills: a region and a variation of one that was asked for."""

    place: tuple[int, ...]
    dimensions: tuple[str, ...]
    """Output that each axis is filled with."""
    weight: str | None


def fill(question: Question, wanted: Sequence[Wanted], run: Fill) -> list[hist.Hist[Any]]:
    """Return the histograms, all filled by one run.

    Categories whose values are not named take a run before it, that finds them.

    Raises
    ------
    InvalidRequest
        If a category has values beyond `CATEGORIES_MIN` and `CATEGORIES_MAX`, an axis of whole
        numbers or truth values is filled with something else, or axes and weight lie on two lists.
    """
    if not wanted:
        return []
    definitions = _Definitions(question)
    parts = [_parts(one, definitions) for one in wanted]
    asked = definitions.question()
    outputs = {output.name: (number, output) for number, output in enumerate(asked.outputs)}
    _check_lists(parts, outputs, definitions)
    wanted = _with_categories(asked, wanted, parts, outputs, definitions, run)
    described = [
        _described(one, part, outputs) for one, found in zip(wanted, parts, strict=True) for part in found
    ]
    bins = run(asked, described)
    made, number = [], 0
    for one, found in zip(wanted, parts, strict=True):
        made.append(_assembled(one, found, described, bins, number))
        number += len(found)
    return made


def _parts(wanted: Wanted, definitions: _Definitions) -> list[_Part]:
    parts = []
    for place, region, weight in wanted.parts():
        expressions = [dimension.expression for dimension in wanted.dimensions]
        if region is not None:
            # Missing values fill nothing, and one of them is enough.
            last = definitions.named(expressions[-1])
            expressions[-1] = f"mask({last}, {definitions.named(region)})"
        names = tuple(definitions.delivered(text) for text in expressions)
        parts.append(_Part(place, names, None if weight is None else definitions.delivered(weight)))
    return parts


def _check_lists(
    parts: Sequence[Sequence[_Part]],
    outputs: Mapping[str, tuple[int, Output]],
    definitions: _Definitions,
) -> None:
    """Refuse a histogram that two lists would fill: their elements do not belong together."""
    for part in (one for found in parts for one in found):
        first: tuple[str, Output] | None = None
        for name in (*part.dimensions, *([] if part.weight is None else [part.weight])):
            output = outputs[name][1]
            if output.axis is None:
                continue
            if first is not None and output.axis != first[1].axis:
                raise InvalidRequest(
                    f"a histogram has {definitions.written(first[0])!r} and {definitions.written(name)!r}, "
                    "which lie on different lists; axes and weight need one list, or one value per event, "
                    "as max(…) gives it"
                )
            first = first or (name, output)


def _with_categories(
    question: Question,
    wanted: Sequence[Wanted],
    parts: Sequence[Sequence[_Part]],
    outputs: Mapping[str, tuple[int, Output]],
    definitions: _Definitions,
    run: Fill,
) -> list[Wanted]:
    """Return what is wanted with the values of every category known."""
    open_names: dict[str, None] = {}
    for one, found in zip(wanted, parts, strict=True):
        for name, dimension in zip(found[0].dimensions, one.dimensions, strict=True):
            dimension.check(outputs[name][1].dtype)
            if dimension.open and outputs[name][1].dtype != "bool":
                open_names[name] = None
    values = {name: [0, 1] for name, (_, output) in outputs.items() if output.dtype == "bool"}
    if open_names:
        values.update(_find_categories(question.only(list(open_names)), definitions, run))
    return [
        replace(
            one,
            dimensions=tuple(
                dimension.closed(values[name]) if dimension.open else dimension
                for name, dimension in zip(found[0].dimensions, one.dimensions, strict=True)
            ),
        )
        for one, found in zip(wanted, parts, strict=True)
    ]


def _find_categories(question: Question, definitions: _Definitions, run: Fill) -> dict[str, list[int]]:
    n = CATEGORIES_MAX - CATEGORIES_MIN + 1
    ends = (CATEGORIES_MIN - 0.5, CATEGORIES_MAX + 0.5)
    described = [Histogram((HistogramAxis(number, ends, n),)) for number in range(len(question.outputs))]
    bins = run(question, described)
    found = {}
    for number, output in enumerate(question.outputs):
        counts = bins.histogram(number)[0]
        if counts[0] or counts[-1]:
            raise InvalidRequest(
                f"the category {definitions.written(output.name)!r} has values beyond {CATEGORIES_MIN} to "
                f"{CATEGORIES_MAX}; name those you want: hist.axis.IntCategory([…], name=…)"
            )
        found[output.name] = [int(i) + CATEGORIES_MIN for i in np.flatnonzero(counts[1:-1])]
    return found


def _described(wanted: Wanted, part: _Part, outputs: Mapping[str, tuple[int, Output]]) -> Histogram:
    axes = tuple(
        engine_bins(outputs[name][0], dimension.axis)
        for name, dimension in zip(part.dimensions, wanted.dimensions, strict=True)
    )
    return Histogram(axes, None if part.weight is None else outputs[part.weight][0])


def _assembled(
    wanted: Wanted, parts: Sequence[_Part], described: Sequence[Histogram], bins: Bins, first: int
) -> hist.Hist[Any]:
    import hist

    axes = [dimension.axis for dimension in wanted.dimensions]
    weighted = parts[0].weight is not None
    storage = hist.storage.Weight() if weighted else hist.storage.Int64()
    made: hist.Hist[Any] = hist.Hist(*wanted.lead, *axes, storage=storage)
    view: Any = made.view(flow=True)
    for number, part in enumerate(parts, first):
        sums, squares = bins.histogram(number)

        def shaped(values: Array, shape: tuple[int, ...] = described[number].shape) -> Array:
            return with_flow(values.reshape(shape), axes)

        if squares is None:
            view[part.place] = shaped(sums).astype(np.int64)
        else:
            view["value"][part.place] = shaped(sums)
            view["variance"][part.place] = shaped(squares)
    return made
