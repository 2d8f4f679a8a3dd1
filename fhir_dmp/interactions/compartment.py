"""What holds a search to a compartment: the members of a record, or what somebody took part in. https://hl7.org/fhir/R4/compartmentdefinition.html."""

from __future__ import annotations

from fhir_dmp.call import Call, Env
from fhir_dmp.errors import Invalid
from fhir_dmp.store.query import Eq, Query


def within(call: Call, env: Env) -> tuple[Query, ...]:
    """Return what holds the rows of a search to its compartment; raise ``Invalid`` where there is none."""
    if call.compartment is None:
        return ()
    members_by(call, env)
    return (Eq("t", f"@{call.compartment}"),)


def members_by(call: Call, env: Env) -> tuple[str, ...]:
    """Return the parameters by which the type that a search names is in its compartment; raise ``Invalid`` where it is in none."""
    record = call.compartment
    found = env.definitions.compartments.get(record.type) if record else None
    if record is None or found is None or (call.type is not None and call.type not in found.members):
        raise Invalid(f"There is no compartment {record.type[:64] if record else ''} with {call.type or 'members'}.")
    return tuple(found.members.get(call.type or "", ()))
