"""What an event tells a representative beside its items: how it ended, who decided, in which frame, on which page.

None of it says that something hidden from them is there, or that the minor said something in secret.
"""

from __future__ import annotations

import base64
import json

import pytest
from msgspec.structs import replace

from fhir_dmp.audit.asked import without_page
from fhir_dmp.call import Call
from tests.access_world import RPPS, SYSTEM, Actor, consent, document, observation
from tests.http.journal import acts, parent_of, traces
from tests.http.newest_row import HIDDEN, TEST, bundle, entry
from tests.http.test_attempts_at_what_is_hidden import representative

KIND = "DocumentReference"
NOBODYS = "a" * 36


@pytest.fixture
def father(world):
    """Who represents the minor."""
    return parent_of(world)


def new(actor, had):
    """Return the events that came since, but for looks into the log."""
    found = traces(actor, "_count=100")
    return [event for event in found if event["id"] not in had and "110101" not in json.dumps(event["subtype"])]


def known(actor):
    """Return which events there are."""
    return {event["id"] for event in traces(actor, "_count=100")}


def read_alike(events, own):
    """Return what events tell, without what differs from one request to the next."""
    told = [
        (event["subtype"], event["outcome"], event.get("outcomeDesc"), event["meta"].get("security"), event["entity"])
        for event in events
    ]
    return json.dumps(told).replace(own, "ID")


def secretly(actor):
    """Return them signed in in secret."""
    subject = actor.subject
    return Actor(actor.world, replace(subject, person=replace(subject.person, secret=True)))


def patched(own):
    """Return an entry that tests what is there."""
    data = base64.b64encode(json.dumps(TEST).encode()).decode()
    resource = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}
    return {"request": {"method": "PATCH", "url": f"{KIND}/{own}"}, "resource": resource}


def got(own):
    """Return an entry that reads."""
    return {"request": {"method": "GET", "url": f"{KIND}/{own}"}}


OWN_FAILURES = {
    "a patch": lambda own, _: Call("patch", KIND, own, body=json.dumps(TEST).encode()),
    "a patch by criteria": lambda own, _: Call("patch", KIND, body=json.dumps(TEST).encode(), criteria=f"_id={own}"),
    "a patch in a transaction": lambda own, _: bundle("transaction", patched(own)),
    "an update that is invalid": lambda own, patient: Call(
        "update", KIND, own, body=json.dumps({**document(patient, HIDDEN), "id": own, "status": 5}).encode()
    ),
}


@pytest.mark.rule("L13")
@pytest.mark.parametrize("how", OWN_FAILURES)
def test_a_minors_own_failure_on_what_they_hid_is_hidden_as_their_successes_are(world, father, how):
    """They see it, and are told that it did not succeed: of an id that nobody has they would be told otherwise."""
    holder = world.holder()
    own = holder.made(document(world.patient, HIDDEN))["id"]
    before = known(father), known(holder)
    assert holder.ask(OWN_FAILURES[how](own, world.patient)).status in (400, 422)

    assert new(father, before[0]) == []
    assert len(new(holder, before[1])) == 1


@pytest.mark.parametrize("records", [1, 2])
def test_a_holder_learns_by_no_label_that_something_is_hidden_from_them_and_their_parents(world, records):
    """A deletion of a version that they do not see reads in their journal as one of an id that nobody has."""
    holder, told = world.holder(), []
    other = world.new_patient(birthDate="2012-05-31")
    flags = [{"system": SYSTEM, "code": flag} for flag in (HIDDEN, "INVISIBLE_PATIENT")]
    tree = {"status": "active", "subject": [{"reference": each} for each in (world.patient, other)][:records]}
    account = {"resourceType": "Account", **tree, "meta": {"security": flags}}
    for own in (world.ehr.made(account)["id"], NOBODYS):
        had = known(holder)
        assert holder.delete(f"Account/{own}", if_match='W/"1"').status == 412
        told.append(read_alike(new(holder, had), own))

    assert told[0] == told[1]


SEVERAL = {
    "a deletion": lambda patient: Call("delete", KIND, criteria=f"patient={patient}"),
    "a create": lambda patient: Call(
        "create", KIND, body=json.dumps(document(patient)).encode(), criteria=f"patient={patient}"
    ),
    "a reference": lambda patient: bundle(
        "transaction",
        entry(
            "POST",
            KIND,
            document(patient, relatesTo=[{"code": "appends", "target": {"reference": f"{KIND}?patient={patient}"}}]),
        ),
    ),
}


@pytest.mark.rule("L13")
@pytest.mark.parametrize("how", SEVERAL)
@pytest.mark.parametrize("flags", [(HIDDEN,), ()])
def test_that_several_match_is_told_to_no_parent_who_sees_one_of_them(world, father, how, flags):
    """Two that they see they may count."""
    for labels in (flags, ()):
        world.ehr.made(document(world.patient, *labels))
    before = known(father), known(world.holder())
    assert world.ehr.ask(SEVERAL[how](world.patient)).status == 412

    assert len(new(father, before[0])) == (0 if flags else 1)
    assert len(new(world.holder(), before[1])) == 1


@pytest.mark.rule("L13")
@pytest.mark.parametrize("how", SEVERAL)
def test_that_several_match_is_told_to_each_parent_by_what_they_see(world, father, how):
    """Of two visible ones beside a hidden one, theirs or somebody else's."""
    other = world.new_patient(birthDate="2012-05-31")
    world.ehr.made(document(world.patient, HIDDEN))
    for patient in (other, other):
        world.ehr.made(document(patient))
    others_father = representative(world, other)
    call = SEVERAL[how]("PATIENT")
    asked = replace(
        call,
        criteria=call.criteria and "status=current",
        body=call.body and call.body.replace(b"patient=PATIENT", b"status=current").replace(b"PATIENT", other.encode()),
    )
    told = []
    for _ in range(2):
        before = known(father), known(others_father)
        assert world.ehr.ask(asked).status == 412
        told.append([len(new(father, before[0])), len(new(others_father, before[1]))])
        for _ in range(2):
            world.ehr.made(document(world.patient))

    assert told == [[0, 1], [1, 1]]


def test_why_a_bundle_was_refused_is_told_to_the_holder_by_the_consent_that_decided(world):
    """It has no decision of its own."""
    made = world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|7"]))["id"]
    own, had = world.ehr.made(document(world.patient))["id"], known(world.holder())
    assert world.professional("7").ask(bundle("transaction", got(own))).status == 403
    events = new(world.holder(), had)

    assert [f"Consent/{made} v1" in event["outcomeDesc"] for event in events if "outcomeDesc" in event] == [True] * len(
        events
    )


@pytest.mark.rule("L13", "F11")
def test_a_decision_of_a_consent_said_in_secret_is_told_to_the_minor_alone(world, father):
    """To a parent the refusal reads as that of somebody whom nobody let in."""
    secret = consent(world.patient, "deny", actors=[f"{RPPS}|7"])
    world.holder().made({**secret, "meta": {"security": [{"system": SYSTEM, "code": HIDDEN}]}})
    item = world.ehr.made(observation(world.patient))["id"]
    told, decided = [], []
    for number in ("7", "8"):
        before = known(father), known(world.holder())
        assert world.professional(number).read(f"Observation/{item}").status == 403
        events = new(father, before[0])
        told.append(read_alike(events, item))
        decided.append(len(new(world.holder(), before[1])))

    assert told[0] == told[1]
    assert decided == [2, 1]


@pytest.mark.rule("L13")
def test_a_parent_is_told_of_a_decision_that_all_may_know(world, father):
    """With the Consent that refused, and why."""
    made = world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|7"]))["id"]
    item = world.ehr.made(observation(world.patient))["id"]
    had = known(father)
    assert world.professional("7").read(f"Observation/{item}").status == 403
    events = new(father, had)

    assert len(events) == 2
    assert all(f"Consent/{made} v1" in event["outcomeDesc"] for event in events)


@pytest.mark.rule("L13")
def test_by_no_label_a_parent_learns_that_a_consent_said_in_secret_let_somebody_in(world, father):
    """The reading of what all may see is told as that of any other doctor."""
    permits = [consent(world.patient, "permit", actors=[f"{RPPS}|{number}"]) for number in ("7", "8")]
    world.holder().made({**permits[0], "meta": {"security": [{"system": SYSTEM, "code": HIDDEN}]}})
    world.holder().made(permits[1])
    item = world.ehr.made(observation(world.patient))["id"]
    told = []
    for number in ("7", "8"):
        had = known(father)
        assert world.professional(number).read(f"Observation/{item}").status == 200
        told.append(read_alike(new(father, had), item))

    assert told[0] == told[1]
    assert "REDACTED" not in told[0]


FRAMES = {
    "a batch": lambda own: bundle("batch", got(own)),
    "a batch that searches": lambda own: bundle("batch", {"request": {"method": "GET", "url": f"{KIND}?_id={own}"}}),
    "a batch that fails": lambda own: bundle("batch", patched(own)),
    "a transaction that reads": lambda own: bundle("transaction", got(own)),
    "a transaction that searches": lambda own: bundle(
        "transaction", {"request": {"method": "GET", "url": f"{KIND}?_id={own}"}}
    ),
}


@pytest.mark.rule("L13")
@pytest.mark.parametrize("who", ["doctor", "holder"])
@pytest.mark.parametrize("how", FRAMES)
def test_a_bundle_of_which_all_is_hidden_is_hidden_itself(world, father, how, who):
    """A frame with nothing in it would tell that there was something; of what all may see it is told with its entries."""
    world.holder().made(consent(world.patient, "permit"))
    caller = world.holder() if who == "holder" else world.professional("7")
    found = {}
    for flags in ((HIDDEN,), ()):
        own = caller.made(document(world.patient, *flags))["id"]
        before = known(father), known(world.holder())
        assert caller.ask(FRAMES[how](own)).status == 200
        found[flags] = len(new(father, before[0])), len(new(world.holder(), before[1]))

    assert found == {(HIDDEN,): (0, 2), (): (2, 2)}


@pytest.mark.rule("L13")
@pytest.mark.parametrize("how", ["a transaction that reads", "a transaction that searches"])
def test_a_bundle_by_which_an_emergency_begins_is_hidden_where_all_of_it_is(world, father, how):
    """The notices that it owes are told all the same."""
    own = world.ehr.made(document(world.patient, HIDDEN))["id"]
    before = known(father), known(world.holder())
    doctor = world.professional("7", purpose="BTG", reason="inconscient")
    assert doctor.ask(FRAMES[how](own)).status == 200

    assert new(father, before[0]) == []
    assert len(new(world.holder(), before[1])) == 2
    assert world.holder().search("Communication", "").body["total"] == 1


@pytest.mark.rule("L13")
def test_a_bundle_of_hidden_and_shown_entries_is_shown(world, father):
    """With those entries that may be told."""
    world.holder().made(consent(world.patient, "permit"))
    hidden, shown = (world.ehr.made(document(world.patient, *flags))["id"] for flags in ((HIDDEN,), ()))
    had = known(father)
    assert world.professional("7").ask(bundle("batch", got(hidden), got(shown))).status == 200

    assert sorted(acts(new(father, had))) == [("batch", "0"), ("read", "0")]


@pytest.mark.rule("L13")
def test_why_a_bundle_was_refused_is_told_alike_hidden_or_absent(world, father):
    """The answer is: a doctor whom nobody let in asks for an id."""
    doctor, told = world.professional("7"), []
    for own in (world.ehr.made(document(world.patient, HIDDEN))["id"], NOBODYS):
        had = known(father)
        assert doctor.ask(bundle("transaction", got(own))).status == 403
        told.append(read_alike(new(father, had), own))

    assert told[0] == told[1]


@pytest.mark.rule("L13")
def test_a_later_page_is_told_to_a_parent_as_a_search(world, father):
    """That there was one before, of which they are not told, would say what it held."""
    world.holder().made(consent(world.patient, "permit"))
    for flags in ((), (HIDDEN,)):
        world.ehr.made(document(world.patient, *flags))
    doctor, had = world.professional("7"), known(father)
    first = doctor.search(KIND, "_count=1&_sort=-_lastUpdated").body
    later = next(link["url"] for link in first["link"] if link["relation"] == "next").partition("?")[2]
    assert doctor.search(KIND, later).status == 200
    (event,) = new(father, had)

    had = known(father)
    assert (
        doctor.search(KIND, "_count=1&_sort=-_lastUpdated&_id=" + world.ehr.made(document(world.patient))["id"]).status
        == 200
    )
    (plain,) = [each for each in new(father, had) if acts([each]) == [("search-type", "0")]]

    for element in (event["entity"][1]["description"], base64.b64decode(event["entity"][1]["query"]).decode()):
        assert element == f"GET /fhir/{KIND}?_count=…&_sort=…"
    assert plain["entity"][1]["description"].startswith(element)
    assert "_page" in json.dumps(traces(world.holder(), "subtype=search-type"))


@pytest.mark.rule("L13")
def test_a_block_said_in_secret_is_not_told_by_what_the_doctor_declares(world, father):
    """The doctor is refused, and the minor alone is told of it."""

    def say(actor, operation, number):
        named = {"identifier": {"system": RPPS, "value": number}}
        given = [{"name": "actor", "valueReference": named}]
        if actor.subject.person.kind == "professional":
            given.append({"name": "declaration", "valueString": "oral"})
        body = json.dumps({"resourceType": "Parameters", "parameter": given}).encode()
        return actor.ask(Call("operation", "Patient", world.patient.partition("/")[2], operation=operation, body=body))

    assert say(secretly(world.holder()), "block", "18").status == 200
    assert say(father, "authorize", "18").status == 200
    before = known(father), known(world.holder())
    assert say(world.professional("18"), "authorize", "18").status == 422

    assert new(father, before[0]) == []
    assert len(new(world.holder(), before[1])) == 1


def test_a_path_is_told_without_the_id_that_somebody_asked_for(world, father):
    """A parent who asks for one by another's token would read in the child's journal which it is; the record's own stays."""
    world.holder().made(consent(world.patient, "permit"))
    hidden, had = world.ehr.made(document(world.patient, HIDDEN))["id"], known(father)
    patient = world.patient.partition("/")[2]
    doctor = world.professional("7")
    asked = ("options", KIND, hidden), ("put", KIND, hidden), ("foo", KIND, hidden), ("options", "Patient", patient)
    for call in (Call(*each) for each in asked):
        doctor.ask(call)

    assert hidden not in json.dumps(new(father, had))


def test_a_path_in_a_bundle_is_told_without_its_id(world, father):
    """The visible item that was found within is."""
    world.holder().made(consent(world.patient, "permit"))
    label = {"security": [{"system": SYSTEM, "code": HIDDEN}]}
    encounter = {"status": "planned", "class": {"code": "AMB"}, "subject": {"reference": world.patient}, "meta": label}
    own = world.ehr.made({"resourceType": "Encounter", **encounter})["id"]
    item = world.ehr.made({**observation(world.patient), "encounter": {"reference": f"Encounter/{own}"}})["id"]
    had = known(father)
    url = f"Encounter/{own}/Observation?_count=3"
    asked = bundle("batch", {"request": {"method": "GET", "url": url}}, {"request": {"method": "OPTIONS", "url": url}})
    assert world.professional("7").ask(asked).status == 200
    told = json.dumps(new(father, had))

    assert item in told
    assert own not in told


def test_a_parent_is_told_that_what_they_see_was_counted_beside_a_page_of_what_is_hidden(world, father):
    """Of the number, and of nothing on the page."""
    hidden, shown = (world.ehr.made(document(world.patient, *flags))["id"] for flags in ((HIDDEN,), ()))
    had = known(father)
    found = world.ehr.search(KIND, f"_id={hidden},{shown}&_count=1&_total=accurate&_sort=-_lastUpdated")
    if hidden not in found.ids:
        found = world.ehr.search(KIND, f"_id={hidden},{shown}&_count=1&_total=accurate&_sort=_lastUpdated")
    assert found.body["total"] == 2
    events = new(father, had)

    assert acts(events)[:1] == [("search-type", "0")]
    assert hidden not in json.dumps(events)


def test_a_count_beside_a_hidden_page_reads_as_one_beside_somebody_elses(world, father):
    """Of both the parent knows that one was counted which they see, and no more."""
    world.ehr.made(document(world.patient))
    told = []
    for each in ((world.patient, HIDDEN), (world.new_patient(),)):
        own = world.ehr.made(document(*each))["id"]
        had = known(father)
        found = world.ehr.search(KIND, "_count=1&_total=accurate&_sort=-_lastUpdated")
        assert found.ids == {own}
        told.append(read_alike(new(father, had), own))

    assert told[0] == told[1]


@pytest.mark.parametrize("form", [False, True])
def test_a_request_of_a_later_page_is_told_as_that_of_the_first(form):
    """By URL and by form, with what else they say."""
    head = "POST /fhir/Patient/_search\n" if form else "GET /fhir/Patient?"
    asked = "_count=…&_sort=…"
    for later in (f"{head}_page=…\n{asked}", f"{head}_format=json&_page=…&_pretty=true\n{asked}"):
        assert without_page(later) == f"{head}{asked}"
    assert without_page(f"{head}{asked}") == f"{head}{asked}"


def test_the_labels_of_a_type_are_told_to_those_who_have_them(world):
    """Where they are as few as a page may hold: a tag says of one patient what a search by it does."""
    tagged = {**observation(world.patient), "meta": {"tag": [{"system": "urn:x", "code": "hiv"}]}}
    world.ehr.made(tagged)
    for kind in ("Observation", None):
        had = known(world.holder())
        answer = world.ehr.ask(Call("operation", kind, operation="meta"))
        assert "hiv" in json.dumps(answer.body)
        assert len(new(world.holder(), had)) == 1
