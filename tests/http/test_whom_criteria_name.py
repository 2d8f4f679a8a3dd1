"""Whoever criteria name by the definitions of their parameters has it in their journal that nothing meets them."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from fhir_dmp.call import Call
from tests.access_world import INS, observation
from tests.http.newest_row import NUMBER, bundle, entry, numbered, shown, whose

OTHERWISE = (
    "Observation?performer=Patient/{id}&code:text=none",
    "Observation?performer={id}&code:text=none",
    "Coverage?beneficiary={id}&status=cancelled",
    "Appointment?actor={base}/Patient/{id}&status=booked",
    "Communication?recipient:Patient={id}",
    "Observation?has-member={item}&code:text=none",
    "Observation?has-member.subject=Patient/{id}&code:text=none",
    "Observation?has-member:Observation.identifier=urn:x|7&code:text=none",
    "Provenance?target={item}&agent=Practitioner/none",
    "Provenance?target={own}&agent=Practitioner/none",
    "Patient?_has:Observation:patient:subject=Patient/{id}&gender=other",
    "Patient?_has:Observation:patient:_id={own}&gender=other",
    "Patient?_has:Observation:patient:identifier=urn:x|7&gender=other",
    'Observation?_filter=subject eq "Patient/{id}" and code eq "none"',
    "Observation?_filter=subject.identifier eq {ins} and code eq none",
    "Patient?identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|NI|{number}&gender=other",
    "?_type=Condition,Observation&_has:Provenance:target:patient={id}&_id={own}",
    "?_type=Observation,DiagnosticReport&performer=Patient/{id}",
)


def asked(how, world):
    """Return a patient with an INS, and what asks something of them that is not so."""
    patient, own = numbered(world)
    words = {"id": patient, "own": own, "item": f"Observation/{own}", "number": NUMBER, "base": world.server.base_url}
    return f"Patient/{patient}", how.format(ins=f"{INS}|{NUMBER}", **words)


@pytest.mark.parametrize("how", OTHERWISE)
def test_a_search_that_finds_nothing_names_whom_its_parameters_point_at(world, how):
    """By reference, id or number, in a chain, ``_has`` or a filter, or by an item of theirs."""
    patient, query = asked(how, world)
    kind, _, params = query.partition("?")
    call = Call("search-type" if kind else "search-system", kind or None, params=tuple(parse_qsl(params)))
    answer = world.ehr.ask(call)

    assert (answer.status, answer.body["total"], whose(world)) == (200, 0, {patient})
    assert set(shown(world, world.system("auditor-one", "auditor"))) == {patient}


@pytest.mark.parametrize("how", ["performer=Patient/{id}", "has-member={item}", "has-member.subject=Patient/{id}"])
@pytest.mark.parametrize("kind", ["a deletion", "a transaction", "a reference"])
def test_criteria_that_nothing_meets_name_whom_their_parameters_point_at(world, how, kind):
    """As the same question by GET does."""
    patient, criteria = asked(f"{how}&code:text=none", world)
    tree = {**observation(world.patient), "hasMember": [{"reference": f"Observation?{criteria}"}]}
    calls = {
        "a deletion": Call("delete", "Observation", criteria=criteria),
        "a transaction": bundle("transaction", {"request": {"method": "DELETE", "url": f"Observation?{criteria}"}}),
        "a reference": bundle("transaction", entry("POST", "Observation", tree)),
    }
    answer = world.ehr.ask(calls[kind])

    assert (answer.status, whose(world)) == ({"a reference": 400, "a transaction": 200}.get(kind, 204), {patient})


def test_an_item_is_found_among_ids_that_nobody_has(world):
    """However many of them stand before it."""
    patient, own = numbered(world)
    answer = world.ehr.search(
        "Observation", f"_id={','.join(f'absent-{each}' for each in range(99))},{own}&code:text=none"
    )

    assert (answer.body["total"], whose(world)) == (0, {f"Patient/{patient}"})


def test_an_empty_page_names_whom_the_first_one_asked_for(world):
    """By whatever parameter it did."""
    patient, _ = numbered(world)
    made = [world.ehr.made(observation(world.patient, performer=[{"reference": f"Patient/{patient}"}])) for _ in "12"]
    page = world.ehr.search("Observation", f"performer=Patient/{patient}&_count=1")
    [following] = [link["url"] for link in page.body["link"] if link["relation"] == "next"]
    for each in made:
        world.ehr.delete(f"Observation/{each['id']}")
    answer = world.ehr.search("Observation", following.partition("?")[2])

    assert (answer.status, answer.ids) == (200, set())
    assert whose(world) == {f"Patient/{patient}"}


@pytest.mark.parametrize("how", ["performer=Patient/{id}", "encounter=Encounter/absent,{id}&performer=Patient/{id}"])
def test_an_operation_that_finds_nothing_names_whom_its_parameters_point_at(world, how):
    """As a search does."""
    patient, query = asked(f"{how}&status=amended", world)
    call = Call("operation", "Observation", operation="lastn", params=tuple(parse_qsl(query)))

    assert (world.ehr.ask(call).body["total"], whose(world)) == (0, {patient})


@pytest.mark.parametrize("how", ["agent={patient}", "agent:Patient={id}", "policy=Consent/{consent}", "entity={item}"])
def test_a_look_for_events_that_finds_none_names_whom_its_parameters_point_at(world, how):
    """As whoever acted, or by the Consent that decided."""
    patient, own = numbered(world)
    consent = world.ehr.made(
        {
            "resourceType": "Consent",
            "status": "draft",
            "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research"}]},
            "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
            "patient": {"reference": f"Patient/{patient}"},
            "policyRule": {"text": "x"},
        }
    )
    words = {"patient": f"Patient/{patient}", "id": patient, "item": f"Observation/{own}", "consent": consent["id"]}
    auditor = world.system("auditor-one", "auditor")
    answer = auditor.search("AuditEvent", f"date=ge2026&outcome=12&{how.format(**words)}")

    assert (answer.status, answer.body["total"], whose(world)) == (200, 0, {f"Patient/{patient}"})


def test_days_and_actors_that_are_counted_name_whom_they_were_asked_about(world):
    """As whoever acted: that they did nothing is told."""
    patient, _ = numbered(world)
    params = (("date", "ge2026"), ("agent", f"Patient/{patient}"))
    answer = world.system("auditor-one", "auditor").ask(
        Call("operation", "AuditEvent", operation="counts", params=params)
    )

    assert (answer.status, answer.body.get("parameter", []), whose(world)) == (200, [], {f"Patient/{patient}"})
