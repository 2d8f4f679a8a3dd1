"""One list of rules, read three ways: ``decide`` for a row, ``narrow`` by ``matches``, and ``narrow`` by a real MongoDB agree.

Over random callers, policies and rows: whatever is listed may be read, and whatever may be read is listed.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_dmp.access.decide import decide
from fhir_dmp.access.model import Person, Subject
from fhir_dmp.access.narrow import narrow
from fhir_dmp.access.policy import Data, Entry, Member, Period, Policy, Provision, decode, encode
from fhir_dmp.access.rules import rules_for
from fhir_dmp.definitions.loader import load
from fhir_dmp.fhir.labels import FLAGS
from fhir_dmp.store.query import NOTHING, matches
from fhir_dmp.stores.mongo.compile import compile_query
from tests.access_world import ACT_REASON

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MICROS = int(NOON.timestamp() * 1_000_000)
PATIENTS = ("Patient/p", "Patient/q")
NAMES = ("urn:rpps|1", "Practitioner/p1", "urn:s|1", "RelatedPerson/r", "Patient/p", "client|c")
LABELS = (*sorted(FLAGS), "urn:l|R", "http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R")
PURPOSES = tuple(f"{ACT_REASON}|{code}" for code in ("TREAT", "BTG", "ETREAT", "FAMRQT"))
IDS = tuple(f"Observation/{number}" for number in range(4))


def some(values, most=2):
    """Return up to ``most`` of the values."""
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


days = st.integers(-60, 60).map(lambda number: MICROS + number * 86_400_000_000)
periods = st.builds(Period, st.none() | days, st.none() | days)
actors = st.lists(some(NAMES), max_size=2).map(lambda found: tuple(each for each in found if each))
data = st.builds(
    Data,
    some(IDS),
    some(("@Encounter/e",)),
    some(NAMES),
    some((*LABELS, "http://terminology.hl7.org/CodeSystem/v3-Confidentiality|N")),
    st.none() | periods,
)
inner = st.builds(Provision, st.booleans(), actors, some(PURPOSES), periods, data)
provisions = st.builds(
    Provision, st.booleans(), actors, some(PURPOSES), periods, data, st.lists(inner, max_size=2).map(tuple)
)
members = st.lists(st.builds(Member, actors, periods), max_size=2).map(tuple)
entries = st.builds(
    Entry,
    st.sampled_from([f"Consent/{number}" for number in range(9)]),
    st.just(1),
    st.none() | provisions,
    members,
    members,
    members,
    st.sampled_from([None, None, None, 0]),
)
policies = st.fixed_dictionaries(
    {patient: st.builds(Policy, st.just(patient), st.lists(entries, max_size=3).map(tuple)) for patient in PATIENTS}
)
people = st.builds(
    Person,
    st.sampled_from(["holder", "representative", "professional"]),
    st.just("account"),
    st.sampled_from(["", "urn:rpps|1"]),
    st.sampled_from(["Practitioner/p1", "RelatedPerson/r", "Patient/p"]),
    profession=st.sampled_from([None, "10", "28", "60"]),
    specialty=st.sampled_from([None, "SM25"]),
    patient=st.sampled_from([None, *PATIENTS]),
    purpose=st.sampled_from(["TREAT", "BTG", "ETREAT", "FAMRQT", "PATRQT"]),
    reason=st.sampled_from([None, "unconscious"]),
)
scopes = some(
    ("user/*.cruds", "system/*.cruds", "user/Observation.rs", "system/Observation.cruds", "patient/Practitioner.r"), 3
)
subjects = st.builds(
    Subject,
    st.just("c"),
    st.sampled_from(["ehr", "lab", "insurance-feed", "auditor", "samu", "app", "admin"]),
    scopes,
    st.sampled_from([None, "urn:s|1"]),
    person=st.none() | people,
)
actions = st.sampled_from(["create", "read", "update", "delete", "search", "relabel"])
rows = st.fixed_dictionaries(
    {
        "ty": st.sampled_from(["Observation", "Practitioner", "Consent", "Patient", "AuditEvent"]),
        "co": days.map(lambda micros: f"{micros:013x}0001"),
        "au": some(NAMES).map(list),
        "t": some(("@Encounter/e", "Observation.status=final")).map(list),
    },
    optional={
        "pt": st.lists(st.sampled_from(PATIENTS), min_size=1, max_size=2, unique=True),
        "sec": some(LABELS).map(list),
        "ca": st.sampled_from(["10", "42", "95", ["10", "42"]]),
        "ds": days,
    },
)


@pytest.fixture(scope="module")
def collection(mongodb_uri):
    """A collection of a real MongoDB."""
    with pymongo.MongoClient(mongodb_uri) as client:
        yield client["test_rules_agree"]["rows"]
        client.drop_database("test_rules_agree")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(subjects, actions, policies, st.lists(rows, min_size=1, max_size=6))
def test_what_may_be_read_is_what_is_listed(collection, subject, action, given_policies, found):
    """The three readings of one list of rules say the same of every row."""
    stored = {patient: decode(encode(policy)) for patient, policy in given_policies.items()}
    rules = rules_for(subject, action, stored, NOON, load().matrix, lambda scope: NOTHING)
    allowed = narrow(rules)
    numbered = [{**row, "_id": f"{row['ty']}/{number}"} for number, row in enumerate(found)]
    collection.delete_many({})
    collection.insert_many([dict(row) for row in numbered])

    by_decide = {row["_id"] for row in numbered if decide(rules, row).permit}
    by_matches = {row["_id"] for row in numbered if matches(allowed, row)}
    by_database = {row["_id"] for row in collection.find(compile_query(allowed), {"_id": 1})}

    assert by_decide == by_matches == by_database


@settings(max_examples=150, deadline=None)
@given(subjects, actions, policies, rows)
def test_a_policy_that_is_not_in_question_changes_nothing(subject, action, given_policies, row):
    """A row is judged alike by the policies of its own records and by those of all: lists and single reads cannot drift."""
    row = {**row, "_id": f"{row['ty']}/1"}
    own = {patient: policy for patient, policy in given_policies.items() if patient in row.get("pt", ())}

    def permits(known):
        return decide(rules_for(subject, action, known, NOON, load().matrix, lambda scope: NOTHING), row).permit

    person = subject.person
    known = own if person is None or person.patient is None else {**own, person.patient: given_policies[person.patient]}
    assert permits(known) == permits(given_policies)


@settings(max_examples=150, deadline=None)
@given(people.filter(lambda person: person.kind != "holder"), actions, policies, rows, st.booleans(), st.booleans())
def test_a_closed_or_blocking_record_is_shut_whatever_else_is_said(person, action, given_policies, row, closed, copies):
    """No permission of anybody stands against a closing, or against a denial by name, and be it for a copy."""
    patient = "Patient/p"
    name = person.resource
    shutting = (
        Entry("Patient/p", 1, closed=0)
        if closed
        else Entry("Consent/block", 1, Provision(permit=False, actors=((name,),)))
    )
    policy = given_policies[patient].put(shutting.source, shutting)
    subject = Subject(
        "c", "app", ("user/*.cruds",), "urn:s|1", person=Person(**{**_fields(person), "patient": patient})
    )
    row = {**row, "_id": "Observation/1", "ty": "Observation", "pt": [patient]}

    rules = rules_for(subject, action, {patient: policy}, NOON, load().matrix, lambda _: NOTHING, copies=copies)
    assert not decide(rules, row).permit


@settings(max_examples=150, deadline=None)
@given(subjects, actions, policies, rows)
def test_to_ask_for_a_copy_changes_nothing_but_what_a_closed_record_shows_its_holder(
    subject, action, given_policies, row
):
    """Whoever else asks, and whatever else is done, is judged as without it."""
    row = {**row, "_id": f"{row['ty']}/1"}

    def permits(*, copies):
        rules = rules_for(subject, action, given_policies, NOON, load().matrix, lambda _: NOTHING, copies=copies)
        return decide(rules, row).permit

    person = subject.person
    closed = person is not None and person.patient is not None and given_policies[person.patient].closing is not None
    holder = person is not None and person.kind == "holder"
    if not (closed and holder and action in ("read", "search") and {"user/*.cruds"} <= set(subject.scopes)):
        assert permits(copies=True) == permits(copies=False)
    assert permits(copies=True) >= permits(copies=False)


def _fields(person):
    return {name: getattr(person, name) for name in Person.__dataclass_fields__}
