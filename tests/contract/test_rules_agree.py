"""One list of rules, read three ways: ``decide`` for a row, ``narrow`` by ``matches``, and ``narrow`` by a real MongoDB agree.

Over random callers, policies and rows: whatever is listed may be read, and whatever may be read is listed. That every kind of rule has
its word in it is counted.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from itertools import islice
from random import Random

import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fhir_dmp.access.decide import NO_RULE, decide
from fhir_dmp.access.narrow import narrow
from fhir_dmp.access.policy import Entry, Provision
from fhir_dmp.access.rules import KEPT
from fhir_dmp.store.matching import matches
from fhir_dmp.stores.mongo.compile import compile_query, to_row
from tests.contract.situations import PATIENTS, situation

KINDS = {
    r"Consent/\d v\d, provision": "consent",
    r"Consent/\d v\d, provision \d": "exception",
    r"Consent/\d v\d: it tells what it withholds": "untold",
    "Consents that ended: they tell what they withheld": "ended",
    r"CareTeam/t v1: care team": "care team",
    r"Patient/[pq] v1: attending doctor": "attending doctor",
    r"RelatedPerson/r1 v1: legal representative": "legal representative",
    r"Patient/end v1: the record is closed": "closed",
    r"Patient/end v1: the holder has died": "died",
    r"matrix .*": "matrix",
    r"scope: .*": "scope",
    r"the token is for Patient/p alone": "bound",
    r"INVISIBLE_PATIENT, not yet a month old": "INVISIBLE_PATIENT",
    r"feeding needs no authorisation": "feeding",
    r"directory: open to whoever is known": "directory",
}
"""What reasons say, in short; those that are not here stand for themselves."""

PERMITS = {
    "holder": {"the holder's own record", "author", "directory"},
    "representative": {"legal representative", "consent", "exception", "author", "directory"},
    "professional": {
        *("feeding", "author", "directory", "consent", "exception", "care team", "attending doctor", "break-glass"),
        *("centre 15", "the patient's consent, declared", "by exact INS"),
    },
    "ehr": {
        *("feeding", "author", "directory", "consent", "exception", "by exact INS", "open by each of its records"),
    },
    "lab": {"feeding", "author", "directory", "by exact INS"},
    "insurance-feed": {"feeding", "author", "directory", "by exact INS", "the insurance keeps identities"},
    "auditor": {"auditor"},
    "admin": {"reviews of emergencies", "notices that fall due"},
}
REFUSALS = {
    "holder": {"closed", "died", "INVISIBLE_PATIENT", "scope"},
    "representative": {
        *(
            "consent",
            "untold",
            "ended",
            "closed",
            "died",
            "INVISIBLE_PATIENT",
            "INVISIBLE_REPRESENTANTS_LEGAUX",
            "scope",
        ),
    },
    "professional": {
        *(
            "consent",
            "untold",
            "ended",
            "closed",
            "matrix",
            "MASQUE_PS",
            "scope",
            "not strongly authenticated: feeds alone",
        ),
    },
    "ehr": {"consent", "untold", "ended", "closed", "MASQUE_PS", "bound", "scope", KEPT},
    "lab": {"consent", "closed", "matrix", "MASQUE_PS", "bound", "scope", KEPT},
    "insurance-feed": {"consent", "closed", "matrix", "MASQUE_PS", "bound", "scope"},
    "auditor": {"bound", "scope"},
    "admin": {"bound", "scope"},
}
situations = st.randoms(use_true_random=False).map(situation)
quietly = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
        HealthCheck.filter_too_much,
    ],
)


@pytest.fixture(scope="module")
def collection(mongodb_uri):
    """A collection of a real MongoDB."""
    with pymongo.MongoClient(mongodb_uri) as client:
        name = f"test_rules_agree_{os.getpid()}"
        yield client[name]["rows"]
        client.drop_database(name)


def assert_agree(collection, drawn):
    """Judge the rows of a situation by each of the three readings, and compare."""
    rules = drawn.rules()
    allowed = narrow(rules)
    collection.delete_many({})
    collection.insert_many([to_row(row) for row in drawn.rows])

    by_decide = {row["_id"] for row in drawn.rows if decide(rules, row).permit}
    by_matches = {row["_id"] for row in drawn.rows if matches(allowed, row)}
    by_database = {row["_id"] for row in collection.find(compile_query(allowed), {"_id": 1})}

    assert by_decide == by_matches == by_database


@quietly
@given(situations)
def test_what_may_be_read_is_what_is_listed(collection, drawn):
    """The three readings of one list of rules say the same of every row."""
    assert_agree(collection, drawn)


def kind_of(reason):
    """Return which kind of rule gave the reason."""
    return next((kind for pattern, kind in KINDS.items() if re.fullmatch(pattern, reason)), reason)


def deciding(rules, row):
    """Return the one kind of rule that decides: the permit would not be given, or the refusal not made, without it; None for several."""
    decision = decide(rules, row)
    kinds = {kind_of(reason) for reason in decision.reasons}
    if kinds == {"consent", "exception"}:  # within a permission that holds, an exception permits what that one does
        kinds = {"exception"}
    if decision.reasons == (NO_RULE,):
        return False, NO_RULE
    if len(kinds) > 1 or not (decision.permit or decide([rule for rule in rules if rule.permit], row).permit):
        return decision.permit, None
    return decision.permit, kinds.pop()


def drawn_by(seed):
    """Yield situations, always the same of a seed."""
    random = Random(seed)
    while True:
        yield situation(random)


def telling(of):
    """Return the situations in which each kind of rule decides of a row alone: by caller, permission or refusal, and kind."""
    found = defaultdict(list)
    for each in of:
        rules = each.rules()
        for row in each.rows:
            found[each.who, *deciding(rules, row)].append(each)
    return found


def test_each_kind_of_rule_is_read_alike_where_it_decides(collection):
    """Every permission and every refusal that there is, for each kind of caller: an agreement over refusals alone would show little."""
    found = telling(islice(drawn_by(20261124), 4000))
    due = {(who, True, kind) for who, kinds in PERMITS.items() for kind in kinds}
    due |= {(who, False, kind) for who, kinds in REFUSALS.items() for kind in kinds}

    assert {each: len(found[each]) for each in due if len(found[each]) < 2} == {}
    assert {each for each in found if each[2] is not None} - due == {(who, False, NO_RULE) for who in (*PERMITS, "app")}
    for several in found.values():
        for each in several[:3]:
            assert_agree(collection, each)


@quietly
@given(situations)
def test_a_policy_that_is_not_in_question_changes_nothing(drawn):
    """A row is judged alike by the policies of its own records and by those of all: lists and single reads cannot drift."""
    person = drawn.subject.person
    named = {person.patient} if person else set()
    for row in drawn.rows:
        own = {patient: drawn.policies[patient] for patient in PATIENTS if patient in {*named, *row.get("pt", ())}}

        assert decide(drawn.rules(own), row).permit == decide(drawn.rules(), row).permit


@quietly
@given(
    st.randoms(use_true_random=False).map(lambda random: situation(random, who=("professional", "representative"))),
    st.booleans(),
)
def test_a_closed_or_blocking_record_is_shut_whatever_else_is_said(drawn, closed):
    """No permission of anybody stands against a closing, or against a denial by name, and be it for a copy.

    Where a setting lets who breaks the glass pass over the latter, it is judged by itself.
    """
    drawn = replace(drawn, readings=replace(drawn.readings, block_in_break_glass=True))
    person = replace(drawn.subject.person, patient="Patient/p")
    denial = Provision(permit=False, actors=((person.resource,),))
    shutting = Entry("Patient/end", 1, closed=0) if closed else Entry("Consent/9", 1, denial)
    policies = {"Patient/p": drawn.policies["Patient/p"].put(shutting.source, shutting)}
    shut = replace(drawn, subject=replace(drawn.subject, person=person), policies=policies)
    rules = shut.rules()
    within = [row for row in drawn.rows if "Patient/p" in row.get("pt", ()) and row["ty"] != "AuditEvent"]

    assert [row["_id"] for row in within if decide(rules, row).permit and shut.action != "govern"] == []


@quietly
@given(situations)
def test_to_ask_for_a_copy_changes_nothing_but_what_a_closed_record_shows_its_holder(drawn):
    """Whoever else asks, and whatever else is done, is judged as without it."""
    person = drawn.subject.person
    copy, plain = (replace(drawn, copies=copies).rules() for copies in (True, False))
    closed = person is not None and person.patient is not None and drawn.policies[person.patient].closing is not None
    spared = closed and drawn.who == "holder" and drawn.action in ("read", "search")
    for row in drawn.rows:
        assert decide(copy, row).permit >= decide(plain, row).permit
        assert spared or decide(copy, row).permit == decide(plain, row).permit
