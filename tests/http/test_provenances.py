"""A Provenance is in the record of what it is about, is written by who writes that, and tells nobody of what is hidden."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pymongo
import pytest
from msgspec.structs import replace

from fhir_dmp.call import Call
from fhir_dmp.service import provenances
from tests.access_world import World, changed, consent, document, observation
from tests.http.test_choices_of_the_patient import say

TOLD = {"resourceType": "Provenance", "recorded": "2026-01-01T00:00:00Z", "agent": [{"who": {"display": "x"}}]}


@pytest.fixture
def world(mongodb_uri, database_name, tmp_path):
    """A record that is open to all who treat."""
    made = World(mongodb_uri, database_name, tmp_path)
    made.holder().made(consent(made.patient, "permit"))
    yield made
    made.server.close()


def with_provenance(actor, tree, name="create"):
    """Write the resource with an X-Provenance; return the answer and the Provenance's id, as its author finds it."""
    call = Call(name, tree["resourceType"], tree.get("id"), body=json.dumps(tree).encode(), provenance=json.dumps(TOLD))
    answer = actor.ask(call)
    ref = f"{tree['resourceType']}/{answer.body.get('id')}"
    return answer, actor.search("Provenance", f"target={ref}").ids


def about(*refs):
    """Return a Provenance about these."""
    return {**TOLD, "target": [{"reference": ref} for ref in refs]}


def everywhere(actor, provenance, target):
    """Return by which ways the actor learns of the Provenance."""
    kind = target.partition("/")[0]
    ways = {
        "read": actor.read(f"Provenance/{provenance}").status == 200,
        "vread": actor.vread(f"Provenance/{provenance}", 1).status == 200,
        "history": actor.history(f"Provenance/{provenance}").status == 200,
        "histories": provenance in actor.history("Provenance").ids,
        "search": provenance in actor.search("Provenance").ids,
        "by target": provenance in actor.search("Provenance", f"target={target}").ids,
        "by id": provenance in actor.search("Provenance", f"_id={provenance}").ids,
        "total": actor.search("Provenance", f"target={target}&_summary=count").body.get("total") != 0,
        "brought along": provenance in actor.search(kind, "_revinclude=Provenance:target").ids,
        "by what tells of it": actor.search(kind, "_has:Provenance:target:recorded=2026").ids != set(),
        "system": provenance in actor.ask(Call("search-system", params=(("_type", "Provenance"),))).ids,
        "patched": actor.ask(
            Call("patch", "Provenance", provenance, body=b'[{"op":"test","path":"/recorded","value":"x"}]')
        ).status
        != 404,
        "condition": actor.create(about(target), criteria=f"_id={provenance}").status == 200,
    }
    return {way for way, found in ways.items() if found}


def test_who_may_write_an_item_writes_its_provenance(world):
    """A professional, by the header and by itself; it is in the record, for all who see the item."""
    doctor, other = world.professional("1"), world.professional("2")
    made, found = with_provenance(doctor, observation(world.patient))
    ref = f"Observation/{made.body['id']}"
    updated, _ = with_provenance(doctor, changed(made.body, status="amended"), "update")

    assert (made.status, updated.status, len(found)) == (201, 200, 1)
    assert other.create(about(ref)).status == 201
    assert len(other.search("Provenance", f"target={ref}").ids) == 3
    assert len(world.holder().search("Provenance").ids) == 3
    assert everywhere(other, *found, ref) >= {"read", "search", "brought along", "by what tells of it", "by target"}


HIDING = ["masked", "masked at once", "withheld", "of another category", "deleted"]


@pytest.mark.rule("L9")
@pytest.mark.parametrize("hiding", HIDING)
def test_the_provenance_of_what_is_hidden_is_as_absent(world, hiding):
    """However it is hidden, and whenever: by no way does it tell that there is something."""
    flags = ("MASQUE_PS",) if hiding == "masked at once" else ()
    made, found = with_provenance(world.ehr, document(world.patient, *flags))
    ref, (provenance,) = f"DocumentReference/{made.body['id']}", found
    item = {"reference": ref}
    reader = world.professional("2", profession="28" if hiding == "of another category" else "10")
    if hiding in ("masked", "deleted"):
        assert say(world.holder(), "mask", item=item).status == 200
    if hiding == "deleted":
        assert world.ehr.delete(ref).status == 204
    if hiding == "withheld":
        world.holder().made(consent(world.patient, "deny", data=[{"meaning": "instance", "reference": item}]))

    assert reader.read(ref).status == 404
    assert everywhere(reader, provenance, ref) == set()
    if hiding == "masked":
        assert say(world.holder(), "mask", item=item, masked=False).status == 200
        assert "search" in everywhere(reader, provenance, ref)


def test_a_provenance_of_ones_own_does_not_tell_whether_something_is_hidden(world):
    """Whoever writes one about an id and reads it again is answered the same, whether somebody has the id or nobody."""
    hidden, seen = (world.ehr.made(document(world.patient, *flags))["id"] for flags in (("MASQUE_PS",), ()))
    doctor, colleague, told = world.professional("2"), world.professional("3", structure="urn:s|3"), []
    for own in (hidden, "a" * 36):
        made = doctor.made(about(f"DocumentReference/{own}", f"DocumentReference/{seen}"))["id"]
        others = made in colleague.search("Provenance").ids
        told.append((everywhere(doctor, made, f"DocumentReference/{seen}"), others))

    assert told[0][0] == told[1][0] >= {"read", "history", "search", "by target", "brought along"}
    assert [others for _, others in told] == [False, True]


def test_a_past_provenance_is_seen_by_what_it_was_about_then(world):
    """That it is about something else now opens none of its past, by number or in any history."""
    hidden, plain = (world.ehr.made(document(world.patient, *flags))["id"] for flags in (("MASQUE_PS",), ()))
    made = world.ehr.made(about(f"DocumentReference/{hidden}"))
    ref, doctor = f"Provenance/{made['id']}", world.professional("2")
    target = [{"reference": f"DocumentReference/{plain}"}]
    assert world.ehr.update(changed(made, target=target)).status == 200

    def versions(who):
        histories = who.history(ref), who.history("Provenance"), who.ask(Call("history-system"))
        found = [each["resource"] for history in histories for each in history.body["entry"] if "resource" in each]
        return [each["meta"]["versionId"] for each in found if each["id"] == made["id"]]

    assert [doctor.vread(ref, version).status for version in (1, 2)] == [404, 200]
    assert versions(doctor) == ["2"] * 3
    assert versions(world.ehr) == ["2", "1"] * 3
    for who in (doctor, world.ehr):
        own, *of_many = who.history(ref), who.history("Provenance"), who.ask(Call("history-system"))
        for history in (own, *(of_many if who is world.ehr else ())):
            assert history.body["total"] == len(history.body["entry"])


def test_a_deleted_provenance_is_gone_for_whom_it_was_there(world):
    """Its deletion keeps what it was about: who sees all of that is told 410, by its history too; for others there never was one."""
    masked, plain = (world.ehr.made(document(world.patient, *flags))["id"] for flags in (("MASQUE_PS",), ()))
    own, open_to_all = (world.ehr.made(about(f"DocumentReference/{each}"))["id"] for each in (masked, plain))
    doctor = world.professional("2")
    for each in (own, open_to_all):
        assert world.ehr.delete(f"Provenance/{each}").status == 204

    def told(who, provenance):
        ref = f"Provenance/{provenance}"
        methods = [entry["request"]["method"] for entry in who.history(ref).body.get("entry", ())]
        return who.read(ref).status, who.vread(ref, 1).status, who.vread(ref, 2).status, methods

    assert told(world.ehr, own) == told(world.holder(), own) == (410, 200, 410, ["DELETE", "POST"])
    assert told(doctor, open_to_all) == (410, 200, 410, ["DELETE", "POST"])
    assert told(doctor, own) == (404, 404, 404, [])
    assert len(doctor.history("Provenance").body["entry"]) == 2
    assert world.ehr.history("Provenance").body["total"] == 4
    assert world.ehr.update({**about(f"DocumentReference/{masked}"), "id": own}).status == 201
    assert doctor.read(f"Provenance/{own}").status == 404


def test_a_deletion_that_kept_less_is_told_to_nobody(world, mongodb_uri, database_name):
    """One made by an older server: what the Provenance was about is not known."""
    made = world.ehr.made(about(f"DocumentReference/{world.ehr.made(document(world.patient))['id']}"))
    ref = f"Provenance/{made['id']}"
    assert world.ehr.delete(ref).status == 204
    with pymongo.MongoClient(mongodb_uri) as client:
        client[database_name]["current"].update_one({"_id": ref}, {"$set": {"t": []}})

    assert world.ehr.read(ref).status == 404
    assert world.ehr.history(ref).status == 404


def test_one_of_several_that_is_hidden_hides_the_whole(world):
    """What a transaction made together is told together, or not at all."""
    entries = [
        {"resource": each, "request": {"method": "POST", "url": each["resourceType"]}}
        for each in (observation(world.patient), document(world.patient, "MASQUE_PS"))
    ]
    bundle = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()
    assert world.ehr.ask(Call("bundle", body=bundle, provenance=json.dumps(TOLD))).status == 200
    (provenance,) = world.ehr.search("Provenance").ids

    assert world.professional("2").search("Provenance").ids == set()
    assert world.professional("2").read(f"Provenance/{provenance}").status == 404
    assert world.holder().read(f"Provenance/{provenance}").status == 200


def test_writing_a_provenance_tells_nothing_of_its_target(world):
    """Hidden, of another record and absent are refused alike."""
    other = world.new_patient()
    masked = world.ehr.made(document(world.patient, "MASQUE_PS"))
    foreign = world.ehr.made(observation(other))
    doctor = world.professional("1")
    refs = [f"DocumentReference/{masked['id']}", f"Observation/{foreign['id']}", "Observation/absent"]

    answers = [doctor.create(about(ref)) for ref in refs]

    assert {(answer.status, answer.text) for answer in answers} == {(403, answers[0].text)}
    assert world.holder(other).search("Provenance").ids == set()


def test_a_provenance_of_a_provenance_is_its_authors_alone(world):
    """It would tell of what the inner one is about."""
    made, found = with_provenance(world.ehr, observation(world.patient))
    outer = world.ehr.create(about(f"Provenance/{next(iter(found))}"))

    assert (made.status, outer.status) == (201, 201)
    assert world.professional("2").read(f"Provenance/{outer.body['id']}").status == 404


def test_a_whole_record_tells_no_provenance_of_what_is_hidden(world):
    """One about the patient and a masked document belongs to the record, and is told to who sees both."""
    masked = f"DocumentReference/{world.ehr.made(document(world.patient, 'MASQUE_PS'))['id']}"
    whole = Call("operation", "Patient", world.patient.partition("/")[2], operation="everything")
    of_both, of_one = (world.ehr.made(about(*each))["id"] for each in ((world.patient, masked), (world.patient,)))

    seen = {
        name: who.ask(whole).ids & {of_both, of_one}
        for name, who in (("holder", world.holder()), ("doctor", world.professional("2")))
    }

    assert seen == {"holder": {of_both, of_one}, "doctor": {of_one}}


@pytest.fixture
def many(world, monkeypatch):
    """More Provenances than one query names: of items that are seen, and each third of one that is masked from the doctor."""
    monkeypatch.setattr(provenances, "MOST", 5)
    shown, hidden = [], []
    for number in range(12):
        tree = document(world.patient, "MASQUE_PS") if number % 3 == 0 else document(world.patient)
        answer, found = with_provenance(world.ehr, tree)
        (hidden if number % 3 == 0 else shown).append((f"DocumentReference/{answer.body['id']}", *found))
    return shown, hidden


def every_page(actor, call):
    """Return the ids of all pages of a list, each page by itself."""
    pages, answer = [], actor.ask(call)
    while True:
        assert answer.status == 200
        pages.append([each["resource"]["id"] for each in answer.body.get("entry", ())])
        following = [each["url"] for each in answer.body["link"] if each["relation"] == "next"]
        if not following:
            return pages
        params = tuple(parse_qsl(following[0].partition("?")[2]))
        answer = actor.ask(replace(call, params=params))


@pytest.mark.parametrize("count", ["3", "100"])
@pytest.mark.parametrize("name", ["search-type", "search-system", "history-type", "history-system"])
def test_a_list_of_however_many_provenances_shows_what_is_seen(world, many, name, count):
    """Pages are filled with them, and hold each once; nothing of those about what is hidden."""
    shown, hidden = many
    kind = "Provenance" if name.endswith("type") else None
    narrowed = (("_type", "Provenance"),) if name == "search-system" else ()
    call = Call(name, kind, params=(("_count", count), *narrowed))

    pages = every_page(world.professional("2"), call)
    told = [each for page in pages for each in page]

    assert sorted(each for each in told if each in {found for _, found in shown}) == sorted(found for _, found in shown)
    assert {found for _, found in hidden}.isdisjoint(told)
    if name.startswith("search"):
        assert all(len(page) == int(count) for page in pages[:-1])


def test_however_many_provenances_there_are_those_of_a_page_are_brought_along(world, many):
    """A system that tells where all of it comes from asks for that as any other does."""
    shown, hidden = many
    doctor = world.professional("2")

    found = doctor.search("DocumentReference", "_revinclude=Provenance:target")

    assert {each for _, each in shown} <= found.ids
    assert {each for _, each in hidden}.isdisjoint(found.ids)
    everything = world.ehr.search("DocumentReference", "_revinclude=Provenance:target").ids
    assert {each for _, each in (*shown, *hidden)} <= everything


def test_too_many_provenances_are_not_counted(world, many):
    """To count them each would have to be looked at: 422, unless a target is named."""
    shown, _ = many
    doctor = world.professional("2")

    for query in ("_summary=count", "_total=accurate"):
        assert doctor.search("Provenance", query).status == 422
    assert doctor.history("Provenance", "_summary=count").status == 422
    assert doctor.search("Provenance", f"target={shown[0][0]}&_summary=count").body["total"] == 1
    assert "total" not in doctor.history("Provenance").body
