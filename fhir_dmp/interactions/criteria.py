"""What criteria are compiled with: the caller's rules for each hop, and the store behind them. https://hl7.org/fhir/R4/search.html."""

from __future__ import annotations

from fhir_dmp.access.narrow import narrow
from fhir_dmp.call import Context, Env, Grant
from fhir_dmp.fhir.ins import INS_SYSTEMS
from fhir_dmp.search.model import Clause, Request, Setting
from fhir_dmp.store.port import Page
from fhir_dmp.store.query import Query


def by_ins(request: Request) -> bool:
    """Tell whether a search is for one Patient by the exact INS and by nothing else."""
    match request.criteria:
        case (Clause("Patient", param, None, (value,)),) if param.code == "identifier":
            system, bar, number = value.partition("|")
            return bool(bar and number) and system in INS_SYSTEMS
        case _:
            return False


def setting_of(context: Context, grant: Grant, env: Env) -> Setting:
    """Return the Setting in which the caller's criteria are compiled: each hop sees what the caller may search."""

    def bodies(query: Query, limit: int) -> tuple[bytes, ...]:
        return tuple(row.body for row in env.store.search(query, Page(limit)).rows if row.body is not None)

    return Setting(
        definitions=env.definitions,
        base_url=context.base_url,
        now=context.now,
        limits=env.limits,
        lookup=env.store.keys,
        tokens=env.store.tokens,
        bodies=bodies,
        allowed=lambda _: narrow(grant.rules("search")),
        form=env.form,
    )
