"""What is left of Consents that spoke of single rows: a record remembers each, and is read as fast as before."""

from __future__ import annotations

from fhir_dmp.access.policy import Entry, Policy, Provision, decode, encode
from fhir_dmp.access.provisions import ended_rules
from fhir_dmp.store.matching import assuming, matches
from fhir_dmp.store.query import NOTHING

MANY = [Entry(f"Consent/{number}", 2, untold=True) for number in range(100)]
IN_FORCE = Entry("Consent/in-force", 2, provision=Provision(permit=True), untold=True)


def test_all_that_ended_are_refused_by_one_rule():
    """With their versions, and nothing beside them; one that is in force has a rule of its own."""
    (rule,) = ended_rules([*MANY, IN_FORCE, Entry("Consent/data", 1)])

    names = ("Consent/7", "Consent/99/2", "Consent/100", "Consent/in-force", "Consent/data", "Consent/7x")
    assert not rule.permit
    assert [matches(rule.where, {"_id": name, "ty": "Consent"}) for name in names] == [True, True, *(False,) * 4]


def test_who_looks_for_something_else_asks_nothing_of_them():
    """A list of another type has the rule left out."""
    (rule,) = ended_rules(MANY)

    assert assuming(rule.where, "ty", "Observation") == NOTHING
    assert list(ended_rules([IN_FORCE])) == []


def test_each_takes_little_room_in_the_policy_that_every_request_reads():
    """What it does not say is not written down; read again, it is the same."""
    policy = Policy("Patient/p", (*MANY, IN_FORCE))

    assert len(encode(policy)) < 100 * 70
    assert decode(encode(policy)) == policy
