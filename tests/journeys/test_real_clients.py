"""An EHR written with libraries that others wrote: plain requests, fhirpy, fhirclient."""

from __future__ import annotations

import asyncio

import requests
from fhirclient import client as smart
from fhirclient.models import patient as smart_patient
from fhirpy import AsyncFHIRClient, SyncFHIRClient


def bearer(server):
    """Return the header that the EHR sends."""
    return f"Bearer {server.token('ehr-one')}"


def test_an_ehr_stores_finds_and_syncs_a_record_by_plain_requests(server):
    """Transaction, search, update with If-Match, history: what a sync does."""
    session = requests.Session()
    session.headers.update({"Authorization": bearer(server), "Content-Type": "application/fhir+json"})
    sent = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:6f1f0c0e-0000-4000-8000-000000000001",
                "resource": {"resourceType": "Patient", "name": [{"family": "Lefèvre"}]},
                "request": {"method": "POST", "url": "Patient"},
            },
            {
                "resource": {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
                    "subject": {"reference": "urn:uuid:6f1f0c0e-0000-4000-8000-000000000001"},
                    "effectiveDateTime": "2025-03-01",
                },
                "request": {"method": "POST", "url": "Observation"},
            },
        ],
    }
    answer = session.post(server.fhir, json=sent, timeout=30)
    assert answer.status_code == 200, answer.text
    patient = answer.json()["entry"][0]["response"]["location"].split("/Patient/")[1].split("/")[0]

    found = session.get(
        f"{server.fhir}/Observation",
        params={"subject:Patient.name": "lefevre", "code": "http://loinc.org|718-7", "_include": "Observation:subject"},
        timeout=30,
    ).json()
    url = f"{server.fhir}/Patient/{patient}"
    current = session.get(url, timeout=30)
    body = {**current.json(), "gender": "female"}
    changed = session.put(url, json=body, headers={"If-Match": current.headers["ETag"]}, timeout=30)
    again = session.put(url, json=body, headers={"If-Match": current.headers["ETag"]}, timeout=30)
    history = session.get(f"{url}/_history", timeout=30).json()

    assert [entry["search"]["mode"] for entry in found["entry"]] == ["match", "include"]
    assert (changed.status_code, again.status_code) == (200, 412)
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == ["2", "1"]


def test_fhirpy_creates_searches_and_pages(server):
    """The client walks all pages by our next links."""
    client = SyncFHIRClient(server.fhir, authorization=bearer(server))
    for number in range(7):
        client.resource("Organization", name=f"Clinique {number}", alias=["fhirpy"]).save()

    everything = client.resources("Organization").search(name="clinique").limit(3).fetch_all()
    count = client.resources("Organization").search(name="clinique").count()
    first = client.resources("Organization").search(name="clinique 3").first()
    first["name"] = "Clinique trois"
    first.save()

    assert len(everything) == count == 7
    assert client.reference("Organization", first["id"]).to_resource()["name"] == "Clinique trois"


def test_fhirpy_works_asynchronously_too(server):
    """The same client library over aiohttp."""

    async def story():
        client = AsyncFHIRClient(server.fhir, authorization=bearer(server))
        made = client.resource("Location", name="Urgences")
        await made.save()
        return await client.resources("Location").search(_id=made["id"]).fetch()

    assert [each["name"] for each in asyncio.run(story())] == ["Urgences"]


def test_fhirclient_reads_what_it_created(server):
    """The SMART client for Python parses our resources with its own models."""
    client = smart.FHIRClient(settings={"app_id": "ehr-one", "api_base": server.fhir})
    client.server.session.headers["Authorization"] = bearer(server)
    made = smart_patient.Patient({"name": [{"family": "Fontaine", "given": ["Élodie"]}], "birthDate": "1990-05-01"})
    created = made.create(client.server)

    read = smart_patient.Patient.read(created["id"], client.server)
    found = list(smart_patient.Patient.where({"family": "fontaine"}).perform_resources_iter(client.server))

    assert read.name[0].given == ["Élodie"]
    assert [each.id for each in found] == [created["id"]]
