"""One clause as a query: each type of parameter by its own module, and what fields of the row itself answer.

https://hl7.org/fhir/R4/search.html#ptypes.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fhir_dmp.clock import moment
from fhir_dmp.definitions.model import Component, Path, SearchParam
from fhir_dmp.errors import Invalid, NotSupported
from fhir_dmp.fhir.reference import Ref, relative
from fhir_dmp.search import form, names, terminology
from fhir_dmp.search.model import Clause, Setting
from fhir_dmp.search.types import composite, date, near, number, quantity, reference, string, token, uri, words
from fhir_dmp.search.types.values import halves, split, unescape, unsupported
from fhir_dmp.store.query import EVERYTHING, NOTHING, Between, In, Not, Query, Range, both, either, prefix


def compile_clause(clause: Clause, setting: Setting) -> Query:
    """Return the query for the rows of a type that meet one clause."""
    param = clause.param
    if param.code == "_id":
        return _by_id(clause)
    if param.code == "_lastUpdated":
        return _last_updated(clause, setting)
    if param.code in ("_text", "_content"):
        return _words(clause)
    kept = names.homes(setting.params(clause.type), clause.type, param)
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
            kept = string.Kept(string.has_words(param.paths), setting.form >= form.BEGINNINGS)
            return string.compile_values(name, values, modifier, kept)
        case "reference":
            return reference.compile_values(name, values, modifier, param.pointed_at, param.paths, setting.base_url)
        case "date":
            return date.compile_values(name, values, modifier, setting.now)
        case "quantity":
            return quantity.compile_values(name, values, modifier)
        case "number":
            return number.compile_values(name, values, modifier)
        case "uri":
            return uri.compile_values(name, _as_stored(values, modifier, setting), modifier)
        case "special" if modifier is None:
            return either([near.compile_value(name, value) for value in values])
        case "composite":
            return _composite(name, values, modifier, setting)
        case _:
            raise NotSupported(f"The parameter {name} is not supported.", expression=name)


def _as_stored(values: Sequence[str], modifier: str | None, setting: Setting) -> Sequence[str]:
    """Return URIs with the relative forms of those that name what lies on this server: addresses of contents are stored so."""
    return (
        values if modifier else tuple(dict.fromkeys((*values, *(relative(each, setting.base_url) for each in values))))
    )


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


def _versioned(resource_type: str, kept: Sequence[str], param: SearchParam, value: str, setting: Setting) -> Query:
    """Return the query for a canonical resource by its URL, and by its version after a bar."""
    url, *version = split(value, "|")
    by_url = either([_typed(name, param, (url,), None, setting) for name in kept])
    versions = setting.params(resource_type).get("version")
    if not version or versions is None:
        return by_url
    homes = names.homes(setting.params(resource_type), resource_type, versions)
    return both(by_url, _values(resource_type, homes, versions, version[:1], None, setting))


def _composite(name: str, values: Sequence[str], modifier: str | None, setting: Setting) -> Query:
    if modifier is not None:
        raise unsupported(modifier, name)
    resource_type, _, code = name.partition(".")
    param = setting.params(resource_type)[code]
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
    params = setting.params(resource_type)
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
    """Return the query on ``lu``, which begins with the moment."""
    sign, low, high = date.asked(value, "_lastUpdated", setting.now)
    start, end = (moment(micros) for micros in (low, high))
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
