"""``fhir-dmp record``: what an administrator does for records; no clinical content is shown."""

from __future__ import annotations

from pathlib import Path

import click

from fhir_dmp.cli.common import out, parts, progress_bar, reported, with_data_dir, with_operator
from fhir_dmp.service.twins import twins
from fhir_dmp.service.upkeep import erase_closed, write_notices


@click.group()
def record() -> None:
    """Write the notices that fall due, remove records whose time is over, list those that share one INS."""


@record.command("notices")
@with_data_dir
@with_operator
@reported
def record_notices(data_dir: Path | None, operator: str) -> None:
    """Tell holders of what was hidden from them two weeks ago, and of authorisations that end within two weeks.

    Run it once a day. Nobody is told twice.
    """
    with parts(data_dir, operator) as (server, context), progress_bar() as bar:
        task = bar.add_task("Writing notices", total=None)
        written = 0
        for count in write_notices(server.perform, context):
            written += count
            bar.update(task, completed=written)
    out.print(f"{written} notices were written.")


@record.command("erase")
@with_data_dir
@with_operator
@reported
def record_erase(data_dir: Path | None, operator: str) -> None:
    """Remove for good the records that were closed ten years ago or longer. The log of accesses stays, with an event for each.

    That somebody looked for them is an event of its own, due or not.
    """
    with parts(data_dir, operator) as (server, context), progress_bar() as bar:
        task = bar.add_task("Removing records", total=None)
        removed = 0
        for patient, stays in erase_closed(server.perform, server.announce, context, server.env):
            removed += stays is None
            bar.update(task, completed=removed)
            if stays is not None:
                bar.console.print(f"{patient}: {stays}", markup=False, soft_wrap=True)
    out.print(f"{removed} records were removed.")


@record.command("twins")
@with_data_dir
@with_operator
@reported
def record_twins(data_dir: Path | None, operator: str) -> None:
    """List the Patients that share one INS, those of each number on a line, the oldest first.

    Since a second Patient with an INS is refused there are none but from before. No number is shown; each that is named has a trace of it.
    """
    with parts(data_dir, operator) as (server, context):
        shared = 0
        for number, group in enumerate(twins(context, server.env), start=1):
            out.print(" ".join(map(str, group)))
            shared = number
    out.print(f"{shared} INS {'is' if shared == 1 else 'are'} shared by several Patients.")
