"""What a Consent hid is not told by the Consent once it has ended: the item may be hidden still, and that it was hidden is the patient's to tell."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.access_world import NOON, RPPS, changed, consent, observation
from tests.http.test_choices_of_the_patient import say

LAST_YEAR, NEXT_YEAR = {"end": "2025-11-23"}, {"start": "2027-01-01"}


def of(meaning, reference):
    """Return what a provision is about."""
    return {"meaning": meaning, "reference": {"reference": reference}}


@pytest.fixture
def item(world):
    """An observation of the EHR, in a record that is open to everybody who treats."""
    world.holder().made(consent(world.patient, "permit"))
    return f"Observation/{world.ehr.made(observation(world.patient))['id']}"


def seen(actor, ref, item, patient):
    """Return the ways by which the actor comes to the Consent: reads, versions, histories, lists, what comes along, what is about it."""
    (kind, own), (_, target) = ref.split("/"), item.split("/")
    ways = {
        "read": actor.read(ref),
        "version": actor.vread(ref, 1),
        "history": actor.history(ref),
        "history of the type": actor.history(kind),
        "list": actor.search(kind),
        "by what it names": actor.search(kind, f"data={item}"),
        "from what it names": actor.search("Observation", f"_id={target}&_revinclude=Consent:data"),
        "by having": actor.search("Patient", f"_id={patient.partition('/')[2]}&_has:Consent:patient:_id={own}"),
        "beside the patient": actor.search("Patient", f"_id={patient.partition('/')[2]}&_revinclude=Consent:patient"),
        "told of": actor.search("Provenance", f"target={ref}&_include=Provenance:target"),
    }
    found = {way for way, answer in ways.items() if own in str({**answer.body, "link": ()})}
    by_having = bool(ways["by having"].body.get("entry"))
    return found - {"by having"} | ({"by having"} if by_having else set())


def ended(holder, tree, how):
    """Let the holder say it and end it, and return its name."""
    when = {"over": LAST_YEAR, "not begun": NEXT_YEAR}.get(how)
    if when is not None:
        tree = {**tree, "provision": {**tree["provision"], "period": when}}
    if how == "draft":
        tree = {**tree, "status": "draft"}
    made = holder.made(tree)
    ref = f"Consent/{made['id']}"
    if how == "inactive":
        assert holder.update(changed(made, status="inactive")).status == 200
    if how == "deleted":
        assert holder.delete(ref).status == 204
    if how == "other words":
        assert holder.update(changed(made, provision={"type": "permit"})).status == 200
    return ref


HOW = ("over", "not begun", "inactive", "deleted", "other words", "draft")
WHAT = {
    "an item": lambda item: {"data": [of("instance", item)]},
    "an author": lambda item: {"data": [of("authoredby", "Practitioner/p7")]},
    "a time": lambda item: {"dataPeriod": {"end": "2024"}},
    "a label": lambda item: {"securityLabel": [{"system": "urn:l", "code": "x"}]},
}  # fmt: skip


@pytest.mark.rule("L9")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("what", WHAT)
def test_a_consent_that_does_not_hold_tells_nobody_what_it_withholds(world, item, what, how):
    """Nor what it will withhold, or withheld by an earlier version: by no way, to those whom it named and to those who are shown the record alike."""
    holder = world.holder()
    named = () if what == "an item" else (f"{RPPS}|1", "urn:s|2")
    ref = ended(holder, consent(world.patient, "deny", actors=named, **WHAT[what](item)), how)
    about = {"resourceType": "Provenance", "target": [{"reference": ref}], "recorded": "2026-11-23T10:00:00Z"}
    holder.create({**about, "agent": [{"who": {"reference": world.patient}}]})
    others = world.professional("1"), world.system("ehr-two", "ehr", "urn:s|2")

    assert [seen(each, ref, item, world.patient) for each in others] == [set(), set()]
    if how != "deleted":
        assert {"read", "version", "history", "list"} <= seen(holder, ref, item, world.patient)


@pytest.mark.rule("L9")
def test_an_item_that_is_masked_still_is_not_told_by_a_consent_that_opened_it(world, item):
    """To one doctor it was opened by name; nobody else learns of it, when that is over either, nor does the doctor go on being told."""
    holder = world.holder()
    ref = ended(holder, consent(world.patient, "permit", actors=[f"{RPPS}|1"], data=[of("instance", item)]), "")
    assert say(holder, "mask", item={"reference": item}).status == 200
    before = [world.professional(number).read(ref).status for number in ("1", "2")]

    made = holder.read(ref).body
    assert holder.update(changed(made, status="inactive")).status == 200

    assert before == [200, 404]
    assert [seen(world.professional(each), ref, item, world.patient) for each in ("1", "2")] == [set(), set()]


def test_a_consent_that_ends_by_its_day_is_told_to_nobody_afterwards(world, item):
    """What changed is the time alone: nothing is written on the day."""
    period = {"end": (NOON + timedelta(days=1)).isoformat()}
    made = world.holder().made(
        consent(world.patient, "deny", actors=[f"{RPPS}|1"], data=[of("instance", item)], period=period)
    )
    doctor = world.professional("1")
    before = doctor.read(item).status, doctor.read(f"Consent/{made['id']}").status

    world.clock.set(NOON + timedelta(days=2))

    assert before == (404, 404)
    assert (doctor.read(item).status, doctor.read(f"Consent/{made['id']}").status) == (200, 404)


def test_an_ended_authorisation_that_names_no_row_is_shown_as_before(world, item):
    """It tells of nothing but who entered; and another end of one that names rows takes nothing from whom it opens them to."""
    holder, doctor = world.holder(), world.professional("1")
    plain = holder.made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    opened = holder.made(consent(world.patient, "permit", actors=[f"{RPPS}|1"], data=[of("instance", item)]))

    assert holder.update(changed(plain, status="inactive")).status == 200
    longer = {**opened["provision"], "period": {"end": "2030"}}
    assert holder.update(changed(opened, provision=longer)).status == 200

    assert doctor.read(f"Consent/{plain['id']}").status == 200
    assert [doctor.read(f"Consent/{opened['id']}").status, doctor.vread(f"Consent/{opened['id']}", 1).status] == [
        200,
        200,
    ]


@pytest.mark.parametrize("how", HOW)
def test_a_representative_is_told_of_their_own_alone(world, item, how):
    """What one of others names may be hidden from representatives; what they said themselves they know, and may end."""
    holder = world.holder()
    made = world.insurance.made({"resourceType": "RelatedPerson", "patient": {"reference": world.patient}})
    related = f"RelatedPerson/{made['id']}"
    holder.made(consent(world.patient, "permit", actors=[related], purposes=["PWATRNY", "FAMRQT"]))
    data = {"data": [of("instance", item)]}
    parent = world.representative(related)
    theirs = consent(world.patient, "deny", actors=[related], purposes=["FAMRQT"], **data)
    of_others = consent(world.patient, "deny", actors=[f"{RPPS}|1"], **data)

    own = ended(parent, of_others, how)
    kept = [ended(holder, tree, how) for tree in (theirs, of_others)]

    assert [seen(parent, ref, item, world.patient) for ref in kept] == [set(), set()]
    if how != "deleted":
        assert {"read", "version", "history", "list"} <= seen(parent, own, item, world.patient)
