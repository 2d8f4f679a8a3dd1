"""The values that travel from a front end to the interactions."""

from __future__ import annotations

import pytest

from fhir_dmp.call import Call
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.requests import call_of

PATIENT = Ref("Patient", "p")


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (Call("search-system"), ""),
        (Call("search-type", "Observation"), "Observation"),
        (Call("search-type", "Observation", compartment=PATIENT), "Patient/p/Observation"),
        (Call("search-system", compartment=PATIENT), "Patient/p/*"),
        (Call("read", "Patient", "p"), "Patient/p"),
        (Call("vread", "Patient", "p", "2"), "Patient/p/_history/2"),
        (Call("history-system"), "_history"),
        (Call("history-type", "Patient"), "Patient/_history"),
        (Call("history-instance", "Patient", "p"), "Patient/p/_history"),
        (Call("operation", operation="meta"), "$meta"),
        (Call("operation", "Patient", "p", operation="everything"), "Patient/p/$everything"),
        (Call("operation", "Patient", "p", "2", operation="meta"), "Patient/p/_history/2/$meta"),
    ],
)
def test_a_call_is_asked_for_at_the_path_that_names_it(call, path):
    """The path that it has leads to the same call: so it is told in the log, and in the links of its pages."""
    asked = call_of("GET", path, {}, None)

    assert call.path == path
    assert asked == call


@pytest.mark.parametrize("odd", ["a b", "a/b", "a?b", "é"])
def test_what_no_path_may_hold_is_encoded_in_it(odd):
    """An id that nobody can have makes no other path."""
    assert call_of("GET", Call("read", "Patient", odd).path, {}, None).id == odd
