"""What a query would do: the conditions in order, the columns and bytes it may read, the parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .catalog import Partition
from .errors import AccessDenied, ClassMissing, CorruptObject, StoreError
from .execution import Choice
from .mixed_scan import probe
from .plan import Plan
from .report import counted, human_bytes, table_html
from .stores import ByteRange, ObjectStore
from .worker import REPLY_BYTES_MAX, scan_request

_HEADER_BYTES = 64
_ROW_HEAD_BYTES = 32
_ENTRY_BYTES = 48
_STORED_BYTES_AT = 8
"""Place of `stored_bytes` inside the entry of one chunk."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a query would do, as `explain` found without reading events."""

    dataset: str
    version: int
    events: int
    partitions: int
    files: int
    layouts: int
    """Different sets of columns that the objects have; each has a program of its own."""
    columns: tuple[str, ...]
    """What is delivered."""
    terms: tuple[str, ...]
    """Conditions on events, in the order in which they are tried."""
    cut_bytes: dict[str, int]
    """Stored bytes of each column that the cut needs; read for every event not ruled out before."""
    output_bytes: dict[str, int]
    """Stored bytes of each other column; read only from chunks with events kept."""
    object_bytes: int
    """Bytes of the objects."""
    place: str
    """Where the parts run."""
    bytes_known: bool = True
    """Whether the user may look into objects; if not, `cut_bytes` and `output_bytes` are empty."""
    computes: tuple[str, ...] = ()
    """Derived columns of the dataset that the query computes and stores first; later ones read them."""

    @property
    def bytes_max(self) -> int:
        """Most bytes that can be read; zone maps and the cut save some of them."""
        if not self.bytes_known:
            return self.object_bytes
        return sum(self.cut_bytes.values()) + sum(self.output_bytes.values())

    def lines(self) -> list[tuple[str, str]]:
        """Return (name, text) of each line of the explanation."""
        held = f"{counted(self.events, 'event')} of {counted(self.files, 'file')}"
        lines = [
            ("dataset", f"{self.dataset}, version {self.version}: {held}"),
            ("partitions", f"{self.partitions:,}, in {counted(self.layouts, 'layout')}"),
            ("runs", self.place),
            ("delivers", _short(self.columns)),
        ]
        if self.computes:
            lines.append(("first", f"computes and stores {_short(self.computes)} for all events, once"))
        lines += [("cut" if n == 0 else "then", term) for n, term in enumerate(self.terms)]
        lines.append(("reads", self._reads()))
        if self.cut_bytes:
            lines.append(("  for the cut", _sizes(self.cut_bytes)))
        if self.output_bytes:
            when = "  for events kept" if self.terms else "  columns"
            lines.append((when, _sizes(self.output_bytes)))
        return lines

    def _reads(self) -> str:
        if not self.bytes_known:
            stored = human_bytes(self.object_bytes)
            return f"an unknown part of {stored}: the user may not look into objects"
        share = f", {self.bytes_max / self.object_bytes:.2%} of what is stored" if self.object_bytes else ""
        more = "; besides, what is computed first" if self.computes else ""
        return f"{human_bytes(self.bytes_max)} at most{share}{more}"

    def __str__(self) -> str:
        """The explanation in a few lines."""
        return "\n".join(f"{name:<20}{text}" for name, text in self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_html(self.lines())


def explain(
    plan: Plan, store: ObjectStore, execution: str = "auto", reader: str = "in this process"
) -> Explanation:
    """Return what `plan` would do on `store`.

    Reads, of each object, the directory rows of the columns that the plan reads, if the user may.
    What does not run inside the store runs where `reader` says.

    Raises
    ------
    MissingColumn
        If objects lack a column that the query needs and gives no fill value for.
    StoreError
        If a run could not begin either.
    """
    parts = plan.partitions.filled
    for layout_ids in parts.layouts:
        plan.check(*layout_ids)
    uncalled = plan.uncalled
    choice = Choice(plan, store, execution)
    _try_to_push(choice, plan, store, parts)
    sizes: Mapping[str, int] | None
    try:
        sizes = _stored_bytes(plan, store, parts)
    except AccessDenied as error:
        choice.deny(error)
        _try_to_push(choice, plan, store, parts)
        sizes = None
    object_bytes = parts.nbytes
    if sizes and not choice.pushdown and store.local_path(parts[0].object.name) is None:
        choice.need(sum(sizes.values()), object_bytes)
    for_cut = set(plan.only([]).reads)
    there = [name for name in plan.reads if name not in uncalled]
    return Explanation(
        dataset=plan.version.dataset,
        version=plan.version.number,
        events=plan.events,
        partitions=len(parts),
        files=len({(part.file.uuid, part.file.path) for part in parts}),
        layouts=len(parts.layouts),
        columns=tuple(output.name for output in plan.outputs),
        terms=tuple(plan.terms),
        cut_bytes={} if sizes is None else {n: sizes[n] for n in there if n in for_cut},
        output_bytes={} if sizes is None else {n: sizes[n] for n in there if n not in for_cut},
        object_bytes=object_bytes,
        place=_place(choice, store, reader, _pushes(choice, plan, parts)),
        bytes_known=sizes is not None,
        computes=tuple(one.name for one in plan.pending),
    )


def _try_to_push(choice: Choice, plan: Plan, store: ObjectStore, parts: Sequence[Partition]) -> None:
    """If a run begins by pushing down, try that with a scan for no event; it looks into an object."""
    if plan.uncalled:
        return  # the objects that will be asked are not all there yet
    for several in (False, True):
        found = [part for part in parts if bool(part.sets) == several]
        if not found or not _pushes(choice, plan, found):
            continue
        try:
            if several:
                probe(plan, store, found[0])
            else:
                request = scan_request(plan, found[0].object.layout_id, found[0], events_max=0)
                store.execute(found[0].object.name, "scan", request, REPLY_BYTES_MAX)
        except ClassMissing as error:
            (choice.cannot_mix if several else choice.fail)(error)
        except StoreError as error:
            choice.fail(error)


def _pushes(choice: Choice, plan: Plan, parts: Sequence[Partition]) -> bool:
    """Return whether a part would run inside the storage."""
    several = not plan.uncalled and bool(parts) and all(part.sets for part in parts)
    return choice.pushdown and (not several or choice.mixes(plan.mixed(*parts[0].layout_ids)))


def _stored_bytes(plan: Plan, store: ObjectStore, parts: Sequence[Partition]) -> Mapping[str, int]:
    """Return the stored bytes of each column that the plan reads."""
    sizes: Counter[str] = Counter()
    for part in parts:
        for info, hints in plan.places(part):
            place = (info.directory_start, info.directory_bytes)
            found = column_bytes(store, info.name, *place, list(hints.values()))
            sizes.update(dict(zip(hints, found, strict=True)))
    return sizes


def column_bytes(
    store: ObjectStore, name: str, directory_start: int, directory_bytes: int, indices: Sequence[int]
) -> list[int]:
    """Return the stored bytes of columns of one object, given by their directory index.

    Raises
    ------
    CorruptObject
        If the directory's header contradicts its place in the object.
    """
    if not indices:
        return []
    header = store.read(name, ByteRange(directory_start, directory_start + _HEADER_BYTES))
    if header[:8] != b"SKYHKDIR":
        raise CorruptObject(f"object {name!r} has no directory at byte {directory_start}")
    n_columns, n_chunks, row_bytes = (int(n) for n in np.frombuffer(header, "<u4", 3, 12))
    first = _HEADER_BYTES + (4 * n_chunks + 7) // 8 * 8 + 8 + 8 * n_columns + 8
    expected_row = _ROW_HEAD_BYTES + _ENTRY_BYTES * n_chunks + 8
    if (
        row_bytes != expected_row
        or first + n_columns * row_bytes > directory_bytes
        or max(indices) >= n_columns
    ):
        raise CorruptObject(f"object {name!r} has a directory that contradicts itself")
    starts = [directory_start + first + index * row_bytes + _ROW_HEAD_BYTES for index in indices]
    rows = store.read_many(name, [ByteRange(at, at + _ENTRY_BYTES * n_chunks) for at in starts])
    return [int(np.frombuffer(r, "<u4")[_STORED_BYTES_AT // 4 :: _ENTRY_BYTES // 4].sum()) for r in rows]


def _place(choice: Choice, store: ObjectStore, reader: str, pushes: bool) -> str:
    where = f"inside {store.url}" if pushes else f"{reader}, on {store.url}"
    return f"{where} ({choice.reason})" if choice.reason else where


def _short(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}, … ({len(names)} columns)" if len(names) > most else shown


def _sizes(sizes: dict[str, int]) -> str:
    largest = sorted(sizes, key=lambda name: -sizes[name])
    return _short([f"{name} {human_bytes(sizes[name])}" for name in largest])
