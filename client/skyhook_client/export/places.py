"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyhook_casa.errors import AlreadyExists, StoreError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path` at the end, and is removed on an error.

    Raises
    ------
    StoreError
        If it cannot be written: no such folder, no space, no permission.
    """
    unfinished = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.unfinished{path.suffix}")
    with _reporting(path):
        try:
            yield unfinished
            _keep(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write into; it becomes `path` at the end, and is removed on an error.

    Raises
    ------
    AlreadyExists
        If there is something at `path`.
    StoreError
        If it cannot be written.
    """
    path = path.absolute()  # "." has no name of its own
    if os.path.lexists(path):
        raise _taken(path)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    with _reporting(path):
        unfinished.mkdir()
        try:
            yield unfinished
            for one in unfinished.iterdir():
                _keep(one)
            try:
                unfinished.rename(path)
            except (FileExistsError, NotADirectoryError) as error:
                raise _taken(path) from error
            except OSError as error:
                if path.exists():  # made meanwhile, and not empty
                    raise _taken(path) from error
                raise
        except BaseException:
            shutil.rmtree(unfinished)
            raise


def _keep(path: Path) -> None:
    """Return once a file is on the disk: some file systems only say then that there was no room."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken(path: Path) -> AlreadyExists:
    return AlreadyExists(f"{path} is there already; name a folder that is not, or remove it first")


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Say of the errors of the operating system that `path` could not be written."""
    if not path.parent.is_dir():
        raise StoreError(f"cannot write {path}: there is no folder {path.parent}")
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
