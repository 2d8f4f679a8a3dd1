"""The world of people who sign in."""

from __future__ import annotations

import pytest

from tests.sign_in_world import opened_sign_in_world


@pytest.fixture
def world(mongodb_uri, database_name):
    """One database, and as many workers as a test wants."""
    with opened_sign_in_world(mongodb_uri, database_name) as made:
        yield made
