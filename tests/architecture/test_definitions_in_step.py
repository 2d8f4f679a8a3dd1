"""The committed tables are what the sources give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_are_in_step_with_their_sources():
    """scripts/build_definitions.py --check."""
    command = [sys.executable, ROOT / "scripts" / "build_definitions.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
