"""Who enters a record: Consents, the care team, the attending doctor, authors, blocks, oppositions, closing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from fhir_dmp.call import Call
from fhir_dmp.interactions import vread
from tests.access_world import INS, NOON, RPPS, Actor, changed, consent, document, observation
from tests.http.test_hidden_is_absent import RESTRICTED


@pytest.fixture
def item(world):
    """An observation that the EHR of structure 1 wrote."""
    return f"Observation/{world.ehr.made(observation(world.patient))['id']}"


@pytest.mark.rule("L2")
def test_nobody_enters_without_the_holders_word(world, item):
    """A professional who is not authorised is refused for the whole record, by read and by search, in the same words."""
    doctor = world.professional()

    answers = [doctor.read(item), doctor.search("Observation"), doctor.read("Observation/none"), doctor.history(item)]

    assert {(answer.status, answer.text) for answer in answers} == {(403, "This record is not open to you.")}
    assert "not authorised" in world.reasons()[0]


@pytest.mark.rule("L2", "F6")
def test_an_authorisation_opens_until_its_end(world, item):
    """The moment of the question counts; no job has to run."""
    end = (NOON + timedelta(days=30)).isoformat()
    made = world.holder().made(
        consent(world.patient, "permit", actors=[f"{RPPS}|1"], purposes=["TREAT"], period={"end": end})
    )
    doctor = world.professional("1")

    before = doctor.read(item)
    why = world.reasons()[0]
    world.clock.set(NOON + timedelta(days=31))

    assert before.status == 200
    assert why == [f"Consent/{made['id']} v1, provision"]
    assert doctor.read(item).status == 403
    assert world.professional("2").read(item).status == 403


@pytest.mark.rule("L2", "L16")
def test_a_withdrawn_consent_holds_at_once(world, item):
    """The next request is answered under the new word."""
    holder, doctor = world.holder(), world.professional("1")
    made = holder.made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    assert doctor.read(item).status == 200

    assert holder.update(changed(made, status="inactive")).status == 200

    assert doctor.read(item).status == 403


def test_a_deleted_consent_opens_nothing(world, item):
    """A tombstone says nothing."""
    holder, doctor = world.holder(), world.professional("1")
    made = holder.made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))

    assert holder.delete(f"Consent/{made['id']}").status == 204

    assert doctor.read(item).status == 403


@pytest.mark.rule("F2")
def test_a_blocked_professional_has_no_way_in(world, item):
    """Not by authorisation, care team, emergency or own work, and may not write either."""
    holder, doctor = world.holder(), world.professional("1")
    own = doctor.made(observation(world.patient))
    holder.made(consent(world.patient, "permit"))
    holder.made(consent(world.patient, "deny", actors=["Practitioner/p1"]))

    assert doctor.read(item).status == 403
    assert doctor.read(f"Observation/{own['id']}").status == 403
    assert doctor.create(observation(world.patient)).status == 403
    assert world.professional("1", purpose="BTG", reason="unconscious").read(item).status == 403
    assert world.professional("2").read(item).status == 200


@pytest.mark.rule("L2", "L26", "L27")
def test_the_care_team_enters_while_its_members_are_in_it(world, item):
    """Membership has a period; a structure's membership is that of all who work there."""
    member = {"member": {"reference": "Practitioner/p1"}, "period": {"end": "2026-11-30"}}
    structure = {"member": {"identifier": {"system": "urn:s", "value": "9"}}}
    team = {"resourceType": "CareTeam", "status": "active", "subject": {"reference": world.patient}}
    world.holder().made({**team, "participant": [member, structure]})

    assert world.professional("1", structure=None).read(item).status == 200
    assert world.professional("2").read(item).status == 200
    assert world.professional("3", structure="urn:s|8").read(item).status == 403
    world.clock.set(NOON + timedelta(days=9))
    assert world.professional("1", structure=None).read(item).status == 403


def test_what_others_write_of_the_team_opens_nothing(world, item):
    """A CareTeam or a general practitioner named by an EHR is data."""
    team = {"resourceType": "CareTeam", "status": "active", "subject": {"reference": world.patient}}
    world.ehr.made({**team, "participant": [{"member": {"reference": "Practitioner/p1"}}]})
    world.ehr.made(consent(world.patient, "permit", actors=["Practitioner/p1"]))

    assert world.professional("1").read(item).status == 403


def test_nobody_but_the_patient_changes_what_opens_the_record(world):
    """A structure that wrote a Consent as data cannot take it back once the patient has made it a word of theirs."""
    made = world.ehr.made(consent(world.patient, "permit", actors=["Practitioner/p1"], status="inactive"))
    opened = world.holder().update(changed(made, status="active"))

    assert opened.status == 200
    assert world.ehr.update(changed(made, status="inactive")).status == 403


@pytest.mark.rule("L25", "F13", "L9")
def test_the_attending_doctor_sees_what_is_masked(world):
    """Others do not, even authorised; the insurance's word makes the attending doctor."""
    masked = world.ehr.made(document(world.patient, "MASQUE_PS"))
    plain = world.ehr.made(document(world.patient))
    patient = world.insurance.read(world.patient).body
    gp = [{"reference": "Practitioner/p7"}]
    assert world.insurance.update(changed(patient, generalPractitioner=gp)).status == 200
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))

    assert world.professional("7").search("DocumentReference").ids == {masked["id"], plain["id"]}
    assert world.professional("1").search("DocumentReference").ids == {plain["id"]}
    assert world.professional("1").read(f"DocumentReference/{masked['id']}").status == 404
    assert world.professional("1", structure="urn:s|1").read(f"DocumentReference/{masked['id']}").status == 200


@pytest.mark.rule("F3")
def test_authors_read_their_own_work_without_authorisation(world, item):
    """Their writings alone; the record stays shut."""
    doctor = world.professional("1")
    own = doctor.made(observation(world.patient))

    assert doctor.search("Observation").ids == {own["id"]}
    assert doctor.read(f"Observation/{own['id']}").status == 200
    assert doctor.read(item).status == 403


@pytest.mark.rule("F16")
def test_only_the_author_changes_or_deletes(world, item):
    """Whoever else may read it, holder included, may not; the holder's word on access is an exception."""
    world.holder().made(consent(world.patient, "permit"))
    doctor = world.professional("1")
    tree = doctor.read(item).body

    assert doctor.update(changed(tree, status="amended")).status == 403
    assert doctor.delete(item).status == 403
    assert world.holder().delete(item).status == 403
    assert world.ehr.update(changed(tree, status="amended")).status == 200
    assert world.ehr.delete(item).status == 204


@pytest.mark.rule("F1", "L24")
def test_a_closed_record_is_shut_to_all(world, item):
    """To professionals, systems, and authors; an opened one is as before."""
    world.holder().made(consent(world.patient, "permit"))
    patient = world.insurance.read(world.patient).body
    world.insurance.update(changed(patient, active=False))

    shut = [
        world.professional("1").read(item),
        world.holder().read(item),
        world.ehr.create(observation(world.patient)),
    ]

    assert [answer.status for answer in shut] == [403, 403, 403]
    assert world.ehr.read(item).status == 404
    assert world.ehr.search("Observation").ids == set()


@pytest.mark.rule("L10", "L11", "F8", "F4")
@pytest.mark.parametrize(("opposed", "kept"), [("BTG", "ETREAT"), ("ETREAT", "BTG")])
def test_oppositions_to_emergencies_are_two(world, item, opposed, kept):
    """Break-glass and centre 15 are refused each by its own Consent."""
    world.holder().made(consent(world.patient, "deny", purposes=[opposed]))

    def asks(purpose):
        return world.professional("1", purpose=purpose, reason="unconscious", role="samu")

    assert asks(opposed).read(item).status == 403
    assert asks(kept).read(item).status == 200


@pytest.mark.rule("L10", "L11")
def test_an_emergency_shows_no_masked_item_and_changes_nothing(world, item):
    """The mode never shows more than the mode allows."""
    masked = world.ehr.made(document(world.patient, "MASQUE_PS"))
    breaking = world.professional("1", purpose="BTG", reason="unconscious")
    regulator = world.professional("1", purpose="ETREAT", reason="a call", role="samu")

    assert breaking.read(item).status == 200
    assert breaking.read(f"DocumentReference/{masked['id']}").status == 404
    assert regulator.create(observation(world.patient)).status == 403
    assert world.professional("1", purpose="ETREAT", reason="a call").read(item).status == 403
    assert world.professional("1", purpose="BTG").read(item).status == 403


@pytest.mark.rule("matrix", "L5")
def test_the_matrix_hides_categories_from_professions(world, item):
    """An optician sees no observation, and nothing says that there is one; a profession that is not in the table sees nothing."""
    world.holder().made(consent(world.patient, "permit"))
    optician = world.professional("1", profession="28")

    assert optician.read(item).status == 404
    assert optician.search("Observation").ids == set()
    assert optician.create(observation(world.patient)).status == 403
    assert world.professional("2", profession="00").read(item).status == 404


@pytest.mark.rule("L19")
def test_occupational_doctors_enter_by_name_alone(world, item):
    """Neither the team nor a word to everybody is meant for them."""
    holder, doctor = world.holder(), world.professional("1", specialty="SM25")
    holder.made(consent(world.patient, "permit"))
    team = {"resourceType": "CareTeam", "status": "active", "subject": {"reference": world.patient}}
    holder.made({**team, "participant": [{"member": {"reference": "Practitioner/p1"}}]})
    assert doctor.read(item).status == 403
    assert doctor.create(observation(world.patient)).status == 403

    holder.made(consent(world.patient, "permit", actors=["Practitioner/p1"]))

    assert doctor.read(item).status == 200
    assert doctor.create(observation(world.patient)).status == 201


@pytest.mark.rule("L13")
def test_what_waits_for_its_announcement_is_hidden_from_the_holder_for_a_month(world):
    """From the holder alone, by the calendar, without a job."""
    made = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))
    ref = f"DocumentReference/{made['id']}"

    before = world.holder().read(ref).status, world.holder().search("DocumentReference").ids
    world.clock.set(NOON + timedelta(days=31))

    assert before == (404, set())
    assert world.holder().read(ref).status == 200


@pytest.mark.rule("L14", "L15")
def test_a_representative_enters_by_the_insurances_or_the_holders_word(world):
    """A RelatedPerson is a representative if the insurance says so, or a Consent names them."""
    world.patient = world.new_patient(birthDate="2011-05-31")
    item = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    parent = {"resourceType": "RelatedPerson", "patient": {"reference": world.patient}, "active": True}
    stated = f"RelatedPerson/{world.insurance.made(parent)['id']}"
    claimed = f"RelatedPerson/{world.ehr.made(parent)['id']}"
    secret = world.ehr.made(document(world.patient, "INVISIBLE_REPRESENTANTS_LEGAUX"))

    assert world.representative(stated).read(item).status == 200
    assert world.representative(claimed).read(item).status == 403
    world.holder().made(consent(world.patient, "permit", actors=[claimed], purposes=["FAMRQT"]))
    assert world.representative(claimed).read(item).status == 200
    assert world.representative(stated).read(f"DocumentReference/{secret['id']}").status == 404
    assert world.holder().read(f"DocumentReference/{secret['id']}").status == 200


def test_a_persons_token_reaches_no_other_record(world, item):
    """A row of another patient, or of two patients, is absent."""
    other = world.new_patient()
    world.holder(other).made(consent(other, "permit"))
    elsewhere = world.professional("1", patient=other)

    assert elsewhere.read(item).status == 404
    assert elsewhere.search("Observation").ids == set()
    assert elsewhere.create(observation(world.patient)).status == 403


def test_a_link_between_patients_opens_nothing(world, item):
    """Neither record to who enters the other; the Patient who links is in their own record, and hidden from nobody there."""
    other = world.new_patient(link=[{"other": {"reference": world.patient}, "type": "seealso"}])
    theirs = f"Observation/{world.ehr.made(observation(other))['id']}"
    for patient in (world.patient, other):
        world.holder(patient).made(consent(patient, "permit", actors=[f"{RPPS}|1"]))

    for enter in (world.holder, lambda patient: world.professional("1", patient=patient)):
        ours, linked = enter(world.patient), enter(other)
        assert (ours.read(item).status, ours.read(theirs).status) == (200, 404)
        assert (linked.read(item).status, linked.read(theirs).status) == (404, 200)
        assert (ours.read(world.patient).status, ours.read(other).status, linked.read(other).status) == (200, 404, 200)
        assert linked.search("Patient").ids == {other.partition("/")[2]}
        assert ours.search("Patient", f"link={world.patient}").ids == set()
    assert world.insurance.read(other).status == 200


def test_a_system_sees_its_own_work_and_what_names_its_structure(world, item):
    """Another structure's EHR finds nothing until the holder's Consent names it."""
    other = world.system("ehr-two", "ehr", "urn:s|2")
    before = other.read(item).status, other.search("Observation").ids
    made = world.holder().made(consent(world.patient, "permit", actors=["urn:s|2"]))

    assert before == (404, set())
    assert other.read(item).status == 200
    assert other.search("Observation").ids == {item.split("/")[1]}
    assert f"Consent/{made['id']} v1, provision" in world.reasons()[0]
    assert world.system("lab-one", "lab", "urn:s|2").read(item).status == 404


def test_a_past_version_is_read_by_a_scope_that_covers_some(world):
    """A search restriction is held against the version itself, by number and in histories."""
    code, shown = {"coding": [{"system": "urn:c", "code": "a"}]}, ["4", "2", "1"]
    made = world.ehr.made(observation(world.patient, code=code))
    ref = f"Observation/{made['id']}"
    assert world.ehr.update(changed(made, status="amended")).status == 200
    assert (
        world.ehr.update(changed(made, status="final", code={"coding": [{"system": "urn:c", "code": "b"}]})).status
        == 200
    )
    assert world.ehr.update(changed(made, status="corrected")).status == 200
    world.ehr.made(observation(world.patient, code={"coding": [{"system": "urn:c", "code": "b"}]}))
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=("system/Observation.rs?code=urn:c|a",))
    holder = world.holder()
    person = type(holder)(world, replace(holder.subject, scopes=("patient/Observation.rs?code=urn:c|a",)))

    for caller in (some, person):
        assert [caller.vread(ref, version).status for version in (1, 2, 3, 4)] == [200, 200, 404, 200]
        for history in (caller.history(ref), caller.history("Observation")):
            assert [entry["resource"]["meta"]["versionId"] for entry in history.body["entry"]] == shown
        assert caller.history(ref).body["total"] == len(shown)
        assert "total" not in caller.history("Observation").body
        for query in ("_summary=count", "_count=0"):
            assert caller.history("Observation", query).status == 422
            assert caller.history(ref, query).body["total"] == len(shown)


def test_a_past_version_is_judged_by_what_it_keeps(world, monkeypatch):
    """No body is read for a search restriction, but that of a version from when they kept less."""
    made = world.ehr.made(observation(world.patient, code={"coding": [{"system": "urn:c", "code": "a"}]}))
    other = {"coding": [{"system": "urn:c", "code": "b"}]}
    for code in (other, made["code"]):
        assert world.ehr.update(changed(made, code=code)).status == 200
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=("system/Observation.rs?code=urn:c|a",))
    ref, found = f"Observation/{made['id']}", [200, 404, 200]
    read = []
    monkeypatch.setattr(vread.codec, "loads_object", lambda body: read.append(body) or json.loads(body))

    assert [some.vread(ref, version).status for version in (1, 2, 3)] == found
    assert read == []

    world.server.store.database["versions"].update_many({}, {"$unset": {"t": "", "r": ""}})
    assert [some.vread(ref, version).status for version in (1, 2, 3)] == found
    assert len(read) == 2


@pytest.mark.parametrize("within", [False, True], ids=["a denial", "an exception to a permission"])
def test_a_consent_is_not_told_to_those_from_whom_it_withholds_something(world, within):
    """By it they would learn that there is what looks absent to them on every other way. Others see it while it is in force; its author always."""
    world.ehr.made(observation(world.patient, meta={"security": [RESTRICTED]}))
    names = [f"{RPPS}|1", "urn:s|2"]
    world.holder().made(consent(world.patient, "permit", actors=[*names, f"{RPPS}|2"]))
    withheld = consent(world.patient, "deny", actors=names, securityLabel=[RESTRICTED])
    if within:
        denial = {"type": "deny", "securityLabel": [RESTRICTED]}
        withheld = consent(world.patient, "permit", actors=names, provision=[denial])
    made = world.holder().made(withheld)
    callers = (
        *(world.professional("1"), world.system("ehr-two", "ehr", "urn:s|2")),
        *(world.professional("2"), world.holder()),
    )
    before = [shows(caller, world.patient, made["id"]) for caller in callers]
    world.holder().update(changed(made, status="inactive"))

    assert before == [{False}, {False}, {True}, {True}]
    assert [shows(caller, world.patient, made["id"]) for caller in callers] == [{False}, {False}, {False}, {True}]


@pytest.mark.parametrize("kind", ["deny", "permit"])
def test_a_consent_that_names_items_is_told_to_those_to_whom_it_opens_them(world, kind):
    """A label may hide from others what it names, and its being accepted says that it is there."""
    item = f"DocumentReference/{world.ehr.made(document(world.patient))['id']}"
    world.holder().made(consent(world.patient, "permit"))
    made = world.holder().made(consent(world.patient, kind, actors=[f"{RPPS}|1"], data=[of("instance", item)]))
    callers = (world.professional("1"), world.professional("2"), world.system("ehr-two", "ehr", "urn:s|2"))

    assert [shows(caller, world.patient, made["id"]) for caller in callers] == [{kind == "permit"}, {False}, {False}]
    assert shows(world.holder(), world.patient, made["id"]) == {True}


def shows(caller, patient, own):
    """Tell by each way whether a Consent is shown."""
    ref = f"Consent/{own}"
    everything = Call("operation", "Patient", patient.partition("/")[2], operation="everything")
    listed = [caller.search("Consent", query) for query in ("", f"_id={own}", f"_filter=_id eq {own}")]
    named = caller.read(ref), caller.vread(ref, 1), caller.history(ref)
    return {
        *(own in each.ids for each in (*listed, caller.history("Consent"), caller.ask(everything))),
        *(each.status == 200 for each in named),
    }


@pytest.mark.parametrize("withheld", ["encounter", "author", "day"])
def test_a_past_version_is_hidden_by_what_the_present_one_holds(world, withheld):
    """Of an encounter, by an author, of a day that a Consent withholds now: in no history, whatever the version held itself."""
    encounter = {"resourceType": "Encounter", "status": "finished", "subject": {"reference": world.patient}}
    visit = f"Encounter/{world.ehr.made({**encounter, 'class': {'code': 'AMB'}})['id']}"
    author = f"Practitioner/{world.ehr.made({'resourceType': 'Practitioner'})['id']}"
    more, data = {
        "encounter": ({"encounter": {"reference": visit}}, {"data": [of("related", visit)]}),
        "author": ({"performer": [{"reference": author}]}, {"data": [of("authoredby", author)]}),
        "day": ({"effectiveDateTime": "2020-05-05"}, {"dataPeriod": {"end": "2021"}}),
    }[withheld]
    made, other = (world.ehr.made(observation(world.patient)) for _ in range(2))
    assert world.ehr.update(changed(made, **more)).status == 200
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1", "urn:s|2"]))
    before = world.professional("1").history("Observation").ids
    world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|1", "urn:s|2"], **data))

    assert before == {made["id"], other["id"]}
    for caller in (world.professional("1"), world.system("ehr-two", "ehr", "urn:s|2")):
        assert caller.vread(f"Observation/{made['id']}", 1).status == 404
        assert caller.history("Observation").ids == {other["id"]}
        assert made["id"] not in caller.ask(Call("history-system")).ids
    assert world.holder().history("Observation").body["total"] == 3


@pytest.mark.parametrize("period", [{"end": "9999-12-31"}, {"start": "1900-01-01", "end": "2200-01-01"}])
def test_what_is_withheld_until_a_far_day_is_withheld_though_it_tells_no_date(world, period):
    """It counts as of its deposit, which is before any day so far away; a permit until then holds likewise."""
    made = world.ehr.made(observation(world.patient))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    before = world.professional("1").search("Observation").ids
    denied = world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|1"], dataPeriod=period))

    assert before == {made["id"]}
    assert world.professional("1").search("Observation").ids == set()
    assert world.professional("1").read(f"Observation/{made['id']}").status == 404
    assert world.holder().delete(f"Consent/{denied['id']}").status == 204
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|2"], dataPeriod=period))
    assert world.professional("2").search("Observation").ids == {made["id"]}


SPANS = {
    "goes over it": {"effectivePeriod": {"start": "2020-01-01", "end": "2024-12-31"}},
    "has no end": {"effectivePeriod": {"start": "2020-01-01"}},
    "has no beginning": {"effectivePeriod": {"end": "2022-06-01"}},
    "a year": {"effectiveDateTime": "2022"},
    "a day": {"effectiveDateTime": "2022-03-01"},
    "several moments": {"effectiveTiming": {"event": ["2019-01-01", "2022-05-05"]}},
}


@pytest.mark.parametrize("when", SPANS)
def test_what_has_some_time_in_common_with_a_withheld_period_is_withheld(world, when):
    """It need not begin in it; what was over before, or came after, is seen. A permission opens what begins in its period alone."""
    before, after = ({"effectivePeriod": {"start": day, "end": day}} for day in ("2022-02-28", "2022-11-02"))
    made = world.ehr.made(observation(world.patient, **SPANS[when]))
    others = {world.ehr.made(observation(world.patient, **each))["id"] for each in (before, after)}
    period = {"start": "2022-03-01T08:00:00+01:00", "end": "2022-11-01T09:00:00-05:00"}
    ref, callers = f"Observation/{made['id']}", (world.professional("1"), world.system("ehr-two", "ehr", "urn:s|2"))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1", "urn:s|2"]))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|3"], dataPeriod=period))
    seen = [each.search("Observation").ids for each in callers]

    world.holder().made(consent(world.patient, "deny", dataPeriod=period))

    assert seen == [{made["id"], *others}] * 2
    for caller in callers:
        assert [caller.read(ref).status, caller.vread(ref, 1).status, caller.history(ref).status] == [404] * 3
        assert caller.search("Observation").ids == caller.history("Observation").ids == others
    assert world.professional("3").search("Observation").ids == set()


@pytest.mark.parametrize("where", ["meta", "securityLabel"])
def test_a_document_is_withheld_by_a_label_wherever_it_has_it(world, where):
    """French and IHE documents carry their confidentiality in ``securityLabel``; a Consent that speaks of it means that as well."""
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    labelled = {"meta": {"meta": {"security": [label]}}, "securityLabel": {"securityLabel": [{"coding": [label]}]}}[
        where
    ]
    made, other = world.ehr.made(document(world.patient, **labelled)), world.ehr.made(document(world.patient))
    ref, doctor = f"DocumentReference/{made['id']}", world.professional("1")
    world.holder().made(consent(world.patient, "permit"))
    before = doctor.search("DocumentReference").ids

    world.holder().made(consent(world.patient, "deny", securityLabel=[label]))

    assert before == {made["id"], other["id"]}
    assert doctor.search("DocumentReference").ids == {other["id"]}
    assert [doctor.read(ref).status, doctor.vread(ref, 1).status, doctor.history(ref).status] == [404] * 3


def test_a_day_of_a_consent_is_a_day_of_the_country(world):
    """What is opened for the 23rd is shut when the 24th begins in Paris, and what is denied from the 25th is shut when that begins there."""
    ref = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    opened, barred = world.professional("1"), world.professional("2")
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"], period={"end": "2026-11-23"}))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|2"]))
    world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|2"], period={"start": "2026-11-25"}))
    seen = []
    for hours in (10.9, 11.1, 34.9, 35.1):  # after noon by UTC, of the 23rd
        world.clock.set(NOON + timedelta(hours=hours))
        seen.append((opened.read(ref).status, barred.read(ref).status))

    assert seen == [(200, 200), (403, 200), (403, 200), (403, 403)]


def of(meaning, ref):
    """Return what a provision is about."""
    return {"meaning": meaning, "reference": {"reference": ref}}


def test_a_professional_seeks_one_ins_at_a_time(world):
    """A list of numbers finds nobody, so that nobody tries numbers out; one is found under each of its systems."""
    numbers = ["279035121518989", "279035121518988"]
    for number in numbers:
        world.new_patient(identifier=[{"system": INS, "value": number}])
    doctor = world.professional(patient="")
    named = [f"{INS}|{number}" for number in numbers]

    assert len(doctor.search("Patient", f"identifier={named[0]}").ids) == 1
    assert len(doctor.search("Patient", f"identifier={named[0]},urn:oid:1.2.250.1.213.1.4.8|{numbers[0]}").ids) == 1
    assert doctor.search("Patient", f"identifier={','.join(named)}").ids == set()


@pytest.mark.rule("F16")
def test_a_foreign_id_is_no_answer(world, item):
    """A system's PUT to another's id is a conflict, a deletion finds nothing, present or deleted."""
    other = world.system("ehr-two", "ehr", "urn:s|2")
    tree = world.ehr.read(item).body
    gone = world.ehr.made(observation(world.patient))
    world.ehr.delete(f"Observation/{gone['id']}")

    assert other.update(changed(tree)).status == 409
    assert other.update(changed(gone)).status == 409
    assert other.delete(item).status == 204
    assert world.ehr.read(item).status == 200
    assert other.read(f"Observation/{gone['id']}").status == 404
    assert world.ehr.read(f"Observation/{gone['id']}").status == 410


def test_people_choose_no_ids(world, item):
    """A PUT to an id that is free is answered as one to an id that is hidden."""
    holder = world.holder()
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))
    free = {**document(world.patient), "id": "free"}

    assert holder.update(free).status == 404
    assert holder.update(changed(hidden)).status == 404
    assert holder.delete(f"DocumentReference/{hidden['id']}").status == 204
    assert world.ehr.read(f"DocumentReference/{hidden['id']}").status == 200


@pytest.mark.rule("F3", "L7")
def test_a_laboratory_writes_into_a_record_that_it_finds_by_ins(world):
    """It learns the id and no more: neither a read nor a conditional create shows the Patient, its version, or when it changed."""
    ins = {"system": INS, "value": "279035121518989"}
    patient = world.insurance.made({"resourceType": "Patient", "identifier": [ins], "birthDate": "1980-01-01"})
    lab = world.system("lab-one", "lab", "urn:l|1")
    named = f"Patient?identifier={INS}|279035121518989"
    result = observation(named, category=[{"coding": [{"code": "laboratory"}]}])
    entry = {"request": {"method": "POST", "url": "Observation"}, "resource": result}

    answer = lab.transaction(entry)

    assert answer.status == 200
    location = answer.body["entry"][0]["response"]["location"]
    made = lab.read("Observation/" + location.split("Observation/")[1].split("/")[0])
    assert made.body["subject"]["reference"] == f"Patient/{patient['id']}"
    again = lab.create({"resourceType": "Patient"}, criteria=named.partition("?")[2])
    assert (again.status, again.body) == (200, {})
    request = {"method": "POST", "url": "Patient", "ifNoneExist": named.partition("?")[2]}
    (found,) = lab.transaction({"request": request, "resource": {"resourceType": "Patient"}}).body["entry"]
    assert found["response"] == {"status": "200 OK", "location": f"{world.server.base_url}/Patient/{patient['id']}"}
    assert lab.read(f"Patient/{patient['id']}").status == 404
    assert lab.search("Patient", "birthdate=1980-01-01").ids == set()


def test_a_professional_without_a_record_finds_one_patient_by_ins(world, item):
    """By the exact number alone, and nothing of the record."""
    made = world.insurance.made(
        {"resourceType": "Patient", "identifier": [{"system": INS, "value": "279035121518989"}]}
    )
    doctor = world.professional("1", patient="")

    assert doctor.search("Patient", f"identifier={INS}|279035121518989").ids == {made["id"]}
    assert doctor.search("Patient", "identifier=279035121518989").ids == set()
    assert doctor.search("Patient", f"identifier={INS}|279035121518989&_revinclude=Observation:patient").ids == {
        made["id"]
    }
    assert doctor.read(f"Patient/{made['id']}").status == 404
    assert doctor.read(item).status == 404


def test_a_token_for_one_record_finds_no_other_by_ins(world):
    """Neither by a condition: it would tell of any number whether somebody has it, and the id of that record."""
    own, other = "279035121518989", "124018852493334"
    made = [
        world.insurance.made({"resourceType": "Patient", "identifier": [{"system": INS, "value": each}]})["id"]
        for each in (own, other)
    ]
    record = f"Patient/{made[0]}"
    lab = world.system("lab-one", "lab", "urn:l|1")
    callers = world.professional("1", patient=record), Actor(world, replace(lab.subject, patient=record))

    def outcome(caller, number):
        criteria = f"identifier={INS}|{number}"
        found = caller.create({"resourceType": "Patient"}, criteria=criteria)
        resource = observation(f"Patient?{criteria}", category=[{"coding": [{"code": "laboratory"}]}])
        told = caller.transaction({"request": {"method": "POST", "url": "Observation"}, "resource": resource})
        assert made[1] not in str((found, told))
        return found.status, told.status

    assert [outcome(each, own) for each in callers] == [(200, 200)] * 2
    assert [outcome(each, other) for each in callers] == [outcome(each, "288091720220371") for each in callers]


def test_who_leaves_a_group_leaves_the_records_that_name_it(world, item):
    """The policy is compiled again in the commit that changes the group."""
    group = {"resourceType": "Group", "type": "practitioner", "actual": True}
    member = {"entity": {"reference": "Practitioner/p1"}}
    made = world.insurance.made({**group, "member": [member]})
    world.holder().made(consent(world.patient, "permit", actors=[f"Group/{made['id']}"]))
    assert world.professional("1").read(item).status == 200

    assert world.insurance.update(changed(made, member=[{**member, "inactive": True}])).status == 200

    assert world.professional("1").read(item).status == 403


def test_no_total_of_a_history_tells_that_a_consent_withholds_something(world, item):
    """By an author, an encounter or a day past versions are judged one by one and not counted: nor are they where none is withheld."""
    world.holder().made(consent(world.patient, "permit"))
    parent = world.insurance.made({"resourceType": "RelatedPerson", "patient": {"reference": world.patient}})
    world.holder().made(consent(world.patient, "permit", actors=[f"RelatedPerson/{parent['id']}"], purposes=["FAMRQT"]))
    bound = Actor(world, replace(world.ehr.subject, patient=world.patient))
    callers = (world.professional("1"), world.representative(f"RelatedPerson/{parent['id']}"), bound)

    def told(caller):
        body = caller.history("Observation").body
        return sorted(body), len(body["entry"])

    before = [told(each) for each in callers]
    world.holder().made(consent(world.patient, "deny", dataPeriod={"end": "2020"}))

    assert [told(each) for each in callers] == before
    assert [keys for keys, _ in before if "total" in keys] == []
    assert world.holder().history("Observation").body["total"] == 1


def test_the_two_numbers_of_a_professional_are_one_name(world, item):
    """An RPPS number, and the national identifier that is 8 and the same number."""
    world.holder().made(consent(world.patient, "permit", actors=["https://rpps.esante.gouv.fr|99700218896"]))

    assert world.professional("899700218896").read(item).status == 200
    assert world.professional("799700218896").read(item).status == 403


@pytest.mark.rule("F17", "matrix")
def test_what_the_patient_wrote_is_a_category_of_its_own(world, item):
    """Whatever the resource says of itself: a profession that reads results does not read those."""
    world.holder().made(consent(world.patient, "permit"))
    own = world.holder().made(observation(world.patient))
    operator, doctor = world.professional("1", profession="98"), world.professional("2")

    assert operator.search("Observation").ids == {item.split("/")[1]}
    assert doctor.search("Observation").ids == {item.split("/")[1], own["id"]}


def test_what_was_moved_to_another_record_is_past_in_neither(world):
    """A result that was filed under the wrong patient: from its correction on, nobody finds by history what vread does not show them."""
    other = world.new_patient()
    made = world.ehr.made(observation(world.patient))
    ref = f"Observation/{made['id']}"

    def versions(who):
        listed = who.history("Observation").body
        found = [entry["resource"]["meta"]["versionId"] for entry in listed["entry"]] if "entry" in listed else []
        assert listed["total"] == len(found)
        assert found == [each for each in "54321" if who.vread(ref, each).status == 200]
        return found

    world.ehr.update(changed(made, status="amended"))
    before = versions(world.holder()), versions(world.holder(other))
    world.ehr.update(changed(made, subject={"reference": other}))
    moved = versions(world.holder()), versions(world.holder(other))
    world.ehr.update(changed({key: value for key, value in made.items() if key != "subject"}))
    nobodys = versions(world.holder()), versions(world.holder(other))
    world.ehr.update(changed(made))
    back = versions(world.holder()), versions(world.holder(other))

    assert before == (["2", "1"], [])
    assert moved == ([], ["3"])
    assert nobodys == ([], [])
    assert back == (["5", "2", "1"], [])
    assert versions(world.ehr) == ["5", "4", "3", "2", "1"]


def test_a_deletion_is_told_to_no_scope_that_covers_some(world):
    """Not even where it leaves something out: what was left out is not told by its deletion. What is covered is deleted by it."""
    code = {"coding": [{"system": "urn:c", "code": "a"}]}
    left_out, covered = (
        f"Observation/{world.ehr.made(observation(world.patient, **more))['id']}" for more in ({"code": code}, {})
    )
    scope = f"system/Observation.ruds?patient={world.patient}&code:not=urn:c|a"
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=(scope,))
    before = some.read(left_out).status, some.read(covered).status

    assert world.ehr.delete(left_out).status == 204
    assert some.delete(covered).status == 204

    assert before == (404, 200)
    assert (some.read(left_out).status, some.read(covered).status) == (404, 404)
    assert world.ehr.read(covered).status == 410
    assert "entry" not in some.history("Observation").body


def test_a_scope_that_covers_some_deletes_what_it_covers(world):
    """By what the resource held; nothing is left that a restriction could be held against."""
    code = {"coding": [{"system": "urn:c", "code": "a"}]}
    covered, other = (
        f"Observation/{world.ehr.made(observation(world.patient, **more))['id']}" for more in ({"code": code}, {})
    )
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=("system/Observation.rd?code=urn:c|a",))

    some.delete(other)

    assert some.delete(covered).status == 204
    assert (world.ehr.read(covered).status, world.ehr.read(other).status) == (410, 200)
