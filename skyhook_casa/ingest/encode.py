"""Entry ranges of a ROOT file to objects in a store: what one worker does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from ..arrow_schema import arrow_type
from ..errors import IngestError, ResourceExhausted
from ..object_format import EncodedObject, ObjectWriter
from ..schema import Schema, offsets_column
from ..stores import ObjectStore
from .branches import Array, Jagged, SkippedBranch
from .open_files import opened
from .partitions import OBJECT_BYTES_MAX, cut, halves, object_bytes_guess
from .root_file import Events, RootFile, reading
from .stored import StoredPartition, store_partition

META_TREES = ("Runs", "LuminosityBlocks")
"""Trees that are kept beside the events."""


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """What decides how the events of a file become objects."""

    tree: str
    columns: tuple[str, ...] | None
    codec: str
    partition_bytes: int
    chunk_events: int


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What an ingest must know of a file before it reads events."""

    path: str
    uuid: str
    tree: str
    entries: int
    bytes: int
    schema: Schema
    skipped: tuple[SkippedBranch, ...]
    ranges: tuple[tuple[int, int], ...]
    """The entries of each partition."""
    meta_trees: tuple[str, ...]


def inspect(path: str, options: EncodeOptions, run: str = "") -> FileFacts:
    """Return what the file at `path` holds and how it is to be cut.

    Parameters
    ----------
    run : str
        Names the ingest: it finds the file open again.

    Raises
    ------
    IngestError
        If it cannot be read, or lacks the tree or a branch asked for.
    """
    with opened(path, options, run) as events:
        file = events.file
        nbytes = object_bytes_guess(*events.nbytes())
        with reading(path):
            boundaries = events.boundaries()
        return FileFacts(
            path,
            file.uuid,
            events.tree,
            events.entries,
            file.bytes,
            events.schema,
            tuple(events.skipped),
            tuple(cut(events.entries, nbytes, boundaries, options.partition_bytes, options.chunk_events)),
            tuple(name for name in META_TREES if name in file.trees and name != events.tree),
        )


def store_range(
    store: ObjectStore,
    facts: tuple[str, str, int],
    options: EncodeOptions,
    start: int,
    stop: int,
    run: str = "",
) -> list[StoredPartition]:
    """Put the entries [start, stop) of a file into the store.

    Parameters
    ----------
    facts : tuple
        Path, UUID and entries of the file, as `inspect` found them.
    run : str
        Names the ingest, as for `inspect`.

    Returns
    -------
    list of StoredPartition
        Rising and without gaps; one, unless an object would become too large.

    Raises
    ------
    IngestError
        If the file cannot be read, or is not the one that was inspected.
    StoreError
        If the store fails or is full.
    """
    path, uuid, entries = facts
    with opened(path, options, run) as events:
        if (events.file.uuid, events.entries) != (uuid, entries):
            raise IngestError(
                f"{path} was replaced during the ingest", "Retry once nobody writes to the file any more."
            )
        return list(_store(store, events, options, start, stop, events.read(start, stop), start))


def _store(
    store: ObjectStore,
    events: Events,
    options: EncodeOptions,
    start: int,
    stop: int,
    arrays: dict[str, Array],
    arrays_start: int,
) -> Iterator[StoredPartition]:
    """Encode and put one range; in two halves, and so on, if its object is too large."""
    try:
        encoded = encode(events.schema, arrays, start - arrays_start, stop - arrays_start, options)
    except ResourceExhausted:
        if stop - start <= 1:
            raise IngestError(
                f"event {start} of {events.file.path} does not fit into one object",
                "Ingest it without its largest branches: name the others in `columns`.",
            ) from None
        for first, last in halves(start, stop, options.chunk_events):
            yield from _store(store, events, options, first, last, arrays, arrays_start)
        return
    rows = slice(start - arrays_start, stop - arrays_start)
    yield store_partition(store, encoded, events.schema, arrays, rows, (start, stop))


def encode(
    schema: Schema, arrays: dict[str, Array], start: int, stop: int, options: EncodeOptions
) -> EncodedObject:
    """Return the events [start, stop) of `arrays` as one object.

    Raises
    ------
    ResourceExhausted
        If it would be larger than an object should be.
    """
    writer = ObjectWriter(schema, options.codec, bytes_max=OBJECT_BYTES_MAX)
    homes = [(c.name, c.list) for c in schema.columns.values() if c.counts is None]
    for first in range(start, stop, options.chunk_events):
        last = min(first + options.chunk_events, stop)
        chunk: dict[str, Array] = {}
        bounds: dict[str, tuple[int, int]] = {}
        for name in schema.lists:
            offsets = arrays[offsets_column(name)][first : last + 1]
            bounds[name] = int(offsets[0]), int(offsets[-1])
            chunk[offsets_column(name)] = offsets - offsets[0]
        for name, home in homes:
            begin, end = (first, last) if home is None else bounds[home]
            chunk[name] = arrays[name][begin:end]
        writer.write(last - first, chunk)
    return writer.finish()


def store_meta_tree(store: ObjectStore, path: str, tree: str) -> tuple[str, int, tuple[SkippedBranch, ...]]:
    """Put a whole small tree into the store as an Arrow IPC file.

    Returns
    -------
    tuple
        Name and size of the object, and the branches left out.

    Raises
    ------
    IngestError
        If the tree cannot be read.
    """
    with RootFile(path) as file, reading(path):
        source = file.source(tree)
        values = source.read([branch.name for branch in source.branches], 0, source.entries)
        columns, fields = [], []
        for branch in source.branches:
            array = _arrow_array(branch.dtype, values[branch.name])
            metadata = {b"title": branch.title.encode(), b"typename": branch.typename.encode()}
            fields.append(pa.field(branch.name, array.type, nullable=False, metadata=metadata))
            columns.append(array)
        skipped = tuple(one._replace(name=f"{tree}.{one.name}") for one in source.skipped)
    return *put_table(store, pa.table(columns, schema=pa.schema(fields))), skipped


def put_table(store: ObjectStore, table: pa.Table) -> tuple[str, int]:
    """Put a small table into the store as an Arrow IPC file; return name and size of the object."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    name = hashlib.sha256(data).hexdigest()
    store.put(name, data)
    return name, data.size


def _arrow_array(dtype: str, values: Array | Jagged) -> pa.Array:
    if not isinstance(values, Jagged):
        return pa.array(values, arrow_type(dtype))
    item = pa.field("item", arrow_type(dtype), nullable=False)
    offsets = pa.array(values.offsets.astype("int32"))
    return pa.ListArray.from_arrays(offsets, pa.array(values.content, item.type), type=pa.list_(item))
