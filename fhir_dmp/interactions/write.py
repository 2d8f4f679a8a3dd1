"""A resource on its way in, and the version that it becomes. https://hl7.org/fhir/R4/resource.html#Meta."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from fhir_dmp.access import people, systems
from fhir_dmp.access.kinds import DIRECTORY, NAMING
from fhir_dmp.access.labels import flags_after_update, require_flags_at_creation
from fhir_dmp.access.rules import names_of
from fhir_dmp.call import Call, Context, Env, Grant
from fhir_dmp.clock import instant
from fhir_dmp.errors import (
    Conflict,
    Invalid,
    InvalidStructure,
    TooLong,
    Unprocessable,
)
from fhir_dmp.fhir import codec
from fhir_dmp.fhir.ins import INS_SYSTEMS
from fhir_dmp.fhir.labels import FLAGS, flags_of, misspelt, with_flags, without_labels
from fhir_dmp.fhir.reference import AS_SENT, ID, Ref, local, with_relative
from fhir_dmp.fhir.tags import is_part
from fhir_dmp.interactions.about import patients_named
from fhir_dmp.interactions.preconditions import require_version
from fhir_dmp.store.change import STAMP, Change, Stored
from fhir_dmp.store.query import Row, kept

_STAMP = STAMP.decode()
_CONDITIONAL = re.compile(rb'"reference":"([A-Z][A-Za-z]+\?[^"]*)')
"""In compact JSON, in which no text can hold a bare quotation mark."""

_OF_SOMEBODY = re.compile(rb'"reference":"(?:[^"]*/)?Patient/|"resourceType":"(?:Patient|Person|RelatedPerson)"')

_INS = b"urn:oid:1.2.250.1.213.1.4."
"""How the systems of the INS begin, in the bytes of a body: few entries have to be walked through."""

_NOTICE = re.compile(r"n[0-9a-f]{40}\Z")
_REVIEW = f"Task.code={systems.TASKS}|{systems.REVIEW}"
_SERVER_META = ("versionId", "lastUpdated")
PATIENTS_OWN = "90"
"""The category of what the patient, or who acts for the patient, wrote."""

_ADMINISTRATIVE = "95"


def resource_of(call: Call) -> dict[str, Any]:
    """Return the resource that was sent, which must be of the type that the path names.

    Raises ``Invalid`` for what is not JSON or not of that type.
    """
    if call.body is None or call.body == b"":
        raise Invalid("The request has no body: send the resource as application/fhir+json.")
    tree = codec.loads_object(call.body) if isinstance(call.body, bytes) else dict(call.body)
    named = tree.get("resourceType")
    if named != call.type:
        told = f"is a {named[:64]!r}" if isinstance(named, str) else "says no resourceType"
        raise Invalid(f"The body {told}, the path asks for {call.type}.", expression="resourceType")
    return tree


def prepare(ref: Ref, before: Stored | None, tree: Mapping[str, Any], context: Context, env: Env) -> Change:
    """Return the Change that makes ``tree`` the next version of ``ref``.

    Id and version are the server's, and so are visibility labels that the caller may not set or lift; what else ``meta`` holds (tags,
    other labels, profiles) is the client's. References to what lies on this server become relative to its base. Raises ``InvalidStructure``
    with every issue, ``TooLong`` above the limit of one resource.
    """
    tree = with_relative(ref.type, tree, context.base_url)
    require_valid(ref.type, tree, env)
    if not ID.match(ref.id):
        raise Invalid(f"{ref.id!r} is no FHIR id.", expression=f"{ref.type}.id")
    version = before.version + 1 if before else 1
    tree, only_labels = _labelled(before, tree, context, env)
    whole = _with_meta(ref, version, tree)
    body = codec.dumps(whole)
    if len(body) > env.limits.resource:
        raise TooLong(f"A resource may have {env.limits.resource} bytes; this one has {len(body)}.")
    _require_literal(ref, body)
    _require_of_nobody(ref, body, whole)
    index = indexed(ref, before, whole, context, env)
    _require_not_ours(ref, before, index, context)
    return Change(ref, version, before, body, index, only_labels)


def _require_literal(ref: Ref, body: bytes) -> None:
    """Refuse a reference by criteria that nothing resolved: a transaction does that, and what is stored names one resource.

    https://hl7.org/fhir/R4/http.html#trules. What holds resources as they were sent may hold theirs.
    """
    found = _CONDITIONAL.search(body) if b"?" in body and ref.type not in AS_SENT else None
    if found is not None:
        text = f"The reference {found[1].decode(errors='replace')[:200]!r} is resolved within a transaction alone."
        raise InvalidStructure(text, expression=ref.type)


def _require_of_nobody(ref: Ref, body: bytes, tree: Mapping[str, Any]) -> None:
    """Refuse an entry of the directory that names a patient or holds one: whoever is known reads it, and no record is told."""
    if ref.type in DIRECTORY and (_OF_SOMEBODY.search(body) or (_INS in body and _holds_an_ins(tree))):
        text = f"{ref.type} is open to whoever is known: it names no patient and contains none."
        raise Unprocessable(text, expression=ref.type)


def _holds_an_ins(tree: Any) -> bool:
    """Tell whether somebody's number stands anywhere in it; to name the system alone, as profiles do, names nobody."""
    if isinstance(tree, list):
        return any(map(_holds_an_ins, tree))
    if not isinstance(tree, dict):
        return False
    return (tree.get("system") in INS_SYSTEMS and "value" in tree) or any(map(_holds_an_ins, tree.values()))


def _require_not_ours(ref: Ref, before: Stored | None, index: Row, context: Context) -> None:
    """Refuse what the server alone writes: reviews of emergencies, and ids of notices, by which it knows that somebody was told."""
    if context.subject is not None and context.subject.role == systems.SERVER:
        return
    if before is None and ref.type in ("Communication", "Task") and _NOTICE.match(ref.id):
        raise Conflict(f"{ref} cannot be used: choose another id.", reasons=("an id of the server's notices",))
    if _REVIEW in index.get("t", ()) and (before is None or _REVIEW not in before.index.get("t", ())):
        raise Unprocessable("Reviews of emergencies are written by this server alone.", expression="Task.code")


def changed(
    before: Stored, tree: Mapping[str, Any], made: Mapping[str, Any], context: Context, grant: Grant, env: Env
) -> Change | None:
    """Return the Change from ``tree``, which is what ``before`` holds, to ``made``; None where nothing differs: that is no new version.

    Who may not update it is refused whatever differs, and so the Change is made.
    """
    made = with_relative(before.ref.type, made, context.base_url)
    if codec.dumps(made) == codec.dumps(tree) and grant.decide("repeat", before.index).permit:
        return None
    return prepare(before.ref, before, made, context, env)


def indexed(ref: Ref, before: Stored | None, tree: Mapping[str, Any], context: Context, env: Env) -> dict[str, Any]:
    """Return what ``tree`` is found and judged by as the next version of ``ref``: its values, its author, its category."""
    index = dict(env.extract(ref.type, tree))
    if before is not None and before.deleted:
        index["new"] = True
    if ref.type in NAMING and systems.keeps_directory(context.subject):
        index["kept"] = True
    index["au"] = before.index.get("au", []) if before else author(context)
    if ref.type == "Binary":
        index.update(_context_of(tree, context))
    if about := patients_named(ref.type, tree):
        index["about"] = about
    if index.get("ca", _ADMINISTRATIVE) != _ADMINISTRATIVE and _is_patients_own(before, context):
        index["ca"] = PATIENTS_OWN
    return index


def _context_of(tree: Mapping[str, Any], context: Context) -> Mapping[str, Any]:
    """Return the record that a Binary says it belongs to. https://hl7.org/fhir/R4/binary-definitions.html#Binary.securityContext."""
    reference = (tree.get("securityContext") or {}).get("reference")
    ref = local(reference, context.base_url) if isinstance(reference, str) else None
    return {"pt": [str(ref)]} if ref is not None and ref.type == "Patient" else {}


def _labelled(
    before: Stored | None, tree: Mapping[str, Any], context: Context, env: Env
) -> tuple[Mapping[str, Any], bool]:
    """Return the resource with the visibility labels that it will have, and whether nothing else changes."""
    wrong = misspelt(tree)
    if wrong is not None:
        raise Unprocessable(
            f"{wrong[:64]!r} is no label of visibility: it would hide nothing.", expression="meta.security"
        )
    given = flags_of(tree)
    had = FLAGS & set(before.index.get("sec") or ()) if before else frozenset()
    if before is None or before.body is None:  # what comes back after its deletion is as hidden as it was
        together = env.readings.masked_and_invisible
        require_flags_at_creation(context.subject, given | had, together=together)
        return (with_flags(tree, given | had) if had - given else tree), False
    if had == given:
        return tree, False
    only_labels = without_labels(codec.loads_object(before.body)) == without_labels(tree)
    flags = flags_after_update(context.subject, frozenset(had), given, only_labels=only_labels)
    return with_flags(tree, flags), only_labels


def _is_patients_own(before: Stored | None, context: Context) -> bool:
    """Tell whether the patient, or who acts for the patient, wrote it: a category of its own, whatever the resource says."""
    if before is not None:
        return before.index.get("ca") == PATIENTS_OWN
    person = context.subject.person if context.subject else None
    return person is not None and person.kind != "professional"


def require_valid(resource_type: str, tree: Mapping[str, Any], env: Env) -> None:
    """Raise ``InvalidStructure`` with every issue of a resource that breaks the structure of its type."""
    problems = tuple(issue for issue in env.validate(resource_type, tree) if issue.severity in ("error", "fatal"))
    if problems:
        raise InvalidStructure("The resource breaks the structure of its type.", issues=problems)


def tombstone(before: Stored) -> Change:
    """Return the Change that deletes ``before``: no body, nothing to find it by; it is judged as before, so that it tells no more."""
    told = {name: before.index[name] for name in ("pt", "about", "au", "sec", "ca", "ds") if name in before.index}
    return Change(before.ref, before.version + 1, before, None, {**told, "t": kept(before.index.get("t", ()))})


def next_version(
    call: Call,
    tree: Mapping[str, Any],
    before: Stored | None,
    context: Context,
    grant: Grant,
    env: Env,
    *,
    anew: bool = False,
) -> Change | None:
    """Return the Change that an update makes of ``before``; the body's id must be the one that the call names.

    None where everything is there as it was sent: who sends a record each night makes no versions that say nothing. Who may not
    update it is refused whatever differs, and so the Change is made; as it is for who tells a Provenance of it, and for what is to be
    ``anew``. One that is found by less than rows are now is a Change to the same version.
    """
    if tree.get("id") != call.id:
        raise Invalid(
            f"The body's id {tree.get('id')!r} must be the id in the path, {call.id!r}.", expression=f"{call.type}.id"
        )
    require_version(call, before)
    change = prepare(call.ref, before, tree, context, env)
    if is_part(tree.get("meta")):
        raise Unprocessable("The resource is a part of one (SUBSETTED); read it whole, then change it.")
    if before is None or anew or call.provenance or not _says_the_same(change, before) or _is_a_word(change, context):
        return change
    return _indexed_anew(change, before) if grant.decide("repeat", before.index).permit else change


def _says_the_same(change: Change, before: Stored) -> bool:
    """Tell whether a change differs from what is there in nothing but the version and its moment, which begin both bodies."""
    if change.body is None or before.body is None:
        return False
    new, old = _head(change.ref, change.version, _STAMP), _head(before.ref, before.version, instant(before.updated))
    if len(change.body) - len(new) != len(before.body) - len(old) or not before.body.startswith(old):
        return False
    return change.body.startswith(new) and change.body[len(new) :] == before.body[len(old) :]


def _indexed_anew(change: Change, before: Stored) -> Change | None:
    """Return what keeps the version that is there and finds it by what rows are found by now; None if it is found by that already.

    A row that was indexed in an older form, or before a search parameter was added, is sent as it is; so is what others wrote of the directory
    and its keeper says too. Whose record a Provenance is in, and from whom it is hidden, is told by its targets, and not known yet.
    """
    told = (
        ("t", "r", "w", "ds") if change.ref.type == "Provenance" else ("t", "r", "w", "ds", "sec", "pt", "about", "ca")
    )
    stamps = {name: True for name in ("new", "kept", "patched") if before.index.get(name)}
    index = {**change.index, **stamps}
    if all((index.get(name) or None) == (before.index.get(name) or None) for name in (*told, "kept")):
        return None
    return replace(change, version=before.version, body=before.body, index=index)


def _head(ref: Ref, version: int, moment: str) -> bytes:
    """Return how the body of a version begins (``_with_meta``)."""
    meta = f'"meta":{{"versionId":"{version}","lastUpdated":"{moment}"'
    return f'{{"resourceType":"{ref.type}","id":"{ref.id}",{meta}'.encode()


def _is_a_word(change: Change, context: Context) -> bool:
    """Tell whether it opens or shuts the record that its writer says so: it is said, then, though others wrote the same before."""
    subject = context.subject
    if subject is None or change.ref.type not in people.SOURCES:
        return False
    return subject.person.kind != "professional" if subject.person else subject.role == systems.INSURANCE


def removal(call: Call, before: Stored | None) -> Change | None:
    """Return the Change that a delete makes of ``before``, or None where nothing is there any more."""
    require_version(call, before)
    return None if before is None or before.deleted else tombstone(before)


def author(context: Context) -> list[str]:
    """Return who writes, as the token says and never as the body claims: a person, or a client, and the structure."""
    subject = context.subject
    return [] if subject is None else list(names_of(subject))


def _with_meta(ref: Ref, version: int, tree: Mapping[str, Any]) -> dict[str, Any]:
    given = tree.get("meta") or {}
    meta = {"versionId": str(version), "lastUpdated": _STAMP}
    meta.update((key, value) for key, value in given.items() if key.lstrip("_") not in _SERVER_META)
    head = {"resourceType": ref.type, "id": ref.id, "meta": meta}
    head.update((key, value) for key, value in tree.items() if key not in head and key != "_id")
    return head
