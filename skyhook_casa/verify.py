"""Re-read every object of a version and check every checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from .catalog import Catalog, DatasetVersion, ObjectInfo
from .errors import CorruptObject, NotFound, StoreError
from .object_directory import Directory, read_directory
from .progress import Progress
from .stores import ObjectStore


@dataclass(frozen=True, slots=True)
class BadObject:
    """An object that is not what the catalog and its own checksums say."""

    name: str
    holds: str
    """What is lost with it: `partition 3 (entries 0 to 99 of a.root)`."""
    problems: tuple[str, ...]
    """Everything that is wrong."""

    def __str__(self) -> str:
        """One line."""
        return f"object {self.name}, {self.holds}: {'; '.join(self.problems)}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found."""

    dataset: str
    number: int
    objects: int
    """Objects that were checked."""
    bytes: int
    """Bytes that were read."""
    bad: tuple[BadObject, ...]

    @property
    def ok(self) -> bool:
        """Whether every object is good."""
        return not self.bad


@dataclass(frozen=True, slots=True)
class _Expected:
    """What the catalog says of one object."""

    object: ObjectInfo
    events: int | None
    """None for a tree that travels with a file."""
    holds: str


def verify(
    catalog: Catalog, store: ObjectStore, version: DatasetVersion, show_progress: bool | None = None
) -> Verification:
    """Re-read every object of `version` and check its name, its directory and each column's bytes.

    A bad object, or one that cannot be read, is reported and the check goes on. At most one
    object is in memory at a time.

    Parameters
    ----------
    show_progress : bool, optional
        False for never, True for always; by default where somebody looks.

    Raises
    ------
    NotFound
        If the version was dropped.
    StoreError
        If the catalog failed.
    """
    layouts = _Layouts(catalog)
    bad: list[BadObject] = []
    nbytes = 0
    expected = list(_expected(catalog, version))
    label = f"verify {version.dataset}"
    with Progress(label, len(expected), unit="objects", show=show_progress) as progress:
        for one in expected:
            problems, size = _check(store, layouts, one)
            nbytes += size
            if problems:
                bad.append(BadObject(one.object.name, one.holds, tuple(problems)))
            progress.advance(1)
    return Verification(version.dataset, version.number, len(expected), nbytes, tuple(bad))


class _Layouts:
    """The directory indices that the catalog has for a layout, asked for once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[int, dict[str, int]] = {}

    def index(self, layout_id: int) -> dict[str, int]:
        """Return the place of each physical column."""
        if layout_id not in self._known:
            self._known[layout_id] = self._catalog.layout(layout_id)
        return self._known[layout_id]


def _expected(catalog: Catalog, version: DatasetVersion) -> Iterator[_Expected]:
    """Yield each object of the version once."""
    seen: set[str] = set()
    for part in catalog.partitions(version):
        if part.object.name not in seen:
            seen.add(part.object.name)
            place = f"entries {part.entry_start} to {part.entry_stop - 1} of {part.file.path}"
            yield _Expected(part.object, part.events, f"partition {part.index} ({place})")
    for tree in catalog.trees(version):
        if tree.object.name not in seen:
            seen.add(tree.object.name)
            yield _Expected(tree.object, None, f"{tree.tree} of {tree.file.path}")


def _check(store: ObjectStore, layouts: _Layouts, expected: _Expected) -> tuple[list[str], int]:
    """Return what is wrong with one object, and the bytes read."""
    try:
        data = store.read_object(expected.object.name)
    except NotFound:
        return ["it is gone"], 0
    except StoreError as error:
        return [f"it cannot be read: {error}"], 0
    problems = list(_content_problems(data, expected.object))
    if expected.events is not None:
        problems += _directory_problems(data, layouts, expected.object, expected.events)
    return problems, len(data)


def _content_problems(data: bytes, expected: ObjectInfo) -> Iterator[str]:
    if len(data) != expected.bytes:
        yield f"it has {len(data)} bytes, the catalog says {expected.bytes}"
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected.name:
        yield f"its name is not the SHA-256 of its content, {digest}"


def _directory_problems(data: bytes, layouts: _Layouts, expected: ObjectInfo, events: int) -> Iterator[str]:
    try:
        directory = read_directory(data)
    except CorruptObject as error:
        yield str(error)
        return
    found = (directory.directory_start, directory.directory_bytes, directory.events)
    recorded = (expected.directory_start, expected.directory_bytes, events)
    for what, has, says in zip(
        ("directory start", "directory bytes", "events"), found, recorded, strict=True
    ):
        if has != says:
            yield f"its {what} is {has}, the catalog says {says}"
    if {column.name: column.index for column in directory.columns} != layouts.index(expected.layout_id):
        yield "its columns are not those that the catalog says"
    yield from _buffer_problems(memoryview(data), directory)


def _buffer_problems(data: memoryview, directory: Directory) -> Iterator[str]:
    for column in directory.columns:
        entries = zip(
            column.chunks["offset"].tolist(),
            column.chunks["stored_bytes"].tolist(),
            column.chunks["checksum"].tolist(),
            strict=True,
        )
        for chunk, (start, size, checksum) in enumerate(entries):
            if xxhash.xxh3_64_intdigest(data[start : start + size]) != checksum:
                yield f"column {column.name!r} has a wrong checksum in chunk {chunk}"
