"""A pretended S3 for tests: moto behind a real socket, one request at a time."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.ceph_cluster.config import S3_POOL

BUCKET = "skyhook"
ACCOUNT = "123456789012"


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The URL of a server with an empty bucket."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    # One thread: then conditional requests of many clients take turns, as those of a real server do.
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    s3_backends[ACCOUNT]["aws"].create_bucket(BUCKET, "us-east-1")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _no_other_keys(monkeypatch: pytest.MonkeyPatch, credentials: Path) -> None:
    """Let AWS's libraries see these keys and nothing of this machine's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(credentials.with_name("none")))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def moto_store(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store in moto."""
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = moto\naws_secret_access_key = secret\n")
    _no_other_keys(monkeypatch, credentials)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}?endpoint={moto_url}"


@pytest.fixture
def radosgw_store(ceph: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store in the run's cluster, reached through S3 and RADOS."""
    _no_other_keys(monkeypatch, ceph.layout.s3_credentials)
    rados = f"rados={S3_POOL}&conf={quote(str(ceph.conf))}"
    return f"s3://{BUCKET}/{uuid.uuid4().hex}?endpoint={ceph.s3_endpoint}&{rados}"


def make_moto_older(key: str, then_s: float) -> None:
    """Set the time of an object in moto."""
    from moto.s3.models import s3_backends

    found = s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys[key]
    found.last_modified = datetime.fromtimestamp(then_s, UTC).replace(tzinfo=None)
