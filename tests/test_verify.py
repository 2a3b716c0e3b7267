"""Verification finds every bad object and goes on after one, inside the storage as by reading."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pytest

from skyhook_casa.catalog import Catalog, DatasetVersion, FileInfo, MetaTree, NewPartition, ObjectInfo
from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.errors import ClassMissing, NotFound, RequestLost, StoreError
from skyhook_casa.object_directory import read_directory
from skyhook_casa.object_format import EncodedObject, ObjectWriter
from skyhook_casa.schema import Column, ListInfo, Schema
from skyhook_casa.stores import ByteRange, MemoryStore, ObjectStore, open_store
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
    store: ObjectStore
    objects: list[EncodedObject]
    version: DatasetVersion

    def verify(self) -> Verification:
        return verify(self.catalog, self.store, self.version)

    def replace(self, name: str, data: bytes) -> None:
        """Put other bytes in an object's place, as a failing disk does."""
        self.store.delete(name)
        self.store.put(name, data)


def make_site(store: ObjectStore, codec: str = "lz4", **wrong: Any) -> Site:
    """A dataset of three objects and a Runs tree; `wrong` is what the catalog says of the second."""
    catalog = Catalog("memory://")
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


@pytest.fixture(params=["read", "inside", pytest.param("rados", marks=pytest.mark.ceph)])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """A store that only stores, one that stands in for a cluster with the class, and such a cluster."""
    if request.param != "rados":
        return MemoryStore(runs_class=request.param == "inside")
    cluster: Cluster = request.getfixturevalue("ceph")
    return open_store(f"{cluster.url}&namespace={uuid.uuid4().hex}")


@pytest.fixture
def site(store: ObjectStore) -> Site:
    return make_site(store)


CALL_BYTES = 120 + 168
"""Request and answer of one call of the class."""


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
def test_a_good_version_is_good(store: ObjectStore, codec: str) -> None:
    """And where the class runs, no byte of an object leaves the storage."""
    site = make_site(store, codec)
    found = site.verify()
    assert found.ok
    assert (found.dataset, found.number, found.objects, found.bad) == ("dy", 1, 4, ())
    assert found.bytes == sum(len(one.data) for one in site.objects) + len(b"a Runs tree")
    inside = store.pushes_down
    assert found.objects_inside == (4 if inside else 0)
    assert found.bytes_moved == (4 * CALL_BYTES if inside else found.bytes)
    assert found.reason == ("" if inside else "the store cannot run programs")
    assert f"all good; {found.objects_inside} checked inside the storage" in str(found)


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
    assert str(found).endswith(f"{found.bad[0]}\n{found.bad[1]}\n{found.bad[2]}")


def damage(site: Site, how: str) -> None:
    """Do something to the second object."""
    bad = site.objects[1]
    data, directory = bytearray(bad.data), read_directory(bad.data)
    if how == "gone":
        site.store.delete(bad.name)
        return
    if how == "cut":
        del data[-100:]
    elif how == "longer":
        data += b"x"
    elif how == "swapped":
        data = bytearray(site.objects[2].data)
    elif how == "empty":
        data.clear()
    else:
        places = {
            "column": int(directory.column("Muon_pt").chunks[0]["offset"]) + 1,
            "offsets": int(directory.column("Muon#").chunks[1]["offset"]),
            "header": bad.directory_start + 12,
            "chunks": bad.directory_start + 64,
            "keys": bad.directory_start + 80,
            "row": bad.directory_start + 150,
            "trailer": bad.directory_start + bad.directory_bytes - 20,
            "arrow": 20,
            "footer": len(data) - 30,
        }
        data[places[how]] ^= 4
    site.replace(bad.name, bytes(data))


@pytest.mark.parametrize(
    "how",
    "gone cut longer swapped empty column offsets header chunks keys row trailer arrow footer".split(),
)
def test_an_object_is_bad_for_the_same_reasons_inside_the_storage_as_by_reading(site: Site, how: str) -> None:
    damage(site, how)
    copy = MemoryStore()
    for one in site.store.list():
        copy.put(one.name, site.store.read_object(one.name))

    found, by_reading = site.verify(), verify(site.catalog, copy, site.version)

    assert found.bad == by_reading.bad
    assert [one.name for one in found.bad] == [site.objects[1].name]
    assert found.objects == 4
    if site.store.pushes_down:
        assert found.objects_inside == 3
        assert found.bytes_moved < by_reading.bytes_moved


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 16])
@pytest.mark.parametrize("runs_class", [False, True])
def test_every_flipped_byte_is_found(runs_class: bool, step: int) -> None:
    """Whatever part of the object it is in: padding and Arrow's own metadata included."""
    site = make_site(MemoryStore(runs_class))
    bad = site.objects[1]
    good = bytes(bad.data)
    only = site.catalog.partitions(site.version)[1:2]
    site.version = site.catalog.commit_version("alone", SCHEMA, only)
    for place in range(0, len(good), step):
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
def test_a_catalog_that_says_otherwise_is_reported(
    store: ObjectStore, wrong: dict[str, Any], message: str
) -> None:
    site = make_site(store, **wrong)
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


def test_an_object_that_cannot_be_read_is_reported_and_the_check_goes_on() -> None:
    site = make_site(MemoryStore())

    class Failing(MemoryStore):
        def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
            if name == site.objects[0].name:
                raise StoreError("input/output error")
            return super().read_many(name, ranges)

    found = verify(site.catalog, filled(Failing(), site), site.version)
    assert found.objects == 4
    assert [one.problems for one in found.bad] == [("it cannot be read: input/output error",)]


# -- when the storage cannot check ----------------------------------------------------------------
Store = TypeVar("Store", bound=MemoryStore)


def filled(store: Store, site: Site) -> Store:
    """Put the site's objects into another store."""
    for one in site.store.list():
        store.put(one.name, site.store.read_object(one.name))
    return store


class Running(MemoryStore):
    """A store with the class, some of whose calls go wrong."""

    def __init__(self, *errors: Exception | None) -> None:
        super().__init__(runs_class=True)
        self.errors = list(errors)
        self.calls = 0

    def execute(self, name: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return super().execute(name, method, request, reply_bytes_max)


LOST = RequestLost("no answer within 5 s")


@pytest.mark.parametrize(
    ("errors", "inside", "calls"),
    [
        ([ClassMissing("no object class")], 0, 1),
        ([None, StoreError("client.x may not run it")], 1, 2),
        ([LOST], 0, 1),
        ([None, LOST], 3, 4),
        ([None, LOST, LOST], 1, 3),
    ],
)
def test_objects_are_read_if_the_storage_cannot_check_them(
    errors: list[Exception | None], inside: int, calls: int
) -> None:
    """A request that may have ended its OSD is not sent again; one that is lost later may be an accident."""
    site = make_site(MemoryStore())
    store = filled(Running(*errors), site)
    found = verify(site.catalog, store, site.version)
    assert found.ok
    assert (found.objects_inside, store.calls) == (inside, calls)
    assert found.reason == str([error for error in errors if error][-1])
    assert found.bytes_moved > found.bytes / 4


def test_objects_are_read_if_the_class_is_too_old() -> None:
    """It then answers without a SHA-256."""
    site = make_site(MemoryStore())

    class Old(Running):
        def execute(self, name: str, method: str, request: bytes, reply_bytes_max: int) -> bytes:
            return super().execute(name, method, request, reply_bytes_max)[:128]

    store = filled(Old(), site)
    found = verify(site.catalog, store, site.version)
    assert found.ok
    assert (found.objects_inside, store.calls) == (0, 1)
    assert "older version" in found.reason


def test_an_object_that_is_bad_only_inside_the_storage_is_bad() -> None:
    """As when a primary's disk fails between the two looks."""
    site = make_site(MemoryStore())
    damaged = filled(MemoryStore(runs_class=True), site)
    damage(replace(site, store=damaged), "column")

    class Flickering(MemoryStore):
        def execute(self, *args: object) -> bytes:
            return damaged.execute(*args)  # type: ignore[arg-type]

    found = verify(site.catalog, filled(Flickering(runs_class=True), site), site.version)
    (bad,) = found.bad
    assert bad.name == site.objects[1].name
    assert bad.problems[0].startswith(
        "the storage finds otherwise than who reads it: column number 1, chunk 0"
    )


def test_a_large_object_is_checked_in_several_calls(store: ObjectStore) -> None:
    """The SHA-256 goes on where the last call paused."""
    site = make_site(store)
    data = np.random.default_rng(5).bytes((20 << 20) + 13)
    name = hashlib.sha256(data).hexdigest()
    store.put(name, data)
    tree = MetaTree("LuminosityBlocks", FILE, ObjectInfo(name, len(data), 0, 0, 0))
    site.version = site.catalog.commit_version("large", SCHEMA, [], trees=[tree])
    found = site.verify()
    assert (found.ok, found.objects, found.bytes) == (True, 1, len(data))
    if store.pushes_down:
        assert found.objects_inside == 1
        assert 3 * CALL_BYTES <= found.bytes_moved <= 30 * CALL_BYTES
    data = data[:-1] + bytes([data[-1] ^ 1])
    site.replace(name, data)
    (bad,) = site.verify().bad
    assert bad.problems == (
        f"its name is not the SHA-256 of its content, {hashlib.sha256(data).hexdigest()}",
    )


def test_a_dropped_version_is_not_found(site: Site) -> None:
    site.catalog.drop_version("dy", 1)
    with pytest.raises(NotFound, match="was dropped"):
        site.verify()


def test_progress_is_shown_on_request(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(site.catalog, site.store, site.version, show_progress=False).ok
    assert capsys.readouterr().err == ""
