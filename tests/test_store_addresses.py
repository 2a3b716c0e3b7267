"""The URLs of stores, and the catalog that belongs to each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import skyhook_casa
from skyhook_casa.catalog.place import catalog_address, data_directory
from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.errors import InvalidRequest, StoreError
from skyhook_casa.nanoaod import make_nanoaod
from skyhook_casa.stores import DirectoryStore, MemoryStore, open_store
from skyhook_casa.stores.address import parse_address

S3 = "s3://bucket/some/prefix?endpoint=http://127.0.0.1:9000"


class TestUrl:
    @pytest.mark.parametrize(
        ("address", "url"),
        [
            ("rados://skyhook", "rados://skyhook"),
            ("rados://a%20pool?conf=/etc/x%26y.conf", "rados://a%20pool?conf=/etc/x%26y.conf"),
            ("rados://p?namespace=n&conf=/c", "rados://p?conf=/c&namespace=n"),
            ("rados://p?conf=/c&user=client.x&timeout_s=20", "rados://p?conf=/c&user=client.x&timeout_s=20"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/?region=eu-1", "s3://bucket/a/b?region=eu-1"),
            (S3, S3),
            (f"{S3}&rados=pool&marker=m.1", f"{S3}&rados=pool&marker=m.1"),
        ],
    )
    def test_a_url_is_put_in_order(self, address: str, url: str) -> None:
        """One store, one URL, however it was written; and it opens the same store."""
        assert open_store(address).url == url == open_store(url).url

    def test_the_configuration_is_found_from_any_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert open_store("rados://p?conf=ceph.conf").url == f"rados://p?conf={tmp_path}/ceph.conf"

    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("rados://?conf=/c", "names no pool or bucket"),
            ("s3://", "names no pool or bucket"),
            ("rados://p/folder?conf=/c", "no folders; use namespace="),
            ("rados://p?config=/c", "unknown option 'config' .* did you mean 'conf'"),
            ("rados://p?endpoint=http://x", "unknown option 'endpoint' .* there are conf, user"),
            ("rados://p?conf=", "'conf' in .* is empty"),
            ("rados://p?user=a&user=b", "'user' in .* is given twice"),
            ("rados://p?timeout_s=soon", "timeout_s=soon must be a number, at least 3"),
            ("rados://p?timeout_s=2.9", "timeout_s=2.9 must be a number, at least 3"),
            ("rados://p?timeout_s=inf", "must be a number"),
            ("rados://p#q", "write %23"),
            ("s3://b?endpoint=127.0.0.1:9000", "must begin with http:// or https://"),
            ("s3://b?timeout_s=0.9", "at least 1"),
            ("s3://b?user=client.x", "user= is for a bucket in a Ceph cluster"),
            ("s3://b/_p?rados=pool", "must not begin with '_'"),
        ],
    )
    def test_a_wrong_url_is_refused(self, address: str, message: str) -> None:
        with pytest.raises(InvalidRequest, match=message):
            open_store(address)

    def test_the_shortest_timeouts_are_taken(self) -> None:
        assert open_store("rados://p?timeout_s=3").url
        assert open_store("s3://b?timeout_s=1").url

    def test_a_url_is_taken_apart(self) -> None:
        parts = parse_address("s3://b/a%20b/c?x=1&y=%2F", ["y", "x"])
        assert (parts.scheme, parts.place, parts.path) == ("s3", "b", "a b/c")
        assert dict(parts.options) == {"x": "1", "y": "/"}


class TestCatalog:
    @pytest.fixture(autouse=True)
    def environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.delenv("SKYHOOK_CATALOG", raising=False)

    def test_a_directory_holds_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SKYHOOK_CATALOG", "sqlite:////elsewhere.sqlite")
        assert catalog_address(DirectoryStore(tmp_path)) == tmp_path / "catalog.sqlite"
        assert catalog_address(MemoryStore()) == "memory://"

    def test_that_of_a_bucket_is_among_the_users_data(self, tmp_path: Path) -> None:
        place = Path(catalog_address(open_store(S3)))
        assert place.parent == tmp_path / "skyhook_casa"
        assert place.suffix == ".sqlite"

    def test_it_does_not_depend_on_how_the_store_is_reached(self, tmp_path: Path) -> None:
        same = [f"{S3}&region=x&timeout_s=5", f"{S3}&profile=me", f"{S3}&rados=p&marker=1"]
        assert {catalog_address(open_store(url)) for url in [S3, *same]} == {catalog_address(open_store(S3))}

    def test_other_stores_have_others(self, tmp_path: Path) -> None:
        (tmp_path / "a.conf").write_text("[global]\nfsid = 11111111-1111-1111-1111-111111111111\n")
        (tmp_path / "b.conf").write_text("[global]\nfsid = 22222222-2222-2222-2222-222222222222\n")
        (tmp_path / "c.conf").write_text("[global]\n")
        (tmp_path / "d.conf").write_text("[global]\n")
        urls = [S3, f"{S3}1", "s3://bucket", "s3://bucket2"]
        urls += [f"rados://p?conf={tmp_path}/{name}.conf" for name in "abcd"]
        urls += [f"rados://q?conf={tmp_path}/a.conf", f"rados://p?conf={tmp_path}/a.conf&namespace=n"]
        assert len({catalog_address(open_store(url)) for url in urls}) == len(urls)

    def test_copies_of_a_configuration_are_one_cluster(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).write_text("[global]\nfsid = 11111111-1111-1111-1111-111111111111\n")
        a, b = (open_store(f"rados://p?conf={tmp_path / name}&user={name}") for name in ("a", "b"))
        assert catalog_address(a) == catalog_address(b)

    def test_the_environment_the_url_and_the_caller_can_name_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SKYHOOK_CATALOG", "sqlite:////env.sqlite")
        assert catalog_address(open_store(S3)) == "sqlite:////env.sqlite"
        named = open_store(f"{S3}&catalog=sqlite:////url.sqlite")
        assert catalog_address(named) == "sqlite:////url.sqlite"
        assert catalog_address(named, "sqlite:////given.sqlite") == "sqlite:////given.sqlite"

    def test_a_configuration_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"none\.conf cannot be read; give the path"):
            catalog_address(open_store(f"rados://p?conf={tmp_path}/none.conf"))

    @pytest.mark.parametrize("value", ["", "relative/path"])
    def test_without_a_data_directory_there_is_the_usual_one(
        self, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert data_directory() == Path.home() / ".local" / "share" / "skyhook_casa"

    def test_a_client_finds_its_data_again(self, ceph: Cluster, tmp_path: Path) -> None:
        """By the store's address alone, in another process too."""
        url = f"{ceph.url}&namespace=found-{os.getpid()}"
        file = make_nanoaod(tmp_path / "x.root", 100).path
        skyhook_casa.connect(url, progress=False).ingest("dy", file, workers=2)
        again = skyhook_casa.connect(url, progress=False)
        assert again.query("dy", columns=["MET_pt"]).count() == 100
        assert again.verify("dy").ok
