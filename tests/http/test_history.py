"""History at the FHIR endpoint, on a real MongoDB. https://hl7.org/fhir/R4/http.html#history."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from fhir_dmp.clock import instant
from tests.bundles import done, entry, send


def patient(name, **more):
    """Return a Patient of that id."""
    return {"resourceType": "Patient", "id": name, **more}


numbers = itertools.count()


def write(caller, name, versions):
    """Write so many versions of a Patient, no two alike."""
    for _ in range(versions):
        body = patient(name, multipleBirthInteger=next(numbers))
        assert caller.put(f"/Patient/{name}", body).status_code in (200, 201)


def versions(bundle):
    """Return what the entries hold, as Type/id/version, deletions by their etag."""
    found = []
    for each in bundle.get("entry", ()):
        etag = each["response"]["etag"].strip('W/"')
        found.append("/".join(each["fullUrl"].split("/")[-2:]) + f"/{etag}")
    return found


def walk(caller, url):
    """Return all pages from ``url`` on."""
    pages = [caller.get(url).json]
    while True:
        links = {link["relation"]: link["url"] for link in pages[-1]["link"]}
        if "next" not in links:
            return pages
        pages.append(caller.get(links["next"]).json)


def test_the_history_of_a_resource_tells_every_version_newest_first(ehr):
    """Create, update, deletion and return: what was done, with which answer; a deletion has no resource."""
    write(ehr, "a", 2)
    ehr.delete("/Patient/a")
    write(ehr, "a", 1)
    history = ehr.get("/Patient/a/_history").json

    assert history["type"] == "history"
    assert history["total"] == 4
    assert versions(history) == ["Patient/a/4", "Patient/a/3", "Patient/a/2", "Patient/a/1"]
    assert [entry["request"]["method"] for entry in history["entry"]] == ["PUT", "DELETE", "PUT", "POST"]
    assert [entry["response"]["status"][:3] for entry in history["entry"]] == ["201", "204", "200", "201"]
    assert "resource" not in history["entry"][1]
    assert history["entry"][0]["resource"]["meta"]["lastUpdated"] == history["entry"][0]["response"]["lastModified"]


def test_what_came_back_is_told_as_created_for_good(ehr):
    """A later version does not change what is told of the one that came back."""
    write(ehr, "a", 1)
    ehr.delete("/Patient/a")
    write(ehr, "a", 2)

    told = [(each["request"]["method"], each["response"]["status"][:3]) for each in ehr.get("/_history").json["entry"]]

    assert told == [("PUT", "200"), ("PUT", "201"), ("DELETE", "204"), ("POST", "201")]


def test_a_patch_is_told_as_one_for_good(ehr):
    """Alone and in a bundle, of the present version and of past ones; also once the same is put again, which makes no version."""
    write(ehr, "a", 1)
    assert ehr.patch("/Patient/a", [{"op": "add", "path": "/gender", "value": "other"}]).status_code == 200
    write(ehr, "a", 1)
    by_bundle = {"name": "operation", "part": [{"name": "type", "valueCode": "add"}]}
    by_bundle["part"] += [{"name": "path", "valueString": "Patient"}, {"name": "name", "valueString": "gender"}]
    by_bundle["part"] += [{"name": "value", "valueCode": "female"}]
    parameters = {"resourceType": "Parameters", "parameter": [by_bundle]}
    done(send(ehr, entry("PATCH", "Patient/a", parameters)))
    assert ehr.put("/Patient/a", ehr.get("/Patient/a").json).status_code == 200

    for url in ("/Patient/a/_history", "/Patient/_history", "/_history"):
        told = [each["request"] for each in ehr.get(url).json["entry"]]
        assert [each["method"] for each in told] == ["PATCH", "PUT", "PATCH", "POST"]
        assert {each["url"] for each in told[:3]} == {"Patient/a"}


def test_the_history_of_a_type_and_of_the_system_hold_what_belongs_to_them(ehr):
    """Type, system, and nothing of what never was."""
    write(ehr, "a", 2)
    ehr.put("/Basic/b", {"resourceType": "Basic", "id": "b", "code": {"text": "x"}})

    assert versions(ehr.get("/Patient/_history").json) == ["Patient/a/2", "Patient/a/1"]
    assert versions(ehr.get("/_history").json) == ["Basic/b/1", "Patient/a/2", "Patient/a/1"]
    assert ehr.get("/Observation/_history").json["total"] == 0
    assert ehr.get("/Patient/nobody/_history").status_code == 404
    assert ehr.get("/Nonsense/_history").status_code == 404


@pytest.mark.parametrize("url", ["/Patient/a/_history", "/Patient/_history", "/_history"])
def test_pages_hold_each_version_once_while_others_write(ehr, url):
    """Versions that are made between two pages neither repeat nor hide one; every page has the same horizon."""
    write(ehr, "a", 7)
    pages = [ehr.get(f"{url}?_count=2").json]
    while True:
        links = {link["relation"]: link["url"] for link in pages[-1]["link"]}
        if "next" not in links:
            break
        write(ehr, "a", 1)
        pages.append(ehr.get(links["next"]).json)
    seen = [version for page in pages for version in versions(page)]

    assert seen == [f"Patient/a/{number}" for number in range(7, 0, -1)]
    assert pages[0]["total"] == 7
    assert len({page["meta"]["lastUpdated"] for page in pages}) == 1


def test_a_thousand_versions_of_one_moment_are_paged_each_once(ehr):
    """One transaction, one second: pages that a timestamp could not cut."""
    entries = [
        {"request": {"method": "PUT", "url": f"Patient/n{n}"}, "resource": patient(f"n{n}")} for n in range(1000)
    ]
    assert ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": entries}).status_code == 200
    pages = walk(ehr, "/_history?_count=90")
    found = [each for page in pages for each in versions(page)]

    assert pages[0]["total"] == 1000
    assert len(found) == 1000
    assert set(found) == {f"Patient/n{n}/1" for n in range(1000)}


def test_a_total_is_exact_while_others_write(ehr):
    """A version that moves from the present to the past is counted once: the total never shrinks, and grows by what was written."""
    write(ehr, "a", 3)
    stop = threading.Event()
    written = []

    def work():
        while not stop.is_set():
            written.append(ehr.fresh().put("/Patient/a", patient("a", multipleBirthInteger=len(written))).status_code)

    worker = threading.Thread(target=work)
    worker.start()
    totals = []
    for _ in range(15):
        before = len(written)
        totals.append(ehr.get("/Patient/a/_history?_count=0").json["total"])
        assert 3 + before <= totals[-1] <= 3 + len(written) + 1
    stop.set()
    worker.join()

    assert totals == sorted(totals)
    assert set(written) == {200}


def test_since_leaves_out_what_is_older(ehr):
    """From that instant on; a plus that nobody encoded is understood."""
    write(ehr, "a", 3)
    middle = ehr.get("/Patient/a/_history/2").json["meta"]["lastUpdated"]

    assert versions(ehr.get(f"/Patient/a/_history?_since={middle}").json) == ["Patient/a/3", "Patient/a/2"]
    assert ehr.get(f"/_history?_since={middle}").json["total"] == 2
    assert ehr.get("/_history?_since=2999-01-01").json["total"] == 0
    assert ehr.get("/_history?_since=9999-12-31").json["total"] == 0
    assert ehr.get("/_history?_since=2001-01-01T00:00:00+02:00").json["total"] == 3


def test_at_finds_the_versions_that_were_present_then(ehr):
    """The last one before the moment; over an interval those made within as well; before the first, none."""
    write(ehr, "a", 3)
    moments = [ehr.get(f"/Patient/a/_history/{number}").json["meta"]["lastUpdated"] for number in (1, 2, 3)]

    assert versions(ehr.get(f"/Patient/a/_history?_at={moments[1]}").json) == ["Patient/a/2"]
    assert versions(ehr.get(f"/Patient/a/_history?_at={moments[0][:4]}").json) == [
        "Patient/a/3",
        "Patient/a/2",
        "Patient/a/1",
    ]
    assert versions(ehr.get("/Patient/a/_history?_at=2999").json) == ["Patient/a/3"]
    assert versions(ehr.get("/Patient/a/_history?_at=1999").json) == []
    assert versions(ehr.get("/Patient/_history?_at=1999").json) == []


def test_at_takes_prefixes_and_the_time_that_all_of_its_values_share(ehr):
    """As searches by date do; what is one stretch of time, and not what has a hole in it or is only nearly there."""
    write(ehr, "a", 3)
    first, second, third = (ehr.get(f"/Patient/a/_history/{n}").json["meta"]["lastUpdated"] for n in (1, 2, 3))
    found = {
        query: "".join(each[-1] for each in versions(ehr.get(f"/Patient/a/_history?{query}").json))
        for query in (
            f"_at=ge{second}",
            f"_at=gt{third}",
            f"_at=le{second}",
            f"_at=lt{second}",
            f"_at=ge{first}&_at=lt{second}",
            f"_at=ge{first[:4]}&_at=le{first[:4]}&_count=2",
            "_at=gt2999",
            "_at=9999",
            "_at=lt1999",
        )
    }

    assert list(found.values()) == ["32", "3", "21", "1", "1", "32", "3", "3", ""]


def test_at_finds_what_all_of_a_type_and_of_the_system_were_then(ehr):
    """Each resource by the one version that was present at the moment, in pages too; the deleted by its deletion."""
    for name in "abc":
        write(ehr, name, 2)
    moment = ehr.get("/Patient/c").json["meta"]["lastUpdated"]
    ehr.delete("/Patient/b")
    deleted = ehr.get("/Patient/b/_history").json["entry"][0]["response"]["lastModified"]
    write(ehr, "a", 2)
    ehr.post("/Basic", {"resourceType": "Basic", "code": {"text": "x"}})

    then = {"Patient/a/2", "Patient/b/2", "Patient/c/2"}
    for url in ("/Patient/_history", "/_history"):
        assert set(versions(ehr.get(f"{url}?_at={moment}").json)) == then
        paged = [each for page in walk(ehr, f"{url}?_at={moment}&_count=1") for each in versions(page)]
        assert paged == ["Patient/c/2", "Patient/b/2", "Patient/a/2"]
        assert set(versions(ehr.get(f"{url}?_at={deleted}").json)) == {"Patient/a/2", "Patient/b/3", "Patient/c/2"}
    assert len(versions(ehr.get("/_history?_at=2999").json)) == 4


def test_an_ehr_that_polls_with_the_bundles_own_timestamp_misses_nothing(ehr):
    """While others write: _since = meta.lastUpdated of the last bundle; twice is allowed, never not at all."""
    stop, seen, since = threading.Event(), set(), "2001-01-01T00:00:00Z"

    def work(name):
        caller = ehr.fresh()
        while not stop.is_set():
            write(caller, name, 1)

    writers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(3)]
    for writer in writers:
        writer.start()
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends or len(seen) <= 10:
        pages = walk(ehr, f"/_history?_count=50&_since={since}")
        seen.update(version for page in pages for version in versions(page))
        since = pages[-1]["meta"]["lastUpdated"]
    stop.set()
    for writer in writers:
        writer.join()
    pages = walk(ehr, f"/_history?_count=50&_since={since}")
    seen.update(version for page in pages for version in versions(page))
    written = {version for page in walk(ehr, "/_history?_count=1000") for version in versions(page)}

    assert len(written) > 10
    assert seen == written


def test_the_horizon_lies_before_every_commit_to_come(ehr):
    """meta.lastUpdated precedes even what is written right after."""
    write(ehr, "a", 1)
    horizon = ehr.get("/_history").json["meta"]["lastUpdated"]

    assert horizon < ehr.get("/Patient/a").json["meta"]["lastUpdated"]
    assert len(horizon) == len(instant(0))


def test_count_zero_tells_the_total_alone(ehr):
    """No entries, no next page."""
    write(ehr, "a", 2)
    history = ehr.get("/Patient/a/_history?_count=0").json

    assert history["total"] == 2
    assert "entry" not in history
    assert [link["relation"] for link in history["link"]] == ["self"]


@pytest.mark.parametrize(
    "query",
    [
        "_count=-1",
        "_count=x",
        "_count=%C2%B2",
        "_since=yesterday",
        "_since=2024-02-30",
        "_at=x",
        "_at=ne2024",
        "_at=ge2024&_at=lt2024",
        "_since=ge2024",
        "_page=x",
        "_count=1&_count=2",
        "_list=x",
    ],
)
def test_what_cannot_be_read_is_refused(ehr, query):
    """A clear error, never a 500."""
    write(ehr, "a", 1)
    answer = ehr.get(f"/Patient/a/_history?{query}")

    assert answer.status_code == 400, answer.data
    assert answer.json["issue"][0]["diagnostics"]


def test_an_absurd_count_is_cut_and_an_unknown_parameter_refused_when_strict(ehr):
    """The limit of a page holds; strict handling tells what it does not know."""
    write(ehr, "a", 1)

    assert ehr.get("/_history?_count=" + "9" * 300).status_code == 200
    assert ehr.get("/_history?shoe=1").status_code == 200
    assert ehr.get("/_history?shoe=1", headers={"Prefer": "handling=strict"}).status_code == 400


def test_a_page_token_is_its_owners_alone_and_for_its_own_path(ehr, with_scopes):
    """Another client, another path, a changed letter: 400."""
    write(ehr, "a", 3)
    following = next(
        link["url"] for link in ehr.get("/Patient/a/_history?_count=1").json["link"] if link["relation"] == "next"
    )
    token = following.partition("_page=")[2]
    other = with_scopes("system/*.cruds", "system/Patient.rs")

    assert ehr.get(following).status_code == 200
    assert other.get(following).status_code == 400
    assert ehr.get(f"/_history?_page={token}").status_code == 400
    assert ehr.get(f"/Patient/a/_history?_page={token[:-3]}AAA").status_code == 400


def test_history_is_narrowed_by_the_rules(ehr, with_scopes):
    """A client sees versions of the types that its scopes name, in the system's history and its totals too."""
    write(ehr, "a", 2)
    ehr.put("/Basic/b", {"resourceType": "Basic", "id": "b", "code": {"text": "x"}})
    reader = with_scopes("system/Basic.rs")

    assert versions(reader.get("/_history").json) == ["Basic/b/1"]
    assert reader.get("/_history").json["total"] == 1
    assert reader.get("/Patient/_history").status_code == 403
    assert reader.get("/Patient/a/_history").status_code == 403
