"""An answer that found something tells of others, too, whom its criteria led to; and one that is within a resource tells whose that is."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from fhir_dmp.call import Call
from fhir_dmp.fhir.reference import Ref
from tests.access_world import INS, document, observation
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.http.journal import parent_of, traces
from tests.http.newest_row import HIDDEN, NUMBER, bundle, entry, told, whose


@pytest.fixture
def led(world):
    """What leads to a patient: by their id, what they have and what others have that refers to it."""
    numbers = [{"system": INS, "value": NUMBER}]
    patient = world.ehr.made({"resourceType": "Patient", "active": True, "identifier": numbers})["id"]
    ref = f"Patient/{patient}"
    own = world.ehr.made({**observation(ref), "identifier": [{"system": "urn:x", "value": "7"}]})["id"]
    doctor = world.insurance.made({"resourceType": "Practitioner", "active": True})["id"]
    medication = world.insurance.made({"resourceType": "Medication", "code": {"text": "m"}})["id"]
    made = {
        "Observation": observation(ref, performer=[{"reference": f"Practitioner/{doctor}"}], code={"text": "x"}),
        "MedicationRequest": {
            "resourceType": "MedicationRequest",
            "status": "active",
            "intent": "order",
            "medicationReference": {"reference": f"Medication/{medication}"},
            "subject": {"reference": ref},
        },
        "Encounter": {
            "resourceType": "Encounter",
            "status": "finished",
            "class": {"code": "AMB"},
            "subject": {"reference": ref},
        },
        "List": {
            "resourceType": "List",
            "status": "current",
            "mode": "working",
            "subject": {"reference": ref},
            "entry": [{"item": {"reference": f"Medication/{medication}"}}],
        },
    }
    ids = {kind: world.ehr.made(tree)["id"] for kind, tree in made.items()}
    world.ehr.made(observation(world.patient, hasMember=[{"reference": f"Observation/{own}"}]))
    return {"patient": ref, "own": own, **{kind.lower(): each for kind, each in ids.items()}}


FOUND = {
    "Practitioner?_has:Observation:performer:patient={patient}": "theirs alone",
    "Practitioner?_has:Observation:performer:_id={observation}": "theirs alone",
    "Practitioner?_has:Observation:performer:patient.identifier={ins}|{number}": "theirs alone",
    "Medication?_has:MedicationRequest:medication:patient={patient}&code:text=m": "theirs alone",
    "Medication?_has:MedicationRequest:medication:patient={patient}&_summary=count": "theirs alone",
    "Medication?_list={list}": "theirs alone",
    "Observation?has-member.subject={patient}": "both",
    "Observation?has-member:Observation.identifier=urn:x|7&_summary=count": "both",
    "Observation?_filter=has-member.subject eq {patient}": "both",
}


@pytest.mark.parametrize("how", FOUND)
def test_what_is_found_tells_of_those_whom_its_criteria_lead_to(world, led, how):
    """Whose medication it is, though a medication is nobody's; of what was found the events of others name nothing."""
    kind, _, query = how.format(**led, ins=INS, number=NUMBER).partition("?")
    answer = world.ehr.search(kind, query)
    wanted = {led["patient"], *([world.patient] if FOUND[how] == "both" else [])}

    assert (answer.status, answer.body["total"], whose(world)) == (200, 1, wanted)
    assert told(world).get("touched", {}).get(led["patient"], {}) == {}
    auditor = world.system("auditor-one", "auditor")
    events = [
        each["resource"] for each in auditor.search("AuditEvent", "date=ge2026&agent=ehr-one&_count=3").body["entry"]
    ]
    assert [claimed(event, FACTS) for event in events] == [[]] * 3


@pytest.mark.parametrize("more", ["", "&_summary=count"])
def test_what_is_in_nobodys_record_tells_of_whom_it_was_asked_about(world, led, more):
    """It names them, and no element of it says that it is theirs."""
    target = [{"reference": led["patient"]}]
    world.ehr.made({"resourceType": "VerificationResult", "status": "validated", "target": target})
    answer = world.ehr.search("VerificationResult", f"target={led['patient']}{more}")

    assert (answer.body["total"], whose(world)) == (1, {led["patient"]})


def test_what_a_chain_asks_of_its_own_patient_is_not_looked_for_again(world, led, monkeypatch):
    """As most ask who know a patient by the INS."""

    def none(*_, **__):
        raise AssertionError("looked for again")

    world.ehr.search("Patient", "_count=1")
    for name in ("concerned", "find_many"):
        monkeypatch.setattr(type(world.server.store), name, none)
    for chain in ("patient.identifier", "subject:Patient.identifier"):
        assert world.ehr.search("Observation", f"{chain}={INS}|{NUMBER}").body["total"] == 2
        assert whose(world) == {led["patient"]}


def test_criteria_that_are_met_tell_of_those_whom_they_lead_to(world, led):
    """By a reference that a transaction settles, somebody else's doctor is told to be theirs."""
    criteria = f"Practitioner?_has:Observation:performer:patient={led['patient']}"
    made = observation(world.patient, performer=[{"reference": criteria}])

    assert world.ehr.ask(bundle("transaction", entry("POST", "Observation", made))).status == 200
    assert whose(world) == {led["patient"], world.patient}


def validation(mode, **more):
    """Return the body of a validation."""
    parts = [{"name": "mode", "valueCode": mode}, *({"name": name, "resource": each} for name, each in more.items())]
    return json.dumps({"resourceType": "Parameters", "parameter": parts}).encode()


def operation(kind, own, name, query="", body=None):
    """Return the call of an operation on a resource."""
    return Call("operation", kind, own, operation=name, params=tuple(parse_qsl(query)), body=body)


WITHIN = {
    "a compartment": lambda led: Call(
        "search-type", "Observation", params=(("code", "none"),), compartment=Ref("Encounter", led["encounter"])
    ),
    "a compartment of all types": lambda led: Call(
        "search-system", params=(("_tag", "none"),), compartment=Ref("Encounter", led["encounter"])
    ),
    "all of an encounter since": lambda led: operation(
        "Encounter", led["encounter"], "everything", "_since=2099-01-01T00:00:00Z"
    ),
    "types of an encounter": lambda led: operation("Encounter", led["encounter"], "everything", "_type=Condition"),
    "a number of an encounter": lambda led: operation("Encounter", led["encounter"], "everything", "_summary=count"),
    "what is stored, held to the rules": lambda led: operation("Observation", led["own"], "validate"),
    "a deletion, tried": lambda led: operation("Observation", led["own"], "validate", "", validation("delete")),
    "an update, tried": lambda led: operation(
        "Observation",
        led["own"],
        "validate",
        "",
        validation("update", resource={**observation(led["patient"]), "id": led["own"]}),
    ),
}


@pytest.mark.parametrize("how", WITHIN)
def test_what_is_asked_of_a_resource_stands_in_the_journal_of_its_patient(world, led, how):
    """Also where the answer is nothing, a number, or a word on what is there."""
    answer = world.ehr.ask(WITHIN[how](led))

    assert answer.status == 200
    assert whose(world) == {led["patient"]}


def test_that_a_number_is_taken_stands_in_the_journal_of_who_has_it(world, led):
    """It tells that there is such a record; whose number it was to be finds it, too."""
    taken = {"resourceType": "Patient", "active": True, "identifier": [{"system": INS, "value": NUMBER}]}
    assert world.insurance.create(taken).status == 409
    assert whose(world) == {led["patient"]}

    answer = world.insurance.update({**taken, "id": world.patient.partition("/")[2]})
    assert (answer.status, whose(world)) == (409, {led["patient"], world.patient})


def test_what_leads_to_what_is_hidden_from_representatives_is_hidden_from_them(world):
    """In the journal that it leads to; what was found tells its own."""
    father, found = parent_of(world), []
    for flags in ((HIDDEN,), ()):
        own = world.ehr.made(document(world.patient, *flags))["id"]
        tree = document(world.new_patient())
        related = [{"code": "appends", "target": {"reference": f"DocumentReference/{own}"}}]
        world.ehr.made({**tree, "relatesTo": related})
        query = f"relatesto:DocumentReference._id={own}"
        assert world.ehr.search("DocumentReference", query).body["total"] == 1
        found.append([len(traces(who, "subtype=search-type&agent=ehr-one")) for who in (father, world.holder())])

    assert found == [[0, 1], [1, 2]]
