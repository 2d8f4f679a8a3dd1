"""Bundles of synthetic patients, the same for the same seed. FR Core: https://hl7.fr/ig/fhir/core.

The directory is written by update under ids that follow from the seed. A patient is created only if nobody has the INS; who
loads the same bundle again is told by its mark that it was done.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from msgspec import Struct, field

from fhir_dmp.demo import names
from fhir_dmp.demo.identity import FINESS, INS_TEST, RPPS, ins, phone, rpps
from fhir_dmp.fhir.codec import Number

Json = dict[str, Any]
TODAY = date(2026, 1, 15)
"""The demonstration's present: no clock is asked, so that a seed always gives the same."""

PRACTITIONERS = 8
_ADULT = 18
_LOINC = "http://loinc.org"
_UCUM = "http://unitsofmeasure.org"
_ICD10 = "http://hl7.org/fhir/sid/icd-10"
_ATC = "http://www.whocc.no/atc"
_SNOMED = "http://snomed.info/sct"
_OBSERVATION = "http://terminology.hl7.org/CodeSystem/observation-category"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_PROFESSION = "https://mos.esante.gouv.fr/NOS/TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante"
_FUNCTION = "https://mos.esante.gouv.fr/NOS/TRE_R259-HL7ParticipationFunction/FHIR/TRE-R259-HL7ParticipationFunction"
_CLASS = "https://mos.esante.gouv.fr/NOS/TRE_A03-ClasseDocument/FHIR/TRE-A03-ClasseDocument"
_IDENTIFIER_TYPE = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"
_BIRTH_PLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"


def directory(seed: int) -> Json:
    """Return one transaction with a hospital, a practice and the practitioners that the patients of the seed refer to."""
    random = Random(f"directory {seed}")  # noqa: S311 - synthetic data, not a secret
    bundle = _Bundle(random)
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
                "code": [_concept(_PROFESSION, "10", "Médecin")],
            }
        )
    return bundle.json()


def patients(seed: int, count: int) -> Iterator[Json]:
    """Yield ``count`` transactions, one for each patient, of nearly 60 resources."""
    for number in range(count):
        yield _patient(Random(f"patient {seed} {number}"), seed)  # noqa: S311 - synthetic data, not a secret


def record(random: Random, patient: str, doctor: str, born: date) -> Json:
    """Return the transaction of all that is recorded of a patient who is there already (``Patient/p``)."""
    bundle = _Bundle(random)
    _fill(_Record(bundle, random, patient, doctor, born))
    return bundle.json()


class _Bundle(Struct):
    """A transaction in the making."""

    random: Random
    entries: list[Json] = field(default_factory=list)

    def put(self, resource: Json) -> str:
        """Add a resource under its own id and return the reference to it."""
        reference = f"{resource['resourceType']}/{resource['id']}"
        self.entries.append({"resource": resource, "request": {"method": "PUT", "url": reference}})
        return reference

    def post(self, resource: Json, criteria: str | None = None) -> str:
        """Add a resource under an id of the server's and return what the others call it."""
        full_url = f"urn:uuid:{UUID(int=self.random.getrandbits(128), version=4)}"
        request = {"method": "POST", "url": resource["resourceType"]}
        if criteria:
            request["ifNoneExist"] = criteria
        self.entries.append({"fullUrl": full_url, "resource": resource, "request": request})
        return full_url

    def json(self) -> Json:
        """Return the Bundle."""
        return {"resourceType": "Bundle", "type": "transaction", "entry": self.entries}


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
        "qualification": [{"code": _concept(_PROFESSION, "10", "Médecin")}],
    }


class _Record(Struct):
    """One patient's record in the making: who it is of, and who cares."""

    bundle: _Bundle
    random: Random
    patient: str
    doctor: str
    born: date
    visits: list[tuple[str, datetime]] = field(default_factory=list)
    """From the first to the latest."""

    def add(self, resource_type: str, **elements: Any) -> str:
        """Add a resource and return the reference to it."""
        return self.bundle.post({"resourceType": resource_type, **elements})

    def age(self, moment: datetime) -> float:
        """Return how many years old the patient was."""
        return (moment.date() - self.born).days / 365.25

    @property
    def latest(self) -> tuple[str, datetime]:
        """The latest visit."""
        return self.visits[-1]

    @property
    def subject(self) -> Json:
        """The reference to the patient."""
        return {"reference": self.patient}


def _patient(random: Random, seed: int) -> Json:
    bundle = _Bundle(random)
    doctor = f"Practitioner/demo-{seed}-practitioner-{random.randrange(PRACTITIONERS)}"
    resource, criteria = _person(random, doctor)
    born = date.fromisoformat(resource["birthDate"])
    _fill(_Record(bundle, random, bundle.post(resource, criteria), doctor, born))
    return bundle.json()


def _fill(record: _Record) -> None:
    _team(record)
    _visits(record)
    _treatments(record, _problems(record))
    _vaccinations(record)
    _vital_signs(record)
    _laboratory(record)
    _documents(record)


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


def _team(record: _Record) -> None:
    record.add(
        "CareTeam",
        status="active",
        name="Cercle de soins",
        subject=record.subject,
        period={"start": "2025-01-01"},
        participant=[
            {
                "role": [_concept(_FUNCTION, "PCP", "Médecin traitant")],
                "member": {"reference": record.doctor},
                "period": {"start": "2025-01-01"},
            }
        ],
    )


def _visits(record: _Record) -> None:
    """Add visits, none before the patient was half a year old."""
    lifetime = (TODAY - record.born).days
    ago = sorted((record.random.randint(5, min(1500, lifetime - 180)) for _ in range(3)), reverse=True)
    for days in ago:
        moment = datetime(TODAY.year, TODAY.month, TODAY.day, record.random.randint(8, 18), 30, tzinfo=UTC) - timedelta(
            days=days
        )
        visit = record.add(
            "Encounter",
            status="finished",
            **{"class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}},
            subject=record.subject,
            participant=[{"individual": {"reference": record.doctor}}],
            period={"start": _instant(moment), "end": _instant(moment + timedelta(minutes=20))},
        )
        record.visits.append((visit, moment))


def _problems(record: _Record) -> list[tuple[str, names.Problem]]:
    """Add what the patient may have at this age and an allergy; return the problems with their references."""
    visit, moment = record.latest
    age = record.age(moment)
    possible = [problem for problem in names.PROBLEMS if problem.from_age <= age <= problem.to_age]
    found = []
    for problem in record.random.sample(possible, min(3, len(possible))):
        first = max(record.born.year + problem.from_age, 2005)
        condition = record.add(
            "Condition",
            clinicalStatus=_concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
            verificationStatus=_concept("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed"),
            code={**_concept(_ICD10, problem.code, problem.name), "text": problem.name},
            subject=record.subject,
            encounter={"reference": visit},
            onsetDateTime=str(record.random.randint(min(first, moment.year), moment.year)),
            recordedDate=moment.date().isoformat(),
            recorder={"reference": record.doctor},
        )
        found.append((condition, problem))
    code, name = record.random.choice(names.ALLERGIES)
    record.add(
        "AllergyIntolerance",
        clinicalStatus=_concept("http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "active"),
        verificationStatus=_concept(
            "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "confirmed"
        ),
        criticality=record.random.choice(("low", "high")),
        code={**_concept(_SNOMED, code, name), "text": name},
        patient=record.subject,
        recordedDate=moment.date().isoformat(),
        recorder={"reference": record.doctor},
    )
    return found


def _treatments(record: _Record, problems: list[tuple[str, names.Problem]]) -> None:
    """Add what is taken for each problem, and the latest prescription."""
    visit, moment = record.latest
    treated = [(reference, problem.drug) for reference, problem in problems if problem.drug]
    for reference, drug in treated:
        record.add(
            "MedicationStatement",
            status="active",
            medicationCodeableConcept={**_concept(_ATC, drug.code, drug.name), "text": drug.name},
            subject=record.subject,
            effectivePeriod={"start": moment.date().isoformat()},
            reasonReference=[{"reference": reference}],
            dosage=[{"text": drug.dosage}],
        )
    for reference, drug in treated[:1]:
        record.add(
            "MedicationRequest",
            status="active",
            intent="order",
            medicationCodeableConcept={**_concept(_ATC, drug.code, drug.name), "text": drug.name},
            subject=record.subject,
            encounter={"reference": visit},
            authoredOn=_instant(moment),
            requester={"reference": record.doctor},
            reasonReference=[{"reference": reference}],
            dosageInstruction=[{"text": drug.dosage}],
        )


def _vaccinations(record: _Record) -> None:
    adult = record.age(record.latest[1]) >= _ADULT
    fitting = [each for each in names.VACCINES if (each[2] >= _ADULT) == adult]
    for code, name, from_age in record.random.sample(fitting, 2):
        first = max(record.born.year + max(from_age, 1), 2019)
        record.add(
            "Immunization",
            status="completed",
            vaccineCode={**_concept(_ATC, code, name), "text": name},
            patient=record.subject,
            occurrenceDateTime=f"{record.random.randint(min(first, 2025), 2025)}-10",
        )


def _vital_signs(record: _Record) -> None:
    """Add blood pressure, pulse and weight of each visit, as they are at that age and for one and the same person."""
    usual, build = record.random.randint(105, 150), record.random.uniform(0.8, 1.35)
    for visit, moment in record.visits:
        age = record.age(moment)
        systolic = round(min(usual, 85 + 3 * age)) + record.random.randint(-6, 6)
        diastolic = round(systolic * record.random.uniform(0.58, 0.66))
        pressures = (("8480-6", "Systolique", systolic), ("8462-4", "Diastolique", diastolic))
        components = [
            {"code": _concept(_LOINC, code, name), "valueQuantity": _quantity(value, "mm[Hg]", "mmHg", 0)}
            for code, name, value in pressures
        ]
        name = {"coding": [_coding(_LOINC, "85354-9", "Pression artérielle")]}
        _observe(record, visit, moment, "vital-signs", name, component=components)
        pulse = max(72.0, 118 - 4 * age) + record.random.uniform(-12, 14)
        weight = build * min(3 * age + 6, 68.0) + record.random.uniform(-0.8, 0.8)
        for code, title, ucum, value, decimals in (
            ("8867-4", "Fréquence cardiaque", "/min", pulse, 0),
            ("29463-7", "Poids", "kg", weight, 1),
        ):
            quantity = _quantity(value, ucum, ucum, decimals)
            _observe(record, visit, moment, "vital-signs", _concept(_LOINC, code, title), valueQuantity=quantity)


def _laboratory(record: _Record) -> None:
    for visit, moment in record.visits:
        results = []
        chosen = record.random.sample(names.LABORATORY, 10)
        for code, name, ucum, unit, low, high, decimals in chosen:
            value = round(record.random.uniform(low * 0.93, high * 1.1), decimals)
            results.append(
                _observe(
                    record,
                    visit,
                    moment,
                    "laboratory",
                    {**_concept(_LOINC, code, name), "text": name},
                    valueQuantity=_quantity(value, ucum, unit, decimals),
                    interpretation=[_concept(_INTERPRETATION, "L" if value < low else "H" if value > high else "N")],
                    referenceRange=[
                        {"low": _quantity(low, ucum, unit, decimals), "high": _quantity(high, ucum, unit, decimals)}
                    ],
                )
            )
        record.add(
            "DiagnosticReport",
            status="final",
            category=[_concept("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
            code=_concept(_LOINC, "11502-2", "Compte rendu d'examens biologiques"),
            subject=record.subject,
            encounter={"reference": visit},
            effectiveDateTime=_instant(moment),
            issued=_instant(moment + timedelta(hours=6)),
            result=[{"reference": each} for each in results],
        )


def _observe(record: _Record, visit: str, moment: datetime, category: str, code: Json, **elements: Any) -> str:
    return record.add(
        "Observation",
        status="final",
        category=[_concept(_OBSERVATION, category)],
        code=code,
        subject=record.subject,
        encounter={"reference": visit},
        effectiveDateTime=_instant(moment),
        performer=[{"reference": record.doctor}],
        **elements,
    )


def _documents(record: _Record) -> None:
    visit, moment = record.latest
    for code, name, category in (("11488-4", "Compte rendu de consultation", "10"), ("57833-6", "Prescription", "42")):
        text = f"{name} du {moment:%d/%m/%Y}. Document de démonstration."
        record.add(
            "DocumentReference",
            status="current",
            type=_concept(_LOINC, code, name),
            category=[_concept(_CLASS, category)],
            subject=record.subject,
            date=_instant(moment),
            author=[{"reference": record.doctor}],
            context={"encounter": [{"reference": visit}], "period": {"start": _instant(moment)}},
            content=[
                {
                    "attachment": {
                        "contentType": "text/plain; charset=utf-8",
                        "language": "fr",
                        "data": base64.b64encode(text.encode()).decode(),
                        "title": name,
                    }
                }
            ],
        )


def _coding(system: str, code: str, display: str | None = None) -> Json:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def _concept(system: str, code: str, display: str | None = None) -> Json:
    return {"coding": [_coding(system, code, display)]}


def _quantity(value: float, ucum: str, unit: str, decimals: int) -> Mapping[str, Any]:
    """Return a quantity with just so many decimals: their number says how exactly it was measured."""
    return {"value": Number(f"{value:.{decimals}f}"), "unit": unit, "system": _UCUM, "code": ucum}


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")
