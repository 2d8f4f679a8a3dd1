"""From clauses to a query: each type of parameter by its own module, chains and ``_has`` in two steps.

https://hl7.org/fhir/R4/search.html#chaining. Each hop is narrowed by what the caller may see, so that no value of a hidden row can be inferred.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_dmp.definitions.model import Component, Path, SearchParam
from fhir_dmp.errors import Invalid, NotSupported, TooCostly
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.search import names
from fhir_dmp.search.model import Chain, Clause, Criterion, Has, Params, Setting
from fhir_dmp.search.types import composite, date, number, quantity, reference, string, token, uri
from fhir_dmp.search.types.values import split, unescape, unsupported
from fhir_dmp.store.query import EVERYTHING, NOTHING, And, Between, Eq, In, Not, Query, Range, both, either, prefix

_LATEST = 16**13 - 1
"""The last moment that thirteen hexadecimal digits hold, in the year 2112."""


def compile_criteria(resource_type: str, criteria: Sequence[Criterion], setting: Setting) -> Query:
    """Return the query for rows of the type that meet all criteria; the caller's own rules are not in it."""
    parts = [_criterion(each, setting) for each in criteria]
    if any(_names_type(part, resource_type) for part in parts):
        return both(*parts)
    return both(Eq("t", resource_type), *parts)


def _names_type(query: Query, resource_type: str) -> bool:
    """Tell whether the query finds rows of the type alone, by values that an index gives in the order of creation."""
    match query:
        case Eq("t", value):
            return str(value).startswith(f"{resource_type}.")
        case In("t", values):
            return bool(values) and all(str(value).startswith(f"{resource_type}.") for value in values)
        case In("_id", _):
            return True
        case And(parts):
            return any(_names_type(part, resource_type) for part in parts)
        case _:
            return False


def _criterion(criterion: Criterion, setting: Setting) -> Query:
    match criterion:
        case Clause():
            return _clause(criterion, setting)
        case Chain(resource_type, param, inner):
            refs = _capped(either([_of(each, setting) for each in inner]), None, setting)
            kept = names.homes(_params(resource_type, setting), resource_type, param)
            return In("t", tuple(f"{name}={ref}" for name in kept for ref in refs))
        case Has(resource_type, source, param, inner):
            kept = names.homes(_params(source, setting), source, param)
            starts = [f"{name}={resource_type}/" for name in kept]
            found = [ref for start in starts for ref in _capped(_of(inner, setting), start, setting)]
            return In("_id", tuple(f"{resource_type}/{ref}" for ref in dict.fromkeys(found)))


def _params(resource_type: str, setting: Setting) -> Params:
    return setting.definitions.search_params[resource_type]


def _of(criterion: Criterion, setting: Setting) -> Query:
    """Return the query for the visible rows that meet one criterion of a chain."""
    return both(compile_criteria(criterion.type, (criterion,), setting), setting.allowed(criterion.type))


def _capped(query: Query, start: str | None, setting: Setting) -> Sequence[str]:
    most = setting.limits.chain
    found = () if query == NOTHING else setting.lookup(query, start, most + 1)
    if len(found) > most:
        raise TooCostly(f"A chain may pass through {most} resources; this one meets more. Narrow its inner part.")
    return found


def _clause(clause: Clause, setting: Setting) -> Query:
    param = clause.param
    if param.code == "_id":
        return _by_id(clause)
    if param.code == "_lastUpdated":
        return _last_updated(clause, setting)
    kept = names.homes(_params(clause.type, setting), clause.type, param)
    if clause.modifier == "missing":
        present = either([_present(name, param) for name in kept])
        return Not(present) if _flag(clause) else present
    if clause.modifier == "not" and param.type == "token":
        return Not(_values(clause.type, kept, param, clause.values, None, setting))
    return _values(clause.type, kept, param, clause.values, clause.modifier, setting)


def _values(
    resource_type: str,
    kept: Sequence[str],
    param: SearchParam,
    values: Sequence[str],
    modifier: str | None,
    setting: Setting,
) -> Query:
    """Return the query for any of the values under any of the names that hold the parameter's."""
    if param.type == "uri" and param.code == "url" and modifier is None:
        return either([_versioned(resource_type, kept, param, value, setting) for value in values])
    return either([_typed(name, param, values, modifier, setting) for name in kept])


def _typed(  # noqa: PLR0911 - one line for each type
    name: str, param: SearchParam, values: Sequence[str], modifier: str | None, setting: Setting
) -> Query:
    match param.type:
        case "token":
            return token.compile_values(name, values, modifier, param.paths)
        case "string":
            return string.compile_values(name, values, modifier, words=string.has_words(param.paths))
        case "reference":
            return reference.compile_values(name, values, modifier, param.targets, param.paths, setting.base_url)
        case "date":
            return date.compile_values(name, values, modifier, setting.now)
        case "quantity":
            return quantity.compile_values(name, values, modifier)
        case "number":
            return number.compile_values(name, values, modifier)
        case "uri":
            return uri.compile_values(name, values, modifier)
        case "composite":
            return _composite(name, values, modifier, setting)
        case _:
            raise NotSupported(f"The parameter {name} is not supported.", expression=name)


def _versioned(resource_type: str, kept: Sequence[str], param: SearchParam, value: str, setting: Setting) -> Query:
    """Return the query for a canonical resource by its URL, and by its version after a bar."""
    url, *version = split(value, "|")
    by_url = either([_typed(name, param, (url,), None, setting) for name in kept])
    versions = _params(resource_type, setting).get("version")
    if not version or versions is None:
        return by_url
    homes = names.homes(_params(resource_type, setting), resource_type, versions)
    return both(by_url, _values(resource_type, homes, versions, version[:1], None, setting))


def _composite(name: str, values: Sequence[str], modifier: str | None, setting: Setting) -> Query:
    if modifier is not None:
        raise unsupported(modifier, name)
    resource_type, _, code = name.partition(".")
    param = _params(resource_type, setting)[code]
    parts = names.parts(param)
    queries = []
    for path in param.paths:

        def on_resource(part: Component, value: str, path: Path = path) -> Query:
            return _on_resource(resource_type, path, part, value, setting)

        def on_range(part: Component, value: str, key: str) -> Query:
            return _on_range(part, value, key, setting)

        ways = composite.Ways(on_resource, on_range, setting.base_url)
        root = names.is_root(path)
        queries.append(composite.compile_values(name, parts, of_resource=root, values=values, ways=ways))
    return either(queries)


def _on_resource(resource_type: str, path: Path, part: Component, value: str, setting: Setting) -> Query:
    """Return the query for one part by the parameter that reads the same elements of the resource."""
    params = _params(resource_type, setting)
    paths = [Path(path.steps + each.steps, each.type, each.present_is_true) for each in part.paths]
    own = names.same_reading(params, part.type, paths)
    if own is None:
        raise NotSupported(f"The part {part.code} of this composite is not indexed.", expression=part.code)
    return _values(resource_type, names.homes(params, resource_type, own), own, (value,), None, setting)


def _on_range(part: Component, value: str, key: str, setting: Setting) -> Query:
    """Return the query for a part that is a range, on the ranges that go with the first part."""
    if part.type == "date":
        return date.compile_values(key, (value,), None, setting.now)
    if part.type == "number":
        return number.compile_values(key, (value,), None)
    return quantity.compile_quantity(key, value)


def _flag(clause: Clause) -> bool:
    """Return what ``:missing`` asks for."""
    if clause.values not in (("true",), ("false",)):
        raise Invalid(f"{clause.param.code}:missing is true or false.", expression=clause.param.code)
    return clause.values == ("true",)


def _present(name: str, param: SearchParam) -> Query:
    """Return the query for rows that have a value under the name."""
    match param.type:
        case "composite":
            raise unsupported("missing", name)
        case "date" | "number" | "quantity":
            return either([Range(name), Range(name + date.LONG)])
        case "reference":
            others = [prefix("t", f"{name}{reference.IDENTIFIER}=")]
        case "token":
            others = [prefix("t", f"{name}{token.TEXT}=")]
        case _:
            others = []
    return either([prefix("t", f"{name}="), *others])


def _by_id(clause: Clause) -> Query:
    if clause.modifier == "missing":
        return NOTHING if _flag(clause) else EVERYTHING
    found = In("_id", tuple(str(Ref(clause.type, unescape(value))) for value in clause.values))
    if clause.modifier not in (None, "not"):
        raise unsupported(clause.modifier, "_id")
    return Not(found) if clause.modifier == "not" else found


def _last_updated(clause: Clause, setting: Setting) -> Query:
    if clause.modifier == "missing":
        return NOTHING if _flag(clause) else EVERYTHING
    if clause.modifier is not None:
        raise unsupported(clause.modifier, "_lastUpdated")
    return either([_moment(value, setting) for value in clause.values])


def _moment(value: str, setting: Setting) -> Query:
    """Return the query on ``lu``, whose first 13 digits are microseconds in hexadecimal."""
    sign, low, high = date.asked(value, "_lastUpdated", setting.now)
    start, end = (f"{min(max(micros, 0), _LATEST):013x}" for micros in (low, high))
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
