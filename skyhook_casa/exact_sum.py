"""Sums of floating point numbers without rounding: the same in whatever order and parts they are made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np

from .errors import InvalidRequest

Array = np.ndarray[Any, Any]

_BLOCK: Final = 2**24
"""Numbers of which the parts are added in float64 before they go on as integers: 2²⁷ · 2²⁴ < 2⁵³."""
_HIGH_BITS: Final = 27
_LOW_BITS: Final = 26
_TEXT: Final = re.compile(r"(-?[0-9a-f]{1,600})p(-?[0-9]{1,4})")
_SPECIAL: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True)
class ExactSum:
    """A sum of numbers, as ``mantissa · 2 ** exponent``; `float` gives it rounded once, as `math.fsum` does.

    Equal sums are equal, however they came about: the mantissa is odd, or 0 with exponent 0.
    """

    mantissa: int = 0
    exponent: int = 0
    special: str = ""
    """What numbers that are not finite add up to: ``nan``, ``inf``, ``-inf``; empty if there are none."""

    @classmethod
    def of(cls, values: Array) -> ExactSum:
        """Return the sum of an array of floats, integers or bools."""
        values = np.asarray(values).ravel()
        blocks = (values[at : at + _BLOCK] for at in range(0, len(values), _BLOCK))
        add = _whole_numbers if values.dtype.kind in "biu" else _floats
        return reduce(cls.__add__, map(add, blocks), cls())

    @classmethod
    def parse(cls, text: str) -> ExactSum:
        """Return the sum that `str` wrote.

        Raises
        ------
        InvalidRequest
            If the text is none.
        """
        number, _, special = text.partition(" ")
        found = _TEXT.fullmatch(number)
        if found is None or (special and special not in _SPECIAL):
            raise InvalidRequest(f"{text[:80]!r} is no exact sum; one is '1ap-3', for 26 · 2⁻³")
        return _normal(int(found[1], 16), int(found[2]), special)

    def __add__(self, other: ExactSum) -> ExactSum:
        """Return the sum of both."""
        least = min(self.exponent, other.exponent)
        mantissa = (self.mantissa << (self.exponent - least)) + (other.mantissa << (other.exponent - least))
        return _normal(mantissa, least, _both(self.special, other.special))

    def __float__(self) -> float:
        """The nearest float; infinite if it is larger than any."""
        if self.special:
            return _SPECIAL[self.special]
        try:
            if self.exponent >= 0:
                return float(self.mantissa << self.exponent)
            return self.mantissa / (1 << -self.exponent)
        except OverflowError:
            return math.copysign(math.inf, self.mantissa)

    def __str__(self) -> str:
        """A text that `parse` understands: mantissa in hexadecimal, p, exponent in decimal."""
        number = f"{self.mantissa:x}p{self.exponent}"
        return f"{number} {self.special}" if self.special else number


def _normal(mantissa: int, exponent: int, special: str = "") -> ExactSum:
    if not mantissa:
        return ExactSum(special=special)
    zeros = (mantissa & -mantissa).bit_length() - 1
    return ExactSum(mantissa >> zeros, exponent + zeros, special)


def _both(one: str, other: str) -> str:
    return one or other if not (one and other) or one == other else "nan"


def _whole_numbers(values: Array) -> ExactSum:
    wide = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64)
    high, low = wide >> 32, wide & 0xFFFFFFFF
    return _normal((int(high.sum()) << 32) + int(low.sum()), 0)


def _floats(values: Array) -> ExactSum:
    """Return the sum of numbers taken apart: those of equal exponents are added as whole numbers."""
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    special = ""
    if not finite.all():
        special = reduce(_both, (str(one) for one in np.unique(wide[~finite]).tolist()))
        wide = wide[finite]
    if not len(wide):
        return ExactSum(special=special)
    fractions, exponents = np.frexp(wide)
    scaled = np.ldexp(fractions, _HIGH_BITS)
    high = np.trunc(scaled)
    low = np.ldexp(scaled - high, _LOW_BITS)
    least = int(exponents.min())
    places = exponents - least
    sums = zip(np.bincount(places, high).tolist(), np.bincount(places, low).tolist(), strict=True)
    whole = sum(((int(top) << _LOW_BITS) + int(rest)) << place for place, (top, rest) in enumerate(sums))
    return _normal(whole, least - _HIGH_BITS - _LOW_BITS, special)
