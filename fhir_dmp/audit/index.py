"""What a row of the log is found by: a pure function of the row, so that an index that was tampered with can be told.

=======  ==============================================================================================================
``t``    tokens that are worth an index: ``letter=value``, letters as in ``LETTERS``
``u``    tokens that nearly every row has (``COMMON``), and those that only narrow a search that has a date
``pt``   the patients (``Patient/p``), one for each AuditEvent of the row
``sec``  labels (``system|code``) that hide the whole row from some readers
``m``    how many AuditEvents the row holds, if not one
``x``    where they differ in more than the patient: ``pt`` and own ``t`` and ``u`` of each; ``c`` and ``cu`` are then what all share
``at``   of a client's own event: its ``recorded``; ``ps`` the start of its ``period`` (both microseconds since 1970)
=======  ==============================================================================================================

``t``, ``u`` and ``pt`` of a row with ``x`` are what any of its AuditEvents has; ``store.log`` tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_NARROWING = ("n=", "r=")


def field_of(token: str) -> str:
    """Return where a token stands: ``t`` or ``u``."""
    return "u" if token in COMMON or token.startswith(_NARROWING) else "t"


def index_of(row: Row) -> dict[str, Any]:
    """Return the index part of a row."""
    if "resource" in row:
        return _submitted(row)
    parts = parts_of(row)
    shared = list(_shared(row))
    own = [list(_own(part, row)) for part in parts]
    index: dict[str, Any] = {**_sorted([*shared, *dict.fromkeys(token for each in own for token in each)])}
    index["pt"] = list(dict.fromkeys(part.patient for part in parts if part.patient))
    if row.get("person", {}).get("secret"):
        index["sec"] = [codes.HIDDEN_FROM_REPRESENTATIVES]
    if len(parts) == 1:
        return index
    index["m"] = len(parts)
    if any(each != own[0] for each in own) or len(index["pt"]) != len(parts):
        common = _sorted(shared)
        index.update(c=common["t"], cu=common["u"])
        index["x"] = [
            {**_sorted(each), "pt": [part.patient] if part.patient else []}
            for part, each in zip(parts, own, strict=True)
        ]
    return index


def _sorted(tokens: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"t": [], "u": []}
    for token in tokens:
        found[field_of(token)].append(token)
    return found


def _shared(row: Row) -> Iterator[str]:
    """Yield what all AuditEvents of a row have: who asked, from where and why. The first agent is the one who acted."""
    agent, person, account = row.get("agent", {}), row.get("person", {}), row.get("account", {})
    identifier = person.get("id", "")
    agents = (
        *(identifier, person.get("resource")),
        *(identifier.rpartition("|")[2], f"{codes.OPERATOR}|{agent['operator']}" if "operator" in agent else None),
        *(account.get("identifier"), account.get("id"), agent.get("client"), agent.get("organization")),
    )
    yield from (f"g={each}" for each in dict.fromkeys(agents) if each)
    yield from (f"r={each}" for each in (agent.get("role"), person.get("profession")) if each)
    yield from (f"n={each}" for each in (row.get("from"),) if each)
    yield from (f"p={each}" for each in (row.get("purpose"),) if each)
    for consent in row.get("consents", ()):
        yield f"c={consent.rpartition('/')[0]}"
        yield f"c={consent}"


def _own(part: Part, row: Row) -> Iterator[str]:
    """Yield what an AuditEvent has of its own: what was done, how it ended, to what."""
    kind = kind_of(part.act, of_log=row.get("on", "").partition("/")[0] == "AuditEvent")
    yield f"a={kind.action}"
    yield f"o={part.outcome}"
    yield f"y={kind.type['code']}"
    yield from (f"s={subtype['code']}" for subtype in kind.subtypes)
    yield from (f"e={entity}" for entity in entities(kind, part, row))


def entities(kind: Kind, part: Part, row: Row) -> list[str]:
    """Return what an AuditEvent names as its entities beside the patient, without versions."""
    if kind.shape in ("data", "export"):
        return list(dict.fromkeys(ref for name in part.names if (ref := _ref(name))))
    if kind.shape == "decision":
        return [consent.rpartition("/")[0] for consent in row.get("consents", ())]
    return []


def _ref(name: str) -> str | None:
    parts = name.split("/")
    return f"{parts[0]}/{parts[1]}" if len(parts) > 1 else None


def _submitted(row: Row) -> dict[str, Any]:
    """Return the index part of a client's own event: by what it says itself."""
    tree = row["resource"]
    entity_refs = [ref for entity in _dicts(tree.get("entity")) if (ref := _reference(entity.get("what")))]
    agents = _dicts(tree.get("agent"))
    agent_refs = [ref for agent in agents if (ref := _reference(agent.get("who")))]
    tokens = [
        *(f"a={tree[name]}" for name in ("action",) if name in tree),
        *(f"o={tree[name]}" for name in ("outcome",) if name in tree),
        *_codings("y", [tree.get("type")]),
        *_codings("s", tree.get("subtype")),
        *(token for purpose in _dicts(tree.get("purposeOfEvent")) for token in _codings("p", purpose.get("coding"))),
        *(token for agent in agents for token in _agent(agent)),
        *(f"e={ref}" for ref in entity_refs),
        f"b={row.get('agent', {}).get('client', '')}",
    ]
    patients = [ref for ref in (*entity_refs, *agent_refs) if ref.startswith("Patient/")]
    labels = (
        [f"{each.get('system', '')}|{each.get('code', '')}" for each in _dicts(tree["meta"].get("security"))]
        if ("meta" in tree)
        else []
    )
    index: dict[str, Any] = {**_sorted(dict.fromkeys(tokens)), "pt": list(dict.fromkeys(patients))}
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


def _agent(agent: Mapping[str, Any]) -> Iterator[str]:
    who = agent.get("who") or {}
    reference, identifier = _reference(who), who.get("identifier") or {}
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


def _reference(what: Mapping[str, Any] | None) -> str | None:
    literal = parse_literal((what or {}).get("reference", ""))
    return str(literal.ref) if literal else None
