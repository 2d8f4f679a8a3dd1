"""What the commands share: how they report, name their operator, reach the server's parts, and show progress."""

from __future__ import annotations

import functools
import getpass
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fhir_dmp.app.database import DatabaseError
from fhir_dmp.app.running import open_server
from fhir_dmp.errors import FhirError
from fhir_dmp.oauth.errors import InvalidClient, OAuthError
from fhir_dmp.redaction import CUT
from fhir_dmp.serve import PortError
from fhir_dmp.settings import Settings

if TYPE_CHECKING:  # most of the program, which whoever only starts workers does not need
    from fhir_dmp.app.server import Server
    from fhir_dmp.call import Context
    from fhir_dmp.service.load import Outcome

P = ParamSpec("P")
T = TypeVar("T")
_REASON = "--reason"
out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
err = Console(stderr=True, highlight=False)


def reported(command: Callable[P, T]) -> Callable[P, T]:
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
        except (DatabaseError, PortError, ValueError) as fault:
            raise click.ClickException(str(fault)) from None
        except OSError as fault:
            if fault.filename is None:
                raise
            raise click.ClickException(
                f"{fault.filename}: {fault.strerror}. Is the folder right? It is --data-dir or DMP_DATA_DIR, and is written to."
            ) from None

    return run


def _way_out(refusal: OAuthError) -> str:
    if isinstance(refusal, InvalidClient):
        return " See fhir-dmp client list, or register it: fhir-dmp client add --help"
    return ""


def with_address(command: Callable[P, T]) -> Callable[P, T]:
    """Give the command what a server listens by: ``--host``, ``--port`` and ``--workers``."""
    for option in (
        click.option(
            "--workers", default=2, show_default=True, type=click.IntRange(1, 256), help="Processes; one per core."
        ),
        click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535)),
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    ):
        command = option(command)
    return command


def with_data_dir(command: Callable[P, T]) -> Callable[P, T]:
    """Give the command the option ``--data-dir``."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the embedded database and the secrets; DMP_DATA_DIR, or var.",
    )(command)


def with_operator(command: Callable[P, T]) -> Callable[P, T]:
    """Give the command the option ``--operator``: nobody acts without a name."""
    return click.option(
        "--operator", default=getpass.getuser, show_default="your user name", help="Who acts; it stands in the log."
    )(command)


def settings_of(data_dir: Path | None) -> Settings:
    """Return the settings of the environment, on the folder that the command names."""
    settings = Settings.from_env()
    return replace(settings, data_dir=data_dir) if data_dir else settings


@contextmanager
def parts(data_dir: Path | None, operator: str) -> Iterator[tuple[Server, Callable[[], Context]]]:
    """Yield the server's parts, joined to the database that is up or on one started for the command, and the operator's Context."""
    act = " ".join(shown(sys.argv[1:]))[:200]
    with open_server(settings_of(data_dir)) as server:
        yield server, lambda: server.operator_context(operator, act)


def shown(words: Iterable[str]) -> Iterator[str]:
    """Yield a command's words as the log shows them: a reason describes a person, and stands there sealed alone."""
    before = ""
    for word in words:
        name, mark, _ = word.partition("=")
        if before == _REASON:
            yield CUT
        else:
            yield f"{name}={CUT}" if mark and name == _REASON else word
        before = word


def advance(bar: Progress, task: TaskID, outcome: Outcome) -> None:
    """Move the bar on with each file that is done, and say at once what is wrong with one."""
    if outcome.last:
        bar.advance(task)
    if outcome.error:
        bar.console.print(f"{outcome.name}: {outcome.error}", markup=False, soft_wrap=True)


def progress_bar() -> Progress:
    """Return a bar on standard error that goes when the work is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True)
