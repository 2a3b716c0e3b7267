"""Luminosity masks: which luminosity sections of which runs are good, as golden JSON files say it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from .errors import InvalidRequest
from .program import TABLE_MAX

SECTION_MAX: Final = (1 << 32) - 1
"""Greatest number of a luminosity section."""
RUN_MAX: Final = (1 << 31) - 2
"""Greatest number of a run: the key of a section past its last still fits into 64 bits."""
RANGES_MAX: Final = TABLE_MAX // 2
"""Most ranges of one mask."""
FILE_BYTES_MAX: Final = 16 << 20
"""Longest file that is read."""
_RANGE: Final = np.dtype(("<u4", 3))
"""A range as bytes: run, first and last section."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class LumiMask:
    """Luminosity sections, as ranges that neither overlap nor touch. `make` builds it."""

    ranges: tuple[tuple[int, int, int], ...]
    """Run, first and last luminosity section of each range, in rising order."""

    @classmethod
    def make(cls, runs: Mapping[Any, Any]) -> LumiMask:
        """Return the mask of what golden JSON holds: ``{"273158": [[1, 1279]], …}``.

        Raises
        ------
        InvalidRequest
            If a run is no number, or its ranges are not pairs of numbers that rise.
        """
        if not isinstance(runs, Mapping):
            raise InvalidRequest(f"lumimask is {runs!r}; a dict of run and ranges, or a path, is needed")
        found = [(_number(run, RUN_MAX), *pair) for run, pairs in runs.items() for pair in _pairs(run, pairs)]
        mask = cls(tuple(_joined(sorted(found))))
        if len(mask.ranges) > RANGES_MAX:
            raise InvalidRequest(f"lumimask has {len(mask.ranges):,} ranges; {RANGES_MAX:,} are allowed")
        return mask

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> LumiMask:
        """Return the mask of a golden JSON file.

        Raises
        ------
        InvalidRequest
            If there is no such file, or it holds something else.
        """
        try:
            with open(path, "rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
            if len(text) > FILE_BYTES_MAX:
                raise InvalidRequest(f"lumimask {os.fspath(path)!r} has more than {FILE_BYTES_MAX:,} bytes")
            return cls.make(json.loads(text))
        except OSError as error:
            raise InvalidRequest(f"lumimask {os.fspath(path)!r} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"lumimask {os.fspath(path)!r} is no golden JSON: {error}") from error

    @classmethod
    def of(cls, given: LumiMask | str | os.PathLike[str] | Mapping[str, Any]) -> LumiMask:
        """Return a mask that may be given as a file, or as what one holds. Raises as `read` and `make` do."""
        if isinstance(given, LumiMask):
            return given
        return cls.read(given) if isinstance(given, (str, os.PathLike)) else cls.make(given)

    @classmethod
    def of_sections(cls, sections: Iterable[tuple[int, int]]) -> LumiMask:
        """Return the mask of single (run, luminosity section)."""
        return cls(tuple(_joined(sorted((run, section, section) for run, section in set(sections)))))

    @classmethod
    def of_events(cls, runs: Array, sections: Array) -> LumiMask:
        """Return the sections that events lie in: whole numbers, one of each array for an event.

        Raises
        ------
        InvalidRequest
            If a number is none of a run or a section.
        """
        if not len(runs):
            return cls(())
        for numbers, most in ((runs, RUN_MAX), (sections, SECTION_MAX)):
            _number(int(numbers.min()), most)
            _number(int(numbers.max()), most)
        keys = (runs.astype(np.int64) << 32) | sections.astype(np.int64)
        # Events of a section mostly follow each other, so little is left to be sorted.
        keys = np.unique(keys[np.concatenate([[True], keys[1:] != keys[:-1]])])
        return cls._united(keys >> 32, keys & SECTION_MAX, keys & SECTION_MAX)

    @classmethod
    def decode(cls, *encoded: bytes) -> LumiMask:
        """Return the sections of all that `encode` wrote.

        Raises
        ------
        InvalidRequest
            If it wrote something else.
        """
        data = b"".join(encoded)
        if len(data) % _RANGE.itemsize:
            raise InvalidRequest(f"{len(data)} bytes are no ranges of luminosity sections")
        run, first, last = np.frombuffer(data, _RANGE).astype(np.int64).T
        if (run > RUN_MAX).any() or (first > last).any():
            raise InvalidRequest("the ranges of luminosity sections have a wrong run, or do not rise")
        return cls._united(run, first, last)

    @classmethod
    def _united(cls, run: Array, first: Array, last: Array) -> LumiMask:
        """Return the sections of ranges in any order, int64."""
        order = np.lexsort((first, run))
        run, first, last = run[order], first[order], last[order]
        start, reach = (run << 32) + first, np.maximum.accumulate((run << 32) + last)
        begins = np.ones(len(run), bool)
        begins[1:] = (run[1:] != run[:-1]) | (start[1:] > reach[:-1] + 1)
        ends = np.append(begins[1:], True) if len(run) else begins
        ranges = run[begins].tolist(), first[begins].tolist(), (reach[ends] & SECTION_MAX).tolist()
        return cls(tuple(zip(*ranges, strict=True)))

    @property
    def runs(self) -> int:
        """How many runs have a section."""
        return len({run for run, _, _ in self.ranges})

    @property
    def sections(self) -> int:
        """How many luminosity sections it holds."""
        return sum(last - first + 1 for _, first, last in self.ranges)

    def to_dict(self) -> dict[str, list[list[int]]]:
        """Return what golden JSON holds."""
        return {
            str(run): [[first, last] for _, first, last in ranges]
            for run, ranges in groupby(self.ranges, key=lambda one: one[0])
        }

    def to_json(self) -> str:
        """Return golden JSON."""
        return json.dumps(self.to_dict())

    def encode(self) -> bytes:
        """Return the ranges as bytes: run, first and last section, 32 bits each, little endian."""
        return np.array(self.ranges, "<u4").tobytes()

    def ends(self) -> list[int]:
        """Return the rising ends of half-open ranges of run · 2³² + section."""
        ends: list[int] = []
        for run, first, last in self.ranges:
            start, stop = (run << 32) + first, (run << 32) + last + 1
            if ends and ends[-1] == start:
                ends[-1] = stop
            else:
                ends += [start, stop]
        return ends

    def __or__(self, other: LumiMask) -> LumiMask:
        """Return the sections that one or the other holds."""
        return LumiMask(tuple(_joined(sorted({*self.ranges, *other.ranges}))))

    def __and__(self, other: LumiMask) -> LumiMask:
        """Return the sections that both hold."""
        found, mine, theirs = [], list(self.ranges), list(other.ranges)
        i = j = 0
        while i < len(mine) and j < len(theirs):
            (run, first, last), (other_run, other_first, other_last) = mine[i], theirs[j]
            if run == other_run and max(first, other_first) <= min(last, other_last):
                found.append((run, max(first, other_first), min(last, other_last)))
            if (run, last) < (other_run, other_last):
                i += 1
            else:
                j += 1
        return LumiMask(tuple(found))

    def __str__(self) -> str:
        """What it is, as a condition of a cutflow."""
        return f"lumimask of {self.sections:,} luminosity sections in {self.runs:,} runs"


def _pairs(run: Any, pairs: Any) -> list[tuple[int, int]]:
    if not isinstance(pairs, (list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    ):
        raise InvalidRequest(f"lumimask has {pairs!r} for run {run}; a list of [first, last] is needed")
    found = [(_number(first, SECTION_MAX), _number(last, SECTION_MAX)) for first, last in pairs]
    for first, last in found:
        if first > last:
            raise InvalidRequest(f"lumimask has [{first}, {last}] for run {run}; the first is after the last")
    return found


def _number(value: Any, most: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidRequest(f"lumimask has {value!r}; a number of 0 to {most} is needed")
    return value


def _joined(ranges: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return rising ranges with those joined that overlap or touch."""
    found: list[tuple[int, int, int]] = []
    for run, first, last in ranges:
        if found and found[-1][0] == run and first <= found[-1][2] + 1:
            found[-1] = (run, found[-1][1], max(found[-1][2], last))
        else:
            found.append((run, first, last))
    return found
