"""The XML of FHIR against its JSON: every official example, and what only one of the two forms can say."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir import codec, xml

EXAMPLES = Path(__file__).parents[1] / "data" / "all-examples.tar.xz"
TYPES = load().types


def examples():
    """Yield name and parsed resource of each official example."""
    with tarfile.open(EXAMPLES) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".json"):
                tree = codec.loads(archive.extractfile(member).read())
                if isinstance(tree, dict) and tree.get("resourceType") in TYPES:
                    yield member.name, tree


def there_and_back(tree, **options):
    """Return the resource after a way through XML."""
    return xml.read(xml.write(tree, TYPES, **options), TYPES)


def test_every_official_example_is_the_same_after_a_way_through_xml():
    """Each value, digit and narrative; indented ones too."""
    different = []
    count = 0
    for count, (name, tree) in enumerate(examples(), 1):
        if there_and_back(tree, pretty=count % 2 == 0) != tree:
            different.append(name)

    assert count > 700
    assert different == []


@pytest.mark.parametrize("digits", [b"36.70", b"1.0E-5", b"-0.0", b"0", b"12345678901234567890.123", b"-0", b"1e400"])
def test_decimals_keep_their_digits(digits):
    """Whatever the number."""
    tree = codec.loads(b'{"resourceType":"Observation","valueQuantity":{"value":' + digits + b"}}")

    assert codec.dumps(there_and_back(tree)) == codec.dumps(tree)


@pytest.mark.parametrize(
    "tree",
    [
        {"resourceType": "Patient", "_birthDate": {"id": "a", "extension": [{"url": "urn:x", "valueCode": "c"}]}},
        {"resourceType": "Patient", "name": [{"given": ["a", None], "_given": [None, {"id": "x"}]}]},
        {"resourceType": "Patient", "name": [{"_given": [None, {"id": "x"}]}]},
        {"resourceType": "Patient", "name": [{"id": "n", "text": ' <&> "\n\t\r é\U0001f600'}]},
        {"resourceType": "Patient", "contained": [{"resourceType": "Patient", "id": "a", "active": False}]},
        {"resourceType": "Patient", "extension": [{"url": "urn:x", "extension": [{"url": "y", "valueInteger": -3}]}]},
        {
            "resourceType": "Bundle",
            "type": "batch-response",
            "entry": [
                {
                    "response": {
                        "status": "400",
                        "outcome": {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]},
                    }
                }
            ],
        },
    ],
)
def test_what_is_special_in_either_form_survives(tree):
    """Extensions of primitives, gaps in lists, attributes, resources within resources."""
    assert there_and_back(tree) == tree


def test_a_narrative_keeps_its_text_and_its_namespace():
    """Entities of HTML become characters; one that inherits its namespace or has a prefix is written out."""
    made = xml.write({"resourceType": "Patient", "text": {"div": "<div>a&nbsp;b &amp; c</div>"}}, TYPES)
    assert b'<div xmlns="http://www.w3.org/1999/xhtml">a&#160;b &amp; c</div>' in made
    prefixed = (
        b'<Patient xmlns="http://hl7.org/fhir" xmlns:h="http://www.w3.org/1999/xhtml"><text><h:div>a<h:b class="x">b</h:b>'
        b" &lt; c</h:div></text></Patient>"
    )
    read = xml.read(prefixed, TYPES)["text"]["div"]
    assert read == '<div xmlns="http://www.w3.org/1999/xhtml">a<b class="x">b</b> &lt; c</div>'


def test_elements_stand_in_the_order_of_the_standard():
    """Whatever the order of the JSON."""
    made = xml.write(
        {"resourceType": "Patient", "birthDate": "1980", "name": [{"given": ["a"], "family": "b"}], "id": "x"}, TYPES
    )

    assert [made.index(part) for part in (b"<id", b"<name", b"<family", b"<given", b"<birthDate")] == sorted(
        made.index(part) for part in (b"<id", b"<name", b"<family", b"<given", b"<birthDate")
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'<!DOCTYPE Patient><Patient xmlns="http://hl7.org/fhir"/>',
        b'<Patient xmlns="http://hl7.org/fhir"><id value="a" other="b"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><birthDate><value>1980</value></birthDate></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><text><div xmlns="http://hl7.org/fhir"/></text></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><div xmlns="http://www.w3.org/1999/xhtml"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><active/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><name/></Patient>',
        b'<p xmlns="http://www.w3.org/1999/xhtml"/>',
        b"\x00",
    ],
)
def test_what_is_no_xml_of_fhir_is_invalid(raw):
    """Never a fault of ours."""
    with pytest.raises(Invalid):
        xml.read(raw, TYPES)
