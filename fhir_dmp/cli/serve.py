"""``fhir-dmp serve``: the record system."""

from __future__ import annotations

from pathlib import Path

import click

from fhir_dmp.app.running import Running, telling_metrics
from fhir_dmp.cli.common import err, reported, settings_of, with_address, with_data_dir
from fhir_dmp.serve import listens_everywhere, reached_at, require_port
from fhir_dmp.serve import serve as run_server


@click.command()
@with_address
@with_data_dir
@reported
def serve(host: str, port: int, workers: int, data_dir: Path | None) -> None:
    """Serve the record system; it starts empty.

    Register a client first or beside it: fhir-dmp client add --help
    """
    settings = settings_of(data_dir)
    require_port(host, port)
    here = reached_at(host, port)
    if listens_everywhere(host) and not settings.public_url:
        err.print(
            f"Clients are told {here}, which others do not reach: set DMP_PUBLIC_URL to where they reach this server.",
            soft_wrap=True,
        )
    with Running.start(settings, here) as running:
        from fhir_dmp.app.fitness import require_fit  # noqa: PLC0415 - it is loaded while the database starts

        running.wait()
        require_fit(running.settings)
        with telling_metrics(running.settings):
            run_server(running.settings, host=host, port=port, workers=workers)
