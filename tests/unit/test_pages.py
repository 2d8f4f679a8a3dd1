"""The look of pages: what stands on what can be read."""

from __future__ import annotations

import re

import pytest

from fhir_dmp.http.pages.render import _style

COLOURS = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", _style().decode()))


def luminance(colour):
    """Return the relative luminance of WCAG 2.1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Return the contrast ratio of two colours."""
    light, dark = sorted((luminance(COLOURS[one]), luminance(COLOURS[other])), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "paper"),
        ("ink", "ground"),
        ("ink", "error-ground"),
        ("ink", "notice-ground"),
        ("soft", "paper"),
        ("soft", "ground"),
        ("brand", "paper"),
        ("brand", "ground"),
        ("brand", "notice-ground"),
        ("brand-dark", "paper"),
        ("error", "error-ground"),
    ],
)
def test_text_stands_out_from_its_ground(text, ground):
    """WCAG 2.1, 1.4.3 (AA): 4.5 to 1."""
    assert contrast(text, ground) >= 4.5


@pytest.mark.parametrize(("edge", "ground"), [("line", "paper"), ("focus", "paper"), ("focus", "ground")])
def test_fields_and_the_focus_stand_out(edge, ground):
    """WCAG 2.1, 1.4.11 (AA): 3 to 1."""
    assert contrast(edge, ground) >= 3
