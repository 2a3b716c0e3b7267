"""Debian's module `rados`, also from a virtual environment, which does not see the system's packages.

Only that one extension module is loaded; nothing else of the system's packages comes with it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Final

from .errors import StoreError

SYSTEM_FOLDERS: Final = tuple(
    Path(folder)
    for folder in (
        "/usr/lib/python3/dist-packages",
        f"/usr/lib/python3.{sys.version_info.minor}/site-packages",
        f"/usr/lib64/python3.{sys.version_info.minor}/site-packages",
    )
)
"""Where Linux distributions put extension modules."""


_lock = Lock()
"""Held while the module is loaded, which cannot be done twice."""


def rados() -> ModuleType:
    """Return the module `rados`.

    Raises
    ------
    StoreError
        If it is not installed, or is made for another version of Python.
    """
    with _lock:
        return _found()


@cache
def _found() -> ModuleType:
    if importlib.util.find_spec("rados") is not None:
        return _imported()
    return _loaded(_system_file(SYSTEM_FOLDERS))


def _imported() -> ModuleType:
    try:
        return importlib.import_module("rados")
    except ImportError as error:
        raise StoreError(f"the Python module rados cannot be loaded: {error}") from error


def _system_file(folders: tuple[Path, ...]) -> Path:
    """The extension module of the system that fits this interpreter."""
    for folder in folders:
        for suffix in EXTENSION_SUFFIXES:
            file = folder / f"rados{suffix}"
            if file.is_file():
                return file
    others = sorted(file for folder in folders for file in folder.glob("rados.*.so"))
    if others:
        raise StoreError(
            f"Ceph's Python module {others[0]} is made for another Python than this one, "
            f"{sys.version_info.major}.{sys.version_info.minor}; "
            "make the virtual environment with the system's python3"
        )
    raise StoreError("Ceph's Python module rados is not installed; on Debian: apt-get install python3-rados")


def _loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("rados", file)
    if spec is None or spec.loader is None:
        raise StoreError(f"{file} is not a Python module")
    try:
        module = importlib.util.module_from_spec(spec)
        sys.modules["rados"] = module
        spec.loader.exec_module(module)
    except ImportError as error:
        sys.modules.pop("rados", None)
        raise StoreError(f"{file} cannot be loaded: {error}") from error
    return module
