"""Histograms filled in a scan equal those filled here, bin by bin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from service_fixture import ANSWERERS, answered

import skyhook_client
from skyhook_casa import _engine, worker
from skyhook_casa.errors import ExpressionError, InvalidRequest, ResourceExhausted
from skyhook_casa.histogram import (
    AXES_MAX,
    BINS_MAX,
    HISTOGRAMS_MAX,
    Histogram,
    HistogramAxis,
    encode_histograms,
)
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.stores import MemoryStore
from skyhook_client.histograms import check_hist

CUT = "nMuon >= 1 and MET_pt > 5"
MET = hist.axis.Regular(40, 0, 80, name="MET_pt")
JET = hist.axis.Variable([15, 20, 30, 50, 90], name="Jet_pt")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> skyhook_client.Client:
    path = tmp_path_factory.mktemp("histogram") / "nano.root"
    make_nanoaod(path, 3000, seed=6)
    client = skyhook_client.connect(MemoryStore(runs_class=True), threads=2, progress=False)
    client.ingest("dy", [path], ["MET_*", "Muon_*", "Jet_*"], partition_bytes=65_536, chunk_events=400)
    return client


@pytest.fixture(scope="module", params=ANSWERERS)
def client(request: pytest.FixtureRequest, stored: skyhook_client.Client) -> Iterator[skyhook_client.Client]:
    with answered(request.param, stored) as client:
        yield client


@pytest.fixture(params=["pushdown", "read"])
def query(request: pytest.FixtureRequest, client: skyhook_client.Client) -> skyhook_client.Query:
    return client.query("dy", ["MET_pt", "MET_phi", "Jet_pt", "Jet_eta"], CUT, execution=request.param)


def assert_same(found: hist.Hist[Any], expected: hist.Hist[Any]) -> None:
    assert found.axes == expected.axes
    np.testing.assert_array_equal(found.values(flow=True), expected.values(flow=True))
    if expected.variances() is not None:
        np.testing.assert_array_equal(found.variances(flow=True), expected.variances(flow=True))


def test_counts_equal_those_filled_here(query: skyhook_client.Query) -> None:
    expected = hist.Hist(MET, storage=hist.storage.Int64()).fill(query.to_awkward().MET_pt)
    assert_same(query.hist(MET), expected)


def test_a_name_with_bins_and_range_is_enough(query: skyhook_client.Query) -> None:
    found = query.hist("MET_pt", bins=40, range=(0, 80))
    np.testing.assert_array_equal(found.values(flow=True), query.hist(MET).values(flow=True))


def test_jagged_values_fill_once_each(query: skyhook_client.Query) -> None:
    expected = hist.Hist(JET, storage=hist.storage.Int64()).fill(ak.flatten(query.to_awkward().Jet_pt))
    assert_same(query.hist(JET), expected)


def test_values_per_event_go_with_every_element(query: skyhook_client.Query) -> None:
    events = query.to_awkward()
    met = ak.flatten(ak.broadcast_arrays(events.MET_pt, events.Jet_pt)[0])
    expected = hist.Hist(MET, JET, storage=hist.storage.Int64()).fill(met, ak.flatten(events.Jet_pt))
    assert_same(query.hist(MET, JET), expected)


def test_weights_give_sums_and_variances(query: skyhook_client.Query) -> None:
    """Whole numbers as weights, so that the order of the additions does not matter."""
    weights = np.floor(np.asarray(query.to_awkward().MET_phi))
    expected = hist.Hist(MET, storage=hist.storage.Weight()).fill(query.to_awkward().MET_pt, weight=weights)
    assert_same(query.hist(MET, weight="floor(MET_phi)"), expected)


def test_an_expression_is_an_axis(query: skyhook_client.Query) -> None:
    found = query.hist("max(Jet_pt)", bins=10, range=(0, 200))
    largest = ak.drop_none(ak.max(query.to_awkward().Jet_pt, axis=1))
    assert found.sum(flow=True) == len(largest)


def test_edges_nan_and_infinities_fall_where_hist_puts_them(tmp_path: Path) -> None:
    """The value at each edge, next to it on both sides, and what lies outside."""
    axis = hist.axis.Regular(7, -1, 1.1, name="x")
    near = [np.nextafter(e, to) for e in axis.edges for to in (-np.inf, np.inf)]
    values = np.array([*axis.edges, *near, np.nan, np.inf, -np.inf, -0.0, 1e308])
    expected = hist.Hist(axis, storage=hist.storage.Int64()).fill(values)

    import uproot

    with uproot.recreate(tmp_path / "x.root") as file:
        file["Events"] = {"x": values}
    client = skyhook_client.connect(tmp_path / "store")
    client.ingest("x", [tmp_path / "x.root"])

    assert_same(client.query("x").hist(axis), expected)
    variable = hist.axis.Variable(axis.edges, name="x")
    expected = hist.Hist(variable, storage=hist.storage.Int64()).fill(values)
    assert_same(client.query("x").hist(variable), expected)


def test_only_bins_travel(client: skyhook_client.Client) -> None:
    query = client.query("dy", execution="pushdown")
    query.hist(MET)
    assert query.report.bytes_moved < 1000 * query.report.partitions_done
    assert query.report.partitions_pushed == query.report.partitions_done


def test_tiny_answers_add_up(client: skyhook_client.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ANSWER_BYTES", 1)
    here, there = (client.query("dy", execution=execution) for execution in ("read", "pushdown"))
    assert_same(there.hist(JET), here.hist(JET))


@pytest.mark.parametrize(
    ("axes", "options", "message"),
    [
        ((), {}, "needs an axis"),
        (("MET_pt",), {}, "needs bins= and range="),
        (("MET_pt",), {"bins": 0, "range": (0, 1)}, "are no bins"),
        (("MET_pt",), {"bins": 3, "range": (1, 1)}, "are no bins"),
        ((hist.axis.Regular(3, 0, 1),), {}, "has no name"),
        ((hist.axis.Regular(3, 0, 1, name="MET_pt", circular=True),), {}, "cannot be filled"),
        ((hist.axis.Regular(3, 1, 2, name="MET_pt", transform=hist.axis.transform.log),), {}, "transform"),
        ((hist.axis.Regular(3, 0, 1, name="MET_pt", growth=True),), {}, "cannot be filled"),
        ((hist.axis.Integer(0, 3, name="nJet", circular=True),), {}, "cannot be filled"),
        ((hist.axis.StrCategory(["a"], name="nJet"),), {}, "cannot be filled"),
        ((hist.axis.Integer(0, 3, name="MET_pt"),), {}, "whole numbers"),
        ((hist.axis.IntCategory([1], name="MET_pt"),), {}, "whole numbers"),
        ((hist.axis.Boolean(name="nJet"),), {}, "true or false"),
        (("Jet_pt", "Muon_pt"), {"bins": 3, "range": (0, 1)}, "different lists"),
    ],
)
def test_wrong_axes_are_refused(
    client: skyhook_client.Client, axes: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        client.query("dy").hist(*axes, **options)


def test_a_wrong_expression_shows_the_place(client: skyhook_client.Client) -> None:
    with pytest.raises(ExpressionError, match=r"\^"):
        client.query("dy").hist("MET_pt +", bins=3, range=(0, 1))


@pytest.mark.parametrize(
    ("axis", "options", "shown"),
    [
        ("max(Jet_ptt)", {}, "    max(Jet_ptt)\n        ^^^^^^^"),
        ("Muon", {}, "    Muon\n    ^^^^"),
        ("MET_pt", {"weight": "genWt"}, "    genWt\n    ^^^^^"),
        ("Jet", {"category": {"a": "nMuon > 3"}}, "    mask(Jet, nMuon > 3)\n    ^^^^"),
        ("nowhere", {"category": {"a": "Muon_ptt > 3"}}, "nowhere"),
    ],
)
def test_errors_show_what_was_written_and_no_names_made_of_it(
    client: skyhook_client.Client, axis: str, options: dict[str, Any], shown: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        client.query("dy").hist(axis, bins=3, range=(0, 1), **options)
    assert shown in str(caught.value)
    assert "hist_value" not in str(caught.value)


def test_lists_that_do_not_go_together_are_named(client: skyhook_client.Client) -> None:
    with pytest.raises(InvalidRequest, match=r"'Jet_pt \* 2' and 'Muon_pt', .* different lists"):
        client.query("dy").hist("Jet_pt * 2", bins=3, range=(0, 1), weight="Muon_pt")


def test_limits_hold_at_the_limit_and_one_past_it() -> None:
    def axis(bins: int) -> HistogramAxis:
        return HistogramAxis(0, (0.0, 1.0), bins)

    most = Histogram((axis(BINS_MAX - 2),))
    assert (
        len(_engine.Result(["float32"], [-1], False, encode_histograms([most])).histogram(0)[0]) == BINS_MAX
    )
    with pytest.raises(InvalidRequest, match="are allowed"):
        Histogram((axis(BINS_MAX - 1),))
    with pytest.raises(ResourceExhausted, match="in all"):
        _engine.Result(
            ["float32"], [-1], False, encode_histograms([most]) + encode_histograms([Histogram((axis(1),))])
        )
    with pytest.raises(InvalidRequest, match="in all"):
        encode_histograms([most, Histogram((axis(1),))])
    assert encode_histograms([Histogram((axis(1),))] * HISTOGRAMS_MAX)
    with pytest.raises(InvalidRequest, match="256 are allowed"):
        encode_histograms([Histogram((axis(1),))] * (HISTOGRAMS_MAX + 1))
    Histogram((axis(1),) * AXES_MAX)
    with pytest.raises(InvalidRequest, match="axes"):
        Histogram((axis(1),) * (AXES_MAX + 1))


def test_every_changed_byte_of_a_description_is_refused_or_harmless() -> None:
    described = encode_histograms([Histogram((HistogramAxis(0, (0.0, 1.0), 4),), weight=1)])
    for place in range(len(described)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(described)
            changed[place] ^= mask
            try:
                _engine.Result(["float32", "float32"], [-1, -1], False, bytes(changed))
            except (InvalidRequest, ResourceExhausted):
                continue


def test_without_the_package_of_histograms_one_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "hist", None)

    with pytest.raises(InvalidRequest, match=r"pip install 'skyhook_casa\[plot\]'"):
        check_hist()
