"""What a person answers an app: judged by what was asked, so that nobody chooses what they were not offered."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from fhir_dmp.access.model import Person
from fhir_dmp.access.scopes import parse_scope
from fhir_dmp.call import Context
from fhir_dmp.oauth.code_grant import within
from fhir_dmp.oauth.errors import AccessDenied
from fhir_dmp.service.questions import AuthorizationRequest, Questions, emergency_of, person_of
from fhir_dmp.service.records import Record
from fhir_dmp.service.sign_in import SignedIn

LEAST_REASON, MOST_REASON = 10, 500


class Choice(Struct, frozen=True):
    """What the person chose: scopes that were left, the record, the encounter, and the emergency with its reason."""

    allow: bool
    scopes: tuple[str, ...] = ()
    patient: str | None = None
    ins: str | None = None
    encounter: str | None = None
    emergency: bool = False
    reason: str = ""


class ProblemError(Exception):
    """The answer is not whole: ask again and say what is missing."""

    def __init__(self, problem: str, patient: Record | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.patient = patient


class Answers:
    """Judges choices; made once for each worker."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._records = questions.records

    def offered(self, signed: SignedIn) -> tuple[Record, ...]:
        """Return the records that the person may choose without naming them; nobody looks into one."""
        return self._records.of_account(signed.account)

    def scopes(self, request: AuthorizationRequest, choice: Choice) -> tuple[str, ...]:
        """Return the scopes that the person left; raise ``ProblemError`` if they left none."""
        scopes = within([text for text in request.asked.scopes if _kept(text, choice)], request.asked.scopes)
        if not any(parse_scope(text) for text in scopes) and not {"openid", "launch"} & set(scopes):
            raise ProblemError("nothing-left")
        return scopes

    def judged(
        self,
        request: AuthorizationRequest,
        choice: Choice,
        signed: SignedIn,
        record: Record | None,
        scopes: tuple[str, ...],
        context: Context,
    ) -> tuple[Person, tuple[str, ...]]:
        """Return the person as the token for the record will know them, and the scopes that are left.

        Raises ``ProblemError`` if the answer is not whole, ``AccessDenied`` for what this person may not claim.
        """
        emergency = self._claimed(request, choice, signed, record)
        if emergency:
            scopes = tuple(text for text in scopes if text not in ("offline_access", "online_access"))
        person = person_of(signed, record)
        if emergency:
            person = replace(person, purpose=emergency, reason=choice.reason.strip())
        return replace(person, encounter=self._encounter(request, choice, signed, record, context)), scopes

    def chosen(
        self, request: AuthorizationRequest, choice: Choice, signed: SignedIn, context: Context
    ) -> Record | None:
        """Return the record that was chosen: one of those that were offered, or one that a professional found by its INS.

        Raises ``ProblemError`` if the answer names none and needs one.
        """
        settled = self._questions.launched(request, signed, context)
        if settled is not None:
            return settled
        asker = self._questions.asker(request, signed)
        if signed.account.kind == "professional" and choice.ins:
            found = self._records.find(asker, choice.ins, context)
            if found is None:
                raise ProblemError("no-such-patient")
            return found
        if choice.patient:
            offered = self._records.of_account(signed.account)
            found = next((record for record in offered if record.patient == choice.patient), None)
            if found is None and signed.account.kind == "professional":
                found = self._records.named(asker, choice.patient, context)
            if found is None:
                raise ProblemError("no-such-patient")
            return found
        needed = request.asked.needs_patient or choice.emergency or request.asked.purpose is not None
        if needed or signed.account.kind != "professional":
            raise ProblemError("choose-patient")
        return None

    def _claimed(
        self, request: AuthorizationRequest, choice: Choice, signed: SignedIn, record: Record | None
    ) -> str | None:
        if not choice.emergency and request.asked.purpose is None:
            return None
        emergency = emergency_of(request.client, signed, self._questions.readings)
        if emergency is None or request.asked.purpose not in (None, emergency):
            raise AccessDenied("This person may not claim this purpose with this client.")
        reason = choice.reason.strip()
        if record is None:
            raise ProblemError("choose-patient")
        if not choice.emergency or not LEAST_REASON <= len(reason) <= MOST_REASON:
            raise ProblemError("reason", record)
        return emergency

    def _encounter(
        self, request: AuthorizationRequest, choice: Choice, signed: SignedIn, record: Record | None, context: Context
    ) -> str | None:
        if request.launch is not None:
            return request.launch.encounter
        if not request.asked.needs_encounter or record is None:
            return None
        offered = self._records.encounters(self._questions.asker(request, signed, record), context)
        if choice.encounter in [encounter.ref for encounter in offered]:
            return choice.encounter
        if choice.encounter != "none" and (offered or choice.encounter is not None):
            raise ProblemError("choose-encounter", record)
        return None


def _kept(text: str, choice: Choice) -> bool:
    """Tell whether the person left the scope in; what only says who and where they are is not up for choice."""
    chosen = parse_scope(text) is not None or text in ("offline_access", "online_access")
    return not chosen or text in choice.scopes
