"""Garbage collection: remove the objects that no version and no running ingest uses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from .catalog import Catalog, Job
from .errors import InvalidRequest
from .stores import ObjectStore, StoredObject

GRACE_S: Final = 24 * 3600.0
"""An object younger than this is left alone: an ingest may be about to record it."""
JOB_GRACE_S: Final = 14 * 24 * 3600.0
"""An ingest that recorded nothing for so long is given up."""
CLOCKS_DIFFER_S: Final = 60.0
"""How far the clocks of the store and of the machine that made the catalog may be apart."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a garbage collection removed, or would remove."""

    dry_run: bool
    objects: int
    """Objects removed."""
    bytes: int
    kept_objects: int
    """Unused objects that are too young to be removed."""
    foreign_objects: int
    """Unused objects older than the catalog: kept, some other catalog may know them."""
    unfinished: int
    """Remains of writers that died; not counted in a dry run."""
    jobs: tuple[Job, ...]
    """Unfinished ingests that were given up."""


def collect_garbage(
    catalog: Catalog,
    store: ObjectStore,
    *,
    grace_s: float = GRACE_S,
    job_grace_s: float = JOB_GRACE_S,
    foreign: bool = False,
    dry_run: bool = False,
) -> Garbage:
    """Remove the objects of `store` that no version and no running ingest of `catalog` uses.

    Queries, commits and ingests may go on meanwhile. A query of a version that was dropped may
    find its objects gone.

    Parameters
    ----------
    catalog, store
        They must belong together: what the catalog does not know is garbage.
    grace_s : float
        Objects put within so many seconds are left alone.
    job_grace_s : float
        An unfinished ingest that recorded nothing for so many seconds is given up first.
    foreign : bool
        Also remove objects older than the catalog.
    dry_run : bool
        Only say what would be removed.

    Raises
    ------
    InvalidRequest
        If a grace is negative.
    StoreError
        If catalog or store failed; a second run goes on.
    """
    if grace_s < 0 or job_grace_s < 0:
        raise InvalidRequest(f"a grace of {min(grace_s, job_grace_s)} seconds; it must not be negative")
    now_s = time.time()
    cutoff_s = now_s - grace_s
    jobs = _give_up_jobs(catalog, now_s - job_grace_s, dry_run)
    # The listing comes first: what is put or committed after it is not in it.
    listing = list(store.list())
    used = catalog.object_names(given_up=jobs)
    unused = [one for one in listing if one.name not in used]
    removable = [one for one in unused if one.modified_s < cutoff_s]
    oldest_s = 0.0 if foreign else catalog.created_s() - CLOCKS_DIFFER_S
    own = [one for one in removable if one.modified_s >= oldest_s]
    removed = own if dry_run else _remove(store, own, cutoff_s)
    return Garbage(
        dry_run=dry_run,
        objects=len(removed),
        bytes=sum(one.nbytes for one in removed),
        kept_objects=len(unused) - len(removable) + len(own) - len(removed),
        foreign_objects=len(removable) - len(own),
        unfinished=0 if dry_run else store.remove_unfinished(cutoff_s),
        jobs=tuple(jobs),
    )


def _give_up_jobs(catalog: Catalog, idle_since_s: float, dry_run: bool) -> list[Job]:
    if dry_run:
        return catalog.jobs_idle_since(idle_since_s)
    jobs = catalog.drop_jobs_idle_since(idle_since_s)
    catalog.drop_derived_idle_since(idle_since_s)
    catalog.sweep()
    return jobs


def _remove(store: ObjectStore, objects: list[StoredObject], cutoff_s: float) -> list[StoredObject]:
    """Remove `objects` but those that somebody has put again since they were listed."""
    return [one for one in objects if store.delete(one.name, put_before_s=cutoff_s)]
