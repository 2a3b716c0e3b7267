"""What an ingest is asked to do: a value that can be kept and sent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Final

from ..catalog.names import check_name
from ..errors import IngestError, InvalidRequest
from ..object_format import CHUNK_EVENTS, CHUNK_EVENTS_MAX
from .encode import EncodeOptions
from .partitions import PARTITION_BYTES, PARTITION_BYTES_MAX

PARTITION_BYTES_MIN: Final = 64 * 1024
CODECS: Final = ("lz4", "zstd", "none")


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """Files that shall become a new version of a dataset.

    Raises
    ------
    InvalidRequest
        If an option is out of its range, or the dataset's name is none.
    IngestError
        If no file is named.
    """

    dataset: str
    files: tuple[str, ...]
    """Paths, globs, and URLs that uproot opens."""
    columns: tuple[str, ...] | None = None
    """Names and globs of the branches to take; None: all."""
    tree: str = "Events"
    codec: str = "lz4"
    partition_bytes: int = PARTITION_BYTES
    """Aim for the size of an object."""
    chunk_events: int = CHUNK_EVENTS
    replace: bool = False
    """Whether the new version holds these files only, not the older ones too."""
    skip_bad_files: bool = False
    """Whether the good files are committed without those that cannot be ingested."""

    def __post_init__(self) -> None:
        check_name(self.dataset)
        if not self.files:
            raise IngestError("no file to ingest was given")
        check_options(self.codec, self.partition_bytes, self.chunk_events)

    @property
    def encode_options(self) -> EncodeOptions:
        """What decides how events become objects."""
        return EncodeOptions(self.tree, self.columns, self.codec, self.partition_bytes, self.chunk_events)

    def to_json(self) -> str:
        """Return the request as JSON; equal requests give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> IngestRequest:
        """Return the request that `to_json` gave.

        Raises
        ------
        InvalidRequest
            If this version has no such fields.
        """
        values = json.loads(text)
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise InvalidRequest(f"an ingest asks for {', '.join(unknown)}: a newer skyhook_casa wrote it")
        values["files"] = tuple(values["files"])
        if values["columns"] is not None:
            values["columns"] = tuple(values["columns"])
        return cls(**values)


def check_options(codec: str, partition_bytes: int, chunk_events: int) -> None:
    """Refuse options of objects that are out of their range.

    Raises
    ------
    InvalidRequest
        The message says what is allowed.
    """
    if not PARTITION_BYTES_MIN <= partition_bytes <= PARTITION_BYTES_MAX:
        allowed = f"{PARTITION_BYTES_MIN} to {PARTITION_BYTES_MAX}"
        raise InvalidRequest(f"partition_bytes is {partition_bytes}; {allowed} are allowed")
    if not 1 <= chunk_events <= CHUNK_EVENTS_MAX:
        raise InvalidRequest(f"chunk_events is {chunk_events}; 1 to {CHUNK_EVENTS_MAX} are allowed")
    if codec not in CODECS:
        raise InvalidRequest(f"codec {codec!r} is unknown: {', '.join(CODECS)}")
