"""How datasets and queries look, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from skyhook_casa.functions import shown
from skyhook_casa.report import counted, human_bytes, table_html

if TYPE_CHECKING:
    from skyhook_casa.compile_query import Output
    from skyhook_casa.query import Query as QueryValue
    from skyhook_casa.saving.origin import Origin
    from skyhook_casa.schema import Column

    from .client import Client
    from .dataset import Dataset
    from .query import Query

GROUP_SHOWN_MAX: Final = 24
"""Larger groups of event columns, such as HLT, are one line unless all are asked for."""
COLUMNS_SHOWN_MAX: Final = 12
"""Columns of a query that are shown."""


@dataclass(frozen=True, slots=True)
class Section:
    """Columns that are shown together: a collection, or event columns with one first part."""

    title: str
    columns: tuple[Column, ...]
    long: bool = False
    """Whether text shows it as one line unless all is asked for."""


@dataclass(frozen=True, slots=True)
class Description:
    """What there is to know about a dataset; print it, or show it in a notebook."""

    summary: tuple[tuple[str, str], ...]
    """Name and text of each line."""
    sections: tuple[Section, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Description:
        """Return the description of a dataset."""
        return cls(tuple(_summary(dataset)), tuple(_sections(dataset)))

    def text(self, every_column: bool = False) -> str:
        """Return it as text; large groups of event columns are one line unless `every_column`."""
        lines = [f"{name:<12}{text}" for name, text in self.summary]
        for section in self.sections:
            lines += ["", section.title]
            if section.long and not every_column:
                lines.append(f"  {_short(section)}")
                continue
            width = max(len(column.name) for column in section.columns)
            lines += [
                f"  {column.name:<{width}}  {_type(column):<15}  {column.title}".rstrip()
                for column in section.columns
            ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [table_html(self.summary)]
        for section in self.sections:
            rows = "".join(
                f"<tr><td><code>{escape(c.name)}</code></td><td>{escape(_type(c))}</td>"
                f"<td style='text-align:left'>{escape(c.title)}</td></tr>"
                for c in section.columns
            )
            parts.append(
                f"<details><summary>{escape(section.title)}</summary><table>{rows}</table></details>"
            )
        return "".join(parts)


def query_lines(query: Query) -> list[tuple[str, str]]:
    """Return name and text of each line that says what a query asks."""
    return [
        ("dataset", f"{query.dataset}, version {query.version}"),
        ("columns", _names([f"{output.name}: {output_type(output)}" for output in query.outputs])),
        *value_lines(query.value),
    ]


def value_lines(asked: QueryValue) -> list[tuple[str, str]]:
    """Return name and text of each line that says what is asked of events, columns aside."""
    lines = []
    if asked.cut is not None:
        lines.append(("cut", asked.cut))
    if asked.lumimask is not None:
        lines.append(("sections", str(asked.lumimask)))
    lines += [("define", f"{name} = {text}") for name, text in asked.define]
    lines += [("objects", f"{name}: {text}") for name, text in asked.objects]
    lines += [("fill", f"{name} = {value}") for name, value in asked.fill]
    if asked.limit is not None:
        lines.append(("limit", f"{asked.limit:,} events"))
    return lines


def query_text(query: Query) -> str:
    """Return what a query asks, as text."""
    return "\n".join(f"{name:<9}{text}" for name, text in query_lines(query))


def query_html(query: Query) -> str:
    """Return what a query asks, and the report of its last run if there was one."""
    html = table_html(query_lines(query))
    if query.has_run:
        html += f"<details><summary>last run</summary>{query.report._repr_html_()}</details>"
    return html


def client_html(client: Client) -> str:
    """Return a table of the datasets of a store."""
    rows = "".join(
        f"<tr><td>{escape(d.name)}</td><td>{d.version}</td><td>{d.events:,}</td><td>{human_bytes(d.size)}</td></tr>"
        for d in client.datasets()
    )
    head = "<tr><th>dataset</th><th>version</th><th>events</th><th>size</th></tr>"
    return f"<p>{escape(repr(client))}</p><table>{head}{rows}</table>"


def output_type(output: Output) -> str:
    """Return the type of a column of an answer, as awkward writes it."""
    element = f"?{output.dtype}" if output.optional else output.dtype
    return element if output.axis is None else f"var * {element}"


def _summary(dataset: Dataset) -> Iterable[tuple[str, str]]:
    versions = dataset.versions()
    files = dataset.files()
    root_bytes = sum(file.bytes for file in files)
    share = (
        f", {dataset.size / root_bytes:.2f} of the {human_bytes(root_bytes)}" if root_bytes else ", of those"
    )
    yield "dataset", dataset.name
    yield "version", f"{dataset.version} (there are {_names([str(v.number) for v in reversed(versions)])})"
    yield "created", f"{dataset.created:%Y-%m-%d %H:%M:%S} UTC"
    yield "events", f"{dataset.events:,} in {counted(dataset.partitions, 'partition')}"
    yield "size", f"{human_bytes(dataset.size)}{share} of {counted(len(files), 'ROOT file')}"
    yield "files", _names([file.path for file in files], most=3)
    if dataset.note:
        yield "note", dataset.note
    yield from _origin(dataset.origin)
    derived = dataset.definitions()
    if derived:
        yield "derived", _names([f"{one.name} = {shown(one.text)}" for one in derived])


def _origin(origin: Origin | None) -> Iterable[tuple[str, str]]:
    """Yield the question that a dataset answers."""
    if origin is None:
        return
    yield "saved from", f"{origin.dataset}, version {origin.version} ({origin.events:,} events)"
    yield from value_lines(origin.query)
    if origin.definitions:
        yield "with", _names([f"{name} = {shown(text)}" for name, text in origin.definitions])


def _sections(dataset: Dataset) -> Iterable[Section]:
    """Yield the collections, then the event columns by their first part."""
    columns = dataset.columns()
    for name, collection in dataset.collections().items():
        counter = f", counted by {collection.counter}" if collection.counter else ""
        title = f"{name} ({counted(len(collection.columns), 'column')}{counter})"
        yield Section(title, collection.columns)
    groups: dict[str, list[Column]] = {}
    for column in columns:
        if column.list is None:
            prefix, _, field = column.name.partition("_")
            groups.setdefault(prefix if field else "", []).append(column)
    alone = [
        column for name, members in groups.items() if not name or len(members) == 1 for column in members
    ]
    for name, members in groups.items():
        if name and len(members) > 1:
            long = len(members) > GROUP_SHOWN_MAX
            yield Section(f"{name} ({counted(len(members), 'column')})", tuple(members), long)
    if alone:
        yield Section(f"Other event columns ({counted(len(alone), 'column')})", tuple(alone))


def _short(section: Section) -> str:
    kinds = ", ".join(dict.fromkeys(column.dtype for column in section.columns))
    return f"{section.columns[0].name} … {section.columns[-1].name}: {kinds}"


def _type(column: Column) -> str:
    return column.dtype if column.list is None else f"var * {column.dtype}"


def _names(names: Sequence[str], most: int = COLUMNS_SHOWN_MAX) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}, … ({len(names):,} in all)" if len(names) > most else shown
