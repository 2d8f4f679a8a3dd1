"""Who opened a record, told to those whom it concerns: all of it, in words, and nothing that the law still hides from them."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from urllib.parse import parse_qsl

import pytest

from fhir_dmp.call import Call
from fhir_dmp.definitions.loader import load
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.about import ELEMENTS
from fhir_dmp.service.clients import NewClient
from tests.access_world import INS, NOON, RPPS, changed, consent, document, observation
from tests.balp import claimed
from tests.balp_facts import FACTS
from tests.http.test_reported_events import SENT

ACCESS_MODE = "https://mos.esante.gouv.fr/NOS/TRE_R248-ModeAcces/FHIR/TRE-R248-ModeAcces"


@pytest.fixture
def auditor(world):
    """An auditor."""
    return world.system("auditor-one", "auditor")


STRUCTURES = "urn:oid:1.2.250.1.71.4.2.2"


def traces(actor, query=""):
    """Return the AuditEvents that somebody finds."""
    answer = actor.search("AuditEvent", query)
    assert answer.status == 200, answer
    return [entry["resource"] for entry in answer.body.get("entry", ())]


def told(event):
    """Return what an event says in words."""
    return event["text"]["div"]


def acts(events):
    """Return interaction and outcome of each."""
    return [(event["subtype"][0]["code"], event["outcome"]) for event in events]


def user(event):
    """Return the agent who asked for it."""
    return next(agent for agent in event["agent"] if agent["requestor"])


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


def test_an_item_that_is_hidden_from_the_holder_is_not_named_and_its_reading_is_told(world, auditor):
    """Who, when and where stand there; which document it was is told once the law lets it be seen."""
    world.holder().made(consent(world.patient, "permit"))
    doctor = world.professional("1", name="Dr Anne Martin")
    hidden = doctor.made(document(world.patient, "INVISIBLE_PATIENT"))
    plain = doctor.made(document(world.patient))
    doctor.read(f"DocumentReference/{hidden['id']}")
    doctor.search("DocumentReference", f"_id={hidden['id']},{plain['id']}")
    search, read, *rest = traces(world.holder())

    assert acts([search, read]) == [("search-type", "0"), ("read", "0")]
    assert hidden["id"] not in json.dumps([search, read, *rest])
    assert plain["id"] in json.dumps(search)
    assert "Dr Anne Martin" in told(read)
    assert [label["code"] for label in read["meta"]["security"]] == ["REDACTED"]
    assert hidden["id"] in json.dumps(traces(auditor, "date=ge2026&subtype=read&patient=" + world.patient)[0])

    world.clock.set(NOON + timedelta(days=40))
    later = traces(world.holder(), "subtype=read")[-1]
    assert hidden["id"] in json.dumps(later["entity"])


def parent_of(world):
    """Return a representative of a minor, whose record is made for it."""
    world.patient = world.new_patient(birthDate="2011-05-31")
    related = {"resourceType": "RelatedPerson", "patient": {"reference": world.patient}, "active": True}
    return world.representative(f"RelatedPerson/{world.insurance.made(related)['id']}")


WHO = {
    "the holder": (lambda world: world.holder(), "INVISIBLE_PATIENT", False),
    "a representative": (parent_of, "INVISIBLE_REPRESENTANTS_LEGAUX", False),
    "the holder of another record": (lambda world: world.holder(), None, True),
}


@pytest.mark.rule("L13")
@pytest.mark.parametrize("who", WHO)
def test_traces_tell_no_more_than_the_answers_whether_something_is_there(world, who):
    """By an item that is hidden, what others did with it is not found; one's own attempt is told as that about an id which nobody has."""
    make, label, elsewhere = WHO[who]
    caller = make(world)
    patient = world.new_patient() if elsewhere else world.patient
    hidden, absent = world.ehr.made(document(patient, *([label] if label else [])))["id"], "a" * 36
    world.ehr.read(f"DocumentReference/{hidden}")
    assert traces(caller, f"entity=DocumentReference/{hidden}") == []
    seen = {}
    for own in (hidden, absent):
        ref = f"DocumentReference/{own}"
        assert [caller.read(ref).status, caller.vread(ref, 1).status, caller.delete(ref).status] == [404, 404, 204]
        checked = json.dumps(document(patient, id=own)).encode()
        assert caller.ask(Call("operation", *ref.split("/"), operation="validate", body=checked)).status == 200
        found = traces(caller, f"entity={ref}&subtype=read,vread,delete,$validate")
        latest = traces(caller, "subtype=read,vread,delete,$validate")[:4]
        assert [event["id"] for event in found] == [event["id"] for event in latest]
        assert all(caller.read(f"AuditEvent/{event['id']}").body == event for event in found)
        seen[own] = [
            (acts([event]), event.get("outcomeDesc"), event["meta"].get("security"), named(event, own))
            for event in found
        ]

    assert seen[hidden] == seen[absent]
    assert len(seen[hidden]) == 4
    assert bool(traces(world.holder(patient), "subtype=read&outcome=4")) or not elsewhere


def test_what_is_hidden_is_found_by_no_name_that_says_its_type_apart(world):
    """``entity:DocumentReference=d`` asks what ``entity=DocumentReference/d`` does."""
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))["id"]
    plain = world.ehr.made(document(world.patient))["id"]
    found = {own: len(traces(world.holder(), f"entity:DocumentReference={own}")) for own in (hidden, plain)}

    assert found == {hidden: 0, plain: 1}


@pytest.mark.rule("L13")
def test_what_others_asked_for_in_vain_is_told_alike_hidden_or_absent(world):
    """Somebody who is not let in asks for ids; the traces of it would tell the holder which of them is something that waits to be announced."""
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))["id"]
    stranger, told = world.professional("1"), []
    for own in (hidden, "a" * 36):
        assert stranger.read(f"DocumentReference/{own}").status == 403
        (event,) = traces(world.holder(), "subtype=read&_count=1")[:1]
        found = traces(world.holder(), f"entity=DocumentReference/{own}")
        told.append((named(event, own), event["meta"].get("security"), event["entity"], found))

    assert told[0] == told[1]
    assert "ID" not in told[0][0]


def test_what_is_taken_out_of_a_record_is_told_among_its_traces(world, auditor):
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
    found = traces(auditor, f"date=ge2026-01-01&entity={ref}&subtype=update&patient={world.patient}")
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
def test_who_asks_for_what_was_deleted_is_told_among_the_traces_of_its_patient(world, auditor, way):
    """To the holder, in whose journal stands what it was, and to the auditor who searches by the patient; the answer says no more than before."""
    ref = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    assert world.ehr.delete(ref).status == 204

    answer = WAYS[way](world.ehr, ref)

    assert answer.status == 410
    assert world.patient not in repr(answer)
    for events in (
        traces(world.holder(), f"entity={ref}&subtype={way}"),
        traces(auditor, f"date=ge2026&patient={world.patient}&entity={ref}&subtype={way}"),
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


def test_of_a_deleted_item_that_was_hidden_the_traces_tell_no_more_than_before(world, auditor):
    """To a representative nothing at all: that it was deleted would say that there was one. To the minor and the auditor who asked for it."""
    parent = parent_of(world)
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_REPRESENTANTS_LEGAUX"))["id"]
    ref = f"DocumentReference/{hidden}"
    world.ehr.delete(ref)
    before = [event["id"] for event in traces(parent)]

    assert world.ehr.read(ref).status == 410
    assert world.ehr.vread(ref, 2).status == 410
    assert world.ehr.delete(ref).status == 204

    assert [event["id"] for event in traces(parent, "agent=ehr-one") if event["id"] not in before] == []
    assert acts(traces(world.holder(), f"entity={ref}&outcome=4")) == [("delete", "4"), ("vread", "4"), ("read", "4")]
    found = traces(auditor, f"date=ge2026&patient={world.patient}&outcome=4&entity={ref}")
    assert acts(found) == [("delete", "4"), ("vread", "4"), ("read", "4")]


def test_an_attempt_at_another_patient_is_told_as_one_at_nobody(world):
    """It stands among the traces of who tried in both cases, and among those of the other one."""
    other, caller = world.new_patient(), world.holder()
    told_of = []
    for patient in (other, "Patient/nobody"):
        caller.read(patient)
        event = traces(caller, "subtype=read")[0]
        told_of.append(json.dumps([event["outcomeDesc"], named(event, patient)]).replace(patient, "ID"))

    assert told_of[0] == told_of[1]
    assert acts(traces(world.holder(other), "subtype=read")) == [("read", "4")]


def named(event, own):
    """Return what an event is about, without the id and what tells one request from another."""
    entities = [entity for entity in event["entity"] if "role" in entity]
    return json.dumps(entities, sort_keys=True).replace(own, "ID")


def test_what_a_client_reports_of_a_hidden_item_is_masked_too(world, auditor):
    """A trace of another system may not name what the holder may not know of yet."""
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))
    reported = {
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "recorded": "2026-11-23T10:00:00Z",
        "agent": [{"requestor": True, "who": {"display": "somebody"}}],
        "source": {"observer": {"display": "their system"}},
        "entity": [
            {"what": {"reference": world.patient}},
            {"what": {"reference": f"DocumentReference/{hidden['id']}"}, "name": "a grave diagnosis"},
        ],
    }
    own = world.ehr.made(reported)["id"]
    seen = world.holder().read(f"AuditEvent/{own}").body

    assert hidden["id"] not in json.dumps(seen)
    assert "grave" not in json.dumps(seen)
    assert hidden["id"] in json.dumps(auditor.read(f"AuditEvent/{own}").body)


@pytest.mark.rule("F11")
def test_a_representative_sees_the_traces_but_those_of_a_secret_sign_in(world):
    """A minor's secret hides who was there, too."""
    world.patient = world.new_patient(birthDate="2011-05-31")
    world.holder().made(consent(world.patient, "permit"))
    related = world.insurance.made(
        {"resourceType": "RelatedPerson", "patient": {"reference": world.patient}, "active": True}
    )
    parent = world.representative(f"RelatedPerson/{related['id']}")
    doctor = world.professional("1")
    doctor.search("Observation")
    world.professional("2", secret=True).search("Condition")
    seen = traces(parent)
    names = [user(event)["who"]["identifier"]["value"] for event in seen if "reference" in user(event)["who"]]

    assert "1" in names
    assert "2" not in names
    assert "2" in [
        user(event)["who"]["identifier"]["value"] for event in traces(world.holder()) if event["outcome"] == "0"
    ]
    secret = next(event for event in traces(world.holder()) if user(event)["who"]["identifier"]["value"] == "2")
    assert secret["meta"]["security"][0]["code"] == "INVISIBLE_REPRESENTANTS_LEGAUX"
    assert parent.read(f"AuditEvent/{secret['id']}").status == 404


def test_nobody_else_reads_the_log(world):
    """A system, a professional and an administrator are refused, whatever their scopes."""
    world.ehr.made(observation(world.patient))
    event = traces(world.holder())[0]
    strangers = [world.ehr, world.professional("1"), world.system("admin", "admin"), world.holder(world.new_patient())]

    assert [each.search("AuditEvent").status for each in strangers[:3]] == [403, 403, 403]
    assert [each.read(f"AuditEvent/{event['id']}").status for each in strangers] == [403, 403, 403, 404]
    assert event["id"] not in {each["id"] for each in traces(strangers[3])}


def test_an_emergency_is_told_with_its_reason_to_the_holder_and_without_it_to_the_auditor(world, auditor):
    """The purpose stands in both codes, of HL7 and of France; the words of the reason are clinical."""
    world.ehr.made(observation(world.patient))
    world.professional("1", purpose="BTG", reason="patiente inconsciente, diabète").search("Observation")
    event = traces(world.holder(), "purpose=bris_de_glace")[0]
    audited = traces(auditor, "date=ge2026&purpose=BTG")[0]
    codings = user(event)["purposeOfUse"][0]["coding"]

    assert [each["code"] for each in codings] == ["BTG", "bris_de_glace"]
    assert codings[1]["system"] == ACCESS_MODE
    assert "patiente inconsciente" in event["outcomeDesc"]
    assert "Motif écrit : patiente inconsciente" in told(event)
    assert event["id"] == audited["id"]
    assert "inconsciente" not in json.dumps(audited, ensure_ascii=False)


def test_clinical_values_of_a_query_are_kept_apart_from_the_row_that_is_proven(world, auditor):
    """The row names their digest; neither its bytes nor what an auditor sees holds them."""
    world.holder().made(consent(world.patient, "permit"))
    world.professional("1").search("Observation", "code=http://loinc.org|4548-4&_count=5")
    event = traces(auditor, "date=ge2026&subtype=search-type&agent=Practitioner/p1")[0]
    stored = world.server.store.find_event(event["id"])
    query = next(entity for entity in event["entity"] if "query" in entity)

    assert b"4548" not in stored.body
    assert b"4548" in stored.secret
    assert "4548" not in base64.b64decode(query["query"]).decode() + query["description"]
    assert "_count=5" in query["description"]
    assert "4548" not in json.dumps(traces(world.holder()))


def test_the_consent_and_its_version_that_decided_stand_in_the_event(world, auditor):
    """By what it was permitted; and of a refusal, as a decision of its own beside it."""
    item = world.ehr.made(observation(world.patient))
    permit = world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    doctor = world.professional("1")
    doctor.read(f"Observation/{item['id']}")
    deny = world.holder().made(consent(world.patient, "deny", actors=["Practitioner/p1"]))
    doctor.read(f"Observation/{item['id']}")
    base = world.server.base_url
    refused, permitted = traces(auditor, f"date=ge2026&subtype=read&patient={world.patient}")
    [decision] = traces(auditor, f"date=ge2026&subtype=AuthZ-Consent&entity=Consent/{deny['id']}")

    policies = [policy for agent in permitted["agent"] for policy in agent.get("policy", ())]
    assert f"{base}/Consent/{permit['id']}/_history/1" in policies
    assert refused["outcome"] == decision["outcome"] == "8"
    assert decision["id"] == f"{refused['id']}-2"
    assert claimed(decision, FACTS) == []
    assert decision["meta"]["profile"][0].endswith("AuthZconsent")
    assert [event["id"] for event in traces(auditor, f"date=ge2026&policy=Consent/{permit['id']}")] == [permitted["id"]]


def test_what_was_done_by_a_token_is_found_by_it(world, auditor):
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
            for event in traces(auditor, f"date=ge2026&policy={asked}")
        }
        for asked in (first, second, f"{first},{second}", "urn:ietf:params:oauth:jti:nobodys")
    }

    assert list(found.values()) == [{"1", reported}, {"2"}, {"1", "2", reported}, set()]


@pytest.mark.parametrize(
    ("number", "system"),
    [("tester", "urn:fhir-dmp:operator"), ("1750000001", STRUCTURES), ("899700218896", RPPS), ("nobody", None)],
)
def test_an_agent_is_found_by_their_number_alone(world, auditor, number, system):
    """Operators, structures and professionals, as by the number with its system; by neither where the system is said to be none."""
    world.system("ehr-two", "ehr", f"{STRUCTURES}|1750000001").search("Observation")
    world.professional("899700218896").search("Observation")
    context = world.server.operator_context("tester", "test")
    world.server.clients.add(
        NewClient("phone", "public", "app", ("patient/*.rs",), redirect_uris=("https://x.example/",)), context
    )

    def found(asked):
        return [event["id"] for event in traces(auditor, f"date=ge2026&{asked}")]

    for name in ("agent:identifier", "agent"):
        assert found(f"{name}={number}") == (found(f"{name}={system}|{number}") if system else [])
        assert bool(found(f"{name}={number}")) == bool(system)
    assert found(f"agent:identifier=|{number}") == (found(f"agent:identifier={number}") if system == RPPS else [])


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
def test_the_log_holds_what_european_law_asks_of_it(world, auditor, field):
    """The fields of Regulation (EU) 2025/327, Annex II, 3.2, one by one, as an auditor finds them."""
    world.ehr.made(observation(world.patient))
    world.holder().made(consent(world.patient, "permit"))
    world.professional("1", name="Dr Anne Martin").search("Observation")
    event = traces(auditor, f"date=ge2026-11-23&patient={world.patient}&agent=Practitioner/p1")[0]

    assert EHDS[field](event)
    structures = [
        agent["who"]["identifier"] for agent in event["agent"] if agent["type"]["coding"][0]["code"] == "PROV"
    ]
    assert structures == [{"system": "urn:s", "value": "9"}]


def test_every_event_of_a_record_meets_the_profile_that_it_claims(world, auditor):
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
    events = traces(auditor, "date=ge2026&_count=500")

    assert {"history-instance", "transaction", "operation"} <= {code for code, _ in acts(events)}
    assert [(event["id"], found) for event in events if (found := claimed(event, FACTS))] == []
    profiled = {"read", "search-type", "create", "update", "delete"}
    assert all(
        "profile" in event["meta"] for event in events if event["outcome"] == "0" and acts([event])[0][0] in profiled
    )


def test_an_auditor_is_asked_for_a_date(auditor):
    """The refusal says what to write."""
    answer = auditor.search("AuditEvent", "outcome=8")

    assert answer.status == 400
    assert "date=ge" in answer.text


@pytest.mark.parametrize(
    "query", ["_include=AuditEvent:patient", "_revinclude=Provenance:target", "_has:x:y:z=1", "entity.name=x"]
)
def test_nothing_leads_out_of_the_log(auditor, query):
    """However lenient a search is asked to be."""
    assert auditor.search("AuditEvent", f"date=ge2026&{query}").status == 400


def test_what_the_log_is_not_searched_by_is_passed_over_and_told(auditor):
    """Lenient by default, as other searches; an outcome in the bundle says so."""
    answer = auditor.search("AuditEvent", "date=ge2026&altid=x&_count=1")

    modes = [entry["search"]["mode"] for entry in answer.body["entry"]]
    assert modes == ["match", "outcome"]
    assert "altid" in json.dumps(answer.body["entry"][1])


def in_compartment(actor, record, query=""):
    """Return how many AuditEvents somebody finds in a compartment, and the answer."""
    kept = Ref(*record.split("/"))
    asked = tuple(parse_qsl(f"date=ge2020&_total=accurate&{query}"))
    answer = actor.ask(Call("search-type", "AuditEvent", params=asked, compartment=kept))
    return answer.body.get("total"), answer


def test_a_search_of_the_log_within_a_compartment_is_held_to_it(world, auditor):
    """By what R4 has it be a member by: of a patient ``patient``, of who acted ``agent``; its links stay in it."""
    world.ehr.made(observation(world.patient))
    other = world.new_patient()
    world.professional("7").read(world.patient)
    found, answer = in_compartment(auditor, world.patient, "_count=1")
    base = f"{world.server.base_url}/{world.patient}/AuditEvent?"
    links = {link["relation"]: link["url"] for link in answer.body["link"]}
    token = tuple(parse_qsl(links["next"].partition("?")[2]))
    at = {"compartment": Ref(*world.patient.split("/")), "params": token}
    following = auditor.ask(Call("search-type", "AuditEvent", **at))
    elsewhere = auditor.ask(Call("search-type", "AuditEvent", params=token))

    assert found == 3
    assert in_compartment(auditor, other)[0] == 1
    assert in_compartment(auditor, "Practitioner/p7")[0] == 1
    assert in_compartment(auditor, "Device/absent")[0] == 0
    assert in_compartment(world.holder(), "Practitioner/p7")[0] == 1
    assert in_compartment(world.holder(other), "Practitioner/p7")[0] == 0
    assert [url.startswith(base) for url in links.values()] == [True, True]
    assert (following.status, len(following.body["entry"])) == (200, 1)
    assert elsewhere.status == 400


@pytest.mark.parametrize("record", ["Encounter/e", "RelatedPerson/r", "Observation/o", "Practitioner/p7,ehr-one"])
def test_the_log_is_in_no_compartment_that_does_not_have_it(auditor, record):
    """By R4 AuditEvents are in those of patients, practitioners and devices; what is no id names none of them."""
    assert in_compartment(auditor, record)[1].status == 400


def test_counts_by_day_and_actor_are_told_without_an_event(world, auditor):
    """For auditors of all, for holders of their own record."""
    world.ehr.made(observation(world.patient))
    world.ehr.made(observation(world.new_patient()))
    counted = auditor.ask(
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


def about(kind, patient):
    """Return a resource of a type that R4 puts into nobody's compartment, which names a patient itself."""
    reference = {"reference": patient}
    return {
        "Contract": {"resourceType": "Contract", "subject": [{"display": "somebody"}, reference]},
        "Device": {"resourceType": "Device", "patient": reference},
        "GuidanceResponse": {
            "resourceType": "GuidanceResponse",
            "status": "success",
            "moduleUri": "urn:x",
            "subject": reference,
        },
        "Task": {"resourceType": "Task", "status": "draft", "intent": "order", "for": reference},
    }[kind]


def test_every_type_outside_of_records_that_names_a_patient_is_known():
    """By the definitions: those whose search parameter is called patient, with the element that it reads."""
    tables = load()
    inside = tables.compartments["Patient"].members
    named = {
        resource_type: [step.name for path in params["patient"].paths for step in path.steps]
        for resource_type, params in tables.search_params.items()
        if "patient" in params and resource_type not in inside
    }

    assert named == {resource_type: [element] for resource_type, element in ELEMENTS.items()}


@pytest.mark.parametrize("kind", ELEMENTS)
def test_what_is_in_no_record_and_names_a_patient_has_its_events_in_the_journal(world, auditor, kind):
    """The patient does not see it by the rules, and is told that it was made, read, changed, listed and removed: by whom and when, without its name."""
    item = about(kind, world.patient)
    made = world.ehr.made(item)
    name = f"{kind}/{made['id']}"
    other = world.new_patient()
    assert world.ehr.read(name).status == 200
    assert world.ehr.search(kind, f"_id={made['id']}").body["total"] == 1
    moved = {**about(kind, other), "id": made["id"]}
    assert world.ehr.ask(Call("update", kind, made["id"], body=json.dumps(moved).encode())).status == 200
    assert world.ehr.ask(Call("vread", kind, made["id"], version="1")).status == 200
    assert world.ehr.ask(Call("delete", kind, made["id"])).status == 204

    acts = {"create", "read", "search-type", "update", "vread"}
    for patient, told in ((world.patient, acts), (other, {"update", "delete"})):
        found = auditor.search("AuditEvent", f"date=ge2000&patient={patient}&agent=ehr-one&_count=100").body["entry"]
        events = [each["resource"] for each in found if name in json.dumps(each["resource"])]
        assert {event["subtype"][0]["code"] for event in events} == told
        assert all(claimed(event, FACTS) == [] for event in events)
        journal = world.holder(patient).search("AuditEvent", "agent=ehr-one&_count=100").body["entry"]
        assert {event["id"] for event in events} <= {each["resource"]["id"] for each in journal}
        assert name not in json.dumps(journal)
    assert world.holder().read(name).status == 404


def test_what_names_its_patient_by_an_identifier_alone_has_its_events_in_no_record(world, auditor):
    """It is in nobody's: its patient does not see it by the rules, and is not told of it; auditors find it by itself."""
    item = observation(world.patient, subject={"identifier": {"system": INS, "value": "279035121518989"}})
    made = world.ehr.made(item)
    name = f"{made['resourceType']}/{made['id']}"
    assert world.ehr.read(name).status == 200

    found = auditor.search("AuditEvent", f"date=ge2000&entity={name}").body["entry"]
    assert len(found) == 2
    for event in (entry["resource"] for entry in found):
        assert "Patient/" not in json.dumps(event["entity"])
    assert world.holder().read(name).status == 404
    assert name not in json.dumps(world.holder().search("AuditEvent", "action=C").body)
