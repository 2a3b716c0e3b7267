"""Check every checksum of every object of a version: where it is stored, or by reading it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from .catalog import Catalog, DatasetVersion, ObjectInfo
from .errors import CorruptObject, NotFound, StoreError
from .object_directory import Directory, read_directory
from .progress import Progress
from .report import counted, human_bytes
from .stores import ObjectStore
from .verify_inside import Found, InsideCheck, names_checksum


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
    """Bytes that were checked."""
    bad: tuple[BadObject, ...]
    objects_inside: int = 0
    """Objects that the storage checked itself and found good, so that no byte of them was read."""
    bytes_moved: int = 0
    """Bytes of the objects that were read, and of requests to the object class and its answers."""
    reason: str = ""
    """Why objects were read, if any were that are not bad."""

    @property
    def ok(self) -> bool:
        """Whether every object is good."""
        return not self.bad

    def __str__(self) -> str:
        """The summary, and each bad object, a line each."""
        return "\n".join([self.summary(), *map(str, self.bad)])

    def summary(self) -> str:
        """Return what was checked, and where, in one line."""
        found = f"{len(self.bad):,} bad" if self.bad else "all good"
        checked = f"{counted(self.objects, 'object')}, {human_bytes(self.bytes)}"
        where = f"{self.objects_inside:,} checked inside the storage, {human_bytes(self.bytes_moved)} moved"
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.dataset}, version {self.number}: {checked}, {found}; {where}{why}"


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
    """Check every object of `version`: its name, its directory and each column's bytes.

    Where the store runs the object class, the storage checks its objects itself. An object that it does
    not find good is read, to say what is wrong; so answers are the same everywhere.

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
    checks = _Checks(catalog, store)
    bad: list[BadObject] = []
    expected = list(_expected(catalog, version))
    label = f"verify {version.dataset}"
    with Progress(label, len(expected), unit="objects", show=show_progress) as progress:
        for one in expected:
            problems = checks.problems(one)
            if problems:
                bad.append(BadObject(one.object.name, one.holds, tuple(problems)))
            progress.advance(1)
    return Verification(
        dataset=version.dataset,
        number=version.number,
        objects=len(expected),
        bytes=checks.bytes,
        bad=tuple(bad),
        objects_inside=checks.objects_inside,
        bytes_moved=checks.bytes_read + checks.inside.bytes_moved,
        reason=checks.inside.reason,
    )


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
    events: dict[int, int] = {}
    for part in catalog.partitions(version):
        events[part.index] = part.events
        entries = f"entries {part.entry_start} to {part.entry_stop - 1} of {part.file.path}"
        place = f"partition {part.index} ({entries})"
        for layer, info in enumerate((part.object, *part.sets)):
            if info.name not in seen:
                seen.add(info.name)
                yield _Expected(info, part.events, f"column set {layer} of {place}" if layer else place)
    for name, index, info in catalog.derived_of(version):
        if info.name not in seen:
            seen.add(info.name)
            yield _Expected(info, events[index], f"derived column {name} of partition {index}")
    for tree in catalog.trees(version):
        if tree.object.name not in seen:
            seen.add(tree.object.name)
            yield _Expected(tree.object, None, f"{tree.tree} of {tree.file.path}")


class _Checks:
    """Checks objects one after the other, and counts."""

    def __init__(self, catalog: Catalog, store: ObjectStore) -> None:
        self._store = store
        self._layouts = _Layouts(catalog)
        self.inside = InsideCheck(store)
        self.objects_inside = self.bytes = self.bytes_read = 0

    def problems(self, expected: _Expected) -> list[str]:
        """Return what is wrong with one object."""
        try:
            otherwise = self._inside(expected)
            if otherwise is None:
                return []
            data = self._store.read_object(expected.object.name)
        except NotFound:
            return ["it is gone"]
        except StoreError as error:
            return [f"it cannot be read: {error}"]
        self.bytes += len(data)
        self.bytes_read += len(data)
        problems = list(_content_problems(data, expected.object))
        if expected.events is not None:
            problems += _directory_problems(data, self._layouts, expected.object, expected.events)
        if otherwise and not problems:
            problems = [f"the storage finds otherwise than who reads it: {otherwise}"]
        return problems

    def _inside(self, expected: _Expected) -> str | None:
        """Return None if the storage finds the object good; else what it finds, if it looked."""
        info = expected.object
        if not self.inside.works or self._store.size(info.name) != info.bytes:
            return ""
        try:
            found = self.inside.check(info)
        except CorruptObject as error:
            return str(error)
        if found is None:
            return ""
        problem = self._otherwise(found, expected)
        if problem is None:
            self.objects_inside += 1
            self.bytes += info.bytes
        return problem

    def _otherwise(self, found: Found, expected: _Expected) -> str | None:
        """Return how an object with sound checksums is not the one that the catalog names."""
        info = expected.object
        if found.sha256 != info.name:
            return f"the SHA-256 of its content is {found.sha256}"
        if expected.events is None:
            return None
        if found.events != expected.events:
            return f"its events are {found.events}"
        # Numbers of columns that are not 0, 1, 2, … are for the check that reads.
        index = self._layouts.index(info.layout_id)
        in_order = list(index.values()) == list(range(len(index)))
        if not in_order or found.names_checksum != names_checksum(index):
            return "its columns are others"
        return None


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
