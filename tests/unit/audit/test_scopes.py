"""What a log tells of SMART scopes: a restriction asks for what a query does."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from fhir_dmp.audit.asked import LENGTH, unseal
from fhir_dmp.audit.emergency import expiry
from fhir_dmp.audit.entry import misfiled, read_entry
from fhir_dmp.audit.event import describe, describe_token
from fhir_dmp.audit.render import render
from fhir_dmp.audit.scene import View
from fhir_dmp.audit.scopes import clean_reasons, clean_scopes
from fhir_dmp.call import Act, Call
from fhir_dmp.errors import Refused
from fhir_dmp.fhir import codec
from fhir_dmp.token_act import TokenAct
from tests.unit.audit.world import BASE, CALLERS, EHR, RECORDED, ROW, context

SCOPES = {
    "patient/Observation.rs?code=http://loinc.org|718-7": "patient/Observation.rs?code=…",
    "system/Observation.rs?category=laboratory&patient=Patient/1": "system/Observation.rs?category=…&patient=Patient/1",
    "user/Condition.rs?code:in=http://x.test/hiv": "user/Condition.rs?code:in=…",
    "system/*.cruds": "system/*.cruds",
    "offline_access": "offline_access",
}


@pytest.mark.parametrize("scope", SCOPES)
def test_of_a_restriction_the_values_are_cut_that_are_of_a_query(scope):
    """Once is enough: what was cut stays as it is."""
    assert clean_scopes([scope]) == [SCOPES[scope]]
    assert clean_scopes(clean_scopes([scope])) == [SCOPES[scope]]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (f"scope: {' '.join(SCOPES)}", f"scope: {' '.join(SCOPES.values())}"),
        ("The scope 'patient/Observation.rs?date=hiv' cannot be kept: 'hiv' is no date.", "The scope 'patient/Observation.rs?…"),
        ("Consent/42 v3, provision 2", "Consent/42 v3, provision 2"),
        ("Which one?", "Which one?"),
    ],
)  # fmt: skip
def test_of_reasons_that_name_scopes_the_same_is_cut(reason, told):
    """And what is wrong with a value, which names it again."""
    assert clean_reasons([reason]) == [told]


def token(subject=EHR, asked="grant_type=x", **more):
    """Return the event of a token with all scopes."""
    act = TokenAct("token", "ehr-one", scopes=tuple(SCOPES), subject=subject, asked=asked, **more)
    return describe_token(act, context(None, "POST /oauth/token"), ROW, RECORDED, lambda: "salt")


def beside(event):
    """Return what lies beside a row."""
    return unseal(event.secret, json.loads(event.body)["sealed"])


FORM = "grant_type=x&scope=patient/Observation.rs%3Fcode%3Dhiv%26date%3D2026%20openid&client_id=a"


@pytest.mark.parametrize("subject", [EHR, None])
def test_what_a_token_was_asked_and_issued_for_is_sealed_whole(subject):
    """Whether it was issued or not."""
    refused = {} if subject else {"error": "invalid_scope", "why": "The scope 'user/Condition.rs?code=hiv' is none."}
    event = token(subject, FORM, **refused)
    row, said = json.loads(event.body), beside(event)

    assert row["scopes"] == list(SCOPES.values())
    assert row["request"].endswith("grant_type=x&scope=patient/Observation.rs?code=…%26date=2026%20openid&client_id=a")
    assert row.get("why", []) == ([] if subject else ["The scope 'user/Condition.rs?…"])
    assert said["scopes"] == list(SCOPES)
    assert said["request"] == f"POST /oauth/token\n{FORM}"
    assert said.get("why", []) == ([] if subject else [refused["why"]])


def test_a_token_for_scopes_without_restrictions_has_nothing_beside_its_row():
    """Nor has one whose restriction tells nothing of a disease."""
    for scope in ("system/*.cruds", "system/Observation.rs?patient=Patient/1"):
        act = TokenAct("token", "ehr-one", scopes=(scope,), subject=EHR, asked=f"scope={scope}")
        event = describe_token(act, context(None, "POST /oauth/token"), ROW, RECORDED, lambda: "salt")
        assert (event.secret, json.loads(event.body)["scopes"]) == (None, [scope])


def test_of_what_a_stranger_asks_for_no_more_is_sealed_than_of_any_request():
    """Nobody unknown can fill the log."""
    long = "&".join(f"scope=patient/Observation.rs%3Fcode%3D{'x' * 90}" for _ in range(90))
    assert len(beside(token(None, long, error="invalid_scope"))["request"]) < LENGTH + 200


def test_a_refusal_for_want_of_a_scope_names_none_of_its_values():
    """The reason is sealed as it is."""
    reason = f"scope: {' '.join(SCOPES)}"
    act = Act(Call("search-type", "Condition"), error=Refused("no", reasons=(reason, reason)))
    event = describe(act, context(), ROW, RECORDED, lambda: "salt")

    assert json.loads(event.body)["why"] == [f"scope: {' '.join(SCOPES.values())}"]
    assert beside(event) == {"why": [reason]}


def test_who_asked_is_told_the_scopes_whole_and_others_cut():
    """As of what a query asked."""
    event = token(CALLERS["holder"], FORM)
    for sealed, scopes in ((True, SCOPES), (False, SCOPES.values())):
        [query] = [each for each in render(event, 1, BASE, View(sealed=sealed))["entity"] if "query" in each]
        details = {each["type"]: each["valueString"] for each in query["detail"]}
        assert (details["scope"], details["grant_type"]) == (" ".join(scopes), "x")


def test_the_end_of_an_emergency_names_no_value_that_its_beginning_did():
    """Not of one that was told before values were cut, either, whose row stays as it is and is found by what it was."""
    began = describe_token(
        TokenAct("authorize", "app", scopes=tuple(SCOPES), subject=CALLERS["glass breaker"]), context(None), ROW, RECORDED, lambda: "s"
    )  # fmt: skip
    row = json.loads(began.body) | {"scopes": list(SCOPES)}
    before = replace(began, body=codec.dumps(row))
    for start in (began, before):
        assert json.loads(expiry(start, ROW, RECORDED).body)["scopes"] == list(SCOPES.values())

    assert began.index == before.index
    assert misfiled(entry(before)) == ()


def entry(event):
    """Return the entry of an event."""
    line = {"id": event.id, "rec": event.recorded, "w": "1r", "e": "e", "n": 1, "p": "", "h": "", "index": event.index}
    return read_entry(codec.dumps(line)[:-1] + b',"row":' + event.body + b"}")
