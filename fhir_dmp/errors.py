"""The errors of the server, declared once as facts. https://hl7.org/fhir/R4/http.html#Status-Codes.

Each class states the issue code of the OperationOutcome, the HTTP status that ``http.errors`` answers with, and
the outcome code that the audit records. Functions that judge return values; functions that do raise these.

Outcomes are as http://terminology.hl7.org/CodeSystem/audit-event-outcome defines them: 4 for what the sender got wrong ("often equivalent to
an HTTP 400 response"), 8 for an unexpected error ("often equivalent to an HTTP 500 response"), 12 where the system is no longer available.
A refusal is 8, as IHE BALP has it for a Consent's denial.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

Severity = Literal["fatal", "error", "warning", "information"]


class Issue(Struct, frozen=True):
    """One line of an OperationOutcome. https://hl7.org/fhir/R4/operationoutcome.html.

    ``code`` is of http://hl7.org/fhir/issue-type; ``expression`` is a FHIRPath such as ``Patient.name[0].use``.
    """

    code: str
    text: str
    expression: str | None = None
    severity: Severity = "error"


class FhirError(Exception):
    """An answer other than success, written for the sender.

    ``text`` goes out; ``reasons`` go to the audit alone, and so do ``patients`` (``Patient/p``), whose record was concerned, and
    ``hidden``: representatives are not told, or those of some patients (``secret``). ``met`` (``Type/id``) is what it had to do with,
    where the path does not name that; ``referred`` are the criteria by which a transaction referred to something. ``asked`` tells whether
    all criteria of its entries were asked by then, or some. ``untold`` tells, once there is an event, that of the token's own record it
    tells representatives nothing.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "exception"
    audit_outcome: ClassVar[str] = "8"

    def __init__(
        self,
        text: str,
        *,
        expression: str | None = None,
        issues: tuple[Issue, ...] = (),
        reasons: tuple[str, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
        patients: tuple[str, ...] = (),
        hidden: bool = False,
        secret: tuple[str, ...] = (),
        met: tuple[str, ...] = (),
    ) -> None:
        super().__init__(text)
        self.issues = issues or (Issue(self.code, text, expression),)
        self.reasons = reasons
        self.headers = headers
        self.patients = patients
        self.hidden = hidden
        self.secret = secret
        self.untold = False
        self.met = met
        self.referred: tuple[str, ...] = ()
        self.asked: Literal["", "some", "all"] = ""


def failed(request_id: str) -> FhirError:
    """Return what is said of a fault that nobody foresaw: nothing but where its operator finds it in the log."""
    return FhirError(f"The server failed; its operator finds the reason under {request_id}.")


class Invalid(FhirError):
    """The request or the resource is not well formed."""

    status, code, audit_outcome = 400, "invalid", "4"


class InvalidStructure(Invalid):
    """The resource breaks the structure of its type."""

    code = "structure"


class NotSupported(FhirError):
    """The server knows what is asked and does not do it."""

    status, code, audit_outcome = 400, "not-supported", "4"


class UnknownType(FhirError):
    """The path names no resource type of R4."""

    status, code, audit_outcome = 404, "not-supported", "4"


class Unauthenticated(FhirError):
    """No token, or one that does not hold."""

    status, code, audit_outcome = 401, "login", "8"


class Refused(FhirError):
    """The caller is known and may not do this."""

    status, code, audit_outcome = 403, "forbidden", "8"


class NotFound(FhirError):
    """Absent, or hidden from this caller: the two are the same answer."""

    status, code, audit_outcome = 404, "not-found", "4"


class MethodNotAllowed(FhirError):
    """The resource type or its state does not take this interaction."""

    status, code, audit_outcome = 405, "not-supported", "4"


class NotAcceptable(FhirError):
    """No representation that the caller accepts."""

    status, code, audit_outcome = 406, "not-supported", "4"


class Conflict(FhirError):
    """Another change came first, or the id belongs to somebody else."""

    status, code, audit_outcome = 409, "conflict", "4"


class Duplicate(Conflict):
    """There is one already of what there is one of."""

    code = "duplicate"


class Gone(FhirError):
    """The resource was deleted."""

    status, code, audit_outcome = 410, "deleted", "4"


class VersionMismatch(FhirError):
    """A precondition (If-Match, a conditional with several matches) does not hold."""

    status, code, audit_outcome = 412, "conflict", "4"


class MultipleMatches(FhirError):
    """The criteria of a conditional interaction match more than one resource."""

    status, code, audit_outcome = 412, "multiple-matches", "4"


class TooLong(FhirError):
    """A body, bundle or resource above its limit."""

    status, code, audit_outcome = 413, "too-long", "4"


class UnsupportedMedia(FhirError):
    """A content type that the server does not read."""

    status, code, audit_outcome = 415, "not-supported", "4"


class Unprocessable(FhirError):
    """Well formed, and breaks a rule."""

    status, code, audit_outcome = 422, "processing", "4"


class TooCostly(FhirError):
    """The answer would need more work than the server does for one request."""

    status, code, audit_outcome = 422, "too-costly", "4"


class TooMany(FhirError):
    """The caller asks more often than it may, or the server's queues are full."""

    status, code, audit_outcome = 429, "throttled", "8"


class Unavailable(FhirError):
    """The database or the audit cannot be reached: nothing was disclosed and nothing changed."""

    status, code, audit_outcome = 503, "transient", "12"


class Unrecorded(Unavailable):
    """The event itself could not be made durable in time, or nobody can tell whether it is: no second event may say so."""


class Crowded(Unrecorded):
    """So many events wait that there is no room for one more: the request is counted, and the log is told how many there were."""


class Damaged(FhirError):
    """What is stored is not what was written: it cannot be told any more."""

    status, code, audit_outcome = 500, "incomplete", "8"


class Stale(Exception):
    """A Plan relied on something that has changed since: make it anew."""
