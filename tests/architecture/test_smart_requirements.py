"""What SMART App Launch asks of a server, one by one: the table says how each stands, and this holds the table to the tests."""

from __future__ import annotations

import csv
import re
from collections import Counter

import pytest

from tests.architecture.tree import ROOT, suite

TABLE = ROOT / "docs" / "smart-app-launch.csv"
SOURCE = ROOT / "../shared/data/smart/smart_app_launch_test_kit_requirements.csv"
STATUSES = {"met", "operator", "not offered", "no"}


def _rows():
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_requirement_has_a_status_and_what_shows_it():
    """A status of the list, and a test or a reason."""
    rows = _rows()

    assert len(rows) == len({row["id"] for row in rows}) > 200
    assert {row["status"] for row in rows} == STATUSES
    assert [row["id"] for row in rows if not row["shown by"]] == []


def test_the_tests_that_the_table_names_are_there():
    """Who renames a test renames it in the table."""
    there = {name for path in suite() for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    named = {row["shown by"] for row in _rows() if row["shown by"].startswith("test_")}

    assert named
    assert named - there == set()


def test_what_the_readme_is_said_to_tell_stands_there():
    """A requirement on documentation points to the words that meet it."""
    readme = (ROOT / "README.md").read_text()
    told = [row["shown by"].removeprefix("README.md: ") for row in _rows() if row["shown by"].startswith("README.md")]

    assert told
    assert [words for words in told if words not in readme] == []


def test_the_readme_counts_as_the_table_does():
    """The figures in the README are those of the table."""
    readme = (ROOT / "README.md").read_text()
    line = re.search(r"\(`docs/smart-app-launch\.csv`\): (.+)\.", readme)
    told = {name: int(count) for count, name in re.findall(r"(\d+) ([a-z ]+)", line[1])}

    assert told == dict(Counter(row["status"] for row in _rows()))


@pytest.mark.skipif(not SOURCE.exists(), reason="the requirement lists are not beside this tree")
@pytest.mark.parametrize("version", ["2.0.0", "2.2.0"])
def test_the_table_leaves_out_no_requirement_of_a_server(version):
    """Those of both versions have the same numbers."""
    with SOURCE.open(encoding="utf-8-sig", newline="") as file:
        asked = {
            row["ID"] for row in csv.DictReader(file) if row["Req Set"].endswith(version) and row["Actors"] == "Server"
        }

    assert {row["id"] for row in _rows()} == asked
