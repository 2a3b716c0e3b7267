"""coffea processors, unchanged, over the events of a store and over the ROOT files they came from."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from .service import show

CHUNK_EVENTS = 250_000


def met_of_two_jets(events: Any) -> dict[str, Any]:
    """MET of the events with two central jets of 30 GeV: a processor."""
    import hist

    jets = events.Jet[(events.Jet.pt > 30) & (abs(events.Jet.eta) < 2.4)]
    kept = events[ak.num(jets) >= 2]
    filled = hist.Hist(hist.axis.Regular(100, 0, 200)).fill(ak.to_numpy(kept.MET.pt))
    return {"met": filled, "events": len(kept)}


def bench_coffea(store: Path, dataset: str, files: list[str], repetitions: int) -> list[dict[str, Any]]:
    """Run coffea's own example and a jet selection over both, in turn; compare what they give."""
    from coffea import processor
    from coffea.nanoevents import NanoAODSchema
    from coffea.processor.test_items.NanoEventsProcessor import NanoEventsProcessor

    from skyhook_client.coffea import SkyhookRunner

    NanoAODSchema.warn_missing_crossrefs = False
    warnings.filterwarnings("ignore", "Branch .* already exists", RuntimeWarning)
    executor = processor.IterativeExecutor(status=False)
    options = {"schema": NanoAODSchema, "chunksize": CHUNK_EVENTS}
    ours = SkyhookRunner(executor, store=str(store), **options)
    roots = processor.Runner(executor, **options)
    filesets = (
        ({"data": f"skyhook://{dataset}"}, ours),
        ({"data": {"files": dict.fromkeys(files, "Events")}}, roots),
    )
    records = []
    for name, instance in (
        ("NanoEventsProcessor", NanoEventsProcessor(mode="virtual")),
        ("met_of_two_jets", met_of_two_jets),
    ):
        seconds: list[list[tuple[float, float]]] = [[], []]
        for number in range(repetitions + 1):
            made = []
            for taken, (fileset, runner) in zip(seconds, filesets, strict=True):
                out, *spent = _timed(partial(runner, fileset, instance))
                made.append(out)
                if number:
                    taken.append((spent[0], spent[1]))
            _assert_same(*made)
        for place, of in enumerate(("seconds", "cpu_seconds")):
            a, b = (min(one[place] for one in taken) for taken in seconds)
            show(f"{name}, {of}: ours, from ROOT", f"{a:.3f}, {b:.3f}", "")
            show("  ratio", f"{b / a:.2f}", "2")
        records.append({"part": "coffea", "processor": name, "ours": seconds[0], "root": seconds[1]})
    return records


def _timed(what: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    made = what()
    return made, time.perf_counter() - wall, time.process_time() - cpu


def _assert_same(ours: dict[str, Any], root: dict[str, Any]) -> None:
    assert ours.keys() == root.keys()
    for name, one in ours.items():
        if hasattr(one, "values") and hasattr(one, "axes"):
            np.testing.assert_array_equal(one.values(flow=True), root[name].values(flow=True))
        else:
            assert one == root[name], name
