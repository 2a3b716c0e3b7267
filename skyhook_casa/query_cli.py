"""The commands that ask: ``query``, ``save``, ``count`` and ``explain``; common options are written once."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from . import connect
from .errors import InvalidRequest
from .report import counted, human_bytes

if TYPE_CHECKING:
    from skyhook_client.query import Query

ROWS_SHOWN: Final = 20
"""Events that `query` prints if no file is named."""

Dataset = Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)]
Version = Annotated[
    int | None, typer.Option("--version", "-v", min=1, help="Number of the version; the latest by default.")
]
Cut = Annotated[str | None, typer.Option("--cut", help="Condition on an event, such as 'nMuon >= 2'.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", "-c", help="Names, globs and collections, with commas; all columns by default."
    ),
]
Define = Annotated[
    list[str] | None,
    typer.Option("--define", "-d", help="Derived column, such as 'ht = sum(Jet_pt)'; repeatable."),
]
Objects = Annotated[
    list[str] | None, typer.Option("--objects", help="Thinning, such as 'Jet: pt > 30'; repeatable.")
]
FillIn = Annotated[
    list[str] | None,
    typer.Option("--fill", help="Value of a column in files without it, such as 'HLT_x = 0'; repeatable."),
]
Lumimask = Annotated[
    Path | None,
    typer.Option("--lumimask", help="Golden JSON file: the luminosity sections whose events are kept."),
]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=0, help="Most events to deliver.")]


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What the options of a command ask for; each field is one."""

    context: typer.Context
    dataset: Dataset
    columns: Columns = None
    cut: Cut = None
    version: Version = None
    define: Define = None
    objects: Objects = None
    fill: FillIn = None
    limit: Limit = None
    lumimask: Lumimask = None

    def query(self) -> Query:
        """Return the query.

        Raises
        ------
        InvalidRequest
            If an option is not of its form; else as `Client.query` does.
        """
        return connect(**self.context.obj).query(
            self.dataset,
            self.columns,
            self.cut,
            version=self.version,
            define=pairs(self.define, "=", "--define"),
            objects=pairs(self.objects, ":", "--objects"),
            fill={name: number(text) for name, text in pairs(self.fill, "=", "--fill").items()},
            limit=self.limit,
            lumimask=self.lumimask,
        )


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of `Asked`, which its first parameter gets, before its own."""
    hints = get_type_hints(Asked, include_extras=True)
    options = list(signature(Asked).parameters.values())
    _, *own = signature(command, eval_str=True).parameters.values()

    def run(**given: Any) -> None:
        mine = {one.name: given.pop(one.name) for one in own}
        command(Asked(**given), **mine)

    parameters = [*(one.replace(annotation=hints[one.name]) for one in options), *own]
    run.__signature__ = Signature(  # type: ignore[attr-defined]
        [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
    )
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def add_to(app: typer.Typer) -> None:
    """Give the command line the commands of this module."""
    app.command()(query)
    app.command()(save)
    app.command()(count)
    app.command()(explain)


@asks
def query(
    asked: Asked,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .parquet, .feather, .arrow, .root or .csv; else some events are shown.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="parquet, feather, arrow, ttree, rntuple or csv, if no ending says it."
        ),
    ] = None,
    part_events: Annotated[
        int | None,
        typer.Option(
            min=1, help="--output is a folder, of files with at most so many events; needs --format."
        ),
    ] = None,
    nested: Annotated[
        bool, typer.Option("--nested", help="Collections as lists of records instead of flat columns.")
    ] = False,
    trees: Annotated[
        bool,
        typer.Option(
            "--trees/--no-trees", help="ROOT: with Runs and LuminosityBlocks of what was worked through."
        ),
    ] = True,
) -> None:
    """Write the columns of the events that pass a cut, or show the first of them."""
    if output is None and (form is not None or part_events is not None):
        raise InvalidRequest("--format and --part-events are of a file; name it with --output")
    if output is None and asked.limit is None:
        asked = dataclasses.replace(asked, limit=ROWS_SHOWN)
    found = asked.query()
    if output is None:
        found.to_awkward(nested).show(limit_rows=ROWS_SHOWN, stream=sys.stdout)
    else:
        from skyhook_client.export import Parts, write

        written = write(found, output, form, nested, Parts(part_events), trees)
        typer.echo(f"{counted(written, 'event')} in {output}", err=True)
    typer.echo(str(found.report), err=True)


@asks
def save(
    asked: Asked,
    name: Annotated[str, typer.Argument(help="Name of the dataset that is made.", show_default=False)],
    codec: Annotated[str, typer.Option(help="lz4, zstd or none.")] = "lz4",
) -> None:
    """Keep the columns of the events that pass a cut as a dataset of its own."""
    report = asked.query().save(name, codec=codec)
    typer.echo(f"{name}: version {report.version}, {report.events_kept:,} of {report.events:,} events")
    reused = f", {report.partitions_reused} of them there already" if report.partitions_reused else ""
    partitions = counted(report.partitions_made + report.partitions_reused, "partition")
    typer.echo(f"{partitions}{reused}, {human_bytes(report.bytes)}, {report.seconds:.2f} s")


def count(
    context: typer.Context,
    dataset: Dataset,
    cut: Cut = None,
    version: Version = None,
    define: Define = None,
    fill: FillIn = None,
    lumimask: Lumimask = None,
) -> None:
    """Print how many events pass a cut."""
    names = None if define is None else ",".join(pairs(define, "=", "--define"))
    asked = Asked(context, dataset, names, cut, version=version, define=define, fill=fill, lumimask=lumimask)
    typer.echo(asked.query().count())


@asks
def explain(asked: Asked) -> None:
    """Show what a query would do and how many bytes it may read."""
    typer.echo(str(asked.query().explain()))


def names_of(text: str | None) -> list[str] | None:
    """Return the names in a text with commas; None if there is no text."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def pairs(texts: list[str] | None, sign: str, option: str) -> dict[str, str]:
    """Return name and text of each "name = text".

    Raises
    ------
    InvalidRequest
        If the sign is not there, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, there, value = (part.strip() for part in text.partition(sign))
        if not (name and there and value):
            raise InvalidRequest(f"{option} {text!r} is not of the form 'name {sign} …'")
        if name in found:
            raise InvalidRequest(f"{option} names {name!r} twice")
        found[name] = value
    return found


def number(text: str) -> bool | int | float:
    """Return the value that an option ``--fill`` gives.

    Raises
    ------
    InvalidRequest
        If it is no number, true or false.
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise InvalidRequest(f"--fill gives {text!r}; a number, true or false is needed")
