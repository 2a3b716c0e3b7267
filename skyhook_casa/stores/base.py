"""The seam to object storage.

An object is immutable and named by the SHA-256 of its content, so a store needs no update, no
lock and no version: two writers of one name write the same bytes. Every store passes
``tests/test_stores.py``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ClassMissing, InvalidRequest, NotFound

if TYPE_CHECKING:
    from typing_extensions import Buffer

OBJECT_BYTES_MAX: Final = 64 * 2**20 - 1
"""Largest object: one atomic write in RADOS, one PUT in S3."""
NAME_CHARS_MAX: Final = 128
"""Longest name of an object."""
_NAME = re.compile(r"[0-9a-z][0-9a-z._-]*")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A half-open range of bytes: `start` is in, `stop` is out."""

    start: int
    """First byte, counted from 0."""
    stop: int
    """One past the last byte."""

    def __post_init__(self) -> None:
        """Refuse an empty or negative range."""
        if not 0 <= self.start < self.stop:
            raise InvalidRequest(f"byte range [{self.start}, {self.stop}) is empty")

    @property
    def nbytes(self) -> int:
        """Bytes in the range."""
        return self.stop - self.start


class StoredObject(NamedTuple):
    """One line of a store's listing."""

    name: str
    nbytes: int
    modified_s: float
    """When it was last put, in seconds since 1970 by the store's clock."""


class ObjectStore(ABC):
    """A flat set of immutable, named byte strings. Safe to use from many threads."""

    url: str
    """The address that `open_store` takes."""
    catalog: str | None = None
    """The catalog that the address names, if it does."""

    def identity(self) -> str:
        """Return what is the same for all addresses of this store, and for no other store."""
        return self.url

    @abstractmethod
    def put(self, name: str, data: Buffer) -> bool:
        """Store `data` as `name`, durably and as a whole, unless the name is taken.

        Of many writers of one name exactly one stores. A taken name keeps its bytes, but counts
        as put just now: `gc` leaves it alone for a while.

        Returns
        -------
        bool
            True if this call stored it; False if it was there.

        Raises
        ------
        InvalidRequest
            If `name` is no object name, or `data` is larger than `OBJECT_BYTES_MAX`.
        StoreError
            If the store failed or is full; then nothing is stored.
        """

    @abstractmethod
    def read_many(self, name: str, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Return the bytes of each of `ranges`, in their order. Raises as `read` does."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the bytes of `name`.

        Raises
        ------
        NotFound
            If there is no object called `name`.
        """

    @abstractmethod
    def list(self) -> Iterator[StoredObject]:
        """Yield (name, nbytes, modified_s) of every object, in no particular order.

        An object put or deleted meanwhile may or may not be listed.
        """

    @abstractmethod
    def delete(self, name: str, put_before_s: float | None = None) -> bool:
        """Remove `name`; with `put_before_s` only if it was last put before that time.

        Test and removal are one step: a `put` comes before it, and then the object stays, or
        after it, and stores the object anew.

        Returns
        -------
        bool
            True if this call removed it; False if it was not there or was put too late.
        """

    def read(self, name: str, where: ByteRange) -> bytes:
        """Return the `where.nbytes` bytes of `name` that `where` covers.

        Raises
        ------
        NotFound
            If there is no object called `name`.
        InvalidRequest
            If `where` reaches past the end of the object.
        AccessDenied
            If the user may not read the object.
        StoreError
            If the store failed.
        """
        return self.read_many(name, [where])[0]

    def read_object(self, name: str) -> bytes:
        """Return all bytes of `name`. Raises as `read` does."""
        nbytes = self.size(name)
        return self.read(name, ByteRange(0, nbytes)) if nbytes else b""

    def exists(self, name: str) -> bool:
        """Return whether there is an object called `name`."""
        try:
            self.size(name)
        except NotFound:
            return False
        return True

    def local_path(self, name: str) -> Path | None:
        """Return the file that holds `name`, for readers that open it themselves.

        None if this store has no files. The file may be gone by the time it is opened.
        """
        check_name(name)
        return None

    @property
    def pushes_down(self) -> bool:
        """Whether `execute` may work: whether programs can run where the objects are."""
        return False

    def execute(
        self, name: str, method: str, request: bytes, reply_bytes_max: int, ability: str = ""
    ) -> bytes:
        """Run a method of the object class on `name`, where it is stored, and return its answer.

        The request is sent once: if the storage fails meanwhile, the caller should read instead of
        asking again.

        Parameters
        ----------
        ability : str, optional
            What the class must be able to do that the first ones of this version could not.

        Raises
        ------
        ClassMissing
            If the storage cannot run programs, or has no class of this version, or none with that ability.
        NotFound
            If there is no object called `name`.
        RequestLost
            If what ran the request ended, or did not answer in time.
        AccessDenied
            If the user may not run the method.
        StoreError
            If the storage failed.
        """
        raise ClassMissing(f"{self.url} cannot run {method} on {name!r}: it only stores")

    def remove_unfinished(self, begun_before_s: float) -> int:
        """Remove what writers that died before that time left behind; return how much."""
        return 0

    def __repr__(self) -> str:
        """Class and address."""
        return f"{type(self).__name__}({self.url!r})"


def is_name(name: str) -> bool:
    """Return whether an object may be called so."""
    return len(name) <= NAME_CHARS_MAX and _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return `name` if an object may be called so.

    Raises
    ------
    InvalidRequest
        If not: names are 1 to `NAME_CHARS_MAX` of `0-9a-z._-`, and begin with a letter or digit.
    """
    if not is_name(name):
        raise InvalidRequest(
            f"{name!r} is no object name: use 1 to {NAME_CHARS_MAX} of 0-9a-z._- and begin with 0-9a-z"
        )
    return name


def check_data(name: str, data: Buffer) -> memoryview:
    """Return `data` as bytes to write.

    Raises
    ------
    InvalidRequest
        If there is more than an object may hold.
    """
    view = memoryview(data).cast("B")
    if view.nbytes > OBJECT_BYTES_MAX:
        raise InvalidRequest(f"object {name!r} has {view.nbytes} bytes; at most {OBJECT_BYTES_MAX} may be")
    return view


def past_the_end(name: str, nbytes: int, where: ByteRange) -> InvalidRequest:
    """Return the error for a range that reaches past the end of an object."""
    return InvalidRequest(f"object {name!r} has {nbytes} bytes, asked for [{where.start}, {where.stop})")
