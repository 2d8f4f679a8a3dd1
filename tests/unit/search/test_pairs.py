"""A patient's resources of one code are found by one token, whatever way they are asked for."""

from __future__ import annotations

import pytest

from fhir_dmp.store.query import And, In, kept, matches
from tests.unit.search.world import query_of, row_of

GLUCOSE = {
    "resourceType": "Observation",
    "id": "glucose",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}, {"code": "glu"}]},
    "subject": {"reference": "Patient/p"},
}
PAIR = "Observation.patient+code:Patient/p+http://loinc.org|2339-0"


@pytest.mark.parametrize(
    "patient", ["patient=Patient/p", "patient=p", "subject=Patient/p", "subject:Patient=p", "patient:Patient=p"]
)
def test_a_patient_and_a_code_are_asked_for_as_one(patient):
    """By whichever parameter names the patient; nothing else of them is asked."""
    query = query_of("Observation", f"{patient}&code=http://loinc.org|2339-0")

    assert PAIR in str(query)
    assert "Observation.code=" not in str(query)
    assert "Observation.subject=" not in str(query)
    assert matches(query, row_of(GLUCOSE))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("patient=p&code=2339-0", True),
        ("patient=p&code=glu", True),
        ("patient=p&code=|glu", True),
        ("patient=p&code=http://loinc.org|", True),
        ("patient=p,q&code=1234-5,2339-0", True),
        ("patient=p&code=http://loinc.org|2339-0&status=final", True),
        ("patient=p&code=http://loinc.org|2339-0&status=amended", False),
        ("patient=q&code=2339-0", False),
        ("patient=p&code=1234-5", False),
        ("patient=p&code=|2339-0", False),
        ("patient=p&code:not=2339-0", False),
        ("patient=p&code:not=1234-5", True),
        ("subject=Group/p&code=2339-0", False),
        ("subject=p&code=2339-0", True),
        ("patient=p&patient=q&code=2339-0", False),
        ("patient=p&code=2339-0&code=glu", True),
        ("patient=p&code=2339-0&code=1234-5", False),
    ],
)
def test_a_pair_finds_what_its_halves_would_find(asked, found):
    """Alone, in lists, beside other criteria, and where there is no pair to be had."""
    assert matches(query_of("Observation", asked), row_of(GLUCOSE)) is found


def test_long_lists_are_asked_for_as_they_are():
    """A product of many by many is no shorter question."""
    many = ",".join(f"c{number}" for number in range(11))
    query = query_of("Observation", f"patient=p,q&code={many}")

    assert isinstance(query, And)
    assert [len(part.values) for part in query.parts if isinstance(part, In)] == [2, 11]


def test_a_pair_does_not_outlive_its_resource():
    """A deletion and a past version keep who is named, and no code of theirs."""
    row = row_of(GLUCOSE)

    assert PAIR in row["t"]
    assert not [token for token in kept(row["t"]) if "2339" in token or "glu" in token]
