"""The door of the authorization endpoint: what a client asks, a person decides. https://www.rfc-editor.org/rfc/rfc6749#section-3.1.

A request is judged twice by the same functions (``questions``, ``answers``): when the question is put, and when it is answered. One
event for each decision, each refusal and each emergency that is claimed in vain, durable before the answer leaves.
"""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

from msgspec import Struct
from msgspec.structs import asdict, replace

from fhir_dmp.access.model import Person, Subject
from fhir_dmp.call import Context
from fhir_dmp.clock import SECOND
from fhir_dmp.errors import FhirError
from fhir_dmp.oauth.code_grant import require_redirect
from fhir_dmp.oauth.errors import AccessDenied, ConsentRequired, InvalidRequest, LoginRequired, OAuthError
from fhir_dmp.oauth.form import read_parameters
from fhir_dmp.oauth.handles import digest
from fhir_dmp.oauth.lifetimes import CODE_SECONDS
from fhir_dmp.service.answers import Answers, Choice, ProblemError
from fhir_dmp.service.claims import Claim
from fhir_dmp.service.oauth_env import OAuthEnv
from fhir_dmp.service.questions import AuthorizationRequest, Question, Questions, organization_of
from fhir_dmp.service.records import Records
from fhir_dmp.service.sign_in import SignedIn
from fhir_dmp.service.telling import foreseen
from fhir_dmp.store.families import Family
from fhir_dmp.store.grants import Client
from fhir_dmp.token_act import DECLINED, TokenAct


class Go(Struct, frozen=True):
    """Send the browser there."""

    url: str


class SignInFirst(Struct, frozen=True):
    """Let the person sign in, and ask again."""


class Sorry(Struct, frozen=True):
    """Tell the person: there is no address that could be trusted with it."""

    status: int
    error: str
    description: str


Answer = Go | SignInFirst | Sorry | Question


class Authorizations:
    """Puts the question and takes the answer; made once for each worker by the composition root."""

    def __init__(self, env: OAuthEnv, records: Records) -> None:
        self._env = env
        self._questions = Questions(records, env.opaque, env.restrict, env.clock, env.issuer.audience)
        self._answers = Answers(self._questions)

    def ask(self, query: bytes, signed: SignedIn | None, context: Context) -> Answer:
        """Return the question of an authorization request, or where the browser goes instead."""
        claim = Claim(signed)
        try:
            claim.params = read_parameters(query)
            client, redirect = self._destination(claim)
        except (OAuthError, FhirError) as error:
            return self._sorry(error, claim, context)
        try:
            request = foreseen(context, "authorize", lambda: self._read(client, claim))
            if signed is None and request.asked.prompt != "none":
                return SignInFirst()
            if signed is None:
                raise LoginRequired("Nobody is signed in.")
            if request.asked.prompt == "none":
                raise ConsentRequired("This server always asks the person.")
            ticket = self._questions.ticket(claim.params, signed)
            return foreseen(context, "authorize", lambda: self._questions.question(request, signed, context, ticket))
        except (OAuthError, FhirError) as error:
            return self._refused(error, redirect, claim, context)

    def decide(self, ticket: str, choice: Choice, signed: SignedIn | None, context: Context) -> Answer:
        """Take the person's answer: a code for the client, or their refusal, or the question once more."""
        claim = Claim(signed, choice, self._answers.offered(signed) if signed else ())
        params = self._questions.opened(ticket, signed) if signed else None
        if signed is None or params is None:
            expired = InvalidRequest("The question has expired, or was put to somebody else: begin again in the app.")
            return self._sorry(expired, claim, context)
        try:
            claim.params = params
            client, redirect = self._destination(claim)
        except (OAuthError, FhirError) as error:
            return self._sorry(error, claim, context)
        try:
            return foreseen(
                context, "authorize", lambda: self._answered(client, ticket, choice, signed, claim, context)
            )
        except (OAuthError, FhirError) as error:
            return self._refused(error, redirect, claim, context)

    def _read(self, client: Client, claim: Claim) -> AuthorizationRequest:
        request = self._questions.read(claim.params, client)
        claim.launched = request.launch.patient if request.launch else None
        return request

    def _answered(
        self, client: Client, ticket: str, choice: Choice, signed: SignedIn, claim: Claim, context: Context
    ) -> Answer:
        request = self._read(client, claim)
        if not choice.allow:
            raise AccessDenied(DECLINED)
        try:
            scopes = self._answers.scopes(request, choice)
            claim.record = record = self._answers.chosen(request, choice, signed, context)
            person, scopes = self._answers.judged(request, choice, signed, record, scopes, context)
        except ProblemError as again:
            question = self._questions.question(request, signed, context, ticket, again.patient)
            claimed = claim.in_vain(again.problem)
            failed = self._announced(claimed, claim, context) if claimed else None
            return failed or replace(question, problem=again.problem)
        return self._allowed(request, person, scopes, signed, claim, context)

    def _destination(self, claim: Claim) -> tuple[Client, str]:
        claim.client_id = claim.params.get("client_id", "")
        claim.client = client = self._env.clients.find(claim.client_id)
        return client, require_redirect(claim.params, client)

    def _allowed(
        self,
        request: AuthorizationRequest,
        person: Person,
        scopes: tuple[str, ...],
        signed: SignedIn,
        claim: Claim,
        context: Context,
    ) -> Go:
        now, organization = self._env.clock.micros(), organization_of(request.client, signed)
        family_id = f"{signed.account.id}.{self._env.ids.new()}"
        code = self._env.opaque.codes.make(f=family_id)
        claim.scopes = scopes
        subject = Subject(request.client.id, request.client.role, scopes, organization, family_id, person=person)
        family = Family(
            id=family_id,
            client=request.client.id,
            registration=request.client.registration,
            account=signed.account.id,
            session=signed.session.id,
            scopes=scopes,
            person={name: value for name, value in asdict(person).items() if value is not None},
            redirect_uri=request.asked.redirect_uri,
            challenge=request.asked.challenge,
            code=digest(code),
            began=now,
            ends=now + CODE_SECONDS * SECOND,
            organization=organization,
            nonce=request.asked.nonce,
            launch=request.launch.told if request.launch else {},
        )

        self._spend(request)
        self._env.families.add_family(family)
        act = TokenAct("authorize", request.client.id, scopes=scopes, subject=subject, family=family_id)
        self._env.announce(act, context)
        return Go(self._back(request.asked.redirect_uri, code=code, state=request.asked.state))

    def _refused(
        self,
        error: OAuthError | FhirError,
        redirect: str,
        claim: Claim,
        context: Context,
    ) -> Answer:
        """Tell the client by way of its redirect URI, once the refusal's event is durable."""
        code, text = _code(error)
        failed = self._tell(error, claim, context)
        if failed is not None:
            return failed
        state = {name: value for name, value in claim.params.items() if name == "state"}
        return Go(self._back(redirect, error=code, error_description=text, **state))

    def _sorry(self, error: OAuthError | FhirError, claim: Claim, context: Context) -> Sorry:
        failed = self._tell(error, claim, context)
        if failed is not None:
            return failed
        return Sorry(error.status, *_code(error))

    def _tell(self, error: OAuthError | FhirError, claim: Claim, context: Context) -> Sorry | None:
        """Leave the event of a refusal; return what to say instead if that cannot be had."""
        return self._announced(claim.refused(*_code(error)), claim, context)

    def _announced(self, act: TokenAct, claim: Claim, context: Context) -> Sorry | None:
        try:
            self._env.announce(act, claim.known(context))
        except FhirError as failed:
            return Sorry(failed.status, *_code(failed))
        return None

    def _spend(self, request: AuthorizationRequest) -> None:
        """Use the launch token up, if there is one."""
        if request.launch is None:
            return
        if not self._env.grants.use_assertion(
            f"launch/{request.client.id}", request.launch.id, request.launch.expires * SECOND
        ):
            raise InvalidRequest("The launch token was used before: launch the app anew.")

    def _back(self, redirect: str, **answer: str) -> str:
        """Return the redirect URI with the answer in its query; ``iss`` is RFC 9207's."""
        parts = urlsplit(redirect)
        query = "&".join(part for part in (parts.query, urlencode({**answer, "iss": self._env.issuer.url})) if part)
        return urlunsplit(parts._replace(query=query))


def _code(error: OAuthError | FhirError) -> tuple[str, str]:
    """Return the OAuth code of an error, and its text."""
    if isinstance(error, OAuthError):
        return error.error, error.description
    return "temporarily_unavailable", str(error)
