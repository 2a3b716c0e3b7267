"""The notebooks of the documentation run, and show what they would show if they ran now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools/notebooks.py"
NOTEBOOKS = sorted((ROOT / "docs/examples").glob("*.ipynb"))


def renew(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Execute notebooks, in place unless `--check` is given."""
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)


def make_notebook(path: Path, *sources: str) -> Path:
    """Write a notebook that did not run yet."""
    cells = [nbformat.v4.new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_there_are_the_notebooks_that_the_guides_name() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["coffea_processor", "first_steps", "z_peak"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_it_was_executed(path: Path) -> None:
    """From its first cell to its last, with plots, without warnings and paths of a machine, and small."""
    notebook = nbformat.read(path, as_version=4)
    text = path.read_text()

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert "image/png" in text
    assert str(ROOT) not in text and "/tmp/" not in text
    assert len(text) < 300_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]

    targets = re.findall(r"\]\((?!https:)([^)#]+)", "\n".join(texts))

    assert len(targets) >= 2
    for target in targets:
        assert (path.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_did(path: Path) -> None:
    if path.stem == "coffea_processor":
        pytest.importorskip("coffea")

    done = renew("--check", path)

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_notebook_that_would_show_something_else_is_found_and_renewed(tmp_path: Path) -> None:
    """What is another each time is not written, so that renewing it again changes nothing."""
    sources = ["import os\nprint(os.getcwd(), hex(id(os)))", "1 + 1"]
    path = make_notebook(tmp_path / "a.ipynb", *sources)

    found = renew("--check", path)
    assert found.returncode == 1
    assert "+cell 1, text/plain: 2" in found.stderr
    assert renew(path).returncode == 0
    written = path.read_text()
    assert "/home/me 0x…" in written
    assert renew("--check", path).returncode == 0
    assert renew(path).returncode == 0
    assert path.read_text() == written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [("import warnings\nwarnings.warn('old')", "warns: "), ("1 / 0", "ZeroDivisionError")],
)
def test_a_notebook_that_warns_or_fails_is_refused(tmp_path: Path, source: str, message: str) -> None:
    done = renew("--check", make_notebook(tmp_path / "a.ipynb", source))

    assert done.returncode == 1
    assert message in done.stderr
