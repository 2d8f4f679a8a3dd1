"""Consents that would be kept and never looked at are refused, each with what in it does nothing."""

from __future__ import annotations

import json

import pytest

from fhir_dmp.access.actors import MOST_ACTORS
from fhir_dmp.access.consents import compile_consent, is_privacy
from fhir_dmp.access.effect import require_effect
from fhir_dmp.access.provisions import consent_rules
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir.labels import SYSTEM
from tests.access_world import ACT_REASON, INS, RPPS, consent
from tests.unit.access.test_published_consents import NOON, PUBLISHED, needs_published, registry

DOCTOR, PARENT = "urn:rpps|1", "RelatedPerson/r"
MASKED = {"system": SYSTEM, "code": "MASQUE_PS"}
UNANNOUNCED = {"system": SYSTEM, "code": "INVISIBLE_PATIENT"}
SECRET = {"system": SYSTEM, "code": "INVISIBLE_REPRESENTANTS_LEGAUX"}
R = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}


def exception(kind, *codes, **more):
    """Return a provision within another."""
    return {"type": kind, "purpose": [{"system": ACT_REASON, "code": code} for code in codes], **more}


def without_patient(tree):
    """Return the Consent, about nobody."""
    return {name: value for name, value in tree.items() if name != "patient"}


IDLE = [
    (consent("Patient/p", "deny", actors=["Patient/p"]), "no patient is judged"),
    (consent("Patient/p", "permit", actors=["Patient/q"]), "no patient is judged"),
    (consent("Patient/p", "deny", actors=[f"{INS}|279035121518989"]), "no patient is judged"),
    (consent("Patient/p", "permit", purposes=["HPAYMT"]), "no purpose of it"),
    (consent("Patient/p", "permit", purposes=["TREAT", "HPAYMT"]), "asks for 'HPAYMT' here"),
    (consent("Patient/p", "deny", purposes=["HRESCH"]), "no purpose of it"),
    (consent("Patient/p", "deny", purposes=["PATRQT"]), "no purpose of it"),
    (consent("Patient/p", "permit", purposes=["FAMRQT"]), "who enters to treat"),
    (consent("Patient/p", "permit", actors=[DOCTOR], purposes=["PWATRNY"]), "who enters to treat"),
    (consent("Patient/p", "permit", actors=[PARENT], purposes=["TREAT"]), "a representative"),
    (consent("Patient/p", "permit", actors=[PARENT, DOCTOR], purposes=["TREAT"]), "a representative"),
    (consent("Patient/p", "permit", securityLabel=[MASKED]), "masked"),
    (consent("Patient/p", "permit", actors=[PARENT], securityLabel=[SECRET]), "hidden from representatives"),
    (consent("Patient/p", "permit", actors=[PARENT], securityLabel=[UNANNOUNCED]), "announcement"),
    (consent("Patient/p", "permit", provision=[exception("permit", "HMARKT")]), r"'HMARKT'|no purpose"),
    (consent("Patient/p", "deny", provision=[exception("permit", "HMARKT")]), "no purpose of it"),
]


@pytest.mark.parametrize(("tree", "why"), IDLE)
def test_a_consent_that_nobody_is_judged_by_is_refused(tree, why):
    """Its author would trust in it; so the answer says what in it does nothing."""
    entry = compile_consent(tree, "Consent/c", 1, registry(lambda ref: None))

    with pytest.raises(Unprocessable, match=why):
        require_effect(entry.provision)


@pytest.mark.parametrize(
    "tree",
    [
        consent("Patient/p", "deny"),
        consent("Patient/p", "deny", purposes=["BTG"]),
        consent("Patient/p", "deny", purposes=["TREAT", "HPAYMT", "HOPERAT"]),
        consent("Patient/p", "permit", actors=[PARENT]),
        consent("Patient/p", "permit", actors=[PARENT], purposes=["FAMRQT"]),
        consent("Patient/p", "permit", actors=[PARENT], securityLabel=[MASKED]),
        consent("Patient/p", "permit", actors=[DOCTOR], securityLabel=[UNANNOUNCED]),
        consent("Patient/p", "deny", securityLabel=[MASKED]),
        consent("Patient/p", "permit", actors=[DOCTOR], purposes=["TREAT", "BTG", "ETREAT"]),
    ],
)
def test_a_consent_that_somebody_is_judged_by_is_taken(tree):
    """A denial may name a purpose that the law refuses to all, beside one that somebody has."""
    require_effect(compile_consent(tree, "Consent/c", 1, registry(lambda ref: None)).provision)


@needs_published
def test_published_consents_for_what_the_law_forbids_are_understood_and_not_taken():
    """Payment, operations and research are purposes that nobody has here: a permission for them would be a promise."""
    taken = set()
    for path in sorted(PUBLISHED.glob("Consent-*.json")):
        entry = compile_consent(json.loads(path.read_text()), "Consent/c", 1, registry())
        try:
            require_effect(entry.provision)
        except Unprocessable:
            continue
        taken.add(path.stem.removeprefix("Consent-ex-"))

    assert taken == {"consent-basic-reject", "dissent-intermediate-break-glass"}


MISSPELT = ("1 ", " 1", "1\t", "1\n", "1\u00a0", "1\u200b", "\uff11", "e\u0301")
MISWRITTEN = (RPPS.upper(), f"{RPPS}/", "https://rpps.esante.gouv.fr/", "http://rpps.esante.gouv.fr")

STRUCTURE = [
    (without_patient(consent("Patient/p", "permit")), "no patient"),
    (consent("Patient/p", "permit", period={"start": "2026-02-01", "end": "2026-01-01"}), "ends after it starts"),
    (consent("Patient/p", "permit", dataPeriod={"start": "2026-02-01", "end": "2026-01-01"}), "ends after it starts"),
    (
        consent(
            "Patient/p",
            "permit",
            period={"end": "2026-01-01"},
            provision=[exception("deny", "BTG", period={"start": "2027-01-01"})],
        ),
        "at no time",
    ),
    (consent("Patient/p", "permit", provision=[{"type": "deny"}]), "takes back all"),
    (consent("Patient/p", "deny", provision=[{"type": "permit"}]), "takes back all"),
    ({**consent("Patient/p", "deny"), "verification": [{"verified": False}]}, "not verified"),
    ({**consent("Patient/p", "deny"), "policyRule": {"coding": [{"code": "OPTIN"}]}}, "policyRule"),
    (consent("Patient/p", "permit", data=[{"modifierExtension": [{"url": "http://x.test"}]}]), "modifiers"),
    (consent("Patient/p", "deny", securityLabel=[{"system": f"urn:x:{'a' * 300}", "code": "R"}]), "longer than"),
    *((consent("Patient/p", "deny", actors=[f"urn:rpps|{value}"]), "no blanks") for value in MISSPELT),
    *((consent("Patient/p", "deny", actors=[f"{system}|1"]), "how the system") for system in MISWRITTEN),
]


@pytest.mark.parametrize(("tree", "why"), STRUCTURE)
def test_a_consent_that_says_less_or_more_than_its_provisions_is_refused(tree, why):
    """Nothing in it is passed over."""
    with pytest.raises(Unprocessable, match=why):
        compile_consent(tree, "Consent/c", 1, registry(lambda ref: None))


SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"


def scoped(scope_code, **provision):
    """Return a Consent under another scope, or under words alone."""
    scope = {"coding": [{"system": SCOPE, "code": scope_code}]} if scope_code else {"text": "patient-privacy"}
    return {**consent("Patient/p", "permit"), "scope": scope, "provision": provision}


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (scoped(None, type="deny"), "not coded"),
        (scoped("treatment", type="deny"), "scope .treatment. is not"),
        (scoped("treatment", type="permit", purpose=[{"system": ACT_REASON, "code": "TREAT"}]), "is not"),
        (scoped("research", type="permit", securityLabel=[R]), "is not"),
        (scoped("adr", type="permit", actor=[{"role": {"coding": [{"code": "IRCP"}]}, "reference": {}}]), "is not"),
        (scoped("adr", type="permit", provision=[{"type": "deny"}]), "is not"),
    ],
)
def test_access_is_spoken_of_under_its_own_scope_alone(tree, why):
    """Under another, or under words, it would be stored and never looked at."""
    with pytest.raises(Unprocessable, match=why):
        is_privacy(tree)


@pytest.mark.parametrize(
    "tree",
    [
        scoped("treatment", type="deny", code=[{"text": "transfusion"}]),
        scoped("adr", type="permit", period={"end": "2030"}),
        {**consent("Patient/p", "deny"), "status": "inactive", "scope": {"text": "anything"}},
    ],
)
def test_a_consent_to_something_else_is_data(tree):
    """A refusal of a treatment, or one that is not in force, says nothing of access."""
    assert not is_privacy(tree)


def test_an_exception_ends_with_what_it_is_an_exception_to():
    """A permission within a permission holds no longer than that."""
    tree = consent(
        "Patient/p", "permit", period={"end": "2026-01-01"}, provision=[exception("permit", "BTG", securityLabel=[R])]
    )
    entry = compile_consent(tree, "Consent/c", 1, registry(lambda ref: None))

    assert not list(consent_rules(entry, frozenset(), f"{ACT_REASON}|BTG", NOON))


GROUP = {
    "type": "practitioner",
    "actual": True,
    "member": [{"entity": {"reference": "Practitioner/x"}}],
}


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "person"},
        {"actual": False},
        {"active": False},
        {"member": []},
        {"member": [{"entity": {"reference": "Practitioner/x"}, "period": {"end": "2026-01-01"}}]},
        {"characteristic": [{"code": {"text": "x"}}]},
        {"member": [{"entity": {"reference": f"Practitioner/{n}"}} for n in range(MOST_ACTORS + 1)]},
    ],
)
def test_a_group_is_one_of_professionals_who_are_listed(changed):
    """Any other is as one that is not there, so that nobody learns by naming it whether it is."""

    def refusal(found):
        with pytest.raises(Unprocessable) as refused:
            compile_consent(
                consent("Patient/p", "permit", actors=["Group/g"]), "Consent/c", 1, registry(lambda ref: found)
            )
        return str(refused.value)

    assert refusal({**GROUP, **changed}) == refusal(None)


def test_a_role_stands_for_few_names():
    """The numbers of a person in each of a structure are bounded, and a role of a role is none."""
    resources = {
        "PractitionerRole/r": {
            "practitioner": {"reference": "Practitioner/x"},
            "organization": {"reference": "Organization/y"},
        },
        "PractitionerRole/loop": {"practitioner": {"reference": "PractitionerRole/loop"}},
        "Practitioner/x": {
            "identifier": [{"system": "https://rpps.esante.gouv.fr", "value": str(n)} for n in range(20)]
        },
        "Organization/y": {"identifier": [{"system": "urn:s", "value": str(n)} for n in range(20)]},
    }

    for role in ("r", "loop"):
        tree = consent("Patient/p", "permit", actors=[f"PractitionerRole/{role}"])
        with pytest.raises(Unprocessable):
            compile_consent(tree, "Consent/c", 1, registry(lambda ref: resources.get(str(ref))))
