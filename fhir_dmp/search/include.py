"""``_include`` and ``_revinclude``: what the matches point at, and what points at them. https://hl7.org/fhir/R4/search.html#revinclude.

A resource that the caller may not read is not there: each one is judged as if it were read by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from fhir_dmp.errors import TooCostly
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.search.model import Include, Request
from fhir_dmp.settings import Limits
from fhir_dmp.store.change import Stored
from fhir_dmp.store.port import Page, Store
from fhir_dmp.store.query import In, Query, both


def included(
    request: Request,
    matches: Sequence[Stored],
    readable: Callable[[Stored], bool],
    allowed: Query,
    store: Store,
    limits: Limits,
) -> tuple[Stored, ...]:
    """Return the included rows, each once and none of the matches; ``:iterate`` goes on from what was included."""
    known = {row.ref for row in matches}
    found: list[Stored] = []
    fresh: list[Stored] = list(matches)
    first = True
    while fresh:
        includes = [each for each in request.includes if first or each.iterate]
        revincludes = [each for each in request.revincludes if first or each.iterate]
        refs = [ref for ref in dict.fromkeys(_targets(includes, fresh)) if ref not in known]
        rows = [row for row in store.find_many(refs).values() if not row.deleted and readable(row)] if refs else []
        for each in revincludes:
            rows.extend(row for row in _pointing(each, fresh, allowed, store, limits) if readable(row))
        fresh = [row for row in {row.ref: row for row in rows}.values() if row.ref not in known]
        known.update(row.ref for row in fresh)
        found.extend(fresh)
        if len(found) > limits.included:
            raise TooCostly(f"A page may include {limits.included} resources; this one needs more. Ask for fewer rows.")
        first = False
    return tuple(found)


def _targets(includes: Iterable[Include], rows: Sequence[Stored]) -> Iterator[Ref]:
    for include in includes:
        starts = tuple(f"{name}=" for name in include.names)
        for row in rows:
            if row.ref.type != include.source:
                continue
            for token in row.index.get("t", ()):
                if token.startswith(starts):
                    resource_type, slash, resource_id = token.partition("=")[2].partition("/")
                    if slash and "/" not in resource_id and include.target in (None, resource_type):
                        yield Ref(resource_type, resource_id)


def _pointing(
    include: Include, rows: Sequence[Stored], allowed: Query, store: Store, limits: Limits
) -> Sequence[Stored]:
    tokens = tuple(
        f"{name}={row.ref}" for name in include.names for row in rows if include.target in (None, row.ref.type)
    )
    page = Page(limits.included + 1, with_index=True)
    return store.search(both(In("t", tokens), allowed), page).rows
