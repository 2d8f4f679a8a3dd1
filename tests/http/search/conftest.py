"""What searches find: a world of a test's own, and one that the tests of a module only ask."""

from __future__ import annotations

import pytest

from tests.search_world import filled


@pytest.fixture
def world(ehr):
    """Two patients, their doctor, hospital, observations and a report."""
    return filled(ehr)


@pytest.fixture(scope="module")
def still_world(still_ehr):
    """The same, for all that only ask."""
    return filled(still_ehr)
