"""Each test has a world of tokens of its own."""

from __future__ import annotations

from tests.oauth_world import world

__all__ = ["world"]
