"""Conditions by version, moment and id: ``If-Match``, ``If-None-Match``, ``If-Modified-Since``, and an id that must be free. https://hl7.org/fhir/R4/http.html#concurrency."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from fhir_dmp.call import Call
from fhir_dmp.clock import SECOND
from fhir_dmp.errors import Conflict, Invalid, VersionMismatch
from fhir_dmp.fhir.reference import Ref
from fhir_dmp.store.change import Stored


def require_version(call: Call, before: Stored | None) -> None:
    """Hold the call to its ``If-Match`` and ``If-None-Match``. https://hl7.org/fhir/R4/http.html#concurrency."""
    present = before is not None and not before.deleted
    if call.if_match is not None:
        expected = etag_versions(call.if_match)
        if before is None or not present or (expected is not None and str(before.version) not in expected):
            actual = f"version {before.version}" if before is not None and present else "absent"
            raise VersionMismatch(f"If-Match names {call.if_match}, the resource is {actual}.")
    if call.if_none_match is not None and present:
        unwanted = etag_versions(call.if_none_match)
        if unwanted is None or (before is not None and str(before.version) in unwanted):
            raise VersionMismatch("If-None-Match does not hold: the resource exists.")


def require_unused(ref: Ref, row: Stored | None) -> None:
    """Refuse to replace what has the id that a body brings where its criteria match nothing: the two mean different resources.

    R4 leaves it open, R5 answers the conflict. https://hl7.org/fhir/R5/http.html#cond-update.
    """
    if row is not None and not row.deleted:
        text = f"{ref} does not meet the criteria, so it is not what is meant; nothing was changed."
        raise Conflict(text, expression=f"{ref.type}.id", reasons=("id in use",))


def not_modified(call: Call, row: Stored) -> bool:
    """Tell whether its caller has the version already, by ``If-None-Match`` or, without one, by ``If-Modified-Since``.

    https://hl7.org/fhir/R4/http.html#cread.
    """
    if call.if_none_match is not None:
        versions = etag_versions(call.if_none_match)
        return versions is None or str(row.version) in versions
    if call.if_modified_since is not None:
        try:
            since = parsedate_to_datetime(call.if_modified_since)
        except ValueError:
            return False
        return row.updated // SECOND <= int(since.timestamp())
    return False


def etag_versions(header: str) -> frozenset[str] | None:
    """Return the versions that an ETag header names, or None for ``*``.

    Raises ``Invalid`` for anything but ``*`` or a list of ``W/"1"`` and ``"1"``.
    """
    if header.strip() == "*":
        return None
    versions = set()
    for part in header.split(","):
        tag = part.strip().removeprefix("W/")
        if len(tag) < 3 or tag[0] != '"' or tag[-1] != '"':
            raise Invalid(f'{part.strip()!r} is no version: write W/"3".')
        versions.add(tag[1:-1])
    return frozenset(versions)
