"""The people of the demonstration who may sign in: a holder, her child, those who care for them. None of them exists.

Their passwords and their second factor are known to everybody who reads this file: no real server may hold them.
"""

from __future__ import annotations

from datetime import date
from random import Random
from typing import Any

from msgspec import Struct

from fhir_dmp.demo.generate import record
from fhir_dmp.demo.identity import INS_TEST, RPPS, ins, rpps
from fhir_dmp.store.accounts import AccountKind, Represented, Situation

PASSWORD = "agrafe pile cheval correct"  # noqa: S105 - for a demonstration, and refused by every other server
TOTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
IDNPS = "urn:oid:1.2.250.1.71.4.2.1"
STRUCTURE = "urn:oid:1.2.250.1.71.4.2.2"
CLAIRE_BORN, LEO_BORN, HUGO_BORN = date(1984, 3, 12), date(2011, 9, 5), date(1981, 7, 30)
_PRACTICE = f"{STRUCTURE}|1990000002"
_HOSPITAL = f"{STRUCTURE}|1990000001"
_SAMU = f"{STRUCTURE}|1990000003"


class DemoPerson(Struct, frozen=True):
    """One who may sign in, and what to say of them."""

    login: str
    kind: AccountKind
    name: str
    resource: str
    identifier: str
    situations: tuple[Situation, ...] = ()
    represents: tuple[Represented, ...] = ()
    birth_date: date | None = None


def people(seed: int) -> tuple[DemoPerson, ...]:
    """Return the patient and mother, her son, the father, attending and other doctor, nurse, and regulator of the SAMU."""
    own = f"demo-{seed}"
    leo = Represented(f"RelatedPerson/{own}-father-of-leo", f"Patient/{own}-leo", "Léo Morel")
    return (
        _patient("claire.morel", "Claire Morel", f"Patient/{own}-claire", _claires(seed), CLAIRE_BORN),
        _patient("leo.morel", "Léo Morel", f"Patient/{own}-leo", _leos(seed), LEO_BORN),
        _patient("hugo.morel", "Hugo Morel", leo.resource, _hugos(seed), HUGO_BORN, leo),
        _professional(
            *("anne.martin", "Dr Anne Martin (médecin traitant)", f"Practitioner/{own}-practitioner-0", seed),
            Situation("10", "SM26", _PRACTICE, "Cabinet médical des Lilas"),
            Situation("10", "SM26", _HOSPITAL, "Centre hospitalier de démonstration"),
        ),
        _professional(
            *("paul.bernard", "Dr Paul Bernard", f"Practitioner/{own}-practitioner-1", seed),
            Situation("10", "SM54", _HOSPITAL, "Centre hospitalier de démonstration"),
        ),
        _professional(
            *("ines.robert", "Inès Robert (infirmière)", f"Practitioner/{own}-nurse", seed),
            Situation("60", None, _HOSPITAL, "Centre hospitalier de démonstration"),
        ),
        _professional(
            *("samir.faure", "Dr Samir Faure (régulateur)", f"Practitioner/{own}-regulator", seed),
            Situation("10", "SM59", _SAMU, "SAMU de démonstration"),
        ),
    )


def household(seed: int) -> dict[str, Any]:
    """Return the transaction of who they are, as the health insurance tells it."""
    own, doctor = f"demo-{seed}", f"Practitioner/demo-{seed}-practitioner-0"
    father = {
        **_named("RelatedPerson", f"{own}-father-of-leo", "Morel", "Hugo", "male", HUGO_BORN),
        "active": True,
        "patient": {"reference": f"Patient/{own}-leo"},
        "identifier": [_identifier(_hugos(seed))],
        "relationship": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": "FTH"}]}],
    }
    resources = [
        _holder(f"{own}-claire", "Claire", "female", CLAIRE_BORN, _claires(seed), doctor),
        _holder(f"{own}-leo", "Léo", "male", LEO_BORN, _leos(seed), doctor),
        father,
        _carer(f"{own}-nurse", "Robert", "Inès", "female"),
        _carer(f"{own}-regulator", "Faure", "Samir", "male"),
    ]
    entries = [
        {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
        for each in resources
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def records(seed: int) -> tuple[dict[str, Any], ...]:
    """Return the transactions of what is recorded of the two patients."""
    doctor = f"Practitioner/demo-{seed}-practitioner-0"
    return tuple(
        record(Random(f"{name} {seed}"), f"Patient/demo-{seed}-{name}", doctor, born)  # noqa: S311 - synthetic data, not a secret
        for name, born in (("claire", CLAIRE_BORN), ("leo", LEO_BORN))
    )


def _patient(login: str, name: str, resource: str, identifier: str, born: date, *represents: Represented) -> DemoPerson:
    return DemoPerson(login, "patient", name, resource, identifier, (), represents, born)


def _professional(login: str, name: str, resource: str, seed: int, *situations: Situation) -> DemoPerson:
    return DemoPerson(login, "professional", name, resource, f"{IDNPS}|8{_rpps(resource, seed)}", situations)


def _rpps(resource: str, seed: int) -> str:
    return rpps(Random(f"{resource} {seed}"))  # noqa: S311 - synthetic data, not a secret


def _claires(seed: int) -> str:
    return _ins("claire", seed, CLAIRE_BORN, female=True)


def _leos(seed: int) -> str:
    return _ins("leo", seed, LEO_BORN, female=False)


def _hugos(seed: int) -> str:
    return _ins("hugo", seed, HUGO_BORN, female=False)


def _ins(name: str, seed: int, born: date, *, female: bool) -> str:
    random = Random(f"ins {name} {seed}")  # noqa: S311 - synthetic data, not a secret
    return f"{INS_TEST}|{ins(random, female=female, year=born.year, month=born.month, cog='75056')}"


def _named(resource_type: str, own: str, family: str, given: str, gender: str, born: date | None) -> dict[str, Any]:
    named = {"resourceType": resource_type, "id": own, "name": [{"family": family, "given": [given]}], "gender": gender}
    return {**named, "birthDate": born.isoformat()} if born else named


def _identifier(identifier: str) -> dict[str, str]:
    system, _, value = identifier.partition("|")
    return {"use": "official", "system": system, "value": value}


def _holder(own: str, given: str, gender: str, born: date, identifier: str, doctor: str) -> dict[str, Any]:
    named = _named("Patient", own, "Morel", given, gender, born)
    held = {"active": True, "identifier": [_identifier(identifier)], "generalPractitioner": [{"reference": doctor}]}
    return {**named, **held}


def _carer(own: str, family: str, given: str, gender: str) -> dict[str, Any]:
    seed = int(own.split("-")[1])
    number = _rpps(f"Practitioner/{own}", seed)
    identifiers = [{"system": RPPS, "value": number}, {"system": IDNPS, "value": f"8{number}"}]
    return {**_named("Practitioner", own, family, given, gender, None), "active": True, "identifier": identifiers}


LOGINS = tuple(person.login for person in people(0))
"""No server but a demonstration has accounts of these logins."""
