"""The command line: each command acts as a named operator, through the doors, and leaves its events."""

from __future__ import annotations

import functools
import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fhir_dmp.app import DatabaseError, Running, Server, open_server
from fhir_dmp.call import Context
from fhir_dmp.errors import FhirError
from fhir_dmp.oauth.errors import InvalidClient, OAuthError
from fhir_dmp.serve import serve as run_server
from fhir_dmp.service.clients import NewClient
from fhir_dmp.service.demo import prepare_demo, require_no_demo
from fhir_dmp.service.load import Door, Outcome, Summary, find_files, load
from fhir_dmp.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
ROLES = ("ehr", "lab", "insurance-feed", "auditor", "samu", "app", "admin")
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def _reported(command: Callable[P, T]) -> Callable[P, T]:
    """Turn what goes wrong into one line and exit code 1; a stack trace teaches nobody the way out."""

    @functools.wraps(command)
    def run(*args: P.args, **options: P.kwargs) -> T:
        try:
            return command(*args, **options)
        except FhirError as error:
            text = "\n".join(f"{issue.expression or ''} {issue.text}".strip() for issue in error.issues)
            raise click.ClickException(text) from None
        except OAuthError as refusal:
            raise click.ClickException(f"{refusal.error}: {refusal.description}{_way_out(refusal)}") from None
        except (DatabaseError, ValueError) as fault:
            raise click.ClickException(str(fault)) from None

    return run


def _way_out(refusal: OAuthError) -> str:
    if isinstance(refusal, InvalidClient):
        return " See fhir-dmp client list, or register it: fhir-dmp client add --help"
    return ""


def _data_dir(command: Callable[P, T]) -> Callable[P, T]:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the embedded database and the secrets; DMP_DATA_DIR, or var.",
    )(command)


def _operator(command: Callable[P, T]) -> Callable[P, T]:
    return click.option(
        "--operator", default=getpass.getuser, show_default="your user name", help="Who acts; it stands in the log."
    )(command)


def _settings(data_dir: Path | None) -> Settings:
    settings = Settings.from_env()
    return replace(settings, data_dir=data_dir) if data_dir else settings


@contextmanager
def _server(data_dir: Path | None, operator: str) -> Iterator[tuple[Server, Callable[[], Context]]]:
    """Yield the server's parts, joined to the database that is up or on one started for the command, and the operator's Context."""
    act = " ".join(sys.argv[1:])[:200]
    with open_server(_settings(data_dir)) as server:
        yield server, lambda: server.operator_context(operator, act)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fhir_dmp")
def main() -> None:
    """A FHIR R4 server for the French shared medical record.

    \b
    To try it, with synthetic patients:
      fhir-dmp demo
    To run it:
      fhir-dmp serve
      fhir-dmp client add my-ehr --role ehr --scope "system/*.cruds" --jwks keys.json
      fhir-dmp load --as my-ehr records/
    Each command explains itself: fhir-dmp COMMAND --help
    """  # noqa: D301 - click leaves the lines of a paragraph alone that begins with this character


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 256), help="Processes; one per core.")
@_data_dir
@_reported
def serve(host: str, port: int, workers: int, data_dir: Path | None) -> None:
    """Serve the record system; it starts empty.

    Register a client first or beside it: fhir-dmp client add --help
    """
    settings = _settings(data_dir)
    with Running.start(settings, f"http://{host}:{port}") as running:
        with open_server(running.settings) as server:
            require_no_demo(server.clients, server.operator_context("server", "serve"))
        run_server(running.settings, host=host, port=port, workers=workers)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 256), help="Processes; one per core.")
@click.option(
    "--patients", default=20, show_default=True, type=click.IntRange(0, 100_000), help="Synthetic patients to load."
)
@click.option("--seed", default=1, show_default=True, type=int, help="The same seed makes the same patients.")
@_data_dir
@_reported
def demo(host: str, port: int, workers: int, patients: int, seed: int, data_dir: Path | None) -> None:
    """Serve with synthetic French patients and a client to try with.

    \b
    For example, with 200 patients in a folder of their own:
      fhir-dmp demo --patients 200 --data-dir demo
      curl -H "Authorization: Bearer $(fhir-dmp token demo-ehr --data-dir demo)" http://127.0.0.1:8000/fhir/Patient
    """  # noqa: D301 - click leaves the lines of a paragraph alone that begins with this character
    settings = _settings(data_dir)
    with Running.start(settings, f"http://{host}:{port}") as running:
        if running.notice:
            _out.print(running.notice)
        with open_server(running.settings) as server, _bar() as bar:
            task = bar.add_task("Loading patients", total=patients + 1)
            prepare_demo(server, patients, seed, lambda outcome: _advance(bar, task, outcome))
        _tell(host, port, settings.data_dir)
        run_server(running.settings, host=host, port=port, workers=workers)


def _tell(host: str, port: int, data_dir: Path) -> None:
    base = f"http://{host}:{port}"
    _out.print(f"\nOpen      {base}/docs", f"Metadata  {base}/fhir/metadata", "\nIn another terminal:", sep="\n")
    command = f"{Path(sys.argv[0]).as_posix()} token demo-ehr --data-dir {data_dir}"
    _out.print(f"  TOKEN=$({command})", soft_wrap=True)
    _out.print(f'  curl -H "Authorization: Bearer $TOKEN" "{base}/fhir/Patient?_count=2&_pretty=true"', soft_wrap=True)
    _out.print(
        f'  curl -H "Authorization: Bearer $TOKEN" "{base}/fhir/Observation?code=http://loinc.org|718-7&_count=3"\n',
        soft_wrap=True,
    )


@main.group()
def client() -> None:
    """Register, list and remove the systems that may ask for tokens."""


@client.command("add")
@click.argument("client_id")
@click.option("--kind", type=click.Choice(["backend", "confidential", "public"]), default="backend", show_default=True)
@click.option(
    "--role", type=click.Choice(ROLES), required=True, help="What the system is; it decides what it may ever see."
)
@click.option("--scope", required=True, help='SMART scopes, for example "system/*.cruds" or "system/Patient.rs".')
@click.option(
    "--jwks", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File with its public key set."
)
@click.option("--jwks-url", help="Where its public key set is published.")
@click.option("--redirect-uri", multiple=True)
@click.option("--organization", help="The structure it acts for: SYSTEM|VALUE.")
@_data_dir
@_operator
@_reported
def client_add(client_id: str, jwks: Path | None, data_dir: Path | None, operator: str, **given: Any) -> None:
    """Register a client under CLIENT_ID."""
    new = NewClient(
        id=client_id,
        kind=given["kind"],
        role=given["role"],
        scopes=tuple(given["scope"].split()),
        organization=given["organization"],
        jwks=jwks.read_text() if jwks else None,
        jwks_url=given["jwks_url"],
        redirect_uris=given["redirect_uri"],
    )
    with _server(data_dir, operator) as (server, context):
        made = server.clients.add(new, context())
    _out.print(f"{made.id}: {made.kind} client, role {made.role}, scopes {' '.join(made.scopes)}")


@client.command("list")
@_data_dir
@_operator
@_reported
def client_list(data_dir: Path | None, operator: str) -> None:
    """List all clients."""
    with _server(data_dir, operator) as (server, context):
        for each in server.clients.list(context()):
            _out.print(f"{each.id}\t{each.kind}\t{each.role}\t{' '.join(each.scopes)}\t{each.organization or ''}")


@client.command("remove")
@click.argument("client_id")
@_data_dir
@_operator
@_reported
def client_remove(client_id: str, data_dir: Path | None, operator: str) -> None:
    """Forget CLIENT_ID: its tokens stop at once."""
    with _server(data_dir, operator) as (server, context):
        server.clients.remove(client_id, context())
    _out.print(f"{client_id} is removed.")


@main.command()
@click.argument("client_id")
@click.option("--scope", default="", help="Fewer scopes than it was registered with.")
@_data_dir
@_operator
@_reported
def token(client_id: str, scope: str, data_dir: Path | None, operator: str) -> None:
    """Print a short-lived bearer token for CLIENT_ID, for curl."""
    with _server(data_dir, operator) as (server, context):
        click.echo(server.tokens.operator_token(client_id, scope.split(), operator, context()))


@main.command("load")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--as", "client_id", required=True, help="The client that writes; see fhir-dmp client list.")
@click.option(
    "--threads",
    default=4,
    show_default=True,
    type=click.IntRange(1, 32),
    help="Bundles that are sent at the same time.",
)
@_data_dir
@_operator
@_reported
def load_command(paths: tuple[Path, ...], client_id: str, threads: int, data_dir: Path | None, operator: str) -> None:
    """Load files of records as one of the clients.

    PATHS are Bundles or resources (.json), NDJSON (.ndjson), either in .gz .bz2 .xz, or folders of them.
    What was loaded before is passed over: a load that was cut, or met a broken file, is simply run again.

    \b
    For example:
      fhir-dmp load --as my-ehr records/ more/Patient.ndjson.gz
    """  # noqa: D301 - click leaves the lines of a paragraph alone that begins with this character
    files = find_files(paths)
    if not files:
        raise click.ClickException(
            "No .json or .ndjson file (.gz .bz2 .xz too) is there: name the files, or their folder."
        )
    with _server(data_dir, operator) as (server, context), _bar() as bar:
        raw = server.tokens.operator_token(client_id, (), operator, context())
        subject = server.tokens.verify_bearer(raw)
        task = bar.add_task("Loading files", total=len(files))
        door = Door(server.perform, lambda: replace(context(), subject=subject), server.store.has_mark)
        summary = load(files, door, lambda outcome: _advance(bar, task, outcome), threads)
    _sum_up(summary)


def _sum_up(summary: Summary) -> None:
    _out.print(
        f"{summary.resources} resources in {summary.bundles} bundles; {summary.skipped} were loaded before; "
        f"{len(summary.failed)} failed."
    )
    if summary.failed:
        raise click.ClickException("Mend what is named above and run the same command again: the rest is passed over.")


def _advance(bar: Progress, task: TaskID, outcome: Outcome) -> None:
    """Move the bar on with each file that is done, and say at once what is wrong with one."""
    if outcome.last:
        bar.advance(task)
    if outcome.error:
        bar.console.print(f"{outcome.name}: {outcome.error}", markup=False, soft_wrap=True)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=_err, transient=True)


if __name__ == "__main__":
    main()
