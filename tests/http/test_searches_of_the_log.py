"""How an auditor searches the log: by what, within what, and what is counted."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from fhir_dmp.call import Call
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service.clients import NewClient
from tests.access_world import RPPS, consent, observation
from tests.http.journal import traces
from tests.http.test_reported_events import SENT

STRUCTURES = "urn:oid:1.2.250.1.71.4.2.2"


def test_what_was_done_by_a_token_is_found_by_it(world, world_auditor):
    """As one asks what a stolen one did: ours and what clients report, and nothing that another token did."""
    item = world.ehr.made(observation(world.patient))
    world.holder().made(consent(world.patient, "permit"))
    doctors = [world.professional(number) for number in ("1", "2")]
    for doctor in doctors:
        doctor.read(f"Observation/{item['id']}")
    [first, second] = [f"urn:ietf:params:oauth:jti:{doctor.subject.token_id}" for doctor in doctors]
    agent = [{"requestor": True, "who": {"display": "x"}, "policy": [first]}]
    reported = world.ehr.made({**SENT, "recorded": "2026-11-01T10:00:00Z", "agent": agent})["id"]
    found = {
        asked: {
            event["agent"][2]["who"]["identifier"]["value"] if len(event["agent"]) > 1 else event["id"]
            for event in traces(world_auditor, f"date=ge2026&policy={asked}")
        }
        for asked in (first, second, f"{first},{second}", "urn:ietf:params:oauth:jti:nobodys")
    }

    assert list(found.values()) == [{"1", reported}, {"2"}, {"1", "2", reported}, set()]


@pytest.mark.parametrize(
    ("number", "system"),
    [("tester", "urn:fhir-dmp:operator"), ("1750000001", STRUCTURES), ("899700218896", RPPS), ("nobody", None)],
)
def test_an_agent_is_found_by_their_number_alone(world, world_auditor, number, system):
    """Operators, structures and professionals, as by the number with its system; by neither where the system is said to be none."""
    world.system("ehr-two", "ehr", f"{STRUCTURES}|1750000001").search("Observation")
    world.professional("899700218896").search("Observation")
    context = world.server.operator_context("tester", "test")
    world.server.clients.add(
        NewClient("phone", "public", "app", ("patient/*.rs",), redirect_uris=("https://x.example/",)), context
    )

    def found(asked):
        return [event["id"] for event in traces(world_auditor, f"date=ge2026&{asked}")]

    for name in ("agent:identifier", "agent"):
        assert found(f"{name}={number}") == (found(f"{name}={system}|{number}") if system else [])
        assert bool(found(f"{name}={number}")) == bool(system)
    assert found(f"agent:identifier=|{number}") == (found(f"agent:identifier={number}") if system == RPPS else [])


def test_an_auditor_is_asked_for_a_date(world_auditor):
    """The refusal says what to write."""
    answer = world_auditor.search("AuditEvent", "outcome=8")

    assert answer.status == 400
    assert "date=ge" in answer.text


@pytest.mark.parametrize(
    "query", ["_include=AuditEvent:patient", "_revinclude=Provenance:target", "_has:x:y:z=1", "entity.name=x"]
)
def test_nothing_leads_out_of_the_log(world_auditor, query):
    """However lenient a search is asked to be."""
    assert world_auditor.search("AuditEvent", f"date=ge2026&{query}").status == 400


def test_what_the_log_is_not_searched_by_is_passed_over_and_told(world_auditor):
    """Lenient by default, as other searches; an outcome in the bundle says so."""
    answer = world_auditor.search("AuditEvent", "date=ge2026&altid=x&_count=1")

    modes = [entry["search"]["mode"] for entry in answer.body["entry"]]
    assert modes == ["match", "outcome"]
    assert "altid" in json.dumps(answer.body["entry"][1])


def in_compartment(actor, record, query=""):
    """Return how many AuditEvents somebody finds in a compartment, and the answer."""
    kept = Ref(*record.split("/"))
    asked = tuple(parse_qsl(f"date=ge2020&_total=accurate&{query}"))
    answer = actor.ask(Call("search-type", "AuditEvent", params=asked, compartment=kept))
    return answer.body.get("total"), answer


def test_a_search_of_the_log_within_a_compartment_is_held_to_it(world, world_auditor):
    """By what R4 has it be a member by: of a patient ``patient``, of who acted ``agent``; its links stay in it."""
    world.ehr.made(observation(world.patient))
    other = world.new_patient()
    world.professional("7").read(world.patient)
    found, answer = in_compartment(world_auditor, world.patient, "_count=1")
    base = f"{world.server.base_url}/{world.patient}/AuditEvent?"
    links = {link["relation"]: link["url"] for link in answer.body["link"]}
    token = tuple(parse_qsl(links["next"].partition("?")[2]))
    at = {"compartment": Ref(*world.patient.split("/")), "params": token}
    following = world_auditor.ask(Call("search-type", "AuditEvent", **at))
    elsewhere = world_auditor.ask(Call("search-type", "AuditEvent", params=token))

    assert found == 3
    assert in_compartment(world_auditor, other)[0] == 1
    assert in_compartment(world_auditor, "Practitioner/p7")[0] == 1
    assert in_compartment(world_auditor, "Device/absent")[0] == 0
    assert in_compartment(world.holder(), "Practitioner/p7")[0] == 1
    assert in_compartment(world.holder(other), "Practitioner/p7")[0] == 0
    assert [url.startswith(base) for url in links.values()] == [True, True]
    assert (following.status, len(following.body["entry"])) == (200, 1)
    assert elsewhere.status == 400


@pytest.mark.parametrize("record", ["Encounter/e", "RelatedPerson/r", "Observation/o", "Practitioner/p7,ehr-one"])
def test_the_log_is_in_no_compartment_that_does_not_have_it(world_auditor, record):
    """By R4 AuditEvents are in those of patients, practitioners and devices; what is no id names none of them."""
    assert in_compartment(world_auditor, record)[1].status == 400


def test_counts_by_day_and_actor_are_told_without_an_event(world, world_auditor):
    """For auditors of all, for holders of their own record."""
    world.ehr.made(observation(world.patient))
    world.ehr.made(observation(world.new_patient()))
    counted = world_auditor.ask(
        Call("operation", "AuditEvent", operation="counts", params=(("date", "ge2026-11-23"), ("subtype", "create")))
    )
    own = world.holder().ask(Call("operation", "AuditEvent", operation="counts", params=(("date", "ge2026-11-23"),)))
    rows = [{part["name"]: part for part in item["part"]} for item in counted.body["parameter"]]

    assert [(row["day"]["valueDate"], row["actor"]["valueString"], row["events"]["valueInteger"]) for row in rows] == [
        ("2026-11-23", "ehr-one", 2),
        ("2026-11-23", "insurance", 2),
    ]
    assert {item["part"][1]["valueString"]: item["part"][2]["valueInteger"] for item in own.body["parameter"]} == {
        "ehr-one": 1,
        "insurance": 1,
    }
    assert (
        world.ehr.ask(Call("operation", "AuditEvent", operation="counts", params=(("date", "ge2026"),))).status == 403
    )
