"""The values of an access decision."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from fhir_dmp.store.query import Query

Action = Literal["create", "read", "update", "delete", "search", "relabel", "repeat", "govern"]
"""What SMART v2 scopes name by the letters c, r, u, d, s. https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html.

``relabel`` is an update that changes nothing but who sees the resource (``access.labels``), ``repeat`` one that sends what is there as it is;
the letter u covers both. ``govern`` is to open or shut a record by one of the operations on access, which judge by themselves who may
ask; they need the scope to create a Consent.
"""


class Person(Struct, frozen=True):
    """The human being for whom a token was issued, as the authorization server knew them.

    ``account`` is the id of the account, ``identifier`` the national one (``system|value``: IDNPS or RPPS of a professional),
    ``resource`` the ``fhirUser`` (``Practitioner/x``, ``Patient/p``, ``RelatedPerson/r``). ``profession`` is a code of TRE_G15,
    ``specialty`` one of TRE_R01. ``patient`` (``Patient/p``) is the one record that the token reaches; None for a professional who
    has chosen none. ``purpose`` is a code of v3-ActReason: ``PATRQT`` the holder, ``FAMRQT`` a representative, ``TREAT`` a
    professional, ``BTG`` one who breaks the glass, ``ETREAT`` the regulator of a SAMU; ``reason`` is what was written for the last
    two. ``secret`` is the *connexion secrète* of a minor. ``strong``: they proved who they are by two factors, or at a provider that
    vouches for as much.
    """

    kind: Literal["holder", "representative", "professional"]
    account: str
    identifier: str
    resource: str
    name: str = ""
    profession: str | None = None
    specialty: str | None = None
    patient: str | None = None
    encounter: str | None = None
    purpose: str = "TREAT"
    reason: str | None = None
    secret: bool = False
    strong: bool = True


class Subject(Struct, frozen=True):
    """Who asks, as its verified token says.

    ``client`` is the OAuth client id, ``role`` the kind of system it was registered as (``ehr``, ``lab``,
    ``insurance-feed``, ``auditor``, ``samu``, ``app``, ``admin``), ``organization`` the structure it acts for (``system|value``), ``scopes``
    what was granted, ``token_id`` the ``jti``. ``person`` is the human being the token was issued for, None for a system that
    acts by itself. ``operator`` names the person behind a command of the command line. A system's token may be bound to one record
    (``patient``: ``Patient/p``), and says why it asks by ``purpose_of_use``.
    """

    client: str
    role: str
    scopes: tuple[str, ...]
    organization: str | None = None
    token_id: str | None = None
    operator: str | None = None
    person: Person | None = None
    patient: str | None = None
    purpose_of_use: str = "TREAT"

    @property
    def record(self) -> str | None:
        """The one record (``Patient/p``) that the token is for, if it is for one."""
        return self.person.patient if self.person else self.patient

    @property
    def purpose(self) -> str:
        """Why they ask: a code of http://terminology.hl7.org/CodeSystem/v3-ActReason."""
        return self.person.purpose if self.person else self.purpose_of_use


class Rule(Struct, frozen=True):
    """A permission or a refusal, for the rows that ``where`` describes, and why.

    ``record`` marks the rules about a whole record: a permission that opens it, a refusal that shuts it.
    """

    permit: bool
    where: Query
    reason: str
    record: bool = False


class Decision(Struct, frozen=True):
    """The answer for one row, with the reasons that made it."""

    permit: bool
    reasons: tuple[str, ...]
