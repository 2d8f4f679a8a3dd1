"""What a system's list looks at: the records that it names, or all that name its structure; a token for one record sees that one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from fhir_dmp.call import Call
from fhir_dmp.cli import main
from tests.access_world import INS, Actor, World, consent, observation

MOST = 3


@pytest.fixture
def world(world):
    """Records that all name one structure, more than a list looks at."""
    env = world.server.env
    world.server = replace(world.server, env=replace(env, limits=replace(env.limits, policies=MOST)))
    return world


@pytest.fixture
def records(world):
    """Five records with an observation of another structure's, each opened to structure 2."""
    found = {}
    for number in range(5):
        patient = world.new_patient(identifier=[{"system": INS, "value": f"27903512151898{number}"}])
        found[patient] = world.ehr.made(observation(patient, code={"text": f"n{number}"}))["id"]
        world.holder(patient).made(consent(patient, "permit", actors=["urn:s|2"]))
    return found


def everything(actor, patient):
    """Return the ids of the whole record."""
    return actor.ask(Call("operation", "Patient", patient.split("/")[1], operation="everything")).ids


def test_a_list_that_names_a_patient_needs_no_other_record(world, records):
    """However many name the structure; without a name it is too much to look at."""
    other = world.system("ehr-two", "ehr", "urn:s|2")
    first, *others = records
    item = records[first]
    ins = f"{INS}|279035121518980"
    by_name = [
        other.search("Observation", query).ids
        for query in (
            f"patient={first}",
            f"subject={first.split('/')[1]}",
            f"subject:Patient={first}",
            f"patient={first}&_include=Observation:subject",
            f"patient.identifier={ins}",
        )
    ]

    assert other.search("Observation").status == 422
    assert by_name[:3] == [{item}] * 3
    assert by_name[3] == {item, first.split("/")[1]}
    assert by_name[4] == {item}
    assert other.search("Observation", f"patient={first},{others[0]}").ids == {item, records[others[0]]}
    assert other.search("Patient", f"identifier={ins}").ids == {first.split("/")[1]}
    assert other.search("Patient", f"_id={first.split('/')[1]}").ids == {first.split("/")[1]}
    assert item in everything(other, first)
    assert other.history(f"Observation/{item}").status == 200


def test_a_named_record_is_judged_by_its_own_word(world, records):
    """What the holder takes back is not found, and neither is what was never given."""
    other, stranger = world.system("ehr-two", "ehr", "urn:s|2"), world.system("ehr-three", "ehr", "urn:s|3")
    first = next(iter(records))

    world.holder(first).made(consent(first, "deny", actors=["urn:s|2"]))

    assert other.search("Observation", f"patient={first}").ids == set()
    assert stranger.search("Observation", f"patient={first}").ids == set()
    world.holder(first).made(consent(first, "deny", actors=["urn:s|1"]))
    assert world.ehr.search("Observation", f"patient={first}&_include=Observation:subject").ids == set()


def test_a_transaction_is_judged_by_the_records_that_it_names(world, records):
    """Its conditions find what is theirs, in spite of all the others; without a name they are too much to look at."""
    other = world.system("ehr-two", "ehr", "urn:s|2")
    first, second, *_ = records
    tag = {"identifier": [{"system": "urn:i", "value": "1"}]}

    def send(patient, **more):
        request = {"method": "POST", "url": "Observation", "ifNoneExist": "identifier=urn:i|1"}
        return other.transaction({"resource": observation(patient, **tag, **more), "request": request})

    by_url = f"{world.server.base_url.replace('http:', 'HTTPS:')}/{first}"
    answers = [send(first), send(first), send(by_url), send(second)]
    places = [each.body["entry"][0]["response"]["location"] for each in answers]

    assert [each.body["entry"][0]["response"]["status"][:3] for each in answers] == ["201", "200", "200", "201"]
    assert places[0] == places[1] == places[2] != places[3]
    assert send(f"https://other.example/fhir/{first}").status == 422
    assert (
        other.transaction(
            {
                "resource": {"resourceType": "Group", "type": "person", "actual": True, **tag},
                "request": {"method": "POST", "url": "Group", "ifNoneExist": "identifier=urn:i|1"},
            }
        ).status
        == 422
    )


def test_the_next_page_looks_at_the_record_that_the_first_one_named(world, records):
    """The link says nothing of what was asked; its token does."""
    other = world.system("ehr-two", "ehr", "urn:s|2")
    first = next(iter(records))
    world.ehr.made(observation(first))

    page = other.search("Observation", f"patient={first}&_count=1").body
    link = next(each["url"] for each in page["link"] if each["relation"] == "next")

    assert len(other.search("Observation", link.partition("?")[2]).ids) == 1


@pytest.fixture
def bound(world, records):
    """A system's token for the first record alone."""
    subject = world.system("ehr-one", "ehr", "urn:s|1").subject
    return Actor(world, replace(subject, patient=next(iter(records))))


def test_a_token_for_one_record_reaches_no_other(world, records, bound):
    """Not by read, search, history, and not to write; the directory stays open."""
    first, second, *_ = records
    place = world.ehr.made({"resourceType": "Organization", "name": "x"})

    assert bound.search("Observation").ids == {records[first]}
    assert bound.read(f"Observation/{records[first]}").status == 200
    assert bound.read(f"Observation/{records[second]}").status == 404
    assert bound.search("Observation", f"patient={second}").ids == set()
    assert bound.history(f"Observation/{records[second]}").status == 404
    assert bound.create(observation(first)).status == 201
    assert bound.create(observation(second)).status == 403
    assert bound.read(f"Organization/{place['id']}").status == 200


def test_a_consent_for_care_opens_nothing_to_who_asks_for_another_reason(world, records):
    """Purposes of systems are compared by exact code as well."""
    patient = world.new_patient()
    world.holder(patient).made(consent(patient, "permit", actors=["urn:s|2"], purposes=["TREAT"]))
    item = world.ehr.made(observation(patient))["id"]
    system = world.system("ehr-two", "ehr", "urn:s|2")
    clerk = Actor(world, replace(system.subject, purpose_of_use="PATADMIN"))

    assert (system.read(f"Observation/{item}").status, clerk.read(f"Observation/{item}").status) == (200, 404)


def test_a_registration_is_confirmed_with_the_id_of_the_client(mongodb_uri, database_name, tmp_path):
    """Who registers it is told its id, kind, role and scopes, and finds them in the list; a second client of that id is none."""
    environ = {"DMP_MONGODB_URI": mongodb_uri, "DMP_MONGODB_DATABASE": database_name, "DMP_DATA_DIR": str(tmp_path)}

    def run(*words):
        return CliRunner().invoke(main, ["client", *words, "--operator", "alice"], env=environ)

    words = ("add", "phone", "--kind", "public", "--role", "app", "--scope", "patient/*.rs")
    added = run(*words, "--redirect-uri", "https://app.example/cb")
    again = run(*words, "--redirect-uri", "https://other.example/cb")
    listed = run("list")

    assert added.output.strip() == "phone: public client, role app, scopes patient/*.rs"
    assert (added.exit_code, again.exit_code) == (0, 1)
    assert [line.split("\t")[:4] for line in listed.output.splitlines()] == [["phone", "public", "app", "patient/*.rs"]]


def test_the_command_takes_a_record_and_a_purpose(mongodb_uri, database_name, tmp_path):
    """It prints a token, or one line that says why not."""
    world = World(mongodb_uri, database_name, tmp_path)
    world.server.close()
    environ = {"DMP_MONGODB_URI": mongodb_uri, "DMP_MONGODB_DATABASE": database_name, "DMP_DATA_DIR": str(tmp_path)}

    def run(*words):
        return CliRunner().invoke(main, [*words, "--operator", "alice"], env=environ)

    added = run(
        *("client", "add", "lab", "--kind", "backend", "--role", "lab", "--scope", "system/*.cruds"),
        *("--jwks-url", "https://lab.example/jwks"),
    )
    made = run("token", "lab", "--patient", world.patient, "--purpose", "PATADMIN")
    refused = run("token", "lab", "--purpose", "BTG")

    assert added.exit_code == 0, added.output
    assert (made.exit_code, made.output.count(".")) == (0, 2), made.output
    assert refused.exit_code == 1
    assert "an emergency is claimed by who signs in" in refused.output
