"""The catalog: datasets, versions, partitions, schemas, layouts, ingest jobs."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from postgres_fixture import new_postgres_schema

from skyhook_casa.catalog import (
    Catalog,
    DatasetVersion,
    FileInfo,
    MetaTree,
    NewPartition,
    ObjectInfo,
    Partition,
    PartitionTally,
    statements,
    union_schema,
    writing,
)
from skyhook_casa.catalog import database as database_module
from skyhook_casa.catalog.names import NAME_CHARS_MAX
from skyhook_casa.catalog.reading import IN_MAX
from skyhook_casa.catalog.tables import SCHEMA_VERSION, metadata
from skyhook_casa.errors import AlreadyExists, InvalidRequest, NotFound, StoreError
from skyhook_casa.schema import Column, ListInfo, Schema
from skyhook_casa.tally import EncodedTally

MUON = ListInfo("Muon", "nMuon", True)
SCHEMA = Schema(
    {
        "nMuon": Column("nMuon", "uint32", counts="Muon", title="number of muons", typename="uint32_t"),
        "Muon_pt": Column("Muon_pt", "float32", list="Muon", title="pt", typename="float[]"),
        "MET_pt": Column("MET_pt", "float32", title="MET ∑", typename="float"),
        "HLT_IsoMu24": Column("HLT_IsoMu24", "bool"),
    },
    {"Muon": MUON},
)
PHYSICAL = ("Muon#", "Muon_pt", "MET_pt", "HLT_IsoMu24")
DATA_TABLES = [table for table in metadata.sorted_tables if table.name not in ("catalog_info", "layouts")]


# --- fixtures -----------------------------------------------------------------------------------


@pytest.fixture
def catalog(address: str) -> Iterator[Catalog]:
    catalog = Catalog(address)
    yield catalog
    catalog._database.close()


# --- makers -------------------------------------------------------------------------------------


def make_file(number: int, entries: int = 1000, tree: str = "Events") -> FileInfo:
    return FileInfo(f"/data/f{number}.root", f"uuid-{number}", tree, entries, 10**9 + number)


def make_object(number: int, layout_id: int) -> ObjectInfo:
    return ObjectInfo(f"{number:064x}", 2**25 + number, 2**24, 4096, layout_id)


def make_partition(
    number: int, layout_id: int, file: FileInfo | None = None, events: int = 100
) -> NewPartition:
    start = 0 if file is None else 100 * number
    file = file or make_file(number)
    return NewPartition(events, make_object(number, layout_id), file, start, start + events)


@dataclass(frozen=True)
class Committed:
    catalog: Catalog
    version: DatasetVersion
    partitions: list[NewPartition]


@pytest.fixture
def committed(catalog: Catalog) -> Committed:
    """Dataset dy with one version of three partitions, each of a file of its own."""
    layout_id = catalog.add_layout(PHYSICAL)
    partitions = [make_partition(i, layout_id, events=100 + i) for i in range(3)]
    version = catalog.commit_version("dy", SCHEMA, partitions)
    return Committed(catalog, version, partitions)


def rows(catalog: Catalog) -> dict[str, int]:
    """How many rows each table has, layouts aside."""
    with catalog._database.read() as connection:
        counts = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in DATA_TABLES
        }
    return {name: count for name, count in counts.items() if name != "layout_columns"}


class TestVersions:
    def test_a_version_is_what_was_committed(self, committed: Committed) -> None:
        version = committed.version
        assert (version.dataset, version.number, version.events, version.partitions) == ("dy", 1, 303, 3)
        assert version.bytes == sum(one.object.bytes for one in committed.partitions)
        assert abs(datetime.now(UTC) - version.created) < timedelta(seconds=60)
        assert committed.catalog.version("dy") == version
        assert committed.catalog.version("dy", 1) == version

    def test_partitions_keep_their_order_and_origin(self, committed: Committed) -> None:
        assert list(committed.catalog.partitions(committed.version)) == [
            Partition(i, first, one.events, one.object, one.file, one.entry_start, one.entry_stop)
            for i, (first, one) in enumerate(zip((0, 100, 201), committed.partitions, strict=True))
        ]
        assert committed.catalog.files(committed.version) == [one.file for one in committed.partitions]

    def test_numbers_count_up_and_old_versions_stay(self, committed: Committed) -> None:
        catalog = committed.catalog
        second = catalog.commit_version("dy", SCHEMA, committed.partitions[:1], note="fewer")
        assert (second.number, second.note, second.events) == (2, "fewer", 100)
        assert catalog.version("dy") == second
        assert [one.number for one in catalog.versions("dy")] == [2, 1]
        assert len(catalog.partitions(committed.version)) == 3

    def test_appending_shares_partitions(self, committed: Committed) -> None:
        catalog = committed.catalog
        new = make_partition(7, committed.partitions[0].object.layout_id)
        before = rows(catalog)["partitions"]
        second = catalog.commit_version("dy", SCHEMA, [new], append=True)
        assert (second.number, second.events, second.partitions) == (2, 403, 4)
        assert second.bytes == committed.version.bytes + new.object.bytes
        parts = catalog.partitions(second)
        assert parts[:3] == catalog.partitions(committed.version)
        assert (parts[3].index, parts[3].first_event) == (3, 303)
        assert [file.path for file in catalog.files(second)] == [f"/data/f{i}.root" for i in (0, 1, 2, 7)]
        assert rows(catalog)["partitions"] == before + 1

    def test_partitions_of_another_version_can_be_given(self, committed: Committed) -> None:
        catalog = committed.catalog
        some = catalog.partitions(committed.version)[1:]
        second = catalog.commit_version("dy", SCHEMA, some)
        assert [one.object for one in catalog.partitions(second)] == [one.object for one in some]
        assert [one.first_event for one in catalog.partitions(second)] == [0, 101]
        assert rows(catalog)["partitions"] == 3

    def test_appending_to_nothing_makes_the_first_version(self, catalog: Catalog) -> None:
        assert catalog.commit_version("dy", SCHEMA, [], append=True).number == 1

    def test_an_empty_dataset_is_a_dataset(self, catalog: Catalog) -> None:
        file = make_file(0, entries=0)
        version = catalog.commit_version("none", Schema(), [], [file])
        assert (version.events, version.partitions) == (0, 0)
        assert catalog.partitions(version) == ()
        assert catalog.files(version) == [file]
        assert catalog.column_names(version) == []

    def test_datasets_are_listed_by_name_with_their_newest_version(self, committed: Committed) -> None:
        catalog = committed.catalog
        other = catalog.commit_version("/A/b-v1/NANOAODSIM", SCHEMA, [])
        newest = catalog.commit_version("dy", SCHEMA, [], append=True)
        listed = catalog.datasets()
        assert [(one.name, one.newest, one.versions) for one in listed] == [
            ("/A/b-v1/NANOAODSIM", other, 1),
            ("dy", newest, 2),
        ]

    def test_an_unknown_dataset_offers_near_ones(self, committed: Committed) -> None:
        committed.catalog.commit_version("ttbar_2018", SCHEMA, [])
        with pytest.raises(NotFound, match=r"no dataset 'ttbar_2017'; did you mean 'ttbar_2018'"):
            committed.catalog.version("ttbar_2017")
        with pytest.raises(NotFound, match=r"no dataset 'x'$"):
            committed.catalog.versions("x")

    def test_an_unknown_version_names_the_newest(self, committed: Committed) -> None:
        with pytest.raises(NotFound, match="dataset 'dy' has no version 2; the newest is 1"):
            committed.catalog.version("dy", 2)
        with pytest.raises(NotFound, match="no version 0"):
            committed.catalog.version("dy", 0)

    @pytest.mark.parametrize("name", ["", " dy", "dy ", "d\ny", "d\0y", "x" * (NAME_CHARS_MAX + 1)])
    def test_bad_dataset_names_are_refused(self, catalog: Catalog, name: str) -> None:
        with pytest.raises(InvalidRequest, match="is no dataset name"):
            catalog.commit_version(name, SCHEMA, [])
        assert catalog.datasets() == []

    def test_the_longest_dataset_name_is_taken(self, catalog: Catalog) -> None:
        name = "é" * NAME_CHARS_MAX
        catalog.commit_version(name, SCHEMA, [])
        assert catalog.version(name).dataset == name

    def test_the_same_file_twice_is_refused(self, committed: Committed) -> None:
        again = committed.partitions[0]._replace(file=make_file(0)._replace(path="/elsewhere.root"))
        with pytest.raises(
            AlreadyExists, match=r"of /elsewhere.root is in dataset 'dy' already, from /data/f0"
        ):
            committed.catalog.commit_version("dy", SCHEMA, [again], append=True)
        with pytest.raises(AlreadyExists, match=r"/elsewhere.root"):
            committed.catalog.commit_version("new", SCHEMA, [committed.partitions[0], again])
        assert [one.name for one in committed.catalog.datasets()] == ["dy"]
        assert committed.catalog.version("dy").number == 1

    def test_another_tree_of_the_same_file_is_another_input(self, committed: Committed) -> None:
        layout_id = committed.partitions[0].object.layout_id
        other = make_partition(0, layout_id, make_file(0, tree="Other"))
        assert committed.catalog.commit_version("dy", SCHEMA, [other], append=True).number == 2

    def test_files_without_uuid_are_known_by_path(self, catalog: Catalog) -> None:
        files = [make_file(i)._replace(uuid="") for i in range(2)]
        catalog.commit_version("dy", SCHEMA, [], files)
        with pytest.raises(AlreadyExists):
            catalog.commit_version("dy", SCHEMA, [], files[:1], append=True)

    def test_a_commit_on_top_of_the_wrong_version_is_refused(self, committed: Committed) -> None:
        catalog = committed.catalog
        with pytest.raises(AlreadyExists, match="newest version of dataset 'dy' is 1, not 0"):
            catalog.commit_version("dy", SCHEMA, [], expected=0)
        assert catalog.commit_version("dy", SCHEMA, [], expected=1).number == 2
        assert catalog.commit_version("new", SCHEMA, [], expected=0).number == 1

    def test_one_name_with_two_sizes_is_refused(self, committed: Committed) -> None:
        """The name is the hash of the content: one of the two is wrong."""
        wrong = make_object(0, committed.partitions[0].object.layout_id)._replace(bytes=1)
        partition = make_partition(0, 1)._replace(object=wrong)
        with pytest.raises(InvalidRequest, match=f"object '{wrong.name}' is recorded with other properties"):
            committed.catalog.commit_version("other", SCHEMA, [partition])

    def test_a_version_has_a_largest_number_of_partitions(
        self, committed: Committed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writing, "PARTITIONS_MAX", 4)
        new = [make_partition(i, committed.partitions[0].object.layout_id) for i in (3, 4)]
        with pytest.raises(InvalidRequest, match="5 partitions; a version has at most 4"):
            committed.catalog.commit_version("dy", SCHEMA, new, append=True)
        assert committed.catalog.commit_version("dy", SCHEMA, new[:1], append=True).partitions == 4

    def test_more_partitions_than_one_statement_holds(self, catalog: Catalog) -> None:
        layout_id = catalog.add_layout(PHYSICAL)
        for count in (IN_MAX, IN_MAX + 1):
            partitions = [make_partition(i, layout_id) for i in range(count)]
            version = catalog.commit_version("dy", SCHEMA, partitions)
            assert [one.object for one in catalog.partitions(version)] == [one.object for one in partitions]


class TestColumns:
    def test_columns_come_back_as_they_were(self, committed: Committed) -> None:
        catalog, version = committed.catalog, committed.version
        assert catalog.columns(version) == list(SCHEMA.columns.values())
        assert catalog.column_names(version) == list(SCHEMA.columns)
        assert catalog.schema(version) == SCHEMA
        for name, column in SCHEMA.columns.items():
            assert catalog.column(version, name) == column
        assert catalog.column(version, "Muon_eta") is None

    def test_some_columns_are_found_at_once(self, committed: Committed) -> None:
        names = ["MET_pt", "none", "nMuon"]
        found = committed.catalog.columns_named(committed.version, names)
        assert found == {name: SCHEMA.columns[name] for name in ("MET_pt", "nMuon")}
        assert committed.catalog.columns_named(committed.version, []) == {}

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("Muon_*", ["Muon_pt"]),
            ("*_pt", ["Muon_pt", "MET_pt"]),
            ("?Muon", ["nMuon"]),
            ("muon_*", []),
            ("[MH]*", ["Muon_pt", "MET_pt", "HLT_IsoMu24"]),
        ],
    )
    def test_globs_match_in_file_order(self, committed: Committed, pattern: str, names: list[str]) -> None:
        found = committed.catalog.columns(committed.version, pattern)
        assert [column.name for column in found] == names

    def test_lists_come_back_as_they_were(self, committed: Committed) -> None:
        catalog, version = committed.catalog, committed.version
        assert catalog.lists(version) == [MUON]
        assert catalog.list_info(version, "Muon") == MUON
        assert catalog.list_info(version, "Jet") is None

    def test_equal_schemas_are_stored_once(self, committed: Committed) -> None:
        other = committed.catalog.commit_version("other", SCHEMA, [])
        assert other.schema_id == committed.version.schema_id
        retitled = Schema(dict(SCHEMA.columns), dict(SCHEMA.lists))
        retitled.columns["MET_pt"] = Column("MET_pt", "float32", title="another")
        assert committed.catalog.commit_version("other", retitled, []).schema_id != other.schema_id

    def test_appending_unites_the_schemas(self, committed: Committed) -> None:
        catalog = committed.catalog
        new = Schema({"HLT_New": Column("HLT_New", "bool"), "MET_pt": SCHEMA.columns["MET_pt"]})
        second = catalog.commit_version("dy", new, [], append=True)
        assert set(catalog.column_names(second)) == {*SCHEMA.columns, "HLT_New"}
        assert catalog.column(committed.version, "HLT_New") is None

    def test_appending_another_type_is_refused(self, committed: Committed) -> None:
        new = Schema({"MET_pt": Column("MET_pt", "float64")})
        with pytest.raises(InvalidRequest, match="'MET_pt' is float32 in the dataset and float64 here"):
            committed.catalog.commit_version("dy", new, [], append=True)


class TestUnion:
    def test_new_columns_go_behind_their_neighbours(self) -> None:
        first = Schema({name: Column(name, "bool") for name in "acz"})
        second = Schema({name: Column(name, "bool") for name in "0abdz9"})
        assert "".join(union_schema(first, second).columns) == "0abdcz9"

    def test_a_list_with_another_nature_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="'Muon' is a collection in some"):
            union_schema(Schema(lists={"Muon": MUON}), Schema(lists={"Muon": ListInfo("Muon")}))

    def test_a_counter_that_one_side_knows_is_kept(self) -> None:
        bare = Schema(lists={"Muon": ListInfo("Muon", None, True)})
        for pair in ((bare, SCHEMA), (SCHEMA, bare)):
            assert union_schema(*pair).lists["Muon"] == MUON

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (Column("nMuon", "uint32"), "uint32, the length of list 'Muon', in the dataset and uint32 here"),
            (Column("nMuon", "uint32", list="Jet"), "uint32 per element of list 'Jet' here"),
        ],
    )
    def test_another_nature_of_a_column_is_refused(self, other: Column, message: str) -> None:
        with pytest.raises(InvalidRequest, match=message):
            union_schema(SCHEMA, Schema({"nMuon": other}))

    names = st.lists(st.sampled_from("abcdefgh"), unique=True)

    @given(names, names)
    def test_a_union_has_all_columns_and_keeps_the_order_of_the_first(
        self, first: list[str], second: list[str]
    ) -> None:
        a, b = (Schema({n: Column(n, "bool") for n in names}) for names in (first, second))
        united = union_schema(a, b)
        assert set(united.columns) == {*first, *second}
        assert [name for name in united.columns if name in first] == first
        assert list(union_schema(united, b).columns) == list(united.columns)


class TestLayouts:
    def test_a_layout_knows_where_columns_stand(self, catalog: Catalog) -> None:
        layout_id = catalog.add_layout(PHYSICAL)
        assert catalog.layout_index(layout_id, ["MET_pt", "Muon#", "none"]) == {"MET_pt": 2, "Muon#": 0}
        assert catalog.layout_index(layout_id, []) == {}
        assert catalog.layout(layout_id) == {name: index for index, name in enumerate(PHYSICAL)}

    def test_the_same_columns_are_the_same_layout(self, catalog: Catalog) -> None:
        first = catalog.add_layout(PHYSICAL)
        assert catalog.add_layout(list(PHYSICAL)) == first
        assert catalog.add_layout(PHYSICAL[::-1]) != first

    def test_a_column_twice_is_refused(self, catalog: Catalog) -> None:
        with pytest.raises(InvalidRequest, match="occurs twice"):
            catalog.add_layout(["a", "a"])

    def test_more_names_than_one_statement_holds(self, catalog: Catalog) -> None:
        for count in (IN_MAX, IN_MAX + 1):
            names = [f"c{i}" for i in range(count)]
            assert catalog.layout_index(catalog.add_layout(names), names) == {
                n: i for i, n in enumerate(names)
            }

    def test_files_that_lack_columns_are_named(self, catalog: Catalog) -> None:
        full, bare = catalog.add_layout(PHYSICAL), catalog.add_layout(["MET_pt"])
        partitions = [make_partition(i, bare if i % 2 else full) for i in range(4)]
        partitions.append(partitions[1]._replace(entry_start=100, entry_stop=200))
        version = catalog.commit_version("dy", SCHEMA, partitions)
        odd = [make_file(1), make_file(3)]
        assert catalog.lacking(version, ["MET_pt", "Muon_pt", "nMuon", "Muon#", "HLT_IsoMu24"]) == {
            "Muon_pt": odd,
            "nMuon": odd,
            "Muon#": odd,
            "HLT_IsoMu24": odd,
        }
        assert catalog.lacking(version, ["MET_pt"]) == {}
        assert catalog.lacking(version, []) == {}

    def test_appended_layouts_count_too(self, committed: Committed) -> None:
        catalog = committed.catalog
        new = make_partition(9, catalog.add_layout(["MET_pt"]))
        second = catalog.commit_version("dy", SCHEMA, [new], append=True)
        assert catalog.lacking(second, ["Muon_pt", "MET_pt"]) == {"Muon_pt": [make_file(9)]}
        assert catalog.lacking(committed.version, ["Muon_pt"]) == {}


class TestTrees:
    def test_trees_travel_with_their_files(self, committed: Committed) -> None:
        catalog = committed.catalog
        file = make_file(7)
        trees = [
            MetaTree(name, file, make_object(100 + i, 0))
            for i, name in enumerate(["Runs", "LuminosityBlocks"])
        ]
        second = catalog.commit_version("dy", SCHEMA, [], trees=trees, append=True)
        assert catalog.trees(second) == trees[::-1]
        assert catalog.trees(second, "Runs") == trees[:1]
        assert catalog.trees(second, "none") == []
        assert catalog.files(second)[-1] == file
        assert catalog.trees(catalog.commit_version("dy", SCHEMA, [], append=True)) == trees[::-1]
        assert catalog.trees(committed.version) == []


class TestDropping:
    def test_a_dropped_version_is_gone_and_its_number_stays_used(self, committed: Committed) -> None:
        catalog = committed.catalog
        second = catalog.commit_version("dy", SCHEMA, [], append=True)
        catalog.drop_version("dy", 2)
        assert catalog.version("dy") == committed.version
        with pytest.raises(NotFound, match="version 2 of dataset 'dy' was dropped"):
            catalog.partitions(second)
        assert catalog.commit_version("dy", SCHEMA, [], append=True).number == 3

    def test_a_dataset_without_versions_says_so(self, committed: Committed) -> None:
        committed.catalog.drop_version("dy", 1)
        with pytest.raises(NotFound, match="dataset 'dy' has no version"):
            committed.catalog.version("dy")
        assert committed.catalog.datasets() == []

    def test_dropping_what_is_not_there_is_an_error(self, committed: Committed) -> None:
        with pytest.raises(NotFound):
            committed.catalog.drop_version("dy", 2)
        with pytest.raises(NotFound, match=r"no dataset 'dyy'; did you mean 'dy'"):
            committed.catalog.drop_dataset("dyy")
        with pytest.raises(NotFound, match="no dataset 'none'"):
            committed.catalog.drop_dataset("none")

    def test_a_sweep_keeps_what_is_used(self, committed: Committed) -> None:
        catalog = committed.catalog
        catalog.commit_version("dy", SCHEMA, committed.partitions[:1])
        catalog.drop_version("dy", 1)
        catalog.sweep()
        assert catalog.object_names() == {committed.partitions[0].object.name}
        assert len(catalog.partitions(catalog.version("dy"))) == 1
        assert rows(catalog)["objects"] == rows(catalog)["files"] == rows(catalog)["partitions"] == 1

    def test_nothing_stays_of_a_dropped_dataset(self, committed: Committed) -> None:
        catalog = committed.catalog
        tree = MetaTree("Runs", make_file(0), make_object(100, 0))
        catalog.commit_version("dy", SCHEMA, committed.partitions, trees=[tree])
        catalog.drop_dataset("dy")
        assert catalog.object_names() == set()
        catalog.sweep()
        assert set(rows(catalog).values()) == {0}

    def test_ids_are_not_used_again(self, committed: Committed) -> None:
        """What a reader remembers of a schema or layout must not become another's."""
        catalog = committed.catalog
        catalog.drop_dataset("dy")
        catalog.sweep()
        again = catalog.commit_version("dy", SCHEMA, committed.partitions)
        assert again.number == 1
        assert again.id > committed.version.id
        assert again.schema_id > committed.version.schema_id


class TestJobs:
    def test_a_job_goes_on_where_it_was_killed(self, catalog: Catalog, address: str) -> None:
        layout_id = catalog.add_layout(PHYSICAL)
        file = make_file(0)
        partitions = [make_partition(i, layout_id, file) for i in range(12)]
        tree = MetaTree("Runs", file, make_object(100, 0))
        job = catalog.begin_job("dy", "key", '{"files": 1}')
        for one in (*partitions[::-1], partitions[0]):
            catalog.record_partition(job, one)
        catalog.record_tree(job, tree)
        catalog.record_tree(job, tree)

        resumed = Catalog(address).begin_job("dy", "key", "ignored")
        assert (resumed.id, resumed.state, resumed.description) == (job.id, "running", '{"files": 1}')
        assert resumed.updated >= job.updated
        assert catalog.job_partitions(resumed) == partitions
        assert catalog.job_trees(resumed) == [tree]

        version = catalog.commit_version("dy", SCHEMA, partitions, trees=[tree], job=resumed)
        (done,) = catalog.jobs()
        assert (done.state, done.version) == ("done", version.number)
        assert catalog.job_partitions(done) == []
        assert catalog.job_trees(done) == []

    def test_a_job_that_is_done_begins_anew(self, catalog: Catalog) -> None:
        job = catalog.begin_job("dy", "key")
        catalog.commit_version("dy", SCHEMA, [], job=job)
        again = catalog.begin_job("dy", "key")
        assert (again.state, again.version) == ("running", None)

    def test_a_failed_commit_leaves_the_job_as_it_was(self, catalog: Catalog) -> None:
        job = catalog.begin_job("dy", "key")
        partition = make_partition(0, catalog.add_layout(PHYSICAL))
        catalog.record_partition(job, partition)
        with pytest.raises(AlreadyExists):
            catalog.commit_version("dy", SCHEMA, [partition], expected=3, job=job)
        assert catalog.job_partitions(job) == [partition]
        assert catalog.jobs()[0].state == "running"

    def test_a_key_belongs_to_one_dataset(self, catalog: Catalog) -> None:
        catalog.begin_job("dy", "key")
        with pytest.raises(InvalidRequest, match="job 'key' is for dataset 'dy', not 'tt'"):
            catalog.begin_job("tt", "key")

    def test_a_job_that_was_given_up_cannot_go_on(self, catalog: Catalog) -> None:
        """Its objects may be gone."""
        job = catalog.begin_job("dy", "key")
        partition = make_partition(0, catalog.add_layout(PHYSICAL))
        catalog.record_partition(job, partition)
        catalog.drop_job(job)
        with pytest.raises(NotFound, match="was given up"):
            catalog.record_partition(job, partition)
        with pytest.raises(NotFound, match="was given up"):
            catalog.commit_version("dy", SCHEMA, [partition], job=job)
        catalog.sweep()
        assert set(rows(catalog).values()) == {0}

    def test_idle_jobs_are_found_and_given_up(self, catalog: Catalog) -> None:
        done = catalog.begin_job("dy", "done")
        catalog.commit_version("dy", SCHEMA, [], job=done)
        idle = catalog.begin_job("dy", "idle")
        assert catalog.jobs_idle_since(time.time() - 100) == []
        assert catalog.drop_jobs_idle_since(time.time() - 100) == []
        assert catalog.jobs_idle_since(time.time() + 1) == [idle]
        assert catalog.drop_jobs_idle_since(time.time() + 1) == [idle]
        assert [job.key for job in catalog.jobs()] == ["done"]

    def test_a_sweep_keeps_what_a_job_has_recorded(self, catalog: Catalog) -> None:
        job = catalog.begin_job("dy", "key")
        partition = make_partition(0, catalog.add_layout(PHYSICAL))
        catalog.record_partition(job, partition)
        catalog.sweep()
        assert catalog.job_partitions(job) == [partition]
        assert catalog.object_names() == {partition.object.name}
        assert catalog.object_names(given_up=[job]) == set()


class TestTallies:
    """What is added up of the events of partitions."""

    COLUMNS = ("run", "luminosityBlock", "genWeight")

    def part(self, number: int, layout_id: int, *tally: Any) -> NewPartition:
        return make_partition(number, layout_id)._replace(tally=EncodedTally(*tally))

    def test_a_tally_is_what_was_committed_or_recorded(self, catalog: Catalog) -> None:
        layout_id = catalog.add_layout(self.COLUMNS)
        job = catalog.begin_job("dy", "key")
        catalog.record_partition(job, self.part(0, layout_id, "1p0", b"first"))
        (recorded,) = catalog.job_partitions(job)
        parts = [recorded, self.part(1, layout_id, "3p-1", b""), self.part(2, layout_id)]
        version = catalog.commit_version("dy", SCHEMA, parts, job=job)

        names = [one.object.name for one in parts]
        assert catalog.partition_tallies(version, 0, 3) == [
            PartitionTally(0, 100, names[0], "1p0", names[0], b"first"),
            PartitionTally(1, 100, names[1], "3p-1", names[1], b""),
            PartitionTally(2, 100, names[2], None, names[2], None),
        ]
        catalog.record_tallies({names[2]: "5p0", "gone": "7p0"}, {names[2]: b"third", names[0]: b"other"})
        assert catalog.partition_tallies(version, 2, 3) == [
            PartitionTally(2, 100, names[2], "5p0", names[2], b"third")
        ]
        assert catalog.partition_tallies(version, 0, 1)[0].sections == b"first"

    def test_columns_count_as_they_are_in_the_newest_object(self, catalog: Catalog) -> None:
        base, other, run = (catalog.add_layout(one) for one in (self.COLUMNS, ("genWeight", "x"), ("run",)))
        lacking = catalog.add_layout(["x"])
        new = [self.part(0, base, "1p0", b"base"), self.part(1, lacking)]
        first = catalog.commit_version("dy", SCHEMA, new)
        parts = catalog.partitions(first)
        beside = make_object(7, other), make_object(8, run)
        second = catalog.commit_version("dy", SCHEMA, [parts[0]._replace(sets=beside), parts[1]])
        catalog.record_tallies({beside[0].name: "9p0"}, {})

        names = [one.object.name for one in parts]
        nothing = PartitionTally(1, 100, None, None, None, None)
        assert catalog.partition_tallies(first, 0, 2) == [
            PartitionTally(0, 100, names[0], "1p0", names[0], b"base"),
            nothing,
        ]
        assert catalog.partition_tallies(second, 0, 2) == [
            PartitionTally(0, 100, beside[0].name, "9p0", "", None),
            nothing,
        ]

    def test_a_sweep_forgets_tallies_of_objects_that_nobody_uses(self, catalog: Catalog) -> None:
        layout_id = catalog.add_layout(self.COLUMNS)
        kept, dropped = (self.part(i, layout_id, "1p0", b"x") for i in range(2))
        version = catalog.commit_version("kept", SCHEMA, [kept])
        catalog.commit_version("dropped", SCHEMA, [dropped])
        catalog.drop_dataset("dropped")
        catalog.sweep()
        assert rows(catalog)["object_weights"] == rows(catalog)["object_sections"] == 1
        assert catalog.partition_tallies(version, 0, 1)[0].sections == b"x"

    def test_a_version_that_was_dropped_has_none(self, committed: Committed) -> None:
        committed.catalog.drop_version("dy", 1)
        with pytest.raises(NotFound, match="was dropped"):
            committed.catalog.partition_tallies(committed.version, 0, 3)


class TestManyWriters:
    def test_threads_that_append_at_once_all_succeed(self, catalog: Catalog) -> None:
        layout_id = catalog.add_layout(PHYSICAL)

        def append(number: int) -> int:
            new = make_partition(number, layout_id)
            return catalog.commit_version("dy", SCHEMA, [new], append=True).number

        with ThreadPoolExecutor(8) as pool:
            numbers = list(pool.map(append, range(16)))
        assert sorted(numbers) == list(range(1, 17))
        newest = catalog.version("dy")
        assert (newest.number, newest.partitions, newest.events) == (16, 16, 1600)
        assert [one.index for one in catalog.partitions(newest)] == list(range(16))

    def test_of_two_that_expect_the_same_version_one_succeeds(self, committed: Committed) -> None:
        start = threading.Barrier(2)

        def commit(_: int) -> str:
            start.wait()
            try:
                committed.catalog.commit_version("dy", SCHEMA, [], expected=1)
            except AlreadyExists:
                return "refused"
            return "committed"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(commit, range(2))) == ["committed", "refused"]
        assert committed.catalog.version("dy").number == 2

    @pytest.mark.slow
    def test_two_processes_make_a_catalog_and_append_at_once(self, new_address: str) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            pool.starmap(_append_many, [(new_address, 0), (new_address, 100)])
        newest = Catalog(new_address).version("dy")
        assert (newest.number, newest.partitions) == (20, 20)
        assert {job.state for job in Catalog(new_address).jobs()} == {"done"}

    def test_readers_go_on_while_one_writes(self, committed: Committed) -> None:
        catalog = committed.catalog
        with catalog._database.write() as connection:
            connection.execute(sa.text("UPDATE versions SET note = 'changed'"))
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(catalog.version, "dy").result(timeout=60).note == ""
                assert len(pool.submit(catalog.partitions, committed.version).result(timeout=60)) == 3
        assert catalog.version("dy").note == "changed"

    def test_an_error_in_mid_commit_changes_nothing(self, committed: Committed) -> None:
        before = rows(committed.catalog)
        bad = make_partition(5, 1)._replace(entry_start=None)  # type: ignore[arg-type]
        with pytest.raises(StoreError):
            committed.catalog.commit_version("dy", SCHEMA, [make_partition(4, 1), bad], append=True)
        assert rows(committed.catalog) == before


def _append_many(address: str, first: int) -> None:
    catalog = Catalog(address)
    layout_id = catalog.add_layout(PHYSICAL)
    for number in range(first, first + 10):
        job = catalog.begin_job("dy", f"job{number}")
        new = make_partition(number, layout_id)
        catalog.record_partition(job, new)
        catalog.commit_version("dy", SCHEMA, [new], append=True, job=job)


class TestOpening:
    def test_opening_what_is_not_there_can_be_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "none" / "catalog.sqlite"
        with pytest.raises(NotFound, match=r"no catalog at .*none"):
            Catalog(path, create=False)
        assert not path.parent.exists()

    def test_an_empty_file_becomes_a_catalog(self, tmp_path: Path) -> None:
        path = tmp_path / "catalog.sqlite"
        path.touch()
        with pytest.raises(NotFound, match="the file is empty"):
            Catalog(path, create=False)
        assert Catalog(path).datasets() == []

    @pytest.mark.postgres
    def test_an_empty_database_becomes_a_catalog(self, postgres: str) -> None:
        address = new_postgres_schema(postgres)
        with pytest.raises(NotFound, match="it has no table 'catalog_info'"):
            Catalog(address, create=False)
        assert Catalog(address).datasets() == []

    def test_the_catalog_is_there_when_opened_again(self, committed: Committed, address: str) -> None:
        database_module.close_all()
        again = Catalog(address, create=False)
        assert again.version("dy") == committed.version
        assert again.created_s() <= time.time()

    def test_opening_twice_shares_the_connections(self, committed: Committed, address: str) -> None:
        assert Catalog(address)._database is committed.catalog._database

    @pytest.mark.parametrize(
        "spell", [str, Path, lambda path: f"sqlite:///{path}"], ids=["text", "path", "url"]
    )
    def test_a_file_opens_in_every_spelling(self, tmp_path: Path, spell: Callable[[Path], str]) -> None:
        path = tmp_path / "a catalog.sqlite"
        Catalog(path).commit_version("dy", SCHEMA, [])
        assert Catalog(spell(path), create=False).version("dy").number == 1
        assert str(path) in repr(Catalog(path))

    def test_a_catalog_in_memory_is_of_its_own(self) -> None:
        first, second = Catalog("memory://"), Catalog("memory://")
        first.commit_version("dy", SCHEMA, [])
        assert second.datasets() == []
        with ThreadPoolExecutor(4) as pool:
            assert {one.number for one in pool.map(lambda _: first.version("dy"), range(20))} == {1}

    def test_a_new_file_at_an_old_path_is_a_new_catalog(self, tmp_path: Path) -> None:
        path = tmp_path / "store" / "catalog.sqlite"
        Catalog(path).commit_version("dy", SCHEMA, [])
        for _ in range(3):
            shutil.rmtree(path.parent)
            assert Catalog(path).datasets() == []

    def test_only_so_many_files_stay_open(self, tmp_path: Path) -> None:
        catalogs = [Catalog(tmp_path / f"{i}.sqlite") for i in range(database_module.DATABASES_MAX + 1)]
        assert len(database_module._open_databases) == database_module.DATABASES_MAX
        assert all(catalog.datasets() == [] for catalog in catalogs)

    def test_a_newer_catalog_is_refused(self, new_address: str) -> None:
        newer = SCHEMA_VERSION + 1
        database = Catalog(new_address)._database
        with database.write() as connection:
            connection.execute(sa.text(f"UPDATE catalog_info SET schema_version = {newer}"))
            if database.is_sqlite:
                connection.exec_driver_sql(f"PRAGMA user_version = {newer}")
        database_module.close_all()
        with pytest.raises(InvalidRequest, match=f"has tables of version {newer}; .* up to {SCHEMA_VERSION}"):
            Catalog(new_address)

    def test_another_database_is_no_catalog(self, tmp_path: Path) -> None:
        path = tmp_path / "other.sqlite"
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE t (x)")
        other.close()
        with pytest.raises(InvalidRequest, match="is a SQLite database, but no catalog"):
            Catalog(path)

    @pytest.mark.parametrize("content", [b"no database at all, but long enough to look at" * 100, b"root"])
    def test_a_file_that_is_no_database_is_a_store_error(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "catalog.sqlite"
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"catalog .*: file is not a database"):
            Catalog(path)
        assert path.read_bytes() == content

    def test_a_damaged_catalog_is_a_store_error(self, tmp_path: Path) -> None:
        path = tmp_path / "catalog.sqlite"
        catalog = Catalog(path)
        layout_id = catalog.add_layout(PHYSICAL)
        version = catalog.commit_version("dy", SCHEMA, [make_partition(i, layout_id) for i in range(500)])
        database_module.close_all()
        data = bytearray(path.read_bytes())
        for page in range(4096, len(data), 4096):
            data[page : page + 100] = bytes(100)
        path.write_bytes(data)
        damaged = Catalog(path)
        with pytest.raises(StoreError, match="malformed"):
            damaged.partitions(version)

    def test_a_directory_is_no_catalog(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="unable to open"):
            Catalog(tmp_path)

    def test_a_place_that_cannot_be_made_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StoreError, match="catalog"):
            Catalog(tmp_path / "file" / "catalog.sqlite")

    @pytest.mark.parametrize(
        ("address", "message"),
        [("mysql://host/db", "not in 'mysql'"), ("://", "is no address"), ("gopher://x", "not in 'gopher'")],
    )
    def test_other_databases_are_refused(self, address: str, message: str) -> None:
        with pytest.raises(InvalidRequest, match=message):
            Catalog(address)

    def test_a_server_that_is_not_there_is_a_store_error(self, tmp_path: Path) -> None:
        pytest.importorskip("psycopg")
        address = f"postgresql+psycopg://user:secret@/db?host={tmp_path}"
        with pytest.raises(StoreError, match="catalog postgresql") as caught:
            Catalog(address)
        assert "secret" not in str(caught.value)

    def test_a_writer_waits_only_so_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database_module, "WAIT_S", 0.1)
        path = tmp_path / "catalog.sqlite"
        catalog = Catalog(path)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked"):
            catalog.commit_version("dy", SCHEMA, [])
        other.execute("ROLLBACK")
        other.close()
        assert catalog.commit_version("dy", SCHEMA, []).number == 1

    @pytest.mark.slow
    def test_a_forked_child_makes_connections_of_its_own(self, tmp_path: Path) -> None:
        """SQLite connections must not cross a fork; a fresh process keeps threads out of the way."""
        script = (
            "import os, sys\n"
            "from skyhook_casa.catalog import Catalog\n"
            "from skyhook_casa.schema import Schema\n"
            "Catalog(sys.argv[1]).commit_version('dy', Schema(), [])\n"
            "child = os.fork()\n"
            "Catalog(sys.argv[1]).commit_version('dy', Schema(), [], append=True)\n"
            "if child:\n"
            "    assert os.waitpid(child, 0)[1] == 0\n"
            "    assert Catalog(sys.argv[1]).version('dy').number == 3\n"
        )
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "catalog.sqlite")], check=True, timeout=60
        )


class TestKill:
    @pytest.mark.slow
    def test_a_kill_in_mid_commit_leaves_the_old_version_or_the_new(self, tmp_path: Path) -> None:
        path = tmp_path / "catalog.sqlite"
        Catalog(path).commit_version("dy", SCHEMA, [])
        context = multiprocessing.get_context("spawn")
        for turn in range(4):
            committed = context.Semaphore(0)
            writer = context.Process(
                target=_append_forever, args=(str(path), 100_000 * (turn + 1), committed)
            )
            writer.start()
            assert committed.acquire(timeout=120)
            time.sleep(0.01 + 0.017 * turn)
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            database_module.close_all()
            catalog = Catalog(path, create=False)
            newest = catalog.version("dy")
            parts = catalog.partitions(newest)
            assert newest.partitions == len(parts) == 200 * (newest.number - 1)
            assert newest.events == sum(one.events for one in parts)
            assert [one.first_event for one in parts] == list(range(0, newest.events, 100))
        assert newest.number > 4


def _append_forever(path: str, first: int, committed: threading.Semaphore) -> None:
    catalog = Catalog(path)
    layout_id = catalog.add_layout(PHYSICAL)
    for start in itertools.count(first, 200):
        new = [make_partition(number, layout_id) for number in range(start, start + 200)]
        catalog.commit_version("dy", SCHEMA, new, append=True)
        committed.release()


class TestCost:
    """Counted statements, not time: the cost must not grow with what is not asked for."""

    def test_a_query_needs_few_statements(self, committed: Committed, address: str) -> None:
        seen: list[str] = []
        engine = committed.catalog._database.engine
        sa.event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
        catalog = Catalog(address)
        version = catalog.version("dy")
        catalog.columns_named(version, ["MET_pt", "Muon_pt", "nMuon"])
        catalog.partitions(version)
        assert len(seen) == 5

    def test_look_ups_use_indices(self, tmp_path: Path) -> None:
        catalog = Catalog(tmp_path / "catalog.sqlite")
        catalog.commit_version("dy", SCHEMA, [])
        values = {
            "dataset": "dy",
            "schema_id": 1,
            "name": "a",
            "names": ["a", "b"],
            "layout_id": 1,
            "version_id": 1,
            "first": 0,
            "stop": 9,
        }
        for name in (
            "newest",
            "one_column",
            "some_columns",
            "one_list",
            "layout_index",
            "version_partitions",
            "partition_tallies",
            "set_tallies",
        ):
            select = getattr(statements, name)
            wanted = {key: values[key] for key in select.compile().params if key in values}
            compiled = select.params(wanted).compile(
                catalog._database.engine, compile_kwargs={"literal_binds": True}
            )
            with catalog._database.read() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
            assert not [row for row in plan if row[-1].startswith("SCAN")], name
