"""Answers as files: Parquet, Feather, Arrow IPC, ROOT and CSV, streamed with bounded memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.report import human_bytes

from .formats import FORMATS, by_ending, by_name
from .parts import Parts, Target
from .places import whole_file, whole_folder
from .trees import CarriedTrees

if TYPE_CHECKING:
    from ..keeping import Keeping

__all__ = ["FORMATS", "Parts", "write"]


def write(
    query: Keeping,
    path: str | os.PathLike[str],
    kind: str | None = None,
    nested: bool = False,
    parts: Parts | None = None,
    trees: bool = True,
) -> int:
    """Write the answer of `query` to a file or a folder of files; return the events.

    Parameters
    ----------
    query : Query
        What to write.
    path : path
        The file, which is replaced, or the folder, which must not be there. It appears whole or not
        at all.
    kind : str, optional
        One of `FORMATS`; by default what the ending of `path` names.
    nested : bool
        Parquet, Feather and Arrow: collections as lists of structs instead of flat columns.
    parts : Parts, optional
        A folder of files ``part-00000.parquet`` and so on, none larger than that.

    trees : bool
        ROOT: whether `Runs` and `LuminosityBlocks` of what the query works through are written too.

    Raises
    ------
    InvalidRequest
        If the ending or the kind is another, or the kind of file cannot hold the columns or the trees.
    AlreadyExists
        If the folder is there.
    StoreError
        If it cannot be written.
    """
    path = Path(path)
    writer = by_ending(path) if kind is None else by_name(kind)
    writer.check(query.outputs)
    if nested and not writer.nests:
        raise InvalidRequest(f"nested=True is for Parquet, Feather and Arrow; {writer.ending} files are flat")
    parts = parts or Parts()
    place = whole_folder(path) if parts.wanted else whole_file(path)
    with place as unfinished:
        carried = CarriedTrees.of(query.question) if trees and writer.carries_trees else None
        needs_rows = writer.needs_rows or (carried is not None and parts.wanted)
        with Target(writer, query.outputs, nested, unfinished, parts, carried) as target:
            running = query.exporting(f"write {path.name}", target.batch_bytes, needs_rows)
            with running as (bar, batches):
                for batch in batches:
                    target.add(batch)
                    bar.note = f"{target.events:,} events, {human_bytes(target.nbytes)} written"
    return target.events
