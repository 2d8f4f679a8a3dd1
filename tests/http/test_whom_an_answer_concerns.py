"""Whoever an answer tells of finds it in their journal: also where it was a number, nothing, an error, or a page of the log itself."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from fhir_dmp.call import Call
from fhir_dmp.errors import Unavailable
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.settings import Limits
from tests.access_world import INS, Answer, World, changed, consent, document, observation
from tests.http.journal import parent_of, traces
from tests.http.newest_row import HIDDEN, NUMBER, TEST, binary, bundle, entry, numbered, rows, shown, told, whose


@pytest.fixture
def pair(world):
    """Two records, each with an observation that the EHR wrote."""
    patients = [world.patient, world.new_patient()]
    return {patient: f"Observation/{world.ehr.made(observation(patient))['id']}" for patient in patients}


NAMED = {
    "a subject of a type": ("Observation", "subject:Patient={id}&code:text=none", "one"),
    "a patient of a type": ("Observation", "patient:Patient=Patient/{id}&code:text=none", "one"),
    "an absolute reference": ("Observation", "code:text=none&subject={base}/Patient/{id}", "one"),
    "several": ("Observation", "patient={id},Patient/{other}&code:text=none", "both"),
    "the record itself": ("Patient", "_id={id}&name=none", "one"),
    "several records": ("Patient", "name=none&_id={id},{other}", "both"),
    "a reference elsewhere": ("Observation", "subject=https://elsewhere.example/Patient/{id}&code:text=none", "none"),
    "what is no patient": ("Observation", "subject=Group/{id}&code:text=none", "none"),
}


@pytest.mark.parametrize("how", NAMED)
def test_a_search_that_finds_nothing_stands_in_the_journals_of_those_it_names(world, pair, world_auditor, how):
    """However it names them; the event claims the profile of a patient's query for each."""
    kind, query, found = NAMED[how]
    first, second = pair
    named = {"one": {first}, "both": {first, second}, "none": set()}[found]
    base, ids = world.server.base_url, [each.partition("/")[2] for each in pair]
    answer = world.ehr.search(kind, query.format(id=ids[0], other=ids[1], base=base))
    assert (answer.status, answer.ids) == (200, set())
    assert whose(world) == named

    events = shown(world, world_auditor) if named else {}
    assert set(events) == named
    assert all(each["meta"]["profile"][0].endswith("PatientQuery") for each in events.values())


def test_a_later_page_on_which_nothing_is_left_stands_in_the_journal_of_who_was_named(world, pair):
    """It is told by what the first page asked."""
    second = world.ehr.made(observation(world.patient))["id"]
    page = world.ehr.search("Observation", f"subject:Patient={world.patient}&_count=1")
    [following] = [link["url"] for link in page.body["link"] if link["relation"] == "next"]
    for own in (pair[world.patient], f"Observation/{second}"):
        world.ehr.delete(own)
    answer = world.ehr.search("Observation", following.partition("?")[2])

    assert (answer.status, answer.ids) == (200, set())
    assert whose(world) == {world.patient}


@pytest.mark.parametrize("sent", ["url", "body"])
def test_an_operation_that_finds_nothing_stands_in_the_journal_of_who_was_named(world, sent):
    """By its URL and by Parameters alike."""
    given = (("patient", world.patient), ("code", "http://x.test|none"))
    items = [{"name": name, "valueString": value} for name, value in given]
    body = json.dumps({"resourceType": "Parameters", "parameter": items}).encode()
    asked = {"params": given} if sent == "url" else {"body": body}
    answer = world.ehr.ask(Call("operation", "Observation", operation="lastn", **asked))

    assert (answer.status, answer.body["total"]) == (200, 0)
    assert whose(world) == {world.patient}


def test_a_condition_that_nothing_meets_stands_in_the_journal_of_who_was_named(world):
    """As of a deletion by criteria."""
    call = Call("delete", "Observation", criteria=f"subject:Patient={world.patient}&code=none")

    assert world.ehr.ask(call).status == 204
    assert whose(world) == {world.patient}


def search(kind, query):
    """Return the search of a type."""
    return lambda own: Call("search-type", kind, params=tuple(parse_qsl(query.format(own=own))))


COUNTED = {
    "a number": search("Observation", "code:text=x&_summary=count"),
    "no rows and a number": search("Observation", "code:text=x&_count=0&_total=accurate"),
    "a page and a number": search("Observation", "code:text=x&_count=1&_total=accurate"),
    "a number over several types": lambda _: Call(
        "search-system", params=(("_type", "Observation,Condition"), ("_summary", "count"))
    ),
    "a history of a type": lambda _: Call("history-type", "Observation", params=(("_summary", "count"),)),
    "a page of a history": lambda _: Call("history-type", "Observation", params=(("_count", "1"),)),
    "the latest": lambda _: Call(
        "operation", "Observation", operation="lastn", params=(("status", "final"), ("max", "9"), ("_summary", "count"))
    ),
}


@pytest.mark.parametrize("how", COUNTED)
def test_a_number_stands_in_the_journals_of_those_whose_rows_were_counted(world, pair, world_auditor, how):
    """Each patient's, and no other's; of who is counted the event names no item."""
    world.new_patient()
    answer = world.ehr.ask(COUNTED[how](pair[world.patient]))
    ids = [each.partition("/")[2] for each in pair.values()]
    listed = [own for own in ids if own in json.dumps(answer.body)]
    assert (answer.status, answer.body["total"]) == (200, 2)
    assert whose(world) == set(pair)

    row = json.dumps(told(world))
    assert [own for own in ids if own in row] == listed
    assert set(shown(world, world_auditor)) == set(pair)


ONE = {
    "an id and a value": search("Observation", "_id={own}&code:text=x&_summary=count"),
    "several types": lambda own: Call(
        "search-system", params=(("_type", "Observation,Condition"), ("_id", own), ("_summary", "count"))
    ),
    "a history": lambda own: Call("history-instance", "Observation", own, params=(("_summary", "count"),)),
}


@pytest.mark.parametrize("how", ONE)
def test_the_number_one_stands_in_the_journal_of_its_patient(world, pair, how):
    """It says by yes or no what a row would."""
    answer = world.ehr.ask(ONE[how](pair[world.patient].partition("/")[2]))

    assert (answer.status, answer.body["total"]) == (200, 1)
    assert whose(world) == {world.patient}


@pytest.mark.parametrize("how", ["_id={own}&code:text=none&_summary=count", "code:text=none&_id={own}"])
@pytest.mark.parametrize("kind", ["one type", "several types"])
def test_that_an_item_is_not_so_stands_in_the_journal_of_its_patient(world, pair, monkeypatch, how, kind):
    """Asked by its id, it is told by nothing, or the number 0; its id alone asks no more than a read, and nobody is looked for."""
    query = how.format(own=f"absent,{pair[world.patient].partition('/')[2]}")
    asked = (*parse_qsl(query), ("_type", "Condition,Observation"))
    call = Call("search-system", params=asked) if kind == "several types" else None
    answer = world.ehr.ask(call) if call else world.ehr.search("Observation", query)
    assert (answer.status, answer.body["total"], whose(world)) == (200, 0, {world.patient})

    looked = []
    monkeypatch.setattr(type(world.server.store), "find_many", lambda _, refs, **__: looked.append(refs) or {})
    assert world.ehr.search("Observation", "_id=absent&_summary=count").status == 200
    assert (looked, whose(world)) == ([], set())


BY_NAMES = (
    "Observation?patient.identifier={ins}&code:text=none",
    "Observation?subject:Patient.identifier={ins}&code:text=none",
    "Observation?patient:identifier={ins}&code:text=none",
    "Observation?subject.identifier={number}&code:text=none",
    "Observation?patient._id={id}&code:text=none",
    "Observation?identifier=urn:x|7&code:text=none",
    "Patient?identifier={ins}&name=none&_summary=count",
    "Patient?identifier={ins}&_has:Observation:patient:code:text=none",
    "Patient?identifier={ins}&_lastUpdated=ge2099",
    "Patient?identifier={ins}&_tag=urn:x|none",
    "Patient?identifier={ins}&_security=urn:x|none",
)


@pytest.mark.parametrize("how", BY_NAMES)
def test_that_somebody_is_not_so_stands_in_their_journal_however_they_were_named(world, world_auditor, how):
    """By their number or id, led to by a chain or not, or by the number of an item."""
    patient, _ = numbered(world)
    kind, _, query = how.format(ins=f"{INS}|{NUMBER}", number=NUMBER, id=patient).partition("?")
    answer = world.ehr.search(kind, query)

    assert (answer.status, answer.body["total"], whose(world)) == (200, 0, {f"Patient/{patient}"})
    assert set(shown(world, world_auditor)) == {f"Patient/{patient}"}


@pytest.mark.parametrize("how", ["Patient?identifier={}|1", "Observation?identifier={}|1&_count=1"])
def test_a_number_alone_that_nobody_has_is_not_looked_for_again(world, monkeypatch, how):
    """It asks whether there is such a record, or item."""

    def none(*_):
        raise AssertionError("looked for again")

    monkeypatch.setattr(type(world.server.store), "concerned", none)
    kind, _, query = how.format(INS).partition("?")
    assert world.ehr.search(kind, query).body["total"] == 0
    assert (whose(world), told(world)["outcome"]) == (set(), "0")


ONCE = ("_id={own}", "patient.identifier={ins}", "subject.identifier={number}", "patient={id}", "identifier=urn:x|7")
UNMET = {
    "a patch": (404, lambda criteria, _: by_patch(None, criteria=criteria)),
    "a deletion": (204, lambda criteria, _: Call("delete", "Observation", criteria=criteria)),
    "a deletion's If-Match": (
        412,
        lambda criteria, _: Call("delete", "Observation", criteria=criteria, if_match='W/"9"'),
    ),
    "an update": (
        201,
        lambda criteria, tree: Call("update", "Observation", body=json.dumps(tree).encode(), criteria=criteria),
    ),
    "a create": (
        201,
        lambda criteria, tree: Call("create", "Observation", body=json.dumps(tree).encode(), criteria=criteria),
    ),
}


@pytest.mark.parametrize("named", ONCE)
@pytest.mark.parametrize("how", UNMET)
def test_criteria_that_nothing_meets_stand_in_the_journal_of_whom_they_name(world, world_auditor, how, named):
    """As the same question by GET does: that an item is not so is told, also by what is made instead in somebody else's record."""
    patient, own = numbered(world)
    status, make = UNMET[how]
    criteria = named.format(own=own, ins=f"{INS}|{NUMBER}", number=NUMBER, id=patient)
    answer = world.ehr.ask(make(f"{criteria}&code:text=none", observation(world.patient)))
    made = {world.patient} if status == 201 else set()

    assert (answer.status, whose(world)) == (status, {f"Patient/{patient}", *made})
    assert set(shown(world, world_auditor)) == {f"Patient/{patient}", *made}


def by(reference):
    """Return an observation that refers to another one by criteria."""
    return lambda tree, criteria: entry(
        "POST", "Observation", {**tree, reference: [{"reference": f"Observation?{criteria}"}]}
    )


IN_A_BUNDLE = {
    "a create": lambda tree, criteria: entry("POST", "Observation", tree, ifNoneExist=criteria),
    "an update": lambda tree, criteria: entry("PUT", f"Observation?{criteria}", tree),
    "a deletion": lambda _, criteria: {"request": {"method": "DELETE", "url": f"Observation?{criteria}"}},
    "a patch": lambda _, criteria: entry("PATCH", f"Observation?{criteria}", binary(TEST)),
    "a reference": by("hasMember"),
}


@pytest.mark.parametrize("named", ONCE)
@pytest.mark.parametrize("how", IN_A_BUNDLE)
def test_criteria_of_a_transaction_stand_in_the_journal_of_whom_they_name(world, how, named):
    """Whether nothing meets them and others are made, or all is refused for it."""
    patient, own = numbered(world)
    criteria = named.format(own=own, ins=f"{INS}|{NUMBER}", number=NUMBER, id=patient)
    beside = entry("POST", "Observation", observation(world.patient))
    answer = world.ehr.ask(
        bundle("transaction", beside, IN_A_BUNDLE[how](observation(world.patient), f"{criteria}&code:text=none"))
    )
    refused = {"a patch": 404, "a reference": 400}
    made = set() if how in refused else {world.patient}

    assert (answer.status, whose(world)) == (refused.get(how, 200), {f"Patient/{patient}", *made})


def test_what_a_reference_of_a_transaction_found_stands_in_the_journal_of_its_patient(world, world_auditor):
    """That there is such an item is told; none of theirs was touched."""
    patient, own = numbered(world)
    made = by("hasMember")(observation(world.patient), f"_id={own}&code:text=x")
    assert world.ehr.ask(bundle("transaction", made)).status == 200

    assert whose(world) == {f"Patient/{patient}", world.patient}
    assert told(world)["touched"][f"Patient/{patient}"] == {}
    assert set(shown(world, world_auditor)) >= {f"Patient/{patient}", world.patient}


def test_who_refers_to_a_patient_by_number_asks_for_no_more(world, monkeypatch):
    """As a laboratory does with each report."""

    def none(*_, **__):
        raise AssertionError("looked for again")

    patient, _ = numbered(world)
    monkeypatch.setattr(type(world.server.store), "concerned", none)
    tree = observation(f"Patient?identifier={INS}|{NUMBER}")
    answer = world.ehr.ask(bundle("transaction", entry("POST", "Observation", tree, ifNoneExist="identifier=urn:x|9")))

    assert (answer.status, whose(world)) == (200, {f"Patient/{patient}"})
    assert told(world)["touched"].keys() == {f"Patient/{patient}"}


@pytest.mark.parametrize("how", ["identifier=urn:x|8", "patient={id}&identifier=urn:x|8", "_id=absent"])
def test_a_create_on_a_usual_condition_asks_for_no_more(world, monkeypatch, how):
    """Where it names an item alone, or its patient by reference."""

    def none(*_, **__):
        raise AssertionError("looked for again")

    patient, _ = numbered(world)
    world.ehr.search("Patient", "_count=1")
    monkeypatch.setattr(type(world.server.store), "concerned", none)
    body = json.dumps(observation(f"Patient/{patient}")).encode()
    answer = world.ehr.ask(Call("create", "Observation", body=body, criteria=how.format(id=patient)))

    assert (answer.status, whose(world)) == (201, {f"Patient/{patient}"})


@pytest.mark.parametrize("flags", [(), (HIDDEN,)])
def test_what_is_made_instead_tells_representatives_nothing_of_what_is_hidden(world, flags):
    """Its event is for all to see, or hidden as a whole; of what is hidden from them it says nothing to them."""
    father = parent_of(world)
    own = world.ehr.made(document(world.patient, *flags))["id"]
    body = json.dumps(document(world.new_patient())).encode()
    call = Call("create", "DocumentReference", body=body, criteria=f"_id={own}&status=superseded")
    assert world.ehr.ask(call).status == 201

    assert len(traces(father, "subtype=search-type&agent=ehr-one")) == (0 if flags else 1)


@pytest.mark.parametrize("kind", ["url", "system"])
def test_a_record_that_is_counted_by_its_number_has_it_in_its_journal(world, world_auditor, kind):
    """A professional without a record asks whether there is one, by the INS, and is answered with a number."""
    patient = world.new_patient(identifier=[{"system": INS, "value": NUMBER}])
    doctor = world.professional("7", patient=False)
    query = {"url": "_summary=count", "system": "_count=0&_total=accurate"}[kind]
    answer = doctor.search("Patient", f"identifier={INS}|{NUMBER}&{query}")

    assert (answer.status, answer.body["total"]) == (200, 1)
    assert whose(world) == {patient}
    assert shown(world, world_auditor)[patient]["meta"]["profile"][0].endswith("PatientQuery")


def test_a_number_of_more_rows_than_a_page_may_hold_names_nobody(mongodb_uri, database_name, tmp_path):
    """It tells of one patient nothing that a statistic would not; as many as a page may hold it names."""
    world = World(mongodb_uri, database_name, tmp_path, limits=Limits(page=2, default_page=1))
    try:
        first, _ = [world.ehr.made(observation(world.patient)) for _ in range(2)]
        named = []
        for call in (COUNTED["a number"], COUNTED["a history of a type"]):
            world.ehr.ask(call(""))
            named.append(whose(world))
        world.ehr.made(observation(world.new_patient()))
        for call in (COUNTED["a number"], COUNTED["a history of a type"]):
            world.ehr.ask(call(""))
            named.append(whose(world))
        world.ehr.update(changed(first, code={"text": "y"}))
        world.ehr.update(changed(first, code={"text": "z"}))
        answer = world.ehr.ask(ONE["a history"](first["id"]))

        assert named == [{world.patient}, {world.patient}, set(), set()]
        assert (answer.body["total"], whose(world)) == (3, {world.patient})
    finally:
        world.server.close()


def test_a_page_that_shows_all_that_it_counts_asks_for_no_more(world, pair, monkeypatch):
    """Neither a search nor a history: whose rows they are is told by the rows."""

    def none(*_):
        raise AssertionError("asked for what was shown")

    for name in ("concerned", "history_concerned"):
        monkeypatch.setattr(type(world.server.store), name, none)
    found = [
        world.ehr.search("Observation", "code:text=x"),
        world.ehr.search("Observation", "code:text=x&_total=accurate"),
        world.ehr.search("Observation", "code:text=x&_count=1"),
        world.ehr.history("Observation"),
        world.ehr.history(pair[world.patient]),
    ]

    assert [answer.status for answer in found] == [200] * 5


def test_a_number_of_what_is_hidden_from_representatives_is_hidden_from_them(world):
    """Its trace is where that of the rows would be: with the holder alone."""
    father, found = parent_of(world), {}
    for flags in ((HIDDEN,), ()):
        world.ehr.made(document(world.patient, *flags))
        world.ehr.search("DocumentReference", "_summary=count")
        found[flags] = [len(traces(who, "subtype=search-type&agent=ehr-one")) for who in (father, world.holder())]

    assert found == {(HIDDEN,): [0, 1], (): [1, 2]}


def by_patch(own, **more):
    """Return a patch that asks what is there."""
    return Call("patch", "Observation", own, body=json.dumps(TEST).encode(), **more)


def put(own, **more):
    """Return an update with another text."""
    tree = {**observation(more.pop("of")), "id": own, "code": {"text": "y"}}
    return Call("update", "Observation", own, body=json.dumps(tree).encode(), **more)


FAILED = {
    "If-Match": (412, lambda own, patient: put(own, of=patient, if_match='W/"9"')),
    "If-None-Match": (412, lambda own, patient: put(own, of=patient, if_none_match="*")),
    "a deletion's If-Match": (412, lambda own, _: Call("delete", "Observation", own, if_match='W/"9"')),
    "a test of a patch": (422, lambda own, _: by_patch(own)),
    "an update that is invalid": (
        400,
        lambda own, _: Call(
            "update", "Observation", own, body=json.dumps({"resourceType": "Observation", "id": own}).encode()
        ),
    ),
    "an absent version": (404, lambda own, _: Call("vread", "Observation", own, "9")),
    "a history that says nothing": (
        400,
        lambda own, _: Call("history-instance", "Observation", own, params=(("_count", "x"),)),
    ),
    "a test of a patch by criteria": (422, lambda own, _: by_patch(None, criteria=f"_id={own}")),
    "If-Match by criteria": (
        412,
        lambda own, patient: Call(
            "update",
            "Observation",
            body=json.dumps({**observation(patient), "status": "amended"}).encode(),
            criteria=f"_id={own}",
            if_match='W/"9"',
        ),
    ),
    "a deletion's If-Match by criteria": (
        412,
        lambda own, _: Call("delete", "Observation", criteria=f"_id={own}", if_match='W/"9"'),
    ),
    "an id that does not meet the criteria": (
        409,
        lambda own, patient: Call(
            "update",
            "Observation",
            body=json.dumps({**observation(patient), "id": own}).encode(),
            criteria="code:text=none",
        ),
    ),
    "If-Match in a transaction": (
        412,
        lambda own, patient: bundle(
            "transaction",
            entry("PUT", f"Observation/{own}", {**observation(patient), "id": own}, ifMatch='W/"9"'),
        ),
    ),
    "a test of a patch in a transaction": (
        422,
        lambda own, _: bundle("transaction", entry("PATCH", f"Observation/{own}", binary(TEST))),
    ),
    "a test of a patch by criteria in a transaction": (
        422,
        lambda own, _: bundle("transaction", entry("PATCH", f"Observation?_id={own}", binary(TEST))),
    ),
    "an absent version in a transaction": (
        404,
        lambda own, patient: bundle(
            "transaction",
            entry("POST", "Observation", observation(patient)),
            {"request": {"method": "GET", "url": f"Observation/{own}/_history/9"}},
        ),
    ),
}


@pytest.mark.parametrize("how", FAILED)
def test_an_error_about_what_is_there_stands_in_the_journal_of_its_patient(world, pair, world_auditor, how):
    """A precondition or a test tells by an error what a read would."""
    status, make = FAILED[how]
    other = list(pair)[1]
    call = make(pair[other].partition("/")[2], other)
    assert world.ehr.ask(call).status == status

    assert whose(world) == {other}
    assert set(shown(world, world_auditor)) == {other}
    assert traces(world.holder(other))[0]["outcome"] == told(world)["outcome"]


def test_an_error_of_a_batch_entry_stands_in_the_journal_of_its_patient(world, pair):
    """Each entry has an event of its own, and the batch one of nobody's."""
    own = pair[world.patient].partition("/")[2]
    tree = {**observation(world.patient), "id": own}
    entries = [
        entry("PUT", f"Observation/{own}", tree, ifMatch='W/"9"'),
        entry("PATCH", f"Observation?_id={own}", binary(TEST)),
    ]
    answer = world.ehr.ask(bundle("batch", *entries))

    assert [each["response"]["status"][:3] for each in answer.body["entry"]] == ["412", "422"]
    assert [set(row.index["pt"]) for row in rows(world, 3)] == [set(), {world.patient}, {world.patient}]


@pytest.mark.parametrize("kind", ["delete", "create", "transaction"])
def test_that_several_match_stands_in_the_journals_of_their_patients(world, pair, kind):
    """It says that there are such: by criteria alone, in a transaction, and by what it refers to."""
    body = json.dumps(observation(world.patient)).encode()
    note = {"resourceType": "Observation", "status": "final", "code": {"text": "n"}}
    calls = {
        "delete": Call("delete", "Observation", criteria="code:text=x"),
        "create": Call("create", "Observation", body=body, criteria="code:text=x"),
        "transaction": bundle(
            "transaction",
            entry("POST", "Observation", {**note, "hasMember": [{"reference": "Observation?code:text=x"}]}),
        ),
    }

    assert world.ehr.ask(calls[kind]).status == 412
    assert whose(world) == set(pair)


def test_an_error_about_what_others_wrote_stands_in_the_journal_of_its_patient(world, pair):
    """An id that somebody has is told to be taken: the other EHR, which does not see the item, learns that it is there."""
    other = world.system("ehr-two", "ehr", "urn:s|2")
    answer = other.ask(put(pair[world.patient].partition("/")[2], of=world.patient))

    assert answer.status == 409
    assert whose(world) == {world.patient}


def test_an_error_is_answered_as_it_is_where_nobody_can_tell_whose_item_it_met(world, pair, monkeypatch):
    """The database answers what is asked by path, and no more: the event is there, of nobody's."""
    own = pair[world.patient].partition("/")[2]

    def gone(*_, **__):
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(type(world.server.store), "find_many", gone)
    answer = world.ehr.ask(put(own, of=world.patient, if_match='W/"9"'))

    assert answer == Answer(412, {}, answer.text, answer.headers, answer.issues)
    assert "If-Match" in answer.text
    assert (whose(world), told(world)["error"]["status"]) == (set(), 412)


def test_what_is_absent_is_looked_for_once(world, monkeypatch):
    """An id that nobody has is an error as well, and there is nobody to be named."""
    looked = []
    monkeypatch.setattr(type(world.server.store), "find_many", lambda _, refs, **__: looked.append(refs) or {})

    assert world.ehr.read("Observation/absent").status == 404
    assert (looked, whose(world)) == ([], set())


def test_errors_tell_who_reads_the_log_of_nothing_that_is_hidden(world):
    """The holder's own attempts at an id read alike, whether it is hidden or nobody's: they have no label that others lack."""
    hidden = world.ehr.made(document(world.patient, "INVISIBLE_PATIENT"))["id"]
    father = parent_of(world)
    from_father = world.ehr.made(document(world.patient, HIDDEN))["id"]
    for who, own in ((world.holder(), hidden), (father, from_father)):
        seen = {}
        for each in (own, "a" * 36):
            tree = {**document(world.patient), "id": each}
            ref = Ref("DocumentReference", each)
            who.update(tree)
            who.vread(str(ref), 9)
            who.ask(Call("operation", *str(ref).split("/"), operation="meta", params=(("none", "x"),)))
            who.search("DocumentReference", f"_id={each}&status=current&_summary=count")
            events = traces(who, "subtype=update,vread,$meta,search-type")[:4]
            seen[each] = [
                (event["outcome"], event["meta"].get("security"), event.get("outcomeDesc")) for event in events
            ]
        assert len(seen[own]) == 4
        assert seen[own] == seen["a" * 36]


def test_an_error_about_what_is_hidden_from_representatives_is_hidden_from_them(world):
    """That a doctor tried to change it tells that it is there."""
    father, found = parent_of(world), {}
    world.holder().made(consent(world.patient, "permit"))
    for number, flags in (("7", (HIDDEN,)), ("8", ())):
        item = world.ehr.made(document(world.patient, *flags))
        doctor = world.professional(number)
        assert doctor.read(f"DocumentReference/{item['id']}").status == 200
        assert doctor.ask(Call("patch", "DocumentReference", item["id"], body=json.dumps(TEST).encode())).status == 422
        asked = f"subtype=patch&agent=Practitioner/p{number}"
        found[number] = [len(traces(who, asked)) for who in (father, world.holder())]

    assert found == {"7": [0, 1], "8": [1, 1]}


def test_a_page_of_the_log_stands_in_the_journals_of_those_whose_events_it_told(world, pair, world_auditor):
    """As an event that is read alone does; which events they were is told by what was asked."""
    for item in pair.values():
        world.ehr.read(item)
    world.new_patient()
    answer = world_auditor.search("AuditEvent", "date=ge2026&subtype=read")
    assert (len(answer.body["entry"]), whose(world)) == (2, set(pair))

    row = told(world)
    assert "touched" not in row
    events = shown(world, world_auditor)
    assert set(events) == set(pair)
    assert all(each["meta"]["profile"][0].endswith("PatientQuery") for each in events.values())
    event = traces(world.holder(), "subtype=search-type")[0]
    assert [each["code"] for each in event["subtype"]] == ["search-type", "110101"]


@pytest.mark.parametrize("query", ["_summary=count", "_count=0&_total=accurate", "_count=1&_total=accurate"])
def test_a_number_of_events_stands_in_the_journals_of_those_whose_events_it_counts(world, pair, world_auditor, query):
    """It says whether something was done with an item."""
    for item in pair.values():
        world.ehr.read(item)
    answer = world_auditor.search("AuditEvent", f"date=ge2026&subtype=read&{query}")

    assert (answer.body["total"], whose(world)) == (2, set(pair))


LOOKS = (
    "entity={patient}",
    "entity:Patient={id}",
    "entity={base}/{patient}",
    "entity={item}",
    "entity:Observation={own}",
)


@pytest.mark.parametrize("how", LOOKS)
def test_a_look_for_events_that_finds_none_stands_in_the_journal_of_whom_it_names(world, pair, world_auditor, how):
    """As what was touched, the record itself or an item of it: that nothing was done with it is told."""
    patient, item = next(iter(pair.items()))
    base, ids = world.server.base_url, {"id": patient.partition("/")[2], "own": item.partition("/")[2]}
    query = how.format(patient=patient, item=item, base=base, **ids)
    answer = world_auditor.search("AuditEvent", f"date=ge2026&{query}&outcome=12&_total=accurate")

    assert (answer.status, answer.body["total"], whose(world)) == (200, 0, {patient})
    assert set(shown(world, world_auditor)) == {patient}


def test_who_looks_at_their_own_journal_leaves_one_small_row(world, pair, world_auditor):
    """Their own record, once, however long the page is; days and actors that are counted name nobody."""
    for _ in range(5):
        world.ehr.read(pair[world.patient])
    traces(world.holder())
    row = rows(world)[0]
    assert json.loads(row.body)["for"] == [world.patient]
    assert ("m" in row.index, len(row.body) < 700) == (False, True)

    world_auditor.ask(Call("operation", "AuditEvent", operation="counts", params=(("date", "ge2026"),)))
    assert whose(world) == set()
