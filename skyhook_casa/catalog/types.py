"""What the catalog takes and gives: small immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from ..tally import EncodedTally


class ObjectInfo(NamedTuple):
    """One immutable object of the store."""

    name: str
    """SHA-256 of its content, in hex."""
    bytes: int
    directory_start: int
    """Where the object's directory begins, in bytes from the object's start; 0 if it has none."""
    directory_bytes: int
    layout_id: int
    """The order of its columns, for `Catalog.layout_index`; 0 for an object that is no partition."""


class FileInfo(NamedTuple):
    """One tree of one ROOT file that events came from."""

    path: str
    uuid: str
    tree: str
    entries: int
    """All entries of the tree, ingested or not."""
    bytes: int
    """Size of the file."""


class Partition(NamedTuple):
    """A contiguous range of a version's events, held by one object."""

    index: int  # type: ignore[assignment]  # takes the place of tuple.index
    """Place in the version, from 0."""
    first_event: int
    """Events of the version before this partition."""
    events: int
    object: ObjectInfo
    file: FileInfo
    entry_start: int
    """First entry of `file` that is in."""
    entry_stop: int
    """One past the last entry of `file` that is in."""
    sets: tuple[ObjectInfo, ...] = ()
    """Objects with more columns of the same events; a later one shadows what has its columns before."""

    @property
    def layout_ids(self) -> tuple[int, ...]:
        """The layouts of its objects, the newest last."""
        return (self.object.layout_id, *(one.layout_id for one in self.sets))

    @property
    def nbytes(self) -> int:
        """Bytes of its objects."""
        return self.object.bytes + sum(one.bytes for one in self.sets)


class Partitions(tuple[Partition, ...]):
    """Partitions of a version in its order, with what queries ask of all of them, worked out once."""

    @cached_property
    def filled(self) -> Partitions:
        """Those that have events."""
        return self if all(part.events for part in self) else Partitions(part for part in self if part.events)

    @cached_property
    def events(self) -> int:
        """Events of all together."""
        return sum(part.events for part in self)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all their objects."""
        return sum(part.nbytes for part in self)

    @cached_property
    def layouts(self) -> tuple[tuple[int, ...], ...]:
        """The different `Partition.layout_ids` of those that have events, sorted."""
        return tuple(sorted({part.layout_ids for part in self if part.events}))

    @cached_property
    def has_sets(self) -> bool:
        """Whether any has columns beside its base object."""
        return any(part.sets for part in self)


class NewPartition(NamedTuple):
    """A partition that is written but not part of a version yet."""

    events: int
    object: ObjectInfo
    file: FileInfo
    entry_start: int
    entry_stop: int
    tally: EncodedTally = EncodedTally()
    """Of its events."""


class PartitionTally(NamedTuple):
    """What was added up of a partition, see `skyhook_casa.tally`."""

    index: int  # type: ignore[assignment]  # takes the place of tuple.index
    events: int
    weights_in: str | None
    """Name of the object that has its generator weights."""
    weights: str | None
    """As `EncodedTally.weights`; None as long as they were not added up."""
    sections_in: str | None
    """Name of the object that has its runs and luminosity sections; empty if they lie in two."""
    sections: bytes | None
    """As `EncodedTally.sections`; None as long as nobody looked."""


class ColumnSet(NamedTuple):
    """Columns that a version has beside those of its base objects."""

    columns: tuple[str, ...]
    """Physical names: `Muon#` stands for the offsets of a list."""
    partitions: int
    """How many partitions have them."""
    bytes: int


class MetaTree(NamedTuple):
    """A tree that travels with a file: `Runs`, `LuminosityBlocks`; an Arrow IPC file in the store."""

    tree: str
    file: FileInfo
    object: ObjectInfo
    """With `layout_id` 0 and no directory."""


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One immutable manifest of a dataset."""

    id: int
    dataset: str
    number: int
    """1, 2, 3, … in each dataset; never given twice."""
    schema_id: int
    events: int
    partitions: int
    bytes: int
    """Bytes of the partitions' objects, column sets included."""
    created: datetime
    """In UTC."""
    note: str

    def __hash__(self) -> int:
        return self.id


@dataclass(frozen=True, slots=True)
class Definition:
    """A derived column of a dataset, and where it is stored."""

    name: str
    text: str
    """Its expression."""
    created: datetime
    """In UTC."""
    versions: tuple[int, ...]
    """Numbers of the versions for which it was computed and stored."""
    bytes: int
    """Bytes of the objects that hold it."""


class DerivedSet(NamedTuple):
    """What was computed of a definition for one version, or is being."""

    id: int
    name: str
    digest: str
    """Of the definition and those that it uses."""
    state: str
    """`running`, `done`, or `inline` for what is computed with each query instead."""
    description: str
    """How it is stored, as JSON, once done."""
    owner: str
    """Who computes it."""
    lease_until_s: float
    """Until when it is the owner's alone, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One line of the list of datasets."""

    name: str
    newest: DatasetVersion
    versions: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class Job:
    """An ingest or a save that is running, or was interrupted and can go on."""

    id: int
    key: str
    """Hash of the files and options: the same call finds its job again."""
    dataset: str
    state: str
    """`running`; `interrupted` if nobody works on it; `done` once its version is committed. Of one that a
    service does, as in `ServiceJob`."""
    description: str
    """What the caller wants to remember, as JSON."""
    version: int | None
    """The version it made, once done."""
    updated: datetime
    """When a process last said that it works on it, in UTC."""


@dataclass(frozen=True, slots=True)
class ServiceJob:
    """An ingest that a service does, from the request to its end; later services go on with it."""

    job_id: str
    """Also the key of the `Job` that records what it has made."""
    dataset: str
    request: str
    """What was asked for, as JSON."""
    state: str
    """`queued`, `running`, `done`, `failed` or `cancelled`."""
    progress: str
    """Counts, as JSON; empty before it ran."""
    error: str
    """Why it failed, as JSON; empty if it did not."""
    failures: str
    """Files that failed, as JSON."""
    skipped: str
    """Branches that cannot be held, as JSON."""
    version: int | None
    """The version it made, once done."""
    owner: str
    """The service that runs it; empty if none does."""
    lease_until: datetime
    """Until when it is the owner's alone, in UTC."""
    attempts: int
    """How often a service began to work on it since it was queued."""
    cancel_asked: bool
    """Whether its owner should end it."""
    created: datetime
    """In UTC, as is `updated`."""
    updated: datetime
