"""Choose the few inputs to keep: those that cover most for their size, until there are bytes enough.

`keep_corpus.py FUZZER KEPT BYTES FOLDER...` looks at the files in KEPT and in the folders, and leaves its
choice in KEPT. See ``make fuzz-keep``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK_BYTES = 64
"""What a file costs beside its bytes: few files are better than many."""


def features_of(fuzzer: str, folders: list[str]) -> dict[Path, set[int]]:
    """Return the code edges that libFuzzer sees each input reach."""
    with tempfile.TemporaryDirectory() as scratch:
        control = Path(scratch, "control")
        out = Path(scratch, "out")
        out.mkdir()
        options = ["-set_cover_merge=1", "-use_counters=0", "-max_len=16384", "-rss_limit_mb=3000"]
        command = [fuzzer, *options, f"-merge_control_file={control}", str(out), *folders]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        lines = control.read_text().splitlines()
    files = [Path(name) for name in lines[2 : 2 + int(lines[0])]]
    features = [line.split() for line in lines if line.startswith("FT ")]
    return {files[int(number)]: set(map(int, reached)) for _, number, *reached in features}


def chosen(features: dict[Path, set[int]], bytes_max: int) -> list[Path]:
    """Return inputs, the one that reaches most that is new for its size next."""
    left = {file: set(reached) for file, reached in features.items()}
    kept: list[Path] = []
    while left:
        best = max(left, key=lambda file: len(left[file]) / (file.stat().st_size + BLOCK_BYTES))
        new = left.pop(best)
        bytes_max -= best.stat().st_size
        if not new or bytes_max < 0:
            break
        kept.append(best)
        for reached in left.values():
            reached -= new
    return kept


def main() -> None:
    """Replace the kept inputs by a new choice."""
    fuzzer, kept, bytes_max, *folders = sys.argv[1:]
    features = features_of(fuzzer, [kept, *folders])
    contents = [file.read_bytes() for file in chosen(features, int(bytes_max))]
    for old in Path(kept).iterdir():
        old.unlink()
    for content in contents:
        Path(kept, hashlib.sha256(content).hexdigest()[:12]).write_bytes(content)
    nbytes = sum(map(len, contents))
    print(f"{kept}: {len(contents)} inputs of {len(features)}, {nbytes:,} bytes")


if __name__ == "__main__":
    main()
