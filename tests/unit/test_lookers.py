"""Processes that look through windows end with whoever asks, also if that is early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROUNDS = 60
_ASKS = """
from fhir_dmp.audit.lookers import lookers
from tests.unit.test_lookers import Number

if __name__ == "__main__":
    for _ in range({rounds}):
        with lookers(2) as looking:
            found = looking(Number(each) for each in range(6))
            assert next(found)[1] == 0
            found.close()
    print("ended")
"""


class Number:
    """A window that holds its number."""

    def __init__(self, number):
        self.number = number

    def look(self):
        """Return the number."""
        return self.number


def test_whoever_has_seen_enough_is_not_kept_waiting(tmp_path):
    """A verification ends at its twentieth finding, with windows still under way; a process of its own, since it would hang for ever."""
    script = tmp_path / "asks.py"
    script.write_text(_ASKS.format(rounds=_ROUNDS))
    root = Path(__file__).resolve().parents[2]

    done = subprocess.run(
        [sys.executable, script],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout == "ended\n", done.stderr
