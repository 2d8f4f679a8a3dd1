"""UCUM: what a unit means in base units. https://ucum.org/ucum."""

from __future__ import annotations

import json
import lzma
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_dmp.definitions.units import canonical

CORE = Path(__file__).parents[3] / "profiles" / "hl7.fhir.r4.core"


@pytest.mark.parametrize(
    ("code", "base", "factor"),
    [
        ("mg", "g", "1/1000"),
        ("mg/dL", "g.m-3", "10"),
        ("10*3/uL", "m-3", "1000000000000"),
        ("/min", "s-1", "1/60"),
        ("mm[Hg]", "g.m-1.s-2", "133322"),
        ("kg/m2", "g.m-2", "1000"),
        ("mg/(24.h)", "g.s-1", "1/86400000"),
        ("m[iU]/mL", "[iU].m-3", "1000"),
        ("[lb_av]", "g", "45359237/100000"),
        ("%", "1", "1/100"),
        ("{score}", "1", "1"),
        ("meq/L", "m-3.mol", "1"),
        ("J", "g.m2.s-2", "1000"),
    ],
)
def test_a_unit_is_a_factor_of_base_units(code, base, factor):
    """Prefixes, products, quotients, powers, brackets, annotations; exact fractions."""
    unit = canonical(code)
    assert unit is not None
    assert (unit.base, unit.factor, unit.offset) == (base, Fraction(factor), 0)


def test_every_common_unit_of_r4_is_understood():
    """The value set ucum-common has more than a thousand."""
    with lzma.open(CORE / "valuesets.json.xz") as file:
        resources = [entry["resource"] for entry in json.load(file)["entry"]]
    common = next(each for each in resources if each.get("url") == "http://hl7.org/fhir/ValueSet/ucum-common")
    codes = [concept["code"] for concept in common["compose"]["include"][0]["concept"]]
    assert len(codes) > 1000
    assert [code for code in codes if canonical(code) is None] == []


@pytest.mark.parametrize(
    "code", ["", "xyz", "mg/", "(", "((", ")", "mg mg", "kmm", "m+", "Cel.m", "Cel2", "10*999999", "m" * 200, "(" * 90]
)
def test_what_is_no_unit_is_none(code):
    """Nor is what would take long to work out."""
    assert canonical(code) is None


@given(st.text("mgL/.()[]{}10*-+^%'é ", max_size=30))
def test_no_text_breaks_the_reader(code):
    """A unit, or None."""
    unit = canonical(code)
    assert unit is None or unit.factor > 0
