"""``fhir-dmp demo``: the same, with invented patients."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from fhir_dmp.app.running import Running, open_server, telling_metrics
from fhir_dmp.cli.common import advance, out, progress_bar, reported, settings_of, with_address, with_data_dir
from fhir_dmp.demo.people import LOGINS, PASSWORD, TOTP
from fhir_dmp.serve import reached_at, require_port
from fhir_dmp.serve import serve as run_server


@click.command()
@with_address
@click.option(
    "--patients", default=20, show_default=True, type=click.IntRange(0, 100_000), help="Synthetic patients to load."
)
@click.option("--seed", default=1, show_default=True, type=int, help="The same seed makes the same patients.")
@with_data_dir
@reported
def demo(host: str, port: int, workers: int, patients: int, seed: int, data_dir: Path | None) -> None:
    """Serve with synthetic French patients and a client to try with.

    \b
    For example, with 200 patients in a folder of their own:
      fhir-dmp demo --patients 200 --data-dir demo
      curl -H "Authorization: Bearer $(fhir-dmp token demo-ehr --data-dir demo)" http://127.0.0.1:8000/fhir/Patient
    """  # noqa: D301 - click leaves the lines of a paragraph alone that begins with this character
    settings = settings_of(data_dir)
    require_port(host, port)
    with Running.start(settings, reached_at(host, port)) as running:
        from fhir_dmp.service.demo import BUNDLES, prepare_demo  # noqa: PLC0415 - it is loaded while the database starts

        notice = running.wait()
        if notice:
            out.print(notice)
        with open_server(running.settings) as server, progress_bar() as bar:
            task = bar.add_task("Loading patients", total=patients + BUNDLES)
            prepare_demo(server, patients, seed, lambda outcome: advance(bar, task, outcome))
        _tell(reached_at(host, port), settings.data_dir)
        with telling_metrics(running.settings):
            run_server(running.settings, host=host, port=port, workers=workers)


def _tell(base: str, data_dir: Path) -> None:
    token = shlex.join([*_this_program(), "token", "demo-ehr", "--data-dir", str(data_dir.absolute())])
    bearer = 'curl -H "Authorization: Bearer $TOKEN"'
    out.print(f"\nOpen      {base}/docs", f"Metadata  {base}/fhir/metadata", sep="\n")
    out.print(f"Sign in   {base}/oauth/sign-in")
    out.print(f"          as {LOGINS[0]} (a patient), password: {PASSWORD}")
    out.print(f"          or as {', '.join(LOGINS[1:])}; professionals' second factor has the secret {TOTP}:")
    out.print(f"          {shlex.join([sys.executable, '-c', _CODE])}\n\nIn another terminal:", soft_wrap=True)
    out.print(f"  TOKEN=$({token})")
    out.print(f'  {bearer} "{base}/fhir/Patient?_count=2&_pretty=true"')
    out.print(f'  {bearer} "{base}/fhir/Observation?code=http://loinc.org|718-7&_count=3"\n')


_CODE = f"import pyotp; print(pyotp.TOTP('{TOTP}').now())"
"""Shows the code of the demonstration's professionals, as their telephones would."""


def _this_program() -> list[str]:
    """Return the words that call this program again, from whatever folder."""
    own = Path(sys.argv[0]).absolute()
    return [sys.executable, "-m", "fhir_dmp.cli"] if own.suffix == ".py" else [str(own)]
