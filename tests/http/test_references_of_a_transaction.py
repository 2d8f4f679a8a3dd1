"""What the entries of a transaction refer to: each other, versions, and what criteria find. https://hl7.org/fhir/R4/http.html#trules."""

from __future__ import annotations

import base64
import json

import pytest

from tests.bundles import ONE, SYSTEM, TWO, count, done, entry, made_id, observation, patient, send

ENCOUNTER = {"resourceType": "Encounter", "id": "patched", "status": "planned", "class": {"code": "AMB"}}
DOCUMENT = {"resourceType": "DocumentReference", "id": "d", "status": "current"}
DOCUMENT["content"] = [{"attachment": {"title": "x"}}]
WORKERS = "urn:oid:1.2.250.1.71.4.2.2"


def adding(path, name, **value):
    """Return a FHIRPath Patch that adds an element."""
    parts = [
        {"name": "type", "valueCode": "add"},
        {"name": "path", "valueString": path},
        {"name": "name", "valueString": name},
        {"name": "value", **value},
    ]
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}


def brought(patch):
    """Return the resource that brings a patch of either kind in an entry."""
    if isinstance(patch, dict):
        return patch
    return {"resourceType": "Binary", "data": base64.b64encode(json.dumps(patch).encode()).decode()}


def test_a_reference_to_no_entry_refuses_the_transaction(ehr):
    """urn:uuid and urn:oid mean an entry of the bundle: where none has that fullUrl, each place is told and nothing is stored."""
    lost, oid = "urn:uuid:00000000-0000-4000-8000-000000000001", "urn:oid:1.2.3"
    answer = send(
        ehr,
        entry("POST", "Patient", patient("kept-out"), ONE),
        entry("POST", "Observation", observation(ONE, performer=[{"display": "x"}, {"reference": lost}])),
        entry("PUT", "Observation/o", observation(oid, id="o", contained=[observation(lost, id="c")])),
    )

    assert answer.status_code == 400
    assert [issue["expression"] for issue in answer.json["issue"]] == [
        ["Bundle.entry[1].resource.performer[1].reference"],
        ["Bundle.entry[2].resource.subject.reference"],
        ["Bundle.entry[2].resource.contained[0].subject.reference"],
    ]
    assert "entry" not in ehr.get("/Patient?identifier=kept-out").json


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "add", "path": "/subject", "value": {"reference": TWO}}],
        [{"op": "add", "path": "/subject/reference", "value": TWO}],
        adding("Observation", "focus", part=[{"name": "reference", "valueString": TWO}]),
    ],
)
def test_a_patch_refers_to_an_entry_or_is_refused(ehr, patch):
    """What a patch sets is held to the same."""
    send(ehr, entry("PUT", "Observation/patched", observation("Patient/x", id="patched")))
    answer = send(ehr, entry("PATCH", "Observation/patched", brought(patch)))

    assert answer.status_code == 400
    assert answer.json["issue"][0]["expression"] == ["Bundle.entry[0]"]
    assert ehr.get("/Observation/patched").json["subject"] == {"reference": "Patient/x"}


@pytest.mark.parametrize("meant", [TWO, f"Practitioner?identifier={WORKERS}|doctor"])
def test_a_patch_builds_elements_that_refer_to_an_entry(ehr, meant):
    """By a reference that is a text among the parts of a value, at any depth, beside one that is a value of its type."""
    send(ehr, entry("PUT", "Encounter/patched", ENCOUNTER))
    reference = {"name": "reference", "valueString": meant}
    participant = [{"name": "individual", "part": [reference, {"name": "display", "valueString": "Dr"}]}]
    another = [{"name": "individual", "valueReference": {"reference": meant}}]
    doctor = {"resourceType": "Practitioner", "identifier": [{"system": WORKERS, "value": "doctor"}]}
    patch = adding("Encounter", "participant", part=participant)
    patch["parameter"] += adding("Encounter", "participant", part=another)["parameter"]

    answer = send(ehr, entry("PATCH", "Encounter/patched", patch), entry("POST", "Practitioner", doctor, TWO))

    made = f"Practitioner/{made_id(done(answer)[1])}"
    kept = ehr.get("/Encounter/patched").json["participant"]
    assert kept == [{"individual": {"reference": made, "display": "Dr"}}, {"individual": {"reference": made}}]


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "add", "path": "/content/0/attachment/url", "value": TWO}],
        adding("DocumentReference.content[0].attachment", "url", valueString=TWO),
    ],
)
def test_a_patch_sets_the_address_of_an_entry(ehr, patch):
    """Elements that are addresses lead to entries as references do, though the patch names them in its path."""
    send(ehr, entry("PUT", "DocumentReference/d", DOCUMENT))
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": "eA=="}

    answer = send(ehr, entry("POST", "Binary", binary, TWO), entry("PATCH", "DocumentReference/d", brought(patch)))

    attachment = ehr.get("/DocumentReference/d").json["content"][0]["attachment"]
    assert attachment == {"title": "x", "url": f"Binary/{made_id(done(answer)[0])}"}


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "add", "path": "/subject", "value": {"reference": TWO}}],
        [{"op": "add", "path": "/subject/reference", "value": TWO}],
        adding("Observation", "focus", part=[{"name": "reference", "valueString": TWO}]),
    ],
)
def test_a_patch_in_a_batch_refers_to_no_other_entry(ehr, patch):
    """Entries of a batch know nothing of each other, whatever brings the reference."""
    send(ehr, entry("PUT", "Observation/apart", observation("Patient/x", id="apart")))

    parts = done(
        send(
            ehr,
            entry("PATCH", "Observation/apart", brought(patch)),
            entry("POST", "Patient", patient(), TWO),
            kind="batch",
        )
    )

    assert [part["status"][:3] for part in parts] == ["400", "201"]
    assert ehr.get("/Observation/apart").json["subject"] == {"reference": "Patient/x"}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/instantiatesUri", "value": ["urn:x", TWO]},
        {"op": "replace", "path": "/instantiatesUri/1", "value": TWO},
        {"op": "add", "path": "/instantiatesUri/-", "value": TWO},
    ],
)
def test_a_patch_sets_addresses_of_entries_in_a_list(ehr, operation):
    """The whole list or one item: the path ends in the name of the element, or in a place within it."""
    stands = ["urn:x"] if operation["path"].endswith("-") else ["urn:x", "urn:y"]
    tree = {"resourceType": "Communication", "id": "c", "status": "completed", "instantiatesUri": stands}
    send(ehr, entry("PUT", "Communication/c", tree))
    definition = {"resourceType": "ActivityDefinition", "status": "draft"}

    answer = send(
        ehr,
        entry("POST", "ActivityDefinition", definition, TWO),
        entry("PATCH", "Communication/c", brought([operation])),
    )

    made = f"ActivityDefinition/{made_id(done(answer)[0])}"
    assert ehr.get("/Communication/c").json["instantiatesUri"] == ["urn:x", made]


def test_a_document_within_a_transaction_keeps_its_own_names(ehr):
    """The entries of a Bundle that is stored as one refer to each other by their fullUrls; other schemes of urn: are just names."""
    inner = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": TWO, "resource": observation(TWO)}],
    }
    answer = send(
        ehr,
        entry("POST", "Bundle", inner),
        entry("POST", "Observation", observation("urn:example:1")),
    )

    ids = [made_id(part) for part in done(answer)]
    kept = ehr.get(f"/Bundle/{ids[0]}").json
    assert kept["entry"][0]["resource"]["subject"]["reference"] == TWO
    assert ehr.get(f"/Observation/{ids[1]}").json["subject"]["reference"] == "urn:example:1"


def test_references_between_entries_are_rewritten(ehr):
    """urn:uuid, urn:oid, absolute and relative ones, in circles, in contained resources and in narratives; never identifiers."""
    oid, web = "urn:oid:1.2.3.4.5", "http://elsewhere.example/fhir/Observation/77"
    answer = send(
        ehr,
        entry(
            "POST",
            "Patient",
            patient(
                generalPractitioner=[{"reference": oid}],
                text={
                    "status": "generated",
                    "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{oid}">Dr</a></div>',
                },
            )
            | {"identifier": [{"system": "urn:ietf:rfc:3986", "value": ONE}]},
            ONE,
        ),
        entry("POST", "Practitioner", {"resourceType": "Practitioner"}, oid),
        entry(
            "POST",
            "Observation",
            observation(
                ONE,
                performer=[{"reference": f"{oid}/_history/4"}],
                extension=[
                    {"url": "http://x.example/e", "valueUri": ONE},
                    {"url": "http://x.example/c", "valueCanonical": ONE},
                    {"url": "http://x.example/u", "valueUuid": ONE},
                    {"url": "http://x.example/o", "valueOid": oid},
                ],
            ),
            web,
        ),
        entry("POST", "Observation", observation(ONE, hasMember=[{"reference": web}]), TWO),
        entry(
            "POST",
            "DiagnosticReport",
            {
                "resourceType": "DiagnosticReport",
                "status": "final",
                "code": {"text": "r"},
                "contained": [observation(ONE, id="c")],
                "result": [{"reference": "#c"}, {"reference": "Observation/77"}],
            },
            "http://elsewhere.example/fhir/DiagnosticReport/1",
        ),
    )
    ids = [made_id(part) for part in done(answer)]
    person, first, second, report = (
        ehr.get(f"/{kind}/{ids[place]}").json
        for kind, place in (("Patient", 0), ("Observation", 2), ("Observation", 3), ("DiagnosticReport", 4))
    )

    assert person["generalPractitioner"] == [{"reference": f"Practitioner/{ids[1]}"}]
    assert f'href="Practitioner/{ids[1]}"' in person["text"]["div"]
    assert person["identifier"][0]["value"] == ONE
    assert first["subject"]["reference"] == f"Patient/{ids[0]}"
    assert first["performer"][0]["reference"] == f"Practitioner/{ids[1]}/_history/1"
    assert first["extension"][0]["valueUri"] == f"Patient/{ids[0]}"
    assert first["extension"][1]["valueCanonical"] == ONE
    assert (first["extension"][2]["valueUuid"], first["extension"][3]["valueOid"]) == (ONE, oid)
    assert second["hasMember"][0]["reference"] == f"Observation/{ids[2]}"
    assert report["contained"][0]["subject"]["reference"] == f"Patient/{ids[0]}"
    assert [each["reference"] for each in report["result"]] == ["#c", f"Observation/{ids[2]}"]
    assert count(ehr, f"/Observation?subject=Patient/{ids[0]}") == 2


def test_a_reference_to_a_version_is_to_the_one_that_the_transaction_makes(ehr):
    """Of what is made, updated, found or left as it is, whichever version was written; that of what is in no entry stays."""
    for name in ("old", "same", "found"):
        ehr.put(f"/Patient/{name}", patient(name, id=name))
        ehr.put(f"/Patient/{name}", patient(name, id=name, active=True))
    base = "http://127.0.0.1:8000/fhir"
    urls = [ONE, f"{base}/Patient/old", f"{base}/Patient/same", TWO, f"{base}/Patient/other"]

    answer = send(
        ehr,
        entry("POST", "Patient", patient("new"), ONE),
        entry("POST", "Observation", observation(ONE, performer=[{"reference": f"{url}/_history/7"} for url in urls])),
        entry("PUT", "Patient/old", patient("old", id="old", active=False), urls[1]),
        entry("PUT", "Patient/same", patient("same", id="same", active=True), urls[2]),
        entry("POST", "Patient", patient("found"), TWO, ifNoneExist=f"identifier={SYSTEM}|found"),
    )
    made = done(answer)

    stored = ehr.get(f"/Observation/{made_id(made[1])}").json["performer"]
    assert [each["reference"] for each in stored] == [
        f"Patient/{made_id(made[0])}/_history/1",
        "Patient/old/_history/3",
        "Patient/same/_history/2",
        "Patient/found/_history/2",
        "Patient/other/_history/7",
    ]


def test_a_conditional_reference_finds_what_is_stored_and_what_the_bundle_makes(ehr):
    """Exactly one match, wherever it is; none or several refuse the whole."""
    stored = ehr.post(
        "/Practitioner", {"resourceType": "Practitioner", "identifier": [{"system": WORKERS, "value": "rpps"}]}
    ).json["id"]
    new = {"resourceType": "Organization", "identifier": [{"system": WORKERS, "value": "finess"}]}
    sent = observation(
        f"Patient?identifier={SYSTEM}|new",
        performer=[
            {"reference": f"Practitioner?identifier={WORKERS}|rpps"},
            {"reference": f"Organization?identifier={WORKERS}|finess"},
        ],
    )
    made = done(
        send(
            ehr,
            entry("POST", "Observation", sent),
            entry("POST", "Patient", patient("new"), ifNoneExist=f"identifier={SYSTEM}|new"),
            entry("POST", "Organization", new),
        )
    )
    read = ehr.get(f"/Observation/{made_id(made[0])}").json
    ambiguous = send(ehr, entry("POST", "Observation", sent), entry("POST", "Organization", new))

    assert read["subject"]["reference"] == f"Patient/{made_id(made[1])}"
    assert [each["reference"] for each in read["performer"]] == [
        f"Practitioner/{stored}",
        f"Organization/{made_id(made[2])}",
    ]
    assert ambiguous.status_code == 412
    assert "Several" in ambiguous.json["issue"][0]["diagnostics"]
    assert count(ehr, "/Observation") == 1


def test_a_conditional_reference_finds_what_only_its_author_may_search(ehr):
    """What this bundle makes is judged with its author, as it will be once stored: by any criteria, created or updated."""
    ehr.put("/Patient/known", patient(id="known"))
    for made in (
        entry("POST", "Patient", patient(name=[{"family": "Made"}])),
        entry("PUT", "Patient/new", patient(id="new", name=[{"family": "New"}])),
        entry("PUT", "Patient/known", patient(id="known", name=[{"family": "Known"}])),
    ):
        family = made["resource"]["name"][0]["family"]
        parts = done(send(ehr, entry("POST", "Observation", observation(f"Patient?family={family}")), made))
        read = ehr.get(f"/Observation/{made_id(parts[0])}").json

        assert read["subject"]["reference"] == f"Patient/{made_id(parts[1])}"


@pytest.mark.parametrize(
    ("reference", "made"),
    [
        ("Patient?family=q", {"resourceType": "Patient", "identifier": [3]}),
        ("Patient?family=q", {"resourceType": "Patient", "meta": "x"}),
        ("Binary?_id=q", {"resourceType": "Binary", "contentType": "text/plain", "securityContext": "x"}),
    ],
)
def test_what_a_conditional_reference_looks_through_is_valid_first(ehr, reference, made):
    """A malformed entry is told at its place, though nothing is written yet."""
    extension = [{"url": "urn:x", "valueReference": {"reference": reference}}]
    sent = observation("Patient/x", extension=extension)
    answer = send(ehr, entry("POST", "Observation", sent), entry("POST", made["resourceType"], made))

    assert answer.status_code == 400
    assert answer.json["issue"][0]["expression"][0].startswith("Bundle.entry[1].resource.")


def test_a_reference_to_what_the_transaction_deletes_finds_nothing(ehr):
    """A conditional reference sees the state after the deletions."""
    old = ehr.post("/Patient", patient("leaving")).json["id"]
    answer = send(
        ehr,
        entry("DELETE", f"Patient/{old}"),
        entry("POST", "Observation", observation(f"Patient?identifier={SYSTEM}|leaving")),
    )

    assert answer.status_code == 400
    assert ehr.get(f"/Patient/{old}").status_code == 200


def test_a_conditional_reference_is_resolved_or_refused(ehr):
    """Criteria are no address: alone and in a batch, by PUT and by patch, they are 400. A stored Bundle keeps what its entries say."""
    made = ehr.put("/Observation/o", observation("Patient/p", id="o")).json
    criteria = observation(f"Patient?identifier={SYSTEM}|1")
    held = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": criteria}]}
    path = {"op": "replace", "path": "/subject/reference", "value": criteria["subject"]["reference"]}
    refused = [
        ehr.post("/Observation", criteria),
        ehr.put("/Observation/o", {**criteria, "id": "o"}),
        ehr.patch("/Observation/o", [path]),
    ]
    (batched,) = done(send(ehr, entry("POST", "Observation", criteria), kind="batch"))

    assert [each.status_code for each in refused] == [400, 400, 400]
    assert batched["status"] == "400"
    assert ehr.get("/Observation/o").json == made
    assert ehr.post("/Bundle", held).status_code == 201
