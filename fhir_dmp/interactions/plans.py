"""The Plans of one resource: of a change, and of what stands already. https://hl7.org/fhir/R4/http.html#return."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from fhir_dmp.call import Call, Plan, Result
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.entities import disclosed, entity, left_as_it_is
from fhir_dmp.store.change import Change, Lock, Stored


def one_change(change: Change | None, before: Stored | None, locks: tuple[Lock, ...] = ()) -> Plan:
    """Return the Plan of one change, which answers with the new version; with none, it answers with what is there."""
    if change is None and before is not None:
        return replace(standing(before), entities=(left_as_it_is(before),))
    changes = (change,) if change else ()
    made: Literal["created", "ok"] = "created" if change is not None and change.kind == "create" else "ok"
    return Plan(
        changes=changes,
        finish=lambda stored, _: Result(made, stored[0].body, stored[0].ref, stored[0].version, stored[0].updated),
        locks=locks,
        entities=tuple(map(entity, changes)),
    )


def as_it_stands(row: Stored) -> Result:
    """Return the Result that shows a row; of one that is found and not shown (no body) nothing but where it is."""
    if row.body is None:
        return Result("ok", ref=row.ref)
    return Result("ok", row.body, row.ref, row.version, row.updated)


def standing(row: Stored) -> Plan:
    """Return the Plan that changes nothing and answers with what is there already."""
    return Plan(
        changes=(),
        finish=lambda *_: as_it_stands(row),
        entities=(disclosed(row),),
    )


def found_instead(call: Call, row: Stored) -> Plan:
    """Return the Plan of a create that finds what it would make: nothing is made, and the log tells a read of what was found."""
    return replace(standing(row), told=as_read(call, row.ref, row.version))


def as_read(call: Call, ref: Ref, version: int) -> Call:
    """Return a create that found what it would make as the read that it came to."""
    return replace(call, name="read", id=ref.id, version=str(version))
