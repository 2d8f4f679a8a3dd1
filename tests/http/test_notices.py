"""Who is told of what: emergencies, hidden results, authorisations that end; and who reviews an emergency."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from fhir_dmp.call import Call
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.notices import notice_id
from fhir_dmp.store.query import EVERYTHING, Eq
from tests.access_world import NOON, RPPS, Actor, changed, document, observation
from tests.at_once import at_once
from tests.http.test_choices_of_the_patient import by, say, told


def in_emergency(world, number="5", jti="jti-1"):
    """Return a professional who breaks the glass with a token of its own."""
    doctor = world.professional(number, purpose="BTG", reason="inconsciente, seule", name="Dr Vu")
    return Actor(world, replace(doctor.subject, token_id=jti))


def letters(who, kind="Communication"):
    """Return what who sees of a kind, the texts alone."""
    found = [each["resource"] for each in who.search(kind).body.get("entry", ())]
    return sorted(each["payload"][0]["contentString"] if "payload" in each else each["description"] for each in found)


@pytest.mark.rule("L12", "L10")
def test_holder_and_attending_doctor_are_told_of_an_emergency_once(world, item):
    """One notice each and one Task for one token's access, however many reads; the reason is not among the words."""
    say(world.holder(), "attending-doctor", actor=by("7"))
    doctor = in_emergency(world)

    statuses = [doctor.read(item).status, doctor.search("Observation").status, doctor.read(item).status]

    notices = letters(world.holder())
    assert statuses == [200, 200, 200]
    assert len(notices) == 2
    assert all("bris de glace" in each and "Dr Vu" in each and "inconsciente" not in each for each in notices)
    assert letters(world.professional("7")) == notices
    assert len(letters(world.system("admin-one", "admin"), "Task")) == 1


def test_each_emergency_is_told(world, item):
    """Another token is another access."""
    in_emergency(world, jti="jti-1").read(item)
    in_emergency(world, jti="jti-2").read(item)

    assert len(letters(world.holder())) == 2


def test_first_acts_at_the_same_time_tell_once(world, item):
    """Of two that race one writes, and neither fails."""
    statuses = at_once(lambda _: in_emergency(world, jti="jti-9").read(item).status, range(8))

    assert statuses == [200] * 8
    assert len(letters(world.holder())) == 1


def test_an_emergency_that_is_refused_tells_nobody(world, item):
    """Who did not enter leaves a refusal in the log and no letter."""
    say(world.holder(), "oppose", mode="bris_de_glace")

    assert in_emergency(world).read(item).status == 403
    assert letters(world.holder()) == []


def test_the_administrator_reviews_emergencies_and_sees_nothing_else(world, item):
    """The Task is found, done, and is all that the role reaches."""
    in_emergency(world).read(item)
    admin = world.system("admin-one", "admin", scopes=("system/*.rus",))

    (task,) = [each["resource"] for each in admin.search("Task").body["entry"]]
    done = admin.update(changed(task, status="completed"))

    assert done.status == 200
    assert admin.read(item).status == 403
    assert admin.search("Communication").status == 403
    assert admin.search("Patient").status == 403
    assert "name" not in task["for"]


def test_nobody_writes_a_review_for_the_administrator(world, item):
    """By its code the administrator, who sees no clinical content, would be shown whatever somebody writes, and not find the true ones among it."""
    forged = {"resourceType": "Task", "status": "requested", "intent": "order", "description": "a grave diagnosis"}
    code = {"coding": [{"system": "urn:fhir-dmp:task", "code": "emergency-review"}]}
    made = world.ehr.made(forged)
    in_emergency(world).read(item)

    assert world.ehr.create({**forged, "code": code}).status == 422
    assert world.ehr.update(changed(made, code=code)).status == 422
    assert world.ehr.transaction(
        {"request": {"method": "POST", "url": "Task"}, "resource": {**forged, "code": code}}
    ).status == 422  # fmt: skip
    assert len(letters(world.system("admin-one", "admin"), "Task")) == 1


def test_nobody_takes_the_place_of_a_notice_beforehand(world, item):
    """Who breaks the glass knows their own token, and by it the id of what the holder will be told by: written before, nobody would be told."""
    cause = "emergency/jti-1"
    letter = {"resourceType": "Communication", "status": "completed", "subject": {"reference": world.patient}}
    task = {"resourceType": "Task", "status": "completed", "intent": "order"}

    assert world.ehr.update({**letter, "id": notice_id(f"{cause}/holder")}).status == 409
    assert world.ehr.update({**task, "id": notice_id(f"{cause}/review")}).status == 409
    assert in_emergency(world).read(item).status == 200
    assert len(letters(world.holder())) == 1
    assert len(letters(world.system("admin-one", "admin"), "Task")) == 1


def due(world, role="admin"):
    """Ask for the notices that are due."""
    admin = world.system("admin-one", role)
    return admin.ask(Call("operation", operation="due-notices", body=b'{"resourceType":"Parameters"}'))


@pytest.mark.rule("L13")
def test_the_holder_is_told_after_two_weeks_of_an_item_that_waits_to_be_announced(world):
    """Not before, once, without a word of what it is; the item itself stays hidden until its month is over."""
    world.professional("2").made(document(world.patient, "INVISIBLE_PATIENT"))
    early = told(due(world), "written")
    world.clock.set(NOON + timedelta(days=15))

    late, again = told(due(world), "written"), told(due(world), "written")

    assert (early, late, again) == (0, 1, 0)
    assert letters(world.holder())[0].startswith("Votre dossier a été mis à jour")
    assert world.holder().search("DocumentReference").body.get("entry") is None
    world.clock.set(NOON + timedelta(days=32))
    assert len(world.holder().search("DocumentReference").body["entry"]) == 1


def test_the_holder_is_told_before_an_authorisation_ends(world):
    """Two weeks before its last day, once."""
    say(world.holder(), "authorize", actor=by("1"), until="2026-12-20")
    early = told(due(world), "written")
    world.clock.set(NOON + timedelta(days=20))

    assert (early, told(due(world), "written"), told(due(world), "written")) == (0, 1, 0)
    assert f"{RPPS}|1" in letters(world.holder())[0]


@pytest.mark.parametrize("role", ["ehr", "auditor", "insurance-feed"])
def test_notices_are_for_the_administrator_to_write(world, role):
    """No other system, and no person, may have them written."""
    assert due(world, role).status == 403
    call = Call("operation", operation="due-notices", body=b'{"resourceType":"Parameters"}')
    assert world.holder().ask(call).status == 403


def erase(who, patient):
    """Ask for the removal of a record."""
    return who.ask(
        Call(
            "operation", "Patient", patient.partition("/")[2], operation="erase", body=b'{"resourceType":"Parameters"}'
        )
    )


@pytest.mark.rule("L22")
def test_a_record_is_removed_ten_years_after_its_closing_and_not_before(world, item):
    """Rows, versions and policy go; other records, and the log, stay, and it tells who removed what, and who tried too early."""
    admin, other = world.system("admin-one", "admin"), world.new_patient()
    kept = world.ehr.made(observation(other))
    say(world.holder(), "authorize", actor=by("1"))
    open_still = erase(admin, world.patient)
    say(world.holder(), "close")
    early = erase(admin, world.patient)
    rows = world.server.store.count(Eq("pt", world.patient))
    world.clock.set(NOON + timedelta(days=10 * 365 + 4))

    late = erase(admin, world.patient)

    assert (open_still.status, early.status, late.status) == (409, 409, 204)
    assert rows == 3
    assert world.server.store.count(Eq("pt", world.patient)) == 0
    assert world.server.store.find_version(Ref(*world.patient.split("/")), 1) is None
    assert world.server.store.find_policies((world.patient,)) == {}
    assert world.ehr.read(f"Observation/{kept['id']}").status == 200
    assert erase(admin, world.patient).status == 404
    parts, _ = world.server.store.search_events(EVERYTHING, 50, None)
    rows = [json.loads(part.event.body) for part in parts]
    told = [row for row in reversed(rows) if row["act"] == "$erase"]
    assert [(row["on"], row["outcome"]) for row in told] == list(zip([world.patient] * 4, "4404", strict=True))
    assert list(told[2]["touched"]) == [world.patient]
    assert told[2]["agent"]["client"] == "admin-one"


def test_only_the_administrator_removes_a_record(world):
    """Neither its holder nor a system of care."""
    assert {erase(who, world.patient).status for who in (world.holder(), world.ehr, world.insurance)} == {403}


def failing(world, item, place):
    """Return calls that fail and tell something of the record: that a thing is not there, or is another version, or is many."""
    kept = f"Observation/{item.partition('/')[2]}"
    return {
        "absent": lambda doctor: doctor.read("Observation/none"),
        "another version": lambda doctor: doctor.vread(kept, 7),
        "not of that version": lambda doctor: doctor.delete(kept, if_match='W/"9"'),
        "many": lambda doctor: doctor.create(observation(world.patient), criteria="status=final"),
        "no change": lambda doctor: doctor.update(observation(world.patient, id=item.partition("/")[2])),
        "nobody's": lambda doctor: doctor.search("Practitioner", "_has:Observation:performer:status=final"),
        "of a batch": lambda doctor: doctor.transaction(
            {"request": {"method": "GET", "url": "Observation/none"}}, kind="batch"
        ),
    }[place]


@pytest.mark.rule("L12")
@pytest.mark.parametrize(
    "place", ["absent", "another version", "not of that version", "many", "no change", "nobody's", "of a batch"]
)
def test_an_emergency_that_learns_by_failing_is_told(world, item, place):
    """What is not there, and what cannot be done, are news of the record as well; the log has one event of it."""
    world.ehr.made(observation(world.patient))
    before = len(world.reasons())

    answer = failing(world, item, place)(in_emergency(world))

    assert answer.status in (200, 403, 404, 412)
    assert len(letters(world.holder())) == 1
    assert len(letters(world.system("admin-one", "admin"), "Task")) == 1
    assert len(world.reasons()) - before == (4 if place == "of a batch" else 3)


@pytest.mark.parametrize("query", ["status:none=final", "_count=-1"])
def test_an_emergency_that_fails_before_the_record_tells_nobody(world, item, query):
    """Who asks what cannot be asked has learned nothing."""
    assert in_emergency(world).search("Observation", query).status == 400
    assert in_emergency(world).search("Practitioner").status == 200

    assert letters(world.holder()) == []
