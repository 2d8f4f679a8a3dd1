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

_DEEPEST = 20
_MOST_TOKENS = 100_000


def included(
    request: Request,
    matches: Sequence[Stored],
    readable: Callable[[Sequence[Stored]], list[Stored]],
    allowed: Query,
    store: Store,
    limits: Limits,
) -> tuple[Stored, ...]:
    """Return the included rows, each once and none of the matches; ``:iterate`` goes on from what was included."""
    known = {row.ref for row in matches}
    found: list[Stored] = []
    fresh: list[Stored] = list(matches)
    steps = 0
    while fresh:
        includes = [each for each in request.includes if steps == 0 or each.iterate]
        revincludes = [each for each in request.revincludes if steps == 0 or each.iterate]
        refs = [ref for ref in dict.fromkeys(_targets(includes, fresh)) if ref not in known]
        _require_few(len(found) + len(refs), limits)
        there = [row for row in store.find_many(refs).values() if not row.deleted] if refs else []
        rows = readable(there) if there else []
        for each in revincludes:
            rows.extend(readable(_pointing(each, fresh, allowed, store, limits)))
        fresh = [row for row in {row.ref: row for row in rows}.values() if row.ref not in known]
        known.update(row.ref for row in fresh)
        found.extend(fresh)
        _require_few(len(found), limits)
        steps += 1
        if steps > _DEEPEST and fresh:
            raise TooCostly(f"Includes may follow each other {_DEEPEST} times; these go on.")
    return tuple(found)


def _require_few(number: int, limits: Limits) -> None:
    if number > limits.included:
        raise TooCostly(f"A page may include {limits.included} resources; this one needs more. Ask for fewer rows.")


def _targets(includes: Iterable[Include], rows: Sequence[Stored]) -> Iterator[Ref]:
    for include in includes:
        starts = tuple(f"{name}=" for name in include.names)
        for row in rows:
            if include.source not in (None, row.ref.type):
                continue
            for token in row.index.get("t", ()):
                if token.startswith(starts):
                    resource_type, slash, resource_id = token.partition("=")[2].partition("/")
                    if slash and "/" not in resource_id and include.target in (None, resource_type):
                        yield Ref(resource_type, resource_id)


def _pointing(
    include: Include, rows: Sequence[Stored], allowed: Query, store: Store, limits: Limits
) -> Sequence[Stored]:
    refs = [row.ref for row in rows if include.target in (None, row.ref.type)]
    if len(refs) * len(include.names) > _MOST_TOKENS:
        raise TooCostly("This _revinclude asks too much of one page: name types, or ask for fewer rows.")
    tokens = tuple(f"{name}={ref}" for name in include.names for ref in refs)
    page = Page(limits.included + 1, with_index=True)
    return store.search(both(In("t", tokens), allowed), page).rows
