"""Each rule of the French record has a test that shows it, or a word that stands in its place."""

from __future__ import annotations

import subprocess
import sys

from tests.architecture.tree import ROOT


def test_no_rule_is_without_a_test_or_a_word():
    """The printed table has no hole, and no mark names a rule that nobody knows."""
    done = subprocess.run([sys.executable, "scripts/rules.py"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
