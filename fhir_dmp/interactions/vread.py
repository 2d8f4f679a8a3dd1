"""FHIR vread: one version of one resource, present or past. https://hl7.org/fhir/R4/http.html#vread."""

from __future__ import annotations

import re

from fhir_dmp.call import Call, Context, Env, Grant, Result
from fhir_dmp.errors import NotFound
from fhir_dmp.fhir import codec
from fhir_dmp.interactions.entities import disclosed, gone
from fhir_dmp.interactions.shown import shown
from fhir_dmp.store.change import Index, Stored

_VERSION = re.compile(r"[1-9][0-9]{0,17}\Z")
"""How versions are counted here; what else is a digit somewhere, or has thousands of them, names none."""


def vread(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return that version. Conditional vread answers 304."""
    del context
    return shown(call, version_of(call, grant, env), env)


def version_of(call: Call, grant: Grant, env: Env) -> Stored:
    """Return the version that the call names. It is judged by its own row and by the present one: the stricter wins."""
    version = int(call.version) if call.version and _VERSION.match(call.version) else 0
    current = env.store.find_current(call.ref, with_index=grant.searches("read"))
    if current is None or not 0 < version <= current.version:
        raise NotFound(f"{call.ref} has no version {call.version}.", reasons=("absent",))
    row = current if version == current.version else env.store.find_version(call.ref, version)
    decisions = [grant.decide("read", _judged(each, env)) for each in (current, row) if each is not None]
    refusals = tuple(reason for each in decisions if not each.permit for reason in each.reasons)
    if refusals:
        there = disclosed(current)
        text = f"{call.ref} has no version {call.version}."
        raise NotFound(text, reasons=refusals, patients=there.patients, hidden=there.hidden)
    if row is None:
        raise NotFound(f"{call.ref} has no version {call.version}.", reasons=("absent",))
    if row.deleted:
        raise gone(disclosed(row), f"{call.ref} version {version} is its deletion.")
    return row


def _judged(row: Stored, env: Env) -> Index:
    """Return what a version is judged by, which it keeps; one that was superseded when versions kept less tells it by its body."""
    if "t" in row.index or "un" not in row.index or row.body is None:
        return row.index
    return {**env.extract(row.ref.type, codec.loads_object(row.body)), **row.index}
