"""The folder of object classes that the OSDs load: the system's and ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..errors import NotFound, StoreError

PATTERN: Final = "libcls_skyhook_casa*.so"
CLASS_NAME: Final = "skyhook_casa_1"
"""The class that the caps name if no file of it was found."""
PACKAGE: Final = Path(__file__).resolve().parent.parent
SEARCHED: Final = (PACKAGE, PACKAGE.parent / "build" / "engine" / "ceph_cls")
"""Where our classes may be: beside the package, and in a checkout's build."""


def system_folder() -> Path:
    """Return where Ceph's packages put its own classes; radosgw cannot do without them."""
    folders = [*sorted(Path("/usr/lib").glob("*/rados-classes")), Path("/usr/lib64/rados-classes")]
    for folder in (*folders, Path("/usr/lib/rados-classes")):
        if folder.is_dir():
            return folder
    raise StoreError("Ceph's object classes (rados-classes) are not in /usr/lib; install ceph-osd")


def our_files(searched: Iterable[Path] = SEARCHED) -> list[Path]:
    """Return the files of our classes in the first folder that has some, or none."""
    for folder in searched:
        found = sorted(folder.rglob(PATTERN))
        if found:
            return found
    return []


def checked(files: Sequence[Path]) -> list[Path]:
    """Return the files with absolute paths.

    Raises
    ------
    NotFound
        If one is not there.
    """
    for file in files:
        if not file.is_file():
            raise NotFound(f"there is no object class {file}")
    return [file.absolute() for file in files]


def class_names(files: Iterable[Path]) -> list[str]:
    """Return the names of our classes: `libcls_skyhook_casa_1.so` holds `skyhook_casa_1`."""
    names = {file.name.removeprefix("libcls_").split(".")[0] for file in files}
    return sorted(name for name in names if name.startswith("skyhook_casa"))


def link(folder: Path, files: Iterable[Path]) -> None:
    """Make `folder` with links to the system's classes and to `files`, which replace those of their names."""
    folder.mkdir()
    for file in sorted(system_folder().glob("libcls_*")):
        (folder / file.name).symlink_to(file)
    for file in files:
        target = folder / file.name
        target.unlink(missing_ok=True)
        target.symlink_to(file)
