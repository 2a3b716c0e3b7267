"""Which collection an index column points into, by the naming of NanoAOD."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_INDEX: Final = re.compile(r"(?P<target>\w*?)Idx(?:\d+(?:SJ)?|Mother)?G?$")
_SPECIAL: Final = {
    "FatJetPFCands_jetIdx": "FatJet",
    "FatJetSVs_jetIdx": "FatJet",
    "GenFatJetCands_jetIdx": "GenJetAK8",
    "GenFatJetCands_pFCandsIdx": "GenCands",
    "GenJetCands_jetIdx": "GenJet",
    "GenJetCands_pFCandsIdx": "GenCands",
    "GenJetSVs_jetIdx": "GenJet",
    "PPSLocalTrack_multiRPIdx": "Proton_multiRP",
    "PPSLocalTrack_singleRPIdx": "Proton_singleRP",
}
"""Columns whose name does not say the collection they point into."""


def index_target(column: str, collections: Iterable[str]) -> str | None:
    """Return the collection whose elements an index column counts; None if it is no such column.

    `Muon_jetIdx` points into `Jet`, `Jet_electronIdx1` into `Electron`, `FatJet_muonIdx3SJ` into
    `Muon`, `GenPart_genPartIdxMother` into `GenPart`: the part of the field before `Idx` is the
    collection's name with a small first letter.

    Parameters
    ----------
    column : str
        Flat name of the column.
    collections : Iterable of str
        The collections there are.
    """
    there = list(collections)
    if column in _SPECIAL:
        return _SPECIAL[column] if _SPECIAL[column] in there else None
    owners = [name for name in there if column.startswith(name + "_")]
    if not owners:
        return None
    field = column[len(max(owners, key=len)) + 1 :]
    match = _INDEX.fullmatch(field)
    if match is None:
        return None
    wanted = match["target"]
    exact = [name for name in there if name == wanted[:1].upper() + wanted[1:]]
    loose = [name for name in there if name.lower() == wanted.lower()]
    return next(iter(exact + loose), None)
