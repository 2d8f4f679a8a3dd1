"""Our own OpenAPI, asked by a machine: whatever it says may be sent is answered, and never by a fault.

https://schemathesis.readthedocs.io/en/stable/.
"""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.http.conftest import make_app, register

EXAMPLES = 6
"""Requests for each method of each path."""


@pytest.fixture
def asked(mongodb_uri, database_name, tmp_path):
    """The application and the headers of an EHR that may do everything."""
    app = make_app(mongodb_uri, database_name, tmp_path)
    ehr = register(app, "ehr-machine")
    yield app, {"Authorization": f"Bearer {ehr._token}"}
    app.extensions["fhir_dmp"].close()


def test_whatever_the_openapi_allows_is_answered_and_never_by_a_fault(asked):
    """Each path and method, with bodies and queries made up from its description: a FHIR answer below 500 for all of them."""
    app, headers = asked
    schema = schemathesis.openapi.from_wsgi("/docs/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    fhir = [each for each in operations if each.path.startswith("/fhir") and "smart-configuration" not in each.path]
    assert len(fhir) > 25

    for operation in fhir:
        _ask(operation, headers)


def _ask(operation, headers):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case):
        answer = case.call(headers=headers)
        told = f"{operation.method} {case.formatted_path} {answer.status_code} {answer.content[:300]}"
        assert answer.status_code < 500, told
        if answer.content:
            assert answer.headers["content-type"][0].startswith("application/fhir+"), told
        if answer.status_code >= 400:
            assert b"OperationOutcome" in answer.content, told

    ask()


def test_the_openapi_names_types_operations_and_bodies(asked):
    """So that a reader, or a generator of clients, need not guess."""
    app, _ = asked
    told = app.test_client().get("/docs/openapi.json").json
    create = told["paths"]["/fhir/{resource_type}"]["post"]

    assert "Patient" in told["components"]["schemas"]["ResourceType"]["enum"]
    assert "everything" in told["components"]["schemas"]["Operation"]["enum"]
    assert {"application/fhir+json", "application/fhir+xml"} == set(create["requestBody"]["content"])
    assert "application/json-patch+json" in told["paths"]["/fhir/{resource_type}"]["patch"]["requestBody"]["content"]
