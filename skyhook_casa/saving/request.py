"""What saving an answer asks for: a value that can be kept and sent."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..catalog.names import check_name
from ..errors import InvalidRequest
from ..execution import EXECUTIONS
from ..ingest.encode import EncodeOptions
from ..ingest.partitions import PARTITION_BYTES
from ..ingest.request import check_options
from ..object_format import CHUNK_EVENTS
from ..query import Query


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """An answer that shall become a new version of a dataset.

    Raises
    ------
    InvalidRequest
        If an option is out of its range, the name is none, or the query is of a part of a dataset.
    """

    name: str
    """Of the dataset that is made."""
    query: Query
    execution: str = "auto"
    """Where the query runs, see `skyhook_casa.execution`."""
    codec: str = "lz4"
    partition_bytes: int = PARTITION_BYTES
    """Aim for the size of an object."""
    chunk_events: int = CHUNK_EVENTS

    def __post_init__(self) -> None:
        check_name(self.name)
        check_options(self.codec, self.partition_bytes, self.chunk_events)
        if self.execution not in EXECUTIONS:
            raise InvalidRequest(f"execution is {self.execution!r}; {', '.join(EXECUTIONS)} are possible")
        if self.query.partitions is not None:
            raise InvalidRequest(
                "a query of some partitions cannot be saved: sums over generated events are known for whole "
                "files only; leave partitions out"
            )

    @property
    def encode_options(self) -> EncodeOptions:
        """What decides how events become objects."""
        return EncodeOptions("Events", None, self.codec, self.partition_bytes, self.chunk_events)

    def to_json(self) -> str:
        """Return the request as JSON; equal requests give equal text."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        return json.dumps({"save": self.name, "query": json.loads(self.query.to_json()), **options})

    @classmethod
    def from_json(cls, text: str) -> SaveRequest:
        """Return the request that `to_json` gave.

        Raises
        ------
        InvalidRequest
            If this version has no such fields.
        """
        values = json.loads(text)
        unknown = sorted(set(values) - {"save", "query", *_OPTIONS})
        if unknown:
            raise InvalidRequest(f"a save asks for {', '.join(unknown)}: a newer skyhook_casa wrote it")
        query = Query.from_json(json.dumps(values.pop("query")))
        return cls(values.pop("save"), query, **values)

    @staticmethod
    def is_one(text: str) -> bool:
        """Return whether the JSON of some request is that of one to save."""
        return "save" in json.loads(text)


_OPTIONS = ("execution", "codec", "partition_bytes", "chunk_events")
