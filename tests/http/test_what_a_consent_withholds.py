"""What a Consent withholds, by items, labels and days, and to whom it is told that it does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from fhir_dmp.call import Call
from tests.access_world import NOON, RPPS, Actor, changed, consent, document, observation
from tests.http.test_hidden_is_absent import RESTRICTED


def of(meaning, ref):
    """Return what a provision is about."""
    return {"meaning": meaning, "reference": {"reference": ref}}


def shows(caller, patient, own):
    """Tell by each way whether a Consent is shown."""
    ref = f"Consent/{own}"
    everything = Call("operation", "Patient", patient.partition("/")[2], operation="everything")
    listed = [caller.search("Consent", query) for query in ("", f"_id={own}", f"_filter=_id eq {own}")]
    named = caller.read(ref), caller.vread(ref, 1), caller.history(ref)
    return {
        *(own in each.ids for each in (*listed, caller.history("Consent"), caller.ask(everything))),
        *(each.status == 200 for each in named),
    }


@pytest.mark.parametrize("within", [False, True], ids=["a denial", "an exception to a permission"])
def test_a_consent_is_not_told_to_those_from_whom_it_withholds_something(world, within):
    """By it they would learn that there is what looks absent to them on every other way. Others see it while it is in force; its author always."""
    world.ehr.made(observation(world.patient, meta={"security": [RESTRICTED]}))
    names = [f"{RPPS}|1", "urn:s|2"]
    world.holder().made(consent(world.patient, "permit", actors=[*names, f"{RPPS}|2"]))
    withheld = consent(world.patient, "deny", actors=names, securityLabel=[RESTRICTED])
    if within:
        denial = {"type": "deny", "securityLabel": [RESTRICTED]}
        withheld = consent(world.patient, "permit", actors=names, provision=[denial])
    made = world.holder().made(withheld)
    callers = (
        *(world.professional("1"), world.system("ehr-two", "ehr", "urn:s|2")),
        *(world.professional("2"), world.holder()),
    )
    before = [shows(caller, world.patient, made["id"]) for caller in callers]
    world.holder().update(changed(made, status="inactive"))

    assert before == [{False}, {False}, {True}, {True}]
    assert [shows(caller, world.patient, made["id"]) for caller in callers] == [{False}, {False}, {False}, {True}]


@pytest.mark.parametrize("kind", ["deny", "permit"])
def test_a_consent_that_names_items_is_told_to_those_to_whom_it_opens_them(world, kind):
    """A label may hide from others what it names, and its being accepted says that it is there."""
    item = f"DocumentReference/{world.ehr.made(document(world.patient))['id']}"
    world.holder().made(consent(world.patient, "permit"))
    made = world.holder().made(consent(world.patient, kind, actors=[f"{RPPS}|1"], data=[of("instance", item)]))
    callers = (world.professional("1"), world.professional("2"), world.system("ehr-two", "ehr", "urn:s|2"))

    assert [shows(caller, world.patient, made["id"]) for caller in callers] == [{kind == "permit"}, {False}, {False}]
    assert shows(world.holder(), world.patient, made["id"]) == {True}


@pytest.mark.parametrize("period", [{"end": "9999-12-31"}, {"start": "1900-01-01", "end": "2200-01-01"}])
def test_what_is_withheld_until_a_far_day_is_withheld_though_it_tells_no_date(world, period):
    """It counts as of its deposit, which is before any day so far away; a permit until then holds likewise."""
    made = world.ehr.made(observation(world.patient))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"]))
    before = world.professional("1").search("Observation").ids
    denied = world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|1"], dataPeriod=period))

    assert before == {made["id"]}
    assert world.professional("1").search("Observation").ids == set()
    assert world.professional("1").read(f"Observation/{made['id']}").status == 404
    assert world.holder().delete(f"Consent/{denied['id']}").status == 204
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|2"], dataPeriod=period))
    assert world.professional("2").search("Observation").ids == {made["id"]}


SPANS = {
    "goes over it": {"effectivePeriod": {"start": "2020-01-01", "end": "2024-12-31"}},
    "has no end": {"effectivePeriod": {"start": "2020-01-01"}},
    "has no beginning": {"effectivePeriod": {"end": "2022-06-01"}},
    "a year": {"effectiveDateTime": "2022"},
    "a day": {"effectiveDateTime": "2022-03-01"},
    "several moments": {"effectiveTiming": {"event": ["2019-01-01", "2022-05-05"]}},
}


@pytest.mark.parametrize("when", SPANS)
def test_what_has_some_time_in_common_with_a_withheld_period_is_withheld(world, when):
    """It need not begin in it; what was over before, or came after, is seen. A permission opens what begins in its period alone."""
    before, after = ({"effectivePeriod": {"start": day, "end": day}} for day in ("2022-02-28", "2022-11-02"))
    made = world.ehr.made(observation(world.patient, **SPANS[when]))
    others = {world.ehr.made(observation(world.patient, **each))["id"] for each in (before, after)}
    period = {"start": "2022-03-01T08:00:00+01:00", "end": "2022-11-01T09:00:00-05:00"}
    ref, callers = f"Observation/{made['id']}", (world.professional("1"), world.system("ehr-two", "ehr", "urn:s|2"))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1", "urn:s|2"]))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|3"], dataPeriod=period))
    seen = [each.search("Observation").ids for each in callers]

    world.holder().made(consent(world.patient, "deny", dataPeriod=period))

    assert seen == [{made["id"], *others}] * 2
    for caller in callers:
        assert [caller.read(ref).status, caller.vread(ref, 1).status, caller.history(ref).status] == [404] * 3
        assert caller.search("Observation").ids == caller.history("Observation").ids == others
    assert world.professional("3").search("Observation").ids == set()


@pytest.mark.parametrize("where", ["meta", "securityLabel"])
def test_a_document_is_withheld_by_a_label_wherever_it_has_it(world, where):
    """French and IHE documents carry their confidentiality in ``securityLabel``; a Consent that speaks of it means that as well."""
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    labelled = {"meta": {"meta": {"security": [label]}}, "securityLabel": {"securityLabel": [{"coding": [label]}]}}[
        where
    ]
    made, other = world.ehr.made(document(world.patient, **labelled)), world.ehr.made(document(world.patient))
    ref, doctor = f"DocumentReference/{made['id']}", world.professional("1")
    world.holder().made(consent(world.patient, "permit"))
    before = doctor.search("DocumentReference").ids

    world.holder().made(consent(world.patient, "deny", securityLabel=[label]))

    assert before == {made["id"], other["id"]}
    assert doctor.search("DocumentReference").ids == {other["id"]}
    assert [doctor.read(ref).status, doctor.vread(ref, 1).status, doctor.history(ref).status] == [404] * 3


def test_a_day_of_a_consent_is_a_day_of_the_country(world):
    """What is opened for the 23rd is shut when the 24th begins in Paris, and what is denied from the 25th is shut when that begins there."""
    ref = f"Observation/{world.ehr.made(observation(world.patient))['id']}"
    opened, barred = world.professional("1"), world.professional("2")
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|1"], period={"end": "2026-11-23"}))
    world.holder().made(consent(world.patient, "permit", actors=[f"{RPPS}|2"]))
    world.holder().made(consent(world.patient, "deny", actors=[f"{RPPS}|2"], period={"start": "2026-11-25"}))
    seen = []
    for hours in (10.9, 11.1, 34.9, 35.1):  # after noon by UTC, of the 23rd
        world.clock.set(NOON + timedelta(hours=hours))
        seen.append((opened.read(ref).status, barred.read(ref).status))

    assert seen == [(200, 200), (403, 200), (403, 200), (403, 403)]


def test_no_total_of_a_history_tells_that_a_consent_withholds_something(world, item):
    """By an author, an encounter or a day past versions are judged one by one and not counted: nor are they where none is withheld."""
    world.holder().made(consent(world.patient, "permit"))
    parent = world.insurance.made({"resourceType": "RelatedPerson", "patient": {"reference": world.patient}})
    world.holder().made(consent(world.patient, "permit", actors=[f"RelatedPerson/{parent['id']}"], purposes=["FAMRQT"]))
    bound = Actor(world, replace(world.ehr.subject, patient=world.patient))
    callers = (world.professional("1"), world.representative(f"RelatedPerson/{parent['id']}"), bound)

    def told(caller):
        body = caller.history("Observation").body
        return sorted(body), len(body["entry"])

    before = [told(each) for each in callers]
    world.holder().made(consent(world.patient, "deny", dataPeriod={"end": "2020"}))

    assert [told(each) for each in callers] == before
    assert [keys for keys, _ in before if "total" in keys] == []
    assert world.holder().history("Observation").body["total"] == 1
