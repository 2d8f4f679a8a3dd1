"""Canonical references in chains and ``_has``: by a URL, and by a version if one is named. https://hl7.org/fhir/R4/references.html#canonical.

Kept under a reference parameter is the URL, and ``URL|version`` beside it where a version is named. A row that has the URL alone refers
to every version; of one that repeats a URL with and without a version, the version is meant. Case counts for nothing in versions, as in all
tokens of text. However many URLs a hop meets, they and their versions are read by one question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fhir_dmp.definitions.model import SearchParam
from fhir_dmp.errors import TooCostly
from fhir_dmp.search.model import Setting
from fhir_dmp.search.types.values import bounded
from fhir_dmp.store.query import NOTHING, Eq, In, Not, Query, both, either, prefix

MOST = 200
"""URLs that a hop may pass through, in whatever versions."""

_ANY = ""
"""Stands among the versions of a URL for all of them."""

_Versions = Mapping[str, set[str]]
"""URLs, each with its versions, in lower case."""


def follows(param: SearchParam, target: str, setting: Setting) -> bool:
    """Tell whether values of the parameter may be canonical references to what the type is."""
    return "url" in setting.params(target) and any(path.type == "canonical" for path in param.paths)


def referring(names: Sequence[str], target: str, query: Query, setting: Setting) -> Query:
    """Return the query for rows that have, under one of the names, a canonical reference to a row of the type that the query finds."""
    versions = _defined(target, query, setting)
    found: list[Query] = []
    for name in names:
        for url in versions:
            of_any = f"{name}={url}"
            found.append(both(Eq("t", of_any), Not(prefix("t", f"{of_any}|"))))
    named = tuple(dict.fromkeys(_as_written(names, versions, setting)))
    return either([*found, In("t", named)] if named else found)


def _defined(target: str, query: Query, setting: Setting) -> _Versions:
    """Return the URLs of the rows that the query finds, with the versions that they have."""
    of_url, of_version = f"{target}.url=", f"{target}.version="
    versions: dict[str, set[str]] = {}
    for held in _side_by_side(query, (of_url, of_version), setting):
        own = {token.removeprefix(of_version) for token in held if token.startswith(of_version)}
        for url in (token.removeprefix(of_url) for token in held if token.startswith(of_url)):
            versions.setdefault(url, set()).update(own)
    return _few(versions)


def _as_written(names: Sequence[str], versions: _Versions, setting: Setting) -> Iterator[str]:
    """Yield the tokens of references to the versions: to those with letters as they are written in the references that are there."""
    lettered: list[str] = []
    for url, own in versions.items():
        plain = {version for version in own if version.upper() == version}
        yield from (f"{name}={bounded(f'{url}|{version}')}" for name in names for version in plain)
        if plain != own:
            lettered.extend(f"{name}={url}|" for name in names)
    if lettered:
        starts = tuple(lettered)
        there = both(either([prefix("t", start) for start in starts]), setting.allowed(names[0].partition(".")[0]))
        for token in (token for held in _side_by_side(there, starts, setting) for token in held):
            url, _, version = token.partition("=")[2].partition("|")
            if version.lower() in versions.get(url, ()):
                yield token


def referred(target: str, names: Sequence[str], query: Query, setting: Setting) -> Query:
    """Return the query for rows of the type that what the query finds has, under one of the names, a canonical reference to."""
    whole: list[str] = []
    found: list[Query] = []
    for url, versions in _named(names, query, setting).items():
        by_url = f"{target}.url={url}"
        if _ANY in versions:
            whole.append(by_url)
        else:
            of_versions = In("t", tuple(f"{target}.version={version}" for version in sorted(versions)))
            found.append(both(Eq("t", by_url), of_versions))
    return either([In("t", tuple(whole)), *found] if whole else found)


def _named(names: Sequence[str], query: Query, setting: Setting) -> _Versions:
    """Return the URLs that the rows which the query finds refer to, with the versions that they name."""
    versions: dict[str, set[str]] = {}
    for held in _side_by_side(query, tuple(f"{name}=" for name in names), setting):
        here: dict[tuple[str, str], set[str]] = {}
        for token in held:
            name, _, reference = token.partition("=")
            url, bar, version = reference.partition("|")
            if ":" in url:
                here.setdefault((name, url), set()).update({version.lower()} if bar else ())
        for (_, url), own in here.items():
            versions.setdefault(url, set()).update(own or {_ANY})
    return _few(versions)


def _side_by_side(query: Query, starts: tuple[str, ...], setting: Setting) -> Sequence[Sequence[str]]:
    """Return the different sets of tokens with these beginnings that rows have which the query finds."""
    most = setting.limits.chain
    found = () if query == NOTHING else setting.tokens(query, starts, most + 1)
    if len(found) > most:
        raise _too_costly(f"{most} resources")
    return found


def _few(versions: _Versions) -> _Versions:
    if len(versions) > MOST:
        raise _too_costly(f"{MOST} canonical URLs")
    return versions


def _too_costly(most: str) -> TooCostly:
    return TooCostly(f"A chain may pass through {most}; this one meets more. Narrow its inner part.")
