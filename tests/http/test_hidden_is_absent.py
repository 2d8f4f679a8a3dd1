"""By every verb, with every condition: what is hidden from a caller is answered in the bytes of what is not there.

Each call is made twice, about an item that is hidden and about an id that nobody has; the answers may differ in that id alone.
"""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest

from fhir_dmp.call import Call
from fhir_dmp.fhir.reference import Ref
from tests.access_world import consent, document, observation, reference

KIND = "DocumentReference"
TOLD = {"resourceType": "Provenance", "recorded": "2026-01-01T00:00:00Z", "agent": [{"who": {"display": "x"}}]}
PATCH = b'[{"op":"test","path":"/status","value":"current"}]'
CONDITIONS = (None, 'W/"1"', 'W/"9"', "*")
QUERIES = (
    "_id={}",
    "_id={}&_summary=count",
    "_id={}&_total=accurate",
    "_id={}&_sort=-date",
    "_id={}&_include=*&_revinclude=*",
    "_id={}&_elements=id",
    "_list={}",
)


def sent(tree):
    """Return a resource as it is sent."""
    return json.dumps(tree).encode()


def given(**parameters):
    """Return Parameters; a dict with a type is a resource."""
    items = [
        {"name": name, "resource" if isinstance(value, dict) and "resourceType" in value else kind: value}
        for name, (kind, value) in parameters.items()
    ]
    return sent({"resourceType": "Parameters", "parameter": items})


def single(patient, own):
    """Return calls about the item itself."""
    tree = {**document(patient), "id": own}
    calls = {
        "read": Call("read", KIND, own),
        "read if changed": Call("read", KIND, own, if_none_match='W/"1"'),
        "vread": Call("vread", KIND, own, "1"),
        "history": Call("history-instance", KIND, own),
        "update if absent": Call("update", KIND, own, body=sent(tree), if_none_match="*"),
        "delete with provenance": Call("delete", KIND, own, provenance=json.dumps(TOLD)),
        "$meta": Call("operation", KIND, own, operation="meta"),
        "$validate": Call("operation", KIND, own, operation="validate"),
    }
    for condition in CONDITIONS:
        calls[f"update {condition}"] = Call("update", KIND, own, body=sent(tree), if_match=condition)
        calls[f"delete {condition}"] = Call("delete", KIND, own, if_match=condition)
        calls[f"patch {condition}"] = Call("patch", KIND, own, body=PATCH, if_match=condition)
    for name in ("meta-add", "meta-delete"):
        body = given(meta=("valueMeta", {"tag": [{"system": "urn:t", "code": "c"}]}))
        calls[f"${name}"] = Call("operation", KIND, own, operation=name, body=body)
    for mode in ("create", "update", "delete"):
        body = given(mode=("valueCode", mode), resource=("resource", tree))
        calls[f"$validate {mode}"] = Call("operation", KIND, own, operation="validate", body=body)
    return calls


def by_condition(patient, own):
    """Return calls that name the item by a condition, or from another resource."""
    criteria, ref, record = f"_id={own}", f"{KIND}/{own}", patient.partition("/")[2]
    about = {**TOLD, "target": [{"reference": ref}]}
    denial = consent(patient, "deny", data=[{"meaning": "instance", "reference": reference(ref)}])
    masking = given(item=("valueReference", {"reference": ref}))
    return {
        "conditional create": Call("create", KIND, body=sent(document(patient)), criteria=criteria),
        "conditional update": Call("update", KIND, body=sent(document(patient)), criteria=criteria),
        "conditional patch": Call("patch", KIND, criteria=criteria, body=PATCH),
        "conditional delete": Call("delete", KIND, criteria=criteria),
        "$mask": Call("operation", "Patient", record, operation="mask", body=masking),
        "a consent": Call("create", "Consent", body=sent(denial)),
        "a provenance": Call("create", "Provenance", body=sent(about)),
    }


def lists(patient, own):
    """Return calls that would list the item, or lead over it."""
    record = Ref("Patient", patient.partition("/")[2])
    calls = {
        query: Call("search-type", KIND, params=tuple(tuple(each.split("=")) for each in query.format(own).split("&")))
        for query in QUERIES
    }
    return calls | {
        "_filter": Call("search-type", KIND, params=(("_filter", f"_id eq {own}"),)),
        "system": Call("search-system", params=(("_id", own),)),
        "_has": Call("search-type", "Patient", params=((f"_has:{KIND}:subject:_id", own),)),
        "chain": Call("search-type", "Provenance", params=((f"target:{KIND}._id", own),)),
        "compartment": Call("search-type", KIND, params=(("_id", own),), compartment=record),
    }


def in_bundles(patient, own):
    """Return transactions and batches of one entry about the item."""
    ref, tree = f"{KIND}/{own}", {**document(patient), "id": own}
    linked = observation(patient, derivedFrom=[{"reference": f"{KIND}?_id={own}"}])
    entries = {
        "get": {"request": {"method": "GET", "url": ref}},
        "put": {"request": {"method": "PUT", "url": ref, "ifMatch": 'W/"1"'}, "resource": tree},
        "delete": {"request": {"method": "DELETE", "url": ref}},
        "reference": {"request": {"method": "POST", "url": "Observation"}, "resource": linked},
        "post": {
            "request": {"method": "POST", "url": KIND, "ifNoneExist": f"_id={own}"},
            "resource": document(patient),
        },
    }
    return {
        f"{kind} {name}": Call("bundle", body=sent({"resourceType": "Bundle", "type": kind, "entry": [entry]}))
        for kind in ("transaction", "batch")
        for name, entry in entries.items()
    }


def told(answer, own):
    """Return the answer without the id that was asked for, and without ids and moments that are made anew."""
    issues = [(each.code, each.text, each.expression) for each in answer.issues]
    text = json.dumps([answer.status, answer.text, answer.body, answer.headers, issues], sort_keys=True)
    text = text.replace(own, "ID")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "NEW", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)", "NOW", text)


A_SYSTEM_CHOOSES = ("update None", "update if absent", "$validate update")
"""A system may choose an id that nobody has, and is told that it cannot have one that somebody has, and no more."""

CALLS = (single, by_condition, lists, in_bundles)
RESTRICTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}


def differing(world, caller, calls, make=document, but=()):
    """Return the calls that are answered differently about an item that is made so and about an id that nobody has."""
    found = {}
    for name in calls(world.patient, "x"):
        hidden, absent = world.ehr.made(make(world.patient))["id"], str(uuid4())
        answers = [told(caller.ask(calls(world.patient, own)[name]), own) for own in (hidden, absent)]
        if name not in but and (answers[0] != answers[1] or answers[0].startswith("[5")):
            found[name] = answers
    return found


def labelled(label):
    """Return the function to a document with a label of visibility."""
    return lambda patient: document(patient, label)


def restricted(patient):
    """Return a document with the label that ``opposed`` speaks of."""
    return document(patient, meta={"security": [RESTRICTED]})


def opposed(world):
    """Return a doctor, after the holder has opposed what is labelled as restricted."""
    world.holder().made(consent(world.patient, "deny", securityLabel=[RESTRICTED]))
    return world.professional("1")


def parent(world):
    """Return a representative, as the insurance states it."""
    world.patient = world.new_patient(birthDate="2011-05-31")
    related = {"resourceType": "RelatedPerson", "patient": {"reference": world.patient}, "active": True}
    return world.representative(f"RelatedPerson/{world.insurance.made(related)['id']}")


HIDDEN = {
    "masked": (lambda world: world.professional("1"), labelled("MASQUE_PS"), ()),
    "masked, from a system": (
        lambda world: world.system("ehr-two", "ehr", "urn:s|2"),
        labelled("MASQUE_PS"),
        A_SYSTEM_CHOOSES,
    ),
    "to be announced": (lambda world: world.holder(), labelled("INVISIBLE_PATIENT"), ()),
    "a secret": (parent, labelled("INVISIBLE_REPRESENTANTS_LEGAUX"), ()),
    "of a category": (lambda world: world.professional("1", profession="28"), document, ()),
    "opposed": (opposed, restricted, ()),
}
"""What hides an item: from whom, how it is made, and the calls that may tell."""


@pytest.mark.rule("L9", "L13", "L14", "matrix")
@pytest.mark.parametrize("calls", CALLS, ids=lambda calls: calls.__name__)
@pytest.mark.parametrize("way", HIDDEN)
def test_what_is_hidden_is_as_absent(world, calls, way):
    """No verb, no condition, no list and no bundle tells the two apart, whatever it is that hides."""
    caller_of, make, but = HIDDEN[way]
    caller = caller_of(world)
    world.holder().made(consent(world.patient, "permit"))

    assert differing(world, caller, calls, make, but) == {}


@pytest.mark.parametrize("calls", CALLS, ids=lambda calls: calls.__name__)
def test_what_is_seen_is_told_from_what_is_absent(world, calls):
    """The same calls of its author or the holder tell them apart: it is the hiding that makes them one."""
    found = differing(world, world.ehr, calls) | differing(world, world.holder(), calls)

    assert len(found) > len(calls(world.patient, "x")) / 2, sorted(found)
