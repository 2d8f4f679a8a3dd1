"""Print how fast the Python is that runs this, and where it lies.

The speed is microseconds of processor time for a fixed piece of work, the best of some turns. Builds of one version differ: with one without
profile-guided optimisation each request costs the server a fifth to a third more. ``scripts/venv`` asks each Python that it finds. Ends with 1
where the Python is older than 3.11, or cannot make virtual environments.
"""

import sys
import time
from importlib.util import find_spec

TURNS = 12
ROWS = 2_000


class _Row:
    __slots__ = ("name", "number")

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number


def _work() -> dict[str, str]:
    made = {}
    for number in range(ROWS):
        row = _Row(str(number), number)
        given = [each for each in (row.name, row.number) if each]
        made[row.name] = ",".join(sorted(str(each) for each in given))
    return made


def _turn() -> float:
    begun = time.process_time()
    _work()
    return time.process_time() - begun


if sys.version_info < (3, 11) or not (find_spec("venv") and find_spec("ensurepip")):
    sys.exit(1)
print(round(min(_turn() for _ in range(TURNS)) * 1e6), getattr(sys, "_base_executable", sys.executable))
