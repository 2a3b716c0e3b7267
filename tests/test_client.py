"""Through the client: what comes out equals what uproot reads, however it is asked for."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import uproot
from ingest_helpers import write_root
from service_fixture import ANSWERERS, answered

import skyhook_casa
from skyhook_casa.errors import CorruptObject, InvalidRequest, MissingColumn, NotFound
from skyhook_casa.ingest import ingest
from skyhook_client import Client
from skyhook_client.options import INGEST_OPTIONS

CUT = "nMuon >= 2 and any((Muon_pt > 20) & (abs(Muon_eta) < 2.4))"
COLUMNS = ["Muon_pt", "Muon_eta", "MET_pt"]


def cut_by_hand(events: Any) -> ak.Array:
    """`CUT` in awkward."""
    arrays = events.arrays([*COLUMNS, "nMuon"])
    good = ak.any((arrays.Muon_pt > 20) & (abs(arrays.Muon_eta) < 2.4), axis=1)
    return arrays[(arrays.nMuon >= 2) & good][COLUMNS]


def query_threads() -> int:
    """Threads that run or read queries; those that fetch are kept by their client."""
    return sum(thread.name.startswith(("scan", "query")) for thread in threading.enumerate())


def assert_same(found: ak.Array, expected: ak.Array) -> None:
    """Equal in type, field order and value."""
    assert str(found.type) == str(expected.type)
    assert ak.array_equal(found, expected, equal_nan=True)


# -- equal to uproot ----------------------------------------------------------------------------
def test_columns_and_a_cut_equal_uproot(client: Client, events: Any) -> None:
    """The main job."""
    assert_same(client.query("dy", COLUMNS, CUT).to_awkward(), cut_by_hand(events))


def test_all_columns_equal_uproot(client: Client, events: Any) -> None:
    """Counters included, in file order."""
    assert_same(client.query("dy").to_awkward(), events.arrays())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_answer(embedded_client: Client, events: Any, threads: int) -> None:
    """Parts come in dataset order."""
    other = skyhook_casa.connect(embedded_client.url, threads=threads)
    assert_same(other.query("dy", COLUMNS, CUT).to_awkward(), cut_by_hand(events))
    assert ak.concatenate([ak.from_arrow(b) for b in other.query("dy", "event")]).event.tolist() == list(
        events["event"].array()
    )


def test_a_store_without_files_is_read_by_ranges(nano_file: Path, events: Any) -> None:
    """As objects in RADOS or S3 are."""
    client = skyhook_casa.connect("memory://")
    client.ingest("dy", nano_file, columns=["*Muon*", "MET_pt"], partition_bytes=65536, chunk_events=100)
    assert_same(client.query("dy", COLUMNS, CUT).to_awkward(), cut_by_hand(events))


# -- shapes of answers --------------------------------------------------------------------------
def test_nested_answers_have_records(client: Client, events: Any) -> None:
    """A collection is a list of records, event columns with one first part are one record."""
    found = client.query("dy", ["Muon", "MET_pt", "run", "nMuon"]).to_awkward(nested=True)
    assert found.fields == ["Muon", "MET", "run", "nMuon"]
    assert ak.array_equal(found.Muon.pt, events["Muon_pt"].array())
    assert ak.array_equal(found.MET.pt, events["MET_pt"].array())


def test_columns_of_a_collection_share_their_offsets(client: Client) -> None:
    """One array for all of them: nothing is copied on the way to awkward."""
    layout = client.query("dy", "Muon_*").to_awkward().layout
    assert len({content.offsets.data.ctypes.data for content in layout.contents}) == 1


def test_arrow_fields_are_not_nullable(client: Client, events: Any) -> None:
    """So that awkward builds no option types from them."""
    table = client.query("dy", ["Muon_pt", "MET_pt", "HLT_IsoMu24"]).to_arrow()
    item = pa.field("item", pa.float32(), nullable=False)
    assert table.schema.field("Muon_pt").type == pa.list_(item)
    assert not any(field.nullable for field in table.schema)
    assert_same(ak.from_arrow(table), events.arrays(["Muon_pt", "MET_pt", "HLT_IsoMu24"]))


def test_arrow_fields_carry_the_branch_titles(client: Client, events: Any) -> None:
    field = client.query("dy", ["MET_pt"]).to_arrow().schema.field("MET_pt")
    assert field.metadata == {b"title": events["MET_pt"].title.encode()}


def test_nested_arrow_has_lists_of_structs(client: Client, events: Any) -> None:
    table = client.query("dy", ["Muon_pt", "Muon_eta", "MET_pt"]).to_arrow(nested=True)
    assert pa.types.is_struct(table.schema.field("Muon").type.value_type)
    assert ak.array_equal(ak.from_arrow(table).Muon.eta, events["Muon_eta"].array())


def test_batches_in_any_order_hold_each_event_once(client: Client, events: Any) -> None:
    """For those to whom their order is no matter."""
    batches = list(client.query("dy", ["event", "Muon_pt"]).batches(batch_bytes=2000, ordered=False))
    found = ak.concatenate([ak.from_arrow(batch) for batch in batches])
    assert_same(found[ak.argsort(found.event)].Muon_pt, events["Muon_pt"].array())


def test_batches_are_small_and_in_order(client: Client, events: Any) -> None:
    """All of them together are the answer."""
    query = client.query("dy", ["event", "Jet_pt"])
    batches = list(query.batches(batch_bytes=5_000))
    assert len(batches) > 3
    assert max(batch.nbytes for batch in batches) < 20_000
    assert_same(ak.from_arrow(pa.Table.from_batches(batches)), events.arrays(["event", "Jet_pt"]))
    assert query.report.events_out == len(events["event"].array())


def test_a_stream_may_be_left_early(client: Client) -> None:
    """Its threads end; the report tells of what was worked through."""
    query = client.query("dy", ["Jet_pt"])
    before = query_threads()
    stream = query.batches(batch_bytes=1000)
    next(stream)
    stream.close()
    assert query_threads() == before
    assert 0 < query.report.events_out <= query.report.events_in


def test_a_collection_becomes_a_frame_of_its_elements(client: Client, events: Any) -> None:
    """`entry` is the number of the event in the dataset, `subentry` the place in the event."""
    frame = client.query("dy", [*COLUMNS, "event"], "nMuon >= 2").to_pandas(collection="Muon")
    arrays = events.arrays(["Muon_pt", "Muon_eta", "nMuon"])
    numbers = np.flatnonzero(arrays.nMuon >= 2)
    expected = ak.to_dataframe(arrays[["Muon_pt", "Muon_eta"]][arrays.nMuon >= 2])
    assert frame.index.names == ["entry", "subentry"]
    assert frame.columns.tolist() == ["Muon_pt", "Muon_eta"]
    assert frame.index.get_level_values("entry").unique().tolist() == numbers.tolist()
    assert frame.index.get_level_values("subentry").tolist() == expected.index.get_level_values(1).tolist()
    np.testing.assert_array_equal(frame.to_numpy(), expected.to_numpy())


def test_event_columns_become_a_frame_of_events(client: Client, events: Any) -> None:
    frame = client.query("dy", ["MET_pt", "nMuon"], "MET_pt > 40").to_pandas()
    met = events["MET_pt"].array(library="np")
    assert frame.index.name == "entry"
    assert frame.index.tolist() == np.flatnonzero(met > 40).tolist()
    assert frame.dtypes.astype(str).tolist() == ["float32", "int32"]


def test_a_single_collection_needs_no_name(client: Client) -> None:
    """There is only one kind of row."""
    assert client.query("dy", "Muon_pt").to_pandas().index.names == ["entry", "subentry"]


@pytest.mark.parametrize(
    ("columns", "collection", "message"),
    [
        (["Muon_pt", "MET_pt"], None, r"columns of Muon and of events.*collection='Muon'"),
        (["Muon_pt", "Jet_pt"], None, r"columns of Muon, Jet; .*collection='Muon'"),
        (["Muon_pt"], "Jet", "no column of collection 'Jet'; choose from Muon"),
        (["MET_pt"], "Jet", "one value per event only; leave it out"),
    ],
)
def test_a_frame_of_mixed_rows_is_refused(
    client: Client, columns: Any, collection: Any, message: str
) -> None:
    """Nothing is repeated or dropped behind the user's back."""
    with pytest.raises(InvalidRequest, match=message):
        client.query("dy", columns).to_pandas(collection)


def test_missing_elements_show_in_every_form(client: Client, events: Any) -> None:
    """An event without a muon has no leading one."""
    query = client.query("dy", ["lead", "charge"], define={"lead": "Muon_pt[0]", "charge": "Muon_charge[0]"})
    expected = ak.firsts(events["Muon_pt"].array())
    found = query.to_awkward()
    assert str(found.type).endswith("{lead: ?float32, charge: ?int32}")
    assert found.lead.tolist() == expected.tolist()
    assert query.to_arrow()["lead"].to_pylist() == expected.tolist()
    frame = query.to_pandas()
    assert frame.lead.isna().tolist() == ak.is_none(expected).tolist()
    assert frame.charge.dtype == pd.Int32Dtype()
    with pytest.raises(InvalidRequest, match="lead can have missing elements"):
        query.to_numpy()


def test_the_type_does_not_depend_on_what_is_missing(client: Client) -> None:
    """A cut that leaves no event without a muon does not change the type."""
    query = client.query("dy", "lead", "nMuon > 0", define={"lead": "Muon_pt[0]"})
    assert str(query.to_awkward().type).endswith("{lead: ?float32}")


def test_event_columns_become_numpy_arrays(client: Client, events: Any) -> None:
    found = client.query("dy", ["MET_pt", "run"]).to_numpy()
    np.testing.assert_array_equal(found["MET_pt"], events["MET_pt"].array(library="np"))
    with pytest.raises(InvalidRequest, match="Muon_pt has a list for each event"):
        client.query("dy", "Muon_pt").to_numpy()


@pytest.mark.parametrize("cut", ["MET_pt < 0", "nMuon > 1000"])
def test_an_empty_answer_has_the_types_of_a_full_one(client: Client, events: Any, cut: str) -> None:
    query = client.query("dy", COLUMNS, cut)
    assert_same(query.to_awkward(), cut_by_hand(events)[:0])
    assert query.to_arrow().num_rows == 0
    assert [batch.num_rows for batch in query] == [0]
    assert len(query.to_pandas(collection="Muon")) == 0
    assert query.count() == 0


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_a_dataset_without_events_has_the_types_of_a_full_one(tmp_path: Path, answerer: str) -> None:
    """A skim may keep nothing."""
    embedded = skyhook_casa.connect("memory://")
    embedded.ingest("empty", write_root(tmp_path / "empty.root", events=0))
    with answered(answerer, embedded) as client:
        query = client.query("empty", ["Muon_pt", "MET_pt"])
        assert str(query.to_awkward().type) == "0 * {Muon_pt: var * float32, MET_pt: float32}"
        assert query.count() == 0
        assert query.explain().partitions == 0


# -- counting, limits, definitions, thinning ------------------------------------------------------
def test_counting_reads_no_column_of_the_answer(client: Client, events: Any) -> None:
    query = client.query("dy", None, CUT)
    assert query.count() == len(cut_by_hand(events))
    counted = query.report.bytes_read
    query.to_arrow()
    assert counted < query.report.bytes_read / 5


def test_counting_without_a_cut_reads_nothing(client: Client, events: Any) -> None:
    query = client.query("dy")
    assert query.count() == len(events["event"].array())
    assert query.report.bytes_read == 0


@pytest.mark.parametrize("limit", [0, 1, 63, 64, 65, 700, 1_499, 1_500, 1_501])
def test_a_limit_gives_the_first_events(client: Client, events: Any, limit: int) -> None:
    """On both sides of a chunk's and of the dataset's end."""
    query = client.query("dy", ["event", "Muon_pt"], limit=limit)
    expected = events.arrays(["event", "Muon_pt"])[:limit]
    assert_same(query.to_awkward(), expected)
    assert query.count() == len(expected)
    assert sum(batch.num_rows for batch in query) == len(expected)
    assert query.report.events_out == len(expected)


def test_a_limit_counts_events_that_pass(client: Client, events: Any) -> None:
    query = client.query("dy", COLUMNS, CUT, limit=7)
    assert_same(query.to_awkward(), cut_by_hand(events)[:7])
    assert query.count() == 7


def test_derived_columns_may_use_each_other(client: Client, events: Any) -> None:
    """And the cut may use them."""
    define = {"pair": "combinations(Muon, 2)", "m": "mass(pair)", "z": "any((80 < m) & (m < 100))"}
    found = client.query("dy", ["m", "z"], "z", define=define).to_awkward()
    assert len(found) > 0
    assert ak.all(found.z)
    assert ak.all(ak.any((found.m > 80) & (found.m < 100), axis=1))


def test_thinning_drops_elements_and_remaps_indices(client: Client, events: Any) -> None:
    """Every delivered column of the collection is thinned, its counter too; indices follow."""
    arrays = events.arrays(["Jet_pt", "Jet_eta", "Muon_jetIdx", "Muon_pt"])
    keep = (arrays.Jet_pt > 30) & (abs(arrays.Jet_eta) < 2.4)
    expected_index = []
    for kept, indices in zip(keep.tolist(), arrays.Muon_jetIdx.tolist(), strict=True):
        place = np.cumsum(kept) - 1
        expected_index.append([int(place[i]) if i >= 0 and kept[i] else -1 for i in indices])
    found = client.query(
        "dy", ["Jet_pt", "nJet", "Muon_jetIdx", "twice"],
        objects={"Jet": "pt > 30 and abs(eta) < 2.4"}, define={"twice": "Jet_pt * 2"},
    ).to_awkward()  # fmt: skip

    assert found.Jet_pt.tolist() == arrays.Jet_pt[keep].tolist()
    assert found.nJet.tolist() == ak.num(found.Jet_pt).tolist()
    assert found.twice.tolist() == (arrays.Jet_pt[keep] * 2).tolist()
    assert found.Muon_jetIdx.tolist() == expected_index
    assert str(found.Muon_jetIdx.type) == str(arrays.Muon_jetIdx.type)


def test_a_cut_sees_the_whole_collections(client: Client, events: Any) -> None:
    """Thinning is about what is delivered."""
    found = client.query("dy", ["nJet"], "nJet >= 3", objects={"Jet": "pt > 1e9"}).to_awkward()
    assert len(found) == np.count_nonzero(events["nJet"].array() >= 3)
    assert ak.all(found.nJet == 0)


# -- files that differ ----------------------------------------------------------------------------
def write_mixed(folder: Path) -> list[Path]:
    """Two files: the first has `HLT_new`, `MET_phi` and a collection `Tau`; the second has not."""
    tau = ak.zip({"pt": ak.unflatten(np.array([1, 2] * 50, "f4"), np.full(50, 2))})
    extra = {"HLT_new": np.ones(50, bool), "MET_phi": np.linspace(-3, 3, 50).astype("f4"), "Tau": tau}
    files = [folder / "0.root", folder / "1.root"]
    for number, path in enumerate(files):
        data = {"MET_pt": np.arange(50, dtype="f4"), "run": np.full(50, number, "u4")} | (
            {} if number else extra
        )
        with uproot.recreate(path) as file:
            tree = file.mktree("Events", {name: ak.type(values).content for name, values in data.items()})
            tree.extend(data)
    return files


@pytest.fixture(scope="module", params=ANSWERERS)
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A dataset of files that differ."""
    client = skyhook_casa.connect("memory://", threads=2)
    client.ingest("mixed", write_mixed(tmp_path_factory.mktemp("mixed")))
    with answered(request.param, client) as client:
        yield client


def test_an_absent_bool_is_false(mixed: Client) -> None:
    """In what is delivered and in a cut."""
    found = mixed.query("mixed", ["run", "HLT_new"]).to_awkward()
    assert found.HLT_new.tolist() == [True] * 50 + [False] * 50
    assert mixed.query("mixed", "run", "HLT_new").count() == 50
    assert mixed.query("mixed", "run", "not HLT_new").count() == 50


def test_another_absent_column_is_an_error_that_names_the_files(mixed: Client) -> None:
    with pytest.raises(MissingColumn, match=r"MET_phi is not in .*1\.root\. Give .*fill="):
        mixed.query("mixed", "MET_phi").to_awkward()
    with pytest.raises(MissingColumn, match="Tau_pt"):
        mixed.query("mixed").to_awkward()


def test_a_fill_value_stands_in(mixed: Client) -> None:
    """A collection that is not there is empty."""
    fill = {"MET_phi": -9, "Tau_pt": 0, "nTau": 0}
    found = mixed.query("mixed", ["MET_phi", "Tau_pt", "nTau"], fill=fill).to_awkward()
    assert found.MET_phi[50:].tolist() == [-9.0] * 50
    assert found.nTau.tolist() == [2] * 50 + [0] * 50
    assert found.Tau_pt[49:51].tolist() == [[1.0, 2.0], []]
    assert ak.num(found.Tau_pt).tolist() == found.nTau.tolist()


def test_files_without_the_column_do_not_matter_if_it_is_not_asked_for(mixed: Client) -> None:
    assert mixed.query("mixed", "MET_pt").to_awkward().MET_pt.tolist() == list(range(50)) * 2


# -- the report and explain -----------------------------------------------------------------------
def test_a_report_adds_up(client: Client, events: Any) -> None:
    """Every answer comes with one."""
    query = client.query("dy", COLUMNS, "MET_pt > 20 and nMuon >= 2")
    with pytest.raises(InvalidRequest, match="did not run yet"):
        _ = query.report
    found = query.to_awkward()
    report = query.report
    arrays = events.arrays(["MET_pt", "nMuon"])
    assert report.partitions_done == report.partitions_planned > 1
    assert (report.events_in, report.events_out) == (len(arrays), len(found))
    assert dict(report.cutflow) == {
        "MET_pt > 20": np.count_nonzero(arrays.MET_pt > 20),
        "nMuon >= 2": np.count_nonzero((arrays.MET_pt > 20) & (arrays.nMuon >= 2)),
    }
    assert 0 < report.bytes_read < report.bytes_skipped
    assert report.seconds["total"] > 0


def test_a_report_never_counts_too_few(client: Client, events: Any) -> None:
    """What a condition leaves where zone maps ruled events out for a later one is not known, and not told."""
    arrays = events.arrays(["MET_pt", "event"])
    early, wild = int(np.sort(arrays.event.to_numpy())[70]), "MET_pt > 20"
    kept = arrays.event.to_numpy() < early
    both = np.count_nonzero(kept & (arrays.MET_pt.to_numpy() > 20))

    one = client.query("dy", cut=f"{wild} and event < {early}")
    other = client.query("dy", cut=f"event < {early} and {wild}")
    span = client.query("dy", cut=f"event >= 0 and event < {early}")

    assert (one.count(), other.count(), span.count()) == (both, both, 70)
    assert one.report.chunks_pruned == other.report.chunks_pruned > 0
    assert one.report.cutflow == [(wild, None), (f"event < {early}", both)]
    assert f"? left after {wild} (zone maps ruled" in str(one.report)
    assert other.report.cutflow == [(f"event < {early}", 70), (wild, both)]
    assert span.report.cutflow == [("event >= 0", len(arrays)), (f"event < {early}", 70)]


def test_zone_maps_rule_out_objects(client: Client) -> None:
    """Nothing of them is read."""
    query = client.query("dy", COLUMNS, "MET_pt < -1")
    assert query.count() == 0
    assert query.report.objects_pruned == query.report.partitions_planned
    assert query.report.chunks_pruned == query.report.chunks
    assert query.report.bytes_read == 0


def test_explain_bounds_what_a_run_reads(client: Client) -> None:
    """And it reads no events itself."""
    query = client.query("dy", COLUMNS, CUT)
    explained = query.explain()
    assert not query.has_run
    query.to_awkward()
    assert 0 < query.report.bytes_read <= explained.bytes_max < explained.object_bytes
    assert set(explained.cut_bytes) == {"Muon#", "Muon_pt", "Muon_eta"}
    assert set(explained.output_bytes) == {"MET_pt"}
    everything = client.query("dy", ["MET_pt"])
    everything.to_awkward()
    assert everything.report.bytes_read == everything.explain().bytes_max


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_a_bad_object_spoils_the_whole_answer(tmp_path: Path, answerer: str) -> None:
    """An answer is never short: it is an error that names the object."""
    embedded = skyhook_casa.connect(tmp_path / "store", threads=2)
    embedded.ingest("dy", [write_root(tmp_path / f"{seed}.root", seed=seed) for seed in range(3)])
    parts = embedded.catalog.partitions(embedded.catalog.version("dy"))
    path = embedded.store.local_path(parts[-1].object.name)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[parts[-1].object.directory_start + 10] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with answered(answerer, embedded) as client:
        query = client.query("dy", ["Jet_pt"])
        with pytest.raises(
            CorruptObject, match=rf"{parts[-1].object.name} .*2\.root.* does not match its checksum"
        ):
            query.to_awkward()
        with pytest.raises(CorruptObject):
            list(query)
        assert not query.has_run
        path.unlink()
        with pytest.raises(skyhook_casa.errors.SkyhookError, match=parts[-1].object.name):
            query.to_awkward()


# -- datasets -------------------------------------------------------------------------------------
@pytest.mark.parametrize("answerer", ANSWERERS)
def test_a_store_without_datasets_says_so(tmp_path: Path, answerer: str) -> None:
    """And asking makes nothing."""
    with answered(answerer, skyhook_casa.connect(tmp_path / "store")) as client:
        assert client.datasets() == []
        with pytest.raises(NotFound, match=r"no datasets in .*; ingest one first"):
            client.query("dy")
    assert not (tmp_path / "store").exists()


def test_the_default_store_is_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYHOOK_STORE", str(tmp_path / "a"))
    assert skyhook_casa.connect().url == (tmp_path / "a").as_uri()
    monkeypatch.delenv("SKYHOOK_STORE")
    monkeypatch.chdir(tmp_path)
    assert skyhook_casa.connect().url == (tmp_path / "skyhook-store").as_uri()


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_an_old_version_can_be_asked(tmp_path: Path, answerer: str) -> None:
    """A query made before an ingest answers the version of then."""
    embedded = skyhook_casa.connect("memory://")
    embedded.ingest("x", write_root(tmp_path / "a.root", events=10, seed=1))
    with answered(answerer, embedded) as client:
        before = client.query("x", "event")
        embedded.ingest("x", write_root(tmp_path / "b.root", events=20, seed=2))
        assert (before.count(), len(before.to_awkward())) == (10, 10)
        assert client.query("x").count() == 30
        assert client.query("x", "event", version=1).count() == 10
        assert [version.number for version in client.dataset("x").versions()] == [2, 1]
        with pytest.raises(NotFound, match="no version 3"):
            client.query("x", version=3)


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_dropping_and_collecting_garbage_frees_the_store(tmp_path: Path, answerer: str) -> None:
    embedded = skyhook_casa.connect(tmp_path / "store")
    embedded.ingest("x", write_root(tmp_path / "a.root", events=10))
    with answered(answerer, embedded) as client:
        client.drop("x")
        assert client.datasets() == []
        assert client.gc(dry_run=True, grace_s=0).objects == 1
        assert client.gc().objects == 0
        assert client.gc(grace_s=0).objects == 1
        assert list(embedded.store.list()) == []
        with pytest.raises(NotFound, match="no dataset 'x'"):
            client.drop("x")


def test_a_dataset_tells_what_it_holds(client: Client, events: Any) -> None:
    dataset = client.dataset("dy")
    names = events.keys()
    assert len(dataset) == dataset.events == len(events["event"].array())
    assert [column.name for column in dataset.columns("MET_*")] == [
        name for name in names if name.startswith("MET_")
    ]
    muon = dataset.collections()["Muon"]
    assert muon.counter == "nMuon"
    assert {column.name for column in muon.columns} == {n for n in names if n.startswith("Muon_")}
    assert dataset.size > 0
    assert dataset.query("MET_pt").count() == dataset.events
    assert client.verify("dy").ok


def test_the_runs_are_kept(client: Client, nano_file: Path) -> None:
    """Sums of weights are needed to normalise."""
    with uproot.open(nano_file) as file:
        assert_same(client.dataset("dy").runs(), file["Runs"].arrays())
        assert_same(client.dataset("dy").luminosity_blocks(), file["LuminosityBlocks"].arrays())


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_files_without_runs_are_not_found_to_have_any(tmp_path: Path, answerer: str) -> None:
    embedded = skyhook_casa.connect("memory://")
    embedded.ingest("x", write_root(tmp_path / "a.root"))
    with (
        answered(answerer, embedded) as client,
        pytest.raises(NotFound, match="no file of dataset 'x' has a tree 'LuminosityBlocks'"),
    ):
        client.dataset("x").luminosity_blocks()


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_branches_left_out_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answerer: str
) -> None:
    """Never silently."""
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("Events", {"x": "f8", "matrix": ("f8", (2,))})
        file["Events"].extend({"x": np.zeros(3), "matrix": np.zeros((3, 2))})
    embedded = skyhook_casa.connect(tmp_path / "store")
    with answered(answerer, embedded) as client, caplog.at_level(logging.WARNING, "skyhook_client"):
        report = client.ingest("x", tmp_path / "a.root")
        assert client.query("x").to_numpy()["x"].tolist() == [0.0] * 3
        assert [(job.dataset, job.state, job.version) for job in client.jobs()] == [("x", "done", 1)]
    assert "matrix" in caplog.text
    assert [one.name for skipped in report.skipped.values() for one in skipped] == ["matrix"]


def test_without_dask_awkward_the_error_says_what_to_install(
    embedded_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask_awkward", None)

    with pytest.raises(InvalidRequest, match=r"pip install 'skyhook_casa\[dask-awkward\]'"):
        embedded_client.query("dy").dask_awkward()


def test_importing_the_client_stays_light() -> None:
    """What is heavy loads when it is used."""
    import subprocess

    heavy = ("awkward", "uproot", "sqlalchemy", "pandas", "pyarrow", "dask", "coffea", "numba", "grpc")
    code = f"import sys, skyhook_client; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# -- options ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"skip_bad_file": True}, "ingest has no option 'skip_bad_file'; did you mean 'skip_bad_files'"),
        ({"no_such": 1}, "no option 'no_such'; there are tree, codec, .*append"),
        ({"append": 1}, "append of ingest is 1; True or False is needed"),
        ({"chunk_events": True}, "chunk_events of ingest is True; a whole number"),
    ],
)
def test_options_of_an_ingest_that_are_none_are_refused(
    client: Client, nano_file: Path, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        client.ingest("refused", nano_file, **options)


def test_all_options_of_an_ingest_are_known() -> None:
    named = set(signature(ingest).parameters) - {
        "catalog",
        "store",
        "dataset",
        "paths",
        "columns",
        "progress",
    }
    assert set(INGEST_OPTIONS) == named
