"""What people see: texts in a terminal, tables in a notebook, progress where somebody looks."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uproot

import skyhook_casa
from skyhook_casa import progress as progress_module
from skyhook_casa.progress import Progress, place
from skyhook_casa.report import Report, counted, human_bytes
from skyhook_client import Client


class Balance(HTMLParser):
    """Fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def html(shown: Any) -> str:
    """The HTML that a notebook shows of a value, checked for balance."""
    text: str = shown._repr_html_()
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return text


# -- datasets, queries, reports -------------------------------------------------------------------
def test_a_dataset_shows_its_collections(client: Client) -> None:
    text = html(client.dataset("dy"))
    assert "Muon (" in text
    assert "Muon_pt" in text
    assert "1,500" in text


def test_a_query_shows_what_it_asks_without_running(client: Client) -> None:
    query = client.query(
        "dy", ["Muon_pt", "ht"], "MET_pt < 20 and nMuon > 1",
        define={"ht": "sum(Jet_pt)"}, objects={"Muon": "pt > 3"}, fill={"MET_pt": 0}, limit=1000,
    )  # fmt: skip
    for text in (repr(query), html(query)):
        assert "Muon_pt: var * float32" in text
        assert "sum(Jet_pt)" in text
        assert "1,000 events" in text
    assert "MET_pt &lt; 20" in html(query)
    assert not query.has_run


def test_a_query_that_ran_shows_its_report(client: Client) -> None:
    query = client.query("dy", ["MET_pt"], "MET_pt > 20")
    query.to_awkward()
    assert "last run" in html(query)
    assert "left after MET_pt &gt; 20" in html(query.report)
    assert "left after MET_pt > 20" in str(query.report)


def test_an_explanation_shows_the_bytes(client: Client) -> None:
    explained = client.query("dy", ["Muon_pt"], "MET_pt > 20").explain()
    assert "for the cut" in html(explained)
    assert str(explained) == repr(explained)


def test_a_client_shows_its_datasets(client: Client, tmp_path: Path) -> None:
    assert "<td>dy</td>" in html(client)
    assert "dataset" in html(skyhook_casa.connect(tmp_path / "none"))


def test_what_users_wrote_is_escaped(tmp_path: Path) -> None:
    """A dataset's name, a title or a cut is text, never markup."""
    client = skyhook_casa.connect("memory://")
    with uproot.recreate(tmp_path / "<b>.root") as file:
        file.mktree("Events", {"x": "f8"})
        file["Events"].extend({"x": np.zeros(3)})
    client.ingest("<script>", tmp_path / "<b>.root")
    query = client.query("<script>", "x", "x < 1")
    query.count()
    for shown in (client, client.dataset("<script>"), query, query.report, query.explain()):
        assert "<script>" not in html(shown)
        assert "<b>" not in html(shown)


def test_a_description_is_readable_in_a_terminal(client: Client) -> None:
    description = client.dataset("dy").describe()
    lines = description.text().splitlines()
    assert lines[0] == "dataset     dy"
    assert str(description) == repr(description) == description.text()


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (2**60, "1152.9 PB"),
    ],
)
def test_bytes_are_shown_with_a_unit(n: int, text: str) -> None:
    assert human_bytes(n) == text


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]


def test_a_report_of_no_events_has_no_share() -> None:
    assert "0 in, 0 out\n" in str(Report("dy", 1))


# -- progress ---------------------------------------------------------------------------------------
@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars appear at once."""
    monkeypatch.setattr(progress_module, "DELAY_S", 0.0)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look like a notebook's kernel."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def work(progress: Progress) -> None:
    with progress:
        progress.note = "7 splits"
        for _ in range(4):
            progress.advance(25)


@pytest.mark.usefixtures("soon")
def test_piped_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Logs hold no control characters."""
    work(Progress("ingest dy", 100))
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("soon")
def test_a_terminal_shows_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, so that output can be piped."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert place() == "terminal"
    work(Progress("ingest dy", 100))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "ingest dy" in captured.err
    assert "7 splits" in captured.err


@pytest.mark.usefixtures("soon", "notebook")
def test_a_notebook_shows_tqdm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "find_spec", lambda _: None)
    assert place() == "notebook"
    work(Progress("ingest dy", 100))
    shown = capsys.readouterr().err
    assert "ingest dy" in shown
    assert "7 splits" in shown


@pytest.mark.usefixtures("soon", "notebook")
def test_progress_can_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    work(Progress("ingest dy", 100, show=False))
    assert capsys.readouterr() == ("", "")


def test_short_work_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """And loads nothing to show it with."""
    progress = Progress("query dy", 100, show=True)
    work(progress)
    assert progress.done == 100
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("soon", "notebook")
def test_progress_may_be_told_what_is_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an ingest tells it: done, of how much."""
    monkeypatch.setattr(progress_module, "find_spec", lambda _: None)
    with Progress("ingest dy", 0) as progress:
        progress.reach(0, 200)
        progress.reach(50, 200)
        assert (progress.done, progress.total) == (50, 200)
    assert "200/200" not in capsys.readouterr().err


def test_a_query_tells_its_progress(client: Client) -> None:
    """Every event is counted once."""
    query = client.query("dy", ["MET_pt"])
    with Progress("query", query.count()) as progress:
        query.question.run(progress).collect()
    assert progress.done == 1_500
