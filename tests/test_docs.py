"""Every Python example in the README and the guides runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.program import OPS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "ceph_cls/doc").glob("*.md")),
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES_WITH_EXAMPLES = [page for page in PAGES if BLOCK.search(page.read_text())]
PAGES_THAT_CONNECT = [page for page in PAGES_WITH_EXAMPLES if "connect(" in page.read_text()]
LONG_PAGES = {"data_managers"}
PAGES_WITH_A_CLIENT = [page for page in PAGES_WITH_EXAMPLES if page not in PAGES_THAT_CONNECT]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("docs") / "nano_dy.root"
    make_nanoaod(path, 2_000, seed=11)
    return path


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.slow if page.stem in LONG_PAGES else ())
        for page in PAGES_THAT_CONNECT
    ],
)
def test_examples_of_a_page_run(
    page: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run one after another, beside `nano_dy.root`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / sample.name).symlink_to(sample)

    run_examples(page)


@pytest.mark.parametrize("answerer", ANSWERERS)
@pytest.mark.parametrize("page", PAGES_WITH_A_CLIENT, ids=lambda page: page.stem)
def test_examples_of_a_page_with_a_client_run(
    page: Path, answerer: str, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that does not connect has a `client`: of a store, or of a service."""
    monkeypatch.chdir(tmp_path)
    embedded = skyhook_casa.connect(tmp_path / "store")
    embedded.ingest("dy", [sample])

    with answered(answerer, embedded) as client:
        run_examples(page, client=client)


def run_examples(page: Path, **names: object) -> None:
    """Run the examples of a page one after another; line numbers in errors are those of the page."""
    text = page.read_text()
    known = {"__name__": "__page__", **names}
    for match in BLOCK.finditer(text):
        lines_before = text.count("\n", 0, match.start(1))
        exec(compile("\n" * lines_before + match.group(1), page, "exec"), known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    for target in targets:
        assert (page.parent / target).exists(), target


@pytest.mark.slow
def test_demo_draws_its_plots_and_can_run_again(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", ROOT / "docs/examples/demo.py", tmp_path, "2000"]

    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    assert "2,000 in" in done.stdout
    assert (tmp_path / "met.png").stat().st_size > 10_000
    assert (tmp_path / "dimuon_mass.png").stat().st_size > 10_000


@pytest.mark.slow
def test_demo_of_the_service_gives_what_the_embedded_engine_gives(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", ROOT / "docs/examples/demo_served.py", tmp_path, "2000"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "The embedded engine gives the same events." in done.stdout


def test_document_of_programs_names_every_operation_by_its_code() -> None:
    text = (ROOT / "ceph_cls/doc/program.md").read_text().partition("## 3.")[2].partition("## 4.")[0]

    table = re.findall(r"\| (\d+) \| (\w+)", text) + re.findall(r"\| (\d+) (\w+)", text)

    assert {name: int(code) for code, name in table} == OPS
