"""The engine against awkward: random tables, random expressions of the whole language."""

from __future__ import annotations

import warnings
from typing import Any

import awkward as ak
import numpy as np
import pytest
from expression_strategies import Table, cuts_of, tables, values_of
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from reference import as_column, evaluate

from skyhook_casa.errors import ExpressionError

pytest.importorskip("skyhook_casa._engine")
from engine_runs import assert_same, flattened, run, written

SLOW_DRAWS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


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
        with pytest.raises((TypeError, ValueError, OverflowError, ArithmeticError, RuntimeError)):
            expected_of(text, table)
            pytest.fail(f"awkward takes what we refuse: {refusal}")
        return None
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
    item = written(table, data.draw(st.integers(1, 13)))

    answers = both_or_neither(text, table, lambda: run(table, item, [text]))

    if answers is not None:
        (got, rows), expected = answers
        np.testing.assert_array_equal(rows, np.arange(table.n_events))
        assert_same(got[0], flattened(expected))


@SLOW_DRAWS
@given(st.data())
def test_a_cut_keeps_the_events_that_awkward_keeps(data: st.DataObject) -> None:
    table = data.draw(tables())
    cut = data.draw(cuts_of(table))
    item = written(table, data.draw(st.integers(1, 13)))
    events_max = data.draw(st.sampled_from([-1, -1, 1, 3]))
    columns = [n for n, c in table.schema.columns.items() if data.draw(st.booleans())] or ["nA"]

    answers = both_or_neither(cut, table, lambda: run(table, item, columns, cut, events_max=events_max))

    if answers is not None:
        (got, rows), mask = answers
        kept = ak.to_numpy(ak.fill_none(mask, False))
        np.testing.assert_array_equal(rows, np.flatnonzero(kept))
        for name, column in zip(columns, got, strict=True):
            assert_same(column, flattened(table.arrays()[name][kept]))
