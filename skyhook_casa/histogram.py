"""What histograms a scan fills, as the engine takes it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Final

from .errors import InvalidRequest

HISTOGRAMS_MAX: Final = 256
"""Most histograms that one scan fills."""
AXES_MAX: Final = 8
"""Most axes of one histogram."""
BINS_MAX: Final = 1 << 20
"""Most bins of all axes together, flow bins included."""


@dataclass(frozen=True, slots=True)
class HistogramAxis:
    """Bins of one output; below and above lie flow bins, and NaN counts as above."""

    output: int
    """Number of the output that is binned."""
    edges: tuple[float, ...]
    """Low and high end of regular bins, or the rising edges of all bins."""
    bins: int
    """Without the flow bins."""
    regular: bool = True
    closed: bool = False
    """Whether the last bin holds its upper end too."""

    def __post_init__(self) -> None:
        """Refuse bins that cannot be filled."""
        if self.bins < 1 or len(self.edges) != (2 if self.regular else self.bins + 1):
            raise InvalidRequest(f"an axis has {self.bins} bins and {len(self.edges)} edges")
        rising = all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        if not rising or not all(map(isfinite, self.edges)):
            raise InvalidRequest(f"the edges of an axis, {self.edges[:4]} …, are not finite and rising")


@dataclass(frozen=True, slots=True)
class Histogram:
    """One histogram of a scan's outputs."""

    axes: tuple[HistogramAxis, ...]
    weight: int | None = None
    """Number of the output that weighs the entries; None to count them."""

    def __post_init__(self) -> None:
        """Refuse what passes a limit."""
        if not 1 <= len(self.axes) <= AXES_MAX:
            raise InvalidRequest(f"a histogram has {len(self.axes)} axes; 1 to {AXES_MAX} are allowed")
        if self.bins > BINS_MAX:
            raise InvalidRequest(f"a histogram has {self.bins:,} bins; {BINS_MAX:,} are allowed")

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins of each axis, flow bins included."""
        return tuple(axis.bins + 2 for axis in self.axes)

    @property
    def bins(self) -> int:
        """Bins of all axes together, flow bins included."""
        return prod(self.shape)


def encode_histograms(histograms: Sequence[Histogram]) -> bytes:
    """Return the description that the engine takes (see ``ceph_cls/doc/wire.md``).

    Raises
    ------
    InvalidRequest
        If they pass `HISTOGRAMS_MAX`, or `BINS_MAX` together.
    """
    if len(histograms) > HISTOGRAMS_MAX:
        raise InvalidRequest(f"{len(histograms)} histograms in one pass; {HISTOGRAMS_MAX} are allowed")
    bins = sum(histogram.bins for histogram in histograms)
    if bins > BINS_MAX:
        raise InvalidRequest(f"the histograms have {bins:,} bins in all; {BINS_MAX:,} are allowed")
    parts = []
    for histogram in histograms:
        weight = -1 if histogram.weight is None else histogram.weight
        parts.append(struct.pack("<iI", weight, len(histogram.axes)))
        for axis in histogram.axes:
            parts.append(struct.pack("<iIII", axis.output, axis.bins, not axis.regular, axis.closed))
            parts.append(struct.pack(f"<{len(axis.edges)}d", *axis.edges))
    return b"".join(parts)


def count_histograms(description: bytes) -> int:
    """Return how many histograms `encode_histograms` described.

    Raises
    ------
    InvalidRequest
        If the description ends in the middle of one.
    """
    at, count = 0, 0
    try:
        while at < len(description):
            _, axes = struct.unpack_from("<iI", description, at)
            at, count = at + 8, count + 1
            for _ in range(axes):
                _, bins, variable, _ = struct.unpack_from("<iIII", description, at)
                at += 16 + 8 * (bins + 1 if variable else 2)
    except struct.error:
        raise InvalidRequest(f"the description of histogram {count} ends too early") from None
    if at != len(description):
        raise InvalidRequest(f"the description of histogram {count} ends too early")
    return count
