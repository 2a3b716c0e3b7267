"""The command line: ``skyhook-casa --store store/ query dy -c 'Muon_*,MET_pt' -o skim.parquet``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from . import __version__, connect
from .ceph_cluster.cli import app as ceph_app
from .errors import InvalidRequest, SkyhookError
from .report import counted, human_bytes
from .service_cli import add_to as add_service_commands
from .service_cli import failure_line

if TYPE_CHECKING:
    from skyhook_client import Client
    from skyhook_client.query import Query

ROWS_SHOWN: Final = 20
"""Events that `query` prints if no file is named."""
EXIT_ERROR: Final = 1
"""Exit code of every error that `skyhook_casa.errors` names."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Filtered columns of NanoAOD events, fast, from Arrow objects in a store.",
)

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
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=0, help="Most events to deliver.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"skyhook-casa {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Option("--store", "-s", help="Directory or URL; by default $SKYHOOK_STORE or ./skyhook-store."),
    ] = None,
    catalog: Annotated[
        str | None,
        typer.Option(help="Database URL of the catalog; by default the store's own."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of a query; by default one for each core.")
    ] = None,
    progress: Annotated[
        bool | None, typer.Option(help="Show progress bars; by default on a terminal.", show_default=False)
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Options that go before the command."""
    context.obj = {"store": store, "catalog": catalog, "threads": threads, "progress": progress}


@app.command()
def ingest(
    context: typer.Context,
    dataset: Dataset,
    files: Annotated[list[str], typer.Argument(help="ROOT files, globs, or URLs.", show_default=False)],
    columns: Annotated[
        str | None, typer.Option("--columns", "-c", help="Branches to take: names and globs, with commas.")
    ] = None,
    tree: Annotated[str, typer.Option(help="The tree of events.")] = "Events",
    codec: Annotated[str, typer.Option(help="lz4, zstd or none.")] = "lz4",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one for each core.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="The new version holds these files only, not the older ones too."),
    ] = False,
    skip_bad_files: Annotated[
        bool, typer.Option("--skip-bad-files", help="Take the good files, and say which are bad.")
    ] = False,
) -> None:
    """Read ROOT files into a dataset, as a new version of it."""
    chosen = None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    report = _client(context).ingest(
        dataset,
        files,
        chosen,
        tree=tree,
        codec=codec,
        workers=workers,
        append=not replace,
        skip_bad_files=skip_bad_files,
    )
    share = f", {report.bytes / report.source_bytes:.2f} of the ROOT files" if report.source_bytes else ""
    reused = f", {report.partitions_reused} of them there already" if report.partitions_reused else ""
    partitions = counted(report.partitions_made + report.partitions_reused, "partition")
    added = f"{counted(report.events, 'event')} of {counted(report.files, 'file')} added"
    typer.echo(f"{dataset}: version {report.version}, {added}")
    typer.echo(f"{partitions}{reused}, {human_bytes(report.bytes)}{share}, {report.seconds:.2f} s")
    for failure in report.failures:
        typer.echo(f"left out: {failure_line(failure).strip()}", err=True)


@app.command()
def datasets(context: typer.Context) -> None:
    """List the datasets of the store."""
    found = _client(context).datasets()
    if not found:
        typer.echo("no datasets yet", err=True)
    width = max((len(dataset.name) for dataset in found), default=0)
    for one in found:
        size = human_bytes(one.size)
        typer.echo(f"{one.name:<{width}}  version {one.version:>3}  {one.events:>14,} events  {size:>9}")


app.command("list", hidden=True)(datasets)
app.add_typer(ceph_app, name="ceph")
add_service_commands(app)


@app.command()
def describe(
    context: typer.Context,
    dataset: Dataset,
    version: Version = None,
    every_column: Annotated[
        bool, typer.Option("--all", help="Also the columns of large groups, such as HLT.")
    ] = False,
) -> None:
    """Show collections, columns with types and titles, events, versions and sizes."""
    typer.echo(_client(context).dataset(dataset, version).describe().text(every_column))


@app.command()
def query(
    context: typer.Context,
    dataset: Dataset,
    columns: Columns = None,
    cut: Cut = None,
    version: Version = None,
    define: Define = None,
    objects: Objects = None,
    fill: FillIn = None,
    limit: Limit = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .parquet, .arrow, .root or .csv; else some events are shown.",
        ),
    ] = None,
    nested: Annotated[
        bool, typer.Option("--nested", help="Collections as lists of records instead of flat columns.")
    ] = False,
) -> None:
    """Write the columns of the events that pass a cut, or show the first of them."""
    shown = ROWS_SHOWN if output is None and limit is None else limit
    asked = _query(context, dataset, columns, cut, version, define, objects, fill, shown)
    if output is None:
        asked.to_awkward(nested).show(limit_rows=ROWS_SHOWN, stream=sys.stdout)
    else:
        typer.echo(f"{counted(asked.to_file(output, nested), 'event')} in {output}", err=True)
    typer.echo(str(asked.report), err=True)


@app.command()
def count(
    context: typer.Context,
    dataset: Dataset,
    cut: Cut = None,
    version: Version = None,
    define: Define = None,
    fill: FillIn = None,
) -> None:
    """Print how many events pass a cut."""
    names = None if define is None else ",".join(_pairs(define, "=", "--define"))
    typer.echo(_query(context, dataset, names, cut, version, define, None, fill, None).count())


@app.command()
def explain(
    context: typer.Context,
    dataset: Dataset,
    columns: Columns = None,
    cut: Cut = None,
    version: Version = None,
    define: Define = None,
    objects: Objects = None,
    fill: FillIn = None,
    limit: Limit = None,
) -> None:
    """Show what a query would do and how many bytes it may read."""
    asked = _query(context, dataset, columns, cut, version, define, objects, fill, limit)
    typer.echo(str(asked.explain()))


@app.command()
def verify(context: typer.Context, dataset: Dataset, version: Version = None) -> None:
    """Check every checksum of every object; exit with 1 if one is bad."""
    found = _client(context).verify(dataset, version)
    for bad in found.bad:
        typer.echo(str(bad), err=True)
    typer.echo(found.summary())
    if not found.ok:
        raise typer.Exit(EXIT_ERROR)


@app.command()
def gc(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    grace_hours: Annotated[
        float | None, typer.Option(min=0, help="Objects younger than this stay; a day by default.")
    ] = None,
) -> None:
    """Remove the objects that no version and no running ingest uses."""
    found = _client(context).gc(dry_run=dry_run, grace_s=None if grace_hours is None else grace_hours * 3600)
    verb = "would remove" if dry_run else "removed"
    kept = f"; {found.kept_objects:,} are too young" if found.kept_objects else ""
    typer.echo(f"{verb} {counted(found.objects, 'object')}, {human_bytes(found.bytes)}{kept}")


@app.command()
def drop(
    context: typer.Context,
    dataset: Dataset,
    version: Version = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget a dataset, or one version of it; `gc` then frees the space."""
    what = f"dataset {dataset!r}" if version is None else f"version {version} of dataset {dataset!r}"
    client = _client(context)
    client.dataset(dataset, version)
    if not yes:
        typer.confirm(f"Forget {what}?", abort=True)
    client.drop(dataset, version)
    typer.echo(f"{what} is forgotten; run gc to free the space")


@app.command("make-nanoaod")
def make_nanoaod(
    path: Annotated[Path, typer.Argument(help="A .root file, or a folder for several.", show_default=False)],
    events: Annotated[int, typer.Option("--events", "-n", min=0, help="Events in all.")] = 100_000,
    files: Annotated[int, typer.Option(min=1, help="Files; more than one need a folder.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 1,
    branches: Annotated[
        int | None, typer.Option(min=1, help="Branches, filled up with trigger bits.")
    ] = None,
    compression: Annotated[str, typer.Option(help="zlib, lz4, zstd, lzma or none.")] = "zlib",
    data: Annotated[bool, typer.Option("--data", help="As recorded: no generated particles.")] = False,
) -> None:
    """Write a realistic NanoAOD sample: collections, cross references, a Z peak, trigger bits."""
    from . import nanoaod

    settings: dict[str, Any] = {"branches": branches, "compression": compression, "simulated": not data}
    if path.suffix != ".root":
        made = nanoaod.make_dataset(path, events, files=files, seed=seed, **settings)
    elif files > 1:
        raise InvalidRequest(f"{files} files do not go into {path.name!r}; name a folder")
    else:
        made = [nanoaod.make_nanoaod(path, events, seed=seed, **settings)]
    for one in made:
        typer.echo(
            f"{one.path}: {counted(one.events, 'event')}, {one.branches:,} branches, {human_bytes(one.bytes)}"
        )


def main() -> None:
    """Run the command line; an error of this project is one message and exit code 1."""
    try:
        app(prog_name="skyhook-casa")
    except SkyhookError as error:
        typer.echo(f"skyhook-casa: {error}", err=True)
        sys.exit(EXIT_ERROR)


def _client(context: typer.Context) -> Client:
    return connect(**context.obj)


def _query(
    context: typer.Context,
    dataset: str,
    columns: str | None,
    cut: str | None,
    version: int | None,
    define: list[str] | None,
    objects: list[str] | None,
    fill: list[str] | None,
    limit: int | None,
) -> Query:
    return _client(context).query(
        dataset,
        columns,
        cut,
        version=version,
        define=_pairs(define, "=", "--define"),
        objects=_pairs(objects, ":", "--objects"),
        fill={name: _number(text) for name, text in _pairs(fill, "=", "--fill").items()},
        limit=limit,
    )


def _pairs(texts: list[str] | None, sign: str, option: str) -> dict[str, str]:
    """Return name and text of each "name = text".

    Raises
    ------
    InvalidRequest
        If the sign is not there, or a name comes twice.
    """
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, found, value = (part.strip() for part in text.partition(sign))
        if not (name and found and value):
            raise InvalidRequest(f"{option} {text!r} is not of the form 'name {sign} …'")
        if name in pairs:
            raise InvalidRequest(f"{option} names {name!r} twice")
        pairs[name] = value
    return pairs


def _number(text: str) -> bool | int | float:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise InvalidRequest(f"--fill gives {text!r}; a number, true or false is needed")


if __name__ == "__main__":
    main()
