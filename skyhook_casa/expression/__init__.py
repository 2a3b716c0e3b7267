"""The query language: cuts, derived columns and selections inside collections.

An expression is Python syntax over column names. It is parsed with `ast`, typed by the rules of
NumPy 2 and awkward 2, and emitted as nodes of a program that the engine runs; nothing of it is
evaluated by Python. The language is described in ``docs/query-language.md``.
"""

from __future__ import annotations

from .deliver import compile_cut, compile_thinning, compile_value, is_record
from .functions import CONSTANTS, FUNCTIONS
from .indices import index_target
from .parse import mentioned_names
from .types import Names, Term, Value

__all__ = [
    "CONSTANTS",
    "FUNCTIONS",
    "Names",
    "Term",
    "Value",
    "compile_cut",
    "compile_thinning",
    "compile_value",
    "index_target",
    "is_record",
    "mentioned_names",
]
