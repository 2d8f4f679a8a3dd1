"""Parts of resources: _summary and _elements. https://hl7.org/fhir/R4/search.html#summary."""

from __future__ import annotations

import pytest

PATIENT = b"""{"resourceType": "Patient", "id": "p", "text": {"status": "generated", "div": "<div xmlns=\\"http://www.w3.org/1999/xhtml\\">Zo\xc3\xa9</div>"},
 "name": [{"family": "Durand"}], "birthDate": "1980-02-29", "_birthDate": {"id": "b"}, "maritalStatus": {"text": "x"},
 "communication": [{"language": {"text": "fr"}}], "contact": [{"name": {"text": "c"}}], "link": [{"other": {"reference": "Patient/q"}, "type": "seealso"}]}"""
OBSERVATION = b"""{"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "K"}, "valueQuantity": {"value": 36.70},
 "subject": {"reference": "Patient/p"}, "note": [{"text": "n"}], "component": [{"code": {"text": "c"}, "valueInteger": 1, "referenceRange": [{"text": "r"}]}]}"""


@pytest.fixture
def parts(ehr):
    """A patient and an observation, and a function from a URL to the properties of the one resource there."""
    return parts_of(ehr)


@pytest.fixture(scope="module")
def still_parts(still_ehr):
    """The same, and something else of the patient, for all that only ask."""
    basic = {"resourceType": "Basic", "id": "b", "code": {"text": "b"}, "subject": {"reference": "Patient/p"}}
    get = parts_of(still_ehr)
    still_ehr.put("/Basic/b", basic)
    return get


def parts_of(ehr):
    """Store both; return a function from a URL to the properties of the one resource there, beside resourceType, id and meta."""
    ehr.put("/Patient/p", PATIENT)
    ehr.put("/Observation/o", OBSERVATION)

    def get(url):
        answer = ehr.get(url)
        assert answer.status_code == 200, answer.data
        found = answer.json
        resource = found["entry"][0]["resource"] if found["resourceType"] == "Bundle" else found
        tags = [tag["code"] for tag in resource["meta"].get("tag", ())]
        assert resource["id"]
        assert resource["meta"]["versionId"] == "1"
        assert tags == ["SUBSETTED"] or "=false" in url or "=count" in url
        return set(resource) - {"resourceType", "id", "meta"}

    return get


SUMMARY = {"name", "birthDate", "_birthDate", "link"}
DATA = SUMMARY | {"maritalStatus", "communication", "contact"}


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("_summary=true", SUMMARY),
        ("_summary=text", {"text"}),
        ("_summary=data", DATA),
        ("_summary=false", DATA | {"text"}),
        ("_elements=name,birthDate", {"name", "birthDate", "_birthDate"}),
        ("_elements=Patient.maritalStatus, nonsense", {"maritalStatus"}),
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "/Patient/p?",
        "/Patient/p/_history/1?",
        "/Patient?_id=p&",
        "/Patient/p/_history?",
        "/?_type=Patient&_id=p&",
        "/Patient/p/*?_type=Patient&",
        "/Patient/p/$everything?",
    ],
)
def test_a_part_is_given_where_one_is_asked_for(still_parts, url, query, kept):
    """By read, vread, search, history, over several types and of a whole record: the same part."""
    assert still_parts(url + query) == kept


def test_what_must_be_there_is_there(parts):
    """Elements of at least one are kept; a choice is named without its type; digits stay."""
    assert parts("/Observation/o?_elements=value") == {"status", "code", "valueQuantity"}
    assert parts("/Observation/o?_elements=note") == {"status", "code", "note"}
    assert parts("/Observation/o?_summary=text") == {"status", "code"}


def test_a_summary_goes_into_backbone_elements(ehr, parts):
    """Observation.component is of the summary, its referenceRange is not; 36.70 stays 36.70."""
    answer = ehr.get("/Observation/o?_summary=true")

    assert answer.json["component"] == [{"code": {"text": "c"}, "valueInteger": 1}]
    assert b'"value":36.70' in answer.data


def test_a_part_stays_one_on_every_page_and_in_what_is_included(ehr, parts):
    """The links carry it on."""
    for number in range(3):
        ehr.put(f"/Observation/{number}", OBSERVATION.replace(b'"id": "o"', f'"id": "{number}"'.encode()))
    answer = ehr.get("/Observation?_elements=status&_count=2&_include=Observation:subject")
    link = next(each["url"] for each in answer.json["link"] if each["relation"] == "next")

    whole = ehr.get("/Patient/p/$everything?_elements=status&_count=2")
    more = next(each["url"] for each in whole.json["link"] if each["relation"] == "next")
    latest = ehr.get("/Observation/$lastn?patient=p&_elements=status")
    pages = [answer, ehr.get(link), whole, ehr.get(more), latest]
    for entry in (entry for page in pages for entry in page.json["entry"]):
        assert entry["resource"]["meta"]["tag"][-1]["code"] == "SUBSETTED"
        assert not {"valueQuantity", "birthDate"} & set(entry["resource"])
    assert "_elements=status" in next(each["url"] for each in answer.json["link"] if each["relation"] == "self")


@pytest.mark.parametrize(
    ("url", "total"),
    [
        ("/Patient?", 1),
        ("/Patient?_count=1&_total=none&", 1),
        ("/Observation?code:text=k&_include=Observation:subject&", 1),
        ("/?_type=Patient,Observation&", 2),
        ("/?_id=o&", 1),
        ("/Patient/p/Observation?", 1),
        ("/Patient/p/*?", 3),
        ("/Patient/p/*?_type=Condition&", 0),
        ("/Patient/p/$everything?", 3),
        ("/Patient/p/$everything?_type=Observation&_count=1&", 1),
        ("/Patient/p/$everything?_since=2999-01-01&", 0),
        ("/Patient/p/$everything?start=2999-01-01&", 3),
        ("/Observation/$lastn?patient=p&", 1),
        ("/Patient/p/_history?", 1),
        ("/Patient/_history?_count=1&", 1),
        ("/_history?", 3),
        ("/_history?_since=2999-01-01&", 0),
        ("/_history?_at=le2999&", 3),
        ("/Patient/p/_history?_at=lt2000&", 0),
    ],
)
def test_a_number_alone_is_given_where_that_is_asked_for(still_ehr, still_parts, url, total):
    """_summary=count has the number of matches and no entry, no page after it, on every list; its self link says so."""
    answer = still_ehr.get(f"{url}_summary=count")

    assert answer.status_code == 200, answer.data
    assert answer.json["total"] == total
    assert "entry" not in answer.json
    (link,) = answer.json["link"]
    assert link["relation"] == "self"
    assert "_summary=count" in link["url"]


@pytest.mark.parametrize("url", ["/Patient/nobody/$everything", "/Patient/nobody/_history"])
def test_nothing_is_counted_of_what_is_absent(ehr, url):
    """404, as the list itself is."""
    assert ehr.get(f"{url}?_summary=count").status_code == 404


def test_versions_that_were_present_at_a_moment_are_counted(ehr, parts):
    """The total of a history by _at is that of all its pages."""
    ehr.put("/Patient/p", PATIENT.replace(b"Durand", b"Dupont"))
    whole = ehr.get("/Patient/_history?_at=ge2000&_count=1").json
    now = ehr.get("/Patient/_history?_at=ge2999").json

    assert (whole["total"], len(whole["entry"])) == (2, 1)
    assert (now["total"], [each["response"]["etag"] for each in now["entry"]]) == (1, ['W/"2"'])


@pytest.mark.parametrize(
    ("query", "kept", "left_out"),
    [
        ("_summary=true", {"type", "outcome", "agent"}, {"text"}),
        ("_summary=data", {"type", "entity"}, {"text"}),
        ("_summary=text", {"type", "agent"}, {"outcome", "entity"}),
        ("_elements=outcome", {"type", "agent", "outcome"}, {"entity"}),
    ],
)
def test_parts_of_events_are_given_too(ehr, auditor, parts, query, kept, left_out):
    """A search and a read of AuditEvents: what must be there is there, marked."""
    event = auditor.get(f"/AuditEvent?date=ge2000&entity=Patient/p&{query}").json["entry"][0]["resource"]

    assert kept <= set(event)
    assert not left_out & set(event)
    assert event["meta"]["tag"][-1]["code"] == "SUBSETTED"
    assert auditor.get(f"/AuditEvent/{event['id']}?{query}").json == event
    assert auditor.get("/AuditEvent?date=ge2000&_summary=nonsense").status_code == 400


@pytest.mark.parametrize(
    "query", ["_summary=nonsense", "_summary=true&_elements=name", "_summary=true&_summary=data", "_elements=,"]
)
def test_parts_that_cannot_be_meant_are_refused(still_ehr, still_parts, query):
    """400, on a read and on a search."""
    assert still_ehr.get(f"/Patient/p?{query}").status_code == 400
    assert still_ehr.get(f"/Patient?{query}").status_code == 400


@pytest.mark.parametrize("include", ["_include=Observation:subject", "_revinclude=Provenance:target"])
def test_narratives_alone_bring_nothing_along(ehr, parts, include):
    """The standard does not mix _summary=text with includes: 400; any other part does."""
    refused = ehr.get(f"/Observation?_summary=text&{include}")

    assert refused.status_code == 400
    assert refused.json["issue"][0]["expression"] == ["_summary"]
    assert ehr.get(f"/Observation?_summary=true&{include}").status_code == 200


def test_a_part_does_not_replace_the_whole(ehr, parts):
    """An update by what was read with _summary would lose the rest: 422, and nothing is changed."""
    part = ehr.get("/Patient/p?_summary=true").json

    assert ehr.put("/Patient/p", part).status_code == 422
    assert "communication" in ehr.get("/Patient/p").json


def test_parts_come_as_xml_too(ehr, parts):
    """The tag with them."""
    answer = ehr.get("/Patient/p?_summary=text&_format=xml")

    assert b"SUBSETTED" in answer.data
    assert b"<name>" not in answer.data
