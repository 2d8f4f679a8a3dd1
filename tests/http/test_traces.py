"""Who opened a record, told to those whom it concerns: all of it, in words, with what the law asks for."""

from __future__ import annotations

import base64
import json

import pytest

from fhir_dmp.call import Call
from tests.access_world import RPPS, changed, consent, observation
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.http.journal import acts, told, traces, user

ACCESS_MODE = "https://mos.esante.gouv.fr/NOS/TRE_R248-ModeAcces/FHIR/TRE-R248-ModeAcces"


@pytest.mark.rule("L16", "L17")
def test_the_holder_sees_everything_that_was_done_to_the_record(world):
    """Writes by systems, reads and refused attempts of professionals, and what the holder did: newest first."""
    item = world.ehr.made(observation(world.patient))
    other = world.new_patient()
    world.ehr.made(observation(other))
    doctor = world.professional("1", name="Dr Anne Martin")
    doctor.read(f"Observation/{item['id']}")
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    doctor.read(f"Observation/{item['id']}")
    doctor.search("Observation", "code=http://loinc.org|4548-4")
    doctor.made(observation(world.patient))
    events = traces(world.holder())

    assert acts(events)[:7] == [
        ("create", "0"),
        ("search-type", "0"),
        ("read", "0"),
        ("create", "0"),
        ("read", "8"),
        ("create", "0"),
        ("create", "0"),
    ]
    assert [event["recorded"] for event in events] == sorted((event["recorded"] for event in events), reverse=True)
    assert other not in json.dumps(events)
    assert "Dr Anne Martin (médecin) (structure 9) par app-one a consulté" in told(events[2])
    assert "L'accès a été refusé." in told(events[4])
    assert "mesure ou résultat" in told(events[2])
    assert "23 novembre 2026" in told(events[2])
    assert "pour des soins" in told(events[2])
    assert "192.0.2.7" in told(events[2])


def test_looking_at_the_traces_is_a_trace_and_is_told_in_the_next_look(world):
    """By the holder as by the auditor."""
    traces(world.holder())
    event = traces(world.holder())[0]

    assert [each["code"] for each in event["subtype"]] == ["search-type", "110101"]
    assert user(event)["who"]["reference"] == world.patient


def test_what_is_taken_out_of_a_record_is_told_among_its_traces(world, world_auditor):
    """A result that is filed under another patient, or under none, is gone from the record: its holder hears of that, though not of what it was."""
    other = world.new_patient()
    item = world.ehr.made(observation(world.patient))
    ref = f"Observation/{item['id']}"
    world.ehr.update(changed(item, subject={"reference": other}))
    moved = traces(world.holder(), "subtype=update"), traces(world.holder(other), "subtype=update")
    world.ehr.update(changed({key: value for key, value in item.items() if key != "subject"}))

    assert [acts(events) for events in moved] == [[("update", "0")], [("update", "0")]]
    assert [item["id"] in json.dumps(events) for events in moved] == [False, True]
    assert acts(traces(world.holder(other), "subtype=update")) == [("update", "0")] * 2
    assert traces(world.holder(), f"entity={ref}") == []
    found = traces(world_auditor, f"date=ge2026-01-01&entity={ref}&subtype=update&patient={world.patient}")
    assert acts(found) == [("update", "0")]


WAYS = {
    "read": lambda actor, ref: actor.read(ref),
    "vread": lambda actor, ref: actor.vread(ref, 2),
    "patch": lambda actor, ref: actor.ask(Call("patch", *ref.split("/"), body=b"[]")),
    "$meta": lambda actor, ref: actor.ask(Call("operation", *ref.split("/"), operation="meta")),
    "$validate": lambda actor, ref: actor.ask(Call("operation", *ref.split("/"), operation="validate")),
}


@pytest.mark.rule("L16")
@pytest.mark.parametrize("way", WAYS)
def test_who_asks_for_what_was_deleted_is_told_among_the_traces_of_its_patient(world, world_auditor, way):
    """To the holder, in whose journal stands what it was, and to the auditor who searches by the patient; the answer says no more than before."""
    ref = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    assert world.ehr.delete(ref).status == 204

    answer = WAYS[way](world.ehr, ref)

    assert answer.status == 410
    assert world.patient not in repr(answer)
    for events in (
        traces(world.holder(), f"entity={ref}&subtype={way}"),
        traces(world_auditor, f"date=ge2026&patient={world.patient}&entity={ref}&subtype={way}"),
    ):
        assert acts(events) == [("operation" if way[0] == "$" else way, "4")]
        assert events[0]["entity"][0]["what"] == {"reference": world.patient}
        assert "410" in events[0]["outcomeDesc"]


def test_who_reads_in_a_transaction_what_it_deletes_is_told_among_the_traces_of_its_patient(world):
    """All of it is refused, and nothing was deleted; a record that is gone is asked for as a whole in the same way."""
    ref = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    both = [{"request": {"method": method, "url": ref}} for method in ("DELETE", "GET")]

    assert world.ehr.transaction(*both).status == 410
    assert acts(traces(world.holder(), "subtype=transaction&outcome=4")) == [("transaction", "4")]
    assert world.ehr.read(ref).status == 200


def test_nobody_else_reads_the_log(world):
    """A system, a professional and an administrator are refused, whatever their scopes."""
    world.ehr.made(observation(world.patient))
    event = traces(world.holder())[0]
    strangers = [world.ehr, world.professional("1"), world.system("admin", "admin"), world.holder(world.new_patient())]

    assert [each.search("AuditEvent").status for each in strangers[:3]] == [403, 403, 403]
    assert [each.read(f"AuditEvent/{event['id']}").status for each in strangers] == [403, 403, 403, 404]
    assert event["id"] not in {each["id"] for each in traces(strangers[3])}


def test_an_emergency_is_told_with_its_reason_to_the_holder_and_without_it_to_the_auditor(world, world_auditor):
    """The purpose stands in both codes, of HL7 and of France; the words of the reason are clinical."""
    world.ehr.made(observation(world.patient))
    world.professional("1", purpose="BTG", reason="patiente inconsciente, diabète").search("Observation")
    event = traces(world.holder(), "purpose=bris_de_glace")[0]
    audited = traces(world_auditor, "date=ge2026&purpose=BTG")[0]
    codings = user(event)["purposeOfUse"][0]["coding"]

    assert [each["code"] for each in codings] == ["BTG", "bris_de_glace"]
    assert codings[1]["system"] == ACCESS_MODE
    assert "patiente inconsciente" in event["outcomeDesc"]
    assert "Motif écrit : patiente inconsciente" in told(event)
    assert event["id"] == audited["id"]
    assert "inconsciente" not in json.dumps(audited, ensure_ascii=False)


def test_clinical_values_of_a_query_are_kept_apart_from_the_row_that_is_proven(world, world_auditor):
    """The row names their digest; neither its bytes nor what an auditor sees holds them."""
    world.holder().made(consent(world.patient, "permit"))
    world.professional("1").search("Observation", "code=http://loinc.org|4548-4&_count=5")
    event = traces(world_auditor, "date=ge2026&subtype=search-type&agent=Practitioner/p1")[0]
    stored = world.server.store.find_event(event["id"])
    query = next(entity for entity in event["entity"] if "query" in entity)

    assert b"4548" not in stored.body
    assert b"4548" in stored.secret
    assert "4548" not in base64.b64decode(query["query"]).decode() + query["description"]
    assert "_count=5" in query["description"]
    assert "4548" not in json.dumps(traces(world.holder()))


def test_the_consent_and_its_version_that_decided_stand_in_the_event(world, world_auditor):
    """By what it was permitted; and of a refusal, as a decision of its own beside it."""
    item = world.ehr.made(observation(world.patient))
    permit = world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    doctor = world.professional("1")
    doctor.read(f"Observation/{item['id']}")
    deny = world.holder().made(consent(world.patient, "deny", actors=["Practitioner/p1"]))
    doctor.read(f"Observation/{item['id']}")
    base = world.server.base_url
    refused, permitted = traces(world_auditor, f"date=ge2026&subtype=read&patient={world.patient}")
    [decision] = traces(world_auditor, f"date=ge2026&subtype=AuthZ-Consent&entity=Consent/{deny['id']}")

    policies = [policy for agent in permitted["agent"] for policy in agent.get("policy", ())]
    assert f"{base}/Consent/{permit['id']}/_history/1" in policies
    assert refused["outcome"] == decision["outcome"] == "8"
    assert decision["id"] == f"{refused['id']}-2"
    assert claimed(decision, FACTS) == []
    assert decision["meta"]["profile"][0].endswith("AuthZconsent")
    assert [event["id"] for event in traces(world_auditor, f"date=ge2026&policy=Consent/{permit['id']}")] == [
        permitted["id"]
    ]


EHDS = {
    "the provider or other person who had access": lambda event: user(event)["who"]["identifier"]["value"] == "1",
    "the individual who had access, by name and profession": lambda event: (
        user(event)["name"] == "Dr Anne Martin" and user(event)["role"][0]["coding"][0]["code"] == "10"
    ),
    "the categories of data": lambda event: any(
        detail["type"] == "Observation" for entity in event["entity"] for detail in entity.get("detail", ())
    ),
    "the date and time": lambda event: event["recorded"].startswith("2026-11-23T12:"),
    "the origin of the data": lambda event: (
        any(entity.get("what", {}).get("reference", "").startswith("Patient/") for entity in event["entity"])
        and event["source"]["observer"]["identifier"]["value"].endswith("/fhir")
    ),
}


@pytest.mark.parametrize("field", EHDS)
def test_the_log_holds_what_european_law_asks_of_it(world, world_auditor, field):
    """The fields of Regulation (EU) 2025/327, Annex II, 3.2, one by one, as an auditor finds them."""
    world.ehr.made(observation(world.patient))
    world.holder().made(consent(world.patient, "permit"))
    world.professional("1", name="Dr Anne Martin").search("Observation")
    event = traces(world_auditor, f"date=ge2026-11-23&patient={world.patient}&agent=Practitioner/p1")[0]

    assert EHDS[field](event)
    structures = [
        agent["who"]["identifier"] for agent in event["agent"] if agent["type"]["coding"][0]["code"] == "PROV"
    ]
    assert structures == [{"system": "urn:s", "value": "9"}]


def test_every_event_of_a_record_meets_the_profile_that_it_claims(world, world_auditor):
    """Whatever people and systems did here: the checker finds nothing wrong, and successes of reads and writes claim something."""
    item = world.ehr.made(observation(world.patient))
    world.holder().made(consent(world.patient, "permit"))
    doctor = world.professional("1", name="Dr Anne Martin")
    doctor.read(f"Observation/{item['id']}")
    doctor.search("Observation")
    doctor.history(f"Observation/{item['id']}")
    doctor.read("Observation/absent")
    doctor.ask(Call("operation", "Observation", item["id"], operation="meta"))
    doctor.transaction(
        {"request": {"method": "POST", "url": "Observation"}, "resource": observation(world.patient)},
        {"request": {"method": "GET", "url": f"Observation/{item['id']}"}},
    )
    world.ehr.update({**item, "status": "amended"})
    world.ehr.delete(f"Observation/{item['id']}")
    traces(world.holder())
    events = traces(world_auditor, "date=ge2026&_count=500")

    assert {"history-instance", "transaction", "operation"} <= {code for code, _ in acts(events)}
    assert [(event["id"], found) for event in events if (found := claimed(event, FACTS))] == []
    profiled = {"read", "search-type", "create", "update", "delete"}
    assert all(
        "profile" in event["meta"] for event in events if event["outcome"] == "0" and acts([event])[0][0] in profiled
    )
