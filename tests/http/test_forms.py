"""The forms of an answer and of a body: XML, indentation, packing, methods, origins. https://hl7.org/fhir/R4/http.html#mime-type."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from msgspec.structs import replace

from fhir_dmp.app.web import create_app
from tests.access_world import observation
from tests.http.conftest import make_app, register

XML = "application/fhir+xml"
PATIENT = (
    '<Patient xmlns="http://hl7.org/fhir"><id value="x1"/><text><status value="generated"/>'
    '<div xmlns="http://www.w3.org/1999/xhtml"><p>Zoé &amp; <b>fils</b></p></div></text>'
    '<name id="n"><family value="Durand"/><given value="Zoé"/></name><birthDate value="1980-02-29"/></Patient>'
)
OBSERVATION = (
    '<Observation xmlns="http://hl7.org/fhir"><status value="final"/><code><text value="K"/></code>'
    '<valueQuantity><value value="36.70"/></valueQuantity></Observation>'
)


def sent(body, kind=XML, **more):
    """Return what a request with this body is made of."""
    return {"body": body if isinstance(body, bytes) else body.encode(), "headers": {"Content-Type": kind, **more}}


def test_xml_goes_in_and_both_forms_come_out(ehr):
    """The same resource, as JSON by default and as XML for who asks; Content-Type tells which."""
    made = ehr.put("/Patient/x1", **sent(PATIENT))
    assert made.status_code == 201, made.data
    assert made.json["name"] == [{"id": "n", "family": "Durand", "given": ["Zoé"]}]
    assert made.json["text"]["div"] == '<div xmlns="http://www.w3.org/1999/xhtml"><p>Zoé &amp; <b>fils</b></p></div>'

    answer = ehr.get("/Patient/x1", headers={"Accept": XML})
    assert answer.content_type == "application/fhir+xml; charset=utf-8"
    assert answer.headers["ETag"] == 'W/"1"'
    again = ehr.put("/Patient/x1", **sent(answer.data))
    assert {**again.json, "meta": None} == {**made.json, "meta": None}


def test_decimals_pass_through_xml_digit_for_digit(ehr):
    """36.70 in, 36.70 out, in both."""
    made = ehr.post("/Observation", **sent(OBSERVATION))

    assert b'"value":36.70' in made.data
    assert b'<value value="36.70"/>' in ehr.get(f"/Observation/{made.json['id']}?_format=xml").data


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/fhir+xml", "xml"),
        ("application/xml", "xml"),
        ("text/xml", "xml"),
        ("application/fhir+json;q=0.5, application/fhir+xml;q=0.9", "xml"),
        ("application/fhir+json;q=0.9, application/fhir+xml;q=0.5", "json"),
        ("application/fhir+xml;q=0, */*", "json"),
        ("application/fhir+xml; fhirVersion=4.0", "xml"),
        ("text/html, */*;q=0.1", "json"),
        ("application/*", "json"),
        ("*/*", "json"),
    ],
)
def test_the_weights_of_accept_are_followed(ehr, accept, kind):
    """The heavier wins; where both weigh the same it is JSON."""
    ehr.put("/Patient/x1", **sent(PATIENT))

    assert kind in ehr.get("/Patient/x1", headers={"Accept": accept}).content_type


@pytest.mark.parametrize(
    "accept", ["text/turtle", "application/fhir+json;q=0", "application/fhir+json; fhirVersion=3.0"]
)
def test_what_is_not_served_is_not_acceptable(ehr, accept):
    """406, and JSON to say so."""
    answer = ehr.get("/Patient/x1", headers={"Accept": accept})

    assert answer.status_code == 406
    assert answer.json["resourceType"] == "OperationOutcome"


def test_format_in_the_url_wins_over_accept(ehr):
    """By short and long names; a plus that came as a blank is one."""
    ehr.put("/Patient/x1", **sent(PATIENT))
    for name in ("xml", "application/fhir+xml", "text/xml"):
        assert "xml" in ehr.get(f"/Patient/x1?_format={name}", headers={"Accept": "application/json"}).content_type
    assert "json" in ehr.get("/Patient/x1?_format=json", headers={"Accept": XML}).content_type
    assert "xml" in ehr.get("/Patient/x1?_format=", headers={"Accept": XML}).content_type
    assert ehr.get("/Patient/x1?_format=ttl").status_code == 406
    assert ehr.get("/Patient/x1?_format=application/fhir%2Bxml;fhirVersion=4.0").status_code == 200
    assert ehr.get("/Patient/x1?_format=application/fhir%2Bxml;fhirVersion=3.0").status_code == 406


def test_the_next_page_comes_in_the_form_of_the_first(ehr, auditor):
    """Who asked by the URL follows the link as it is, and the page after it too: of searches, histories, records and the log."""
    for number in range(3):
        ehr.put(f"/Patient/x{number}", {"resourceType": "Patient", "id": f"x{number}"})
        ehr.put(
            f"/Observation/o{number}",
            {
                "resourceType": "Observation",
                "id": f"o{number}",
                "status": "final",
                "code": {"text": "K"},
                "subject": {"reference": "Patient/x0"},
            },
        )

    for caller, path in (
        (ehr, "/Patient?_count=1"),
        (ehr, "/_history?_count=1"),
        (ehr, "/Patient/x0/$everything?_count=1"),
        (auditor, "/AuditEvent?date=ge2000&_count=1"),
    ):
        answer = caller.get(f"{path}&_format=xml&_pretty=true")
        for _ in range(2):
            following = re.search(r'<relation value="next"/>\s*<url value="([^"]*)"', answer.text)
            assert following is not None, (path, answer.text)
            answer = caller.get(following[1].replace("&amp;", "&").partition("/fhir")[2])
            assert answer.content_type == "application/fhir+xml; charset=utf-8"
            assert "\n  <" in answer.text


def test_a_search_by_post_says_its_form_in_the_body(ehr):
    """As all its parameters; what is in the URL comes first, and a form that is not served is 406."""
    ehr.put("/Patient/x1", **sent(PATIENT))
    by_form = "application/x-www-form-urlencoded"

    answer = ehr.post("/Patient/_search", **sent("_id=x1&_format=xml&_pretty=true", by_form))
    over = ehr.post("/Patient/_search?_format=json", **sent("_id=x1&_format=xml", by_form))
    refused = ehr.post("/Patient/_search", **sent("_id=x1&_format=ttl", by_form))

    assert answer.content_type == "application/fhir+xml; charset=utf-8"
    assert "\n  <" in answer.text
    assert over.json["total"] == 1
    assert refused.status_code == 406


def test_errors_bundles_and_the_statement_come_as_xml_too(ehr, auditor, anonymous):
    """Whoever asks for XML can read all that is said."""
    ehr.put("/Patient/x1", **sent(PATIENT))
    headers = {"headers": {"Accept": XML}}

    for answer, root in (
        (ehr.get("/Patient/nobody", **headers), b"<OperationOutcome "),
        (ehr.get("/Patient?_id=x1", **headers), b"<Bundle "),
        (ehr.get("/Patient/x1/_history", **headers), b"<Bundle "),
        (ehr.get("/Patient/x1/$meta", **headers), b"<Parameters "),
        (auditor.get("/AuditEvent?date=ge2000", **headers), b"<Bundle "),
        (anonymous.get("/fhir/metadata", headers={"Accept": XML}), b"<CapabilityStatement "),
    ):
        assert "xml" in answer.content_type
        assert root in answer.data[:150], answer.data[:200]
        assert 'xmlns="http://hl7.org/fhir"' in answer.text[:150]


def test_who_is_unknown_is_told_so_in_the_form_that_was_asked_for(anonymous):
    """In XML where that is wanted; what is not served changes nothing of it: 401 comes before 406."""
    for told in (anonymous.get("/fhir/Patient", headers={"Accept": XML}), anonymous.get("/fhir/Patient?_format=xml")):
        assert (told.status_code, told.content_type) == (401, "application/fhir+xml; charset=utf-8")
        assert b'<code value="login"/>' in told.data
    for url, accept in (("/fhir/Patient", "text/turtle"), ("/fhir/Patient?_format=ttl", XML)):
        told = anonymous.get(url, headers={"Accept": accept})
        assert (told.status_code, told.json["issue"][0]["code"]) == (401, "login")


def test_transactions_and_patches_are_read_as_xml(ehr):
    """The same words in the other form."""
    entry = PATIENT.replace(' xmlns="http://hl7.org/fhir"', "")
    bundle = (
        '<Bundle xmlns="http://hl7.org/fhir"><type value="transaction"/><entry><fullUrl value="urn:uuid:'
        f'11111111-1111-4111-8111-111111111111"/><resource>{entry}</resource><request><method value="PUT"/>'
        '<url value="Patient/x1"/></request></entry></Bundle>'
    )
    patch = (
        '<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="operation"/><part><name value="type"/>'
        '<valueCode value="replace"/></part><part><name value="path"/><valueString value="Patient.birthDate"/></part>'
        '<part><name value="value"/><valueDate value="1981"/></part></parameter></Parameters>'
    )

    assert ehr.post("", **sent(bundle)).json["entry"][0]["response"]["status"] == "201 Created"
    assert ehr._send("PATCH", "/Patient/x1", **sent(patch)).json["birthDate"] == "1981"


def narrated(inner):
    """Return a patient whose narrative holds this."""
    return (
        '<Patient xmlns="http://hl7.org/fhir"><text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml">'
        f"{inner}</div></text></Patient>"
    )


BOMB = '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB + ']><Patient xmlns="http://hl7.org/fhir"><birthDate value="&h;"/></Patient>',
        '<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><Patient xmlns="http://hl7.org/fhir"><language value="&x;"/></Patient>',
        '<!DOCTYPE p SYSTEM "http://127.0.0.1:1/x.dtd"><Patient xmlns="http://hl7.org/fhir"/>',
        '<Patient xmlns="http://hl7.org/fhir"><language value="&unknown;"/></Patient>',
        '<Patient xmlns="http://hl7.org/fhir">' + '<extension url="x">' * 5000 + "</extension>" * 5000 + "</Patient>",
        narrated("<b>" * 5000 + "</b>" * 5000),
        "<Patient/>",
        '<Patient xmlns="urn:x"/>',
        '<Nonsense xmlns="http://hl7.org/fhir"/>',
        '<HumanName xmlns="http://hl7.org/fhir"/>',
        '<Patient xmlns="http://hl7.org/fhir"><unknown value="x"/></Patient>',
        '<Patient xmlns="http://hl7.org/fhir"><gender valu="x"/></Patient>',
        '<Patient xmlns="http://hl7.org/fhir"><gender value="male"/><gender value="male"/></Patient>',
        '<Patient xmlns="http://hl7.org/fhir"><active value="yes"/></Patient>',
        '<Patient xmlns="http://hl7.org/fhir">text</Patient>',
        '<Patient xmlns="http://hl7.org/fhir"><contained/></Patient>',
        '<Patient xmlns="http://hl7.org/fhir">',
        '<?xml version="1.0" encoding="UTF-16"?><Patient xmlns="http://hl7.org/fhir"/>',
        "<Patient xmlns='http://hl7.org/fhir'><language value='\xff'/></Patient>".encode("latin-1"),
        narrated("<script>alert(1)</script>"),
        narrated('<p onclick="alert(1)">x</p>'),
        narrated('<a href="javascript:alert(1)">x</a>'),
        "",
        "{}",
    ],
    ids=range(24),
)
def test_xml_that_is_bad_or_meant_to_harm_is_refused_at_once(ehr, body):
    """Bombs, foreign entities, depth, unknown elements, scripts: 400, a clear outcome, and nothing kept."""
    answer = ehr.post("/Patient", **sent(body))

    assert answer.status_code == 400, answer.data
    assert answer.json["resourceType"] == "OperationOutcome"
    assert ehr.get("/Patient?_summary=count").json["total"] == 0


def test_an_answer_is_indented_for_people_who_ask(ehr):
    """In both forms, with the same content."""
    made = ehr.put("/Patient/x1", **sent(PATIENT))

    assert b'\n  "id": "x1"' in ehr.get("/Patient/x1?_pretty=true").data
    assert ehr.get("/Patient/x1?_pretty=true").json == made.json
    assert b'\n  <id value="x1"/>' in ehr.get("/Patient/x1?_pretty=true&_format=xml").data


def test_a_long_answer_is_packed_for_who_takes_it(ehr):
    """By gzip, with Vary; a short one and one for others are as they are."""
    for number in range(20):
        ehr.put(f"/Patient/{number}", {"resourceType": "Patient", "id": str(number), "name": [{"text": "x" * 300}]})
    accept = {"headers": {"Accept-Encoding": "gzip, deflate"}}

    answer = ehr.get("/Patient?_count=20", **accept)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert json.loads(gzip.decompress(answer.data))["total"] == 20
    assert len(answer.data) < 6000
    assert "Content-Encoding" not in ehr.get("/Patient/1", **accept).headers
    assert "Content-Encoding" not in ehr.get("/Patient?_count=20").headers
    assert "Content-Encoding" not in ehr.get("/Patient?_count=20", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_a_packed_body_is_read_within_the_limit(small_ehr):
    """A bomb of a thousand times its size is 413 before it is unpacked; a cut or false one is 400; others are 415."""

    def post(body, encoding="gzip"):
        return small_ehr.post(
            "/Patient", **sent(body, "application/fhir+json", **{"Content-Encoding": encoding})
        ).status_code

    good = gzip.compress(b'{"resourceType":"Patient"}')
    assert post(good) == 201
    assert post(gzip.compress(b" " * 60_000_000 + b"{}")) == 413
    assert post(good[:-6]) == 400
    assert post(good + good) == 400
    assert post(b"{}") == 400
    assert post(good, "br") == 415


def test_a_body_that_lies_about_its_length_is_refused(ehr):
    """A Content-Length beyond the end, and one beyond the limit."""
    body = b'{"resourceType":"Patient"}'

    for length in (len(body) + 10, 10**12):
        for prefer in ({}, {"Prefer": "return=minimal"}):
            answer = ehr.post("/Patient", body, headers=prefer, environ_overrides={"CONTENT_LENGTH": str(length)})
            assert answer.status_code in (400, 413)
    assert ehr.post("/Patient", body, environ_overrides={"CONTENT_LENGTH": "5"}).status_code == 400
    assert ehr.get("/Patient?_summary=count").json["total"] == 0


def test_head_answers_as_get_without_the_body(ehr):
    """Status and headers are the same."""
    ehr.put("/Patient/x1", **sent(PATIENT))
    for url in ("/Patient/x1", "/Patient?_id=x1", "/Patient/nobody", "/Patient/x1/_history/1"):
        head, get = ehr._send("HEAD", url), ehr.get(url)
        assert head.status_code == get.status_code
        assert head.data == b""
        assert head.headers.get("ETag") == get.headers.get("ETag")


def test_options_tells_a_known_caller_what_a_path_takes(ehr, anonymous, auditor):
    """Allow, an event, and nothing for strangers."""
    answer = ehr._send("OPTIONS", "/Patient/x1")

    assert answer.status_code == 204
    assert {"GET", "PUT", "PATCH", "DELETE"} <= set(answer.headers["Allow"].split(", "))
    assert "POST" not in answer.headers["Allow"].split(", ")
    assert anonymous.open("/fhir/Patient/x1", method="OPTIONS").status_code == 401
    assert len(auditor.get("/AuditEvent?date=ge2000&subtype=options").json["entry"]) == 2


def test_no_page_of_another_origin_may_call_by_default(ehr, anonymous):
    """No header says that it may."""
    answer = ehr.get("/Patient", headers={"Origin": "https://app.example"})
    asked = anonymous.open(
        "/fhir/Patient",
        method="OPTIONS",
        headers={"Origin": "https://app.example", "Access-Control-Request-Method": "GET"},
    )

    assert not [name for name, _ in [*answer.headers, *asked.headers] if name.startswith("Access-Control")]


def test_pages_of_named_origins_may_call(mongodb_uri, database_name, tmp_path):
    """They alone; a browser may ask before without a token, and read what an app needs."""
    first = make_app(mongodb_uri, database_name, tmp_path)
    server = first.extensions["fhir_dmp"]
    settings = replace(server.settings, cors_origins="https://app.example, https://other.example")
    app = create_app(settings, replace(server, settings=settings))
    ehr = register(app, "ehr-page")
    preflight = {"Access-Control-Request-Method": "GET", "Origin": "https://app.example"}

    asked = app.test_client().open("/fhir/Patient", method="OPTIONS", headers=preflight)
    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    answer = ehr.get("/Patient", headers={"Origin": "https://other.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://other.example"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    stranger = ehr.get("/Patient", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers
    assert app.test_client().get("/fhir/metadata").json["rest"][0]["security"]["cors"] is True
    server.close()


PROVENANCE = {
    "resourceType": "Provenance",
    "recorded": "2024-05-01T10:00:00Z",
    "agent": [{"who": {"display": "Dr Élie"}}],
}


def test_a_provenance_is_kept_with_the_change_it_is_about(ehr):
    """In the same commit, about the version that was made, whatever it named itself."""
    told = json.dumps({**PROVENANCE, "target": [{"reference": "Patient/another"}]}, ensure_ascii=False)
    header = {"X-Provenance": told.encode().decode("latin-1")}
    made = ehr.post("/Patient", {"resourceType": "Patient"}, headers=header)
    assert made.status_code == 201
    assert made.json["resourceType"] == "Patient"

    found = ehr.get(f"/Provenance?target=Patient/{made.json['id']}").json["entry"]
    assert len(found) == 1
    assert found[0]["resource"]["agent"] == PROVENANCE["agent"]
    assert found[0]["resource"]["target"] == [{"reference": f"Patient/{made.json['id']}/_history/1"}]
    ehr.delete(f"/Patient/{made.json['id']}", headers=header)
    assert ehr.get("/Provenance?_summary=count").json["total"] == 2


def test_a_change_and_its_provenance_have_an_event_each(ehr, auditor):
    """Of one row, which is one act; each is found by what it names."""
    header = {"X-Provenance": json.dumps(PROVENANCE)}
    made = ehr.post("/Observation", observation("Patient/p1"), headers=header).json
    [told] = ehr.get(f"/Provenance?target=Observation/{made['id']}").json["entry"]
    ehr.put(f"/Observation/{made['id']}", {**made, "status": "amended"}, headers=header)

    def found(query):
        bundle = auditor.get(f"/AuditEvent?date=ge2020&{query}").json
        return [(each["resource"]["id"], each["resource"]["action"]) for each in bundle.get("entry", ())]

    [(second, action)] = found(f"entity=Provenance/{told['resource']['id']}")
    updated, first = found(f"entity=Observation/{made['id']}&subtype=create,update")
    assert (first[0], action, updated[1]) == (second.removesuffix("-2"), "C", "U")
    assert len(found("patient=p1&action=C")) == 3
    assert auditor.get(f"/AuditEvent/{second}").json["meta"]["profile"][0].endswith("IHE.BasicAudit.PatientCreate")


def test_a_transaction_has_one_provenance_of_all_it_made(ehr):
    """With a target for each change."""
    entries = [{"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}}] * 2
    answer = ehr.post(
        "",
        {"resourceType": "Bundle", "type": "transaction", "entry": entries},
        headers={"X-Provenance": json.dumps(PROVENANCE)},
    )

    assert len(answer.json["entry"]) == 2
    found = ehr.get("/Provenance").json["entry"]
    assert len(found) == 1
    assert len(found[0]["resource"]["target"]) == 2


@pytest.mark.parametrize("header", ["x", "{}", '{"resourceType":"Patient"}', '{"resourceType":"Provenance"}'])
def test_a_change_with_a_bad_provenance_is_not_made(ehr, header):
    """400, and neither of the two is kept."""
    answer = ehr.post("/Patient", {"resourceType": "Patient"}, headers={"X-Provenance": header})

    assert answer.status_code == 400
    assert ehr.get("/Patient?_summary=count").json["total"] == 0


def test_a_provenance_needs_the_right_to_create_one(with_scopes, ehr):
    """Without it the change is not made either; a read passes it over."""
    caller = with_scopes("system/Patient.crus")
    header = {"X-Provenance": json.dumps(PROVENANCE)}

    assert caller.post("/Patient", {"resourceType": "Patient"}, headers=header).status_code == 403
    assert caller.get("/Patient", headers=header).json["total"] == 0


def test_the_name_of_a_request_comes_back(ehr):
    """X-Request-Id as sent; one that could harm a log is replaced."""
    assert ehr.get("/Patient", headers={"X-Request-Id": "my-request.1"}).headers["X-Request-Id"] == "my-request.1"
    replaced = ehr.get("/Patient", headers={"X-Request-Id": "a b;c"}).headers["X-Request-Id"]
    assert replaced != "a b;c"
    assert replaced


@pytest.mark.parametrize("url", ["/Patient?active=true", "/Patient?_pretty=true", "/Patient/nobody", "/nonsense"])
def test_the_name_that_a_client_knows_a_request_by_comes_back_beside_the_servers(ehr, url):
    """X-Correlation-Id as sent, on either way and with a refusal; that of a request whose X-Request-Id is replaced; nothing that is no line."""

    def names(**sent):
        headers = ehr.get(url, headers={name.replace("_", "-"): value for name, value in sent.items()}).headers
        return headers["X-Request-Id"], headers.get("X-Correlation-Id")

    assert names(X_Request_Id="r-1", X_Correlation_Id="flow 7/b") == ("r-1", "flow 7/b")
    assert names(X_Correlation_Id="c")[1] == "c"
    assert names(X_Request_Id="r-1") == ("r-1", None)
    assert names(X_Request_Id="a b;c")[1] == "a b;c"
    assert names(X_Request_Id="a b;c", X_Correlation_Id="d")[1] == "d"
    assert names()[1] is None
    assert names(X_Correlation_Id="x" * 201)[1] is None
    assert ehr.get("/metadata", headers={"X-Correlation-Id": "c"}).headers["X-Correlation-Id"] == "c"


def test_the_content_of_a_binary_goes_in_and_out_as_it_is(ehr):
    """By its own media type, under the usual headers, for who asks for it or for anything; as FHIR for who asks for FHIR."""
    pdf = b"%PDF-1.4 \x00\xff binary"
    made = ehr.post("/Binary", pdf, headers={"Content-Type": "application/pdf", "X-Security-Context": "Patient/x1"})
    assert made.status_code == 201, made.data
    url = f"/Binary/{made.json['id']}"

    for accept in ("application/pdf", "application/*", "*/*", "text/html, */*;q=0.1", None):
        native = ehr.get(url, headers={"Accept": accept} if accept else {})
        assert native.data == pdf
        assert native.content_type == "application/pdf"
        assert native.headers["ETag"] == 'W/"1"'
        assert native.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in native.headers["Content-Security-Policy"]
    assert ehr.get(f"{url}?_format=json").json["contentType"] == "application/pdf"
    for accept in ("application/fhir+json", "application/pdf, application/fhir+json"):
        assert ehr.get(url, headers={"Accept": accept}).json["securityContext"] == {"reference": "Patient/x1"}
    assert "xml" in ehr.get(url, headers={"Accept": XML}).content_type
    assert ehr.get(url, headers={"Accept": "image/png"}).json["contentType"] == "application/pdf"
    assert ehr.put(url, b"text", headers={"Content-Type": "text/plain"}).headers["ETag"] == 'W/"2"'
    assert ehr.get(url, headers={"Accept": "text/plain"}).data == b"text"
    assert ehr.get(f"{url}/_history/1", headers={"Accept": "application/pdf"}).data == pdf


def test_only_a_binary_has_content_of_its_own(ehr, with_scopes):
    """Any other type is 406 and 415 as before, and who may not read the Binary gets nothing of it."""
    made = ehr.post("/Binary", b"x", headers={"Content-Type": "text/plain"})

    assert ehr.get("/Patient/x1", headers={"Accept": "application/pdf"}).status_code == 406
    assert ehr.get("/Binary", headers={"Accept": "application/pdf"}).status_code == 406
    assert ehr.post("/Patient", b"x", headers={"Content-Type": "application/pdf"}).status_code == 415
    refused = with_scopes("system/Patient.r").get(f"/Binary/{made.json['id']}", headers={"Accept": "text/plain"})
    assert refused.status_code == 403
    assert refused.json["resourceType"] == "OperationOutcome"
