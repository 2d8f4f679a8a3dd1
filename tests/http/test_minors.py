"""Parents act for a minor until the day of majority, which is looked at when somebody asks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from tests.access_world import NOON, RPPS, Actor, changed, consent, document, observation
from tests.http.test_choices_of_the_patient import by, say, told
from tests.http.test_notices import due

BORN, EVE = "2009-03-01", datetime(2027, 2, 28, 22, 59, tzinfo=UTC)
"""The minute before midnight in Paris."""

FATHER, GUARDIAN = "FTH", "GUARD"


@pytest.fixture
def world(world):
    """The record of a minor."""
    world.patient = world.new_patient(birthDate=BORN)
    return world


def related(world, code=None, patient=None, **more):
    """Return the RelatedPerson whom the insurance states."""
    relationship = [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": code}]}
        for _ in (1,)
        if code
    ]
    tree = {"resourceType": "RelatedPerson", "patient": {"reference": patient or world.patient}, **more}
    return world.insurance.made({**tree, **({"relationship": relationship} if relationship else {})})


@pytest.mark.rule("L15")
@pytest.mark.parametrize("code", [FATHER, None])
def test_a_parent_acts_until_the_day_of_majority(world, item, code):
    """On the eve still, on the day as it begins in Paris no more: nothing has to run, and no token lives on."""
    father = world.representative(f"RelatedPerson/{related(world, code)['id']}")
    world.clock.set(EVE)
    on_the_eve = father.read(item).status, father.search("Observation").status

    world.clock.set(EVE + timedelta(minutes=2))

    assert on_the_eve == (200, 200)
    assert (father.read(item).status, father.search("Observation").status) == (403, 403)
    assert father.create(consent(world.patient, "permit", actors=["Practitioner/p1"])).status == 403
    assert world.holder().read(item).status == 200


@pytest.fixture
def minor(world):
    """The holder, who signed in without the parents' knowledge."""
    subject = world.holder().subject
    return Actor(world, replace(subject, person=replace(subject.person, secret=True)))


@pytest.fixture
def father(world):
    """Who acts for the holder."""
    return world.representative(f"RelatedPerson/{related(world, FATHER)['id']}")


def words(answer):
    """Return all that an answer says."""
    return json.dumps([answer.status, answer.text, answer.body])


@pytest.mark.rule("L14", "F10", "F11")
def test_what_a_minor_says_in_secret_is_not_told_to_parents_by_their_own_choices(world, item, minor, father):
    """Whom the minor lets in stands in no list of theirs, and is neither counted nor ended by what they say of the same doctor."""
    made = told(say(minor, "authorize", actor=by("7")), "consent")["reference"]
    secret = world.holder().read(made).body
    lists = [words(say(who, "access-list")) for who in (father, world.holder())]
    ended = say(father, "revoke", actor=by("7"))
    again = say(father, "authorize", actor=by("7"), until="2026-12-01")
    say(father, "revoke", actor=by("7"))

    assert [each["code"] for each in secret["meta"]["security"]] == ["INVISIBLE_REPRESENTANTS_LEGAUX"]
    assert [made in each for each in lists] == [False, True]
    assert f"{RPPS}|7" not in lists[0]
    assert told(ended, "ended") == 0
    assert made not in words(again)
    assert world.holder().read(made).body["status"] == "active"
    assert world.professional("7").read(item).status == 200


@pytest.mark.rule("L14", "F11")
def test_the_traces_of_a_doctor_tell_parents_of_no_consent_that_was_said_in_secret(world, item, minor, father):
    """That the doctor was there is told, and not by what: neither what let them in nor, of another, what kept them out."""
    made = told(say(minor, "authorize", actor=by("7")), "consent")["reference"]
    blocked = told(say(minor, "block", actor=by("8")), "consent")["reference"]
    world.professional("7").read(item)
    world.professional("8").read(item)
    by_father, by_holder = (words(who.search("AuditEvent")) for who in (father, world.holder()))

    for ref, number in ((made, "7"), (blocked, "8")):
        assert ref in by_holder
        assert ref not in by_father
        assert f'"value": "{number}"' in by_father


@pytest.mark.rule("L14", "F11")
@pytest.mark.parametrize("form", ["{}", "{}/_history/1", "{}/1", "https://dmp.example/fhir/{}", "Consent/absent,{}"])
def test_no_trace_is_found_by_a_consent_that_was_said_in_secret(world, item, minor, father, form):
    """As by one that is absent, however it is named and whoever it kept out; the minor finds them, and parents those of what they said."""
    made = told(say(minor, "authorize", actor=by("7")), "consent")["reference"]
    against = told(say(minor, "block", actor=by("8")), "consent")["reference"]
    own = told(say(father, "authorize", actor=by("9")), "consent")["reference"]
    for number in "789":
        world.professional(number).read(item)
    form = form.replace("https://dmp.example/fhir", world.server.base_url)

    def found(who, consent):
        return who.search("AuditEvent", f"policy={form.format(consent)}&_total=accurate").body["total"]

    assert [found(father, each) for each in (made, against, own)] == [0, 0, 1]
    assert [found(world.holder(), each) for each in (made, own)] == [1, 1]


@pytest.mark.rule("L14", "F11")
def test_the_trace_of_what_is_hidden_from_parents_is_hidden_from_them(world, minor, father):
    """Who deposited it, and who read it, would tell where the minor was; what is told of other items stays, and all of it to the minor."""
    hidden = document(world.patient, "INVISIBLE_REPRESENTANTS_LEGAUX")
    world.holder().made(consent(world.patient, "permit"))
    made = [world.professional("5").made(hidden), world.ehr.made(hidden)]
    world.professional("6").read(f"DocumentReference/{made[0]['id']}")
    world.professional("7").made(document(world.patient))
    world.professional("8").search("DocumentReference")
    shown = {}
    for who, name in ((father, "father"), (world.holder(), "holder")):
        events = [each["resource"] for each in who.search("AuditEvent").body["entry"]]
        asked = (next(agent for agent in each["agent"] if agent["requestor"])["who"] for each in events)
        shown[name] = [each["identifier"]["value"] for each in asked if "identifier" in each]

    assert {"5", "6", "7", "8"} <= set(shown["holder"])
    assert {"5", "6"}.isdisjoint(shown["father"])
    assert {"7", "8"} <= set(shown["father"])
    assert shown["holder"].count("ehr-one") == 1
    assert "ehr-one" not in shown["father"]


def test_a_provenance_of_what_is_hidden_from_parents_tells_them_nothing(world, minor, father):
    """Neither it nor its traces, of its writing and of its reading, nor by reindexing and saying it again."""
    made = world.ehr.made(document(world.patient, "INVISIBLE_REPRESENTANTS_LEGAUX"))
    before = father.search("AuditEvent", "_summary=count").body["total"]
    about = {
        "resourceType": "Provenance",
        "target": [{"reference": f"DocumentReference/{made['id']}"}],
        "recorded": "2026-11-23T10:00:00Z",
        "agent": [{"who": {"reference": "Practitioner/p1"}}],
    }
    provenance = world.ehr.made(about)
    ref = f"Provenance/{provenance['id']}"

    assert world.ehr.update(changed(provenance)).body["meta"]["versionId"] == "1"
    assert world.ehr.update(changed(provenance, recorded="2026-11-23T11:00:00Z")).status == 200
    assert minor.read(ref).status == 200
    assert world.ehr.read(ref).status == 200
    assert world.ehr.vread(ref, 1).status == 200
    assert world.ehr.search("Provenance").ids == {provenance["id"]}

    told = father.search("AuditEvent", "_summary=count").body["total"]
    assert told == before + 1  # his own look at the traces
    assert [father.read(ref).status, father.vread(ref, 1).status] == [404, 404]


@pytest.mark.rule("L14", "L13")
def test_a_notice_of_what_is_hidden_from_parents_is_hidden_from_them(world, minor, father):
    """That a secret authorisation ends, or that something waits to be announced which parents will not see, is told to the minor alone."""
    end = (NOON + timedelta(days=20)).date().isoformat()
    say(minor, "authorize", actor=by("7"), until=end)
    say(world.holder(), "authorize", actor=by("6"), until=end)
    world.professional("2").made(document(world.patient, "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"))
    world.professional("2").made(document(world.patient, "INVISIBLE_PATIENT"))
    world.clock.set(NOON + timedelta(days=15))

    assert told(due(world), "written") == 4
    assert len(world.holder().search("Communication").ids) == 4
    assert len(father.search("Communication").ids) == 2
    assert f"{RPPS}|7" not in words(father.search("Communication"))


@pytest.mark.rule("L23")
@pytest.mark.parametrize("told", [{"deceasedBoolean": True}, {"deceasedDateTime": "2026-11-22"}])
def test_nobody_enters_in_the_name_of_the_dead(world, item, told):
    """Heirs ask for what the law gives them and are answered by somebody; the sign-in of the dead, and of who acted for them, is no way in."""
    father = world.representative(f"RelatedPerson/{related(world)['id']}")
    world.holder().made(consent(world.patient, "permit", actors=["Practitioner/p1"]))
    before = world.holder().read(item).status, father.read(item).status
    tree = world.holder().read(world.patient).body

    assert world.insurance.update(changed(tree, **told)).status == 200

    assert before == (200, 200)
    assert (world.holder().read(item).status, father.read(item).status) == (403, 403)
    assert world.holder().search("Observation").status == 403
    assert world.holder().create(consent(world.patient, "permit")).status == 403
    assert world.professional("1").read(item).status == 200


@pytest.mark.rule("L23")
def test_a_death_that_somebody_wrote_down_shuts_nobody_out(world):
    """It is the insurance that tells it; an error of theirs is put right by them."""
    made = world.ehr.made({"resourceType": "Patient", "deceasedBoolean": True})
    holder = world.holder(f"Patient/{made['id']}")
    by_others = holder.read(f"Patient/{made['id']}").status

    assert world.insurance.update(changed(made)).status == 200
    by_insurance = holder.read(f"Patient/{made['id']}").status
    alive = {name: value for name, value in made.items() if name != "deceasedBoolean"}
    assert world.insurance.update(changed(alive)).status == 200

    assert (by_others, by_insurance, holder.read(f"Patient/{made['id']}").status) == (200, 403, 200)


@pytest.mark.rule("L15")
def test_a_guardian_of_an_adult_acts_for_as_long_as_is_stated(world, item):
    """Protection of an adult is another measure than parental authority."""
    found = related(world, GUARDIAN, period={"end": "2028-01-01"})
    guardian = world.representative(f"RelatedPerson/{found['id']}")
    world.clock.set(EVE + timedelta(days=200))
    during = guardian.read(item).status
    world.clock.set(EVE + timedelta(days=400))

    assert (during, guardian.read(item).status) == (200, 403)


@pytest.mark.rule("L15")
def test_nobody_is_a_parent_in_the_record_of_who_has_no_birth_date(world):
    """The date is waited for: once the insurance tells it, the parent enters."""
    patient = world.new_patient()
    item = f"Observation/{world.ehr.made(observation(patient))['id']}"
    father = world.representative(f"RelatedPerson/{related(world, FATHER, patient)['id']}", patient)
    before = father.read(item).status
    tree = world.holder(patient).read(patient).body

    assert world.insurance.update(changed(tree, birthDate="2015-01-01")).status == 200
    minor = father.read(item).status
    assert world.insurance.update(changed(tree, birthDate="2005-01-01")).status == 200

    assert (before, minor, father.read(item).status) == (403, 200, 403)


@pytest.mark.rule("L15")
def test_a_parent_does_not_let_the_other_in_beyond_the_day(world):
    """What representatives may is not theirs to say."""
    mother, father = (f"RelatedPerson/{related(world, code)['id']}" for code in ("MTH", FATHER))

    answer = world.representative(mother).create(
        consent(world.patient, "permit", actors=[father], purposes=["FAMRQT"], period={"end": "2099"})
    )

    assert answer.status == 403
    assert world.holder().create(consent(world.patient, "permit", actors=[father])).status == 201
