"""Operations: where they are called, what they take, who may, and what they leave. https://hl7.org/fhir/R4/operations.html."""

from __future__ import annotations

import pytest

from fhir_dmp.service.operations import OPERATIONS

PATIENT = {"resourceType": "Patient", "meta": {"tag": [{"system": "urn:t", "code": "x"}]}, "birthDate": "1980-02-29"}
BROKEN = {"resourceType": "Patient", "birthDate": "yesterday", "unknown": 1}


def codes(answer):
    """Return severity and code of each issue."""
    return [(issue["severity"], issue["code"]) for issue in answer.json["issue"]]


def parameters(*items):
    """Return Parameters of (name, property, value)."""
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": name, kind: value} for name, kind, value in items],
    }


@pytest.fixture
def patient(ehr):
    """A patient that is there."""
    return ehr.post("/Patient", PATIENT).json


def test_what_is_defined_is_done_and_what_is_done_is_told(app, anonymous):
    """The definitions, the table and the CapabilityStatement name the same operations."""
    defined = {each.code for each in app.extensions["fhir_dmp"].env.definitions.operations}
    rest = anonymous.get("/fhir/metadata").json["rest"][0]
    told = {each["name"] for resource in [rest, *rest["resource"]] for each in resource.get("operation", ())}

    assert defined == set(OPERATIONS) == told


def test_meta_tells_tags_and_version_by_get_and_by_post(ehr, patient):
    """$meta answers Parameters with one Meta named return."""
    url = f"/Patient/{patient['id']}/$meta"

    for answer in (ehr.get(url), ehr.post(url), ehr.post(url, {"resourceType": "Parameters"})):
        assert answer.status_code == 200
        assert answer.json["parameter"] == [{"name": "return", "valueMeta": patient["meta"]}]
        assert answer.headers["ETag"] == 'W/"1"'


def test_meta_of_what_is_absent_or_deleted_is_as_a_read_of_it(ehr, patient):
    """404 and 410."""
    assert ehr.get("/Patient/nobody/$meta").status_code == 404
    ehr.delete(f"/Patient/{patient['id']}")
    assert ehr.get(f"/Patient/{patient['id']}/$meta").status_code == 410


def test_meta_of_a_version_is_that_of_its_vread(ehr, auditor, patient):
    """By GET, by POST and as an entry of a bundle; the event names the version. https://hl7.org/fhir/R4/resource-operation-meta.html."""
    url = f"/Patient/{patient['id']}"
    ehr.put(url, {**patient, "meta": {"tag": [{"code": "later"}]}})
    part = {"request": {"method": "GET", "url": f"{url[1:]}/_history/1/$meta"}}
    bundles = [{"resourceType": "Bundle", "type": kind, "entry": [part]} for kind in ("batch", "transaction")]
    found = [ehr.get(f"{url}/_history/1/$meta"), ehr.post(f"{url}/_history/1/$meta", {"resourceType": "Parameters"})]

    assert [answer.json["parameter"][0]["valueMeta"] for answer in found] == [patient["meta"]] * 2
    assert found[0].headers["ETag"] == 'W/"1"'
    for answer in [ehr.post("", bundle) for bundle in bundles]:
        assert answer.json["entry"][0]["resource"]["parameter"][0]["valueMeta"] == patient["meta"]
    later = ehr.get(f"{url}/_history/2/$meta").json["parameter"][0]["valueMeta"]
    assert (later["versionId"], later["tag"]) == ("2", [{"code": "later"}])
    named = auditor.get("/AuditEvent?date=ge2000&subtype=$meta").json["entry"]
    assert sum(f"Patient/{patient['id']}/_history/1" in str(each) for each in named) == 4


def test_meta_of_a_version_that_is_absent_hidden_or_a_deletion_is_as_a_read_of_it(ehr, patient, with_scopes):
    """And other operations are none of versions: these stay as they are."""
    url = f"/Patient/{patient['id']}"
    ehr.put(url, {**patient, "gender": "male"})
    some = with_scopes("system/Patient.rs?gender=male")

    assert [some.get(f"{url}/_history/{version}/$meta").status_code for version in (1, 2)] == [404, 200]
    assert with_scopes("system/Basic.rs").get(f"{url}/_history/1/$meta").status_code == 403
    for version in ("3", "0", "x", "01"):
        assert ehr.get(f"{url}/_history/{version}/$meta").status_code == 404
    ehr.delete(url)
    assert ehr.get(f"{url}/_history/3/$meta").status_code == 410
    assert ehr.get(f"{url}/_history/1/$meta").status_code == ehr.get(f"{url}/_history/1").status_code
    tag = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "new"}]}}]}
    for answer in (ehr.post(f"{url}/_history/1/$meta-add", tag), ehr.get(f"{url}/_history/1/$everything")):
        assert answer.status_code == 400
        assert "a version of one Patient" in answer.json["issue"][0]["diagnostics"]


def test_meta_of_a_type_and_of_all_tells_what_is_in_use(ehr, patient, with_scopes):
    """Each profile, label and tag once, of what the caller may see; without version and time."""
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    ehr.post("/Patient", {**PATIENT, "meta": {**PATIENT["meta"], "security": [label], "profile": ["http://x/p"]}})
    ehr.post("/Basic", {"resourceType": "Basic", "meta": {"tag": [{"code": "a|b"}]}, "code": {"text": "x"}})
    tag = {"system": "urn:t", "code": "x"}

    def used(caller, url):
        return caller.get(url).json["parameter"][0]["valueMeta"]

    assert used(ehr, "/Patient/$meta") == {"profile": ["http://x/p"], "security": [label], "tag": [tag]}
    assert used(ehr, "/Basic/$meta") == {"tag": [{"code": "a|b"}]}
    assert used(ehr, "/Device/$meta") == {}
    assert used(ehr, "/$meta") == {"profile": ["http://x/p"], "security": [label], "tag": [tag, {"code": "a|b"}]}
    assert with_scopes("system/Basic.rs").get("/Patient/$meta").status_code == 403


def test_meta_that_is_there_or_absent_already_makes_no_version(ehr, patient):
    """Adding what is there and taking what is not change nothing; the answer tells the meta."""
    url = f"/Patient/{patient['id']}"
    same, other = (
        {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [tag]}}]}
        for tag in (PATIENT["meta"]["tag"][0], {"code": "other"})
    )

    for answer in (ehr.post(f"{url}/$meta-add", same), ehr.post(f"{url}/$meta-delete", other)):
        assert answer.status_code == 200
        assert answer.json["parameter"][0]["valueMeta"] == patient["meta"]
    assert ehr.post(f"{url}/$meta-add", other).json["parameter"][0]["valueMeta"]["versionId"] == "2"
    assert ehr.get(f"{url}/_history").json["total"] == 2


def test_an_operation_needs_the_right_of_what_it_does(ehr, with_scopes, patient):
    """Without a read scope for the type $meta is refused, and the refusal says nothing of the resource."""
    stranger = with_scopes("system/Observation.rs")

    assert stranger.get(f"/Patient/{patient['id']}/$meta").status_code == 403
    assert stranger.get("/Patient/nobody/$meta").status_code == 403
    assert stranger.post("/Patient/$validate", parameters(("mode", "valueCode", "create"))).status_code == 400
    refused = stranger.post(
        "/Patient/$validate", parameters(("mode", "valueCode", "create"), ("resource", "resource", PATIENT))
    )
    assert refused.status_code == 403


def test_the_log_knows_an_operation_by_its_name(ehr, auditor, patient):
    """One event for each call, with what was disclosed, found by the name and as an operation."""
    ehr.get(f"/Patient/{patient['id']}/$meta")

    for subtype in ("$meta", "operation"):
        found = auditor.get(f"/AuditEvent?date=ge2000&subtype={subtype}").json["entry"]
        assert len(found) == 1
        event = found[0]["resource"]
        assert [each["code"] for each in event["subtype"]] == ["operation", "$meta"]
        assert event["action"] == "E"
        assert f"Patient/{patient['id']}" in str(event["entity"])


def test_what_is_no_operation_here_is_refused_with_its_name(ehr, patient):
    """An unknown name, a level it does not have, a type it is not for."""
    for url in (
        "/$nothing",
        "/Encounter/$everything",
        "/Patient/$lastn",
        "/$validate",
        f"/Patient/{patient['id']}/$nothing",
    ):
        answer = ehr.get(url)
        assert answer.status_code == 400, url
        assert codes(answer) == [("error", "not-supported")]
    assert ehr.get("/AuditEvent/x/$meta").status_code == 400
    assert "for no one record" in ehr.get("/Patient/$everything").json["issue"][0]["diagnostics"]
    assert ehr.get("/Nonsense/$validate").status_code == 404


def test_nobody_unknown_calls_an_operation(anonymous):
    """401, as everywhere."""
    assert anonymous.get("/fhir/Patient/x/$meta").status_code == 401
    assert anonymous.post("/fhir/Patient/$validate", json=PATIENT).status_code == 401


def test_a_good_resource_is_told_to_be_good_and_nothing_is_kept(ehr):
    """One informational line; no resource, with and without Parameters around it, and for every mode."""
    for body in (PATIENT, parameters(("resource", "resource", PATIENT), ("mode", "valueCode", "create"))):
        answer = ehr.post("/Patient/$validate", body)
        assert answer.status_code == 200
        assert codes(answer) == [("information", "informational")]
    assert ehr.get("/Patient?_summary=count").json["total"] == 0


def test_a_broken_resource_is_judged_and_not_refused(ehr):
    """Each issue with its place, by status 200: the question was answered."""
    answer = ehr.post("/Patient/$validate", parameters(("resource", "resource", BROKEN)))

    assert answer.status_code == 200
    assert {issue["expression"][0] for issue in answer.json["issue"]} == {"Patient.birthDate", "Patient.unknown"}
    twice = ehr.post(
        "/Patient/$validate", parameters(("resource", "resource", BROKEN), ("mode", "valueCode", "create"))
    )
    assert twice.json == answer.json


def test_a_resource_of_another_type_is_an_issue(ehr):
    """The path names the type."""
    answer = ehr.post("/Observation/$validate", PATIENT)

    assert answer.status_code == 200
    assert ("information", "informational") not in codes(answer)


def test_the_mode_update_is_the_plan_of_an_update(ehr, patient):
    """An id that is not the path's is what an update is refused for; nothing is changed either way."""
    url = f"/Patient/{patient['id']}/$validate"
    good, bad = {**PATIENT, "id": patient["id"]}, {**PATIENT, "id": "another"}

    assert codes(ehr.post(url, parameters(("resource", "resource", good), ("mode", "valueCode", "update")))) == [
        ("information", "informational")
    ]
    assert codes(ehr.post(url, parameters(("resource", "resource", bad), ("mode", "valueCode", "update")))) == [
        ("error", "invalid")
    ]
    assert ehr.get(f"/Patient/{patient['id']}").headers["ETag"] == 'W/"1"'


def test_the_mode_delete_needs_no_resource_and_deletes_nothing(ehr, patient):
    """By GET as well, since nothing changes."""
    answer = ehr.get(f"/Patient/{patient['id']}/$validate?mode=delete")

    assert codes(answer) == [("information", "informational")]
    assert ehr.get(f"/Patient/{patient['id']}").status_code == 200


def test_a_stored_resource_is_validated_where_it_stands(ehr, patient):
    """$validate on an instance without a body."""
    assert codes(ehr.get(f"/Patient/{patient['id']}/$validate")) == [("information", "informational")]


def test_a_profile_that_is_not_checked_is_said_to_be_unchecked(ehr):
    """The base definition is what everything is judged by; of another profile the answer says that it was not."""
    base = ehr.post("/Patient/$validate?profile=http://hl7.org/fhir/StructureDefinition/Patient", PATIENT)
    other = ehr.post("/Patient/$validate?profile=http://example.org/mine", PATIENT)

    assert codes(base) == [("information", "informational")]
    assert ("warning", "not-supported") in codes(other)


@pytest.mark.parametrize(
    "body",
    [
        parameters(("mode", "valueCode", "destroy"), ("resource", "resource", PATIENT)),
        parameters(("mode", "valueInteger", 3), ("resource", "resource", PATIENT)),
        parameters(("what", "valueCode", "x"), ("resource", "resource", PATIENT)),
        parameters(("resource", "resource", PATIENT), ("resource", "resource", PATIENT)),
        parameters(("resource", "valueString", "x")),
        parameters(("resource", "resource", "x")),
        {"resourceType": "Parameters", "parameter": [{"value": 1}]},
        {"resourceType": "Parameters", "parameter": "x"},
        {"resourceType": "Parameters", "parameter": [{"name": "mode", "valueCode": "create", "valueString": "x"}]},
        {"resourceType": "Parameters", "unknown": 1},
        b"[]",
        b"{",
    ],
)
def test_parameters_that_are_not_as_defined_are_refused(ehr, body):
    """An unknown name, a wrong type, too many, none where one is needed: 400 and an outcome."""
    answer = ehr.post("/Patient/$validate", body)

    assert answer.status_code == 400
    assert answer.json["resourceType"] == "OperationOutcome"


def test_a_resource_cannot_come_in_a_url(ehr):
    """Only primitives do."""
    assert ehr.get("/Patient/$validate?resource=x").status_code == 400
    assert ehr.get("/Patient/$validate?profile=a&profile=b").status_code == 400


def test_parameters_may_come_as_a_form(ehr, patient):
    """Primitives alone, as for a search by POST."""
    answer = ehr.post(
        f"/Patient/{patient['id']}/$validate",
        b"mode=delete",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert codes(answer) == [("information", "informational")]


def test_operations_are_entries_of_a_batch_and_of_a_transaction(ehr, patient):
    """By GET and by POST, in the order of the request, each with its own outcome."""
    for kind in ("batch", "transaction"):
        answer = ehr.post(
            "",
            {
                "resourceType": "Bundle",
                "type": kind,
                "entry": [
                    {"request": {"method": "GET", "url": f"Patient/{patient['id']}/$meta"}},
                    {"request": {"method": "POST", "url": "Patient/$validate"}, "resource": BROKEN},
                    {"request": {"method": "POST", "url": "Patient"}, "resource": PATIENT},
                ],
            },
        )
        first, second, third = answer.json["entry"]
        assert first["resource"]["parameter"][0]["valueMeta"] == patient["meta"]
        assert second["resource"]["resourceType"] == "OperationOutcome"
        assert len(second["resource"]["issue"]) == 2
        assert third["response"]["status"] == "201 Created"


def test_operations_that_change_something_are_part_of_their_transaction(ehr, patient):
    """Done with it or not at all, with their own answer; two entries about one resource are refused."""

    def bundle(*entries):
        return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}

    tag = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "new"}]}}]}
    add = {"request": {"method": "POST", "url": f"Patient/{patient['id']}/$meta-add"}, "resource": tag}
    good = {"request": {"method": "POST", "url": "Patient"}, "resource": PATIENT}
    bad = {"request": {"method": "POST", "url": "Patient"}, "resource": BROKEN}
    put = {
        "request": {"method": "PUT", "url": f"Patient/{patient['id']}"},
        "resource": {**PATIENT, "id": patient["id"]},
    }

    assert ehr.post("", bundle(add, bad)).status_code == 400
    assert ehr.post("", bundle(add, put)).status_code == 400
    assert ehr.post("", bundle(add, add)).status_code == 400
    assert ehr.get(f"/Patient/{patient['id']}").headers["ETag"] == 'W/"1"'
    done = ehr.post("", bundle(add, good))
    assert done.status_code == 200, done.data
    assert done.json["entry"][0]["resource"]["parameter"][0]["valueMeta"]["tag"][-1] == {"code": "new"}
    assert done.json["entry"][1]["response"]["status"] == "201 Created"
    assert ehr.get(f"/Patient/{patient['id']}").headers["ETag"] == 'W/"2"'


def test_an_entry_that_names_no_operation_fails_as_an_entry(ehr):
    """In a batch by itself, in a transaction with its place."""
    entry = {"request": {"method": "GET", "url": "Patient/$nothing"}}

    batch = ehr.post("", {"resourceType": "Bundle", "type": "batch", "entry": [entry]})
    assert batch.json["entry"][0]["response"]["status"] == "400"
    transaction = ehr.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert transaction.status_code == 400
    assert transaction.json["issue"][0]["expression"] == ["Bundle.entry[0].request.url"]
