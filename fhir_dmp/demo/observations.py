"""What was measured at each visit of a synthetic record: vital signs, and the laboratory's results with their report."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from fhir_dmp.demo import names
from fhir_dmp.demo.elements import LOINC, Json, coding, concept, instant_of, quantity
from fhir_dmp.demo.record import Record

_OBSERVATION = "http://terminology.hl7.org/CodeSystem/observation-category"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


def add_vital_signs(record: Record) -> None:
    """Add blood pressure, pulse and weight of each visit, as they are at that age and for one and the same person."""
    usual, build = record.random.randint(105, 150), record.random.uniform(0.8, 1.35)
    for visit, moment in record.visits:
        age = record.age(moment)
        systolic = round(min(usual, 85 + 3 * age)) + record.random.randint(-6, 6)
        diastolic = round(systolic * record.random.uniform(0.58, 0.66))
        pressures = (("8480-6", "Systolique", systolic), ("8462-4", "Diastolique", diastolic))
        components = [
            {"code": concept(LOINC, code, name), "valueQuantity": quantity(value, "mm[Hg]", "mmHg", 0)}
            for code, name, value in pressures
        ]
        name = {"coding": [coding(LOINC, "85354-9", "Pression artérielle")]}
        _observe(record, visit, moment, "vital-signs", name, component=components)
        pulse = max(72.0, 118 - 4 * age) + record.random.uniform(-12, 14)
        weight = build * min(3 * age + 6, 68.0) + record.random.uniform(-0.8, 0.8)
        for code, title, ucum, value, decimals in (
            ("8867-4", "Fréquence cardiaque", "/min", pulse, 0),
            ("29463-7", "Poids", "kg", weight, 1),
        ):
            measured = quantity(value, ucum, ucum, decimals)
            _observe(record, visit, moment, "vital-signs", concept(LOINC, code, title), valueQuantity=measured)


def add_laboratory(record: Record) -> None:
    """Add ten results of each visit, and the report that names them."""
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
                    {**concept(LOINC, code, name), "text": name},
                    valueQuantity=quantity(value, ucum, unit, decimals),
                    interpretation=[concept(_INTERPRETATION, "L" if value < low else "H" if value > high else "N")],
                    referenceRange=[
                        {"low": quantity(low, ucum, unit, decimals), "high": quantity(high, ucum, unit, decimals)}
                    ],
                )
            )
        record.add(
            "DiagnosticReport",
            status="final",
            category=[concept("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
            code=concept(LOINC, "11502-2", "Compte rendu d'examens biologiques"),
            subject=record.subject,
            encounter={"reference": visit},
            effectiveDateTime=instant_of(moment),
            issued=instant_of(moment + timedelta(hours=6)),
            result=[{"reference": each} for each in results],
        )


def _observe(record: Record, visit: str, moment: datetime, category: str, code: Json, **elements: Any) -> str:
    return record.add(
        "Observation",
        status="final",
        category=[concept(_OBSERVATION, category)],
        code=code,
        subject=record.subject,
        encounter={"reference": visit},
        effectiveDateTime=instant_of(moment),
        performer=[{"reference": record.doctor}],
        **elements,
    )
