"""What is held to the rules, or masked once more, is named by its event, and that is hidden from representatives as the item is."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.call import Call
from tests.access_world import consent, document, observation
from tests.http.journal import acts, named, parent_of, traces
from tests.http.newest_row import HIDDEN, told, whose

KIND = "DocumentReference"


def validate(own, mode=None, tree=None, **more):
    """Return the call of ``$validate`` on a resource."""
    body = json.dumps(tree).encode() if tree else None
    kind = tree["resourceType"] if tree else KIND
    return Call(
        "operation", kind, own, operation="validate", params=(("mode", mode),) if mode else (), body=body, **more
    )


WAYS = {
    "what is stored": lambda tree: validate(tree["id"]),
    "what is stored, as an update": lambda tree: validate(tree["id"], "update"),
    "an update": lambda tree: validate(tree["id"], "update", {**tree, "description": "other"}),
    "an update that changes nothing": lambda tree: validate(tree["id"], "update", tree),
    "an update that is refused": lambda tree: validate(tree["id"], "update", {**tree, "status": "none"}),
    "an update of another version": lambda tree: validate(tree["id"], "update", tree, if_match='W/"9"'),
    "a deletion": lambda tree: validate(tree["id"], "delete"),
    "a deletion of another version": lambda tree: validate(tree["id"], "delete", if_match='W/"9"'),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_held_to_the_rules_is_named_by_its_event(world, way):
    """With its version, as a read of it is, whatever the answer says of it."""
    made = world.ehr.made(document(world.patient))

    assert world.ehr.ask(WAYS[way](made)).status == 200
    assert told(world)["touched"] == {world.patient: {KIND: [f"{made['id']}/1"]}}


@pytest.mark.parametrize("who", ["holder", "professional", "ehr"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_hidden_from_representatives_is_held_to_the_rules_unseen_by_them(world, way, who):
    """Whoever does it: that it is there is told to the holder alone."""
    father, holder = parent_of(world), world.holder()
    holder.made(consent(world.patient, "permit"))
    callers = {"holder": holder, "professional": world.professional("7"), "ehr": world.ehr}
    made = callers[who].made(document(world.patient, HIDDEN))

    assert callers[who].ask(WAYS[way](made)).status == 200
    assert whose(world) == {world.patient}
    assert len(traces(holder, "subtype=$validate")) == 1
    assert traces(father, "subtype=$validate") == []


def test_who_holds_what_they_do_not_see_to_the_rules_finds_what_they_would_of_what_is_absent(world):
    """In the journal, too: a parent would learn by it that the id which they ask for is there."""
    father, own = parent_of(world), world.ehr.made(document(world.patient, HIDDEN))["id"]
    found = []
    for each in (own, "absent"):
        had = traces(father, "subtype=$validate")
        status = father.ask(validate(each, "delete")).status
        [event] = [event for event in traces(father, "subtype=$validate") if event not in had]
        found.append((status, named(event, each)))

    assert found[0] == found[1]


def test_an_id_that_somebody_elses_item_has_is_told_to_its_patient(world):
    """By the word that another is to be chosen."""
    own = world.ehr.made(observation(world.patient))["id"]
    other = world.system("ehr-two", "ehr", "urn:s|2")
    answer = other.ask(validate(own, "update", {**observation(world.new_patient()), "id": own}))

    assert ([issue["code"] for issue in answer.body["issue"]], whose(world)) == (["conflict"], {world.patient})


def mask(world, own):
    """Return the call by which the holder masks an item."""
    given = {"name": "item", "valueReference": {"reference": f"{KIND}/{own}"}}
    body = json.dumps({"resourceType": "Parameters", "parameter": [given]}).encode()
    return Call("operation", "Patient", world.patient.partition("/")[2], operation="mask", body=body)


def test_what_is_masked_once_more_is_named_as_what_stays(world):
    """Nothing of it changes, and its event says so."""
    own = world.ehr.made(document(world.patient))["id"]
    for stayed in ([], [f"{KIND}/{own}/2"]):
        assert world.holder().ask(mask(world, own)).status == 200
        assert (told(world)["touched"], told(world).get("stayed", [])) == (
            {world.patient: {KIND: [f"{own}/2"]}},
            stayed,
        )


@pytest.mark.parametrize("gone", [False, True])
def test_representatives_are_told_nothing_of_the_masking_of_what_is_hidden_from_them(world, gone):
    """Nor that it was masked before, or deleted."""
    father, holder = parent_of(world), world.holder()
    own = holder.made(document(world.patient, HIDDEN))["id"]
    if gone:
        holder.delete(f"{KIND}/{own}")
    statuses = [holder.ask(mask(world, own)).status for _ in "12"]

    assert acts(traces(holder, "subtype=$mask")) == [("operation", "4" if gone else "0")] * len(statuses)
    assert traces(father, "subtype=$mask") == []
