"""The short way of plain calls answers as the long way does, and takes nothing that the long way must look at."""

from __future__ import annotations

import gzip

import pytest

from fhir_dmp.http.fhir.plain import plain_read, plain_write
from tests.access_world import observation
from tests.bundles import without_its_own

LONG_WAY = {"Prefer": "handling=lenient"}
TYPES = {"Patient", "Observation"}


@pytest.fixture
def patient(ehr):
    """A patient of two versions."""
    made = ehr.post("/Patient", {"resourceType": "Patient", "name": [{"family": "Été"}]}).get_json()
    return ehr.put(f"/Patient/{made['id']}", {**made, "active": True}).get_json()


def _told(answer):
    """Return what a caller sees, unpacked, but for what each answer has of its own: the ids of its Bundles and their moments among it."""
    own = ("X-Request-Id", "Date", "Content-Length")
    packed = answer.headers.get("Content-Encoding") == "gzip"
    body = gzip.decompress(answer.data) if packed else answer.data
    assert len(answer.data) == int(answer.headers.get("Content-Length", len(answer.data)))
    headers = {k: v for k, v in answer.headers.items() if k not in own}
    return answer.status_code, headers, without_its_own(body)


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
        "/Patient/{id}/$everything",
        "/Patient/{id}/$everything?_count=0",
        "/Patient/nobody/$everything?_type=Patient",
        "/Nonsense/1",
        "/Patient/{id}/",
        "/Patient/",
    ],
)
def test_both_ways_answer_alike(ehr, patient, url):
    """Status, headers and body are the same, for what is found, absent, wrong."""
    url = url.format(id=patient["id"])

    assert _told(ehr.get(url, headers=LONG_WAY)) == _told(ehr.get(url))


@pytest.mark.parametrize(
    "asked",
    ["Patient?_count=1", "Patient?_count=1&_sort=-_lastUpdated&_elements=active", "Patient/{id}/$everything?_count=1"],
)
def test_both_ways_go_on_alike(ehr, patient, asked):
    """A further page says what the first one was asked for, whichever way it takes; so does one that is none."""
    ehr.post("/Patient", {"resourceType": "Patient"})
    ehr.post("/Observation", observation(f"Patient/{patient['id']}"))
    first = ehr.get("/" + asked.format(id=patient["id"])).get_json()
    url = next(link["url"] for link in first["link"] if link["relation"] == "next").partition("/fhir")[2]

    for each in (url, url[:-5]):
        assert _told(ehr.get(each, headers=LONG_WAY)) == _told(ehr.get(each))
    assert len(ehr.get(url).get_json()["entry"]) == 1


def test_both_ways_pack_alike(ehr):
    """Most clients take gzip: a long answer is packed for them, a short one is not, with the same headers."""
    for number in range(12):
        ehr.put(f"/Patient/{number}", {"resourceType": "Patient", "id": str(number), "name": [{"text": "x" * 300}]})
    for url, coding in (("/Patient?_count=12&_sort=_id", "gzip"), ("/Patient/1", None)):
        short, long = (
            ehr.get(url, headers={"Accept-Encoding": asked}) for asked in ("gzip, deflate", "gzip;q=1.0, deflate")
        )
        assert short.headers.get("Content-Encoding") == coding
        assert _told(long) == _told(short)


PATIENT = {"resourceType": "Patient", "id": "own", "active": True}
SEARCHED = {
    "resourceType": "Bundle",
    "type": "batch",
    "entry": [{"request": {"method": "GET", "url": "Patient?active=true"}}],
}


@pytest.mark.parametrize(
    ("method", "url", "body", "headers"),
    [
        ("post", "/Patient", PATIENT, {}),
        ("post", "/Patient", PATIENT, {"If-None-Exist": "identifier=nobody"}),
        ("post", "/Patient", PATIENT, {"If-None-Exist": "_id=own"}),
        ("post", "/Patient", {"resourceType": "Patient", "unknown": 1}, {}),
        ("post", "/Patient", b'{"resourceType": "Patient"', {}),
        ("post", "/Patient", {"resourceType": "Observation"}, {}),
        ("put", "/Patient/own", PATIENT, {}),
        ("put", "/Patient/own", PATIENT, {"If-Match": 'W/"9"'}),
        ("put", "/Patient/other", PATIENT, {}),
        ("post", "", SEARCHED, {}),
        ("post", "", {"resourceType": "Bundle", "type": "document"}, {}),
        ("post", "/Nonsense", PATIENT, {}),
    ],
)
def test_both_ways_write_alike(ehr, method, url, body, headers):
    """Status, kinds of headers and issues are the same, for what is stored and for what is refused."""
    ehr.put("/Patient/own", PATIENT)

    long, short = (
        getattr(ehr, method)(url, body, headers={**headers, **more}) for more in ({"Accept-Encoding": "br;q=1"}, {})
    )

    assert short.status_code == long.status_code
    assert sorted(short.headers.keys()) == sorted(long.headers.keys())
    assert short.get_json().get("issue") == long.get_json().get("issue")


@pytest.mark.parametrize(
    "url", ["/Patient/{id}", "/Patient/nobody", "/Patient/" + "x" * 65, "/Nonsense/1", "/Patient/_x"]
)
@pytest.mark.parametrize("version", [None, 'W/"2"', 'W/"9"'])
def test_both_ways_delete_alike(ehr, url, version):
    """What is there, what is not, and what has moved on."""
    answers = []
    for way in ({"Accept-Encoding": "br;q=1"}, {}):
        made = ehr.post("/Patient", {"resourceType": "Patient"}).get_json()
        ehr.put(f"/Patient/{made['id']}", {**made, "active": True})
        asked = {"If-Match": version} if version else {}
        answers.append(ehr.delete(url.format(id=made["id"]), headers={**asked, **way}))

    long, short = answers
    assert short.status_code == long.status_code
    assert sorted(short.headers.keys()) == sorted(long.headers.keys())
    assert bool(short.data) == bool(long.data)


def test_a_body_that_is_shorter_than_it_says_is_refused(app, ehr, auditor):
    """Nothing is stored of a body that was cut on its way, and the refusal leaves its event."""
    answer = ehr.post("/Patient", b'{"resourceType":"Patient"}', environ_overrides={"CONTENT_LENGTH": "500"})

    assert answer.status_code == 400
    assert auditor.get("/AuditEvent?date=ge2020&subtype=create&outcome=4&_total=accurate").get_json()["total"] == 1


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
        ("/Patient/1/$everything", "_count=5", "operation"),
        ("/Patient/1/$everything", "_page=x", "operation"),
        ("/Patient", "_page=x", "search-type"),
        ("/Patient", "_page=x&_format=xml", None),
        ("/Patient/1/$meta", "", None),
        ("/metadata", "", None),
        ("/Other/1", "", None),
        ("", "", None),
        ("/", "", None),
    ],
)
def test_only_plain_reads_take_the_short_way(path, query, name):
    """Whatever negotiates, writes, operates (but for whole records) or is no type goes the long way."""
    call = plain_read(path, query, TYPES)

    assert (call.name if call else None) == name


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "", "bundle"),
        ("POST", "/Patient", "create"),
        ("PUT", "/Patient/1", "update"),
        ("PUT", "/Patient", None),
        ("DELETE", "/Patient/1", None),
        ("PATCH", "/Patient/1", None),
        ("POST", "/Patient/_search", None),
        ("POST", "/Patient/1/$meta", None),
        ("POST", "/$meta", None),
        ("POST", "/Other", None),
    ],
)
def test_only_plain_writes_take_the_short_way(method, path, name):
    """Whatever is conditional in its URL, patches or operates goes the long way."""
    call = plain_write(method, path, TYPES, {})

    assert (call.name if call else None) == name
