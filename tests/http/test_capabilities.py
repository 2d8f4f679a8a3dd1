"""What the server says of itself, and whether it is so. https://hl7.org/fhir/R4/capabilitystatement.html."""

from __future__ import annotations

import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement

from fhir_dmp.service import audit_log
from fhir_dmp.service.perform import INTERACTIONS


@pytest.fixture
def statement(anonymous):
    """What a stranger is told."""
    answer = anonymous.get("/fhir/metadata")
    assert answer.status_code == 200
    assert answer.content_type.startswith("application/fhir+json")
    return answer.json


def of_type(statement, name):
    """Return what is said of a type."""
    return next(each for each in statement["rest"][0]["resource"] if each["type"] == name)


def test_the_statement_is_valid_by_our_tables_and_by_another_library(statement, app):
    """No issue of our own validator; the typed model takes it."""
    env = app.extensions["fhir_dmp"].env

    assert list(env.validate("CapabilityStatement", statement)) == []
    assert CapabilityStatement.model_validate(statement).kind == "instance"


def test_all_types_are_told_with_what_the_door_takes(statement):
    """146 types; each with exactly the interactions of the table that serves it."""
    resources = statement["rest"][0]["resource"]

    assert len(resources) == len({each["type"] for each in resources}) == 146
    for each in resources:
        table = audit_log.INTERACTIONS if each["type"] == "AuditEvent" else INTERACTIONS
        told = {line["code"] for line in each["interaction"]}
        assert told == set(table) - {"history-system", "transaction", "search-system", "options", "capabilities"}
    assert {line["code"] for line in statement["rest"][0]["interaction"]} >= {"batch", "transaction", "history-system"}


def test_every_parameter_that_is_told_is_searched_by(statement, app, ehr, auditor):
    """Asked strictly, none of a type's parameters is unknown; what is left out is unknown."""
    sample = {
        "date": "2024",
        "number": "1",
        "quantity": "1",
        "token": "x",
        "string": "x",
        "uri": "urn:x",
        "reference": "Patient/x",
    }
    for caller, name in ((ehr, "Observation"), (ehr, "Patient"), (ehr, "Encounter"), (auditor, "AuditEvent")):
        for param in of_type(statement, name)["searchParam"]:
            if param["type"] in sample:
                asked = f"/{name}?{param['name']}={sample[param['type']]}{'&date=2024' if name == 'AuditEvent' else ''}"
                answer = caller.get(asked, headers={"Prefer": "handling=strict"})
                assert answer.status_code == 200, (name, param, answer.data)
    assert "composition" not in {param["name"] for param in of_type(statement, "Bundle")["searchParam"]}
    assert ehr.get("/Bundle?composition=x", headers={"Prefer": "handling=strict"}).status_code == 400


def test_every_include_that_is_told_is_followed(statement, ehr):
    """In both directions."""
    told = of_type(statement, "Patient")
    for name, values in (("_include", told["searchInclude"]), ("_revinclude", told["searchRevInclude"][:40])):
        assert values, name
        for value in values:
            answer = ehr.get("/Patient", query_string={name: value}, headers={"Prefer": "handling=strict"})
            assert answer.status_code == 200, (value, answer.data)


def test_the_statement_tells_where_tokens_come_from(statement, anonymous):
    """SMART service, the oauth-uris, and the same token endpoint as the SMART configuration."""
    security = statement["rest"][0]["security"]
    uris = {each["url"]: each["valueUri"] for each in security["extension"][0]["extension"]}

    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    assert uris["token"] == anonymous.get("/fhir/.well-known/smart-configuration").json["token_endpoint"]


def test_the_statement_tells_limits_and_what_is_left_out(statement, app):
    """Limits of the settings, every unsupported parameter with its reason."""
    env = app.extensions["fhir_dmp"].env

    assert f"{env.limits.bundle_entries} entries" in statement["description"]
    for each in env.definitions.unsupported:
        assert each.reason in statement["description"]
