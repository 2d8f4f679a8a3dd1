"""References by absolute URLs of this server name what relative ones do. https://hl7.org/fhir/R4/references.html#literal."""

from __future__ import annotations

import base64
import json

import pytest

from fhir_dmp.fhir.reference import Ref
from tests.access_world import RPPS, World, consent, document
from tests.access_world import observation as seen
from tests.bundles import SYSTEM, TWO, done, entry, made_id, observation, patient, send
from tests.http.test_choices_of_the_patient import say
from tests.search_world import ids

BASE = "http://127.0.0.1:8000/fhir"
BASES = (BASE, "https://127.0.0.1:8000/fhir", "HTTP://127.0.0.1:8000/fhir", "http://127.0.0.1:8000//fhir/")
ELSEWHERE = "https://other.example/fhir"


@pytest.fixture
def eve(ehr):
    """An EHR, and a Patient whom it knows by a number."""
    ehr.put("/Patient/eve", patient("1", id="eve", name=[{"family": "Curie"}]))
    return ehr


def made(answer):
    """Return the id and the subject of what was stored."""
    assert answer.status_code in (200, 201), answer.data
    return answer.json["id"], answer.json["subject"]["reference"]


def row(caller, ref):
    """Return what a resource is found and judged by."""
    return caller.app.extensions["fhir_dmp"].store.find_current(Ref(*ref.split("/"))).index


@pytest.mark.parametrize("base", BASES)
def test_what_is_stored_is_relative_and_found_as_such(eve, base):
    """By every way of a search, however the base is written, and in the search as well."""
    ident, subject = made(eve.post("/Observation", observation(f"{base}/Patient/eve")))

    assert subject == "Patient/eve"
    for asked in ("subject=Patient/eve", "patient=eve", "subject:Patient=eve", "patient.family=curie"):
        assert ids(eve.get(f"/Observation?{asked}")) == {ident}
    for written in BASES:
        assert ids(eve.get(f"/Observation?subject={written}/Patient/eve")) == {ident}
        assert ids(eve.get(f'/Observation?_filter=subject eq "{written}/Patient/eve"')) == {ident}
    assert ids(eve.get("/Observation?_include=Observation:subject"), "include") == {"eve"}
    assert ids(eve.get("/Patient?_revinclude=Observation:patient"), "include") == {ident}
    assert ids(eve.get("/Patient?_has:Observation:patient:status=final")) == {"eve"}
    assert ids(eve.get("/Patient/eve/Observation")) == ids(eve.get("/Patient/eve/*")) - {"eve"} == {ident}
    assert ident in ids(eve.get("/Patient/eve/$everything"))


def test_what_lies_elsewhere_stays_what_it_is(eve):
    """Its id means nothing here, and it is found by its own URL."""
    ident, subject = made(eve.post("/Observation", observation(f"{ELSEWHERE}/Patient/eve")))

    assert subject == f"{ELSEWHERE}/Patient/eve"
    assert ids(eve.get(f"/Observation?subject={ELSEWHERE}/Patient/eve")) == {ident}
    assert ids(eve.get("/Observation?subject=Patient/eve")) == set()
    assert "pt" not in row(eve, f"Observation/{ident}")


@pytest.mark.parametrize("written", ["Patient/eve/_history/1", f"{BASES[1]}/Patient/eve/_history/1"])
def test_a_reference_to_a_version_stays_one(eve, written):
    """It is in the record, and found by the resource."""
    ident, subject = made(eve.post("/Observation", observation(written)))

    assert subject == "Patient/eve/_history/1"
    assert row(eve, f"Observation/{ident}")["pt"] == ["Patient/eve"]
    assert ids(eve.get("/Observation?subject=Patient/eve")) == {ident}


@pytest.mark.parametrize("written", ["Patient/eve#name", f"{BASE}/Patient/eve#name"])
def test_a_reference_with_a_fragment_is_to_the_resource(eve, written):
    """To name a part of a record leads nothing out of it."""
    ident, subject = made(eve.post("/Observation", observation(written)))

    assert subject == "Patient/eve#name"
    assert row(eve, f"Observation/{ident}")["pt"] == ["Patient/eve"]
    assert ids(eve.get("/Patient/eve/Observation")) == {ident}


def test_a_reference_within_what_is_contained_is_relative_as_well(eve):
    """And in an extension; one to what is contained stays."""
    inner = {"resourceType": "Practitioner", "id": "p", "name": [{"family": "x"}]}
    told = [{"url": "http://a.fr/x", "valueReference": {"reference": f"{BASES[1]}/Patient/eve"}}]
    specimen = {"resourceType": "Specimen", "id": "s", "subject": {"reference": f"{BASE}/Patient/eve"}}
    sent = observation(
        f"{BASE}/Patient/eve",
        contained=[inner, specimen],
        performer=[{"reference": "#p"}],
        specimen={"reference": "#s"},
        extension=told,
    )

    stored = eve.post("/Observation", sent).json

    assert stored["contained"][1]["subject"] == {"reference": "Patient/eve"}
    assert stored["extension"][0]["valueReference"] == {"reference": "Patient/eve"}
    assert stored["performer"] == [{"reference": "#p"}]


def test_what_names_a_type_that_is_none_is_refused_by_either_name(eve):
    """An absolute one of ours is held to what a relative one is; so is one to a type that may not stand there."""
    for named in ("Nothing/1", "Encounter/1"):
        for written in (named, f"{BASE}/{named}", f"{BASES[1]}/{named}"):
            assert eve.post("/Observation", observation(written)).status_code == 400
    assert eve.post("/Observation", observation(f"{ELSEWHERE}/Nothing/1")).status_code == 201


@pytest.mark.parametrize("base", BASES)
def test_validation_says_what_the_write_would(eve, base):
    """Of the same references, with and without a mode."""
    for written, severity in ((f"{base}/Patient/eve", "information"), (f"{base}/Nothing/1", "error")):
        for query in ("", "?mode=create"):
            answer = eve.post(f"/Observation/$validate{query}", observation(written))
            assert {issue["severity"] for issue in answer.json["issue"]} == {severity}


def test_what_is_sent_again_in_other_words_changes_nothing(eve):
    """The same reference in another spelling makes no version, by update, patch and transaction."""
    sent = observation("Patient/eve", id="o")
    eve.put("/Observation/o", sent)
    for base in BASES:
        subject = {"reference": f"{base}/Patient/eve"}
        assert eve.put("/Observation/o", {**sent, "subject": subject}).json["meta"]["versionId"] == "1"
        patch = [{"op": "replace", "path": "/subject", "value": subject}]
        assert eve.patch("/Observation/o", patch).json["meta"]["versionId"] == "1"
        parts = done(send(eve, entry("PUT", f"{base}/Observation/o", {**sent, "subject": subject})))
        assert parts[0]["etag"] == 'W/"1"'


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "replace", "path": "/subject/reference", "value": f"{BASES[1]}/Patient/adam"}],
        [{"op": "replace", "path": "/subject", "value": {"reference": f"{BASE}/Patient/adam"}}],
        {
            "resourceType": "Parameters",
            "parameter": [
                {
                    "name": "operation",
                    "part": [
                        {"name": "type", "valueCode": "replace"},
                        {"name": "path", "valueString": "Observation.subject"},
                        {"name": "value", "valueReference": {"reference": f"{BASES[2]}/Patient/adam"}},
                    ],
                }
            ],
        },
    ],
)
def test_a_patch_moves_a_resource_to_the_record_that_it_names(eve, patch):
    """By an absolute reference of ours as by a relative one, alone and in a bundle."""
    eve.put("/Patient/adam", patient(id="adam"))
    for ident in ("alone", "brought"):
        eve.put(f"/Observation/{ident}", observation("Patient/eve", id=ident))
    brought = {"resourceType": "Binary", "data": base64.b64encode(json.dumps(patch).encode()).decode()}

    assert eve.patch("/Observation/alone", patch).status_code == 200
    done(send(eve, entry("PATCH", "Observation/brought", brought if isinstance(patch, list) else patch)))

    assert ids(eve.get("/Patient/eve/Observation")) == set()
    assert ids(eve.get("/Patient/adam/Observation")) == {"alone", "brought"}
    assert eve.get("/Observation/brought").json["subject"] == {"reference": "Patient/adam"}


@pytest.mark.parametrize("base", BASES)
def test_entries_of_a_bundle_are_named_by_our_urls(eve, base):
    """Under the fullUrl that a client made up for what is created; what no entry brings is the server's own."""
    sent = f"{base}/Patient/made-up"
    parts = done(
        send(
            eve,
            entry("POST", "Patient", patient(), sent),
            entry("POST", "Observation", observation(sent), TWO),
            entry("POST", "Observation", observation("Patient/made-up"), f"{base}/Observation/x"),
            entry("POST", "Observation", observation(f"{BASE}/Patient/eve")),
        )
    )
    subjects = [eve.get(f"/Observation/{made_id(part)}").json["subject"]["reference"] for part in parts[1:]]

    new = f"Patient/{made_id(parts[0])}"
    assert subjects == [new, new, "Patient/eve"]


def test_entries_of_a_batch_are_told_to_be_of_our_base(eve):
    """Each is stored as if it were sent alone."""
    sent = [entry("POST", f"{base}/Observation", observation(f"{base}/Patient/eve")) for base in BASES]
    parts = done(send(eve, *sent, entry("GET", f"{BASES[1]}/Patient/eve"), kind="batch"))

    assert [part["status"] for part in parts] == [*["201 Created"] * len(BASES), "200 OK"]
    assert ids(eve.get("/Patient/eve/Observation")) == {made_id(part) for part in parts[:-1]}


@pytest.mark.parametrize("base", BASES)
def test_a_conditional_reference_may_be_absolute(eve, base):
    """Of a transaction it is resolved; elsewhere it is refused as a relative one is, and never stored."""
    written = f"{base}/Patient?identifier={SYSTEM}|1"
    patched = {"op": "replace", "path": "/subject/reference", "value": written}
    brought = {"resourceType": "Binary", "data": base64.b64encode(json.dumps([patched]).encode()).decode()}
    eve.put("/Observation/o", observation("Patient/adam", id="o"))
    parts = done(
        send(
            eve,
            entry("POST", "Observation", observation(written)),
            entry("PATCH", "Observation/o", brought, f"{BASE}/x/o"),
        )
    )

    assert ids(eve.get("/Patient/eve/Observation")) == {made_id(parts[0]), "o"}
    assert eve.get("/Observation/o").json["subject"] == {"reference": "Patient/eve"}
    alone = eve.post("/Observation", observation(written))
    assert alone.status_code == 400
    assert "within a transaction" in alone.json["issue"][0]["diagnostics"]
    nothing = send(eve, entry("POST", "Observation", observation(f"{base}/Patient?identifier={SYSTEM}|9")))
    assert nothing.status_code == 400
    assert nothing.json["issue"][0]["expression"] == ["Bundle.entry[0]"]


@pytest.mark.parametrize("base", BASES)
def test_criteria_may_be_absolute_and_ask_for_absolute_references(eve, base):
    """``If-None-Exist`` of a header and of an entry, and the URL of an entry."""
    ident, _ = made(eve.post("/Observation", observation("Patient/eve")))
    subject, sent = f"subject={base}/Patient/eve", observation("Patient/eve")

    assert eve.post("/Observation", sent, headers={"If-None-Exist": subject}).json["id"] == ident
    parts = done(
        send(
            eve,
            entry("POST", "Observation", sent, ifNoneExist=f"{base}/Observation?{subject}"),
            entry("GET", f"{base}/Observation?{subject}"),
        )
    )
    assert made_id(parts[0]) == ident
    assert eve.get("/Observation?_summary=count").json["total"] == 1


def test_what_is_stored_as_it_was_sent_keeps_its_bases(eve):
    """References within a Bundle are read under those of its entries."""
    inner = {"fullUrl": f"{BASE}/Observation/o", "resource": observation(f"{BASE}/Patient/eve")}
    stored = eve.post("/Bundle", {"resourceType": "Bundle", "type": "collection", "entry": [inner]}).json

    assert stored["entry"][0]["resource"]["subject"] == {"reference": f"{BASE}/Patient/eve"}


def test_a_provenance_told_with_a_write_refers_relatively(eve):
    """Who stands behind it is found by who they are here."""
    eve.put("/Practitioner/doctor", {"resourceType": "Practitioner", "id": "doctor"})
    told = {
        "resourceType": "Provenance",
        "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"reference": f"{BASES[1]}/Practitioner/doctor"}}],
        "target": [{"reference": "x"}],
    }

    answer = eve.post("/Observation", observation("Patient/eve"), headers={"X-Provenance": json.dumps(told)})

    assert answer.status_code == 201
    assert len(ids(eve.get("/Provenance?agent=Practitioner/doctor"))) == 1


def test_a_journal_holds_what_names_its_patient_by_our_url(eve):
    """Also of what is in no compartment."""
    for base in BASES:
        device = {"resourceType": "Device", "patient": {"reference": f"{base}/Patient/eve"}}
        ident = eve.post("/Device", device).json["id"]
        assert row(eve, f"Device/{ident}")["about"] == ["Patient/eve"]


def test_a_base_with_a_slash_too_many_in_its_setting_is_the_same(mongodb_uri, database_name, tmp_path):
    """What the operator set, and what clients see of it."""
    world = World(mongodb_uri, database_name, tmp_path, public_url="https://dmp.example/")
    try:
        made = world.ehr.made(seen(f"http://DMP.example:80/fhir/{world.patient}"))
        assert made["subject"] == {"reference": world.patient}
        assert world.ehr.search("Observation", f"subject=https://dmp.example/fhir/{world.patient}").ids == {made["id"]}
        assert world.ehr.search("Observation", f"subject={BASE}/{world.patient}").ids == set()
    finally:
        world.server.close()


@pytest.mark.parametrize("base", BASES)
def test_the_record_that_an_absolute_reference_names_decides(world, base):
    """Who may not enter it reads nothing of it, who may does, and a Consent that is withdrawn shuts it at once."""
    lab = world.system("lab-one", "lab", "urn:s|7")
    ref = f"Observation/{lab.made(seen(f'{base}/{world.patient}'))['id']}"
    doctor, stranger = world.professional("1"), world.holder(world.new_patient())
    allowed = consent(f"{base}/{world.patient}", "permit", actors=[f"{RPPS}|1"])

    assert (doctor.read(ref).status, stranger.read(ref).status, world.holder().read(ref).status) == (403, 404, 200)
    given = world.holder().made(allowed)
    assert given["patient"] == {"reference": world.patient}
    assert doctor.read(ref).status == 200
    assert doctor.search("Observation").ids == {ref.partition("/")[2]}
    assert world.holder().update({**given, "status": "inactive"}).status == 200
    assert doctor.read(ref).status == 403
    assert world.holder().search("AuditEvent", f"entity={base}/{ref}&subtype=read").ids != set()


@pytest.mark.parametrize("base", BASES)
def test_nothing_is_led_out_of_a_record_that_its_writer_is_shut_out_of(world, base):
    """Who is blocked does not write into it by another spelling of its name, nor keep what they wrote there by moving it."""
    doctor = world.professional("1")
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    mine = doctor.made(seen(world.patient))
    world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|1"]))

    assert doctor.create(seen(f"{base}/{world.patient}")).status == 403
    assert doctor.update({**mine, "subject": {"reference": f"{base}/{world.patient}"}}).status in (403, 404)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("version", ["", "/_history/1"])
def test_the_content_of_a_document_is_hidden_with_it_however_its_address_is_written(world, base, version):
    """What a masked document names is not read by its id, though it says that it belongs to the record."""
    text = {
        "resourceType": "Binary",
        "contentType": "text/plain",
        "data": "eA==",
        "securityContext": {"reference": world.patient},
    }
    binary = f"Binary/{world.ehr.made(text)['id']}"
    tree = document(world.patient)
    tree["content"][0]["attachment"]["url"] = f"{base}/{binary}{version}"
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    made, doctor = world.ehr.made(tree), world.professional("1")
    before = doctor.read(binary).status

    say(world.holder(), "mask", item={"reference": f"{base}/DocumentReference/{made['id']}"})

    assert made["content"][0]["attachment"]["url"] == f"{binary}{version}"
    assert (before, doctor.read(binary).status, world.holder().read(binary).status) == (200, 404, 200)
    assert world.ehr.search("DocumentReference", f"location={base}/{binary}{version}").ids == {made["id"]}
    assert world.ehr.search("DocumentReference", f"location={binary}{version}").ids == {made["id"]}


@pytest.mark.parametrize("base", BASES)
def test_an_entry_of_the_directory_names_no_patient_by_any_url(world, base):
    """It is open to whoever is known."""
    tree = {"resourceType": "Organization", "name": "x", "partOf": {"reference": "Organization/1"}}
    told = [{"url": "http://a.fr/x", "valueReference": {"reference": f"{base}/{world.patient}"}}]

    assert world.ehr.create({**tree, "extension": told}).status == 422


@pytest.mark.parametrize("base", BASES)
def test_a_client_reports_as_this_server_by_no_spelling_of_its_url(world, base):
    """And what it tells of a record here stands in that patient's journal."""
    event = {
        "resourceType": "AuditEvent",
        "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110110"},
        "recorded": "2026-11-23T10:00:00Z",
        "agent": [{"requestor": True, "who": {"display": "x"}}],
        "source": {"observer": {"display": "our own system"}},
        "entity": [{"what": {"reference": f"{base}/{world.patient}"}}],
    }
    ident = world.ehr.made(event)["id"]

    assert world.holder().search("AuditEvent", "type=110110&date=2026").ids == {ident}
    posing = {**event, "source": {"observer": {"reference": f"{base}/Device/1"}}}
    assert world.ehr.create(posing).status == 422
