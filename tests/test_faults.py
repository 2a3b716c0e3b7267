"""What fails in a real cluster: the answer still comes, whole and right, or a clear error in time."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import pyarrow as pa
import pytest
from ingest_helpers import write_root
from test_client import assert_same
from waiting import soon, wait_until

import skyhook_casa
from skyhook_casa.catalog import Partition
from skyhook_casa.ceph_cluster import Cluster, classes
from skyhook_casa.ceph_cluster.keys import keyring_text, new_key
from skyhook_casa.errors import ClassMissing, CorruptObject, NotFound, SkyhookError, StoreError
from skyhook_casa.librados import rados
from skyhook_casa.object_format import read_directory
from skyhook_casa.worker import REPLY_BYTES_MAX, scan_request
from skyhook_client import Client

pytestmark = [pytest.mark.ceph, pytest.mark.slow]

NewCeph = Callable[..., Cluster]
EVENTS = 60_000
COLUMNS = ["event", "MET_pt", "Muon_pt", "Jet_pt"]
CUT = "MET_pt > 10"
EXECUTIONS = ["pushdown", "read", "auto"]
GROWTH_BYTES_MAX = 32 << 20


# -- a cluster and a dataset ----------------------------------------------------------------------
@pytest.fixture(scope="module")
def cluster(module_ceph: NewCeph) -> Cluster:
    """Three OSDs with files; every object is in two. Tests leave it as whole as they found it."""
    return module_ceph(store="bluestore", mgr=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [write_root(folder / f"{n}.root", EVENTS // 2, seed=n, basket=1_000) for n in range(2)]


@pytest.fixture(scope="module")
def expected(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> ak.Array:
    """The right answer to the query of these tests."""
    embedded = skyhook_casa.connect(tmp_path_factory.mktemp("embedded"))
    embedded.ingest("dy", files, workers=1)
    return embedded.query("dy", COLUMNS, CUT).to_awkward()


def connect(
    cluster: Cluster, folder: Path, url: str | None = None, threads: int = 2, **options: Any
) -> Client:
    """A client of a pool with a catalog of its own."""
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return skyhook_casa.connect(
        f"{url or cluster.url}{more}", catalog=f"sqlite:///{folder / 'catalog.sqlite'}", threads=threads
    )


def ingest(client: Client, files: list[Path]) -> None:
    """Some 30 objects: more than a stream has in memory."""
    client.ingest("dy", files, partition_bytes=64 * 1024, chunk_events=256, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("catalog")


@pytest.fixture(scope="module")
def client(cluster: Cluster, files: list[Path], folder: Path) -> Client:
    """A client of the dataset of these tests. Do not change it."""
    client = connect(cluster, folder)
    ingest(client, files)
    assert len(parts(client)) > 20
    return client


@pytest.fixture
def own(cluster: Cluster, files: list[Path], tmp_path: Path) -> Client:
    """A client whose dataset a test may damage."""
    client = connect(cluster, tmp_path, namespace=uuid.uuid4().hex)
    ingest(client, files[:1])
    return client


def parts(client: Client) -> list[Partition]:
    return client.catalog.partitions(client.catalog.version("dy"))


@contextmanager
def raw(client: Client, cluster: Cluster) -> Iterator[Any]:
    """Reach the objects behind the store's back."""
    with cluster.admin() as admin:
        io = admin.handle.open_ioctx(client.store._pool.name)  # type: ignore[attr-defined]
        io.set_namespace(client.store._pool.namespace)  # type: ignore[attr-defined]
        yield io
        io.close()


def streamed_with(client: Client, execution: str, fault: Callable[[], None]) -> ak.Array:
    """Return an answer during which `fault` happens, after the first batch."""
    query = client.query("dy", COLUMNS, CUT, execution=execution)
    batches = query.batches(batch_bytes=10_000)
    first = next(batches)
    fault()
    table = pa.Table.from_batches([first, *batches])
    assert query.report.events_in == EVENTS
    assert query.report.partitions_done == query.report.partitions_planned
    return ak.from_arrow(table)


# -- OSDs that end, stop and come back ------------------------------------------------------------
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_an_osd_killed_in_mid_query_costs_no_event(
    cluster: Cluster, client: Client, expected: ak.Array, execution: str
) -> None:
    """Its objects' copies answer; the same while it comes back."""
    with soon():
        found = streamed_with(client, execution, lambda: cluster.kill_osd(1))
    assert_same(found, expected)

    with soon():
        assert_same(client.query("dy", COLUMNS, CUT, execution=execution).to_awkward(), expected)
    starter = threading.Thread(target=cluster.start_osd, args=(1,))
    with soon():
        found = streamed_with(client, execution, starter.start)
    assert_same(found, expected)
    starter.join()
    cluster.wait_clean()


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_slow_osd_is_waited_for(
    cluster: Cluster, client: Client, expected: ak.Array, execution: str
) -> None:
    """It stands still for two seconds."""

    def pause() -> None:
        cluster.kill_osd(2, signal.SIGSTOP)
        threading.Timer(2, cluster.kill_osd, (2, signal.SIGCONT)).start()

    with soon():
        found = streamed_with(client, execution, pause)
    assert_same(found, expected)


# -- nobody answers -------------------------------------------------------------------------------
def test_a_cluster_that_stands_still_is_an_error_in_time(
    cluster: Cluster, client: Client, folder: Path, expected: ak.Array
) -> None:
    """And no hang; once it goes on, so do queries."""
    impatient = connect(cluster, folder, threads=1, timeout_s=3)
    assert impatient.query("dy", COLUMNS, CUT).count() == len(expected)
    stopped = cluster.daemons()
    for daemon in stopped:
        os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for execution in EXECUTIONS:
            with soon(), pytest.raises(StoreError, match=r"pool 'skyhook': no answer within 3 s"):
                impatient.query("dy", COLUMNS, CUT, execution=execution).to_awkward()
        with soon(), pytest.raises(StoreError, match=r"ceph\.conf does not answer"):
            connect(cluster, folder, timeout_s=4).query("dy", COLUMNS, CUT).to_awkward()
    finally:
        for daemon in stopped:
            os.kill(daemon.pid, signal.SIGCONT)
    cluster.wait_clean()
    with soon():
        assert_same(client.query("dy", COLUMNS, CUT).to_awkward(), expected)


def test_a_cluster_that_is_gone_is_an_error_in_time(
    new_ceph: NewCeph, files: list[Path], tmp_path: Path
) -> None:
    """Connections are refused."""
    cluster = new_ceph(osds=1)
    client = connect(cluster, tmp_path, timeout_s=3)
    ingest(client, files[:1])
    assert client.query("dy", "event", CUT).count() > 0
    for daemon in cluster.daemons():
        os.kill(daemon.pid, signal.SIGKILL)
    with soon(), pytest.raises(StoreError, match="no answer within 3 s"):
        client.query("dy", COLUMNS, CUT).to_awkward()
    with soon(), pytest.raises(StoreError, match="does not answer"):
        connect(cluster, tmp_path, timeout_s=4).query("dy", COLUMNS, CUT).to_awkward()


def test_a_wrong_key_is_refused_at_once(cluster: Cluster, client: Client, folder: Path) -> None:
    user = "client.wrong"
    cluster.user(user, {"mon": "allow r", "osd": "allow rx pool=skyhook"})
    cluster.layout.keyring(user).write_text(keyring_text(user, new_key(), {}))
    for execution in EXECUTIONS:
        with soon(), pytest.raises(StoreError, match=r"refuses client\.wrong: its key is wrong"):
            connect(cluster, folder, user=user).query("dy", COLUMNS, CUT, execution=execution).to_awkward()


# -- objects that are gone or damaged -------------------------------------------------------------
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_missing_object_is_named_with_its_file(cluster: Cluster, own: Client, execution: str) -> None:
    """The answer is an error, never short."""
    lost = parts(own)[3]
    with raw(own, cluster) as io:
        io.remove_object(lost.object.name)
    query = own.query("dy", COLUMNS, CUT, execution=execution)
    with pytest.raises(NotFound, match=rf"{lost.object.name} \(entries \d+ to \d+ of .*0\.root\): .*no such"):
        query.to_awkward()
    with pytest.raises(NotFound, match=lost.object.name):
        list(query.batches(batch_bytes=10_000))
    assert not query.has_run


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("column", ["Jet_pt", "Jet#", "MET_pt"])
def test_a_flipped_bit_is_named_with_object_and_column(
    cluster: Cluster, own: Client, execution: str, column: str
) -> None:
    """Wherever the checksum is looked at."""
    bad = parts(own)[2]
    with raw(own, cluster) as io:
        data = own.store.read_object(bad.object.name)
        (found,) = (one for one in read_directory(data).columns if one.name == column)
        start, size = (int(found.chunks[name][1]) for name in ("offset", "stored_bytes"))
        at = start + size // 2
        io.write(bad.object.name, bytes([data[at] ^ 0x10]), at)
    query = own.query("dy", COLUMNS, CUT, execution=execution)
    with pytest.raises(CorruptObject, match=rf"{bad.object.name} .*0\.root.*{column}"):
        query.to_awkward()
    assert not query.has_run
    (problem,) = own.verify("dy").bad
    assert problem.name == bad.object.name


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_cut_off_object_is_named(cluster: Cluster, own: Client, execution: str) -> None:
    bad = parts(own)[2]
    with raw(own, cluster) as io:
        io.trunc(bad.object.name, 5_000)
    with pytest.raises(SkyhookError, match=rf"{bad.object.name} .*0\.root"):
        own.query("dy", COLUMNS, CUT, execution=execution).to_awkward()


# -- storage that cannot compute ------------------------------------------------------------------
def assert_reads(client: Client, expected: ak.Array, why: str) -> None:
    """`auto` reads and says why; asked to push down, the query fails and says why."""
    query = client.query("dy", COLUMNS, CUT)
    assert_same(query.to_awkward(), expected)
    assert query.report.partitions_pushed == 0
    assert why in str(query.report)
    insisting = client.query("dy", COLUMNS, CUT, execution="pushdown")
    with pytest.raises(ClassMissing, match=why):
        insisting.to_awkward()


def test_a_cluster_without_the_class_is_read(
    new_ceph: NewCeph, files: list[Path], expected: ak.Array, tmp_path: Path
) -> None:
    client = connect(new_ceph(osds=1, class_files=[]), tmp_path)
    ingest(client, files)
    assert_reads(client, expected, "have no object class skyhook_casa_1")
    assert "have no object class skyhook_casa_1" in str(client.query("dy", COLUMNS, CUT).explain())


def test_a_cluster_with_another_version_of_the_class_is_read(
    new_ceph: NewCeph, files: list[Path], expected: ak.Array, tmp_path: Path
) -> None:
    """The version is part of the name."""
    (ours,) = our_class()
    other = tmp_path / "libcls_skyhook_casa_0.so"
    shutil.copy(ours, other)
    cluster = new_ceph(osds=1, class_files=[other])
    assert cluster.class_names() == ["skyhook_casa_0"]
    client = connect(cluster, tmp_path)
    ingest(client, files)
    assert_reads(client, expected, "have no object class skyhook_casa_1")


LISTS = ("osd_class_load_list", "osd_class_default_list")


def test_a_class_that_osds_may_not_load_is_read(
    new_ceph: NewCeph, files: list[Path], expected: ak.Array, tmp_path: Path
) -> None:
    cluster = new_ceph(osds=1, extra_conf={"osd": dict.fromkeys(LISTS, "lock version")})
    client = connect(cluster, tmp_path)
    ingest(client, files)
    query = client.query("dy", COLUMNS, CUT)
    assert_same(query.to_awkward(), expected)
    assert "the OSDs may not load the class" in query.report.reason
    with pytest.raises(StoreError, match="the OSDs may not load the class"):
        client.query("dy", COLUMNS, CUT, execution="pushdown").to_awkward()


def test_a_class_can_be_added_without_a_restart(
    new_ceph: NewCeph, files: list[Path], expected: ak.Array, tmp_path: Path
) -> None:
    """If the lists of the OSDs' configuration name it."""
    (ours,) = our_class()
    lists = dict.fromkeys(LISTS, "lock version skyhook_casa_1")
    cluster = new_ceph(osds=1, class_files=[], extra_conf={"osd": lists})
    client = connect(cluster, tmp_path)
    ingest(client, files)
    assert_reads(client, expected, "have no object class skyhook_casa_1")
    shutil.copy(ours, cluster.layout.classes)
    assert_same(client.query("dy", COLUMNS, CUT, execution="pushdown").to_awkward(), expected)


def our_class() -> list[Path]:
    return classes.our_files() or pytest.skip("the object class is not built")


def test_an_erasure_coded_pool_is_read(
    cluster: Cluster, files: list[Path], expected: ak.Array, tmp_path: Path
) -> None:
    """No OSD has a whole object there."""
    client = connect(cluster, tmp_path, cluster.add_pool("coded", 3, erasure=True))
    ingest(client, files)
    assert_reads(client, expected, "erasure-coded")


# -- a request that ends its OSD ------------------------------------------------------------------
DEADLY = """
#include <cstdlib>
#include "engine/wire.h"
skyhook::Buffer skyhook::AnswerScan(Bytes, const ReadRange&) noexcept { std::abort(); }
skyhook::Buffer skyhook::AnswerVerify(Bytes, const ReadRange&) noexcept { std::abort(); }
"""


@pytest.fixture(scope="module")
def deadly_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our object class with an engine that ends the OSD at each scan."""
    folder = tmp_path_factory.mktemp("class")
    engine, result = folder / "engine.cc", folder / "libcls_skyhook_casa_1.so"
    engine.write_text(DEADLY)
    sources = Path(__file__).parents[1] / "ceph_cls"
    compiler = shutil.which("g++") or pytest.skip("g++ is not installed")
    if not Path("/usr/include/rados/objclass.h").exists():
        pytest.skip("Ceph's headers for object classes are not installed")
    flags = ["-std=c++20", "-O1", "-fPIC", "-shared", f"-I{sources}"]
    subprocess.run(
        [compiler, *flags, str(sources / "cls" / "cls_skyhook_casa.cc"), str(engine), "-o", str(result)],
        check=True,
    )
    return result


@pytest.mark.parametrize("execution", ["pushdown", "auto"])
def test_a_request_that_ends_its_osd_ends_no_other(
    new_ceph: NewCeph,
    deadly_class: Path,
    files: list[Path],
    expected: ak.Array,
    tmp_path: Path,
    execution: str,
) -> None:
    """Neither a copy's OSD, nor the same when it is started anew, nor those of other threads' requests."""
    cluster = new_ceph(store="bluestore", class_files=[deadly_class])
    client = connect(cluster, tmp_path)
    ingest(client, files)

    with soon():
        query = client.query("dy", COLUMNS, CUT, execution=execution)
        found = query.to_awkward()

    assert_same(found, expected)
    assert "gone" in query.report.reason
    time.sleep(2)
    (dead,) = {0, 1, 2} - set(cluster.osd_pids())
    cluster.start_osd(dead)
    time.sleep(2)
    assert set(cluster.osd_pids()) == {0, 1, 2}


# -- what an OSD keeps ----------------------------------------------------------------------------
def test_many_scans_do_not_make_an_osd_grow(cluster: Cluster, client: Client) -> None:
    """Answers and errors leave nothing behind: a thousand scans after some hundred."""
    plan = client.query("dy", COLUMNS, CUT).question.plan
    requests = []
    for part in plan.partitions:
        assert part.object.layout_id is not None
        request = scan_request(plan, part.object.layout_id, part)
        requests += [(part.object.name, request), (part.object.name, request[:-1])]

    def scan(calls: int) -> int:
        for number in range(calls):
            name, request = requests[number % len(requests)]
            client.store.execute(name, "scan", request, REPLY_BYTES_MAX)
        return max(cluster.rss_bytes(osd) for osd in range(3))

    before = scan(400)
    assert scan(1_000) - before < GROWTH_BYTES_MAX


# -- who may do what ------------------------------------------------------------------------------
def test_an_analyst_scans_but_reads_nothing_else(
    cluster: Cluster, client: Client, folder: Path, expected: ak.Array
) -> None:
    """A key for the object class, and a catalog, are enough for cuts."""
    analyst = connect(cluster, folder, user="client.analyst")
    query = analyst.query("dy", COLUMNS, CUT, execution="pushdown")
    assert_same(query.to_awkward(), expected)
    assert query.count() == len(expected)
    denied = r"client\.analyst may not; its key needs osd 'allow r pool=skyhook'"
    with pytest.raises(StoreError, match=denied):
        analyst.query("dy", COLUMNS, CUT, execution="read").to_awkward()
    with pytest.raises(StoreError, match=denied):
        analyst.store.read_object(parts(client)[0].object.name)
    with pytest.raises(StoreError, match=r"client\.analyst may not; its key needs osd 'allow rw"):
        analyst.store.put("ab", b"cd")
    with cluster.admin("client.analyst") as connected:
        io = connected.handle.open_ioctx("skyhook")
        with pytest.raises(rados().Error) as caught:
            io.read(parts(client)[0].object.name)
        assert caught.value.errno == errno.EPERM
        io.close()


# -- no room --------------------------------------------------------------------------------------
def test_an_ingest_into_a_full_pool_fails_and_can_be_resumed(
    cluster: Cluster, files: list[Path], expected: ak.Array, tmp_path: Path
) -> None:
    """The dataset stays as it was."""
    client = connect(cluster, tmp_path, cluster.add_pool("small", 2))
    ingest(client, files[:1])
    before = client.query("dy", COLUMNS, CUT).to_awkward()
    set_quota(cluster, "small", 1)
    with soon(), pytest.raises(StoreError, match="pool 'small' is full"):
        ingest(client, files[1:])
    assert [version.number for version in client.dataset("dy").versions()] == [1]
    assert_same(client.query("dy", COLUMNS, CUT).to_awkward(), before)

    set_quota(cluster, "small", 0)
    ingest(client, files[1:])
    assert client.dataset("dy").version == 2
    assert_same(client.query("dy", COLUMNS, CUT).to_awkward(), expected)
    assert client.verify("dy").ok


def set_quota(cluster: Cluster, pool: str, bytes_max: int) -> None:
    """Limit a pool, and wait until the OSDs know that it is full, or is not."""
    with cluster.admin() as admin:
        admin.command("osd pool set-quota", pool=pool, field="max_bytes", val=str(bytes_max))

        def known() -> bool:
            (found,) = (one for one in admin.command("osd dump")["pools"] if one["pool_name"] == pool)
            return ("full" in found["flags_names"]) == bool(bytes_max)

        wait_until(known, "the OSDs know the quota")
