"""What the doors of OAuth work with: that of clients (``service.tokens``) and that of people (``service.authorize``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from fhir_dmp.call import Restrict
from fhir_dmp.clock import SECOND, Clock, Ids
from fhir_dmp.oauth.authentication import Authentication
from fhir_dmp.oauth.handles import Opaque
from fhir_dmp.oauth.keys import Keys
from fhir_dmp.oauth.lifetimes import Lifetimes
from fhir_dmp.oauth.tokens import Issuer
from fhir_dmp.store.accounts import Session
from fhir_dmp.store.families import Families, Family
from fhir_dmp.store.grants import Grants
from fhir_dmp.token_act import Announce


class OAuthEnv(Struct, frozen=True, kw_only=True):
    """The parts of OAuth; made once for each worker by the composition root.

    ``clients`` knows clients by their proofs, ``sessions`` finds those of people by their ids. ``restrict`` compiles the search
    restrictions of scopes, ``has_record`` tells whether a Patient is there (``Patient/p``), ``announce`` makes an act durable before its answer
    leaves.
    """

    grants: Grants
    families: Families
    sessions: Callable[[str], Session | None]
    clients: Authentication
    keys: Keys
    opaque: Opaque
    issuer: Issuer
    lifetimes: Lifetimes
    restrict: Restrict
    has_record: Callable[[str], bool]
    clock: Clock
    ids: Ids
    announce: Announce

    def family_of(self, handle: Mapping[str, Any] | None) -> Family | None:
        """Return the authorization that an opened handle belongs to, as far as there is one."""
        return self.families.find_family(handle["f"]) if handle else None

    @property
    def now(self) -> int:
        """The present instant in seconds since 1970, as tokens tell it."""
        return self.clock.micros() // SECOND
