"""Patient/$close and $reopen: the holder closes the record at any time, and may reopen it. Public Health Code, L.1111-21.

A closed record is shut to everybody; the holder keeps reopening, a copy (``$everything``), and the traces. The dates stand in the
extension of the draft on the DMP: https://interop.esante.gouv.fr/ig/fhir/dmp/StructureDefinition/dmp-fermeture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import Conflict, Refused, Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.interactions.choices import asking
from fhir_dmp.interactions.entities import entity
from fhir_dmp.interactions.write import prepare
from fhir_dmp.store.change import Stored

CLOSING = "https://interop.esante.gouv.fr/ig/fhir/dmp/StructureDefinition/dmp-fermeture"


def close(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that closes the record."""
    asking(call, context, grant, env)
    why = str(call.parameters.value("reason") or "").strip()[:500]
    parts = [{"url": "dateFermeture", "valueDateTime": context.now.isoformat(timespec="seconds")}]
    if why:
        parts.append({"url": "motifFermeture", "valueString": why})

    def closed(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {**tree, "active": False, "extension": [*_others(tree), {"url": CLOSING, "extension": parts}]}

    return _changed(call, context, env, closed)


def reopen(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that opens the record again, as it was; refuse it where what was closed stays closed."""
    _, policy = asking(call, context, grant, env, closed=True)
    if not env.readings.reopening:
        raise Refused("A record that was closed is not opened again here.", reasons=("reopening",))
    if policy.closing is None:
        raise Conflict("The record is open.")

    def opened(tree: Mapping[str, Any]) -> dict[str, Any]:
        made = {**tree, "active": True, "extension": _others(tree)}
        return made if made["extension"] else {key: value for key, value in made.items() if key != "extension"}

    return _changed(call, context, env, opened)


def _others(tree: Mapping[str, Any]) -> list[Any]:
    return [each for each in tree.get("extension") or () if each.get("url") != CLOSING]


def _changed(call: Call, context: Context, env: Env, change: Any) -> Plan:
    row = env.store.find_current(call.ref)
    if row is None or row.body is None:
        raise Unprocessable("There is no such record.")
    made = prepare(call.ref, row, change(codec.loads_object(row.body)), context, env)

    def finish(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
        (done,) = stored
        return Result("ok", done.body, done.ref, done.version, done.updated)

    return Plan(changes=(made,), finish=finish, entities=(entity(made),), entitled=True, states=("active",))
