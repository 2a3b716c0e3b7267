"""What datasets there are and where their events lie.

A dataset has numbered versions. A version is an immutable list of partitions; a partition is
an object of the store that holds a range of events. Versions share partitions.
"""

from __future__ import annotations

import os

from .database import open_database
from .derived import Derived
from .jobs import Jobs
from .lease import JobLease
from .service_jobs import ServiceJobs
from .tallies import Tallies
from .types import (
    ColumnSet,
    DatasetInfo,
    DatasetVersion,
    Definition,
    DerivedSet,
    FileInfo,
    Job,
    MetaTree,
    NewPartition,
    ObjectInfo,
    Partition,
    Partitions,
    PartitionTally,
    ServiceJob,
)
from .union import union_schema
from .writing import Writing

__all__ = [
    "Catalog",
    "ColumnSet",
    "DatasetInfo",
    "DatasetVersion",
    "Definition",
    "DerivedSet",
    "FileInfo",
    "Job",
    "JobLease",
    "MetaTree",
    "NewPartition",
    "ObjectInfo",
    "Partition",
    "PartitionTally",
    "Partitions",
    "ServiceJob",
    "union_schema",
]


class Catalog(Writing, Derived, Jobs, ServiceJobs, Tallies):
    """A catalog in SQLite or PostgreSQL. Safe to use from many threads and processes.

    Cheap to make: a process keeps one connection pool for each address.

    Parameters
    ----------
    address : str or path
        A SQLite file (`store/catalog.sqlite`, `sqlite:////data/catalog.sqlite`), a PostgreSQL
        address (`postgresql://user@host/database`), or `memory://` for one of its own.
    create : bool
        Make the tables if there are none.

    Raises
    ------
    NotFound
        If there is no catalog and `create` is false.
    InvalidRequest
        If what is there is no catalog, or was made by a newer version of this package.
    StoreError
        If the database cannot be reached or is damaged. Every method may raise it.
    """

    def __init__(self, address: str | os.PathLike[str], create: bool = True) -> None:
        self._database = open_database(address, create)
        self.url = self._database.url

    def __repr__(self) -> str:
        """Class and address."""
        return f"Catalog({self.url!r})"
