"""``fhir-dmp audit``: the log's proofs, for operators and for those who do not trust them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
from rich.progress import Progress

from fhir_dmp.app import open_sealing
from fhir_dmp.cli.common import out, progress_bar, reported, settings_of, with_data_dir
from fhir_dmp.service.audit_verify import BrokenHeadError, PublicKey, Published, Report, verify_database


@click.group()
def audit() -> None:
    """Verify the log."""


@audit.command()
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Public key (PEM) that you trust; by default that of the data folder.",
)
@click.option(
    "--heads",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File of published heads; by default that of the data folder.",
)
@with_data_dir
@reported
def verify(key: Path | None, heads: Path | None, data_dir: Path | None) -> None:
    """Check the log against its published heads, and name the first row that is not as it was.

    The exit code is 1 if anything is wrong.
    """
    with open_sealing(settings_of(data_dir)) as sealing:
        public = PublicKey.from_pem((key or sealing.keys.public_path).read_bytes())
        published = Published(partial(_lines, heads or sealing.sink.path), public)
        with progress_bar() as bar:
            try:
                report = verify_database(sealing.ledger, published, partial(_started, bar))
            except BrokenHeadError as fault:
                raise click.ClickException(f"The heads do not hold: {fault}.") from None
    _tell(report)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]


def _started(bar: Progress, leaves: int) -> Callable[[int], None]:
    return partial(bar.advance, bar.add_task("Verifying", total=leaves))


def _tell(report: Report) -> None:
    for finding in report.findings:
        out.print(str(finding), markup=False, soft_wrap=True)
    if report.findings:
        raise click.ClickException(f"The log is not what was signed: {report.findings[0]}.")
    out.print(
        f"{report.leaves} events verified against {report.heads} signed heads; {report.unsealed} wait for the next head."
    )
