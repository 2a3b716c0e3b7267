"""Categories, regions, variations and several histograms in one pass equal those filled here."""

from __future__ import annotations

from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyhook_casa.errors import ExpressionError, InvalidRequest
from skyhook_client import Client, Query

MET = hist.axis.Regular(20, 0, 80, name="MET_pt")
PT = hist.axis.Variable([15, 20, 30, 50, 90], name="Jet_pt")
COLUMNS = [
    "MET_pt",
    "MET_phi",
    "genWeight",
    "nMuon",
    "Jet_pt",
    "Jet_eta",
    "Jet_jetId",
    "Muon_pt",
    "HLT_IsoMu24",
]
CUT = "MET_pt > 5"


@pytest.fixture(scope="module")
def rows(embedded_client: Client) -> Any:
    """The events of the cut, to fill histograms from."""
    return embedded_client.query("dy", COLUMNS, CUT).to_awkward()


@pytest.fixture
def query(client: Client) -> Query:
    return client.query("dy", ["MET_pt"], CUT)


def filled(*axes: Any, values: list[Any], weight: Any = None) -> hist.Hist[Any]:
    storage = hist.storage.Int64() if weight is None else hist.storage.Weight()
    made: hist.Hist[Any] = hist.Hist(*axes, storage=storage)
    return made.fill(*map(np.asarray, values), **({} if weight is None else {"weight": np.asarray(weight)}))


def flat(*values: Any) -> list[Any]:
    """Values of every jet, those per event repeated."""
    return [ak.flatten(x) if x.ndim > 1 else x for x in map(ak.flatten, ak.broadcast_arrays(*values))]


def assert_same(found: hist.Hist[Any], expected: hist.Hist[Any]) -> None:
    assert found.axes == expected.axes
    np.testing.assert_array_equal(found.values(flow=True), expected.values(flow=True))
    if expected.variances() is not None and expected.kind == found.kind:
        np.testing.assert_array_equal(found.variances(flow=True), expected.variances(flow=True))


# -- kinds of axes ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "axis",
    [
        hist.axis.Integer(0, 3, name="nMuon"),
        hist.axis.Integer(1, 3, name="nMuon", flow=False),
        hist.axis.Integer(0, 49, name="nMuon"),
        hist.axis.IntCategory([2, 0], name="nMuon"),
        hist.axis.IntCategory([2, 4, 1], name="nMuon", overflow=False),
        hist.axis.IntCategory([7], name="nMuon"),
        hist.axis.Boolean(name="HLT_IsoMu24"),
        hist.axis.Regular(5, 10, 60, name="MET_pt", flow=False),
        hist.axis.Regular(5, 10, 60, name="MET_pt", overflow=False),
        hist.axis.Variable([10, 20, 60], name="MET_pt", underflow=False),
    ],
    ids=str,
)
def test_every_kind_of_axis_counts_as_hist_does(query: Query, rows: Any, axis: Any) -> None:
    """Alone, and beside another axis, where what has no bin drops the whole entry."""
    assert_same(query.hist(axis), filled(axis, values=[rows[axis.name]]))
    other = hist.axis.Regular(4, -2, 2, name="MET_phi", underflow=False)
    assert_same(query.hist(other, axis), filled(other, axis, values=[rows.MET_phi, rows[axis.name]]))


def test_whole_numbers_never_miss_their_bin_by_rounding(client: Client) -> None:
    """1/49 · 49 is below 1: a bin computed from the edges would be the one below."""
    axis = hist.axis.Integer(0, 49, name="place")
    query = client.query("dy", define={"place": "local_index(GenPart)"})
    places = ak.flatten(query.to_awkward().place)
    assert_same(query.hist(axis), filled(axis, values=[places]))


# -- category -----------------------------------------------------------------------------------
def test_a_category_has_the_values_there_are(query: Query, rows: Any) -> None:
    found = query.hist(MET, category="nMuon")
    axis = hist.axis.IntCategory(sorted(set(rows.nMuon.tolist())), name="nMuon", label="nMuon", growth=True)
    assert_same(found, filled(axis, MET, values=[rows.nMuon, rows.MET_pt]))


def test_a_category_may_be_a_truth_value_or_an_axis(query: Query, rows: Any) -> None:
    found = query.hist(MET, category="nMuon >= 2")
    assert found.axes.name == ("category", "MET_pt")
    for value in (0, 1):
        chosen = rows.MET_pt[(rows.nMuon >= 2) == value]
        assert_same(found[hist.loc(value), :], filled(MET, values=[chosen]))
    axis = hist.axis.Integer(0, 2, name="nMuon")
    assert_same(query.hist(MET, category=axis), filled(axis, MET, values=[rows.nMuon, rows.MET_pt]))


def test_a_category_may_be_one_per_element(query: Query, rows: Any) -> None:
    found = query.hist(PT, category="Jet_jetId")
    assert [int(v) for v in found.axes[0]] == sorted(set(ak.flatten(rows.Jet_jetId).tolist()))
    assert found.sum(flow=True) == ak.count(rows.Jet_pt)


def test_a_category_with_far_values_asks_for_their_names(query: Query) -> None:
    with pytest.raises(InvalidRequest, match=r"'event \* 10' has values beyond -2048 to 2047.*IntCategory"):
        query.hist(MET, category="event * 10")
    named = query.hist(MET, category=hist.axis.IntCategory([30], name="event"))
    assert named.axes[0].size == 1


def test_a_category_of_fractions_is_refused(query: Query) -> None:
    with pytest.raises(InvalidRequest, match="'MET_phi' is float32"):
        query.hist(MET, category="MET_phi")


# -- regions ------------------------------------------------------------------------------------
REGIONS = {"all": "True", "two": "nMuon >= 2", "soft": "MET_pt < 20"}


def test_an_entry_fills_each_region_that_it_lies_in(query: Query, rows: Any) -> None:
    found = query.hist(MET, category=REGIONS)
    assert list(found.axes[0]) == list(REGIONS)
    assert_same(found["all", :], filled(MET, values=[rows.MET_pt]))
    assert_same(found["two", :], filled(MET, values=[rows.MET_pt[rows.nMuon >= 2]]))
    assert_same(found["soft", :], filled(MET, values=[rows.MET_pt[rows.MET_pt < 20]]))


def test_regions_may_be_of_elements(query: Query, rows: Any) -> None:
    found = query.hist(MET, PT, category={"central": "abs(Jet_eta) < 1", "two": "nMuon >= 2"})
    met, pt, eta, muons = flat(rows.MET_pt, rows.Jet_pt, rows.Jet_eta, rows.nMuon)
    central = abs(eta) < 1
    assert_same(found["central", :, :], filled(MET, PT, values=[met[central], pt[central]]))
    assert_same(found["two", :, :], filled(MET, PT, values=[met[muons >= 2], pt[muons >= 2]]))


def test_a_wrong_region_shows_the_place(query: Query) -> None:
    with pytest.raises(ExpressionError, match=r"MET_ptt(.|\n)*\^"):
        query.hist(MET, category={"a": "MET_ptt > 3"})


# -- variations ---------------------------------------------------------------------------------
def test_several_weights_make_an_axis(query: Query, rows: Any) -> None:
    """Powers of two as factors, so that all sums are exact."""
    found = query.hist(MET, weight={"nominal": "genWeight", "up": "genWeight * 2"})
    assert list(found.axes[0]) == ["nominal", "up"]
    for name, factor in (("nominal", 1), ("up", 2)):
        assert_same(found[name, :], filled(MET, values=[rows.MET_pt], weight=factor * rows.genWeight))
    listed = query.hist(MET, weight=["genWeight", "genWeight * 2"])
    np.testing.assert_array_equal(listed.values(flow=True), found.values(flow=True))
    assert list(listed.axes[0]) == ["genWeight", "genWeight * 2"]


def test_regions_and_variations_go_together(query: Query, rows: Any) -> None:
    found = query.hist(MET, category=REGIONS, weight={"w": "genWeight", "one": "1"})
    assert found.axes.name == ("region", "variation", "MET_pt")
    two = rows[rows.nMuon >= 2]
    assert_same(found["two", "w", :], filled(MET, values=[two.MET_pt], weight=two.genWeight))
    one = filled(MET, values=[two.MET_pt], weight=np.ones(len(two)))
    assert_same(found["two", "one", :], one)


# -- several ------------------------------------------------------------------------------------
def test_several_histograms_are_filled_in_one_run(query: Query, rows: Any) -> None:
    muon = hist.axis.Regular(10, 0, 60, name="Muon_pt")
    found = query.hists({"met": MET, "pt": [MET, PT], "muon": {"axes": muon, "category": REGIONS}})
    assert list(found) == ["met", "pt", "muon"]
    assert_same(found["met"], query.hist(MET))
    assert_same(found["pt"], query.hist(MET, PT))
    assert_same(found["muon"], query.hist(muon, category=REGIONS))
    assert query.report.events_in == 1_500


def test_a_list_of_histograms_shares_arguments(query: Query) -> None:
    first, second = query.hists(["MET_pt", {"axes": "MET_phi", "range": (-4, 4)}], bins=5, range=(0, 50))
    assert first.axes[0].edges[-1] == 50
    assert second.axes[0].edges[-1] == 4
    assert first.sum(flow=True) == second.sum(flow=True) == query.count()
    assert query.hists([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"category": {}}, "category is {}"),
        ({"category": {"a": 3}}, "a name and a text are needed"),
        ({"weight": []}, "weight is {}"),
        ({"weight": {"a": None}}, "a name and a text are needed"),
        ({"category": hist.axis.StrCategory(["a"], name="x")}, "cannot be filled"),
    ],
)
def test_wrong_arguments_are_refused(query: Query, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        query.hist(MET, **options)


def test_wrong_descriptions_of_several_are_refused(query: Query) -> None:
    with pytest.raises(InvalidRequest, match="bim"):
        query.hists({"met": {"axes": MET, "bim": 3}})
    with pytest.raises(InvalidRequest, match="no axes"):
        query.hists([{"bins": 3}])


# -- missing values -----------------------------------------------------------------------------
def test_missing_values_and_weights_fill_nothing(query: Query, rows: Any) -> None:
    axis = hist.axis.Regular(8, 0, 80, name="lead")
    asked = query.question.asking(query.value)
    assert asked.outputs
    with_lead = Query(query.question, False)
    lead = ak.firsts(rows.Jet_pt)
    there = ~ak.is_none(lead)
    expected = filled(axis, values=[lead[there]])
    found = with_lead.hist("Jet_pt[0]", bins=8, range=(0, 80))
    np.testing.assert_array_equal(found.values(flow=True), expected.values(flow=True))
    found = with_lead.hist(MET, weight="round(Jet_pt[0])")
    assert_same(found, filled(MET, values=[rows.MET_pt[there]], weight=np.rint(lead[there])))


# -- anything -----------------------------------------------------------------------------------
NAMES = {
    "MET_pt": (-10, 90),
    "MET_phi": (-4, 4),
    "nMuon": (0, 4),
    "Jet_pt": (0, 100),
    "Jet_eta": (-5, 5),
    "Jet_jetId": (0, 8),
}


@st.composite
def axes(draw: st.DrawFn, name: str) -> Any:
    low, high = NAMES[name]
    flow = {"underflow": draw(st.booleans()), "overflow": draw(st.booleans())}
    kinds = ["regular", "variable"] + ["integer", "category"] * (name in ("nMuon", "Jet_jetId"))
    kind = draw(st.sampled_from(kinds))
    if kind == "regular":
        edges = sorted(draw(st.lists(st.floats(low, high), min_size=2, max_size=2, unique=True)))
        return hist.axis.Regular(draw(st.integers(1, 60)), *edges, name=name, **flow)
    if kind == "variable":
        edges = draw(st.lists(st.floats(low, high, width=32), min_size=2, max_size=9, unique=True))
        return hist.axis.Variable(sorted(edges), name=name, **flow)
    if kind == "integer":
        first = draw(st.integers(-1, 4))
        return hist.axis.Integer(first, first + draw(st.integers(1, 50)), name=name, **flow)
    values = draw(st.lists(st.integers(-2, 9), min_size=1, max_size=6, unique=True))
    return hist.axis.IntCategory(values, name=name, overflow=flow["overflow"])


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_axes_count_as_hist_does(embedded_client: Client, rows: Any, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(list(NAMES)), min_size=1, max_size=3, unique=True))
    wanted = [data.draw(axes(name)) for name in names]
    weight = data.draw(st.sampled_from([None, "round(MET_pt)"]))

    found = embedded_client.query("dy", ["MET_pt"], CUT).hist(*wanted, weight=weight)

    jagged = any(name.startswith("Jet") for name in names)
    values = [rows[name] for name in names] + ([np.rint(rows.MET_pt)] if weight else [])
    like = [rows.Jet_pt] if jagged else []
    values = flat(*values, *like)[: len(values)] if jagged else values
    assert_same(found, filled(*wanted, values=values[: len(names)], weight=values[-1] if weight else None))
