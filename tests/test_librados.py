"""Finding Ceph's Python module."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from skyhook_casa import librados
from skyhook_casa.errors import StoreError


def test_a_file_for_this_python_is_found(tmp_path: Path) -> None:
    file = tmp_path / f"rados{EXTENSION_SUFFIXES[0]}"
    file.touch()

    assert librados._system_file((tmp_path / "absent", tmp_path)) == file


def test_a_file_for_another_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rados.cpython-39-x86_64-linux-gnu.so").touch()

    with pytest.raises(StoreError, match=r"rados\.cpython-39.* is made for another Python"):
        librados._system_file((tmp_path,))


def test_a_missing_module_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="apt-get install python3-rados"):
        librados._system_file((tmp_path,))


def test_a_file_that_cannot_be_loaded_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "rados", raising=False)
    file = tmp_path / f"rados{EXTENSION_SUFFIXES[0]}"
    file.write_text("not a library")

    with pytest.raises(StoreError, match="cannot be loaded"):
        librados._loaded(file)

    assert "rados" not in sys.modules
