"""Patient/$mask: make one item of the record inaccessible to professionals, or accessible again. Public Health Code, R.1111-49.

Its author and the attending doctor go on seeing it. https://mos.esante.gouv.fr/NOS/TRE_A07-StatutVisibiliteDocument.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.call import Act, Call, Context, Env, Grant, Plan, Result
from fhir_dmp.errors import Invalid
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.labels import MASKED, flags_of, with_flags
from fhir_dmp.fhir.parameters import write
from fhir_dmp.fhir.reference import local
from fhir_dmp.interactions.choices import asking
from fhir_dmp.interactions.entities import disclosed, entity, left_as_it_is
from fhir_dmp.interactions.known import visible
from fhir_dmp.interactions.meeting import Meeting
from fhir_dmp.interactions.write import prepare
from fhir_dmp.store.change import Stored


def mask(call: Call, context: Context, grant: Grant, env: Env) -> Plan:
    """Return the Plan that sets or lifts the label of the item, which the caller must see."""
    asking(call, context, grant, env)
    masked = call.parameters.value("masked") is not False
    given = call.parameters.value("item")
    ref = local((given or {}).get("reference") or "", context.base_url) if isinstance(given, dict) else None
    if ref is None:
        raise Invalid("item must be a reference to an item of the record.", expression="item")
    row = visible(ref, env.store.find_current(ref), grant)
    if row.body is None or str(call.ref) not in (row.index.get("pt") or ()):
        there, text = disclosed(row), "item must be an item of this record."
        raise Invalid(text, expression="item", patients=there.patients, hidden=there.hidden)
    tree = codec.loads_object(row.body)
    before = flags_of(tree)
    after = before | {MASKED} if masked else before - {MASKED}
    with Meeting(ref):
        changes = () if after == before else (prepare(ref, row, with_flags(tree, after), context, env),)

    def finish(stored: Sequence[Stored], _: Sequence[Act]) -> Result:
        version = stored[0].version if stored else row.version
        item = {"reference": f"{ref}/_history/{version}"}
        return Result("ok", codec.dumps(write([("item", "Reference", item), ("masked", "boolean", masked)])))

    return Plan(changes=changes, finish=finish, entities=tuple(map(entity, changes)) or (left_as_it_is(row),))
