"""Who consults is a named professional who proved who they are; who did not so surely feeds the record, and finds their own."""

from __future__ import annotations

import pytest

from tests.access_world import RPPS, consent, document, observation
from tests.http.test_choices_of_the_patient import by, say


@pytest.fixture
def item(world):
    """An observation of a record that is open to professional 1."""
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    return f"Observation/{world.ehr.made(observation(world.patient))['id']}"


@pytest.mark.rule("F21")
def test_who_is_not_strongly_authenticated_feeds_and_finds_their_own(world, item):
    """No consultation, though the record is open to them; and nobody's consent is theirs to declare."""
    doctor = world.professional("1", strong=False)
    own = doctor.made(document(world.patient, identifier=[{"system": "urn:i", "value": "1"}]))
    ref = f"DocumentReference/{own['id']}"

    assert doctor.read(item).status == 403
    assert doctor.search("Observation").status == 403
    assert doctor.search("DocumentReference", "identifier=urn:i|1").ids == {own["id"]}
    assert doctor.read(ref).status == 200
    assert doctor.delete(ref).status == 204
    assert say(doctor, "authorize", actor=by("1"), declaration="à l’oral").status == 403
    assert world.professional("1").read(item).status == 200


@pytest.mark.rule("F21", "L10", "L11")
@pytest.mark.parametrize("emergency", [{"purpose": "BTG"}, {"purpose": "ETREAT", "role": "samu"}])
def test_an_emergency_is_none_without_a_strong_authentication(world, item, emergency):
    """It is a consultation like any other."""
    claim = {"reason": "inconsciente, seule", **emergency}

    assert world.professional("2", strong=False, **claim).read(item).status == 403
    assert world.professional("2", **claim).read(item).status == 200


@pytest.mark.rule("F20")
def test_the_named_user_alone_sees_what_is_open_to_them(world, item):
    """Another professional who signs in by the same software for the same structure does not: the token is the user's, and the trace names them."""
    named, colleague = world.professional("1", structure="urn:s|8"), world.professional("2", structure="urn:s|8")

    assert named.read(item).status == 200
    assert colleague.read(item).status == 403
    assert world.system("ehr-eight", "ehr", "urn:s|8").read(item).status == 404
    events = [each["resource"] for each in world.holder().search("AuditEvent", "subtype=read&_count=50").body["entry"]]
    numbers = {agent["who"].get("identifier", {}).get("value") for event in events for agent in event["agent"]}
    assert {"1", "2"} <= numbers
