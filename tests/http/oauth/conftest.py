"""Each test has a world of tokens of its own; some begin with an app that has its tokens."""

from __future__ import annotations

import pytest

from tests.oauth_world import given, world

__all__ = ["tokens", "world"]


@pytest.fixture
def tokens(world):
    """An answer of the token endpoint to a patient's app."""
    return given(world)
