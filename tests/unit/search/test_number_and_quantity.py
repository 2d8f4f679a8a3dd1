"""Numbers and quantities: significant digits, prefixes, units. https://hl7.org/fhir/R4/search.html#quantity."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError
from tests.unit.search.world import finds, finds_value

UCUM = "http://unitsofmeasure.org"
digits = st.integers(0, 400).map(str)
written = st.one_of(
    digits,
    st.builds(
        lambda whole, part: f"{whole}.{part}", digits, st.sampled_from(["0", "00", "5", "50", "05", "49", "999"])
    ),
    st.builds(
        lambda whole, part, power: f"{whole}.{part}e{power}",
        st.integers(1, 9),
        st.sampled_from(["0", "05", "40"]),
        st.integers(-2, 2),
    ),
)
signed = st.builds(lambda minus, text: ("-" if minus else "") + text, st.booleans(), written)
prefixes = st.sampled_from(["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])


def around(text):
    """Return the half-open span of what equals the number to half a unit of the last digit that is written."""
    mantissa, _, power = text.lower().partition("e")
    places = len(mantissa.partition(".")[2])
    unit = Fraction(10) ** (int(power or 0) - places)
    half = unit / 2 if unit <= 1 else unit / 20
    return Fraction(text) - half, Fraction(text) + half


def reading(prefix, text, low, high):
    """Say what the prefix asks of a target that reaches from ``low`` to ``high``; gt and its like know no precision."""
    asked, (start, end) = Fraction(text), around(text)
    return {
        "eq": start <= low and high < end,
        "ne": low < start or high >= end,
        "gt": high > asked,
        "lt": low < asked,
        "ge": high >= asked,
        "le": low <= asked,
        "sa": low > asked,
        "eb": high < asked,
        "ap": low <= asked + abs(asked) / 10 and high >= asked - abs(asked) / 10,
    }[prefix or "eq"]


def json_number(text):
    """Return the number as JSON writes it: an integer without leading signs of nothing."""
    return text if "e" in text or "." in text else str(int(text))


@settings(max_examples=400)
@given(prefixes, signed, signed)
def test_a_number_is_found_as_its_digits_say(prefix, asked, target):
    """RiskAssessment.probability is a decimal."""
    resource = f'{{"resourceType":"RiskAssessment","prediction":[{{"probabilityDecimal":{json_number(target)}}}]}}'
    assert finds_value("probability", prefix + asked, resource) == reading(
        prefix, asked, Fraction(target), Fraction(target)
    )


@settings(max_examples=200)
@given(prefixes, signed, st.tuples(st.integers(-50, 400), st.integers(0, 60)))
def test_a_range_is_found_as_its_ends_say(prefix, asked, span):
    """RiskAssessment.probability may be a Range."""
    low, high = span[0], span[0] + span[1]
    resource = f'{{"resourceType":"RiskAssessment","prediction":[{{"probabilityRange":{{"low":{{"value":{low}}},"high":{{"value":{high}}}}}}}]}}'
    assert finds_value("probability", prefix + asked, resource) == reading(prefix, asked, low, high)


@pytest.mark.parametrize(
    ("question", "inside", "outside"),
    [
        ("100", ["99.5", "100", "100.4999"], ["99.4999", "100.5"]),
        ("100.00", ["99.995", "100.0049"], ["99.99", "100.005"]),
        ("1e2", ["95", "104.99"], ["94.9", "105"]),
        ("lt100", ["99.9999"], ["100"]),
        ("ge100", ["100", "101"], ["99.9999"]),
        ("5.40e-3", ["0.005395", "0.0054"], ["0.005405", "0.00539"]),
        ("gt8e-1", ["0.81"], ["0.8"]),
    ],
)
def test_the_examples_of_the_standard_hold(question, inside, outside):
    """Those of the section on numbers."""
    for text, expected in [*((each, True) for each in inside), *((each, False) for each in outside)]:
        resource = f'{{"resourceType":"RiskAssessment","prediction":[{{"probabilityDecimal":{text}}}]}}'
        assert finds(f"probability={question}", resource) is expected, text


units = st.sampled_from(
    [
        {},
        {"unit": "mg"},
        {"unit": "milligram", "code": "mg", "system": UCUM},
        {"unit": "mg", "code": "mg", "system": UCUM},
        {"code": "mg", "system": "http://snomed.info/sct"},
        {"code": "g", "system": UCUM},
        {"code": "mg"},
    ]
)
asked_units = st.sampled_from(
    [("", ""), ("", "mg"), (UCUM, "mg"), ("http://snomed.info/sct", "mg"), ("", "milligram"), (UCUM, "g")]
)


@settings(max_examples=300)
@given(prefixes, written, written, units, asked_units)
def test_a_quantity_is_found_by_number_and_unit(prefix, asked, target, unit, wanted):
    """Without a unit any will do; without a system it is the code or the unit that people read."""
    system, code = wanted
    fits = (
        code == ""
        or (system == "" and code in (unit.get("code"), unit.get("unit")))
        or (system != "" and (system, code) == (unit.get("system"), unit.get("code")))
    )
    others = "".join(f',"{name}":"{text}"' for name, text in unit.items())
    resource = f'{{"resourceType":"Observation","valueQuantity":{{"value":{json_number(target)}{others}}}}}'
    question = f"{prefix}{asked}|{system}|{code}" if code else prefix + asked
    expected = fits and reading(prefix, asked, Fraction(target), Fraction(target))
    assert finds_value("value-quantity", question, resource) == expected
    assert finds_value("combo-value-quantity", question, resource) == expected


def test_a_comparator_opens_the_value():
    """Below 5 may be anything below."""
    resource = {"resourceType": "Observation", "valueQuantity": {"value": 5, "comparator": "<"}}
    assert finds("value-quantity=lt1", resource)
    assert not finds("value-quantity=gt6", resource)
    assert not finds("value-quantity=5", resource)


def test_money_is_found_by_its_currency():
    """Money has a currency and no unit."""
    resource = {"resourceType": "Invoice", "totalGross": {"value": 48, "currency": "EUR"}}
    assert finds("totalgross=48", resource)
    assert finds("totalgross=48||EUR", resource)
    assert finds_value("totalgross", "gt40|urn:iso:std:iso:4217|EUR", resource)
    assert not finds("totalgross=48||USD", resource)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        "1_000",
        "NaN",
        "Infinity",
        "0x10",
        "1e9999999",
        "1e6100",
        "--1",
        "5|mg",
        "5|a|b|c",
        f"5|{UCUM}|",
        "1,",
    ],
)
def test_what_is_no_quantity_is_refused(value):
    """400, never a guess: but an empty alternative says nothing."""
    if value == "1,":
        assert finds("value-quantity=1,", {"resourceType": "Observation", "valueQuantity": {"value": 1}})
        return
    with pytest.raises(FhirError) as refusal:
        finds_value("value-quantity", value, {"resourceType": "Observation"})
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "number", ["1e7000", "-1e7000", "1e-7000", "1e99999999999999999999", "1" * 900, "0." + "1" * 900]
)
def test_a_number_beyond_all_bounds_is_kept_at_the_bound(number):
    """It indexes and is found beyond all others."""
    resource = f'{{"resourceType":"Observation","valueQuantity":{{"value":{number}}}}}'
    assert finds("value-quantity=gt1e30", resource) == (number in ("1e7000", "1e99999999999999999999", "1" * 900))


def test_a_missing_quantity_is_missing():
    """:missing tells both ways."""
    assert finds("value-quantity:missing=true", {"resourceType": "Observation", "valueString": "x"})
    assert finds(
        "value-quantity:missing=false", {"resourceType": "Observation", "valueQuantity": {"value": 1, "unit": "mg"}}
    )
    assert finds(
        "combo-value-quantity:missing=false",
        {"resourceType": "Observation", "component": [{"valueQuantity": {"value": 1}}]},
    )
