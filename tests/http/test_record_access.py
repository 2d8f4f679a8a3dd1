"""Who enters a record: Consents, the care team, the attending doctor, authors, blocks, oppositions, closing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.access_world import NOON, RPPS, changed, consent, document, observation


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


def test_who_leaves_a_group_leaves_the_records_that_name_it(world, item):
    """The policy is compiled again in the commit that changes the group."""
    group = {"resourceType": "Group", "type": "practitioner", "actual": True}
    member = {"entity": {"reference": "Practitioner/p1"}}
    made = world.insurance.made({**group, "member": [member]})
    world.holder().made(consent(world.patient, "permit", actors=[f"Group/{made['id']}"]))
    assert world.professional("1").read(item).status == 200

    assert world.insurance.update(changed(made, member=[{**member, "inactive": True}])).status == 200

    assert world.professional("1").read(item).status == 403


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
