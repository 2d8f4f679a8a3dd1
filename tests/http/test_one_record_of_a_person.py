"""One person has one record: the INS names it, and no second Patient is given the same."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from fhir_dmp.cli import main
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service.clients import NewClient
from fhir_dmp.service.twins import twins
from fhir_dmp.store.change import Change, Commit
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import INS, Actor, World, changed, observation
from tests.at_once import at_once
from tests.http.newest_row import whose
from tests.oauth_world import jwks, key_pair

NUMBER, OTHER = "279035121518989", "124018852493334"
NIA = "urn:oid:1.2.250.1.213.1.4.9"


def numbered(*numbers, system=INS, **more):
    """Return a Patient with these numbers."""
    return {"resourceType": "Patient", "identifier": [{"system": system, "value": each} for each in numbers], **more}


def put(tree):
    """Return the entry of a transaction that writes the resource under its id."""
    return {"request": {"method": "PUT", "url": f"{tree['resourceType']}/{tree['id']}"}, "resource": tree}


def post(tree, **request):
    """Return the entry of a transaction that creates the resource."""
    return {"request": {"method": "POST", "url": tree["resourceType"], **request}, "resource": tree}


def twin(server, number, author="client|ehr-one"):
    """Keep a Patient with the number as it was kept before numbers were looked for, and return it."""
    ref = Ref("Patient", f"twin-of-{number}")
    tree = {**numbered(number), "id": ref.id}
    meta = {"versionId": "1", "lastUpdated": "0000-00-00T00:00:00.000000Z"}
    body = json.dumps({"resourceType": "Patient", "id": ref.id, "meta": meta, **tree}, separators=(",", ":")).encode()
    index = {**server.env.extract("Patient", tree), "au": [author]}
    server.store.commit(Commit((Change(ref, 1, None, body, index),)))
    return tree


WAYS = {
    "create": lambda ehr, own: ehr.create(numbered(NUMBER)),
    "update as create": lambda ehr, own: ehr.update(numbered(NUMBER, id="chosen")),
    "update": lambda ehr, own: ehr.update(changed(own, **numbered(OTHER, NUMBER))),
    "transaction": lambda ehr, own: ehr.transaction(post(numbered(NUMBER)), put(changed(own, active=False))),
    "another condition": lambda ehr, own: ehr.create(numbered(NUMBER), criteria="identifier=urn:local|7"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_second_patient_with_the_same_ins_is_refused(world, way):
    """By every way to write one, in any record; the answer says how the first is found, and is told to whose it is; a laboratory goes on finding it."""
    first = world.insurance.made(numbered(NUMBER))
    own = world.ehr.made(numbered(OTHER))
    lab = world.system("lab", "lab", "urn:l|1")

    answer = WAYS[way](world.ehr, own)

    assert (answer.status, f"Patient/{first['id']}" in whose(world)) == (409, True)
    assert "a person has one record: find it by Patient?identifier=" in answer.text
    assert [issue.code for issue in answer.issues] == ["duplicate"]
    assert NUMBER not in answer.text
    criteria = f"Patient?identifier={INS}|{NUMBER}"
    assert lab.transaction(post(observation(criteria))).status == 200
    assert world.ehr.read(f"Patient/{own['id']}").body == own
    assert world.ehr.create(numbered(NUMBER), criteria=criteria.partition("?")[2]).status == 200
    assert world.insurance.read(f"Patient/{first['id']}").status == 200


def test_two_in_one_transaction_are_refused(world):
    """Nothing of it is done."""
    answer = world.ehr.transaction(post(numbered(NUMBER)), post(numbered(NUMBER)))

    assert answer.status == 409
    assert world.ehr.search("Patient", f"identifier={INS}|{NUMBER}").ids == set()


def test_another_number_or_system_is_another_person(world):
    """A temporary number of the same digits, a local identifier, and a Patient who keeps the own number are nobody's twins."""
    made = world.ehr.made(numbered(NUMBER))

    assert world.ehr.create(numbered(NUMBER, system=NIA)).status == 201
    assert [world.ehr.create(numbered(NUMBER, system="urn:local")).status for _ in range(2)] == [201, 201]
    assert world.ehr.update(changed(made, birthDate="1979-03-01")).status == 200
    assert world.insurance.update(changed(made, **numbered(NUMBER, OTHER))).status == 200


def test_a_number_goes_from_one_patient_to_another(world):
    """When its Patient is deleted, or gives it up before or in the same transaction."""
    first = world.ehr.made(numbered(NUMBER))
    second = world.ehr.made({"resourceType": "Patient"})

    local = [{"system": "urn:local", "value": "1"}]
    moved = world.ehr.transaction(put(changed(first, identifier=local)), put(changed(second, **numbered(NUMBER))))
    refused = world.ehr.create(numbered(NUMBER)).status
    assert world.ehr.delete(f"Patient/{second['id']}").status == 204

    assert (moved.status, refused) == (200, 409)
    assert world.ehr.create(numbered(NUMBER)).status == 201


def test_of_parallel_writers_one_makes_the_record(world):
    """Without a condition, too: the others are told that it is there."""
    statuses = at_once(lambda _: world.ehr.create(numbered(NUMBER)).status, range(6))

    assert sorted(statuses) == [201, *[409] * 5]


def test_a_token_for_one_record_gives_it_no_number(world):
    """Whether the number is somebody's or nobody's: the answer would tell of any."""
    world.insurance.made(numbered(NUMBER))
    made = world.ehr.made(numbered(OTHER))
    record = f"Patient/{made['id']}"
    doctor = world.professional("1", structure="urn:s|1", patient=record)
    bound = Actor(world, replace(world.ehr.subject, patient=record))

    for caller in (doctor, bound):
        told = [caller.update(changed(made, **numbered(OTHER, each))) for each in (NUMBER, "288091720220371")]

        assert [(each.status, each.text) for each in told] == [(422, told[0].text)] * 2
        assert caller.update(changed(made, gender="female")).status == 200
        made = world.ehr.read(record).body


def test_twins_that_are_there_go_on(world):
    """Each is updated as before, and ends when one of them gives up the number or is deleted."""
    first = world.ehr.made(numbered(NUMBER))
    second = twin(world.server, NUMBER)

    assert world.ehr.create(numbered(NUMBER)).status == 409
    assert [world.ehr.update(changed(each, gender="female")).status for each in (first, second)] == [200, 200]
    assert world.system("lab", "lab").create(numbered(NUMBER), criteria=f"identifier={INS}|{NUMBER}").status == 412
    assert world.ehr.delete(f"Patient/{second['id']}").status == 204
    assert world.system("lab", "lab").create(numbered(NUMBER), criteria=f"identifier={INS}|{NUMBER}").status == 200


def listed(world):
    """Return the twins that an operator is told of."""
    context = lambda: world.server.operator_context("tester", "record twins")  # noqa: E731
    return [tuple(map(str, group)) for group in twins(context, world.server.env)]


def test_an_operator_finds_the_twins_that_are_there(world, monkeypatch):
    """Those of each number together, the oldest first, however many pages of Patients are looked through; who gave a number up is none."""
    monkeypatch.setattr("fhir_dmp.service.twins._PAGE", 2)
    firsts = [world.ehr.made(numbered(number)) for number in (NUMBER, OTHER, "288091720220371")]
    alone = listed(world)
    seconds = [twin(world.server, number) for number in (OTHER, NUMBER)]
    pairs = [tuple(f"Patient/{each['id']}" for each in pair) for pair in zip(firsts, reversed(seconds), strict=False)]

    assert (alone, listed(world)) == ([], pairs)
    assert world.ehr.delete(pairs[0][1]).status == 204
    assert listed(world) == pairs[1:]


def test_who_looks_for_twins_leaves_traces_in_their_records(world):
    """The look has its event, though nobody is found; each that is named has one, which says who looked. No number stands in it."""
    first = world.ehr.made(numbered(NUMBER))
    listed(world)
    none = events(world)
    second = twin(world.server, NUMBER)
    listed(world)

    assert [(each["act"], each["outcome"], each.get("touched")) for each in none] == [("$twins", "0", None)]
    both = [f"Patient/{each['id']}" for each in (first, second)]
    told = events(world)
    assert [sorted(each.get("touched") or ()) for each in told] == [[], [], sorted(both)]
    assert {each["agent"]["operator"] for each in told} == {"tester"}
    assert f"|{NUMBER}" not in json.dumps(told)
    seen = world.holder(both[0]).search("AuditEvent", "subtype=$twins").body["entry"]
    assert ["a cherché les dossiers" in each["resource"]["text"]["div"] for each in seen] == [True]


def events(world):
    """Return the looks for twins that the log tells, the oldest first."""
    parts, _ = world.server.store.search_events(EVERYTHING, 100, None, oldest_first=True)
    rows = [json.loads(part.event.body) for part in parts if part.number == 1]
    return [row for row in rows if row["act"] == "$twins"]


def test_the_commands_name_twins_and_give_no_token_for_a_patient_who_is_not_there(mongodb_uri, database_name, tmp_path):
    """As an operator runs them: one line for each number, without it; one that is deleted is not there any more."""
    world = World(mongodb_uri, database_name, tmp_path)
    world.server.clients.add(
        NewClient("ehr-one", "backend", "ehr", ("system/*.cruds",), jwks=jwks(key_pair())),
        world.server.operator_context("tester", "client add"),
    )
    first = f"Patient/{world.ehr.made(numbered(NUMBER))['id']}"
    second = f"Patient/{twin(world.server, NUMBER)['id']}"
    gone = f"Patient/{world.ehr.made(numbered(OTHER))['id']}"
    assert world.ehr.delete(gone).status == 204
    world.server.close()
    environ = {"DMP_MONGODB_URI": mongodb_uri, "DMP_MONGODB_DATABASE": database_name, "DMP_DATA_DIR": str(tmp_path)}

    def run(*words):
        done = CliRunner().invoke(main, [*words, "--operator", "alice"], env=environ)
        return done.exit_code, done.output

    assert run("record", "twins") == (0, f"{first} {second}\n1 INS is shared by several Patients.\n")
    assert run("token", "ehr-one", "--patient", first)[0] == 0
    for absent in (gone, "nosuch"):
        ref = f"Patient/{absent.removeprefix('Patient/')}"
        assert run("token", "ehr-one", "--patient", absent) == (1, f"Error: invalid_request: There is no {ref}.\n")
