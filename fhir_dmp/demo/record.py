"""One patient's record in the making: who cares, what was found and done at each visit. FR Core: https://hl7.fr/ig/fhir/core."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from msgspec import Struct, field

from fhir_dmp.demo import names
from fhir_dmp.demo.elements import LOINC, Json, concept, instant_of

TODAY = date(2026, 1, 15)
"""The demonstration's present: no clock is asked, so that a seed always gives the same."""

ADULT = 18
_ICD10 = "http://hl7.org/fhir/sid/icd-10"
_ATC = "http://www.whocc.no/atc"
_SNOMED = "http://snomed.info/sct"
_FUNCTION = "https://mos.esante.gouv.fr/NOS/TRE_R259-HL7ParticipationFunction/FHIR/TRE-R259-HL7ParticipationFunction"
_CLASS = "https://mos.esante.gouv.fr/NOS/TRE_A03-ClasseDocument/FHIR/TRE-A03-ClasseDocument"


class Bundle(Struct):
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


class Record(Struct):
    """One patient's record in the making: who it is of, and who cares."""

    bundle: Bundle
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


def add_team(record: Record) -> None:
    """Add who cares for the patient: the attending doctor."""
    record.add(
        "CareTeam",
        status="active",
        name="Cercle de soins",
        subject=record.subject,
        period={"start": "2025-01-01"},
        participant=[
            {
                "role": [concept(_FUNCTION, "PCP", "Médecin traitant")],
                "member": {"reference": record.doctor},
                "period": {"start": "2025-01-01"},
            }
        ],
    )


def add_visits(record: Record) -> None:
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
            period={"start": instant_of(moment), "end": instant_of(moment + timedelta(minutes=20))},
        )
        record.visits.append((visit, moment))


def add_problems(record: Record) -> list[tuple[str, names.Problem]]:
    """Add what the patient may have at this age and an allergy; return the problems with their references."""
    visit, moment = record.latest
    age = record.age(moment)
    possible = [problem for problem in names.PROBLEMS if problem.from_age <= age <= problem.to_age]
    found = []
    for problem in record.random.sample(possible, min(3, len(possible))):
        first = max(record.born.year + problem.from_age, 2005)
        condition = record.add(
            "Condition",
            clinicalStatus=concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
            verificationStatus=concept("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed"),
            code={**concept(_ICD10, problem.code, problem.name), "text": problem.name},
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
        clinicalStatus=concept("http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "active"),
        verificationStatus=concept(
            "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "confirmed"
        ),
        criticality=record.random.choice(("low", "high")),
        code={**concept(_SNOMED, code, name), "text": name},
        patient=record.subject,
        recordedDate=moment.date().isoformat(),
        recorder={"reference": record.doctor},
    )
    return found


def add_treatments(record: Record, problems: list[tuple[str, names.Problem]]) -> None:
    """Add what is taken for each problem, and the latest prescription."""
    visit, moment = record.latest
    treated = [(reference, problem.drug) for reference, problem in problems if problem.drug]
    for reference, drug in treated:
        record.add(
            "MedicationStatement",
            status="active",
            medicationCodeableConcept={**concept(_ATC, drug.code, drug.name), "text": drug.name},
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
            medicationCodeableConcept={**concept(_ATC, drug.code, drug.name), "text": drug.name},
            subject=record.subject,
            encounter={"reference": visit},
            authoredOn=instant_of(moment),
            requester={"reference": record.doctor},
            reasonReference=[{"reference": reference}],
            dosageInstruction=[{"text": drug.dosage}],
        )


def add_vaccinations(record: Record) -> None:
    """Add two vaccinations that are given at that age."""
    adult = record.age(record.latest[1]) >= ADULT
    fitting = [each for each in names.VACCINES if (each[2] >= ADULT) == adult]
    for code, name, from_age in record.random.sample(fitting, 2):
        first = max(record.born.year + max(from_age, 1), 2019)
        record.add(
            "Immunization",
            status="completed",
            vaccineCode={**concept(_ATC, code, name), "text": name},
            patient=record.subject,
            occurrenceDateTime=f"{record.random.randint(min(first, 2025), 2025)}-10",
        )


def add_documents(record: Record) -> None:
    """Add the documents of the latest visit."""
    visit, moment = record.latest
    for code, name, category in (("11488-4", "Compte rendu de consultation", "10"), ("57833-6", "Prescription", "42")):
        text = f"{name} du {moment:%d/%m/%Y}. Document de démonstration."
        record.add(
            "DocumentReference",
            status="current",
            type=concept(LOINC, code, name),
            category=[concept(_CLASS, category)],
            subject=record.subject,
            date=instant_of(moment),
            author=[{"reference": record.doctor}],
            context={"encounter": [{"reference": visit}], "period": {"start": instant_of(moment)}},
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
