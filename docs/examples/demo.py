"""From ROOT files to plots: make a sample, ingest it, ask a question, draw the answer.

Run by `make demo`, or by hand: ``python docs/examples/demo.py FOLDER [EVENTS]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
import hist
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import skyhook_casa
from skyhook_casa.nanoaod import make_dataset

CUT = "nMuon == 2 and sum(Muon_charge) == 0 and any((Muon_pt > 25) & (abs(Muon_eta) < 2.4))"
BLUE, ORANGE, GREY = "#2f6fab", "#d9772b", "#8a8a8a"


def main(folder: Path, events: int) -> None:
    """Run the demo; everything it makes goes into `folder`."""
    with step(f"Make {events:,} simulated NanoAOD events"):
        files = make_dataset(folder / "nano", events, files=4)
        size = sum(file.bytes for file in files)
        print(f"{len(files)} ROOT files, {files[0].branches} branches, {size / 1e6:.0f} MB")

    client = skyhook_casa.connect(folder / "store")
    if any(dataset.name == "dy" for dataset in client.datasets()):
        client.drop("dy")
    with step("Ingest them into a local directory"):
        client.ingest("dy", [file.path for file in files])
        print(f"{client.dataset('dy').size / 1e6:.0f} MB of Arrow objects in {client.url}")

    query = client.query(
        "dy",
        columns=["Muon_pt", "Muon_eta", "MET_pt", "dimuon_mass"],
        cut=CUT,
        define={"dimuon_mass": "mass(Muon[0] + Muon[1])"},
    )
    print(f"\nEvents with {CUT}:")
    with step("Ask for them"):
        selected = query.to_awkward()
    print()
    selected[:5].show(type=False)
    print()
    print(query.report)

    met = client.query("dy", columns=["MET_pt"]).to_numpy()["MET_pt"]
    print()
    print("Plots:", plot_met(met, ak.to_numpy(selected.MET_pt), folder / "met.png"))
    print("      ", plot_mass(ak.to_numpy(ak.drop_none(selected.dimuon_mass)), folder / "dimuon_mass.png"))


def plot_met(everything: np.ndarray, selected: np.ndarray, path: Path) -> Path:
    """Draw missing transverse momentum before and after the selection; values in GeV."""
    axis = hist.axis.Regular(60, 0, 120)
    before, after = hist.Hist(axis).fill(everything), hist.Hist(axis).fill(selected)
    figure, axes = new_figure("Missing transverse momentum")
    axes.stairs(*before.to_numpy(), color=GREY, linewidth=1.6, label=f"all events ({len(everything):,})")
    axes.stairs(
        *after.to_numpy(),
        fill=True,
        color=BLUE,
        alpha=0.85,
        label=f"opposite-charge muon pair ({len(selected):,})",
    )
    axes.set(xlabel="MET [GeV]", ylabel="Events / 2 GeV", yscale="log", xlim=(0, 120))
    axes.legend(frameon=False)
    return save(figure, path)


def plot_mass(mass: np.ndarray, path: Path) -> Path:
    """Draw the mass of the muon pairs, in GeV, on a logarithmic scale."""
    pairs = hist.Hist(hist.axis.Regular(100, 20, 140)).fill(mass)
    figure, axes = new_figure("Opposite-charge muon pairs")
    counts, edges = pairs.to_numpy()
    axes.stairs(counts, edges, fill=True, color=ORANGE, alpha=0.85)
    axes.axvline(91.19, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("Z", (91.19, counts.max()), (6, -4), textcoords="offset points")
    axes.set(xlabel="Dimuon mass [GeV]", ylabel="Events / 1.2 GeV", yscale="log", xlim=(20, 140))
    return save(figure, path)


def new_figure(title: str) -> tuple[plt.Figure, plt.Axes]:
    """Return an empty figure with a title and light axes."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: plt.Figure, path: Path) -> Path:
    """Write the figure and return where it is."""
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what is being done, and after it how long it took."""
    print(f"\n== {title}", flush=True)
    start = time.perf_counter()
    yield
    print(f"   {time.perf_counter() - start:.2f} s", flush=True)


if __name__ == "__main__":
    mpl.use("Agg")
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
