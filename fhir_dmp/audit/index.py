"""What a row of the log is found by: a pure function of the row, so that an index that was tampered with can be told.

=======  ==============================================================================================================
``t``    tokens that are worth an index: ``letter=value``, letters as in ``LETTERS``
``u``    tokens that nearly every row has (``COMMON``), and those that only narrow a search that has a date
``pt``   the patients (``Patient/p``), one for each AuditEvent of the row
``sec``  labels (``system|code``) that hide the row from some readers, all of it
``m``    how many AuditEvents the row holds, if not one
``x``    where they differ in more than the patient: ``pt`` and own ``t`` and ``u`` of each, and ``sec`` of what alone is hidden; ``c``
         and ``cu`` are then what all share
``at``   of a client's own event: its ``recorded``; ``ps`` the start of its ``period`` (both microseconds since 1970)
=======  ==============================================================================================================

``t``, ``u`` and ``pt`` of a row with ``x`` are what any of its AuditEvents has; ``store.log`` tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from fhir_dmp.audit import codes
from fhir_dmp.audit.kinds import Kind, kind_of
from fhir_dmp.audit.parts import Part, Row, parts_of
from fhir_dmp.fhir.dates import interval
from fhir_dmp.fhir.reference import parse_literal

LETTERS = {
    "action": "a",
    "address": "n",
    "agent": "g",
    "agent-role": "r",
    "entity": "e",
    "outcome": "o",
    "policy": "c",
    "purpose": "p",
    "source": "b",
    "subtype": "s",
    "type": "y",
}
"""The letter of each search parameter."""

COMMON = frozenset(
    (
        *("a=C", "a=D", "a=E", "a=R", "a=U", "o=0", "p=TREAT", "y=rest", "s=read", "s=search-type", "s=create"),
        *("p=PATRQT", "s=update"),
    )
)
JTI = "j"
"""The letter of the token that somebody acted by, which is asked for by ``policy``; rows of format 1 and 2 are not found by it."""

_HIDDEN = (codes.HIDDEN_FROM_REPRESENTATIVES,)
_NARROWING = ("n=", "r=", f"{JTI}=")
_WITH_TOKEN = 3
"""The first format whose rows are found by their token."""


def field_of(token: str) -> str:
    """Return where a token stands: ``t`` or ``u``."""
    return "u" if token in COMMON or token.startswith(_NARROWING) else "t"


def index_of(row: Row) -> dict[str, Any]:
    """Return the index part of a row."""
    if "resource" in row:
        return _submitted(row)
    parts = parts_of(row)
    rare, common = _shared(row)
    index = _of_one(parts[0], row, rare, common) if len(parts) == 1 else _of_several(parts, row, rare, common)
    alone = len(parts) == 1 and parts[0].hidden
    if alone or row.get("hidden") or ("person" in row and row["person"].get("secret")):
        index["sec"] = list(_HIDDEN)
    return index


def _of_one(part: Part, row: Row, rare: Sequence[str], common: Sequence[str]) -> dict[str, Any]:
    """Return the index part of a row that holds one AuditEvent, as nearly all do: it has no token that all share."""
    own = _own(part, row)
    return {"t": [*rare, *own[0]], "u": [*common, *own[1]], "pt": [part.patient] if part.patient else []}


def _of_several(parts: Sequence[Part], row: Row, rare: Sequence[str], common: Sequence[str]) -> dict[str, Any]:
    own = _owns(parts, row)
    different = dict.fromkeys(own)
    patients = dict.fromkeys([part.patient for part in parts])
    patients.pop("", None)
    index: dict[str, Any] = {
        "t": list(dict.fromkeys(chain(rare, *[each[0] for each in different]))),
        "u": list(dict.fromkeys(chain(common, *[each[1] for each in different]))),
        "pt": list(patients),
        "m": len(parts),
    }
    if len(different) > 1 or len(patients) != len(parts) or parts[-1].hidden:
        index.update(c=list(rare), cu=list(common))
        index["x"] = [_apart(part, each) for part, each in zip(parts, own, strict=True)]
    return index


def _apart(part: Part, own: _Sorted) -> dict[str, Any]:
    index = {"t": list(own[0]), "u": list(own[1]), "pt": [part.patient] if part.patient else []}
    return {**index, "sec": list(_HIDDEN)} if part.hidden else index


_NAMING = ("data", "export", "decision")
"""Shapes of acts that name entities beside the patient."""

_NOBODY: Row = {}
_Sorted = tuple[tuple[str, ...], tuple[str, ...]]
"""Tokens for ``t`` and tokens for ``u``."""


def _sorted(tokens: Iterable[str]) -> _Sorted:
    found: dict[str, list[str]] = {"t": [], "u": []}
    for token in dict.fromkeys(tokens):
        found[field_of(token)].append(token)
    return tuple(found["t"]), tuple(found["u"])


def _shared(row: Row) -> _Sorted:
    """Return what all AuditEvents of a row have: who asked, by which token, from where and why."""
    agent, person, account = row.get("agent", _NOBODY), row.get("person", _NOBODY), row.get("account", _NOBODY)
    rare, common = _of_caller(
        (
            person.get("id"),
            person.get("resource"),
            agent.get("operator"),
            account.get("identifier"),
            account.get("id"),
            agent.get("client"),
            row.get("client"),
            agent.get("organization"),
        ),
        (agent.get("role"), person.get("profession")),
        row.get("from"),
        row.get("purpose"),
        tuple(row["consents"]) if "consents" in row else (),
    )
    if "jti" not in agent or row["v"] < _WITH_TOKEN:
        return rare, common
    token = f"{JTI}={agent['jti']}"  # tokens change, callers come again: it is no key of their cache
    return rare, (*common, token)


@lru_cache(maxsize=4096)
def _of_caller(
    who: tuple[str | None, ...],
    roles: tuple[str | None, ...],
    address: str | None,
    purpose: str | None,
    consents: tuple[str, ...],
) -> _Sorted:
    """Return the tokens of a caller, who comes again and again; the first agent is the one who acted."""
    identifier, resource, operator, *others = who
    value = identifier.rpartition("|")[2] if identifier else None
    agents = (identifier, resource, value, f"{codes.OPERATOR}|{operator}" if operator else None, *others)
    tokens = [f"g={each}" for each in dict.fromkeys(agents) if each]
    tokens += [f"r={each}" for each in roles if each]
    tokens += [f"{letter}={each}" for letter, each in (("n", address), ("p", purpose)) if each]
    tokens += [f"c={each}" for consent in consents for each in (consent.rpartition("/")[0], consent)]
    return _sorted(tokens)


def _owns(parts: Sequence[Part], row: Row) -> list[_Sorted]:
    """Return what each AuditEvent has of its own: one for all, where they differ in nothing but the patient."""
    first = parts[0]
    if kind_of(first.act).shape not in _NAMING and len({part[:2] for part in parts}) == 1:
        return [_own(first, row)] * len(parts)
    return [_own(part, row) for part in parts]


def _own(part: Part, row: Row) -> _Sorted:
    """Return what an AuditEvent has of its own: what was done, how it ended, to what."""
    kind, own = _of_act(part.act, part.outcome, row.get("on", "").startswith("AuditEvent"))
    if kind.shape not in _NAMING:
        return own
    return (*own[0], *[f"e={entity}" for entity in entities(kind, part, row)]), own[1]


@lru_cache(maxsize=4096)
def _of_act(act: str, outcome: str, of_log: bool) -> tuple[Kind, _Sorted]:  # noqa: FBT001 - by place a cache is asked in half the time
    kind = kind_of(act, of_log=of_log)
    subtypes = (f"s={subtype['code']}" for subtype in kind.subtypes)
    return kind, _sorted((f"a={kind.action}", f"o={outcome}", f"y={kind.type['code']}", *subtypes))


def entities(kind: Kind, part: Part, row: Row) -> list[str]:
    """Return what an AuditEvent names as its entities beside the patient, without versions."""
    shape = kind.shape
    if shape in ("data", "export"):
        refs = [_ref(name) for name in (part.names if shape == "data" else (row.get("on", ""),))]
        return refs if len(refs) == 1 and refs[0] else list(dict.fromkeys(filter(None, refs)))
    if shape == "decision":
        return [consent.rpartition("/")[0] for consent in row.get("consents", ())]
    return []


def _ref(name: str) -> str:
    """Return what is named without its version, nothing for a type alone."""
    parts = name.split("/", 2)
    return f"{parts[0]}/{parts[1]}" if len(parts) > 1 else ""


def _submitted(row: Row) -> dict[str, Any]:
    """Return the index part of a client's own event: by what it says itself."""
    tree, base = row["resource"], row.get("base")
    entity_refs = [ref for entity in _dicts(tree.get("entity")) if (ref := referred(entity.get("what"), base))]
    agents = _dicts(tree.get("agent"))
    agent_refs = [ref for agent in agents if (ref := referred(agent.get("who"), base))]
    tokens = [
        *(f"a={tree[name]}" for name in ("action",) if name in tree),
        *(f"o={tree[name]}" for name in ("outcome",) if name in tree),
        *_codings("y", [tree.get("type")]),
        *_codings("s", tree.get("subtype")),
        *(token for purpose in _dicts(tree.get("purposeOfEvent")) for token in _codings("p", purpose.get("coding"))),
        *(token for agent in agents for token in _agent(agent, base)),
        *(f"e={ref}" for ref in entity_refs),
        f"b={row.get('agent', {}).get('client', '')}",
    ]
    patients = [ref for ref in (*entity_refs, *agent_refs) if ref.startswith("Patient/")]
    labels = (
        [f"{each.get('system', '')}|{each.get('code', '')}" for each in _dicts(tree["meta"].get("security"))]
        if ("meta" in tree)
        else []
    )
    rare, common = _sorted(dict.fromkeys(tokens))
    index: dict[str, Any] = {"t": list(rare), "u": list(common), "pt": list(dict.fromkeys(patients))}
    if labels:
        index["sec"] = labels
    index["at"] = interval(tree["recorded"])[0]
    start = tree.get("period", {}).get("start")
    if start:
        index["ps"] = interval(start)[0]
    return index


def _dicts(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value or () if isinstance(each, Mapping)]


def _codings(letter: str, codings: Any) -> Iterator[str]:
    for coding in _dicts(codings):
        if "code" in coding:
            yield f"{letter}={coding['code']}"
            yield f"{letter}={coding.get('system', '')}|{coding['code']}"


def _agent(agent: Mapping[str, Any], base: str | None) -> Iterator[str]:
    who = agent.get("who") or {}
    reference, identifier = referred(who, base), who.get("identifier") or {}
    if reference:
        yield f"g={reference}"
    if "value" in identifier:
        yield f"g={identifier['value']}"
        yield f"g={identifier.get('system', '')}|{identifier['value']}"
    yield from (f"c={policy}" for policy in agent.get("policy") or () if policy)
    for role in _dicts(agent.get("role")):
        yield from _codings("r", role.get("coding"))
    address = (agent.get("network") or {}).get("address")
    if address:
        yield f"n={address}"


def referred(what: Mapping[str, Any] | None, base: str | None) -> str | None:
    """Return what a reference of a client's own event names: ``Type/id`` of what is here, the whole URL of what is elsewhere.

    ``base`` is the row's; of a row without one all is taken for ours.
    """
    literal = parse_literal((what or {}).get("reference", ""))
    if literal is None:
        return None
    here = base is None or literal.base in (None, base)
    return str(literal.ref) if here else f"{literal.base}/{literal.ref}"
