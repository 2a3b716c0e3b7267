"""A plan resolves names, compiles one program for each layout, and reads no more than it must."""

from __future__ import annotations

from typing import Any

import pytest

from skyhook_casa.catalog import Catalog, FileInfo, NewPartition, ObjectInfo
from skyhook_casa.errors import ExpressionError, InvalidRequest, MissingColumn, NotFound
from skyhook_casa.plan import Plan, plan
from skyhook_casa.query import Query
from skyhook_casa.schema import Column, ListInfo, Schema

COLUMNS = [
    Column("run", "uint32"),
    Column("nMuon", "uint32", counts="Muon"),
    Column("Muon_pt", "float32", "Muon", title="transverse momentum"),
    Column("Muon_jetIdx", "int16", "Muon"),
    Column("nJet", "uint32", counts="Jet"),
    Column("Jet_pt", "float32", "Jet"),
    Column("Jet_muonIdx1", "int16", "Jet"),
    Column("Jet_id", "int32", "Jet"),
    Column("MET_pt", "float32"),
    Column("MET_phi", "float32"),
    Column("HLT_mu", "bool"),
    Column("weights", "float32", "weights"),
]
LISTS = [
    ListInfo("Muon", "nMuon", True),
    ListInfo("Jet", "nJet", True),
    ListInfo("weights", "nweights", False),
]
SCHEMA = Schema({column.name: column for column in COLUMNS}, {info.name: info for info in LISTS})
PHYSICAL = ["Muon#", "Jet#", "weights#", *(column.name for column in COLUMNS if column.counts is None)]
OLD = [name for name in PHYSICAL if not name.startswith(("Jet", "HLT")) and name != "MET_phi"]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """Dataset `dy`: a file with every column, and an old one without jets, MET_phi and HLT_mu."""
    catalog = Catalog("memory://")
    parts = []
    for number, (path, physical) in enumerate([("new.root", PHYSICAL), ("old.root", OLD)]):
        stored = ObjectInfo(f"{number:064x}", 1000, 100, 900, catalog.add_layout(physical))
        parts.append(NewPartition(10, stored, FileInfo(path, path, "Events", 10, 100), 0, 10))
    catalog.commit_version("dy", SCHEMA, parts)
    return catalog


def planned(catalog: Catalog, columns: Any = None, cut: str | None = None, **options: Any) -> Plan:
    return plan(catalog, Query.make("dy", columns, cut, **options))


def names(plan: Plan) -> list[str]:
    return [output.name for output in plan.outputs]


def programs(plan: Plan) -> list[bytes]:
    return [plan.program(part.object.layout_id) for part in plan.partitions]


# -- names --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["MET_pt", "Muon_pt"], ["MET_pt", "Muon_pt"]),
        (["MET.pt"], ["MET_pt"]),
        (["Muon.pt"], ["Muon_pt"]),
        ("Muon_*", ["Muon_pt", "Muon_jetIdx"]),
        ("Muon.*", ["Muon_pt", "Muon_jetIdx"]),
        ("Muon", ["Muon_pt", "Muon_jetIdx"]),
        ("M*_pt,M*", ["Muon_pt", "MET_pt", "Muon_jetIdx", "MET_phi"]),
        ("n*", ["nMuon", "nJet"]),
        ("weights", ["weights"]),
        ("MET_pt,MET_pt,MET.pt,MET_*", ["MET_pt", "MET_phi"]),
        (None, [column.name for column in COLUMNS]),
    ],
)
def test_names_globs_and_collections_are_understood(
    catalog: Catalog, columns: Any, expected: list[str]
) -> None:
    """In the order asked for, globs in file order, each column once."""
    assert names(planned(catalog, columns)) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("Muon_ptt", "no column 'Muon_ptt'; did you mean 'Muon_pt'"),
        ("Muon.ptt", "did you mean 'Muon_pt'"),
        ("Tau_*", r"no column of dataset 'dy' matches 'Tau_\*'"),
        ("MET", r"no column 'MET'; 'MET_\*' asks for the columns that start so"),
    ],
)
def test_an_unknown_column_gets_near_matches(catalog: Catalog, columns: str, message: str) -> None:
    """The error comes with the question, not with the run."""
    with pytest.raises(NotFound, match=message):
        planned(catalog, columns)


def test_an_unknown_dataset_gets_near_matches(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match="no dataset 'dyy'; did you mean 'dy'"):
        plan(catalog, Query.make("dyy"))


def test_a_query_of_few_columns_looks_up_few(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning must not grow with the columns that a dataset has."""

    def never(*_: object) -> None:
        raise AssertionError("all columns were asked for")

    monkeypatch.setattr(Catalog, "columns", never)
    monkeypatch.setattr(Catalog, "column_names", never)
    monkeypatch.setattr(Catalog, "schema", never)

    chosen = planned(catalog, ["Muon_pt", "m"], "nMuon > 1 and MET_pt > 3", define={"m": "max(Muon_pt)"})

    assert set(chosen.reads) == {"MET_pt", "Muon#", "Muon_pt"}


# -- what is delivered --------------------------------------------------------------------------
def test_columns_of_one_collection_share_an_axis(catalog: Catalog) -> None:
    """So they share one array of offsets."""
    muon, index, jet, weights, met = planned(
        catalog, ["Muon_pt", "Muon_jetIdx", "Jet_pt", "weights", "MET_pt"]
    ).outputs
    assert muon.axis == index.axis
    assert len({muon.axis, jet.axis, weights.axis}) == 3
    assert met.axis is None
    assert (muon.list, muon.field, muon.collection) == ("Muon", "pt", True)
    assert (weights.list, weights.field, weights.collection) == ("weights", "weights", False)


def test_derived_columns_have_the_type_of_their_expression(catalog: Catalog) -> None:
    """Only those that can miss elements are optional."""
    define = {"lead": "Muon_pt[0]", "Muon_double": "Muon_pt * 2", "ht": "sum(Jet_pt)", "one": "1"}
    lead, double, ht, one = planned(catalog, list(define), define=define).outputs
    assert (lead.dtype, lead.axis, lead.optional) == ("float32", None, True)
    assert (double.dtype, double.list, double.collection, double.optional) == ("float32", "Muon", True, False)
    assert (ht.dtype, ht.axis, ht.optional) == ("float32", None, False)
    assert (one.dtype, one.axis) == ("int64", None)


def test_all_columns_include_derived_values_but_no_records(catalog: Catalog) -> None:
    """A record is only there for other definitions."""
    chosen = planned(catalog, define={"pair": "combinations(Jet, 2)", "ht": "sum(Jet_pt)"})
    assert names(chosen) == [*(column.name for column in COLUMNS), "ht"]


def test_globs_find_derived_columns(catalog: Catalog) -> None:
    assert names(planned(catalog, "Muon_*", define={"Muon_x": "Muon_pt * 2"}))[-1] == "Muon_x"


@pytest.mark.parametrize("name", ["MET_pt", "Muon"])
def test_a_definition_cannot_take_a_stored_name(catalog: Catalog, name: str) -> None:
    """Which of the two would a cut mean?"""
    with pytest.raises(InvalidRequest, match="has already"):
        planned(catalog, "run", define={name: "1"})


def test_a_definition_needs_an_identifier(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest, match="'2x'; letters, digits"):
        planned(catalog, "run", define={"2x": "1"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cut": "MET_pt >"}, r"MET_pt >\n +\^"),
        ({"cut": "Muon_pt > 3"}, "one truth value per event"),
        ({"define": {"x": "MET_pt +"}}, "ends too early"),
        ({"objects": {"Jet": "pt >"}}, "ends too early"),
    ],
)
def test_a_mistake_in_an_expression_is_shown(catalog: Catalog, options: dict[str, Any], message: str) -> None:
    """When the query is made, with carets under the place."""
    with pytest.raises(ExpressionError, match=message):
        planned(catalog, **options)


def test_an_unknown_collection_to_thin_gets_near_matches(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match="no collection 'Jets'; did you mean 'Jet'"):
        planned(catalog, "run", objects={"Jets": "pt > 3"})


def test_terms_are_ordered_by_cost_with_their_texts(catalog: Catalog) -> None:
    """The cheap condition goes first, whatever the order written."""
    chosen = planned(catalog, "run", "any(Muon_pt > 20) and MET_pt > 40")
    assert chosen.terms == ["MET_pt > 40", "any(Muon_pt > 20)"]


def test_indices_into_a_thinned_collection_are_remapped(catalog: Catalog) -> None:
    """Those into others are not."""
    chosen = planned(catalog, ["Muon_jetIdx", "Jet_muonIdx1", "Jet_id"], objects={"Jet": "pt > 30"})
    builder = chosen._compiled.builder
    ops = [builder.nodes[node].op for node in chosen._compiled.nodes]
    assert ops == ["remap", "take", "take"]


def test_a_narrowed_plan_reads_less(catalog: Catalog) -> None:
    """Counting reads what the cut needs, nothing else."""
    chosen = planned(catalog, ["Muon_pt", "run"], "MET_pt > 3")
    assert chosen.only([]).reads == ["MET_pt"]
    assert chosen.only(["run"]).reads == ["MET_pt", "run"]
    assert set(chosen.reads) == {"MET_pt", "Muon#", "Muon_pt", "run"}


# -- files that lack columns ----------------------------------------------------------------------
def test_each_layout_has_its_own_program(catalog: Catalog) -> None:
    """Columns stand at different places of the objects' directories."""
    chosen = planned(catalog, ["MET_pt"])
    first, second = programs(chosen)
    assert first != second


def test_an_absent_bool_is_false(catalog: Catalog) -> None:
    """A trigger that was not there did not fire."""
    assert len(programs(planned(catalog, ["HLT_mu"], "HLT_mu or MET_pt > 3"))) == 2


@pytest.mark.parametrize(
    ("columns", "cut"),
    [("MET_phi", None), ("run", "MET_phi > 0"), ("Jet_pt", None), ("nJet", None), ("run", "nJet > 1")],
)
def test_an_absent_column_is_named_with_its_files(catalog: Catalog, columns: str, cut: str | None) -> None:
    """The error says what to do about it."""
    chosen = planned(catalog, columns, cut)
    name = (
        "MET_phi" if "MET_phi" in f"{columns}{cut}" else "nJet" if "nJet" in f"{columns}{cut}" else "Jet_pt"
    )
    with pytest.raises(MissingColumn, match=rf'{name} is not in old.root. Give .*fill={{"{name}": 0}}'):
        programs(chosen)


def test_a_fill_value_stands_in_for_an_absent_column(catalog: Catalog) -> None:
    chosen = planned(catalog, "MET_phi,Jet_pt,nJet", fill={"MET_phi": -9.5, "Jet_pt": 0, "nJet": 0})
    assert len(programs(chosen)) == 2


def test_many_missing_columns_are_not_all_named(catalog: Catalog) -> None:
    """Five are enough to understand."""
    define = {f"x{n}": f"Jet_pt * {n}" for n in range(3)}
    with pytest.raises(MissingColumn, match=r"MET_phi is not in old.root; Jet_pt is not in old.root"):
        programs(planned(catalog, ["MET_phi", *define], define=define))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        ({"HLT_mu": 2}, "the column holds bool"),
        ({"Jet_id": 0.5}, "the column holds int32"),
        ({"Jet_id": 2**31}, "the column holds int32"),
        ({"nJet": 1}, "a list that is not there has length 0"),
    ],
)
def test_a_fill_value_must_fit_the_column(catalog: Catalog, fill: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        planned(catalog, "run", fill=fill)


def test_the_largest_fill_value_fits(catalog: Catalog) -> None:
    planned(catalog, "run", fill={"Jet_id": 2**31 - 1, "MET_pt": float("inf"), "HLT_mu": True})


def test_a_fill_value_for_an_unknown_column_gets_near_matches(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match=r"fill names 'MET_ph'.*did you mean 'MET_ph"):
        planned(catalog, "run", fill={"MET_ph": 0})


def test_a_plan_is_pinned_to_the_version_it_was_made_for(catalog: Catalog) -> None:
    """A later ingest does not change what a query answers."""
    assert planned(catalog, "run").query.version == 1
