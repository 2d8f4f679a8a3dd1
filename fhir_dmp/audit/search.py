"""How AuditEvents are asked for: parameters to queries on the rows of the log. https://profiles.ihe.net/ITI/TF/Volume2/ITI-81.html.

The server's own rows and those that clients reported are asked side by side, each in its own words: of ours ``recorded`` is
the moment of the row, of theirs it is what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fhir_dmp.access.numbers import NATIONAL, RPPS
from fhir_dmp.audit import codes
from fhir_dmp.audit.index import JTI, LETTERS, field_of
from fhir_dmp.audit.kinds import KINDS
from fhir_dmp.audit.parts import row_of
from fhir_dmp.errors import Invalid, NotSupported
from fhir_dmp.fhir.dates import interval
from fhir_dmp.fhir.ins import INS_SYSTEMS
from fhir_dmp.fhir.reference import local, parse_here
from fhir_dmp.store.log import numbered
from fhir_dmp.store.query import NOTHING, Between, In, Not, Or, Query, both, either

OURS: Query = Not(Between("at"))
THEIRS: Query = Between("at")

_MOST_VALUES = 100

Words = tuple[Query, Query]
"""What a clause means for our rows and for those of clients."""


def compile_clause(name: str, value: str, base_url: str) -> Words:
    """Return what one parameter asks of our rows and of those of clients."""
    name, value = with_type(name, value)
    code, _, modifier = name.partition(":")
    compile_value = PARAMS.get(code)
    if compile_value is None:
        raise NotSupported(
            f"AuditEvent is searched by {', '.join(sorted(PARAMS))}; not by {name[:64]!r}.", expression=name[:64]
        )
    if modifier and (code, modifier) not in _MODIFIERS:
        raise NotSupported(f"The modifier of {name[:64]!r} is not supported for AuditEvents.", expression=name[:64])
    if value.count(",") >= _MOST_VALUES:
        raise Invalid(f"{code} has more than {_MOST_VALUES} values.", expression=code)
    return compile_value(f"{code}:{modifier}" if modifier else code, value, base_url)


def with_type(name: str, value: str) -> tuple[str, str]:
    """Return a parameter whose name says the type (``entity:Observation=x``) as the one whose values do (``entity=Observation/x``)."""
    code, _, modifier = name.partition(":")
    if not modifier[:1].isupper() or code not in _REFERENCES:
        return name, value
    return code, ",".join(f"{modifier}/{each}" for each in value.split(","))


def union(clauses: list[Words], allowed: Query) -> Query:
    """Return the query for all clauses together, over both kinds of rows."""
    ours = both(OURS, allowed, *(clause[0] for clause in clauses))
    theirs = both(THEIRS, allowed, *(clause[1] for clause in clauses))
    return Or((ours, theirs))


def _ids(name: str, value: str, base_url: str) -> Words:
    del name, base_url
    query = either([numbered(*found) for each in value.split(",") if (found := row_of(each))])
    return query, query


def _moments(ours: str, theirs: str) -> Callable[[str, str, str], Words]:
    def compile_value(name: str, value: str, base_url: str) -> Words:
        del base_url
        spans = [_span(name, each) for each in value.split(",")]
        return either([_any(ours, each) for each in spans]), either([_any(theirs, each) for each in spans])

    return compile_value


_Bounds = tuple[int | None, int | None]


def _span(name: str, value: str) -> list[_Bounds]:
    """Return the half-open intervals in which a moment meets the value with its prefix."""
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    try:
        low, high = interval(text.replace(" ", "+"))
    except ValueError as fault:
        raise Invalid(f"{name}: {fault}.", expression=name) from None
    spans: Mapping[str, list[_Bounds]] = {
        "eq": [(low, high)],
        "ne": [(None, low), (high, None)],
        "ge": [(low, None)],
        "gt": [(high, None)],
        "sa": [(high, None)],
        "lt": [(None, low)],
        "eb": [(None, low)],
        "le": [(None, high)],
    }
    if prefix not in spans:
        raise NotSupported(f"The prefix {prefix!r} is not supported for {name} of AuditEvents.", expression=name)
    return spans[prefix]


def _any(field: str, spans: list[_Bounds]) -> Query:
    return either([Between(field, low, high) for low, high in spans])


def _tokens(name: str, value: str, base_url: str) -> Words:
    """Return the queries for coded values; of ours the system is known by the code."""
    del base_url
    ours, theirs = [], []
    for each in value.split(","):
        system, bar, code = each.rpartition("|")
        if not code:
            raise Invalid(f"{name}: a code must be named.", expression=name)
        if not bar or system in _SYSTEMS[name](code):
            ours.append(_alias(name, code))
        theirs.append(each if bar else code)
    return _having(name, ours), _having(name, theirs)


def _alias(name: str, code: str) -> str:
    """Return the code that a row is found by: the French mode of access stands for its purpose."""
    modes = {mode: purpose for purpose, mode in codes.ACCESS_MODES.items()}
    return modes.get(code, code) if name == "purpose" else code


def _having(name: str, values: list[str]) -> Query:
    tokens = [f"{LETTERS[name]}={value}" for value in values]
    fields: dict[str, list[str]] = {}
    for token in tokens:
        fields.setdefault(field_of(token), []).append(token)
    return either([In(field, tuple(found)) for field, found in fields.items()]) if fields else NOTHING


_NUMBERED_BY = (
    codes.OPERATOR,
    "urn:oid:1.2.250.1.71.4.2.2",
    "https://finess.esante.gouv.fr",
    "https://sirene.fr",
    *(system[:-1] for system in (NATIONAL, RPPS)),
    *INS_SYSTEMS,
)
"""Systems by which our rows name operators, structures, professionals and people: of most the number stands in no row without its system."""


def _agents(name: str, value: str, base_url: str) -> Words:
    """Return the queries for agents: a reference, the id of a client, or an identifier (``system|value``, or a value of any system)."""
    ours, theirs = [], []
    for each in value.split(","):
        ref = None if name == "agent:identifier" else local(each, base_url)
        theirs.append(str(ref) if ref else each.removeprefix("|"))
        ours.append(theirs[-1])
        if ref is None and "|" not in each:
            ours.extend([f"{system}|{each}" for system in _NUMBERED_BY])
    return _having("agent", ours), _having("agent", theirs)


def _patients(name: str, value: str, base_url: str) -> Words:
    """Return the query for whose record it was, or who acted: the patient is both where they look at their own."""
    refs = _refs(name, value, base_url, "Patient")
    query = either([In("pt", refs), _having("agent", list(refs))])
    return query, query


def _entities(name: str, value: str, base_url: str) -> Words:
    named = [each if _is_elsewhere(each, base_url) else _ref(name, each, base_url, None) for each in value.split(",")]
    query = either([In("pt", tuple(named)), _having("entity", named)])
    return query, query


def _is_elsewhere(text: str, base_url: str) -> bool:
    """Tell whether it is what a client's own event may name at another server."""
    literal = parse_here(text, base_url)
    return literal is not None and literal.base is not None


def _refs(name: str, value: str, base_url: str, resource_type: str | None) -> tuple[str, ...]:
    return tuple(_ref(name, each, base_url, resource_type) for each in value.split(","))


def _ref(name: str, value: str, base_url: str, resource_type: str | None) -> str:
    ref = local(value if "/" in value or resource_type is None else f"{resource_type}/{value}", base_url)
    if ref is None or (resource_type and ref.type != resource_type):
        raise Invalid(f"{name}: {value[:100]!r} is no reference to a resource here.", expression=name)
    return str(ref)


def _sources(name: str, value: str, base_url: str) -> Words:
    """Return the queries for the observer: the server by its URL, or the client that reported."""
    del name
    values = [each.rpartition("|")[2] for each in value.split(",")]
    clients = [each.removeprefix(codes.CLIENT_EVENT) for each in values]
    ours = OURS if base_url in values else NOTHING
    return ours, _having("source", clients)


def _texts(name: str, value: str, base_url: str) -> Words:
    del base_url
    query = _having(name, value.split(","))
    return query, query


def _policies(name: str, value: str, base_url: str) -> Words:
    """Return the queries for a policy by its URL, or for a token; a Consent of this server is found with and without its version."""
    named = [policy_named(each, base_url) for each in value.split(",")]
    query = _having(name, named)
    tokens = tuple(f"{JTI}={each.removeprefix(codes.JTI)}" for each in named if each.startswith(codes.JTI))
    return (either([query, In("u", tokens)]) if tokens else query), query


def policy_named(value: str, base_url: str) -> str:
    """Return a policy as rows name it: one of this server by its reference, and by its version where the value names that."""
    literal = parse_here(value, base_url)
    if literal is None or literal.base is not None:
        return value
    return f"{literal.ref}/{literal.version}" if literal.version else str(literal.ref)


def _subtype_systems(code: str) -> frozenset[str]:
    known = [each for kind in KINDS.values() for each in kind.subtypes] + [codes.LOG_USED]
    found = {each["system"] for each in known if each["code"] == code}
    return frozenset(found or {codes.INTERACTION if code == "operation" else codes.ACT})


_SYSTEMS: Mapping[str, Callable[[str], frozenset[str]]] = {
    "action": lambda _: frozenset({codes.ACTION}),
    "outcome": lambda _: frozenset({codes.OUTCOME}),
    "type": lambda code: frozenset({codes.EVENT_TYPE if code == "rest" else codes.DCM}),
    "subtype": _subtype_systems,
    "purpose": lambda code: frozenset({codes.ACCESS_MODE if code in codes.ACCESS_MODES.values() else codes.REASON}),
    "agent-role": lambda code: frozenset({codes.PROFESSION if code.isdigit() else codes.CLIENT_ROLE}),
}

PARAMS: Mapping[str, Callable[[str, str, str], Words]] = {
    "_id": _ids,
    "_lastUpdated": _moments("rec", "rec"),
    "action": _tokens,
    "address": _texts,
    "agent": _agents,
    "agent-role": _tokens,
    "date": _moments("rec", "at"),
    "entity": _entities,
    "outcome": _tokens,
    "patient": _patients,
    "period-start": _moments("rec", "ps"),
    "policy": _policies,
    "purpose": _tokens,
    "source": _sources,
    "subtype": _tokens,
    "type": _tokens,
}
"""What AuditEvents are searched by: each makes the queries for our rows and for those of clients."""

_MODIFIERS = frozenset({("agent", "identifier")})
_REFERENCES = ("agent", "entity", "patient")
"""Parameters whose modifier may be the type of what they name: ``patient:Patient=p``."""


def bounded(params: tuple[tuple[str, str], ...]) -> bool:
    """Tell whether a search names when: ITI-81 asks an auditor to."""
    return any(name in ("date", "period-start", "_lastUpdated", "_id") for name, _ in params)
