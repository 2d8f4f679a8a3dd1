"""The grant of clients that act for themselves. https://www.rfc-editor.org/rfc/rfc6749#section-4.4.

As SMART Backend Services use it: https://hl7.org/fhir/smart-app-launch/STU2.2/backend-services.html.
"""

from __future__ import annotations

from fhir_dmp.access.scopes import cut
from fhir_dmp.access.systems import PURPOSES
from fhir_dmp.call import Restrict
from fhir_dmp.fhir.reference import ID
from fhir_dmp.oauth.clients import INTROSPECTION_SCOPE, require_meaning
from fhir_dmp.oauth.errors import InvalidRequest, InvalidScope, UnauthorizedClient
from fhir_dmp.store.grants import Client

GRANT_TYPE = "client_credentials"


def record_of(patient: str) -> str:
    """Return the record (``Patient/p``) that a token is bound to; raise ``InvalidRequest`` for what names none."""
    resource_id = patient.removeprefix("Patient/")
    if not ID.match(resource_id):
        raise InvalidRequest("patient is the record: Patient/id, or the id alone.")
    return f"Patient/{resource_id}"


def require_purpose(purpose: str) -> None:
    """Raise ``InvalidRequest`` for a purpose that no system has."""
    if purpose not in PURPOSES:
        raise InvalidRequest(f"A system asks for {', '.join(PURPOSES)}; an emergency is claimed by who signs in.")


def granted_scopes(client: Client, asked: str | None, restrict: Restrict) -> tuple[str, ...]:
    """Return what was asked, cut to what the client is registered for, or all of that if nothing was asked.

    https://www.rfc-editor.org/rfc/rfc6749#section-3.3.
    """
    if client.kind != "backend":
        raise UnauthorizedClient(
            f"A {client.kind} client does not act for itself: {GRANT_TYPE} is for backend clients."
        )
    if asked is None:
        return client.scopes
    scopes = asked.split(" ")
    introspects = (
        [INTROSPECTION_SCOPE] if INTROSPECTION_SCOPE in scopes and INTROSPECTION_SCOPE in client.scopes else []
    )
    granted = (*cut(scopes, client.scopes), *introspects)
    require_meaning(granted, restrict)
    if not granted:
        raise InvalidScope("The client is registered for none of the scopes that it asks for.")
    return granted
