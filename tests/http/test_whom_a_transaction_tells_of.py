"""A transaction in vain stands in the journals of those of whom its error tells something, and in no others."""

from __future__ import annotations

import pytest

from tests.access_world import observation
from tests.http.newest_row import binary, bundle, entry, whose

SAME = [{"op": "test", "path": "/code/text", "value": "x"}]
"""A patch that changes nothing of what the tests make."""


@pytest.fixture
def patients(world):
    """Three records with an observation each."""
    found = [world.patient, world.new_patient(), world.new_patient()]
    for patient in found:
        world.ehr.made(observation(patient))
    return found


def once(patient, text="none"):
    """Return an entry that makes an observation unless there is one."""
    return entry("POST", "Observation", observation(patient), ifNoneExist=f"patient={patient}&code:text={text}")


def patch(patient, text):
    """Return an entry that patches the observation of that text."""
    return entry("PATCH", f"Observation?patient={patient}&code:text={text}", binary(SAME))


def failed(world, *entries):
    """Return the status of a transaction and whose journals it stands in."""
    return world.ehr.ask(bundle("transaction", *entries)).status, whose(world)


def test_an_entry_that_nothing_meets_tells_nothing_of_what_others_look_for(world, patients):
    """Whether these would have been made is not told, nor whether they are there."""
    first, second, third = patients
    assert failed(world, once(first), once(second, "x"), patch(third, "none")) == (404, {third})


def test_an_entry_that_several_meet_tells_nothing_of_what_others_look_for(world, patients):
    """It is named with those who have them."""
    first, second, third = patients
    world.ehr.made(observation(second))
    assert failed(world, once(second, "x"), patch(third, "none"), once(first)) == (412, {second})


def test_criteria_that_cannot_be_read_tell_of_nobody_else(world, patients):
    """Those beside them were asked, and nothing is told of that."""
    first, second, _ = patients
    wrong = entry("POST", "Observation", observation(second), ifNoneExist=f"patient={second}&date=never")
    assert failed(world, once(first), wrong) == (400, {second})


def test_a_patch_before_the_one_that_nothing_meets_is_told_to_have_met_something(world, patients):
    """It would have been named itself; one after it was not asked for."""
    first, second, third = patients
    assert failed(world, patch(first, "x"), patch(second, "none"), patch(third, "x")) == (404, {first, second})


def test_of_a_patch_that_cannot_be_read_all_others_are_told_to_have_met_something(world, patients):
    """For what is invalid is told of all at once."""
    first, second, third = patients
    wrong = entry("PATCH", f"Observation?patient={second}&date=never", binary(SAME))
    assert failed(world, wrong, patch(third, "x"), once(first)) == (400, {second, third})


OTHERWISE = {
    "what was deleted": (410, lambda gone, _: {"request": {"method": "GET", "url": gone}}, {0, 1}),
    "what no scope is for": (
        403,
        lambda _, patient: entry("POST", "Condition", {"resourceType": "Condition", "subject": {"reference": patient}}),
        {0, 1},
    ),
    "a search that no scope is for": (403, lambda *_: {"request": {"method": "GET", "url": "Condition"}}, {0}),
}


@pytest.mark.parametrize("how", OTHERWISE)
def test_an_error_of_something_else_tells_that_all_criteria_were_met(world, patients, how):
    """Had they not been, there would be another one; it stands in the journals of those, too, whom they name."""
    first, second, _ = patients
    gone = f"Observation/{world.ehr.made(observation(second))['id']}"
    world.ehr.delete(gone)
    world.ehr = world.system("ehr-two", "ehr", "urn:s|1", scopes=("system/Observation.cruds",))
    status, make, whose_ = OTHERWISE[how]

    assert failed(world, patch(first, "x"), make(gone, second)) == (status, {patients[each] for each in whose_})


def test_an_entry_that_is_refused_names_whom_it_asks_about(world, patients):
    """As a search does that is refused; of the others nothing is told."""
    first, second, _ = patients
    asked = {"request": {"method": "DELETE", "url": f"Condition?patient={second}&code=x"}}
    world.ehr = world.system("ehr-two", "ehr", "urn:s|1", scopes=("system/Observation.cruds", "system/Condition.d"))

    assert failed(world, once(first), asked) == (403, {second})
