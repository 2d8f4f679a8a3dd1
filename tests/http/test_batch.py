"""Batches at the FHIR endpoint: each entry for itself. https://hl7.org/fhir/R4/http.html#transaction."""

from __future__ import annotations

from tests.bundles import ONE, SYSTEM, TWO, done, entry, observation, patient, send


def test_batch_entries_succeed_and_fail_by_themselves(ehr, auditor):
    """Each with the answer that it would have had alone, in the order of the request, and with its own event."""
    answer = send(
        ehr,
        entry("POST", "Patient", patient(gender=1)),
        entry("POST", "Patient", patient("ok")),
        {"resource": patient()},
        entry("GET", "Patient/nobody"),
        entry("PUT", "Patient/chosen", patient(id="chosen")),
        entry("POST", "Nonsense", {"resourceType": "Nonsense"}),
        entry("GET", "Nonsense"),
        entry("DELETE", "Patient/nobody"),
        entry("GET", "Patient?_id=chosen"),
        entry("POST", "Patient", patient("ok"), ifNoneExist=f"identifier={SYSTEM}|ok"),
        entry("PATCH", "Patient/chosen", {"resourceType": "Patient"}),
        entry("HEAD", "Patient/chosen"),
        kind="batch",
    )
    parts = done(answer)

    assert answer.json["type"] == "batch-response"
    assert [part["status"][:3] for part in parts] == [
        "400",
        "201",
        "400",
        "404",
        "201",
        "404",
        "404",
        "204",
        "200",
        "200",
        "400",
        "200",
    ]
    assert parts[0]["outcome"]["resourceType"] == "OperationOutcome"
    assert answer.json["entry"][8]["resource"]["entry"][0]["resource"]["id"] == "chosen"
    assert parts[9]["location"] == parts[1]["location"]
    assert "resource" not in answer.json["entry"][11]
    acts = [
        each["resource"]["subtype"][0]["code"]
        for each in auditor.get("/AuditEvent?date=ge2000&_count=50&agent=ehr-one").json["entry"]
    ]
    assert sorted(act for act in acts if act not in ("operator-token", "client-add")) == sorted(
        ["batch"] * 4 + ["create"] * 2 + ["read"] * 3 + ["update", "delete", "patch", "search-type"]
    )


def test_entries_of_a_batch_do_not_refer_to_each_other(ehr):
    """What names another entry would name nothing once it is stored: it is refused, with its place, and the others are done."""
    answer = send(
        ehr,
        entry("POST", "Patient", patient("1"), ONE),
        entry("POST", "Observation", observation(ONE), TWO),
        entry("POST", "Observation", observation("urn:uuid:00000000-0000-4000-8000-0000000000ff")),
        kind="batch",
    )
    made, refused, other = done(answer)

    assert [made["status"], refused["status"], other["status"]] == ["201 Created", "400", "201 Created"]
    assert refused["outcome"]["issue"][0]["expression"] == ["Bundle.entry[1].resource.subject.reference"]


def test_a_batch_gives_no_right_that_its_entries_lack(with_scopes):
    """Refusals stand in their entry."""
    reader = with_scopes("system/Patient.rs")
    parts = done(
        send(
            reader,
            entry("POST", "Patient", patient()),
            entry("GET", "Patient"),
            entry("GET", "Observation"),
            kind="batch",
        )
    )

    assert [part["status"][:3] for part in parts] == ["403", "200", "403"]
