"""Which records a system's list is about, where the call itself says so: the policies of those are enough to judge it.

A structure may be named by more records than one list can look at; a search that names a patient needs one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fhir_dmp.call import Call, Env, Params
from fhir_dmp.errors import FhirError
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.ins import is_ins
from fhir_dmp.fhir.reference import Ref, local
from fhir_dmp.search.paging import asked_before
from fhir_dmp.search.patients import patients_named, with_criteria
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import Query

MOST = 20
"""Records that a call names and that are looked at by themselves."""

_BY_INS = ("patient.identifier", "subject.identifier", "patient:Patient.identifier", "subject:Patient.identifier")
_REFERENCE = re.compile(rb'"((?:[Hh][^"]{1,500}/)?Patient/[A-Za-z0-9.\-]{1,64})"')
_REACHING = ("_include", "_revinclude", "_has", "_filter", "_list")


def reaches(call: Call, env: Env) -> bool:
    """Tell whether a call looks at other rows than those that it names: what it brings along, what chains and conditions lead to."""
    return call.name == "transaction" or any(
        name.partition(":")[0] in _REACHING or "." in name for name, _ in asked_of(call, env)
    )


def records_of(call: Call, sought: Query | None, base_url: str, env: Env) -> tuple[str, ...]:
    """Return the records (``Patient/p``) that hold all that the call can list, or nothing if it does not say.

    ``sought`` are the rows of whoever is looked for by an exact INS.
    """
    found = tuple(dict.fromkeys(_named(call, sought, base_url, env)))
    return found if len(found) <= MOST else ()


def _named(call: Call, sought: Query | None, base_url: str, env: Env) -> Iterable[str]:
    if call.compartment is not None and call.compartment.type == "Patient":
        return (str(call.compartment),)
    if call.id is not None and call.type is not None:
        return (str(call.ref),) if call.type == "Patient" else _holding(call.ref, env)
    if call.name == "transaction":
        return _written(call, base_url)
    return _searched(call, base_url, env) if sought is None else _found(sought, env)


def _written(call: Call, base_url: str) -> Iterator[str]:
    """Yield the patients to whom a transaction refers: what its conditions are about lies in their records, or in none."""
    body = call.body if isinstance(call.body, bytes) else codec.dumps(call.body or {})
    named = (local(each.decode(errors="replace"), base_url) for each in dict.fromkeys(_REFERENCE.findall(body)))
    return (str(ref) for ref in named if ref is not None)


def _searched(call: Call, base_url: str, env: Env) -> Iterable[str]:
    params = asked_of(call, env)
    named = patients_named(call.type, params, base_url)
    return _by_ins(params, env) if named is None else named


def asked_of(call: Call, env: Env) -> Params:
    """Return what a search asks for, or a condition; on a later page that is in its token."""
    token = next((value for name, value in call.params if name == "_page"), None)
    return with_criteria(asked_before(token, env.unseal) if token else call.params, call.criteria)


def _holding(ref: Ref, env: Env) -> tuple[str, ...]:
    row = env.store.find_current(ref)
    return tuple(row.index.get("pt") or ()) if row else ()


def _by_ins(params: Params, env: Env) -> Iterator[str]:
    numbers = (value for name, value in params if name in _BY_INS and all(map(is_ins, value.split(","))))
    value = next(numbers, None)
    try:
        return iter(()) if value is None else _found(env.restrict("Patient", (("identifier", value),)), env)
    except FhirError:
        return iter(())


def _found(query: Query, env: Env) -> Iterator[str]:
    return (str(row.ref) for row in env.store.search(query, Page(MOST + 1)).rows)
