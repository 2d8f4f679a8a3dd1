"""Codes above, below and within: hierarchies and value sets for ``:above :below :in :not-in``. https://hl7.org/fhir/R4/search.html#modifiers.

What stands in the definitions is known; beside that, ValueSets and CodeSystems that are stored here and that the caller may read. What
cannot be expanded whole is refused: an answer from half a value set would be wrong in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fhir_dmp.definitions.terminology import load_terminology
from fhir_dmp.errors import NotSupported, TooCostly
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import local
from fhir_dmp.search.model import Setting
from fhir_dmp.search.types.values import bounded
from fhir_dmp.store.query import Eq, Query, both

MOST = 5000
"""Codes that a value set or a hierarchy may have to be asked for."""

_DEEPEST = 10
Parents = Mapping[str, Sequence[str]]
Codes = Mapping[str, frozenset[str] | None]
"""The codes by their system; None stands for all of it."""


def below(system: str, code: str, setting: Setting) -> frozenset[str]:
    """Return the code and all that it subsumes."""
    parents = _hierarchy(system, setting)
    children: dict[str, list[str]] = {}
    for each, above_it in parents.items():
        for parent in above_it:
            children.setdefault(parent, []).append(each)
    return _few(_reached(code, children), f"{system}|{code}")


def above(system: str, code: str, setting: Setting) -> frozenset[str]:
    """Return the code and all that subsume it."""
    return _few(_reached(code, _hierarchy(system, setting)), f"{system}|{code}")


def _reached(code: str, steps: Mapping[str, Sequence[str]]) -> frozenset[str]:
    found, fresh = {code}, [code]
    while fresh:
        fresh = [each for step in fresh for each in steps.get(step, ()) if each not in found]
        found.update(fresh)
    return frozenset(found)


def _few(codes: frozenset[str], what: str) -> frozenset[str]:
    if len(codes) > MOST:
        raise TooCostly(f"{what[:200]} stands for {len(codes)} codes; {MOST} is the most that can be asked for.")
    return codes


def _hierarchy(system: str, setting: Setting) -> Parents:
    known = load_terminology().systems.get(system)
    if known is not None:
        return known
    stored = _stored("CodeSystem", system, setting)
    if stored is None or stored.get("content") != "complete":
        raise NotSupported(f"The code system {system[:200]} is not known here as a whole.", expression=system[:200])
    return dict(_concepts(stored.get("concept") or (), None))


def _concepts(concepts: Iterable[Mapping[str, Any]], parent: str | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    for concept in concepts:
        yield concept["code"], (parent,) if parent else ()
        yield from _concepts(concept.get("concept") or (), concept["code"])


def expand(canonical: str, setting: Setting, depth: int = 0) -> Codes:
    """Return the codes of a value set, named by its URL or as ``ValueSet/id``; raise ``NotSupported`` if it is not known whole."""
    if depth > _DEEPEST:
        raise TooCostly(f"{canonical[:200]} lies more than {_DEEPEST} value sets deep.")
    known = load_terminology().sets.get(canonical.removesuffix("|4.0.1"))
    if known is None:
        stored = _stored("ValueSet", canonical, setting)
        if stored is None:
            raise NotSupported(f"The value set {canonical[:200]} is not known here.", expression=canonical[:200])
        known = stored.get("compose") or {"include": _expansion((stored.get("expansion") or {}).get("contains") or ())}
    found: dict[str, frozenset[str] | None] = {}
    for part in known.get("include") or ():
        _add(found, _part(part, setting, depth))
    for part in known.get("exclude") or ():
        _take(found, _part(part, setting, depth), canonical)
    size = sum(len(codes) for codes in found.values() if codes is not None)
    if size > MOST:
        raise TooCostly(f"{canonical[:200]} has {size} codes; {MOST} is the most that can be asked for.")
    return found


def _expansion(contains: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = [
        {"system": each["system"], "concept": [{"code": each["code"]}]}
        for each in contains
        if not each.get("abstract") and "system" in each and "code" in each
    ]
    return found + [part for each in contains for part in _expansion(each.get("contains") or ())]


def _part(part: Mapping[str, Any], setting: Setting, depth: int) -> Codes:
    """Return what one include means: codes of its system, within each of its value sets."""
    found: Codes | None = None
    if "system" in part:
        found = {part["system"]: _of_system(part, setting)}
    for canonical in part.get("valueSet") or ():
        inner = expand(canonical, setting, depth + 1)
        found = inner if found is None else _common(found, inner)
    return found or {}


def _of_system(part: Mapping[str, Any], setting: Setting) -> frozenset[str] | None:
    system = part["system"]
    if part.get("concept"):
        return frozenset(concept["code"] for concept in part["concept"])
    if not part.get("filter"):
        known = load_terminology().systems.get(system)
        return frozenset(known) if known is not None and len(known) <= MOST else None
    found: frozenset[str] | None = None
    for condition in part["filter"]:
        kept = _kept(system, condition, setting)
        found = kept if found is None else found & kept
    return found


def _kept(system: str, condition: Mapping[str, Any], setting: Setting) -> frozenset[str]:
    prop, operation, value = (str(condition.get(each, "")) for each in ("property", "op", "value"))
    if prop in ("concept", "code"):
        if operation == "is-a":
            return below(system, value, setting)
        if operation == "descendent-of":
            return below(system, value, setting) - {value}
        if operation == "is-not-a":
            return frozenset(_hierarchy(system, setting)) - below(system, value, setting)
        if operation in ("=", "in"):
            return frozenset(each.strip() for each in value.split(","))
    raise NotSupported(f"The filter {prop[:40]} {operation[:20]} of a value set is not worked out here.")


def _add(found: dict[str, frozenset[str] | None], more: Codes) -> None:
    for system, codes in more.items():
        have = found.get(system, frozenset())
        found[system] = None if codes is None or have is None else have | codes


def _take(found: dict[str, frozenset[str] | None], out: Codes, canonical: str) -> None:
    for system, codes in out.items():
        have = found.get(system, frozenset())
        if have is None and codes is not None:
            raise NotSupported(
                f"{canonical[:200]} is all of {system[:200]} but some codes: that is not worked out here."
            )
        found[system] = frozenset() if have is None or codes is None else have - codes


def _common(one: Codes, other: Codes) -> Codes:
    found: dict[str, frozenset[str] | None] = {}
    for system in one.keys() & other.keys():
        mine, theirs = one[system], other[system]
        found[system] = theirs if mine is None else mine if theirs is None else mine & theirs
    return found


def _stored(resource_type: str, canonical: str, setting: Setting) -> Mapping[str, Any] | None:
    """Return a resource of this server by its canonical URL and version, or by its id, as far as the caller may see it."""
    ref = local(canonical, setting.base_url)
    if ref is not None and ref.type == resource_type:
        found: list[Query] = [Eq("_id", str(ref))]
    else:
        url, bar, version = canonical.partition("|")
        found = [Eq("t", f"{resource_type}.url={bounded(url)}")]
        found += [Eq("t", f"{resource_type}.version={bounded(version.lower())}")] if bar else []
    bodies = setting.bodies(both(*found, setting.allowed(resource_type)), 1)
    return codec.loads_object(bodies[0]) if bodies else None
