"""Ingests of which some files are bad, that are cancelled, or whose workers die."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ingest_helpers import assert_equal, by_uproot, damage, read_back, write_root

from skyhook_casa.catalog import Catalog
from skyhook_casa.errors import AlreadyExists, IngestError, InvalidRequest, NotFound, QueryCancelled
from skyhook_casa.ingest import (
    IngestReport,
    IngestRequest,
    IngestRun,
    Processes,
    ThisProcess,
    ingest,
    open_files,
    run,
)
from skyhook_casa.ingest.pool import DEATHS_MAX, Call
from skyhook_casa.stores import DirectoryStore

SMALL: dict[str, Any] = {"partition_bytes": 65_536, "chunk_events": 250}


class Home:
    """A catalog, a store, and files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = DirectoryStore(path / "store")
        self.catalog = Catalog(path / "store" / "catalog.sqlite")

    def file(self, name: str, events: int = 50) -> Path:
        return write_root(self.path / name, events, seed=1 + sum(name.encode()), basket=1000)

    def cut_short(self, name: str) -> Path:
        path = self.file(name)
        path.write_bytes(path.read_bytes()[:-100])
        return path

    def damaged(self, name: str, events: int = 12_000) -> Path:
        return damage(self.file(name, events))

    def ingest(self, paths: Any, **options: Any) -> IngestReport:
        return ingest(self.catalog, self.store, "dy", paths, **({"workers": 1} | options))

    def files(self) -> list[str]:
        return [Path(file.path).name for file in self.catalog.files(self.catalog.version("dy"))]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_all_bad_files_are_named_at_once(home: Home) -> None:
    """Who repairs one after the other would wait for as many ingests."""
    paths = [home.cut_short("a.root"), home.file("b.root"), home.path / "no.root", home.cut_short("c.root")]

    with pytest.raises(IngestError) as raised:
        home.ingest([home.path / "none.root", *paths[2:3]])
    assert str(raised.value).startswith("2 files cannot be ingested: no file ")
    with pytest.raises(IngestError, match=r"2 files .*a\.root is cut short.*; .*c\.root is cut short"):
        home.ingest([paths[0], paths[1], paths[3]])

    with pytest.raises(NotFound):
        home.catalog.version("dy")


def test_good_files_are_committed_without_the_bad(home: Home) -> None:
    good = [home.file("a.root"), home.file("c.root")]
    bad = home.cut_short("b.root")

    report = home.ingest([good[0], bad, home.path / "no.root", good[1]], skip_bad_files=True)

    assert home.files() == ["a.root", "c.root"]
    assert (report.files, report.events, report.events_done) == (2, 100, 100)
    missing, short = report.failures
    assert (Path(missing.path).name, missing.kind) == ("no.root", "ingest")
    assert "Correct the path" in missing.advice
    assert (short.path, short.kind) == (str(bad), "ingest")
    assert "is cut short" in short.message
    assert "Copy the file again" in short.advice


def test_a_file_that_proves_bad_while_it_is_read_is_left_out_as_a_whole(home: Home) -> None:
    """Also the partitions of it that were made already."""
    good, bad = home.file("b.root", 500), home.damaged("a.root")

    report = home.ingest([bad, good], skip_bad_files=True, **SMALL)

    assert [failure.path for failure in report.failures] == [str(bad)]
    assert (report.files, report.events, report.events_done) == (1, 500, 500)
    assert report.bytes == home.catalog.version("dy").bytes
    assert_equal(read_back(home.catalog, home.store, home.catalog.version("dy")), by_uproot(good))


def test_the_work_on_good_files_is_kept_though_a_bad_one_fails_the_ingest(home: Home) -> None:
    """All files are worked on; after the repair only the bad one is."""
    good, bad = home.file("b.root", 8000), home.damaged("a.root")
    request = IngestRequest("dy", (str(bad), str(good)), **SMALL)
    first = IngestRun(home.catalog, home.store, request, key="job")
    with pytest.raises(IngestError, match=r"a\.root"), ThisProcess(home.store) as workers:
        first.make(workers)
    made = first.report.partitions_made
    home.file("a.root", 12_000)

    again = IngestRun(home.catalog, home.store, request, key="job")
    with ThisProcess(home.store) as workers:
        again.make(workers)
    report = again.commit()

    partitions = home.catalog.partitions(home.catalog.version("dy"))
    of_good = [one for one in partitions if one.file.path == str(good)]
    assert made >= len(of_good) > 1
    assert report.partitions_reused >= len(of_good)
    assert report.failures == []
    assert home.files() == ["a.root", "b.root"]


def test_files_that_disagree_are_bad_files_too(home: Home) -> None:
    one, two = home.file("a.root"), home.file("b.root")
    copy = home.path / "copy.root"
    copy.write_bytes(one.read_bytes())
    home.ingest(one)

    report = home.ingest([copy, two, two], skip_bad_files=True)

    assert home.files() == ["a.root", "b.root"]
    assert [failure.kind for failure in report.failures] == ["already-exists", "already-exists"]
    assert [failure.advice for failure in report.failures] == ["Its events are there: leave it out."] * 2
    with pytest.raises(AlreadyExists, match="2 files cannot be ingested"):
        home.ingest([copy, one], skip_bad_files=True)


def test_an_ingest_of_bad_files_alone_fails(home: Home) -> None:
    with pytest.raises(IngestError, match="is cut short"):
        home.ingest(home.cut_short("a.root"), skip_bad_files=True)


def test_too_many_bad_files_end_the_ingest(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FAILURES_MAX", 3)
    monkeypatch.setattr(run, "FAILURES_SHOWN", 2)
    missing = [home.path / f"{number}.root" for number in range(5)]

    with pytest.raises(IngestError, match=r"3 files cannot be ingested: .*0\.root; .*1\.root; and 1 more"):
        home.ingest([*missing, home.file("a.root")], skip_bad_files=True)


def test_a_cancelled_ingest_stops_between_tasks_and_goes_on_later(home: Home) -> None:
    request = IngestRequest("dy", (str(home.file("a.root", 12_000)),), **SMALL)
    stopped = IngestRun(
        home.catalog, home.store, request, key="job", cancelled=lambda: stopped.report.partitions_made >= 2
    )
    with pytest.raises(QueryCancelled, match="a retry makes what is missing"), ThisProcess(home.store) as one:
        stopped.make(one)
    assert stopped.report.partitions_made == 2
    with pytest.raises(NotFound):
        home.catalog.version("dy")

    again = IngestRun(home.catalog, home.store, request, key="job")
    with ThisProcess(home.store) as one:
        again.make(one)

    assert again.commit().partitions_reused == 2


def test_files_are_opened_anew_by_each_ingest_and_closed_at_its_end(home: Home) -> None:
    """A file may be replaced between an ingest that failed and its retry."""
    home.ingest(home.file("a.root"))
    assert not open_files._idle
    options = IngestRequest("dy", ("a",)).encode_options
    path = str(home.path / "a.root")
    with open_files.opened(path, options, "one") as first:
        pass
    with open_files.opened(path, options, "one") as again, open_files.opened(path, options, "one") as other:
        assert again is first
        assert other is not first
    with open_files.opened(path, options, "two") as later:
        assert later is not first
    open_files.close_files()
    assert not open_files._idle


def test_only_so_many_idle_files_stay_open(home: Home) -> None:
    options = IngestRequest("dy", ("a",)).encode_options
    path = str(home.file("a.root"))

    for number in range(open_files.IDLE_MAX + 3):
        with open_files.opened(path, options, str(number)):
            pass

    assert len(open_files._idle) == open_files.IDLE_MAX
    open_files.close_files()


def test_requests_travel_as_json() -> None:
    request = IngestRequest("dy", ("a.root", "b*.root"), ("Muon_*",), skip_bad_files=True)

    assert IngestRequest.from_json(request.to_json()) == request
    with pytest.raises(InvalidRequest, match="asks for colour: a newer skyhook_casa"):
        IngestRequest.from_json(request.to_json().replace('"tree"', '"colour"'))


def test_advice_comes_along_from_other_processes() -> None:
    error = pickle.loads(pickle.dumps(IngestError("bad", "mend it")))

    assert (str(error), error.advice) == ("bad", "mend it")


# -- workers that die ------------------------------------------------------------------------


def die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker


def echo(text: str) -> str:
    return text


def call(function: Callable[[str], Any], argument: str) -> Call[Any]:
    return Call(argument, function, (argument,))


@pytest.mark.slow
def test_a_call_at_which_a_process_died_is_made_again(home: Home) -> None:
    """As are the calls of the other processes: all of them end when one dies."""
    marker = str(home.path / "marker")
    calls = [call(echo, "a"), call(die_once, marker), *(call(echo, name) for name in "bcd")]

    with Processes(home.store, 2) as workers:
        results = {made.path: result for made, result in workers.run(calls)}

    assert results == {name: name for name in ("a", marker, "b", "c", "d")}


@pytest.mark.slow
def test_a_file_at_which_processes_die_again_and_again_is_named(home: Home) -> None:
    """The others are not to blame."""
    calls = [call(echo, "a"), call(die, "deadly.root"), *(call(echo, name) for name in "bcd")]

    with Processes(home.store, 2) as workers:
        results = {made.path: result for made, result in workers.run(calls)}

    error = results.pop("deadly.root")
    assert results == {name: name for name in "abcd"}
    assert isinstance(error, IngestError)
    assert str(error).startswith(f"deadly.root cannot be ingested: {DEATHS_MAX} workers died at it")
    assert "smaller partition_bytes" in error.advice
