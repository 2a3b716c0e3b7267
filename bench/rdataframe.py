"""ROOT's RDataFrame, `rdataframe.cpp` compiled here, where a ROOT can be had.

    ROOT_PYTHON=venv/bin/python python -m bench.rdataframe DIR      RNTuple copies of DIR/root, zstd level 5

ROOT_PYTHON is a Python that has ROOT, such as one of an environment with `pip install root`; by default
the one that runs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from .peers import System
from .queries import BINS, Arrays, BenchQuery, Histograms

PYTHON = os.environ.get("ROOT_PYTHON", sys.executable)
LIBRARIES = "ROOTDataFrame ROOTVecOps Tree TreePlayer Hist RIO Core MathCore Imt ROOTNTuple".split()
COPY = """
import sys, glob, os, ROOT
options = ROOT.RDF.RSnapshotOptions()
options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
options.fCompressionAlgorithm = ROOT.RCompressionSetting.EAlgorithm.kZSTD
options.fCompressionLevel = 5
for path in sorted(glob.glob(sys.argv[1] + "/nano_*.root")):
    target = sys.argv[2] + "/" + os.path.basename(path)
    if not os.path.exists(target):
        ROOT.RDataFrame("Events", path).Snapshot("Events", target + ".part", "", options)
        os.rename(target + ".part", target)
    print(target, flush=True)
"""


class RDataFrame(System):
    """RDataFrame on the ROOT files."""

    kind = "root"

    def __init__(self, data: Path, query: BenchQuery, cores: int, files: int | None) -> None:
        super().__init__(data, query, cores, files)
        self._process = subprocess.Popen(
            [_compiled(), query.name, str(cores), *self.files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @classmethod
    def can(cls, query: BenchQuery, histogram: bool) -> bool:
        return histogram and super().can(query, histogram) and prefix() is not None

    def deliver(self) -> Arrays:
        raise NotImplementedError("it only fills histograms here")

    def histogram(self) -> Histograms:
        assert self._process.stdin is not None and self._process.stdout is not None
        print("again", file=self._process.stdin, flush=True)
        found = np.array(self._process.stdout.readline().split()[2:], float).astype(np.int64)
        return dict(zip(self.query.axes, found.reshape(-1, BINS + 2), strict=True))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class RNTuple(RDataFrame):
    """RDataFrame on RNTuple."""

    kind = "rntuple"


@lru_cache
def prefix() -> Path | None:
    """Return where ROOT is, or None if `PYTHON` has none."""
    code = "import importlib.util as u; s = u.find_spec('ROOT'); print(s.origin if s else '')"
    found = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return Path(found).parent if found else None


@lru_cache
def _compiled() -> str:
    root = prefix()
    assert root is not None
    source = Path(__file__).with_name("rdataframe.cpp")
    tag = hashlib.sha256(source.read_bytes() + str(root).encode()).hexdigest()[:12]
    program = Path(tempfile.gettempdir()) / f"skyhook_rdataframe_{tag}"
    if not program.exists():
        made = program.with_suffix(".tmp")
        options = ["-O3", "-march=native", "-std=c++17", f"-I{root}/include", f"-L{root}/lib"]
        link = [f"-Wl,-rpath,{root}/lib", "-Wl,--unresolved-symbols=ignore-in-shared-libs"]
        libraries = [f"-l{name}" for name in LIBRARIES]
        subprocess.run(["g++", *options, str(source), "-o", str(made), *link, *libraries], check=True)
        made.rename(program)
    return str(program)


def main() -> None:
    data = Path(sys.argv[1]).resolve()
    (data / "rntuple").mkdir(exist_ok=True)
    subprocess.run([PYTHON, "-W", "ignore", "-c", COPY, data / "root", data / "rntuple"], check=True)


if __name__ == "__main__":
    main()
