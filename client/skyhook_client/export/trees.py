"""The trees `Runs` and `LuminosityBlocks` that ROOT files of an answer carry along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from skyhook_casa.errors import InvalidRequest, NotFound, ProtocolError
from skyhook_casa.saving.sections import SECTIONS_TREE, masked_sections

if TYPE_CHECKING:
    import pyarrow as pa

    from ..backend import FileTree, Question

TREES: Final = ("Runs", SECTIONS_TREE)
"""In the order in which they are written."""


class CarriedTrees:
    """The entries of the trees that are not written yet.

    Parameters
    ----------
    trees : mapping
        For each tree the number of the first event of each file that has it, and the entries; all files
        have the same branches.
    """

    def __init__(self, trees: Mapping[str, Sequence[tuple[int, pa.Table]]]) -> None:
        self._schemas = {name: files[0][1].schema for name, files in trees.items()}
        self._left = {name: list(files) for name, files in trees.items()}

    @classmethod
    def of(cls, question: Question) -> CarriedTrees:
        """Return what tells of the events that a question works through, as a save keeps it.

        With a limit nothing: nobody knows of which events it would tell. Of a question to some partitions
        the trees of the files that begin there; so those that share a dataset have each once.

        Raises
        ------
        InvalidRequest
            If the entries of several files cannot be one tree.
        """
        if question.value.limit is not None:
            return cls({})
        trees = {name: told for name in TREES if (told := _trees(question, name))}
        if not trees:
            return cls({})
        events = question.backend.partition_events(question.version)
        firsts = list(accumulate(events, initial=0))
        found = {name: _asked(question, name, trees[name], firsts) for name in trees}
        # Of a tree whose branches could all not be held nothing is left.
        return cls({name: files for name, files in found.items() if files and files[0][1].column_names})

    def take(self, event: int | None = None) -> dict[str, pa.Table]:
        """Return of each tree the entries of the files that begin up to an event, or of all that are left."""
        import pyarrow as pa

        taken = {}
        for name, left in self._left.items():
            here = [table for first, table in left if event is None or first <= event]
            self._left[name] = [one for one in left if event is not None and one[0] > event]
            taken[name] = pa.concat_tables([self._schemas[name].empty_table(), *here])
        return taken


def _trees(question: Question, name: str) -> list[FileTree]:
    """Return a tree of each file that has one."""
    try:
        return question.backend.file_trees(question.version, name)
    except NotFound:  # no file has one
        return []


def _asked(
    question: Question, name: str, trees: Sequence[FileTree], firsts: Sequence[int]
) -> list[tuple[int, pa.Table]]:
    """Return those of a tree whose files begin where a question looks, and the files' first events.

    Parameters
    ----------
    question : Question
        What is asked.
    name : str
        Of the tree.
    trees : sequence of FileTree
        One of each file that has it.
    firsts : sequence of int
        Number of the first event of each partition of the version.
    """
    places = [_place(question, tree) for tree in trees]
    first, stop = question.value.partitions or (0, max(1, question.version.partitions))
    chosen = [(place, tree.table) for place, tree in zip(places, trees, strict=True) if first <= place < stop]
    tables = _united(name, [table for _, table in chosen])
    if name == SECTIONS_TREE and question.value.lumimask is not None:
        tables = [masked_sections(table, question.value.lumimask) for table in tables]
    return [(firsts[place], table) for (place, _), table in zip(chosen, tables, strict=True)]


def _place(question: Question, tree: FileTree) -> int:
    """Return the partition where a tree's file begins."""
    if tree.partition is None:
        raise ProtocolError(
            f"the service at {question.backend.url} does not say which files begin where, as it is of an "
            "earlier release; write without Runs and LuminosityBlocks (trees=False)"
        )
    return tree.partition


def _united(name: str, tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Return tables with the branches that any of them has; lists that a file lacks are empty.

    Raises
    ------
    InvalidRequest
        If a file lacks a branch of numbers, or has it of another type.
    """
    import pyarrow as pa

    fields: dict[str, Any] = {}
    for field in (field for table in tables for field in table.schema):
        known = fields.setdefault(field.name, field)
        if known.type != field.type:
            raise InvalidRequest(
                _contradiction(name, field.name, f"{known.type} in some and {field.type} in others")
            )
    return [
        pa.table(_columns(name, table, list(fields.values())), schema=pa.schema(fields.values()))
        for table in tables
    ]


def _columns(name: str, table: pa.Table, fields: Sequence[Any]) -> list[Any]:
    """Return the branches of a table, those made that it lacks: lists, and what counts them as ``nX`` X."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {one: table[one] for one in table.column_names}
    lists = [field for field in fields if pa.types.is_list(field.type)]
    for field in lists:
        if field.name not in columns:
            columns[field.name] = pa.array([[]] * len(table), field.type)
    counted = {f"n{field.name}": columns[field.name] for field in lists}
    for field in fields:
        if field.name not in columns and field.name in counted:
            columns[field.name] = pc.list_value_length(counted[field.name]).cast(field.type)
        elif field.name not in columns:
            raise InvalidRequest(_contradiction(name, field.name, "in some and not in others"))
    return [columns[field.name] for field in fields]


def _contradiction(tree: str, branch: str, what: str) -> str:
    return (
        f"the trees {tree!r} of the dataset's files cannot be one: {branch!r} is {what}; "
        "write each kind of files on its own, or without Runs and LuminosityBlocks (trees=False)"
    )
