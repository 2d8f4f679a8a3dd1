"""A partial checker of IHE BALP profiles: cardinality, fixed and pattern values, slices, required bindings that list their codes.

It does not expand value sets, resolve references or run FHIRPath; of the invariants it knows the one that BALP adds. The facts come from
the profiles themselves (``from_definitions``) or, for runs that have none, from ``tests.balp_facts``.
"""

from __future__ import annotations

import json

PROFILES = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/"


def from_definitions(folder):
    """Return the facts of each profile in the folder, by the last part of its URL."""
    sets = {}
    for path in folder.glob("ValueSet-*.json"):
        tree = json.loads(path.read_text())
        includes = tree["compose"]["include"]
        sets[tree["url"]] = [[each["system"], [code["code"] for code in each.get("concept", ())]] for each in includes]
    facts = {}
    for path in folder.glob("StructureDefinition-IHE.*.json"):
        tree = json.loads(path.read_text())
        base = tree["baseDefinition"].removeprefix(PROFILES)
        elements = {
            each["id"].removeprefix("AuditEvent").removeprefix("."): fact
            for each in tree["differential"]["element"]
            if (fact := _fact(each, sets))
        }
        facts[tree["url"].removeprefix(PROFILES)] = {"base": base if base in _names(folder) else None, **elements}
    return facts


def _names(folder):
    return {path.stem.removeprefix("StructureDefinition-") for path in folder.glob("StructureDefinition-*.json")}


def _fact(element, sets):
    fact = {}
    if element.get("min"):
        fact["min"] = element["min"]
    if "max" in element and element["max"] != "*":
        fact["max"] = int(element["max"])
    for name, value in element.items():
        if name.startswith("pattern"):
            fact["is"] = value
    binding = element.get("binding", {})
    if binding.get("strength") == "required" and binding["valueSet"] in sets:
        fact["in"] = sets[binding["valueSet"]]
    if "slicing" in element:
        fact["by"] = element["slicing"]["discriminator"][0]["path"]
        fact["closed"] = element["slicing"]["rules"] == "closed"
    if any(each.get("key") == "val-audit-source" for each in element.get("constraint", ())):
        fact["observer"] = True
    return fact


def problems(resource, facts, profile):
    """Return what of the profile the resource does not meet, as lines."""
    elements = {}
    name = profile
    while name:
        own = facts[name]
        for key, fact in own.items():
            if key != "base":
                elements[key] = {**fact, **elements.get(key, {})}
        name = own["base"]
    found = []
    for key, fact in elements.items():
        for items, label in _holders(resource, key, elements):
            found += [f"{label}: {problem}" for problem in _breaks(items, fact)]
            if fact.get("observer"):
                found += [
                    f"{label}: is not the observer"
                    for item in items
                    if item.get("who") != resource["source"]["observer"]
                ]
    for key, fact in elements.items():
        if fact.get("closed"):
            slices = _slices(key, elements)
            for item in resource.get(key, ()):
                if not any(_member(item, key, each, fact["by"], elements) for each in slices):
                    found.append(f"{key}: {item.get('type')} belongs to no slice")
    return found


def claimed(resource, facts):
    """Return what of the profiles that it claims the resource does not meet."""
    names = [url.removeprefix(PROFILES) for url in resource.get("meta", {}).get("profile", ())]
    return [f"{name} {each}" for name in names for each in problems(resource, facts, name)]


def _slices(path, elements):
    return {key.partition(":")[2] for key in elements if key.startswith(f"{path}:") and "." not in key}


def _member(item, path, name, by, elements):
    """Tell whether an item is of a slice, by the value of its discriminator."""
    where = f"{path}:{name}" if by == "$this" else f"{path}:{name}.{by}"
    fact = elements.get(where, {})
    value = item if by == "$this" else item.get(by)
    return value is not None and not list(_breaks([value], {key: fact[key] for key in ("is", "in") if key in fact}))


def _holders(resource, key, elements):
    """Yield the items that an element has in each place where it may stand."""
    head, _, rest = key.partition(".")
    path, _, name = head.partition(":")
    items = _list(resource.get(path))
    if name:
        by = elements[path]["by"] if path in elements and "by" in elements[path] else "type"
        items = [item for item in items if _member(item, path, name, by, elements)]
    if not rest:
        yield items, head
        return
    for place, item in enumerate(items):
        parents = [item]
        *before, last = rest.split(".")
        for step in before:
            parents = [child for parent in parents for child in _list(parent.get(step))]
        for parent in parents:
            yield _list(parent.get(last)), f"{head}[{place}].{rest}"


def _list(value):
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _breaks(items, fact):
    if len(items) < fact.get("min", 0):
        yield f"{len(items)} of at least {fact['min']}"
    if "max" in fact and len(items) > fact["max"]:
        yield f"{len(items)} of at most {fact['max']}"
    for item in items:
        if "is" in fact and not _has(item, fact["is"]):
            yield f"{item} is not {fact['is']}"
        if "in" in fact and not _coded(item, fact["in"]):
            yield f"{item} is none of {fact['in']}"


def _has(value, pattern):
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(key in value and _has(value[key], part) for key, part in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(_has(each, part) for each in value) for part in pattern)
    return value == pattern


def _coded(value, sets):
    codings = value.get("coding", [value])
    return any(
        coding.get("system") == system and (not codes or coding.get("code") in codes)
        for coding in codings
        for system, codes in sets
    )
