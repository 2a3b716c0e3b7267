"""Runs coffea processors, as they are, over datasets of a store."""

from __future__ import annotations

import itertools
import json
import math
import time
import uuid
import warnings
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cloudpickle
import lz4.frame
from coffea import processor
from coffea.nanoevents.util import key_to_tuple
from coffea.processor.checkpointer import CheckpointerABC
from coffea.processor.executor import FileMeta, WorkItem

from skyhook_casa.errors import CorruptObject, InvalidRequest, NotFound
from skyhook_casa.tally import Tally

from ..kept import Kept
from .address import SCHEME, DatasetAddress
from .answer import Part, Selection
from .events import TREE, nanoevents, touched

BAD_FILE_ERRORS: Final = (OSError, NotFound, CorruptObject)
"""What `skipbadfiles=True` skips: what cannot be reached, is not there, or is damaged."""
SHARED_SELECTIONS: Final = 2
"""Partitions that are longer than a chunk whose columns a process keeps for its next chunk."""
SPLIT_RATIO: Final = 1.5
"""Partitions are cut if they are longer than so many chunks; as coffea rounds."""


@dataclass
class SkyhookRunner(processor.Runner):  # type: ignore[misc]
    """coffea's `Runner` over datasets of a store: ``SkyhookRunner(executor)(fileset, processor)``.

    A fileset is a dict of name and dataset: ``"skyhook://dy"``, a list of these, or a dict of `files` (one
    of the former), `metadata`, `preload`, and what `Client.query` takes: `cut`, `columns`, `define`,
    `fill`, `lumimask`, `version`. The cut runs where the data is; a processor gets the events that pass.

    Chunks are whole partitions of about `chunksize` events, before the cut; partitions that are longer
    are cut. What is shipped to where a processor runs is an address, which is opened there.

    Parameters
    ----------
    executor
        Of coffea; and all else that `Runner` takes, but for `format` and `xrootdtimeout`.
    store : str or path, optional
        Address of a store or a service, as every worker finds it, for datasets whose address does not
        say; by default what `skyhook_client.connect()` opens here.
    catalog : str, optional
        Database URL of the catalog, if the store's address does not lead to it.
    """

    store: Any = None
    catalog: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format != "root":
            raise InvalidRequest(f"format={self.format!r}: datasets of a store have none; leave it out")
        if self.skipbadfiles is True:  # type: ignore[has-type]
            self.skipbadfiles = BAD_FILE_ERRORS

    def preprocess(
        self,
        fileset: Any,
        *,
        treename: str | None = None,
        uproot_options: Mapping[str, Any] | None = None,
        trace: Callable[..., Iterable[str]] | None = None,
        processor_instance: Any = None,
    ) -> Generator[WorkItem, int, int]:
        """Return the chunks of a fileset; as `Runner.preprocess`.

        Raises
        ------
        NotFound
            If there is no such dataset or column.
        InvalidRequest
            If the fileset or a query is wrong.
        """
        if uproot_options:
            raise InvalidRequest("uproot_options are for ROOT files; leave them out")
        if trace is not None and processor_instance is None:
            raise InvalidRequest("processor_instance is needed with trace")
        metas = [meta for one in read_fileset(fileset) if (meta := self._found(one)) is not None]
        if trace is not None:
            process = getattr(processor_instance, "process", processor_instance)
            for meta in metas:
                meta.preload = self._traced(meta, trace, process)
        return self._chunk_generator(metas, TREE)  # type: ignore[no-any-return]

    @staticmethod
    def tallies(processed: Iterable[WorkItem]) -> dict[str, Tally]:
        """Return the sum of weights and the luminosity sections of chunks, before the cut, by dataset.

        Parameters
        ----------
        processed : iterable of WorkItem
            What `run` gives as ``processed``: chunks that were skipped are not among them.
        """
        ranges: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for item in processed:
            if len(item):
                found = ranges.setdefault((item.dataset, item.filename), [])
                found.append((item.entrystart, item.entrystop))
        tallies: dict[str, Tally] = {}
        for (dataset, url), some in ranges.items():
            answer = DatasetAddress.parse(url).answer()
            for start, stop in joined_ranges(some):
                tally = answer.tally(start, stop)
                tallies[dataset] = tallies[dataset] + tally if dataset in tallies else tally
        return tallies

    def _found(self, one: Wanted) -> DatasetMeta | None:
        """Return what is known of a dataset; None if it is bad, and bad ones are skipped."""
        address = one.address
        if address.store is None:
            address = address.having({"store": self.store, "catalog": self.catalog}, one.dataset)
        try:
            client = address.client()
            found = client.dataset(address.dataset, address.version)
            address = replace(address, store=client.url, version=found.version)
        except self._allowed_exceptions as error:
            if self.use_result_type:
                raise
            warnings.warn(f"Skipping bad dataset {address.url}: {error}", stacklevel=4)
            return None
        answer = address.answer()
        metadata = {
            **one.metadata,
            "numentries": answer.version.events,
            "uuid": answer.uuid.bytes,
            "clusters": answer.bounds,
        }
        return DatasetMeta(one.dataset, address.url, one.treename, metadata, one.preload)

    def _traced(
        self, meta: DatasetMeta, trace: Callable[..., Iterable[str]], process: Callable[[Any], Any]
    ) -> frozenset[str] | None:
        """Return the columns that a processor touches."""
        metadata = {"dataset": meta.dataset, "filename": meta.filename, "treename": meta.treename}
        try:
            answer = DatasetAddress.parse(meta.filename).answer()
            return touched(answer, process, self.schema, metadata, trace)
        except Exception as error:
            if not self.skipbadfiles:
                raise RuntimeError(f"{meta.dataset!r} cannot be traced: {error!r}") from error
            warnings.warn(f"{meta.dataset!r} cannot be traced: {error!r}", stacklevel=4)
            return meta.preload  # type: ignore[no-any-return]

    @staticmethod
    def _work_function(
        format: str,  # noqa: A002
        xrootdtimeout: int | None,
        schema: Any,
        use_dataframes: bool,
        savemetrics: bool,
        item: Any,
        processor_instance: Any,
        uproot_options: Mapping[str, Any],
        iteritems_options: Mapping[str, Any],
        checkpointer: CheckpointerABC | None,
        cache_function: Callable[[], Any],
    ) -> Any:
        """Process one chunk, wherever this runs; takes the place of coffea's, which opens files."""
        if isinstance(processor_instance, str):  # "heavy": Dask sends the processor once to each worker
            item, processor_instance = item
        if isinstance(processor_instance, bytes):
            processor_instance = cloudpickle.loads(lz4.frame.decompress(processor_instance))
        metadata = _metadata(item)
        if checkpointer is not None:
            done = checkpointer.load(metadata, processor_instance)
            if done is not None:
                return done
        out, metrics = _process(item, metadata, schema, processor_instance, cache_function())
        if not use_dataframes:
            measured = {"metrics": metrics} if savemetrics else {}
            out = {"out": out, **measured, "processed": {item}}
        if checkpointer is not None:
            checkpointer.save(out, metadata, processor_instance)
        return out


# -- where a processor runs ---------------------------------------------------------------------
def _process(
    item: WorkItem, metadata: dict[str, Any], schema: Any, instance: Any, buffer_cache: Any
) -> tuple[Any, dict[str, Any]]:
    """Return what a processor makes of a chunk, and what that took. Fails as coffea's function does."""
    materialized: list[Any] = []
    try:
        part = _part(item)
        read_before = part.selection.bytes_read
        events = nanoevents(
            part,
            schema,
            metadata,
            preload=item.preload,
            access_log=materialized,
            buffer_cache=buffer_cache,
        )
    except Exception as error:
        raise RuntimeError(f"Failed creating nanoevents: {item!r}. The error was: {error!r}.") from error
    start_s = time.time()
    try:
        out = getattr(instance, "process", instance)(events)
    except Exception as error:
        raise RuntimeError(f"Failed processing file: {item!r}. The error was: {error!r}.") from error
    if out is None:
        raise ValueError(
            "Output of process() should not be None. Make sure your processor's process() function returns "
            "an accumulator."
        )
    metrics = {
        "bytesread": part.selection.bytes_read - read_before,
        "columns": {f"{one.branch}-{key_to_tuple(one.buffer_key)[3]}" for one in materialized},
        "entries": len(events),
        "processtime": time.time() - start_s,
    }
    return out, metrics


def _part(item: WorkItem) -> Part:
    """Return the events of a chunk; chunks of one partition share what is fetched."""
    address = DatasetAddress.parse(item.filename)
    answer = address.answer()
    if not len(item):
        return answer.nothing()
    part = answer.part((item.entrystart, item.entrystop))
    if part.entries is None:
        return part
    key = item.filename, part.selection.partitions
    return Part(_selections.get(key, lambda: part.selection), part.entries)


def _metadata(item: WorkItem) -> dict[str, Any]:
    """Return what a processor finds as `events.metadata`."""
    return {
        "dataset": item.dataset,
        "filename": item.filename,
        "treename": item.treename,
        "entrystart": item.entrystart,
        "entrystop": item.entrystop,
        "fileuuid": str(uuid.UUID(bytes=item.fileuuid)),
        **(item.usermeta or {}),
    }


_selections: Final[Kept[tuple[str, tuple[int, int] | None], Selection]] = Kept(SHARED_SELECTIONS)


# -- filesets -----------------------------------------------------------------------------------
class DatasetMeta(FileMeta):  # type: ignore[misc]
    """A dataset as coffea's runner knows files; chunks are whole partitions where that can be."""

    __slots__ = ()

    def chunks(self, target_chunksize: int, align_clusters: bool) -> Generator[WorkItem, int | None, int]:
        """Yield chunks of about `target_chunksize` events; another size may be sent in."""
        bounds = self.metadata["clusters"]
        if align_clusters or bounds[-1] == 0:
            return (yield from super().chunks(target_chunksize, align_clusters))  # type: ignore[no-any-return]
        start = 0
        usermeta = {name: value for name, value in self.metadata.items() if name not in _OWN_KEYS}
        while start < bounds[-1]:
            stop = next_stop(bounds, start, target_chunksize)
            sent = yield WorkItem(
                self.dataset,
                self.filename,
                self.treename,
                start,
                stop,
                self.metadata["uuid"],
                usermeta,
                self.preload,
            )
            start, target_chunksize = stop, sent or target_chunksize
        return target_chunksize


def joined_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return half-open ranges that do not overlap with those joined that touch, in their order."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined


def next_stop(bounds: list[int], start: int, events: int) -> int:
    """Return where a chunk that begins at `start` ends: after about `events`, between partitions if it can.

    Parameters
    ----------
    bounds : list of int
        Where partitions begin, and the end of the last.
    start : int
        An event of the dataset.
    events : int
        The size aimed at.
    """
    at = bisect_right(bounds, start)
    left = bounds[at] - start
    if bounds[at - 1] < start or left > SPLIT_RATIO * events:
        return start + math.ceil(left / max(1, round(left / events)))
    aim = start + events
    later = itertools.takewhile(lambda bound: bound - aim <= aim - start, bounds[at:])
    return min(later, key=lambda bound: abs(bound - aim), default=bounds[at])


@dataclass(frozen=True)
class Wanted:
    """A dataset of a fileset."""

    dataset: str
    """What the fileset calls it."""
    address: DatasetAddress
    treename: str
    metadata: Mapping[str, Any]
    preload: frozenset[str] | None


def read_fileset(fileset: Any) -> Iterator[Wanted]:
    """Yield the datasets of a fileset: a dict, or the path of a JSON file that holds one.

    Raises
    ------
    InvalidRequest
        If it is something else, or names what is no dataset of a store.
    """
    if isinstance(fileset, (str, Path)):
        fileset = json.loads(Path(fileset).read_text())
    if not isinstance(fileset, Mapping):
        raise InvalidRequest(f'the fileset is {fileset!r}; a dict is needed: {{"dy": "{SCHEME}://dy"}}')
    for dataset, entry in fileset.items():
        yield from _wanted(dataset, entry if isinstance(entry, Mapping) else {"files": entry})


def _wanted(dataset: str, entry: Mapping[str, Any]) -> Iterator[Wanted]:
    options = dict(entry)
    files = options.pop("files", None)
    if isinstance(files, str):
        files = [files]
    if not isinstance(files, (list, tuple, Mapping)) or not files:
        raise InvalidRequest(f'{dataset!r} has files={files!r}; "{SCHEME}://NAME", or a list, is needed')
    metadata = options.pop("metadata", None) or {}
    reserved = sorted(_RESERVED & set(metadata))
    if reserved:
        raise InvalidRequest(
            f"metadata of {dataset!r} has {reserved[0]!r}, which coffea sets itself; rename it"
        )
    preload, treename = options.pop("preload", None), options.pop("treename", None)
    for url in files:
        yield Wanted(
            dataset,
            DatasetAddress.parse(url).having(options, f"{dataset!r}"),
            treename or TREE,
            metadata,
            None if preload is None else frozenset(preload),
        )


_OWN_KEYS: Final = frozenset({"numentries", "uuid", "clusters"})
_RESERVED: Final = _OWN_KEYS | set(
    "dataset filename treename metadata entrystart entrystop fileuuid preload".split()
)
