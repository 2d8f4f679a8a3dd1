"""The holder's choices, said by operations: authorise, block, oppose, mask, close, and who may enter."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from fhir_dmp.call import Call
from tests.access_world import NOON, RPPS, consent, document, observation


def say(who, operation, patient=None, **given):
    """Call an operation on the record; a dict is a Reference, a bool a boolean, what is left a text of its kind."""
    kinds = {"until": "valueDateTime", "mode": "valueCode"}
    parameters = []
    for name, value in given.items():
        kind = (
            "valueReference"
            if isinstance(value, dict)
            else "valueBoolean"
            if isinstance(value, bool)
            else "valueString"
        )
        parameters.append({"name": name, kinds.get(name, kind): value})
    body = json.dumps({"resourceType": "Parameters", **({"parameter": parameters} if parameters else {})}).encode()
    resource_id = (patient or who.world.patient).partition("/")[2]
    return who.ask(
        Call(
            "operation", "Patient", resource_id, operation=operation, body=None if operation == "access-list" else body
        )
    )


def by(number="1"):
    """Refer to a professional by the national identifier."""
    return {"identifier": {"system": RPPS, "value": number}}


def told(answer, name):
    """Return the value of an answer's parameter."""
    item = next(each for each in answer.body["parameter"] if each["name"] == name)
    return next(value for key, value in item.items() if key != "name")


@pytest.mark.rule("F5", "F6")
def test_an_authorisation_said_by_the_holder_opens_the_record_until_its_day(world, item):
    """Without knowing the shape of a Consent; the next request of the professional is answered."""
    doctor = world.professional("1")
    before = doctor.read(item).status
    end = (NOON + timedelta(days=10)).date().isoformat()

    answer = say(world.holder(), "authorize", actor=by("1"), until=end)

    assert (before, answer.status, told(answer, "until")) == (403, 200, end)
    assert doctor.read(item).status == 200
    world.clock.set(NOON + timedelta(days=11))
    assert doctor.read(item).status == 403


def test_a_new_authorisation_takes_the_place_of_the_earlier(world, item):
    """One choice stands for one actor; the list tells it."""
    say(world.holder(), "authorize", actor=by("1"))
    second = say(world.holder(), "authorize", actor=by("1"), until="2026-12-01")

    active = [each["resource"] for each in world.holder().search("Consent", "status=active").body["entry"]]

    assert len(active) == 1
    assert active[0]["provision"]["period"]["end"] == "2026-12-01"
    assert len([each for each in second.body["parameter"] if each["name"] == "consent"]) == 2


def test_a_revocation_holds_at_once(world, item):
    """The very next read is refused, and the Consent stays as history."""
    doctor = world.professional("1")
    say(world.holder(), "authorize", actor=by("1"))
    assert doctor.read(item).status == 200

    answer = say(world.holder(), "revoke", actor=by("1"))

    assert (answer.status, told(answer, "ended")) == (200, 1)
    assert doctor.read(item).status == 403
    assert told(say(world.holder(), "revoke", actor=by("1")), "ended") == 0


@pytest.mark.parametrize("until", ["2020-01-01", "2099-01-01", "2026-11-23T11:00:00Z"])
def test_an_authorisation_ends_on_a_day_to_come_and_not_too_far(world, until):
    """What is over, or as good as for ever, is refused."""
    assert say(world.holder(), "authorize", actor=by("1"), until=until).status == 400


@pytest.mark.rule("F2", "F22")
def test_a_block_shuts_out_by_every_way_until_it_is_lifted(world, item):
    """Authorisation, emergency and writing alike; afterwards an authorisation is needed as before."""
    holder, doctor = world.holder(), world.professional("1")
    say(holder, "authorize", actor=by("1"))
    say(holder, "block", actor=by("1"))

    assert doctor.read(item).status == 403
    assert doctor.create(observation(world.patient)).status == 403
    assert world.professional("1", purpose="BTG", reason="unconscious").read(item).status == 403
    assert say(holder, "authorize", actor=by("1")).status == 422
    assert told(say(holder, "unblock", actor=by("1")), "blocked") is False
    assert doctor.create(observation(world.patient)).status == 201
    assert doctor.read(item).status == 403


@pytest.mark.rule("F8", "F22")
@pytest.mark.parametrize(
    ("mode", "purpose", "other"), [("bris_de_glace", "BTG", "ETREAT"), ("centre_15", "ETREAT", "BTG")]
)
def test_the_two_oppositions_are_choices_of_their_own(world, item, mode, purpose, other):
    """One is refused, the other not; and what was opposed can be allowed again."""
    roles = {"BTG": "app", "ETREAT": "samu"}

    def enters(why):
        return world.professional("5", purpose=why, reason="inconscient", role=roles[why]).read(item).status

    assert (enters(purpose), enters(other)) == (200, 200)
    say(world.holder(), "oppose", mode=mode)
    say(world.holder(), "oppose", mode=mode)

    assert (enters(purpose), enters(other)) == (403, 200)
    assert told(say(world.holder(), "oppose", mode=mode, opposed=False), "opposed") is False
    assert enters(purpose) == 200


@pytest.mark.rule("L9", "F22")
def test_a_masked_item_is_absent_to_professionals_and_not_to_its_author(world):
    """Masked at once, and back again; by the holder alone."""
    doctor, author = world.professional("1"), world.professional("2", structure="urn:s|2")
    made = f"DocumentReference/{author.made(document(world.patient))['id']}"
    say(world.holder(), "authorize", actor=by("1"))
    assert doctor.read(made).status == 200

    answer = say(world.holder(), "mask", item={"reference": made})

    assert told(answer, "item") == {"reference": f"{made}/_history/2"}
    assert (doctor.read(made).status, author.read(made).status) == (404, 200)
    assert say(doctor, "mask", item={"reference": made}, masked=False).status == 403
    say(world.holder(), "mask", item={"reference": made}, masked=False)
    assert doctor.read(made).status == 200


def test_an_authorization_until_the_last_day_of_the_calendar_is_listed(world):
    """Systems write it for one without an end; what it ends before is no moment that can be told."""
    given = consent(world.patient, "permit", actors=[f"{RPPS}|1"], period={"end": "9999-12-31"})
    world.holder().made(given)

    answer = say(world.holder(), "access-list")

    assert answer.status == 200
    assert "9999-12-31T23:59:59.999999+00:00" in json.dumps(answer.body)


@pytest.mark.rule("L24")
def test_a_closed_record_is_shut_to_all_and_the_holder_reopens_it(world, item):
    """The holder keeps reopening, a copy, the list and the traces; nothing else is left to anybody."""
    holder, doctor = world.holder(), world.professional("1")
    say(holder, "authorize", actor=by("1"))

    closed = say(holder, "close", reason="Je n’en veux plus.")

    assert (closed.status, closed.body["active"]) == (200, False)
    assert (doctor.read(item).status, holder.read(item).status) == (403, 403)
    assert say(holder, "authorize", actor=by("3")).status == 403
    assert told(say(holder, "access-list"), "closed") is True
    opened = say(holder, "reopen")
    assert (opened.status, opened.body["active"], opened.body.get("extension")) == (200, True, None)
    assert (doctor.read(item).status, holder.read(item).status) == (200, 200)
    assert say(holder, "reopen").status == 409


@pytest.mark.rule("L25")
def test_the_attending_doctor_sees_what_is_masked_from_others(world):
    """Named by the holder; named no more, the doctor has no way in."""
    author = world.professional("2", structure="urn:s|2")
    made = f"DocumentReference/{author.made(document(world.patient))['id']}"
    say(world.holder(), "mask", item={"reference": made})
    doctor = world.professional("7")

    named = say(world.holder(), "attending-doctor", actor=by("7"))

    assert named.status == 200
    assert doctor.read(made).status == 200
    assert say(world.holder(), "attending-doctor").status == 200
    assert doctor.read(made).status == 403


@pytest.mark.rule("L4", "F5")
def test_a_professional_declares_the_consent_that_the_patient_gave(world, item):
    """For themselves, in words, for a year at most, and never against a block."""
    doctor = world.professional("1")

    silent = say(doctor, "authorize", actor=by("1"))
    declared = say(doctor, "authorize", actor=by("1"), declaration="Consentement oral, en consultation")

    assert (silent.status, declared.status) == (400, 200)
    assert doctor.read(item).status == 200
    say(world.holder(), "block", actor=by("1"))
    assert say(doctor, "authorize", actor=by("1"), declaration="encore").status in (403, 422)


@pytest.mark.rule("L4", "L16")
def test_a_declared_authorisation_ends_nothing_that_the_holder_gave(world, item):
    """A professional who declares a shorter one for a colleague shortens no other than what was declared before."""
    holder, doctor = world.holder(), world.professional("1")
    say(holder, "authorize", actor=by("1"))
    say(holder, "authorize", actor=by("2"), until=(NOON + timedelta(days=300)).isoformat())

    def declare(days):
        until = (NOON + timedelta(days=days)).isoformat()
        return say(doctor, "authorize", actor=by("2"), until=until, declaration="Demande du patient").status

    assert (declare(20), declare(5)) == (200, 200)
    active = holder.search("Consent", "status=active&_count=50").body["entry"]
    ends = sorted(each["resource"]["provision"]["period"]["end"][:10] for each in active)
    world.clock.set(NOON + timedelta(days=30))
    assert ends == ["2026-11-28", "2027-09-19", "2027-11-23"]
    assert world.professional("2").read(item).status == 200
    say(holder, "revoke", actor=by("2"))
    assert world.professional("2").read(item).status == 403


@pytest.mark.rule("L4", "L10")
def test_who_breaks_the_glass_declares_no_consent(world, item):
    """The patient cannot express a will: neither for oneself nor for a colleague, whom the emergency would let in for a year."""
    doctor = world.professional("1", purpose="BTG", reason="inconsciente, seule")
    assert doctor.read(item).status == 200

    answers = [say(doctor, "authorize", actor=by(number), declaration="d’accord").status for number in ("1", "2")]

    assert answers == [403, 403]
    assert world.professional("2").read(item).status == 403


def test_only_who_has_access_asks_for_another_professional(world, item):
    """And nobody but the patient ends, blocks, opposes, or lists."""
    doctor = world.professional("1")

    assert say(doctor, "authorize", actor=by("2"), declaration="x").status == 403
    say(world.holder(), "authorize", actor=by("1"))
    assert say(doctor, "authorize", actor=by("2"), declaration="Demande du patient").status == 200
    assert world.professional("2").read(item).status == 200
    for operation, given in (
        ("revoke", {"actor": by("2")}),
        ("block", {"actor": by("2")}),
        ("access-list", {}),
        ("close", {}),
    ):
        assert say(doctor, operation, **given).status == 403


@pytest.mark.rule("L19")
def test_an_occupational_doctor_needs_the_patients_own_word(world, item):
    """What the doctor declares opens nothing; what the holder says does."""
    doctor = world.professional("4", specialty="SM25")

    assert say(doctor, "authorize", actor=by("4"), declaration="d’accord").status == 403
    say(world.holder(), "authorize", actor=by("4"))
    assert doctor.read(item).status == 200


def test_a_token_for_another_record_says_nothing_about_this_one(world):
    """Holder of one record, stranger to the other."""
    other = world.new_patient()

    for operation, given in (
        ("authorize", {"actor": by("1")}),
        ("close", {}),
        ("access-list", {}),
        ("oppose", {"mode": "centre_15"}),
    ):
        assert say(world.holder(), operation, patient=other, **given).status == 403
    assert say(world.ehr, "authorize", actor=by("1")).status == 403


@pytest.mark.rule("L16")
def test_the_list_tells_who_may_enter_and_by_what(world):
    """Choices, team and doctor, with their sources and ends."""
    say(world.holder(), "authorize", actor=by("1"), until="2026-12-01")
    say(world.holder(), "attending-doctor", actor=by("7"))
    world.holder().made(consent(world.patient, "deny", purposes=["BTG"]))

    lines = [each["part"] for each in say(world.holder(), "access-list").body["parameter"] if each["name"] == "access"]

    kinds = {part[0]["valueString"]: {each["name"]: each for each in part} for part in lines}
    assert set(kinds) == {"consent for TREAT", "attending doctor", "consent for BTG"}
    assert kinds["consent for TREAT"]["until"]["valueInstant"].startswith("2026-12-01T23:00:00")
    assert kinds["consent for BTG"]["permit"]["valueBoolean"] is False


@pytest.mark.parametrize("operation", ["authorize", "block", "close"])
def test_a_choice_is_said_alone_and_not_among_the_entries_of_a_transaction(world, operation):
    """What opens or shuts a record is no part of somebody's bundle; nothing of the bundle is stored."""
    tree = {"resourceType": "Parameters", "parameter": [{"name": "actor", "valueReference": by("1")}]}
    sent = tree if operation != "close" else {"resourceType": "Parameters"}
    entries = [
        {"resource": sent, "request": {"method": "POST", "url": f"{world.patient}/${operation}"}},
        {"resource": observation(world.patient), "request": {"method": "POST", "url": "Observation"}},
    ]

    assert world.holder().transaction(*entries).status == 400
    assert world.holder().search("Observation").body.get("entry") is None
    assert world.holder().search("Consent").body.get("entry") is None
