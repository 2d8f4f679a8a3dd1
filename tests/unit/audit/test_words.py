"""What people read of what was done to a record: what was done, what was asked for in vain, and no word of the standard's."""

from __future__ import annotations

import re

import pytest

from fhir_dmp.audit.nouns import NOUNS
from fhir_dmp.audit.parts import Part, parts_of
from fhir_dmp.audit.verbs import VERBS
from fhir_dmp.audit.words import narrative
from fhir_dmp.call import Act, Call
from fhir_dmp.definitions.loader import load
from fhir_dmp.errors import Invalid, NotFound, Refused, failed
from fhir_dmp.fhir import codec
from tests.unit.audit.world import CALLERS, CONDITION, done, entity, row

AT = {"recorded": "2026-11-25T12:00:00Z"}


def told(event, language="fr"):
    """Return how each AuditEvent of a row is told, by its patient."""
    tree = codec.loads_object(event.body)
    return {part.patient: narrative(tree, part, language, part.names, None)["div"] for part in parts_of(tree)}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (
            Act(Call("read", "Observation", "o"), error=NotFound("no")),
            "a demandé à consulter : mesure ou résultat, pour",
        ),
        (
            Act(Call("read", "Observation", "o"), error=Refused("no")),
            "a demandé à consulter : mesure ou résultat, pour",
        ),
        (Act(Call("delete", "Flag", "f"), error=failed("r")), "a demandé à supprimer : signalement, pour"),
        (
            Act(Call("operation", "Patient", "p1", operation="everything"), error=Invalid("no")),
            "a demandé à extraire tout le dossier : identité, pour",
        ),
        (Act(Call("transaction"), error=Refused("no")), "a demandé à enregistrer ensemble plusieurs éléments, pour"),
        (Act(Call("operation", "Patient", "p1", operation="docref"), error=Refused("no")), "a fait une demande"),
    ],
)
def test_what_came_to_nothing_is_not_told_as_done(act, words):
    """It was asked for; and whether that was refused, or failed, is said after it."""
    [text] = told(row(act, CALLERS["doctor"])).values()

    assert words in text
    assert re.search("L'accès a été refusé|La demande n'a pas abouti|Le serveur a rencontré une erreur", text)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("act", VERBS)
def test_every_act_that_can_fail_has_words_for_that(act, language):
    """The sentence of a failure is another than that of a success, but of what is always told so."""
    words = [narrative(AT, Part(act, outcome, "Patient/p1"), language, (), None)["div"] for outcome in ("0", "8")]
    first = [each.partition("</p>")[0] for each in words]

    assert (first[0] == first[1]) == (act in ("break-glass-expiry", "busy", "flood", "decision", "submitted"))


def test_every_type_is_called_by_words_of_its_language():
    """None by its name in the standard, and no two alike."""
    types = load().resource_types
    words = {kind: narrative(AT, Part("read", "0"), "fr", (f"{kind}/x/1",), None)["div"] for kind in types}

    assert set(NOUNS) == set(types)
    assert [kind for kind in types if re.search("[a-z][A-Z]", NOUNS[kind][0] + NOUNS[kind][1])] == []
    assert [kind for kind, text in words.items() if re.search(rf": {kind}\\b", text)] == []
    assert len({fr for fr, _ in NOUNS.values()}) == len(types)


def test_what_a_record_brings_with_it_is_not_told_as_the_record():
    """Practitioners and structures are in nobody's record: they came with one."""
    act = done(
        "operation", "Patient/p1", entity("Patient/p1", "Patient/p1"), entity("Practitioner/d"), operation="everything"
    )
    texts = told(row(act, CALLERS["doctor"]))

    assert "a extrait tout le dossier : identité" in texts["Patient/p1"]
    assert "a reçu, avec un dossier : professionnel" in texts[""]


def test_a_search_in_no_record_is_not_told_as_one_in_the_record():
    """Of structures, for one; one that found something of a patient's is in their record."""
    assert "a recherché : structure" in told(row(done("search-type", "Organization", params=(("name", "x"),))))[""]
    assert "a recherché dans le dossier : " in told(row(done("search-type", "Condition", CONDITION)))["Patient/p1"]
