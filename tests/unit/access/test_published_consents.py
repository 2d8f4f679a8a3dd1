"""The Consents that IHE publishes with Privacy Consent on FHIR, each held to what its text says. https://profiles.ihe.net/ITI/PCF/.

Compiled and judged without a database: what a Consent permits or denies, to whom, for what, of which rows.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache

import pytest
from msgspec.structs import replace

from fhir_dmp.access.actors import Registry
from fhir_dmp.access.consents import compile_consent, is_privacy
from fhir_dmp.access.decide import decide
from fhir_dmp.access.policy import Policy, decode, encode
from fhir_dmp.access.provisions import CONFIDENTIALITY, consent_rules
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir import codec
from tests.access_world import ACT_REASON, consent
from tests.published import SHARED
from tests.unit.search.world import BASE, row_of

PUBLISHED = SHARED / "ihe" / "pcf"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="needs the examples of ../shared/data/ihe/pcf, compiled from IHE/ITI.PCF"
)
ANYBODY = frozenset({"Practitioner/ex-clerk"})
NAMED = frozenset({"Practitioner/ex-practitioner"})


@cache
def published(name):
    """Return a published resource."""
    return json.loads((PUBLISHED / f"{name}.json").read_text())


def registry(find=lambda ref: published(f"{ref.type}-{ref.id}")):
    """Return what compiling needs of the published resources."""
    return Registry(find, lambda ref: (f"Observation.performer={ref}",), BASE)


def answer(tree, names, purpose, resource, now=NOON, **row):
    """Return what the Consent says of the resource: permit, deny, or nothing."""
    entry = compile_consent(tree, "Consent/c", 1, registry())
    entry = decode(encode(Policy("Patient/p", (entry,)))).entries[0]
    rules = tuple(consent_rules(entry, names, f"{ACT_REASON}|{purpose}", now))
    judged = {"co": f"{int(now.timestamp() * 1e6):013x}0000", "au": [], **row_of(resource), **row}
    if decide(rules, judged).permit:
        return "permit"
    return (
        "deny"
        if any(decide((replace(rule, permit=True),), judged).permit for rule in rules if not rule.permit)
        else None
    )


def labelled(*codes, **more):
    """Return an observation with labels (``R``, ``PSY``)."""
    systems = {"N": CONFIDENTIALITY, "R": CONFIDENTIALITY}
    security = [{"system": systems.get(code, ACT_CODE), "code": code} for code in codes]
    return {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/ex-patient"},
        "meta": {"security": security},
        **more,
    }


PLAIN, RESTRICTED, PSY, SDV = labelled(), labelled("R"), labelled("R", "PSY"), labelled("R", "SDV")
BY_AUTHOR = labelled(performer=[{"reference": "Practitioner/ex-practitioner"}])
IN_2022 = labelled(effectiveDateTime="2022-06-13")
IN_2024 = labelled(effectiveDateTime="2024-01-01")
AT_ENCOUNTER = labelled(encounter={"reference": "Encounter/ex-encounter"})
ALCOHOL = labelled() | {"id": "ex-alcoholUse"}

TEXTS = [
    # the Consent, who, why, what, what its text says
    ("basic-treat", ANYBODY, "TREAT", PLAIN, "permit"),
    ("basic-treat", ANYBODY, "HPAYMT", PLAIN, "permit"),
    ("basic-treat", ANYBODY, "HRESCH", PLAIN, None),
    ("basic-treat", ANYBODY, "BTG", PLAIN, None),
    ("basic-ink", ANYBODY, "TREAT", PLAIN, "permit"),
    ("basic-treat-infant", ANYBODY, "TREAT", PLAIN, "permit"),
    ("basic-research", ANYBODY, "HRESCH", PLAIN, "permit"),
    ("basic-research", ANYBODY, "TREAT", PLAIN, None),
    ("basic-reject", ANYBODY, "TREAT", PLAIN, "deny"),
    ("basic-reject", ANYBODY, "BTG", PLAIN, None),
    ("expired-treat", ANYBODY, "TREAT", PLAIN, None),
    ("intermediate-purpose", frozenset({"Organization/ex-org-researcher"}), "TREAT", PLAIN, None),
    ("intermediate-timeframe", ANYBODY, "TREAT", IN_2022, "permit"),
    ("intermediate-timeframe", ANYBODY, "TREAT", IN_2024, None),
    ("intermediate-not-timeframe", ANYBODY, "TREAT", IN_2022, None),
    ("intermediate-not-timeframe", ANYBODY, "TREAT", IN_2024, "permit"),
    ("intermediate-data", ANYBODY, "TREAT", ALCOHOL, "permit"),
    ("intermediate-data", ANYBODY, "TREAT", PLAIN, None),
    ("intermediate-not-data", ANYBODY, "TREAT", ALCOHOL, None),
    ("intermediate-not-data", ANYBODY, "TREAT", PLAIN, "permit"),
    ("intermediate-encounter", ANYBODY, "TREAT", AT_ENCOUNTER, "permit"),
    ("intermediate-encounter", ANYBODY, "TREAT", PLAIN, None),
    ("intermediate-not-encounter", ANYBODY, "TREAT", AT_ENCOUNTER, None),
    ("intermediate-not-encounter", ANYBODY, "TREAT", PLAIN, "permit"),
    ("intermediate-authoredby", ANYBODY, "TREAT", BY_AUTHOR, "permit"),
    ("intermediate-authoredby", ANYBODY, "TREAT", PLAIN, None),
    ("intermediate-not-authoredby", ANYBODY, "TREAT", BY_AUTHOR, None),
    ("intermediate-not-authoredby", ANYBODY, "TREAT", PLAIN, "permit"),
    ("advanced-normal", ANYBODY, "TREAT", PLAIN, "permit"),
    ("advanced-normal", ANYBODY, "TREAT", labelled("N"), "permit"),
    ("advanced-normal", ANYBODY, "TREAT", RESTRICTED, None),
    ("advanced-normal-restricted", ANYBODY, "TREAT", RESTRICTED, "permit"),
    ("advanced-normal-not-restricted", ANYBODY, "TREAT", PLAIN, "permit"),
    ("advanced-normal-not-restricted", ANYBODY, "TREAT", labelled("N", "R"), None),
    ("advanced-normal-focused-restricted", ANYBODY, "TREAT", RESTRICTED, None),
    ("advanced-normal-focused-restricted", NAMED, "TREAT", RESTRICTED, "permit"),
    ("advanced-normal-focused-psy", ANYBODY, "TREAT", PSY, None),
    ("advanced-normal-focused-psy", NAMED, "TREAT", PSY, "permit"),
    ("advanced-normal-focused-psy", NAMED, "TREAT", SDV, None),
    ("advanced-normal-focused-psy-or-sdv", NAMED, "TREAT", SDV, "permit"),
    ("advanced-normal-break-glass-restricted", NAMED, "BTG", RESTRICTED, "permit"),
    ("advanced-normal-break-glass-restricted", NAMED, "TREAT", RESTRICTED, None),
    ("advanced-normal-break-glass-restricted", ANYBODY, "BTG", RESTRICTED, None),
    ("advanced-normal-break-glass-restricted", NAMED, "BTG", PLAIN, None),
]


@needs_published
@pytest.mark.parametrize(("name", "names", "purpose", "resource", "said"), TEXTS)
def test_a_published_consent_means_what_its_text_says(name, names, purpose, resource, said):
    """Permit, deny, or nothing said, for who asks, why, and of what."""
    assert answer(published(f"Consent-ex-consent-{name}"), names, purpose, resource) == said


@needs_published
@pytest.mark.parametrize(
    ("names", "purpose", "said"), [(NAMED, "BTG", None), (ANYBODY, "BTG", "deny"), (NAMED, "TREAT", "deny")]
)
def test_a_dissent_but_for_emergencies_spares_the_privileged_alone(names, purpose, said):
    """The nested permit lifts the denial around it and opens nothing by itself."""
    assert answer(published("Consent-ex-dissent-intermediate-break-glass"), names, purpose, PLAIN) == said


@needs_published
def test_every_published_consent_can_be_enforced():
    """None of them is refused."""
    found = sorted(PUBLISHED.glob("Consent-*.json"))
    compiled = [compile_consent(json.loads(path.read_text()), "Consent/c", 1, registry()) for path in found]

    assert len(compiled) == len(found) > 20
    assert all(is_privacy(json.loads(path.read_text())) for path in found)


REFUSED = [
    ({"provision": None}, "no provision"),
    ({"provision": {}}, "permits or denies"),
    ({"provision": {"type": "permit", "action": [{"text": "read"}]}}, "action"),
    ({"provision": {"type": "permit", "class": [{"code": "x"}]}}, "class"),
    ({"provision": {"type": "permit", "code": [{"text": "x"}]}}, "code"),
    ({"provision": {"type": "deny", "provision": [{"type": "deny"}]}}, "adds nothing"),
    (
        {"provision": {"type": "permit", "provision": [{"type": "deny", "provision": [{"type": "permit"}]}]}},
        "two levels",
    ),
    ({"provision": {"type": "permit", "purpose": [{"code": "TREAT"}]}}, "needs its system"),
    ({"provision": {"type": "permit", "period": {"end": "soon"}}}, "no date"),
    (
        {
            "provision": {
                "type": "permit",
                "data": [{"meaning": "dependents", "reference": {"reference": "Observation/1"}}],
            }
        },
        "dependents",
    ),
    (
        {"provision": {"type": "permit", "data": [{"meaning": "related", "reference": {"reference": "CarePlan/1"}}]}},
        "related",
    ),
    ({"provision": {"type": "permit", "data": [{"meaning": "instance", "reference": {"display": "x"}}]}}, "references"),
    ({"modifierExtension": [{"url": "http://x.test"}]}, "modifiers"),
]


@pytest.mark.parametrize(("part", "why"), REFUSED)
def test_what_cannot_be_enforced_exactly_is_refused(part, why):
    """With the reason, and never stored and passed over."""
    tree = {**consent("Patient/p", "permit"), **part}

    with pytest.raises(Unprocessable, match=why):
        compile_consent(tree, "Consent/c", 1, registry(lambda ref: None))


@pytest.mark.parametrize("actor", ["Device/d", "CareTeam/t", "Organization/unknown", "Group/unknown"])
def test_an_actor_whom_nobody_can_tell_is_refused(actor):
    """A permission to nobody in particular would be one to everybody."""
    with pytest.raises(Unprocessable, match="known professional"):
        compile_consent(consent("Patient/p", "permit", actors=[actor]), "Consent/c", 1, registry(lambda ref: None))


def test_a_role_in_a_structure_is_both():
    """Neither the person elsewhere nor a colleague there is meant by a PractitionerRole."""
    resources = {
        "PractitionerRole/r": {
            "practitioner": {"reference": "Practitioner/x"},
            "organization": {"reference": "Organization/y"},
        },
        "Organization/y": {"identifier": [{"system": "urn:s", "value": "1"}]},
    }
    tree = consent("Patient/p", "permit", actors=["PractitionerRole/r"])
    entry = compile_consent(tree, "Consent/c", 1, registry(lambda ref: resources.get(str(ref))))

    def permits(*names):
        return bool(tuple(consent_rules(entry, frozenset(names), f"{ACT_REASON}|TREAT", NOON)))

    assert permits("Practitioner/x", "urn:s|1")
    assert not permits("Practitioner/x")
    assert not permits("urn:s|1")


def test_the_codec_keeps_the_tree_as_it_is():
    """A Consent that is compiled is not changed."""
    tree = consent("Patient/p", "permit", actors=["urn:s|1"], purposes=["TREAT"])
    before = codec.dumps(tree)

    compile_consent(tree, "Consent/c", 1, registry(lambda ref: None))

    assert codec.dumps(tree) == before
