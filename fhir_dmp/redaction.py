"""How a log shows a query: what may stand in the open as one reads it, and a mark for what is cut out."""

from __future__ import annotations

from urllib.parse import quote

CUT = "…"
"""Stands for what is cut out."""


def plain(text: str, also: str = "") -> str:
    """Return a name or a value as a query may hold it: percent-encoded, but for what stands between types, systems, codes and ids.

    ``also`` are other characters that stay.
    """
    return quote(text, f"/:|,{also}")
