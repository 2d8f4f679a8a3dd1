"""Authorizations on MongoDB, in the collection of grants: ``family/<id>``, one row with all that may change by one update."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pymongo.database import Database

from fhir_dmp.clock import datetime_of
from fhir_dmp.store.families import Family
from fhir_dmp.stores.mongo.rows import Rows, given

_FIELDS = (
    *("client", "registration", "account", "session", "redirect_uri", "challenge", "code", "began", "ends"),
    *("organization", "nonce", "refresh"),
)
_KEPT_LONGER = timedelta(hours=1)


class MongoFamilies:
    """``store.families.Families`` on one MongoDB database; ``timeout`` bounds each call in seconds."""

    def __init__(self, database: Database[dict[str, Any]], timeout: float = 5.0) -> None:
        self._rows = Rows(database, timeout)

    def add_family(self, family: Family) -> None:
        """Keep a new authorization until it ends."""
        row = {name: getattr(family, name) for name in _FIELDS}
        row |= {"scopes": list(family.scopes), "person": dict(family.person), "launch": dict(family.launch)}
        row |= _until(family.ends)
        self._rows.insert(_key(family.id), given(**row, redeemed=False, revoked=False))

    def find_family(self, family_id: str) -> Family | None:
        """Return the authorization as it is now."""
        row = self._rows.find(_key(family_id))
        return _family(row) if row else None

    def of_account(self, account_id: str) -> tuple[Family, ...]:
        """Return all authorizations that the account gave and that are kept, by age."""
        return tuple(_family(row) for row in self._rows.prefixed(_key(f"{account_id}.")))

    def redeem_code(self, family_id: str, code: str, refresh: str | None, ends: int, now: int) -> bool:
        """Use the code; return False if it was used before, or by ``now`` the family is over or was revoked."""
        unused = {"_id": _key(family_id), "code": code, "redeemed": False, "revoked": False, "ends": {"$gt": now}}
        return self._rows.update(unused, {"$set": given(redeemed=True, refresh=refresh, **_until(ends))})

    def rotate_refresh(self, family_id: str, used: str, following: str) -> bool:
        """Replace the refresh token; return False if it is not the one that may be used, or the family was revoked."""
        current = {"_id": _key(family_id), "refresh": used, "revoked": False}
        return self._rows.update(current, {"$set": {"refresh": following}})

    def revoke_family(self, family_id: str) -> None:
        """Let nothing of the family hold from now on."""
        self._rows.update({"_id": _key(family_id)}, {"$set": {"revoked": True}})


def _key(family_id: str) -> str:
    return f"family/{family_id}"


def _until(ends: int) -> dict[str, Any]:
    return {"ends": ends, "expires": datetime_of(ends) + _KEPT_LONGER}


def _family(row: Mapping[str, Any]) -> Family:
    values: dict[str, Any] = {name: row.get(name) for name in _FIELDS}
    return Family(
        id=row["_id"].removeprefix("family/"),
        scopes=tuple(row["scopes"]),
        person=row["person"],
        launch=row["launch"],
        redeemed=row["redeemed"],
        revoked=row["revoked"],
        **values,
    )
