"""What datasets may be called."""

from __future__ import annotations

from typing import Final

from ..errors import InvalidRequest

NAME_CHARS_MAX: Final = 255
"""Longest name of a dataset."""


def check_name(dataset: str) -> None:
    """Refuse what is no name of a dataset.

    Raises
    ------
    InvalidRequest
        If it is empty, too long, not printable, or has blanks around it.
    """
    longest = NAME_CHARS_MAX
    if not (0 < len(dataset) <= longest and dataset.isprintable() and dataset.strip() == dataset):
        raise InvalidRequest(f"{dataset!r} is no dataset name: use 1 to {longest} printable characters")
