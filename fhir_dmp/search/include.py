"""``_include`` and ``_revinclude``: what the matches point at, and what points at them. https://hl7.org/fhir/R4/search.html#revinclude.

A resource that the caller may not read is not there: each one is judged as if it were read by itself. A canonical reference points at what has
that URL, and that version if it names one. https://hl7.org/fhir/R4/references.html#canonical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
        there.extend(_by_canonical(includes, fresh, allowed, store, limits))
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


def _require_few_tokens(number: int) -> None:
    if number > _MOST_TOKENS:
        raise TooCostly("This include asks too much of one page: name types, or ask for fewer rows.")


def _targets(includes: Iterable[Include], rows: Sequence[Stored]) -> Iterator[Ref]:
    for include in includes:
        starts = tuple(f"{name}=" for name in include.names)
        for row in rows:
            if include.source not in (None, row.ref.type):
                continue
            for token in _tokens(row):
                if token.startswith(starts):
                    resource_type, slash, resource_id = token.partition("=")[2].partition("/")
                    if slash and "/" not in resource_id and include.target in (None, resource_type):
                        yield Ref(resource_type, resource_id)


def _by_canonical(
    includes: Iterable[Include], rows: Sequence[Stored], allowed: Query, store: Store, limits: Limits
) -> Sequence[Stored]:
    """Return what the canonical references of the rows point at."""
    wanted: dict[str, set[str]] = {}
    for include in includes:
        for url, versions in _canonicals(include, rows) if include.urls else ():
            for name in include.urls:
                wanted.setdefault(f"{name}={url}", set()).update(versions)
    if not wanted:
        return ()
    _require_few_tokens(len(wanted))
    found = store.search(both(In("t", tuple(wanted)), allowed), Page(limits.included + 1, with_index=True)).rows
    return [row for row in found if _has_version(row, {v for token in _tokens(row) for v in wanted.get(token, ())})]


def _canonicals(include: Include, rows: Sequence[Stored]) -> Iterator[tuple[str, set[str]]]:
    """Yield the canonical URLs that rows point at, each with the versions that are named; an empty one stands for any."""
    starts = tuple(f"{name}=" for name in include.canonicals)
    for row in rows:
        if include.source not in (None, row.ref.type):
            continue
        versions: dict[str, set[str]] = {}
        for token in _tokens(row):
            if token.startswith(starts):
                url, bar, version = token.partition("=")[2].partition("|")
                if ":" in url:
                    versions.setdefault(url, set()).update({version} if bar else ())
        yield from ((url, named or {""}) for url, named in versions.items())


def _has_version(row: Stored, versions: set[str]) -> bool:
    own = _version(row)
    return "" in versions or any(each.lower() == own for each in versions)


def _version(row: Stored) -> str:
    """Return the business version of a canonical resource, in lower case, as it is indexed."""
    start = f"{row.ref.type}.version="
    return next((token[len(start) :] for token in _tokens(row) if token.startswith(start)), "")


def _tokens(row: Stored) -> Sequence[str]:
    tokens: Sequence[str] = row.index.get("t", ())
    return tokens


def _pointing(
    include: Include, rows: Sequence[Stored], allowed: Query, store: Store, limits: Limits
) -> Sequence[Stored]:
    """Return what points at the rows: by reference, or by their URL as a canonical."""
    pointed_at = [row for row in rows if include.target in (None, row.ref.type)]
    urls = _urls(include, pointed_at)
    _require_few_tokens(len(pointed_at) * len(include.names) + len(urls) * len(include.canonicals))
    refs = tuple(f"{name}={row.ref}" for name in include.names for row in pointed_at)
    by_url = tuple(f"{name}={url}" for name in include.canonicals for url in urls)
    page = Page(limits.included + 1, with_index=True)
    found = store.search(both(In("t", refs + by_url), allowed), page).rows
    if not by_url:
        return found
    direct = frozenset(refs)
    return [row for row in found if not direct.isdisjoint(_tokens(row)) or _names_one(row, include, urls)]


def _urls(include: Include, rows: Iterable[Stored]) -> Mapping[str, set[str]]:
    """Return the canonical URLs of the rows, each with the versions that they have."""
    urls: dict[str, set[str]] = {}
    for row in rows:
        start = f"{row.ref.type}.url="
        if start[:-1] in include.urls:
            for token in _tokens(row):
                if token.startswith(start):
                    urls.setdefault(token[len(start) :], set()).add(_version(row))
    return urls


def _names_one(row: Stored, include: Include, urls: Mapping[str, set[str]]) -> bool:
    """Tell whether a canonical reference of the row is to one of the URLs, in a version that is there."""
    return any(
        "" in named or not urls[url].isdisjoint(each.lower() for each in named)
        for url, named in _canonicals(include, (row,))
        if url in urls
    )
