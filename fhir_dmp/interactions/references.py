"""What the references of a transaction's entries mean: resources of the store, or other entries. https://hl7.org/fhir/R4/http.html#trules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_dmp.errors import Invalid, MultipleMatches
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.interactions.conditional import Matched
from fhir_dmp.interactions.links import conditional_references
from fhir_dmp.interactions.sheet import RENEWING, Item, Sheet
from fhir_dmp.interactions.write import indexed, require_valid
from fhir_dmp.store.query import matches


def link(sheet: Sheet) -> None:
    """Find what each conditional reference means: exactly one resource, of the store or of this bundle."""
    for item in sheet.items:
        if item.ref is not None and item.asked.method != "DELETE":
            sheet.links.make(str(item.ref), _version(item, sheet))
    named = {item.place: list(conditional_references(item.asked.tree)) for item in sheet.items}
    types = sheet.env.definitions.search_params
    references = dict.fromkeys(reference for each in named.values() for reference in each)
    sheet.ask((kind, each) for each in references if (kind := each.partition("?")[0]) in types)
    kinds = {each.partition("?")[0] for each in references}
    known: set[str] = set()

    def check(item: Item) -> None:
        if item.ref and item.ref.type in kinds and item.asked.tree and not item.stands:
            require_valid(item.ref.type, item.asked.tree, sheet.env)

    def find(item: Item) -> None:
        for reference in named[item.place]:
            if reference not in known:
                sheet.links.add(reference, str(_referred(reference, item, sheet)))
                known.add(reference)

    sheet.each(("POST", "PUT"), check)
    sheet.each(("POST", "PUT"), find)


def _version(item: Item, sheet: Sheet) -> int:
    """Return the version that an entry makes of its resource, or leaves as it is."""
    if item.stands and item.existing is not None:
        return item.existing.version
    before = sheet.before.get(item.ref) if item.ref is not None else None
    return before.version + 1 if before is not None else 1


def _referred(reference: str, item: Item, sheet: Sheet) -> Ref:
    resource_type = reference.partition("?")[0]
    if resource_type not in sheet.env.definitions.search_params:
        raise Invalid(f"The reference {reference[:100]!r} names no resource type.")
    matched = sheet.matched(item, resource_type, reference)
    twin = sheet.by_criteria.get(matched.lock.key)
    if twin is not None and twin.ref is not None:
        return twin.ref
    written = {item.ref for item in sheet.items if item.ref and item.asked.method in RENEWING}
    rows = [row for row in matched.found if row.ref not in written]
    refs = list(dict.fromkeys([*(row.ref for row in rows), *_made_here(resource_type, matched, sheet)]))
    if len(refs) > 1:
        raise MultipleMatches(f"Several resources match the conditional reference {reference[:200]!r}.")
    if not refs:
        raise Invalid(f"Nothing matches the conditional reference {reference[:200]!r}.")
    sheet.relied_on.update((row.ref, row.version) for row in rows)
    return refs[0]


def _made_here(resource_type: str, matched: Matched, sheet: Sheet) -> list[Ref]:
    """Return what this bundle creates or updates that meets the criteria."""
    made = []
    for item in sheet.items:
        if item.ref is None or item.ref.type != resource_type or not item.asked.tree or item.stands:
            continue
        row = sheet.rows.get(item.place)
        if row is None:
            tree = {**sheet.links.rewrite(item.asked.tree, item.asked.full_url), "id": item.ref.id}
            index = indexed(item.ref, sheet.before.get(item.ref), tree, sheet.context, sheet.env)
            row = sheet.rows[item.place] = {**index, "_id": str(item.ref), "ty": resource_type}
        if matches(matched.lock.query, row):
            made.append(item.ref)
    return made


def resolved(item: Item, sheet: Sheet) -> dict[str, Any]:
    """Return the resource of an entry with all references between entries resolved, and none of them left."""
    tree = sheet.links.rewrite(item.asked.tree, item.asked.full_url)
    sheet.links.require_resolved(tree, item.call.resource_type)
    return tree


def linked(item: Item, sheet: Sheet) -> Any:
    """Return the patch of an entry with the references in its values resolved."""
    body = item.call.body
    tree = codec.loads(body) if isinstance(body, bytes) else body
    if isinstance(tree, list):
        tree = [_referring(operation, item, sheet) for operation in tree]
    made = sheet.links.rewrite({"patch": tree}, item.asked.full_url)["patch"]
    sheet.links.require_resolved(made, "patch")
    return made


def _referring(operation: Any, item: Item, sheet: Sheet) -> Any:
    """Return an operation of a JSON Patch with the text that it sets as a reference resolved."""
    is_one = isinstance(operation, Mapping) and str(operation.get("path")).endswith("/reference")
    if not is_one or not isinstance(operation.get("value"), str):
        return operation
    found = sheet.links.rewrite({"reference": operation["value"]}, item.asked.full_url)
    sheet.links.require_resolved(found, "patch")
    return {**operation, "value": found["reference"]}
