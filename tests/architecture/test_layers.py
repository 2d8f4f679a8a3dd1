"""Calls go down, and what only one place may do, only one place does."""

from __future__ import annotations

import ast

from importlinter.cli import lint_imports

from tests.architecture.tree import PACKAGE, ROOT, called, modules, name, tree

CHANCE_AND_TIME = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "uuid.uuid1",
    "uuid.uuid4",
    "uuid4",
}
MIDDLE = ("access", "audit", "definitions", "fhir", "interactions", "search", "service", "validation")
"""Layers that get time and ids as arguments, so that a test can hold them still."""


def test_every_import_goes_the_way_the_contracts_say(monkeypatch, capsys):
    """The contracts of setup.cfg hold, each by its name."""
    monkeypatch.chdir(ROOT)

    code = lint_imports(no_cache=True)

    told = capsys.readouterr().out
    assert "0 broken" in told, told
    assert code == 0


def test_settings_alone_read_the_environment():
    """A variable that a module reads on its own is one that the README does not name; to hand settings on is no reading."""
    readers = {name(path) for path in modules() if _reads_the_environment(path)}

    assert readers == {"fhir_dmp/settings.py"}


def _reads_the_environment(path):
    handed_on = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    updates = {id(func.value) for func in handed_on if isinstance(func, ast.Attribute) and func.attr == "update"}
    return any(
        isinstance(node, ast.Attribute) and id(node) not in updates and ast.unparse(node) in {"os.environ", "os.getenv"}
        for node in ast.walk(tree(path))
    )


def test_values_that_travel_are_of_one_kind():
    """Frozen dataclasses took a tenth of a read to make and to change, and ``dataclasses.replace`` fails on what took their place."""
    makers = {name(path) for path in modules() if _imports(path, "dataclasses")}

    assert makers == set()


def _imports(path, module):
    return any(
        (isinstance(node, ast.ImportFrom) and node.module == module)
        or (isinstance(node, ast.Import) and module in {each.name for each in node.names})
        for node in ast.walk(tree(path))
    )


def test_the_middle_layers_ask_no_clock_and_no_chance():
    """Time and ids are arguments there."""
    askers = {
        f"{name(path)}: {', '.join(sorted(called(path) & CHANCE_AND_TIME))}"
        for path in modules()
        if path.relative_to(PACKAGE).parts[0] in MIDDLE and called(path) & CHANCE_AND_TIME
    }

    assert set() == askers


def test_only_the_door_commits():
    """Records change by one call in one place; the store's own files are below it."""
    committers = {name(path) for path in modules() if any(call.endswith("store.commit") for call in called(path))}

    assert {"fhir_dmp/service/perform.py"} == committers
