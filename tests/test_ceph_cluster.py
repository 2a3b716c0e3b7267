"""Starting, breaking and ending real Ceph clusters."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from waiting import wait_until

from skyhook_casa.ceph_cluster import Cluster, admin, cluster, daemons, s3
from skyhook_casa.ceph_cluster.classes import class_names
from skyhook_casa.ceph_cluster.config import PGS_PER_OSD_MIN, POOL, Layout, Settings
from skyhook_casa.ceph_cluster.ports import free_ports
from skyhook_casa.cli import app
from skyhook_casa.errors import AlreadyExists, InvalidRequest, NotFound, StoreError
from skyhook_casa.librados import rados

NewCeph = Callable[..., Cluster]


@contextmanager
def pool(where: Cluster, user: str = "client.admin", name: str = POOL) -> Iterator[Any]:
    """Open a pool as a user; gives a `rados.Ioctx`."""
    with admin.rados_handle(where.layout, user) as handle:
        context = handle.open_ioctx(name)
        try:
            yield context
        finally:
            context.close()


def refused(action: Callable[[], object]) -> bool:
    """Whether the cluster says that this user may not."""
    try:
        action()
    except rados().Error as error:
        return error.errno in (errno.EPERM, errno.EACCES)
    return False


def test_objects_are_kept_in_the_pool(ceph: Cluster) -> None:
    with pool(ceph) as context:
        context.write_full("kept", b"1234567890")

        assert context.read("kept") == b"1234567890"
    assert ceph.url == f"rados://skyhook?conf={ceph.folder}/ceph.conf"


def test_every_daemon_runs_and_listens_on_loopback_only(ceph: Cluster) -> None:
    assert [daemon.name for daemon in ceph.daemons()] == ["mon.a", "osd.0", "osd.1", "osd.2", "rgw.r"]
    assert list(ceph.osd_pids()) == [0, 1, 2]
    for daemon in ceph.daemons():
        assert listening(daemon.pid) <= {"127.0.0.1"}
        assert ceph.rss_bytes(daemon.name) > 1024 * 1024


def listening(pid: int) -> set[str]:
    """The IPv4 addresses on which a process listens; IPv6 gives its raw form."""
    inodes = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            inodes.add(str(file.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address = fields[1].split(":")[0]
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                known = ".".join(str(byte) for byte in reversed(bytes.fromhex(address)))
                found.add(known if table == "tcp" else address)
    return found


def test_secrets_are_for_their_owner_only(ceph: Cluster) -> None:
    secrets = [*(ceph.folder / "keys").iterdir(), ceph.layout.s3_credentials]

    assert {file.stat().st_mode & 0o777 for file in secrets} == {0o600}
    assert ceph.folder.stat().st_mode & 0o777 == 0o700


def test_a_bucket_is_made_once_and_found_again(ceph: Cluster) -> None:
    ceph.create_bucket("made-twice")
    ceph.create_bucket("made-twice")

    assert len(ceph.s3_keys()) == 2
    with pytest.raises(StoreError, match="bucket no was not made: HTTP 400"):
        ceph.create_bucket("no")


def test_the_service_reads_and_writes_its_pool_only(ceph: Cluster) -> None:
    ceph.add_pool("not-the-service's".replace("'", ""), 1)
    with pool(ceph, "client.skyhook") as context:
        context.write_full("of the service", b"x")
        assert context.read("of the service") == b"x"

    with pool(ceph, "client.skyhook", "not-the-services") as context:
        assert refused(lambda: context.read("anything"))
        assert refused(lambda: context.write_full("anything", b"x"))


def test_an_analyst_runs_scans_but_touches_no_object(ceph: Cluster) -> None:
    (name, *_) = ceph.class_names() or ["none"]
    with pool(ceph) as context:
        context.write_full("scanned", b"not an object of ours")

    with pool(ceph, "client.analyst") as context:
        assert refused(lambda: context.read("scanned"))
        assert refused(lambda: context.stat("scanned"))
        assert refused(lambda: context.write_full("scanned", b"x"))
        assert refused(lambda: context.remove_object("scanned"))
        assert refused(lambda: context.execute("scanned", "hello", "say_hello", b""))
        assert list(context.list_objects()) == []  # instead of an error
        if name == "none":
            pytest.skip("our object class has not been built")
        for method in ("scan", "verify"):
            assert not refused(lambda method=method: context.execute("scanned", name, method, b"", 65536))


def test_a_users_caps_can_be_changed(ceph: Cluster) -> None:
    keyring = ceph.user("client.visitor", {"mon": "allow r", "osd": f"allow r pool={POOL}"})
    with pool(ceph) as context:
        context.write_full("for visitors", b"x")
    with pool(ceph, "client.visitor") as context:
        assert context.read("for visitors") == b"x"
        assert refused(lambda: context.write_full("for visitors", b"y"))

    assert ceph.user("client.visitor", {"mon": "allow r", "osd": f"allow rw pool={POOL}"}) == keyring
    with pool(ceph, "client.visitor") as context:
        context.write_full("for visitors", b"y")


def test_a_user_of_another_kind_is_refused(ceph: Cluster) -> None:
    with pytest.raises(InvalidRequest, match=r"'client\.analyst' is needed"):
        ceph.user("analyst", {})


def test_an_erasure_coded_pool_takes_objects(ceph: Cluster) -> None:
    ceph.add_pool("coded", 3, erasure=True)

    with pool(ceph, name="coded") as context:
        context.write_full("x", b"1234567890" * 1000)
        assert context.read("x", 20) == b"1234567890" * 2


@pytest.mark.parametrize(("size", "erasure"), [(0, False), (2, True)])
def test_a_pool_of_too_few_osds_is_refused(ceph: Cluster, size: int, erasure: bool) -> None:
    with pytest.raises(InvalidRequest, match="too few"):
        ceph.add_pool("few", size, erasure=erasure)


def test_a_pool_of_more_osds_than_there_are_is_refused(ceph: Cluster) -> None:
    with pytest.raises(InvalidRequest, match="size 4 needs as many OSDs; there are 3"):
        ceph.add_pool("many", 4)


def test_two_clusters_live_side_by_side(new_ceph: NewCeph) -> None:
    first, second = new_ceph(osds=1), new_ceph(osds=1)
    with pool(first) as context:
        context.write_full("of the first", b"1")

    second.down()

    assert not second.folder.exists()
    assert second.daemons() == []
    with pool(first) as context:
        assert context.read("of the first") == b"1"


def test_nothing_is_left_after_down(new_ceph: NewCeph) -> None:
    with new_ceph(osds=1) as made:
        pids = {daemon.pid for daemon in made.daemons()}
        assert len(pids) == 2

    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not made.folder.exists()
    with pytest.raises(NotFound, match="holds no cluster"):
        Cluster.at(made.folder)


def test_a_killed_osd_is_replaced_by_its_copy_and_comes_back(new_ceph: NewCeph) -> None:
    made = new_ceph(osds=2)
    names = [f"object {number}" for number in range(20)]
    with pool(made) as context:
        for name in names:
            context.write_full(name, name.encode())

    made.kill_osd(0)

    assert list(made.osd_pids()) == [1]
    with pool(made) as context:
        assert [context.read(name).decode() for name in names] == names
    with pytest.raises(NotFound, match=r"osd\.0 .* does not run"):
        made.kill_osd(0)
    made.start_osd(0)
    assert list(made.osd_pids()) == [0, 1]
    made.wait_clean()
    made.kill_osd(1)
    with pool(made) as context:
        assert [context.read(name).decode() for name in names] == names


@pytest.mark.slow
def test_an_osd_of_bluestore_keeps_its_objects(new_ceph: NewCeph) -> None:
    made = new_ceph(osds=1, store="bluestore")
    with pool(made) as context:
        context.write_full("kept", b"1234567890")

    made.kill_osd(0, signal.SIGKILL)
    made.start_osd(0)

    with pool(made) as context:
        assert context.read("kept") == b"1234567890"
    with pytest.raises(AlreadyExists, match="runs already"):
        made.start_osd(0)
    with pytest.raises(InvalidRequest, match=r"no osd\.1; the cluster has 1"):
        made.start_osd(1)


def test_a_stopped_osd_goes_on_when_it_is_told(new_ceph: NewCeph) -> None:
    made = new_ceph(osds=1)
    made.kill_osd(0, signal.SIGSTOP)
    assert list(made.osd_pids()) == [0]

    made.kill_osd(0, signal.SIGCONT)

    with pool(made) as context:
        context.write_full("x", b"1")
    assert made.osd_counters(0)["op_w"] >= 1


@pytest.mark.parametrize(
    ("extra", "s3_too", "log"),
    [
        ({"osd": {"osd data": "/dev/null/nowhere"}}, False, "tools.out"),
        ({"osd": {"ms bind port min": 65535, "ms bind port max": 1}}, False, "osd.0.log"),
        ({"client.rgw.r": {"rgw frontends": "beast endpoint=192.0.2.1:80"}}, True, "rgw.r.log"),
    ],
    ids=["mkfs", "osd", "rgw"],
)
def test_a_failed_start_leaves_logs_only(
    tmp_path: Path, new_ceph: NewCeph, extra: Any, s3_too: bool, log: str
) -> None:
    with pytest.raises(StoreError, match=rf"; see {tmp_path}/log/.*{log}"):
        new_ceph(tmp_path, osds=1, s3=s3_too, extra_conf=extra)

    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert not ours(tmp_path)


def ours(folder: Path) -> list[str]:
    """The command lines that name a folder's ceph.conf."""
    run = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in run.stdout.splitlines() if f"{folder}/ceph.conf" in line]


def test_after_a_failed_start_another_can_follow(tmp_path: Path, new_ceph: NewCeph) -> None:
    with pytest.raises(StoreError):
        new_ceph(tmp_path, osds=1, extra_conf={"mon": {"mon data": "/dev/null/x"}})

    made = new_ceph(tmp_path, osds=1)

    assert [daemon.name for daemon in made.daemons()] == ["mon.a", "osd.0"]


def test_an_interrupted_start_leaves_no_process(
    tmp_path: Path, new_ceph: NewCeph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(s3, "create_user", interrupt)
    with pytest.raises(KeyboardInterrupt):
        new_ceph(tmp_path, osds=1, s3=True)

    assert not ours(tmp_path)


@pytest.mark.parametrize("logged", [True, False])
def test_a_port_that_another_took_is_given_up(
    new_ceph: NewCeph, ceph: Cluster, monkeypatch: pytest.MonkeyPatch, logged: bool
) -> None:
    """Even if the daemon ended so fast that its log does not say why."""
    if not logged:
        monkeypatch.setattr(daemons, "said", lambda *_: False)
    taken = ceph.settings.mon_port
    answers = [[taken, *free_ports(2)], free_ports(3)]
    monkeypatch.setattr(cluster, "free_ports", lambda count: answers.pop(0))

    made = new_ceph(osds=1)

    assert answers == []
    assert made.settings.mon_port != taken


def test_a_second_start_in_a_folder_is_refused(ceph: Cluster) -> None:
    with pytest.raises(AlreadyExists, match=r"holds a cluster; `skyhook-casa ceph down` removes it"):
        Cluster.up(ceph.folder)

    assert len(ceph.daemons()) == 5


def test_a_folder_with_something_else_is_refused(tmp_path: Path, new_ceph: NewCeph) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(AlreadyExists, match=r"holds 'thesis\.tex'; an empty folder is needed"):
        new_ceph(tmp_path)

    assert (tmp_path / "thesis.tex").exists()


def test_down_deletes_only_what_up_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.settings.write_text(settings().to_json())
    (tmp_path / "thesis.tex").touch()

    Cluster.at(tmp_path).down()

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_cluster_ends_with_the_process_that_wanted_it(tmp_path: Path, ceph: Cluster) -> None:
    del ceph  # it says whether Ceph is installed
    program = (
        "import os, signal, sys\n"
        "from skyhook_casa.ceph_cluster import Cluster\n"
        "Cluster.up(sys.argv[1], osds=1, store='memstore', guard=os.getpid())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = tmp_path / "guarded"

    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    wait_until(lambda: not folder.exists(), "the cluster is gone")
    assert not ours(folder)


def test_the_commands_start_show_and_end_a_cluster(tmp_path: Path, ceph: Cluster) -> None:
    del ceph
    run, folder = CliRunner(), str(tmp_path / "c")

    up = run.invoke(app, ["ceph", "up", folder, "--osds", "1", "--memstore"], catch_exceptions=False)
    status = run.invoke(app, ["ceph", "status", folder], catch_exceptions=False)
    Cluster.at(folder).kill_osd(0)
    with pytest.raises(NotFound, match=r"not all of the cluster runs: osd\.0; see .*/log"):
        run.invoke(app, ["ceph", "status", folder], catch_exceptions=False)
    down = run.invoke(app, ["ceph", "down", folder], catch_exceptions=False)

    assert f"rados://skyhook?conf={folder}/ceph.conf" in up.output
    assert f"skyhook-casa ceph down {folder}" in up.output
    assert "osd.0" in status.output
    assert (up.exit_code, status.exit_code, down.exit_code) == (0, 0, 0)
    assert not Path(folder).exists()


def settings(**changes: Any) -> Settings:
    """Settings of a cluster that is never started."""
    options = {"fsid": "f", "osds": 3, "store": "memstore", "mgr": False, "s3": False}
    return Settings(**options | {"mon_port": 1, "s3_port": 2, "osd_port_min": 3} | changes)


@given(st.integers(min_value=1, max_value=16))
def test_every_osd_has_enough_placement_groups(osds: int) -> None:
    made = settings(osds=osds)

    assert made.pgs * made.copies / osds >= PGS_PER_OSD_MIN
    assert made.pgs & (made.pgs - 1) == 0
    assert made.pgs * made.copies / osds < 4 * PGS_PER_OSD_MIN


def test_settings_survive_their_file() -> None:
    made = settings(extra={"osd": {"osd_op_num_shards": "4"}})

    assert Settings.from_json(made.to_json()) == made


@pytest.mark.parametrize("changes", [{"osds": 0}, {"osds": 17}, {"store": "tape"}])
def test_impossible_settings_are_refused(changes: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"1 to 16|memstore and bluestore"):
        settings(**changes)


def test_a_folder_with_a_long_path_will_do(tmp_path: Path, new_ceph: NewCeph) -> None:
    """Sockets, whose paths Linux limits, are elsewhere then."""
    made = new_ceph(tmp_path / ("d" * 120), osds=1)

    assert made.osd_counters(0)["op_w"] >= 1
    sockets = made.layout.sockets(made.settings.fsid)
    assert sorted(path.name for path in sockets.iterdir()) == ["mon.a.asok", "osd.0.asok"]
    made.down()
    assert not sockets.exists()


@pytest.mark.parametrize("character", ["$", ";", "#", "\n"])
def test_a_folder_that_a_configuration_cannot_name_is_refused(tmp_path: Path, character: str) -> None:
    with pytest.raises(InvalidRequest, match=r"ceph\.conf cannot"):
        Cluster.up(tmp_path / f"a{character}b")


def test_classes_are_named_by_their_files() -> None:
    files = [Path("/x/libcls_skyhook_casa_2.so"), Path("libcls_skyhook_casa_1.so.1.0"), Path("libcls_rgw.so")]

    assert class_names(files) == ["skyhook_casa_1", "skyhook_casa_2"]
