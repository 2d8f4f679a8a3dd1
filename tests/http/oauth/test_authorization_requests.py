"""What an app asks of a person: whom it is answered to, and what is wrong with it. https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#obtain-authorization-code."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fhir_dmp.service.answers import Choice
from fhir_dmp.service.authorize import Go, SignInFirst, Sorry
from fhir_dmp.service.questions import Question
from tests.oauth_world import CALLBACK, VERIFIER, authorize, context


def test_a_person_who_is_not_signed_in_signs_in_first(world):
    """And comes back to the same request."""
    world.app()
    answer = world.authorizations().ask(authorize(), None, context())

    assert isinstance(answer, SignInFirst)
    assert isinstance(world.authorizations().ask(authorize(), world.sign_in(), context()), Question)
    assert world.acts == []


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
        ({"redirect_uri": "https://app.example/cb/"}, "invalid_request"),
        ({"redirect_uri": "https://app.example/cb?x=1"}, "invalid_request"),
        ({"redirect_uri": "https://evil.example/cb"}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
    ],
)
def test_an_address_that_is_not_registered_is_never_redirected_to(world, changed, error):
    """The person is told, and an event is left."""
    world.app()
    answer = world.authorizations().ask(authorize(**changed), world.sign_in(), context())

    assert isinstance(answer, Sorry)
    assert answer.error == error
    assert [("authorize", error)] == [(act.kind, act.error) for act in world.acts]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"aud": "https://other.example/fhir"}, "invalid_request"),
        ({"aud": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "system/*.rs nonsense"}, "invalid_scope"),
        ({"scope": "patient/*.cruds"}, "invalid_scope"),
        ({"scope": "patient/Nonsense.rs"}, "invalid_scope"),
        ({"scope": "patient/Observation.rs?nonsense=1"}, "invalid_scope"),
        ({"scope": "patient/Observation.rs?subject:Patient.name=x"}, "invalid_scope"),
        ({"scope": "patient/Observation.rs?_count=1"}, "invalid_scope"),
        ({"request": "eyJ"}, "invalid_request"),
        ({"launch": "guess", "scope": "launch patient/*.rs"}, "invalid_request"),
        ({"launch": "guess"}, "invalid_scope"),
        ({"purpose_of_use": "HPAYMT"}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
    ],
)
def test_what_is_wrong_with_a_request_goes_back_to_its_client(world, changed, error):
    """By its registered address, with its state, and one event."""
    world.app()
    answer = world.authorizations().ask(authorize(**changed), world.sign_in(), context())

    assert isinstance(answer, Go)
    assert answer.url.startswith(f"{CALLBACK}?error={error}&")
    assert ("state=af0ifjsldkj" in answer.url) == ("state" not in changed)
    assert [("authorize", error)] == [(act.kind, act.error) for act in world.acts]


def test_a_person_who_says_no_is_heard(world):
    """access_denied, and one event."""
    world.app()
    back = world.code(world.sign_in(), choice=Choice(allow=False))

    assert (back["error"], back["state"]) == ("access_denied", "af0ifjsldkj")
    assert [("authorize", "access_denied")] == [(act.kind, act.error) for act in world.acts]


def test_a_question_is_answered_by_whom_it_was_put_to(world):
    """Neither another session nor a later hour, nor words that are no ticket."""
    world.app()
    door, signed, other = world.authorizations(), world.sign_in(), world.sign_in("a-2")
    ticket = door.ask(authorize(), signed, context()).ticket
    yes = Choice(allow=True, scopes=("patient/*.rs",), patient="Patient/z")

    for stolen, who in ((ticket, other), (ticket, None), ("forged", signed)):
        assert isinstance(door.decide(stolen, yes, who, context()), Sorry)
    world.clock.set(world.clock.now() + timedelta(minutes=16))
    assert isinstance(door.decide(ticket, yes, signed, context()), Sorry)


def test_a_patient_chooses_no_record_but_their_own(world):
    """A reference in the form opens nothing."""
    world.app()
    door, signed = world.authorizations(), world.sign_in()
    ticket = door.ask(authorize(), signed, context()).ticket

    for patient in ("Patient/other", None):
        answer = door.decide(
            ticket,
            Choice(allow=True, scopes=("patient/*.rs", "patient/Observation.rs"), patient=patient),
            signed,
            context(),
        )
        assert isinstance(answer, Question)
        assert answer.problem in ("no-such-patient", "choose-patient")
