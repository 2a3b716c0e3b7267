"""Where the events of a saved dataset come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from ..errors import InvalidRequest
from ..query import Query

ORIGIN_VERSION: Final = 1
"""Version of the JSON form."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The question whose answer a version of a dataset is."""

    query: Query
    """What was asked, with the number of the version that was asked."""
    events: int
    """Events of that version."""
    definitions: tuple[tuple[str, str], ...] = ()
    """Derived columns of the dataset asked that the query used: name and text, as they were then."""
    software: str = ""
    """Version of skyhook_casa that made it."""

    @property
    def dataset(self) -> str:
        """Name of the dataset that was asked."""
        return self.query.dataset

    @property
    def version(self) -> int:
        """Number of the version that was asked."""
        assert self.query.version is not None
        return self.query.version

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(
            {
                "origin": ORIGIN_VERSION,
                "query": json.loads(self.query.to_json()),
                "events": self.events,
                "definitions": dict(self.definitions),
                "software": self.software,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Origin:
        """Return what `to_json` wrote.

        Raises
        ------
        InvalidRequest
            If a newer version of the software wrote it.
        """
        found = json.loads(text)
        if found.get("origin") != ORIGIN_VERSION:
            raise InvalidRequest("where the dataset comes from was written by a newer skyhook_casa")
        query = Query.from_json(json.dumps(found["query"]))
        return cls(query, found["events"], tuple(found["definitions"].items()), found["software"])
