"""From criteria to a query: clauses, chains and ``_has`` in two steps, lists, and what a filter compares and joins.

https://hl7.org/fhir/R4/search.html#chaining. Each hop is narrowed by what the caller may see, so that no value of a hidden row can be inferred.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from fhir_dmp.errors import FhirError, Invalid, TooCostly
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.search import canonical, form, names
from fhir_dmp.search.clauses import compile_clause
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
    Setting,
    Single,
)
from fhir_dmp.search.pairs import paired
from fhir_dmp.search.types import date, string
from fhir_dmp.store.matching import assuming
from fhir_dmp.store.query import NOTHING, And, Eq, In, Not, Query, both, either

_MERGED = 200
"""Values whose rows a database merges in the order of creation; of more it would have to fetch and sort all rows."""


def compile_criteria(resource_type: str, criteria: Sequence[Criterion], setting: Setting) -> Query:
    """Return the query for rows of the type that meet all criteria; the caller's own rules are not in it."""
    parts: Sequence[Query] = [_criterion(each, setting) for each in criteria]
    if setting.form >= form.PAIRS:
        parts = paired(resource_type, parts, alone=setting.form >= form.CODES_ALONE)
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
                return compile_clause(criterion, setting)
        case Chain():
            return _chained(criterion, setting)
        case Has():
            return _pointed_at(criterion, setting)
        case Listed():
            return _listed(criterion, setting)
        case Compared():
            return _compared(criterion, setting)
        case _:
            return _junction(criterion, setting)


def _chained(chain: Chain, setting: Setting) -> Query:
    """Return the query for what refers to what meets the inner criteria, by id or by canonical."""
    asked = [(each.type, _of(each, setting)) for each in chain.inner]
    refs = _capped(either([query for _, query in asked]), None, setting)
    kept = names.homes(setting.params(chain.type), chain.type, chain.param)
    direct = In("t", tuple(f"{name}={ref}" for name in kept for ref in refs))
    named = [each for each in asked if canonical.follows(chain.param, each[0], setting)]
    return either([direct, *(canonical.referring(kept, *each, setting) for each in named)]) if named else direct


def _pointed_at(has: Has, setting: Setting) -> Query:
    """Return the query for what those that meet the inner criterion refer to, by id or by canonical."""
    kept = names.homes(setting.params(has.source), has.source, has.param)
    pointing = _of(has.inner, setting)
    found = [ref for name in kept for ref in _capped(pointing, f"{name}={has.type}/", setting)]
    direct = In("_id", tuple(f"{has.type}/{ref}" for ref in dict.fromkeys(found)))
    if not canonical.follows(has.param, has.type, setting):
        return direct
    return either([direct, canonical.referred(has.type, kept, pointing, setting)])


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


def _of(criterion: Single, setting: Setting) -> Query:
    """Return the query for the visible rows that meet one criterion of a chain."""
    allowed = assuming(setting.allowed(criterion.type), "ty", criterion.type)
    return both(compile_criteria(criterion.type, (criterion,), setting), allowed)


def _capped(query: Query, start: str | None, setting: Setting) -> Sequence[str]:
    most = setting.limits.chain
    found = () if query == NOTHING else setting.lookup(query, start, most + 1)
    if len(found) > most:
        raise TooCostly(f"A chain may pass through {most} resources; this one meets more. Narrow its inner part.")
    return found


def _compared(compared: Compared, setting: Setting) -> Query:
    """Return the query for one comparison of a filter, by what a parameter of that type answers already."""
    param, operator, value = compared.param, compared.comparison.operator, compared.comparison.value

    def clause(modifier: str | None, text: str) -> Query:
        return compile_clause(Clause(compared.type, param, modifier, (text,)), setting)

    if operator == "pr":
        if value not in ("true", "false"):
            raise Invalid(f"{param.code} pr is true or false.", expression="_filter")
        return clause("missing", "false" if value == "true" else "true")
    if operator not in _OPERATORS.get(param.type, ()) or param.code in ("_text", "_content"):
        raise Invalid(f"A filter cannot ask {param.code} {operator}.", expression="_filter")
    if operator == "ne" and param.type not in date.RANGES:
        return both(clause("missing", "false"), Not(_compared(replace(compared, comparison=_equal(compared)), setting)))
    kept = names.homes(setting.params(compared.type), compared.type, param)
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
