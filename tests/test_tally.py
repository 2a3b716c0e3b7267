"""The sum of generator weights and the luminosity sections of what a query worked through."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ingest_helpers import sample
from service_fixture import ANSWERERS, answered, service_client
from typer.testing import CliRunner

import skyhook_casa
from skyhook_casa.catalog import Catalog
from skyhook_casa.catalog import database as database_module
from skyhook_casa.catalog.tables import ADDED
from skyhook_casa.cli import app
from skyhook_casa.errors import InvalidRequest, NotFound, ServiceLost
from skyhook_casa.exact_sum import ExactSum
from skyhook_casa.lumimask import RUN_MAX, SECTION_MAX, LumiMask
from skyhook_casa.query import Query as QueryValue
from skyhook_casa.report import Report
from skyhook_casa.stores import MemoryStore
from skyhook_casa.tally import Tally, joined
from skyhook_client import Client
from skyhook_client.query import Query
from skyhook_client.remote import run as remote_run

EVENTS = 16_000
RUNS = np.array([273_158, 1, 325_175, 283_885], np.uint32)
CUT = "x > 4000 and x < 9000"


class Columns:
    """The events of the file, as NumPy has them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        number = np.arange(EVENTS)
        # Large weights of both signs: adding them in another order gives another sum of floats.
        self.genWeight = (rng.normal(size=EVENTS) * 10.0 ** rng.integers(-6, 7, EVENTS)).astype(np.float32)
        self.run = RUNS[number // (EVENTS // 4)]
        self.luminosityBlock = (1 + number % (EVENTS // 4) // 100 * 2).astype(np.uint32)
        self.x = number.astype(np.float32)
        self.noise = rng.random((2, EVENTS)).T  # makes the partitions many

    def sum_of_weights(self, start: int = 0, stop: int = EVENTS) -> float:
        return math.fsum(self.genWeight[start:stop].tolist())

    def sections(self, start: int = 0, stop: int = EVENTS) -> LumiMask:
        pairs = zip(self.run[start:stop].tolist(), self.luminosityBlock[start:stop].tolist(), strict=True)
        return LumiMask.of_sections(pairs)


COLUMNS = Columns()


@pytest.fixture(scope="module")
def root_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tally") / "mc.root"
    with uproot.recreate(path) as file:
        file["Events"] = vars(COLUMNS)
    return path


@pytest.fixture(scope="module")
def stored(root_file: Path) -> Client:
    """The events in some partitions of several chunks, in a store that can be pushed down to."""
    client = skyhook_casa.connect(MemoryStore(runs_class=True), threads=2, progress=False)
    client.ingest("mc", root_file, partition_bytes=65_536, chunk_events=128)
    assert client.dataset("mc").partitions > 3
    return client


@pytest.fixture(scope="module", params=ANSWERERS)
def client(request: pytest.FixtureRequest, stored: Client) -> Iterator[Client]:
    with answered(request.param, stored) as client:
        yield client


def asking(
    client: Client,
    partitions: tuple[int, int],
    cut: str | None = None,
    dataset: str = "mc",
    limit: int | None = None,
) -> Query:
    """A query of some partitions."""
    value = QueryValue.make(dataset, ["x"], cut, partitions=partitions, limit=limit)
    return Query(client.backend.ask(value), progress=False)


def assert_tells_of(report: Report, start: int = 0, stop: int = EVENTS) -> None:
    """The report tells of these events, to the last bit."""
    assert report.events_in == stop - start
    assert report.sum_of_weights == COLUMNS.sum_of_weights(start, stop)
    assert report.sections == COLUMNS.sections(start, stop)
    assert report.tally.weights == ExactSum.of(COLUMNS.genWeight[start:stop])


# -- reports ------------------------------------------------------------------------------------
@pytest.mark.parametrize("execution", ["auto", "read", "pushdown"])
@pytest.mark.parametrize("cut", [None, CUT, "x > 1e9", "genWeight > 0"])
def test_a_report_tells_of_all_events_whatever_is_cut(
    client: Client, cut: str | None, execution: str
) -> None:
    query = client.query("mc", ["x"], cut, execution=execution)
    for _ in range(2):  # the second answer of a service comes from its cache
        query.to_arrow()
        assert_tells_of(query.report)


def test_every_way_of_asking_reports(client: Client) -> None:
    query = client.query("mc", ["x"], CUT, define={"y": "x * 2"})
    for ask in (
        query.count,
        query.to_numpy,
        lambda: list(query.batches(batch_bytes=4096)),
        lambda: list(query.batches(ordered=False)),
        lambda: query.hist("y", bins=3, range=(0, 1e5), weight="genWeight"),
        lambda: query.cutflow(["x > 5000"]),
        client.query("mc").count,
    ):
        ask()
        assert_tells_of(query.report)


def test_a_mask_of_luminosity_sections_is_a_cut_too(client: Client) -> None:
    """What it drops was looked at; what was kept is in both."""
    golden = {"1": [[1, 40]], "9": [[1, 2]]}
    query = client.query("mc", ["x"], lumimask=golden)
    query.to_numpy()
    assert_tells_of(query.report)
    assert query.report.sections is not None
    processed = query.report.sections & LumiMask.make(golden)
    assert processed.to_dict() == {"1": [[one, one] for one in range(1, 40, 2)]}


def test_disjoint_partitions_add_up_to_the_whole_in_any_order(client: Client) -> None:
    """Exactly: not the rounded sums, but what they were rounded from."""
    bounds = np.cumsum([0, *client.backend.partition_events(client.backend.version("mc"))]).tolist()
    tallies = []
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        query = asking(client, (number, number + 1), CUT)
        query.to_arrow()
        assert_tells_of(query.report, start, stop)
        tallies.append(query.report.tally)

    for seed in range(3):
        random.Random(seed).shuffle(tallies)
        whole = tallies[0]
        for one in tallies[1:]:
            whole = whole + one
        assert whole == client.dataset("mc").tally()
        assert whole.sum_of_weights == COLUMNS.sum_of_weights()
    assert [one.sum_of_weights for one in tallies] != [0.0] * len(tallies)


@pytest.mark.parametrize("execution", ["read", "pushdown"])
@pytest.mark.parametrize("limit", [0, 1, 17, 128, 4_999, 10_000])
def test_a_query_with_a_limit_reports_what_it_looked_at(client: Client, limit: int, execution: str) -> None:
    query = client.query("mc", ["x"], CUT, limit=limit, execution=execution)
    found = query.to_numpy()["x"]
    last = EVENTS if len(found) < limit else int(found[-1]) + 1 if limit else 0
    assert_tells_of(query.report, 0, last)


def test_counts_and_bins_of_a_limited_query_do_so_too(client: Client) -> None:
    for query in (client.query("mc", ["x"], CUT, limit=300), client.query("mc", ["x"], limit=4_301)):
        query.count()
        assert_tells_of(query.report, 0, 4_301)
    histogram = client.query("mc", ["x"], CUT, limit=300)
    histogram.hist("x", bins=2, range=(0, EVENTS))
    assert_tells_of(histogram.report, 0, 4_301)


def test_a_limit_inside_some_partitions_counts_from_the_first_of_them(client: Client) -> None:
    first = client.backend.partition_events(client.backend.version("mc"))[0]
    query = asking(client, (1, 3), "x >= 0", limit=200)
    query.to_arrow()
    assert_tells_of(query.report, first, first + 200)


def test_a_loop_that_is_left_reports_what_was_worked_through(client: Client) -> None:
    query = client.query("mc", ["x"], "x >= 100")
    batches = query.stream(batch_bytes=4_000, rows=True)
    found = next(batches)
    batches.close()
    assert found.rows is not None
    assert int(found.rows[-1]) < query.report.events_in
    assert_tells_of(query.report, 0, query.report.events_in)


def test_which_events_came_of_an_unordered_stream_that_is_left_is_not_known(stored: Client) -> None:
    with service_client(stored) as client:
        query = client.query("mc", ["x"], "x >= 100")
        batches = query.stream(batch_bytes=4_000, ordered=False)
        next(batches)
        batches.close()
        assert query.report.tally == Tally()


def test_a_query_that_was_resumed_reports_each_event_once(
    stored: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    take = remote_run.SplitStream.take

    def breaking(stream: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken in (2, 4):
            raise ServiceLost("cut")
        return take(stream)

    monkeypatch.setattr(remote_run.SplitStream, "take", breaking)
    monkeypatch.setattr("skyhook_server.line.FIRST_BYTES", 4_096)
    with service_client(stored, split_bytes=65_536) as client:
        query = client.query("mc", ["x"], "x >= 100")
        assert len(query.to_numpy()["x"]) == EVENTS - 100
        assert taken > 4  # it was cut twice, and went on
        assert_tells_of(query.report)


def test_the_tally_of_all_events_comes_with_the_plan(stored: Client) -> None:
    """So it is there when the service is gone."""
    with service_client(stored) as client:
        query = client.query("mc", ["x"], CUT)
        query.to_arrow()
    assert_tells_of(query.report)


@pytest.mark.parametrize("limit", ["TALLY_BYTES_MAX", "MERGED_BYTES_MAX"])
def test_a_long_tally_does_not_come_with_the_plan_but_when_it_is_asked_for(
    stored: Client, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"skyhook_server.plans.{limit}", 20)
    with service_client(stored) as client:
        query = client.query("mc", ["x"], CUT)
        asked, ask = [], client.backend.channel.ask

        def noting(name: str, *given: Any, **options: Any) -> Any:
            asked.append(name)
            return ask(name, *given, **options)

        monkeypatch.setattr(client.backend.channel, "ask", noting)
        query.to_arrow()
        assert asked.count("Delivery.GetTally") == 0
        for _ in range(2):
            assert_tells_of(query.report)
        assert asked.count("Delivery.GetTally") == 1


def test_a_report_goes_elsewhere_with_its_tally(client: Client) -> None:
    query = client.query("mc", ["x"], CUT, limit=10)
    query.to_arrow()
    copied = pickle.loads(pickle.dumps(query.report))
    assert copied == query.report
    assert copied.tally == query.report.tally
    assert "is the sum of genWeight" in str(copied)
    assert "weights" not in str(Report("mc", 1))
    assert Report("mc", 1).tally == Tally(unknown=True)


def test_sections_are_golden_json(client: Client) -> None:
    query = client.query("mc", ["x"], limit=150)
    query.to_arrow()
    assert query.report.sections is not None
    assert query.report.sections.to_json() == '{"273158": [[1, 1], [3, 3]]}'
    assert LumiMask.make(json.loads(query.report.sections.to_json())) == query.report.sections


def test_the_tally_of_a_version_that_was_dropped_is_gone(root_file: Path) -> None:
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("mc", root_file)
    query = client.query("mc", ["x"])
    query.to_arrow()
    client.drop("mc")
    with pytest.raises(NotFound):
        _ = query.report.sum_of_weights


# -- datasets -----------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("answerer", ANSWERERS)
@pytest.mark.parametrize(
    "name", ["nano_dy.root", "nanoAOD_2015_CMS_Open_Data_ttbar.root", "nano_dimuon.root"]
)
def test_the_tally_of_a_file_is_that_of_its_branches(name: str, answerer: str) -> None:
    with uproot.open({str(sample(name)): "Events"}) as tree:
        there = tree.arrays(
            [one for one in ("genWeight", "run", "luminosityBlock") if one in tree], library="np"
        )
    embedded = skyhook_casa.connect(MemoryStore(), progress=False)
    embedded.ingest(
        "dy", sample(name), ["genWeight", "run", "luminosityBlock", "event"][4 - len(there) - 1 :]
    )
    with answered(answerer, embedded) as client:
        tally = client.dataset("dy").tally()
    weights = there.get("genWeight")
    assert tally.sum_of_weights == (None if weights is None else math.fsum(weights.tolist()))
    pairs = zip(there["run"].tolist(), there["luminosityBlock"].tolist(), strict=True)
    assert tally.sections == LumiMask.of_sections(pairs)
    assert not tally.unknown


def test_what_a_dataset_does_not_have_is_none_and_not_unknown(tmp_path: Path) -> None:
    """Neither for a list that is called like the column, nor for one column of the two."""
    with uproot.recreate(tmp_path / "other.root") as file:
        file["Events"] = {"run": np.arange(6) - 3, "genWeight": np.ones((6, 2), np.float32)}
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("other", tmp_path / "other.root")
    query = client.query("other", ["run"])
    query.to_numpy()
    assert (query.report.sum_of_weights, query.report.sections) == (None, None)
    assert client.dataset("other").tally(count=True) == Tally()


def test_a_sum_is_none_if_some_files_have_no_weights(root_file: Path, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "data.root") as file:
        file["Events"] = {name: values[:50] for name, values in vars(COLUMNS).items() if name != "genWeight"}
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("mixed", [root_file, tmp_path / "data.root"])
    tally = client.dataset("mixed").tally()
    assert (tally.weights, tally.sections, tally.unknown) == (None, COLUMNS.sections(), False)
    query = asking(client, (0, client.dataset("mixed").partitions - 1), dataset="mixed")
    query.to_arrow()
    assert_tells_of(query.report)


def test_numbers_of_no_golden_json_stay_unknown(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "odd.root") as file:
        file["Events"] = {
            "run": np.array([1, -2]),
            "luminosityBlock": np.array([1, 2]),
            "genWeight": np.ones(2),
        }
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("odd", tmp_path / "odd.root")
    assert client.dataset("odd").tally(count=True) == Tally(ExactSum(1, 1), None, unknown=True)


def test_an_empty_dataset_sums_up_to_nothing(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "none.root") as file:
        file.mktree("Events", {name: values.dtype for name, values in vars(COLUMNS).items()})
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("none", tmp_path / "none.root")
    assert client.dataset("none").tally() == Tally(ExactSum(), LumiMask(()))


# -- older catalogs -----------------------------------------------------------------------------
def forget_tallies(catalog: Catalog, version: int = 3) -> None:
    """Make the tables of a catalog those of an older version."""
    with catalog._database.write() as connection:
        for number, tables in ADDED.items():
            for table in tables if number > version else ():
                table.drop(connection)
        connection.exec_driver_sql(f"UPDATE catalog_info SET schema_version = {version}")
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")
    database_module.close_all()


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_a_dataset_of_an_older_catalog_is_counted_when_that_is_asked_for(
    answerer: str, root_file: Path, tmp_path: Path
) -> None:
    embedded = skyhook_casa.connect(tmp_path / "store", progress=False)
    embedded.ingest("mc", root_file, partition_bytes=65_536, chunk_events=128)
    expected = embedded.dataset("mc").tally()
    forget_tallies(embedded.catalog)

    with answered(answerer, skyhook_casa.connect(tmp_path / "store", progress=False)) as client:
        query = client.query("mc", ["x"], CUT)
        query.to_arrow()
        unknown = query.report.tally
        counted = client.dataset("mc").tally(count=True)
        known = client.dataset("mc").tally()
        query.to_arrow()
        assert_tells_of(query.report)
        limited = client.query("mc", ["x"], limit=5)
        limited.to_arrow()
        assert_tells_of(limited.report, 0, 5)

    assert unknown == Tally(unknown=True)
    assert [name for name, _ in unknown.lines()] == ["unknown"]
    assert expected == counted == known


def test_the_command_line_counts_and_writes_golden_json(root_file: Path, tmp_path: Path) -> None:
    client = skyhook_casa.connect(tmp_path / "store", progress=False)
    client.ingest("mc", root_file)
    forget_tallies(client.catalog)
    run = ["--store", str(tmp_path / "store"), "tally", "mc", "--golden", str(tmp_path / "golden.json")]

    unknown = CliRunner().invoke(app, run)
    counted = CliRunner().invoke(app, [*run, "--count"])

    assert unknown.output.startswith("unknown")
    assert isinstance(unknown.exception, InvalidRequest)
    assert f"{COLUMNS.sum_of_weights()!r} is the sum of genWeight" in counted.output
    assert "160 in 4 runs" in counted.output
    assert LumiMask.read(tmp_path / "golden.json") == COLUMNS.sections()


def test_ingesting_again_makes_a_tally_known(root_file: Path, tmp_path: Path) -> None:
    """Its objects are the same, and so are those of the older version."""
    client = skyhook_casa.connect(tmp_path / "store", progress=False)
    client.ingest("mc", root_file)
    forget_tallies(client.catalog)
    client = skyhook_casa.connect(tmp_path / "store", progress=False)
    assert client.dataset("mc").tally().unknown
    client.ingest("mc", root_file, append=False)
    assert client.dataset("mc", 1).tally() == client.dataset("mc", 2).tally()
    assert client.dataset("mc", 1).tally().sum_of_weights == COLUMNS.sum_of_weights()


def test_what_is_dropped_is_forgotten(root_file: Path) -> None:
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("mc", root_file)
    client.drop("mc")
    client.gc(grace_s=0)
    with client.catalog._database.read() as connection:
        for table in ADDED[4]:
            assert connection.execute(table.select()).all() == []


def written(path: Path, **changed: Any) -> Path:
    """The events in a file, some columns changed, each with a number."""
    with uproot.recreate(path) as file:
        file["Events"] = {**vars(COLUMNS), "event": np.arange(EVENTS, dtype=np.uint64), **changed}
    return path


def ingested(path: Path) -> Client:
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    client.ingest("mc", path, partition_bytes=65_536, chunk_events=128)
    return client


def friends(path: Path, order: Any, **columns: Any) -> Path:
    """Columns of the events in some order."""
    with uproot.recreate(path) as file:
        file["Events"] = {name: values[order] for name, values in columns.items()}
    return path


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_corrected_weights_are_added_up_while_they_are_joined(answerer: str, tmp_path: Path) -> None:
    """To the bit as an ingest of corrected files does it, whatever the order in which they come."""
    weights = np.where(COLUMNS.x > 100, COLUMNS.genWeight, 0.1).astype(np.float32)
    numbers = np.arange(EVENTS, dtype=np.uint64)
    order = np.random.default_rng(5).permutation(EVENTS)
    friend = friends(tmp_path / "friend.root", order, event=numbers, genWeight=weights)
    embedded = ingested(written(tmp_path / "mc.root"))
    before = embedded.dataset("mc").tally()
    fresh = ingested(written(tmp_path / "corrected.root", genWeight=weights))

    with answered(answerer, embedded) as client:
        client.add_columns("mc", friend, ["genWeight"], on=["event"], replace=True)
        query = client.query("mc", ["x"], CUT)
        query.to_arrow()
        tallies = [client.dataset("mc").tally(), client.dataset("mc").tally(count=True), query.report.tally]

    assert tallies == [fresh.dataset("mc").tally()] * 3
    assert tallies[0].sum_of_weights == math.fsum(weights.tolist()) != before.sum_of_weights
    assert embedded.dataset("mc", 1).tally() == before
    parts = embedded.dataset("mc").partitions
    assert parts > 3
    for number in range(parts):
        some = [
            one.backend.tally(one.dataset("mc")._version, (number, number + 1)) for one in (embedded, fresh)
        ]
        assert some[0] == some[1]


def test_weights_that_are_added_or_filled_are_added_up(tmp_path: Path) -> None:
    """Also of a dataset that had none; what no file has counts as the fill value."""
    half = np.arange(0, EVENTS, 2)
    numbers = np.arange(EVENTS, dtype=np.uint64)
    friend = friends(tmp_path / "friend.root", half, event=numbers, genWeight=COLUMNS.genWeight)
    client = skyhook_casa.connect(MemoryStore(), progress=False)
    columns = ["run", "luminosityBlock", "event", "x"]
    client.ingest("mc", written(tmp_path / "mc.root"), columns, partition_bytes=65_536, chunk_events=128)
    assert client.dataset("mc").tally().weights is None

    client.add_columns("mc", friend, ["genWeight"], on=["event"], fill=0.25)

    expected = math.fsum(COLUMNS.genWeight[half].tolist() + [0.25] * (EVENTS - len(half)))
    assert client.dataset("mc").tally() == Tally(
        client.dataset("mc").tally(count=True).weights, COLUMNS.sections()
    )
    assert client.dataset("mc").tally().sum_of_weights == expected


def test_corrected_sections_are_those_of_both_columns(tmp_path: Path) -> None:
    """Where only one of them is replaced, both are read when they are to be counted."""
    numbers = np.arange(EVENTS, dtype=np.uint64)
    sections = (COLUMNS.luminosityBlock + 1).astype(np.uint32)
    new = {"event": numbers, "run": COLUMNS.run, "luminosityBlock": sections}
    friend = friends(tmp_path / "friend.root", numbers.astype(int), **new)
    expected = ingested(written(tmp_path / "new.root", luminosityBlock=sections)).dataset("mc").tally()
    both, one = (ingested(written(tmp_path / "mc.root")) for _ in range(2))

    both.add_columns("mc", friend, ["run", "luminosityBlock"], on=["event"], replace=True)
    one.add_columns("mc", friend, ["luminosityBlock"], on=["event"], replace=True)

    assert both.dataset("mc").tally() == expected
    assert one.dataset("mc").tally() == Tally(expected.weights, None, unknown=True)
    assert one.dataset("mc").tally(count=True).sections == expected.sections


# -- tallies of events --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("skip", "events"), [(0, 0), (0, EVENTS), (5, 20), (EVENTS, 0), (900, 9_000), (15_999, 1), (7, None)]
)
def test_any_range_of_events_has_a_tally(client: Client, skip: int, events: int | None) -> None:
    stop = EVENTS if events is None else skip + events
    tally = client.backend.tally(client.backend.version("mc"), None, events, skip)
    assert tally.sum_of_weights == COLUMNS.sum_of_weights(skip, stop)
    assert tally.sections == COLUMNS.sections(skip, stop)


@pytest.mark.parametrize(
    ("partitions", "skip", "events"),
    [
        ((0, 999), 0, None),
        ((-1, 1), 0, None),
        ((2, 1), 0, None),
        (None, -1, 2),
        (None, 0, -1),
        (None, 1, EVENTS),
    ],
)
def test_events_that_are_not_there_have_none(
    client: Client, partitions: tuple[int, int] | None, skip: int, events: int | None
) -> None:
    with pytest.raises(InvalidRequest, match="are asked"):
        client.backend.tally(client.backend.version("mc"), partitions, events, skip)


# -- exact sums ---------------------------------------------------------------------------------
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def exactly(total: ExactSum) -> Fraction:
    return total.mantissa * Fraction(2) ** total.exponent


@given(st.lists(NUMBERS, max_size=30))
def test_a_sum_is_exact(values: list[float]) -> None:
    total = ExactSum.of(np.array(values))
    assert exactly(total) == sum(map(Fraction, values))
    assert ExactSum.parse(str(total)) == total


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=30))
def test_as_a_float_it_is_what_fsum_gives(values: list[float]) -> None:
    assert float(ExactSum.of(np.array(values, np.float32))) == math.fsum(values)


@given(st.lists(NUMBERS, max_size=20), st.integers(0, 20), st.randoms())
def test_sums_of_parts_are_the_sum_of_the_whole(values: list[float], at: int, order: random.Random) -> None:
    whole = ExactSum.of(np.array(values))
    order.shuffle(values)
    assert ExactSum.of(np.array(values[:at])) + ExactSum.of(np.array(values[at:])) == whole


@given(arrays(st.sampled_from(["int8", "uint32", "int64", "uint64", "bool"]), st.integers(0, 20)))
def test_whole_numbers_add_up(values: Any) -> None:
    assert exactly(ExactSum.of(values)) == sum(map(int, values.tolist()))


def test_long_arrays_are_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyhook_casa.exact_sum._BLOCK", 7)
    assert float(ExactSum.of(COLUMNS.genWeight)) == COLUMNS.sum_of_weights()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([math.inf, 1.0], math.inf),
        ([-math.inf, 1.0, -math.inf], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, math.inf], math.nan),
        ([1e308] * 9, math.inf),
        ([-1e308] * 9, -math.inf),
        ([1e308] * 9 + [-1e308] * 8, 1e308),
        ([5e-324] * 3, 1.5e-323),
        ([], 0.0),
    ],
)
def test_a_sum_at_the_ends_of_what_floats_hold(values: list[float], expected: float) -> None:
    total = ExactSum.of(np.array(values, np.float64))
    np.testing.assert_equal(float(total), expected)
    assert ExactSum.parse(str(total)) == total
    split = ExactSum.of(np.array(values[:1], np.float64)) + ExactSum.of(np.array(values[1:], np.float64))
    assert split == total


@pytest.mark.parametrize(
    "text", ["", "1", "p0", "1p", "1p99999", "xp0", "1p0 -nan", "1_0p0", "1p0 inf x", "f" * 601 + "p0"]
)
def test_what_is_no_exact_sum_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no exact sum"):
        ExactSum.parse(text)


# -- sections -----------------------------------------------------------------------------------
PAIRS = st.lists(st.tuples(st.sampled_from([0, 1, 2, RUN_MAX]), st.integers(0, 12) | st.just(SECTION_MAX)))


@given(PAIRS)
def test_sections_of_events_are_those_of_their_pairs(pairs: list[tuple[int, int]]) -> None:
    run, block = np.array(pairs, np.int64).reshape(-1, 2).T
    mask = LumiMask.of_events(run, block.astype(np.uint32))
    assert mask == LumiMask.of_sections(pairs)
    assert LumiMask.decode(mask.encode()) == mask


@given(PAIRS, PAIRS)
def test_sections_of_parts_are_those_of_the_whole(one: Any, other: Any) -> None:
    masks = LumiMask.of_sections(one), LumiMask.of_sections(other)
    whole = LumiMask.of_sections([*one, *other])
    assert masks[0] | masks[1] == whole
    assert LumiMask.decode(*(mask.encode() for mask in masks)) == whole


@pytest.mark.parametrize(
    "data", [b"x", b"\0" * 13, b"\xff" * 12, bytes([1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0])]
)
def test_what_is_no_encoded_mask_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="luminosity sections"):
        joined(None, [data])
