"""The grant of clients that act for themselves. https://www.rfc-editor.org/rfc/rfc6749#section-4.4.

As SMART Backend Services use it: https://hl7.org/fhir/smart-app-launch/STU2.2/backend-services.html.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from fhir_dmp.access.scopes import cut
from fhir_dmp.errors import Invalid
from fhir_dmp.oauth.clients import require_no_restriction
from fhir_dmp.oauth.errors import InvalidRequest, InvalidScope, UnauthorizedClient, UnsupportedGrantType
from fhir_dmp.store.grants import Client

GRANT_TYPE = "client_credentials"
FORM_TYPE = "application/x-www-form-urlencoded"
FORM_LENGTH = 32 * 1024
MOST_FIELDS = 20


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the parameters of a form; those without a value count as left out.

    Raises ``InvalidRequest`` for another media type, a form over its bounds, or a parameter that comes twice.
    """
    if content_type.partition(";")[0].strip().lower() != FORM_TYPE:
        raise InvalidRequest(f"Send the parameters in the body, as {FORM_TYPE}.")
    if len(body) > FORM_LENGTH:
        raise InvalidRequest(f"The form is longer than {FORM_LENGTH} bytes.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidRequest(f"The body is no form of at most {MOST_FIELDS} parameters.") from None
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise InvalidRequest("A parameter is sent twice.")
    return {name: value for name, value in pairs if value}


def require_grant_type(form: dict[str, str]) -> None:
    """Refuse every grant but this one."""
    grant_type = form.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("grant_type is missing.")
    if grant_type != GRANT_TYPE:
        raise UnsupportedGrantType(f"This server takes grant_type={GRANT_TYPE} alone.")


def granted_scopes(client: Client, asked: str | None) -> tuple[str, ...]:
    """Return what was asked, cut to what the client is registered for, or all of that if nothing was asked.

    A restriction is refused and never left out, for that would widen the scope.
    https://www.rfc-editor.org/rfc/rfc6749#section-3.3.
    """
    if client.kind != "backend":
        raise UnauthorizedClient(
            f"A {client.kind} client does not act for itself: {GRANT_TYPE} is for backend clients."
        )
    if asked is None:
        return client.scopes
    scopes = asked.split(" ")
    try:
        require_no_restriction(scopes)
    except Invalid as error:
        raise InvalidScope(str(error)) from None
    granted = cut(scopes, client.scopes)
    if not granted:
        raise InvalidScope("The client is registered for none of the scopes that it asks for.")
    return granted
