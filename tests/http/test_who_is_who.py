"""Who is known by which number: the directory's keeper says it, and nobody enters a record by what others write there."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.call import Call
from fhir_dmp.fhir.labels import SYSTEM
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service.accounts import NewAccount
from fhir_dmp.service.explain import Asked, explain
from fhir_dmp.store.accounts import Situation
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import INS, RPPS, changed, consent, document, observation
from tests.http.test_choices_of_the_patient import say

PASSWORD = "sept lapins bleus dansent"
FINESS = "https://finess.esante.gouv.fr"


def practitioner(number, **more):
    """Return a Practitioner who says to have the national number."""
    return {"resourceType": "Practitioner", "identifier": [{"system": RPPS, "value": number}], **more}


def organization(number, **more):
    """Return an Organization that says to have the number."""
    return {"resourceType": "Organization", "name": "x", "identifier": [{"system": "urn:s", "value": number}], **more}


FORGED = {
    "Practitioner": lambda ehr: practitioner("6"),
    "Organization": lambda ehr: organization("9"),
    "PractitionerRole": lambda ehr: {
        "resourceType": "PractitionerRole",
        "practitioner": {"identifier": {"system": RPPS, "value": "6"}},
    },
    "Group": lambda ehr: {
        "resourceType": "Group",
        "type": "practitioner",
        "actual": True,
        "member": [{"entity": {"identifier": {"system": RPPS, "value": "6"}}}],
    },
}  # fmt: skip
"""What an EHR writes of who is who; professional 6, of structure 9, would come in by each."""


@pytest.mark.parametrize("what", FORGED)
@pytest.mark.parametrize("kind", ["permit", "deny"])
def test_a_consent_names_nobody_by_what_others_wrote(world, item, what, kind):
    """It is refused, and says how else to name them; neither the Consent nor the operation lets in whose number was written down."""
    forged = world.ehr.made(FORGED[what](world.ehr))
    name = f"{what}/{forged['id']}"
    doctor = world.professional("6")
    data = {} if kind == "permit" else {"securityLabel": [{"system": "urn:l", "code": "x"}]}

    written = world.holder().create(consent(world.patient, kind, actors=[name], **data))
    said = say(world.holder(), "authorize", actor={"reference": name})

    assert (written.status, said.status) == (422, 422)
    assert ("name them by their number" in written.text) == (what != "Group")
    assert doctor.read(item).status == 403


@pytest.mark.parametrize("what", FORGED)
def test_the_keeper_of_the_directory_says_who_is_who(world, item, what):
    """By the same entry of the insurance, which keeps identities, the professional comes in."""
    kept = world.insurance.made(FORGED[what](world.insurance))
    doctor = world.professional("6")
    before = doctor.read(item).status

    world.holder().made(consent(world.patient, "permit", actors=[f"{what}/{kept['id']}"]))

    assert (before, doctor.read(item).status) == (403, 200)


def test_a_structure_says_its_own_number(world, item):
    """Its system was registered for it: a Consent to its own entry opens to it, one to another's entry of that number is refused."""
    nine, ten = world.system("ehr-nine", "ehr", "urn:s|9"), world.system("ehr-ten", "ehr", "urn:s|10")
    own, forged = nine.made(organization("9")), ten.made(organization("9"))
    several = organization("9")
    several["identifier"].append({"system": FINESS, "value": "750712184"})
    more = nine.made(several)
    before = nine.read(item).status

    def told(entry):
        return world.holder().create(consent(world.patient, "permit", actors=[f"Organization/{entry['id']}"])).status

    assert [told(forged), told(more), told(own)] == [422, 422, 201]
    assert (before, nine.read(item).status, ten.read(item).status) == (404, 200, 404)


def test_a_structure_that_changes_its_number_afterwards_lets_nobody_in(world, item):
    """The Consent holds for the number that it named; what the entry says since is data."""
    nine = world.system("ehr-nine", "ehr", "urn:s|9")
    own = nine.made(organization("9"))
    world.holder().made(consent(world.patient, "permit", actors=[f"Organization/{own['id']}"]))
    assert nine.update({**own, "identifier": [{"system": "urn:s", "value": "10"}]}).status == 200

    assert world.system("ehr-ten", "ehr", "urn:s|10").read(item).status == 404
    again = world.holder().create(consent(world.patient, "permit", actors=[f"Organization/{own['id']}"]))
    assert again.status == 422


def test_a_structure_that_is_shut_out_by_its_own_entry_stays_so(world, item):
    """It writes another number into it, and the keeper changes a team that the same Consent names: the Consent is compiled anew."""
    nine = world.system("ehr-nine", "ehr", "urn:s|9")
    own = nine.made(organization("9"))
    team = world.insurance.made(FORGED["Group"](world.insurance))
    denied = [f"Organization/{own['id']}", f"Group/{team['id']}"]
    world.holder().made(consent(world.patient, "permit", actors=["urn:s|9"]))
    before = nine.read(item).status
    world.holder().made(consent(world.patient, "deny", actors=denied))
    shut = nine.read(item).status

    assert nine.update({**own, "identifier": [{"system": "urn:s", "value": "10"}]}).status == 200
    assert world.insurance.update(changed(team, name="as before")).status == 200

    assert (before, shut, nine.read(item).status) == (200, 404, 404)


def test_an_entry_without_a_number_names_the_account_that_is_tied_to_it(world, item):
    """Who registers accounts says whose it is, whoever wrote the entry; a number that is written into it later names nobody."""
    entry = {"resourceType": "Practitioner", "id": "p6", "name": [{"family": "Six"}]}
    assert world.ehr.update(entry).status == 201
    named, tied, other = "Practitioner/p6", world.professional("6"), world.professional("7")
    assert world.holder().create(consent(world.patient, "permit", actors=[named])).status == 201
    assert (tied.read(item).status, other.read(item).status) == (200, 403)

    assert world.ehr.update(practitioner("7", id="p6")).status == 200

    assert (tied.read(item).status, other.read(item).status) == (200, 403)


def test_who_registers_accounts_vouches_for_the_entry_that_they_are_tied_to(world, item):
    """Whoever wrote it: its number is the account's. Another entry with that number, or another number beside it, names nobody."""
    operator = world.server.operator_context("keeper", "account add")
    world.server.accounts.add(
        NewAccount("professional", "Dr Six", "Practitioner/p6", f"{RPPS}|6", "six", PASSWORD, (Situation("10"),)),
        operator,
    )
    for each in (practitioner("6", id="p6"), practitioner("6", id="forged"), practitioner("7", id="p7")):
        assert world.ehr.update(each).status == 201
    doctor = world.professional("6")

    def told(name):
        return world.holder().create(consent(world.patient, "permit", actors=[f"Practitioner/{name}"])).status

    assert [told("forged"), told("p7"), doctor.read(item).status, told("p6")] == [422, 422, 403, 201]
    assert doctor.read(item).status == 200
    assert world.ehr.update(practitioner("7", id="p6")).status == 200
    assert (told("p6"), world.professional("7").read(item).status) == (422, 403)


def test_an_entry_that_comes_after_the_consent_moves_nobody(world, item):
    """A name that nobody had is not given to a number afterwards, by no compiling anew either."""
    group = {"resourceType": "Group", "type": "practitioner", "actual": True}
    members = [{"entity": {"reference": "Practitioner/p1"}}, {"entity": {"reference": "Practitioner/nobody-yet"}}]
    made = world.insurance.made({**group, "member": members})
    world.holder().made(consent(world.patient, "permit", actors=["Practitioner/nobody-yet", f"Group/{made['id']}"]))

    assert world.ehr.update(practitioner("6", id="nobody-yet")).status == 201
    at_once = world.professional("6").read(item).status
    assert world.insurance.update(changed(made, name="as before")).status == 200

    assert (at_once, world.professional("6").read(item).status) == (403, 403)
    assert world.professional("1").read(item).status == 200


def test_a_number_that_changes_moves_nobody(world, item):
    """A Consent holds for whom its entry named when it was written: an own entry of the keeper, corrected later, and one that was deleted and made again."""
    kept = world.insurance.made(practitioner("1"))
    name = f"Practitioner/{kept['id']}"
    world.holder().made(consent(world.patient, "permit", actors=[name]))

    assert world.insurance.update(changed(kept, **practitioner("6"))).status == 200
    corrected = world.professional("6").read(item).status
    assert world.insurance.delete(name).status == 204
    assert world.ehr.update(practitioner("6", id=kept["id"])).status == 403
    assert world.insurance.update(practitioner("6", id=kept["id"])).status == 201

    assert (corrected, world.professional("6").read(item).status) == (403, 403)
    assert world.professional("1").read(item).status == 200


@pytest.mark.rule("keeper")
def test_what_the_keeper_wrote_is_changed_by_nobody_else(world, item):
    """Who shares its structure is the author of its entries too, and would let themselves in, or out of a block."""
    insurance = world.system("insurance-two", "insurance-feed", "urn:s|1")
    place = insurance.made(organization("9"))
    name = f"Organization/{place['id']}"
    world.holder().made(consent(world.patient, "permit"))
    world.holder().made(consent(world.patient, "deny", actors=[name]))
    blocked = world.professional("6", structure="urn:s|9")
    before = blocked.read(item).status

    refused = [
        world.ehr.update(changed(place, **organization("7"))).status,
        world.ehr.delete(name).status,
        world.ehr.transaction(
            {"request": {"method": "PUT", "url": name}, "resource": changed(place, **organization("7"))}
        ).status,
    ]

    assert refused == [403, 403, 403]
    assert (before, blocked.read(item).status) == (403, 403)
    assert insurance.update(changed(place, **organization("7"))).status == 200
    assert blocked.read(item).status == 200


@pytest.mark.rule("keeper")
def test_labels_take_nothing_of_the_keepers_word(world):
    """Its holder masks what others wrote in the record, and would leave a Group of the keeper's, as its member, without the keeper's stamp."""
    member = {"entity": {"reference": world.patient}}
    group = world.insurance.made({"resourceType": "Group", "type": "person", "actual": True, "member": [member]})
    name = f"Group/{group['id']}"
    masked = changed(group, meta={"security": [{"system": SYSTEM, "code": "MASQUE_PS"}]})

    assert world.holder().read(name).status == 200
    assert world.holder().update(masked).status == 403
    assert say(world.holder(), "mask", item={"reference": name}).status == 403
    row = world.server.store.find_current(Ref("Group", group["id"]))

    assert (row.version, row.index.get("kept"), row.index.get("sec")) == (1, True, None)


def told(world):
    """Return what the last event says of how it ended: act, outcome, whose records, why."""
    parts, _ = world.server.store.search_events(EVERYTHING, 1, None)
    event = json.loads(parts[0].event.body)
    return event["act"], event["outcome"], event.get("for"), event.get("why")


@pytest.mark.rule("keeper")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_who_would_change_it_hears_whose_it_is_and_so_does_the_log(world, method):
    """Who is its author by the structure that it shares with the keeper; anybody else hears, as ever, that others wrote it."""
    place = world.system("insurance-two", "insurance-feed", "urn:s|1").made(organization("9"))
    name = f"Organization/{place['id']}"
    ways = {
        "PUT": lambda system: system.update(changed(place, **organization("7"))),
        "PATCH": lambda system: system.ask(
            Call("patch", "Organization", place["id"], body=b'[{"op": "replace", "path": "/name", "value": "y"}]')
        ),
        "DELETE": lambda system: system.delete(name),
    }
    act = {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
    verb = "delete" if method == "DELETE" else "update"
    stranger = world.system("ehr-nine", "ehr", "urn:s|9")

    refused, its_event = ways[method](world.ehr), told(world)
    absent, the_other = ways[method](stranger), told(world)

    assert (refused.status, refused.text) == (
        403,
        f"{name} was written by who keeps the directory, and is changed by it alone: refer to it as it is.",
    )
    assert its_event == (act, "8", None, ["kept by the keeper of the directory"])
    assert (absent.status, absent.text) == (
        403,
        f"This token does not allow to {verb} {name}: others wrote it; refer to it as it is, or write an entry of your own.",
    )
    assert the_other == (act, "8", None, ["no rule permits it"])


@pytest.mark.rule("keeper")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "transaction"])
def test_who_sends_it_as_it_is_changes_nothing_of_it(world, method):
    """A system that sends each night what it read is let through: no version is made, and it stays the keeper's word."""
    place = world.system("insurance-two", "insurance-feed", "urn:s|1").made(organization("9"))
    name = f"Organization/{place['id']}"
    sent = {
        "PUT": lambda: world.ehr.update(place),
        "PATCH": lambda: world.ehr.ask(
            Call("patch", "Organization", place["id"], body=b'[{"op": "replace", "path": "/name", "value": "x"}]')
        ),
        "transaction": lambda: world.ehr.transaction({"request": {"method": "PUT", "url": name}, "resource": place}),
    }[method]()

    assert (sent.status, told(world)[1]) == (200, "0")
    assert world.ehr.read(name).body["meta"]["versionId"] == "1"
    assert world.ehr.update(changed(place, name="y")).status == 403


@pytest.mark.rule("keeper")
def test_why_it_is_not_theirs_to_change_is_explained(world):
    """It is one of the rules: an operator who asks why is told it, for what would change the entry and for nothing else."""
    feed = world.system("insurance-two", "insurance-feed", "urn:s|1")
    ref = Ref("Organization", feed.made(organization("9"))["id"])
    context = world.server.operator_context("tester", "access explain")

    def last(system, action):
        return explain(Asked(system.subject, world.patient, ref, action), context, world.server.env)[-1]

    assert {action: last(world.ehr, action) for action in ("read", "update", "delete")} == {
        "read": "Permitted: author; directory: open to whoever is known.",
        "update": "Refused: kept by the keeper of the directory.",
        "delete": "Refused: kept by the keeper of the directory.",
    }
    assert last(feed, "update") == "Permitted: author."


def test_an_entry_that_its_keeper_sends_again_becomes_its_word(world, item):
    """What was written before anybody kept the directory counts from when it is sent once more as it stands, without a new version."""
    insurance = world.system("insurance-two", "insurance-feed", "urn:s|1")
    made = world.ehr.made(practitioner("6"))
    name = f"Practitioner/{made['id']}"
    before = world.holder().create(consent(world.patient, "permit", actors=[name])).status

    sent = insurance.update(changed(made))
    assert world.ehr.update(changed(made)).status == 200

    assert (before, sent.status, sent.body["meta"]["versionId"]) == (422, 200, "1")
    assert world.holder().create(consent(world.patient, "permit", actors=[name])).status == 201
    assert world.professional("6").read(item).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_others_wrote_stands_in_no_way_of_the_keeper(world, item, method):
    """Two systems wrote down a professional; the keeper writes its own entry by criteria, finds that one again and refers to it by its number."""
    number = f"identifier={RPPS}|6"
    for system in (world.ehr, world.system("lab", "lab", "urn:s|3")):
        system.made(practitioner("6"))
    request = {"POST": {"url": "Practitioner", "ifNoneExist": number}, "PUT": {"url": f"Practitioner?{number}"}}[method]
    entry = {"request": {"method": method, **request}, "resource": practitioner("6", active=True)}
    patient = world.insurance.read(world.patient).body
    doctor = {"generalPractitioner": [{"reference": f"Practitioner?{number}"}]}
    renewed = {"request": {"method": "PUT", "url": world.patient}, "resource": changed(patient, **doctor)}

    first = world.insurance.transaction(entry)
    again = world.insurance.transaction(entry, renewed)

    assert [each["response"]["status"] for each in (*first.body["entry"], *again.body["entry"])] == [
        "201 Created",
        "200 OK",
        "200 OK",
    ]
    assert world.professional("6").read(item).status == 200


def test_of_several_entries_of_one_professional_the_own_one_is_meant_or_else_the_keepers(world):
    """Whatever is asked by criteria goes on when others write the same number down; where neither wrote it, nobody can tell which of several."""
    number = f"Practitioner?identifier={RPPS}|6"
    lab, third = world.system("lab", "lab", "urn:s|3"), world.system("third", "ehr", "urn:s|4")
    own = f"Practitioner/{world.ehr.made(practitioner('6'))['id']}"
    lab.made(practitioner("6"))
    about = {
        "request": {"method": "POST", "url": "Observation"},
        "resource": observation(world.patient, performer=[{"reference": number}]),
    }
    renewed = {"request": {"method": "PUT", "url": number}, "resource": practitioner("6", active=True)}

    def referred(system):
        answer = system.transaction(about)
        if answer.status != 200:
            return answer.status
        made = answer.body["entry"][0]["response"]["location"].partition("/Observation/")[2].partition("/")[0]
        return system.read(f"Observation/{made}").body["performer"][0]["reference"]

    assert (referred(world.ehr), referred(third)) == (own, 412)
    kept = f"Practitioner/{world.insurance.made(practitioner('6'))['id']}"

    assert (referred(world.ehr), referred(third)) == (own, kept)
    assert world.ehr.create(practitioner("6"), criteria=number.partition("?")[2]).status == 200
    assert [each.transaction(renewed).status for each in (world.ehr, third)] == [200, 403]
    assert world.ehr.read(own).body["active"]
    assert "active" not in world.ehr.read(kept).body


def test_an_entry_of_the_same_bundle_is_meant_before_what_others_wrote(world):
    """Whether it is new or stays as it is; two of its sender's own are several all the same."""
    number = f"Practitioner?identifier={RPPS}|6"
    for system in (world.insurance, world.system("lab", "lab", "urn:s|3")):
        system.made(practitioner("6"))
    entry = {"request": {"method": "PUT", "url": "Practitioner/own"}, "resource": practitioner("6", id="own")}
    told = observation(world.patient, id="o", performer=[{"reference": number}])
    about = {"request": {"method": "PUT", "url": "Observation/o"}, "resource": told}

    for _ in range(2):
        assert world.ehr.transaction(about, entry).status == 200
        assert world.ehr.read("Observation/o").body["performer"] == [{"reference": "Practitioner/own"}]

    second = {"request": {"method": "PUT", "url": "Practitioner/two"}, "resource": practitioner("6", id="two")}
    assert world.ehr.transaction(about, second).status == 412


def test_the_keeper_refers_by_criteria_to_what_others_wrote_alone(world):
    """A feed refers to what is there; it names nobody by it."""
    place = f"Organization/{world.ehr.made(organization('9'))['id']}"
    within = {"managingOrganization": {"reference": "Organization?identifier=urn:s|9"}}
    patient = changed(world.insurance.read(world.patient).body, **within)

    answer = world.insurance.transaction({"request": {"method": "PUT", "url": world.patient}, "resource": patient})

    assert answer.status == 200
    assert world.insurance.read(world.patient).body["managingOrganization"]["reference"] == place


def test_a_sync_that_would_change_what_others_wrote_is_told_which_it_was(world):
    """A transaction is refused as a whole: it hears of what, and what to do instead."""
    place = f"Practitioner/{world.insurance.made(practitioner('6'))['id']}"
    entry = {"request": {"method": "PUT", "url": f"Practitioner?identifier={RPPS}|6"}, "resource": practitioner("6")}
    about = {"request": {"method": "POST", "url": "Observation"}, "resource": observation(world.patient)}

    refused = world.ehr.transaction(about, entry)

    assert refused.status == 403
    assert f"{place}: others wrote it; refer to it as it is" in refused.text


def test_a_doctor_or_a_team_is_named_as_the_keeper_wrote_them(world, item):
    """The holder names neither by what others wrote; a feed may refer to such and opens to nobody by it, and closing looks at nothing of it."""
    forged = f"Practitioner/{world.ehr.made(practitioner('6'))['id']}"
    team = {
        "resourceType": "CareTeam",
        "status": "active",
        "subject": {"reference": world.patient},
        "participant": [{"member": {"reference": forged}}],
    }
    patient = world.insurance.read(world.patient).body
    doctor, holder = world.professional("6"), world.holder()

    assert say(holder, "attending-doctor", actor={"reference": forged}).status == 422
    assert holder.create(team).status == 422
    assert world.insurance.create(team).status == 201
    assert world.insurance.update(changed(patient, generalPractitioner=[{"reference": forged}])).status == 200
    opened = doctor.read(item).status

    assert opened == 403
    assert [say(holder, operation).status for operation in ("close", "reopen")] == [200, 200]
    assert doctor.read(item).status == 403


def test_what_an_author_wrote_is_told_by_numbers_that_the_keeper_wrote(world):
    """To let somebody see what one doctor wrote shows nothing that another wrote, whose number a system wrote down for the first."""
    other = world.professional("6")
    assert other.create(document(world.patient)).status == 201
    forged = f"Practitioner/{world.ehr.made(practitioner('6'))['id']}"
    nobody = f"Practitioner/{world.ehr.made({'resourceType': 'Practitioner'})['id']}"

    def told(author):
        data = [{"meaning": "authoredby", "reference": {"reference": author}}]
        return world.holder().create(consent(world.patient, "permit", actors=[f"{RPPS}|1"], data=data)).status

    assert [told(forged), told(nobody)] == [422, 201]
    assert world.professional("1", structure="urn:s|8").search("DocumentReference").ids == set()


def test_systems_sync_whom_they_refer_to(world):
    """An EHR and a laboratory write professionals and structures with their national numbers, contained and beside, as data."""
    bundle = [
        {"request": {"method": "PUT", "url": "Practitioner/a"}, "resource": practitioner("899700218896", id="a")},
        {
            "request": {"method": "POST", "url": "Organization"},
            "resource": {"resourceType": "Organization", "identifier": [{"system": FINESS, "value": "750712184"}]},
        },
        {
            "request": {"method": "POST", "url": "Observation"},
            "resource": observation(
                world.patient, performer=[{"reference": "#p"}], contained=[practitioner("899700218896", id="p")]
            ),
        },
    ]

    for system in (world.ehr, world.system("lab", "lab", "urn:s|1")):
        assert system.transaction(*bundle).status == 200

    assert INS not in str(bundle)
    assert world.professional("1", patient="").search("Practitioner", f"identifier={RPPS}|899700218896").ids == {"a"}
