"""Bundles of synthetic patients, the same for the same seed. FR Core: https://hl7.fr/ig/fhir/core.

The directory is written by update under ids that follow from the seed. A patient is created only if nobody has the INS; who
loads the same bundle again is told by its mark that it was done.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from fhir_dmp.demo import names
from fhir_dmp.demo.elements import Json, concept
from fhir_dmp.demo.identity import FINESS, INS_TEST, RPPS, ins, phone, rpps
from fhir_dmp.demo.observations import add_laboratory, add_vital_signs
from fhir_dmp.demo.record import (
    TODAY,
    Bundle,
    Record,
    add_documents,
    add_problems,
    add_team,
    add_treatments,
    add_vaccinations,
    add_visits,
)

PRACTITIONERS = 8
_PROFESSION = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"
_IDENTIFIER_TYPE = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"
_BIRTH_PLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"


def directory(seed: int) -> Json:
    """Return one transaction with a hospital, a practice and the practitioners that the patients of the seed refer to."""
    random = Random(f"directory {seed}")  # noqa: S311 - synthetic data, not a secret
    bundle = Bundle(random)
    hospital = bundle.put(_organization(f"demo-{seed}-hospital", "Centre hospitalier de démonstration", "990000001"))
    bundle.put(_organization(f"demo-{seed}-practice", "Cabinet médical des Lilas", "990000002"))
    for number in range(PRACTITIONERS):
        person = bundle.put(_practitioner(random, f"demo-{seed}-practitioner-{number}"))
        bundle.put(
            {
                "resourceType": "PractitionerRole",
                "id": f"demo-{seed}-role-{number}",
                "active": True,
                "practitioner": {"reference": person},
                "organization": {"reference": hospital},
                "code": [concept(_PROFESSION, "10", "Médecin")],
            }
        )
    return bundle.json()


def patients(seed: int, count: int) -> Iterator[Json]:
    """Yield ``count`` transactions, one for each patient, of nearly 60 resources."""
    for number in range(count):
        yield _patient(Random(f"patient {seed} {number}"), seed)  # noqa: S311 - synthetic data, not a secret


def record(random: Random, patient: str, doctor: str, born: date) -> Json:
    """Return the transaction of all that is recorded of a patient who is there already (``Patient/p``)."""
    bundle = Bundle(random)
    _fill(Record(bundle, random, patient, doctor, born))
    return bundle.json()


def _organization(own: str, name: str, finess: str) -> Json:
    return {
        "resourceType": "Organization",
        "id": own,
        "identifier": [{"system": FINESS, "value": finess}],
        "active": True,
        "name": name,
    }


def _practitioner(random: Random, own: str) -> Json:
    female = random.random() < 0.5
    return {
        "resourceType": "Practitioner",
        "id": own,
        "identifier": [{"system": RPPS, "value": rpps(random)}],
        "active": True,
        "name": [
            {
                "family": random.choice(names.FAMILIES),
                "given": [random.choice(names.WOMEN if female else names.MEN)],
                "prefix": ["Dr"],
            }
        ],
        "gender": "female" if female else "male",
        "qualification": [{"code": concept(_PROFESSION, "10", "Médecin")}],
    }


def _patient(random: Random, seed: int) -> Json:
    bundle = Bundle(random)
    doctor = f"Practitioner/demo-{seed}-practitioner-{random.randrange(PRACTITIONERS)}"
    resource, criteria = _person(random, doctor)
    born = date.fromisoformat(resource["birthDate"])
    _fill(Record(bundle, random, bundle.post(resource, criteria), doctor, born))
    return bundle.json()


def _fill(record: Record) -> None:
    add_team(record)
    add_visits(record)
    add_treatments(record, add_problems(record))
    add_vaccinations(record)
    add_vital_signs(record)
    add_laboratory(record)
    add_documents(record)


def _person(random: Random, doctor: str) -> tuple[Json, str]:
    female = random.random() < 0.52
    born = TODAY - timedelta(days=random.randint(2 * 365, 95 * 365))
    cog, postal, town = random.choice(names.TOWNS)
    number = ins(random, female=female, year=born.year, month=born.month, cog=cog)
    given = random.sample(names.WOMEN if female else names.MEN, 2)
    family = random.choice(names.FAMILIES)
    resource = {
        "resourceType": "Patient",
        "extension": [{"url": _BIRTH_PLACE, "valueAddress": {"city": town, "district": cog}}],
        "identifier": [
            {
                "use": "official",
                "type": {"coding": [{"system": _IDENTIFIER_TYPE, "code": "INS-NIR-TEST"}]},
                "system": INS_TEST,
                "value": number,
            }
        ],
        "active": True,
        "name": [
            {"use": "official", "family": family, "given": given},
            {"use": "usual", "family": family, "given": given[:1], "text": f"{given[0]} {family}"},
        ],
        "telecom": [{"system": "phone", "value": phone(random), "use": "mobile"}],
        "gender": "female" if female else "male",
        "birthDate": born.isoformat(),
        "address": [
            {
                "line": [f"{random.randint(1, 120)} {random.choice(names.STREETS)}"],
                "city": town,
                "postalCode": postal,
                "country": "FR",
            }
        ],
        "generalPractitioner": [{"reference": doctor}],
    }
    return resource, f"identifier={INS_TEST}|{number}"
