"""Partitions of datasets as Parquet files that are made when they are read, for whatever knows fsspec.

``skyhook://dy/part-00003.parquet?cut=MET_pt%20%3E%2015`` is a file; the same without its name is a folder.
"""

from __future__ import annotations

import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from typing import Any, Final

import pyarrow.parquet as pq
from fsspec.spec import AbstractFileSystem

from skyhook_casa.errors import AccessDenied, NotFound
from skyhook_casa.progress import Progress

from ..arrays import to_record_batch
from ..backend import Run
from .address import SCHEME, DatasetAddress
from .answer import Answer

CACHE_BYTES: Final = 256 << 20
"""Bytes of files that a process keeps; the last one is kept however long it is."""
SIZES_MAX: Final = 100_000
"""Files whose sizes a process remembers."""
OBJECT_PATH: Final = "Events"
"""What coffea calls the place of columns inside a file."""

_PART: Final = re.compile(r"part-(\d+)\.parquet")


class SkyhookFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Datasets as folders of Parquet files, one for each partition; nothing can be written.

    A file holds what a query of the partition delivers: flat columns as `Query.to_arrow` names them, and
    with some columns those that identify events and count collections too. Reading it twice gives the same
    bytes. Use it as ``fsspec.open("skyhook://dy/part-00000.parquet")``.

    Parameters
    ----------
    **options
        What paths do not say themselves, as `DatasetAddress` has it: `store`, `catalog`, `version`, `cut`,
        `columns`, `define`, `fill` and `lumimask`. And what fsspec knows.
    """

    protocol = SCHEME
    root_marker = ""
    cachable = True

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        catalog: str | None = None,
        version: int | None = None,
        cut: str | None = None,
        columns: Any = None,
        define: Any = None,
        fill: Any = None,
        lumimask: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        asked = {"store": store, "catalog": catalog, "version": version, "cut": cut}
        asked |= {"columns": columns, "define": define, "fill": fill, "lumimask": lumimask}
        self._asked = {name: value for name, value in asked.items() if value is not None}

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """Return what is in a folder; sizes are None for files that were not made yet.

        Raises
        ------
        FileNotFoundError
            If there is no such dataset or file.
        """
        path = self._strip_protocol(path)
        if not path:
            client = DatasetAddress("-").having(self._asked, "options").client()
            found = [_folder(_name(DatasetAddress(one.name))) for one in client.datasets()]
        else:
            address, answer = self._resolved(path)
            if address.path:
                found = [self.info(path)]
            else:
                own = DatasetAddress.parse(f"{SCHEME}://{path}")
                count = len(answer.bounds) - 1
                names = [_name(replace(own, path=part_name(index))) for index in range(count)]
                found = [_file(name, _made.size(_key(answer, index))) for index, name in enumerate(names)]
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Return name, type and size of a file or folder; a file is made to know its size.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        path = self._strip_protocol(path)
        if not path:
            return _folder("")
        address, answer = self._resolved(path)
        if not address.path:
            return _folder(path)
        index = _index(address, answer)
        key = _key(answer, index)
        size = _made.size(key)
        return _file(path, len(_content(answer, index)) if size is None else size)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:
        if mode != "rb":
            raise _read_only(path)
        address, answer = self._resolved(path)
        if not address.path:
            raise IsADirectoryError(f"{path} is a folder; its files are called {part_name(0)} and so on")
        return io.BytesIO(_content(answer, _index(address, answer)))

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        """Refuse."""
        raise _read_only(path)

    makedirs = mkdir

    def _rm(self, path: str) -> None:
        raise _read_only(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Refuse."""
        raise _read_only(path)

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        """Refuse."""
        raise _read_only(path2)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        """Refuse."""
        raise _read_only(path)

    def put_file(self, lpath: str, rpath: str, *args: Any, **options: Any) -> None:
        """Refuse."""
        raise _read_only(rpath)

    def _resolved(self, path: str) -> tuple[DatasetAddress, Answer]:
        address = DatasetAddress.parse(f"{SCHEME}://{path}").having(self._asked, path)
        try:
            return address, address.answer()
        except NotFound as error:
            raise FileNotFoundError(f"{path}: {error}") from error


def part_name(index: int) -> str:
    """Return the name of the file of a partition."""
    return f"part-{index:05d}.parquet"


def parquet_files(dataset: str, store: Any = None, **options: Any) -> list[str]:
    """Return the addresses of the files of a dataset, as any process can read them.

    Parameters
    ----------
    dataset : str
        Its name, or its address ``skyhook://dy``.
    store : str or path, optional
        Where it is; by default what `skyhook_client.connect()` opens here.
    **options
        `catalog`, `version` (the latest by default), `cut`, `columns`, `define`, `fill` and `lumimask`.

    Raises
    ------
    NotFound
        If there is no such dataset or column.
    """
    address = DatasetAddress.parse(dataset) if "://" in dataset else DatasetAddress(dataset)
    address = address.having({"store": store, **options}, dataset)
    client = address.client()
    version = client.dataset(address.dataset, address.version)
    address = replace(address, store=client.url, version=version.version)
    count = len(address.answer().bounds) - 1
    return [replace(address, path=part_name(index)).url for index in range(count)]


class ParquetCatalog(MutableMapping[Any, dict[str, Any]]):
    """What coffea's ``Runner(format="parquet", metadata_cache=…)`` asks files for, without opening them.

    coffea opens Parquet files for it by a way that does not know ``skyhook://``.
    """

    def __init__(self) -> None:
        self._others: dict[Any, dict[str, Any]] = {}

    def __contains__(self, item: object) -> bool:
        return _is_ours(item) or item in self._others

    def __getitem__(self, item: Any) -> dict[str, Any]:
        if not _is_ours(item):
            return self._others[item]
        address = DatasetAddress.parse(item.filename)
        answer = address.answer()
        index = _index(address, answer)
        events = _begun(answer, index).count() if answer.selects else _events(answer, index)
        part = answer.part_of(index)
        return {**(item.metadata or {}), "numentries": events, "uuid": part.uuid_of(events).bytes}

    def __setitem__(self, item: Any, metadata: dict[str, Any]) -> None:
        self._others[item] = metadata

    def __delitem__(self, item: Any) -> None:
        del self._others[item]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._others)

    def __len__(self) -> int:
        return len(self._others)

    def __bool__(self) -> bool:
        return True


class MadeFiles:
    """Files by key, those that were read last, and the sizes of more. Safe to use from many threads.

    Parameters
    ----------
    most_bytes : int
        How much is kept, beside the last file.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.nbytes = 0
        """Bytes that are kept."""
        self._lock = threading.RLock()
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        os.register_at_fork(after_in_child=self._unlock)

    def size(self, key: str) -> int | None:
        """Return the size of a file if it is known."""
        return self._sizes.get(key)

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """Return a file, made if it is not kept."""
        with self._lock:
            if key not in self._files:
                self._files[key] = make()
                self.nbytes += len(self._files[key])
                self._sizes[key] = len(self._files[key])
            self._files.move_to_end(key)
            while self.nbytes > self.most_bytes and len(self._files) > 1:
                self.nbytes -= len(self._files.popitem(last=False)[1])
            while len(self._sizes) > SIZES_MAX:
                self._sizes.popitem(last=False)
            return self._files[key]

    def _unlock(self) -> None:
        self._lock = threading.RLock()


_made: Final = MadeFiles(CACHE_BYTES)


def _content(answer: Answer, index: int) -> bytes:
    return _made.get(_key(answer, index), lambda: _encode(answer, index))


def _encode(answer: Answer, index: int) -> bytes:
    """Return the Parquet file of a partition: one row group, as coffea reads no more than one."""
    batch = _begun(answer, index).collect()
    record = to_record_batch(batch)
    part = answer.part_of(index)
    metadata = {"uuid": str(part.uuid_of(batch.events)), "object_path": OBJECT_PATH}
    schema = record.schema.with_metadata(metadata)
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema, compression="lz4") as writer:
        writer.write_batch(record.replace_schema_metadata(metadata), row_group_size=max(1, batch.events))
    return file.getvalue()


def _begun(answer: Answer, index: int) -> Run:
    value = replace(answer.question.value, partitions=(index, index + 1))
    return answer.question.asking(value).run(Progress("", 0, "events", False))


def _events(answer: Answer, index: int) -> int:
    return answer.bounds[index + 1] - answer.bounds[index]


def _key(answer: Answer, index: int) -> str:
    return f"{answer.uuid} {answer.question.value.columns} {index}"


def _index(address: DatasetAddress, answer: Answer) -> int:
    found = _PART.fullmatch(address.path)
    count = len(answer.bounds) - 1
    if found is None or not int(found[1]) < count:
        raise FileNotFoundError(
            f"{address.url}: no such file; {address.dataset!r} has {count}, from {part_name(0)} on"
        )
    return int(found[1])


def _name(address: DatasetAddress) -> str:
    return address.url.removeprefix(f"{SCHEME}://")


def _file(name: str, size: int | None) -> dict[str, Any]:
    return {"name": name, "size": size, "type": "file"}


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _is_ours(item: Any) -> bool:
    return str(getattr(item, "filename", "")).startswith(f"{SCHEME}://")


def _read_only(path: str) -> AccessDenied:
    return AccessDenied(f"{SCHEME}://{path} can only be read; ingest makes new data")
