"""Who asks: the ways in which clients prove themselves, one for each kind. https://www.rfc-editor.org/rfc/rfc6749#section-2.3.

=================  ================================================================================================
``backend``        ``private_key_jwt``
``confidential``   ``private_key_jwt``, ``client_secret_basic`` or ``client_secret_post``, as it was registered
``public``         ``none``: it names itself, and PKCE or the token it holds shows that it is the one that asked before
=================  ================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fhir_dmp.clock import SECOND, Clock
from fhir_dmp.oauth.client_secret import read_secret, require_secret
from fhir_dmp.oauth.clients import ROLES
from fhir_dmp.oauth.errors import InvalidClient, InvalidRequest
from fhir_dmp.oauth.jwks import FetchedKeys
from fhir_dmp.oauth.rfc7523 import read_assertion, require_proof
from fhir_dmp.store.grants import Client, Grants

METHODS = ("private_key_jwt", "client_secret_basic", "client_secret_post")
_UNKNOWN = "There is no client of this id that authenticates here."


class Authentication:
    """Knows clients by what they send; ``audience`` is that of their assertions."""

    def __init__(self, grants: Grants, fetched: FetchedKeys, clock: Clock, audience: str) -> None:
        self._grants = grants
        self._fetched = fetched
        self._clock = clock
        self._audience = audience

    def require_client(self, authorization: str, form: Mapping[str, str], claimed: Callable[[str], None]) -> Client:
        """Return the client that has proven who it is, or a public one that says who it is.

        ``claimed`` is told the id that is claimed, before anything is proven. Raises ``InvalidClient`` or ``InvalidRequest``.
        """
        if "client_assertion" in form or "client_assertion_type" in form:
            return self._by_assertion(form, claimed)
        secret = read_secret(authorization, form)
        if secret is not None:
            claimed(secret.unverified_client_id)
            client = self.find(secret.unverified_client_id)
            if client.secret_hash is None:
                raise InvalidClient(f"This client does not authenticate by a secret: it is a {client.kind} one.")
            require_secret(secret, client)
            return client
        client_id = form.get("client_id")
        if client_id is None:
            raise InvalidClient(f"Authenticate by one of {', '.join(METHODS)}; a public client sends client_id.")
        claimed(client_id)
        client = self.find(client_id)
        if client.kind != "public":
            raise InvalidClient("This client has to authenticate: an id alone proves nothing.")
        return client

    def find(self, client_id: str) -> Client:
        """Return the client as it is registered; raise ``InvalidClient`` if there is none whose role the server knows.

        A role that nobody can register is of no use to whoever writes it into the database.
        """
        client = self._grants.find_client(client_id)
        if client is None or client.role not in ROLES:
            raise InvalidClient(_UNKNOWN)
        return client

    def _by_assertion(self, form: Mapping[str, str], claimed: Callable[[str], None]) -> Client:
        """Return the client that the form's assertion proves; the assertion is never taken again."""
        assertion = read_assertion(form)
        claimed(assertion.unverified_client_id)
        if form.get("client_id", assertion.unverified_client_id) != assertion.unverified_client_id:
            raise InvalidRequest("client_id is not the subject of client_assertion.")
        client = self.find(assertion.unverified_client_id)
        if client.jwks is None and client.jwks_url is None:
            raise InvalidClient(_UNKNOWN)
        now = self._clock.micros() / SECOND
        proof = require_proof(assertion, client, self._fetched, self._audience, now)
        if not self._grants.use_assertion(client.id, proof.jti, int(proof.expires * SECOND)):
            raise InvalidClient("client_assertion was used before: sign a new one, with a new jti, for each request.")
        return client
