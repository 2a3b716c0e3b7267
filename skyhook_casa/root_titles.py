"""Titles of the branches of ROOT files that uproot writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def set_titles(tree: Any, titles: Mapping[str, str]) -> None:
    """Give those branches of a new tree that `titles` names their titles; uproot has no public way to."""
    writer = tree._cascading
    for branch in writer._branch_data:
        if branch["kind"] != "record" and branch["fName"] in titles:
            branch["fTitle"] = titles[branch["fName"]]
    writer._relocate(tree._file, tree._file.sink)
