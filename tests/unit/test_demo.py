"""Invented patients, with a clinician's eye: what is recorded fits the person, the dates and the standards."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import date, datetime
from functools import cache

import pytest
from fhir.resources.R4B import get_fhir_model_class

from fhir_dmp.definitions.loader import load
from fhir_dmp.demo.generate import PRACTITIONERS, directory, patients
from fhir_dmp.demo.identity import INS_TEST, RPPS
from fhir_dmp.demo.record import TODAY
from fhir_dmp.fhir import codec
from fhir_dmp.validation.structure import build_validator

SEEDS = (1, 2, 2026)
CLASSES = {"10": "Compte rendu", "42": "Prescription"}


@cache
def _records(seed):
    """Return the records of a seed: resources by type, with the person first."""
    found = []
    for bundle in patients(seed, 40):
        record = defaultdict(list)
        for entry in bundle["entry"]:
            record[entry["resource"]["resourceType"]].append((entry.get("fullUrl"), entry["resource"]))
        found.append(record)
    return tuple(found)


def _each(seed, resource_type):
    """Return what the records hold of a type, each with the patient's day of birth; of none there is nothing."""
    found = [
        (date.fromisoformat(person["birthDate"]), resource)
        for record in _records(seed)
        for _, person in record["Patient"]
        for _, resource in record[resource_type]
    ]
    assert found, resource_type
    return found


def _key(number):
    digits = number[:13].replace("2A", "19").replace("2B", "18")
    return 97 - int(digits) % 97


@pytest.mark.parametrize("seed", SEEDS)
def test_every_resource_is_valid_by_two_readings_of_r4(seed):
    """Our tables and fhir.resources both take each of them."""
    validate = build_validator(load())
    for bundle in (directory(seed), *patients(seed, 5)):
        for entry in bundle["entry"]:
            resource = codec.loads(codec.dumps(entry["resource"]))
            kind = resource["resourceType"]
            assert not [issue for issue in validate(kind, resource) if issue.severity in ("error", "fatal")]
            get_fhir_model_class(kind).model_validate(json.loads(codec.dumps(resource)))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ins_says_who_it_is_of_and_its_key_is_right(seed):
    """Sex, year and month of birth, place, and 97 less the rest; on the test OID alone."""
    for record in _records(seed):
        (_, person), *_ = record["Patient"]
        (ins,) = person["identifier"]
        number, born = ins["value"], person["birthDate"]
        assert ins["system"] == INS_TEST
        assert (number[0], number[1:3], number[3:5]) == (
            "1" if person["gender"] == "male" else "2",
            born[2:4],
            born[5:7],
        )
        assert int(number[13:]) == _key(number)
        corsican_once = int(born[:4]) < 1976 and number[5:7] == "20"
        district = person["extension"][0]["valueAddress"]["district"]
        assert number[5:10] == district or (corsican_once and number[7:10] == district[2:])


@pytest.mark.parametrize("seed", SEEDS)
def test_what_identifies_people_belongs_to_nobody(seed):
    """RPPS of test cards with Luhn's digit, telephone numbers kept for fiction."""
    identifiers = [each for entry in directory(seed)["entry"] for each in entry["resource"].get("identifier", ())]
    numbers = [each["value"] for each in identifiers if each["system"] == RPPS]
    assert len(numbers) == PRACTITIONERS
    for number in numbers:
        digits = [int(digit) for digit in reversed(number)]
        doubled = [sum(divmod(digit * 2, 10)) if place % 2 else digit for place, digit in enumerate(digits)]
        assert len(digits) == 11
        assert sum(doubled) % 10 == 0
        assert number.startswith("997")
    for _, person in _each(seed, "Patient"):
        assert re.fullmatch(r"063998\d{4}", person["telecom"][0]["value"])


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_happens_before_birth_or_in_the_future(seed):
    """Visits, diagnoses, vaccinations, results and documents lie between birth and the demonstration's present."""
    moments = {
        "Encounter": lambda each: each["period"]["start"],
        "Observation": lambda each: each["effectiveDateTime"],
        "Immunization": lambda each: each["occurrenceDateTime"],
        "Condition": lambda each: each["recordedDate"],
        "MedicationRequest": lambda each: each["authoredOn"],
        "DocumentReference": lambda each: each["date"],
        "CareTeam": lambda each: each["period"]["start"],
    }
    for kind, moment in moments.items():
        for born, resource in _each(seed, kind):
            text = moment(resource)
            assert born.isoformat()[: len(text)] <= text[:10] <= TODAY.isoformat(), (kind, born, text)
    for born, condition in _each(seed, "Condition"):
        assert born.year <= int(condition["onsetDateTime"]) <= int(condition["recordedDate"][:4])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_treatment_is_for_a_problem_that_the_patient_has(seed):
    """Each statement and prescription names a condition of the same record."""
    treated = 0
    for record in _records(seed):
        conditions = {url for url, _ in record["Condition"]}
        for _, resource in record["MedicationStatement"] + record["MedicationRequest"]:
            assert resource["reasonReference"][0]["reference"] in conditions
            assert resource["medicationCodeableConcept"]["coding"][0]["system"] == "http://www.whocc.no/atc"
            treated += 1
    assert treated > 40


@pytest.mark.parametrize("seed", SEEDS)
def test_a_weight_is_that_of_one_person_at_that_age(seed):
    """From visit to visit little changes but by growth, and children weigh what children weigh."""
    children = 0
    for record in _records(seed):
        (_, person), *_ = record["Patient"]
        born = date.fromisoformat(person["birthDate"])
        for _, each in record["Observation"]:
            if each["code"]["coding"][0]["code"] != "29463-7":
                continue
            age = (datetime.fromisoformat(each["effectiveDateTime"]).date() - born).days / 365.25
            kilograms = float(each["valueQuantity"]["value"].text)
            low, high = (40, 110) if age >= 18 else (2 * age + 2, 4.5 * age + 12)
            assert low <= kilograms <= high, (age, kilograms)
            children += age < 18
    assert children > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_result_says_whether_it_is_within_its_range(seed):
    """L, N or H of v3-ObservationInterpretation, by the reference range beside it."""
    codes = set()
    for _, each in _each(seed, "Observation"):
        if "referenceRange" not in each:
            continue
        value = each["valueQuantity"]["value"].value
        (between,) = each["referenceRange"]
        expected = (
            "L" if value < between["low"]["value"].value else "H" if value > between["high"]["value"].value else "N"
        )
        assert each["interpretation"][0]["coding"][0]["code"] == expected
        codes.add(expected)
    assert codes == {"L", "N", "H"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_has_its_documents_its_circle_and_its_doctor(seed):
    """Documents of TRE_A03 classes, a care team whose PCP is the general practitioner."""
    for record in _records(seed):
        (_, person), *_ = record["Patient"]
        classes = {each["category"][0]["coding"][0]["code"] for _, each in record["DocumentReference"]}
        assert classes == set(CLASSES)
        (_, team), *_ = record["CareTeam"]
        (member,) = team["participant"]
        assert member["role"][0]["coding"][0]["code"] == "PCP"
        assert member["member"] == person["generalPractitioner"][0]


def test_a_seed_always_makes_the_same_people():
    """The same bytes, whatever was made before."""
    first = [codec.dumps(bundle) for bundle in patients(7, 3)]

    assert first == [codec.dumps(bundle) for bundle in patients(7, 3)]
    assert first != [codec.dumps(bundle) for bundle in patients(8, 3)]
