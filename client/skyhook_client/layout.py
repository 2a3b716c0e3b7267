"""How columns are grouped into records when an answer is nested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skyhook_casa.compile_query import Output


@dataclass(frozen=True, slots=True)
class Group:
    """A field of the answer: a column on its own, or a record of several."""

    name: str
    axis: int | None
    """The jagged axis of its members; None for one value per event."""
    fields: tuple[str, ...]
    """Names inside the record; empty for a column on its own."""
    members: tuple[int, ...]
    """Numbers of the outputs."""


def flat_groups(outputs: Sequence[Output]) -> list[Group]:
    """Return one group for each column, under its flat name."""
    return [Group(output.name, output.axis, (), (number,)) for number, output in enumerate(outputs)]


def list_groups(outputs: Sequence[Output]) -> list[Group]:
    """Return collections as lists of records, and every other column under its flat name."""
    order: dict[str, list[int]] = {}
    for number, output in enumerate(outputs):
        name = output.list if output.collection and output.list is not None else output.name
        order.setdefault(name, []).append(number)
    return [_group(name, members, outputs) for name, members in order.items()]


def nested_groups(outputs: Sequence[Output]) -> list[Group]:
    """Return the groups that make ``events.Muon.pt`` and ``events.MET.pt``.

    The columns of a collection are one list of records. Event columns with one text before their
    first ``_`` are one record, as in coffea's NanoEvents, even if only one was asked for. A column
    without ``_``, and one whose record would have the name of something else, stays on its own.
    """
    names = [_record_name(output) for output in outputs]
    taken = {output.name for output in outputs}
    axes: dict[str, int | None] = {}
    for output, name in zip(outputs, names, strict=True):
        if name is not None and (name not in axes or output.axis is not None):
            axes[name] = output.axis
    order: dict[str, list[int]] = {}
    for number, (output, name) in enumerate(zip(outputs, names, strict=True)):
        fits = name is not None and name not in taken and axes[name] == output.axis
        order.setdefault(name if fits and name is not None else output.name, []).append(number)
    return [_group(name, members, outputs) for name, members in order.items()]


def _record_name(output: Output) -> str | None:
    if output.collection:
        return output.list
    prefix, _, field = output.name.partition("_")
    return prefix if output.axis is None and prefix and field else None


def _group(name: str, members: list[int], outputs: Sequence[Output]) -> Group:
    axis = outputs[members[0]].axis
    if [outputs[number].name for number in members] == [name]:
        return Group(name, axis, (), tuple(members))
    fields = tuple(outputs[number].name.removeprefix(name + "_") for number in members)
    return Group(name, axis, fields, tuple(members))
