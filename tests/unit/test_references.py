"""What a reference names on this server, and how it is written there. https://hl7.org/fhir/R4/references.html."""

from __future__ import annotations

import pytest

from fhir_dmp.fhir.reference import Ref, below, local, relative, with_relative

BASE = "https://dmp.example/fhir"
SPELLINGS = (
    BASE,
    "http://dmp.example/fhir",
    "HTTPS://dmp.example/fhir",
    "https://DMP.Example/fhir",
    "https://dmp.example:443/fhir",
    "http://dmp.example:80/fhir",
    "https://dmp.example//fhir/",
)
OTHERS = (
    "https://other.example/fhir",
    "https://dmp.example/FHIR",
    "https://dmp.example/fhir2",
    "https://dmp.example/fhir/tenant",
    "https://dmp.example/tenant/fhir",
    "https://dmp.example",
    "https://dmp.example:8443/fhir",
    "https://dmp.example:80/fhir",
    "https://dmp.example.evil.example/fhir",
    "https://evil.example/https://dmp.example/fhir",
    "ftp://dmp.example/fhir",
)


@pytest.mark.parametrize("base", SPELLINGS)
@pytest.mark.parametrize(
    "rest", ["Patient/1", "Patient/1/_history/2", "Patient/1#part", "Patient?identifier=http://a.fr/x|1/2"]
)
def test_a_reference_under_our_base_is_relative_however_that_is_written(base, rest):
    """By http and by https, whatever the case of the host, with the port that is the scheme's own."""
    assert relative(f"{base}/{rest}", BASE) == rest


@pytest.mark.parametrize("base", OTHERS)
def test_a_reference_under_any_other_base_stays_what_it_is(base):
    """A path is told by its case; another port and a longer path are other places."""
    for rest in ("Patient/1", "Patient?identifier=1"):
        assert relative(f"{base}/{rest}", BASE) == f"{base}/{rest}"
    assert local(f"{base}/Patient/1", BASE) is None


@pytest.mark.parametrize(
    "text",
    [
        "Patient/1",
        "#p",
        "#",
        "",
        "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a",
        BASE,
        f"{BASE}/",
        f"{BASE}/metadata",
        f"{BASE}/Patient",
        f"{BASE}/Patient/1/Observation",
        f"{BASE}/Patient/{'x' * 65}",
        "http://[",
        "http:///fhir/Patient/1",
        "httpx://dmp.example/fhir/Patient/1",
    ],
)
def test_what_names_no_resource_of_ours_by_a_url_stays_what_it_is(text):
    """What would be no reference without its base keeps it."""
    assert relative(text, BASE) == text


def test_a_base_with_a_port_of_its_own_is_ours_with_that_port_alone():
    """A port that is no scheme's own is told, by either scheme."""
    base = "http://127.0.0.1:8000/fhir"

    assert relative("https://127.0.0.1:8000/fhir/Patient/1", base) == "Patient/1"
    assert relative("http://127.0.0.1/fhir/Patient/1", base) == "http://127.0.0.1/fhir/Patient/1"
    assert relative("http://[::1]:8000/fhir/Patient/1", "http://[::1]:8000/fhir") == "Patient/1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Patient/1", Ref("Patient", "1")),
        ("Patient/1/_history/2", Ref("Patient", "1")),
        ("Patient/1#part", Ref("Patient", "1")),
        (f"{BASE}/Patient/1/", Ref("Patient", "1")),
        ("http://dmp.example/fhir/Patient/1/_history/2#part", Ref("Patient", "1")),
        ("#part", None),
        ("Patient", None),
        ("Patient/1/2", None),
    ],
)
def test_a_fragment_and_a_version_name_the_same_resource(text, named):
    """A part of a resource is no other resource."""
    assert local(text, BASE) == named


def test_what_stands_behind_the_base_of_a_long_url_is_told_as_well():
    """Of whatever length: no more than short ones are remembered."""
    query = f"Patient?identifier={'x' * 500}"

    assert below(f"{BASE}/{query}", BASE) == query
    assert below(f"https://other.example/{query}", BASE) == f"https://other.example/{query}"


def test_all_references_of_a_resource_become_relative_and_nothing_else():
    """At any depth, within what is contained and in extensions; never a uri or a canonical, though it is called reference."""
    ours, stays = {"reference": f"{BASE}/Patient/1"}, f"{BASE}/DocumentReference/1"
    tree = {
        "resourceType": "Immunization",
        "patient": {**ours, "display": "Ève", "_reference": {"id": "x"}},
        "performer": [{"actor": {"reference": f"{BASE}/Practitioner/1/_history/2"}}, {"actor": {"reference": "x"}}],
        "contained": [{"resourceType": "Observation", "subject": ours, "extension": [{"valueReference": ours}]}],
        "education": [{"reference": stays}],
        "extension": [
            {"url": f"{BASE}/StructureDefinition/1", "valueUrl": stays},
            {"url": "x", "valueExpression": {"language": "text/fhirpath", "reference": stays}},
            {"url": "x", "valueReference": {"reference": "https://other.example/fhir/Patient/1"}},
        ],
    }
    made = with_relative("Immunization", tree, BASE)

    assert made["patient"] == {"reference": "Patient/1", "display": "Ève", "_reference": {"id": "x"}}
    assert made["performer"] == [{"actor": {"reference": "Practitioner/1/_history/2"}}, {"actor": {"reference": "x"}}]
    assert made["contained"][0]["subject"] == {"reference": "Patient/1"}
    assert made["contained"][0]["extension"] == [{"valueReference": {"reference": "Patient/1"}}]
    assert made["education"] == tree["education"]
    assert made["extension"] == tree["extension"]
    assert tree["patient"]["reference"] == f"{BASE}/Patient/1"


def test_the_address_of_a_content_is_relative_and_no_other_url():
    """An attachment may name a Binary in place of its data; what definitions and extensions are called by stays."""
    urls = [f"{BASE}/Binary/1", f"{BASE}/Binary/1/_history/2", f"{BASE}/Patient/1", "https://other.example/Binary/1"]
    tree = {"url": f"{BASE}/ValueSet/1", "content": [{"attachment": {"url": url}} for url in urls]}

    made = with_relative("DocumentReference", tree, BASE)

    assert [each["attachment"]["url"] for each in made["content"]] == ["Binary/1", "Binary/1/_history/2", *urls[2:]]
    assert made["url"] == tree["url"]


@pytest.mark.parametrize("kind", ["Bundle", "Parameters"])
def test_what_holds_resources_as_they_were_sent_is_left(kind):
    """References within a Bundle are read under the bases of its entries."""
    tree = {"resourceType": kind, "entry": [{"resource": {"subject": {"reference": f"{BASE}/Patient/1"}}}]}

    assert with_relative(kind, tree, BASE) is tree


def test_a_resource_without_such_references_is_returned_as_it_is():
    """Nothing is copied."""
    tree = {"subject": {"reference": "Patient/1"}, "performer": [{"reference": "https://other.example/Patient/1"}]}

    assert with_relative("Observation", tree, BASE) is tree
