"""What a reader may count on in every file."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.tree import PACKAGE, ROOT, modules, name, suite, tree

WORDS_OF_A_STANDARD = (
    *("interactions", "search/types", "fhir"),
    *("oauth/rfc7523.py", "oauth/client_credentials.py", "oauth/metadata.py", "oauth/jwks.py", "oauth/tokens.py"),
    *("oauth/code_grant.py", "oauth/pkce.py", "oauth/refresh_grant.py", "oauth/introspection.py", "oauth/id_token.py"),
    *("oauth/client_secret.py", "oauth/authentication.py", "oauth/launch.py", "oauth/form.py"),
)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplemented|/[w]ork/|@pytest\.mark\.(skip|xfail)\b(?!if)")
UNREASONED = re.compile(r"# noqa(: [A-Z0-9, ]+)?$", re.MULTILINE)


def _of_a_standard():
    for place in WORDS_OF_A_STANDARD:
        path = PACKAGE / place
        yield from (
            each for each in (sorted(path.glob("*.py")) if path.is_dir() else [path]) if each.name != "__init__.py"
        )


def _sources():
    own = ROOT / "tests" / "architecture"
    for folder in ("fhir_dmp", "scripts", "tests"):
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if own not in path.parents)


@pytest.mark.parametrize("path", modules(), ids=name)
def test_a_module_says_what_it_is_for(path):
    """The first line is a sentence."""
    first = (ast.get_docstring(tree(path)) or "").partition("\n")[0]

    assert re.search(r"[.:,]$", first)
    assert re.match(r"[A-Z`]", first)


@pytest.mark.parametrize("path", list(_of_a_standard()), ids=name)
def test_a_file_that_is_a_word_of_a_standard_links_to_it(path):
    """Who doubts a line can read what it stands on."""
    assert re.search(r"https://\S+", ast.get_docstring(tree(path)) or "")


def test_links_are_written_as_links():
    """A docstring's link begins in small letters, as readers' tools expect."""
    assert [name(path) for path in _sources() if re.search(r"\bHttps?:", path.read_text())] == []


def test_nothing_waits_to_be_finished():
    """No note for later, no stub, no test that is left out, no path of one machine."""
    found = [f"{name(path)}: {match[0]}" for path in _sources() for match in UNFINISHED.finditer(path.read_text())]

    assert found == []


def test_a_suppressed_warning_says_why():
    """After the rule's code stands a reason."""
    assert [
        name(path) for path in _sources() if "tests" not in path.parts and UNREASONED.search(path.read_text())
    ] == []


@pytest.mark.parametrize("path", suite(), ids=name)
def test_a_test_is_a_sentence_with_a_reason(path):
    """Each has a name of several words and a docstring that says more."""
    cases = [
        node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]

    assert cases
    assert [case.name for case in cases if case.name.count("_") < 3 or not ast.get_docstring(case)] == []
