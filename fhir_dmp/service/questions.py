"""What a person is asked before an app is let in: whose record, which scopes, which visit. https://hl7.org/fhir/smart-app-launch/app-launch.html.

Between question and answer it travels with the person's browser as a sealed ticket that is bound to the session, so that nobody can
make a person answer a question that was not put to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.access.people import may_break_glass
from fhir_dmp.access.scopes import Scope, parse_scope
from fhir_dmp.call import Context, Restrict
from fhir_dmp.clock import SECOND, Clock
from fhir_dmp.oauth.clients import require_meaning
from fhir_dmp.oauth.code_grant import EMERGENCIES, Asked, read_authorization
from fhir_dmp.oauth.errors import AccessDenied
from fhir_dmp.oauth.handles import Opaque
from fhir_dmp.oauth.launch import Launch, read_launch
from fhir_dmp.service.records import Encounter, Record, Records
from fhir_dmp.service.sign_in import SignedIn
from fhir_dmp.settings import Readings
from fhir_dmp.store.grants import Client

TICKET_SECONDS = 900
PURPOSES = {"holder": "PATRQT", "representative": "FAMRQT", "professional": "TREAT"}
DOCTOR = "10"
"""The code of *médecin* in TRE_G15: a regulator is one."""

_LOOKING = ("user/Patient.rs", "user/Encounter.rs")
"""What a person may do while they choose a record, whatever the client asks for."""


class Question(Struct, frozen=True):
    """What the person is asked.

    ``ticket`` goes back with the answer; ``origin`` is where the browser is led then. ``scopes`` are the resource scopes, ``others`` all
    others. ``records`` are those to choose from; ``search`` tells whether one may be looked up by its INS, ``patient`` is the one
    that is settled. ``emergency`` is the purpose that may be claimed with a reason, ``claimed`` says that the client asks for
    nothing else. ``problem`` names what was wrong with an answer.
    """

    ticket: str
    client_id: str
    client_name: str
    organization: str | None
    origin: str
    person: str
    scopes: tuple[Scope, ...]
    others: tuple[str, ...]
    records: tuple[Record, ...]
    search: bool
    patient_needed: bool
    patient: Record | None
    encounters: tuple[Encounter, ...]
    emergency: str | None
    claimed: bool
    problem: str | None = None


class AuthorizationRequest(Struct, frozen=True):
    """What a registered client asks of a person, and of which launch. https://www.rfc-editor.org/rfc/rfc6749#section-4.1.1.

    It is read from ``params`` twice: when the question is put, and when it is answered.
    """

    client: Client
    asked: Asked
    launch: Launch | None
    params: Mapping[str, str] = field(default_factory=dict)


class Questions:
    """Reads what a client asks for, and makes the question of it; made once for each worker."""

    def __init__(self, records: Records, opaque: Opaque, restrict: Restrict, clock: Clock, audience: str) -> None:
        self.records = records
        self.readings = records.readings
        self._opaque = opaque
        self._restrict = restrict
        self._clock = clock
        self._audience = audience

    def read(self, params: Mapping[str, str], client: Client) -> AuthorizationRequest:
        """Return what the client asks; raise an ``OAuthError`` if that cannot be put to anybody."""
        asked = read_authorization(params, client, self._audience)
        require_meaning(asked.scopes, self._restrict)
        launch = None
        if asked.launch is not None:
            launch = read_launch(self._opaque.launches, asked.launch, client.id, self._clock.micros() // SECOND)
        return AuthorizationRequest(client, asked, launch, params)

    def ticket(self, params: Mapping[str, str], signed: SignedIn) -> str:
        """Return what brings these parameters back with the answer of this session."""
        until = self._clock.micros() + TICKET_SECONDS * SECOND
        return self._opaque.consents.make(p=dict(params), s=signed.session.id, until=until)

    def opened(self, ticket: str, signed: SignedIn) -> dict[str, str] | None:
        """Return the parameters of the question that was put to this session, as long as it holds."""
        content = self._opaque.consents.open(ticket)
        if content is None or content["s"] != signed.session.id or content["until"] < self._clock.micros():
            return None
        params: dict[str, str] = content["p"]
        return params

    def question(
        self,
        request: AuthorizationRequest,
        signed: SignedIn,
        context: Context,
        ticket: str,
        patient: Record | None = None,
    ) -> Question:
        """Return the question; ``patient`` is a record that was chosen already."""
        client, asked, account = request.client, request.asked, signed.account
        professional = account.kind == "professional"
        settled = patient or self.launched(request, signed, context)
        offered = () if settled else self._offered(request, signed, context)
        scopes = [scope for scope in map(parse_scope, asked.scopes) if scope]
        encounters: tuple[Encounter, ...] = ()
        if settled and asked.needs_encounter:
            asker = self.asker(request, signed, settled)
            encounters = self.records.encounters(asker, context)
        return Question(
            ticket=ticket,
            client_id=client.id,
            client_name=client.name or client.id,
            organization=client.organization,
            origin=_origin(asked.redirect_uri),
            person=account.name,
            scopes=tuple(scopes),
            others=tuple(text for text in asked.scopes if parse_scope(text) is None),
            records=offered,
            search=professional and settled is None,
            patient_needed=not professional or asked.needs_patient or asked.purpose is not None,
            patient=settled,
            encounters=encounters,
            emergency=emergency_of(client, signed, self.readings),
            claimed=asked.purpose is not None,
        )

    def _offered(self, request: AuthorizationRequest, signed: SignedIn, context: Context) -> tuple[Record, ...]:
        if signed.account.kind == "professional":
            return self.records.open_to(self.asker(request, signed), context)
        return self.records.of_account(signed.account)

    def launched(self, request: AuthorizationRequest, signed: SignedIn, context: Context) -> Record | None:
        """Return the record of an EHR's launch. What a patient may not choose, no launch chooses for them."""
        if request.launch is None or request.launch.patient is None:
            return None
        if signed.account.kind == "professional":
            return self.records.named(self.asker(request, signed), request.launch.patient, context)
        own = {record.patient: record for record in self.records.of_account(signed.account)}
        if request.launch.patient not in own:
            raise AccessDenied("The record of this launch is neither yours nor one that you represent.")
        return own[request.launch.patient]

    def asker(self, request: AuthorizationRequest, signed: SignedIn, record: Record | None = None) -> Subject:
        """Return the person as the one who looks for a record before any token is made."""
        person = person_of(signed, record)
        organization = organization_of(request.client, signed)
        return Subject(request.client.id, request.client.role, _LOOKING, organization, person=person)


def person_of(signed: SignedIn, record: Record | None) -> Person:
    """Return the person as a token for this record will know them."""
    account, session = signed.account, signed.session
    kind: Any = "professional" if account.kind == "professional" else (record.role if record else "holder")
    situation = session.situation
    return Person(
        kind=kind,
        account=account.id,
        identifier=account.identifier,
        resource=record.resource if record and record.resource else account.resource,
        name=account.name,
        profession=situation.profession if situation else None,
        specialty=situation.specialty if situation else None,
        patient=record.patient if record else None,
        purpose=PURPOSES[kind],
        secret=session.secret and kind != "representative",
        strong=session.strong,
    )


def organization_of(client: Client | None, signed: SignedIn) -> str | None:
    """Return the structure that the person acts for, or else the client's."""
    situation = signed.session.situation
    return (situation.organization if situation else None) or (client.organization if client else None)


def emergency_of(client: Client, signed: SignedIn, readings: Readings) -> str | None:
    """Return the emergency that this person may claim with this client: a doctor at a SAMU regulates, others may break the glass."""
    situation = signed.session.situation
    if signed.account.kind != "professional" or situation is None or not signed.session.strong:
        return None
    if client.role == "samu":
        return EMERGENCIES[1] if situation.profession == DOCTOR else None
    return EMERGENCIES[0] if may_break_glass(situation.profession, readings) else None


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"
