"""FHIR patch at the endpoint. https://hl7.org/fhir/R4/http.html#patch."""

from __future__ import annotations

import base64
import json

import pytest

from tests.at_once import at_once

OBSERVATION = b"""{"resourceType": "Observation", "status": "final", "code": {"text": "K"},
 "identifier": [{"system": "urn:o", "value": "1"}], "valueQuantity": {"value": 36.70, "unit": "mmol/L"}}"""
STATUS = [{"op": "replace", "path": "/status", "value": "amended"}]


def fhirpath(kind, path, **value):
    """Return a FHIRPath Patch of one operation."""
    part = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    part += [{"name": "value", name: held} for name, held in value.items()]
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part}]}


@pytest.fixture
def observation(ehr):
    """One that is there."""
    return ehr.post("/Observation", OBSERVATION).json


@pytest.fixture(scope="module")
def still_url(still_ehr):
    """Where one is that stays as it is."""
    return f"/Observation/{still_ehr.post('/Observation', OBSERVATION).json['id']}"


@pytest.fixture
def url(observation):
    """Where it is."""
    return f"/Observation/{observation['id']}"


def test_a_json_patch_makes_the_next_version_and_keeps_the_digits(ehr, url):
    """200 with ETag; 36.70 is not 36.7; the last version stays."""
    answer = ehr.patch(url, STATUS)

    assert answer.status_code == 200
    assert answer.headers["ETag"] == 'W/"2"'
    assert answer.json["status"] == "amended"
    assert b'"value":36.70' in ehr.get(url).data
    assert ehr.get(f"{url}/_history/1").json["status"] == "final"


def test_a_fhirpath_patch_makes_the_next_version_and_keeps_the_digits(ehr, url):
    """By Parameters in application/fhir+json."""
    answer = ehr.patch(url, fhirpath("replace", "Observation.status", valueCode="amended"))

    assert answer.status_code == 200
    assert answer.json["status"] == "amended"
    assert b'"value":36.70' in answer.data


def test_what_is_patched_is_searched_by_its_new_values(ehr, url):
    """The index follows."""
    ehr.patch(url, STATUS)

    assert ehr.get("/Observation?status=amended").json["total"] == 1
    assert ehr.get("/Observation?status=final").json["total"] == 0


@pytest.mark.parametrize(
    "body",
    [
        [{"op": "replace", "path": "/id", "value": "another"}],
        [{"op": "remove", "path": "/id"}],
        [{"op": "replace", "path": "/resourceType", "value": "Patient"}],
        [{"op": "remove", "path": "/resourceType"}],
        [{"op": "replace", "path": "/meta/versionId", "value": "7"}],
        [{"op": "replace", "path": "/meta/lastUpdated", "value": "2020-01-01T00:00:00Z"}],
        [{"op": "remove", "path": "/meta"}],
        [{"op": "replace", "path": "", "value": []}],
        [{"op": "replace", "path": "/status", "value": "nonsense"}],
        [{"op": "remove", "path": "/status"}],
        [{"op": "add", "path": "/unknown", "value": 1}],
        [{"op": "test", "path": "/status", "value": "amended"}],
        [{"op": "remove", "path": "/nothing"}],
        [{}],
        [1],
        {"resourceType": "Patient"},
        fhirpath("delete", "Observation.id"),
        fhirpath("replace", "Observation.id", valueId="another"),
        fhirpath("replace", "Observation.meta.versionId", valueId="7"),
        fhirpath("delete", "Observation.meta"),
        fhirpath("delete", "Observation.status"),
        fhirpath("delete", "Observation"),
        *(fhirpath("delete", f"Observation.note{more}") for more in (".((", ")", " x", ".", "[0", " 'x", "[0].text #")),
    ],
)
def test_a_patch_that_may_not_be_changes_nothing(still_ehr, still_url, body):
    """On id, type and version, to something invalid, or that does not apply: 400 or 422 and an outcome."""
    answer = still_ehr.patch(still_url, body)

    assert answer.status_code in (400, 422), answer.data
    assert answer.json["resourceType"] == "OperationOutcome"
    assert still_ehr.get(still_url).headers["ETag"] == 'W/"1"'


def test_a_patch_of_another_kind_is_not_read(ehr, url):
    """415, as for any body that is not understood."""
    for kind in ("application/xml-patch+xml", "text/plain", "application/merge-patch+json"):
        assert ehr.patch(url, b"{}", headers={"Content-Type": kind}).status_code == 415


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "test", "path": "/resourceType", "value": "Observation"}],
        [{"op": "add", "path": "/note", "value": []}, {"op": "remove", "path": "/note"}],
        {
            "resourceType": "Parameters",
            "parameter": [
                {
                    "name": "operation",
                    "part": [
                        {"name": "type", "valueCode": "delete"},
                        {"name": "path", "valueString": "Observation.note"},
                    ],
                }
            ],
        },
    ],
)
def test_a_patch_that_changes_nothing_makes_no_version(ehr, url, with_scopes, patch):
    """It answers with what is there, alone and in a transaction; who may not update is refused all the same."""
    before = ehr.get(url)
    answer = ehr.patch(url, patch)

    assert (answer.status_code, answer.json, answer.headers["ETag"]) == (200, before.json, 'W/"1"')
    assert ehr.get(f"{url}/_history").json["total"] == 1
    assert with_scopes("system/Observation.r").patch(url, patch).status_code == 403


def test_a_patch_that_changes_nothing_is_an_entry_like_any(ehr, url):
    """200 with the version that stands."""
    binary = {
        "resourceType": "Binary",
        "data": base64.b64encode(b'[{"op":"test","path":"/resourceType","value":"Observation"}]').decode(),
    }
    entry = {"request": {"method": "PATCH", "url": url[1:]}, "resource": binary}
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})

    response = answer.json["entry"][0]["response"]
    assert (response["status"], response["etag"]) == ("200 OK", 'W/"1"')
    assert ehr.get(f"{url}/_history").json["total"] == 1


def test_what_is_absent_or_deleted_is_not_patched(ehr, url):
    """404 and 410."""
    assert ehr.patch("/Observation/nobody", STATUS).status_code == 404
    ehr.delete(url)
    assert ehr.patch(url, STATUS).status_code == 410


def test_if_match_holds_a_patch_to_the_version_that_was_read(ehr, url):
    """412 for another version."""
    assert ehr.patch(url, STATUS, headers={"If-Match": 'W/"9"'}).status_code == 412
    assert ehr.patch(url, STATUS, headers={"If-Match": 'W/"1"'}).status_code == 200


def test_a_conditional_patch_changes_the_one_that_matches(ehr, observation):
    """One match: patched; none: 404; several: 412; criteria that say nothing: 400."""
    assert ehr.patch("/Observation?identifier=urn:o|1", STATUS).json["id"] == observation["id"]
    assert ehr.patch("/Observation?identifier=urn:o|2", STATUS).status_code == 404
    ehr.post("/Observation", OBSERVATION)
    assert ehr.patch("/Observation?identifier=urn:o|1", STATUS).status_code == 412
    assert ehr.patch("/Observation", STATUS).status_code == 400


def test_a_patch_needs_the_right_to_update_and_to_read(with_scopes, url):
    """With one of them alone its answers would tell what is there, or change it."""
    assert with_scopes("system/Observation.r").patch(url, STATUS).status_code == 403
    assert with_scopes("system/Observation.u").patch(url, STATUS).status_code == 403
    assert with_scopes("system/Observation.ru").patch(url, STATUS).status_code == 200


def test_the_log_tells_a_patch_and_what_it_made(ehr, auditor, url):
    """One event with the action U and the new version."""
    ehr.patch(url, STATUS)

    found = auditor.get("/AuditEvent?date=ge2000&subtype=patch").json["entry"]
    assert len(found) == 1
    assert found[0]["resource"]["action"] == "U"
    assert f"{url[1:]}/_history/2" in str(found[0]["resource"]["entity"])


def test_patches_are_entries_of_bundles(ehr, url):
    """Parameters, or a JSON Patch in a Binary; in a transaction their references are resolved."""
    patch = base64.b64encode(json.dumps(STATUS).encode()).decode()
    subject = fhirpath(
        "add", "Observation", valueReference={"reference": "urn:uuid:11111111-1111-4111-8111-111111111111"}
    )
    subject["parameter"][0]["part"].append({"name": "name", "valueString": "subject"})
    answer = ehr.post(
        "",
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {"request": {"method": "PATCH", "url": url[1:]}, "resource": subject},
                {
                    "fullUrl": "urn:uuid:11111111-1111-4111-8111-111111111111",
                    "request": {"method": "POST", "url": "Patient"},
                    "resource": {"resourceType": "Patient"},
                },
            ],
        },
    )
    assert answer.status_code == 200, answer.data
    first, second = answer.json["entry"]
    assert first["response"]["status"] == "200 OK"
    assert first["response"]["etag"] == 'W/"2"'
    assert ehr.get(url).json["subject"]["reference"] in second["response"]["location"]

    refer = [{"op": "replace", "path": "/subject/reference", "value": "urn:uuid:22222222-2222-4222-8222-222222222222"}]
    again = ehr.post(
        "",
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {
                    "request": {"method": "PATCH", "url": url[1:]},
                    "resource": {
                        "resourceType": "Binary",
                        "data": base64.b64encode(json.dumps(refer).encode()).decode(),
                    },
                },
                {
                    "fullUrl": "urn:uuid:22222222-2222-4222-8222-222222222222",
                    "request": {"method": "POST", "url": "Patient"},
                    "resource": {"resourceType": "Patient"},
                },
            ],
        },
    )
    assert ehr.get(url).json["subject"]["reference"] in again.json["entry"][1]["response"]["location"]

    batch = ehr.post(
        "",
        {
            "resourceType": "Bundle",
            "type": "batch",
            "entry": [
                {
                    "request": {"method": "PATCH", "url": "Observation?identifier=urn:o|1"},
                    "resource": {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": patch},
                }
            ],
        },
    )
    assert batch.json["entry"][0]["response"]["etag"] == 'W/"4"'
    assert ehr.get(url).json["status"] == "amended"


@pytest.mark.parametrize(
    "entry",
    [
        {"request": {"method": "PATCH", "url": "Observation/nobody"}, "resource": {"resourceType": "Parameters"}},
        {"request": {"method": "PATCH", "url": "Observation?identifier=x"}, "resource": {"resourceType": "Parameters"}},
        {"request": {"method": "PATCH", "url": "Observation/x"}},
        {"request": {"method": "PATCH", "url": "Observation"}, "resource": {"resourceType": "Parameters"}},
        {"request": {"method": "PATCH", "url": "Observation/x"}, "resource": {"resourceType": "Binary", "data": "?"}},
    ],
)
def test_a_patch_that_fails_takes_its_transaction_with_it(ehr, entry):
    """Nothing of it is kept, and the outcome names the entry."""
    made = {"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}}
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [made, entry]})

    assert answer.status_code in (400, 404), answer.data
    assert answer.json["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert ehr.get("/Patient?_summary=count").json["total"] == 0


def test_parallel_patches_are_all_applied(ehr, url):
    """Each one on what the one before it left: none is lost."""

    def work(number):
        body = [{"op": "add", "path": "/identifier/-", "value": {"value": str(number)}}]
        return ehr.fresh().patch(url, body).status_code

    assert at_once(work, range(6)) == [200] * 6
    assert len(ehr.get(url).json["identifier"]) == 7
