"""What of a request a log shows in the open."""

from __future__ import annotations

import pytest

from fhir_dmp.audit.asked import cleaned


@pytest.mark.parametrize(
    "query",
    [
        "subject:Patient.name=Petit",
        "patient:Patient.identifier=urn:x|Petit",
        "encounter:Encounter.reason-code=Petit",
        "subject:identifier=urn:x|Petit",
        "patient.name=Petit",
        "code=Petit",
    ],
)
def test_what_leads_on_from_an_id_is_cut_out(query):
    """A chain asks for names and diseases by the parameter of a reference, and a number of a person is not an id of this server."""
    name = query.partition("=")[0]

    assert cleaned(f"GET /fhir/Observation?{query}") == f"GET /fhir/Observation?{name}=…"


@pytest.mark.parametrize(
    "query", ["subject=Patient/1", "subject:Patient=1", "date=ge2026", "_include=Observation:subject", "_id=1"]
)
def test_ids_moments_and_the_look_of_an_answer_are_shown(query):
    """They tell nothing of a disease, and who checks the log needs them."""
    assert cleaned(f"GET /fhir/Observation?{query}") == f"GET /fhir/Observation?{query}"
