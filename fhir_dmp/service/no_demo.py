"""No real server holds the clients or the people of a demonstration: everybody knows their secrets."""

from __future__ import annotations

from typing import Any, Protocol

from fhir_dmp.demo.people import LOGINS
from fhir_dmp.errors import Conflict

CLIENTS = ("demo-ehr", "demo-auditor", "demo-insurance")


class HasClients(Protocol):
    """Where clients are registered."""

    def find_client(self, client_id: str, /) -> Any:
        """Return the client, or None."""
        ...


class HasAccounts(Protocol):
    """Where people are known."""

    def find_account_by_login(self, login: str, /) -> Any:
        """Return the account, or None."""
        ...


def require_no_demo(clients: HasClients, accounts: HasAccounts) -> None:
    """Raise ``Conflict`` if a client or a person of a demonstration is there."""
    found = [client for client in CLIENTS if clients.find_client(client)]
    found += [login for login in LOGINS if accounts.find_account_by_login(login)]
    if found:
        raise Conflict(
            f"This folder was made by a demonstration ({', '.join(found)}): serve another --data-dir, "
            "or remove its clients and people with fhir-dmp client remove and fhir-dmp account remove."
        )
