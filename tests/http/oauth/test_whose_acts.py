"""Acts of people, apps and operators say whose they are: who acted, whose account it was, which client, in whose record."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.errors import NotFound
from fhir_dmp.service.clients import NewClient
from fhir_dmp.store.accounts import Represented
from tests.http.oauth.people import INS, NUMBER
from tests.log_rows import rows_of
from tests.oauth_world import APP_SCOPES, CALLBACK


@pytest.fixture
def log(server):
    """A function that returns the rows of the log that are new since it was last called."""
    known = set()

    def new():
        rows = [json.loads(row.body) for row in rows_of(server.store.log)]
        found = sorted((row for row in rows if row["id"] not in known), key=lambda row: row["recorded"])
        known.update(row["id"] for row in found)
        return found

    new()
    return new


def found(auditor, query):
    """Return the AuditEvents that an auditor finds."""
    bundle = auditor.get(f"/AuditEvent?date=ge2000&{query}").json
    return [entry["resource"] for entry in bundle.get("entry", ())]


def test_who_represents_somebody_is_told_in_that_record(server, operator, holder, patient, feed, auditor):
    """An operator ties an account to a child's record: the child's journal says so, and whose account it is."""
    child = f"Patient/{feed.post('/Patient', {'resourceType': 'Patient'}).json['id']}"
    server.accounts.represent("zoe.petit", Represented("RelatedPerson/r", child, "Léo"), operator)

    [event] = found(auditor, f"patient={child}&subtype=account-represent")
    assert "(tester) a rattaché un compte au dossier d'autrui : Zoé Petit." in event["text"]["div"]
    assert event["entity"][0]["what"]["reference"] == child
    assert event["entity"][1]["what"]["identifier"] == {"system": INS, "value": NUMBER}
    assert found(auditor, f"agent={INS}|{NUMBER}&subtype=account-represent") == [event]
    assert found(auditor, f"patient={patient}&subtype=account-represent") == []


def test_what_becomes_of_an_account_stands_in_its_owners_record(server, operator, holder, patient, auditor):
    """Opened, changed, removed; what nobody could be given names nobody."""
    server.accounts.set_password("zoe.petit", "pomme ardoise virgule lundi", operator)
    server.accounts.remove("zoe.petit", operator)
    with pytest.raises(NotFound):
        server.accounts.remove("zoe.petit", operator)

    acts = [event["subtype"][0]["code"] for event in found(auditor, f"patient={patient}&agent={INS}|{NUMBER}")]
    assert [act for act in acts if act.startswith("account")] == ["account-remove", "account-password", "account-add"]


def test_a_client_is_found_by_its_own_name_among_those_who_took_part(server, operator, auditor):
    """Registered, removed, and asked for a token in vain: beside the command line and who sat at it."""
    server.clients.add(NewClient("pad", "public", "app", APP_SCOPES, redirect_uris=(CALLBACK,)), operator)
    server.clients.remove("pad", operator)
    with pytest.raises(NotFound):
        server.clients.remove("pad", operator)

    events = found(auditor, "agent=pad")
    assert [event["subtype"][0]["code"] for event in events] == ["client-remove", "client-remove", "client-add"]
    for event in events:
        names = [agent["who"]["identifier"]["value"] for agent in event["agent"]]
        assert names[0] == "command-line"
        assert (names[-1], event["agent"][-1]["requestor"]) == ("pad", False)
        assert " : pad" in event["text"]["div"]


def test_who_signs_in_is_named_as_people_call_them(holder, auditor):
    """In words, and as the one who asked."""
    holder.get("/oauth/sign-in/done")
    holder.send("/oauth/sign-out")

    for event in found(auditor, "subtype=login,logout"):
        assert "le titulaire du compte Zoé Petit s'est" in event["text"]["div"]
        assert [agent["name"] for agent in event["agent"] if agent["requestor"]] == ["Zoé Petit"]
