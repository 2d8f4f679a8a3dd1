"""The command line: each command acts as a named operator, through the doors, and leaves its events."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "serve": ("serve:serve", "Serve the record system; it starts empty."),
    "demo": ("demo:demo", "Serve with synthetic French patients and a client to try with."),
    "client": ("client:client", "Register, list and remove the systems that may ask for tokens."),
    "account": ("account:account", "Add, list, change and remove the people who may sign in."),
    "access": ("access:access", "Explain who may see what."),
    "token": ("token:token", "Print a short-lived bearer token for CLIENT_ID, for curl."),
    "load": ("load:load_command", "Load files of records as one of the clients."),
    "audit": ("audit:audit", "Export the log, prove what is in it, verify it."),
    "reindex": (
        "reindex:reindex_command",
        "Index what is stored by SearchParameters that were posted, or that stand under profiles/.",
    ),
    "record": (
        "record:record",
        "Write the notices that fall due, remove records whose time is over, list those that share one INS.",
    ),
}
"""Where each command is, and the first sentence of its help."""


class _Commands(click.Group):
    """Commands that are loaded when they are called: to list them takes none of what they do."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which they are wanted."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, loaded with what it does."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
