"""What callers are told while every connection to the database is in use."""

from __future__ import annotations

import pytest

from fhir_dmp.app.server import create_server
from fhir_dmp.app.web import create_app
from fhir_dmp.stores.mongo import connect
from tests.conftest import server_settings
from tests.connections import none_free
from tests.http.conftest import register

PATIENT = {"resourceType": "Patient", "name": [{"family": "Durand"}]}


@pytest.fixture
def app(mongodb_uri, database_name, tmp_path, monkeypatch):
    """An application that waits for a connection, and for its log, for no more than a moment."""
    monkeypatch.setattr(connect, "ROOM_MILLIS", 50)
    settings = server_settings(mongodb_uri, database_name, tmp_path, audit_timeout_seconds=0.2)
    made = create_app(settings, create_server(settings))
    yield made
    made.extensions["fhir_dmp"].close()


def test_who_finds_no_connection_free_is_asked_to_come_again(app):
    """503 and Retry-After, for reads, pages and writes; nothing was changed, and all is served as soon as there is room."""
    ehr = register(app, "ehr-one")
    url = f"/Patient/{ehr.post('/Patient', PATIENT).json['id']}"
    with none_free(app.extensions["fhir_dmp"].store.database.client):
        answers = [ehr.get(url), ehr.get("/Patient"), ehr.post("/Patient", PATIENT), ehr.delete(url)]

    assert [(answer.status_code, answer.headers.get("Retry-After")) for answer in answers] == [(503, "1")] * 4
    assert ehr.get("/Patient?_summary=count").json["total"] == 1
