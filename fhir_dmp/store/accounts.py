"""The port of accounts and sessions: who may sign in, who is signed in, and how often somebody tried.

Everything that is acknowledged is durable (majority, journaled); everything that is read is committed.
Methods raise ``errors.Unavailable`` when the database does not answer in time. Times are microseconds since
1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

AccountKind = Literal["patient", "professional"]
Stage = Literal["second-factor", "situation", "signed-in"]


class Situation(Struct, frozen=True):
    """Where and as what a professional works (*situation d'exercice*).

    ``profession`` is a code of TRE_G15, ``specialty`` one of TRE_R01, ``organization`` the structure (``system|value``) and
    ``label`` its name, by which the person tells one situation from another.
    """

    profession: str
    specialty: str | None = None
    organization: str | None = None
    label: str = ""


class Represented(Struct, frozen=True):
    """As whom (``RelatedPerson/r``) a person stands in a record (``Patient/p``) that is not theirs; ``label`` is whose it is.

    It says who somebody is and opens nothing: whether that RelatedPerson represents the holder stands in the record's policy.
    """

    resource: str
    patient: str
    label: str


class Account(Struct, frozen=True):
    """A human being who may sign in.

    ``id`` is never given twice. ``login`` is in its compared form; None for one who signs in by a provider alone. ``name`` is shown;
    ``resource`` is the ``fhirUser`` (``Practitioner/x``, ``Patient/p``, ``RelatedPerson/r``); ``identifier`` the national one
    (``system|value``: ``urn:oid:1.2.250.1.71.4.2.1|899700218896`` is an IDNPS). A professional has at least one situation; a patient
    none. ``represents`` are the records of others, such as children, in which a patient is a related person.
    ``birth_date`` (``YYYY-MM-DD``) tells who is a minor. ``password`` is an argon2id hash, ``totp`` a sealed secret, ``recovery`` the
    hashes of codes that stand in for it once each. ``traits`` is the digest of the five traits of an identity; ``provider`` and
    ``subject`` name the person at an OpenID provider. Sessions and grants that began before ``holds_from`` do not hold: it moves when
    the account is disabled or proves itself otherwise.
    """

    id: str
    kind: AccountKind
    name: str
    resource: str
    identifier: str
    added: int
    holds_from: int
    login: str | None = None
    password: str | None = None
    totp: str | None = None
    recovery: tuple[str, ...] = ()
    disabled: bool = False
    situations: tuple[Situation, ...] = ()
    represents: tuple[Represented, ...] = ()
    birth_date: str | None = None
    traits: str | None = None
    provider: str | None = None
    subject: str | None = None


class Session(Struct, frozen=True):
    """A browser that proved, wholly or in part, whose it is.

    ``id`` is the SHA-256 of what the browser holds. ``method`` is how the person signed in: ``password``, ``password+totp`` or the
    name of a provider. ``started`` is when they did, ``seen`` when they were last seen (about), ``ends`` when all is over.
    ``situation`` is what a professional signed in as, ``choices`` what they have to choose from while the stage is ``situation``;
    ``secret`` the *connexion secrète* of a minor. ``strong``: by two factors, or by the word of a provider that vouches for as much.
    """

    id: str
    account: str
    stage: Stage
    method: str
    started: int
    seen: int
    ends: int
    situation: Situation | None = None
    choices: tuple[Situation, ...] = ()
    secret: bool = False
    strong: bool = True


class Accounts(Protocol):
    """A place for accounts, sessions and counted attempts."""

    def add_account(self, account: Account) -> bool:
        """Keep the account; return False if its id, login, traits, or subject at a provider is taken, or its person's by identifier."""
        ...

    def find_account(self, account_id: str) -> Account | None:
        """Return the account as it is now."""
        ...

    def find_account_by_login(self, login: str) -> Account | None:
        """Return the account that signs in by ``login``."""
        ...

    def find_account_by_subject(self, provider: str, subject: str) -> Account | None:
        """Return the account of whom the provider calls ``subject``."""
        ...

    def find_account_by_identifier(self, resource_type: str, identifier: str) -> Account | None:
        """Return the account of the one person of this type (``Practitioner``, ``Patient``) with that national identifier."""
        ...

    def find_account_by_traits(self, traits: str) -> Account | None:
        """Return the account of the one person with these five traits."""
        ...

    def list_accounts(self) -> tuple[Account, ...]:
        """Return all accounts by id, which is by age."""
        ...

    def remove_account(self, account_id: str) -> bool:
        """Forget the account, its login and its subject; return False if there is none."""
        ...

    def set_disabled(self, account_id: str, now: int, *, disabled: bool) -> bool:
        """Let the account sign in or not; what began before ``now`` holds no more. False if there is none."""
        ...

    def set_password(self, account_id: str, hashed: str, now: int) -> bool:
        """Replace the password; what began before ``now`` holds no more. False if there is none."""
        ...

    def set_totp(self, account_id: str, sealed: str | None, recovery: Sequence[str], now: int) -> bool:
        """Replace the second factor and its recovery codes; what began before ``now`` holds no more. False if there is none."""
        ...

    def set_situations(self, account_id: str, situations: Sequence[Situation]) -> bool:
        """Replace what a professional works as. False if there is none."""
        ...

    def set_represents(self, account_id: str, represents: Sequence[Represented]) -> bool:
        """Replace in whose records the person stands. False if there is none."""
        ...

    def link_subject(self, account_id: str, provider: str, subject: str) -> bool:
        """Let the account sign in by the provider; False if the subject is somebody's, or the account has one already."""
        ...

    def use_totp_step(self, account_id: str, step: int) -> bool:
        """Remember that the code of this time step was used; return False if it was, or a later one."""
        ...

    def use_recovery_code(self, account_id: str, hashed: str) -> bool:
        """Take the recovery code away; return False if it is not there."""
        ...

    def add_session(self, session: Session) -> None:
        """Keep a session until it ends."""
        ...

    def find_session(self, session_id: str) -> Session | None:
        """Return the session, if it was not removed; whether it has ended is for the caller to judge."""
        ...

    def touch_session(self, session_id: str, seen: int) -> None:
        """Remember when the session was last seen."""
        ...

    def remove_session(self, session_id: str) -> bool:
        """Forget the session; return False if there is none."""
        ...

    def take_turn(self, key: str, now: int, waits: Sequence[int], forgotten: int) -> int:
        """Count an attempt and return 0, or return how long to wait before the next is counted at all.

        The n-th attempt is followed by the n-th of ``waits`` (the last for all later ones), during which no other is
        admitted. Attempts are forgotten ``forgotten`` microseconds after the last. Attempts at the same time on any
        workers are counted one by one.
        """
        ...

    def give_turn_back(self, key: str) -> None:
        """Count one attempt less, and end the wait: it was no failure."""
        ...

    def forget_turns(self, key: str) -> None:
        """Forget the attempts."""
        ...
