"""Each test has a world of tokens of its own; some begin with an app that has its tokens. People at an application have a record."""

from __future__ import annotations

import pytest

from tests.http.oauth.people import doctor, feed, holder, operator, patient, phone, server
from tests.oauth_world import given, world

__all__ = ["doctor", "feed", "holder", "operator", "patient", "phone", "server", "tokens", "world"]


@pytest.fixture
def tokens(world):
    """An answer of the token endpoint to a patient's app."""
    return given(world)
