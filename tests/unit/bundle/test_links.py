"""References between the entries of one bundle, without a database."""

from __future__ import annotations

import pytest

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir import codec
from fhir_dmp.interactions.links import Links, unsettled_references

BASE = "https://dmp.example/fhir"
ONE, OID, WEB = (
    "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a",
    "urn:oid:1.2.3",
    "http://elsewhere.example/fhir/Patient/7",
)


@pytest.fixture
def links():
    """Three entries and a conditional reference."""
    made = Links(BASE)
    made.add_entry(ONE, "Patient/new")
    made.add_entry(OID, "Practitioner/new")
    made.add_entry(WEB, "Patient/seven")
    made.add("Patient?identifier=x|1", "Patient/found")
    made.make("Patient/seven", 2)
    return made


def reference(text):
    """Return a Reference."""
    return {"subject": {"reference": text}}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (ONE, "Patient/new"),
        (OID, "Practitioner/new"),
        (WEB, "Patient/seven"),
        (f"{WEB}/_history/3", "Patient/seven/_history/2"),
        (f"{ONE}/_history/3", "Patient/new"),
        ("Patient?identifier=x|1", "Patient/found"),
        ("urn:uuid:00000000-0000-0000-0000-000000000000", "urn:uuid:00000000-0000-0000-0000-000000000000"),
        ("#p", "#p"),
        ("Patient/7", "Patient/7"),
    ],
)
def test_a_reference_to_an_entry_is_rewritten_and_any_other_is_left(links, sent, stored):
    """By full URL, to the version that is made here if it was to one; what the bundle does not name stays."""
    assert links.rewrite(reference(sent), ONE) == reference(stored)


@pytest.mark.parametrize(
    ("full_url", "stored"),
    [
        ("http://elsewhere.example/fhir/Observation/1", "Patient/seven"),
        ("http://other.example/fhir/Observation/1", "Patient/7"),
        (ONE, "Patient/7"),
        (None, "Patient/7"),
    ],
)
def test_a_relative_reference_is_read_under_the_base_of_its_own_entry(links, full_url, stored):
    """The same text points elsewhere from another base."""
    assert links.rewrite(reference("Patient/7"), full_url) == reference(stored)


@pytest.mark.parametrize(
    "element",
    [
        {"identifier": [{"system": "urn:ietf:rfc:3986", "value": ONE}]},
        {"valueCanonical": ONE},
        {"instantiatesCanonical": [ONE]},
        {"valueString": ONE},
        {"url": ONE, "resourceType": "ValueSet"},
        {"extension": [{"url": ONE, "valueBoolean": True}]},
        {"note": [{"text": f'<a href="{ONE}">'}]},
    ],
)
def test_what_is_no_link_is_never_touched(links, element):
    """Identifiers, canonicals, text, the name of a definition or an extension."""
    assert links.rewrite(element, ONE) is element


@pytest.mark.parametrize(
    ("element", "stored"),
    [
        ({"valueUri": ONE}, {"valueUri": "Patient/new"}),
        ({"valueUuid": ONE}, {"valueUuid": ONE}),
        ({"policy": [ONE]}, {"policy": ["Patient/new"]}),
        ({"endpoint": ONE}, {"endpoint": "Patient/new"}),
        ({"instantiatesUri": ["a", ONE]}, {"instantiatesUri": ["a", "Patient/new"]}),
        ({"content": [{"attachment": {"url": ONE}}]}, {"content": [{"attachment": {"url": "Patient/new"}}]}),
        ({"contained": [reference(ONE)]}, {"contained": [reference("Patient/new")]}),
        (
            {"text": {"div": f"<a href=\"{ONE}\"><img src = '{OID}'/></a>"}},
            {"text": {"div": "<a href=\"Patient/new\"><img src = 'Practitioner/new'/></a>"}},
        ),
    ],
)
def test_links_of_other_kinds_are_rewritten_too(links, element, stored):
    """uri, url, contained resources, narratives."""
    assert links.rewrite(element, ONE) == stored


def test_the_tree_that_was_sent_stays_as_it_is(links):
    """A Plan that is made anew starts from the same tree; what has no link is not copied; numbers keep their digits."""
    tree = codec.loads(b'{"a":[{"reference":"%s"}],"b":{"value":36.70},"c":[1,[2],null,true]}' % ONE.encode())
    before = codec.dumps(tree)
    made = links.rewrite(tree, ONE)

    assert codec.dumps(tree) == before
    assert codec.dumps(made) == before.replace(ONE.encode(), b"Patient/new")
    assert made["b"] is tree["b"]


@pytest.mark.parametrize("full_url", [f"{BASE}/Patient/sent", "http://DMP.example:80/fhir//Patient/sent"])
@pytest.mark.parametrize("base", [BASE, "http://dmp.example/fhir", "HTTPS://DMP.EXAMPLE:443/fhir"])
def test_entries_under_our_own_base_are_named_however_that_is_written(full_url, base):
    """By their full URLs, and relative to one's own; a client that comes by a proxy may know it by another scheme."""
    links = Links(BASE)
    links.add_entry(full_url, "Patient/new")
    links.make("Patient/new", 2)

    assert links.rewrite(reference(f"{base}/Patient/sent"), None) == reference("Patient/new")
    assert links.rewrite(reference(f"{base}/Patient/sent/_history/7"), None) == reference("Patient/new/_history/2")
    assert links.rewrite(reference("Patient/sent"), f"{base}/Observation/1") == reference("Patient/new")
    assert links.of_version(f"{base}/Patient/sent/_history/7", None) == "Patient/new"


def test_a_relative_full_url_cannot_name_another_resource(links):
    """A new resource has no place here yet; an update's own URL does no harm."""
    links.add_entry("Patient/1", "Patient/1")
    with pytest.raises(Invalid, match="absolute"):
        links.add_entry("Patient/1", "Patient/2")


def test_references_by_criteria_and_to_versions_are_found_wherever_they_stand():
    """Only in Reference.reference, and criteria only with a type before the question mark."""
    tree = {
        "subject": {"reference": "Patient?identifier=1"},
        "performer": [
            {"reference": "Practitioner?identifier=2"},
            {"reference": "Patient/1"},
            {"reference": f"{BASE}/Group?code=4"},
            {"reference": "https://other.example/fhir/Group?code=4"},
            {"display": "Patient?x=y"},
            {"reference": "urn:uuid:1/_history/1", "display": "Patient/1/_history/2"},
        ],
        "contained": [{"subject": {"reference": "Group?code=3"}}],
        "url": "Patient?x=1",
        "other": [[{"reference": "urn:x?y"}, {"reference": 5}]],
    }

    assert unsettled_references(tree, BASE) == [
        "Patient?identifier=1",
        "Practitioner?identifier=2",
        f"{BASE}/Group?code=4",
        "urn:uuid:1/_history/1",
        "Group?code=3",
    ]
