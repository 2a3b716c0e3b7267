"""Where the catalog of a store is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from ..stores import DirectoryStore, MemoryStore, ObjectStore

FILE: Final = "catalog.sqlite"
"""The catalog inside a store that is a directory."""
VARIABLE: Final = "SKYHOOK_CATALOG"
"""Environment variable: address of the catalog of a pool or bucket."""


def catalog_address(store: ObjectStore, given: str | None = None) -> str | os.PathLike[str]:
    """Return the address of the catalog that belongs to `store`.

    `given`, or the option ``catalog`` of the store's URL, if there is one. Else a store that is a
    directory has its catalog inside. That of a pool or bucket is what the environment variable
    ``SKYHOOK_CATALOG`` says, else a file in the user's data directory
    (``$XDG_DATA_HOME/skyhook_casa``), the same for every address of that store.

    Raises
    ------
    StoreError
        If the configuration of a store's cluster cannot be read.
    """
    named = given or store.catalog
    if named:
        return named
    if isinstance(store, DirectoryStore):
        return store.path / FILE
    if isinstance(store, MemoryStore):
        return "memory://"
    named = os.environ.get(VARIABLE)
    if named:
        return named
    return data_directory() / f"{hashlib.sha256(store.identity().encode()).hexdigest()[:32]}.sqlite"


def data_directory() -> Path:
    """Return the user's directory for catalogs; it may not be there."""
    base = os.environ.get("XDG_DATA_HOME", "")
    # The specification asks to pass over a relative path.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return root / "skyhook_casa"
