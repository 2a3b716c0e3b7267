"""Execute notebooks anew: in place, or with --check to see that what they show is up to date.

Run by `make notebooks`, and by the tests: ``python tools/notebooks.py [--check] NOTEBOOK…``.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

CELL_TIMEOUT_S: Final = 150
FILE_BYTES_MAX: Final = 300_000
"""Longest notebook with its plots."""
HOME: Final = "/home/me"
"""What outputs show instead of the folder in which a notebook ran."""
CHANGING: Final = [
    (re.compile(r"(?<=seconds    )\S.*"), "…"),
    (re.compile(r"(?<=>seconds</th><td style='text-align:left'>)[^<]*"), "…"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "0x…"),
]
"""What is another in each run, and what is shown instead."""
UNSTEADY: Final = [
    (re.compile(r"\d[\d.,]* ([kMG]?B)\b"), r"… \1"),
    (re.compile(r"\d[\d.,]*%(?= of what is stored)"), "…%"),
]
"""What may be another with other versions of a library: how much was compressed to how many bytes."""


def main() -> int:
    """Execute the notebooks that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if one is not up to date"
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ipython-") as settings:
        _prepare(settings)
        found = [problem for path in asked.notebooks for problem in renewed(path, asked.check)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


def renewed(path: Path, check: bool) -> Iterator[str]:
    """Execute a notebook, write it unless it is only checked, and yield what is wrong with it."""
    before = nbformat.read(path, as_version=4)
    after = executed(before)
    for number, cell in enumerate(after.cells):
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                yield f"{path}, cell {number} warns: {output['text']}"
    text = nbformat.writes(after) + "\n"
    if len(text.encode()) > FILE_BYTES_MAX:
        yield f"{path} has {len(text.encode()):,} bytes; {FILE_BYTES_MAX:,} are the most"
    if check:
        yield from difflib.unified_diff(shown(before), shown(after), f"{path}", "executed anew", lineterm="")
    else:
        path.write_text(text)
        print(f"{path}: {len(text.encode()):,} bytes")


def executed(notebook: Any) -> Any:
    """Return a notebook after all its cells ran in an empty folder, without what is another each time."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        resources = {"metadata": {"path": folder}}
        options = {"resources": resources, "record_timing": False, "coalesce_streams": True}
        client = NotebookClient(made, timeout=CELL_TIMEOUT_S, **options)
        try:
            client.execute()
        except (CellTimeoutError, DeadKernelError):
            # A kernel's ports are chosen first and taken later: another process may have had them then.
            NotebookClient(made, timeout=CELL_TIMEOUT_S, **options).execute()
        for cell in made.cells:
            cell.metadata = {}
            for output in cell.get("outputs", ()):
                _scrub(output, Path(folder).resolve())
            if "outputs" in cell:
                cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return made


def shown(notebook: Any) -> list[str]:
    """Return the lines of what a notebook shows, pictures by their names, as they are with any library."""
    lines = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            for kind, text in _texts(output):
                lines += [f"cell {number}, {kind}: {line}" for line in _replaced(text, UNSTEADY).splitlines()]
            lines += [
                f"cell {number} shows {kind}" for kind in sorted(output.get("data", ())) if "image" in kind
            ]
    return lines


def _prepare(settings: str) -> None:
    """Let no setting of the user, and no first start of a library, show in a notebook."""
    import matplotlib.font_manager  # noqa: F401  makes its list of fonts, once, which it would say so

    for name in ("SKYHOOK_STORE", "SKYHOOK_CATALOG", "MPLBACKEND"):
        os.environ.pop(name, None)
    os.environ["IPYTHONDIR"] = settings


def _is_progress(output: Any) -> bool:
    """Return whether an output is a progress bar, of which nothing is left in a file."""
    text = output.get("data", {}).get("text/plain")
    return output.output_type == "display_data" and text is not None and text.strip() in ("", "Output()")


def _scrub(output: Any, folder: Path) -> None:
    """Take out of an output what is another in each run."""
    if "text" in output:
        output["text"] = _steady(output["text"], folder)
    for kind, text in output.get("data", {}).items():
        if kind.startswith("text/"):
            output["data"][kind] = _steady(text, folder)


def _steady(text: str, folder: Path) -> str:
    return _replaced(text.replace(str(folder), HOME), CHANGING)


def _replaced(text: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, other in rules:
        text = pattern.sub(other, text)
    return text


def _texts(output: Any) -> Iterator[tuple[str, str]]:
    if "text" in output:
        yield output["name"], output["text"]
    for kind, text in sorted(output.get("data", {}).items()):
        if kind.startswith("text/"):
            yield kind, text


if __name__ == "__main__":
    sys.exit(main())
