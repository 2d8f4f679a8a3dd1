"""The table of acts: what each looks like as an AuditEvent, and which IHE profile it meets. https://profiles.ihe.net/ITI/BALP/content.html.

An act that comes later joins here, with one line. Where IHE has no profile (history, operations, bundles, acts of operators) the
act follows the pattern of the nearest one and claims nothing.

========  ===========================================================================================================
shape     entities beside the patient and the request id
========  ===========================================================================================================
data      the resource, as the version that was read or made
query     what was asked; the versions found are details of the patient
bundle    the job: of a transaction that was done how many entries; each entry has an event of its own
export    the record that left; the versions are details of the patient
token     what was asked of the authorization server
decision  the Consents that decided
alert     what was asked, if there is more to say than the subtype
========  ===========================================================================================================
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_dmp.audit import codes
from fhir_dmp.audit.codes import Coding

Shape = Literal["data", "query", "bundle", "export", "token", "decision", "alert"]


class Kind(Struct, frozen=True):
    """One line of the table.

    ``profile`` is the last part of the profile's URL, to which ``Patient`` is put in front where there is one (``per_patient``).
    ``client``, ``server`` and ``user`` are the types of the agents.
    """

    shape: Shape
    action: str
    subtypes: tuple[Coding, ...]
    client: Coding
    server: Coding
    user: Coding = field(default_factory=codes.RECIPIENT.copy)
    type: Coding = field(default_factory=codes.REST.copy)
    profile: str | None = None
    per_patient: bool = True
    lifecycle: str | None = None


def _rest(code: str) -> tuple[Coding, ...]:
    return ({"system": codes.INTERACTION, "code": code, "display": code},)


def _own(code: str) -> tuple[Coding, ...]:
    return ({"system": codes.ACT, "code": code},)


def _read(code: str) -> Kind:
    return Kind("data", "R", _rest(code), codes.DESTINATION, codes.ORIGIN, profile="Read", lifecycle="6")


def _query(code: str, profile: str | None = None) -> Kind:
    return Kind("query", "E", _rest(code), codes.ORIGIN, codes.DESTINATION, profile=profile)


def _change(code: str, action: str, profile: str, lifecycle: str) -> Kind:
    return Kind(
        "data",
        action,
        _rest(code),
        codes.ORIGIN,
        codes.DESTINATION,
        codes.AUTHOR,
        profile=profile,
        lifecycle=lifecycle,
    )


def _bundle(code: str) -> Kind:
    return Kind("bundle", "E", _rest(code), codes.ORIGIN, codes.DESTINATION)


def _alert(code: str, *more: Coding, kind: Coding = codes.SECURITY) -> Kind:
    return Kind("alert", "E", (*_own(code), *more), codes.APPLICATION, codes.AUTHORIZER, type=kind)


DECISION = "decision"
"""A Consent that refused; rendered beside the refusal itself."""

KINDS: dict[str, Kind] = {
    "read": _read("read"),
    "vread": _read("vread"),
    "search-type": _query("search-type", "Query"),
    "search-system": _query("search-system", "Query"),
    "history-instance": _query("history-instance"),
    "history-type": _query("history-type"),
    "history-system": _query("history-system"),
    "capabilities": _query("capabilities"),
    "create": _change("create", "C", "Create", "1"),
    "update": _change("update", "U", "Update", "3"),
    "patch": _change("patch", "U", "Update", "3"),
    "delete": Kind(
        "data",
        "D",
        _rest("delete"),
        codes.APPLICATION,
        codes.CUSTODIAN,
        codes.AUTHOR,
        profile="Delete",
        lifecycle="14",
    ),
    "batch": _bundle("batch"),
    "transaction": _bundle("transaction"),
    "$everything": Kind(
        "export",
        "R",
        (codes.DISCLOSED, *_rest("operation"), *_own("$everything")),
        codes.DESTINATION,
        codes.ORIGIN,
        type=codes.EXPORT,
        profile="PrivacyDisclosure.Source",
        per_patient=False,
    ),
    "token": Kind(
        "token",
        "E",
        (codes.TOKEN_ISSUED,),
        codes.APPLICATION,
        codes.TOKEN_SERVER,
        type=codes.AUTHENTICATION,
        profile="IHE.IUA.71",
        per_patient=False,
    ),
    DECISION: Kind(
        "decision",
        "E",
        (codes.BY_CONSENT,),
        codes.APPLICATION,
        codes.AUTHORIZER,
        type=codes.SECURITY,
        profile="AuthZconsent",
        per_patient=False,
    ),
    "login": _alert("login", codes.LOGIN, kind=codes.AUTHENTICATION),
    "logout": _alert("logout", codes.LOGOUT, kind=codes.AUTHENTICATION),
    "authorize": _alert("authorize", kind=codes.AUTHENTICATION),
    "userinfo": _alert("userinfo", kind=codes.AUTHENTICATION),
    "launch": _alert("launch", kind=codes.AUTHENTICATION),
    "introspect": _alert("introspect", kind=codes.AUTHENTICATION),
    "revoke": _alert("revoke", kind=codes.AUTHENTICATION),
    "operator-token": _alert("operator-token", kind=codes.AUTHENTICATION),
    "break-glass-start": _alert("break-glass-start", codes.GLASS_BROKEN),
    "break-glass-end": _alert("break-glass-end", codes.GLASS_WHOLE),
    "break-glass-expiry": _alert("break-glass-end", codes.GLASS_WHOLE),
    "busy": _alert("busy"),
    "flood": _alert("flood"),
    "reindex": _alert("reindex"),
    "audit-retire-start": _alert("audit-retire-start"),
    "audit-retire": _alert("audit-retire"),
    "audit-rotate-key": _alert("audit-rotate-key"),
    "audit-verify": _alert("audit-verify", codes.LOG_USED),
    "record-erase": _alert("record-erase"),
    "client-add": _alert("client-add", codes.ROLES_CHANGED),
    "client-remove": _alert("client-remove", codes.ROLES_CHANGED),
    **{
        f"account-{change}": _alert(f"account-{change}", codes.USER_CHANGED)
        for change in ("add", "disable", "enable", "password", "remove", "represent", "totp")
    },
}
"""By the name of the act, as a row holds it."""

_UNREAD = ("get", "head", "post", "put", "options", "bundle", "operation")
_LISTING_OPERATIONS = ("$access-list", "$counts", "$entries", "$lastn")


@lru_cache(maxsize=4096)
def kind_of(act: str, *, of_log: bool = False) -> Kind:
    """Return the line of the act; ``of_log`` says that the log itself was read."""
    found = KINDS.get(act)
    if found is None and act.startswith("$"):
        shape: Shape = "query" if act in _LISTING_OPERATIONS else "data"
        subtypes = (*_rest("operation"), *_own(act))
        found = Kind(shape, "E", subtypes, codes.ORIGIN, codes.DESTINATION)
    if found is None and act in _UNREAD:
        found = Kind("query", "E", _own(act), codes.ORIGIN, codes.DESTINATION)
    if found is None:
        found = _alert(act)
    return found if not of_log else replace(found, subtypes=(*found.subtypes, codes.LOG_USED))
