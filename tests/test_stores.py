"""The contract of every object store."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_fixture import make_moto_older
from waiting import wait_until

from skyhook_casa.errors import InvalidRequest, NotFound, StoreError
from skyhook_casa.stores import (
    OBJECT_BYTES_MAX,
    ByteRange,
    DirectoryStore,
    MemoryStore,
    ObjectStore,
    StoredObject,
    open_store,
)
from skyhook_casa.stores.rados import RadosStore
from skyhook_casa.stores.rados_pool import Pool
from skyhook_casa.stores.s3 import S3Store

LOCAL: dict[str, Callable[[Path], ObjectStore]] = {
    "memory": lambda _: MemoryStore(),
    "directory": lambda path: DirectoryStore(path / "store"),
}


CEPH = ("rados", "radosgw")


@pytest.fixture(
    params=[
        *LOCAL,
        pytest.param("moto", marks=pytest.mark.slow),
        *(pytest.param(kind, marks=pytest.mark.ceph) for kind in CEPH),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of every kind."""
    kind: str = request.param
    if kind in LOCAL:
        return LOCAL[kind](tmp_path)
    if kind == "rados":
        return open_store(f"{request.getfixturevalue('ceph').url}&namespace={uuid.uuid4().hex}")
    return open_store(request.getfixturevalue(f"{kind}_store"))


def make_older(store: ObjectStore, name: str, age_s: float) -> None:
    """Make an object look as if it had been put `age_s` seconds ago."""
    then = time.time() - age_s
    if isinstance(store, MemoryStore):
        store._objects[name] = (store._objects[name][0], then)
    elif isinstance(store, RadosStore):
        make_older_in_rados(store._pool, name, then)
    elif isinstance(store, S3Store) and store._companion:
        make_older_in_rados(store._companion.pool, store._companion.oid(store._key(name)), then)
    elif isinstance(store, S3Store):
        make_moto_older(store._key(name), then)
    else:
        path = store.local_path(name)
        assert path is not None
        os.utime(path, (then, then))


def turns(store: ObjectStore, usual: int) -> int:
    """How often to try what may go wrong by chance: a request of S3 takes milliseconds."""
    return usual // 10 if isinstance(store, S3Store) else usual


def make_older_in_rados(pool: Pool, oid: str, then_s: float) -> None:
    operation = (io := pool.io()).create_write_op()
    operation.set_xattr("age", b"")
    io.operate_write_op(operation, oid, mtime=int(then_s))


class TestReading:
    def test_what_was_put_is_read(self, store: ObjectStore) -> None:
        assert store.put("muons", b"0123456789")
        assert store.read("muons", ByteRange(2, 5)) == b"234"
        assert store.read_object("muons") == b"0123456789"
        assert store.size("muons") == 10
        assert store.exists("muons")

    def test_many_ranges_come_in_the_order_asked(self, store: ObjectStore) -> None:
        store.put("muons", b"0123456789")
        ranges = [ByteRange(8, 10), ByteRange(0, 1), ByteRange(0, 10), ByteRange(0, 1)]
        assert store.read_many("muons", ranges) == [b"89", b"0", b"0123456789", b"0"]
        assert store.read_many("muons", []) == []

    def test_a_read_to_the_end_is_allowed(self, store: ObjectStore) -> None:
        store.put("muons", b"0123456789")
        assert store.read("muons", ByteRange(9, 10)) == b"9"

    def test_read_past_the_end_is_refused(self, store: ObjectStore) -> None:
        """A short read would look like truncated data, so it is an error."""
        store.put("muons", b"0123456789")
        with pytest.raises(InvalidRequest, match=r"10 bytes, asked for \[8, 11\)"):
            store.read("muons", ByteRange(8, 11))
        with pytest.raises(InvalidRequest, match=r"10 bytes, asked for \[10, 11\)"):
            store.read_many("muons", [ByteRange(0, 1), ByteRange(10, 11)])

    @pytest.mark.parametrize(
        "ask",
        [
            lambda store: store.read("muons", ByteRange(0, 1)),
            lambda store: store.read_many("muons", []),
            lambda store: store.read_object("muons"),
            lambda store: store.size("muons"),
        ],
    )
    def test_an_absent_object_is_not_found(
        self, store: ObjectStore, ask: Callable[[ObjectStore], object]
    ) -> None:
        with pytest.raises(NotFound, match="muons"):
            ask(store)

    def test_an_empty_object_can_be_stored(self, store: ObjectStore) -> None:
        assert store.put("empty", b"")
        assert store.size("empty") == 0
        assert store.read_object("empty") == b""
        with pytest.raises(InvalidRequest, match="0 bytes"):
            store.read("empty", ByteRange(0, 1))

    @pytest.mark.parametrize("bounds", [(3, 3), (4, 3), (-1, 3)])
    def test_an_empty_or_negative_range_is_refused(self, bounds: tuple[int, int]) -> None:
        with pytest.raises(InvalidRequest, match="is empty"):
            ByteRange(*bounds)

    @pytest.mark.parametrize("kind", LOCAL)
    @settings(deadline=None, max_examples=50)
    @given(
        data=st.binary(min_size=1, max_size=200),
        ends=st.lists(st.tuples(st.integers(0, 199), st.integers(1, 200))),
    )
    def test_ranges_are_slices(self, kind: str, data: bytes, ends: list[tuple[int, int]]) -> None:
        ranges = [ByteRange(a, b) for a, b in ends if a < b <= len(data)]
        with tempfile.TemporaryDirectory() as path:
            store = LOCAL[kind](Path(path))
            store.put("x", data)
            assert store.read_many("x", ranges) == [data[r.start : r.stop] for r in ranges]


class TestPut:
    def test_a_taken_name_keeps_its_bytes(self, store: ObjectStore) -> None:
        """Names are hashes of contents, so a second put has nothing to add."""
        assert store.put("muons", b"first")
        assert not store.put("muons", b"second")
        assert store.read_object("muons") == b"first"

    @pytest.mark.parametrize(
        "data",
        [
            bytearray(b"abcdefgh"),
            memoryview(b"abcdefgh"),
            pa.py_buffer(b"abcdefgh"),
            np.frombuffer(b"abcdefgh", "<u4"),
        ],
        ids=["bytearray", "memoryview", "arrow", "numpy"],
    )
    def test_any_buffer_can_be_put(self, store: ObjectStore, data: object) -> None:
        store.put("x", data)  # type: ignore[arg-type]
        assert store.read_object("x") == b"abcdefgh"

    def test_a_later_change_of_the_buffer_changes_nothing(self, store: ObjectStore) -> None:
        data = bytearray(b"abc")
        store.put("x", data)
        data[0] = 0
        assert store.read_object("x") == b"abc"

    def test_the_largest_object_fits(self, store: ObjectStore) -> None:
        data = np.zeros(OBJECT_BYTES_MAX, np.uint8)
        assert store.put("large", data)
        assert store.size("large") == OBJECT_BYTES_MAX == 64 * 2**20 - 1

    def test_one_byte_more_is_refused(self, store: ObjectStore) -> None:
        with pytest.raises(InvalidRequest, match="67108864 bytes; at most 67108863"):
            store.put("large", np.zeros(OBJECT_BYTES_MAX + 1, np.uint8))
        assert not store.exists("large")

    @pytest.mark.parametrize("name", ["a", "0", "a" * 128, "0f.arrow", "a_b-c", hashlib.sha256().hexdigest()])
    def test_good_names_are_taken(self, store: ObjectStore, name: str) -> None:
        assert store.put(name, b"x")
        assert store.read_object(name) == b"x"
        assert [one.name for one in store.list()] == [name]

    @pytest.mark.parametrize(
        "name", ["", "a" * 129, ".", "..", "../a", "a/b", "-a", "A", "é", "a\n", "a\0", " a"]
    )
    @pytest.mark.parametrize("call", ["put", "size", "exists", "delete", "read", "local_path"])
    def test_bad_names_are_refused(self, store: ObjectStore, name: str, call: str) -> None:
        """A name becomes part of a path."""
        more = {"put": (b"x",), "read": (ByteRange(0, 1),)}.get(call, ())
        with pytest.raises(InvalidRequest, match="is no object name"):
            getattr(store, call)(name, *more)

    def test_of_eight_threads_one_stores(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            for turn in range(turns(store, 50)):
                stored = list(
                    pool.map(lambda i, turn=turn: store.put(f"x{turn}", bytes([i]) * 1000), range(8))
                )
                assert stored.count(True) == 1
                assert store.read_object(f"x{turn}") == bytes([stored.index(True)]) * 1000

    def test_put_and_delete_may_race(self, store: ObjectStore) -> None:
        """Whenever a put returns, the object was there at some moment during the call, and whole."""

        def put(_: int) -> bool:
            return store.put("x", b"abc" * 1000)

        def delete(_: int) -> bool:
            return store.delete("x")

        with ThreadPoolExecutor(8) as pool:
            puts = [pool.submit(put, i) for i in range(turns(store, 200))]
            deletes = [pool.submit(delete, i) for i in range(turns(store, 200))]
            stored = sum(one.result() for one in puts)
            deleted = sum(one.result() for one in deletes)
        # S3 renews an object by copying it onto itself: a copy that ends after a deletion brings it back.
        brought_back = store.exists("x") - (stored - deleted)
        assert brought_back >= 0 if isinstance(store, S3Store) else brought_back == 0


class TestListAndDelete:
    def test_an_empty_store_lists_nothing(self, store: ObjectStore) -> None:
        assert list(store.list()) == []

    def test_the_list_has_names_sizes_and_times(self, store: ObjectStore) -> None:
        before_s = time.time()
        store.put("a1", b"x")
        store.put("b2", b"xyz")
        listing = sorted(store.list())
        assert [(one.name, one.nbytes) for one in listing] == [("a1", 1), ("b2", 3)]
        assert all(before_s - 1 < one.modified_s < time.time() + 1 for one in listing)

    def test_many_objects_are_listed_once(self, store: ObjectStore) -> None:
        names = {hashlib.sha256(bytes([i])).hexdigest() for i in range(100)}
        for name in names:
            store.put(name, b"x")
        assert sorted(one.name for one in store.list()) == sorted(names)

    def test_a_deleted_object_is_gone(self, store: ObjectStore) -> None:
        store.put("muons", b"x")
        assert store.delete("muons")
        assert not store.exists("muons")
        assert list(store.list()) == []
        assert not store.delete("muons")

    def test_a_deleted_name_can_be_put_again(self, store: ObjectStore) -> None:
        store.put("muons", b"old")
        store.delete("muons")
        assert store.put("muons", b"new")
        assert store.read_object("muons") == b"new"

    def test_a_young_object_is_not_deleted_as_old(self, store: ObjectStore) -> None:
        store.put("muons", b"x")
        assert not store.delete("muons", put_before_s=time.time() - 10)
        make_older(store, "muons", 20)
        assert store.delete("muons", put_before_s=time.time() - 10)

    def test_putting_again_makes_an_object_young(self, store: ObjectStore) -> None:
        """An ingest that finds its object there relies on it from then on."""
        store.put("muons", b"x")
        make_older(store, "muons", 1000)
        assert not store.delete("muons", put_before_s=time.time() - 1010)
        assert not store.put("muons", b"x")
        assert next(store.list()).modified_s > time.time() - 10
        assert not store.delete("muons", put_before_s=time.time() - 10)

    def test_deleting_absent_objects_makes_no_store(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path / "none")
        assert not store.delete("muons")
        assert store.remove_unfinished(time.time()) == 0
        assert not store.path.exists()


class TestOpening:
    def test_the_address_of_a_store_opens_it(self, store: ObjectStore) -> None:
        opened = open_store(store.url)
        assert type(opened) is type(store)
        assert opened.url == store.url
        assert store.url in repr(store)

    @pytest.mark.parametrize("form", [str, Path, lambda p: p.as_uri()], ids=["text", "path", "uri"])
    def test_a_directory_opens_in_every_spelling(self, tmp_path: Path, form: Callable[[Path], str]) -> None:
        path = tmp_path / "a store with % and ü"
        DirectoryStore(path).put("x", b"1")
        assert open_store(form(path)).read_object("x") == b"1"

    @pytest.mark.parametrize("address", ["gopher://x/y", "memory://shared", "file://host/path"])
    def test_an_unknown_kind_is_refused(self, address: str) -> None:
        with pytest.raises(InvalidRequest, match="no store is known"):
            open_store(address)

    def test_a_file_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(InvalidRequest, match="is a file"):
            open_store(tmp_path / "file")


class TestDirectory:
    @pytest.fixture
    def store(self, tmp_path: Path) -> DirectoryStore:
        return DirectoryStore(tmp_path / "store")

    def test_looking_makes_no_directory(self, store: DirectoryStore) -> None:
        """A mistyped path stays absent."""
        assert list(store.list()) == []
        assert not store.exists("x")
        assert not store.path.exists()

    def test_objects_lie_in_shards(self, store: DirectoryStore) -> None:
        store.put("abcdef", b"x")
        assert store.local_path("abcdef") == store.path / "objects" / "ab" / "abcdef"
        assert store.local_path("abcdef").read_bytes() == b"x"

    def test_nothing_unfinished_stays(self, store: DirectoryStore) -> None:
        store.put("x", b"1")
        store.put("x", b"1")
        assert list((store.path / "unfinished").iterdir()) == []

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_named_and_leaves_nothing(
        self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        real_write, calls = os.write, iter([100])

        def write(handle: int, data: memoryview) -> int:
            if (room := next(calls, None)) is None:
                raise OSError(number, os.strerror(number))
            return real_write(handle, data[:room])

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(StoreError, match=r"disk of .* is full"):
            store.put("x", bytes(1000))
        monkeypatch.undo()
        assert list((store.path / "unfinished").iterdir()) == []
        assert list(store.list()) == []

    def test_short_writes_and_reads_go_on(
        self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real_write, real_pread = os.write, os.pread
        monkeypatch.setattr(os, "write", lambda handle, data: real_write(handle, data[:7]))
        monkeypatch.setattr(os, "pread", lambda handle, n, start: real_pread(handle, min(n, 5), start))
        data = bytes(range(100))
        store.put("x", data)
        assert store.read_object("x") == data

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
    def test_a_file_system_without_links_will_do(
        self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def link(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", link)
        assert store.put("x", b"1")
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(lambda i: store.put("y", bytes([i])), range(8))) == 1
        assert not store.put("x", b"2")
        assert store.read_object("x") == b"1"

    def test_other_errors_are_store_errors(
        self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put("x", b"1")

        def fail(*_: object) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(StoreError, match=r"cannot read object 'x' in .*store: Input/output error"):
            store.read("x", ByteRange(0, 1))

    def test_a_file_in_place_of_the_objects_is_a_store_error(self, store: DirectoryStore) -> None:
        store.path.mkdir()
        (store.path / "objects").write_bytes(b"")
        with pytest.raises(StoreError, match="cannot store object 'x'"):
            store.put("x", b"1")

    def test_strange_files_are_no_objects(self, store: DirectoryStore) -> None:
        store.put("abc", b"1")
        (store.path / "objects" / "README").write_text("hello")
        (store.path / "objects" / "ab" / "sub").mkdir()
        (store.path / "objects" / "ab" / "Thumbs.db").write_bytes(b"")
        (store.path / "objects" / "ab" / "xyz").write_bytes(b"")
        assert [one.name for one in store.list()] == ["abc"]

    def test_remains_of_dead_writers_are_removed(self, store: DirectoryStore) -> None:
        store.put("x", b"1")
        old, young = store.path / "unfinished" / "old", store.path / "unfinished" / "young"
        old.write_bytes(b"1")
        young.write_bytes(b"2")
        os.utime(old, (0, 0))
        assert store.remove_unfinished(time.time() - 100) == 1
        assert not old.exists()
        assert young.exists()

    def test_of_two_processes_one_stores(self, store: DirectoryStore) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            stored = pool.starmap(_put_many, [(store.url, b"a"), (store.url, b"b")])
        assert all(a != b for a, b in zip(*stored, strict=True))

    def test_a_killed_writer_leaves_no_partial_object(self, store: DirectoryStore) -> None:
        """kill -9 at random moments: what is listed is whole."""
        script = (
            "import sys, hashlib, os\n"
            "from skyhook_casa.stores import open_store\n"
            "store = open_store(sys.argv[1])\n"
            "print('ready', flush=True)\n"
            "while True:\n"
            "    data = os.urandom(1 << 20)\n"
            "    store.put(hashlib.sha256(data).hexdigest(), data)\n"
        )
        for turn in range(5):
            with subprocess.Popen(
                [sys.executable, "-c", script, store.url], stdout=subprocess.PIPE
            ) as writer:
                assert writer.stdout is not None
                assert writer.stdout.readline() == b"ready\n"
                time.sleep(0.02 + 0.037 * turn)
                if turn == 4:
                    wait_until(lambda: any(store.list()), "something is stored")
                writer.send_signal(signal.SIGKILL)
        listing = list(store.list())
        assert listing
        for one in listing:
            assert hashlib.sha256(store.read_object(one.name)).hexdigest() == one.name
        store.remove_unfinished(time.time() + 1)
        assert list((store.path / "unfinished").iterdir()) == []


def _put_many(url: str, data: bytes) -> list[bool]:
    store = open_store(url)
    return [store.put(f"x{i}", data) for i in range(50)]


def test_a_listing_is_a_plain_tuple() -> None:
    name, nbytes, modified_s = StoredObject("a", 1, 2.0)
    assert (name, nbytes, modified_s) == ("a", 1, 2.0)
