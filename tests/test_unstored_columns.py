"""Derived columns that are declared and not stored yet: what `explain` says, and who may not store them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import sqlalchemy as sa
from ingest_helpers import make_events, write_root
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.errors import AccessDenied, MissingColumn
from skyhook_casa.functions import Function
from skyhook_casa.stores import MemoryStore
from skyhook_client import Client

EVENTS = 300
ALLOWED = "derived_functions"
DEFINED = {
    "ht": "sum(Jet_pt)",
    "score": Function(f"{ALLOWED}:total", ("Jet_pt", "MET_pt")),
    "Muon_rel": Function(f"{ALLOWED}:relative", ("Muon_pt", "MET_pt"), per="Muon"),
    "hard": Function(f"{ALLOWED}:hard", ("Jet_pt",), per="list"),
    "more": "score * 2",
}


def make_site(place: Path, catalog: str | None = None) -> Client:
    """Return a client of a dataset `dy` with definitions."""
    client = skyhook_casa.connect(
        place / "store", catalog=catalog, progress=False, threads=1, functions=[ALLOWED]
    )
    client.ingest("dy", write_root(place / "dy.root", EVENTS), workers=1)
    client.define("dy", DEFINED)
    return client


@pytest.fixture
def site(tmp_path: Path) -> Client:
    return make_site(tmp_path)


@pytest.fixture(params=ANSWERERS)
def client(request: pytest.FixtureRequest, site: Client) -> Iterator[Client]:
    settings = {} if request.param == "embedded" else {"functions": ALLOWED}
    with answered(request.param, site, **settings) as client:
        yield client


@contextmanager
def read_only(client: Client) -> Iterator[None]:
    """Let the database refuse to write, as it does for a user who may only read."""
    database: Any = client.catalog._database
    statement = "PRAGMA query_only = ON" if database.is_sqlite else "SET default_transaction_read_only TO on"

    def restrict(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()
        connection.commit()

    sa.event.listen(database.engine, "connect", restrict)
    database.close()
    yield
    sa.event.remove(database.engine, "connect", restrict)
    database.close()


# -- explained ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "computes"),
    [
        (["ht"], ("ht",)),
        (["score"], ("score",)),
        (["Muon_rel", "Muon_pt"], ("Muon_rel",)),
        (["hard"], ("hard",)),
        (["more", "MET_pt"], ("score", "more")),
    ],
)
def test_explain_names_what_the_first_query_computes(
    client: Client, asked: list[str], computes: tuple[str, ...]
) -> None:
    """And nothing any more once it is stored."""
    explained = client.query("dy", asked).explain()
    assert explained.computes == computes
    assert f"computes and stores {', '.join(computes)} for all events, once" in str(explained)
    assert not any("__" in name for name in (*explained.cut_bytes, *explained.output_bytes))

    client.query("dy", asked).to_awkward()

    stored = client.query("dy", asked).explain()
    assert stored.computes == ()
    assert "computes" not in str(stored)
    assert stored.bytes_max > 0


def test_explain_of_a_cut_on_an_unstored_function_counts_the_bytes_of_the_others(client: Client) -> None:
    explained = client.query("dy", ["Muon_pt"], "MET_pt > 20 and score > 100").explain()

    assert set(explained.cut_bytes) == {"MET_pt"}
    assert "Muon_pt" in explained.output_bytes
    assert "; besides, what is computed first" in str(explained)


def test_explain_still_refuses_what_some_files_lack(site: Client, tmp_path: Path) -> None:
    """Nobody will compute it."""
    more = write_root(tmp_path / "more.root", 50, 3, extra=np.arange(50, dtype=np.int32))
    site.ingest("dy", more, workers=1)

    with pytest.raises(MissingColumn, match=r"extra is not in .*dy\.root"):
        site.query("dy", ["extra", "score"]).explain()

    assert site.query("dy", ["extra", "score"], fill={"extra": 0}).explain().computes == ("score",)


@pytest.mark.parametrize("execution", ["auto", "pushdown"])
@pytest.mark.slow
def test_explain_foresees_where_a_query_of_an_unstored_function_runs(tmp_path: Path, execution: str) -> None:
    """Alone or beside others, its column can be asked for inside the storage."""
    client = skyhook_casa.connect(MemoryStore(runs_class=True), progress=False, functions=[ALLOWED])
    client.ingest("dy", write_root(tmp_path / "dy.root", EVENTS), workers=1)
    client.define("dy", DEFINED)
    for _ in range(2):
        assert "inside memory://" in client.query("dy", ["hard"], "any(hard > 60)").explain().place
        explained = client.query("dy", ["score", "MET_pt"], "score > 100").explain()
        assert "inside memory://" in explained.place
        client.query("dy", ["score"]).count()
        client.query("dy", ["hard"]).to_awkward()
    for columns, cut in ((["hard"], "any(hard > 60)"), (["score", "MET_pt"], "score > 100")):
        query = client.query("dy", columns, cut, execution=execution)
        assert len(query.to_awkward()) > 0
        assert query.report.partitions_pushed == 1


# -- read-only ----------------------------------------------------------------------------------
@pytest.mark.slow
def test_who_may_not_write_into_the_catalog_computes_with_each_query(tmp_path: Path, address: str) -> None:
    """In SQLite and in PostgreSQL."""
    client = make_site(tmp_path, address)
    expected = ak.sum(make_events(EVENTS)["Jet"].pt, axis=1)

    with read_only(client):
        for _ in range(2):
            assert ak.all(client.query("dy", ["ht"]).to_awkward().ht == expected)
            assert client.query("dy", ["ht"]).explain().computes == ("ht",)
        with pytest.raises(AccessDenied, match="is read-only for this user"):
            client.define("dy", {"x": "MET_pt"})

    assert {one.name: one.versions for one in client.definitions("dy")} == dict.fromkeys(DEFINED, ())


@pytest.mark.parametrize("asked", [["score"], ["ht", "score"], ["more"]])
def test_a_function_of_a_read_only_catalog_is_refused_until_somebody_called_it(
    site: Client, client: Client, asked: list[str]
) -> None:
    """Not with a column that is missing: nobody can know its name."""
    with read_only(site):
        with pytest.raises(AccessDenied, match=r"'score' of 'dy' is a function .* read-only .* query it"):
            client.query("dy", asked).to_awkward()
        assert "score" in client.query("dy", asked).explain().computes

    expected = client.query("dy", asked).to_awkward()
    with read_only(site):
        assert ak.array_equal(client.query("dy", asked).to_awkward(), expected)


def test_a_function_whose_values_may_not_be_put_is_refused(
    site: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str, data: object) -> bool:
        raise AccessDenied("the key of this user only reads")

    monkeypatch.setattr(site.store, "put", denied)

    with pytest.raises(AccessDenied, match=r"'score' .* the key of this user only reads"):
        site.query("dy", ["ht", "score"]).to_awkward()
    assert len(site.query("dy", ["ht"]).to_awkward()) == EVENTS
