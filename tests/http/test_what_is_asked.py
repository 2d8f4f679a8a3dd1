"""What was asked stands in the event of each act, however it came: in the open without clinical values, and whole in what is sealed beside it."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlencode

import pytest

from fhir_dmp.audit.asked import LENGTH, unseal
from fhir_dmp.call import MOST_ASKED, MOST_CONDITIONS
from fhir_dmp.store.query import EVERYTHING
from tests.access_world import observation

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def told(app, act):
    """Return the newest row of an act, and the request that is sealed beside it."""
    parts, _ = app.extensions["fhir_dmp"].store.search_events(EVERYTHING, 50, None)
    rows = ((json.loads(part.event.body), part.event.secret) for part in parts)
    row, secret = next((row, secret) for row, secret in rows if row["act"] == act)
    return row, unseal(secret, row.get("sealed")).get("request")


def asking(method, url, resource=None, kind="batch", **more):
    """Return a bundle of one entry."""
    entry = {"request": {"method": method, "url": url, **more}, **({"resource": resource} if resource else {})}
    return {"resourceType": "Bundle", "type": kind, "entry": [entry]}


def parameters(**values):
    """Return Parameters; a value is one of the datatype that its key names (``valueString`` for a text)."""
    given = [
        {"name": name, **(value if isinstance(value, dict) else {"valueString": value})}
        for name, value in values.items()
    ]
    return {"resourceType": "Parameters", "parameter": given}


@pytest.fixture
def patient(ehr):
    """The id of a record with one observation."""
    made = ehr.post("/Patient", {"resourceType": "Patient"}).json["id"]
    ehr.post("/Observation", observation(f"Patient/{made}"))
    return made


WAYS = {
    "a form at a URL that asks": (
        "search-type",
        lambda ehr, p: ehr.post("/Observation/_search?_summary=count", f"patient={p}&code=VIH".encode(), headers=FORM),
        "POST /fhir/Observation/_search?_summary=count\npatient={p}&code=…",
    ),
    "a form at a URL that asks the same first": (
        "search-type",
        lambda ehr, p: ehr.post("/Observation/_search?_total=none", b"_total=none&code=VIH", headers=FORM),
        "POST /fhir/Observation/_search?_total=none\n_total=none&code=…",
    ),
    "an entry of a batch at a URL that asks": (
        "search-type",
        lambda ehr, p: ehr.post("?_pretty=true", asking("GET", f"Observation?patient={p}&code=VIH")),
        "POST /fhir?_pretty=true\nObservation?patient={p}&code=…",
    ),
    "an entry within a record": (
        "search-type",
        lambda ehr, p: ehr.post("", asking("GET", f"Patient/{p}/Observation?code=VIH")),
        "POST /fhir\nPatient/{p}/Observation?code=…",
    ),
    "the history of an entry": (
        "history-type",
        lambda ehr, p: ehr.post("", asking("GET", "Observation/_history?_count=1&_tag=VIH")),
        "POST /fhir\nObservation/_history?_count=1&_tag=…",
    ),
    "If-None-Exist at a URL that asks": (
        "create",
        lambda ehr, p: ehr.post(
            "/Observation?_format=json", observation(f"Patient/{p}"), headers={"If-None-Exist": "_id=nobody&code=VIH"}
        ),
        "POST /fhir/Observation?_format=json\nIf-None-Exist: ?_id=nobody&code=…",
    ),
    "ifNoneExist of an entry": (
        "create",
        lambda ehr, p: ehr.post(
            "?_pretty=true",
            asking("POST", "Observation", observation(f"Patient/{p}"), ifNoneExist="_id=nobody&code=VIH"),
        ),
        "POST /fhir?_pretty=true\nIf-None-Exist: ?_id=nobody&code=…",
    ),
    "a conditional update in a batch": (
        "update",
        lambda ehr, p: ehr.post(
            "?_pretty=true", asking("PUT", "Observation?_id=nobody&code=VIH", observation(f"Patient/{p}"))
        ),
        "POST /fhir?_pretty=true\nObservation?_id=nobody&code=…",
    ),
    "a conditional deletion in a batch": (
        "delete",
        lambda ehr, p: ehr.post("", asking("DELETE", "Observation?_id=nobody&code=VIH")),
        "POST /fhir\nObservation?_id=nobody&code=…",
    ),
    "Parameters": (
        "$lastn",
        lambda ehr, p: ehr.post("/Observation/$lastn", parameters(patient=p, code="VIH", max={"valuePositiveInt": 2})),
        "POST /fhir/Observation/$lastn\npatient={p}&code=…&max=…",
    ),
    "Parameters at a URL that asks": (
        "$lastn",
        lambda ehr, p: ehr.post("/Observation/$lastn?_summary=count&category=VIH", parameters(patient=p)),
        "POST /fhir/Observation/$lastn?_summary=count&category=…\npatient={p}",
    ),
    "Parameters of a record": (
        "$everything",
        lambda ehr, p: ehr.post(
            f"/Patient/{p}/$everything", parameters(_type="Condition", start={"valueDate": "2026"})
        ),
        "POST /fhir/Patient/{p}/$everything\n_type=Condition&start=…",
    ),
    "a form at an operation": (
        "$lastn",
        lambda ehr, p: ehr.post("/Observation/$lastn", f"patient={p}&code=VIH".encode(), headers=FORM),
        "POST /fhir/Observation/$lastn\npatient={p}&code=…",
    ),
    "an operation of an entry": (
        "$lastn",
        lambda ehr, p: ehr.post("", asking("POST", "Observation/$lastn?category=VIH", parameters(patient=p))),
        "POST /fhir\nObservation/$lastn?category=…\npatient={p}",
    ),
}
"""The act of the row, the question, and what is told in the open; each asks for ``VIH`` or for dates, which are sealed."""


@pytest.mark.parametrize("way", WAYS)
def test_what_was_asked_is_told_however_it_came(app, ehr, patient, way):
    """In the URL, a form, a header, an entry or Parameters, whatever else the URL asks; with its values it lies beside the row."""
    act, ask, shown = WAYS[way]
    assert ask(ehr, patient).status_code in (200, 201)
    row, sealed = told(app, act)

    assert row["request"] == shown.format(p=patient)
    assert ("start=2026" if act == "$everything" else "VIH") in sealed
    assert sealed.count("\n") == shown.count("\n")


@pytest.mark.parametrize("name", ["patient", "subject"])
def test_whom_parameters_ask_about_has_it_in_their_journal(app, ehr, patient, name):
    """As with the same operation by GET, where nothing is found: that somebody asked is told."""
    value = {"patient": patient, "subject": f"Patient/{patient}"}[name]
    rows = []
    for ask in (
        lambda: ehr.post("/Observation/$lastn", parameters(**{name: value, "code": "http://x|VIH"})),
        lambda: ehr.get(f"/Observation/$lastn?{urlencode({name: value, 'code': 'http://x|VIH'})}"),
    ):
        assert ask().json["total"] == 0
        rows.append(told(app, "$lastn")[0])

    assert [row.get("for") for row in rows] == [[f"Patient/{patient}"]] * 2


def test_a_resource_among_parameters_is_told_by_its_name_alone(app, ehr, patient):
    """What is validated is content, and stands in no log."""
    sent = {
        "resource": {"resource": {"resourceType": "Patient", "name": [{"family": "Durand"}]}},
        "mode": {"valueCode": "create"},
    }
    assert ehr.post("/Patient/$validate", parameters(**sent)).status_code == 200
    row, sealed = told(app, "$validate")

    assert row["request"] == "POST /fhir/Patient/$validate\nresource=…&mode=…"
    assert sealed == "POST /fhir/Patient/$validate\nresource=&mode=create"


def test_a_value_with_parts_is_sealed_as_json(app, ehr, patient):
    """What the patient's record is tagged with may be a disease."""
    meta = {"valueMeta": {"tag": [{"system": "urn:x", "code": "VIH"}]}}
    assert ehr.post(f"/Patient/{patient}/$meta-add", parameters(meta=meta)).status_code == 200
    row, sealed = told(app, "$meta-add")

    assert row["request"] == f"POST /fhir/Patient/{patient}/$meta-add\nmeta=…"
    assert "VIH" in sealed


CONDITIONS = (
    asking("POST", "Observation", observation("Patient/p"), ifNoneExist="_id=nobody&code=VIH"),
    asking("PUT", "Observation?_id=nobody&status=VIH", observation("Patient/p")),
    asking("DELETE", "Condition?_id=nobody&code=VIH"),
    asking("GET", "Observation?code=other"),
    asking("DELETE", "Basic/nobody"),
)


@pytest.mark.parametrize("whole", [True, False], ids=["done", "refused"])
def test_the_event_of_a_transaction_tells_the_criteria_of_its_entries(app, ehr, whole):
    """Whether something matches is an answer, also where nothing is made of it or all is refused; searches have events of their own."""
    broken = asking("POST", "Observation", {"resourceType": "Observation"})
    bundles = CONDITIONS if whole else (*CONDITIONS, broken)
    entries = [each for bundle in bundles for each in bundle["entry"]]
    answer = ehr.post("?_pretty=true", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    row, sealed = told(app, "transaction")

    assert answer.status_code == (200 if whole else 400)
    assert row["request"].split("\n") == [
        "POST /fhir?_pretty=true",
        "If-None-Exist: ?_id=nobody&code=…",
        "Observation?_id=nobody&status=…",
        "Condition?_id=nobody&code=…",
    ]
    assert sealed.split("\n")[1:] == [
        "If-None-Exist: _id=nobody&code=VIH",
        "Observation?_id=nobody&status=VIH",
        "Condition?_id=nobody&code=VIH",
    ]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_the_event_of_a_transaction_tells_by_what_criteria_it_refers(app, ehr, patient, method):
    """Whether nothing meets them, or one does that is not told otherwise: sealed as they were sent, in a patch as well."""
    made = [ehr.post("/Observation", observation(f"Patient/{patient}")).json["id"] for _ in range(2)]
    for value, status in (("x", 200), ("none", 400)):
        criteria = f"_id={made[0]}&code:text={value}"
        members = [{"reference": f"Observation?{criteria}"}]
        data = json.dumps([{"op": "add", "path": "/hasMember", "value": members}]).encode()
        tree = {
            "POST": {**observation(f"Patient/{patient}"), "hasMember": members},
            "PATCH": {
                "resourceType": "Binary",
                "contentType": "application/json-patch+json",
                "data": base64.b64encode(data).decode(),
            },
        }[method]
        url = "Observation" if method == "POST" else f"Observation/{made[1]}"
        [entry] = asking(method, url, tree)["entry"]
        answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
        row, sealed = told(app, "transaction")

        assert answer.status_code == status
        assert row["request"].split("\n")[1:] == [f"reference: Observation?_id={made[0]}&code:text=…"]
        assert sealed.split("\n")[1:] == [f"reference: Observation?{criteria}"]


def test_criteria_of_references_and_of_entries_are_bounded_together(ehr):
    """What is more than the log holds of one is 413, and nothing is asked."""
    long = [f"Observation?_id=nobody&code={'x' * 99_000}{place}" for place in range(MOST_CONDITIONS // 99_000)]
    [refers] = asking(
        "POST", "Observation", {**observation("Patient/p"), "hasMember": [{"reference": each} for each in long]}
    )["entry"]
    [deletes] = asking("DELETE", f"Basic?_id=nobody&code={'x' * 99_000}")["entry"]

    def send(*sent):
        return ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": list(sent)}).status_code

    assert [send(refers), send(refers, deletes)] == [400, 413]


def test_criteria_push_no_others_out_of_the_event_of_a_transaction(app, ehr):
    """What is more than the log holds of one is 413."""
    [long] = asking("DELETE", f"Basic?_id=nobody&code={'x' * 99_000}")["entry"]
    most = MOST_CONDITIONS // 99_000
    entries = [
        {**long, "request": {**long["request"], "url": f"{long['request']['url']}{place}"}} for place in range(most + 1)
    ]
    [last] = asking("DELETE", "Condition?_id=nobody&code=VIH")["entry"]

    def send(*sent):
        return ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": list(sent)}).status_code

    assert send(*entries[:most], last) == 200
    row, sealed = told(app, "transaction")
    assert sealed.endswith("\nCondition?_id=nobody&code=VIH")
    assert len(row["request"]) <= LENGTH
    assert send(*entries, last) == 413


LONG = "x" * 60_000


@pytest.mark.parametrize(
    ("act", "ask"),
    [
        ("search-type", lambda ehr: ehr.get(f"/Observation?_format=json&unheard={LONG}&code=VIH")),
        (
            "search-type",
            lambda ehr: ehr.post("/Observation/_search", f"unheard={LONG}&code=VIH".encode(), headers=FORM),
        ),
        ("search-type", lambda ehr: ehr.post("", asking("GET", f"Observation?unheard={LONG}&code=VIH"))),
        ("$lastn", lambda ehr: ehr.post("/Observation/$lastn", parameters(category=LONG, code="VIH"))),
    ],
    ids=["URL", "form", "entry", "Parameters"],
)
def test_nothing_that_is_asked_pushes_something_else_out(app, ehr, patient, act, ask):
    """What is sealed is whole; in the open a mark tells that there was more."""
    assert ask(ehr).status_code == 200
    row, sealed = told(app, act)

    assert sealed.endswith("code=VIH")
    assert len(sealed) > len(LONG)
    assert len(row["request"]) <= LENGTH
    assert row["request"].endswith("…")


@pytest.mark.parametrize(
    "ask",
    [
        lambda ehr, long: ehr.post("/Observation/_search", f"code={long}".encode(), headers=FORM),
        lambda ehr, long: ehr.post("", asking("GET", f"Observation?code={long}")),
        lambda ehr, long: ehr.post("", asking("PUT", f"Observation?code={long}", observation("Patient/p"))),
        lambda ehr, long: ehr.post("", asking("POST", "Observation", observation("Patient/p"), ifNoneExist=long)),
        lambda ehr, long: ehr.post("/Observation/$lastn", parameters(patient="p", code=long)),
    ],
    ids=["form", "entry", "criteria", "ifNoneExist", "Parameters"],
)
def test_more_than_the_log_holds_is_not_asked(ehr, ask):
    """413: nothing is answered that the event could not tell whole."""
    answer = ask(ehr, "x" * (MOST_ASKED + 1))
    status = answer.status_code if answer.status_code != 200 else int(answer.json["entry"][0]["response"]["status"][:3])

    assert status == 413


def test_a_stranger_fills_no_log(app, anonymous):
    """Nothing is answered to them: the beginning is kept, and the digest of the whole."""
    assert anonymous.get(f"/fhir/Observation?unheard={LONG}&code=VIH").status_code == 401
    row, sealed = told(app, "get")

    assert len(row["request"]) <= LENGTH
    assert len(sealed) < LENGTH + 100
    assert sealed.splitlines()[1].startswith("sha256: ")


@pytest.mark.parametrize(
    ("path", "on", "shown", "sealed"),
    [
        ("/Observation/o1%3Fcode=hiv", "Observation", "/Observation/…", "/Observation/o1%3Fcode%3Dhiv"),
        (
            "/Observation/o1%0AIf-None-Exist:%20x%3Fcode=hiv",
            "Observation",
            "/Observation/…",
            "/Observation/o1%0AIf-None-Exist%3A%20x%3Fcode%3Dhiv",
        ),
        ("/Observation/o1/_history/1%3Fcode=hiv", "Observation/o1", "/Observation/o1/_history/…", None),
        ("/Observation/o1&code=hiv", "Observation", "/Observation/…", None),
    ],
)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "entry"])
def test_a_path_tells_nothing_but_types_and_ids(app, ehr, path, on, shown, sealed, alone):
    """What is percent-encoded in it is no question, and no line that was not sent; it is told to those who may read what is sealed."""
    ask = (lambda: ehr.get(path)) if alone else (lambda: ehr.post("", asking("GET", path[1:])))
    assert ask().status_code in (200, 404)
    row, beside = told(app, "vread" if "_history" in path else "read")

    assert row["on"] == on
    assert row["request"] == (f"GET /fhir{shown}" if alone else "POST /fhir")
    assert "hiv" not in json.dumps(row)
    if sealed and alone:
        assert beside == f"GET /fhir{sealed}"


def test_an_operation_that_could_not_be_is_not_named(app, ehr):
    """Its name is the caller's own words."""
    assert ehr.get("/Observation/$lastn%3Fcode=hiv").status_code == 400
    row, sealed = told(app, "operation")

    assert "hiv" not in json.dumps(row)
    assert sealed == "GET /fhir/Observation/$lastn%3Fcode%3Dhiv"


SECRET = "S3cretValue"
CREDENTIALS = {
    "a URL": lambda ehr, p: ehr.get(f"/Observation?patient={p}&access_token={SECRET}"),
    "a URL with a body": lambda ehr, p: ehr.post(f"/Observation?access_token={SECRET}", observation(f"Patient/{p}")),
    "a form": lambda ehr, p: ehr.post("/Observation/_search", f"client_secret={SECRET}".encode(), headers=FORM),
    "an entry of a batch": lambda ehr, p: ehr.post("", asking("GET", f"Observation?patient={p}&id_token={SECRET}")),
    "criteria": lambda ehr, p: ehr.delete(f"/Observation?_id=x&password={SECRET}"),
    "criteria of an entry": lambda ehr, p: ehr.post(
        "", asking("DELETE", f"Observation?_id=x&refresh_token={SECRET}", kind="transaction")
    ),
    "a header": lambda ehr, p: ehr.post(
        "/Observation", observation(f"Patient/{p}"), headers={"If-None-Exist": f"token={SECRET}&_id=x"}
    ),
    "an operation": lambda ehr, p: ehr.get(f"/Observation/$lastn?patient={p}&code_verifier={SECRET}"),
    "a search of the log": lambda ehr, p: ehr.get(f"/AuditEvent?date=ge2026&access_token={SECRET}"),
}


@pytest.mark.parametrize("way", CREDENTIALS)
def test_a_credential_stands_neither_in_a_row_nor_beside_it(app, ehr, patient, way):
    """It is of no use here, and who reads the log is not to have it; its name tells that it was sent."""
    CREDENTIALS[way](ehr, patient)
    parts, _ = app.extensions["fhir_dmp"].store.search_events(EVERYTHING, 50, None)

    held = [part.event.body + (part.event.secret or b"") for part in parts]
    assert [each for each in held if SECRET.encode() in each] == []
    assert any(b"=\xe2\x80\xa6" in each for each in held)


def test_a_strangers_credential_stands_nowhere_either(app, anonymous):
    """Who forgets the header and puts the token into the URL is refused, and told of without it."""
    assert anonymous.get(f"/fhir/Observation?patient=p1&code=hiv&access_token={SECRET}").status_code == 401

    [event, *_] = (part.event for part in app.extensions["fhir_dmp"].store.search_events(EVERYTHING, 50, None)[0])
    sealed = unseal(event.secret, json.loads(event.body).get("sealed"))
    assert sealed["request"] == "GET /fhir/Observation?patient=p1&code=hiv&access_token=…"
    assert SECRET.encode() not in event.body
