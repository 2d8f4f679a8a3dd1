"""From clauses to a query: each type of parameter by its own module, chains and ``_has`` in two steps.

https://hl7.org/fhir/R4/search.html#chaining. Each hop is narrowed by what the caller may see, so that no value of a hidden row can be inferred.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.definitions.model import Component, SearchParam
from fhir_dmp.errors import Invalid, TooCostly
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.search.model import Chain, Clause, Criterion, Has, Setting
from fhir_dmp.search.types import composite, date, number, quantity, reference, string, token, uri
from fhir_dmp.search.types.values import unescape
from fhir_dmp.store.query import Between, Eq, In, Not, Query, Range, both, either, prefix


def compile_criteria(resource_type: str, criteria: Sequence[Criterion], setting: Setting) -> Query:
    """Return the query for rows of the type that meet all criteria; the caller's own rules are not in it."""
    return both(Eq("t", resource_type), *(_criterion(each, setting) for each in criteria))


def _criterion(criterion: Criterion, setting: Setting) -> Query:
    match criterion:
        case Clause():
            return _clause(criterion, setting)
        case Chain(resource_type, param, inner):
            name = f"{resource_type}.{param.code}="
            refs = [ref for each in inner for ref in _ids(each, setting)]
            return In("t", tuple(name + ref for ref in refs))
        case Has(resource_type, source, param, inner):
            start = f"{source}.{param.code}="
            found = _capped(_of(inner, setting), f"{start}{resource_type}/", setting)
            return In("_id", tuple(f"{resource_type}/{ref}" for ref in found))


def _ids(criterion: Criterion, setting: Setting) -> Sequence[str]:
    """Return the ids of the visible rows that meet one criterion of a chain."""
    return _capped(_of(criterion, setting), None, setting)


def _of(criterion: Criterion, setting: Setting) -> Query:
    resource_type = criterion.type
    return both(Eq("t", resource_type), _criterion(criterion, setting), setting.allowed(resource_type))


def _capped(query: Query, start: str | None, setting: Setting) -> Sequence[str]:
    most = setting.limits.chain
    found = setting.lookup(query, start, most + 1)
    if len(found) > most:
        raise TooCostly(f"A chain may pass through {most} resources; this one meets more. Narrow its inner part.")
    return found


def _clause(clause: Clause, setting: Setting) -> Query:
    param, name = clause.param, f"{clause.type}.{clause.param.code}"
    if clause.modifier == "missing":
        return _missing(name, clause)
    if param.code == "_id":
        return In("_id", tuple(str(Ref(clause.type, unescape(value))) for value in clause.values))
    if param.code == "_lastUpdated":
        return either([_last_updated(value, setting) for value in clause.values])
    return _typed(name, param, clause.values, clause.modifier, setting)


def _typed(  # noqa: PLR0911 - one line for each type
    name: str, param: SearchParam, values: tuple[str, ...], modifier: str | None, setting: Setting
) -> Query:
    match param.type:
        case "token":
            return token.compile_values(f"{name}=", values, modifier)
        case "string":
            return string.compile_values(name, values, modifier)
        case "reference":
            return reference.compile_values(name, values, modifier, param.targets, setting.base_url)
        case "date":
            return date.compile_values(name, values, modifier, setting.now)
        case "quantity":
            return quantity.compile_values(name, values, modifier)
        case "number":
            return number.compile_values(name, values, modifier)
        case "uri":
            return uri.compile_values(name, values, modifier)
        case "composite":
            return _composite(name, param, values, modifier, setting)
        case _:
            raise Invalid(f"The parameter {name} is not supported.", expression=name)


def _composite(name: str, param: SearchParam, values: tuple[str, ...], modifier: str | None, setting: Setting) -> Query:
    if modifier is not None:
        raise Invalid(f"The modifier :{modifier} is not supported for {name}.", expression=name)
    resource_type = name.partition(".")[0]

    def on_resource(part: Component, value: str) -> Query:
        own = _same_paths(resource_type, part, setting)
        return _typed(f"{resource_type}.{own.code}", own, (value,), None, setting)

    def on_range(part: Component, value: str, key: str) -> Query:
        own = SearchParam(part.code, part.type, "", part.paths)
        return _typed(key, own, (value,), None, setting)

    return composite.compile_values(name, param, values, on_resource, on_range)


def _same_paths(resource_type: str, part: Component, setting: Setting) -> SearchParam:
    """Return the parameter that reads just what the part reads on the resource itself: ``code`` for ``combo-code``."""
    params = setting.definitions.search_params[resource_type].values()
    wanted = set(part.paths)
    found = [param for param in params if param.type == part.type and wanted <= set(param.paths)]
    if not found:
        raise Invalid(f"The part {part.code} of this composite is not indexed.", expression=part.code)
    return min(found, key=lambda param: len(param.paths))


def _missing(name: str, clause: Clause) -> Query:
    """Return rows without any value (``true``) or with one (``false``)."""
    if clause.values not in (("true",), ("false",)):
        raise Invalid(f"{name}:missing is true or false.", expression=name)
    if clause.param.type in ("date", "number", "quantity"):
        present: Query = either([Range(name), Range(name + date.LONG)])
    elif clause.param.type == "reference":
        present = either([prefix("t", f"{name}="), prefix("t", f"{name}{reference.IDENTIFIER}=")])
    else:
        present = prefix("t", f"{name}=")
    return Not(present) if clause.values == ("true",) else present


def _last_updated(value: str, setting: Setting) -> Query:
    """Return the query on ``lu``, whose first 13 digits are microseconds in hexadecimal."""
    sign, low, high = date.asked(value, "_lastUpdated", setting.now)
    start, end = f"{low:013x}", f"{high:013x}"
    bounds: dict[str, Query] = {
        "ne": Not(Between("lu", start, end)),
        "gt": Between("lu", end, None),
        "sa": Between("lu", end, None),
        "lt": Between("lu", None, start),
        "eb": Between("lu", None, start),
        "ge": Between("lu", start, None),
        "le": Between("lu", None, end),
    }
    return bounds.get(sign, Between("lu", start, end))
