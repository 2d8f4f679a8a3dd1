"""What closing leaves to the holder beside reopening: a copy of the record, and the traces. Nobody else gains anything by it."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import parse_qsl

import pytest
from msgspec.structs import replace

from fhir_dmp.call import Call
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import Actor, consent, document, observation
from tests.http.test_choices_of_the_patient import by, say
from tests.http.test_narrowed_ways import lists, touches


@pytest.fixture
def kept(world):
    """What the closed record holds: an observation of the EHR's, a document, and one that waits for its announcement."""
    items = [
        observation(world.patient),
        document(world.patient),
        document(world.patient, "INVISIBLE_PATIENT"),
    ]
    seen, also, waits = (world.ehr.made(item)["id"] for item in items)
    say(world.holder(), "authorize", actor=by("1"))
    say(world.holder(), "attending-doctor", actor=by("7"))
    assert say(world.holder(), "close").status == 200
    return seen, also, waits


def copy(who, patient=None, **params):
    """Ask for the record whole."""
    record = (patient or who.world.patient).partition("/")[2]
    return who.ask(Call("operation", "Patient", record, operation="everything", params=tuple(params.items())))


def scoped(actor, *scopes):
    """Return the caller with a token of these scopes."""
    return Actor(actor.world, replace(actor.subject, scopes=scopes))


@pytest.mark.rule("L24", "L16")
def test_the_holder_takes_a_copy_of_a_closed_record(world, kept):
    """All that they may see of it, page by page, and its event is the one of a disclosure."""
    seen, also, waits = kept
    holder = scoped(world.holder(), "patient/*.rs")

    whole = copy(holder)
    page, found = copy(holder, _count="1"), set()
    for _ in range(20):
        found |= page.ids
        following = [link["url"] for link in page.body["link"] if link["relation"] == "next"]
        if not following:
            break
        page = copy(holder, **dict(parse_qsl(following[0].partition("?")[2])))
    [event] = holder.search("AuditEvent", "_count=1").body["entry"]

    assert (whole.status, page.status) == (200, 200)
    assert {seen, also, world.patient.partition("/")[2]} <= whole.ids
    assert waits not in whole.ids
    assert found == whole.ids
    assert {"code": "disclose", "system": "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"} in event[
        "resource"
    ]["subtype"]
    assert event["resource"]["outcome"] == "0"


def with_contents(world, *texts, absolute=False):
    """Store a document that names Binaries of these texts; return it, and their ids in order."""
    made = [
        world.ehr.made({"resourceType": "Binary", "contentType": "text/plain", "data": b64encode(text).decode()})["id"]
        for text in texts
    ]
    base = f"{world.server.base_url}/" if absolute else ""
    content = [{"attachment": {"contentType": "text/plain", "url": f"{base}Binary/{each}"}} for each in made]
    return world.ehr.made(document(world.patient, content=content))["id"], made


def walked(who, **params):
    """Take the copy page by page; return the ids of each."""
    page, found = copy(who, **params), []
    while True:
        found.append([entry["resource"]["id"] for entry in page.body["entry"]])
        following = [link["url"] for link in page.body["link"] if link["relation"] == "next"]
        if not following:
            return found
        assert len(found) < 50
        page = copy(who, **dict(parse_qsl(following[0].partition("?")[2])))


@pytest.mark.rule("L24", "L16")
def test_a_copy_of_a_closed_record_holds_the_contents_of_its_documents(world):
    """For their Binaries can be read by nothing else now; not those of what is hidden from the holder, nor those of another record."""
    one, (first, second) = with_contents(world, b"one", b"two")
    other, (third,) = with_contents(world, b"three", absolute=True)
    hidden = world.ehr.made({"resourceType": "Binary", "contentType": "text/plain", "data": "aGlkZGVu"})["id"]
    attachment = {"contentType": "text/plain", "url": f"Binary/{hidden}"}
    world.ehr.made(document(world.patient, "INVISIBLE_PATIENT", content=[{"attachment": attachment}]))
    holder = world.holder()
    opened = copy(holder).ids
    say(holder, "close")

    whole = copy(holder)
    entries = {each["resource"]["id"]: each for each in whole.body["entry"]}

    assert {one, other} <= opened
    assert opened.isdisjoint({first, second, third})
    assert {one, other, first, second, third} <= whole.ids
    assert hidden not in whole.ids
    assert entries[third]["resource"]["data"] == b64encode(b"three").decode()
    assert entries[third]["search"]["mode"] == "include"
    [told, *_], _ = world.server.store.search_events(EVERYTHING, 1, None)
    assert holder.read(f"Binary/{first}").status == 403
    assert copy(holder, _type="Observation").ids.isdisjoint({first, second, third})
    assert {first, second, third} <= copy(holder, _type="DocumentReference,Binary").ids
    assert all(each.encode() in told.event.body for each in (first, second, third))


@pytest.mark.parametrize("count", [None, "1", "3"])
def test_contents_that_are_long_are_told_over_several_pages(world, count):
    """A page ends where its contents fill a body; each is told once, and none is left out."""
    env = world.server.env
    texts = [bytes([65 + number]) * 700 for number in range(7)]
    first, some = with_contents(world, *texts[:4])
    second, others = with_contents(world, *texts[4:])
    seen = world.ehr.made(observation(world.patient))["id"]
    say(world.holder(), "close")
    world.server = replace(world.server, env=replace(env, limits=replace(env.limits, body=2000)))

    pages = walked(world.holder(), **({"_count": count} if count else {}))
    told = [each for page in pages for each in page]

    assert len(pages) > 2
    assert sorted(each for each in told if each in {*some, *others}) == sorted([*some, *others])
    assert all(told.count(each) == 1 for each in (first, second, seen, world.patient.partition("/")[2]))
    assert max(len({*page} & {*some, *others}) for page in pages) <= 2


def test_nothing_but_the_copy_is_left_of_reading(world, kept):
    """Reads, past versions, histories, searches, other operations and those of another record stay refused to the holder."""
    seen, *_ = kept
    holder, other = world.holder(), world.new_patient()
    encounter = Call("operation", "Encounter", "e1", operation="everything")

    ways = {way: call for way, call in lists(world).items() if not way.startswith("everything")}
    calls = {**ways, **touches(seen), "of an encounter": encounter}
    answers = {way: holder.ask(call).status for way, call in calls.items()}
    single = (holder.read(f"Observation/{seen}"), holder.read(world.patient), holder.vread(f"Observation/{seen}", 1))
    listed = (holder.history(f"Observation/{seen}"), holder.history("Observation"), holder.search("Observation"))

    assert {way: status for way, status in answers.items() if status != 403} == {}
    assert {answer.status for answer in (*single, *listed)} == {403}
    assert holder.create(observation(world.patient)).status == 403
    assert copy(holder, other).status == 403
    assert copy(world.holder(other)).status == 404


def test_a_copy_is_taken_among_the_entries_of_a_batch_and_the_reads_beside_it_are_not(world, kept):
    """Each entry is judged by itself."""
    urls = (f"{world.patient}/$everything", f"Observation/{kept[0]}", world.patient, "Observation?_count=1")

    entries = [{"request": {"method": "GET", "url": url}} for url in urls]
    answer = world.holder().transaction(*entries, kind="batch")

    assert [each["response"]["status"][:3] for each in answer.body["entry"]] == ["200", "403", "403", "403"]


@pytest.mark.rule("L24", "F1")
def test_nobody_else_copies_a_closed_record(world, kept):
    """Not whom the holder authorised, the attending doctor, an author, who breaks the glass, centre 15, a system, an administrator."""
    holder = world.holder(world.new_patient())
    doctors = [
        world.professional("1"),
        world.professional("7"),
        world.professional("2", structure="urn:s|1"),
        world.professional("1", purpose="BTG", reason="inconscient"),
        world.professional("1", purpose="ETREAT", reason="un appel", role="samu"),
    ]
    systems = [
        world.ehr,
        world.system("lab-one", "lab", "urn:s|1"),
        world.system("auditor-one", "auditor"),
        world.system("admin-one", "admin"),
    ]

    answers = [copy(who) for who in (holder, *doctors, *systems)]

    assert {answer.status for answer in answers} <= {403, 404}
    assert [answer.body for answer in answers if answer.body] == []
    assert copy(world.insurance).ids == {world.patient.partition("/")[2]}, (
        "it keeps identities, and may read that alone"
    )


@pytest.mark.rule("L24", "L14")
@pytest.mark.parametrize("stated", [True, False])
def test_who_acts_for_the_holder_copies_no_closed_record(world, stated):
    """Neither a parent whom the insurance states, nor whom the holder named; before it was closed, they could."""
    world.patient = world.new_patient(birthDate="2011-05-31")
    seen = world.ehr.made(observation(world.patient))["id"]
    parent = {"resourceType": "RelatedPerson", "patient": {"reference": world.patient}, "active": True}
    related = f"RelatedPerson/{(world.insurance if stated else world.ehr).made(parent)['id']}"
    if not stated:
        world.holder().made(consent(world.patient, "permit", actors=[related], purposes=["FAMRQT"]))
    before = copy(world.representative(related))
    assert say(world.holder(), "close").status == 200

    assert seen in before.ids
    assert copy(world.representative(related)).status == 403
    assert seen in copy(world.holder()).ids


@pytest.mark.parametrize(
    "scopes",
    [
        ("patient/Patient.rs", "patient/Observation.rs"),
        ("patient/*.r",),
        ("patient/*.s", "patient/Patient.rs"),
        ("patient/*.cud", "patient/Patient.rs"),
        ("patient/*.rs?status=final", "patient/Patient.rs"),
        ("patient/Patient.rs", "patient/Observation.rs?status=final"),
        ("system/*.rs", "patient/Patient.rs"),
    ],
    ids=" ".join,
)
def test_a_token_that_does_not_cover_the_whole_record_copies_nothing_of_a_closed_one(world, kept, scopes):
    """A copy is of all of it: what an app was given in part, it has no longer."""
    app = scoped(world.holder(), *scopes)

    assert copy(app).status == 403
    assert copy(app, _type="Observation").status == 403


def test_the_log_says_why_a_closed_record_was_not_copied(world, kept):
    """The closing, and not that somebody is unknown; the answer tells it to nobody but the holder."""
    refused = copy(world.professional("1"))

    assert refused.text == "This record is not open to you."
    assert any("the record is closed" in reason for reason in world.reasons()[0])
