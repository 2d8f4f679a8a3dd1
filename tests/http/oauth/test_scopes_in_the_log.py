"""What tokens were asked and issued for names diseases to nobody who reads the log, as no query does."""

from __future__ import annotations

import json
import time

import pytest

from fhir_dmp.audit.asked import unseal
from fhir_dmp.errors import Invalid
from fhir_dmp.oauth.rfc7523 import ASSERTION_TYPE, make_assertion
from fhir_dmp.service.clients import NewClient
from tests.http.conftest import register
from tests.http.oauth.people import ask, back, fhir, fill, redeem
from tests.log_rows import rows_of
from tests.oauth_world import TOKEN_URL, jwks, key_pair, post

CODE = "http://loinc.org|718-7"
SCOPE = f"Observation.rs?code={CODE}"


@pytest.fixture
def log(server):
    """Return by act what lies beside each row, of which none names a value of a scope."""

    def sealed():
        found = {}
        for row in rows_of(server.store.log):
            text = row.body.decode()
            assert "718-7" not in text, text
            told = json.loads(text)
            if "sealed" in told:
                found.setdefault(told["act"], []).append(unseal(row.secret, told["sealed"]))
        return found

    return sealed


def test_what_a_system_is_registered_and_gets_tokens_for_is_sealed(app, server, operator, log):
    """By an operator, or by its own key; asked for in vain, too, at the endpoints and by what it may not do."""
    caller = register(app, "narrow", role="insurance-feed", scopes=(f"system/{SCOPE}",))
    http, now = app.test_client(), int(time.time())
    for scope in (f"system/{SCOPE}", f"user/{SCOPE}"):
        assertion = make_assertion(key_pair(), "narrow", TOKEN_URL, iat=now, exp=now + 200)
        proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        post(http, "token", grant_type="client_credentials", scope=scope, **proof)
    assert caller.get("/Condition").status_code == 403
    wrong = ("system/Observation.rs?date=718-7", "system/Observation?code=718-7", f"user/{SCOPE}")
    for number, scope in enumerate(wrong):
        new = NewClient(f"none-{number}", "backend", "ehr", (scope,), jwks=jwks(key_pair()))
        with pytest.raises(Invalid):
            server.clients.add(new, operator)
    told = log()

    whole = [f"system/{SCOPE}"]
    added = [*told["client-add"], *told["operator-token"]]
    assert [each for each in added if "scopes" in each] == [{"scopes": whole}]
    assert (
        sorted(scope in each["why"][0] for each in added if "why" in each for scope in wrong)
        == [False] * 6 + [True] * 3
    )
    assert [each["scopes"] for each in told["token"] if "scopes" in each] == [whole]
    assert ["718-7" in each["request"] for each in told["token"]] == [True, True]
    assert "eyJ" not in json.dumps(told)
    assert told["search-type"] == [{"why": [f"scope: system/{SCOPE}"]}]


def test_what_a_person_lets_an_app_read_is_told_whole_to_them_alone(app, holder, phone, patient, feed, log):
    """In the events of the authorization, of the token and of its refresh; an auditor is told the names."""
    ask(holder, scope=f"patient/{SCOPE} patient/AuditEvent.rs offline_access launch/patient")
    fill(holder)
    tokens = redeem(app, back(holder)["code"]).json
    fresh = post(
        app.test_client(),
        "token",
        grant_type="refresh_token",
        refresh_token=tokens["refresh_token"],
        client_id="phone",
        scope=f"patient/{SCOPE}",
    )
    assert fresh.status_code == 200
    assert fhir(app, tokens["access_token"], "Condition").status_code == 403
    told = log()
    assert {act: len(rows) for act, rows in told.items()} == {"authorize": 1, "token": 2, "search-type": 1}
    assert all("718-7" in json.dumps(rows) for rows in told.values())

    auditor = register(app, "auditor-one", role="auditor", scopes=("system/AuditEvent.rs",))
    seen = {
        "auditor": auditor.get("/AuditEvent?date=ge2000&subtype=ITI-71").json["entry"],
        "holder": fhir(app, tokens["access_token"], "AuditEvent?subtype=ITI-71").json["entry"],
    }
    scopes = {
        who: [
            detail["valueString"]
            for entry in entries
            for entity in entry["resource"]["entity"]
            for detail in entity.get("detail", ())
            if detail["type"] == "scope" and "Observation" in detail["valueString"]
        ]
        for who, entries in seen.items()
    }
    assert ["718-7" in each for each in scopes["holder"]] == [True, True]
    assert [each.split()[0] for each in scopes["auditor"]] == ["patient/Observation.rs?code=…"] * 2
