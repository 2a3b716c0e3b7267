"""The command line: ``skyhook-casa --store store/ query dy -c 'Muon_*,MET_pt' -o skim.parquet``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from . import __version__, connect
from .ceph_cluster.cli import app as ceph_app
from .cli_words import for_shell
from .column_cli import add_to as add_column_commands
from .errors import InvalidRequest, SkyhookError, StoreError
from .query_cli import Dataset, Version, names_of
from .query_cli import add_to as add_query_commands
from .report import counted, human_bytes
from .service_cli import add_to as add_service_commands
from .service_cli import failure_line

if TYPE_CHECKING:
    from skyhook_client import Client

EXIT_ERROR: Final = 1
"""Exit code of every error that `skyhook_casa.errors` names."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Filtered columns of NanoAOD events, fast, from Arrow objects in a store.",
)


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
    functions: Annotated[
        str,
        typer.Option(help="Modules, with commas, whose functions derived columns may be; none by default."),
    ] = "",
    progress: Annotated[
        bool | None, typer.Option(help="Show progress bars; by default on a terminal.", show_default=False)
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Options that go before the command."""
    context.obj = {
        "store": store,
        "catalog": catalog,
        "threads": threads,
        "progress": progress,
        "functions": names_of(functions) or (),
    }


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
    report = _client(context).ingest(
        dataset,
        files,
        names_of(columns),
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
    client = _client(context)
    found = client.datasets()
    if not found:
        typer.echo(f"no datasets yet in {client.url}", err=True)
    width = max((len(dataset.name) for dataset in found), default=0)
    for one in found:
        size = human_bytes(one.size)
        typer.echo(f"{one.name:<{width}}  version {one.version:>3}  {one.events:>14,} events  {size:>9}")


app.command("list", hidden=True)(datasets)


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


add_query_commands(app)
add_column_commands(app)
add_service_commands(app)
app.add_typer(ceph_app, name="ceph")


@app.command()
def tally(
    context: typer.Context,
    dataset: Dataset,
    version: Version = None,
    count: Annotated[
        bool, typer.Option("--count", help="Read what no ingest added up, once; the catalog remembers.")
    ] = False,
    golden: Annotated[
        Path | None,
        typer.Option("--golden", help="File to write the luminosity sections to, as golden JSON."),
    ] = None,
) -> None:
    """Show the sum of generator weights and the luminosity sections of the events of a dataset."""
    found = _client(context).dataset(dataset, version).tally(count)
    for name, text in found.lines() or [("", f"{dataset} has neither genWeight nor luminosity sections")]:
        typer.echo(f"{name:<11}{text}".strip())
    if golden is not None:
        if found.sections is None:
            raise InvalidRequest(
                f"no {golden} is written: the luminosity sections of {dataset!r} are not known"
            )
        try:
            golden.write_text(found.sections.to_json() + "\n")
        except OSError as error:
            raise StoreError(f"cannot write {golden}: {error.strerror}") from error


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
        typer.echo(f"skyhook-casa: {for_shell(str(error))}", err=True)
        sys.exit(EXIT_ERROR)


def _client(context: typer.Context) -> Client:
    return connect(**context.obj)


if __name__ == "__main__":
    main()
