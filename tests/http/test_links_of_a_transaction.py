"""What links between the entries of a transaction lead to, where an entry renews something. https://hl7.org/fhir/R4/http.html#trules."""

from __future__ import annotations

import base64
import json

import pytest

from tests.bundles import SYSTEM, done, entry, made_id, observation, patient, send

BASE = "http://127.0.0.1:8000/fhir"


def organization(name, within=None, **more):
    """Return an Organization, within the one that is referred to."""
    part_of = {"partOf": {"reference": within}} if within else {}
    return {"resourceType": "Organization", "id": name, "name": name, **part_of, **more}


def put(name, within=None, **more):
    """Return the entry that puts an Organization under its own URL, as part of the present version of another."""
    target = f"{BASE}/Organization/{within}/_history/9" if within else None
    return entry("PUT", f"Organization/{name}", organization(name, target, **more), f"{BASE}/Organization/{name}")


def json_patch(*operations):
    """Return the Binary that brings a JSON Patch."""
    return {"resourceType": "Binary", "data": base64.b64encode(json.dumps(operations).encode()).decode()}


def replacing(path, **value):
    """Return a FHIRPath Patch that replaces what a path leads to."""
    parts = [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": path},
        {"name": "value", **value},
    ]
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}


def states(ehr, *names):
    """Return of each Organization its version, and what it says that it is part of."""
    found = [ehr.get(f"/Organization/{name}").json for name in names]
    return [(each["meta"]["versionId"], each.get("partOf", {}).get("reference")) for each in found]


def test_a_link_leads_to_the_version_of_a_later_entry_that_changes_nothing(ehr):
    """Wherever the entries stand: what stays has no new version, and nothing refers to one."""
    done(send(ehr, put("whole")))
    done(send(ehr, put("part", "whole"), put("whole")))

    assert [("1", "Organization/whole/_history/1"), ("1", None)] == states(ehr, "part", "whole")

    done(send(ehr, put("part", "whole", active=True), put("whole")))

    assert [("2", "Organization/whole/_history/1"), ("1", None)] == states(ehr, "part", "whole")


def test_nothing_changes_where_what_is_linked_to_stays_as_it_is(ehr):
    """A bundle that is sent each night makes no versions, however long its chains of links are, in whichever order they stand."""
    chain = [put("a", "b"), put("b", "c"), put("c", "d"), put("d")]
    first = done(send(ehr, *chain))
    for again in (chain, chain[::-1], [chain[2], chain[0], chain[3], chain[1]]):
        assert {part["etag"] for part in done(send(ehr, *again))} == {'W/"1"'}
    done(send(ehr, *chain[:3], put("d", active=True)))

    assert {part["status"] for part in first} == {"201 Created"}
    assert [(f"{v}", f"Organization/{below}/_history/2") for v, below in ((2, "b"), (2, "c"), (2, "d"))] == states(
        ehr, "a", "b", "c"
    )
    assert states(ehr, "d") == [("2", None)]


def test_links_in_a_circle_lead_to_versions_that_are_there(ehr):
    """One that changes takes along those that refer to its version; a circle that stays as it is makes no versions."""
    circle = [put("a", "b"), put("b", "c"), put("c", "a"), put("beside", "a"), put("alone")]
    done(send(ehr, *circle))
    assert {part["etag"] for part in done(send(ehr, *circle))} == {'W/"1"'}
    assert {part["etag"] for part in done(send(ehr, *circle[::-1]))} == {'W/"1"'}

    done(send(ehr, *circle[:2], put("c", "a", active=True), *circle[3:]))
    assert states(ehr, "a", "b", "c", "beside", "alone") == [
        ("2", "Organization/b/_history/2"),
        ("2", "Organization/c/_history/2"),
        ("2", "Organization/a/_history/2"),
        ("2", "Organization/a/_history/2"),
        ("1", None),
    ]

    done(send(ehr, put("a", "a"), put("alone")))
    done(send(ehr, put("a", "a"), put("alone")))
    assert states(ehr, "a", "alone") == [("3", "Organization/a/_history/3"), ("1", None)]


def test_what_looks_the_same_in_a_circle_is_a_version_all_the_same(ehr):
    """It said before which version the other would have: the other does get that one, and refers to a version that is made."""
    ehr.put("/Organization/a", organization("a", "Organization/b/_history/2"))
    ehr.put("/Organization/b", organization("b"))
    done(send(ehr, put("a", "b"), put("b", "a")))

    assert states(ehr, "a", "b") == [("2", "Organization/b/_history/2"), ("2", "Organization/a/_history/2")]
    assert ehr.get("/Organization/a/_history/2").status_code == 200


def test_a_fault_in_a_circle_is_told_at_its_place(ehr):
    """Nothing is stored, and each fault stands where it is."""
    done(send(ehr, put("a"), put("b")))
    answer = send(ehr, put("a", "b", active="x"), put("b", "a", alias=5))

    assert answer.status_code == 400
    assert [issue["expression"] for issue in answer.json["issue"]] == [
        ["Bundle.entry[0].resource.active"],
        ["Bundle.entry[1].resource.alias"],
    ]
    assert states(ehr, "a", "b") == [("1", None), ("1", None)]


@pytest.mark.parametrize("url", ["Organization/whole", "Organization?name=whole"])
@pytest.mark.parametrize(
    ("patch", "version"),
    [
        (json_patch({"op": "add", "path": "/active", "value": True}), 2),
        (json_patch({"op": "test", "path": "/name", "value": "whole"}), 1),
        (replacing("Organization.name", valueString="Whole"), 2),
        (replacing("Organization.name", valueString="whole"), 1),
    ],
    ids=["json", "json, nothing", "fhirpath", "fhirpath, nothing"],
)
def test_a_link_leads_to_what_a_patch_changes(ehr, url, patch, version):
    """By the fullUrl of its entry, wherever that stands; to the version that it makes, or that stays."""
    ehr.put("/Organization/whole", organization("whole"))
    name = "urn:uuid:0f1f7a4a-4a6e-4d9a-8d2e-6b8e5b9b1c11"
    parts = done(
        send(
            ehr,
            entry("PUT", "Organization/part", organization("part", f"{name}/_history/7")),
            entry("PATCH", url, patch, name),
            entry("POST", "Organization", organization("made", name)),
        )
    )

    assert parts[1]["etag"] == f'W/"{version}"'
    assert states(ehr, "part", made_id(parts[2])) == [
        ("1", f"Organization/whole/_history/{version}"),
        ("1", "Organization/whole"),
    ]


def test_a_patch_that_links_to_a_version_waits_for_it(ehr):
    """By either kind of patch, also where it sets the text of the reference alone; one that sets what is there changes nothing."""
    name = f"{BASE}/Organization/whole"
    link = f"{name}/_history/3"
    for part in ("one", "two", "three"):
        ehr.put(f"/Organization/{part}", organization(part, "Organization/x"))
    ehr.put("/Organization/whole", organization("whole"))
    entries = [
        entry("PATCH", "Organization/one", json_patch({"op": "replace", "path": "/partOf/reference", "value": link})),
        entry("PATCH", "Organization/two", replacing("Organization.partOf.reference", valueString=link)),
        entry("PATCH", "Organization/three", replacing("Organization.partOf", valueReference={"reference": link})),
    ]
    done(send(ehr, *entries, put("whole")))
    assert states(ehr, "one", "two", "three") == [("2", "Organization/whole/_history/1")] * 3

    done(send(ehr, *entries, put("whole")))
    assert states(ehr, "one", "two", "three") == [("2", "Organization/whole/_history/1")] * 3

    done(send(ehr, *entries, put("whole", active=True)))
    assert states(ehr, "one", "two", "three") == [("3", "Organization/whole/_history/2")] * 3


def test_a_link_leads_to_what_a_conditional_update_finds_or_makes(ehr):
    """The version that is made of it, that stays, or the first one."""
    ehr.put("/Patient/found", patient("found", id="found"))
    ehr.put("/Patient/same", patient("same", id="same"))
    names = [f"urn:uuid:0f1f7a4a-4a6e-4d9a-8d2e-6b8e5b9b1c1{place}" for place in range(3)]
    sent = observation(names[0], performer=[{"reference": f"{name}/_history/8"} for name in names])
    parts = done(
        send(
            ehr,
            entry("PUT", "Observation/o", {**sent, "id": "o"}),
            entry("PUT", f"Patient?identifier={SYSTEM}|found", patient("found", active=True), names[0]),
            entry("PUT", f"Patient?identifier={SYSTEM}|same", patient("same"), names[1]),
            entry("PUT", f"Patient?identifier={SYSTEM}|new", patient("new"), names[2]),
        )
    )

    assert [each["reference"] for each in ehr.get("/Observation/o").json["performer"]] == [
        "Patient/found/_history/2",
        "Patient/same/_history/1",
        f"Patient/{made_id(parts[3])}/_history/1",
    ]


@pytest.mark.parametrize("url", ["Patient/patched", f"Patient?identifier={SYSTEM}|patched"])
@pytest.mark.parametrize(
    "patch",
    [
        json_patch({"op": "replace", "path": "/name/0/family", "value": "Newname"}),
        replacing("Patient.name[0].family", valueString="Newname"),
    ],
    ids=["json", "fhirpath"],
)
def test_a_conditional_reference_finds_what_a_patch_makes(ehr, url, patch):
    """By what it holds after, and no more by what it held before."""
    ehr.put("/Patient/patched", patient("patched", id="patched", name=[{"family": "Oldname"}]))
    old = send(
        ehr, entry("PUT", "Observation/o", observation("Patient?family=oldname", id="o")), entry("PATCH", url, patch)
    )
    new = send(
        ehr,
        entry("PUT", "Observation/o", observation("Patient?family=newname", id="o")),
        entry("PUT", "Observation/same", observation(f"Patient?identifier={SYSTEM}|patched", id="same")),
        entry("PATCH", url, patch),
    )

    assert (old.status_code, old.json["issue"][0]["expression"]) == (400, ["Bundle.entry[0]"])
    done(new)
    for name in ("o", "same"):
        assert ehr.get(f"/Observation/{name}").json["subject"]["reference"] == "Patient/patched"


def test_a_conditional_reference_finds_what_a_conditional_update_makes(ehr):
    """What is found by its criteria, and by what it holds; one that is made under an id of the server's, too."""
    ehr.put("/Patient/found", patient("found", id="found", name=[{"family": "Oldname"}]))
    parts = done(
        send(
            ehr,
            entry("PUT", "Observation/one", observation("Patient?family=newname", id="one")),
            entry("PUT", "Observation/two", observation("Patient?family=made", id="two")),
            entry("PUT", f"Patient?identifier={SYSTEM}|found", patient("found", name=[{"family": "Newname"}])),
            entry("PUT", f"Patient?identifier={SYSTEM}|made", patient("made", name=[{"family": "Made"}])),
        )
    )

    assert ehr.get("/Observation/one").json["subject"]["reference"] == "Patient/found"
    assert ehr.get("/Observation/two").json["subject"]["reference"] == f"Patient/{made_id(parts[3])}"


def test_a_patch_refers_by_criteria(ehr):
    """To what is stored, and to what the bundle makes; by the text of a reference, too."""
    ehr.put("/Patient/stored", patient("stored", id="stored"))
    for name in ("one", "two", "three"):
        ehr.put(f"/Observation/{name}", observation("Patient/x", id=name))
    made, stored = f"Patient?identifier={SYSTEM}|made", f"Patient?identifier={SYSTEM}|stored"
    subject = {"op": "replace", "path": "/subject", "value": {"reference": made}}
    parts = done(
        send(
            ehr,
            entry("PATCH", "Observation/one", json_patch(subject)),
            entry("PATCH", "Observation/two", json_patch({**subject, "path": "/subject/reference", "value": stored})),
            entry("PATCH", "Observation/three", replacing("Observation.subject.reference", valueString=made)),
            entry("POST", "Patient", patient("made")),
        )
    )

    new = f"Patient/{made_id(parts[3])}"
    found = [ehr.get(f"/Observation/{name}").json["subject"]["reference"] for name in ("one", "two", "three")]
    assert found == [new, "Patient/stored", new]


def test_a_conditional_reference_looks_beyond_what_the_bundle_changes(ehr):
    """Of several that match now some are renamed in the bundle: the one that is left is found."""
    for name in ("a", "b", "c", "d"):
        ehr.put(f"/Patient/{name}", patient(id=name, name=[{"family": "Shared"}]))
    renamed = [
        entry("PUT", f"Patient/{name}", patient(id=name, name=[{"family": "Other"}])) for name in ("a", "b", "c")
    ]
    sent = entry("PUT", "Observation/o", observation("Patient?family=shared", id="o"))
    several = send(ehr, sent, *renamed[:2])
    done(send(ehr, sent, *renamed))

    assert several.status_code == 412
    assert ehr.get("/Observation/o").json["subject"]["reference"] == "Patient/d"


@pytest.mark.parametrize(
    "patch",
    [
        {"resourceType": "Binary", "data": base64.b64encode(b"{").decode()},
        {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [{"name": ["x"]}, 3]}]},
        {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [{"name": ["x"]}]}]},
        {"resourceType": "Parameters", "parameter": {"name": "operation"}},
        json_patch({"op": "replace", "path": ["/reference"], "value": 5}),
    ],
)
def test_a_patch_that_is_none_is_told_at_its_place(ehr, patch):
    """Also where something looks for what the patch would make."""
    ehr.put("/Patient/p", patient(id="p"))
    answer = send(
        ehr, entry("POST", "Observation", observation("Patient?family=x")), entry("PATCH", "Patient/p", patch)
    )

    assert answer.status_code in (400, 422)
    assert answer.json["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
