"""What a sender gets wrong, or tries: a clear OperationOutcome, an event, nothing changed, and never a 500."""

from __future__ import annotations

import io
import json

import pytest

from fhir_dmp.errors import Unavailable
from fhir_dmp.service.tokens import Tokens
from fhir_dmp.stores.mongo.store import MongoStore
from tests.http.conftest import register

PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}]}
R4 = "application/fhir+json; fhirVersion=4.0"


@pytest.mark.parametrize("accept", [R4, 'application/fhir+json;fhirVersion="4.0.1"', f"text/html, {R4};q=0.8"])
def test_a_reader_may_name_the_release_it_wants(ehr, accept):
    """Accept with fhirVersion=4.0 is R4, which is what is served."""
    assert ehr.get("/Patient", headers={"Accept": accept}).status_code == 200


def test_another_release_is_neither_served_nor_read(ehr):
    """fhirVersion=3.0 is 406 for a reader and 415 for a writer."""
    stu3 = "application/fhir+json; fhirVersion=3.0"

    assert ehr.get("/Patient", headers={"Accept": stu3}).status_code == 406
    assert ehr.post("/Patient", PATIENT, headers={"Content-Type": stu3}).status_code == 415
    assert ehr.post("/Patient", PATIENT, headers={"Content-Type": R4}).status_code == 201


@pytest.mark.parametrize(
    ("url", "kind"), [("/Patient", "application/fhir+json"), ("/Patient/_search", "application/x-www-form-urlencoded")]
)
def test_a_body_of_unknown_length_is_not_cut_at_the_limit(small_ehr, monkeypatch, url, kind):
    """A chunked body above the limit is 413: what fits of it is not taken for the whole."""
    monkeypatch.setattr("fhir_dmp.http.fhir.negotiate.MOST_FORM_BYTES", 65536)
    body = json.dumps({**PATIENT, "name": [{"family": "a" * 70_000}]}).encode()
    chunked = {
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
    }

    answer = small_ehr.post(url, headers={"Content-Type": kind}, environ_overrides=chunked)

    assert answer.status_code == 413
    assert answer.json["issue"][0]["code"] == "too-long"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_the_reads_of_a_bundle_end_where_their_answers_fill_a_body(small_ehr, kind):
    """Each further one is refused by itself, with its event: nobody has a thousand pages put together in the server's memory."""
    small_ehr.put("/Patient/long", {**PATIENT, "id": "long", "name": [{"text": "a" * 30_000}]})
    reads = [{"request": {"method": "GET", "url": "Patient/long"}}] * 5

    answer = small_ehr.post("", {"resourceType": "Bundle", "type": kind, "entry": reads})

    assert [entry["response"]["status"][:3] for entry in answer.json["entry"]] == ["200", "200", "200", "422", "422"]
    auditor = register(small_ehr.app, "auditor-small", role="auditor", scopes=("system/AuditEvent.rs",))
    assert len(auditor.get("/AuditEvent?date=ge2000&subtype=read&outcome=4").json["entry"]) == 2


@pytest.mark.parametrize("method", ["put", "delete"])
def test_a_condition_on_the_version_holds_where_criteria_name_the_resource(ehr, method):
    """If-Match is heard by conditional update and delete too, whether or not something matches."""
    send = getattr(ehr, method)
    options = {"body": PATIENT} if method == "put" else {}
    stale = {"If-Match": 'W/"7"', "Content-Type": "application/fhir+json"}
    assert send("/Patient?identifier=urn:x|1", headers=stale, **options).status_code == 412
    made = ehr.post("/Patient", PATIENT).json

    assert send("/Patient?identifier=urn:x|1", headers=stale, **options).status_code == 412
    assert ehr.get(f"/Patient/{made['id']}").json["meta"]["versionId"] == "1"
    fresh = {**stale, "If-Match": 'W/"1"'}
    assert send("/Patient?identifier=urn:x|1", headers=fresh, **options).status_code in (200, 204)


@pytest.mark.parametrize("version", ["²", "٣", "9" * 5000, "0", "-1", "1.0", "+1", "%00", "01"])
def test_what_is_no_version_number_is_an_absent_version(ehr, version):
    """Digits of other scripts, and numbers of thousands of digits, name no version."""
    made = ehr.post("/Patient", PATIENT).json

    answer = ehr.get(f"/Patient/{made['id']}/_history/{version}")

    assert answer.status_code == 404
    assert answer.json["issue"][0]["code"] == "not-found"


@pytest.mark.parametrize(
    "query", ["date=garbage", "date=", "_lastUpdated=x", "date=ge2020-02-30", "_count=²", "_count=-1", "_count=1e3"]
)
def test_a_garbled_question_to_the_log_is_told(auditor, query):
    """A date that is none and a count that is none are 400, as in any search."""
    assert auditor.get(f"/AuditEvent?{query}").status_code == 400


def test_a_count_of_any_length_is_bounded_by_the_page(auditor):
    """A number of thousands of digits asks for the largest page."""
    assert auditor.get(f"/AuditEvent?date=ge2020&_count={'9' * 5000}").status_code == 200


@pytest.mark.parametrize("named", [5, None, ["Patient"], {"a": "b" * 5000}, "A" * 5000])
def test_an_answer_repeats_only_a_little_of_what_was_sent(ehr, named):
    """What is quoted is short, whatever stands where a resource type should."""
    answer = ehr.post("/Patient", {"resourceType": named})

    assert answer.status_code == 400
    assert len(answer.data) < 500


@pytest.mark.parametrize("sent", ["a%00b", "a%07b", "x" * 3000])
def test_an_outcome_is_itself_valid_fhir(ehr, sent):
    """Control characters of a path do not come back in the diagnostics, and no text is endless."""
    answer = ehr.get(f"/Patient/{sent}")

    text = answer.json["issue"][0]["diagnostics"]
    assert answer.status_code == 404
    assert text.isprintable()
    assert len(text) < 1100


def test_a_method_that_a_url_does_not_take_is_told_which_it_takes(ehr):
    """405 has an Allow header (RFC 9110, 15.5.6), and words of ours."""
    answer = ehr.post("/Patient/1/_history")

    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.json["issue"][0]["diagnostics"] == "This URL does not take the method."


@pytest.mark.parametrize("url", ["/metadata", "/.well-known/smart-configuration", "/_history"])
@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_what_is_there_for_other_methods_is_no_unknown_type(ehr, auditor, url, method):
    """405 with its event, and no 404: the URL is one of ours."""
    sent = {} if method == "delete" else {"body": {"resourceType": "Patient"}}
    answer = getattr(ehr, method)(url, **sent)

    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    [event] = auditor.get(f"/AuditEvent?date=ge2000&agent=ehr-one&outcome=4&subtype={method}").json["entry"]
    assert event["resource"]["outcomeDesc"].startswith("not-supported 405")
    assert ehr.delete("/Nonsense/1").status_code == 404


@pytest.mark.parametrize(
    ("url", "methods"),
    [
        ("/metadata", "GET, HEAD, OPTIONS"),
        ("/_history", "GET, HEAD, OPTIONS"),
        ("/_search", "GET, HEAD, OPTIONS, POST"),
        ("/Patient", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        ("/Patient/_search", "GET, HEAD, OPTIONS, POST"),
        ("/Patient/_history", "GET, HEAD, OPTIONS"),
        ("/Patient/1", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/Patient/1/_history", "GET, HEAD, OPTIONS"),
        ("/Patient/1/$everything", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_a_path_tells_its_own_methods(ehr, url, methods):
    """metadata is no type and _history no id: what would be refused there is not offered."""
    answer = ehr._send("OPTIONS", url)
    assert (answer.status_code, answer.headers["Allow"]) == (204, methods)


@pytest.mark.parametrize(("method", "url"), [("OPTIONS", "/fhir/Patient"), ("GET", "/fhir//Patient")])
def test_the_framework_answers_nobody_unknown_either(anonymous, method, url):
    """Neither the methods of a URL nor where it would be redirected is told without a token."""
    assert anonymous.open(url, method=method).status_code == 401


def test_a_fault_before_the_door_says_nothing_and_leaves_its_event(ehr, auditor, monkeypatch, capsys):
    """What nobody foresaw is a 500 with a reference, an event, and a log line without its words."""

    def fail(*_):
        raise RuntimeError("Zoé Durand has a secret")

    with monkeypatch.context() as broken:
        broken.setattr(Tokens, "verify_bearer", fail)
        answer = ehr.get("/Patient?name=Durand")

    assert answer.status_code == 500
    assert answer.json["issue"][0]["code"] == "exception"
    told = capsys.readouterr().err
    assert answer.headers["X-Request-Id"] in told
    assert "RuntimeError" in told
    assert "Durand" not in told + answer.text
    assert auditor.get("/AuditEvent?date=ge2020&outcome=8&_count=1").json["entry"]


def fall(*_, **__):
    """Fail as nobody foresaw."""
    raise RuntimeError("Zoé Durand has a secret")


FAULTS = {
    "metadata": ("/fhir/metadata", "fhir_dmp.search.added.Added.changes", property(fall)),
    "keys": ("/oauth/jwks", "fhir_dmp.service.tokens.Tokens.jwks", fall),
    "rendering": ("/fhir/Patient?_pretty=true", "fhir_dmp.http.fhir.endpoint.render", fall),
    "rendering of a plain call": ("/fhir/Patient?name=x", "fhir_dmp.http.fhir.plain.status_and_headers", fall),
    "knowing a plain call": ("/fhir/Patient?name=x", "fhir_dmp.http.fhir.plain._asks_for_no_more", fall),
}
"""Faults that no door catches: what is asked, and what fails."""


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_beside_the_doors_says_nothing_and_leaves_its_event(ehr, auditor, monkeypatch, capsys, what):
    """A 500 with the id of the request, by which the operator finds the line in the log, and the auditor the event."""
    path, place, fails = FAULTS[what]
    with monkeypatch.context() as broken:
        broken.setattr(place, fails)
        answer = ehr.fresh()._http.get(
            path, headers={"Authorization": f"Bearer {ehr._token}", "X-Request-Id": "fault-1"}
        )
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    faults = [line for line in lines if line["event"] == "fault"]
    events = [entry["resource"] for entry in auditor.get("/AuditEvent?date=ge2020&subtype=get&_count=5").json["entry"]]
    [event] = [each for each in events if "fault-1" in json.dumps(each)]

    assert answer.status_code == 500
    assert "fault-1" in answer.json["issue"][0]["diagnostics"]
    assert [(line["request_id"], line["fault"]) for line in faults] == [("fault-1", "RuntimeError")]
    assert event["outcomeDesc"] == "exception 500"
    assert "Durand" not in json.dumps([lines, event, answer.json], ensure_ascii=False)


def test_a_fault_whose_event_cannot_be_written_says_so(anonymous, monkeypatch, capsys):
    """503, and the line of the fault."""

    def full(*_):
        raise Unavailable("The log cannot be written.")

    monkeypatch.setattr("fhir_dmp.service.tokens.Tokens.jwks", fall)
    monkeypatch.setattr(MongoStore, "record", full)
    answer = anonymous.get("/oauth/jwks", headers={"X-Request-Id": "fault-1"})

    assert answer.status_code == 503
    assert answer.json["issue"][0]["diagnostics"] == "The log cannot be written."
    assert '"request_id": "fault-1"' in capsys.readouterr().err


def test_without_its_database_the_server_does_not_say_what_it_can_do(anonymous, monkeypatch):
    """503, as for any other question, in the form that was asked for."""

    def away(*_):
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr("fhir_dmp.search.added.Added.changes", property(away))
    answers = [
        anonymous.get("/fhir/metadata", headers={"Accept": form})
        for form in ("application/json", "application/fhir+xml")
    ]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json["issue"][0]["diagnostics"] == "The database does not answer."
    assert b"<OperationOutcome" in answers[1].data


def test_the_openapi_page_runs_nothing_but_its_files(anonymous):
    """Its policy forbids scripts in the page, and there is none; it may not be framed."""
    page = anonymous.get("/docs")

    assert page.status_code == 200
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.text.count("<script") == page.text.count("<script src=") == 2
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "page.js"):
        assert f"/docs/assets/{asset}" in page.text
        with anonymous.get(f"/docs/assets/{asset}") as sent:
            assert sent.status_code == 200
    assert anonymous.get("/docs/openapi.json").json["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


@pytest.mark.parametrize("url", ["/healthz", "/readyz", "/docs", "/fhir/metadata", "/oauth/jwks", "/nowhere"])
def test_every_answer_is_read_as_what_it_says_it_is(anonymous, url):
    """No browser guesses a type, frames an answer or tells others where it was."""
    headers = anonymous.get(url).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "digits", ["9" * 201, "0." + "1" * 5000, "1" + "0" * 300 + "e5", "1e9999999", "1E-9999999999999999999999"]
)
def test_a_number_of_endless_digits_is_refused_with_its_place(ehr, digits):
    """However it comes; one of 200 characters is kept to the last of them."""
    told = {"status": "final", "code": {"text": "x"}, "valueQuantity": {"value": 0.5}}
    sent = json.dumps({"resourceType": "Observation", **told}).replace("0.5", digits)
    xml = '<Observation xmlns="http://hl7.org/fhir"><status value="final"/><code><text value="x"/></code>'
    xml += f'<valueQuantity><value value="{digits}"/></valueQuantity></Observation>'

    answers = [
        ehr.post("/Observation", sent.encode()),
        ehr.post("/Observation", xml.encode(), headers={"Content-Type": "application/fhir+xml"}),
    ]

    for answer in answers:
        assert answer.status_code == 400
        assert answer.json["issue"][0]["expression"] == ["Observation.valueQuantity.value"]
        assert len(answer.data) < 500
    asked = "7" * 1001
    for query in (f"value-quantity={asked}", f"_filter=value-quantity eq {asked}"):
        assert ehr.get(f"/Observation?{query}").status_code == 400
    kept = ehr.post("/Observation", sent.replace(digits, "0." + "7" * 198).encode())
    assert b"0." + b"7" * 198 + b"}" in ehr.get(f"/Observation/{kept.json['id']}").data
