"""Turns of who signs in: each failure keeps the next attempt waiting, and a browser that its owner signed in with has turns of its own.

Whoever fails on purpose, from however many addresses, keeps no owner out who has signed in there before.
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from msgspec import Struct

from fhir_dmp.clock import DAY, SECOND, Clock
from fhir_dmp.errors import TooMany
from fhir_dmp.seal import BrokenSealError, Seal
from fhir_dmp.store.accounts import Account, Accounts

DEVICE_KEPT = 365 * DAY
ACCOUNT_WAITS = tuple(wait * SECOND for wait in (0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900))
ADDRESS_WAITS = tuple(wait * SECOND for wait in (*([0] * 30), 15, 30, 60, 120, 300))
"""How long each failure keeps the next attempt waiting: never for good, and never longer than the last."""

ACCOUNT_FORGETS = DAY
ADDRESS_FORGETS = 3_600 * SECOND


class Waits(Struct, frozen=True):
    """Counts attempts, and knows devices by what they were given; ``take`` and ``take_second`` raise ``TooMany`` for who must wait."""

    accounts: Accounts
    devices: Seal
    clock: Clock

    def take(self, login: str, address: str, device: str) -> Sequence[str]:
        """Count an attempt against the known device, or against the login and the address; return the keys."""
        if device:
            keys = {f"device:{device}": (ACCOUNT_WAITS, ACCOUNT_FORGETS)}
        else:
            keys = {
                f"address:{address}": (ADDRESS_WAITS, ADDRESS_FORGETS),
                f"login:{login}": (ACCOUNT_WAITS, ACCOUNT_FORGETS),
            }
        for key, (waits, forgets) in keys.items():
            self._take(key, waits, forgets)
        return tuple(keys)

    def take_second(self, account: Account, device: str) -> str:
        """Count an attempt at the second factor against what the browser holds, if it is known, or the account; return the key."""
        key = f"second:{self.device(device, account.login or '') or account.id}"
        self._take(key, ACCOUNT_WAITS, ACCOUNT_FORGETS)
        return key

    def give_back(self, keys: Sequence[str]) -> None:
        """Forget the failures of whom the attempt proved right; an address has others behind it, and keeps theirs."""
        for key in keys:
            if key.startswith("address:"):
                self.accounts.give_turn_back(key)
            else:
                self.accounts.forget_turns(key)

    def new_device(self, account: Account) -> str:
        """Return what makes a browser a known one for the account; empty for one without a login."""
        if account.login is None:
            return ""
        known = {"login": account.login, "id": secrets.token_urlsafe(9), "at": self.clock.micros()}
        return self.devices.seal(json.dumps(known).encode())

    def device(self, sealed: str, login: str) -> str:
        """Return the id of a device where the owner of the login has signed in before; empty for all others."""
        try:
            known = json.loads(self.devices.open(sealed))
        except (BrokenSealError, ValueError):
            return ""
        fresh = self.clock.micros() - known["at"] < DEVICE_KEPT
        return str(known["id"]) if fresh and known["login"] == login else ""

    def _take(self, key: str, waits: Sequence[int], forgets: int) -> None:
        wait = self.accounts.take_turn(key, self.clock.micros(), waits, forgets)
        if wait:
            seconds = str(-(-wait // SECOND))
            raise TooMany(
                f"Too many attempts: try again in {seconds} seconds.",
                reasons=(f"too many attempts by {key.partition(':')[0]}",),
                headers=(("Retry-After", seconds),),
            )
