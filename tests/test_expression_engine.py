"""The engine against awkward: random tables, random expressions of the whole language."""

from __future__ import annotations

import warnings
from typing import Any

import awkward as ak
import numpy as np
import pytest
from expression_strategies import REDUCTIONS, Table, cuts_of, tables, values_of
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from reference import as_column, evaluate

from skyhook_casa.errors import ExpressionError
from skyhook_casa.object_format import EncodedObject
from skyhook_casa.schema import Column, ListInfo, Schema

pytest.importorskip("skyhook_casa._engine")
from engine_runs import assert_same, flattened, run, written

FUNCTIONS = (
    "exp log log2 log10 log1p expm1 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh".split()
)

SLOW_DRAWS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def objects_of(table: Table) -> st.SearchStrategy[EncodedObject]:
    """Write a table in chunks of any size, with any codec."""
    chunks = st.sampled_from([1, 2, 5, 13] if table.n_events < 50 else [13, 64, 100, 1000])
    return st.builds(written, st.just(table), chunks, st.sampled_from(["lz4", "zstd", "none"]))


def expected_of(text: str, table: Table, defined: dict[str, str] | None = None) -> ak.Array:
    """Return what awkward makes of an expression; its warnings are no failures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = evaluate(text, table.arrays(), table.collections, defined)
        return as_column(value, table.n_events)


def both_or_neither(text: str, table: Table, engine: Any) -> tuple[Any, Any] | None:
    """Return both answers; None if both sides refuse the expression."""
    try:
        got = engine()
    except ExpressionError as refusal:
        event("refused")
        try:
            expected_of(text, table)
        except (TypeError, ValueError, ArithmeticError, RuntimeError):
            return None
        pytest.fail(f"awkward takes what we refuse: {refusal}")
    try:
        return got, expected_of(text, table)
    except RuntimeError as problem:
        # Awkward cannot hold integers of the text beyond 64 bits; we can.
        assume("Unable to cast" not in str(problem))
        raise


@SLOW_DRAWS
@given(st.data())
def test_a_derived_column_equals_awkward_bit_by_bit(data: st.DataObject) -> None:
    table = data.draw(tables())
    text = data.draw(values_of(table))
    item = data.draw(objects_of(table))

    answers = both_or_neither(text, table, lambda: run(table, item, [text]))

    if answers is not None:
        (got, rows), expected = answers
        np.testing.assert_array_equal(rows, np.arange(table.n_events))
        assert_same(got[0], flattened(expected))


@settings(SLOW_DRAWS, max_examples=min(60, SLOW_DRAWS.max_examples))
@given(st.data())
def test_a_cut_keeps_the_events_that_awkward_keeps(data: st.DataObject) -> None:
    table = data.draw(tables())
    cut = data.draw(cuts_of(table))
    item = data.draw(objects_of(table))
    events_max = data.draw(st.sampled_from([-1, -1, 3, 200]))
    columns = [n for n, c in table.schema.columns.items() if data.draw(st.booleans())] or ["nA"]

    answers = both_or_neither(cut, table, lambda: run(table, item, columns, cut, events_max=events_max))

    if answers is not None:
        (got, rows), mask = answers
        kept = ak.to_numpy(ak.fill_none(mask, False))
        np.testing.assert_array_equal(rows, np.flatnonzero(kept))
        for name, column in zip(columns, got, strict=True):
            assert_same(column, flattened(table.arrays()[name][kept]))


def tame(n_events: int = 400, seed: int = 7) -> Table:
    """Return muons, jets and MET as in real events, so that transcendental functions stay finite."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Column] = {}
    flat: dict[str, np.ndarray[Any, Any]] = {}
    counts = {name: rng.choice([0, 1, 2, 3, 6], n_events) for name in ("Muon", "Jet", "Photon")}
    for name, n in counts.items():
        columns[f"n{name}"] = Column(f"n{name}", "uint32", counts=name)
        total = int(n.sum())
        fields = {"pt": rng.exponential(30, total) + 3, "eta": rng.normal(0, 1.5, total)}
        fields |= {"phi": rng.uniform(-np.pi, np.pi, total), "mass": rng.exponential(3, total)}
        if name == "Photon":
            del fields["mass"]
        for field, values in fields.items():
            columns[f"{name}_{field}"] = Column(f"{name}_{field}", "float32", name)
            flat[f"{name}_{field}"] = values.astype(np.float32)
        columns[f"{name}_charge"] = Column(f"{name}_charge", "int32", name)
        flat[f"{name}_charge"] = rng.choice([-1, 1], total).astype(np.int32)
    for name, values in (
        ("MET_pt", rng.exponential(40, n_events)),
        ("MET_phi", rng.uniform(-3, 3, n_events)),
    ):
        columns[name] = Column(name, "float32")
        flat[name] = values.astype(np.float32)
    columns["unit"] = Column("unit", "float64")
    flat["unit"] = rng.uniform(-1, 1, n_events)
    lists = {name: ListInfo(name, f"n{name}", collection=True) for name in counts}
    return Table(Schema(columns, lists), n_events, flat, counts)


@pytest.fixture(scope="module")
def physics() -> tuple[Table, EncodedObject]:
    table = tame()
    return table, written(table, 150)


def worst_ulps(got: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    """Return the largest distance from the exact results, in the last place of `got`'s dtype.

    NumPy's own float32 functions are up to 3 such places off, so they are no measure.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = exact.astype(got.dtype)
        finite = np.isfinite(got)
        np.testing.assert_array_equal(got[~finite], rounded[~finite])
        places = np.spacing(np.abs(rounded[finite]))
        return float(np.max(np.abs(got[finite] - exact[finite]) / places, initial=0))


def assert_within_two_ulp(table: Table, item: EncodedObject, function: str, column: str) -> None:
    text = f"{function}({column})"

    (got,), _ = run(table, item, [text])

    expected = flattened(expected_of(text, table)).values
    assert got.values.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(got.values), np.isnan(expected))
    exact = flattened(expected_of(f"{function}(longdouble({column}))", table)).values
    assert worst_ulps(got.values, exact) <= 2


@pytest.mark.parametrize(
    "column", ["unit", "MET_pt", "float32(unit)", "Muon_eta", "Muon_charge", "int8(Muon_charge)"]
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_transcendental_function_is_within_two_ulp_of_the_truth(
    physics: tuple[Table, EncodedObject], function: str, column: str
) -> None:
    assert_within_two_ulp(*physics, function, column)


@pytest.fixture(scope="module")
def wide() -> tuple[Table, EncodedObject]:
    """Numbers of every size, the borders of every function's domain, and what is no number."""
    rng = np.random.default_rng(3)
    sizes = np.concatenate([10.0 ** rng.uniform(-45, 38, 4_000), 10.0 ** rng.uniform(-4, 5, 8_000)])
    borders = [0, 1, 0.5, np.pi / 2, np.pi, 2 * np.pi, 10, 88.7, 89, 103.9, 710, 1e5, 117_436, np.inf, np.nan]
    values = np.concatenate([sizes, borders, np.nextafter(np.float32(1), [0, 2])])
    values = np.concatenate([values, -values])
    with np.errstate(over="ignore"):
        flat = {"x": values.astype(np.float32), "y": values}
    columns = {"x": Column("x", "float32"), "y": Column("y", "float64")}
    table = Table(Schema(columns, {}), len(values), flat, {})
    return table, written(table, 5_000)


@pytest.mark.parametrize("column", ["x", "y"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_transcendental_function_is_within_two_ulp_of_the_truth_everywhere(
    wide: tuple[Table, EncodedObject], function: str, column: str
) -> None:
    assert_within_two_ulp(*wide, function, column)


@pytest.mark.parametrize(
    "text",
    [
        "atan2(unit, MET_pt)",
        "hypot(Muon_pt, Muon_eta)",
        "Muon_pt ** 1.5",
        "pow(Muon_pt, Muon_eta)",
        "MET_pt ** -1",
        "MET_pt ** 0.5",
        "Muon_charge ** 3",
        "Muon_charge ** 0.5",
        "atan2(int8(Muon_charge), 2)",
    ],
)
def test_a_function_of_two_numbers_is_within_two_ulp_of_numpy(
    physics: tuple[Table, EncodedObject], text: str
) -> None:
    table, item = physics

    (got,), _ = run(table, item, [text])

    assert_same(got, flattened(expected_of(text, table)), ulps=2)


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}(pairs(Muon))" for name in "pt eta phi mass energy px py pz p".split()),
        *(f"{name}(Muon)" for name in "pt eta phi mass energy px py pz p".split()),
        "combinations(Jet, 3).mass",
        "max(combinations(Jet, 3).pt)",
        "cross(Muon, Jet).mass",
        "cross(Muon, Jet, Photon).pt",
        "(Muon[0] + Muon[1]).mass",
        "(Muon[0] + Jet).pt",
        "(Muon[0] - Muon[1]).energy",
        "(Photon[0] + Photon[-1]).energy",
        "sum(Jet).pt",
        "mass(Muon[Muon_pt > 20][0])",
        "pairs(Muon)[pairs(Muon).slot0.charge != pairs(Muon).slot1.charge].mass",
        "pairs(Muon[Muon.pt > 10])[0].mass",
        "pairs(Muon)[argmin(abs(pairs(Muon).mass - 91.2))].slot1.pt",
        "pairs(Muon[:2]).pt",
        "deltaphi(Muon[0], MET)",
        "deltaphi(Jet, MET)",
        "deltaphi(Muon_phi, 1.0)",
        "deltaeta(pairs(Muon))",
        "deltaR(pairs(Muon))",
        "deltaR(Muon[0], Jet)",
        "deltaR(Muon_eta, Muon_phi, 0.5, 3.0)",
        "min(deltaR(cross(Muon, Jet)))",
        "cross(Muon, Jet)[deltaR(cross(Muon, Jet)) < 0.8].slot1.pt",
        "len(cross(Muon, Jet))",
        "sum(pairs(Muon_pt).slot0 * pairs(Muon_pt).slot1)",
        "z.mass",
        "best.slot0.pt + best.slot1.pt",
        "local_index(Muon_pt)",
        "count(pairs(Muon))",
        "is_none(Muon[0].pt)",
        "fill_none(Muon[0].pt, -1)",
        "firsts(Muon).pt",
        "Muon[argmax(Muon_pt)].eta",
    ],
)
def test_records_and_four_vectors_follow_awkward(physics: tuple[Table, EncodedObject], text: str) -> None:
    """Sums of squares cancel, so an ulp of a sine may grow: a relative 1e-9 of the event's scale is asked."""
    table, item = physics
    defined = {
        "z": "pairs(Muon[Muon_pt > 5])",
        "best": "z[argmin(abs(z.mass - 91.2))]",
    }

    (got,), _ = run(table, item, [text], defined=defined)

    expected = flattened(expected_of(text, table, defined))
    assert got.values.dtype == expected.values.dtype
    np.testing.assert_array_equal(got.valid, expected.valid)
    if expected.counts is not None:
        np.testing.assert_array_equal(got.counts, expected.counts)
    tight = {"rtol": 1e-9, "atol": 1e-6} if got.values.dtype == np.float64 else {"rtol": 1e-6, "atol": 1e-5}
    np.testing.assert_allclose(got.values[got.valid], expected.values[expected.valid], **tight)


COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
HOSTILE = Table(
    Schema(
        {
            "nA": Column("nA", "uint32", counts="A"),
            "A_x": Column("A_x", "float32", "A"),
            "A_i": Column("A_i", "int8", "A"),
            "A_u": Column("A_u", "uint64", "A"),
            "A_s": Column("A_s", "int64", "A"),
            "A_b": Column("A_b", "bool", "A"),
        },
        {"A": ListInfo("A", "nA", collection=True)},
    ),
    6,
    {
        "A_x": np.array([np.nan, 1, np.nan, 2, np.nan, np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32),
        "A_i": np.array([-128, 127, 0, -1, 1, 5, -5, 100, -100, 7], np.int8),
        "A_u": np.array([2**64 - 1, 2**63, 0, 1, 2**63 - 1, 5, 2**53 + 1, 2**53, 0, 9], np.uint64),
        "A_s": np.array([-1, -(2**63), 0, -1, 2**63 - 1, -5, 2**53 + 1, -(2**53), 0, 9], np.int64),
        "A_b": np.array([1, 0, 0, 0, 1, 1, 0, 1, 0, 0], bool),
    },
    {"A": np.array([2, 0, 3, 1, 2, 2])},
)


@pytest.mark.parametrize(
    "text",
    [
        *(f"{f}({x})" for f in ("any", "all", *REDUCTIONS) for x in ("A_x", "A_i", "A_b")),
        *(f"A_s {op} A_u" for op in COMPARISONS),
        *(f"A_u {op} A_s" for op in COMPARISONS),
        *(f"A_s[0] {op} A_u[-1]" for op in COMPARISONS),
        *(f"A_i {op} 300" for op in COMPARISONS),
        *(f"A_i[1] {op} 300" for op in COMPARISONS),
        *(f"-300 {op} A_i[1]" for op in COMPARISONS),
        "A_u == -1",
        "A_i // 0",
        "A_i % 0",
        "A_i // -1",
        "A_i % -7",
        "A_x // 0.3",
        "A_x % -0.3",
        "A_x / 0",
        "-A_u",
        "abs(A_i)",
        "-A_i",
        "~A_i",
        "A_i << 9",
        "A_s >> 70",
        "A_b + A_b",
        "A_b * A_b",
        "A_b // A_b",
        "A_b ** 2",
        "A_b & 3",
        "A_b / 2",
        "A_b - 1",
        "min(A_b, A_b)",
        "sqrt(A_i)",
        "sqrt(A_b)",
        "round(A_x / 3)",
        "round(A_i)",
        "rint(A_i)",
        "float32(1) + 2",
        "int8(3) < 300",
        "sqrt(float32(2)) * A_x",
        "sum(A_b[A_i > 0])",
        "round(A_b)",
        "where(A_b, A_x, 0)",
        "where(A_b, A_u, 0)",
        "A_x[0] if A_b[0] else A_x[1]",
        "minimum(A_x, 0.0)",
        "maximum(A_x, A_x[0])",
        "isnan(A_i)",
        "isfinite(A_x[1])",
        "not isnan(A_x[1])",
        "A_x[3:]",
        "A_x[-2:]",
        "A_x[nA - 1]",
        "A_x[argmax(A_x)]",
        "sum(A_x[A_x == A_x])",
        "all(A_x[A_x > 100] > 0)",
        "A_x in (1, 2.0, 3)",
        "A_i not in [-128, 5]",
        "1 / 3 * A_x",
        "2 ** 3 + 1",
        "True",
        "pi",
        "A_x[1] + A_x",
        "count(A_x[1] + A_x)",
        "mean(A_x[1] + A_x)",
        "all((A_x[1] + A_x) > 0)",
        "nA == 2 and not (A_x[0] > 1)",
        "int64(A_i) * 1000",
    ],
)
def test_edge_values_follow_awkward_bit_by_bit(text: str) -> None:
    item = written(HOSTILE, 4)

    (got,), _ = run(HOSTILE, item, [text])

    assert_same(got, flattened(expected_of(text, HOSTILE)))
