"""A Binary is seen by who sees the document that names it, or the record that it says it belongs to."""

from __future__ import annotations

import pytest

from fhir_dmp.call import Call
from tests.access_world import RPPS, consent, document
from tests.http.test_choices_of_the_patient import say

TEXT = {"resourceType": "Binary", "contentType": "text/plain", "data": "Qm9uam91cg=="}


@pytest.fixture
def world(world):
    """A record that is open to professional 1."""
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    return world


def stored(world, *, absolute=False, **more):
    """Store a Binary and a document that names it, as the EHR of structure 1; return both references."""
    binary = f"Binary/{world.ehr.made({**TEXT, **more})['id']}"
    url = f"{world.server.base_url}/{binary}" if absolute else binary
    tree = document(world.patient)
    tree["content"][0]["attachment"]["url"] = url
    return binary, f"DocumentReference/{world.ehr.made(tree)['id']}"


@pytest.mark.parametrize("absolute", [False, True])
def test_who_sees_the_document_reads_its_content(world, absolute):
    """The holder and the authorised professional do, nobody else does, and the event names the record."""
    binary, _ = stored(world, absolute=absolute)
    other = world.new_patient()

    assert world.holder().read(binary).status == 200
    assert world.professional("1").read(binary).status == 200
    assert world.professional("2").read(binary).status == 403
    assert world.holder(other).read(binary).status == 404
    assert world.system("ehr-two", "ehr", "urn:s|2").read(binary).status == 404
    assert world.ehr.read(binary).status == 200


def test_the_event_of_a_content_names_the_record(world):
    """Who opened it stands in the record's own traces."""
    binary, _ = stored(world)
    world.professional("1").read(binary)

    entries = world.holder().search("AuditEvent", "subtype=read&_count=50").body["entry"]

    assert any(binary in str(each["resource"]["entity"]) for each in entries)


def test_a_masked_document_hides_its_content(world):
    """From the moment that the holder masks it, though the Binary says that it belongs to the record."""
    binary, made = stored(world, securityContext={"reference": world.patient})
    doctor = world.professional("1")
    before = doctor.read(binary).status

    say(world.holder(), "mask", item={"reference": made})

    assert (before, doctor.read(binary).status, doctor.vread(binary, 1).status) == (200, 404, 404)
    assert world.holder().read(binary).status == 200


def named_by(actor, patient, binary, *flags):
    """Store a document of the actor's own that names the content; return its reference."""
    tree = document(patient, *flags)
    tree["content"][0]["attachment"]["url"] = binary
    return f"DocumentReference/{actor.made(tree)['id']}"


@pytest.mark.parametrize("within", [True, False], ids=["of the record", "of another record"])
def test_a_document_of_somebody_elses_opens_no_content(world, within):
    """Who knows the id of a content that is hidden from them, and writes a document that names it, reads it no more than before."""
    whose = world.patient if within else world.new_patient()
    binary = f"Binary/{world.ehr.made({**TEXT, 'securityContext': {'reference': whose}})['id']}"
    named_by(world.ehr, whose, binary, "MASQUE_PS")
    doctor = world.professional("1")
    callers = [doctor] if within else [doctor, world.holder(), world.system("ehr-two", "ehr", "urn:s|2")]
    before = [each.read(binary).status for each in callers]
    for each in callers:
        named_by(each, world.patient, binary)

    assert before == [404] * len(callers)
    assert [each.read(binary).status for each in callers] == before
    assert world.holder(whose).read(binary).status == 200


def test_a_document_of_another_author_may_hide_a_content_of_the_record(world):
    """Where its own author wrote none, it is seen by who sees the record and all documents that name it."""
    binary = f"Binary/{world.ehr.made({**TEXT, 'securityContext': {'reference': world.patient}})['id']}"
    made = named_by(world.system("lab", "lab"), world.patient, binary)
    doctor = world.professional("1")
    before = doctor.read(binary).status

    say(world.holder(), "mask", item={"reference": made})

    assert (before, doctor.read(binary).status, world.holder().read(binary).status) == (200, 404, 200)


def test_a_content_of_no_document_follows_its_security_context(world):
    """The record that it names, and without one its author alone."""
    of_record = f"Binary/{world.ehr.made({**TEXT, 'securityContext': {'reference': world.patient}})['id']}"
    of_nobody = f"Binary/{world.ehr.made(TEXT)['id']}"

    assert world.holder().read(of_record).status == 200
    assert world.professional("1").read(of_record).status == 200
    assert world.holder().read(of_nobody).status == 404
    assert world.ehr.read(of_nobody).status == 200


def test_a_content_is_listed_to_its_author_alone(world):
    """Others find it by the document: no list tells of the content of what is masked, whatever record it says it belongs to."""
    binary, made = stored(world, securityContext={"reference": world.patient})
    say(world.holder(), "mask", item={"reference": made})
    doctor, own = world.professional("1"), binary.partition("/")[2]

    def lists(who):
        system = Call("search-system", params=(("_type", "Binary,Observation"),))
        return [
            own in found
            for found in (
                who.search("Binary").ids,
                who.search("Binary", f"_id={own}").ids,
                who.ask(system).ids,
                who.history("Binary").ids,
                {str(who.search("Binary", "_summary=count").body.get("total", 0) and own)},
            )
        ]

    assert lists(doctor) == [False] * 5
    assert lists(world.ehr) == [True] * 5
    assert world.holder().read(binary).status == 200
