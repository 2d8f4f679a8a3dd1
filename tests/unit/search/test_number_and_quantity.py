"""Numbers and quantities: significant digits, prefixes, units. https://hl7.org/fhir/R4/search.html#quantity."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_dmp.errors import FhirError
from tests.unit.search.world import finds, finds_value, row_of

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


IN_GRAMS = {"mg": Fraction(1, 1000), "g": Fraction(1), "[lb_av]": Fraction("453.59237"), "kg": Fraction(1000)}
"""What one of each UCUM unit is in grams; cm is none of them."""

units = st.sampled_from(
    [
        {},
        {"unit": "mg"},
        {"unit": "milligram", "code": "mg", "system": UCUM},
        {"unit": "mg", "code": "mg", "system": UCUM},
        {"code": "mg", "system": "http://snomed.info/sct"},
        {"code": "g", "system": UCUM},
        {"code": "[lb_av]", "system": UCUM, "unit": "g"},
        {"code": "cm", "system": UCUM},
        {"code": "nonsense", "system": UCUM},
        {"code": "mg"},
    ]
)
asked_units = st.sampled_from(
    [
        ("", ""),
        ("", "mg"),
        (UCUM, "mg"),
        ("http://snomed.info/sct", "mg"),
        ("", "milligram"),
        (UCUM, "g"),
        (UCUM, "kg"),
        ("", "nonsense"),
        (UCUM, "nonsense"),
    ]
)


def readings(prefix, asked, target, unit, wanted):
    """Say whether the question finds the quantity: as it is written, or both in grams."""
    (system, code), value = wanted, Fraction(target)
    own = (unit.get("system"), unit.get("code"))
    plain = reading(prefix, asked, value, value)
    if not code:
        return plain
    if system in ("", UCUM) and code in IN_GRAMS and own[0] == UCUM and own[1] in IN_GRAMS:
        value = value * IN_GRAMS[own[1]] / IN_GRAMS[code]
        if reading(prefix, asked, value, value):
            return True
    elif system != "" and (system, code) == own:
        return plain
    if system == "":
        written = {unit.get("unit"), *([own[1]] if own[0] != UCUM or own[1] == "nonsense" else [])}
        return code in written and plain
    return False


@settings(max_examples=600)
@given(prefixes, written, written, units, asked_units)
def test_a_quantity_is_found_by_number_and_unit(prefix, asked, target, unit, wanted):
    """Without a unit any will do; without a system it is UCUM's unit, another's code, or the unit that people read."""
    system, code = wanted
    others = "".join(f',"{name}":"{text}"' for name, text in unit.items())
    resource = f'{{"resourceType":"Observation","valueQuantity":{{"value":{json_number(target)}{others}}}}}'
    question = f"{prefix}{asked}|{system}|{code}" if code else prefix + asked
    expected = readings(prefix, asked, target, unit, wanted)
    assert finds_value("value-quantity", question, resource) == expected
    assert finds_value("combo-value-quantity", question, resource) == expected


@pytest.mark.parametrize(
    ("value", "unit", "question", "expected"),
    [
        ("0.0054", "g", "5.4|mg", True),
        ("5400", "ug", "5.4|mg", True),
        ("5449", "ug", "5.4|mg", True),
        ("5450", "ug", "5.4|mg", False),
        ("1", "g/L", "100|mg/dL", True),
        ("1", "mmol/L", "1|mol/m3", True),
        ("37.0", "Cel", "310.15|K", True),
        ("98.6", "[degF]", "37.0|Cel", True),
        ("98.6", "[degF]", "gt37.0|Cel", False),
        ("60", "/h", "1|/min", True),
        ("60", "/h", "gt1|/min", False),
        ("72", "{beats}/min", "72|/min", True),
        ("140", "mm[Hg]", "gt18|kPa", True),
        ("5", "%", "0.05|1", True),
        ("1", "mol", "gt1000|1", False),
        ("1", "m", "1|s", False),
        ("1", "[iU]", "1|[arb'U]", False),
    ],
)
def test_units_of_one_kind_are_compared_in_canonical_form(value, unit, question, expected):
    """mg finds g; to the digits that the question was written with."""
    resource = f'{{"resourceType":"Observation","valueQuantity":{{"value":{value},"system":"{UCUM}","code":"{unit}"}}}}'
    number, _, code = question.partition("|")
    assert finds_value("value-quantity", f"{number}|{UCUM}|{code}", resource) is expected


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


@pytest.mark.parametrize("unit", ["mg", "m" * 400])
def test_equal_results_written_otherwise_do_not_stand_in_for_each_other(unit):
    """1 and 1.00, with and without a comparator, in one unit or in another: each is kept as it was written, at the second time too."""

    def ranges(digits, comparator="", given=unit):
        told = f',"comparator":"{comparator}"' if comparator else ""
        value = f'{{"value":{digits},"unit":"{given}"{told}}}'
        row = row_of(f'{{"resourceType":"Observation","valueQuantity":{value}}}')
        return [(each["k"], str(each["lo"]), str(each["hi"])) for each in row["r"] if "value-quantity" in each["k"]]

    ways = [("1",), ("1.00",), ("1", "<"), ("1", ">"), ("1", "", "g")]
    first = [ranges(*way) for way in ways]

    assert len({str(each) for each in first}) == len(ways)
    assert [ranges(*way) for way in ways] == first
