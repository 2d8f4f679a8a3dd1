"""Past versions of what is in a record: judged by what they held, and by what the present one holds."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from fhir_dmp.call import Call
from fhir_dmp.interactions import vread
from tests.access_world import RPPS, changed, consent, observation
from tests.http.test_what_a_consent_withholds import of


def test_a_past_version_is_read_by_a_scope_that_covers_some(world):
    """A search restriction is held against the version itself, by number and in histories."""
    code, shown = {"coding": [{"system": "urn:c", "code": "a"}]}, ["4", "2", "1"]
    made = world.ehr.made(observation(world.patient, code=code))
    ref = f"Observation/{made['id']}"
    assert world.ehr.update(changed(made, status="amended")).status == 200
    assert (
        world.ehr.update(changed(made, status="final", code={"coding": [{"system": "urn:c", "code": "b"}]})).status
        == 200
    )
    assert world.ehr.update(changed(made, status="corrected")).status == 200
    world.ehr.made(observation(world.patient, code={"coding": [{"system": "urn:c", "code": "b"}]}))
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=("system/Observation.rs?code=urn:c|a",))
    holder = world.holder()
    person = type(holder)(world, replace(holder.subject, scopes=("patient/Observation.rs?code=urn:c|a",)))

    for caller in (some, person):
        assert [caller.vread(ref, version).status for version in (1, 2, 3, 4)] == [200, 200, 404, 200]
        for history in (caller.history(ref), caller.history("Observation")):
            assert [entry["resource"]["meta"]["versionId"] for entry in history.body["entry"]] == shown
        assert caller.history(ref).body["total"] == len(shown)
        assert "total" not in caller.history("Observation").body
        for query in ("_summary=count", "_count=0"):
            assert caller.history("Observation", query).status == 422
            assert caller.history(ref, query).body["total"] == len(shown)


def test_a_past_version_is_judged_by_what_it_keeps(world, monkeypatch):
    """No body is read for a search restriction, but that of a version from when they kept less."""
    made = world.ehr.made(observation(world.patient, code={"coding": [{"system": "urn:c", "code": "a"}]}))
    other = {"coding": [{"system": "urn:c", "code": "b"}]}
    for code in (other, made["code"]):
        assert world.ehr.update(changed(made, code=code)).status == 200
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=("system/Observation.rs?code=urn:c|a",))
    ref, found = f"Observation/{made['id']}", [200, 404, 200]
    read = []
    monkeypatch.setattr(vread.codec, "loads_object", lambda body: read.append(body) or json.loads(body))

    assert [some.vread(ref, version).status for version in (1, 2, 3)] == found
    assert read == []

    world.server.store.database["versions"].update_many({}, {"$unset": {"t": "", "r": ""}})
    assert [some.vread(ref, version).status for version in (1, 2, 3)] == found
    assert len(read) == 2


@pytest.mark.parametrize("withheld", ["encounter", "author", "day"])
def test_a_past_version_is_hidden_by_what_the_present_one_holds(world, withheld):
    """Of an encounter, by an author, of a day that a Consent withholds now: in no history, whatever the version held itself."""
    encounter = {"resourceType": "Encounter", "status": "finished", "subject": {"reference": world.patient}}
    visit = f"Encounter/{world.ehr.made({**encounter, 'class': {'code': 'AMB'}})['id']}"
    author = f"Practitioner/{world.ehr.made({'resourceType': 'Practitioner'})['id']}"
    more, data = {
        "encounter": ({"encounter": {"reference": visit}}, {"data": [of("related", visit)]}),
        "author": ({"performer": [{"reference": author}]}, {"data": [of("authoredby", author)]}),
        "day": ({"effectiveDateTime": "2020-05-05"}, {"dataPeriod": {"end": "2021"}}),
    }[withheld]
    made, other = (world.ehr.made(observation(world.patient)) for _ in range(2))
    assert world.ehr.update(changed(made, **more)).status == 200
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1", "urn:s|2"]))
    before = world.professional("1").history("Observation").ids
    world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|1", "urn:s|2"], **data))

    assert before == {made["id"], other["id"]}
    for caller in (world.professional("1"), world.system("ehr-two", "ehr", "urn:s|2")):
        assert caller.vread(f"Observation/{made['id']}", 1).status == 404
        assert caller.history("Observation").ids == {other["id"]}
        assert made["id"] not in caller.ask(Call("history-system")).ids
    assert world.holder().history("Observation").body["total"] == 3


def test_what_was_moved_to_another_record_is_past_in_neither(world):
    """A result that was filed under the wrong patient: from its correction on, nobody finds by history what vread does not show them."""
    other = world.new_patient()
    made = world.ehr.made(observation(world.patient))
    ref = f"Observation/{made['id']}"

    def versions(who):
        listed = who.history("Observation").body
        found = [entry["resource"]["meta"]["versionId"] for entry in listed["entry"]] if "entry" in listed else []
        assert listed["total"] == len(found)
        assert found == [each for each in "54321" if who.vread(ref, each).status == 200]
        return found

    world.ehr.update(changed(made, status="amended"))
    before = versions(world.holder()), versions(world.holder(other))
    world.ehr.update(changed(made, subject={"reference": other}))
    moved = versions(world.holder()), versions(world.holder(other))
    world.ehr.update(changed({key: value for key, value in made.items() if key != "subject"}))
    nobodys = versions(world.holder()), versions(world.holder(other))
    world.ehr.update(changed(made))
    back = versions(world.holder()), versions(world.holder(other))

    assert before == (["2", "1"], [])
    assert moved == ([], ["3"])
    assert nobodys == ([], [])
    assert back == (["5", "2", "1"], [])
    assert versions(world.ehr) == ["5", "4", "3", "2", "1"]


def test_a_deletion_is_told_to_no_scope_that_covers_some(world):
    """Not even where it leaves something out: what was left out is not told by its deletion. What is covered is deleted by it."""
    code = {"coding": [{"system": "urn:c", "code": "a"}]}
    left_out, covered = (
        f"Observation/{world.ehr.made(observation(world.patient, **more))['id']}" for more in ({"code": code}, {})
    )
    scope = f"system/Observation.ruds?patient={world.patient}&code:not=urn:c|a"
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=(scope,))
    before = some.read(left_out).status, some.read(covered).status

    assert world.ehr.delete(left_out).status == 204
    assert some.delete(covered).status == 204

    assert before == (404, 200)
    assert (some.read(left_out).status, some.read(covered).status) == (404, 404)
    assert world.ehr.read(covered).status == 410
    assert "entry" not in some.history("Observation").body


def test_a_scope_that_covers_some_deletes_what_it_covers(world):
    """By what the resource held; nothing is left that a restriction could be held against."""
    code = {"coding": [{"system": "urn:c", "code": "a"}]}
    covered, other = (
        f"Observation/{world.ehr.made(observation(world.patient, **more))['id']}" for more in ({"code": code}, {})
    )
    some = world.system("ehr-one", "ehr", "urn:s|1", scopes=("system/Observation.rd?code=urn:c|a",))

    some.delete(other)

    assert some.delete(covered).status == 204
    assert (world.ehr.read(covered).status, world.ehr.read(other).status) == (410, 200)
