"""What of a client's own event stands in the open: who did what to which resource, and nothing clinical."""

from __future__ import annotations

import base64
import json

import pytest
from msgspec.structs import replace

from fhir_dmp.audit.cut import cut
from fhir_dmp.audit.entry import misfiled
from fhir_dmp.audit.event import submit
from fhir_dmp.audit.index import index_of
from fhir_dmp.audit.render import render
from fhir_dmp.audit.scene import View
from fhir_dmp.fhir import codec
from tests.published import examples
from tests.unit.audit.test_index import entry
from tests.unit.audit.world import BASE, RECORDED, ROW, context, salt

OPEN = {
    "resourceType": "AuditEvent",
    "meta": {"profile": ["urn:p"], "security": [{"system": "s", "code": "N"}]},
    "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
    "recorded": "2026-11-25T10:00:00Z",
    "period": {"start": "2026-11-25T09:00:00Z"},
    "agent": [
        {
            "extension": [{"url": "urn:assurance", "valueString": "high"}],
            "who": {"reference": "Practitioner/doc", "identifier": {"system": "s", "value": "v"}, "display": "Dr M"},
            "requestor": True,
            "policy": ["urn:ietf:params:oauth:jti:j"],
            "network": {"address": "192.0.2.9"},
        }
    ],
    "source": {"observer": {"display": "my system"}},
    "entity": [{"what": {"reference": "Patient/p1"}}],
}
"""An event in which nothing is clinical."""

SAID = "VIH-positif"
"""What nobody who looks after the log is to read: one word, as minified messages are."""


def b64(text):
    """Return what an entity's query holds."""
    return base64.b64encode(text.encode()).decode()


def queries(event):
    """Return the queries of an event as text."""
    return [base64.b64decode(each["query"]).decode() for each in event["entity"] if "query" in each]


def entity(**members):
    """Return an event with an entity of these."""
    return {**OPEN, "entity": [*OPEN["entity"], {"what": {"reference": "Observation/o1"}, **members}]}


CLINICAL = {
    "contained": {
        **OPEN,
        "contained": [{"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": SAID}}],
    },
    "extension": {**OPEN, "extension": [{"url": "urn:x", "valueString": SAID}]},
    "extension of an entity": entity(extension=[{"url": "urn:x", "valueString": SAID}]),
    "extension of a primitive": {**OPEN, "_recorded": {"extension": [{"url": "urn:x", "valueString": SAID}]}},
    "text": {**OPEN, "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{SAID}</div>'}},
    "outcomeDesc": {**OPEN, "outcomeDesc": SAID},
    "purposeOfEvent": {**OPEN, "purposeOfEvent": [{"coding": [{"code": "BTG"}], "text": SAID}]},
    "purposeOfUse": {**OPEN, "agent": [{**OPEN["agent"][0], "purposeOfUse": [{"text": SAID}]}]},
    "name": entity(name=SAID),
    "description": entity(description=SAID),
    "securityLabel": entity(securityLabel=[{"code": "HIV", "display": SAID}]),
    "detail": entity(detail=[{"type": "code", "valueString": SAID}]),
    "bytes of a detail": entity(detail=[{"type": "code", "valueBase64Binary": b64(SAID)}]),
    "display of an item": entity(what={"reference": "Observation/o1", "display": SAID}),
    "query of HL7 V2": entity(query=b64(f"MSH|^~\\&|EHR\rQPD|{SAID}")),
    "query of SOAP": entity(query=b64(f"<AdhocQueryRequest><Value>{SAID}</Value></AdhocQueryRequest>")),
    "JSON of a query": entity(query=b64(f'{{"code":"{SAID}"}}')),
    "XML of a query": entity(query=b64(f"<q><code>{SAID}</code></q>")),
    "line of HL7 V2": entity(query=b64(f"QPD|Q22|@PID.5^{SAID}")),
    "name in a query": entity(query=b64(f"GET /fhir/Observation?{SAID}=1")),
    "name of a detail": entity(detail=[{"type": f"diagnosis {SAID}", "valueString": "1"}]),
    "reference with criteria": entity(what={"reference": f"https://other.example/fhir/Observation?code={SAID}"}),
    "reference with a fragment": entity(what={"reference": f"Observation/o1#{SAID}"}),
    "reference that is text": entity(what={"reference": SAID}),
    "body of a query": entity(query=b64(f"POST /fhir/Observation/_search\n\ncode:text={SAID}")),
}
"""Events that say something clinical, by where."""


@pytest.mark.parametrize("where", CLINICAL)
def test_what_may_be_clinical_lies_sealed_beside_the_row(where):
    """The row, its index and what an auditor is shown say nothing of it; whoever may is told all of it as it was sent."""
    sent = CLINICAL[where]
    event = submit(sent, context(), ROW, RECORDED, salt)
    shown = render(event, 1, BASE, View(sealed=False))
    whole = render(event, 1, BASE)

    assert SAID.encode() not in event.body
    assert base64.b64encode(SAID.encode()) not in event.body
    assert SAID not in json.dumps([event.index, shown, queries(shown)], ensure_ascii=False)
    assert [label["code"] for label in shown["meta"]["security"]] == ["N", "REDACTED"]
    ours = ("id", "meta", "text")
    assert {name: each for name, each in whole.items() if name not in ours} == {
        name: each for name, each in sent.items() if name not in ours
    }
    assert render(replace(event, secret=b"x" * 60), 1, BASE)["meta"]["security"][-1]["code"] == "REDACTED"


def test_an_event_without_anything_clinical_stands_in_its_row_as_it_was_sent():
    """Nothing lies beside it."""
    event = submit(OPEN, context(), ROW, RECORDED, salt)

    assert codec.loads_object(event.body)["resource"] == OPEN
    assert event.secret is None
    assert [label["code"] for label in render(event, 1, BASE, View(sealed=False))["meta"]["security"]] == ["N"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("GET /fhir/Observation?patient=p1&code=E11\nAccept: x", "GET /fhir/Observation?patient=p1&code=…"),
        ("GET /fhir/Observation?code=E11 HTTP/1.1", "GET /fhir/Observation?code=…"),
        ("https://dmp.example/fhir/Observation?code=E11", "https://dmp.example/fhir/Observation?code=…"),
        ("code=E11&patient=p1", "code=…&patient=p1"),
        ("POST /fhir/Observation/_search", "POST /fhir/Observation/_search"),
        ("DELETE Observation/o1", "DELETE Observation/o1"),
        ("Observation?code:in=E11", "Observation?code:in=…"),
        ("_has:Observation:patient:code=E11&_id=p1", "_has:Observation:patient:code=…&_id=p1"),
        ("GET /fhir/Observation?patient=p1&E11=yes", "GET /fhir/Observation?…"),
        ("GET E11", "…"),
        ("E11?code=1", "…"),
        ("E11=1", "…"),
        ("RTEx", "…"),
        ("Observation of E11", "…"),
    ],
)
def test_of_a_query_what_our_own_rows_show_is_shown(sent, shown):
    """A line of HTTP without clinical values; of what is no such line nothing."""
    [_, told] = cut(entity(query=b64(sent)))["entity"]

    assert base64.b64decode(told["query"]).decode() == shown


def test_a_reference_to_what_was_contained_is_not_left_without_it():
    """Of an agent as of an entity."""
    agent = [{**OPEN["agent"][0], "who": {"reference": "#d", "display": "device"}}]
    told = cut(
        {**entity(what={"reference": "#o"}), "agent": agent, "contained": [{"resourceType": "Device", "id": "d"}]}
    )

    assert "#" not in json.dumps(told)
    assert told["agent"][0]["who"] == {"display": "device"}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Observation/o1/_history/2#part", "Observation/o1/_history/2"),
        ("https://other.example/fhir/Observation/o1", "https://other.example/fhir/Observation/o1"),
        (
            "https://other.example/fhir/Observation?code=E11&_id=o1",
            "https://other.example/fhir/Observation?code=…&_id=o1",
        ),
        ("urn:uuid:b8aa8eec-5493-11ec-bf63-0242ac130002", "urn:uuid:b8aa8eec-5493-11ec-bf63-0242ac130002"),
        ("urn:E11", None),
        ("E11", None),
    ],
)
def test_of_a_reference_what_names_a_resource_is_shown(sent, shown):
    """Of criteria the names, as of a request; a text or a number that tells something is none."""
    agent = [{**OPEN["agent"][0], "who": {"reference": sent, "type": "Observation"}}]
    told = cut({**entity(what={"reference": sent, "type": "Observation"}), "agent": agent})

    assert [told["entity"][1]["what"].get("reference"), told["agent"][0]["who"].get("reference")] == [shown, shown]


@pytest.mark.parametrize(
    ("name", "shown"), [("X-Request-Id", "X-Request-Id"), ("code", "code"), ("VIH", "…"), ("diagnosis VIH", "…")]
)
def test_of_a_detail_the_name_is_shown_that_a_standard_has(name, shown):
    """Any other may be the answer itself."""
    assert cut(entity(detail=[{"type": name, "valueString": "1"}]))["entity"][1]["detail"] == [
        {"type": shown, "valueString": "…"}
    ]


def found_alike(sent):
    """Tell whether the row of the event is found as the whole event is, and cut once for all."""
    row = codec.loads_object(submit(sent, context(), ROW, RECORDED, salt).body)
    return index_of(row) == index_of({**row, "resource": sent}) and cut(row["resource"]) == row["resource"]


@pytest.mark.parametrize("where", CLINICAL)
def test_what_is_cut_out_is_nothing_that_a_row_is_found_by(where):
    """The cut of a row is found as the whole is; what is cut already stays as it is."""
    assert found_alike(CLINICAL[where])


@pytest.mark.parametrize(
    "path", [*examples("french/ans-tde", "AuditEvent-*.json"), *examples("ihe/balp", "AuditEvent-*.json")]
)
def test_a_published_example_is_found_as_before(path):
    """Of the French profile and of IHE."""
    assert found_alike(json.loads(path.read_text()))


@pytest.mark.parametrize("where", CLINICAL)
def test_a_row_that_holds_a_clients_event_whole_is_cut_for_its_reader(where):
    """Rows of format 2 stay as they are, verify, and are shown as those of now."""
    row = codec.loads_object(submit(OPEN, context(), ROW, RECORDED, salt).body) | {"v": 2, "resource": CLINICAL[where]}
    stored = replace(submit(OPEN, context(), ROW, RECORDED, salt), body=codec.dumps(row), index=index_of(row))
    shown = render(stored, 1, BASE, View(sealed=False))

    assert misfiled(entry(stored)) == ()
    assert {} not in [*shown["agent"], *shown["entity"], *shown.get("purposeOfEvent", ())]
    assert SAID not in json.dumps([shown, queries(shown)], ensure_ascii=False)
    assert base64.b64encode(SAID.encode()).decode() not in json.dumps(shown)
    labelled = shown["meta"]["security"][-1]["code"] == "REDACTED"
    assert labelled == (where != "text")
