"""Clients, keys and tokens on MongoDB, in one collection, so that what holds of a token is one query by ids.

==================  ========================================================================================
``client/<id>``     a registered client
``key/<n>``         the n-th signing key, sealed
``used/<digest>``   an assertion that was used: inserting it again fails, on any worker
``revoked/<jti>``   a token that was revoked
``policy/<ref>``    what opens the record of ``Patient/p``: version ``v``, body ``b``, names ``n``; written by commits
==================  ========================================================================================

Accounts and sessions are beside them: see ``stores.mongo.accounts``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any

from pymongo.database import Database

from fhir_dmp.clock import datetime_of, micros_of
from fhir_dmp.store.grants import Client, Key, Look, PersonStanding, PolicyRow, Standing
from fhir_dmp.stores.mongo.faults import promptly
from fhir_dmp.stores.mongo.finder import Finder
from fhir_dmp.stores.mongo.rows import Rows
from fhir_dmp.stores.mongo.together import Together

KEPT_LONGER = timedelta(hours=1)
"""Used assertions outlive their end by more than any difference between our clocks and the database's."""


_STANDING = {
    **dict.fromkeys(("registration", "role", "organization", "v", "b"), 1),
    **dict.fromkeys(("person", "revoked", "began", "disabled", "holds_from"), 1),
}
"""What is read of the rows that a token stands on."""


class MongoGrants:
    """``store.grants.Grants`` on one MongoDB database; ``timeout`` bounds each call in seconds."""

    def __init__(self, database: Database[dict[str, Any]], timeout: float = 5.0) -> None:
        self._rows = Rows(database, timeout)
        self._finder = Finder(database, self._rows.millis, promptly)
        self._standings = Together(self._fetch_standings)

    def add_client(self, client: Client) -> bool:
        """Register the client; return False if its id is taken."""
        return self._rows.insert(f"client/{client.id}", _client_row(client))

    def find_client(self, client_id: str) -> Client | None:
        """Return the client as it is registered now."""
        row = self._rows.find(f"client/{client_id}")
        return _client(row) if row else None

    def list_clients(self) -> tuple[Client, ...]:
        """Return all clients by id."""
        return tuple(_client(row) for row in self._rows.prefixed("client/"))

    def remove_client(self, client_id: str) -> bool:
        """Forget the client; return False if nobody has that id."""
        return self._rows.delete(f"client/{client_id}")

    def find_standing(self, look: Look) -> Standing | None:
        """Return what holds now of those the look names, by a query shared with those who wait."""
        return self._standings.find(look)

    def use_assertion(self, client_id: str, jti: str, expires: int) -> bool:
        """Remember that the client used ``jti``; return False if it had before, on any worker."""
        digest = hashlib.sha256(f"{client_id}\n{jti}".encode()).hexdigest()
        return self._rows.insert(f"used/{digest}", {"expires": datetime_of(expires) + KEPT_LONGER})

    def revoke_token(self, token_id: str, expires: int) -> None:
        """Remember until well after ``expires`` that the token does not hold any more."""
        self._rows.insert(f"revoked/{token_id}", {"expires": datetime_of(expires) + KEPT_LONGER})

    def list_keys(self) -> tuple[Key, ...]:
        """Return the signing keys that are kept, by generation."""
        return tuple(sorted((_key(row) for row in self._rows.prefixed("key/")), key=lambda key: key.generation))

    def add_key(self, key: Key) -> bool:
        """Keep a signing key; return False if its generation exists."""
        row = {name: getattr(key, name) for name in ("generation", "kid", "sealed", "signs_from", "signs_until")}
        return self._rows.insert(f"key/{key.generation}", {**row, "expires": datetime_of(key.expires)})

    def _fetch_standings(self, looks: Sequence[Look]) -> Mapping[Look, Standing]:
        """Return the standings, by one query."""
        ids = {row_id for look in looks for row_id in _row_ids(look)}
        rows = {row["_id"]: row for row in self._finder.named(self._rows.collection, tuple(ids), _STANDING)}
        return {look: standing for look in looks if (standing := _standing(look, rows))}


def _row_ids(look: Look) -> Iterator[str]:
    yield f"client/{look.client}"
    yield f"revoked/{look.token}"
    if look.family is not None:
        yield f"family/{look.family}"
        yield f"account/{look.account}"
    if look.patient is not None:
        yield f"policy/{look.patient}"


def _standing(look: Look, rows: Mapping[str, Mapping[str, Any]]) -> Standing | None:
    client = rows.get(f"client/{look.client}")
    if client is None:
        return None
    policy = rows.get(f"policy/{look.patient}") if look.patient else None
    family = rows.get(f"family/{look.family}") if look.family else None
    return Standing(
        client["registration"],
        client["role"],
        client.get("organization"),
        revoked=f"revoked/{look.token}" in rows or (family is not None and family["revoked"]),
        policy=PolicyRow(look.patient or "", policy["v"], policy["b"]) if policy else None,
        person=_person(family, rows.get(f"account/{look.account}")),
    )


def _person(family: Mapping[str, Any] | None, account: Mapping[str, Any] | None) -> PersonStanding | None:
    if family is None or account is None or account["disabled"] or family["began"] < account["holds_from"]:
        return None
    return PersonStanding(family["person"], family.get("organization"))


def _client_row(client: Client) -> dict[str, Any]:
    row = {
        "registration": client.registration,
        "kind": client.kind,
        "role": client.role,
        "scopes": list(client.scopes),
        "registered": client.registered,
        "organization": client.organization,
        "jwks": client.jwks,
        "jwks_url": client.jwks_url,
        "redirect_uris": list(client.redirect_uris),
        "name": client.name,
        "secret_hash": client.secret_hash,
    }
    return {name: value for name, value in row.items() if value is not None}


def _client(row: Mapping[str, Any]) -> Client:
    return Client(
        id=row["_id"].removeprefix("client/"),
        registration=row["registration"],
        kind=row["kind"],
        role=row["role"],
        scopes=tuple(row["scopes"]),
        registered=row["registered"],
        organization=row.get("organization"),
        jwks=row.get("jwks"),
        jwks_url=row.get("jwks_url"),
        redirect_uris=tuple(row.get("redirect_uris", ())),
        name=row.get("name"),
        secret_hash=row.get("secret_hash"),
    )


def _key(row: Mapping[str, Any]) -> Key:
    return Key(
        generation=row["generation"],
        kid=row["kid"],
        sealed=row["sealed"],
        signs_from=row["signs_from"],
        signs_until=row["signs_until"],
        expires=micros_of(row["expires"].replace(tzinfo=UTC)),
    )
