"""Functions that tests let derived columns import."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np


def total(events: Any) -> Any:
    """A number for each event."""
    return ak.sum(events.Jet_pt, axis=1) + events.MET_pt


def relative(events: Any) -> Any:
    """A number for each muon."""
    return events.Muon_pt / events.MET_pt


def first(events: Any) -> Any:
    """A number that may be missing."""
    return ak.firsts(events.Muon_pt)


def hard(events: Any) -> Any:
    """A list for each event."""
    return events.Jet_pt[events.Jet_pt > 20]


def doubled(events: Any) -> Any:
    """Of another derived column."""
    return events.score * np.float32(2)


def raises(events: Any) -> Any:
    """Cannot do it."""
    raise ValueError("no model at hand")


def wider(events: Any) -> Any:
    """Another type than is declared."""
    return ak.values_astype(events.MET_pt, "float64")


def fewer(events: Any) -> Any:
    """Not all events."""
    return events.MET_pt[1:]


def shorter(events: Any) -> Any:
    """Lists that are not those of the muons."""
    return events.Muon_pt[:, 1:]


number = 3
