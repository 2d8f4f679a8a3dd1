"""A record as a whole: $everything, compartments, several types at once, the latest of each kind.

https://hl7.org/fhir/R4/patient-operation-everything.html, https://hl7.org/fhir/R4/compartmentdefinition.html.
"""

from __future__ import annotations

import pytest


def observation(number, patient="p", code="8867-4", **more):
    """Return a PUT of an observation of the patient."""
    return {
        "request": {"method": "PUT", "url": f"Observation/{patient}-{number}"},
        "resource": {
            "resourceType": "Observation",
            "id": f"{patient}-{number}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "subject": {"reference": f"Patient/{patient}"},
            "performer": [{"reference": "Practitioner/d"}],
            **more,
        },
    }


def put(kind, own, **more):
    """Return a PUT of a resource."""
    return {
        "request": {"method": "PUT", "url": f"{kind}/{own}"},
        "resource": {"resourceType": kind, "id": own, **more},
    }


def refs(answer, mode=None):
    """Return Type/id of the entries of a mode."""
    assert answer.status_code == 200, answer.data
    return [
        f"{each['resource']['resourceType']}/{each['resource']['id']}"
        for each in answer.json.get("entry", ())
        if mode in (None, each["search"]["mode"])
    ]


def pages(caller, url):
    """Return what all pages hold, and how many pages there were."""
    found, number = [], 0
    while url:
        answer = caller.get(url)
        found += refs(answer, "match")
        number += 1
        url = next((link["url"] for link in answer.json["link"] if link["relation"] == "next"), None)
    return found, number


@pytest.fixture
def record(ehr):
    """Two patients, their observations and encounters, and a practitioner who is in no record."""
    entries = [
        put("Practitioner", "d", name=[{"family": "Docteur"}]),
        put("Practitioner", "stranger"),
        put("Patient", "p", birthDate="1950-01-01"),
        put("Patient", "q"),
        put(
            "Encounter",
            "e",
            status="finished",
            **{"class": {"code": "AMB"}},
            subject={"reference": "Patient/p"},
            period={"start": "2024-03-01"},
        ),
        *(observation(number, effectiveDateTime=f"2024-0{number}-15") for number in range(1, 7)),
        observation(7, encounter={"reference": "Encounter/e"}),
        observation(1, "q"),
    ]
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200, answer.data
    return {"Patient/p", "Encounter/e", *(f"Observation/p-{number}" for number in range(1, 8))}


def test_everything_is_the_whole_record_and_nothing_else(ehr, record):
    """The compartment as matches with their total; who it names outside of it as included; nobody else's."""
    answer = ehr.get("/Patient/p/$everything")

    assert set(refs(answer, "match")) == record
    assert refs(answer, "include") == ["Practitioner/d"]
    assert answer.json["total"] == len(record)
    assert answer.json["type"] == "searchset"


def test_everything_comes_in_pages_that_hold_each_row_once(ehr, record):
    """By _count, under sealed links; what is created meanwhile does not shift them."""
    answer = ehr.get("/Patient/p/$everything?_count=2")
    ehr.put("/Observation/p-9", observation(9)["resource"])
    link = next(each["url"] for each in answer.json["link"] if each["relation"] == "next")
    found, number = pages(ehr, link)

    assert sorted(refs(answer, "match") + found) == sorted(record)
    assert number == 4


def test_a_page_of_everything_is_its_owners(ehr, record, with_scopes):
    """Another caller's token, and one with a changed letter, are refused."""
    answer = ehr.get("/Patient/p/$everything?_count=2")
    link = next(each["url"] for each in answer.json["link"] if each["relation"] == "next")

    assert with_scopes("system/*.rs", "system/Patient.r").get(link).status_code == 400
    assert ehr.get(link.replace("Patient/p", "Patient/q")).status_code == 400
    assert ehr.get(link[:-3] + "abc").status_code == 400


def test_everything_is_narrowed_by_what_the_caller_may_see(with_scopes, record):
    """Scopes for some types give those alone, included ones too; none for Patient gives nothing."""
    some = with_scopes("system/Patient.rs", "system/Encounter.rs")

    answer = some.get("/Patient/p/$everything")
    assert set(refs(answer)) == {"Patient/p", "Encounter/e"}
    assert answer.json["total"] == 2
    assert with_scopes("system/Observation.rs").get("/Patient/p/$everything").status_code == 403


def test_everything_of_a_deleted_record_is_gone(ehr, record):
    """As a read of it."""
    ehr.delete("/Patient/q")
    assert ehr.get("/Patient/q/$everything").status_code == 410
    assert ehr.get("/Patient/nobody/$everything").status_code == 404


def test_everything_is_narrowed_by_type_and_time(ehr, record):
    """_type, _since (of versions), start and end (of care); who tells no date of care is in."""
    assert set(refs(ehr.get("/Patient/p/$everything?_type=Encounter,Patient"))) == {"Patient/p", "Encounter/e"}
    assert refs(ehr.get("/Patient/p/$everything?_type=Observation"), "include") == []
    assert refs(ehr.get("/Patient/p/$everything?_type=Observation,Practitioner"), "include") == ["Practitioner/d"]
    since = ehr.put("/Observation/p-1", observation(1)["resource"]).json["meta"]["lastUpdated"]
    assert refs(ehr.get("/Patient/p/$everything", query_string={"_since": since}), "match") == ["Observation/p-1"]
    assert len(refs(ehr.get("/Patient/p/$everything?_since=2020-01-01"), "match")) == len(record)
    assert refs(ehr.get("/Patient/p/$everything?_since=9999-12-31"), "match") == []
    cared = set(refs(ehr.get("/Patient/p/$everything?start=2024-03-01&end=2024-04"), "match"))
    assert cared == {
        "Patient/p",
        "Encounter/e",
        "Observation/p-3",
        "Observation/p-4",
        "Observation/p-7",
        "Observation/p-1",
    }


def kept(kind, own, **more):
    """Return a PUT of something of the patient's."""
    return put(kind, own, subject={"reference": "Patient/p"}, **more)


@pytest.fixture
def course(ehr, record):
    """Stays, prescriptions and problems before, within, across and after March 2024."""
    stay = {"status": "finished", "class": {"code": "IMP"}}
    spans = {
        "before": {"start": "2024-01-01", "end": "2024-02-29"},
        "into": {"start": "2024-01-01", "end": "2024-03-01T08:00:00Z"},
        "within": {"start": "2024-03-10T08:00:00Z", "end": "2024-03-10T09:00:00Z"},
        "around": {"start": "2023", "end": "2025"},
        "ongoing": {"start": "2019-05-01"},
        "ended": {"end": "2024-03-05"},
        "out-of": {"start": "2024-03-31T23:00:00Z", "end": "2024-06"},
        "after": {"start": "2024-04-01"},
    }
    problem = {"code": {"text": "x"}}
    state = {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "resolved"}
    over = {"clinicalStatus": {"coding": [state]}}
    entries = [
        *(kept("Encounter", name, **stay, period=period) for name, period in spans.items()),
        kept("Condition", "lasts", **problem, onsetDateTime="2001"),
        kept("Condition", "healed", **problem, **over, onsetDateTime="2001", abatementDateTime="2024-02"),
        kept("Condition", "healing", **problem, **over, onsetDateTime="2001", abatementDateTime="2024-03-02"),
        kept("Condition", "later", **problem, onsetDateTime="2024-05"),
        observation(8, effectiveDateTime="2024"),
        observation(9, effectivePeriod={"start": "2023-12-31", "end": "2024-03-02"}),
    ]
    answer = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200, answer.data


def test_everything_of_a_time_is_what_overlaps_it(ehr, course):
    """A stay that began before and still went on is in, and so is a problem that had not abated; what was over or came later is not."""
    march = set(refs(ehr.get("/Patient/p/$everything?start=2024-03&end=2024-03&_type=Encounter,Condition,Observation")))

    assert march == {
        *(f"Encounter/{name}" for name in ("e", "into", "within", "around", "ongoing", "ended", "out-of")),
        *(f"Condition/{name}" for name in ("lasts", "healing")),
        *(f"Observation/p-{number}" for number in (3, 7, 8, 9)),
    }


def test_everything_of_a_time_may_be_open_at_either_end(ehr, course):
    """From a day on, and up to one; in pages too."""
    url = "/Patient/p/$everything?_type=Encounter&_count=2"

    assert set(pages(ehr, f"{url}&start=2024-03-31")[0]) == {
        f"Encounter/{name}" for name in ("e", "around", "ongoing", "out-of", "after")
    }
    assert set(pages(ehr, f"{url}&end=2024-02")[0]) == {
        f"Encounter/{name}" for name in ("before", "into", "around", "ongoing", "ended")
    }


def test_everything_of_a_time_that_ends_before_it_starts_is_refused(ehr, record):
    """400, and not what tells no date alone."""
    assert ehr.get("/Patient/p/$everything?start=2024-03&end=2024-02").status_code == 400


def test_everything_takes_its_parameters_by_post_too(ehr, record):
    """As Parameters."""
    body = {
        "resourceType": "Parameters",
        "parameter": [{"name": "_type", "valueString": "Encounter"}, {"name": "_count", "valueInteger": 5}],
    }

    assert refs(ehr.post("/Patient/p/$everything", body), "match") == ["Encounter/e"]


@pytest.mark.parametrize("query", ["_count=0", "_count=x", "_count=-1", "_type=Nonsense", "_since=x", "start=x", "x=1"])
def test_everything_refuses_what_it_does_not_understand(ehr, record, query):
    """400, and never more than was asked for."""
    assert ehr.get(f"/Patient/p/$everything?{query}").status_code == 400


def test_everything_of_nobody_is_nothing(ehr, record):
    """404, for the deleted as well."""
    assert ehr.get("/Patient/nobody/$everything").status_code == 404
    assert ehr.get("/Observation/p-1/$everything").status_code == 400


def test_everything_of_an_encounter_is_what_belongs_to_it(ehr, record):
    """Its own compartment."""
    assert set(refs(ehr.get("/Encounter/e/$everything"), "match")) == {"Encounter/e", "Observation/p-7"}


def test_the_log_tells_whose_record_was_read_whole(ehr, auditor, record):
    """One event, with the patient, found by its name."""
    ehr.get("/Patient/p/$everything")

    found = auditor.get("/AuditEvent?date=ge2000&subtype=$everything&patient=Patient/p").json["entry"]
    assert len(found) == 1


def test_a_compartment_is_searched_by_type_and_whole(ehr, record):
    """Patient/p/Observation with criteria, and Patient/p/*; by GET and by POST."""
    form = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}}

    assert set(refs(ehr.get("/Patient/p/Observation?date=ge2024-05"))) == {"Observation/p-5", "Observation/p-6"}
    assert set(refs(ehr.get("/Patient/p/*"))) == record
    assert set(refs(ehr.get("/Patient/p/*?_type=Encounter"))) == {"Encounter/e"}
    assert set(refs(ehr.post("/Patient/p/Observation/_search", b"date=ge2024-06", **form))) == {"Observation/p-6"}
    assert set(refs(ehr.post("/Patient/p/_search", b"_type=Encounter", **form))) == {"Encounter/e"}
    assert set(refs(ehr.get("/Patient/p/Observation/_search?date=ge2024-06"))) == {"Observation/p-6"}
    assert set(refs(ehr.get("/Patient/p/_search?_type=Encounter"))) == {"Encounter/e"}
    assert set(refs(ehr.get("/Encounter/e/Observation"))) == {"Observation/p-7"}
    assert refs(ehr.get("/Patient/nobody/Observation")) == []


def test_a_type_that_is_in_no_compartment_is_refused_there(ehr, record):
    """It would come back unfiltered, or always empty."""
    assert ehr.get("/Patient/p/Organization").status_code == 400
    assert ehr.get("/Observation/p-1/Patient").status_code == 400
    assert ehr.get("/Patient/p/Nonsense").status_code == 404
    assert ehr.get("/Nonsense/p/Observation").status_code == 404
    assert ehr.get("/Nonsense/p/*").status_code == 404
    assert ehr.get("/Observation/p-1/*").status_code == 400


def test_a_compartment_is_paged_and_its_links_stay_in_it(ehr, record):
    """The self link names the compartment; a page token of one is none for another."""
    answer = ehr.get("/Patient/p/Observation?_count=3")
    links = {link["relation"]: link["url"] for link in answer.json["link"]}

    assert links["self"].endswith("/fhir/Patient/p/Observation?_count=3")
    found, number = pages(ehr, links["next"])
    assert (len(found), number) == (4, 2)
    assert ehr.get(links["next"].replace("Patient/p", "Patient/q")).status_code == 400


def test_several_types_are_searched_at_once(ehr, record):
    """By _type, with criteria that all have; in pages; by POST."""
    assert set(refs(ehr.get("/?_type=Patient,Practitioner"))) == {
        "Patient/p",
        "Patient/q",
        "Practitioner/d",
        "Practitioner/stranger",
    }
    assert set(refs(ehr.get("/?_id=p,d"))) == {"Patient/p", "Practitioner/d"}
    assert ehr.get("/?_summary=count").json["total"] == len(record) + 4
    found, number = pages(ehr, "/?_type=Patient,Observation&_count=4")
    assert (len(found), len(set(found)), number) == (10, 10, 3)
    form = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    assert set(refs(ehr.post("/_search", b"_type=Encounter&_lastUpdated=gt2020", **form))) == {"Encounter/e"}


def test_all_types_are_searched_by_what_they_share(ehr, record):
    """_tag, _lastUpdated and the order by it."""
    ehr.put("/Patient/q", {"resourceType": "Patient", "id": "q", "meta": {"tag": [{"system": "urn:t", "code": "x"}]}})

    assert refs(ehr.get("/?_tag=urn:t|x")) == ["Patient/q"]
    assert refs(ehr.get("/?_sort=-_lastUpdated&_count=1")) == ["Patient/q"]
    assert len(refs(ehr.get("/?_lastUpdated=gt2020&_count=100"))) == len(record) + 4


def test_what_only_some_types_have_is_refused_for_all(ehr, record):
    """Otherwise it would be no criterion for the others, and widen the answer in silence."""
    for query in (
        "_type=Patient,Practitioner&birthdate=1950",
        "birthdate=1950",
        "_type=Nonsense",
        "_sort=birthdate&_type=Patient,Observation",
    ):
        assert ehr.get(f"/?{query}", headers={"Prefer": "handling=lenient"}).status_code == 400, query
    assert refs(ehr.get("/?_type=Patient&birthdate=1950")) == ["Patient/p"]


def test_what_would_be_worked_out_for_each_type_needs_their_names(ehr, record):
    """422 without _type; with few types it is answered."""
    for query in ("_list=x", "_filter=_id eq p", "_content=docteur", "_tag=a&_tag=b"):
        assert ehr.get("/?" + query.replace(" ", "%20")).status_code == 422, query
    assert refs(ehr.get("/?_type=Practitioner,Patient&_content=docteur")) == ["Practitioner/d"]


def test_a_search_of_all_types_is_narrowed_by_the_callers_scopes(with_scopes, record):
    """Totals too."""
    caller = with_scopes("system/Patient.rs", "system/Encounter.rs")

    assert set(refs(caller.get("/?_count=100"))) == {"Patient/p", "Patient/q", "Encounter/e"}
    assert caller.get("/?_summary=count").json["total"] == 3
    assert with_scopes("system/Patient.r").get("/?_type=Patient").status_code == 403


def test_searches_at_every_level_are_entries_of_bundles(ehr, record):
    """In a batch, compartments and several types."""
    urls = ["?_type=Encounter", "Patient/p/Observation?date=ge2024-06", "Patient/p/*?_type=Encounter"]
    entries = [{"request": {"method": "GET", "url": url}} for url in urls]
    answer = ehr.post("", {"resourceType": "Bundle", "type": "batch", "entry": entries})

    assert [each["resource"]["total"] for each in answer.json["entry"]] == [1, 1, 1]


def test_the_latest_of_each_kind_are_found(ehr, record):
    """One of each code by default, more by max; those that share a coding are of one kind."""
    weight = {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}
    both = {"coding": [*weight["coding"], {"system": "urn:local", "code": "poids"}]}
    local = {"coding": [{"system": "urn:local", "code": "poids"}]}
    for number, code in enumerate((weight, both, local)):
        body = {**observation(f"w{number}", effectiveDateTime=f"2024-0{number + 1}-01")["resource"], "code": code}
        assert ehr.put(f"/Observation/p-w{number}", body).status_code == 201

    assert set(refs(ehr.get("/Observation/$lastn?patient=p&date=gt2000"))) == {"Observation/p-6", "Observation/p-w2"}
    assert set(refs(ehr.get("/Observation/$lastn?patient=p&max=2&date=gt2000"))) == {
        *("Observation/p-6", "Observation/p-5"),
        *("Observation/p-w2", "Observation/p-w1"),
    }
    assert ehr.get("/Observation/$lastn").status_code == 400
    assert ehr.get("/Observation/$lastn?patient=p&max=0").status_code == 400


def test_tags_are_added_and_taken_away(ehr, record):
    """Each a new version; what is there is not doubled, what is not there no fault; digits and the rest stay."""

    def meta(*tags):
        return {
            "resourceType": "Parameters",
            "parameter": [{"name": "meta", "valueMeta": {"tag": [{"system": "urn:t", "code": tag} for tag in tags]}}],
        }

    added = ehr.post("/Patient/p/$meta-add", meta("a", "b"))
    assert added.status_code == 200
    assert added.headers["ETag"] == 'W/"2"'
    assert ehr.post("/Patient/p/$meta-add", meta("a", "c")).status_code == 200
    now = ehr.get("/Patient/p").json
    assert [tag["code"] for tag in now["meta"]["tag"]] == ["a", "b", "c"]
    assert now["birthDate"] == "1950-01-01"
    taken = ehr.post("/Patient/p/$meta-delete", meta("a", "x"))
    assert [tag["code"] for tag in taken.json["parameter"][0]["valueMeta"]["tag"]] == ["b", "c"]
    assert refs(ehr.get("/Patient?_tag=urn:t|a")) == []
    assert ehr.get("/Patient/p/$meta-add").status_code == 405
    assert ehr.post("/Patient/nobody/$meta-add", meta("a")).status_code == 404
    assert ehr.post("/Patient/p/$meta-add", {"resourceType": "Parameters"}).status_code == 400


def test_tags_are_changed_by_who_may_update_and_read(with_scopes, record):
    """The answer tells the whole meta."""
    body = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}]}

    assert with_scopes("system/Patient.r").post("/Patient/p/$meta-add", body).status_code == 403
    assert with_scopes("system/Patient.u").post("/Patient/p/$meta-add", body).status_code == 403
    assert with_scopes("system/Patient.ru").post("/Patient/p/$meta-add", body).status_code == 200
