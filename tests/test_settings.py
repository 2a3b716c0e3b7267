"""The service is told what to do by flags, environment and file; it tells what it does by log and metrics."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("structlog")
pytest.importorskip("pydantic_settings")

from pydantic import ByteSize

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_server import logs
from skyhook_server.metrics import OUTCOMES, Metrics
from skyhook_server.settings import Settings, split_address
from skyhook_server.top import top

MIB = 1 << 20


# ---- settings ----------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SKYHOOK_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "serve.toml"
    path.write_text('store = "from-file"\nlisten = "127.0.0.1:1"\nwindow_bytes = "32MiB"\nqueries_max = 3\n')
    return path


def test_a_flag_beats_the_environment_and_that_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYHOOK_SERVE_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("SKYHOOK_SERVE_WINDOW_BYTES", "48MiB")
    monkeypatch.setenv("SKYHOOK_STORE", "of-all-programs")
    found = Settings.load({"listen": "127.0.0.1:3", "workers": None}, file)
    assert found.listen == "127.0.0.1:3"
    assert found.window_bytes == 48 * MIB
    assert (found.store, found.queries_max) == ("from-file", 3)
    assert found.workers is None
    assert found.drain_s == Settings().drain_s


def test_the_environment_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYHOOK_SERVE_CONFIG", str(file))
    assert Settings.load().queries_max == 3


def test_the_store_of_all_programs_is_served_if_no_other_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYHOOK_STORE", "of-all-programs")
    assert Settings.load().store == "of-all-programs"
    assert Settings.load({"store": "flag"}).store == "flag"


@pytest.mark.parametrize(("text", "size"), [("64MiB", 64 * MIB), ("17000000", 17_000_000), ("0.1GB", 10**8)])
def test_sizes_have_units(text: str, size: int) -> None:
    assert Settings.load({"window_bytes": text}).window_bytes == size


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"listen": "8815"}, "listen is '8815' (--listen): host:port is needed"),
        ({"listen": "localhost:65536"}, "host:port is needed"),
        ({"dask": "scheduler:8786"}, "tcp://host:port or tls://host:port is needed"),
        ({"store": "grpc://other:8815"}, "the address of a service is no store"),
        ({"workers": 0}, "workers is 0 (--workers): input should be greater than or equal to 1"),
        ({"delivery": "pigeon"}, "'direct' or 'relay'"),
        ({"cache_bytes": "5 parsecs"}, "could not interpret byte unit: parsecs"),
        ({"split_bytes": "some"}, "split_bytes is 'some' (--split-bytes): bytes are needed, such as 16MiB"),
        ({"window_bytes": "1MiB"}, "must not be less than split_bytes, 16777216"),
        ({"held_bytes_max": "1MiB"}, "must not be less than window_bytes, 67108864"),
        ({"request_bytes_max": 16 * MIB + 1}, "request_bytes_max is 16777217"),
        ({"lissten": "x"}, "did you mean 'listen'"),
        ({"queries_max": 0, "turn_s": "soon"}, "turn_s is 'soon' (--turn-s)"),
    ],
)
def test_a_wrong_setting_is_named_with_where_it_came_from(flags: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Settings.load(flags)
    assert message in str(caught.value)


def test_the_largest_values_are_allowed() -> None:
    found = Settings.load({"request_bytes_max": 16 * MIB, "window_bytes": "16MiB", "listen": "[::1]:65535"})
    assert found.request_bytes_max == found.window_bytes == found.split_bytes
    assert split_address(found.listen) == ("::1", 65535)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYHOOK_SERVE_QUERIES_MAX", "many")
    with pytest.raises(InvalidRequest, match=r"queries_max is 'many' \(\$SKYHOOK_SERVE_QUERIES_MAX\)"):
        Settings.load()


def test_a_slip_in_the_name_of_a_variable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a limit that somebody has set would not be there."""
    monkeypatch.setenv("SKYHOOK_SERVE_QUERY_MAX", "5")
    with pytest.raises(InvalidRequest, match=r"\$SKYHOOK_SERVE_QUERY_MAX is no setting; did you mean"):
        Settings.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = 'x'", r"workers is 'x' \(.*serve.toml\)"),
        ("worker = 1", r"worker in .*serve.toml is no setting; did you mean 'workers'"),
        ("workers = ", "serve.toml is not TOML"),
        ("[workers]\nn = 1", r"workers is {'n': 1} \(.*serve.toml\)"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=message):
        Settings.load({}, path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="there is no configuration file"):
        Settings.load({}, tmp_path / "none.toml")


# ---- log ---------------------------------------------------------------------------------------
@contextmanager
def logging_to(form: str, level: str = "info") -> Iterator[io.StringIO]:
    """Configure the log of this process, and put back what was there."""
    root = logging.getLogger()
    noisy = [logging.getLogger(name) for name in logs.NOISY]
    before = root.handlers, root.level, [(one.handlers, one.propagate, one.level) for one in noisy]
    out = io.StringIO()
    try:
        logs.configure(form, level, out)  # type: ignore[arg-type]
        yield out
    finally:
        logging.captureWarnings(False)
        root.handlers = before[0]
        root.setLevel(before[1])
        for one, (handlers, propagate, number) in zip(noisy, before[2], strict=True):
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(number)


def test_a_line_of_json_holds_query_and_client() -> None:
    log = logs.get_logger("skyhook_server.test")
    with logging_to("json") as out:
        with logs.bound(query_id="q7", client="anna@lxplus:12"):
            log.info("split is ready", number=3)
            logging.getLogger("skyhook_server.other").warning("%d threads", 5)
        log.info("over")
        log.debug("not shown")
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["number"], first["query_id"]) == ("split is ready", 3, "q7")
    assert (first["level"], first["logger"]) == ("info", "skyhook_server.test")
    assert (second["event"], second["client"]) == ("5 threads", "anna@lxplus:12")
    assert "query_id" not in third


def test_errors_are_logged_with_their_traceback() -> None:
    with logging_to("json") as out:
        try:
            raise ValueError("no such thing")
        except ValueError:
            logs.get_logger("skyhook_server.test").exception("broke")
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert line["exception"].splitlines()[-1] == "ValueError: no such thing"


def test_the_console_shows_the_same_for_people() -> None:
    with logging_to("console") as out, logs.bound(query_id="q7"):
        try:
            raise ValueError("no such thing")
        except ValueError:
            logs.get_logger("skyhook_server.test").exception("broke", number=3)
    text = out.getvalue()
    assert "broke" in text
    assert "query_id=q7" in text
    assert "ValueError: no such thing" in text


def test_other_libraries_tell_only_of_trouble_unless_asked_for_more() -> None:
    with logging_to("json") as out:
        logging.getLogger("distributed.scheduler").info("state start")
        logging.getLogger("distributed.scheduler").warning("worker is lost")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["worker is lost"]
    with logging_to("json", "debug") as out:
        logging.getLogger("distributed.scheduler").info("state start")
    assert "state start" in out.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://anna:pw@db/x", "postgresql+psycopg://anna:***@db/x"),
        ("s3://bucket/p?endpoint=https://h&secret=abc", "s3://bucket/p?endpoint=https://h&secret=***"),
        ("AWS_SECRET_ACCESS_KEY=abc and more", "AWS_SECRET_ACCESS_KEY=*** and more"),
        ("rados://pool?conf=/etc/ceph/ceph.conf", "rados://pool?conf=/etc/ceph/ceph.conf"),
        ("grpc://host:8815 anna@host", "grpc://host:8815 anna@host"),
    ],
)
def test_secrets_are_not_logged(text: str, shown: str) -> None:
    """Wherever they stand: in the text, in a value, in an exception."""
    with logging_to("json") as out:
        log = logs.get_logger("skyhook_server.test")
        log.info(text, value=text, inside={"of": [text]}, error=ValueError(text))
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert [line["event"], line["value"], line["inside"]["of"][0], line["error"]] == [shown] * 4


# ---- metrics -----------------------------------------------------------------------------------
def test_metrics_are_served_over_http() -> None:
    metrics = Metrics()
    metrics.queries.labels("done").inc()
    metrics.query_seconds.observe(0.2)
    before = set(threading.enumerate())
    port = metrics.serve("127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        metrics.close()
    assert 'skyhook_queries_total{outcome="done"} 1.0' in text
    assert 'skyhook_query_seconds_bucket{le="0.25"} 1.0' in text
    assert set(threading.enumerate()) <= before
    metrics.close()


def test_every_outcome_is_there_from_the_beginning() -> None:
    """A rate needs the zero before the first."""
    text = Metrics().text()
    for outcome in OUTCOMES:
        assert f'skyhook_queries_total{{outcome="{outcome}"}} 0.0' in text


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.splits.labels("task").inc(3)
    assert 'skyhook_splits_total{source="task"} 3.0' in one.text()
    assert 'skyhook_splits_total{source="task"} 0.0' in other.text()


def test_a_taken_port_of_the_metrics_is_an_error() -> None:
    one, other = Metrics(), Metrics()
    port = one.serve("127.0.0.1", 0)
    try:
        with pytest.raises(InvalidRequest, match=f"metrics cannot be served at 127.0.0.1:{port}"):
            other.serve("127.0.0.1", port)
    finally:
        one.close()
        other.close()


# ---- command line ------------------------------------------------------------------------------
def test_the_command_line_loads_nothing_of_the_service() -> None:
    """Who only asks questions need not install it."""
    code = (
        "import sys, skyhook_casa.cli; "
        "print(sorted({'distributed', 'grpc', 'pydantic', 'structlog', 'skyhook_server'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_missing_package_of_the_service_is_named_with_what_to_install() -> None:
    code = (
        "import sys; sys.modules['structlog'] = None; "
        "sys.argv = ['skyhook-casa', 'serve']; from skyhook_casa.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "skyhook-casa: the service needs the package 'structlog': pip install 'skyhook_casa[server]'\n"
    )


def test_top_shows_running_queries(capsys: pytest.CaptureFixture[str]) -> None:
    """What users wrote is shown as it is, and one line holds one query."""
    status = pb.ServiceStatus(server="1.2", uptime_s=93_784, draining=True, workers=2, threads=4)
    status.MergeFrom(pb.ServiceStatus(held_bytes=12_345_678, cache_hits=3, cache_misses=1, queries_done=7))
    status.queries.add(query_id="young", client="b", dataset="dy", age_s=0, events=0)
    status.queries.add(
        query_id="old",
        client="anna@host:1",
        dataset="dy",
        cut="[red]x > 1",
        age_s=4,
        events_done=2000,
        events=8000,
    )
    top(lambda: status, once=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].rstrip() == "skyhook-casa 1.2, up 1 d 2:03:04, stopping"
    assert lines[2].rstrip() == "queries: 2 running, 7 done, 0 failed, 0 refused"
    assert lines[3].rstrip() == "12.3 MB wait for clients; cache 0 B, 75% hits"
    assert lines[6].split() == "old anna@host:1 dy [red]x > 1 4.0 s 25% 500 0 B 0 B 0".split()
    assert lines[7].split()[:1] == ["young"]
    assert len(lines) == 8


# ---- the administrators' guide -----------------------------------------------------------------
ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs/administrators.md").read_text()


def shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value >> 20}MiB" if isinstance(value, ByteSize) else str(value)


def test_the_guide_lists_every_setting_with_its_default() -> None:
    fields = Settings.model_fields.items()
    expected = [f"| `{name}` | {shown(field.default)} | {field.description} |" for name, field in fields]
    table = GUIDE.partition("| setting | default | meaning |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == expected, "the table should be:\n" + "\n".join(expected)


def test_the_guide_lists_every_metric() -> None:
    ending = {"counter": "_total"}
    found = [metric for metric in Metrics().registry.collect() if metric.name.startswith("skyhook_")]
    expected = [
        f"| `{metric.name}{ending.get(metric.type, '')}` | {metric.type} | {metric.documentation} |"
        for metric in found
    ]
    table = GUIDE.partition("| metric | type | meaning |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == expected, "the table should be:\n" + "\n".join(expected)


def test_the_file_of_the_guide_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(GUIDE.partition("```toml\n")[2].partition("```")[0])
    assert Settings.load({}, path).held_bytes_max == 8 << 30


def test_the_settings_of_the_containers_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    for name, variable in services["cluster"]["environment"].items():
        monkeypatch.setenv(name, variable)
    found = Settings.load()
    assert (found.dask, found.delivery) == ("tcp://scheduler:8786", "relay")
    published = {int(port.split(":")[1]) for port in services["cluster"]["ports"]}
    assert {split_address(found.listen)[1], found.flight_port} <= published
    assert found.drain_s < int(services["cluster"]["stop_grace_period"].rstrip("s"))
