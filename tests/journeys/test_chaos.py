"""A short chaos: what `scripts/chaos` does at length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHAOS = Path(__file__).parents[2] / "scripts" / "chaos.py"


def test_nothing_acknowledged_is_lost_when_processes_are_killed():
    """The database and a worker are killed under clients: each acknowledged act has its one event, and the log verifies."""
    words = [sys.executable, CHAOS, "--kills", "2", "--clients", "8", "--seconds", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "acknowledged acts without their event  0" in done.stdout
    assert "chains and tree                        whole" in done.stdout
