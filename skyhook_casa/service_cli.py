"""The commands of the delivery service: ``serve`` runs it, ``top`` and ``jobs`` look at one that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from . import connect
from .cli_words import for_shell
from .errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from skyhook_casa.ingest import FileFailure
    from skyhook_client.jobs import IngestJob

EVENTS_UNKNOWN: Final = "?"

jobs_app = typer.Typer(
    help="List the ingests and saves of a service or a store; cancel and retry one.",
    invoke_without_command=True,
)

JobId = Annotated[str, typer.Argument(help="The job, as `jobs` shows it.", show_default=False)]


def serve(
    context: typer.Context,
    listen: Annotated[
        str | None, typer.Option(help="host:port that clients call; 127.0.0.1:8815 by default.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(help="local (the default), or the tcp:// or tls:// address of a Dask scheduler."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads of the local workers; by default one for each core.")
    ] = None,
    delivery: Annotated[
        str | None,
        typer.Option(
            help="direct (the default): from the workers to clients; or relay: through the service."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", "--metrics-listen", help="host:port of the metrics for Prometheus; none by default."
        ),
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console (the default) or json.")] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info (the default), warning or error.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings; by default $SKYHOOK_SERVE_CONFIG.")
    ] = None,
) -> None:
    """Serve the store to many users, until SIGTERM or Ctrl-C.

    Every setting is also read from the environment (SKYHOOK_SERVE_LISTEN=…) and the file; the
    administrators' guide lists them all.
    """
    with _server_packages():
        from skyhook_server.cli import serve as run
        from skyhook_server.settings import Settings
    settings = Settings.load(
        {
            **{name: context.obj[name] for name in ("store", "catalog")},
            "functions": ",".join(context.obj["functions"]) or None,
            **{"listen": listen, "dask": dask, "workers": workers, "delivery": delivery},
            **{"metrics_listen": metrics, "log_format": log_format, "log_level": log_level},
        },
        config,
    )
    run(settings)


def top(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print the table once.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show what a service does: --store grpc://host:port names it."""
    from skyhook_server.top import top as show

    with connect(**context.obj) as client:
        show(client.status, once=once, every_s=every)


@jobs_app.callback()
def jobs(context: typer.Context) -> None:
    """List the ingests and saves, oldest first; `jobs cancel` and `jobs retry` act on one."""
    if context.invoked_subcommand is None:
        with connect(**context.obj) as client:
            found = client.jobs()
        if not found:
            typer.echo("no jobs", err=True)
        for job in found:
            typer.echo(job_line(job))


@jobs_app.command()
def cancel(context: typer.Context, job_id: JobId) -> None:
    """End a job; what it has made is kept for a while, so that it can go on."""
    with connect(**context.obj) as client:
        typer.echo(job_line(_job(client.jobs(), job_id).cancel()))


@jobs_app.command()
def retry(context: typer.Context, job_id: JobId) -> None:
    """Run a job again: only what is missing, or the files that it left out."""
    with connect(**context.obj) as client:
        typer.echo(job_line(_job(client.jobs(), job_id).retry()))


def add_to(app: typer.Typer) -> None:
    """Give the command line the commands of this module."""
    app.command()(serve)
    app.command()(top)
    app.add_typer(jobs_app, name="jobs")


def job_line(job: IngestJob) -> str:
    """Return a job in one line, then why it failed, and each bad file with what to do about it."""
    total = f"{job.events:,}" if job.events else EVENTS_UNKNOWN
    made = f"  version {job.version}" if job.version is not None else ""
    when = f"{job.updated:%Y-%m-%d %H:%M:%S}"
    kept = "" if job.events_kept is None else f", {job.events_kept:,} kept"
    done = f"{job.events_done:,} of {total} events{kept}{made}"
    line = f"{job.job_id}  {job.state:<11}  {when}  {job.dataset}  {done}"
    failures = [failure_line(one) for one in job.failures]
    # Of one bad file alone, its line says what the error says.
    why = [f"    {for_shell(job.error)}"] if job.error and len(failures) != 1 else []
    return "\n".join([line, *why, *failures])


def failure_line(failure: FileFailure) -> str:
    """Return a bad file, and what to do about it, in one line."""
    named = "" if failure.path in failure.message else f"{failure.path}: "
    return f"    {named}{failure.message}. {for_shell(failure.advice)}"


def _job(jobs: list[IngestJob], job_id: str) -> IngestJob:
    for job in jobs:
        if job.job_id == job_id:
            return job
    raise NotFound(f"no ingest job {job_id!r}; `skyhook-casa jobs` lists them")


@contextmanager
def _server_packages() -> Iterator[None]:
    """Say what to install where a package is missing that only the service needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("skyhook"):
            raise
        raise InvalidRequest(
            f"the service needs the package {error.name!r}: pip install 'skyhook_casa[server]'"
        ) from error
