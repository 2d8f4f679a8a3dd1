"""The short way of plain reads answers as the long way does, and takes nothing that the long way must look at."""

from __future__ import annotations

import pytest

from fhir_dmp.http.fhir.plain import plain_call

LONG_WAY = {"Prefer": "handling=lenient"}
TYPES = {"Patient", "Observation"}


@pytest.fixture
def patient(ehr):
    """A patient of two versions."""
    made = ehr.post("/Patient", {"resourceType": "Patient", "name": [{"family": "Été"}]}).get_json()
    return ehr.put(f"/Patient/{made['id']}", {**made, "active": True}).get_json()


def _told(answer):
    """Return what a caller sees, but for what each answer has of its own."""
    own = ("X-Request-Id", "Date")
    return answer.status_code, {k: v for k, v in answer.headers.items() if k not in own}, answer.data


@pytest.mark.parametrize(
    "url",
    [
        "/Patient/{id}",
        "/Patient/{id}/_history/1",
        "/Patient/{id}/_history/9",
        "/Patient/nobody",
        "/Patient/" + "x" * 65,
        "/Patient?family=%C3%A9t%C3%A9",
        "/Patient?family=ete&_count=1&_total=accurate",
        "/Patient?unknown=1",
        "/Patient?_lastUpdated=yesterday",
        "/Nonsense/1",
        "/Patient/{id}/",
    ],
)
def test_both_ways_answer_alike(ehr, patient, url):
    """Status, headers and body are the same, for what is found, absent, wrong."""
    url = url.format(id=patient["id"])

    assert _told(ehr.get(url, headers=LONG_WAY)) == _told(ehr.get(url))


@pytest.mark.parametrize("token", [None, "Bearer no.token.ofours", "Basic eDp5", "Bearer "])
def test_both_ways_refuse_a_stranger_alike(anonymous, token):
    """A caller that nobody knows gets the same refusal on either way."""
    sent = {"Authorization": token} if token else {}

    short, long = (anonymous.get("/fhir/Patient/1", headers={**sent, **more}) for more in ({}, LONG_WAY))

    assert short.status_code == 401
    assert _told(long) == _told(short)


def test_each_way_leaves_one_event(ehr, auditor, patient):
    """The door is the same, and so is the evidence."""
    ehr.get(f"/Patient/{patient['id']}")
    ehr.get(f"/Patient/{patient['id']}", headers=LONG_WAY)

    found = auditor.get("/AuditEvent?date=ge2020&subtype=read&_total=accurate&entity=Patient/" + patient["id"])

    assert found.get_json()["total"] == 2


@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("/Patient/1", "", "read"),
        ("/Patient/1/_history/2", "", "vread"),
        ("/Patient", "name=a", "search-type"),
        ("/Patient/1", "_format=xml", None),
        ("/Patient", "", None),
        ("/Patient", "name=a&_summary=count", None),
        ("/Patient/_search", "", None),
        ("/Patient/_history", "", None),
        ("/Patient/$meta", "", None),
        ("/Patient/1/_history", "", None),
        ("/Patient/1/$everything", "", None),
        ("/metadata", "", None),
        ("/Other/1", "", None),
        ("", "", None),
        ("/", "", None),
    ],
)
def test_only_plain_reads_take_the_short_way(path, query, name):
    """Whatever negotiates, writes, operates or is no type goes the long way."""
    call = plain_call(path, query, TYPES)

    assert (call.name if call else None) == name
