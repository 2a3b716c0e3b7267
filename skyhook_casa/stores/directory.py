"""A store in a directory of a file system.

`objects/ab/abcdef…` holds the objects, `unfinished/` what is being written. An object appears
under its name by a hard link that never replaces, after its bytes are on disk. Works for any
number of processes; over a network file system if that has hard links and `flock`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InvalidRequest, NotFound, StoreError
from .base import ByteRange, ObjectStore, StoredObject, check_data, check_name, is_name, past_the_end

if TYPE_CHECKING:
    from typing_extensions import Buffer

PLACES_MAX: Final = 4096
"""Paths of objects that are remembered: making one takes longer than to open it."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


class DirectoryStore(ObjectStore):
    """Objects as files below `path`; the directory is made by the first `put`.

    Raises
    ------
    InvalidRequest
        If `path` is there but is no directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.exists() and not self.path.is_dir():
            raise InvalidRequest(f"{self.path} is a file; a store needs a directory")
        self.url = self.path.as_uri()
        self._objects = self.path / "objects"
        self._unfinished = self.path / "unfinished"
        self._root = f"{self._objects}{os.sep}"

    def put(self, name: str, data: Buffer) -> bool:
        """See `ObjectStore.put`."""
        view = check_data(check_name(name), data)
        with self._reporting(f"cannot store object {name!r}"):
            if self._refresh(name):
                return False
            temporary = self._write(name, view)
            try:
                return self._publish(name, temporary)
            finally:
                temporary.unlink(missing_ok=True)

    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """See `ObjectStore.read_many`."""
        with self._reporting(f"cannot read object {name!r}"):
            handle = self._open(name)
            try:
                return [_read_range(handle, name, where) for where in ranges]
            finally:
                os.close(handle)

    def size(self, name: str) -> int:
        """See `ObjectStore.size`."""
        with self._reporting(f"cannot read object {name!r}"):
            try:
                return self._file(name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                raise self._absent(name) from None

    def list(self) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        with self._reporting("cannot list the objects"):
            shards = _entries(self._objects)
        for shard in shards:
            with self._reporting("cannot list the objects"):
                found = [stored for entry in _entries(Path(shard.path)) if (stored := _stored(entry))]
            yield from (one for one in found if is_name(one.name) and one.name[:2] == shard.name)

    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        """See `ObjectStore.delete`."""
        file = self._file(name)
        with self._reporting(f"cannot delete object {name!r}"):
            if not file.exists():
                return False
            with self._locked(fcntl.LOCK_EX):
                try:
                    if put_before_s is not None and file.stat().st_mtime >= put_before_s:
                        return False
                    file.unlink()
                except FileNotFoundError:
                    return False
        return True

    def local_path(self, name: str) -> Path:
        """See `ObjectStore.local_path`; the file may not be there."""
        return self._file(name)

    def remove_unfinished(self, begun_before_s: float) -> int:
        """See `ObjectStore.remove_unfinished`."""
        removed = 0
        with self._reporting("cannot remove unfinished objects"):
            for entry in _entries(self._unfinished):
                stored = _stored(entry)
                if stored and stored.modified_s < begun_before_s:
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
        return removed

    def _file(self, name: str) -> Path:
        return _place(self._root, name)

    def _open(self, name: str) -> int:
        try:
            return os.open(self._file(name), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise self._absent(name) from None

    def _absent(self, name: str) -> NotFound:
        return NotFound(f"no object {name!r} in {self.url}")

    def _refresh(self, name: str) -> bool:
        """Make an object that is there count as put now; return whether it was there."""
        file = self._file(name)
        if not file.exists():
            return False
        with self._locked(fcntl.LOCK_SH):
            try:
                os.utime(file)
            except FileNotFoundError:
                return False
        return True

    def _write(self, name: str, view: memoryview) -> Path:
        """Write the bytes to disk under a name of their own; leave nothing if that fails."""
        _make_directory(self._unfinished)
        temporary = self._unfinished / f"{name}.{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _write_all(handle, view)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return temporary

    def _publish(self, name: str, temporary: Path) -> bool:
        file = self._file(name)
        _make_directory(file.parent)
        stored = self._link(temporary, file)
        if stored:
            _sync_directory(file.parent)
            return True
        return not self._refresh(name) and self._publish(name, temporary)

    def _link(self, temporary: Path, file: Path) -> bool:
        """Give the bytes their name unless it is taken; return whether it was free."""
        try:
            os.link(temporary, file)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._rename(temporary, file)
        return True

    def _rename(self, temporary: Path, file: Path) -> bool:
        """`_link` for file systems without hard links."""
        with self._locked(fcntl.LOCK_EX):
            if file.exists():
                return False
            temporary.rename(file)
        return True

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold the lock that puts `delete` and the renewal of a taken name in an order."""
        handle = os.open(self.path / "objects.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, kind)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Turn the operating system's errors into `StoreError`."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _FULL:
                raise StoreError(f"{what}: the disk of {self.path} is full ({reason})") from error
            raise StoreError(f"{what} in {self.path}: {reason}") from error


@lru_cache(maxsize=PLACES_MAX)
def _place(root: str, name: str) -> Path:
    """Return the file of an object below `root`, which ends with a separator."""
    return Path(f"{root}{check_name(name)[:2]}{os.sep}{name}")


def _read_range(handle: int, name: str, where: ByteRange) -> bytes:
    data = os.pread(handle, where.nbytes, where.start)
    while len(data) < where.nbytes:
        more = os.pread(handle, where.nbytes - len(data), where.start + len(data))
        if not more:
            raise past_the_end(name, os.fstat(handle).st_size, where)
        data += more
    return data


def _write_all(handle: int, view: memoryview) -> None:
    while view:
        view = view[os.write(handle, view) :]
    os.fsync(handle)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _stored(entry: os.DirEntry[str]) -> StoredObject | None:
    """Return the listing of a file; None if it is no file, or gone."""
    try:
        if not entry.is_file(follow_symlinks=False):
            return None
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return StoredObject(entry.name, status.st_size, status.st_mtime)


def _make_directory(directory: Path) -> None:
    """Make `directory` and its parents, durably."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
