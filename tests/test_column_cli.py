"""Derived columns and columns of other files, on the command line; of a directory and of a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_helpers import make_events, write_root
from service_fixture import ANSWERERS, answered
from test_cli import run

import skyhook_casa
from skyhook_casa.errors import (
    AccessDenied,
    AlreadyExists,
    ExpressionError,
    IngestError,
    InvalidRequest,
    NotFound,
    SkyhookError,
)
from skyhook_client import Client

EVENTS = 200
ALLOWED = "derived_functions"


@pytest.fixture
def embedded(tmp_path: Path) -> Client:
    """A client of a dataset `dy`, which may import functions."""
    client = skyhook_casa.connect(tmp_path / "store", progress=False, threads=1, functions=[ALLOWED])
    client.ingest("dy", write_root(tmp_path / "dy.root", EVENTS), workers=1)
    return client


@pytest.fixture(params=ANSWERERS)
def store(request: pytest.FixtureRequest, embedded: Client) -> Iterator[str]:
    """What `--store` names."""
    settings = {} if request.param == "embedded" else {"functions": ALLOWED}
    with answered(request.param, embedded, **settings) as client:
        yield client.url


@pytest.fixture(scope="module", params=ANSWERERS)
def untouched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `--store` names, for tests that leave it as it was."""
    place = tmp_path_factory.mktemp("untouched")
    client = skyhook_casa.connect(place / "store", progress=False, threads=1)
    client.ingest("dy", write_root(place / "dy.root", EVENTS), workers=1)
    with answered(request.param, client) as client:
        yield client.url


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A Parquet file with a column `score` for all events but the last, in another order."""
    keys = {name: np.asarray(make_events(EVENTS)[name]) for name in ("run", "event")}
    table = pa.table({**keys, "score": np.arange(EVENTS, dtype=np.float32)})
    pq.write_table(table.slice(0, EVENTS - 1).take(np.arange(EVENTS - 1)[::-1]), tmp_path / "scores.parquet")
    return tmp_path / "scores.parquet"


# -- definitions ----------------------------------------------------------------------------------
def test_definitions_are_declared_used_listed_and_dropped(store: str) -> None:
    assert run(store, "define", "dy", "ht", "sum(Jet_pt)").output == ""
    run(store, "define", "dy", "ht2", "ht * 2")
    listed = run(store, "definitions", "dy").stdout.splitlines()
    assert listed == ["ht   = sum(Jet_pt)  (not stored)", "ht2  = ht * 2  (not stored)"]

    ht = ak.sum(make_events(EVENTS)["Jet"].pt, axis=1)
    assert int(run(store, "count", "dy", "--cut", "ht > 50").stdout) == ak.sum(ht > 50)

    listed = run(store, "definitions", "dy").stdout.splitlines()
    assert listed[0].startswith("ht   = sum(Jet_pt)  (version 1, ") and "not stored" in listed[1]
    run(store, "drop-definition", "dy", "ht2")
    assert "run gc to free the space" in run(store, "drop-definition", "dy", "ht").stdout
    assert run(store, "definitions", "dy").stderr == "no definitions of 'dy' yet\n"


def test_explain_shows_what_is_computed_first(store: str) -> None:
    run(store, "define", "dy", "ht", "sum(Jet_pt)")
    assert "computes and stores ht" in run(store, "explain", "dy", "-c", "ht").stdout


def test_a_function_is_defined_and_called_where_it_is_allowed(store: str) -> None:
    """A service has its own list of modules."""
    options = ["--function", f"{ALLOWED}:relative", "-c", "Muon_pt, MET_pt", "--per", "Muon"]
    run(store, "define", "dy", "Muon_rel", *options)
    listed = f"Muon_rel  = {ALLOWED}:relative(Muon_pt, MET_pt)"
    assert run(store, "definitions", "dy").stdout.startswith(listed)
    assert listed.replace("  =", " =") in run(store, "describe", "dy").stdout
    allowed = [] if store.startswith("grpc://") else ["--functions", f"json, {ALLOWED}"]
    if allowed:
        with pytest.raises(AccessDenied, match="may not be imported"):
            run(store, "query", "dy", "-c", "Muon_rel")
    assert "Muon_rel" in run(store, *allowed, "query", "dy", "-c", "Muon_rel", "-n", "2").stdout


def test_a_function_whose_numbers_may_be_missing_is_defined(embedded: Client) -> None:
    options = ["--function", f"{ALLOWED}:first", "-c", "Muon_pt", "--optional", "--dtype", "float32"]
    run(embedded.url, "define", "dy", "first", *options)

    assert ak.any(ak.is_none(embedded.query("dy", ["first"]).to_awkward().first))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["define", "dy", "x"], InvalidRequest, "by an expression or with --function: one of the two"),
        (["define", "dy", "x", "1 + 1", "--function", "a:b"], InvalidRequest, "one of the two"),
        (["define", "dy", "x", "1 + 1", "-c", "MET_pt"], InvalidRequest, "an expression names its columns"),
        (["define", "dy", "x", "--function", "a:b"], InvalidRequest, "names of columns are needed"),
        (["define", "dy", "x", "--function", "a.b", "-c", "MET_pt"], InvalidRequest, "no import path"),
        (["define", "dy", "x", "MET_ptt * 2"], ExpressionError, "did you mean 'MET_pt'"),
        (["define", "dy", "MET_pt", "1 + 1"], InvalidRequest, "which the dataset has already"),
        (["definitions", "dyy"], NotFound, "did you mean 'dy'"),
        (["drop-definition", "dy", "ht"], NotFound, "no definition 'ht'"),
    ],
)
def test_a_mistake_in_a_definition_is_explained(
    untouched: str, arguments: list[str], error: type[SkyhookError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(untouched, *arguments)
    assert run(untouched, "definitions", "dy").stdout == ""


# -- columns of other files -------------------------------------------------------------------------
def test_columns_of_a_file_are_added_as_a_new_version(store: str, scores: Path) -> None:
    """With a value for the event that it lacks."""
    done = run(store, "add-columns", "dy", scores, "-c", "sc*", "--on", "run, event", "--fill", "-1")

    assert done.stdout.startswith("dy: version 2, score for 200 events\n")
    assert done.stdout.splitlines()[2] == "1 event of the dataset got the fill value"
    assert run(store, "count", "dy", "--cut", "score == -1").stdout == "1\n"
    assert run(store, "count", "dy", "--cut", "score >= 100").stdout == "99\n"


def test_columns_are_replaced_if_that_is_asked_for(embedded: Client, scores: Path) -> None:
    added = ["add-columns", "dy", scores, "--on", "run,event", "--fill"]
    run(embedded.url, *added, "score = 0.5")

    with pytest.raises(AlreadyExists, match="score"):
        run(embedded.url, *added, "1", "-c", "score")
    assert "version 3" in run(embedded.url, *added, "1e9", "-c", "score", "--replace").stdout

    assert run(embedded.url, "count", "dy", "--cut", "score == 0.5", "-v", "2").stdout == "1\n"
    assert run(embedded.url, "count", "dy", "--cut", "score == 1e9").stdout == "1\n"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--on", "run,event"], InvalidRequest, "1 of 200 events are in no file"),
        (["--on", "run,eventt"], IngestError, "did you mean .event."),
        (["--on", "run,event", "-c", "scores"], SkyhookError, "scores"),
        (["--on", "run,event", "--fill", "much"], InvalidRequest, "--fill gives 'much'"),
        (["--on", "run,event", "--fill", "a=1", "--fill", "a=2"], InvalidRequest, "names 'a' twice"),
        (["--on", "run,event", "--fill", "1", "--fill", "2"], InvalidRequest, "not of the form 'name = …'"),
        (["--on", "run,event", "--fill", "scores = 1"], NotFound, "did you mean 'score'"),
    ],
)
def test_a_mistake_in_added_columns_is_explained(
    untouched: str, scores: Path, options: list[str], error: type[SkyhookError], message: str
) -> None:
    """And the dataset stays as it was."""
    with pytest.raises(error, match=message):
        run(untouched, "add-columns", "dy", scores, *options)
    assert run(untouched, "datasets").stdout.startswith("dy  version   1 ")


def test_no_file_to_add_is_wrong_usage(embedded: Client) -> None:
    assert run(embedded.url, "add-columns", "dy").exit_code == 2
