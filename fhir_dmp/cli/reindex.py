"""``fhir-dmp reindex``: rows that are there already, indexed by search parameters that are new."""

from __future__ import annotations

from pathlib import Path

import click

from fhir_dmp.cli.common import out, parts, progress_bar, reported, with_data_dir, with_operator


@click.command("reindex")
@click.option(
    "--all", "everything", is_flag=True, help="Index every row by every parameter, as after an upgrade that says so."
)
@with_data_dir
@with_operator
@reported
def reindex_command(data_dir: Path | None, operator: str, everything: bool) -> None:  # noqa: FBT001 - a flag of the command line
    """Index what is stored by SearchParameters that were posted, or that stand under profiles/.

    Beside a running server: people read and write meanwhile, and the new parameters answer as soon as it is done. A run that was cut is
    simply started again and goes on where it was.
    """
    with parts(data_dir, operator) as (server, context), progress_bar() as bar:
        task = bar.add_task("Indexing rows", total=None)
        report = server.reindexer.reindex(
            context(), lambda done, total: bar.update(task, completed=done, total=total), everything=everything
        )
    for url, reason in sorted(report.refused.items()):
        out.print(f"{url} is not supported: {reason}.", markup=False, soft_wrap=True)
    for url in report.complete:
        out.print(f"{url} answers now.", markup=False, soft_wrap=True)
    for url in report.dropped:
        out.print(f"{url} is no longer there.", markup=False, soft_wrap=True)
    out.print(f"{report.changed} of {report.rows} rows changed.")
