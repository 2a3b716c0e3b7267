"""A query is a value that survives JSON and refuses what makes no sense."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.query import QUERY_BYTES_MAX, Query, split_columns

TEXTS = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() != "")
NUMBERS = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
QUERIES = st.builds(
    Query.make,
    TEXTS,
    st.none() | st.lists(TEXTS, min_size=1, max_size=4),
    st.none() | TEXTS,
    version=st.none() | st.integers(1, 2**31 - 1),
    define=st.dictionaries(TEXTS, TEXTS, max_size=3),
    objects=st.dictionaries(TEXTS, TEXTS, max_size=3),
    fill=st.dictionaries(TEXTS, NUMBERS, max_size=3),
    limit=st.none() | st.integers(0, 2**63 - 1),
    partitions=st.none() | st.integers(0, 2**31).map(lambda first: (first, first + 3)),
)


@given(QUERIES)
def test_a_query_survives_json(query: Query) -> None:
    """What a client sends is what the service runs."""
    assert Query.from_json(query.to_json()) == query


def test_a_fill_value_that_is_not_a_number_survives_json() -> None:
    """JSON has no NaN, but a fill value may be one."""
    query = Query.make("dy", fill={"x": math.nan, "y": -math.inf})

    read = dict(Query.from_json(query.to_json()).fill)

    assert math.isnan(read["x"])
    assert read["y"] == -math.inf


def test_a_query_cannot_be_changed() -> None:
    """A plan made from it stays true."""
    query = Query.make("dy")
    with pytest.raises(dataclasses.FrozenInstanceError):
        query.dataset = "tt"  # type: ignore[misc]


def test_equal_questions_are_equal_and_hash_alike() -> None:
    """So a service can remember answers by query."""
    assert {Query.make("dy", "Muon_pt, MET_pt")} == {Query.make("dy", ["Muon_pt", "MET_pt"])}


def test_order_of_definitions_is_kept() -> None:
    """Later ones may use earlier ones."""
    query = Query.make("dy", define={"z": "1", "a": "z + 1"})
    assert [name for name, _ in Query.from_json(query.to_json()).define] == ["z", "a"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Muon_*,MET_pt", ("Muon_*", "MET_pt")),
        (" a , b,", ("a", "b")),
        (["a", "b"], ("a", "b")),
        (None, None),
    ],
)
def test_columns_may_be_one_text(text: str | list[str] | None, names: tuple[str, ...] | None) -> None:
    """As people write them on a command line."""
    assert split_columns(text) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": []}, "columns is empty"),
        ({"columns": ""}, "columns is empty"),
        ({"columns": 3}, "columns is 3; a list of names is needed"),
        ({"columns": ["a", 3]}, "a column is 3; a text is needed"),
        ({"cut": 3}, "cut is 3; a text is needed"),
        ({"limit": -1}, "limit is -1; a whole number of at least 0"),
        ({"limit": True}, "limit is True"),
        ({"limit": 1.5}, "limit is 1.5"),
        ({"version": 0}, "version is 0; a whole number of at least 1"),
        ({"version": 2**31}, "version is 2147483648; at most 2147483647 is possible"),
        ({"limit": 2**63}, "at most 9223372036854775807 is possible"),
        ({"define": "x = 1"}, "define is 'x = 1'; a dict is needed"),
        ({"define": {"x": ""}}, r"define\['x'\] is empty"),
        ({"define": {"x": 1}}, r"define\['x'\] is 1; a text is needed"),
        ({"objects": {"": "pt > 3"}}, "a name in objects is empty"),
        ({"fill": {"x": "0"}}, r"fill\['x'\] is '0'; a number or a bool is needed"),
        ({"dataset": ""}, "dataset is empty"),
    ],
)
def test_a_wrong_value_is_named(options: dict[str, object], message: str) -> None:
    """The message holds what was wrong and what would be right."""
    with pytest.raises(InvalidRequest, match=message):
        Query.make(**{"dataset": "dy", **options})  # type: ignore[arg-type]


def test_a_blank_cut_is_no_cut() -> None:
    """A form field left empty asks for every event."""
    assert Query.make("dy", cut="  ").cut is None


def test_limit_zero_and_version_one_are_allowed() -> None:
    """They are the least that make sense."""
    assert Query.make("dy", limit=0, version=1).limit == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not of version 1"),
        ('{"dataset": "dy"}', "is not of version 1"),
        ('{"query": 2, "dataset": "dy"}', "is not of version 1"),
        ('{"query": 1}', "has no dataset"),
        ('{"query": 1, "dataset": "dy", "sql": "drop"}', r"unknown fields \['sql'\]"),
        ('{"query": 1, "dataset": "dy", "columns": "a"}', "columns is 'a'; a list of names is needed"),
        ('{"query": 1, "dataset": "dy", "define": ["a"]}', r"define is \['a'\]; a dict is needed"),
        ('{"query": 1, "dataset": "dy", "fill": {"x": {"float": "1"}}}', "a number or a bool is needed"),
        ('{"query": 1, "dataset": "dy", "fill": {"x": null}}', "a number or a bool is needed"),
        (
            '{"query": 1, "dataset": "dy", "partitions": 3}',
            "partitions is 3; the first, and one past",
        ),
        ('{"query": 1, "dataset": "dy", "partitions": [0, 1, 2]}', "one past the last, are needed"),
        ('{"query": 1, "dataset": "dy", "partitions": [-1, 2]}', "the first of partitions is -1"),
        ('{"query": 1, "dataset": "dy", "partitions": [2, 2]}', "the end of partitions is 2; .* at least 3"),
    ],
)
def test_wrong_json_is_refused(text: str, message: str) -> None:
    """It may come from anybody."""
    with pytest.raises(InvalidRequest, match=message):
        Query.from_json(text)


def test_a_query_of_all_partitions_does_not_mention_them() -> None:
    """So services that do not know them yet understand it."""
    assert "partitions" not in Query.make("dy").to_json()


def test_json_is_read_up_to_its_limit() -> None:
    """At the limit it is read, one byte later refused before it is parsed."""
    head = json.dumps({"query": 1, "dataset": "dy"})
    assert Query.from_json(head.ljust(QUERY_BYTES_MAX)) == Query.make("dy")
    with pytest.raises(InvalidRequest, match="1048577 bytes of JSON; 1048576 are allowed"):
        Query.from_json(head.ljust(QUERY_BYTES_MAX + 1))
