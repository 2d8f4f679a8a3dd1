"""Queries of URLs, and criteria."""

from __future__ import annotations

import pytest

from fhir_dmp.fhir.url import params_of, parted
from fhir_dmp.search.patients import with_criteria


@pytest.mark.parametrize(
    ("criteria", "kind", "query"),
    [
        ("Patient?identifier=x|1", "Patient", "identifier=x|1"),
        ("?identifier=x|1", "", "identifier=x|1"),
        ("identifier=x|1", "", "identifier=x|1"),
        ("identifier=http://x?y|1", "", "identifier=http://x?y|1"),
        ("Patient?identifier=http://x?y|1", "Patient", "identifier=http://x?y|1"),
        ("Patient", "", "Patient"),
        ("", "", ""),
    ],
)
def test_criteria_may_have_their_type_or_a_question_mark_before_them(criteria, kind, query):
    """A question mark within a value is none of these."""
    assert parted(criteria) == (kind, query)


def test_a_query_is_read_in_its_order_with_what_has_no_value():
    """Which parameter is meant, and that it was sent at all, may depend on that."""
    assert params_of("b=1&a=&b=%C3%A9+2") == (("b", "1"), ("a", ""), ("b", "é 2"))


@pytest.mark.parametrize("before", ["", "?", "Patient?"])
def test_criteria_name_whom_they_name_however_they_are_written(before):
    """The system of a number may have a question mark of its own."""
    assert with_criteria((), f"{before}identifier=http://x?y|1") == (("identifier", "http://x?y|1"),)
