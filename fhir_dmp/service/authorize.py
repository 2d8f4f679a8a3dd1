"""The door of the authorization endpoint: what a client asks, a person decides. https://www.rfc-editor.org/rfc/rfc6749#section-3.1.

A request is judged twice by the same functions: when the question is put, and when it is answered. Between the two it travels with the
person's browser as a sealed ticket that is bound to the session, so that nobody can make a person answer a question that was not
put to them. One event for each decision and each refusal, durable before the answer leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.access.scopes import Scope, parse_scope
from fhir_dmp.call import Context, Restrict
from fhir_dmp.clock import Clock, Ids
from fhir_dmp.errors import FhirError, NotFound
from fhir_dmp.oauth.act import Announce, TokenAct
from fhir_dmp.oauth.authentication import Authentication
from fhir_dmp.oauth.clients import require_meaning
from fhir_dmp.oauth.code_grant import EMERGENCIES, Asked, read_authorization, require_redirect, within
from fhir_dmp.oauth.errors import (
    AccessDenied,
    ConsentRequired,
    InvalidRequest,
    LoginRequired,
    OAuthError,
)
from fhir_dmp.oauth.form import read_parameters
from fhir_dmp.oauth.handles import digest
from fhir_dmp.oauth.launch import Launch, read_launch
from fhir_dmp.oauth.lifetimes import CODE_SECONDS
from fhir_dmp.oauth.tokens import Issuer
from fhir_dmp.service.records import Encounter, Record, Records
from fhir_dmp.service.sign_in import SignedIn
from fhir_dmp.service.telling import Told, foreseen
from fhir_dmp.service.tokens import Opaque
from fhir_dmp.store.families import Families, Family
from fhir_dmp.store.grants import Client, Grants

_SECOND = 1_000_000
TICKET_SECONDS = 900
LEAST_REASON, MOST_REASON = 10, 500
PURPOSES = {"holder": "PATRQT", "representative": "FAMRQT", "professional": "TREAT"}
DOCTOR = "10"
"""The code of *médecin* in TRE_G15: a regulator is one."""


@dataclass(frozen=True, slots=True)
class Go:
    """Send the browser there."""

    url: str


@dataclass(frozen=True, slots=True)
class SignInFirst:
    """Let the person sign in, and ask again."""


@dataclass(frozen=True, slots=True)
class Sorry:
    """Tell the person: there is no address that could be trusted with it."""

    status: int
    error: str
    description: str


@dataclass(frozen=True, slots=True)
class Question:
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


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a person allowed an app: since and until when (microseconds), and what."""

    id: str
    client_name: str
    began: int
    ends: int
    scopes: tuple[Scope, ...]
    offline: bool


Answer = Go | SignInFirst | Sorry | Question


@dataclass(frozen=True, slots=True)
class Choice:
    """What the person chose: scopes that were left, the record, the encounter, and the emergency with its reason."""

    allow: bool
    scopes: tuple[str, ...] = ()
    patient: str | None = None
    ins: str | None = None
    encounter: str | None = None
    emergency: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Put:
    """A question as it is known to both of its judgements."""

    client: Client
    asked: Asked
    launch: Launch | None
    params: Mapping[str, str] = field(default_factory=dict)


class _ProblemError(Exception):
    """The answer is not whole: ask again and say what is missing."""

    def __init__(self, problem: str, patient: Record | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.patient = patient


class Authorizations:
    """Puts the question and takes the answer; made once for each worker by the composition root."""

    def __init__(
        self,
        *,
        grants: Grants,
        families: Families,
        clients: Authentication,
        opaque: Opaque,
        issuer: Issuer,
        records: Records,
        restrict: Restrict,
        clock: Clock,
        ids: Ids,
        announce: Announce,
    ) -> None:
        self._grants = grants
        self._families = families
        self._clients = clients
        self._opaque = opaque
        self._issuer = issuer
        self._records = records
        self._restrict = restrict
        self._clock = clock
        self._ids = ids
        self._announce = announce

    def ask(self, query: bytes, signed: SignedIn | None, context: Context) -> Answer:
        """Return the question of an authorization request, or where the browser goes instead."""
        told = Told()
        try:
            params = read_parameters(query)
            client, redirect = self._destination(params, told)
        except (OAuthError, FhirError) as error:
            return self._sorry(error, told, context)
        try:
            put = foreseen(context, "authorize", lambda: self._read(params, client))
            if signed is None and put.asked.prompt != "none":
                return SignInFirst()
            if signed is None:
                raise LoginRequired("Nobody is signed in.")
            if put.asked.prompt == "none":
                raise ConsentRequired("This server always asks the person.")
            return foreseen(
                context, "authorize", lambda: self._question(put, signed, context, self._ticket(params, signed))
            )
        except (OAuthError, FhirError) as error:
            return self._refused(error, redirect, params, told, context)

    def decide(self, ticket: str, choice: Choice, signed: SignedIn | None, context: Context) -> Answer:
        """Take the person's answer: a code for the client, or their refusal, or the question once more."""
        told = Told()
        content = self._opaque.consents.open(ticket)
        now = self._clock.micros()
        if signed is None or content is None or content["s"] != signed.session.id or content["until"] < now:
            expired = InvalidRequest("The question has expired, or was put to somebody else: begin again in the app.")
            return self._sorry(expired, told, context)
        params: dict[str, str] = content["p"]
        try:
            client, redirect = self._destination(params, told)
        except (OAuthError, FhirError) as error:
            return self._sorry(error, told, context)
        try:
            return foreseen(
                context, "authorize", lambda: self._answered(params, client, ticket, choice, signed, told, context)
            )
        except (OAuthError, FhirError) as error:
            return self._refused(error, redirect, params, told, context)

    def granted(self, signed: SignedIn) -> tuple[Allowed, ...]:
        """Return what the person allowed and what still holds, the latest first."""
        now = self._clock.micros()
        found = self._families.of_account(signed.account.id)
        held = [family for family in found if family.redeemed and not family.revoked and family.ends > now]
        return tuple(self._told(family) for family in reversed(held))

    def withdraw(self, family_id: str, signed: SignedIn, context: Context) -> None:
        """Take back what the person allowed: no token of it holds from then on. Raise ``NotFound`` for what is not theirs."""
        family = next((each for each in self._families.of_account(signed.account.id) if each.id == family_id), None)
        if family is None:
            raise NotFound("There is no such authorization of yours.")
        self._families.revoke_family(family.id)
        account = signed.account
        act = TokenAct("revoke", family.client, account=account.id, identifier=account.identifier)
        self._announce(act, context)

    def _told(self, family: Family) -> Allowed:
        client = self._grants.find_client(family.client)
        name = (client.name if client else None) or family.client
        scopes = tuple(scope for scope in map(parse_scope, family.scopes) if scope)
        return Allowed(family.id, name, family.began, family.ends, scopes, "offline_access" in family.scopes)

    def _answered(
        self,
        params: Mapping[str, str],
        client: Client,
        ticket: str,
        choice: Choice,
        signed: SignedIn,
        told: Told,
        context: Context,
    ) -> Answer:
        put = self._read(params, client)
        if not choice.allow:
            raise AccessDenied("The person said no.")
        try:
            person, scopes = self._judged(put, choice, signed, context)
        except _ProblemError as again:
            question = self._question(put, signed, context, ticket, again.patient)
            return replace(question, problem=again.problem)
        return self._allowed(put, person, scopes, signed, told, context)

    def _destination(self, params: Mapping[str, str], told: Told) -> tuple[Client, str]:
        told.claim(params.get("client_id", ""))
        client = self._clients.find(params.get("client_id", ""))
        return client, require_redirect(params, client)

    def _read(self, params: Mapping[str, str], client: Client) -> _Put:
        asked = read_authorization(params, client, self._issuer.audience)
        require_meaning(asked.scopes, self._restrict)
        launch = None
        if asked.launch is not None:
            launch = read_launch(self._opaque.launches, asked.launch, client.id, self._clock.micros() // _SECOND)
        return _Put(client, asked, launch, params)

    def _ticket(self, params: Mapping[str, str], signed: SignedIn) -> str:
        until = self._clock.micros() + TICKET_SECONDS * _SECOND
        return self._opaque.consents.make(p=dict(params), s=signed.session.id, until=until)

    def _question(
        self, put: _Put, signed: SignedIn, context: Context, ticket: str, patient: Record | None = None
    ) -> Question:
        client, asked, account = put.client, put.asked, signed.account
        professional = account.kind == "professional"
        settled = patient or self._launched(put, signed, context)
        offered = () if settled else self._offered(put, signed, context)
        scopes = [scope for scope in map(parse_scope, asked.scopes) if scope]
        encounters: tuple[Encounter, ...] = ()
        if settled and asked.needs_encounter:
            asker = self._asker(put, signed, settled)
            encounters = self._records.encounters(asker, context)
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
            emergency=_emergency(client, signed),
            claimed=asked.purpose is not None,
        )

    def _offered(self, put: _Put, signed: SignedIn, context: Context) -> tuple[Record, ...]:
        if signed.account.kind == "professional":
            return self._records.opened_to(self._asker(put, signed), context)
        return self._records.open_to(signed.account)

    def _launched(self, put: _Put, signed: SignedIn, context: Context) -> Record | None:
        """Return the record of an EHR's launch. What a patient may not choose, no launch chooses for them."""
        if put.launch is None or put.launch.patient is None:
            return None
        if signed.account.kind == "professional":
            return self._records.named(self._asker(put, signed), put.launch.patient, context)
        own = {record.patient: record for record in self._records.open_to(signed.account)}
        if put.launch.patient not in own:
            raise AccessDenied("The record of this launch is neither yours nor one that you represent.")
        return own[put.launch.patient]

    def _judged(self, put: _Put, choice: Choice, signed: SignedIn, context: Context) -> tuple[Person, tuple[str, ...]]:
        """Return the person as the token will know them, and the scopes that are left; raise if the answer is not whole."""
        scopes = within([text for text in put.asked.scopes if _kept(text, choice)], put.asked.scopes)
        if not any(parse_scope(text) for text in scopes) and not {"openid", "launch"} & set(scopes):
            raise _ProblemError("nothing-left")
        record = self._chosen(put, choice, signed, context)
        emergency = self._claimed(put, choice, signed, record)
        if emergency:
            scopes = tuple(text for text in scopes if text not in ("offline_access", "online_access"))
        person = _person(signed, record)
        if emergency:
            person = replace(person, purpose=emergency, reason=choice.reason.strip())
        return replace(person, encounter=self._encounter(put, choice, signed, record, context)), scopes

    def _chosen(self, put: _Put, choice: Choice, signed: SignedIn, context: Context) -> Record | None:
        """Return the record that was chosen: one of those that were offered, or one that a professional found by its INS."""
        settled = self._launched(put, signed, context)
        if settled is not None:
            return settled
        asker = self._asker(put, signed)
        if signed.account.kind == "professional" and choice.ins:
            found = self._records.find(asker, choice.ins, context)
            if found is None:
                raise _ProblemError("no-such-patient")
            return found
        if choice.patient:
            offered = self._records.open_to(signed.account)
            found = next((record for record in offered if record.patient == choice.patient), None)
            if found is None and signed.account.kind == "professional":
                found = self._records.named(asker, choice.patient, context)
            if found is None:
                raise _ProblemError("no-such-patient")
            return found
        needed = put.asked.needs_patient or choice.emergency or put.asked.purpose is not None
        if needed or signed.account.kind != "professional":
            raise _ProblemError("choose-patient")
        return None

    def _claimed(self, put: _Put, choice: Choice, signed: SignedIn, record: Record | None) -> str | None:
        if not choice.emergency and put.asked.purpose is None:
            return None
        emergency = _emergency(put.client, signed)
        if emergency is None or put.asked.purpose not in (None, emergency):
            raise AccessDenied("This person may not claim this purpose with this client.")
        reason = choice.reason.strip()
        if record is None:
            raise _ProblemError("choose-patient")
        if not choice.emergency or not LEAST_REASON <= len(reason) <= MOST_REASON:
            raise _ProblemError("reason", record)
        return emergency

    def _encounter(
        self, put: _Put, choice: Choice, signed: SignedIn, record: Record | None, context: Context
    ) -> str | None:
        if put.launch is not None:
            return put.launch.encounter
        if not put.asked.needs_encounter or record is None:
            return None
        offered = self._records.encounters(self._asker(put, signed, record), context)
        if choice.encounter in [encounter.ref for encounter in offered]:
            return choice.encounter
        if offered and choice.encounter is None:
            raise _ProblemError("choose-encounter", record)
        if choice.encounter not in (None, "none"):
            raise _ProblemError("choose-encounter", record)
        return None

    def _asker(self, put: _Put, signed: SignedIn, record: Record | None = None) -> Subject:
        """Return the person as the one who looks for a record before any token is made."""
        person = _person(signed, record)
        organization = _organization(put.client, signed)
        return Subject(put.client.id, put.client.role, _LOOKING, organization, person=person)

    def _allowed(
        self,
        put: _Put,
        person: Person,
        scopes: tuple[str, ...],
        signed: SignedIn,
        told: Told,
        context: Context,
    ) -> Go:
        now = self._clock.micros()
        family_id = f"{signed.account.id}.{self._ids.new()}"
        code = self._opaque.codes.make(f=family_id)
        told.scopes = scopes
        told.subject = Subject(
            put.client.id, put.client.role, scopes, _organization(put.client, signed), family_id, person=person
        )
        family = Family(
            id=family_id,
            client=put.client.id,
            registration=put.client.registration,
            account=signed.account.id,
            session=signed.session.id,
            scopes=scopes,
            person={name: value for name, value in asdict(person).items() if value is not None},
            redirect_uri=put.asked.redirect_uri,
            challenge=put.asked.challenge,
            code=digest(code),
            began=now,
            ends=now + CODE_SECONDS * _SECOND,
            organization=_organization(put.client, signed),
            nonce=put.asked.nonce,
            launch=put.launch.told if put.launch else {},
        )

        self._spend(put)
        self._families.add_family(family)
        self._announce(TokenAct("authorize", put.client.id, scopes=scopes, subject=told.subject), context)
        return Go(self._back(put.asked.redirect_uri, code=code, state=put.asked.state))

    def _refused(
        self,
        error: OAuthError | FhirError,
        redirect: str,
        params: Mapping[str, str],
        told: Told,
        context: Context,
    ) -> Answer:
        """Tell the client by way of its redirect URI, once the refusal's event is durable."""
        code, text = _code(error)
        failed = self._tell(error, told, context)
        if failed is not None:
            return failed
        state = {"state": params["state"]} if "state" in params else {}
        return Go(self._back(redirect, error=code, error_description=text, **state))

    def _sorry(self, error: OAuthError | FhirError, told: Told, context: Context) -> Sorry:
        failed = self._tell(error, told, context)
        if failed is not None:
            return failed
        return Sorry(error.status, *_code(error))

    def _tell(self, error: OAuthError | FhirError, told: Told, context: Context) -> Sorry | None:
        """Leave the event of a refusal; return what to say instead if that cannot be had."""
        code, text = _code(error)
        try:
            self._announce(TokenAct("authorize", told.client_id, code, text, told.scopes), context)
        except FhirError as failed:
            return Sorry(failed.status, *_code(failed))
        return None

    def _spend(self, put: _Put) -> None:
        """Use the launch token up, if there is one."""
        if put.launch is None:
            return
        if not self._grants.use_assertion(f"launch/{put.client.id}", put.launch.id, put.launch.expires * _SECOND):
            raise InvalidRequest("The launch token was used before: launch the app anew.")

    def _back(self, redirect: str, **answer: str) -> str:
        """Return the redirect URI with the answer in its query; ``iss`` is RFC 9207's."""
        parts = urlsplit(redirect)
        query = "&".join(part for part in (parts.query, urlencode({**answer, "iss": self._issuer.url})) if part)
        return urlunsplit(parts._replace(query=query))


_LOOKING = ("user/Patient.rs", "user/Encounter.rs")
"""What a person may do while they choose a record, whatever the client asks for."""


def _person(signed: SignedIn, record: Record | None) -> Person:
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
    )


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _code(error: OAuthError | FhirError) -> tuple[str, str]:
    """Return the OAuth code of an error, and its text."""
    if isinstance(error, OAuthError):
        return error.error, error.description
    return "temporarily_unavailable", str(error)


def _kept(text: str, choice: Choice) -> bool:
    """Tell whether the person left the scope in; what only says who and where they are is not up for choice."""
    chosen = parse_scope(text) is not None or text in ("offline_access", "online_access")
    return not chosen or text in choice.scopes


def _organization(client: Client, signed: SignedIn) -> str | None:
    situation = signed.session.situation
    return (situation.organization if situation else None) or client.organization


def _emergency(client: Client, signed: SignedIn) -> str | None:
    """Return the emergency that this person may claim with this client: a doctor at a SAMU regulates, others break the glass."""
    situation = signed.session.situation
    if signed.account.kind != "professional" or situation is None:
        return None
    if client.role == "samu":
        return EMERGENCIES[1] if situation.profession == DOCTOR else None
    return EMERGENCIES[0]
