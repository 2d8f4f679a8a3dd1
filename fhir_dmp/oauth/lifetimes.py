"""How long what is issued holds, in seconds. https://www.rfc-editor.org/rfc/rfc6749#section-10.5."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from fhir_dmp.access.model import Person
from fhir_dmp.oauth.code_grant import EMERGENCIES

CODE_SECONDS = 60
LAUNCH_SECONDS = 300


class Lifetimes(Struct, frozen=True):
    """``offline`` and ``online`` bound what an app may do before it asks the person again; ``emergency`` a broken glass."""

    token: int = 300
    emergency: int = 600
    online: int = 12 * 3600
    offline: int = 90 * 86_400

    def of_family(self, person: Person, scopes: Sequence[str]) -> int:
        """Return how long all that comes of an authorization may hold."""
        if person.purpose in EMERGENCIES:
            return self.emergency
        if "offline_access" in scopes:
            return self.offline
        return self.online if "online_access" in scopes else self.token

    def of_token(self, person: Person) -> int:
        """Return how long an access token may hold: one for an emergency is not refreshed, and lasts as long as that."""
        return self.emergency if person.purpose in EMERGENCIES else self.token
