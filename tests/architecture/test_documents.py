"""Documents are tested: what they name is there, and what is there they name."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from msgspec.structs import fields

from fhir_dmp import cli
from fhir_dmp.cli import main
from fhir_dmp.settings import OFF_BY_ZERO, Limits, Readings, Settings
from tests.architecture.tree import PACKAGE, ROOT

README = (ROOT / "README.md").read_text()
SETTINGS = dict(re.findall(r"^\| `(DMP_[A-Z_]+)` \| ([^|]+?) \|", README, re.MULTILINE))
SPOKEN = {
    "empty",
    "where it listens",
    "`DATA_DIR/secret`",
    "`DMP_MONGODB_URI`",
    "`DATA_DIR/audit/heads.key`",
    "`DATA_DIR/audit/heads.ndjson`",
}
"""Defaults that the README tells in words."""


def test_the_readme_lists_every_setting_and_no_other():
    """The table and the settings are the same list."""
    assert set(Settings().to_env()) == set(SETTINGS)


@pytest.mark.parametrize("variable", sorted(SETTINGS))
def test_the_readme_tells_the_defaults(variable):
    """A default in the table is the one in the code, unless words stand there."""
    told = SETTINGS[variable]

    assert told in SPOKEN or told.strip("`") == Settings().to_env()[variable]


def test_what_is_switched_off_by_0_takes_it_and_nothing_else_does():
    """The README says of a setting what 0 does where it does something."""
    said = set(re.findall(r"^\| `(DMP_[A-Z_]+)` \|.*\b0: ", README, re.MULTILINE))

    assert said <= OFF_BY_ZERO <= set(SETTINGS)
    for variable in OFF_BY_ZERO:
        assert Settings.from_env({variable: "0"}).to_env()[variable] == "0"
    with pytest.raises(ValueError, match="more than 0"):
        Settings.from_env({"DMP_THREADS": "0"})


@pytest.mark.parametrize("each", [*fields(Settings), *fields(Limits), *fields(Readings)], ids=lambda each: each.name)
def test_every_setting_is_used(each):
    """A setting without effect would be a lie."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "settings.py"]

    assert any(re.search(rf"\.{each.name}\b", text) for text in sources)


def test_files_that_the_readme_names_are_there():
    """A path in the README leads somewhere."""
    paths = set(re.findall(r"`((?:fhir_dmp|scripts|tests|profiles)/[\w./-]+)`", README))

    assert paths
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_modules_of_the_journeys_are_there():
    """How a request travels is told by modules that exist."""
    journeys = README.partition("## How a request travels")[2].partition("\n## ")[0]
    steps = {
        step
        for step in re.findall(r"`([a-z0-9_]+(?:\.[a-z0-9_]+)*)`", journeys)
        if "." in step and not step.endswith(".py")
    }

    assert steps
    assert sorted(step for step in steps if not _is_there(step)) == []


def _is_there(step):
    """Tell whether the dotted name is a module, or something that a module holds."""
    path = PACKAGE / step.replace(".", "/")
    holder, _, held = step.rpartition(".")
    module = PACKAGE / f"{holder.replace('.', '/')}.py"
    return (
        path.is_dir() or path.with_suffix(".py").exists() or (module.exists() and f"def {held}(" in module.read_text())
    )


COMMANDS = {name: main.get_command(click.Context(main), name) for name in main.list_commands(click.Context(main))}


def test_what_the_list_of_commands_says_of_each_is_what_it_says_itself():
    """The list is told without loading any of them, so it is kept beside them."""
    listed = CliRunner().invoke(main, ["--help"]).output

    for name, command in COMMANDS.items():
        assert cli.COMMANDS[name][1] == " ".join(command.help.split("\n\n")[0].split("\n")), name
        assert name in listed


def test_the_list_of_commands_loads_nothing_of_what_they_do():
    """Whoever looks for a command waits for no database driver, and no table of R4."""
    words = "import sys\nfrom fhir_dmp.cli import main\nmain(['--help'], standalone_mode=False)\n"
    words += "print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, timeout=60)

    loaded = done.stdout.splitlines()[-1].split()
    assert [each for each in loaded if each.startswith("fhir_dmp.")] == ["fhir_dmp.cli"]
    assert not {"pymongo", "flask", "granian", "rich"} & set(loaded)


def test_a_worker_loads_what_asks_others_when_it_asks_somebody():
    """Most ask nobody, and each of them would wait for a client of HTTP at its start."""
    words = "import sys\nimport fhir_dmp.wsgi\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, timeout=60)

    assert not {"requests", "urllib3", "fhir.resources", "pydantic"} & set(done.stdout.split())


def test_every_command_is_in_the_readme_and_explains_itself():
    """Nobody has to read the code to find a command."""
    for name, command in COMMANDS.items():
        assert command.help
        assert re.search(rf"(fhir-dmp|scripts/run)[^`]*\b{name}\b|`[^`]*\b{name}\b", README), name


def test_every_option_that_is_asked_for_more_than_its_name_has_help():
    """An option whose name does not say all says the rest."""
    silent = {"host", "port", "kind", "redirect_uri", "threads", "version", "help"}
    options = [
        parameter
        for command in COMMANDS.values()
        for leaf in (command.commands.values() if isinstance(command, click.Group) else (command,))
        for parameter in leaf.params
        if isinstance(parameter, click.Option) and parameter.name not in silent
    ]

    assert options
    assert [option.name for option in options if not option.help] == []


def test_the_changelog_tells_of_security():
    """The headings are those of Keep a Changelog, Security among them."""
    headings = set(re.findall(r"^### (\w+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE))

    assert "Security" in headings
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
