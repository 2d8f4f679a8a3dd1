"""What is done to a Binary stands in the journals of the patients whose documents name it, and is hidden where these documents are."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.call import Call
from fhir_dmp.service.contents import Documents
from tests.access_world import consent, document, observation
from tests.http.journal import acts, parent_of, traces
from tests.http.newest_row import HIDDEN, bundle, entry, told
from tests.http.test_attempts_at_what_is_hidden import representative
from tests.http.test_binary_of_a_document import TEXT
from tests.http.test_choices_of_the_patient import say

READ_LOG = "110101"
ABOUT = {"resourceType": "Provenance", "recorded": "2026-11-23T12:00:00Z", "agent": [{"who": {"display": "EHR one"}}]}
OTHER = {**TEXT, "data": "eQ=="}


@pytest.fixture
def parent(world):
    """A representative of a minor whose record is open to everybody."""
    found = parent_of(world)
    world.holder().made(consent(world.patient, "permit"))
    return found


def of(own):
    """Return what a Provenance of the content is about."""
    return [{"reference": f"Binary/{own}"}]


def content(world, **more):
    """Store a Binary as the EHR of structure 1; return its reference."""
    return f"Binary/{world.ehr.made({**TEXT, **more})['id']}"


def of_record(world, patient=None):
    """Return what says that a Binary belongs to the record."""
    return {"securityContext": {"reference": patient or world.patient}}


def named(world, url, *flags, actor=None, patient=None):
    """Store a document with labels that names the content; return it."""
    tree = document(patient or world.patient, *flags, content=[{"attachment": {"url": url}}])
    return (actor or world.ehr).made(tree)


def journal(actor):
    """Return the traces of a record, the newest first, without those of who read them."""
    found = traces(actor, "_count=100")
    return [event for event in found if READ_LOG not in [code["code"] for code in event["subtype"]]]


def told_since(actor, act):
    """Return interaction and outcome of what somebody is told of an act."""
    before = {event["id"] for event in journal(actor)}
    act()
    return acts(event for event in journal(actor) if event["id"] not in before)


def to_both(world, parent, act):
    """Return what the holder is told of an act, and what the parent is."""
    seen = []
    holders = told_since(world.holder(), lambda: seen.extend(told_since(parent, act)))
    return holders, seen


def put(own, **more):
    """Return an update of the content."""
    return Call("update", "Binary", own, body=json.dumps({**OTHER, "id": own}).encode(), **more)


def by_patch(own, test=None):
    """Return a patch of the content, which may ask first what it is."""
    asked = [{"op": "test", "path": "/contentType", "value": test}] if test else []
    patch = [*asked, {"op": "replace", "path": "/data", "value": "eg=="}]
    return Call("patch", "Binary", own, body=json.dumps(patch).encode())


def meta(own):
    """Return what asks for the labels of the content."""
    return Call("operation", "Binary", own, operation="meta")


ALONE = {
    "read": lambda own: Call("read", "Binary", own),
    "vread": lambda own: Call("vread", "Binary", own, "1"),
    "history": lambda own: Call("history-instance", "Binary", own),
    "history of the type": lambda own: Call("history-type", "Binary", params=(("_count", "5"),)),
    "search": lambda own: Call("search-type", "Binary", params=(("_id", own),)),
    "search of several types": lambda own: Call("search-system", params=(("_type", "Binary,Flag"), ("_id", own))),
    "count": lambda own: Call("search-type", "Binary", params=(("_id", own), ("_summary", "count"))),
    "update": put,
    "patch": by_patch,
    "meta": meta,
    "delete": lambda own: Call("delete", "Binary", own),
    "conditional delete": lambda own: Call("delete", "Binary", criteria=f"_id={own}"),
    "conditional create": lambda own: Call("create", "Binary", body=json.dumps(TEXT).encode(), criteria=f"_id={own}"),
    "update in a transaction": lambda own: bundle("transaction", entry("PUT", f"Binary/{own}", {**OTHER, "id": own})),
    "delete in a transaction": lambda own: bundle(
        "transaction", {"request": {"method": "DELETE", "url": f"Binary/{own}"}}
    ),
    "read in a batch": lambda own: bundle("batch", {"request": {"method": "GET", "url": f"Binary/{own}"}}),
    "read in a transaction": lambda own: bundle("transaction", {"request": {"method": "GET", "url": f"Binary/{own}"}}),
    "update with a Provenance": lambda own: put(own, provenance=json.dumps(ABOUT)),
    "Provenance": lambda own: Call("create", "Provenance", body=json.dumps({**ABOUT, "target": of(own)}).encode()),
    "failed test": lambda own: by_patch(own, "text/html"),
    "If-Match": lambda own: put(own, if_match='W/"9"'),
    "absent version": lambda own: Call("vread", "Binary", own, "9"),
    "If-Match in a transaction": lambda own: bundle(
        "transaction", entry("PUT", f"Binary/{own}", {**OTHER, "id": own}, ifMatch='W/"9"')
    ),
}
WITHIN = pytest.mark.parametrize("within", [False, True], ids=["of nobody by itself", "of the record by itself"])


@pytest.mark.parametrize("way", ALONE)
def test_what_an_author_does_to_a_content_is_told_to_the_patient_of_its_document(world, parent, way):
    """Whoever else would do it is; and to the parents, who see it."""
    binary = content(world)
    named(world, binary)

    holders, parents = to_both(world, parent, lambda: world.ehr.ask(ALONE[way](binary[7:])))

    assert len(holders) >= 1
    assert holders == parents


@pytest.mark.rule("L13")
@WITHIN
@pytest.mark.parametrize("way", ALONE)
def test_what_an_author_does_to_the_content_of_a_hidden_document_is_not_told_to_parents(world, parent, way, within):
    """They are told of no act on the document either; its holder is of each."""
    binary = content(world, **(of_record(world) if within else {}))
    named(world, binary, HIDDEN)

    holders, parents = to_both(world, parent, lambda: world.ehr.ask(ALONE[way](binary[7:])))

    assert len(holders) >= 1
    assert parents == []


BY_OTHERS = {name: ALONE[name] for name in ("read", "vread", "update", "patch", "meta", "delete")}
OTHERS = {
    "a doctor": lambda world: world.professional("7"),
    "the minor": lambda world: world.holder(),
    "another EHR": lambda world: world.system("ehr-two", "ehr", "urn:s|2"),
    "another EHR that is not let in": lambda world: world.system("ehr-two", "lab"),
    "another's doctor": lambda world: world.professional("7", patient=world.new_patient()),
}


@pytest.mark.rule("L13")
@WITHIN
@pytest.mark.parametrize("who", OTHERS)
@pytest.mark.parametrize("way", BY_OTHERS)
def test_what_others_do_to_the_content_of_a_hidden_document_is_not_told_to_parents(world, parent, who, way, within):
    """Be they let in or refused."""
    binary = content(world, **(of_record(world) if within else {}))
    named(world, binary, HIDDEN)
    caller = OTHERS[who](world)

    holders, parents = to_both(world, parent, lambda: caller.ask(BY_OTHERS[way](binary[7:])))

    assert len(holders) == 1
    assert parents == []


@pytest.mark.rule("L13")
@WITHIN
def test_what_was_deleted_is_hidden_as_its_document_is(world, parent, within):
    """Also from who asks for it later."""
    binary = content(world, **(of_record(world) if within else {}))
    named(world, binary, HIDDEN)
    world.ehr.delete(binary)

    def ask():
        assert [world.ehr.read(binary).status, world.ehr.delete(binary).status] == [410, 204]

    assert to_both(world, parent, ask) == ([("delete", "4"), ("read", "4")], [])


@pytest.mark.parametrize("at", ["{base}/{binary}", "{binary}/_history/1", "{base}/{binary}/_history/1"])
def test_however_a_document_names_a_content_it_hides_it(world, parent, at):
    """By an absolute URL, or a version."""
    binary = content(world, **of_record(world))
    named(world, at.format(base=world.server.base_url, binary=binary), HIDDEN)

    assert to_both(world, parent, lambda: world.ehr.read(binary)) == ([("read", "0")], [])


def test_a_content_of_two_documents_is_told_to_who_may_see_one_of_them(world, parent):
    """They read it by that one."""
    binary = content(world)
    named(world, binary, HIDDEN)
    named(world, binary)

    assert parent.read(binary).status == 200
    assert to_both(world, parent, lambda: world.ehr.read(binary)) == ([("read", "0")], [("read", "0")])


def test_a_content_of_two_records_is_hidden_from_the_parents_of_one_alone(world, parent):
    """From those whose child's document is hidden."""
    other = world.new_patient(birthDate="2011-05-31")
    others_parent = representative(world, other)
    binary = content(world)
    named(world, binary, HIDDEN)
    named(world, binary, patient=other)
    seen = []

    def ask():
        seen.extend(told_since(others_parent, lambda: world.ehr.update({**OTHER, "id": binary[7:]})))

    assert to_both(world, parent, ask) == ([("update", "0")], [])
    assert seen == [("update", "0")]


def test_from_when_a_document_is_shown_to_parents_acts_on_its_content_are(world, parent):
    """Those before stay hidden, as those on the document do."""
    binary = content(world)
    made = named(world, binary, HIDDEN)

    assert to_both(world, parent, lambda: world.ehr.read(binary)) == ([("read", "0")], [])
    lifted = {name: value for name, value in made.items() if name not in ("meta", "securityLabel")}
    assert world.ehr.update(lifted).status == 200
    before = len(journal(parent))
    assert to_both(world, parent, lambda: world.ehr.read(binary)) == ([("read", "0")], [("read", "0")])
    assert len(journal(parent)) == before + 1


@pytest.mark.parametrize("patient", ["of the record", "of another record"])
def test_a_document_of_others_neither_shows_nor_tells_what_is_done_to_a_content(world, parent, patient):
    """Whoever knows its id can write one: it puts nothing into its patient's journal, and takes nothing out of hiding."""
    other = world.new_patient()
    binary = content(world, **of_record(world))
    named(world, binary, HIDDEN)
    of = world.patient if patient == "of the record" else other
    named(world, binary, actor=world.holder(of), patient=of)
    seen = []

    def ask():
        seen.extend(told_since(world.holder(other), lambda: world.ehr.read(binary)))

    assert to_both(world, parent, ask) == ([("read", "0")], [])
    assert seen == []


@pytest.mark.rule("L13")
@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_a_content_that_is_made_with_its_hidden_document_is_hidden_with_it(world, parent, kind):
    """In one commit, and by a document that is sent before what it names."""
    own = "content-of-the-minor"
    made = entry("PUT", f"Binary/{own}", {**TEXT, "id": own, **of_record(world)})
    tree = document(world.patient, HIDDEN, content=[{"attachment": {"url": f"Binary/{own}"}}])
    naming = entry("PUT", "DocumentReference/of-the-minor", {**tree, "id": "of-the-minor"})

    def send():
        for each in [[naming, made]] if kind == "transaction" else [[naming], [made]]:
            answer = world.ehr.ask(bundle(kind, *each))
            assert [found["response"]["status"][:3] for found in answer.body["entry"]] == ["201"] * len(each)

    holders, parents = to_both(world, parent, send)

    assert len(holders) >= 2
    assert parents == []


def test_a_content_under_an_id_of_the_servers_is_hidden_with_its_document(world, parent):
    """A transaction makes both, and links them by a placeholder; another deletes both."""
    urn = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    made = {**entry("POST", "Binary", {**TEXT, **of_record(world)}), "fullUrl": urn}
    tree = document(world.patient, HIDDEN, content=[{"attachment": {"url": urn}}])
    found = []

    def both():
        answer = world.ehr.ask(bundle("transaction", made, entry("POST", "DocumentReference", tree)))
        found.extend("/".join(each["response"]["location"].split("/")[-4:-2]) for each in answer.body["entry"])
        gone = world.ehr.ask(bundle("transaction", *({"request": {"method": "DELETE", "url": ref}} for ref in found)))
        assert [answer.status, gone.status] == [200, 200]

    holders, parents = to_both(world, parent, both)

    assert [ref.partition("/")[0] for ref in found] == ["Binary", "DocumentReference"]
    assert len(holders) == 6
    assert parents == []


def test_a_transaction_that_puts_another_content_in_place_hides_the_old_one(world, parent):
    """The document named it until then."""
    old, new = content(world, **of_record(world)), content(world)
    made = named(world, old, HIDDEN)
    naming = {**made, "content": [{"attachment": {"url": new}}]}
    sent = bundle(
        "transaction",
        {"request": {"method": "DELETE", "url": old}},
        entry("PUT", f"DocumentReference/{made['id']}", naming),
    )

    holders, parents = to_both(world, parent, lambda: world.ehr.ask(sent))

    assert len(holders) == 3
    assert parents == []


def test_each_of_many_contents_of_a_page_is_told_to_its_patient(world):
    """However many there are."""
    patients = [world.new_patient() for _ in range(23)]
    contents = [content(world) for _ in patients]
    for patient, binary in zip(patients, contents, strict=True):
        named(world, binary, patient=patient)
    world.ehr.search("Binary", "_count=50")

    found = [journal(world.holder(patient))[0] for patient in patients]

    assert acts(found) == [("search-type", "0")] * len(patients)
    assert all(
        binary in json.dumps(event["entity"]) and sum(json.dumps(event).count(each) > 0 for each in contents) == 1
        for binary, event in zip(contents, found, strict=True)
    )


@pytest.mark.rule("L13")
def test_what_brings_a_hidden_content_along_tells_parents_of_the_rest(world, parent):
    """A page that includes it beside what they see."""
    binary = content(world)
    named(world, binary, HIDDEN)
    shown = world.ehr.made(observation(world.patient))
    listed = {"resourceType": "List", "status": "current", "mode": "working", "subject": {"reference": world.patient}}
    items = [{"item": {"reference": ref}} for ref in (binary, f"Observation/{shown['id']}")]
    own = world.ehr.made({**listed, "entry": items})["id"]

    def ask():
        page = world.ehr.search("List", f"_id={own}&_include=List:item")
        assert {binary[7:], shown["id"]} <= page.ids

    assert to_both(world, parent, ask) == ([("search-type", "0")], [("search-type", "0")])
    event = journal(parent)[0]
    assert shown["id"] in json.dumps(event)
    assert binary[7:] not in json.dumps(event)
    assert binary[7:] in json.dumps(journal(world.holder())[0])


@pytest.mark.rule("L13", "L16")
def test_a_copy_of_a_closed_record_tells_parents_of_no_hidden_content_in_it(world, parent):
    """The record's event names it, and hides it as the document."""
    binary = content(world)
    hidden = named(world, binary, HIDDEN)["id"]
    assert say(world.holder(), "close").status == 200

    copied = world.holder().ask(Call("operation", *world.patient.split("/"), operation="everything"))
    row = told(world)

    assert {binary[7:], hidden} <= copied.ids
    assert {f"{binary}/1", f"DocumentReference/{hidden}/1"} <= set(row["hides"])
    assert row["touched"][world.patient]["Binary"] == [f"{binary[7:]}/1"]


@pytest.mark.rule("L13")
def test_the_holder_is_told_alike_of_a_content_that_is_hidden_from_them_and_of_an_absent_one(world, parent):
    """No label of their own attempts says that there is one."""
    binary, of_record_too = content(world), content(world, **of_record(world))
    for each in (binary, of_record_too):
        named(world, each, HIDDEN, "INVISIBLE_PATIENT")
    seen = []
    for own in (binary[7:], of_record_too[7:], "a" * 36):
        for call in (Call("read", "Binary", own), put(own), put(own, if_match='W/"9"'), by_patch(own)):
            world.holder().ask(call)
            event = journal(world.holder())[0]
            seen.append((acts([event]), event.get("outcomeDesc"), event["meta"].get("security")))

    assert seen[:4] == seen[4:8] == seen[8:]


def test_where_its_documents_cannot_be_looked_for_parents_are_told_nothing(world, parent, monkeypatch):
    """Whether what failed is hidden is unknown then: the holder is told."""
    own = content(world, **of_record(world))
    named(world, own)

    def failing():
        assert world.ehr.delete(own, if_match='W/"9"').status == 412

    assert to_both(world, parent, failing) == ([("delete", "4")], [("delete", "4")])

    def fault(*_):
        raise ConnectionError

    monkeypatch.setattr(Documents, "told", fault)
    assert to_both(world, parent, failing) == ([("delete", "4")], [])
