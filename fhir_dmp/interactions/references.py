"""What the references of a transaction's entries mean: resources of the store, or other entries. https://hl7.org/fhir/R4/http.html#trules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from fhir_dmp.errors import Invalid
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.fhir.url import parted
from fhir_dmp.interactions.conditional import Criteria, Matched, match_each, several
from fhir_dmp.interactions.entities import disclosed
from fhir_dmp.interactions.entries import At
from fhir_dmp.interactions.links import criteria_of, unsettled_references
from fhir_dmp.interactions.meeting import Meeting
from fhir_dmp.interactions.patch import applied
from fhir_dmp.interactions.patch_links import as_tree, patch_of, setting
from fhir_dmp.interactions.sheet import RENEWING, Item, Sheet
from fhir_dmp.interactions.write import indexed, require_valid
from fhir_dmp.store.matching import matches
from fhir_dmp.store.query import In, Not, both

_MAKING = ("POST", "PUT", "PATCH")
"""Methods of entries that say what a resource shall be."""


def link(sheet: Sheet) -> None:
    """Find what each conditional reference means: exactly one resource, of the store or of this bundle."""
    for item in sheet.items:
        if item.ref is not None and item.asked.method != "DELETE":
            sheet.links.make(str(item.ref), _version(item, sheet))
    named = _named(sheet)
    types = sheet.env.definitions.search_params
    asked = dict.fromkeys(criteria for each in named.values() for criteria in each.values())
    sheet.criteria.extend(asked)
    sheet.require_few_criteria()
    sheet.referred.ask((kind, each) for each in asked if (kind := parted(each)[0]) in types)
    kinds = {parted(each)[0] for each in asked}
    known: set[str] = set()

    def check(item: Item) -> None:
        if item.ref and item.ref.type in kinds and not item.stands:
            require_valid(item.ref.type, _making(item, sheet), sheet.env)

    def find(item: Item) -> None:
        for reference, criteria in named.get(item.place, {}).items():
            if reference not in known:
                sheet.links.add(reference, str(_referred(criteria, item, sheet)))
                known.add(reference)

    if named:
        sheet.each(_MAKING, check)
        sheet.each(_MAKING, find)


def _named(sheet: Sheet) -> dict[int, dict[str, str]]:
    """Return the conditional references of each entry that has any with their criteria, by its place; the sheet learns those to versions."""
    named: dict[int, dict[str, str]] = {}
    base_url = sheet.context.base_url
    for item in sheet.items:
        for reference in _unsettled(item, base_url):
            criteria = criteria_of(reference, base_url)
            if criteria is None:
                sheet.versions.setdefault(item.place, []).append(reference)
            else:
                named.setdefault(item.place, {})[reference] = criteria
    return named


def _unsettled(item: Item, base_url: str) -> list[str]:
    if item.asked.method != "PATCH":
        return unsettled_references(item.asked.tree, base_url)
    with At(item.place):
        return unsettled_references(as_tree(patch_of(item.call)), base_url)


def _version(item: Item, sheet: Sheet) -> int:
    """Return the version that an entry makes of its resource, or leaves as it is."""
    if item.stands and item.existing is not None:
        return item.existing.version
    before = sheet.before.get(item.ref) if item.ref is not None else None
    return before.version + 1 if before is not None else 1


def _referred(criteria: str, item: Item, sheet: Sheet) -> Ref:
    resource_type = parted(criteria)[0]
    if resource_type not in sheet.env.definitions.search_params:
        raise Invalid(f"The reference {criteria[:100]!r} names no resource type.")
    with At(item.place, of_query=True):
        matched = sheet.referred.match(resource_type, criteria)
    twin = sheet.by_criteria.get(matched.lock.key)
    if twin is not None and twin.ref is not None:
        return twin.ref
    written = {item.ref for item in sheet.items if item.ref and item.asked.method in RENEWING}
    rows = [row for row in matched.found if row.ref not in written]
    if len(rows) < len(matched.found):  # two stand for many, of which some stay as they are
        others = both(matched.lock.query, Not(In("_id", tuple(map(str, written)))))
        rows = list(match_each((Criteria(matched.lock.key, others),), sheet.env)[0].found)
    made, closer = _made_here(resource_type, matched, sheet), matched.criteria.closer
    if made and closer:  # what the bundle writes is its sender's own, and comes before what others wrote of the same
        rows = [row for row in rows if matches(closer[0], row.index)]
    refs = list(dict.fromkeys([*(row.ref for row in rows), *made]))
    if len(refs) > 1:
        text = f"Several resources match the conditional reference {criteria[:200]!r}."
        raise several(text, matched.lock.query, sheet.env, met=refs)
    if not refs:
        raise Invalid(f"Nothing matches the conditional reference {criteria[:200]!r}.")
    sheet.relied_on.update((row.ref, row.version) for row in rows)
    sheet.met.update((row.ref, disclosed(row)) for row in rows)
    return refs[0]


def _made_here(resource_type: str, matched: Matched, sheet: Sheet) -> list[Ref]:
    """Return what this bundle creates or changes that meets the criteria."""
    made = []
    for item in sheet.items:
        if item.ref is None or item.ref.type != resource_type or item.asked.method not in _MAKING or item.stands:
            continue
        row = sheet.rows.get(item.place)
        if row is None:
            with At(item.place), Meeting(item.ref):
                tree = _making(item, sheet)
            tree = {**sheet.links.rewrite(tree, item.asked.full_url), "id": item.ref.id}
            index = indexed(item.ref, sheet.before.get(item.ref), tree, sheet.context, sheet.env)
            row = sheet.rows[item.place] = {**index, "_id": str(item.ref), "ty": resource_type}
        if matches(matched.criteria.query, row):
            made.append(item.ref)
    return made


def _making(item: Item, sheet: Sheet) -> dict[str, Any]:
    """Return the resource that an entry makes, as far as it is known: the one that it brings, or what its patch makes of what is there."""
    if item.asked.method != "PATCH" or item.ref is None:
        return item.asked.tree
    call = replace(item.call, id=item.ref.id, body=linked(item, sheet))
    return applied(call, sheet.before.get(item.ref), sheet.context, sheet.grant, sheet.env)[2]


def resolved(item: Item, sheet: Sheet) -> Mapping[str, Any]:
    """Return the resource of an entry with all references between entries resolved, and none of them left."""
    tree = sheet.links.rewrite(item.asked.tree, item.asked.full_url)
    sheet.links.require_resolved(tree, item.call.resource_type)
    return tree


def linked(item: Item, sheet: Sheet) -> Any:
    """Return the patch of an entry with the links in its values resolved."""
    links, full_url = sheet.links, item.asked.full_url

    def settled(name: str, text: str) -> str:
        found = links.rewrite({name: text}, full_url)
        links.require_resolved(found, "patch")
        return str(found[name])

    made = links.rewrite({"patch": setting(patch_of(item.call), settled)}, full_url)["patch"]
    links.require_resolved(made, "patch")
    return made
