"""Rules that no text settles: each is a setting, and both of its values are kept to by reads and by lists."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fhir_dmp.settings import Readings
from tests.access_world import NOON, RPPS, World, changed, consent, document, observation, reference
from tests.http.test_choices_of_the_patient import by, say, told

MATRIX_HIDES = "28"
"""An optician, who sees no observation by the matrix."""


@pytest.fixture
def read_as(mongodb_uri, database_name, tmp_path):
    """Make a server that reads the rules so; a record with a plain observation and a masked document is in it."""
    made = []

    def make(**readings):
        world = World(mongodb_uri, database_name, tmp_path, readings=Readings(**readings))
        made.append(world)
        world.item = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
        world.masked = f"DocumentReference/{world.ehr.made(document(world.patient, 'MASQUE_PS'))['id']}"
        return world

    yield make
    for world in made:
        world.server.close()


def breaking(world, number="1", **more):
    """Return who breaks the glass."""
    return world.professional(number, purpose="BTG", reason="inconsciente, seule", **more)


def regulator(world, **more):
    """Return the regulator of a SAMU."""
    return world.professional("5", purpose="ETREAT", reason="un appel", role="samu", **more)


def finds(actor, ref):
    """Tell whether the actor reads the item and finds it in a list: one and the same."""
    kind, _, own = ref.partition("/")
    found = actor.read(ref).status == 200
    assert found == (own in actor.search(kind).ids)
    return found


@pytest.mark.rule("L9", "L10", "L11")
@pytest.mark.parametrize("shown", [False, True])
def test_an_emergency_shows_what_is_masked_where_it_is_read_so(read_as, shown):
    """By break-glass and by centre 15; to care as usual it stays masked either way."""
    world = read_as(emergency_masked=shown)
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|2"]))

    assert finds(breaking(world), world.masked) is shown
    assert finds(regulator(world), world.masked) is shown
    assert not finds(world.professional("2"), world.masked)
    assert finds(breaking(world), world.item)


@pytest.mark.rule("matrix", "L10", "L11")
@pytest.mark.parametrize("applies", [True, False])
def test_the_matrix_applies_in_an_emergency_where_it_is_read_so(read_as, applies):
    """It is lifted for reading alone, and for nobody who comes as usual."""
    world = read_as(emergency_matrix=applies)
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|2"]))
    optician = breaking(world, profession=MATRIX_HIDES)

    assert finds(optician, world.item) is not applies
    assert finds(regulator(world, profession=MATRIX_HIDES), world.item) is not applies
    assert optician.create(observation(world.patient)).status == 403
    assert not finds(world.professional("2", profession=MATRIX_HIDES), world.item)


@pytest.mark.rule("F2", "L10")
@pytest.mark.parametrize("holds", [True, False])
def test_a_block_holds_against_break_glass_where_it_is_read_so(read_as, holds):
    """Where it does not, the block still stands against all else: as usual, by centre 15, and what is said of break-glass itself."""
    world = read_as(block_in_break_glass=holds)
    holder = world.holder()
    say(holder, "block", actor=by("1"))
    say(holder, "block", actor=by("5"))

    assert finds(breaking(world), world.item) is not holds
    assert not finds(world.professional("1"), world.item)
    assert not finds(regulator(world), world.item)
    assert breaking(world).create(observation(world.patient)).status == (403 if holds else 201)

    holder.made(consent(world.patient, "deny", actors=[f"{RPPS}|1"], purposes=["BTG"]))
    assert not finds(breaking(world), world.item)


@pytest.mark.rule("F2", "L10")
@pytest.mark.parametrize("holds", [True, False])
def test_what_is_said_against_everybody_or_of_an_item_is_no_block(read_as, holds):
    """It stands against break-glass either way: one is an opposition, the other hides what is named."""
    world = read_as(block_in_break_glass=holds)
    holder = world.holder()
    data = [{"meaning": "instance", "reference": {"reference": world.item}}]
    holder.made(consent(world.patient, "deny", actors=[f"{RPPS}|1"], data=data))

    assert not finds(breaking(world), world.item)
    assert finds(breaking(world, "2"), world.item)

    holder.made(consent(world.patient, "deny"))
    assert not finds(breaking(world, "2"), world.item)


@pytest.mark.rule("L10")
@pytest.mark.parametrize(("professions", "nurse"), [("", True), ("10, 60", True), ("10", False)])
def test_who_may_break_the_glass_is_told_by_professions(read_as, professions, nurse):
    """All of them, or those that are listed; the regulator's profession is another rule's."""
    world = read_as(break_glass_professions=professions)

    assert finds(breaking(world), world.item)
    assert finds(breaking(world, profession="60"), world.item) is nurse
    assert finds(regulator(world), world.item)


@pytest.mark.rule("F6", "L3", "L4")
@pytest.mark.parametrize(("usual", "longest"), [(365, 1098), (30, 60), (400, 100)])
def test_how_long_an_authorisation_holds_is_told_in_days(read_as, usual, longest):
    """Without a day it ends as usual, and no later than the longest; a professional declares none beyond the usual one."""
    world = read_as(authorization_days=usual, longest_authorization_days=longest)
    holder, doctor = world.holder(), world.professional("1")

    def ends(who, days=None):
        until = {} if days is None else {"until": (NOON + timedelta(days=days)).isoformat()}
        declared = {"declaration": "à l’oral, au cabinet"} if who is doctor else {}
        return say(who, "authorize", actor=by("1"), **until, **declared)

    expected = (NOON + timedelta(days=min(usual, longest))).date().isoformat()
    assert told(ends(holder), "until")[:10] == expected
    assert [ends(holder, days).status for days in (longest - 1, longest + 1)] == [200, 400]
    assert [ends(doctor, days).status for days in (usual - 1, usual + 1)] == [200, 400]


@pytest.mark.rule("F9")
@pytest.mark.parametrize(("both", "status"), [(False, 422), (True, 201)])
def test_an_item_is_masked_and_hidden_from_the_patient_where_it_is_read_so(read_as, both, status):
    """Then it is hidden from either, and seen by its author."""
    world = read_as(masked_and_invisible=both)
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|2"]))

    made = world.ehr.create(document(world.patient, "MASQUE_PS", "INVISIBLE_PATIENT"))

    assert made.status == status
    if both:
        ref = f"DocumentReference/{made.body['id']}"
        assert finds(world.ehr, ref)
        assert not finds(world.professional("2"), ref)
        assert not finds(world.holder(), ref)


@pytest.mark.rule("L24")
@pytest.mark.parametrize(("reopening", "status"), [(True, 200), (False, 403)])
def test_a_closed_record_is_opened_again_where_it_is_read_so(read_as, reopening, status):
    """Otherwise it stays closed, and its holder has the copy and the traces of it."""
    world = read_as(reopening=reopening)
    say(world.holder(), "close")

    assert say(world.holder(), "reopen").status == status
    assert (world.holder().read(world.item).status == 200) is reopening


@pytest.mark.rule("L25", "F13", "L12")
@pytest.mark.parametrize("several", [True, False])
def test_more_than_one_doctor_attends_where_it_is_read_so(read_as, several):
    """The first sees what is masked and is told of an emergency; the second too, or not."""
    world = read_as(several_doctors=several)
    tree = world.holder().read(world.patient).body
    named = [reference(f"{RPPS}|{number}") for number in ("1", "2")]
    assert world.insurance.update(changed(tree, generalPractitioner=named)).status == 200

    assert finds(world.professional("1"), world.masked)
    assert finds(world.professional("2"), world.masked) is several

    breaking(world, "3").read(world.item)
    letters = [each["resource"] for each in world.holder().search("Communication").body["entry"]]
    told = {to["identifier"]["value"] for letter in letters for to in letter["recipient"] if "identifier" in to}
    assert told == ({"1", "2"} if several else {"1"})


@pytest.mark.rule("F21", "F20")
@pytest.mark.parametrize("consult", [True, False])
def test_a_structure_consults_without_a_person_where_it_is_read_so(read_as, consult):
    """Otherwise it feeds, and finds its own; a professional of it, who signed in, sees what the Consent opens either way."""
    world = read_as(structures_consult=consult)
    world.holder().made(consent(world.patient, "permit", actors=["urn:s|2"]))
    other = world.system("ehr-two", "ehr", "urn:s|2")
    own = other.made(document(world.patient))["id"]

    assert finds(other, world.item) is consult
    assert finds(other, f"DocumentReference/{own}")
    assert finds(world.professional("1", structure="urn:s|2"), world.item)
