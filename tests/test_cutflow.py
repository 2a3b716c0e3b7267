"""Cutflows count what a selection made here counts."""

from __future__ import annotations

import json
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyhook_casa.errors import ExpressionError, InvalidRequest
from skyhook_client import Client
from skyhook_client.cutflow import CUTS_MAX, Cutflow

COLUMNS = ["nMuon", "MET_pt", "genWeight", "Muon_pt", "HLT_IsoMu24", "Jet_pt"]
CUTS = ["nMuon >= 2", "MET_pt > 20", "any(Jet_pt > 30)", "HLT_IsoMu24"]


@pytest.fixture(scope="module")
def rows(embedded_client: Client) -> Any:
    return embedded_client.query("dy", COLUMNS).to_awkward()


def masks(rows: Any) -> list[Any]:
    """What CUTS hold of."""
    found = [rows.nMuon >= 2, rows.MET_pt > 20, ak.any(rows.Jet_pt > 30, axis=1), rows.HLT_IsoMu24]
    return [np.asarray(mask) for mask in found]


def test_conditions_are_counted_together_and_alone_in_the_order_given(client: Client, rows: Any) -> None:
    found = client.query("dy").cutflow(CUTS, n_minus_one=True)
    truth = masks(rows)
    assert found.initial.events == len(rows)
    assert [step.cut for step in found.steps] == CUTS
    for i, step in enumerate(found.steps):
        assert step.passed.events == np.sum(np.all(truth[: i + 1], axis=0))
        assert step.alone.events == np.sum(truth[i])
        assert step.others is not None
        assert step.others.events == np.sum(np.all([*truth[:i], *truth[i + 1 :]], axis=0))
    assert found.final == found.steps[-1].passed
    assert found.final.sum_of_weights is None


def test_weights_are_summed_beside_the_counts(client: Client, rows: Any) -> None:
    """Whole numbers as weights, so that the order of the additions does not matter."""
    found = client.query("dy", cut="MET_pt > 5").cutflow(CUTS, weight="round(genWeight)", n_minus_one=True)
    base = np.asarray(rows.MET_pt > 5)
    weights = np.rint(np.asarray(rows.genWeight)).astype(float)
    assert found.initial.events == base.sum()
    assert found.initial.sum_of_weights == weights[base].sum()
    passed = base.copy()
    for step, mask in zip(found.steps, masks(rows), strict=True):
        passed &= mask
        assert step.passed.sum_of_weights == weights[passed].sum()
        assert step.passed.variance == (weights[passed] ** 2).sum()
        assert step.alone.sum_of_weights == weights[base & mask].sum()
        assert step.others is not None
        assert step.others.sum_of_weights is not None


def test_one_run_counts_it_all_and_only_bins_travel(client: Client) -> None:
    query = client.query("dy")
    query.cutflow(CUTS)
    assert query.report.events_in == 1_500


def test_what_is_missing_counts_as_false(client: Client, rows: Any) -> None:
    found = client.query("dy").cutflow(["Muon_tightId[0]", "Muon_pt[0] > 5", "True"], n_minus_one=True)
    lead = ak.fill_none(ak.firsts(rows.Muon_pt) > 5, False)
    assert found.steps[1].alone.events == np.sum(lead)
    assert found.steps[0].passed.events == found.steps[0].alone.events <= found.steps[1].alone.events
    assert found.steps[2].alone.events == len(rows)


def test_a_definition_and_names_of_conditions_may_be_used(client: Client, rows: Any) -> None:
    query = client.query("dy", define={"lead": "max(Muon_pt)", "cutflow_0": "MET_pt"})
    found = query.cutflow({"muon": "lead > 20", "met": "cutflow_0 > 20"})
    assert [step.name for step in found.steps] == ["muon", "met"]
    assert found.steps[1].alone.events == np.sum(rows.MET_pt > 20)


def test_it_reads_well_and_travels_as_json(client: Client) -> None:
    found = client.query("dy").cutflow(CUTS, weight="genWeight", n_minus_one=True)
    lines = str(found).splitlines()
    assert lines[0].split() == ["cut", "events", "of", "all", "of", "before", "alone", "others", "weighted"]
    assert lines[1].split()[:3] == ["all", "1,500", "100.00%"]
    assert len(lines) == 2 + len(CUTS)
    assert len({len(line) for line in lines[2:]}) == 1
    assert "nMuon &gt;= 2" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))["steps"][1]["cut"] == CUTS[1]


def test_no_events_have_no_share(client: Client) -> None:
    found = client.query("dy", cut="MET_pt < 0").cutflow(["nMuon > 1"])
    assert found.final.events == 0
    assert "–" in str(found)


@pytest.mark.parametrize(
    ("cuts", "options", "message"),
    [
        ([], {}, "0 conditions; 1 to"),
        (["nMuon > 1"] * (CUTS_MAX + 1), {}, "conditions; 1 to"),
        (["nMuon > 1", "nMuon > 1"], {}, "twice"),
        ("nMuon > 1", {}, "a list of conditions"),
        ([3], {}, "a text is needed"),
        (["Muon_pt > 3"], {}, "'Muon_pt > 3' has a truth value per element"),
        (["nMuon > 1"], {"weight": "Muon_pt"}, "one per event is needed"),
    ],
)
def test_wrong_conditions_are_refused(
    client: Client, cuts: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        client.query("dy").cutflow(cuts, **options)


def test_as_many_conditions_as_allowed_are_counted(embedded_client: Client) -> None:
    found = embedded_client.query("dy").cutflow([f"MET_pt > {i}" for i in range(CUTS_MAX)], "genWeight")
    passed = [step.passed.events for step in found.steps]
    assert passed == [step.alone.events for step in found.steps] == sorted(passed, reverse=True)


def test_a_number_is_no_condition_and_the_place_is_shown(client: Client) -> None:
    with pytest.raises(ExpressionError, match="true or false"):
        client.query("dy").cutflow(["nMuon + 1"])
    with pytest.raises(ExpressionError, match=r"nMuonn(.|\n)*\^"):
        client.query("dy").cutflow(["nMuonn > 1"])


THRESHOLDS = {"MET_pt": st.integers(0, 60), "nMuon": st.integers(0, 4), "genWeight": st.integers(-1, 1)}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_conditions_count_as_masks_do(embedded_client: Client, rows: Any, data: st.DataObject) -> None:
    drawn = data.draw(
        st.lists(
            st.sampled_from(list(THRESHOLDS)).flatmap(lambda n: st.tuples(st.just(n), THRESHOLDS[n])),
            min_size=1,
            max_size=6,
            unique=True,
        )
    )
    found: Cutflow = embedded_client.query("dy").cutflow([f"{n} > {x}" for n, x in drawn], n_minus_one=True)
    truth = [np.asarray(rows[name] > x) for name, x in drawn]
    for i, step in enumerate(found.steps):
        assert step.passed.events == np.sum(np.all(truth[: i + 1], axis=0))
        assert step.alone.events == np.sum(truth[i])
        others = [*truth[:i], *truth[i + 1 :], np.ones(len(rows), bool)]
        assert step.others is not None
        assert step.others.events == np.sum(np.all(others, axis=0))
