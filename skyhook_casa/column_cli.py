"""The commands that give a dataset more columns: ``define`` computes them, ``add-columns`` joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import connect
from .errors import InvalidRequest
from .query_cli import Dataset, names_of, number, pairs
from .report import counted, human_bytes

if TYPE_CHECKING:
    from .column_sets.report import AddedColumns
    from .functions import Function
    from .query import Fill

Name = Annotated[str, typer.Argument(help="Name of the column.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Give the command line the commands of this module."""
    app.command()(define)
    app.command()(definitions)
    app.command("drop-definition")(drop_definition)
    app.command("add-columns")(add_columns)


def define(
    context: typer.Context,
    dataset: Dataset,
    name: Name,
    expression: Annotated[
        str | None,
        typer.Argument(help="What it is, such as 'mass(Muon[0] + Muon[1])'.", show_default=False),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option(help="Instead of an expression: a Python function, as 'package.module:function'."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", "-c", help="What the function is given: names, with commas.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Type of the numbers that the function returns.")] = "float32",
    per: Annotated[
        str,
        typer.Option(help="It returns one for each 'event', each element of a list ('Muon'), or a 'list'."),
    ] = "event",
    optional: Annotated[
        bool, typer.Option("--optional", help="The function's numbers may be missing.")
    ] = False,
) -> None:
    """Declare a derived column, which queries of the dataset may then name.

    The first query that needs it computes and stores it. Defining a name again changes it.
    """
    if (expression is None) == (function is None):
        raise InvalidRequest(f"define {name!r} by an expression or with --function: one of the two")
    if function is None and columns is not None:
        raise InvalidRequest(
            "--columns are what a --function is given; an expression names its columns itself"
        )
    what: str | Function = expression or ""
    if function is not None:
        from .functions import Function

        what = Function(function, tuple(names_of(columns) or ()), dtype, per, optional)
    with connect(**context.obj) as client:
        client.define(dataset, {name: what})


def definitions(context: typer.Context, dataset: Dataset) -> None:
    """List the derived columns of a dataset, and for which versions they are stored."""
    from .functions import shown

    with connect(**context.obj) as client:
        found = client.definitions(dataset)
    if not found:
        typer.echo(f"no definitions of {dataset!r} yet", err=True)
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        numbers = ", ".join(map(str, one.versions))
        stored = f"version {numbers}, {human_bytes(one.bytes)}" if one.versions else "not stored"
        typer.echo(f"{one.name:<{width}}  = {shown(one.text)}  ({stored})")


def drop_definition(context: typer.Context, dataset: Dataset, name: Name) -> None:
    """Forget a derived column and what is stored of it; `gc` then frees the space."""
    with connect(**context.obj) as client:
        client.drop_definition(dataset, name)
    typer.echo(f"definition {name!r} of dataset {dataset!r} is forgotten; run gc to free the space")


def add_columns(
    context: typer.Context,
    dataset: Dataset,
    files: Annotated[
        list[str], typer.Argument(help="ROOT or Parquet files, globs, or URLs.", show_default=False)
    ],
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", "-c", help="Names and globs, with commas; by default all that the dataset lacks."
        ),
    ] = None,
    on: Annotated[
        str, typer.Option(help="Columns that name an event, with commas.")
    ] = "run,luminosityBlock,event",
    fill: Annotated[
        list[str] | None,
        typer.Option(
            help="Value for events that no file has: '0', or 'score = -1' for one column; repeatable."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of columns that the dataset has.")
    ] = False,
    tree: Annotated[str, typer.Option(help="The tree of events in ROOT files.")] = "Events",
) -> None:
    """Join columns of other files to the events of a dataset, as a new version of it.

    Files may have the events in any order. If events are missing or come twice, nothing is added
    unless there are values to --fill in.
    """
    with connect(**context.obj) as client:
        report = client.add_columns(
            dataset,
            files,
            names_of(columns),
            on=names_of(on) or (),
            fill=_fill(fill),
            replace=replace,
            tree=tree,
        )
    typer.echo(_added(report))


def _added(report: AddedColumns) -> str:
    """Return what was done in two or three lines."""
    names = ", ".join(report.columns)
    lines = [
        f"{report.dataset}: version {report.version}, {names} for {counted(report.events, 'event')}",
        f"{human_bytes(report.bytes)}, {report.seconds:.2f} s",
    ]
    counts = [
        (report.missing, "of the dataset got the fill value"),
        (report.duplicates, "came again"),
        (report.unused, "of the files are not in the dataset"),
    ]
    odd = [f"{counted(n, 'event')} {what}" for n, what in counts if n]
    return "\n".join([*lines, *([", ".join(odd)] if odd else [])])


def _fill(texts: list[str] | None) -> Fill | dict[str, Fill] | None:
    """Return one value for all columns, or that of each."""
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return number(texts[0])
    return {name: number(text) for name, text in pairs(texts, "=", "--fill").items()}
