"""The main interactions at the FHIR endpoint, each against a real MongoDB."""

from __future__ import annotations

import json

import pytest

from tests.at_once import at_once
from tests.http.conftest import make_app

PATIENT = {"resourceType": "Patient", "name": [{"family": "Durand", "given": ["Zoé"]}], "birthDate": "1980-02-29"}
OBSERVATION = b"""{"resourceType": "Observation", "status": "final", "code": {"text": "K"},
 "valueQuantity": {"value": 36.70, "unit": "mmol/L"}, "effectiveDateTime": "2024-05",
 "component": [{"code": {"text": "a"}, "valueQuantity": {"value": 1.0E-5}}, {"code": {"text": "b"}, "valueInteger": 0}]}"""


def test_a_created_resource_is_read_back_with_id_version_and_time(ehr):
    """Create answers 201 with Location, ETag and Last-Modified; read gives the same bytes."""
    made = ehr.post("/Patient", PATIENT)
    assert made.status_code == 201
    assert made.json["meta"]["versionId"] == "1"
    assert made.headers["ETag"] == 'W/"1"'
    assert made.headers["Location"].endswith(f"/fhir/Patient/{made.json['id']}/_history/1")

    read = ehr.get(f"/Patient/{made.json['id']}")

    assert read.status_code == 200
    assert read.data == made.data
    assert read.json["name"] == PATIENT["name"]


def test_decimals_and_partial_dates_come_back_digit_for_digit(ehr):
    """36.70 is not 36.7, 1.0E-5 is not 0.00001, 2024-05 is not 2024-05-01."""
    made = ehr.post("/Observation", OBSERVATION)
    body = ehr.get(f"/Observation/{made.json['id']}").data

    assert b'"value":36.70' in body
    assert b'"value":1.0E-5' in body
    assert b'"effectiveDateTime":"2024-05"' in body


def test_the_servers_meta_wins_and_the_clients_tags_stay(ehr):
    """versionId and lastUpdated are the server's; tags and profiles are the sender's."""
    sent = {
        **PATIENT,
        "id": "ignored",
        "meta": {"versionId": "77", "lastUpdated": "1999-01-01T00:00:00Z", "tag": [{"code": "x"}]},
    }
    made = ehr.post("/Patient", sent).json

    assert made["id"] != "ignored"
    assert made["meta"]["versionId"] == "1"
    assert made["meta"]["lastUpdated"] > "2020"
    assert made["meta"]["tag"] == [{"code": "x"}]


def test_an_update_makes_the_next_version_and_keeps_the_last(ehr):
    """PUT raises the version; the old one is still there for vread, and an element left out is gone."""
    made = ehr.post("/Patient", PATIENT).json
    changed = ehr.put(f"/Patient/{made['id']}", {"resourceType": "Patient", "id": made["id"], "gender": "female"})
    assert changed.status_code == 200
    assert changed.headers["ETag"] == 'W/"2"'

    now = ehr.get(f"/Patient/{made['id']}").json
    first = ehr.get(f"/Patient/{made['id']}/_history/1")
    second = ehr.get(f"/Patient/{made['id']}/_history/2").json

    assert "name" not in now
    assert now == second
    assert first.json["name"] == PATIENT["name"]
    assert first.headers["ETag"] == 'W/"1"'


def test_an_update_of_a_new_id_creates_it(ehr):
    """PUT to an id that was never used answers 201 and version 1."""
    made = ehr.put("/Patient/chosen-by-the-ehr", {**PATIENT, "id": "chosen-by-the-ehr"})

    assert made.status_code == 201
    assert made.json["id"] == "chosen-by-the-ehr"
    assert made.headers["ETag"] == 'W/"1"'


def test_an_update_whose_body_has_another_id_changes_nothing(ehr):
    """The id in the body must be the id in the path."""
    refused = ehr.put("/Patient/one", {**PATIENT, "id": "two"})

    assert refused.status_code == 400
    assert ehr.get("/Patient/one").status_code == 404


def test_a_conditional_update_that_matches_nothing_replaces_nothing(ehr):
    """Its body's id is taken if nobody has it, or who had it is deleted; whoever has it met other criteria and stays as it is: 409."""
    url, other = "/Patient?identifier=urn:x|new", "/Patient?identifier=urn:x|other"
    made = ehr.put(url, {**PATIENT, "id": "brought"})
    refused = ehr.put(other, {**PATIENT, "id": "brought", "gender": "male"})
    unchanged = ehr.get("/Patient/brought")
    ehr.delete("/Patient/brought")
    back = ehr.put(other, {**PATIENT, "id": "brought"})

    assert [made.status_code, refused.status_code, back.status_code] == [201, 409, 201]
    assert refused.json["issue"][0]["code"] == "conflict"
    assert unchanged.headers["ETag"] == 'W/"1"'


def test_a_stale_if_match_is_refused_and_changes_nothing(ehr):
    """If-Match with an old version answers 412; the present one passes."""
    made = ehr.post("/Patient", PATIENT).json
    url, body = f"/Patient/{made['id']}", {**PATIENT, "id": made["id"], "gender": "male"}

    assert ehr.put(url, body, headers={"If-Match": 'W/"9"'}).status_code == 412
    assert ehr.get(url).headers["ETag"] == 'W/"1"'
    assert ehr.put(url, body, headers={"If-Match": 'W/"1"'}).status_code == 200
    assert ehr.put(url, body, headers={"If-Match": "nonsense"}).status_code == 400
    assert ehr.put("/Patient/never", {**PATIENT, "id": "never"}, headers={"If-Match": 'W/"1"'}).status_code == 412


def test_a_deleted_resource_is_gone_and_its_history_stays(ehr):
    """DELETE answers 204, then reads answer 410; versions stay; PUT brings it back as the next version."""
    made = ehr.post("/Patient", PATIENT).json
    url = f"/Patient/{made['id']}"

    assert ehr.delete(url).status_code == 204
    assert ehr.get(url).status_code == 410
    assert ehr.get(f"{url}/_history/1").status_code == 200
    assert ehr.get(f"{url}/_history/2").status_code == 410
    assert ehr.delete(url).status_code == 204
    back = ehr.put(url, {**PATIENT, "id": made["id"]})
    assert back.status_code == 201
    assert back.headers["ETag"] == 'W/"3"'


def test_absent_things_are_404_in_an_operation_outcome(ehr):
    """Unknown id, unknown version, unknown type, unknown path."""
    made = ehr.post("/Patient", PATIENT).json
    for url in (
        "/Patient/nobody",
        f"/Patient/{made['id']}/_history/9",
        f"/Patient/{made['id']}/_history/x",
        "/Nonsense/1",
        "/Patient/1/2/3",
    ):
        answer = ehr.get(url)
        assert answer.status_code == 404, url
        assert answer.json["resourceType"] == "OperationOutcome"


def test_prefer_return_minimal_leaves_the_body_out(ehr):
    """return=minimal has no body, return=OperationOutcome has one of its own."""
    minimal = ehr.post("/Patient", PATIENT, headers={"Prefer": "return=minimal"})
    outcome = ehr.post("/Patient", PATIENT, headers={"Prefer": "return=OperationOutcome"})

    assert (minimal.status_code, minimal.data) == (201, b"")
    assert minimal.headers["Location"]
    assert outcome.json["resourceType"] == "OperationOutcome"


def test_a_conditional_read_answers_304_for_what_the_reader_has(ehr):
    """If-None-Match with the present version, If-Modified-Since with its time."""
    made = ehr.post("/Patient", PATIENT)
    url = f"/Patient/{made.json['id']}"

    assert ehr.get(url, headers={"If-None-Match": 'W/"1"'}).status_code == 304
    assert ehr.get(url, headers={"If-None-Match": 'W/"2"'}).status_code == 200
    assert ehr.get(url, headers={"If-Modified-Since": made.headers["Last-Modified"]}).status_code == 304


def test_a_conditional_vread_answers_304_for_what_the_reader_has(ehr):
    """A version never changes: its ETag or a later time is enough, past or present, alone and within a bundle."""
    made = ehr.post("/Patient", PATIENT)
    url = f"/Patient/{made.json['id']}"
    ehr.put(url, {**PATIENT, "id": made.json["id"], "active": True})

    assert ehr.get(f"{url}/_history/1", headers={"If-None-Match": 'W/"1"'}).status_code == 304
    assert ehr.get(f"{url}/_history/1", headers={"If-None-Match": 'W/"2"'}).status_code == 200
    assert ehr.get(f"{url}/_history/2", headers={"If-None-Match": 'W/"1", W/"2"'}).status_code == 304
    since = {"If-Modified-Since": made.headers["Last-Modified"]}
    unchanged = ehr.get(f"{url}/_history/1", headers=since)
    assert (unchanged.status_code, unchanged.data, unchanged.headers["ETag"]) == (304, b"", 'W/"1"')
    assert ehr.get(f"{url}/_history/9", headers=since).status_code == 404
    request = {"method": "GET", "url": f"{url[1:]}/_history/1", "ifNoneMatch": 'W/"1"'}
    for kind in ("batch", "transaction"):
        answer = ehr.post("", {"resourceType": "Bundle", "type": kind, "entry": [{"request": request}]})
        assert answer.json["entry"][0]["response"]["status"] == "304 Not Modified"
        assert "resource" not in answer.json["entry"][0]


BAD_BODIES = {
    "malformed": (b'{"resourceType": "Patient"', 400),
    "empty": (b"", 400),
    "not an object": (b'["Patient"]', 400),
    "duplicate key": (b'{"resourceType":"Patient","gender":"male","gender":"female"}', 400),
    "NaN": (b'{"resourceType":"Observation","valueDecimal":NaN}', 400),
    "invalid UTF-8": (b'{"resourceType":"Patient","name":[{"family":"\xff"}]}', 400),
    "NUL": (b'{"resourceType":"Patient","name":[{"family":"a\\u0000b"}]}', 400),
    "lone surrogate": (b'{"resourceType":"Patient","name":[{"family":"\\ud800"}]}', 400),
    "deep": (b'{"resourceType":"Patient","extension":' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    "deep and well formed": (
        b'{"resourceType":"Patient","extension":'
        + b'[{"url":"a","extension":' * 400
        + b'[{"url":"b","valueString":"c"}]'
        + b"}]" * 400
        + b"}",
        None,
    ),
    "another type": (b'{"resourceType":"Observation"}', 400),
    "no type": (b"{}", 400),
    "unknown element": (b'{"resourceType":"Patient","nickname":"Zo"}', 400),
    "number for string": (b'{"resourceType":"Patient","gender":1}', 400),
    "bad date": (b'{"resourceType":"Patient","birthDate":"1980-02-30"}', 400),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_gets_a_clear_outcome_and_changes_nothing(ehr, name):
    """Never a 500, never a stored half."""
    body, expected = BAD_BODIES[name]
    answer = ehr.post("/Patient", body)

    if expected is None:
        assert answer.status_code in (201, 400)
    else:
        assert answer.status_code == expected, answer.data
        assert answer.json["issue"][0]["diagnostics"]


def test_a_byte_order_mark_is_passed_over(ehr):
    """RFC 8259 lets a parser ignore it."""
    assert ehr.post("/Patient", b"\xef\xbb\xbf" + json.dumps(PATIENT).encode()).status_code == 201


def test_a_body_over_the_limit_is_413(small_ehr):
    """The limit is a setting; the answer is an OperationOutcome."""
    answer = small_ehr.post("/Patient", b'{"resourceType":"Patient","text":"' + b"a" * 70_000 + b'"}')

    assert answer.status_code == 413
    assert answer.json["issue"][0]["code"] == "too-long"


def test_content_types_that_are_not_read_or_served_are_refused(ehr):
    """415 for what is sent, 406 for what is wanted."""
    assert ehr.post("/Patient", b"<Patient/>", headers={"Content-Type": "text/html"}).status_code == 415
    assert (
        ehr.post("/Patient", PATIENT, headers={"Content-Type": "application/json; charset=latin-1"}).status_code == 415
    )
    assert ehr.get("/Patient/x", headers={"Accept": "text/html"}).status_code == 406
    assert ehr.get("/Patient/x?_format=ttl").status_code == 406
    assert ehr.get("/Patient/x", headers={"Accept": "*/*"}).status_code == 404


def test_ids_that_are_no_ids_are_refused(ehr):
    """65 characters, spaces, slashes."""
    long = "a" * 65
    assert ehr.get(f"/Patient/{long}").status_code == 404
    assert ehr.put(f"/Patient/{long}", {**PATIENT, "id": long}).status_code == 400
    assert ehr.put("/Patient/a%20b", {**PATIENT, "id": "a b"}).status_code == 400
    assert ehr.delete("/Patient/_history").status_code == 400


def test_nobody_unknown_is_answered(anonymous):
    """Everything but metadata, well-known, health and OpenAPI asks for a token."""
    for url in ("/fhir/Patient", "/fhir/Patient/x", "/fhir/_history", "/fhir/Nonsense", "/fhir/a/b/c/d/e"):
        answer = anonymous.get(url)
        assert answer.status_code == 401, url
        assert answer.json["issue"][0]["code"] == "login"
        assert "Bearer" in answer.headers["WWW-Authenticate"]
    for url in (
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
        "/healthz",
        "/readyz",
        "/docs",
        "/docs/openapi.json",
        "/oauth/jwks",
    ):
        assert anonymous.get(url).status_code == 200, url


def test_a_scope_is_a_ceiling_for_type_and_interaction(with_scopes):
    """system/Patient.rs reads and searches patients, and nothing else."""
    reader = with_scopes("system/Patient.rs")

    assert reader.get("/Patient").status_code == 200
    assert reader.get("/Patient/nobody").status_code == 404
    assert reader.get("/Observation").status_code == 403
    assert reader.get("/Observation/x").status_code == 403
    assert reader.post("/Patient", PATIENT).status_code == 403
    assert reader.delete("/Patient/x").status_code == 403
    assert reader.get("/_history").status_code == 200


def test_a_v1_scope_means_what_it_meant(with_scopes):
    """system/*.read reads all types and writes none."""
    reader = with_scopes("system/*.read")

    assert reader.get("/Observation").status_code == 200
    assert reader.post("/Patient", PATIENT).status_code == 403


@pytest.fixture
def other_worker(mongodb_uri, database_name, tmp_path):
    """A second process of the same server."""
    made = make_app(mongodb_uri, database_name, tmp_path)
    yield made
    made.extensions["fhir_dmp"].close()


def test_puts_at_once_are_versions_one_after_the_other(ehr, other_worker):
    """Writers of one resource at two workers, who say nothing of the version before: all succeed, each with a version of its own."""
    made = ehr.post("/Patient", PATIENT).json

    def write(number):
        body = {**PATIENT, "id": made["id"], "multipleBirthInteger": number}
        caller = ehr.at(other_worker) if number % 4 == 0 else ehr.fresh()
        return caller.put(f"/Patient/{made['id']}", body).status_code

    answers = at_once(write, range(24))

    history = ehr.get(f"/Patient/{made['id']}/_history?_count=100").json
    versions = [entry["resource"]["meta"]["versionId"] for entry in history["entry"]]
    assert answers == [200] * 24
    assert sorted(map(int, versions)) == list(range(1, 26))


def test_of_puts_at_once_that_name_the_version_one_succeeds(ehr):
    """If-Match holds for whoever comes first: the others are told, and their turn changes nothing."""
    made = ehr.post("/Patient", PATIENT).json

    def write(number):
        body = {**PATIENT, "id": made["id"], "multipleBirthInteger": number}
        return ehr.fresh().put(f"/Patient/{made['id']}", body, headers={"If-Match": 'W/"1"'}).status_code

    assert sorted(at_once(write, range(8))) == [200, *[412] * 7]
    assert ehr.get(f"/Patient/{made['id']}").headers["ETag"] == 'W/"2"'


def test_pretty_is_for_people(ehr):
    """_pretty=true indents and changes nothing else."""
    made = ehr.post("/Patient", PATIENT).json
    pretty = ehr.get(f"/Patient/{made['id']}?_pretty=true")

    assert b"\n  " in pretty.data
    assert pretty.json == made
