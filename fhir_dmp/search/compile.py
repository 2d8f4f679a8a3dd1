"""From clauses to a query: each type of parameter by its own module, chains and ``_has`` in two steps.

https://hl7.org/fhir/R4/search.html#chaining. Each hop is narrowed by what the caller may see, so that no value of a hidden row can be inferred.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fhir_dmp.definitions.model import Component, Path, SearchParam
from fhir_dmp.errors import FhirError, Invalid, NotSupported, TooCostly
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.search import names, terminology
from fhir_dmp.search.model import (
    Chain,
    Clause,
    Compared,
    Comparison,
    Criterion,
    EachOf,
    Has,
    Listed,
    NoneOf,
    OneOf,
    Params,
    Setting,
    Single,
)
from fhir_dmp.search.pairs import paired
from fhir_dmp.search.types import composite, date, near, number, quantity, reference, string, token, uri, words
from fhir_dmp.search.types.values import halves, split, unescape, unsupported
from fhir_dmp.store.query import EVERYTHING, NOTHING, And, Between, Eq, In, Not, Query, Range, both, either, prefix

_MERGED = 200
"""Values whose rows a database merges in the order of creation; of more it would have to fetch and sort all rows."""

_LATEST = 16**13 - 1
"""The last moment that thirteen hexadecimal digits hold, in the year 2112."""


def compile_criteria(resource_type: str, criteria: Sequence[Criterion], setting: Setting) -> Query:
    """Return the query for rows of the type that meet all criteria; the caller's own rules are not in it."""
    parts = paired(resource_type, [_criterion(each, setting) for each in criteria])
    if any(_names_type(part, resource_type) for part in parts):
        return both(*parts)
    return both(Eq("t", resource_type), *parts)


def _names_type(query: Query, resource_type: str) -> bool:
    """Tell whether the query finds rows of the type alone, by values that an index gives in the order of creation.

    Where it does not, the type is asked for beside it: the database may then walk the rows of the type in that order, which is
    the shorter way to a page where most of them match.
    """
    match query:
        case Eq("t", value):
            return str(value).startswith(f"{resource_type}.")
        case In("t", values):
            few = 0 < len(values) <= _MERGED
            return few and all(str(value).startswith(f"{resource_type}.") for value in values)
        case In("_id", values):
            return len(values) <= _MERGED
        case And(parts):
            return any(_names_type(part, resource_type) for part in parts)
        case _:
            return False


def _criterion(criterion: Criterion, setting: Setting) -> Query:
    match criterion:
        case Clause():
            with _about(criterion):
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
        case Listed():
            return _listed(criterion, setting)
        case Compared():
            return _compared(criterion, setting)
        case _:
            return _junction(criterion, setting)


@contextmanager
def _about(clause: Clause) -> Iterator[None]:
    """Let a fault name the parameter that was asked, whatever name its values are kept under."""
    try:
        yield
    except FhirError as fault:
        code = f"{clause.type}.{clause.param.code}"
        fault.issues = tuple(
            replace(issue, expression=code) if (issue.expression or "").startswith(f"{clause.type}.") else issue
            for issue in fault.issues
        )
        raise


def _junction(junction: EachOf | OneOf | NoneOf, setting: Setting) -> Query:
    """Return the query for criteria that a filter joins."""
    match junction:
        case EachOf(parts):
            return both(*(_criterion(each, setting) for each in parts))
        case OneOf(parts):
            return either([_criterion(each, setting) for each in parts])
        case NoneOf(part):
            return Not(_criterion(part, setting))


def _listed(listed: Listed, setting: Setting) -> Query:
    """Return the query for what the visible ones among the Lists name."""
    lists = In("_id", tuple(str(Ref("List", each)) for each in listed.ids))
    start = f"List.item={listed.type}/"
    found = _capped(both(lists, setting.allowed("List")), start, setting)
    return In("_id", tuple(f"{listed.type}/{each}" for each in found))


def _params(resource_type: str, setting: Setting) -> Params:
    return setting.definitions.search_params[resource_type]


def _of(criterion: Single, setting: Setting) -> Query:
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
    if param.code in ("_text", "_content"):
        return _words(clause)
    kept = names.homes(_params(clause.type, setting), clause.type, param)
    if clause.modifier == "missing":
        present = either([_present(name, param) for name in kept])
        return Not(present) if _flag(clause) else present
    if param.type == "token" and clause.modifier in ("not", "not-in"):
        inner = None if clause.modifier == "not" else "in"
        return Not(_values(clause.type, kept, param, clause.values, inner, setting))
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
            return _token(name, param, values, modifier, setting)
        case "string":
            return string.compile_values(name, values, modifier, words=string.has_words(param.paths))
        case "reference":
            return reference.compile_values(name, values, modifier, param.pointed_at, param.paths, setting.base_url)
        case "date":
            return date.compile_values(name, values, modifier, setting.now)
        case "quantity":
            return quantity.compile_values(name, values, modifier)
        case "number":
            return number.compile_values(name, values, modifier)
        case "uri":
            return uri.compile_values(name, values, modifier)
        case "special" if modifier is None:
            return either([near.compile_value(name, value) for value in values])
        case "composite":
            return _composite(name, values, modifier, setting)
        case _:
            raise NotSupported(f"The parameter {name} is not supported.", expression=name)


def _token(name: str, param: SearchParam, values: Sequence[str], modifier: str | None, setting: Setting) -> Query:
    if modifier in ("in", "above", "below"):
        return either([_codes(name, param, value, modifier, setting) for value in values])
    return token.compile_values(name, values, modifier, param.paths)


def _codes(name: str, param: SearchParam, value: str, modifier: str, setting: Setting) -> Query:
    """Return the query for the codes of a value set, or for those above or below a code."""
    if modifier == "in":
        return token.of_codes(name, terminology.expand(unescape(value), setting), param.paths)
    system, code = halves(value)
    if not system or not code:
        raise Invalid(f"{name}:{modifier} is written system|code.", expression=name)
    found = (terminology.below if modifier == "below" else terminology.above)(system, code, setting)
    return token.of_codes(name, {system: found}, param.paths)


def _words(clause: Clause) -> Query:
    if clause.modifier == "missing":
        present = prefix("w", words.NARRATIVE) if clause.param.code == "_text" else Between("w")
        return Not(present) if _flag(clause) else present
    if clause.modifier is not None:
        raise unsupported(clause.modifier, clause.param.code)
    return either([words.compile_words(clause.param.code, unescape(value)) for value in clause.values])


def _compared(compared: Compared, setting: Setting) -> Query:
    """Return the query for one comparison of a filter, by what a parameter of that type answers already."""
    param, operator, value = compared.param, compared.comparison.operator, compared.comparison.value

    def clause(modifier: str | None, text: str) -> Query:
        return _clause(Clause(compared.type, param, modifier, (text,)), setting)

    if operator == "pr":
        if value not in ("true", "false"):
            raise Invalid(f"{param.code} pr is true or false.", expression="_filter")
        return clause("missing", "false" if value == "true" else "true")
    if operator not in _OPERATORS.get(param.type, ()) or param.code in ("_text", "_content"):
        raise Invalid(f"A filter cannot ask {param.code} {operator}.", expression="_filter")
    if operator == "ne" and param.type not in date.RANGES:
        return both(clause("missing", "false"), Not(_compared(replace(compared, comparison=_equal(compared)), setting)))
    kept = names.homes(_params(compared.type, setting), compared.type, param)
    if param.type == "string":
        return either([string.compare(name, operator, value) for name in kept])
    escaped = value.replace("\\", "\\\\")
    if operator == "po" and param.code != "_lastUpdated":
        return either([date.overlapping(name, escaped, setting.now) for name in kept])
    if param.type in date.RANGES:
        return clause(None, ("eq" if operator == "po" else operator) + escaped)
    return clause(_MODIFIERS.get(operator), escaped)


def _equal(compared: Compared) -> Comparison:
    return replace(compared.comparison, operator="eq")


_OPERATORS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"eq", "ne", "co", "sw", "ew"}),
    "token": frozenset({"eq", "ne", "ss", "sb", "in", "ni"}),
    "reference": frozenset({"eq", "ne", "re"}),
    "uri": frozenset({"eq", "ne"}),
    "date": frozenset({"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap", "po"}),
    "number": frozenset({"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}),
    "quantity": frozenset({"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}),
}
_MODIFIERS = {"ss": "above", "sb": "below", "in": "in", "ni": "not-in"}


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
    paths = [replace(each, steps=path.steps + each.steps) for each in part.paths]
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
        case "special":
            return Range(name)
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
