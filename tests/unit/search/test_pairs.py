"""A patient's resources of one code are found by one token, whatever way they are asked for."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import And, Eq, In, Not, kept
from tests.unit.search.world import query_of, row_of

GLUCOSE = {
    "resourceType": "Observation",
    "id": "glucose",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}, {"code": "glu"}]},
    "subject": {"reference": "Patient/p"},
}
PAIR = "Observation.patient+code:Patient/p+2339-0"


@pytest.mark.parametrize(
    "patient", ["patient=Patient/p", "patient=p", "subject=Patient/p", "subject:Patient=p", "patient:Patient=p"]
)
def test_a_patient_and_a_code_are_asked_for_as_one(patient):
    """By whichever parameter names the patient; nothing else of them is asked."""
    query = query_of("Observation", f"{patient}&code=2339-0")

    assert query == Eq("t", PAIR)
    assert matches(query, row_of(GLUCOSE))


def test_the_system_of_a_code_is_looked_at_and_nothing_is_found_by_it():
    """A database has no index for what is denied twice: it asks that of the few rows of the pair."""
    query = query_of("Observation", "patient=p&code=http://loinc.org|2339-0,glu")

    assert isinstance(query, And)
    assert query.parts[0] == In("t", (PAIR, PAIR.replace("2339-0", "glu")))
    assert query.parts[1] == Not(Not(In("t", ("Observation.code=http://loinc.org|2339-0", "Observation.code=glu"))))
    assert [token for token in row_of(GLUCOSE)["t"] if "+" in token] == list(query.parts[0].values)


@pytest.mark.parametrize("code", ["2339-0", "c" * 320])
def test_rows_of_either_form_are_found_until_all_are_indexed_anew(code):
    """Older ones have pairs of codes as they are written, and those that were written since the pairs of codes alone."""
    row = row_of({**GLUCOSE, "code": {"coding": [{"system": "http://loinc.org", "code": code}]}})
    pair, codes = "Observation.patient+code:Patient/p+", "Observation.code="
    plain = [token for token in row["t"] if not token.startswith(pair)]
    older = {**row, "t": plain + [pair + token.removeprefix(codes) for token in plain if token.startswith(codes)]}
    query = query_of("Observation", f"patient=p&code=http://loinc.org|{code}", form=6)

    assert set(older["t"]) - set(row["t"])
    assert matches(query, row)
    assert matches(query, older)
    assert not matches(query_of("Observation", f"patient=p&code=http://other|{code}", form=6), older)


_TEXTS = st.text(alphabet="a|\\$ é", min_size=1, max_size=4)
_LONG = st.sampled_from(["s" * 299, "c" * 320])
_CODINGS = st.fixed_dictionaries({"code": _TEXTS | _LONG}, optional={"system": _TEXTS | _LONG})


def written(coding):
    """Return the coding as it stands in a URL."""

    def escaped(text):
        return "".join(f"\\{each}" if each in "\\|$," else each for each in text)

    system = f"{escaped(coding['system'])}|" if "system" in coding else ""
    return quote(system + escaped(coding["code"]), safe="")


@given(
    has=st.lists(_CODINGS, min_size=1, max_size=2),
    asked=st.lists(_CODINGS, min_size=1, max_size=3),
    whose=st.sampled_from(["p", "q", "p,q"]),
    form=st.sampled_from([6, 7]),
)
def test_pairs_find_what_the_halves_mean(has, asked, whose, form):
    """Whatever bars and backslashes there are in codes and systems, and however long they are."""
    row = row_of({**GLUCOSE, "code": {"coding": has}})
    patient, code = f"patient={whose}", f"code={','.join(map(written, asked))}"
    halves = [matches(query_of("Observation", half), row) for half in (patient, code)]

    assert matches(query_of("Observation", f"{patient}&{code}", form=form), row) is all(halves)


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
