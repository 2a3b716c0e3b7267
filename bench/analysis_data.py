"""Make the long dataset of `bench.analysis`: distinct events of `generator.py`, ingested file by file.

    python -m bench.analysis_data DIR                   53 million events, about 20 minutes, 5 GB
    python -m bench.analysis_data DIR --files 8         a trial

The branches are those of the ADL queries, with the event numbers, MET and all of muons, electrons
and jets that vectors are made of. A ROOT file is removed once it was ingested; what stays is the
dataset in DIR/store, MET_pt as plain float32 in DIR/met_pt.f32, and in DIR/long_answers.jsonl the
histograms of each file, by uproot and awkward alone. A run that was interrupted may be repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from .data import ANSWER_STEP_EVENTS
from .generator import write
from .queries import QUERIES, Answer, answer_of_arrays, deliver_awkward

FILES = 106
FILE_EVENTS = 500_000
SEED = 2
DATASET = "long"
MET = "met_pt.f32"
ANSWERS = "long_answers.jsonl"
HISTOGRAMS = [query for query in QUERIES.values() if not query.is_skim]
FIELDS = ("pt", "eta", "phi", "mass", "charge", "btag")


def wanted(name: str) -> bool:
    """Whether a branch is in the long dataset."""
    collection, _, field = name.partition("_")
    if collection in ("nMuon", "nElectron", "nJet", "MET"):
        return True
    return collection in ("Muon", "Electron", "Jet") and field in FIELDS


def make(data: Path, files: int, processes: int) -> None:
    """Make the files that the dataset does not have yet, and add each as soon as it is there."""
    import skyhook_casa

    data.mkdir(parents=True, exist_ok=True)
    client = skyhook_casa.connect(data / "store", progress=False)
    have = [one for one in client.datasets() if one.name == DATASET]
    done = have[0].events // FILE_EVENTS if have else 0
    _cut_back(data, done)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for number, path, bins in pool.map(_make_file, [data] * (files - done), range(done, files)):
            client.ingest(DATASET, path)
            _add(data, path.with_suffix(".met"), bins)
            path.unlink()
            print(f"{(number + 1) * FILE_EVENTS:,} events", flush=True)


def _make_file(data: Path, number: int) -> tuple[int, Path, dict[str, list[int]]]:
    """Write a file, and its MET beside it; return its number, its path and its histograms."""
    path = data / f"long_{number:03d}.root"
    write(path, FILE_EVENTS, number * FILE_EVENTS, SEED, wanted, level=0)
    answer = Answer()
    with path.with_suffix(".met").open("wb") as met:
        for query, found, pt in _answers(path):
            answer.histograms = (answer + found).histograms
            if query == "q1":
                met.write(pt.tobytes())
    return number, path, answer.histograms


def _answers(path: Path) -> Iterator[tuple[str, Answer, np.ndarray]]:
    import uproot

    columns = sorted({column for query in HISTOGRAMS for column in query.columns})
    with uproot.open(path) as file:
        for events in file["Events"].iterate(columns, step_size=ANSWER_STEP_EVENTS, library="ak", how=dict):
            for query in HISTOGRAMS:
                found = answer_of_arrays(query, deliver_awkward(query, events))
                bins = {f"{query.name} {name}": one for name, one in found.histograms.items()}
                yield query.name, Answer(histograms=bins), np.asarray(events["MET_pt"])


def _add(data: Path, met: Path, bins: dict[str, list[int]]) -> None:
    with (data / MET).open("ab") as to:
        to.write(met.read_bytes())
    with (data / ANSWERS).open("a") as to:
        to.write(json.dumps(bins) + "\n")
    met.unlink()


def _cut_back(data: Path, files: int) -> None:
    """Forget the answers of files that were not ingested; refuse if some are missing."""
    with (data / MET).open("ab") as met:
        met.truncate(files * FILE_EVENTS * 4)
    (data / ANSWERS).touch()
    lines = (data / ANSWERS).read_text().splitlines()
    if len(lines) < files:
        raise SystemExit(
            f"{data} has {files} files and the answers of {len(lines)}: remove it and begin anew"
        )
    (data / ANSWERS).write_text("".join(line + "\n" for line in lines[:files]))


def expected(data: Path) -> dict[str, Answer]:
    """Return the answer of each query over the whole long dataset."""
    whole = Answer()
    for line in (data / ANSWERS).read_text().splitlines():
        whole = whole + Answer(histograms=json.loads(line))
    answers = {query.name: Answer() for query in HISTOGRAMS}
    for key, bins in whole.histograms.items():
        query, name = key.split(" ")
        answers[query].histograms[name] = bins
        answers[query].counts[name] = sum(bins)
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", type=int, default=FILES, help=f"of {FILE_EVENTS:,} events each")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    make(args.data.resolve(), args.files, args.processes)


if __name__ == "__main__":
    main()
