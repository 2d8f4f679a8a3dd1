"""``access explain``: why somebody may or may not, told to an operator, and that it was asked."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.errors import NotFound
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.explain import Asked, Explainer, explain
from fhir_dmp.store.accounts import Situation
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import RPPS, consent, observation


@pytest.fixture
def item(world):
    """An observation that the EHR of structure 1 wrote."""
    return f"Observation/{world.ehr.made(observation(world.patient))['id']}"


def test_an_administrator_is_told_why(world, item):
    """The path in the order of decision, with the Consent and its version, and an event that it was asked."""
    made = world.holder().made(consent(world.patient, "permit", actors=["urn:s|2"], purposes=["TREAT"]))
    server, other = world.server, world.system("ehr-two", "ehr", "urn:s|2")
    context = server.operator_context("tester", "access explain")
    ref = Ref(*item.split("/"))

    opened = explain(Asked(other.subject, world.patient, ref), context, server.env)
    shut = explain(Asked(world.professional("1").subject, world.patient), context, server.env)

    assert opened[-1] == f"Permitted: Consent/{made['id']} v1, provision."
    assert any("permits urn:s|2 for TREAT" in line for line in opened)
    assert shut[-1] == "The record is shut: not authorised."


def test_a_path_that_leads_to_nothing_was_asked_for_all_the_same(world):
    """Whoever tries out by explanations what is there leaves an event of each, refused, in the record that was named."""
    server = world.server
    context = server.operator_context("tester", "access explain")
    with pytest.raises(NotFound):
        explain(Asked(world.ehr.subject, world.patient, Ref("Observation", "none")), context, server.env)

    parts, _ = server.store.search_events(EVERYTHING, 1, None)
    event = json.loads(parts[0].event.body)
    assert event["act"] == "$explain"
    assert event["outcome"] == "4"
    assert event["for"] == [world.patient]
    assert event["why"] == ["Observation/none is not there."]


@pytest.mark.parametrize(("situations", "told"), [(1, False), (2, True)])
def test_a_path_says_in_which_of_several_situations_somebody_is_judged(world, situations, told):
    """The first: a token would be for the one that the person chose."""
    server = world.server
    known = (Situation("10", None, "urn:s|1", "Clinic"), Situation("60", None, "urn:s|2"))[:situations]
    new = NewAccount("professional", "X", "Practitioner/x", f"{RPPS}|7", "x.y", "cheval agrafe pile", situations=known)
    server.accounts.add(new, server.operator_context("tester", "account add"))
    explainer = Explainer(server.grants, server.accounts.accounts, server.env)

    lines = explainer.explain("x.y", world.patient, server.operator_context("tester", "access explain"))

    assert ("Judged in the first of 2 situations: Clinic." in lines) is told
    assert lines[0].endswith("profession 10, for urn:s|1, purpose TREAT.")
