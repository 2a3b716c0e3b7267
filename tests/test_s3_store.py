"""What is particular to buckets: errors, repetitions, deletions in turns, and the way through RADOS."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3_fixture import make_moto_older
from waiting import soon

from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.ceph_cluster.config import S3_POOL
from skyhook_casa.errors import ClassMissing, InvalidRequest, NotFound, SkyhookError, StoreError
from skyhook_casa.stores import ByteRange, open_store, s3_lock
from skyhook_casa.stores.s3 import S3Store
from skyhook_casa.stores.s3_lock import STALE_S, Lock


def opened(url: str) -> S3Store:
    store = open_store(url)
    assert isinstance(store, S3Store)
    return store


CALLS: list[Callable[[S3Store], object]] = [
    lambda store: store.put("x", b"1"),
    lambda store: store.size("x"),
    lambda store: store.read("x", ByteRange(0, 1)),
    lambda store: store.read_many("x", [ByteRange(0, 1), ByteRange(1 << 20, 2 << 20)]),
    lambda store: store.delete("x"),
    lambda store: list(store.list()),
]


class TestErrors:
    @pytest.mark.parametrize("call", [CALLS[0], CALLS[2], CALLS[5]])
    def test_a_bucket_that_is_not_there_is_named(self, moto_url: str, moto_store: str, call: object) -> None:
        with pytest.raises(InvalidRequest, match=r"there is no bucket 'nobody' of http://"):
            call(opened(f"s3://nobody/x?endpoint={moto_url}"))  # type: ignore[operator]

    @pytest.mark.parametrize("call", CALLS)
    def test_a_server_that_is_away_is_an_error_in_time(self, moto_store: str, call: object) -> None:
        with soon(), pytest.raises(StoreError, match=r"in bucket 'skyhook' of http://127.0.0.1:1"):
            call(opened("s3://skyhook?endpoint=http://127.0.0.1:1&timeout_s=2"))  # type: ignore[operator]

    @pytest.mark.parametrize("call", CALLS)
    def test_a_wrong_key_is_refused(
        self, radosgw_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: object
    ) -> None:
        (tmp_path / "keys").write_text("[default]\naws_access_key_id = no\naws_secret_access_key = no\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
        with pytest.raises(StoreError, match=r"bucket 'skyhook' of \S+ denies access to the S3 key"):
            call(opened(radosgw_store))  # type: ignore[operator]

    @pytest.mark.parametrize("call", CALLS)
    def test_no_keys_at_all_is_an_error_that_says_where_to_put_them(
        self, moto_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: object
    ) -> None:
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        with pytest.raises(StoreError, match="there are no S3 keys: set AWS_ACCESS_KEY_ID"):
            call(opened(moto_store))  # type: ignore[operator]

    def test_an_unknown_profile_is_named(self, moto_store: str) -> None:
        with pytest.raises(StoreError, match=r"profile \(nobody\) could not be found"):
            opened(f"{moto_store}&profile=nobody").exists("x")

    def test_an_object_without_a_class_beside_it_only_stores(self, moto_store: str) -> None:
        store = opened(moto_store)
        assert not store.pushes_down
        with pytest.raises(ClassMissing, match="it only stores"):
            store.execute("x", "scan", b"", 1000)


class Faulty(BaseHTTPRequestHandler):
    """Answers what the server's `answers` say, and notes the requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, FaultyServer)
        server.seen.append(self.headers.get("Range", ""))
        status, length, body = server.answers[min(len(server.seen), len(server.answers)) - 1]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT")
        self.send_header("ETag", '"0"')
        if status == 206:
            start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
            self.send_header("Content-Range", f"bytes {start}-{start + length - 1}/1000")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = len(body) < length

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


class FaultyServer(ThreadingHTTPServer):
    answers: list[tuple[int, int, bytes]]
    seen: list[str]


@pytest.fixture
def faulty(moto_store: str) -> Iterator[FaultyServer]:
    """A server whose answers a test writes; `moto_store` gives keys."""
    server = FaultyServer(("127.0.0.1", 0), Faulty)
    server.answers, server.seen = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class TestRepetition:
    def test_a_read_is_tried_again_after_an_overload(self, faulty: FaultyServer) -> None:
        faulty.answers = [(503, 0, b""), (500, 0, b""), (206, 3, b"abc")]
        store = opened(f"s3://skyhook?endpoint=http://127.0.0.1:{faulty.server_port}")
        assert store.read("x", ByteRange(5, 8)) == b"abc"
        assert faulty.seen == ["bytes=5-7"] * 3

    def test_a_size_is_asked_again_after_an_overload(self, faulty: FaultyServer) -> None:
        faulty.answers = [(503, 0, b""), (200, 17, b"")]
        assert opened(f"s3://skyhook?endpoint=http://127.0.0.1:{faulty.server_port}").size("x") == 17

    def test_a_read_is_given_up_after_some_tries(self, faulty: FaultyServer) -> None:
        faulty.answers = [(503, 0, b"")]
        store = opened(f"s3://skyhook?endpoint=http://127.0.0.1:{faulty.server_port}&timeout_s=3")
        with pytest.raises(StoreError):
            store.read("x", ByteRange(5, 8))
        assert len(faulty.seen) < 12

    def test_an_answer_that_breaks_off_is_an_error_or_read_again(self, faulty: FaultyServer) -> None:
        """Never short."""
        faulty.answers = [(206, 300, b"abc")]
        store = opened(f"s3://skyhook?endpoint=http://127.0.0.1:{faulty.server_port}&timeout_s=3")
        with pytest.raises(StoreError):
            store.read("x", ByteRange(0, 300))

    def test_an_answer_that_is_too_short_is_an_error(self, faulty: FaultyServer) -> None:
        faulty.answers = [(206, 3, b"abc"), (200, 1000, b"")]
        store = opened(f"s3://skyhook?endpoint=http://127.0.0.1:{faulty.server_port}&timeout_s=3")
        with pytest.raises(SkyhookError):
            store.read("x", ByteRange(0, 300))


class TestDeletion:
    def test_a_put_waits_for_a_deletion_and_stores_anew(self, moto_store: str) -> None:
        """The deletion had looked at the object before the put made it young."""
        store = opened(moto_store)
        store.put("x", b"1")
        with ThreadPoolExecutor(1) as pool:
            with store._lock("x").hold() as hold:
                again = pool.submit(store.put, "x", b"1")
                time.sleep(0.5)
                assert not again.done()
                assert hold.is_ours()
                store._client.call("delete_object", Key=store._key("x"))
            assert again.result(timeout=60)
        assert store.exists("x")

    def test_a_deletion_waits_for_another(self, moto_store: str) -> None:
        store = opened(moto_store)
        store.put("x", b"1")
        with ThreadPoolExecutor(1) as pool:
            with store._lock("x").hold():
                other = pool.submit(store.delete, "x")
                time.sleep(0.3)
                assert not other.done()
            assert other.result(timeout=60)
        assert not store.exists("x")
        assert not store._lock("x").is_held()

    def test_who_waits_too_long_is_told(self, moto_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3_lock, "WAIT_S", 0.3)
        store = opened(moto_store)
        store.put("x", b"1")
        with store._lock("x").hold():
            with pytest.raises(StoreError, match=r"another process is deleting .*/deleting/x' .*, for 0.3 s"):
                store.delete("x")
            with pytest.raises(StoreError, match=r"object 'x' is being deleted, for 0.3 s"):
                store.put("x", b"1")

    def test_a_lock_whose_holder_died_is_taken_by_one(self, moto_store: str) -> None:
        store = opened(moto_store)
        store.put("x", b"1")
        key = f"{store._prefix}deleting/x"
        assert Lock(store._client, key)._take()
        make_moto_older(key, time.time() - STALE_S + 60)
        assert store._lock("x").is_held()
        assert not Lock(store._client, key)._take()
        make_moto_older(key, time.time() - STALE_S - 60)
        assert not store._lock("x").is_held()
        assert Lock(store._client, key)._take()
        assert not Lock(store._client, key)._take()

    def test_a_lock_is_taken_by_one_of_many_also_in_radosgw(self, radosgw_store: str) -> None:
        store = opened(radosgw_store)
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda _: store._lock("x")._take(), range(8)))
        assert taken.count(True) == 1

    def test_a_stale_lock_is_replaced_only_if_it_is_the_same(self, radosgw_store: str) -> None:
        client = opened(radosgw_store)._client
        assert client.create("lock", b"1")
        etag = client.head("lock")["ETag"]  # type: ignore[index]
        assert client.replace("lock", b"2", etag)
        assert not client.replace("lock", b"3", etag)
        client.call("delete_object", Key="lock")
        assert not client.replace("lock", b"3", etag)

    def test_locks_of_the_dead_are_cleaned_up(self, moto_store: str) -> None:
        store = opened(moto_store)
        for name in ("old", "young"):
            assert store._lock(name)._take()
        make_moto_older(f"{store._prefix}deleting/old", time.time() - STALE_S - 60)
        assert store.remove_unfinished(time.time() - 60) == 1
        assert store._lock("young").is_held()


class TestProcesses:
    def test_a_forked_child_reads_and_writes(self, radosgw_store: str) -> None:
        """The threads that read for its parent did not come along."""
        script = (
            "import os, sys\n"
            "from skyhook_casa.stores import ByteRange, open_store\n"
            "store = open_store(sys.argv[1])\n"
            "store.put('x', b'0123456789')\n"
            "assert store.read('x', ByteRange(2, 4)) == b'23'\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    assert store.read_many('x', [ByteRange(8, 10), ByteRange(0, 1)]) == [b'89', b'0']\n"
            "    store.put('child', b'2')\n"
            "    sys.exit(7)\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
            "assert store.read_object('child') == b'2'\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, radosgw_store],
            timeout=60,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore::DeprecationWarning"},
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_threads_share_the_clients(self, radosgw_store: str) -> None:
        store = opened(radosgw_store)
        data = os.urandom(2 << 20)
        store.put("x", data)
        ranges = [ByteRange(start, start + 70_000) for start in range(0, 2_000_000, 50_000)]
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda where: store.read("x", where), ranges))
        assert got == [data[where.start : where.stop] for where in ranges]


CUTS = ("rgw_max_chunk_size", "rgw_obj_stripe_size", "rgw_put_obj_min_window_size")


class TestThroughRados:
    def test_an_object_is_one_object_of_rados(self, radosgw_store: str) -> None:
        store = opened(radosgw_store)
        assert store.pushes_down
        data = os.urandom(9 << 20)
        store.put("x", data)
        companion = store._companion
        assert companion is not None
        size, _ = companion.pool.io().stat(companion.oid(store._key("x")))
        assert size == len(data)
        assert companion.pool.io().read(companion.oid(store._key("x")), 100, 5 << 20) == data[5 << 20 :][:100]

    def test_putting_again_leaves_it_one_object(self, radosgw_store: str) -> None:
        store = opened(radosgw_store)
        data = os.urandom(9 << 20)
        assert store.put("x", data)
        assert not store.put("x", data)
        companion = store._companion
        assert companion is not None
        assert companion.pool.io().stat(companion.oid(store._key("x")))[0] == len(data)
        assert store.read_object("x") == data

    def test_the_class_runs_on_it(self, ceph: Cluster, radosgw_store: str) -> None:
        if not ceph.class_names():
            pytest.skip("the object class is not built")
        store = opened(radosgw_store)
        store.put("x", b"1")
        assert store.execute("x", "info", b"", 4096)
        with pytest.raises(NotFound, match="no such object in pool"):
            store.execute("none", "info", b"", 4096)

    def test_a_given_marker_is_believed(self, radosgw_store: str) -> None:
        store = opened(radosgw_store)
        assert store._companion is not None
        marker = store._companion.oid("").removesuffix("_")
        given = opened(f"{radosgw_store}&marker={marker}")
        store.put("x", b"1")
        with pytest.raises(ClassMissing):
            given.execute("x", "nonsense", b"", 100)

    def test_a_marker_that_cannot_be_found_is_asked_for(
        self, radosgw_store: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = radosgw_store.replace("s3://skyhook/", "s3://nobody/")
        with pytest.raises(StoreError, match=r"of bucket 'nobody'; give it as marker= \(radosgw-admin:"):
            opened(url).execute("x", "info", b"", 100)
        monkeypatch.setenv("PATH", "")
        with pytest.raises(StoreError, match=r"give it as marker= \(radosgw-admin is not installed\)"):
            opened(radosgw_store).execute("x", "info", b"", 100)

    def test_an_analyst_may_run_the_class_and_nothing_else(self, ceph: Cluster, radosgw_store: str) -> None:
        """Whether the object is whole cannot be seen with that key; the class sees it."""
        if not ceph.class_names():
            pytest.skip("the object class is not built")
        writer = opened(radosgw_store)
        writer.put("x", b"1")
        companion = writer._companion
        assert companion is not None
        marker = companion.oid("").removesuffix("_")
        analyst = opened(f"{radosgw_store}&user=client.analyst&marker={marker}")
        assert analyst._companion is not None
        with pytest.raises(StoreError, match=r"client\.analyst may not; its key needs osd 'allow r pool="):
            analyst._companion.pool.size(companion.oid(writer._key("x")))
        assert analyst.execute("x", "scan", b"", 4096)

    @pytest.mark.slow
    def test_an_object_that_radosgw_has_cut_is_not_given_to_the_class(
        self, new_ceph: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ceph = new_ceph(osds=1, s3=True, extra_conf={"client.rgw.r": dict.fromkeys(CUTS, 4 << 20)})
        for name, value in ceph.s3_environment().items():
            monkeypatch.setenv(name, value)
        store = opened(f"{ceph.s3_url}&rados={S3_POOL}&conf={ceph.conf}")
        store.put("long", bytes((4 << 20) + 1))
        store.put("short", bytes(4 << 20))
        with pytest.raises(StoreError, match="longer than 4194304 bytes in pieces: set rgw_max_chunk_size"):
            store.execute("long", "scan", b"", 100)
        with pytest.raises(ClassMissing):
            store.execute("short", "nonsense", b"", 100)
        assert store.read_object("long") == bytes((4 << 20) + 1)
