"""``fhir-dmp load``: files of records, written as one of the clients."""

from __future__ import annotations

from pathlib import Path

import click

from fhir_dmp.cli.common import advance, out, parts, progress_bar, reported, with_data_dir, with_operator
from fhir_dmp.service.load import Door, Summary, load
from fhir_dmp.service.load_files import find_files


@click.command("load")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--as", "client_id", required=True, help="The client that writes; see fhir-dmp client list.")
@click.option(
    "--threads",
    default=4,
    show_default=True,
    type=click.IntRange(1, 32),
    help="Bundles that are sent at the same time.",
)
@with_data_dir
@with_operator
@reported
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
    with parts(data_dir, operator) as (server, context), progress_bar() as bar:
        raw = server.tokens.operator_token(client_id, (), operator, context())
        caller = server.tokens.verify_bearer(raw)
        task = bar.add_task("Loading files", total=len(files))
        door = Door(server.perform, lambda: caller.enters(context()), server.store.has_mark)
        summary = load(files, door, lambda outcome: advance(bar, task, outcome), threads)
    _sum_up(summary)


def _sum_up(summary: Summary) -> None:
    out.print(
        f"{summary.resources} resources in {summary.bundles} bundles; {summary.skipped} were loaded before; "
        f"{len(summary.failed)} failed."
    )
    if summary.failed:
        raise click.ClickException("Mend what is named above and run the same command again: the rest is passed over.")
