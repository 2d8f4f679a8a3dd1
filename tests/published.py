"""Files that others publish, beside the repository: as parameters of tests that read them one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
"""Where they are, if they are: no part of the repository."""


def examples(folder, pattern):
    """Return the files of a folder of ``SHARED``; where that is absent, one parameter that is skipped and says so.

    A folder that is there and holds no such file is a fault: its tests would be none, and nobody would see it.
    """
    place = SHARED / folder
    if not place.is_dir():
        return [pytest.param(place, marks=pytest.mark.skip(reason=f"needs {pattern} of ../shared/data/{folder}"))]
    found = sorted(place.glob(pattern))
    if not found:
        raise AssertionError(f"There is no {pattern} in ../shared/data/{folder}.")
    return found
