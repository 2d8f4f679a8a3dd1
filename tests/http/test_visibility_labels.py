"""Labels that hide single items: who may set them, who may lift them, and that past versions follow the present one."""

from __future__ import annotations

import pytest

from fhir_dmp.access.model import Person, Subject
from tests.access_world import SYSTEM, Actor, changed, consent, document


def flags(resource):
    """Return the codes of a resource's visibility labels."""
    return {each["code"] for each in resource["meta"].get("security", ()) if each["system"] == SYSTEM}


def relabelled(resource, *codes):
    """Return the resource with these labels and nothing else changed."""
    security = [{"system": SYSTEM, "code": code} for code in codes]
    bare = {key: value for key, value in changed(resource).items() if key != "securityLabel"}
    return {**bare, "meta": {"security": security}} if security else bare


@pytest.mark.rule("F9")
def test_an_author_chooses_masked_or_hidden_and_not_both(world):
    """At the deposit, each alone."""
    assert world.ehr.create(document(world.patient, "MASQUE_PS")).status == 201
    assert world.ehr.create(document(world.patient, "INVISIBLE_PATIENT")).status == 201
    assert world.ehr.create(document(world.patient, "MASQUE_PS", "INVISIBLE_PATIENT")).status == 422


@pytest.mark.rule("L9")
@pytest.mark.parametrize("label", [("masque_ps", SYSTEM), ("MASQUE", SYSTEM), ("Invisible_Patient", "urn:other")])
def test_a_misspelt_label_is_refused(world, label):
    """It would hide nothing, and who sent it would believe that it does; other labels are anybody's."""
    code, system = label
    made = world.ehr.made(document(world.patient))
    labels = {"meta": {"security": [{"system": system, "code": code}]}}
    other = {"securityLabel": [{"coding": [{"system": system, "code": code}]}]}

    assert [world.ehr.create({**document(world.patient), **each}).status for each in (labels, other)] == [422] * 2
    assert world.ehr.update({**changed(made), **labels}).status == 422
    assert (
        world.ehr.create(document(world.patient, meta={"security": [{"system": "urn:x", "code": "x"}]})).status == 201
    )


@pytest.mark.rule("F9", "L13")
def test_a_holder_hides_nothing_from_themselves(world):
    """What waits for its announcement is a professional's to say."""
    assert world.holder().create(document(world.patient, "INVISIBLE_PATIENT")).status == 422


@pytest.mark.rule("L9")
def test_the_holder_masks_and_unmasks_what_others_wrote(world):
    """By a version that differs in labels alone; any other change is refused."""
    world.holder().made(consent(world.patient, "permit"))
    made = world.ehr.made(document(world.patient))
    ref, holder, doctor = f"DocumentReference/{made['id']}", world.holder(), world.professional("1")

    masked = holder.update(relabelled(made, "MASQUE_PS"))

    assert masked.status == 200
    assert flags(masked.body) == {"MASQUE_PS"}
    assert masked.body["securityLabel"] == [{"coding": [{"system": SYSTEM, "code": "MASQUE_PS"}]}]
    assert doctor.read(ref).status == 404
    assert holder.update({**relabelled(made), "description": "another"}).status == 403
    assert holder.update(relabelled(made)).status == 200
    assert doctor.read(ref).status == 200


@pytest.mark.rule("L9", "F24")
def test_an_author_does_not_unmask_by_sending_the_document_again(world):
    """A new content keeps the labels that its sender leaves out, and may not add any."""
    made = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))
    plain = world.ehr.made(document(world.patient))
    world.holder().update(relabelled(plain, "MASQUE_PS"))

    synced = world.ehr.update({**changed(plain), "description": "corrected"})

    assert flags(synced.body) == {"MASQUE_PS"}
    assert world.ehr.update(relabelled(plain)).status == 200
    assert flags(world.ehr.read(f"DocumentReference/{plain['id']}").body) == {"MASQUE_PS"}
    assert world.ehr.update(relabelled(made, "INVISIBLE_PATIENT", "MASQUE_PS")).status == 422


@pytest.mark.rule("L13")
def test_the_author_lifts_what_waited_for_the_announcement(world):
    """And nobody hides again what the patient has seen."""
    made = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))
    ref = f"DocumentReference/{made['id']}"
    assert world.holder().read(ref).status == 404

    assert world.ehr.update(relabelled(made)).status == 200

    assert world.holder().read(ref).status == 200
    assert world.ehr.update(relabelled(made, "INVISIBLE_PATIENT")).status == 422


@pytest.mark.rule("F12", "L14")
def test_what_representatives_saw_is_not_hidden_from_them_again(world):
    """To make visible is for good."""
    made = world.ehr.made(document(world.patient, "INVISIBLE_REPRESENTANTS_LEGAUX"))

    assert world.ehr.update(relabelled(made)).status == 200
    assert world.ehr.update(relabelled(made, "INVISIBLE_REPRESENTANTS_LEGAUX")).status == 422


@pytest.mark.rule("F10")
def test_a_secret_connection_deposits_secrets_alone(world):
    """Anything else is refused."""
    person = Person(
        "professional", "a", "urn:n|1", "Practitioner/p1", profession="10", patient=world.patient, secret=True
    )
    doctor = Actor(world, Subject("app-one", "app", ("user/*.cruds",), person=person))

    assert doctor.create(document(world.patient)).status == 422
    assert doctor.create(document(world.patient, "INVISIBLE_REPRESENTANTS_LEGAUX")).status == 201


@pytest.mark.rule("L9")
def test_a_label_under_another_system_hides_as_well(world):
    """A sender's other name of the code list is no way around."""
    world.holder().made(consent(world.patient, "permit"))
    tree = {**document(world.patient), "meta": {"security": [{"system": "urn:other", "code": "MASQUE_PS"}]}}
    by_security_label = {**document(world.patient), "securityLabel": [{"coding": [{"code": "MASQUE_PS"}]}]}

    for each in (tree, by_security_label):
        made = world.ehr.made(each)
        assert world.professional("1").read(f"DocumentReference/{made['id']}").status == 404


@pytest.mark.rule("L9")
def test_past_versions_are_hidden_with_the_present_one(world):
    """By vread, and in the history of the type, and shown again when the present one is."""
    world.holder().made(consent(world.patient, "permit"))
    made = world.ehr.made(document(world.patient))
    ref, doctor = f"DocumentReference/{made['id']}", world.professional("1")
    world.ehr.update({**changed(made), "description": "second"})
    assert (doctor.vread(ref, 1).status, len(doctor.history("DocumentReference").body["entry"])) == (200, 2)
    current = world.ehr.read(ref).body

    world.holder().update(relabelled(current, "MASQUE_PS"))

    assert [doctor.vread(ref, version).status for version in (1, 2, 3)] == [404, 404, 404]
    assert doctor.history("DocumentReference").body.get("entry", []) == []
    assert doctor.history(ref).status == 404
    world.holder().update(relabelled(current))
    assert doctor.vread(ref, 1).status == 200
    assert {entry["response"]["etag"] for entry in doctor.history("DocumentReference").body["entry"]} == {
        'W/"1"',
        'W/"2"',
        'W/"4"',
    }


@pytest.mark.rule("L9", "F16")
def test_a_hidden_deleted_item_is_absent_and_not_gone(world):
    """Nobody learns from a deletion that there was something."""
    world.holder().made(consent(world.patient, "permit"))
    made = world.ehr.made(document(world.patient, "MASQUE_PS"))
    ref = f"DocumentReference/{made['id']}"
    world.ehr.delete(ref)

    assert world.ehr.read(ref).status == 410
    assert world.professional("1").read(ref).status == 404
    assert world.professional("1").read(ref).text.replace(made["id"], "x") == world.professional("1").read(
        "DocumentReference/none"
    ).text.replace("none", "x")


@pytest.mark.rule("F18")
def test_an_author_archives_a_document_and_nobody_else_does(world):
    """It is said by an extension: a new version of the same document, which all who saw it go on seeing."""
    made = world.ehr.made(document(world.patient))
    world.holder().made(consent(world.patient, "permit"))
    archived = {"url": "https://interop.esante.gouv.fr/ig/fhir/pdsm/StructureDefinition/pdsm-ext-is-archived"}
    tree = changed(made, extension=[{**archived, "valueBoolean": True}])
    doctor = world.professional("1")

    refused = [doctor.update(tree).status, world.holder().update(tree).status]
    done = world.ehr.update(tree)

    assert refused == [403, 403]
    assert (done.status, done.body["meta"]["versionId"]) == (200, "2")
    assert doctor.read(f"DocumentReference/{made['id']}").body["extension"] == tree["extension"]


@pytest.mark.parametrize(
    "data",
    [
        {"meaning": "related", "reference": "Encounter/e"},
        {"meaning": "authoredby", "reference": "Practitioner/p7"},
        {"meaning": "instance", "reference": None},
    ],
)
def test_what_a_consent_withholds_is_withheld_once_it_is_deleted(world, data):
    """The tombstone is judged by what the item belonged to: it is absent, and not gone."""
    world.insurance.update(
        {
            "resourceType": "Encounter",
            "id": "e",
            "status": "finished",
            "class": {"code": "AMB"},
            "subject": {"reference": world.patient},
        }
    )
    item = {
        "context": {"encounter": [{"reference": "Encounter/e"}]},
        "author": [{"reference": "Practitioner/p7"}],
    }
    made = world.ehr.made(document(world.patient, **item))
    ref = f"DocumentReference/{made['id']}"
    named = {"meaning": data["meaning"], "reference": {"reference": data["reference"] or ref}}
    holder, doctor = world.holder(), world.professional("1")
    holder.made(consent(world.patient, "permit"))
    holder.made(consent(world.patient, "deny", data=[named]))
    before = doctor.read(ref)

    assert world.ehr.delete(ref).status == 204

    assert (before.status, doctor.read(ref).status, doctor.history(ref).status) == (404, 404, 404)
    assert doctor.read(ref).text == before.text
    assert made["id"] not in str(doctor.history("DocumentReference").body)
    assert world.ehr.read(ref).status == 410
    assert world.ehr.search("DocumentReference").ids == set()
    assert world.ehr.search("DocumentReference", "author=Practitioner/p7").ids == set()


@pytest.mark.parametrize("kind", ["alone", "transaction", "batch"])
def test_a_deletion_of_what_is_hidden_is_answered_as_of_what_is_absent_and_told_in_the_log(world, kind):
    """The same answer, nothing done, and the log alone says why."""
    made = world.ehr.made(document(world.patient, "MASQUE_PS"))
    world.holder().made(consent(world.patient, "permit"))
    doctor = world.professional("1")

    def delete(ref):
        if kind == "alone":
            return doctor.delete(ref)
        answer = doctor.transaction({"request": {"method": "DELETE", "url": ref}}, kind=kind)
        assert answer.body.pop("id")  # each has its own
        return answer

    absent = delete("DocumentReference/absent")
    hidden = delete(f"DocumentReference/{made['id']}")
    told = [reason for reasons in world.reasons()[:2] for reason in reasons]

    assert hidden == absent
    assert "MASQUE_PS" in told
    assert world.ehr.read(f"DocumentReference/{made['id']}").status == 200
