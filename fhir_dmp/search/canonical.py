"""Canonical references in chains and ``_has``: by a URL, and by a version if one is named. https://hl7.org/fhir/R4/references.html#canonical.

Kept under a reference parameter is the URL, and ``URL|version`` beside it where a version is named. A row that has the URL alone refers
to every version; of one that repeats a URL with and without a version, the version is meant. Case counts for nothing in versions, as in all
tokens of text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fhir_dmp.definitions.model import SearchParam
from fhir_dmp.errors import TooCostly
from fhir_dmp.search.model import Setting
from fhir_dmp.search.types.values import bounded
from fhir_dmp.store.query import NOTHING, Eq, In, Not, Query, both, either, prefix

MOST = 200
"""URLs that a hop may pass through, and versions of one: each is asked for by itself."""


def follows(param: SearchParam, target: str, setting: Setting) -> bool:
    """Tell whether values of the parameter may be canonical references to what the type is."""
    return "url" in setting.definitions.search_params[target] and any(path.type == "canonical" for path in param.paths)


def referring(names: Sequence[str], target: str, query: Query, setting: Setting) -> Query:
    """Return the query for rows that have, under one of the names, a canonical reference to a row of the type that the query finds."""
    found: list[Query] = []
    for url in _few(query, f"{target}.url=", setting):
        versions = _few(both(query, Eq("t", f"{target}.url={url}")), f"{target}.version=", setting)
        for name in names:
            of_any = f"{name}={url}"
            found.append(both(Eq("t", of_any), Not(prefix("t", f"{of_any}|"))))
            found.append(
                In(
                    "t",
                    tuple(f"{name}={bounded(f'{url}|{text}')}" for text in _as_written(name, url, versions, setting)),
                )
            )
    return either(found)


def _as_written(name: str, url: str, versions: Sequence[str], setting: Setting) -> Iterator[str]:
    """Yield the versions as references may name them: those with letters as the references do that are there."""
    yield from (version for version in versions if version.upper() == version)
    lettered = frozenset(version for version in versions if version.upper() != version)
    if lettered:
        start = f"{name}={url}|"
        there = both(prefix("t", start), setting.allowed(name.partition(".")[0]))
        yield from (text for text in _few(there, start, setting) if text.lower() in lettered)


def referred(target: str, names: Sequence[str], query: Query, setting: Setting) -> Query:
    """Return the query for rows of the type that what the query finds has, under one of the names, a canonical reference to."""
    found: list[Query] = []
    for name in names:
        for url, versions in _named(_few(query, f"{name}=", setting)).items():
            by_url = Eq("t", f"{target}.url={url}")
            if versions and not _names_any(query, f"{name}={url}", setting):
                found.append(
                    both(by_url, In("t", tuple(f"{target}.version={version}" for version in sorted(versions))))
                )
            else:
                found.append(by_url)
    return either(found)


def _named(values: Sequence[str]) -> Mapping[str, set[str]]:
    """Return the URLs among the values of a parameter, each with the versions that are named with it."""
    named: dict[str, set[str]] = {}
    for value in values:
        url, bar, version = value.partition("|")
        if ":" in url:
            named.setdefault(url, set()).update({version.lower()} if bar else ())
    return named


def _names_any(query: Query, of_any: str, setting: Setting) -> bool:
    """Tell whether a row that the query finds names the URL without a version."""
    plainly = both(query, Eq("t", of_any), Not(prefix("t", f"{of_any}|")))
    return bool(setting.lookup(plainly, None, 1))


def _few(query: Query, start: str, setting: Setting) -> Sequence[str]:
    found = () if query == NOTHING else setting.lookup(query, start, MOST + 1)
    if len(found) > MOST:
        raise TooCostly(f"A chain may pass through {MOST} canonical URLs; this one meets more. Narrow its inner part.")
    return found
