"""What goes wrong with a pool: each time a clear error, in time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from waiting import soon, wait_until

from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.ceph_cluster.config import S3_POOL
from skyhook_casa.errors import ClassMissing, InvalidRequest, NotFound, StoreError
from skyhook_casa.librados import rados
from skyhook_casa.stores import ByteRange, ObjectStore, open_store
from skyhook_casa.stores.rados import IN_FLIGHT_MAX, PIECE_BYTES, RadosStore
from skyhook_casa.stores.rados_connection import ClusterAddress, connect, forget_if_lost


@pytest.fixture
def store(ceph: Cluster) -> RadosStore:
    """An empty store."""
    store = open_store(f"{ceph.url}&namespace={uuid.uuid4().hex}")
    assert isinstance(store, RadosStore)
    return store


KEYRING = "[client.admin]\n\tkey = AQBSdFhczGDVERAAAAAAAAAAAAAAAAAAAAAAAA==\n"
"""A key that no cluster gave out."""


def put_until_it_fails(store: ObjectStore) -> None:
    """The cluster notices by and by that a pool is full."""
    wait_until(lambda: store.put(uuid.uuid4().hex, b"1") and False, "the pool is full")


def as_user(ceph: Cluster, user: str, namespace: str = "") -> ObjectStore:
    return open_store(f"{ceph.url}&user={user}" + (f"&namespace={namespace}" if namespace else ""))


class TestReading:
    def test_long_ranges_come_in_pieces_and_in_order(self, store: RadosStore) -> None:
        data = os.urandom(3 * PIECE_BYTES + 17)
        store.put("x", data)
        ranges = [ByteRange(5, 2 * PIECE_BYTES + 6), ByteRange(2 * PIECE_BYTES + (1 << 20), len(data))]
        assert store.read_many("x", ranges) == [data[r.start : r.stop] for r in ranges]
        assert store.read_object("x") == data

    def test_more_ranges_than_are_asked_for_ahead_come_in_order(self, store: RadosStore) -> None:
        data = os.urandom(8 << 20)
        store.put("x", data)
        ranges = [ByteRange(start, start + 100) for start in range(0, len(data), 100_000)]
        assert len(ranges) > IN_FLIGHT_MAX
        assert store.read_many("x", ranges) == [data[r.start : r.stop] for r in ranges]

    def test_ranges_that_lie_close_together_are_read_as_one(
        self, store: RadosStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        store.put("x", bytes(300_000))
        monkeypatch.setattr(
            store, "_read", lambda name, ranges: asked.append(ranges) or RadosStore._read(store, name, ranges)
        )
        store.read_many("x", [ByteRange(200_000, 200_010), ByteRange(0, 10), ByteRange(60_000, 60_010)])
        assert asked == [[ByteRange(0, 60_010), ByteRange(200_000, 200_010)]]

    def test_an_object_that_vanishes_among_many_reads_is_not_found(self, store: RadosStore) -> None:
        ranges = [ByteRange(start, start + 10) for start in range(0, 1_000_000, 100_000)]
        with pytest.raises(NotFound, match="cannot read object 'none': no such object in pool 'skyhook'"):
            store.read_many("none", ranges)

    def test_many_threads_share_a_connection(self, store: RadosStore) -> None:
        data = os.urandom(1 << 20)
        store.put("x", data)
        ranges = [ByteRange(start, start + 1000) for start in range(0, 1_000_000, 7_000)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda r: store.read("x", r), ranges)) == [
                data[r.start : r.stop] for r in ranges
            ]
        assert store._pool.io() is store._pool.io()

    def test_other_namespaces_are_other_stores(self, store: RadosStore, ceph: Cluster) -> None:
        store.put("x", b"1")
        other = open_store(f"{ceph.url}&namespace={uuid.uuid4().hex}")
        assert not other.exists("x")
        assert list(other.list()) == []

    def test_things_that_are_no_objects_of_ours_are_not_listed(self, store: RadosStore) -> None:
        store.put("x", b"1")
        store._pool.io().write_full("A Thing", b"1")
        assert [one.name for one in store.list()] == ["x"]

    def test_an_erasure_coded_pool_stores_too(self, ceph: Cluster) -> None:
        store = open_store(ceph.add_pool(f"ec-{uuid.uuid4().hex[:6]}", 3, erasure=True))
        data = os.urandom(100_001)
        assert store.put("x", data)
        assert not store.put("x", b"other")
        assert store.read_many("x", [ByteRange(0, 10), ByteRange(90_000, 100_001)]) == [
            data[:10],
            data[90_000:],
        ]
        assert [one.nbytes for one in store.list()] == [len(data)]
        assert store.delete("x", put_before_s=time.time() + 10)


class TestRefused:
    def test_an_unknown_pool_is_named(self, ceph: Cluster) -> None:
        store = open_store(f"rados://skyhok?conf={ceph.conf}")
        with pytest.raises(InvalidRequest, match=r"no pool 'skyhok' .* did you mean 'skyhook'"):
            store.exists("x")

    def test_a_user_without_a_key_is_named(self, ceph: Cluster) -> None:
        with pytest.raises(StoreError, match=r"client\.nobody"):
            as_user(ceph, "client.nobody").exists("x")

    def test_a_wrong_key_is_refused(self, ceph: Cluster, tmp_path: Path) -> None:
        keyring = tmp_path / "keyring"
        keyring.write_text(KEYRING)
        conf = tmp_path / "ceph.conf"
        lines = ceph.conf.read_text().splitlines()
        kept = [line for line in lines if not line.replace("_", " ").strip().startswith("keyring")]
        conf.write_text("\n".join([*kept, "[client]", f"keyring = {keyring}", ""]))
        with soon(), pytest.raises(StoreError, match=r"refuses client\.admin: its key is wrong"):
            open_store(f"rados://skyhook?conf={conf}").exists("x")

    def test_a_missing_configuration_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"none\.conf cannot be read"):
            open_store(f"rados://skyhook?conf={tmp_path}/none.conf").exists("x")

    @pytest.mark.parametrize(
        ("call", "needs"),
        [
            (lambda store: store.put("x", b"1"), "allow rw pool=skyhook"),
            (lambda store: store.size("x"), "allow r pool=skyhook"),
            (lambda store: store.read("x", ByteRange(0, 1)), "allow r pool=skyhook"),
            (lambda store: store.delete("x"), "allow rw pool=skyhook"),
            (lambda store: list(store.list()), "allow r pool=skyhook"),
        ],
    )
    def test_an_analyst_may_not_read_and_the_error_says_what_is_needed(
        self, ceph: Cluster, store: RadosStore, call: Callable[[ObjectStore], object], needs: str
    ) -> None:
        store.put("x", b"1")
        analyst = as_user(ceph, "client.analyst", store._pool.namespace)
        with pytest.raises(StoreError, match=rf"client\.analyst may not; its key needs osd '{needs}'"):
            call(analyst)

    def test_a_reader_may_not_run_the_class(self, ceph: Cluster, store: RadosStore) -> None:
        store.put("x", b"1")
        ceph.user("client.reader", {"mon": "allow r", "osd": "allow r pool=skyhook"})
        reader = as_user(ceph, "client.reader", store._pool.namespace)
        assert reader.read_object("x") == b"1"
        with pytest.raises(
            StoreError, match="osd 'allow class skyhook_casa_1 info, allow class skyhook_casa_1 scan'"
        ):
            reader.execute("x", "scan", b"", 1000)


class TestClass:
    def test_a_method_that_is_not_there_says_so(self, ceph: Cluster, store: RadosStore) -> None:
        """So does a class that is not there: the caller reads instead."""
        if not ceph.class_names():
            pytest.skip("the object class is not built")
        store.put("x", b"1")
        assert store.pushes_down
        with pytest.raises(ClassMissing, match=r"have no skyhook_casa_1\.nonsense"):
            store.execute("x", "nonsense", b"", 1000)

    def test_an_absent_object_is_not_found(self, store: RadosStore) -> None:
        with pytest.raises(NotFound, match="'none': no such object in pool"):
            store.execute("none", "info", b"", 1000)

    @pytest.mark.parametrize(
        ("number", "message"),
        [
            (errno.ERANGE, "answered more than 1000 bytes"),
            (errno.EIO, "cannot run skyhook_casa_1.scan on object 'x' in pool 'skyhook': EIO"),
            (errno.ETIMEDOUT, "no answer within 5 s"),
            (errno.E2BIG, "E2BIG"),
            (errno.ESTALE, "the OSD that was to run it is gone"),
        ],
    )
    def test_each_failure_is_a_store_error(
        self, store: RadosStore, monkeypatch: pytest.MonkeyPatch, number: int, message: str
    ) -> None:
        class Broken:
            def execute(self, oid: str, name: str, method: str, *_: object) -> tuple[int, bytes]:
                if method == "info":
                    return 0, b"skyhook_casa wire 1 process 7"
                raise rados().OSError("broken", errno=number)

        connection = connect(store._pool._impatient)
        key = (store._pool.name, store._pool.namespace)
        monkeypatch.setitem(connection._pools, key, Broken())
        with pytest.raises(StoreError, match=message):
            store.execute("x", "scan", b"", 1000)


class TestUnreachable:
    @pytest.mark.slow
    def test_a_monitor_that_is_away_is_an_error_in_time(self, tmp_path: Path) -> None:
        conf = tmp_path / "ceph.conf"
        conf.write_text(
            "[global]\nmon host = [v2:127.0.0.1:1]\nms bind ipv6 = false\n"
            f"[client]\nkeyring = {tmp_path}/keyring\nlog file = /dev/null\n"
        )
        (tmp_path / "keyring").write_text(
            "[client.admin]\n\tkey = AQBSdFhczGDVERAAAAAAAAAAAAAAAAAAAAAAAA==\n"
        )
        with soon(), pytest.raises(StoreError, match=r"does not answer \(waited 3 s\)"):
            open_store(f"rados://skyhook?conf={conf}&timeout_s=3").exists("x")

    @pytest.mark.slow
    def test_osds_that_are_away_are_an_error_in_time(self, new_ceph: Callable[..., Cluster]) -> None:
        ceph = new_ceph(osds=1)
        store = open_store(f"{ceph.url}&timeout_s=4")
        store.put("x", b"1")
        ceph.kill_osd(0)
        calls: list[Callable[[], object]] = [
            lambda: store.read_object("x"),
            lambda: store.put("y", b"1"),
            lambda: store.delete("x"),
            lambda: list(store.list()),
            lambda: store.execute("x", "info", b"", 1000),
        ]
        with ThreadPoolExecutor(len(calls)) as pool:
            for asked in [pool.submit(call) for call in calls]:
                with soon(), pytest.raises(StoreError, match="no answer within 4 s"):
                    asked.result()

    @pytest.mark.slow
    def test_a_full_pool_is_named(self, new_ceph: Callable[..., Cluster]) -> None:
        """At once: a client of Ceph waits for room if it is not told otherwise."""
        ceph = new_ceph(osds=1, mgr=True)
        store = open_store(ceph.url)
        store.put("x", b"1")
        command = ["ceph", "-c", str(ceph.conf), "osd", "pool", "set-quota", "skyhook", "max_objects", "1"]
        subprocess.run(command, check=True, capture_output=True)
        with pytest.raises(StoreError, match=r"cannot store object '\w+': pool 'skyhook' is full \(EDQUOT\)"):
            put_until_it_fails(store)
        assert store.read_object("x") == b"1"
        assert store.delete("x")


class TestConnection:
    def test_one_is_shared_by_all_stores_of_a_user(self, ceph: Cluster) -> None:
        a, b = open_store(ceph.url), open_store(f"{ceph.url}&namespace=other")
        assert isinstance(a, RadosStore)
        assert isinstance(b, RadosStore)
        assert connect(a._pool.cluster) is connect(b._pool.cluster)

    def test_after_the_cluster_shut_a_client_out_a_new_one_is_made(self, ceph: Cluster) -> None:
        address = ClusterAddress(str(ceph.conf), "client.admin", 17.0)
        old = connect(address)
        forget_if_lost(old, errno.EIO)
        assert connect(address) is old
        forget_if_lost(old, errno.ESHUTDOWN)
        assert connect(address) is not old

    def test_a_forked_child_makes_its_own(self, store: RadosStore) -> None:
        """And neither hangs nor harms its parent's, also when it ends in the ordinary way."""
        script = (
            "import os, sys\n"
            "from skyhook_casa.stores import open_store\n"
            "store = open_store(sys.argv[1])\n"
            "store.put('parent', b'1')\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    store.put('child', b'2')\n"
            "    assert store.read_object('parent') == b'1'\n"
            "    sys.exit(7)\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
            "assert store.read_object('child') == b'2'\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, store.url], timeout=60, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("ranges", [1, 3])
    def test_a_process_ends_while_a_thread_waits(self, store: RadosStore, ranges: int) -> None:
        """An answer that came to an interpreter that is gone would abort the process."""
        script = (
            "import sys, threading, time\n"
            "from skyhook_casa.stores import ByteRange, open_store\n"
            "store = open_store(sys.argv[1])\n"
            "store.put('x', bytes(1 << 20))\n"
            "ranges = [ByteRange(i << 18, (i << 18) + 9) for i in range(int(sys.argv[2]))]\n"
            "def read():\n"
            "    while True:\n"
            "        store.read_many('x', ranges)\n"
            "threading.excepthook = lambda args: print(args.exc_value)\n"
            "threading.Thread(target=read, daemon=True).start()\n"
            "time.sleep(0.2)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, store.url, str(ranges)], timeout=60, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip() in ("", "this process is ending")  # it may end before the line does

    def test_threads_that_come_at_once_make_one(self, ceph: Cluster) -> None:
        address = ClusterAddress(str(ceph.conf), "client.admin", 18.0)
        barrier = threading.Barrier(8)

        def open_pool(_: int) -> object:
            barrier.wait()
            return connect(address).pool(S3_POOL, "")

        with ThreadPoolExecutor(8) as pool:
            assert len({id(found) for found in pool.map(open_pool, range(8))}) == 1
