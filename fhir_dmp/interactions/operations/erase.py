"""Patient/$erase: remove a record that was closed ten years ago. Public Health Code, L.1111-18.

The only removal there is: rows, versions and policy of the record go for good, the log and its proofs stay. For the administrator.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fhir_dmp.call import Act, Call, Context, Entity, Env, Grant, Plan, Result
from fhir_dmp.clock import datetime_of
from fhir_dmp.errors import Conflict, NotFound, Refused
from fhir_dmp.store.change import Stored

YEARS = 10


def erase(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that removes the record; raise ``Conflict`` before its time."""
    if context.subject is None or context.subject.person is not None or context.subject.role != "admin":
        raise Refused("Records are removed by the administrator of records.", reasons=("role",))
    patient = str(call.ref)
    row = env.store.find_current(call.ref, with_index=False)
    if row is None:
        raise NotFound(f"{patient} is not known here.", reasons=("absent",))
    closing = grant.policy(patient)[0].closing
    if closing is None or closing.closed is None:
        raise Conflict("The record is open.")
    due = _years_after(closing.closed)
    if context.now < due:
        raise Conflict(f"The record is kept until {due.date().isoformat()}.")

    def finish(_: Sequence[Stored], __: Sequence[Act]) -> Result:
        return Result("no-content")

    return Plan(changes=(), finish=finish, entities=(Entity(call.ref, row.version, (patient,)),), erased=(patient,))


def _years_after(micros: int) -> datetime:
    closed = datetime_of(micros)
    day = 28 if (closed.month, closed.day) == (2, 29) else closed.day
    return closed.replace(year=closed.year + YEARS, day=day)
