"""``fhir-dmp audit``: the log as a file, its proofs, and their verification by whoever does not trust the server."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click
from rich.progress import Progress

from fhir_dmp.app.database import users_script
from fhir_dmp.app.sealing import audit_files, open_keeper
from fhir_dmp.app.server import Server
from fhir_dmp.call import Call, Params
from fhir_dmp.cli.common import out, parts, progress_bar, reported, settings_of, with_data_dir, with_operator
from fhir_dmp.fhir import codec, parameters
from fhir_dmp.service.audit_verify import (
    BrokenHeadError,
    PublicKey,
    Published,
    Report,
    lookers,
    verify_database,
    verify_export,
    verify_proof,
)
from fhir_dmp.settings import Settings

_file = click.Path(path_type=Path, dir_okay=False, exists=True)
_GOES_ON = (("from", "leaf"), ("head", "head"))
"""How a page of the log is asked for: by what the last line of the one before says."""

_with_key = click.option("--key", type=_file, help="Public key (PEM) that you trust; that of the data folder.")


@click.group()
def audit() -> None:
    """Export the log, prove what is in it, verify it."""


@audit.command()
@click.argument("exports", nargs=-1, type=_file)
@_with_key
@click.option("--heads", type=_file, help="File of published heads; that of the data folder.")
@click.option("--to-the-last", is_flag=True, help="An export must reach the last published head, not the one it names.")
@click.option("--index", is_flag=True, help="Also make anew, from what each event says, what it is found by.")
@with_operator
@with_data_dir
@reported
def verify(
    exports: tuple[Path, ...],
    key: Path | None,
    heads: Path | None,
    *,
    to_the_last: bool,
    index: bool,
    operator: str,
    data_dir: Path | None,
) -> None:
    """Check the log against its published heads, and name the first row that is not as it was.

    The log is the database, or an exported file, or the parts of one in their order. With --key and --heads exports need no
    server and no database, and no event is left that they were verified; that of a database, which needs no secret of the server's either,
    stands in its log, with what was found. The exit code is 1 if anything is wrong.
    """
    settings = settings_of(data_dir)
    published = Published(partial(_lines, (heads or audit_files(settings)[1].path,)), _public(key, settings))
    with lookers() as looking, progress_bar() as bar:
        progress = partial(_started, bar, "Verifying")
        try:
            if exports:
                report = verify_export(
                    _lines(exports), published, progress, looking, to_the_last=to_the_last, index=index
                )
            else:
                with open_keeper(settings) as (server, keeper):
                    look = partial(
                        verify_database, published=published, progress=progress, looking=looking, index=index
                    )
                    report = keeper.verify(look, server.operator_context(operator, "audit verify"))
        except BrokenHeadError as fault:
            raise click.ClickException(f"The heads do not hold: {fault}.") from None
    _tell(report)


@audit.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@with_operator
@with_data_dir
@reported
def export(file: Path, operator: str, data_dir: Path | None) -> None:
    """Write the log to FILE, as lines that anybody can verify; a FILE that is there goes on where it ended."""
    first = _resumed(file)
    with parts(data_dir, operator) as (server, _), progress_bar() as bar, file.open("ab") as written:
        advance = _started(bar, "Exporting", None)
        for page in _pages(server, operator, first):
            written.write(page)
            advance(page.count(b"\n"))
        written.flush()
        os.fsync(written.fileno())
    out.print(f"{file} holds {_resumed(file)} events.", markup=False)


@audit.command()
@click.argument("event")
@with_operator
@with_data_dir
@reported
def proof(event: str, operator: str, data_dir: Path | None) -> None:
    """Print the proof that the EVENT with this id is in the log, for verify-proof."""
    _print(data_dir, operator, Call("operation", "AuditEvent", event, operation="proof"))


@audit.command()
@click.argument("older", type=click.IntRange(1))
@click.argument("newer", type=click.IntRange(1), required=False)
@with_operator
@with_data_dir
@reported
def consistency(older: int, newer: int | None, operator: str, data_dir: Path | None) -> None:
    """Print the proof that head number OLDER begins head NEWER (the last one): the log only grew."""
    asked = (("from", str(older)), *((("to", str(newer)),) if newer else ()))
    _print(data_dir, operator, Call("operation", "AuditEvent", operation="consistency", params=asked))


@audit.command()
@click.argument("number", type=click.IntRange(1), required=False)
@with_operator
@with_data_dir
@reported
def head(number: int | None, operator: str, data_dir: Path | None) -> None:
    """Print head NUMBER, or the last one, as it was signed."""
    asked = (("number", str(number)),) if number else ()
    _print(data_dir, operator, Call("operation", "AuditEvent", operation="head", params=asked))


@audit.command("verify-proof")
@click.argument("file", type=click.File("rb"))
@_with_key
@click.option("--heads", type=_file, help="File of published heads, which vouch for keys of other times.")
@with_data_dir
@reported
def verify_proof_command(file: BinaryIO, key: Path | None, heads: Path | None, data_dir: Path | None) -> None:
    """Check a proof in FILE (- for standard input) with the public key alone; print what it proves."""
    settings = settings_of(data_dir)
    keys = [_public(key, settings)]
    known = heads or audit_files(settings)[1].path
    if known.exists():
        keys.extend(Published(partial(_lines, (known,)), keys[0]).survey().keys)
    out.print(verify_proof(parameters.read(codec.loads_object(file.read())), *keys), markup=False, soft_wrap=True)


@audit.command("rotate-key")
@with_operator
@with_data_dir
@reported
def rotate_key(operator: str, data_dir: Path | None) -> None:
    """Let a new key sign the heads from now on; the old one introduces it, and old heads stay verifiable."""
    with open_keeper(settings_of(data_dir)) as (server, keeper):
        key = keeper.rotate_key(server.operator_context(operator, "audit rotate-key"))
    out.print(f"The key {key.id} signs from now on.")


@audit.command()
@click.argument("period")
@click.option("--early", default="", metavar="WHY", help="Why it goes before its time (DMP_AUDIT_RETENTION_YEARS).")
@click.confirmation_option(prompt="Its rows are removed for good. Did you export them?")
@with_operator
@with_data_dir
@reported
def retire(period: str, early: str, operator: str, data_dir: Path | None) -> None:
    """Remove the rows of a PERIOD, such as audit_2025_01, that is over and sealed; a signed head says what was removed."""
    with open_keeper(settings_of(data_dir)) as (server, keeper):
        head = keeper.retire(period, server.operator_context(operator, f"audit retire {period}"), early)
    if head.removed:
        out.print(f"{head.removed.rows} events of {period} are removed; head {head.number} of {head.time} says so.")


@audit.command()
@with_data_dir
def users(data_dir: Path | None) -> None:
    """Print what the keeper of a database of yours runs in mongosh, so that the server cannot change the log.

    It reads no database, which may not have these users yet, and so it leaves no event.
    """
    click.echo(users_script(settings_of(data_dir)))


def _public(key: Path | None, settings: Settings) -> PublicKey:
    path = key or audit_files(settings)[0].public_path
    if not path.exists():
        raise ValueError(f"There is no public key at {path}: name it by --key.")
    return PublicKey.from_pem(path.read_bytes())


def _print(data_dir: Path | None, operator: str, call: Call) -> None:
    with parts(data_dir, operator) as (server, _):
        result = server.perform(call, server.auditor_context(operator, f"audit {call.operation}"))
    click.echo(codec.pretty(result.body or b""))


def _lines(paths: tuple[Path, ...]) -> Iterator[bytes]:
    """Yield the whole lines of files, without their ends; a last line that is cut is none."""
    for path in paths:
        if not path.exists():
            raise ValueError(f"There is no file {path}.")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]


def _pages(server: Server, operator: str, first: int) -> Iterator[bytes]:
    """Yield the pages of the log from a leaf on, up to the head that is the last one at the first page."""
    asked: Params = (("from", str(first)),)
    more = True
    while more:
        call = Call("operation", "AuditEvent", operation="entries", params=asked)
        page = server.perform(call, server.auditor_context(operator, "audit export")).body or b""
        yield page
        told = codec.loads_object(page.splitlines()[-1])
        asked, more = tuple((name, str(told[of])) for name, of in _GOES_ON), told["leaf"] < told["size"]


def _resumed(file: Path) -> int:
    """Return the leaf that an export goes on from, and cut what a crash left of a line."""
    if not file.exists():
        return 0
    with file.open("rb+") as written:
        whole, last = 0, b""
        for line in written:
            if line.endswith(b"\n"):
                whole, last = whole + len(line), line
        written.truncate(whole)
    told = codec.loads_object(last or b'{"leaf":0}')
    return int(told["leaf"]) + ("hash" in told)


def _started(bar: Progress, words: str, total: int | None) -> Callable[[int], None]:
    return partial(bar.advance, bar.add_task(words, total=total))


def _tell(report: Report) -> None:
    for finding in report.findings:
        out.print(str(finding), markup=False, soft_wrap=True)
    if report.findings:
        raise click.ClickException(f"The log is not what was signed: {report.findings[0]}.")
    until = f", up to number {report.newest.number} of {report.newest.time}" if report.newest else ""
    out.print(f"{report.leaves} events verified against {report.heads} signed heads{until}.")
    if report.removed:
        out.print(f"{report.removed} of them are not there: they were removed with their month, as signed heads say.")
    for period in report.halfway:
        out.print(
            f"A head says that {period} is removed, and rows of it are there: finish it by audit retire {period}."
        )
    for unsure in report.unsure:
        out.print(f"Not checked: {unsure}.", markup=False, soft_wrap=True)
    if report.unsealed:
        out.print(f"{report.unsealed} events wait for the next head.")
    if report.later:
        out.print(f"Published heads of a larger log than this export: {report.later}.")
