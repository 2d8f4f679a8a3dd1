"""Proofs over the log by HTTP: FHIR operations on AuditEvent. https://www.rfc-editor.org/rfc/rfc9162#section-2.1.

``$proof`` returns the bytes of an event's row and the path from them to a signed head; ``$consistency`` the path from one head to
a later one; ``$head`` a head as it was published; ``$entries`` a page of the log as lines, for who may read all of it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access.model import Action
from fhir_dmp.audit.entry import entry_of
from fhir_dmp.audit.export import page
from fhir_dmp.audit.heads import BrokenHeadError, SignedHead
from fhir_dmp.audit.merkle import consistency_ranges, inclusion_ranges, leaf_hash
from fhir_dmp.audit.tiles import range_hashes
from fhir_dmp.call import Call, Context, Env, Grant, Interaction, Result
from fhir_dmp.errors import Conflict, Damaged, Invalid, NotFound, Refused
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.parameters import write
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.service import audit_log
from fhir_dmp.service.log_views import Concerned, judged, sees_all, traced

NDJSON = "application/x-ndjson"
_SOON = (("Retry-After", "1"),)
_Item = tuple[str, str, Any]


def proof(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the entry of one event and the path from its leaf to a head: the last one, or that of the number asked for.

    Whoever may not know all that the row says gets the path from its hash: the entry would tell.
    """
    part, reasons, patients = audit_log.find(call.ref.id, grant, env)
    found = env.ledger.place_of(part.event.id) if part is not None else None
    if part is None or found is None:
        raise NotFound(f"{call.ref} is not known here.", reasons=reasons, patients=patients)
    row, leaf = found
    head, concerned = _head(call, "head", env), Concerned(env.limits.page)
    whose = tuple(judged(part)["pt"])
    if leaf is None or leaf >= head.head.size:
        raise Conflict(f"{call.ref} has no leaf under head {head.head.number}.", headers=_SOON, patients=whose)
    entry = entry_of(row)
    path = range_hashes(env.ledger, [(leaf, leaf + 1), *inclusion_ranges(leaf, head.head.size)])
    if leaf_hash(entry) != path.pop(0):
        raise Damaged(f"{call.ref} is not what was sealed: fhir-dmp audit verify tells more.", patients=whose)
    whole = sees_all(part.event, context, grant)
    items = [
        ("leaf", "integer", leaf),
        *([("entry", "base64Binary", _base64(entry))] if whole else []),
        ("hash", "base64Binary", _base64(leaf_hash(entry))),
        *_path(path),
        *_told("head", head),
    ]
    entity = traced(part)
    if whole:
        concerned.takes(row.terms)
    entities = (entity,) if entity else ()
    return replace(_result(items, Ref("AuditEvent", call.ref.id)), entities=entities, concerned=concerned.entities)


def head(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a signed head, and whether somebody outside has acknowledged it or a later one."""
    del context, grant
    signed = _head(call, "number", env)
    status = "witnessed" if signed.head.number <= env.ledger.witnessed() else "sealed"
    return _result([*_told("head", signed), ("status", "code", status)])


def consistency(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return the path that proves that the tree of one head begins the tree of a later one."""
    del context, grant
    older, newer = _head(call, "from", env), _head(call, "to", env)
    if older.head.size > newer.head.size:
        raise Invalid("The head to begin from must be the older one.", expression="from")
    ranges = consistency_ranges(older.head.size, newer.head.size)
    return _result([*_path(range_hashes(env.ledger, ranges)), *_told("from", older), *_told("to", newer)])


def entries(call: Call, context: Context, grant: Grant, env: Env) -> Result:
    """Return a page of the log from a leaf on, as lines (``audit.export``) of which the last says where to go on, for an auditor."""
    if context.subject is None or context.subject.role != "auditor":
        raise Refused("The whole log is for auditors.", reasons=("the role is not auditor",))
    if not grant.decide("search", {"ty": "AuditEvent"}).permit:
        raise Refused("This token does not allow to search AuditEvents.", reasons=("no rule",))
    newest = _head(call, "head", env)
    first = call.parameters.value("from") or 0
    if first > newest.head.size:
        raise Invalid(f"The log has {newest.head.size} leaves under head {newest.head.number}.", expression="from")
    most = min(call.parameters.value("_count") or env.limits.page, env.limits.page)
    concerned = Concerned(env.limits.page)
    lines = page(env.ledger, first, newest, most, lambda leaf: concerned.takes(leaf.terms))
    return Result("ok", lines, content_type=NDJSON, concerned=concerned.entities)


def _head(call: Call, name: str, env: Env) -> SignedHead:
    number = call.parameters.value(name)
    line = env.ledger.head(number)
    if line is None:
        raise NotFound(f"There is no head {number}." if number else "The log has no head yet.", reasons=("absent",))
    try:
        return SignedHead.from_line(line)
    except BrokenHeadError:
        raise Damaged("This head of the log is not what was signed: fhir-dmp audit verify tells more.") from None


def _path(hashes: Sequence[bytes]) -> list[_Item]:
    return [("path", "base64Binary", _base64(each)) for each in hashes]


def _told(name: str, signed: SignedHead) -> list[_Item]:
    """Return a head as it was published, and as numbers for who need not check it."""
    parts = write(
        [
            ("number", "integer", signed.head.number),
            ("size", "integer", signed.head.size),
            ("root", "base64Binary", _base64(signed.head.root)),
            ("note", "string", signed.note),
            ("signature", "base64Binary", _base64(signed.signature)),
        ]
    )
    return [(name, "part", parts["parameter"])]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _result(items: Sequence[_Item], ref: Ref | None = None) -> Result:
    return Result("ok", codec.dumps(write(items)), ref)


OPERATIONS: Mapping[str, tuple[Action | None, Interaction]] = {
    "proof": ("read", proof),
    "head": ("read", head),
    "consistency": ("read", consistency),
    "entries": ("search", entries),
}
"""The operations on the log, the right that each needs on AuditEvents, and who does it."""
