"""Patient/$attending-doctor: the holder names the attending doctor, or none. Public Health Code, L.1111-16.

Who is named sees masked items and is told of emergencies. https://hl7.org/fhir/R4/patient-definitions.html#Patient.generalPractitioner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import Unprocessable
from fhir_dmp.fhir import codec
from fhir_dmp.interactions.choices import actor_of, asking, name_of, require_unblocked
from fhir_dmp.interactions.entities import entity
from fhir_dmp.interactions.write import prepare
from fhir_dmp.store.change import Stored


def attending_doctor(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that makes the actor the attending doctor; without one there is none any more."""
    _, policy = asking(call, context, grant, env)
    actor: dict[str, Any] | None = None
    if call.parameters.all("actor"):
        actor = actor_of(call, context)
        require_unblocked(policy, name_of(actor), env)
    row = env.store.find_current(call.ref)
    if row is None or row.body is None:
        raise Unprocessable("There is no such record.")
    tree = {key: value for key, value in codec.loads_object(row.body).items() if key != "generalPractitioner"}
    if actor is not None:
        tree["generalPractitioner"] = [actor]
    made = prepare(call.ref, row, tree, context, env)

    def finish(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
        (done,) = stored
        return Result("ok", done.body, done.ref, done.version, done.updated)

    states = ("generalPractitioner",)
    return Plan(changes=(made,), finish=finish, entities=(entity(made),), entitled=True, states=states)
