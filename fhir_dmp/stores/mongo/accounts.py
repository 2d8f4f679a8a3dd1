"""Accounts, sessions and counted attempts on MongoDB, in the collection of grants.

======================  ==================================================================================
``account/<id>``        an account; ``holds_from`` and ``disabled`` say which of its tokens hold
``login/<digest>``      the account that signs in by this login
``federated/<digest>``  the account of a provider's subject
``identity/<digest>``   the account of a person by type and national identifier
``traits/<digest>``     the account of a person by the five traits
``session/<digest>``    a browser that is signed in, or on the way to be
``turns/<digest>``      attempts of one kind: how many, and until when no other is admitted
======================  ==================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pymongo
from msgspec.structs import asdict
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from fhir_dmp.clock import datetime_of
from fhir_dmp.fibres import offloaded
from fhir_dmp.store.accounts import Account, Represented, Session, Situation
from fhir_dmp.stores.mongo.faults import promptly
from fhir_dmp.stores.mongo.rows import Rows, given

_ACCOUNT = (
    *("kind", "name", "resource", "identifier", "added", "holds_from", "login", "password", "totp"),
    *("birth_date", "traits", "provider", "subject"),
)
_SESSION = ("account", "stage", "method", "started", "seen", "ends", "secret")
_KEPT_LONGER = timedelta(hours=1)


class MongoAccounts:
    """``store.accounts.Accounts`` on one MongoDB database; ``timeout`` bounds each call in seconds."""

    def __init__(self, database: Database[dict[str, Any]], timeout: float = 5.0) -> None:
        self._rows = Rows(database, timeout)

    def add_account(self, account: Account) -> bool:
        """Keep the account; return False if its id, login, traits, or subject at a provider is taken, or its person's by identifier."""
        rows = [{"_id": f"account/{account.id}", **_account_row(account)}]
        rows += [{"_id": key, "account": account.id} for key in _keys(account)]

        def write(session: ClientSession) -> None:
            for row in rows:
                self._rows.collection.insert_one(row, session=session)

        try:
            self._together(write)
        except DuplicateKeyError:
            return False
        return True

    def find_account(self, account_id: str) -> Account | None:
        """Return the account as it is now."""
        row = self._rows.find(f"account/{account_id}")
        return _account(row) if row else None

    def find_account_by_login(self, login: str) -> Account | None:
        """Return the account that signs in by ``login``."""
        return self._find_by(_login_key(login))

    def find_account_by_subject(self, provider: str, subject: str) -> Account | None:
        """Return the account of whom the provider calls ``subject``."""
        return self._find_by(_subject_key(provider, subject))

    def find_account_by_identifier(self, resource_type: str, identifier: str) -> Account | None:
        """Return the account of the one person of this type (``Practitioner``, ``Patient``) with that national identifier."""
        return self._find_by(_identity_key(resource_type, identifier))

    @offloaded
    def tied(self, resource_type: str, identifier: str) -> str | None:
        """Return the resource that the account with that national identifier is tied to."""
        account = self.find_account_by_identifier(resource_type, identifier)
        return account.resource if account else None

    def find_account_by_traits(self, traits: str) -> Account | None:
        """Return the account of the one person with these five traits."""
        return self._find_by(f"traits/{traits}")

    def list_accounts(self) -> tuple[Account, ...]:
        """Return all accounts by id, which is by age."""
        return tuple(_account(row) for row in self._rows.prefixed("account/"))

    def remove_account(self, account_id: str) -> bool:
        """Forget the account, its login and its subject; return False if there is none."""
        account = self.find_account(account_id)
        if account is None:
            return False
        ids = [f"account/{account_id}", *_keys(account)]
        self._together(lambda session: self._rows.collection.delete_many({"_id": {"$in": ids}}, session=session))
        return True

    def set_disabled(self, account_id: str, now: int, *, disabled: bool) -> bool:
        """Let the account sign in or not; what began before ``now`` holds no more. False if there is none."""
        return self._set(account_id, disabled=disabled, holds_from=now)

    def set_password(self, account_id: str, hashed: str, now: int) -> bool:
        """Replace the password; what began before ``now`` holds no more. False if there is none."""
        return self._set(account_id, password=hashed, holds_from=now)

    def set_totp(self, account_id: str, sealed: str | None, recovery: Sequence[str], now: int) -> bool:
        """Replace the second factor and its recovery codes; what began before ``now`` holds no more. False if there is none."""
        return self._set(account_id, totp=sealed, recovery=list(recovery), holds_from=now)

    def set_situations(self, account_id: str, situations: Sequence[Situation]) -> bool:
        """Replace what a professional works as. False if there is none."""
        return self._set(account_id, situations=_situation_rows(situations))

    def set_represents(self, account_id: str, represents: Sequence[Represented]) -> bool:
        """Replace in whose records the person stands. False if there is none."""
        return self._set(account_id, represents=[asdict(each) for each in represents])

    def link_subject(self, account_id: str, provider: str, subject: str) -> bool:
        """Let the account sign in by the provider; False if the subject is somebody's, or the account has one already."""
        row = {"_id": _subject_key(provider, subject), "account": account_id}
        unlinked = {"_id": f"account/{account_id}", "provider": {"$exists": False}}
        link = {"$set": {"provider": provider, "subject": subject}}

        def write(session: ClientSession) -> bool:
            if self._rows.collection.update_one(unlinked, link, session=session).matched_count == 0:
                return False
            self._rows.collection.insert_one(row, session=session)
            return True

        try:
            return bool(self._together(write))
        except DuplicateKeyError:
            return False

    def use_totp_step(self, account_id: str, step: int) -> bool:
        """Remember that the code of this time step was used; return False if it was, or a later one."""
        unused = {"_id": f"account/{account_id}", "totp_step": {"$not": {"$gte": step}}}
        return self._rows.update(unused, {"$set": {"totp_step": step}})

    def use_recovery_code(self, account_id: str, hashed: str) -> bool:
        """Take the recovery code away; return False if it is not there."""
        return self._rows.update({"_id": f"account/{account_id}", "recovery": hashed}, {"$pull": {"recovery": hashed}})

    def add_session(self, session: Session) -> None:
        """Keep a session until it ends."""
        row = {name: getattr(session, name) for name in (*_SESSION, "strong")}
        situation = given(**asdict(session.situation)) if session.situation else None
        choices = _situation_rows(session.choices) or None
        expires = datetime_of(session.ends) + _KEPT_LONGER
        self._rows.insert(f"session/{session.id}", given(**row, situation=situation, choices=choices, expires=expires))

    def find_session(self, session_id: str) -> Session | None:
        """Return the session, if it was not removed; whether it has ended is for the caller to judge."""
        row = self._rows.find(f"session/{session_id}")
        if row is None:
            return None
        situation = Situation(**row["situation"]) if "situation" in row else None
        choices = tuple(Situation(**each) for each in row.get("choices", ()))
        told = {name: row[name] for name in _SESSION}
        return Session(id=session_id, situation=situation, choices=choices, strong=row.get("strong", True), **told)

    def touch_session(self, session_id: str, seen: int) -> None:
        """Remember when the session was last seen."""
        self._rows.update({"_id": f"session/{session_id}"}, {"$max": {"seen": seen}})

    def remove_session(self, session_id: str) -> bool:
        """Forget the session; return False if there is none."""
        return self._rows.delete(f"session/{session_id}")

    def take_turn(self, key: str, now: int, waits: Sequence[int], forgotten: int) -> int:
        """Count an attempt and return 0, or return how long to wait before the next is counted at all.

        A row that waits is not matched, so that the upsert meets its id and fails: no attempt slips in between.
        """
        row_id = _turns_key(key)
        counted = {"$cond": [{"$gt": ["$expires", datetime_of(now)]}, {"$add": ["$turns", 1]}, 1]}
        wait = {"$arrayElemAt": [list(waits), {"$min": [{"$subtract": ["$turns", 1]}, len(waits) - 1]}]}
        change: list[Mapping[str, Any]] = [
            {"$set": {"turns": counted}},
            {"$set": {"until": {"$add": [now, wait]}, "expires": datetime_of(now + forgotten)}},
        ]
        free = {"_id": row_id, "$or": [{"until": {"$lte": now}}, {"until": {"$exists": False}}]}
        try:
            with promptly():
                self._rows.collection.update_one(free, change, upsert=True)
        except DuplicateKeyError:
            row = self._rows.find(row_id)
            return max(row["until"] - now, 1) if row else 1
        return 0

    def give_turn_back(self, key: str) -> None:
        """Count one attempt less, and end the wait: it was no failure."""
        self._rows.update({"_id": _turns_key(key), "turns": {"$gt": 0}}, {"$inc": {"turns": -1}, "$set": {"until": 0}})

    def forget_turns(self, key: str) -> None:
        """Forget the attempts."""
        self._rows.delete(_turns_key(key))

    def _find_by(self, key: str) -> Account | None:
        """Return the account behind a name of it; an unknown name costs as many look-ups as a known one."""
        row = self._rows.find(key)
        return self.find_account(row["account"] if row else "")

    def _set(self, account_id: str, **values: Any) -> bool:
        kept = {name: value for name, value in values.items() if value is not None}
        gone = {name: "" for name, value in values.items() if value is None}
        change = {"$set": kept, **({"$unset": gone} if gone else {})}
        return self._rows.update({"_id": f"account/{account_id}"}, change)

    def _together(self, write: Any) -> Any:
        """Write several rows or none, and return what the function returns."""
        seconds = self._rows.millis / 1000
        with promptly(), pymongo.timeout(seconds), self._rows.database.client.start_session() as session:
            return session.with_transaction(write, write_concern=WriteConcern("majority", j=True))


def _keys(account: Account) -> list[str]:
    keys = [_identity_key(account.resource.partition("/")[0], account.identifier)]
    if account.login:
        keys.append(_login_key(account.login))
    if account.traits:
        keys.append(f"traits/{account.traits}")
    if account.provider and account.subject:
        keys.append(_subject_key(account.provider, account.subject))
    return keys


def _login_key(login: str) -> str:
    return f"login/{_digest(login)}"


def _subject_key(provider: str, subject: str) -> str:
    return "federated/" + _digest(f"{provider}\n{subject}")


def _identity_key(resource_type: str, identifier: str) -> str:
    return "identity/" + _digest(f"{resource_type}\n{identifier}")


def _turns_key(key: str) -> str:
    return f"turns/{_digest(key)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _account_row(account: Account) -> dict[str, Any]:
    row = {name: getattr(account, name) for name in _ACCOUNT}
    situations = _situation_rows(account.situations)
    represents = [asdict(each) for each in account.represents] or None
    more = {"disabled": account.disabled, "recovery": list(account.recovery)}
    return given(**row, **more, situations=situations, represents=represents)


def _situation_rows(situations: Sequence[Situation]) -> list[dict[str, Any]]:
    return [given(**asdict(each)) for each in situations]


def _account(row: Mapping[str, Any]) -> Account:
    values: dict[str, Any] = {name: row.get(name) for name in _ACCOUNT}
    return Account(
        id=row["_id"].removeprefix("account/"),
        recovery=tuple(row["recovery"]),
        disabled=row["disabled"],
        situations=tuple(Situation(**each) for each in row["situations"]),
        represents=tuple(Represented(**each) for each in row.get("represents", ())),
        **values,
    )
