"""From the engine's buffers to awkward records; nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence

import awkward as ak
import numpy as np
from awkward.contents import ByteMaskedArray, Content, ListOffsetArray, NumpyArray, RecordArray, UnmaskedArray
from awkward.index import Index8, Index64

from skyhook_casa.batch import Batch

from .layout import Group, flat_groups, nested_groups


def to_awkward(batch: Batch, nested: bool = False, groups: Sequence[Group] | None = None) -> ak.Array:
    """Return a record array over the batch's own buffers.

    Flat: fields ``Muon_pt`` of type ``var * float32``, as uproot gives them. Nested: ``Muon.pt``,
    ``MET.pt``; or as `groups` says. Only derived columns that can have missing elements are of
    option type.
    """
    if groups is None:
        groups = nested_groups(batch.outputs) if nested else flat_groups(batch.outputs)
    indices: dict[int, Index64] = {}
    contents = []
    for group in groups:
        content = _group_content(batch, group)
        if group.axis is not None:
            if group.axis not in indices:
                indices[group.axis] = Index64(batch.offsets[group.members[0]])
            content = ListOffsetArray(indices[group.axis], content)
        contents.append(content)
    return ak.Array(RecordArray(contents, [group.name for group in groups], length=batch.events))


def _group_content(batch: Batch, group: Group) -> Content:
    if not group.fields:
        return _content(batch, group.members[0])
    contents = [_content(batch, number) for number in group.members]
    return RecordArray(contents, list(group.fields), length=len(batch.values[group.members[0]]))


def _content(batch: Batch, number: int) -> Content:
    content, valid = NumpyArray(batch.values[number]), batch.valid[number]
    if not batch.outputs[number].optional:
        return content
    if valid is None or valid.all():  # one layout for one answer, however it came
        return UnmaskedArray(content)
    return ByteMaskedArray(Index8(valid.view(np.int8)), content, valid_when=True)
