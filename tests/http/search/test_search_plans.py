"""How the database answers a search: by an index for each parameter, by as many keys on any page, in constant memory."""

from __future__ import annotations

import json
import tarfile
import tracemalloc
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from fhir_dmp.app.server import create_server
from fhir_dmp.definitions.loader import load
from fhir_dmp.fhir import codec
from fhir_dmp.search.order import beside, orders
from fhir_dmp.store.matching import matches
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import In, both
from fhir_dmp.stores.mongo import walk
from fhir_dmp.stores.mongo.compile import compile_query, from_row, to_row
from fhir_dmp.stores.mongo.documents import Current, Version
from tests.conftest import server_settings
from tests.http.conftest import register
from tests.unit.search.world import extract, query_of, request_of

EXAMPLES = Path(__file__).parents[2] / "data" / "all-examples.tar.xz"
LOGGED = ("AuditEvent",)
"""Types that the log keeps, with indexes of its own."""

WHOLLY = ("Observation", "Patient", "Location", "ValueSet", "RiskAssessment", "DocumentReference")
"""Types whose parameters are asked in every way; of the others each parameter once."""

SAMPLES = {
    "date": ["2024", "ge2020-01", "ne2024-05-01", "sa2024", "ap2024-05"],
    "number": ["5", "gt5", "ne5", "ap5"],
    "quantity": ["5", "lt5||mg", "ge5|http://unitsofmeasure.org|mg"],
    "reference": ["Patient/p", "p", "http://a.fr/x|1"],
    "string": ["a", "O'Brien"],
    "token": ["a", "urn:s|a", "urn:s|", "true"],
    "uri": ["http://a.fr/x"],
    "special": ["48.8|2.3", "0|180|100"],
}
MODIFIERS = {
    "date": {"missing": "true"},
    "number": {"missing": "false"},
    "quantity": {"missing": "true"},
    "reference": {"missing": "false", "identifier": "urn:s|1", "text": "a"},
    "string": {"missing": "true", "exact": "A", "contains": "bc"},
    "token": {"missing": "false", "not": "a", "text": "ab"},
    "uri": {"missing": "true", "below": "http://a.fr", "above": "http://a.fr/x/y"},
    "special": {"missing": "false"},
}


@contextmanager
def lasting(uri, databases, folder):
    """The parts of a server for the tests of a module, which leave it as it was."""
    name = databases.take()
    made = create_server(server_settings(uri, name, folder))
    yield made
    made.close()
    databases.put_back(name)


@pytest.fixture(scope="module")
def current(mongodb_uri, databases, tmp_path_factory):
    """The collection with the official examples, as they are indexed."""
    with lasting(mongodb_uri, databases, tmp_path_factory.mktemp("examples")) as server:
        collection = server.store.database["current"]
        collection.insert_many(examples())
        yield collection


def examples():
    """Return rows of the official examples."""
    rows = []
    with tarfile.open(EXAMPLES) as archive:
        for member in archive.getmembers()[:800]:
            file = archive.extractfile(member)
            if file is not None and member.name.endswith(".json"):
                tree = codec.loads_object(file.read())
                index = to_row(extract()(tree["resourceType"], tree))
                rows.append(row_of(tree["resourceType"], len(rows), index))
    return rows


def row_of(resource_type, number, index, body=b"{}"):
    moment = f"{number:017x}"
    return {
        **index,
        "_id": f"{resource_type}/n{number}",
        "ty": resource_type,
        "v": 1,
        "lu": moment,
        "co": moment,
        "b": body,
        "au": ["client|ehr", "urn:x|1"],
    }


def advertised():
    """Return each parameter of each type that the CapabilityStatement prints, with questions of its kind."""
    for resource_type, params in load().search_params.items():
        if resource_type in LOGGED:
            continue
        for code, param in params.items():
            if param.type == "composite":
                samples = ["$".join(SAMPLES[part.type][0] for part in param.components)]
                yield resource_type, [f"{code}={quote(each, safe='')}" for each in samples]
            elif code in ("_id", "_lastUpdated", "_text", "_content"):
                yield resource_type, [f"{code}={'2024' if param.type == 'date' else 'a'}"]
            else:
                plain = [f"{code}={quote(each, safe='')}" for each in SAMPLES[param.type]]
                asked = [f"{code}:{name}={quote(each, safe='')}" for name, each in MODIFIERS[param.type].items()]
                yield resource_type, [*plain, *asked] if resource_type in WHOLLY else plain[:1]


def stages(plan):
    """Return the names of all stages of a plan."""
    text = json.dumps(plan, default=str)
    return {name for name in ("COLLSCAN", "IXSCAN", "IDHACK", "EOF", "SORT") if f'"{name}"' in text}


def test_every_advertised_parameter_is_answered_by_an_index(current):
    """Each of every type, with its prefixes and modifiers, in the default order: no plan reads the whole collection."""
    asked = 0
    for resource_type, questions in advertised():
        for question in questions:
            try:
                query = query_of(resource_type, question)
            except Exception as refusal:
                assert getattr(refusal, "status", None) == 400, (resource_type, question)
                continue
            plan = current.find(compile_query(query)).sort("co", 1).limit(21).explain()["queryPlanner"]["winningPlan"]
            assert "COLLSCAN" not in stages(plan), (resource_type, question, plan)
            asked += 1
    assert asked > 2500


_MODIFIER = {"": "", "text": ":text", "exact": ":exact", "identifier": ":identifier"}


def own_questions(row):
    """Return questions about what a row is indexed by: up to twelve of its tokens, and up to three moments."""
    asked = []
    for token in row["t"][1:]:
        name, _, value = token.partition("=")
        code, _, kind = name.partition(".")[2].partition(":")
        if "." in name and kind in _MODIFIER and not set(value) & set("\\…$") and value:
            written = quote(value.replace(",", "\\,"), safe="")
            asked.append(f"{code}{_MODIFIER[kind]}={written}")
    params = load().search_params[row["ty"]]
    for each in row.get("r", ()):
        code = each["k"].partition(".")[2].removesuffix("~")
        if code in params and params[code].type == "date" and 0 < each["lo"] < each["hi"] < 4e15:
            first, last = (datetime.fromtimestamp(each[end] / 1e6, UTC) for end in ("lo", "hi"))
            asked.append(f"{code}=ge{first:%Y-%m-%d}&{code}=le{last:%Y-%m-%d}")
    return asked[:12:2] + asked[-3:]


def test_each_example_is_found_by_its_own_values(current):
    """And MongoDB finds for each question just those rows that the query means."""
    rows = {row["_id"]: from_row(row) for row in current.find({}, {"b": 0})}
    asked = 0
    for row in rows.values():
        for question in own_questions(row):
            query = query_of(row["ty"], question)
            found = {each["_id"] for each in current.find(compile_query(query), {"_id": 1})}
            meant = {name for name, other in rows.items() if other["ty"] == row["ty"] and matches(query, other)}
            assert row["_id"] in found, (row["_id"], question)
            assert found == meant, question
            asked += 1
    assert asked > 2000


@pytest.mark.parametrize(
    "question",
    [
        "code=a",
        "patient=Patient/p",
        "date=ge2024-02&date=lt2024-03",
        "value-quantity=gt5||mg",
        "_content=word",
        "code:missing=false",
    ],
)
def test_the_rules_of_a_caller_beside_it_change_nothing(current, question):
    """As narrowing adds them."""
    query = both(query_of("Observation", question), In("pt", ("Patient/p", "Patient/q")))
    plan = current.find(compile_query(query)).sort("co", 1).explain()["queryPlanner"]["winningPlan"]
    assert "COLLSCAN" not in stages(plan)


MANY, PER_PAGE = 20_000, 100


@pytest.fixture
def many(app):
    """An application with twenty thousand small resources."""
    fill(app.extensions["fhir_dmp"])
    return app


@pytest.fixture(scope="module")
def still_many(mongodb_uri, databases, tmp_path_factory):
    """A server with as many, and three hundred patients who came later, for all that only ask."""
    with lasting(mongodb_uri, databases, tmp_path_factory.mktemp("many")) as server:
        fill(server)
        index = to_row(extract()("Patient", {"resourceType": "Patient", "active": True}))
        server.store.database["current"].insert_many(row_of("Patient", number, index) for number in range(300))
        yield server


def fill(server):
    """Store them."""
    collection = server.store.database["current"]
    body = b'{"resourceType":"Basic","id":"n"}'
    tree = {"resourceType": "Basic", "code": {"coding": [{"system": "urn:s", "code": "a"}]}, "created": "2024-01-01"}
    index = to_row(extract()("Basic", tree))
    rows = [row_of("Basic", number, index, body) for number in range(MANY)]
    for start in range(0, MANY, 5000):
        collection.insert_many(rows[start : start + 5000])


def keys_of_page(server, question, number):
    """Return how many keys and documents the database looked at for a page of the default order."""
    order = orders(request_of("Basic", question), load())
    query = query_of("Basic", question)
    query = both(query, beside("Basic", order, query))
    last = number * PER_PAGE - 1 if not order[0].descending else MANY - number * PER_PAGE
    after = (f"Basic/n{last}" if order[0].field == "_id" else f"{last:017x}",) if number else None
    with commands_of(server) as told:
        found = server.store.search(query, Page(PER_PAGE, order, after, bound="f" * 17))
    (command,) = told
    assert len(found.rows) == PER_PAGE
    return command["keysExamined"], command["docsExamined"]


@pytest.mark.parametrize(
    "question",
    ["", "code=a", "code=urn:s|a&created=2024-01-01", "_sort=_lastUpdated", "code=a&_sort=-_lastUpdated", "_sort=_id"],
)
def test_the_two_hundredth_page_costs_no_more_than_the_first(still_many, question):
    """In keys and documents, not in time."""
    first, last = keys_of_page(still_many, question, 0), keys_of_page(still_many, question, 199)
    assert all(late <= 2 * early for early, late in zip(first, last, strict=True)), (first, last)
    assert max(last) <= 2 * (PER_PAGE + 1)


@pytest.mark.parametrize("sort", ["-_lastUpdated", "_lastUpdated", "_id", "-_id"])
def test_a_sort_of_few_is_read_in_order_among_many(still_many, sort):
    """A type of which there are few is not looked for among all others, and all of it is not sorted."""
    order = orders(request_of("Patient", f"_sort={sort}"), load())
    query = query_of("Patient", "active=true")
    with commands_of(still_many) as told:
        found = still_many.store.search(both(query, beside("Patient", order, query)), Page(20, order))
    (command,) = told
    assert len(found.rows) == 20
    assert command["docsExamined"] == 21


@pytest.mark.parametrize("sort", ["-date", "date"])
def test_the_latest_of_a_long_record_are_read_in_order(app, sort):
    """Nor the first: whoever asks for results of a patient by date has not all of them fetched and sorted; those that tell no date come last."""
    server = app.extensions["fhir_dmp"]
    dates = [None, *(f"20{number % 25:02}-03-{number % 28 + 1:02}" for number in range(2000))]
    trees = [
        {
            "resourceType": "Observation",
            "status": "final",
            "subject": {"reference": f"Patient/{'pq'[number % 2]}"},
            **({"effectiveDateTime": date} if date else {}),
        }
        for number, date in enumerate(dates)
    ]
    rows = [row_of("Observation", number, to_row(extract()("Observation", tree))) for number, tree in enumerate(trees)]
    server.store.database["current"].insert_many(rows)
    query, order = (
        query_of("Observation", "patient=p&status=final"),
        orders(request_of("Observation", f"_sort={sort}"), load()),
    )
    seen, after, costs = [], None, []
    while after is not None or not seen:
        with commands_of(server) as told:
            found = server.store.search(both(query, beside("Observation", order, query)), Page(20, order, after))
        seen += [str(row.ref) for row in found.rows]
        after = found.last if found.more else None
        costs += [each["docsExamined"] for each in told]

    mine = [number for number in range(len(dates)) if number % 2 == 0]
    meant = sorted(mine, key=lambda number: (dates[number] or "", -number), reverse=True)
    if sort == "date":
        meant = [*reversed(meant[:-1]), meant[-1]]
    assert seen == [f"Observation/n{number}" for number in meant]
    assert max(costs) <= 2 * 21


@pytest.mark.parametrize("question", ["", "_sort=-_lastUpdated", "created=2024-01-01", "code=a&_sort=-created"])
def test_a_page_is_one_command(still_many, question):
    """In whatever order, and though more follows: no cursor is left open to be ended by a second one, and nothing is asked twice."""
    query, order = query_of("Basic", question), orders(request_of("Basic", question), load())
    with commands_of(still_many) as told:
        found = still_many.store.search(query, Page(PER_PAGE, order))
    assert (len(found.rows), found.more) == (PER_PAGE, True)
    assert [each["op"] for each in told] == ["query"]


@contextmanager
def commands_of(server):
    """Yield a list, which holds what the database tells of each command on resources once the block is left."""
    database, told = server.store.database, []
    database.command("profile", 2)
    yield told
    database.command("profile", 0)
    told += database["system.profile"].find({"ns": f"{database.name}.current"}).sort("ts", 1)
    database["system.profile"].drop()


@pytest.fixture(scope="module")
def namesakes(mongodb_uri, databases, tmp_path_factory):
    """A thousand patients in turns of two names that begin alike, and one of a third."""
    families = ["Martin", "Martel"] * 500 + ["Martinon"]
    trees = [{"resourceType": "Patient", "name": [{"family": family}]} for family in families]
    rows = [row_of("Patient", number, to_row(extract()("Patient", tree))) for number, tree in enumerate(trees)]
    with lasting(mongodb_uri, databases, tmp_path_factory.mktemp("namesakes")) as server:
        server.store.database["current"].insert_many(rows)
        yield server


@pytest.mark.parametrize(
    ("asked", "most"),
    [("m", 21), ("mart", 21), ("martin", 42), ("marte", 42), ("martin,martel", 42), ("martinon", 4)],
)
def test_a_page_of_a_name_is_read_in_order(namesakes, asked, most):
    """However many have it, a page costs as much as a page: not all of them are fetched and sorted. A rare one is not looked for among them."""
    query = query_of("Patient", f"family={asked}")
    with commands_of(namesakes) as told:
        found = namesakes.store.search(query, Page(20))
    (command,) = told
    assert len(found.rows) == (1 if asked == "martinon" else 20)
    assert command["docsExamined"] <= most
    assert not command.get("hasSortStage") or asked == "martinon"


@pytest.mark.parametrize("named", ["family", "name"])
def test_a_page_of_many_by_name_is_walked_to(namesakes, monkeypatch, named):
    """Whoever wants a thousand of a type by name has a page of them fetched, not all; whoever wants few among them has those sorted."""
    order = orders(request_of("Patient", f"_sort={named}"), load())
    seen, after, costs = [], None, []
    while after is not None or not seen:
        with commands_of(namesakes) as told:
            found = namesakes.store.search(query_of("Patient", ""), Page(100, order, after))
        seen += [int(row.ref.id.removeprefix("n")) for row in found.rows]
        after = found.last if found.more else None
        costs.append(sum(each["docsExamined"] for each in told if each["op"] == "query"))
    assert seen == [*range(1, 1000, 2), *range(0, 1000, 2), 1000]
    assert max(costs[:-1]) <= 202  # the last page has to see that nobody is left who has no name

    monkeypatch.setattr(walk, "FARTHEST", 50)
    with commands_of(namesakes) as told:
        found = namesakes.store.search(query_of("Patient", ""), Page(100, order))
    assert [int(row.ref.id.removeprefix("n")) for row in found.rows] == seen[:100]
    assert 1001 in [each["docsExamined"] for each in told if each["op"] == "command"]


@pytest.fixture
def families(app):
    """Two thousand patients of 400 families, each with a given name and a birthday that others of the family have, too."""
    families = [f"Fam{number * 7 % 400:03}" for number in range(2000)]
    given, born = ["Ana", "Bea", "Cid"], [f"{1940 + year}-01-01" for year in range(50)]
    trees = [
        {"name": [{"family": family, "given": [given[number % 3]]}], "birthDate": born[number * 11 % 50]}
        for number, family in enumerate(families)
    ]
    rows = [
        row_of("Patient", number, to_row(extract()("Patient", {"resourceType": "Patient", **tree})))
        for number, tree in enumerate(trees)
    ]
    app.extensions["fhir_dmp"].store.database["current"].insert_many(rows)
    return app.extensions["fhir_dmp"], [
        (tree["name"][0]["family"], tree["name"][0]["given"][0], tree["birthDate"], number)
        for number, tree in enumerate(trees)
    ]


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ("-family", lambda who: (_backwards(who[0]), who[3])),
        ("family,given", lambda who: (who[0], who[1], who[3])),
        ("family,-given", lambda who: (who[0], _backwards(who[1]), who[3])),
        ("family,birthdate", lambda who: (who[0], who[2], who[3])),
        ("-family,given", lambda who: (_backwards(who[0]), who[1], who[3])),
        ("birthdate,family", lambda who: (who[2], who[0], who[3])),
        ("-birthdate,-family,given", lambda who: (_backwards(who[2]), _backwards(who[0]), who[1], who[3])),
    ],
)
def test_a_page_downwards_or_by_several_keys_is_sorted_from_what_lies_near_it(families, asked, keys):
    """Not from all that match, on the first page and on those far behind it; and all pages together are all rows in the order."""
    server, people = families
    order = orders(request_of("Patient", f"_sort={asked}"), load())
    asking = both(query_of("Patient", ""), beside("Patient", order, query_of("Patient", "")))
    seen, after, costs = [], None, []
    while after is not None or not seen:
        with commands_of(server) as told:
            found = server.store.search(asking, Page(100, order, after))
        seen += [int(row.ref.id.removeprefix("n")) for row in found.rows]
        after = found.last if found.more else None
        costs.append(sum(each["docsExamined"] for each in told if each["op"] in ("query", "command")))

    assert seen == [who[3] for who in sorted(people, key=keys)]
    assert max(costs[:9]) <= walk.MANY + 600  # what is looked at to see that they are many, and what lies near the page


def _backwards(text):
    """Return what sorts as the text does, the other way round."""
    return [-ord(each) for each in text]


def test_a_step_of_a_chain_is_one_command(namesakes):
    """However many it passes through; and one that is given no room for all of them takes no more than it has."""
    query = query_of("Patient", "family=mart")
    with commands_of(namesakes) as told:
        found, some = (namesakes.store.keys(query, None, limit) for limit in (5000, 300))
    assert (len(set(found)), len(set(some))) == (1001, 300)
    assert [each["op"] for each in told] == ["query", "query"]


@pytest.mark.parametrize("sort", ["birthdate", "-birthdate"])
def test_patients_by_birth_are_read_in_order(app, sort):
    """However many there are, beside others of a type: a page is not all of them fetched and sorted. Who tells no date comes last."""
    server = app.extensions["fhir_dmp"]
    births = [None, "1950", *(f"19{number % 90 + 10}-0{number % 9 + 1}-11" for number in range(500)), None]
    trees = [{"resourceType": "Patient", **({"birthDate": birth} if birth else {})} for birth in births]
    others = [{"resourceType": "Person", "birthDate": "1960-01-01"}] * 200
    rows = [
        row_of(tree["resourceType"], number, to_row(extract()(tree["resourceType"], tree)))
        for number, tree in enumerate([*trees, *others])
    ]
    server.store.database["current"].insert_many(rows)
    order = orders(request_of("Patient", f"_sort={sort}"), load())
    query = query_of("Patient", "")
    seen, after, costs = [], None, []
    while after is not None or not seen:
        with commands_of(server) as told:
            found = server.store.search(both(query, beside("Patient", order, query)), Page(20, order, after))
        seen += [int(row.ref.id.removeprefix("n")) for row in found.rows]
        after = found.last if found.more else None
        costs += [each["docsExamined"] for each in told]

    told_of = [births[number] for number in seen if births[number]]
    assert sorted(seen) == [*range(len(births))]
    assert told_of == sorted(told_of, reverse=sort.startswith("-"))
    assert [births[number] for number in seen[-2:]] == [None, None]
    assert max(costs) <= 2 * 21


def test_listing_all_takes_the_memory_of_one_page(many, with_scopes):
    """Page by page to the end: each row once, and no page leaves anything behind."""
    caller = with_scopes("system/Basic.rs")
    url, seen, peaks = f"/Basic?_count={PER_PAGE}", 0, []
    tracemalloc.start()
    try:
        while url:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            answer = caller.get(url).json
            assert "entry" in answer, (answer, seen)
            seen += len(answer["entry"])
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
            links = {each["relation"]: each["url"] for each in answer["link"]}
            url = links.get("next")
    finally:
        left = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert (seen, len(peaks)) == (MANY, MANY // PER_PAGE)
    assert max(peaks[-50:]) <= 2 * max(peaks[5:55])
    assert left < 20_000_000


def test_a_chain_through_many_walks_the_rows_in_order(many):
    """Where thousands of references match, a page is read in the order of creation, not by fetching and sorting all that match."""
    collection = many.extensions["fhir_dmp"].store.database["current"]
    collection.update_many({}, [{"$set": {"t": {"$concatArrays": ["$t", [{"$concat": ["Basic.author=", "$_id"]}]]}}}])
    refs = tuple(f"Basic/n{number}" for number in range(5000))
    query = query_of("Basic", "author.identifier=x", lookup=lambda *_: refs)
    stats = collection.find(compile_query(query)).sort("co", 1).limit(21).explain()["executionStats"]
    assert (stats["nReturned"], stats["totalDocsExamined"]) == (21, 21)


def test_whatever_rows_hold_is_declared(app, ehr):
    """Lists ask for the fields of the schemas by name: one that is missing there would be lost to the rules that judge by it."""
    keeper = register(app, "keeper", role="insurance-feed", scopes=("system/*.cruds",))
    practitioner = {"resourceType": "Practitioner", "id": "kept", "name": [{"family": "Roux"}]}
    patients = [ehr.post("/Patient", {"resourceType": "Patient"}).json["id"] for _ in range(2)]
    observation = {
        "resourceType": "Observation",
        "id": "moved",
        "status": "final",
        "code": {"text": "a"},
        "effectiveDateTime": "2024",
    }
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    answers = [
        keeper.put("/Practitioner/kept", practitioner),
        keeper.put("/Practitioner/kept", {**practitioner, "active": True}),
    ]
    for patient in patients:
        body = {**observation, "subject": {"reference": f"Patient/{patient}"}, "meta": {"security": [label]}}
        answers += [
            ehr.put("/Observation/moved", body),
            ehr.delete("/Observation/moved"),
            ehr.put("/Observation/moved", body),
        ]
    assert {each.status_code for each in answers} <= {200, 201, 204}

    database = app.extensions["fhir_dmp"].store.database
    for name, kind in (("current", Current), ("versions", Version)):
        held = {field for row in database[name].find() for field in row}
        assert held <= set(kind._db_field_map.values())
        assert {"pt", "ds", "sec", "au", "ca", "new", "kept"} <= held or name == "versions"
