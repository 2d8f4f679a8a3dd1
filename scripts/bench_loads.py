"""What is asked of the server: the workloads of the table, made of what it holds and of generated patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from bench_target import Target
from bench_wrk import MIXED, Load

from fhir_dmp.demo.generate import patients
from fhir_dmp.fhir import codec

Json = dict[str, Any]

SEARCHES = ("patient page", "code search", "patient + code + date", "string search", "chain", "$everything")
"""Workloads that should not care how many other patients there are."""

PAGES = {"": "/fhir/Observation?_count=20", ", by change": "/fhir/Observation?_count=20&_sort=-_lastUpdated"}
"""Lists of which an early page is asked for and a late one, in the default order and in another one."""

LATE = 200
NAMESAKES = 14
"""Patients of a family name that is asked for, or nearly so many, however many patients there are."""

LOADS = (
    "read",
    "vread",
    *SEARCHES,
    *(f"page {number}{order}" for order in PAGES for number in (1, LATE)),
    "create",
    "update",
    "mixed CRUD",
    "transaction of 10",
    "conditional transaction",
)


@dataclass(frozen=True, slots=True)
class Held:
    """What the server holds: names of patients and of observations, one whole observation for each of some, and late pages."""

    people: Sequence[str]
    observations: Sequence[str]
    bodies: Sequence[Json]
    families: Sequence[str]
    late: Mapping[str, str]


def held(target: Target) -> Held:
    """Ask the server what it holds."""
    people, rows = _pages(target, "Patient"), _pages(target, "Observation")
    families = Counter(name["family"] for person in people for name in person["name"][:1])
    return Held(
        [f"Patient/{each['id']}" for each in people],
        [f"Observation/{each['id']}" for each in rows],
        rows[:500],
        sorted(families, key=lambda family: abs(families[family] - NAMESAKES))[:20],
        {order: _late(target, path) for order, path in PAGES.items()},
    )


def _late(target: Target, path: str) -> str:
    """Return the path of the late page of a list, or of the last one that it has."""
    url, headers = target.url + path, target.headers()
    for _ in range(LATE - 1):
        page = requests.get(url, headers=headers, timeout=30).json()
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), url)
    return url.removeprefix(target.url)


def _pages(target: Target, kind: str, most: int = 5000) -> list[Json]:
    """Return resources, as the server pages through them."""
    found: list[Json] = []
    url: str | None = f"{target.url}/fhir/{kind}?_count=500"
    headers = target.headers()
    while url and len(found) < most:
        page = requests.get(url, headers=headers, timeout=30).json()
        found += [entry["resource"] for entry in page.get("entry", ())]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    if not found:
        raise SystemExit(f"The folder holds no {kind}: leave out --no-load.")
    return found


def loads(has: Held, seed: int, first: int) -> list[Load]:
    """Return the workloads, the plain read first; new resources are those of patients from the ``first`` on."""
    bundles = list(patients(seed, first + 50))[-50:]
    codes = [quote(code) for code in _codes(bundles)]
    return [
        Load("read", [f"/fhir/{name}" for name in has.observations]),
        Load("vread", [f"/fhir/{name}/_history/1" for name in has.observations]),
        Load("patient page", [f"/fhir/Observation?patient={name}&_count=50" for name in has.people]),
        Load("code search", [f"/fhir/Observation?code={code}&_count=20" for code in codes]),
        Load(
            "patient + code + date",
            [
                f"/fhir/Observation?patient={name}&code={codes[place % len(codes)]}&date=ge2020"
                for place, name in enumerate(has.people)
            ],
        ),
        Load("string search", [f"/fhir/Patient?family={quote(family)}&_count=20" for family in has.families]),
        Load("chain", [f"/fhir/Observation?patient.family={quote(family)}&_count=20" for family in has.families]),
        Load("$everything", [f"/fhir/{name}/$everything?_count=200" for name in has.people]),
        *(
            Load(f"page {number}{order}", [path])
            for order in PAGES
            for number, path in ((1, PAGES[order]), (LATE, has.late[order]))
        ),
        Load("create", ["/fhir/Observation"], [_observation(bundle, has.people[0]) for bundle in bundles]),
        Load("update", [f"/fhir/Observation/{each['id']}" for each in has.bodies], [*map(_changed, has.bodies)], "PUT"),
        Load("mixed CRUD", ["/fhir/Observation/"], [_observation(bundle, has.people[0]) for bundle in bundles], MIXED),
        Load("transaction of 10", ["/fhir"], [_transaction(bundle) for bundle in bundles]),
        Load("conditional transaction", ["/fhir"], [_conditional(bundle, has.people[0]) for bundle in bundles]),
    ]


def _observations(bundle: Json) -> Iterator[Json]:
    return (entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Observation")


def _codes(bundles: Sequence[Json]) -> list[str]:
    """Return the codes that patients have most, each with many more rows than a page."""
    codings = (entry["resource"]["code"]["coding"][0] for bundle in bundles for entry in _observations(bundle))
    return [code for code, _ in Counter(f"{each['system']}|{each['code']}" for each in codings).most_common(10)]


def alone(resource: Mapping[str, Any]) -> Json:
    """Return the resource without its visit, which is not sent along."""
    return {name: value for name, value in resource.items() if name != "encounter"}


def _observation(bundle: Json, patient: str) -> bytes:
    found = next(_observations(bundle))["resource"]
    return codec.dumps({**alone(found), "subject": {"reference": patient}})


def _changed(resource: Json) -> bytes:
    """Return the resource with a note that is new in each request: what changes nothing would make no version."""
    return codec.dumps({**resource, "note": [{"text": "Relu et confirmé, @NEW@."}]})


def _transaction(bundle: Json) -> bytes:
    """Return a transaction of a patient and nine results; the patient has no INS, for a person has one record and each request makes one."""
    known = {**bundle["entry"][0]["resource"], "identifier": [{"system": "urn:bench", "value": "@NEW@"}]}
    patient = {**bundle["entry"][0], "resource": known, "request": {"method": "POST", "url": "Patient"}}
    others = [{**entry, "resource": alone(entry["resource"])} for entry in _observations(bundle)][:9]
    return codec.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [patient, *others]})


def _conditional(bundle: Json, patient: str) -> bytes:
    """Return a transaction of ten results, each created only if its number, new in each request, is not there."""
    entries = [_numbered(entry["resource"], place, patient) for place, entry in enumerate(_observations(bundle))]
    return codec.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries[:10]})


def _numbered(resource: Json, place: int, patient: str) -> Json:
    number = f"@NEW@-{place}"
    body = {
        **alone(resource),
        "subject": {"reference": patient},
        "identifier": [{"system": "urn:bench", "value": number}],
    }
    request = {"method": "POST", "url": "Observation", "ifNoneExist": f"identifier=urn:bench|{number}"}
    return {"resource": body, "request": request}
