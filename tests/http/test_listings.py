"""What all lists have in common: when they were made, and how their pages go on. https://hl7.org/fhir/R4/http.html#paging."""

from __future__ import annotations

import re
import threading
import time
from urllib.parse import quote, urlencode

import pytest

LISTS = (
    "/Observation?_count=1",
    "/Patient/p/$everything?_count=1",
    "/Patient/p/*?_count=1",
    "/Observation/_history?_count=1",
)


def observation(name, value=0):
    """Return an Observation of the patient."""
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/p"},
        "valueInteger": value,
    }


def following(answer):
    """Return the link to the next page, or None."""
    assert answer.status_code == 200, answer.data
    return next((link["url"] for link in answer.json["link"] if link["relation"] == "next"), None)


@pytest.fixture
def record(ehr):
    """A patient with three observations."""
    fill(ehr)


@pytest.fixture(scope="module")
def still(still_ehr):
    """The same record, at an EHR that only asks."""
    fill(still_ehr)
    return still_ehr


def fill(ehr):
    """Store the record."""
    ehr.put("/Patient/p", {"resourceType": "Patient", "id": "p"})
    for number in range(3):
        ehr.put(f"/Observation/o{number}", observation(f"o{number}"))


@pytest.mark.parametrize("url", LISTS)
def test_all_pages_of_a_list_tell_one_moment_before_whatever_comes_later(ehr, record, url):
    """meta.lastUpdated is that of the first page, and precedes what was written after it."""
    pages = [ehr.get(url)]
    while (link := following(pages[-1])) is not None:
        ehr.put("/Observation/o0", observation("o0", len(pages)))
        pages.append(ehr.get(link))
    moments = {page.json["meta"]["lastUpdated"] for page in pages}

    assert len(pages) > 2
    assert len(moments) == 1
    assert moments.pop() < ehr.get("/Observation/o0/_history/1").json["meta"]["lastUpdated"]


@pytest.mark.parametrize("url", ["/Observation?_summary=count", "/Observation/$lastn?patient=p", "/Basic?_sort=_id"])
def test_every_searchset_tells_its_moment(ehr, record, url):
    """Counts, the latest of each kind, and lists of nothing."""
    assert ehr.get(url).json["meta"]["lastUpdated"] > "2020"


BUNDLES = (
    *LISTS,
    *("/Observation?_summary=count", "/Observation/$lastn?patient=p", "/Basic?_sort=_id", "/Observation/o0/_history"),
    "/Patient/p/$everything?_summary=count",
)
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


def test_every_bundle_that_is_answered_has_an_id_of_its_own(ehr, auditor, record):
    """Each page, the answers to a batch and a transaction, those within a batch and those of the log: the same asked again is another Bundle."""
    pages = [ehr.get(url) for url in BUNDLES * 2]
    pages += [ehr.get(following(ehr.get(url))) for url in LISTS]
    pages += [auditor.get(f"/AuditEvent?date=ge2000&{more}") for more in ("_count=1", "_summary=count")]
    entry = [{"request": {"method": "GET", "url": "Observation?_count=1"}}]
    for kind in ("batch", "transaction"):
        pages.append(ehr.post("/", {"resourceType": "Bundle", "type": kind, "entry": entry}))
    found = [page.json for page in pages]
    found += [page["entry"][0]["resource"] for page in found[-2:]]

    assert {page["type"] for page in found} == {"searchset", "history", "batch-response", "transaction-response"}
    assert [page["id"] for page in found if not UUID7.match(page["id"])] == []
    assert len({page["id"] for page in found}) == len(found)


def test_a_search_of_the_log_tells_its_moment_too(ehr, auditor, record):
    """The same on all pages, and older than any event to come."""
    first = auditor.get("/AuditEvent?date=ge2000&_count=2")
    second = auditor.get(following(first))

    assert second.json["meta"] == first.json["meta"]
    assert first.json["meta"]["lastUpdated"] < second.json["entry"][0]["resource"]["recorded"]


def test_who_polls_a_search_with_its_own_moment_misses_no_change(ehr):
    """While others write: _lastUpdated=ge and meta.lastUpdated of the last searchset; the last version of each is seen."""
    stop, seen, since = threading.Event(), {}, "2001-01-01T00:00:00Z"

    def work(name):
        caller, number = ehr.fresh(), 0
        while not stop.is_set():
            number += 1
            caller.put(f"/Observation/{name}", observation(name, number))

    def poll(since):
        url = f"/Observation?{urlencode({'_lastUpdated': f'ge{since}', '_count': '2'})}"
        while url:
            page = ehr.get(url)
            for entry in page.json.get("entry", ()):
                seen[entry["resource"]["id"]] = entry["resource"]
            url = following(page)
        return page.json["meta"]["lastUpdated"]

    writers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(3)]
    for writer in writers:
        writer.start()
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends or not {"w0", "w1", "w2"} <= {
        each for each in seen if seen[each]["meta"]["versionId"] != "1"
    }:
        since = poll(since)
    stop.set()
    for writer in writers:
        writer.join()
    poll(since)

    assert seen == {f"w{number}": ehr.get(f"/Observation/w{number}").json for number in range(3)}
    assert all(int(each["meta"]["versionId"]) > 1 for each in seen.values())


@pytest.mark.parametrize("url", [*LISTS, "/?_type=Observation,Patient&_count=1"])
@pytest.mark.parametrize("beside", ["_count=2", "code=x", "_summary=true", "_since=2020-01-01", "_page=again"])
def test_nothing_is_added_to_what_the_first_page_asked(still, url, beside):
    """A parameter beside the token would be passed over in silence: 400 with its name; the form of an answer may change."""
    link = following(still.get(url))

    refused = still.get(f"{link}&{beside}")

    assert refused.status_code == 400
    assert refused.json["issue"][0]["expression"] == [beside.partition("=")[0]]
    assert still.get(f"{link}&_format=json&_pretty=true").status_code == 200


def test_nothing_is_added_to_a_page_by_post_either(ehr, auditor, record):
    """In a form, in Parameters, and to a page of the log."""
    token = following(ehr.get("/Observation?_count=1")).partition("_page=")[2]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    whole = following(ehr.get("/Patient/p/$everything?_count=1"))
    body = {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Patient"}]}
    log = following(auditor.get("/AuditEvent?date=ge2000&_count=1"))

    assert ehr.post("/Observation/_search", f"_page={token}".encode(), headers=form).status_code == 200
    assert ehr.post("/Observation/_search", f"_page={token}&code=x".encode(), headers=form).status_code == 400
    assert ehr.post(f"/Observation/_search?_page={quote(token, safe='%')}", b"code=x", headers=form).status_code == 400
    assert ehr.post(whole, body).status_code == 400
    assert auditor.get(f"{log}&date=ge2020").status_code == 400
    assert ehr.get(f"/Observation/$lastn?patient=p&_page={token}").status_code == 400


def test_a_further_page_goes_on_with_what_was_understood(ehr, record):
    """What lenient handling passed over on the first page is told there, and not taken along."""
    first = ehr.get("/Observation?_count=2&shoe=1")
    second = ehr.get(following(first), headers={"Prefer": "handling=strict"})

    assert [entry["search"]["mode"] for entry in first.json["entry"]] == ["match", "match", "outcome"]
    assert [entry["search"]["mode"] for entry in second.json["entry"]] == ["match"]
