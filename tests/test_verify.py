"""Verification finds every bad object and goes on after one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from skyhook_casa.catalog import Catalog, DatasetVersion, FileInfo, MetaTree, NewPartition, ObjectInfo
from skyhook_casa.errors import NotFound, StoreError
from skyhook_casa.object_directory import read_directory
from skyhook_casa.object_format import EncodedObject, ObjectWriter
from skyhook_casa.schema import Column, ListInfo, Schema
from skyhook_casa.stores import ByteRange, MemoryStore
from skyhook_casa.verify import Verification, verify

SCHEMA = Schema(
    {
        "nMuon": Column("nMuon", "uint32", counts="Muon"),
        "Muon_pt": Column("Muon_pt", "float32", list="Muon"),
        "MET_pt": Column("MET_pt", "float32"),
    },
    {"Muon": ListInfo("Muon", "nMuon", True)},
)
EVENTS = 40
FILE = FileInfo("/data/a.root", "uuid", "Events", 3 * EVENTS, 1000)


def encode(seed: int, codec: str = "lz4") -> EncodedObject:
    """One object of two chunks."""
    rng = np.random.default_rng(seed)
    writer = ObjectWriter(SCHEMA, codec)
    for _ in range(2):
        counts = rng.integers(0, 4, EVENTS // 2)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        pt = rng.exponential(30, offsets[-1]).astype(np.float32)
        met = rng.exponential(30, EVENTS // 2).astype(np.float32)
        writer.write(EVENTS // 2, {"Muon#": offsets, "Muon_pt": pt, "MET_pt": met})
    return writer.finish()


@dataclass
class Site:
    catalog: Catalog
    store: MemoryStore
    objects: list[EncodedObject]
    version: DatasetVersion

    def verify(self) -> Verification:
        return verify(self.catalog, self.store, self.version)

    def replace(self, name: str, data: bytes) -> None:
        """Put other bytes in an object's place, as a failing disk does."""
        self.store.delete(name)
        self.store.put(name, data)


def make_site(codec: str = "lz4", **wrong: int) -> Site:
    """A dataset of three objects and a Runs tree; `wrong` is what the catalog says of the second."""
    catalog, store = Catalog("memory://"), MemoryStore()
    objects = [encode(seed, codec) for seed in range(3)]
    layout_id = catalog.add_layout(objects[0].columns)
    infos = []
    for one in objects:
        store.put(one.name, one.data)
        infos.append(ObjectInfo(one.name, len(one.data), one.directory_start, one.directory_bytes, layout_id))
    events = wrong.pop("events", EVENTS)
    infos[1] = infos[1]._replace(**wrong)
    partitions = [
        NewPartition(events if i == 1 else EVENTS, info, FILE, i * EVENTS, (i + 1) * EVENTS)
        for i, info in enumerate(infos)
    ]
    runs = b"a Runs tree"
    name = hashlib.sha256(runs).hexdigest()
    store.put(name, runs)
    trees = [MetaTree("Runs", FILE, ObjectInfo(name, len(runs), 0, 0, 0))]
    return Site(catalog, store, objects, catalog.commit_version("dy", SCHEMA, partitions, trees=trees))


@pytest.fixture
def site() -> Site:
    return make_site()


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_a_good_version_is_good(codec: str) -> None:
    site = make_site(codec)
    found = site.verify()
    assert found.ok
    assert (found.dataset, found.number, found.objects, found.bad) == ("dy", 1, 4, ())
    assert found.bytes == sum(len(one.data) for one in site.objects) + len(b"a Runs tree")


def test_an_empty_dataset_is_good(site: Site) -> None:
    version = site.catalog.commit_version("none", SCHEMA, [])
    assert verify(site.catalog, site.store, version).ok


def test_every_bad_object_is_reported(site: Site) -> None:
    first, _, third = site.objects
    site.store.delete(first.name)
    site.replace(third.name, bytes(third.data)[:-1])
    (tree,) = site.catalog.trees(site.version)
    site.replace(tree.object.name, b"a runs tree")
    found = site.verify()
    assert not found.ok
    assert [(one.name, one.holds) for one in found.bad] == [
        (first.name, "partition 0 (entries 0 to 39 of /data/a.root)"),
        (third.name, "partition 2 (entries 80 to 119 of /data/a.root)"),
        (tree.object.name, "Runs of /data/a.root"),
    ]
    assert found.objects == 4
    assert found.bad[0].problems == ("it is gone",)
    assert f"it has {len(third.data) - 1} bytes, the catalog says {len(third.data)}" in found.bad[1].problems
    assert "its name is not the SHA-256" in str(found.bad[2])


def test_every_flipped_byte_is_found(site: Site) -> None:
    """Whatever part of the object it is in: padding and Arrow's own metadata included."""
    bad = site.objects[1]
    good = bytes(bad.data)
    only = site.catalog.partitions(site.version)[1:2]
    site.version = site.catalog.commit_version("alone", SCHEMA, only)
    for place in range(len(good)):
        flipped = bytearray(good)
        flipped[place] ^= 0xFF
        site.replace(bad.name, bytes(flipped))
        assert [one.name for one in site.verify().bad] == [bad.name], place


def test_a_column_with_wrong_bytes_is_named(site: Site) -> None:
    bad = site.objects[1]
    entry = read_directory(bad.data).column("MET_pt").chunks[1]
    flipped = bytearray(bad.data)
    flipped[int(entry["offset"])] ^= 1
    site.replace(bad.name, bytes(flipped))
    (found,) = site.verify().bad
    assert found.problems[1:] == ("column 'MET_pt' has a wrong checksum in chunk 1",)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bytes": 5}, "bytes, the catalog says 5"),
        ({"directory_start": 8}, "its directory start is .*, the catalog says 8"),
        ({"directory_bytes": 8}, "its directory bytes is .*, the catalog says 8"),
        ({"events": 39}, "its events is 40, the catalog says 39"),
        ({"layout_id": 7}, "its columns are not those that the catalog says"),
    ],
)
def test_a_catalog_that_says_otherwise_is_reported(wrong: dict[str, int], message: str) -> None:
    site = make_site(**wrong)
    (found,) = site.verify().bad
    assert found.name == site.objects[1].name
    assert len(found.problems) == 1
    assert re.search(message, found.problems[0])


def test_a_good_object_under_a_wrong_name_is_found(site: Site) -> None:
    """Two objects that changed places: each is whole, but holds other events."""
    first, second, _ = site.objects
    site.replace(first.name, bytes(second.data))
    (found,) = site.verify().bad
    assert any(second.name in problem for problem in found.problems)


def test_an_object_that_cannot_be_read_is_reported_and_the_check_goes_on(site: Site) -> None:
    class Failing(MemoryStore):
        def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
            if name == site.objects[0].name:
                raise StoreError("input/output error")
            return super().read_many(name, ranges)

    failing = Failing()
    failing._objects = site.store._objects
    found = verify(site.catalog, failing, site.version)
    assert found.objects == 4
    assert [one.problems for one in found.bad] == [("it cannot be read: input/output error",)]


def test_a_dropped_version_is_not_found(site: Site) -> None:
    site.catalog.drop_version("dy", 1)
    with pytest.raises(NotFound, match="was dropped"):
        site.verify()


def test_progress_is_shown_on_request(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(site.catalog, site.store, site.version, show_progress=False).ok
    assert capsys.readouterr().err == ""
