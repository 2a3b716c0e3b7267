"""ADL benchmark, query 6: the three jets whose mass is nearest to the top's: their pT and best b-tag."""

from __future__ import annotations

from collections.abc import Mapping

import hist
from adl import main

import skyhook_client


def query(
    client: skyhook_client.Client, dataset: str, score: str = "btagDeepFlavB"
) -> Mapping[str, hist.Hist]:
    """Return the histograms ``pt`` and ``btag``, filled in one pass; `score` names the b-tag of jets."""
    events = client.query(
        dataset,
        ["Jet_pt"],
        define={
            "tops": "combinations(Jet, 3)",
            "top": "tops[argmin(abs(tops.mass - 172.5))]",
            "btag": f"max(top.slot0.{score}, top.slot1.{score}, top.slot2.{score})",
        },
        cut="nJet >= 3",
    )
    return events.hists(
        {
            "pt": {"axes": "top.pt", "range": (15, 40)},
            "btag": {"axes": "btag", "range": (0, 1)},
        },
        bins=100,
    )


if __name__ == "__main__":
    main(query)
